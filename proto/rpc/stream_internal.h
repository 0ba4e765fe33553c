/*
 * stream_internal - what stream.c (life, reading) and stream_send.c share. Nobody else includes it.
 *
 * A stream has no lock of its own: its connection's guards it, so that a message that comes costs
 * one turn of one lock. The reader takes all that waits at once, into an inbox that only it
 * touches.
 *
 * References: the owner's (until close), the call table's (until the call ended), one for each
 * wake that is under way.
 */
#ifndef FLY_RPC_STREAM_INTERNAL_H
#define FLY_RPC_STREAM_INTERNAL_H

#include <pthread.h>
#include <time.h>

#include "proto/rpc/channel_internal.h"

struct rpc_stream {
    struct rpc_channel *channel;
    const struct rpc_method *method;
    uint32_t id;
    atomic_uint references;

    /* the reader's own: */
    struct rpc_inbox own;
    bool over;     /* END was said */
    bool head_due; /* it came and was not told yet */

    /* under the connection's lock: */
    struct rpc_inbox inbox;
    int64_t credit; /* we may send so much */
    bool finished;  /* DONE was put, or is not this side's to say */
    bool detached;  /* no longer in the call table */
    bool ended;     /* and `end` says how */
    bool head_came;
    struct rpc_reply end;
    uint8_t *end_body; /* a reply's message that stands in END */
    size_t end_body_size;
    struct fly_bytes head; /* unchanged once it came */

    bool reader_waits; /* at `readable`, to be posted */
    bool sender_waits;
    bool read_refused; /* the watcher is to be told when there is something */
    bool send_refused;
    sem_t readable;
    sem_t writable;

    void (*changed)(void *user);
    void *changed_user;
    bool telling; /* `teller` runs `changed` */
    bool tell_again;
    bool close_waits; /* at `told` */
    pthread_t teller;
    sem_t told;
};

/* For a timeout: until when, or NULL: for ever. */
const struct timespec *stream_wait_until(struct timespec *until, int64_t timeout_ms);
/* False: the time is up. */
bool stream_wait(sem_t *semaphore, const struct timespec *until);

#endif
