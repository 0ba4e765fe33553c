#include "dash/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "dash/api_internal.h"
#include "dash/autospawn_run.h"
#include "dash/sse.h"
#include "proto/base/check.h"

typedef void api_handler(struct api *api, struct http_call *call, const char *rest);

const struct api_route api_routes[] = {
    {HTTP_GET, "/v1/regions", TOKEN_SCOPE_REGIONS, "listRegions"},
    {HTTP_GET, "/v1/machines", TOKEN_SCOPE_READ, "listMachines"},
    {HTTP_GET, "/v1/vms", TOKEN_SCOPE_READ, "listVms"},
    {HTTP_POST, "/v1/vms", TOKEN_SCOPE_LAUNCH, "launchVm"},
    {HTTP_GET, "/v1/vms/{id}", TOKEN_SCOPE_READ, "getVm"},
    {HTTP_DELETE, "/v1/vms/{id}", TOKEN_SCOPE_DESTROY, "destroyVm"},
    {HTTP_GET, "/v1/events", TOKEN_SCOPE_WATCH, "watchEvents"},
    {HTTP_GET, "/v1/members", TOKEN_SCOPE_READ, "listMembers"},
    {HTTP_GET, "/v1/limits", 0, "getLimits"},
    {HTTP_OTHER, NULL, 0, NULL},
};

/* In the order of api_routes. */
static api_handler *const handlers[] = {
    api_get_regions, api_get_machines, api_list_vms,    api_launch_vm,  api_get_vm,
    api_destroy_vm,  api_watch,        api_get_members, api_get_limits,
};
_Static_assert(FLY_ARRAY_COUNT(handlers) + 1 == FLY_ARRAY_COUNT(api_routes), "one for each");

/* What stands for {id}, "" where the pattern has none; NULL: another path. */
static const char *match(const char *pattern, const char *path)
{
    size_t fixed = strcspn(pattern, "{");

    if (pattern[fixed] == '\0') {
        return strcmp(pattern, path) == 0 ? "" : NULL;
    }
    return strncmp(pattern, path, fixed) == 0 && path[fixed] != '\0' &&
                   strchr(path + fixed, '/') == NULL
               ? path + fixed
               : NULL;
}

static const char *method_name(enum http_method method)
{
    switch (method) {
    case HTTP_GET:
        return "GET";
    case HTTP_POST:
        return "POST";
    case HTTP_DELETE:
        return "DELETE";
    case HTTP_OTHER:
        break;
    }
    return "this";
}

/* 404, or 405 when the path is there for other methods. */
static void refuse_route(struct http_call *call)
{
    char allow[64] = "";
    char words[HTTP_PATH_MAX + 64];
    size_t at = 0;

    for (const struct api_route *route = api_routes; route->path != NULL; route++) {
        if (match(route->path, http_path(call)) != NULL) {
            at += (size_t)snprintf(allow + at, sizeof allow - at, "%s%s", at > 0 ? ", " : "",
                                   method_name(route->method));
        }
    }
    (void)snprintf(words, sizeof words, at > 0 ? "%.*s takes no such method" : "there is no %.*s",
                   HTTP_PATH_MAX, http_path(call));
    api_refuse(call, &(struct api_refusal){.status = at > 0 ? 405 : 404,
                                           .code = at > 0 ? "UNIMPLEMENTED" : "NOT_FOUND",
                                           .message = words,
                                           .hint = at > 0 ? allow : "docs/openapi.json has all",
                                           .allow = at > 0 ? allow : NULL});
}

static bool may(struct http_call *call, const struct api_route *route)
{
    const struct dash_who *who = http_who(call);
    char scope[TOKEN_SCOPES_TEXT_SIZE];
    char words[TOKEN_SCOPES_TEXT_SIZE + 64];

    if (who == NULL || http_token(call) == NULL) {
        api_refuse(call,
                   &(struct api_refusal){.status = 401,
                                         .code = "UNAUTHENTICATED",
                                         .message = "nobody is signed in",
                                         .hint = "POST /v1/session with a token, or send it as "
                                                 "Authorization: Bearer"});
        return false;
    }
    if ((who->scopes & route->scope) == route->scope) {
        return true;
    }
    token_scopes_format(route->scope, ' ', scope);
    (void)snprintf(words, sizeof words, "this token has no scope %s", scope);
    api_refuse(call, &(struct api_refusal){.status = 403,
                                           .code = "SCOPE_MISSING",
                                           .message = words,
                                           .hint = "sign in with a token that has it "
                                                   "(flyrpc token create --scope)"});
    return false;
}

void api_call(struct api *api, struct http_call *call)
{
    for (size_t i = 0; api_routes[i].path != NULL; i++) {
        const struct api_route *route = &api_routes[i];
        const char *rest = match(route->path, http_path(call));
        if (rest != NULL && route->method == http_method(call)) {
            if (may(call, route)) {
                handlers[i](api, call, rest);
            }
            return;
        }
    }
    refuse_route(call);
}

static void on_tick(void *user)
{
    struct api *api = user;

    sse_tick(api->sse);
    if (api->spawner != NULL) {
        api_spawner_tick(api->spawner);
    }
}

struct api *api_create(const struct dash_config *config, struct dash *dash, struct server *server)
{
    struct api *api = calloc(1, sizeof *api);
    uint64_t seed = 0;

    FLY_CHECK(api != NULL);
    FLY_CHECK(getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed);
    api->config = config;
    api->dash = dash;
    api->server = server;
    api->limits = limits_create(config->launches_per_minute, seed);
    api->near = limits_near_create();
    FLY_CHECK(pthread_mutex_init(&api->vms_lock, NULL) == 0);
    if (config->vms_max > 0) {
        api->vms = limits_vms_create(config->vms_max, seed);
    }
    api->actions = actions_create(&(struct actions_config){
        .edges = config->edges,
        .ca_pem = config->ca_pem,
        .server = server,
        .tick = on_tick,
        .user = api,
    });
    api->sse = sse_create(api);
    api->spawner = config->autospawn != NULL ? api_spawner_create(api, seed) : NULL;
    actions_start(api->actions);
    return api;
}

void api_destroy(struct api *api)
{
    if (api == NULL) {
        return;
    }
    sse_stop(api->sse);
    actions_destroy(api->actions);
    sse_destroy(api->sse);
    api_spawner_destroy(api->spawner);
    limits_vms_destroy(api->vms);
    limits_near_destroy(api->near);
    limits_destroy(api->limits);
    (void)pthread_mutex_destroy(&api->vms_lock);
    free(api);
}

void api_set_edges(struct api *api, const char *edges)
{
    actions_set_edges(api->actions, edges);
}
