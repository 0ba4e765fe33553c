/*
 * task - one call of an edge on somebody's behalf: an action with its request and what came of it.
 *
 * Made on the dash's thread, run on a thread of the pool, `ended` on the dash's thread. Freed by
 * task_destroy, which `ended` calls.
 */
#ifndef FLY_DASH_TASK_H
#define FLY_DASH_TASK_H

#include "client/lib/launching.h"
#include "dash/api_internal.h"
#include "proto/wire/token.h"

enum task_kind { TASK_LIST, TASK_STATUS, TASK_LAUNCH, TASK_DESTROY };

struct task {
    struct action action;
    struct api *api;
    enum task_kind kind;
    void (*ended)(struct task *task);
    void *user;
    uint64_t call; /* of http_defer; 0: nobody waits */
    int64_t until_ms;

    /* what is asked for */
    char token[TOKEN_TEXT_MAX + 1];
    char region[EVENT_REGION_SIZE];
    char vm[16];
    uint32_t state;
    uint64_t after;
    uint32_t limit;
    char name[EVENT_NAME_SIZE];
    uint32_t cores;
    uint64_t memory_bytes;
    bool key_given;
    struct fly_key key;

    /* what came of it */
    bool ran;
    bool stopped;           /* the dash ends */
    bool capped;            /* not even tried: as many VMs live as this dash may bring */
    enum fly_status status; /* FLY_OK: `reply`, or for a launch `result`; else `failure` */
    struct rpc_reply reply;
    struct failure failure;
    bool launched; /* result is filled */
    struct launching_result result;
};

/* Never NULL; the token is copied (cut tokens mean nothing: an edge says so). */
struct task *task_create(struct api *api, enum task_kind kind, const char *token,
                         void (*ended)(struct task *task));
void task_destroy(struct task *task);
/* False: too many wait; nothing will come, the task is still the caller's. */
bool task_submit(struct task *task);

#endif
