/* udp_there: a listener that never accepts is a host that lives; a closed port is none. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>

#include <cmocka.h>

#include "gossip/udp.h"
#include "gossip/udp_there.h"
#include "proto/base/clock.h"

enum { PATIENCE_MS = 60000 };

/* A port with a full handshake behind it and nobody who accepts; or, closed, nothing. */
static int listen_on(uint16_t *port)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    socklen_t size = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0 && bind(fd, (const struct sockaddr *)&in, sizeof in) == 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &size), 0);
    *port = ntohs(in.sin_port);
    return fd;
}

static struct gossip_member member_at(uint8_t number, uint16_t rpc_port)
{
    struct gossip_member m = {.state = GOSSIP_SUSPECT};

    m.credential.id.bytes[0] = number;
    assert_true(gossip_address_parse("127.0.0.1", 7400, &m.meta.address));
    m.meta.rpc_port = rpc_port;
    return m;
}

static unsigned look(struct udp_there *t, const struct gossip_member *a,
                     const struct gossip_member *b, struct node_id out[static UDP_THERE_MAX])
{
    if (a != NULL) {
        udp_there_want(t, a);
    }
    if (b != NULL) {
        udp_there_want(t, b);
    }
    return udp_there_look(t, fly_clock_boot_ms(), out);
}

static void test_there_and_not(void **state)
{
    struct udp_there t;
    struct node_id out[UDP_THERE_MAX];
    uint16_t open_port;
    uint16_t closed_port;
    int listener = listen_on(&open_port);
    int64_t until_ms = fly_clock_boot_ms() + PATIENCE_MS;

    (void)state;
    (void)close(listen_on(&closed_port));
    struct gossip_member lives = member_at(1, open_port);
    struct gossip_member gone = member_at(2, closed_port);
    udp_there_init(&t);
    assert_false(udp_there_busy(&t));
    while (look(&t, &lives, &gone, out) != 1) {
        assert_true(fly_clock_boot_ms() < until_ms);
        (void)poll(NULL, 0, 5);
    }
    assert_int_equal(out[0].bytes[0], 1);
    assert_true(udp_there_busy(&t));
    /* No suspect any more: both are forgotten, and the connection is given up. */
    assert_int_equal(look(&t, NULL, NULL, out), 0);
    assert_false(udp_there_busy(&t));
    udp_there_fini(&t);
    (void)close(listener);
}

/* It stays so for as long as the kernel acknowledges, on one connection. */
static void test_kept(void **state)
{
    struct udp_there t;
    struct node_id out[UDP_THERE_MAX];
    uint16_t port;
    int listener = listen_on(&port);
    struct gossip_member m = member_at(1, port);
    int64_t until_ms = fly_clock_boot_ms() + PATIENCE_MS;

    (void)state;
    udp_there_init(&t);
    while (look(&t, &m, NULL, out) != 1) {
        assert_true(fly_clock_boot_ms() < until_ms);
        (void)poll(NULL, 0, 5);
    }
    int fd = t.lines[0].fd;
    /* Longer than an acknowledgement is fresh: keepalives must have brought new ones. */
    int64_t later_ms = fly_clock_boot_ms() + 4000;
    while (fly_clock_boot_ms() < later_ms) {
        assert_int_equal(look(&t, &m, NULL, out), 1);
        (void)poll(NULL, 0, 100);
    }
    assert_int_equal(t.lines[0].fd, fd);
    /* The process ends: its kernel resets, and that is no sign of life. */
    (void)close(listener);
    while (look(&t, &m, NULL, out) != 0) {
        assert_true(fly_clock_boot_ms() < until_ms);
        (void)poll(NULL, 0, 5);
    }
    udp_there_fini(&t);
}

static void test_bound(void **state)
{
    struct udp_there t;
    struct node_id out[UDP_THERE_MAX];
    uint16_t port;

    (void)state;
    (void)close(listen_on(&port));
    udp_there_init(&t);
    for (unsigned i = 0; i < UDP_THERE_MAX + 5; i++) {
        struct gossip_member m = member_at((uint8_t)i, port);
        udp_there_want(&t, &m);
    }
    struct gossip_member no_rpc = member_at(200, 0);
    udp_there_want(&t, &no_rpc);
    assert_int_equal(udp_there_look(&t, 1000, out), 0);
    assert_false(udp_there_due(&t, 1000 + UDP_THERE_LOOK_MS - 1));
    assert_true(udp_there_due(&t, 1000 + UDP_THERE_LOOK_MS));
    udp_there_fini(&t);
    assert_false(udp_there_busy(&t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_not),
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
