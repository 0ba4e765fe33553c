/*
 * storm - what the parts of bench_rpc_storm share: one file of memory that outlives every kill.
 *
 * The client writes how each call ended, the servers which calls they began; the driver, when all
 * are gone, whether the two agree. Records are written with atomics by processes that may be killed
 * at any instruction.
 */
#ifndef FLY_TESTS_BENCH_RPC_STORM_H
#define FLY_TESTS_BENCH_RPC_STORM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/rpc/tls.h"
#include "storm.rpc.h"

enum { STORM_SERVERS = 3, STORM_URL_SIZE = 128, STORM_ECHO_SIZE = 24 };
#define STORM_ECHO "storm-echo" /* metadata that comes back as trailer */

enum storm_kind {
    STORM_ONE,
    STORM_QUICK,
    STORM_LOOK,
    STORM_GLANCE,
    STORM_DOWN,
    STORM_UP,
    STORM_BOTH,
    STORM_KINDS,
};

enum storm_flag {
    STORM_SENT = 1 << 0,   /* rpc_reply.sent */
    STORM_CLOSED = 1 << 1, /* a stream that was closed before it had ended: no status */
    STORM_BAD = 1 << 2,    /* what came back was not what was asked for */
};

struct storm_record {
    atomic_uchar executed; /* how often a server began it; stays at 255 */
    atomic_uchar ends;     /* how often the client was told that it ended */
    uint8_t status;
    uint8_t kind_flags; /* kind | flags << 4 */
};

struct storm_shared {
    uint64_t calls;
    atomic_uint_fast64_t begun;     /* calls that the client has made so far */
    atomic_uint_fast64_t late_runs; /* handlers that began after their deadline */
    struct storm_record records[];
};

struct storm_options {
    const char *program; /* to be executed again, as a server or a client */
    uint64_t calls;
    uint64_t seed;
    unsigned threads;
    bool calm;   /* nobody is killed or stopped */
    bool plain;  /* no TLS */
    bool strict; /* the client fails if deadlines overshoot by more than row 10's bar */
    const char *file;
    const char *urls[STORM_SERVERS];
    size_t url_count;
};

struct storm_shared *storm_map(const char *file, uint64_t calls, bool make);
void storm_unmap(struct storm_shared *shared);

/* What a server shows at tls+tcp://, and what a client believes. Read once, never freed. */
struct rpc_tls storm_tls_server(void);
struct rpc_tls storm_tls_client(void);

/* Serves options->urls[0] until SIGTERM. The process' exit code. */
int storm_serve(const struct storm_options *options);
/* Makes all calls, prints figures as JSON lines. The process' exit code. */
int storm_call(const struct storm_options *options);

#endif
