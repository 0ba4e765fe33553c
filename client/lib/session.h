/*
 * session - one person's connection to a cluster: connect to an edge with HELLO, call with a
 * deadline, again after a break, through another edge if there is one. Shell.
 *
 * It stays with the edge that works. An edge that cannot be reached, breaks off, says that it goes
 * away or cannot reach an owner, or does not answer within half of the time, is left for the next
 * one; what may be called again there is the caller's to say, as ever (rpc_reply.sent).
 *
 * One thread at a time. A call can be interrupted (session_interrupt, from a signal handler; or
 * stop_fd, for this session alone): it then ends with CANCELLED, and reply.sent says whether it may
 * have been executed.
 */
#ifndef FLY_CLIENT_SESSION_H
#define FLY_CLIENT_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "client/lib/choices.h"
#include "fly/v1/edge.pb-c.h"
#include "proto/base/rng.h"
#include "proto/rpc/channel.h"

struct session {
    const char *addr; /* a list of edges (address.h) */
    const char *token;
    const char *ca_pem; /* NULL: none; tls+tcp cannot be spoken then */
    struct fly_rng rng; /* for pauses and choices; seeded by session_init */
    struct choices choices;
    bool resolved;               /* the list's names were looked up since a connection failed */
    struct rpc_channel *channel; /* NULL: not connected */
    Fly__V1__HelloReply *hello;  /* of the last connection; NULL before the first */
    int64_t hello_boot_ms;       /* when it came */
    struct frame_trace trace;    /* of all its calls; random unless session_trace says */
    bool span_given;             /* of `trace`; else each call has a new one */
    struct fly_bytes metadata;   /* goes with every call: encoded entries, borrowed */
    int stop_fd; /* while it is readable this session is as good as interrupted; -1: none */
};

/* A refusal as a person and a program need it. */
struct failure {
    enum fly_status status;
    uint32_t reason; /* fly.v1.Reason */
    bool retryable;
    bool sent;      /* false: certainly not executed */
    bool connected; /* false: there was no connection */
    bool moved;     /* the next call goes to another edge */
    char message[RPC_TEXT_SIZE];
    char hint[RPC_TEXT_SIZE];
    Fly__V1__Refusal *refusal; /* for its tags; NULL: none came */
};

/* Borrows both texts. Installs nothing and connects nothing. */
void session_init(struct session *session, const char *addr, const char *token);
void session_fini(struct session *session);
/* All calls belong to this trace, as children of its span. */
void session_trace(struct session *session, const struct frame_trace *trace);
/* What every call goes with; timeout_ms 0: none. */
struct rpc_call_options session_options(const struct session *session, int64_t timeout_ms);

/* Connects if there is no connection that is alive, to the current edge or one of the others.
 * FLY_OK, or `failure` is filled. */
enum fly_status session_connect(struct session *session, int64_t timeout_ms,
                                struct failure *failure);
/* Connects if need be and calls once; with several edges to go to, a call gets half of the time, so
 * that some is left for another. FLY_OK: `reply` holds the message; else `failure` is filled.
 * Finish both in every case. */
enum fly_status session_call(struct session *session, const struct rpc_method *method,
                             const ProtobufCMessage *request, int64_t timeout_ms,
                             struct rpc_reply *reply, struct failure *failure);
/* The same for calls that may be made twice: breaks and passing refusals are tried again, with
 * pauses, until the time is over. Nothing listening at the first try ends at once. */
enum fly_status session_call_again(struct session *session, const struct rpc_method *method,
                                   const ProtobufCMessage *request, int64_t timeout_ms,
                                   struct rpc_reply *reply, struct failure *failure);

/* After a call or stream that failed: leaves an edge of which nothing better is to be expected, and
 * says so in failure->moved. */
void session_move_on(struct session *session, struct failure *failure);

/* The edge's wall clock now, by its HELLO; our own before the first. Milliseconds. */
int64_t session_wall_ms(const struct session *session);
/* Waits; false when interrupted. */
bool session_pause(int64_t pause_ms);

/* Async-signal-safe: ends the call or pause under way, and every later one at once. */
void session_interrupt(void);
bool session_interrupted(void);
/* Interrupted, or its stop_fd is readable. */
bool session_stopped(const struct session *session);
/* Async-signal-safe: waiting for a connection with no request on its way or in doubt. */
bool session_idle(void);

/* Fills `failure` from how a call ended. */
void failure_from_reply(struct failure *failure, const struct rpc_reply *reply);
void failure_fini(struct failure *failure);

#endif
