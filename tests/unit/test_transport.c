/* Connections without frames: addresses, names inside of the process, peers that stop reading, and
 * callers that read for themselves. */
#include "tests/unit/transport_fixture.h"

enum { OUT_MAX = 1 << 20 };

static const char *const LOOPBACK = "tcp://127.0.0.1:0";

static struct transport_config config_of(const struct transport_events *events)
{
    return (struct transport_config){.events = events, .out_max = OUT_MAX};
}

static void test_urls(void **state)
{
    static const struct {
        const char *url;
        bool good;
    } rows[] = {
        {"tcp://127.0.0.1:0", true},
        {"tcp://0.0.0.0:65535", true},
        {"tcp://[::1]:7401", true},
        {"tls+tcp://[fe80::1]:1", true},
        {"ipc:///tmp/x", true},
        {"inproc://a name, any/at all", true},
        {"", false},
        {"tcp://", false},
        {"tcp://127.0.0.1", false},
        {"tcp://127.0.0.1:", false},
        {"tcp://:7401", false},
        {"tcp://127.0.0.1:65536", false},
        {"tcp://127.0.0.1:+1", false},
        {"tcp://127.0.0.1:1x", false},
        {"tcp://127.0.0:1", false},
        {"tcp://[::1:1", false},
        {"tcp://::1:1", false},
        {"tcp://[::1]1", false},
        {"tcp://[]:1", false},
        {"tcp://[127.0.0.1]:1", false},
        {"tcp://[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:1", false},
        {"tls+ipc:///tmp/x", false},
        {"tls+inproc://x", false},
        {"ipc://", false},
        {"inproc://", false},
        {"abstract://x", false},
        {"ipc:///0123456789012345678901234567890123456789012345678901234567890123456789012345678901"
         "234567890123456789012345678",
         false},
    };
    struct fly_error error;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        if ((transport_url_check(rows[i].url, &error) == FLY_OK) != rows[i].good) {
            fail_msg("%s", rows[i].url);
        }
    }
}

/* ---- dialling ---- */

struct dialled {
    struct transport *transport;
    struct fly_error why;
    atomic_bool over;
};

static void on_dialled(void *user, struct transport *transport, const struct fly_error *why)
{
    struct dialled *d = user;

    d->transport = transport;
    d->why = *why;
    atomic_store(&d->over, true);
}

static struct transport *dial(const char *url, const struct transport_config *config,
                              struct fly_error *why)
{
    struct dialled d = {0};
    struct transport_dial *dial = NULL;

    assert_int_equal(transport_dial(&dial, url, NULL, config, on_dialled, &d, why), FLY_OK);
    AWAIT(atomic_load(&d.over));
    *why = d.why;
    return d.transport;
}

/* The house's side of what was just dialled, and both started. */
static struct side *meet(struct house *house, struct side *here,
                         const struct transport_config *config)
{
    struct fly_error why;
    unsigned before = atomic_load(&house->count);

    memset(here, 0, sizeof *here);
    here->transport = dial(transport_listener_url(house->listener), config, &why);
    if (here->transport == NULL) {
        fail_msg("%s", why.text);
    }
    transport_start(here->transport, here);
    AWAIT(atomic_load(&house->count) > before);
    return &house->sides[before];
}

static void leave(struct side *here)
{
    transport_close(here->transport);
    AWAIT(atomic_load(&here->closed) == 1);
    transport_drop(here->transport);
    AWAIT(atomic_load(&here->disposed) == 1);
}

static void test_names(void **state)
{
    struct transport_config config = config_of(&side_events);
    struct transport_listener *second = NULL;
    struct house house;
    struct house other;
    struct side here;
    struct fly_error why;

    (void)state;
    house_open(&house, "inproc://one", &config);
    house_open(&other, "inproc://another", &config);
    assert_int_equal(
        transport_listen(&second, "inproc://one", NULL, &config, house_accepted, &house, &why),
        FLY_UNAVAILABLE);
    assert_non_null(strstr(why.text, "in use"));
    assert_null(dial("inproc://nobody", &config, &why));
    assert_int_equal(why.status, FLY_UNAVAILABLE);

    struct side *there = meet(&house, &here, &config);
    assert_string_equal(transport_remote(here.transport), "inproc");
    assert_string_equal(transport_remote(there->transport), "inproc");
    for (unsigned i = 0; i < 100; i++) {
        assert_true(side_put(&here, 5000, false) && side_put(there, 7000, false));
        transport_flush(here.transport);
        transport_flush(there->transport);
    }
    AWAIT(atomic_load(&there->received) == 100 * 5000 && atomic_load(&here.received) == 100 * 7000);
    assert_int_equal(transport_bytes_in(here.transport), 100 * 7000);
    AWAIT(transport_bytes_out(here.transport) == 100 * 5000);
    leave(&here);
    AWAIT(atomic_load(&there->closed) == 1);
    assert_int_equal(atomic_load(&other.count), 0);
    house_close(&house);
    assert_null(dial("inproc://one", &config, &why));
    house_open(&house, "inproc://one", &config); /* the name is free again */
    house_close(&house);
    house_close(&other);
}

/* They come while the house is open, half open and closed: each visit ends one way or the other. */
static void *visit_often(void *user)
{
    struct transport_config config = config_of(&side_events);

    for (unsigned i = 0; i < 20; i++) {
        struct side here = {0};
        struct fly_error why;
        here.transport = dial(user, &config, &why);
        if (here.transport != NULL) {
            transport_start(here.transport, &here);
            leave(&here);
        }
    }
    return NULL;
}

static void test_come_and_go(void **state)
{
    static const char *const urls[] = {"inproc://busy", "ipc:///tmp/fly-test-transport.sock",
                                       "tcp://127.0.0.1:0"};
    struct transport_config config = config_of(&side_events);
    struct house house;
    pthread_t threads[2];
    char url[TRANSPORT_URL_SIZE];

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(urls); i++) {
        house_open(&house, urls[i], &config);
        (void)snprintf(url, sizeof url, "%s", transport_listener_url(house.listener));
        for (size_t k = 0; k < FLY_ARRAY_COUNT(threads); k++) {
            assert_int_equal(pthread_create(&threads[k], NULL, visit_often, url), 0);
        }
        AWAIT(atomic_load(&house.count) >= 10);
        transport_listener_close(house.listener);
        for (size_t k = 0; k < FLY_ARRAY_COUNT(threads); k++) {
            (void)pthread_join(threads[k], NULL);
        }
        house_close(&house);
    }
}

/* A path that a killed process left behind is taken over; one that is in use is not. */
static void test_stale_path(void **state)
{
    static const char *const URL = "ipc:///tmp/fly-test-stale.sock";
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/tmp/fly-test-stale.sock"};
    struct transport_config config = config_of(&side_events);
    struct transport_listener *second = NULL;
    struct fly_error error;
    struct house house;

    (void)state;
    (void)unlink(un.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
    (void)close(fd);
    house_open(&house, URL, &config);
    assert_int_equal(transport_listen(&second, URL, NULL, &config, house_accepted, &house, &error),
                     FLY_UNAVAILABLE);
    house_close(&house);
    assert_int_equal(access(un.sun_path, F_OK), -1);
}

/* ---- peers that stop reading ---- */

/* Answers each byte with 16 KiB, on the thread that read it. */
static size_t generous_received(void *user, const uint8_t *data, size_t size, size_t *wanted)
{
    struct side *side = user;

    for (size_t i = 0; i < size; i++) {
        (void)side_put(side, 16 * 1024, false);
    }
    transport_flush(side->transport);
    return side_received(user, data, size, wanted);
}

static const struct transport_events generous_events = {.received = generous_received,
                                                        .closed = side_closed,
                                                        .drained = side_drained,
                                                        .disposed = side_disposed,
                                                        .mark = side_mark};

static void check_deaf(const char *url, bool hold_back)
{
    enum { DEAF = 16, ASKED = 200 };
    struct transport_config config = {
        .events = &generous_events, .out_max = OUT_MAX, .hold_back = hold_back};
    static const uint8_t asking[ASKED];
    struct house house;
    struct side *sides[DEAF];
    struct side *alive = NULL;
    int fds[DEAF];

    house_open(&house, url, &config);
    for (unsigned i = 0; i < DEAF; i++) {
        fds[i] = house_visit(&house, i % 2 == 0 ? 1 : 0, &sides[i]); /* the least, or the usual */
        assert_int_equal(send(fds[i], asking, ASKED, MSG_NOSIGNAL), ASKED);
    }
    for (unsigned i = 0; i < DEAF; i++) {
        AWAIT(atomic_load(&sides[i]->received) == ASKED);
        /* ours as well: many small ones, each with its own flush */
        for (unsigned k = 0; k < 2000; k++) {
            (void)side_put(sides[i], 20, true);
            transport_flush(sides[i]->transport);
        }
    }
    /* whoever reads is served, again and again, by the threads that served those */
    int fd = house_visit(&house, 0, &alive);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(send(fd, asking, 4, MSG_NOSIGNAL), 4);
        assert_true(socket_read(fd, 4 * 16 * 1024));
    }
    (void)close(fd);
    /* those that read after all get what waited; the others are cut off without ado */
    for (unsigned i = 0; i < DEAF; i++) {
        if (i % 4 == 0) {
            assert_true(socket_read(fds[i], 2000));
        }
        (void)close(fds[i]);
        AWAIT(atomic_load(&sides[i]->closed) == 1);
    }
    house_close(&house);
}

static void test_deaf(void **state)
{
    (void)state;
    check_deaf(LOOPBACK, false);
    check_deaf(LOOPBACK, true);
    check_deaf("ipc:///tmp/fly-test-deaf.sock", false);
}

/* ---- callers that read ---- */

static bool came(void *user)
{
    struct side *side = user;

    return atomic_load(&side->received) > 0;
}

static bool never(void *user)
{
    (void)user;
    return false;
}

/* What is expected while nobody calls, as a caller has just been there. */
static void call_once(struct side *here, struct side *there)
{
    atomic_store(&here->received, 0);
    assert_true(side_put(here, 10, true));
    assert_true(side_put(there, 10, true));
    transport_flush(there->transport);
    if (!transport_read_here(here->transport, 0, came, here)) {
        AWAIT(came(here)); /* the poller was at it */
    }
}

static void test_read_here(void **state)
{
    struct transport_config config = config_of(&side_events);
    struct house house;
    struct side here;

    (void)state;
    house_open(&house, LOOPBACK, &config);
    struct side *there = meet(&house, &here, &config);
    for (unsigned i = 0; i < 1000; i++) {
        atomic_store(&here.received, 0);
        assert_true(side_put(&here, 10, false));
        assert_true(side_put(there, 10, false));
        transport_flush(there->transport);
        if (!transport_read_here(here.transport, 0, came, &here)) {
            AWAIT(came(&here)); /* the poller was at it */
        }
        AWAIT(atomic_load(&there->received) == (i + 1) * 10);
    }
    /* nobody calls, and something comes all the same */
    size_t before = atomic_load(&here.received);
    assert_true(side_put(there, 100, false));
    transport_flush(there->transport);
    AWAIT(atomic_load(&here.received) == before + 100);
    /* a deadline, close and far */
    for (int64_t ms = 0; ms < 100; ms += 33) {
        int64_t due_ms = fly_clock_boot_ms() + ms;
        assert_false(transport_read_here(here.transport, due_ms, never, NULL));
    }
    leave(&here);
    house_close(&house);
}

static void test_hung_up_unread(void **state)
{
    struct transport_config config = config_of(&side_events);
    struct house house;
    struct side here;

    (void)state;
    house_open(&house, LOOPBACK, &config);
    for (unsigned how = 0; how < 4; how++) {
        struct side *there = meet(&house, &here, &config);
        call_once(&here, there);
        atomic_store(&here.received, 0);
        if (how % 2 == 1) { /* last words */
            assert_true(side_put(there, 1000, false));
            transport_flush(there->transport);
        }
        transport_close(there->transport);
        if (how >= 2) { /* what fails is the sending, and the last words are heard */
            AWAIT(atomic_load(&there->closed) == 1);
            for (unsigned i = 0; i < 20; i++) {
                if (side_put(&here, 10, false)) {
                    (void)transport_read_here(here.transport, fly_clock_boot_ms() + 1, never, NULL);
                }
            }
        }
        AWAIT(atomic_load(&here.closed) == 1);
        if (atomic_load(&here.received) != (how % 2 == 1 ? 1000 : 0)) {
            fail_msg("way %u: %zu bytes", how, atomic_load(&here.received));
        }
        leave(&here);
    }
    house_close(&house);
}

static void *call_often(void *user)
{
    struct side *here = user;

    for (unsigned i = 0; i < 500; i++) {
        (void)side_put(here, 10, false);
        (void)transport_read_here(here->transport, fly_clock_boot_ms() + 2, came, here);
    }
    return NULL;
}

/* Two callers and others that flush: nothing is lost, and all of it is read. */
static void test_crowd(void **state)
{
    enum { ROUNDS = 2000 };
    struct transport_config config = config_of(&side_events);
    struct house house;
    struct side here;
    pthread_t threads[2];

    (void)state;
    house_open(&house, "inproc://crowd", &config);
    struct side *there = meet(&house, &here, &config);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &here), 0);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_true(side_put(there, 10, true));
        transport_flush(there->transport);
        if (i % 10 == 0) {
            assert_true(side_put(&here, 10, true));
            transport_flush(here.transport);
        }
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(threads); i++) {
        (void)pthread_join(threads[i], NULL);
    }
    AWAIT(atomic_load(&here.received) == ROUNDS * 10);
    AWAIT(atomic_load(&there->received) == transport_bytes_out(here.transport));
    leave(&here);
    house_close(&house);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),           cmocka_unit_test(test_names),
        cmocka_unit_test(test_come_and_go),    cmocka_unit_test(test_stale_path),
        cmocka_unit_test(test_deaf),           cmocka_unit_test(test_read_here),
        cmocka_unit_test(test_hung_up_unread), cmocka_unit_test(test_crowd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
