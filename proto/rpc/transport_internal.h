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

enum { TRANSPORT_IN_SMALL = 1024 };

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
    nng_aio *send_aio; /* with a callback; made when first needed, under `beginning` */
    atomic_uint references;
    struct transport_config config;
    bool secure;
    bool lies;   /* it answered what it was not asked: no answer of its counts any more */
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

    /* only the receiving callback touches these */
    struct transport_buffer in; /* in_small while that does */
    size_t in_room;             /* of the receive under way */
    size_t in_count;            /* that the last one brought */
    unsigned records;
    unsigned heat; /* so many small reads and a large `in` is given back */
    uint8_t in_small[TRANSPORT_IN_SMALL];

    /* nng 1.5.2 keeps an aio for ever that is begun on a stream after its close: beginning one with
     * a callback and closing exclude each other. Guards `shut` and send_aio's making. */
    pthread_mutex_t beginning;
    bool shut;
    pthread_mutex_t lock; /* all below */
    struct transport_buffer out;
    struct transport_buffer sending; /* the writer's own while `writing` */
    size_t sent;                     /* of `sending`; the writer's own too, without the lock */
    size_t charged;                  /* to the budget */
    uint64_t reserved;               /* bytes ever appended to out */
    uint64_t spent;                  /* TLS: ciphertext of all that was handed over, at most */
    uint64_t read_by_peer;           /* the part of it that an answered mark covers */
    uint64_t mark_spent;
    uint32_t mark_number;
    bool mark_pending;
    bool probing; /* the mark is a probe's: nothing else is going on */
    bool shaken;  /* TLS: its handshake is over */
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

/* What a url asks for; see transport_url.c. */
struct transport_address {
    bool secure;
    bool inproc;                     /* only this very process may be at the other end */
    char native[TRANSPORT_URL_SIZE]; /* nng's url for it */
};

/* transport_url_check, and more. */
enum fly_status transport_address_parse(struct transport_address *address, const char *url,
                                        struct fly_error *error);

/* Takes the stream over, also on failure: NULL when out of memory, or when it comes from another
 * process and must not. */
struct transport *transport_make(nng_stream *stream, const struct transport_config *config,
                                 const struct transport_address *address);
/* False: the stream was shut, nothing will come of it. */
bool transport_receive_more(struct transport *t);

/* With a batch open: t is not written at its end after all. */
void transport_batch_forget(struct transport *t);

/* transport_buffer.c. `size` more bytes at the end, or NULL: out of memory, nothing changed. */
uint8_t *transport_buffer_extend(struct transport_buffer *buffer, size_t size);
/* Gives its memory back. */
void transport_buffer_empty(struct transport_buffer *buffer);

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
