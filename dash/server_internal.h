/*
 * server_internal - what the parts of the server (server*.c, live*.c) share. Nobody else includes
 * it.
 */
#ifndef FLY_DASH_SERVER_INTERNAL_H
#define FLY_DASH_SERVER_INTERNAL_H

#include <libwebsockets.h>
#include <stdatomic.h>
#include <uv.h>

#include "dash/assets.h"
#include "dash/live.h"
#include "dash/server.h"
#include "dash/signin.h"

enum {
    SERVER_CHUNK_BYTES = 16 * 1024, /* of one write */
    SERVER_HEAD_BYTES_MAX = 4096,   /* of an answer */
    SERVER_HEADER_DATA_MAX = 12 * 1024,
    SERVER_HEADER_POOL = 2048, /* requests whose head is read, or that wait for an answer */
    SERVER_REQUEST_MS = 10000,
    SERVER_PARAMS_MAX = 16,
    SERVER_FIELDS_MAX = 9,
    SERVER_SESSION_COOKIE_SIZE = SIGNIN_ID_TEXT_SIZE,
};

/* Bytes that several answers and browsers send at once; the last one frees them. */
struct server_bytes {
    uint32_t references;
    size_t size;
    uint8_t *data; /* with LWS_PRE bytes before it that may be written */
};

struct server {
    const struct dash_config *config;
    struct dash_state *state;
    struct api *api;
    bool tls;
    uint64_t boot;
    uint16_t port;
    int listen_fd;

    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t second;
    uv_timer_t flush;
    uv_timer_t stop;
    uv_poll_t listen;
    struct lws_context *context;
    struct lws_vhost *vhost;

    pthread_mutex_t jobs_lock;
    struct fly_list jobs;
    atomic_bool woken; /* the wake-up is on its way */
    atomic_bool stopping;

    struct fly_list calls; /* of struct http_call, all that live */
    uint64_t call_last;    /* the last id given out */
    uint32_t streams;
    uint32_t connections;
    bool closing; /* says good-bye to everybody */

    struct signin *signin;
    struct assets *assets;
    struct live *live;
    /* The fleet's snapshot of one frame, made once. */
    uint32_t fleet_seq;
    struct server_bytes *fleet;
    struct server_bytes *fleet_gzip;

    atomic_uint browsers;
    atomic_uint pace_ms;
    atomic_uint_least64_t frames;
    atomic_uint_least64_t resyncs;
    atomic_uint_least64_t requests;
    atomic_uint_least64_t refused;
};

/* What of a request's headers is kept. */
enum server_field {
    SERVER_FIELD_HOST,
    SERVER_FIELD_ORIGIN,
    SERVER_FIELD_COOKIE,
    SERVER_FIELD_AUTHORIZATION,
    SERVER_FIELD_IF_NONE_MATCH,
    SERVER_FIELD_ACCEPT_ENCODING,
    SERVER_FIELD_CONTENT_TYPE,
    SERVER_FIELD_IDEMPOTENCY_KEY,
    SERVER_FIELD_LAST_EVENT_ID,
};

/* Who asks, and how it was told. */
struct server_identity {
    bool known;
    bool by_cookie;
    struct dash_who who;
    uint8_t session[SIGNIN_HASH_SIZE]; /* when by cookie */
    char token[TOKEN_TEXT_MAX + 1];
};

/* Part of a stream that waits to be sent. */
struct server_piece {
    struct fly_list link;
    size_t size;
    size_t sent;
    uint8_t data[]; /* LWS_PRE bytes, then `size` */
};

struct http_call {
    struct fly_list link;
    uint64_t id;
    struct server *server;
    struct lws *wsi;
    enum http_method method;
    bool head;           /* HEAD: as GET, without the body */
    bool body_ended;     /* it was said to be here */
    bool handed_on;      /* to who answers it */
    bool answered;       /* http_reply or http_stream_begin was called */
    bool sent;           /* all of the answer: the connection ends when the kernel has it */
    int64_t deadline_ms; /* for the body to come; 0: it is here */
    char path[HTTP_PATH_MAX + 1];
    char remote[HTTP_REMOTE_SIZE];
    struct server_identity *identity; /* NULL: nobody */
    char *text;                       /* what the fields and parameters point into */
    const char *fields[SERVER_FIELDS_MAX];
    char *params[SERVER_PARAMS_MAX]; /* "name\0value\0" */
    uint32_t param_count;
    uint8_t *body;
    size_t body_size;
    size_t body_max;

    /* the answer */
    uint8_t *out_head; /* LWS_PRE bytes, then out_head_size; NULL once sent */
    size_t out_head_size;
    struct server_bytes *out;  /* shared, or */
    const uint8_t *out_static; /* embedded */
    size_t out_size;
    size_t out_sent;

    /* or the stream */
    bool stream;
    bool stream_ended;
    struct fly_list pieces;
    size_t pieces_bytes;
    void (*gone)(void *user);
    void (*writable)(void *user);
    void *user;
};

/* Of each connection, libwebsockets' memory. */
struct server_peer {
    struct http_call *call;
    struct live_browser *browser;
    bool counted;
};

/* --- server.c --- */
int64_t server_now_ms(const struct server *server); /* the loop's clock, monotonic */
struct server_bytes *server_bytes_new(size_t size); /* one reference; FLY_CHECKs memory */
struct server_bytes *server_bytes_keep(struct server_bytes *bytes);
void server_bytes_drop(struct server_bytes *bytes); /* NULL is fine */
void server_gone(struct server *server);            /* a browser or a request has */

/* --- server_http.c --- */
int server_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t size);
/* Every second: requests whose body does not come. */
void server_http_tick(struct server *server, int64_t now_ms);

/* --- server_call.c --- */
/* Copies what is kept of the request that `wsi` has just read. NULL: *status says why not. */
struct http_call *http_call_make(struct server *server, struct lws *wsi, const char *path,
                                 size_t path_size, unsigned *status);
void http_call_free(struct http_call *call);
const char *http_call_field(const struct http_call *call, enum server_field field);
/* The request's own Origin, or none at all. */
bool http_call_same_origin(const struct http_call *call);
bool http_call_has_origin(const struct http_call *call);
bool http_call_takes_gzip(const struct http_call *call);

/* --- server_identity.c --- */
/* Who asks: by bearer token or cookie; call->identity is set, or not. False: the call was
 * answered. */
bool server_identify(struct http_call *call);
void server_session(struct http_call *call); /* /v1/session */

/* --- server_reply.c --- */
/* As http_reply, of bytes that are not copied: a reference that is now the call's, or memory that
 * lives for ever. */
void server_reply_shared(struct http_call *call, unsigned status, const char *type,
                         const char *headers, struct server_bytes *bytes);
void server_reply_static(struct http_call *call, unsigned status, const char *type,
                         const char *headers, struct fly_bytes bytes);
/* Writes what can be written; for WRITEABLE. Below 0: the connection ends; above: the call is over
 * and was sent whole. */
int server_reply_write(struct http_call *call);
/* Sends all of a small answer at once: where nothing else is on its way (an upgrade refused). */
int server_reply_now(struct http_call *call);

/* --- server_fleet.c --- */
void server_fleet(struct http_call *call);

#endif
