/* udp_socket, udp_address, beacon: addresses in text, ports that are taken, who refused, and what
 * is heard on loopback. Real sockets. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/beacon.h"
#include "gossip/udp.h"
#include "gossip/udp_address.h"
#include "gossip/udp_socket.h"
#include "proto/base/clock.h"

enum { PATIENCE_MS = 30000 };

static void test_address_text(void **state)
{
    static const struct {
        const char *text;
        uint16_t port;
        const char *as; /* NULL: refused */
    } rows[] = {
        {"127.0.0.1:7400", 0, "127.0.0.1:7400"},
        {"127.0.0.1", 7400, "127.0.0.1:7400"},
        {"127.0.0.1:1", 7400, "127.0.0.1:1"},
        {"10.74.0.1:65535", 0, "10.74.0.1:65535"},
        {"[::1]:7400", 0, "[::1]:7400"},
        {"[::1]", 9, "[::1]:9"},
        {"::1", 9, "[::1]:9"},
        {"fd00::74:1", 9, "[fd00::74:1]:9"},
        {"[::ffff:10.0.0.1]:5", 0, "10.0.0.1:5"},
        {"127.0.0.1", 0, NULL},
        {"127.0.0.1:", 7400, NULL},
        {"127.0.0.1:0", 7400, NULL},
        {"127.0.0.1:65536", 7400, NULL},
        {"127.0.0.1:99999999999999999999", 7400, NULL},
        {"127.0.0.1:+1", 7400, NULL},
        {"127.0.0.1: 1", 7400, NULL},
        {"127.0.0.1:1x", 7400, NULL},
        {"127.0.0.1:1:2", 7400, NULL},
        {"127.0.0", 7400, NULL},
        {"[127.0.0.1]:7400", 7400, NULL},
        {"[::1", 7400, NULL},
        {"[::1]7400", 7400, NULL},
        {"[::1]x:7400", 7400, NULL},
        {"fe80::1%lo", 7400, NULL},
        {"localhost:7400", 7400, NULL},
        {":7400", 7400, NULL},
        {"", 7400, NULL},
        {"11111111111111111111111111111111111111111111111111111111111111111111111111", 1, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct gossip_address a = {.port = 77};
        char text[GOSSIP_ADDRESS_TEXT_SIZE] = "";
        bool taken = gossip_address_parse(rows[i].text, rows[i].port, &a);
        if (taken) {
            gossip_address_format(&a, text);
        }
        if (taken != (rows[i].as != NULL) || (taken && strcmp(text, rows[i].as) != 0) ||
            (!taken && a.port != 77)) {
            fail_msg("\"%s\" is \"%s\"", rows[i].text, taken ? text : "refused");
        }
    }
}

static struct gossip_address address_of(const char *text)
{
    struct gossip_address a;

    assert_true(gossip_address_parse(text, 1, &a));
    return a;
}

static void test_address_kinds(void **state)
{
    static const struct {
        const char *text;
        bool v4, loopback, any, link_local;
    } rows[] = {
        {"127.0.0.1", true, true, false, false},  {"127.9.9.9", true, true, false, false},
        {"::1", false, true, false, false},       {"::2", false, false, false, false},
        {"0.0.0.0", true, false, true, false},    {"::", false, false, true, false},
        {"10.74.0.1", true, false, false, false}, {"fe80::1", false, false, false, true},
        {"febf::1", false, false, false, true},   {"fec0::1", false, false, false, false},
        {"0.0.0.1", true, false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct gossip_address a = address_of(rows[i].text);
        if (udp_address_is_v4(a.ip) != rows[i].v4 ||
            udp_address_is_loopback(a.ip) != rows[i].loopback ||
            udp_address_is_any(a.ip) != rows[i].any ||
            udp_address_is_link_local(a.ip) != rows[i].link_local) {
            fail_msg("%s", rows[i].text);
        }
    }
}

/* Waits for the events on one descriptor. */
static void await(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
}

static void test_send_and_receive(void **state)
{
    static const struct {
        const char *what;
        const char *from_ip;
        const char *to_ip;
    } rows[] = {
        {"IPv4", "127.0.0.1", "127.0.0.1"},
        {"a wildcard to IPv4", "0.0.0.0", "127.0.0.1"},
        {"both families to IPv4", "", "127.0.0.1"},
        {"IPv4 to both families", "127.0.0.1", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct udp_socket a;
        struct udp_socket b;
        struct gossip_address from;
        char got[64];
        assert_int_equal(udp_socket_open(&a, rows[i].from_ip, 0, NULL), FLY_OK);
        assert_int_equal(udp_socket_open(&b, rows[i].to_ip, 0, NULL), FLY_OK);
        struct gossip_address to = address_of("127.0.0.1");
        to.port = b.port;
        assert_int_equal(udp_socket_receive(&b, &from, got, sizeof got), -1);
        assert_true(udp_socket_send(&a, &to, "", 0));
        assert_true(udp_socket_send(&a, &to, rows[i].what, strlen(rows[i].what)));
        await(b.fd, POLLIN);
        assert_int_equal(udp_socket_receive(&b, &from, got, sizeof got), 0);
        await(b.fd, POLLIN);
        assert_int_equal(udp_socket_receive(&b, &from, got, sizeof got), strlen(rows[i].what));
        assert_memory_equal(got, rows[i].what, strlen(rows[i].what));
        to.port = a.port;
        assert_true(udp_address_equal(&from, &to));
        to.port = 0;
        assert_false(udp_socket_send(&a, &to, "x", 1));
        to = address_of("::1");
        if (a.family == AF_INET) {
            assert_false(udp_socket_send(&a, &to, "x", 1));
        }
        udp_socket_close(&a);
        udp_socket_close(&b);
    }
}

static void test_ports_taken(void **state)
{
    struct udp_socket a;
    struct udp_socket b;
    struct fly_error error = {0};

    (void)state;
    assert_int_equal(udp_socket_open(&a, "127.0.0.1", 0, NULL), FLY_OK);
    assert_int_equal(udp_socket_open(&b, "127.0.0.1", a.port, &error), FLY_UNAVAILABLE);
    assert_non_null(strstr(error.text, "in use"));
    assert_int_equal(b.fd, -1);
    udp_socket_close(&b); /* twice is no harm */
    assert_int_equal(udp_socket_open(&b, "192.0.2.1", 0, &error), FLY_UNAVAILABLE);
    assert_non_null(strstr(error.text, "not an address of this host"));
    assert_int_equal(udp_socket_open(&b, "localhost", 0, &error), FLY_INVALID_ARGUMENT);
    udp_socket_close(&a);
}

/* The beacons' port is shared by all beacons of a host, and still a node's own. */
static void test_wildcard_beside_beacons(void **state)
{
    struct udp_socket a;
    struct udp_socket b;
    struct fly_error error = {0};
    struct beacon_config config = {.port = GOSSIP_BEACON_PORT,
                                   .loopback = true,
                                   .notice = {.address = {.port = 1}},
                                   .ring = {.count = 1}};
    struct beacon *before = beacon_create(&config, 0);

    (void)state;
    if (udp_socket_open(&a, "0.0.0.0", GOSSIP_BEACON_PORT, &error) != FLY_OK) {
        /* somebody else's on this host; then the next is refused as well, which is all we can see
         */
        assert_non_null(strstr(error.text, "in use"));
        beacon_destroy(before);
        return;
    }
    assert_true(a.guard >= 0);
    struct beacon *after = beacon_create(&config, 0);
    struct pollfd fds[BEACON_FDS];
    beacon_poll(after, fds);
    assert_true(fds[0].fd >= 0);
    assert_int_equal(udp_socket_open(&b, "0.0.0.0", GOSSIP_BEACON_PORT, &error), FLY_UNAVAILABLE);
    assert_int_equal(udp_socket_open(&b, "", GOSSIP_BEACON_PORT, &error), FLY_UNAVAILABLE);
    assert_int_equal(udp_socket_open(&b, "127.0.0.1", GOSSIP_BEACON_PORT, &error), FLY_UNAVAILABLE);
    udp_socket_close(&a);
    assert_int_equal(udp_socket_open(&b, "0.0.0.0", GOSSIP_BEACON_PORT, &error), FLY_OK);
    udp_socket_close(&b);
    beacon_destroy(before);
    beacon_destroy(after);
}

static void test_refused(void **state)
{
    static const char *const binds[] = {"127.0.0.1", "0.0.0.0", ""};

    (void)state;
    for (size_t i = 0; i < sizeof binds / sizeof binds[0]; i++) {
        struct udp_socket a;
        struct udp_socket gone;
        struct gossip_address who;
        struct gossip_address to = address_of("127.0.0.1");
        assert_int_equal(udp_socket_open(&gone, "127.0.0.1", 0, NULL), FLY_OK);
        to.port = gone.port;
        udp_socket_close(&gone);
        assert_int_equal(udp_socket_open(&a, binds[i], 0, NULL), FLY_OK);
        assert_false(udp_socket_refused(&a, &who));
        assert_true(udp_socket_send(&a, &to, "x", 1));
        await(a.fd, POLLERR);
        assert_true(udp_socket_refused(&a, &who));
        assert_true(udp_address_equal(&who, &to));
        assert_false(udp_socket_refused(&a, &who));
        /* what is reported about one datagram does not stop the next */
        assert_true(udp_socket_send(&a, &to, "y", 1));
        assert_true(udp_socket_send(&a, &to, "z", 1));
        udp_socket_close(&a);
    }
}

static struct beacon_config config_of(uint8_t key, uint64_t boot, uint16_t port)
{
    struct seal_ring group = {.count = 1, .ids = {1}};
    struct beacon_config config = {.seed = boot, .port = port, .loopback = true};

    memset(group.keys[0], key, sizeof group.keys[0]);
    seal_ring_derive(&config.ring, &group, SEAL_BEACON, "00112233445566778899aabbccddeeff");
    config.notice.boot = boot;
    config.notice.id.bytes[0] = (uint8_t)boot;
    config.notice.address = address_of("127.0.0.1:7777");
    return config;
}

/* Time stands still but for the beacons' own deadlines: what is waited for is the kernel. */
static void test_beacons(void **state)
{
    struct udp_socket lent;
    struct beacon *b[3];
    struct notice n;
    bool heard[3] = {false};
    int64_t now_ms = 1000;

    (void)state;
    assert_int_equal(udp_socket_open(&lent, "127.0.0.1", 0, NULL), FLY_OK);
    uint16_t port = lent.port;
    udp_socket_close(&lent);
    for (unsigned i = 0; i < 3; i++) {
        struct beacon_config config = config_of(i == 2 ? 9 : 7, 1 + i, port);
        if (i == 1) {
            memset(config.notice.address.ip, 0, sizeof config.notice.address.ip);
        }
        b[i] = beacon_create(&config, now_ms);
        assert_non_null(b[i]);
    }
    int64_t until_ms = fly_clock_boot_ms() + PATIENCE_MS;
    while (!heard[0] || !heard[1] || beacon_counters(b[0])->foreign == 0 ||
           beacon_counters(b[2])->foreign < 2) {
        assert_true(fly_clock_boot_ms() < until_ms);
        for (unsigned i = 0; i < 3; i++) {
            struct pollfd fds[BEACON_FDS];
            beacon_tick(b[i], now_ms);
            beacon_poll(b[i], fds);
            (void)poll(fds, BEACON_FDS, 10);
            beacon_ready(b[i], now_ms);
            while (beacon_heard(b[i], &n)) {
                assert_true(i < 2);
                assert_int_equal(n.boot, 2 - i);
                assert_int_equal(n.address.port, 7777);
                /* b[1] says no address: where it came from is one of this host */
                assert_false(udp_address_is_any(n.address.ip));
                assert_true(i == 0 || udp_address_is_loopback(n.address.ip));
                heard[i] = true;
            }
        }
        now_ms += 100;
    }
    assert_int_equal(beacon_counters(b[2])->heard, 0);
    for (unsigned i = 0; i < 3; i++) {
        beacon_destroy(b[i]);
    }
}

/* The times at which it speaks, without any network: only its deadlines are looked at. */
static void test_beacon_times(void **state)
{
    struct beacon_config config = config_of(7, 1, 1);
    struct beacon *b = beacon_create(&config, 5000);
    static const int64_t first[] = {0, 100, 300, 1000};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(beacon_deadline(b), 5000 + first[i]);
        beacon_tick(b, beacon_deadline(b) - 1); /* too early: nothing */
        beacon_tick(b, 5000 + first[i]);
    }
    int64_t now_ms = 6000;
    for (int i = 0; i < 50; i++) { /* alone */
        int64_t next_ms = beacon_deadline(b);
        assert_in_range(next_ms - now_ms, 900, 1100);
        beacon_tick(b, next_ms);
        now_ms = next_ms;
    }
    beacon_set_alone(b, false, now_ms);
    beacon_tick(b, now_ms = beacon_deadline(b));
    for (int i = 0; i < 50; i++) {
        int64_t next_ms = beacon_deadline(b);
        assert_in_range(next_ms - now_ms, 10000, 30000);
        beacon_tick(b, next_ms);
        now_ms = next_ms;
    }
    beacon_set_alone(b, true, now_ms);
    assert_in_range(beacon_deadline(b) - now_ms, 0, 1000);
    beacon_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_text),     cmocka_unit_test(test_address_kinds),
        cmocka_unit_test(test_send_and_receive), cmocka_unit_test(test_ports_taken),
        cmocka_unit_test(test_refused),          cmocka_unit_test(test_wildcard_beside_beacons),
        cmocka_unit_test(test_beacon_times),     cmocka_unit_test(test_beacons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
