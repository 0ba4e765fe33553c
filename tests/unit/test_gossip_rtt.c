/* Round trip times: the smoothing, and which answers to a probe are a measure of one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/rtt.h"
#include "tests/unit/gossip_fixture.h"

static void test_smooth(void **state)
{
    static const struct {
        const char *what;
        uint64_t was;
        uint64_t measured;
        uint64_t is;
    } rows[] = {
        {"the first is taken as it is", 0, 4000, 4000},
        {"an eighth up", 4000, 12000, 5000},
        {"an eighth down", 4000, 3200, 3900},
        {"the same", 4000, 4000, 4000},
        {"the last microsecond up", 4000, 4001, 4001},
        {"the last microsecond down", 4000, 3999, 3999},
        {"nothing at all is one", 0, 0, 1},
        {"never 0 again", 1, 0, 1},
        {"a minute is the most", 0, UINT64_MAX, RTT_MAX_US},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rtt_smooth(rows[i].was, rows[i].measured) != rows[i].is) {
            fail_msg("%s: %lu", rows[i].what, rtt_smooth(rows[i].was, rows[i].measured));
        }
    }
}

/* From anywhere it gets to what is measured, and stays. */
static void test_settles(void **state)
{
    (void)state;
    for (uint64_t from = 1; from < 100000; from = from * 3 + 1) {
        for (uint64_t to = 1; to < 100000; to = to * 5 + 2) {
            uint64_t rtt = from;
            for (int i = 0; i < 120; i++) {
                rtt = rtt_smooth(rtt, to);
            }
            assert_int_equal(rtt, to);
        }
    }
}

static struct fixture *with_peers(int count)
{
    struct fixture *f = fixture_create();

    for (int i = 1; i <= count; i++) {
        say_full(f, i);
    }
    drain(f);
    return f;
}

static uint64_t rtt_of(struct fixture *f, int number)
{
    return gossip_find(f->g, &f->peers[number].credential.id)->rtt_us;
}

/* A PING of peer `number` at `us`; its nonce. */
static uint64_t probe_at(struct fixture *f, int number, int64_t us)
{
    struct sent s;

    f->now_ms = us / 1000;
    struct gossip_now now = fixture_now(f);
    now.us = us;
    gossip_hint_down(f->g, &f->peers[number].credential.id, now);
    assert_true(next_of(f, PACKET_PING, &s));
    return fly_get_u64(&s.body);
}

static void ack_at(struct fixture *f, int number, uint64_t nonce, int64_t us, uint8_t flags)
{
    struct letter l = letter_begin(f, PACKET_ACK, number, PACKET_MAC | flags);
    uint8_t sealed[GOSSIP_PACKET_MAX];

    l.w.data = l.plain;
    fly_put_u64(&l.w, nonce);
    fly_put_u64(&l.w, 0);
    fly_put_u64(&l.w, 1);
    size_t size = letter_seal(f, &l, number, sealed);
    f->now_ms = us / 1000;
    struct gossip_now now = fixture_now(f);
    now.us = us;
    gossip_receive(f->g, &f->peers[number].address, sealed, size, now);
    drain(f);
}

static void test_measure(void **state)
{
    (void)state;
    struct fixture *f = with_peers(2);
    int64_t us = f->now_ms * 1000 + 500;

    assert_int_equal(rtt_of(f, 1), 0);
    ack_at(f, 1, probe_at(f, 1, us), us + 250, 0);
    assert_int_equal(rtt_of(f, 1), 250);
    us += 20000;
    ack_at(f, 1, probe_at(f, 1, us), us + 1050, 0);
    assert_int_equal(rtt_of(f, 1), 350);
    us += 20000; /* through a helper: the way is another */
    ack_at(f, 1, probe_at(f, 1, us), us + 9000, PACKET_RELAYED);
    assert_int_equal(rtt_of(f, 1), 350);
    us += 20000; /* somebody else's nonce */
    uint64_t nonce = probe_at(f, 1, us);
    ack_at(f, 1, nonce + 1, us + 9000, 0);
    assert_int_equal(rtt_of(f, 1), 350);
    ack_at(f, 1, nonce, us + 350, 0);
    assert_int_equal(rtt_of(f, 1), 350);
    assert_int_equal(rtt_of(f, 2), 0);
    fixture_destroy(f);
}

/* After the second PING nobody knows which one was answered. */
static void test_asked_twice(void **state)
{
    (void)state;
    struct fixture *f = with_peers(2);
    struct sent s;
    int64_t us = f->now_ms * 1000;
    uint64_t nonce = probe_at(f, 1, us);

    us += 260 * 1000; /* past the time for a direct answer */
    f->now_ms = us / 1000;
    gossip_tick(f->g, fixture_now(f));
    assert_true(next_of(f, PACKET_ASK, &s));
    ack_at(f, 1, nonce, us + 100, 0);
    assert_int_equal(rtt_of(f, 1), 0);
    assert_int_equal(gossip_find(f->g, &f->peers[1].credential.id)->heard_ms, us / 1000);
    fixture_destroy(f);
}

static void test_moved(void **state)
{
    (void)state;
    struct fixture *f = with_peers(2);
    int64_t us = f->now_ms * 1000;

    ack_at(f, 1, probe_at(f, 1, us), us + 250, 0);
    f->peers[1].version = 5; /* says something new from the same place */
    say_claim(f, 1, 1, false);
    assert_int_equal(rtt_of(f, 1), 250);
    f->peers[1].version = 6;
    f->peers[1].address.port++;
    say_claim(f, 1, 1, false);
    assert_int_equal(rtt_of(f, 1), 0);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smooth),  cmocka_unit_test(test_settles),
        cmocka_unit_test(test_measure), cmocka_unit_test(test_asked_twice),
        cmocka_unit_test(test_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
