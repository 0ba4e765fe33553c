/*
 * http - one HTTP request and its answer, between the server (dash/server*.c, libwebsockets) and
 * who answers it (dash/api*.c). Everything here is called on the dash's thread, but for
 * server_post.
 *
 * A request is handed over whole: path decoded and without the query, body at most HTTP_BODY_MAX.
 * It is answered at once, or later: its id then finds it again, or not, when the browser has gone.
 */
#ifndef FLY_DASH_HTTP_H
#define FLY_DASH_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dash/dash.h"
#include "proto/base/bytes.h"
#include "proto/base/list.h"

enum {
    HTTP_BODY_MAX = 16 * 1024,
    HTTP_PATH_MAX = 256,
    HTTP_QUERY_MAX = 2048, /* cursors are long */
    HTTP_REMOTE_SIZE = 64,
    HTTP_KEY_SIZE = 256, /* Idempotency-Key and Last-Event-ID take a cursor of HTTP_QUERY_MAX */
    HTTP_STREAMS_MAX = 256,
    HTTP_STREAM_BYTES_MAX = 256 * 1024, /* of one stream that wait to be sent */
};

enum http_method { HTTP_GET, HTTP_POST, HTTP_DELETE, HTTP_OTHER };

struct http_call;
struct server;

enum http_method http_method(const struct http_call *call);
const char *http_path(const struct http_call *call);
/* A parameter of the query, percent-decoded. False: not there, or too long for `size`. */
bool http_param(const struct http_call *call, const char *name, char *out, size_t size);
/* The n-th parameter's name; NULL past the end. For telling unknown ones. */
const char *http_param_name(const struct http_call *call, uint32_t n);
struct fly_bytes http_body(const struct http_call *call);
/* "idempotency-key", "last-event-id", "if-none-match", "accept-encoding"; "" when it did not come.
 */
const char *http_header(const struct http_call *call, const char *name);
const char *http_remote(const struct http_call *call); /* address without port */
/* Who asks, by bearer token or session cookie; NULL: nobody, and the answer is 401. */
const struct dash_who *http_who(const struct http_call *call);
const char *http_token(const struct http_call *call); /* of who asks; NULL: nobody */

/* Ends the call. `headers`: more lines, "Name: value\r\n" each, or NULL. Copies. */
void http_reply(struct http_call *call, unsigned status, const char *type, const char *headers,
                struct fly_bytes body);
/* The one form of all errors:
 * {"error":{"code":"NOT_FOUND","message":"…","hint":"…","retryable":false}}. `code` is a name of
 * enum fly_status, or of fly.v1.Reason where that says more. */
void http_error(struct http_call *call, unsigned status, const char *code, const char *message,
                const char *hint, bool retryable);

/* It will be answered later. */
uint64_t http_defer(struct http_call *call);
struct http_call *http_find(struct server *server, uint64_t id); /* NULL: the caller has gone */

/* Instead of http_reply: 200, and a body that goes on (Server-Sent Events). `gone` is called once
 * when the reader goes, not after http_stream_end; `writable` when all that was given has been
 * sent. False of http_stream_begin: HTTP_STREAMS_MAX, and the call was answered 503. */
bool http_stream_begin(struct http_call *call, const char *type, void (*gone)(void *user),
                       void (*writable)(void *user), void *user);
/* False: HTTP_STREAM_BYTES_MAX wait already; nothing was taken. Copies. */
bool http_stream_write(struct http_call *call, struct fly_bytes bytes);
void http_stream_end(struct http_call *call);

/* Any thread: `run` is called on the dash's thread, soon, once; the job is the caller's memory
 * until then. Works until api_destroy has returned. */
struct server_job {
    void (*run)(struct server_job *job);
    struct fly_list link;
};
void server_post(struct server *server, struct server_job *job);
/* Runs what was posted until now. For api_destroy, which the dash's thread calls when it stops:
 * between the end of the api's threads and the freeing of their jobs. */
void server_drain(struct server *server);

#endif
