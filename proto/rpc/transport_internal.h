/*
 * transport_internal - what transport.c, transport_write.c and transport_dial.c share. Nobody else
 * includes it, or nng.
 */
#ifndef FLY_RPC_TRANSPORT_INTERNAL_H
#define FLY_RPC_TRANSPORT_INTERNAL_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdatomic.h>

#include "proto/rpc/timer.h"
#include "proto/rpc/transport.h"

struct transport_buffer {
    uint8_t *data;
    size_t size;
    size_t max;
};

enum transport_wait {
    TRANSPORT_WAITS_NOT,
    TRANSPORT_WAITS_LISTED, /* with a reference */
    TRANSPORT_WAITS_POSTED, /* room_job is on its way, with the reference */
};

struct transport {
    nng_stream *stream;
    nng_aio *recv_aio;
    nng_aio *inline_aio; /* no callback: completes in place */
    nng_aio *send_aio;
    atomic_uint references;
    struct transport_config config;
    bool secure;
    int failure; /* nng's word for the end of receiving; set before `closed` is told */
    void *user;
    struct rpc_job closed_job;
    struct rpc_job dispose_job;
    struct rpc_job room_job;
    struct fly_list budget_node;      /* under the budget's lock, as is: */
    enum transport_wait budget_waits; /* for room in the budget */
    atomic_uint_fast64_t bytes_in;
    atomic_uint_fast64_t bytes_out;
    char remote[TRANSPORT_REMOTE_SIZE];

    struct transport_buffer in; /* only the receiving callback touches it */

    pthread_mutex_t beginning; /* only `shut`, and only while an aio is begun */
    bool shut;
    pthread_mutex_t lock; /* all below */
    struct transport_buffer out;
    struct transport_buffer sending; /* the writer's own while `writing` */
    size_t sent;                     /* of `sending`; the writer's own too, without the lock */
    size_t charged;                  /* to the budget */
    uint64_t reserved;               /* bytes ever appended to out */
    uint64_t spent;                  /* cost of all that was handed to the kernel */
    uint64_t read_by_peer;           /* the part of it that an answered mark covers */
    uint64_t mark_spent;
    uint32_t mark_number;
    bool mark_pending;
    bool in_place; /* sends without a callback are possible */
    bool writing;
    bool started;
    bool reading; /* a receive is under way or being handled */
    bool closing;
    bool cut; /* to be closed by the next flush */
    bool room_wanted;
};

/* What the writer has taken counts until all of it has left: how far it is, only it knows. */
static inline size_t transport_waiting(const struct transport *t)
{
    return t->out.size + (t->writing ? t->sending.size : 0);
}

enum transport_kind { TRANSPORT_ACCEPTED = 0, TRANSPORT_DIALLED = 1, TRANSPORT_SECURE = 2 };

/* Takes the stream over, also on failure (NULL). `kind` is of the bits above. */
struct transport *transport_make(nng_stream *stream, const struct transport_config *config,
                                 unsigned kind);
/* nng 1.5.2 keeps an aio for ever that is begun on a stream after its close: beginning and closing
 * exclude each other. False: shut, and the aio was not begun. */
bool transport_begin(struct transport *t, void (*operation)(nng_stream *, nng_aio *), nng_aio *aio);
/* False: the stream was shut, nothing will come of it. */
bool transport_receive_more(struct transport *t);
void transport_on_sent(void *transport);

/* transport_budget.c; all but leave under the transport's lock. */
/* `size` more shall wait. False: refused, and noted for `drained`. */
bool transport_charge(struct transport *t, size_t size, bool urgent);
/* Gives back what is over that which waits now. */
void transport_repay(struct transport *t);
/* room_job's: there is room in the budget. */
void transport_tell_room(struct rpc_job *job);
/* It is closed: it waits for no room, whatever happens. Not under the lock. */
void transport_budget_leave(struct transport *t);

#endif
