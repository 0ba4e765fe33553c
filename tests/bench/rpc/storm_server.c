/*
 * storm_server - the serving side of bench_rpc_storm: says in the shared file what it begins.
 */
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/wire/metadata.h"
#include "tests/bench/rpc/storm.h"

enum { WORKERS = 4, EXIT_BUSY = 75 };

/* Begun: counted before anything else. A call that has begun at two servers, or twice at one, is
 * seen here, even if both were killed right after. */
static void begin(struct storm_shared *shared, uint64_t id)
{
    if (id < shared->calls && atomic_load(&shared->records[id].executed) < 255) {
        atomic_fetch_add(&shared->records[id].executed, 1);
    }
}

/* At the very begin of a handler. A process that is stopped right before it is late, too. */
static void note_late(struct storm_shared *shared, const struct rpc_call *call)
{
    int64_t deadline_ms = rpc_call_deadline_ms(call);

    if (deadline_ms != 0 && fly_clock_boot_us() > deadline_ms * 1000) {
        atomic_fetch_add(&shared->late_runs, 1);
    }
}

static void burn(uint32_t us)
{
    struct timespec now;
    int64_t end_ns = 0;

    for (bool first = true;; first = false) {
        (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        int64_t now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;

        end_ns = first ? now_ns + (int64_t)us * 1000 : end_ns;
        if (now_ns >= end_ns) {
            return;
        }
    }
}

static void echo(struct rpc_call *call)
{
    uint8_t entries[STORM_ECHO_SIZE * 2];
    struct fly_writer w = fly_writer_over(entries, sizeof entries);
    struct fly_bytes value;

    if (metadata_find(rpc_call_metadata(call), STORM_ECHO, &value) &&
        metadata_put(&w, STORM_ECHO, value, NULL) == FLY_OK) {
        (void)rpc_call_set_trailer(call, (struct fly_bytes){entries, w.size});
    }
}

static void fail(struct rpc_call *call, enum fly_status status)
{
    rpc_call_fail(call, status, "as asked", (struct fly_bytes){0});
}

static Storm__Said said_of(const Storm__Ask *ask)
{
    Storm__Said said = STORM__SAID__INIT;

    said.id = ask->id;
    said.filler = ask->filler;
    return said;
}

static void answer(void *user, struct rpc_call *call, const Storm__Ask *ask)
{
    Storm__Said said = said_of(ask);

    note_late(user, call);
    begin(user, ask->id);
    burn(ask->work_us);
    if (ask->sleep_us > 0) {
        (void)usleep(ask->sleep_us);
    }
    echo(call);
    if (ask->status != 0) {
        fail(call, fly_status_from_wire(ask->status));
    } else {
        rpc_call_reply(call, &said.base);
    }
}

static void down(void *user, struct rpc_call *call, const Storm__Ask *ask)
{
    Storm__Said said = said_of(ask);
    enum fly_status status = fly_status_from_wire(ask->status);

    note_late(user, call);
    begin(user, ask->id);
    echo(call);
    for (uint32_t i = 0; i < ask->messages; i++) {
        if (storm_storm_down_send_wait(call, &said, -1) != FLY_OK) {
            fail(call, FLY_CANCELLED);
            return;
        }
    }
    if (status != FLY_OK) {
        fail(call, status);
    } else {
        rpc_call_reply(call, NULL);
    }
}

/* The id is in the first message, so a call that sends none is nobody's. */
static void gather(struct storm_shared *shared, struct rpc_call *call, bool both)
{
    struct rpc_reply message;
    enum rpc_next next = RPC_NEXT_MESSAGE;
    Storm__Said sum = STORM__SAID__INIT;
    enum fly_status status = FLY_OK;
    bool first = true;

    note_late(shared, call);
    echo(call);
    while ((next = rpc_call_next(call, -1, &message)) == RPC_NEXT_MESSAGE) {
        const Storm__Ask *ask = (const Storm__Ask *)message.message;
        Storm__Said said = said_of(ask);

        if (first) {
            begin(shared, ask->id);
            sum.id = ask->id;
            status = fly_status_from_wire(ask->status);
        }
        first = false;
        if (both && storm_storm_both_send_wait(call, &said, -1) != FLY_OK) {
            rpc_reply_fini(&message);
            fail(call, FLY_CANCELLED);
            return;
        }
        rpc_reply_fini(&message);
    }
    if (message.status != FLY_OK) {
        fail(call, message.status);
    } else if (status != FLY_OK) {
        fail(call, status);
    } else {
        rpc_call_reply(call, both ? NULL : &sum.base);
    }
    rpc_reply_fini(&message);
}

static void up(void *user, struct rpc_call *call)
{
    gather(user, call, false);
}

static void both(void *user, struct rpc_call *call)
{
    gather(user, call, true);
}

int storm_serve(const struct storm_options *options)
{
    static const struct storm_storm_handlers handlers = {.one = answer,
                                                         .quick = answer,
                                                         .look = answer,
                                                         .glance = answer,
                                                         .down = down,
                                                         .up = up,
                                                         .both = both};
    struct storm_shared *shared = storm_map(options->file, options->calls, false);
    struct rpc_service service = storm_storm_serve(&handlers, shared);
    struct rpc_tls tls = storm_tls_server();
    struct rpc_server_config config = {.urls = options->urls,
                                       .tls = &tls,
                                       .url_count = 1,
                                       .services = &service,
                                       .service_count = 1,
                                       .workers = WORKERS,
                                       .calls_max = 128};
    struct rpc_server *server = NULL;
    struct fly_error error = {.text = ""};
    sigset_t term;
    int signal_number = 0;

    (void)sigemptyset(&term);
    (void)sigaddset(&term, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &term, NULL);
    if (rpc_server_create(&server, &config, &error) != FLY_OK) {
        warnx("%s: %s", options->urls[0], error.text);
        storm_unmap(shared);
        return EXIT_BUSY;
    }
    (void)sigwait(&term, &signal_number);
    rpc_server_drain(server);
    for (int i = 0; i < 50 && !rpc_server_idle(server); i++) {
        (void)usleep(1000);
    }
    rpc_server_destroy(server);
    storm_unmap(shared);
    return 0;
}
