/*
 * transport - bytes between two processes, or two parts of one: dial, listen, read, and the
 * combining writer. Sockets of our own, with OpenSSL on them for tls+tcp://; only the transport*.c
 * files and poller.c touch them.
 *
 * - The poller thread that finds a socket readable reads it and runs the handlers (poller.h), then
 *   writes what they produced once. A caller that waits for one answer may read instead
 *   (transport_read_here).
 * - Whoever appends first becomes the writer and sends until nothing is left; the others only
 *   append. No send ever waits: what the kernel does not take stays here and goes when the poller
 *   says so. A reader that stopped costs memory up to out_max, but never a thread.
 * - A failed send ends only the writing: what the peer said before is read, then it is over.
 * - An idle connection has no buffer at all.
 */
#ifndef FLY_RPC_TRANSPORT_H
#define FLY_RPC_TRANSPORT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/list.h"
#include "proto/base/status.h"
#include "proto/rpc/tls.h"

struct transport;
struct transport_dial;
struct transport_listener;

enum {
    TRANSPORT_URL_SIZE = 160,
    TRANSPORT_REMOTE_SIZE = 64,
    TRANSPORT_MARK_SIZE = 16,
    /* Short frames that end calls may go so far over out_max; past that the connection is cut. */
    TRANSPORT_URGENT_MAX = 1 << 20,
    TRANSPORT_READ_HERE_SLICE_MS = 50,
    /* What waits at one connection counts against a shared budget above the first, in steps of the
     * second: calls one at a time never touch it. */
    TRANSPORT_BUDGET_FREE = 4 * 1024,
    TRANSPORT_BUDGET_STEP = 16 * 1024,
};

/* On a poller thread, or that of a caller who reads, one at a time. (`closed` may come from the
 * timer thread.) */
struct transport_events {
    /* Takes the whole frames at the start of data[size] and returns their bytes. *wanted: how many
     * bytes the next step needs in all. SIZE_MAX: cut the connection. */
    size_t (*received)(void *user, const uint8_t *data, size_t size, size_t *wanted);
    /* The connection is gone; exactly once, and nothing is received after it. */
    void (*closed)(void *user);
    /* After a refused reserve: there is room again. Any thread, even after `closed`. */
    void (*drained)(void *user);
    /* The last reference is gone and so is the transport: on the timer thread, the last event. */
    void (*disposed)(void *user);
    /* Writes mark number n: a frame that the peer answers once it has read so far. */
    void (*mark)(uint32_t number, uint8_t out[static TRANSPORT_MARK_SIZE]);
};

/*
 * What many connections together may have waiting to be sent. Outlives all of them (their
 * `disposed`). Once `max` is spent, reserves that are not urgent are refused and counted, until
 * half of it is free again: then `drained` tells each of those that were refused.
 */
struct transport_budget {
    size_t max;
    atomic_size_t used; /* now, in steps; over max by what was urgent or one message each */
    atomic_uint_fast64_t refused;
    atomic_uint waiters;
    pthread_mutex_t lock;
    struct fly_list waiting;
};

void transport_budget_init(struct transport_budget *budget, size_t max);
void transport_budget_fini(struct transport_budget *budget);

struct transport_config {
    const struct transport_events *events;
    size_t out_max;
    struct transport_budget *budget; /* NULL: only out_max */
    int64_t
        unacknowledged_ms; /* dialling: RFC 5482, the wire is cut when what was sent is not
                              acknowledged, or not taken, for so long; 0: the system's minutes */
    bool hold_back; /* stop reading while more than half of out_max waits (servers only: two sides
                       that both hold back can wait for each other for ever) */
};

/* INVALID_ARGUMENT unless tcp:// or tls+tcp:// with a numeric address and a port, ipc:// with a
 * path, or inproc:// with a name, which this process alone can reach. */
enum fly_status transport_url_check(const char *url, struct fly_error *error);

/* On the timer thread: a transport that has one reference and has not started, or why not. */
typedef void transport_dialled(void *user, struct transport *transport,
                               const struct fly_error *why);

/*
 * Begins to connect; `dialled` runs once. Returns at once. tls+tcp:// is connected when TCP is: TLS
 * shakes hands with the first bytes. INVALID_ARGUMENT: url or PEM; nothing was begun then.
 */
enum fly_status transport_dial(struct transport_dial **out, const char *url,
                               const struct rpc_tls *tls, const struct transport_config *config,
                               transport_dialled *dialled, void *user, struct fly_error *error);
/* Gives up: `dialled` follows soon. Only before it, and only on the timer thread. */
void transport_dial_stop(struct transport_dial *dial);

/* `accepted` runs on a poller thread (inproc: the timer thread) with a transport that has one
 * reference, given away. */
enum fly_status transport_listen(struct transport_listener **out, const char *url,
                                 const struct rpc_tls *tls, const struct transport_config *config,
                                 void (*accepted)(void *user, struct transport *transport),
                                 void *user, struct fly_error *error);
/* The url with the port that was bound. */
const char *transport_listener_url(const struct transport_listener *listener);
/* Accepts no more; returns at once. */
void transport_listener_close(struct transport_listener *listener);
/* Closes, waits and frees. Never on a thread of the library. */
void transport_listener_destroy(struct transport_listener *listener);

/* Begins to read; `user` is for the events. */
void transport_start(struct transport *transport, void *user);
/* Cuts the connection; `closed` follows soon if it was started. Idempotent, any thread, returns at
 * once; not under the lock. */
void transport_close(struct transport *transport);
void transport_hold(struct transport *transport);
/* The last drop disposes, on the timer thread. Who keeps something about a connection keeps it as
 * long as the transport: its references count for both. */
void transport_drop(struct transport *transport);
/* "127.0.0.1:40312", "[::1]:40312", "ipc" or "inproc". */
const char *transport_remote(const struct transport *transport);

/* In `closed` and later: what TLS says, if it is why the connection ended; else NULL. */
const char *transport_tls_failure(const struct transport *transport);

/* The one lock of a connection: out-buffer and whatever the user keeps beside it. */
void transport_lock(struct transport *transport);
void transport_unlock(struct transport *transport);

/* All of these under the lock: */

/* Room for `size` bytes at the end of what waits, to be filled before unlocking. NULL when closed
 * or over out_max or the budget. `urgent`: may go over both; when even TRANSPORT_URGENT_MAX is
 * full, the connection is cut. */
uint8_t *transport_reserve(struct transport *transport, size_t size, bool urgent);
/* What may wait at most: a larger reserve that is not urgent never succeeds. */
size_t transport_out_max(const struct transport *transport);
/* How many bytes were reserved ever: the position of the next. */
uint64_t transport_position(const struct transport *transport);
/* Bytes that are surely still in this process, or NULL once they may have left. */
uint8_t *transport_unsent(struct transport *transport, uint64_t position);
/* The peer answered mark number n. */
void transport_marked(struct transport *transport, uint32_t number);
/* Appends a mark now (keepalive), unless one is on its way. */
void transport_probe(struct transport *transport);
/* Nothing can be sent any more; what came before may still be received. */
bool transport_closed(const struct transport *transport);
/* Reading is suspended (hold_back): what is missing of a frame may wait in the kernel, and that it
 * is late is not the peer's fault. */
bool transport_held_back(const struct transport *transport);

/* Sends what waits: now, or at the end of this thread's batch. Not under the lock. */
void transport_flush(struct transport *transport);

/*
 * For a caller that waits for one answer and has nothing else to do: sends what waits, then reads
 * the connection on this very thread (`received` runs on it) until done(user), asked after every
 * read, or deadline_ms (CLOCK_BOOTTIME; 0: none), or the connection is over. Instead of
 * transport_flush, which would give the reading back to the poller. Returns done(user); false also
 * when somebody else reads, at once: then wait to be told as always, what arrives meanwhile is
 * taken by the poller. Not on the library's threads, not in a batch, not under the lock; the
 * caller has a reference.
 *
 * Between two such callers nobody reads for a few milliseconds; whatever else is flushed gives it
 * back to the poller at once. What is to end the wait from another thread must close the connection
 * or be content with TRANSPORT_READ_HERE_SLICE_MS.
 */
bool transport_read_here(struct transport *transport, int64_t deadline_ms, bool (*done)(void *user),
                         void *user);

/* Bytes since the start, for counters. Any thread. */
uint64_t transport_bytes_in(const struct transport *transport);
uint64_t transport_bytes_out(const struct transport *transport);

#endif
