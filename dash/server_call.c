/*
 * server_call - a request as it was read, and what http.h tells of it.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dash/server_internal.h"
#include "proto/base/check.h"

struct field {
    const char *name;   /* as http_header asks for it */
    const char *custom; /* as libwebsockets keeps what it does not know; NULL: it has a token */
    enum lws_token_indexes token;
    int size_max;
};

static const struct field fields[SERVER_FIELDS_MAX] = {
    [SERVER_FIELD_HOST] = {"host", NULL, WSI_TOKEN_HOST, 256},
    [SERVER_FIELD_ORIGIN] = {"origin", NULL, WSI_TOKEN_ORIGIN, 512},
    [SERVER_FIELD_COOKIE] = {"cookie", NULL, WSI_TOKEN_HTTP_COOKIE, 4096},
    [SERVER_FIELD_AUTHORIZATION] = {"authorization", NULL, WSI_TOKEN_HTTP_AUTHORIZATION, 4096},
    [SERVER_FIELD_IF_NONE_MATCH] = {"if-none-match", NULL, WSI_TOKEN_HTTP_IF_NONE_MATCH, 512},
    [SERVER_FIELD_ACCEPT_ENCODING] = {"accept-encoding", NULL, WSI_TOKEN_HTTP_ACCEPT_ENCODING, 256},
    [SERVER_FIELD_CONTENT_TYPE] = {"content-type", NULL, WSI_TOKEN_HTTP_CONTENT_TYPE, 256},
    [SERVER_FIELD_IDEMPOTENCY_KEY] = {"idempotency-key", "idempotency-key:", WSI_TOKEN_COUNT,
                                      HTTP_QUERY_MAX},
    [SERVER_FIELD_LAST_EVENT_ID] = {"last-event-id", "last-event-id:", WSI_TOKEN_COUNT,
                                    HTTP_QUERY_MAX},
};

static int field_size(struct lws *wsi, const struct field *field)
{
    int size = field->custom == NULL
                   ? lws_hdr_total_length(wsi, field->token)
                   : lws_hdr_custom_length(wsi, field->custom, (int)strlen(field->custom));
    return size < 0 ? 0 : size;
}

/* Into out[size + 1]. */
static bool field_copy(struct lws *wsi, const struct field *field, char *out, int size)
{
    int copied = field->custom == NULL ? lws_hdr_copy(wsi, out, size + 1, field->token)
                                       : lws_hdr_custom_copy(wsi, out, size + 1, field->custom,
                                                             (int)strlen(field->custom));
    return copied >= 0;
}

/* "name=value", already percent-decoded, becomes two strings. */
static void param_split(char *text)
{
    char *equals = strchr(text, '=');
    if (equals != NULL) {
        *equals = '\0';
    }
}

static unsigned copy_params(struct http_call *call, struct lws *wsi, char **at, const char *end)
{
    for (int i = 0;; i++) {
        int size = lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, i);
        if (size <= 0) {
            return 0;
        }
        /* Room for one more NUL than it needs: a parameter without '=' has an empty value. */
        if (i >= SERVER_PARAMS_MAX || end - *at < size + 2 ||
            lws_hdr_copy_fragment(wsi, *at, size + 1, WSI_TOKEN_HTTP_URI_ARGS, i) < 0) {
            return HTTP_STATUS_REQ_URI_TOO_LONG;
        }
        (*at)[size] = '\0';
        (*at)[size + 1] = '\0';
        param_split(*at);
        call->params[call->param_count++] = *at;
        *at += size + 2;
    }
}

static unsigned copy_text(struct http_call *call, struct lws *wsi)
{
    size_t args = (size_t)lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_URI_ARGS);
    if (args > HTTP_QUERY_MAX) {
        return HTTP_STATUS_REQ_URI_TOO_LONG;
    }
    size_t room = args + 2 * SERVER_PARAMS_MAX + 2;
    for (uint32_t i = 0; i < SERVER_FIELDS_MAX; i++) {
        int size = field_size(wsi, &fields[i]);
        if (size > fields[i].size_max) {
            return 431;
        }
        room += (size_t)size + 1;
    }
    call->text = calloc(1, room);
    FLY_CHECK(call->text != NULL);
    char *at = call->text;
    for (uint32_t i = 0; i < SERVER_FIELDS_MAX; i++) {
        int size = field_size(wsi, &fields[i]);
        call->fields[i] = at;
        if (size > 0 && !field_copy(wsi, &fields[i], at, size)) {
            *at = '\0';
        }
        at += size + 1;
    }
    return copy_params(call, wsi, &at, call->text + room);
}

static enum http_method method_of(struct lws *wsi, bool *head)
{
    char *uri = NULL;
    int size = 0;
    int method = lws_http_get_uri_and_method(wsi, &uri, &size);
    *head = method == LWSHUMETH_HEAD;
    if (method == LWSHUMETH_GET || method == LWSHUMETH_HEAD) {
        return HTTP_GET;
    }
    if (method == LWSHUMETH_POST) {
        return HTTP_POST;
    }
    return method == LWSHUMETH_DELETE ? HTTP_DELETE : HTTP_OTHER;
}

struct http_call *http_call_make(struct server *server, struct lws *wsi, const char *path,
                                 size_t path_size, unsigned *status)
{
    struct http_call *call = calloc(1, sizeof *call);
    FLY_CHECK(call != NULL);
    fly_list_init(&call->pieces);
    fly_list_append(&server->calls, &call->link);
    call->id = ++server->call_last;
    call->server = server;
    call->wsi = wsi;
    call->method = method_of(wsi, &call->head);
    lws_get_peer_simple(wsi, call->remote, sizeof call->remote);
    *status = path_size > HTTP_PATH_MAX ? HTTP_STATUS_REQ_URI_TOO_LONG : copy_text(call, wsi);
    if (*status != 0) {
        http_call_free(call);
        return NULL;
    }
    memcpy(call->path, path, path_size);
    return call;
}

void http_call_free(struct http_call *call)
{
    struct server *server = call->server;
    fly_list_drop(&call->link);
    if (call->stream) {
        call->server->streams--;
        if (!call->stream_ended && call->gone != NULL) {
            call->gone(call->user);
        }
    }
    while (!fly_list_empty(&call->pieces)) {
        struct server_piece *piece = FLY_CONTAINER(call->pieces.next, struct server_piece, link);
        fly_list_drop(&piece->link);
        free(piece);
    }
    if (call->identity != NULL) {
        explicit_bzero(call->identity, sizeof *call->identity);
        free(call->identity);
    }
    if (call->body != NULL) { /* a token, when somebody signed in */
        explicit_bzero(call->body, call->body_max);
    }
    server_bytes_drop(call->out);
    free(call->out_head);
    free(call->body);
    free(call->text);
    free(call);
    server_gone(server);
}

const char *http_call_field(const struct http_call *call, enum server_field field)
{
    return call->fields[field];
}

bool http_call_has_origin(const struct http_call *call)
{
    return call->fields[SERVER_FIELD_ORIGIN][0] != '\0';
}

/* Host with port must be the same. Not the scheme: a proxy before us may have ended TLS. */
bool http_call_same_origin(const struct http_call *call)
{
    const char *origin = call->fields[SERVER_FIELD_ORIGIN];
    const char *host = call->fields[SERVER_FIELD_HOST];
    if (strncmp(origin, "http://", 7) == 0) {
        origin += 7;
    } else if (strncmp(origin, "https://", 8) == 0) {
        origin += 8;
    } else {
        return false;
    }
    return host[0] != '\0' && strcasecmp(origin, host) == 0;
}

/* RFC 9110, 12.5.3, as far as browsers go: "gzip" is there and not with a weight of zero. */
bool http_call_takes_gzip(const struct http_call *call)
{
    const char *gzip = strcasestr(call->fields[SERVER_FIELD_ACCEPT_ENCODING], "gzip");
    if (gzip == NULL) {
        return false;
    }
    gzip += 4;
    gzip += strspn(gzip, " ;");
    if (strncasecmp(gzip, "q=0", 3) != 0) {
        return true;
    }
    return strcspn(gzip + 3, "123456789") < strcspn(gzip + 3, ",");
}

enum http_method http_method(const struct http_call *call)
{
    return call->method;
}

const char *http_path(const struct http_call *call)
{
    return call->path;
}

bool http_param(const struct http_call *call, const char *name, char *out, size_t size)
{
    for (uint32_t i = 0; i < call->param_count; i++) {
        if (strcmp(call->params[i], name) == 0) {
            return fly_copy_string(out, size, call->params[i] + strlen(name) + 1);
        }
    }
    return false;
}

const char *http_param_name(const struct http_call *call, uint32_t n)
{
    return n < call->param_count ? call->params[n] : NULL;
}

struct fly_bytes http_body(const struct http_call *call)
{
    return (struct fly_bytes){.data = call->body, .size = call->body_size};
}

const char *http_header(const struct http_call *call, const char *name)
{
    for (uint32_t i = 0; i < SERVER_FIELDS_MAX; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return call->fields[i];
        }
    }
    return "";
}

const char *http_remote(const struct http_call *call)
{
    return call->remote;
}

const struct dash_who *http_who(const struct http_call *call)
{
    return call->identity == NULL ? NULL : &call->identity->who;
}

const char *http_token(const struct http_call *call)
{
    return call->identity == NULL ? NULL : call->identity->token;
}

uint64_t http_defer(struct http_call *call)
{
    return call->id;
}

struct http_call *http_find(struct server *server, uint64_t id)
{
    for (struct fly_list *at = server->calls.next; at != &server->calls; at = at->next) {
        struct http_call *call = FLY_CONTAINER(at, struct http_call, link);
        if (call->id == id) {
            return call;
        }
    }
    return NULL;
}
