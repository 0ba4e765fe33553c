/*
 * server_reply - answers: their heads, bodies, errors, and streams that go on.
 */
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "dash/server_internal.h"
#include "proto/base/check.h"

/* Every answer's. Styles and scripts are the server's own files; nothing may frame it. */
static const char security[] =
    "Content-Security-Policy: default-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "style-src 'self'; script-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'; object-src 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Permissions-Policy: camera=(), microphone=(), geolocation=(self), payment=(), usb=()\r\n";

static const char *reason_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < FLY_ARRAY_COUNT(reasons); i++) {
        if (reasons[i].status == status) {
            return reasons[i].text;
        }
    }
    return "Answer";
}

/* A head that is cut is our own mistake. */
__attribute__((format(printf, 3, 4))) static void put(char *out, size_t *size, const char *format,
                                                      ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out + *size, SERVER_HEAD_BYTES_MAX - *size, format, args);
    va_end(args);
    FLY_CHECK(n >= 0 && (size_t)n < SERVER_HEAD_BYTES_MAX - *size);
    *size += (size_t)n;
}

static bool names(const char *headers, const char *name)
{
    return headers != NULL && strcasestr(headers, name) != NULL;
}

static void head_make(struct http_call *call, unsigned status, const char *type,
                      const char *headers, bool sized, size_t body_size)
{
    FLY_CHECK(!call->answered);
    call->answered = true;
    if (status >= 400) {
        atomic_fetch_add(&call->server->refused, 1);
    }
    call->out_head = malloc(LWS_PRE + SERVER_HEAD_BYTES_MAX);
    FLY_CHECK(call->out_head != NULL);
    char *out = (char *)call->out_head + LWS_PRE;
    size_t size = 0;
    put(out, &size, "HTTP/1.1 %u %s\r\n%s", status, reason_of(status), security);
    if (call->server->tls) {
        put(out, &size, "Strict-Transport-Security: max-age=31536000\r\n");
    }
    if (type != NULL) {
        put(out, &size, "Content-Type: %s\r\n", type);
    }
    if (!names(headers, "cache-control:")) {
        put(out, &size, "Cache-Control: no-store\r\n");
    }
    if (sized && status != 304 && status != 204) {
        put(out, &size, "Content-Length: %zu\r\n", body_size);
    }
    /* One request a connection: of a second one that did not wait libwebsockets 4.1 takes the head
     * for the body, goes round for ever, and uses what it has freed. */
    put(out, &size, "Connection: close\r\n%s\r\n", headers == NULL ? "" : headers);
    call->out_head_size = size;
    lws_callback_on_writable(call->wsi);
}

void server_reply_shared(struct http_call *call, unsigned status, const char *type,
                         const char *headers, struct server_bytes *bytes)
{
    head_make(call, status, type, headers, true, bytes == NULL ? 0 : bytes->size);
    if (call->head) {
        server_bytes_drop(bytes);
        return;
    }
    call->out = bytes;
    call->out_size = bytes == NULL ? 0 : bytes->size;
}

void server_reply_static(struct http_call *call, unsigned status, const char *type,
                         const char *headers, struct fly_bytes bytes)
{
    head_make(call, status, type, headers, true, bytes.size);
    call->out_static = bytes.data;
    call->out_size = call->head ? 0 : bytes.size;
}

void http_reply(struct http_call *call, unsigned status, const char *type, const char *headers,
                struct fly_bytes body)
{
    struct server_bytes *bytes = NULL;
    if (body.size > 0) {
        bytes = server_bytes_new(body.size);
        memcpy(bytes->data, body.data, body.size);
    }
    server_reply_shared(call, status, type, headers, bytes);
}

void http_error(struct http_call *call, unsigned status, const char *code, const char *message,
                const char *hint, bool retryable)
{
    json_t *root = json_pack("{s:{s:s,s:s,s:s,s:b}}", "error", "code", code, "message", message,
                             "hint", hint == NULL ? "" : hint, "retryable", retryable ? 1 : 0);
    if (root == NULL) { /* words that are not UTF-8 */
        root = json_pack("{s:{s:s,s:s,s:s,s:b}}", "error", "code", code, "message", "", "hint", "",
                         "retryable", retryable ? 1 : 0);
    }
    FLY_CHECK(root != NULL);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    FLY_CHECK(text != NULL);
    http_reply(call, status, "application/json",
               status == 401 ? "WWW-Authenticate: Bearer\r\n" : NULL,
               (struct fly_bytes){(const uint8_t *)text, strlen(text)});
    free(text);
}

bool http_stream_begin(struct http_call *call, const char *type, void (*gone)(void *user),
                       void (*writable)(void *user), void *user)
{
    if (call->server->streams >= HTTP_STREAMS_MAX) {
        http_error(call, 503, "RESOURCE_EXHAUSTED", "too many streams are open here",
                   "try again later", true);
        return false;
    }
    head_make(call, 200, type, "X-Accel-Buffering: no\r\n", false, 0);
    call->server->streams++;
    call->stream = true;
    call->gone = gone;
    call->writable = writable;
    call->user = user;
    return true;
}

bool http_stream_write(struct http_call *call, struct fly_bytes bytes)
{
    FLY_CHECK(call->stream && !call->stream_ended);
    if (bytes.size > HTTP_STREAM_BYTES_MAX - call->pieces_bytes) {
        return false;
    }
    if (bytes.size == 0 || call->head) {
        return true;
    }
    struct server_piece *piece = malloc(sizeof *piece + LWS_PRE + bytes.size);
    FLY_CHECK(piece != NULL);
    piece->size = bytes.size;
    piece->sent = 0;
    memcpy(piece->data + LWS_PRE, bytes.data, bytes.size);
    fly_list_append(&call->pieces, &piece->link);
    call->pieces_bytes += bytes.size;
    lws_callback_on_writable(call->wsi);
    return true;
}

void http_stream_end(struct http_call *call)
{
    call->stream_ended = true;
    lws_callback_on_writable(call->wsi);
}

/* --- writing --- */

static bool write_some(struct http_call *call, const uint8_t *data, size_t size,
                       enum lws_write_protocol kind)
{
    /* HTTP/1.1 is written as it is: what stands before the bytes is not touched. */
    return lws_write(call->wsi, (unsigned char *)(uintptr_t)data, size, kind) >= (int)size;
}

static int write_piece(struct http_call *call)
{
    if (!fly_list_empty(&call->pieces)) {
        struct server_piece *piece = FLY_CONTAINER(call->pieces.next, struct server_piece, link);
        size_t left = piece->size - piece->sent;
        size_t part = left < SERVER_CHUNK_BYTES ? left : SERVER_CHUNK_BYTES;
        if (!write_some(call, piece->data + LWS_PRE + piece->sent, part, LWS_WRITE_HTTP)) {
            return -1;
        }
        piece->sent += part;
        call->pieces_bytes -= part;
        if (piece->sent == piece->size) {
            fly_list_drop(&piece->link);
            free(piece);
        }
        lws_callback_on_writable(call->wsi);
        return 0;
    }
    if (call->stream_ended) {
        return 1;
    }
    if (call->writable != NULL) {
        call->writable(call->user);
    }
    return 0;
}

static const uint8_t *body_of(const struct http_call *call)
{
    return call->out_static != NULL ? call->out_static : call->out->data;
}

/* Head and body of a small answer leave together. */
static void join_small(struct http_call *call)
{
    size_t size = call->out_head_size + call->out_size;
    if (call->stream || call->out_size == 0 || size > SERVER_CHUNK_BYTES) {
        return;
    }
    uint8_t *joined = realloc(call->out_head, LWS_PRE + size);
    FLY_CHECK(joined != NULL);
    memcpy(joined + LWS_PRE + call->out_head_size, body_of(call), call->out_size);
    call->out_head = joined;
    call->out_head_size = size;
    call->out_size = 0;
}

int server_reply_write(struct http_call *call)
{
    if (!call->answered) {
        return 0;
    }
    if (call->out_head != NULL) {
        join_small(call);
        bool ok =
            write_some(call, call->out_head + LWS_PRE, call->out_head_size, LWS_WRITE_HTTP_HEADERS);
        free(call->out_head);
        call->out_head = NULL;
        if (!ok) {
            return -1;
        }
        if (!call->stream && call->out_size == 0) {
            return 1;
        }
        lws_callback_on_writable(call->wsi);
        return 0;
    }
    if (call->stream) {
        return write_piece(call);
    }
    size_t left = call->out_size - call->out_sent;
    size_t part = left < SERVER_CHUNK_BYTES ? left : SERVER_CHUNK_BYTES;
    if (!write_some(call, body_of(call) + call->out_sent, part,
                    part == left ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP)) {
        return -1;
    }
    call->out_sent += part;
    if (part == left) {
        return 1;
    }
    lws_callback_on_writable(call->wsi);
    return 0;
}

int server_reply_now(struct http_call *call)
{
    int done = 0;
    while (done == 0) {
        done = server_reply_write(call);
    }
    return done;
}
