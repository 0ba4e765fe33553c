/*
 * udp: gossip threads of one process over real sockets on loopback. Every wait is for a state, with
 * a cap that only a broken program meets; the core's own rules are tested without sockets
 * elsewhere.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/udp.h"
#include "gossip/udp_address.h"
#include "gossip/udp_socket.h"
#include "proto/base/clock.h"

enum { NODES_MAX = 4, PATIENCE_MS = 60000 };

static const char cluster[] = "00112233445566778899aabbccddeeff";

struct seen {
    atomic_uint settled;
    atomic_uint joined;
    atomic_uint changed;
};

struct place {
    struct gossip_thread *thread;
    struct node_id id;
    struct seen seen;
};

static void on_event(void *user, const struct gossip_event *event)
{
    struct seen *seen = user;

    if (event->kind == GOSSIP_EVENT_SETTLED) {
        atomic_fetch_add(&seen->settled, 1);
        atomic_fetch_add(&seen->joined, event->joined ? 1 : 0);
    } else if (event->kind == GOSSIP_EVENT_CHANGED) {
        atomic_fetch_add(&seen->changed, 1);
    }
}

/* A loopback node of the cluster whose keys begin with `key`. */
static struct gossip_thread_config config_of(uint8_t key, uint8_t number)
{
    struct gossip_thread_config t = {.bind = "127.0.0.1"};
    struct gossip_config *g = &t.gossip;
    struct authority_keys ca;
    struct authority_keys admission;
    int64_t now_ms = fly_clock_wall_ms();

    authority_keys_from_seed((uint8_t[32]){key, 1}, &ca);
    authority_keys_from_seed((uint8_t[32]){key, 2}, &admission);
    node_keys_from_seed(&(struct node_seed){{key, 3, number}}, &g->keys);
    g->members_max = 16;
    g->cluster = cluster;
    memcpy(g->ca, ca.public_key, sizeof g->ca);
    memcpy(g->credential.admission.key, admission.public_key, NODE_KEY_SIZE);
    g->credential.admission.roles = NODE_ROLE_ALL;
    g->credential.admission.expires_ms = now_ms + 3600000;
    admission_sign(&ca, cluster, &g->credential.admission);
    memcpy(g->credential.key, g->keys.public_key, NODE_KEY_SIZE);
    (void)snprintf(g->credential.name, sizeof g->credential.name, "node-%u", number);
    g->credential.roles = NODE_ROLE_PEER;
    g->credential.issued_ms = now_ms;
    g->credential.expires_ms = now_ms + 3600000;
    credential_sign(&admission, cluster, &g->credential);
    g->generation = 1;
    g->boot = (uint64_t)fly_clock_boot_us() ^ (uint64_t)number << 56;
    g->group = (struct seal_ring){.count = 1, .ids = {1}};
    memset(g->group.keys[0], key, sizeof g->group.keys[0]);
    g->timing = gossip_timing_lan();
    g->timing.probe_ms = 200;
    g->timing.ack_ms = 100;
    g->timing.spread_ms = 20;
    g->timing.settle_ms = 1000;
    g->timing.sync_ms = 1000;
    g->meta.serving = true;
    struct gossip_address ip;
    assert_true(gossip_address_parse("127.0.0.1", 1, &ip));
    g->meta.address = ip;
    g->meta.address.port = 0;
    return t;
}

static void place_start(struct place *p, struct gossip_thread_config *config)
{
    struct fly_error error = {0};

    memset(&p->seen, 0, sizeof p->seen);
    config->event = on_event;
    config->user = &p->seen;
    p->id = config->gossip.credential.id;
    if (gossip_thread_create(&p->thread, config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
}

static struct gossip_address address_of(const struct gossip_thread *t)
{
    struct gossip_address a;

    assert_true(gossip_address_parse("127.0.0.1", gossip_thread_port(t), &a));
    return a;
}

static bool member_of(struct gossip_thread *t, const struct node_id *id, struct gossip_member *out)
{
    struct gossip_member all[16];
    uint32_t count = gossip_thread_members(t, all, 16);

    for (uint32_t i = 0; i < count; i++) {
        if (node_id_equal(&all[i].credential.id, id)) {
            *out = all[i];
            return true;
        }
    }
    return false;
}

static bool sees(struct gossip_thread *t, const struct node_id *id, enum gossip_state state)
{
    struct gossip_member m;

    return member_of(t, id, &m) && m.state == state;
}

static struct gossip_thread_counters counters_of(struct gossip_thread *t)
{
    struct gossip_thread_counters c;

    gossip_thread_counters(t, &c);
    return c;
}

/* Looks again and again until it is so; a loop that never ends is what the cap is for. */
#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        int64_t until_ms_ = fly_clock_boot_ms() + PATIENCE_MS;                                     \
        while (!(condition)) {                                                                     \
            if (fly_clock_boot_ms() > until_ms_) {                                                 \
                fail_msg("waited for %s", #condition);                                             \
            }                                                                                      \
            (void)poll(NULL, 0, 5);                                                                \
        }                                                                                          \
    } while (0)

static void start_cluster(struct place *p, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct gossip_thread_config config = config_of(7, (uint8_t)(i + 1));
        struct gossip_address seed;
        if (i > 0) {
            seed = address_of(p[0].thread);
            config.seeds = &seed;
            config.seed_count = 1;
        }
        place_start(&p[i], &config);
    }
    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j < count; j++) {
            WAIT_FOR(sees(p[i].thread, &p[j].id, GOSSIP_ALIVE));
        }
    }
}

static void stop_all(struct place *p, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        gossip_thread_destroy(p[i].thread, false);
    }
}

static void test_join_and_leave(void **state)
{
    struct place p[3];
    struct gossip_member m;

    (void)state;
    start_cluster(p, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(gossip_thread_members(p[i].thread, &m, 1), 3);
        WAIT_FOR(atomic_load(&p[i].seen.settled) == 1);
        assert_true(atomic_load(&p[i].seen.changed) >= 2);
        for (unsigned j = 0; j < 3; j++) {
            assert_true(member_of(p[i].thread, &p[j].id, &m));
            assert_int_equal(m.self, i == j);
            assert_int_equal(m.meta.address.port, gossip_thread_port(p[j].thread));
        }
    }
    assert_int_equal(atomic_load(&p[1].seen.joined), 1);
    assert_int_equal(atomic_load(&p[2].seen.joined), 1);

    gossip_thread_destroy(p[2].thread, true);
    WAIT_FOR(sees(p[0].thread, &p[2].id, GOSSIP_LEFT));
    WAIT_FOR(sees(p[1].thread, &p[2].id, GOSSIP_LEFT));
    stop_all(p, 2);
}

static void test_garbage(void **state)
{
    struct place p[2];
    struct udp_socket s;
    uint8_t junk[2000];

    (void)state;
    start_cluster(p, 2);
    memset(junk, 0xa5, sizeof junk);
    assert_int_equal(udp_socket_open(&s, "127.0.0.1", 0, NULL), FLY_OK);
    struct gossip_address to = address_of(p[0].thread);
    static const size_t sizes[] = {0, 1, 41, 100, GOSSIP_PACKET_MAX, GOSSIP_PACKET_MAX + 1, 2000};
    struct gossip_thread_counters before = counters_of(p[0].thread);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_true(udp_socket_send(&s, &to, junk, sizes[i]));
    }
    WAIT_FOR(counters_of(p[0].thread).gossip.refused_seal +
                 counters_of(p[0].thread).gossip.refused_form >=
             before.gossip.refused_seal + before.gossip.refused_form +
                 sizeof sizes / sizeof sizes[0]);
    assert_true(sees(p[0].thread, &p[1].id, GOSSIP_ALIVE));
    udp_socket_close(&s);
    stop_all(p, 2);
}

static bool has_note(struct gossip_thread *t, const struct node_id *id, const char *note)
{
    struct gossip_member m;

    return member_of(t, id, &m) && strcmp(m.meta.note, note) == 0;
}

static void test_meta_and_a_late_seed(void **state)
{
    struct place p[2];
    struct gossip_thread_config a = config_of(7, 1);
    struct gossip_thread_config b = config_of(7, 2);

    (void)state;
    place_start(&p[0], &a);
    place_start(&p[1], &b);
    WAIT_FOR(atomic_load(&p[0].seen.settled) == 1 && atomic_load(&p[1].seen.settled) == 1);
    assert_int_equal(atomic_load(&p[0].seen.joined), 0);
    struct gossip_address seed = address_of(p[0].thread);
    gossip_thread_join(p[1].thread, &seed);
    WAIT_FOR(sees(p[0].thread, &p[1].id, GOSSIP_ALIVE));
    struct gossip_meta meta = b.gossip.meta;
    (void)snprintf(meta.note, sizeof meta.note, "a word");
    gossip_thread_set_meta(p[1].thread, &meta);
    WAIT_FOR(has_note(p[0].thread, &p[1].id, "a word"));
    struct gossip_member m;
    assert_true(member_of(p[0].thread, &p[1].id, &m));
    assert_int_equal(m.meta.address.port, gossip_thread_port(p[1].thread));
    stop_all(p, 2);
}

static bool serves(struct gossip_thread *t, const struct node_id *id)
{
    struct gossip_member m;

    return member_of(t, id, &m) && m.meta.serving;
}

static bool serves_with_beat(struct gossip_thread *t, const struct node_id *id,
                             atomic_uint_fast64_t *beat)
{
    atomic_fetch_add(beat, 1);
    return serves(t, id);
}

/* A node loop that stands still is not served; it moves, and is. */
static void test_watchdog(void **state)
{
    struct place p[2];
    atomic_uint_fast64_t beat = 0;
    struct gossip_thread_config a = config_of(7, 1);
    struct gossip_thread_config b = config_of(7, 2);

    (void)state;
    a.beat = &beat;
    place_start(&p[0], &a);
    struct gossip_address seed = address_of(p[0].thread);
    b.seeds = &seed;
    b.seed_count = 1;
    place_start(&p[1], &b);
    WAIT_FOR(serves_with_beat(p[1].thread, &p[0].id, &beat));
    WAIT_FOR(sees(p[1].thread, &p[0].id, GOSSIP_ALIVE) && !serves(p[1].thread, &p[0].id));
    assert_true(counters_of(p[0].thread).stalls >= 1);
    /* what the node says meanwhile does not overrule it */
    uint64_t stalls = counters_of(p[0].thread).stalls;
    struct gossip_meta meta = a.gossip.meta;
    (void)snprintf(meta.note, sizeof meta.note, "still");
    gossip_thread_set_meta(p[0].thread, &meta);
    WAIT_FOR(has_note(p[1].thread, &p[0].id, "still"));
    assert_false(serves(p[1].thread, &p[0].id));
    assert_int_equal(counters_of(p[0].thread).stalls, stalls);
    WAIT_FOR(serves_with_beat(p[1].thread, &p[0].id, &beat));
    stop_all(p, 2);
}

/* A process that ended leaves a port that nobody listens on: its host says so. */
static void test_refused_and_dead(void **state)
{
    struct place p[3];

    (void)state;
    start_cluster(p, 3);
    gossip_thread_destroy(p[2].thread, false);
    WAIT_FOR(counters_of(p[0].thread).refused > 0);
    WAIT_FOR(sees(p[0].thread, &p[2].id, GOSSIP_DEAD));
    WAIT_FOR(sees(p[1].thread, &p[2].id, GOSSIP_DEAD));
    /* the same identity again, elsewhere */
    struct gossip_thread_config config = config_of(7, 3);
    struct gossip_address seed = address_of(p[1].thread);
    config.gossip.generation = 2;
    config.seeds = &seed;
    config.seed_count = 1;
    place_start(&p[2], &config);
    WAIT_FOR(sees(p[0].thread, &p[2].id, GOSSIP_ALIVE));
    WAIT_FOR(sees(p[2].thread, &p[0].id, GOSSIP_ALIVE));
    stop_all(p, 3);
}

/* Nobody is told an address; a third of another cluster on the same segment is not let in. */
static void test_beacon(void **state)
{
    struct place p[3];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct gossip_thread_config config = config_of(i == 2 ? 9 : 7, (uint8_t)(i + 1));
        config.beacon = true;
        place_start(&p[i], &config);
    }
    WAIT_FOR(sees(p[0].thread, &p[1].id, GOSSIP_ALIVE));
    WAIT_FOR(sees(p[1].thread, &p[0].id, GOSSIP_ALIVE));
    WAIT_FOR(counters_of(p[2].thread).beacons_foreign >= 2);
    WAIT_FOR(counters_of(p[0].thread).beacons_foreign >= 1);
    assert_int_equal(gossip_thread_members(p[2].thread, NULL, 0), 1);
    assert_int_equal(gossip_thread_members(p[0].thread, NULL, 0), 2);
    assert_int_equal(counters_of(p[2].thread).beacons_in, 0);
    assert_true(counters_of(p[0].thread).beacons_joined + counters_of(p[1].thread).beacons_joined >=
                1);
    stop_all(p, 3);
}

static void test_port_in_use(void **state)
{
    struct place p;
    struct gossip_thread_config config = config_of(7, 1);
    struct fly_error error = {0};
    struct gossip_thread *none = NULL;

    (void)state;
    place_start(&p, &config);
    config.gossip.meta.address.port = gossip_thread_port(p.thread);
    assert_int_equal(gossip_thread_create(&none, &config, &error), FLY_UNAVAILABLE);
    assert_non_null(strstr(error.text, "in use"));
    assert_null(none);
    gossip_thread_destroy(NULL, true);
    /* alone: nobody to say good-bye to, and that takes no second */
    gossip_thread_destroy(p.thread, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_port_in_use),      cmocka_unit_test(test_join_and_leave),
        cmocka_unit_test(test_garbage),          cmocka_unit_test(test_meta_and_a_late_seed),
        cmocka_unit_test(test_refused_and_dead), cmocka_unit_test(test_watchdog),
        cmocka_unit_test(test_beacon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
