/*
 * api - what HTTP requests mean: /v1/…, as docs/openapi.json describes it.
 *
 * Reads are answered from the dash's picture, or by an edge; actions go to an edge on threads of
 * the api's own (libflyrpc waits), with the token of who asks. The table of routes is one array:
 * the test holds docs/openapi.json against it.
 */
#ifndef FLY_DASH_API_H
#define FLY_DASH_API_H

#include "dash/http.h"

struct api;

struct api_route {
    enum http_method method;
    const char *path;      /* "/v1/vms/{id}" */
    uint32_t scope;        /* of enum token_scope; 0: anybody who is signed in */
    const char *operation; /* operationId of docs/openapi.json */
};
/* The last one's path is NULL. */
extern const struct api_route api_routes[];

struct api *api_create(const struct dash_config *config, struct dash *dash, struct server *server);
/* Its threads end; deferred calls are answered 503. */
void api_destroy(struct api *api);
void api_set_edges(struct api *api, const char *edges);
/* Answers what begins with /v1/ and is not the server's own (/v1/session, /v1/fleet, /v1/live). */
void api_call(struct api *api, struct http_call *call);

#endif
