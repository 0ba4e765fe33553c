/* directory: which member leads which slice, and how members' addresses read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/directory.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

static struct gossip_member member(uint8_t number, uint32_t roles, uint32_t tag, uint64_t epoch)
{
    struct gossip_member m = {.state = GOSSIP_ALIVE};

    m.credential.id.bytes[0] = number;
    m.credential.roles = roles;
    m.meta.serving = true;
    if (tag != 0) {
        m.meta.slices[m.meta.slice_count++] = (struct gossip_slice){.tag = tag, .epoch = epoch};
    }
    return m;
}

/* The number of the slice's leader; 0: none is known. */
static unsigned leader(const struct directory *d, uint32_t tag)
{
    const struct gossip_member *m = directory_owner(d, tag);

    return m != NULL ? m->credential.id.bytes[0] : 0;
}

static void test_leaders(void **state)
{
    struct directory d;

    (void)state;
    directory_init(&d);
    assert_int_equal(leader(&d, 7), 0);
    d.members[0] = member(1, NODE_ROLE_PEER | NODE_ROLE_EDGE, 7, 3);
    d.members[1] = member(2, NODE_ROLE_EDGE, 7, 9); /* no peer: its claim is nothing */
    d.members[2] = member(3, NODE_ROLE_PEER, 8, 1);
    directory_update(&d, 3);
    assert_int_equal(leader(&d, 7), 1);
    assert_int_equal(leader(&d, 8), 3);
    assert_int_equal(leader(&d, 9), 0);

    d.members[3] = member(4, NODE_ROLE_PEER, 7, 4); /* a later epoch leads, wherever it stands */
    directory_update(&d, 4);
    assert_int_equal(leader(&d, 7), 4);
    d.members[3].meta.slices[0].epoch = 2; /* and an older word does not take it back */
    directory_update(&d, 4);
    assert_int_equal(leader(&d, 7), 4);

    d.members[0].state = GOSSIP_DEAD; /* a dead leader stays named */
    d.members[0].meta.slices[0].epoch = 5;
    directory_update(&d, 4);
    assert_int_equal(leader(&d, 7), 1);
    d.members[0].meta.slice_count = 0; /* a restarting one tells nothing of its slice for a while */
    directory_update(&d, 4);
    assert_int_equal(leader(&d, 7), 1);
    directory_update(&d, 0); /* reaped */
    assert_int_equal(leader(&d, 7), 0);
    assert_non_null(directory_slice(&d, 7));
    directory_fini(&d);
}

static void test_slices_have_a_maximum(void **state)
{
    struct directory d;

    (void)state;
    directory_init(&d);
    for (uint32_t i = 0; i < DIRECTORY_MEMBERS_MAX; i++) {
        d.members[i] = member(1, NODE_ROLE_PEER, i + 1, 1);
    }
    directory_update(&d, DIRECTORY_MEMBERS_MAX + 1);
    assert_int_equal(d.member_count, DIRECTORY_MEMBERS_MAX);
    assert_int_equal(d.slice_count, DIRECTORY_SLICES_MAX);
    assert_int_equal(d.slices_lost, DIRECTORY_MEMBERS_MAX - DIRECTORY_SLICES_MAX);
    assert_int_equal(leader(&d, DIRECTORY_SLICES_MAX), 1);
    assert_int_equal(leader(&d, DIRECTORY_SLICES_MAX + 1), 0);
    directory_fini(&d);
}

static void test_serves(void **state)
{
    static const struct {
        enum gossip_state state;
        bool serving;
        bool expected;
    } rows[] = {
        {GOSSIP_ALIVE, true, true}, {GOSSIP_ALIVE, false, false}, {GOSSIP_SUSPECT, true, false},
        {GOSSIP_DEAD, true, false}, {GOSSIP_LEFT, true, false},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct gossip_member m = member(1, NODE_ROLE_PEER, 1, 1);
        m.state = rows[i].state;
        m.meta.serving = rows[i].serving;
        assert_int_equal(directory_serves(&m), rows[i].expected);
    }
    assert_string_equal(directory_state_name(GOSSIP_SUSPECT), "suspect");
    assert_string_equal(directory_state_name((enum gossip_state)99), "unknown");
}

static void test_texts(void **state)
{
    static const uint8_t v4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 5};
    static const uint8_t v6[16] = {0xfd, [15] = 5};
    struct gossip_member m = member(1, NODE_ROLE_PEER, 1, 1);
    char text[DIRECTORY_URL_SIZE];

    (void)state;
    memcpy(m.meta.address.ip, v4, sizeof v4);
    m.meta.address.port = 7400;
    m.meta.rpc_port = 7401;
    directory_rpc_url(&m, text);
    assert_string_equal(text, "tcp://10.0.0.5:7401");
    directory_gossip_text(&m, text);
    assert_string_equal(text, "10.0.0.5:7400");
    directory_pub_url(&m, text);
    assert_string_equal(text, "");
    directory_http_url(&m, text);
    assert_string_equal(text, "");
    m.meta.http_port = 7403;
    directory_http_url(&m, text);
    assert_string_equal(text, "http://10.0.0.5:7403");
    m.meta.https = true;
    directory_http_url(&m, text);
    assert_string_equal(text, "https://10.0.0.5:7403");
    memcpy(m.meta.address.ip, v6, sizeof v6);
    m.meta.tls = true;
    m.meta.pub_port = 7402;
    directory_rpc_url(&m, text);
    assert_string_equal(text, "tls+tcp://[fd00::5]:7401");
    directory_pub_url(&m, text);
    assert_string_equal(text, "tcp://[fd00::5]:7402");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaders),
        cmocka_unit_test(test_slices_have_a_maximum),
        cmocka_unit_test(test_serves),
        cmocka_unit_test(test_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
