/*
 * server_http - libwebsockets' callbacks: requests are read, handed on, and their answers written.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "dash/server_internal.h"
#include "dash/server_tls.h"
#include "proto/base/check.h"
#include "proto/wire/token_claims.h"

enum { STATUS_LENGTH_REQUIRED = 411, STATUS_HEADER_TOO_LARGE = 431, ANSWER_MS = 30000 };

/* What a WebSocket will be, between the upgrade's permission and its beginning. */
struct upgrade {
    struct dash_who who;
    bool by_session;
    uint8_t session[SIGNIN_HASH_SIZE];
};

static struct server *server_of(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
}

static void send_page(struct http_call *call, const struct asset *asset, bool plain)
{
    char headers[256];
    bool tagged = asset->etag[0] != '\0';
    snprintf(headers, sizeof headers, "Cache-Control: %s\r\n%s%s%sVary: Accept-Encoding\r\n%s",
             asset->immutable ? "public, max-age=31536000, immutable" : "no-cache",
             tagged ? "ETag: " : "", asset->etag, tagged ? "\r\n" : "",
             asset->gzipped && !plain ? "Content-Encoding: gzip\r\n" : "");
    const char *seen = http_call_field(call, SERVER_FIELD_IF_NONE_MATCH);
    if (tagged && strstr(seen, asset->etag) != NULL) {
        http_reply(call, 304, NULL, headers, (struct fly_bytes){0});
    } else if (plain) {
        size_t size = 0;
        uint8_t *bytes = assets_inflate(asset->bytes, &size);
        if (bytes == NULL) {
            http_error(call, 500, "DATA_LOSS", "this page's file is broken", "", false);
        } else {
            http_reply(call, 200, asset->mime, headers, (struct fly_bytes){bytes, size});
        }
        free(bytes);
    } else if (asset->owned != NULL) {
        http_reply(call, 200, asset->mime, headers, asset->bytes);
    } else {
        server_reply_static(call, 200, asset->mime, headers, asset->bytes);
    }
}

static void serve_page(struct http_call *call)
{
    struct asset asset;
    if (call->method != HTTP_GET) {
        http_reply(call, 405, "text/plain", "Allow: GET, HEAD\r\n", (struct fly_bytes){0});
    } else if (!assets_find(call->server->assets, call->path, &asset)) {
        http_error(call, 404, "NOT_FOUND", "there is no such page", "", false);
    } else {
        send_page(call, &asset, asset.gzipped && !http_call_takes_gzip(call));
        free(asset.owned);
    }
}

static bool is_api(const char *path)
{
    return strncmp(path, "/v1/", 4) == 0 || strcmp(path, "/v1") == 0;
}

/* Who asks, and whether a page of somebody else makes their browser ask it. False: it was
 * answered. */
static bool admit(struct http_call *call, bool changes)
{
    if (!server_identify(call)) {
        return false;
    }
    if (call->identity == NULL) {
        http_error(call, 401, "UNAUTHENTICATED", "nobody is signed in",
                   "POST /v1/session with a token, or send Authorization: Bearer", false);
        return false;
    }
    if (changes && call->identity->by_cookie && !http_call_same_origin(call)) {
        http_error(call, 403, "PERMISSION_DENIED", "this request comes from another origin",
                   "with a cookie, Origin must be this server's own", false);
        return false;
    }
    return true;
}

static bool may_read(struct http_call *call)
{
    if ((call->identity->who.scopes & TOKEN_SCOPE_READ) != 0) {
        return true;
    }
    http_error(call, 403, "PERMISSION_DENIED", "this token has not the scope read", "", false);
    return false;
}

static void dispatch(struct http_call *call)
{
    struct server *server = call->server;
    call->handed_on = true;
    call->deadline_ms = 0;
    lws_set_timeout(call->wsi, NO_PENDING_TIMEOUT, 0);
    if (!is_api(call->path)) {
        serve_page(call);
    } else if (strcmp(call->path, "/v1/session") == 0) {
        server_session(call);
    } else if (admit(call, call->method != HTTP_GET)) {
        if (strcmp(call->path, "/v1/fleet") == 0 && call->method == HTTP_GET) {
            if (may_read(call)) {
                server_fleet(call);
            }
        } else if (strcmp(call->path, "/v1/live") == 0 && call->method == HTTP_GET) {
            http_error(call, 426, "FAILED_PRECONDITION", "this is a WebSocket",
                       "ask with Upgrade: websocket", false);
        } else if (server->api != NULL) {
            api_call(server->api, call);
        } else {
            http_error(call, 503, "UNAVAILABLE", "the dash is ending", "", true);
        }
    }
}

/* The answer before the request was read whole: the connection ends with it. */
static int refuse_now(struct http_call *call, unsigned status, const char *code,
                      const char *message)
{
    http_error(call, status, code, message, "", false);
    server_reply_now(call);
    http_call_free(call);
    return -1;
}

static int refuse_line(struct lws *wsi, unsigned status)
{
    atomic_fetch_add(&server_of(wsi)->refused, 1);
    lws_return_http_status(wsi, status, NULL);
    return -1;
}

static bool body_expected(struct http_call *call, struct lws *wsi, unsigned *status)
{
    char text[24] = "";
    *status = 0;
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0) {
        *status = STATUS_LENGTH_REQUIRED;
        return false;
    }
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0) {
        *status =
            call->method == HTTP_POST || call->method == HTTP_OTHER ? STATUS_LENGTH_REQUIRED : 0;
        return false;
    }
    if (lws_hdr_copy(wsi, text, sizeof text, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0 ||
        text[strspn(text, "0123456789")] != '\0') {
        *status = HTTP_STATUS_BAD_REQUEST;
        return false;
    }
    unsigned long long size = strtoull(text, NULL, 10);
    if (size > HTTP_BODY_MAX) {
        *status = HTTP_STATUS_REQ_ENTITY_TOO_LARGE;
        return false;
    }
    call->body_max = (size_t)size;
    return size > 0;
}

static int on_request(struct lws *wsi, struct server_peer *peer, const char *path, size_t size)
{
    struct server *server = server_of(wsi);
    atomic_fetch_add(&server->requests, 1);
    FLY_CHECK(peer->call == NULL);
    unsigned status = 0;
    struct http_call *call = http_call_make(server, wsi, path, size, &status);
    if (call == NULL) {
        return refuse_line(wsi, status);
    }
    bool body = body_expected(call, wsi, &status);
    if (status == HTTP_STATUS_REQ_ENTITY_TOO_LARGE) {
        return refuse_now(call, status, "RESOURCE_EXHAUSTED", "the body is larger than 16 KiB");
    }
    if (status != 0 && call->method != HTTP_OTHER) {
        return refuse_now(call, status, "INVALID_ARGUMENT", "a body needs a Content-Length");
    }
    if (call->method == HTTP_OTHER && (body || status != 0)) {
        return refuse_now(call, HTTP_STATUS_METHOD_NOT_ALLOWED, "UNIMPLEMENTED",
                          "GET, HEAD, POST or DELETE");
    }
    peer->call = call;
    if (body) {
        call->body = malloc(call->body_max);
        FLY_CHECK(call->body != NULL);
        call->deadline_ms = server_now_ms(server) + SERVER_REQUEST_MS;
        return 0;
    }
    dispatch(call);
    return 0;
}

static int on_body(struct http_call *call, const void *data, size_t size)
{
    if (size > call->body_max - call->body_size) {
        return -1;
    }
    if (size > 0) {
        memcpy(call->body + call->body_size, data, size);
        call->body_size += size;
    }
    return 0;
}

/* libwebsockets 4.1 says it again and again, for ever, when more than the body has come: a next
 * request that did not wait. It also takes that one's head for its body. Such a connection ends;
 * behind a request without a body others may stand. */
static int on_body_end(struct http_call *call)
{
    if (call->body_ended) {
        return -1;
    }
    call->body_ended = true;
    if (!call->handed_on) {
        dispatch(call);
    }
    return 0;
}

static int on_writable(struct lws *wsi, struct server_peer *peer)
{
    struct http_call *call = peer->call;
    if (call == NULL) {
        return 0;
    }
    int done = call->sent ? 1 : server_reply_write(call);
    call->sent = done > 0;
    if (call->answered && !call->stream) {
        call->deadline_ms = server_now_ms(call->server) + ANSWER_MS;
    }
    if (done == 0) {
        return 0;
    }
    if (done > 0 && lws_partial_buffered(wsi)) {
        lws_callback_on_writable(wsi);
        return 0;
    }
    peer->call = NULL;
    http_call_free(call);
    return -1;
}

static void on_gone(struct server_peer *peer)
{
    if (peer != NULL && peer->call != NULL) {
        struct http_call *call = peer->call;
        peer->call = NULL;
        http_call_free(call);
    }
}

/* libwebsockets 4.1 neither reads what comes behind a request that is still being answered nor
 * stops looking at it: the loop would spin for as long as a stream lasts. */
static bool says_more(const struct http_call *call)
{
    uint8_t byte;

    return call->handed_on && (!call->answered || call->stream) &&
           recv(lws_get_socket_fd(call->wsi), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void server_http_tick(struct server *server, int64_t now_ms)
{
    struct fly_list *at = server->calls.next;
    while (at != &server->calls) {
        struct http_call *call = FLY_CONTAINER(at, struct http_call, link);
        at = at->next;
        bool late = call->deadline_ms != 0 && call->deadline_ms <= now_ms;
        if (late || says_more(call)) {
            /* At once: a timeout in time to come is put off by every byte that arrives. What ends
             * with one call may end another: from the beginning again. */
            lws_set_timeout(call->wsi, PENDING_TIMEOUT_HTTP_CONTENT, LWS_TO_KILL_SYNC);
            at = server->calls.next;
        }
    }
}

/* --- WebSockets --- */

static bool admit_upgrade(struct http_call *call)
{
    if (strcmp(call->path, "/v1/live") != 0) {
        http_error(call, 404, "NOT_FOUND", "there is no such WebSocket", "", false);
        return false;
    }
    if (call->server->closing) {
        http_error(call, 503, "UNAVAILABLE", "the dash is ending", "", true);
        return false;
    }
    return admit(call, true) && may_read(call);
}

static int on_upgrade(struct lws *wsi, const char *to)
{
    struct server *server = server_of(wsi);
    atomic_fetch_add(&server->requests, 1);
    /* HTTP/2 in clear text is a second parser that nobody needs here. */
    if (strcasecmp(to, "websocket") != 0) {
        return -1;
    }
    char path[HTTP_PATH_MAX + 1] = "";
    char *uri = NULL;
    int uri_size = 0;
    if (lws_http_get_uri_and_method(wsi, &uri, &uri_size) != LWSHUMETH_GET || uri_size < 0 ||
        uri_size > HTTP_PATH_MAX) {
        return -1;
    }
    memcpy(path, uri, (size_t)uri_size);
    unsigned status = 0;
    struct http_call *call = http_call_make(server, wsi, path, (size_t)uri_size, &status);
    if (call == NULL) {
        return -1;
    }
    if (!admit_upgrade(call)) {
        server_reply_now(call);
        http_call_free(call);
        return -1;
    }
    struct upgrade *upgrade = calloc(1, sizeof *upgrade);
    FLY_CHECK(upgrade != NULL);
    upgrade->who = call->identity->who;
    upgrade->by_session = call->identity->by_cookie;
    memcpy(upgrade->session, call->identity->session, sizeof upgrade->session);
    free(lws_get_opaque_user_data(wsi)); /* of an upgrade that came to nothing */
    lws_set_opaque_user_data(wsi, upgrade);
    http_call_free(call);
    return 0;
}

static int on_established(struct lws *wsi, struct server_peer *peer)
{
    struct upgrade *upgrade = lws_get_opaque_user_data(wsi);
    if (upgrade == NULL || peer == NULL) {
        return -1;
    }
    peer->call = NULL;
    peer->browser = live_open(server_of(wsi)->live, wsi, &upgrade->who,
                              upgrade->by_session ? upgrade->session : NULL);
    lws_set_opaque_user_data(wsi, NULL);
    free(upgrade);
    return 0;
}

static void on_destroy(struct lws *wsi)
{
    server_of(wsi)->connections--;
    free(lws_get_opaque_user_data(wsi));
    lws_set_opaque_user_data(wsi, NULL);
}

static int on_message(struct lws *wsi, struct server_peer *peer, const void *data, size_t size)
{
    if (peer->browser == NULL || lws_frame_is_binary(wsi)) {
        return live_refuse(wsi);
    }
    return live_receive(server_of(wsi)->live, peer->browser, data, size);
}

int server_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t size)
{
    struct server_peer *peer = user;
    /* Most of the reasons are of no concern here. */
    switch ((int)reason) {
    case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS: /* `user` is the vhost's SSL_CTX */
        return server_tls_add_chain(user, server_of(wsi)->config->cert_pem) ? 0 : -1;
    case LWS_CALLBACK_WSI_CREATE:
        server_of(wsi)->connections++;
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        on_destroy(wsi);
        return 0;
    case LWS_CALLBACK_HTTP:
        return on_request(wsi, peer, in, size);
    case LWS_CALLBACK_HTTP_BODY:
        return peer->call == NULL ? -1 : on_body(peer->call, in, size);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        return peer->call == NULL ? -1 : on_body_end(peer->call);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return on_writable(wsi, peer);
    case LWS_CALLBACK_CLOSED_HTTP:
    case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
        on_gone(peer);
        return 0;
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        return on_upgrade(wsi, in);
    case LWS_CALLBACK_ESTABLISHED:
        return on_established(wsi, peer);
    case LWS_CALLBACK_RECEIVE:
        return on_message(wsi, peer, in, size);
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return peer->browser == NULL ? -1 : live_writable(server_of(wsi)->live, peer->browser);
    case LWS_CALLBACK_CLOSED:
        if (peer != NULL && peer->browser != NULL) {
            live_close(server_of(wsi)->live, peer->browser);
            peer->browser = NULL;
        }
        return 0;
    default:
        return 0;
    }
}
