/*
 * server_identity - who asks: a bearer token, or the cookie of a session; and /v1/session itself.
 */
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "dash/server_internal.h"
#include "dash/server_socket.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/time.h"

#define COOKIE "flylight"

/* The cookie's value; its size, 0: there is none. Of several the first: paths are all "/". */
static size_t cookie_find(const char *cookies, const char **value)
{
    const char *at = cookies;
    while (*at != '\0') {
        at += strspn(at, " ;");
        size_t size = strcspn(at, ";");
        if (size > strlen(COOKIE) && strncmp(at, COOKIE "=", strlen(COOKIE) + 1) == 0) {
            *value = at + strlen(COOKIE) + 1;
            return strcspn(*value, "; ");
        }
        at += size;
    }
    return 0;
}

/* Asks the verifier, each time: what it trusts may have changed. False: the call was answered. */
static bool verify(struct http_call *call, const char *token, size_t size, struct dash_who *who)
{
    const struct dash_config *config = call->server->config;
    int64_t now_ms = fly_clock_wall_ms();
    struct fly_error error = {0};
    enum fly_status status = config->verify(config->user, token, size, now_ms, who, &error);
    if (status == FLY_OK && who->expires_ms > now_ms) {
        return true;
    }
    if (status == FLY_RESOURCE_EXHAUSTED) {
        http_error(call, 429, "RESOURCE_EXHAUSTED", error.text, "try again in a second", true);
    } else {
        http_error(call, 401, "UNAUTHENTICATED",
                   status == FLY_OK ? "this token has expired" : error.text,
                   "flyrpc token create makes one", false);
    }
    return false;
}

static struct server_identity *identity_new(struct http_call *call, const char *token, size_t size,
                                            const struct dash_who *who)
{
    struct server_identity *identity = calloc(1, sizeof *identity);
    FLY_CHECK(identity != NULL && size <= TOKEN_TEXT_MAX);
    identity->known = true;
    identity->who = *who;
    memcpy(identity->token, token, size);
    call->identity = identity;
    return identity;
}

static bool identify_bearer(struct http_call *call, const char *value)
{
    static const char scheme[] = "Bearer ";
    if (strncasecmp(value, scheme, sizeof scheme - 1) != 0) {
        http_error(call, 401, "UNAUTHENTICATED", "the only scheme here is Bearer",
                   "Authorization: Bearer v4.public.…", false);
        return false;
    }
    value += sizeof scheme - 1;
    value += strspn(value, " ");
    size_t size = strlen(value);
    if (size > TOKEN_TEXT_MAX) {
        http_error(call, 401, "UNAUTHENTICATED", "this is too long for a token", "", false);
        return false;
    }
    struct dash_who who;
    if (!verify(call, value, size, &who)) {
        return false;
    }
    identity_new(call, value, size, &who);
    return true;
}

static bool identify_session(struct http_call *call)
{
    const char *id = NULL;
    size_t size = cookie_find(http_call_field(call, SERVER_FIELD_COOKIE), &id);
    struct signin_session session;
    if (size == 0 || !signin_find(call->server->signin, id, size, fly_clock_wall_ms(), &session)) {
        return true;
    }
    struct dash_who who;
    if (!verify(call, session.token, session.token_size, &who)) {
        return false;
    }
    if (session.ends_ms < who.expires_ms) {
        who.expires_ms = session.ends_ms;
    }
    struct server_identity *identity = identity_new(call, session.token, session.token_size, &who);
    identity->by_cookie = true;
    memcpy(identity->session, session.hash, sizeof identity->session);
    return true;
}

bool server_identify(struct http_call *call)
{
    const char *value = http_call_field(call, SERVER_FIELD_AUTHORIZATION);
    return value[0] != '\0' ? identify_bearer(call, value) : identify_session(call);
}

/* --- /v1/session --- */

static void reply_who(struct http_call *call, const struct dash_who *who, const char *headers)
{
    char words[TOKEN_SCOPES_TEXT_SIZE];
    token_scopes_format(who->scopes, ' ', words);
    json_t *scopes = json_array();
    char *at = words;
    while (*at != '\0') {
        size_t size = strcspn(at, " ");
        json_array_append_new(scopes, json_stringn(at, size));
        at += size;
        at += strspn(at, " ");
    }
    char expires[FLY_TIME_TEXT_SIZE];
    fly_time_format(who->expires_ms, expires);
    json_t *root =
        json_pack("{s:s,s:o,s:s}", "subject", who->subject, "scopes", scopes, "expires", expires);
    FLY_CHECK(root != NULL);
    char *text = json_dumps(root, JSON_COMPACT);
    FLY_CHECK(text != NULL);
    json_decref(root);
    http_reply(call, 200, "application/json", headers,
               (struct fly_bytes){(const uint8_t *)text, strlen(text)});
    free(text);
}

/* The token of {"token":"…"}: malloc'ed; NULL: the call was answered. */
static char *body_token(struct http_call *call)
{
    struct fly_bytes body = http_body(call);
    json_t *root = json_loadb((const char *)body.data, body.size, JSON_REJECT_DUPLICATES, NULL);
    const char *token = json_string_value(json_object_get(root, "token"));
    char *copy = token == NULL || strlen(token) > TOKEN_TEXT_MAX ? NULL : strdup(token);
    json_decref(root);
    if (copy == NULL) {
        http_error(call, 400, "INVALID_ARGUMENT", "the body is not {\"token\":\"v4.public.…\"}",
                   "flyrpc token create makes one", false);
    }
    return copy;
}

static bool may_sign_in(struct http_call *call, uint64_t address)
{
    if (http_call_has_origin(call) && !http_call_same_origin(call)) {
        http_error(call, 403, "PERMISSION_DENIED", "this request comes from another origin",
                   "sign in on the dash's own page", false);
        return false;
    }
    int64_t wait_ms = 0;
    if (!signin_may_try(call->server->signin, address, fly_clock_boot_ms(), &wait_ms)) {
        http_error(call, 429, "RESOURCE_EXHAUSTED", "too many failed attempts from this address",
                   "wait some seconds", true);
        return false;
    }
    return true;
}

static void sign_in(struct http_call *call)
{
    uint64_t address = server_socket_key(call->remote);
    if (!may_sign_in(call, address)) {
        return;
    }
    char *token = body_token(call);
    if (token == NULL) {
        return;
    }
    size_t size = strlen(token);
    struct dash_who who;
    if (!verify(call, token, size, &who)) {
        signin_failed(call->server->signin, address, fly_clock_boot_ms());
    } else {
        uint8_t random[SIGNIN_ID_SIZE];
        char id[SIGNIN_ID_TEXT_SIZE];
        randombytes_buf(random, sizeof random);
        signin_put(call->server->signin, token, size, who.expires_ms, fly_clock_wall_ms(), random,
                   id);
        char header[160];
        snprintf(header, sizeof header,
                 "Set-Cookie: " COOKIE "=%s; HttpOnly; SameSite=Strict; Path=/%s\r\n", id,
                 call->server->tls ? "; Secure" : "");
        reply_who(call, &who, header);
        explicit_bzero(header, sizeof header);
        explicit_bzero(id, sizeof id);
        explicit_bzero(random, sizeof random);
    }
    explicit_bzero(token, size);
    free(token);
}

static void sign_out(struct http_call *call)
{
    if (call->identity->by_cookie && !http_call_same_origin(call)) {
        http_error(call, 403, "PERMISSION_DENIED", "this request comes from another origin",
                   "with a cookie, Origin must be this server's own", false);
        return;
    }
    if (call->identity->by_cookie) {
        signin_drop(call->server->signin, call->identity->session);
        live_sign_out(call->server->live, call->identity->session);
    }
    http_reply(call, 204, NULL,
               "Set-Cookie: " COOKIE "=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0\r\n",
               (struct fly_bytes){0});
}

void server_session(struct http_call *call)
{
    if (call->method == HTTP_POST) {
        sign_in(call);
        return;
    }
    if (call->method == HTTP_OTHER) {
        http_reply(call, 405, NULL, "Allow: GET, HEAD, POST, DELETE\r\n", (struct fly_bytes){0});
        return;
    }
    if (!server_identify(call)) {
        return;
    }
    if (call->identity == NULL) {
        http_error(call, 401, "UNAUTHENTICATED", "nobody is signed in",
                   "POST /v1/session with a token, or send Authorization: Bearer", false);
    } else if (call->method == HTTP_DELETE) {
        sign_out(call);
    } else {
        reply_who(call, &call->identity->who, NULL);
    }
}
