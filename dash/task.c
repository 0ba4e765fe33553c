#include "dash/task.h"

#include <stdlib.h>
#include <string.h>

#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

static void run_launch(struct task *task, struct session *session)
{
    int64_t left_ms = task->until_ms - fly_clock_boot_ms();
    struct launching_spec spec = {
        .region = task->region,
        .cores = task->cores,
        .memory_bytes = task->memory_bytes,
        .name = task->name,
        .key_given = task->key_given,
        .key = task->key,
    };

    bool reserved = false;

    task->status = api_cap_reserve(task->api, session, left_ms, task->key_given ? &task->key : NULL,
                                   &reserved, &task->failure);
    if (task->status != FLY_OK) {
        task->capped = task->status == FLY_RESOURCE_EXHAUSTED &&
                       task->failure.reason == FLY__V1__REASON__REASON_QUOTA;
        return;
    }
    left_ms = task->until_ms - fly_clock_boot_ms();
    spec.timeout_ms = left_ms > 0 ? left_ms : 1;
    launching_run(session, &spec, &task->result);
    task->launched = true;
    bool fresh = task->result.end == OUTCOME_OK && !task->result.launched->replayed;
    if (reserved) {
        api_cap_launched(task->api, fresh ? task->result.launched->vm->id : NULL);
    }
}

static void run_call(struct task *task, struct session *session)
{
    int64_t left_ms = task->until_ms - fly_clock_boot_ms();
    Fly__V1__ListRequest list = FLY__V1__LIST_REQUEST__INIT;
    Fly__V1__StatusRequest one = FLY__V1__STATUS_REQUEST__INIT;
    Fly__V1__DestroyRequest destroy = FLY__V1__DESTROY_REQUEST__INIT;
    const struct rpc_method *method = &rpc_edge_list;
    const ProtobufCMessage *request = &list.base;

    if (task->kind == TASK_STATUS) {
        one.vm = task->vm;
        method = &rpc_edge_status;
        request = &one.base;
    } else if (task->kind == TASK_DESTROY) {
        destroy.vm = task->vm;
        method = &rpc_edge_destroy;
        request = &destroy.base;
    } else {
        list.region = task->region;
        list.state = (Fly__V1__VmState)task->state;
        list.after = task->after;
        list.limit = task->limit;
    }
    task->status =
        session_call_again(session, method, request, left_ms, &task->reply, &task->failure);
}

static void on_run(struct action *action, struct session *session, struct failure *failure)
{
    struct task *task = FLY_CONTAINER(action, struct task, action);

    task->ran = true;
    if (session == NULL) {
        task->failure = *failure;
        *failure = (struct failure){0};
        task->status = task->failure.status != FLY_OK ? task->failure.status : FLY_UNAVAILABLE;
    } else if (task->kind == TASK_LAUNCH) {
        run_launch(task, session);
    } else {
        run_call(task, session);
    }
}

static void on_done(struct action *action, bool stopped)
{
    struct task *task = FLY_CONTAINER(action, struct task, action);

    task->stopped = stopped;
    if (!task->ran) {
        task->status = FLY_UNAVAILABLE;
        task->failure = (struct failure){.status = FLY_UNAVAILABLE,
                                         .reason = FLY__V1__REASON__REASON_STOPPING,
                                         .retryable = true,
                                         .message = "this dash is stopping"};
    }
    task->ended(task);
}

struct task *task_create(struct api *api, enum task_kind kind, const char *token,
                         void (*ended)(struct task *task))
{
    struct task *task = calloc(1, sizeof *task);

    FLY_CHECK(task != NULL);
    task->api = api;
    task->kind = kind;
    task->ended = ended;
    task->until_ms = fly_clock_boot_ms() + API_TIMEOUT_MS;
    (void)fly_copy_string(task->token, sizeof task->token, token);
    task->action = (struct action){
        .run = on_run, .done = on_done, .token = task->token, .until_ms = task->until_ms};
    fly_list_init(&task->action.link);
    return task;
}

void task_destroy(struct task *task)
{
    if (task->launched) {
        launching_result_fini(&task->result);
    }
    rpc_reply_fini(&task->reply);
    failure_fini(&task->failure);
    explicit_bzero(task->token, sizeof task->token);
    free(task);
}

bool task_submit(struct task *task)
{
    return actions_submit(task->api->actions, &task->action);
}
