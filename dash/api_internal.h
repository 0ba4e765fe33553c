/*
 * api_internal - what the api's own files share: its state, strict parameters, answers.
 *
 * Everything is called on the dash's thread unless it says otherwise.
 */
#ifndef FLY_DASH_API_INTERNAL_H
#define FLY_DASH_API_INTERNAL_H

#include <jansson.h>
#include <pthread.h>

#include "client/lib/session.h"
#include "dash/actions.h"
#include "dash/api.h"
#include "dash/limits.h"
#include "dash/state.h"

enum {
    API_TIMEOUT_MS = 10000,
    API_CODE_SIZE = 64, /* of a region, as people write them */
    API_PAGE_DEFAULT = 200,
    API_PAGE_MAX = 1000,
    API_COOLDOWN_SUCCESS_MS = 20000, /* of the page's button */
    API_COOLDOWN_FAILURE_MS = 5000,
};

struct api_spawner;
struct sse;

struct api {
    const struct dash_config *config;
    struct dash *dash;
    struct server *server;
    struct actions *actions;
    struct limits *limits;
    struct limits_near *near;
    struct sse *sse;
    struct api_spawner *spawner; /* NULL: none */

    /* How many VMs live; asked for on action threads too. NULL: no limit. */
    pthread_mutex_t vms_lock;
    struct limits_vms *vms;
    uint64_t vms_seen; /* of the state's events: so many were put */
};

struct api_refusal {
    unsigned status; /* of HTTP */
    const char *code;
    const char *message;
    const char *hint; /* NULL: none */
    bool retryable;
    int64_t retry_after_ms; /* 0: not said */
    const char *allow;      /* NULL: not said */
    const char *key;        /* of the launch that it is about; NULL: none */
    const char *region;     /* that the launch was for; NULL: not said */
};

/* The one form of all errors: {"error": {"code", "message", "hint", "retryable"}}, and beside them
 * "key" and "region" where the refusal has them. */
void api_refuse(struct http_call *call, const struct api_refusal *refusal);
/* 400 INVALID_ARGUMENT. */
__attribute__((format(printf, 3, 4))) void
api_refuse_input(struct http_call *call, const char *hint, const char *format, ...);
/* What an edge, or the way to it, said; `change`: a lost answer leaves it unknown whether anything
 * was done. key and region may be NULL. */
void api_refuse_failure(struct http_call *call, const struct failure *failure, bool change,
                        const char *key, const char *region);
/* The HTTP status for a refusal. Pure. */
unsigned api_http_status(enum fly_status status, uint32_t reason);

/* Takes the object over; NULL: 500. `headers` may be NULL. */
void api_reply(struct http_call *call, unsigned status, const char *headers, json_t *object);
/* A number that JSON can hold. */
json_t *api_number(uint64_t value);
/* Appends; takes the value over; NULL spoils the array (it becomes NULL). */
void api_append(json_t **array, json_t *value);

/* One parameter that a route knows; `out` is "" when it did not come. */
struct api_param {
    const char *name;
    char *out;
    size_t size;
};
/* Reads the query. False: one that is not known, twice, or too long; answered. */
bool api_params(struct http_call *call, const struct api_param *params, size_t count);
/* A whole number of a parameter that came; else *out stays. False: answered. */
bool api_param_number(struct http_call *call, const char *name, const char *text, uint64_t min,
                      uint64_t max, uint64_t *out);
/* Makes upper-case. False: it is no region code; answered. */
bool api_region(struct http_call *call, char *code);
/* Its index in the picture. False: there is none; answered. Takes the state's lock. */
bool api_region_find(struct api *api, struct http_call *call, const char *code, uint32_t *out);

/* --- the routes; `rest` is what stands for {id}, or "" --- */
void api_get_regions(struct api *api, struct http_call *call, const char *rest);
void api_get_machines(struct api *api, struct http_call *call, const char *rest);
void api_get_members(struct api *api, struct http_call *call, const char *rest);
void api_get_limits(struct api *api, struct http_call *call, const char *rest);
void api_list_vms(struct api *api, struct http_call *call, const char *rest);
void api_get_vm(struct api *api, struct http_call *call, const char *rest);
void api_launch_vm(struct api *api, struct http_call *call, const char *rest);
void api_destroy_vm(struct api *api, struct http_call *call, const char *rest);
void api_watch(struct api *api, struct http_call *call, const char *rest);

/* {"id", "name", … "subject"} of docs/DASH.md. */
json_t *api_vm(const Fly__V1__Vm *vm);

/* --- the cap on VMs (api_cap.c) --- */

/* Events of the state that were not put yet. With vms_lock. */
void api_cap_catch_up(struct api *api);
/* On an action thread: may one more be launched? *reserved: it counts as being launched until
 * api_cap_launched; not when there is no cap, or when `key` (NULL: none was given) has its VM.
 * Asks an edge for a list when what is known is old, or says that there is no room.
 * RESOURCE_EXHAUSTED: the cap; else `failure` is filled. */
enum fly_status api_cap_reserve(struct api *api, struct session *session, int64_t timeout_ms,
                                const struct fly_key *key, bool *reserved, struct failure *failure);
/* Any thread; for what was reserved. NULL: no VM. */
void api_cap_launched(struct api *api, const char *vm);

/* --- near (api_near.c) --- */

/* The nearest region with room for it to a place, or to the dash's own region (place NULL); without
 * room anywhere the nearest that has machines. False: no such region, or no place to be near to. */
struct api_place {
    double latitude;
    double longitude;
};
/* The dash's own region is one that it knows. */
bool api_at_home(struct api *api);
bool api_near(struct api *api, const struct api_place *place, uint32_t cores, uint64_t memory_bytes,
              char out[static EVENT_REGION_SIZE]);

#endif
