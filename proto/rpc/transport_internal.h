/*
 * transport_internal - what the transport*.c files share. Nobody else includes it.
 *
 * transport.c is every connection's life, transport_write.c its writer; what moves the bytes is
 * behind transport_ops: transport_socket.c (clear text: our own sockets and pollers) and
 * transport_nng.c (TLS: nng streams). How a connection comes about: transport_dial.c, and
 * transport_socket_dial.c and transport_nng_dial.c behind it.
 */
#ifndef FLY_RPC_TRANSPORT_INTERNAL_H
#define FLY_RPC_TRANSPORT_INTERNAL_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

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

struct tls_context;

struct transport_ops {
    /* Reading begins. False: it is over already, and nobody tells. */
    bool (*start)(struct transport *t);
    /* Reading goes on (`reading` was set). False: as above. */
    bool (*resume)(struct transport *t);
    /* Under the lock, the writer, before it takes `out`: may it be sent in place? */
    bool (*fits)(struct transport *t);
    /* Sends of `sending` as much as goes at once and counts it in `sent`. False: broken. */
    bool (*send_now)(struct transport *t);
    /* Sends the rest, or more of it, then calls transport_sent. False: broken, it does not. */
    bool (*send_later)(struct transport *t);
    /* transport_read_here, and, under the lock while it is by_callers: somebody else flushes. Both
     * may be NULL. */
    bool (*read_here)(struct transport *t, int64_t deadline_ms, bool (*done)(void *user),
                      void *user);
    void (*stir)(struct transport *t);
    /* A send failed: nothing more is sent, but what the peer said before is still to be read. */
    void (*hush)(struct transport *t);
    /* Cuts it. `idle`: it was started, and no receive is under way that would notice. */
    void (*shut)(struct transport *t, bool idle);
    /* Frees all but the base's, and t. On the timer thread. */
    void (*destroy)(struct transport *t);
};

struct transport {
    const struct transport_ops *ops;
    atomic_uint references;
    struct transport_config config;
    void *user;
    const char *failure; /* TLS's word for the end; set before `closed` is told */
    struct rpc_job closed_job;
    struct rpc_job dispose_job;
    struct rpc_job room_job;
    struct fly_list budget_node;      /* under the budget's lock, as is: */
    enum transport_wait budget_waits; /* for room in the budget */
    atomic_uint_fast64_t bytes_in;
    atomic_uint_fast64_t bytes_out;
    char remote[TRANSPORT_REMOTE_SIZE];

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
    bool lies;    /* it answered what it was not asked: no answer of its counts any more */
    bool writing;
    bool started;
    bool reading; /* not held back, nor over */
    bool closing;
    bool cut;           /* to be closed by the next flush */
    bool broken;        /* nothing can be sent any more; the reader finds its end */
    size_t room_wanted; /* so much was refused: `drained` is owed when it fits; 0: nothing */
    bool by_callers;    /* reading: transport_read_here */
};

/* What the writer has taken counts until all of it has left: how far it is, only it knows. */
static inline size_t transport_waiting(const struct transport *t)
{
    return t->out.size + (t->writing ? t->sending.size : 0);
}

/* transport.c */
void transport_init(struct transport *t, const struct transport_ops *ops,
                    const struct transport_config *config);
/* The end of what transport_init began; everything else is freed already. */
void transport_fini(struct transport *t);
/* "127.0.0.1:40312", "[::1]:40312", else `other`. */
void transport_name(char out[static TRANSPORT_REMOTE_SIZE], const struct sockaddr *address,
                    const char *other);
/* After what was received: whether reading goes on. Under the lock. */
bool transport_goes_on(struct transport *t);
/* It is over. True: the first to say so, and to cut it. Under the lock. */
bool transport_set_closing(struct transport *t);
/* The reader's last word: `closed`, and its reference. */
void transport_end(struct transport *t);

/* transport_write.c */
/* Under the lock: `drained` is to be told now, and is not owed any more. */
bool transport_owes_room(struct transport *t);
/* What send_later began is done, or broken: the writer goes on, and gives its reference back. */
void transport_sent(struct transport *t, bool alive);
/* Counts what has left. */
void transport_count_sent(struct transport *t, size_t count);
/* `room` is the mark's. */
void transport_write_mark(struct transport *t, uint8_t *room);
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

/* ---- how they come about ---- */

enum transport_kind { TRANSPORT_TCP, TRANSPORT_IPC, TRANSPORT_INPROC };

struct transport_address {
    enum transport_kind kind;
    bool secure;
    socklen_t size;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un; /* INPROC: its name is in sun_path */
    } socket;
};

/* transport_url.c: transport_url_check, and the result. */
enum fly_status transport_address_parse(struct transport_address *address, const char *url,
                                        struct fly_error *error);

struct transport_dial {
    void (*stop)(struct transport_dial *dial);
    /* On the timer thread: frees it. The transport, or why not. */
    struct transport *(*finish)(struct transport_dial *dial, struct fly_error *why);
    struct transport_config config;
    transport_dialled *dialled;
    void *user;
    struct rpc_job job; /* posted once, when it has ended */
};

struct transport_listener {
    void (*close)(struct transport_listener *listener);
    void (*destroy)(struct transport_listener *listener);
    struct transport_config config;
    void (*accepted)(void *user, struct transport *transport);
    void *user;
    char url[TRANSPORT_URL_SIZE];
};

/* Begin, with all of `common` but stop and finish filled in; *out is set before `job` can be
 * posted. `tls` (or NULL) is theirs from here on, also on failure. */
enum fly_status transport_socket_dial(struct transport_dial **out,
                                      const struct transport_address *address,
                                      struct tls_context *tls, const struct transport_dial *common,
                                      struct fly_error *error);
/* The same; the first accept may come before they return. */
enum fly_status transport_socket_listen(struct transport_listener **out,
                                        const struct transport_address *address,
                                        struct tls_context *tls,
                                        const struct transport_listener *common,
                                        struct fly_error *error);

/* Takes the socket over, also on failure (NULL: out of memory). */
struct transport *transport_socket_make(int fd, const struct transport_config *config,
                                        const struct transport_address *peer,
                                        const struct tls_context *tls);

#endif
