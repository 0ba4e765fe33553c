/*
 * actions - what waits: calls of libflyrpc, on threads of their own, with sessions that stay open.
 *
 * An action runs once on one of ACTIONS_THREADS threads with a session of its token (connected or
 * not), and is then handed back on the dash's thread. Sessions are kept for the next action of the
 * same token: at most ACTIONS_SESSIONS_MAX, the one unused longest goes; one that was idle for
 * ACTIONS_IDLE_MS is closed. A session belongs to one thread at a time: two actions of a token at
 * once have two.
 *
 * Shell. What is called on which thread is said at each function.
 */
#ifndef FLY_DASH_ACTIONS_H
#define FLY_DASH_ACTIONS_H

#include "client/lib/session.h"
#include "dash/http.h"
#include "proto/base/list.h"

enum {
    ACTIONS_THREADS = 4,
    ACTIONS_QUEUE_MAX = 256,
    ACTIONS_SESSIONS_MAX = 32,
    ACTIONS_IDLE_MS = 60000,
    ACTIONS_TICK_MS = 250,     /* < 1000 */
    ACTIONS_CONNECT_MS = 1500, /* what a stop may have to wait for */
};

struct actions;

/* Embed it; the owner's memory until `done`. */
struct action {
    /* On a thread of the pool; may wait. `session` is connected, or NULL and `failure` says why. */
    void (*run)(struct action *action, struct session *session, struct failure *failure);
    /* On the dash's thread. `stopped`: the dash ends; run may not have been called. */
    void (*done)(struct action *action, bool stopped);
    const char *token; /* the owner's, until done. NULL: needs no session, run gets none */
    int64_t until_ms;  /* boot clock: later it gets no session any more. 0: for ever */
    struct fly_list link;
};

struct actions_config {
    const char *edges;  /* copied; NULL or "": none is known yet */
    const char *ca_pem; /* copied; may be NULL */
    struct server *server;
    /* On the dash's thread, every ACTIONS_TICK_MS. */
    void (*tick)(void *user);
    void *user;
};

/* Never NULL. Nothing runs before _start. */
struct actions *actions_create(const struct actions_config *config);
void actions_start(struct actions *a);
/* Ends the threads: calls under way are given up; every action is handed back with `stopped`. On
 * the dash's thread, or when that has ended. NULL is fine. */
void actions_destroy(struct actions *a);
/* Any thread. */
void actions_set_edges(struct actions *a, const char *edges);
/* The dash's thread. False: ACTIONS_QUEUE_MAX wait already, nothing was taken. */
bool actions_submit(struct actions *a, struct action *action);
/* Any thread, for libraries' callbacks: `run` will be called on the dash's thread. An item that is
 * there already is not put again. */
struct actions_note {
    void (*run)(struct actions_note *note);
    struct fly_list link; /* fly_list_init */
};
void actions_note_post(struct actions *a, struct actions_note *note);
/* The note will not run any more, unless it is posted again. Dash's thread. */
void actions_note_drop(struct actions *a, struct actions_note *note);
/* A session for what lasts (a stream), in caller's memory, with copies of its own; not connected.
 * Any thread. */
struct actions_session {
    struct session session;
    char *edges;
    char *token;
};
void actions_session_init(struct actions *a, struct actions_session *s, const char *token);
/* Waits a little: on a thread of the pool, or at the end. */
void actions_session_fini(struct actions_session *s);

#endif
