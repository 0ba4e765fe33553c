#include "dash/autospawn_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dash/autospawn.h"
#include "dash/task.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { REGIONS_MAX = 64, ADOPT_AGAIN_MS = 30000 };

#define NAME_PREFIX "auto-"
#define VM_CORES 1
#define VM_MEMORY_BYTES UINT64_C(512000000)

struct api_spawner {
    struct api *api;
    struct autospawn machine;
    struct fly_rng rng;
    char regions[REGIONS_MAX][EVENT_REGION_SIZE];
    uint32_t region_count;
    /* VMs of an earlier life of this dash are looked for first */
    bool adopted;
    bool adopting;
    int64_t adopt_ms;
};

static bool take_regions(struct api_spawner *s, const char *list)
{
    while (*list != '\0') {
        size_t size = strcspn(list, ", ");
        if (size > 0 && size < EVENT_REGION_SIZE && s->region_count < REGIONS_MAX) {
            char *code = s->regions[s->region_count++];
            for (size_t i = 0; i < size; i++) {
                code[i] = list[i] >= 'a' && list[i] <= 'z' ? (char)(list[i] - 'a' + 'A') : list[i];
            }
        }
        list += size + (list[size] != '\0' ? 1 : 0);
    }
    return s->region_count > 0;
}

struct api_spawner *api_spawner_create(struct api *api, uint64_t seed)
{
    struct api_spawner *s = NULL;

    if (api->config->autospawn_token == NULL) {
        return NULL;
    }
    s = calloc(1, sizeof *s);
    FLY_CHECK(s != NULL);
    s->api = api;
    if (!take_regions(s, api->config->autospawn)) {
        free(s);
        return NULL;
    }
    autospawn_init(&s->machine, s->region_count, seed);
    fly_rng_seed(&s->rng, seed + 1);
    return s;
}

void api_spawner_destroy(struct api_spawner *s)
{
    free(s);
}

static void launch_ended(struct task *task)
{
    struct api_spawner *s = task->user;
    bool good = task->launched && task->result.end == OUTCOME_OK;

    autospawn_launched(&s->machine, fly_clock_boot_ms(),
                       good ? task->result.launched->vm->id : NULL);
    if (task->launched && task->result.end == OUTCOME_UNKNOWN) {
        s->adopted = false; /* it may be there: it is looked for by its name */
    }
    task_destroy(task);
}

static void launch(struct api_spawner *s, uint32_t region)
{
    struct task *task =
        task_create(s->api, TASK_LAUNCH, s->api->config->autospawn_token, launch_ended);
    char code[EVENT_REGION_SIZE];

    (void)fly_copy_string(code, sizeof code, s->regions[region]);
    (void)fly_copy_string(task->region, sizeof task->region, code);
    for (char *c = code; *c != '\0'; c++) {
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
    }
    (void)snprintf(task->name, sizeof task->name, NAME_PREFIX "%s-%04x", code,
                   (unsigned)fly_rng_below(&s->rng, 1 << 16));
    task->cores = VM_CORES;
    task->memory_bytes = VM_MEMORY_BYTES;
    task->user = s;
    if (!task_submit(task)) {
        autospawn_launched(&s->machine, fly_clock_boot_ms(), NULL);
        task_destroy(task);
    }
}

static void destroy_ended(struct task *task)
{
    struct api_spawner *s = task->user;
    bool gone = task->status == FLY_OK || task->status == FLY_NOT_FOUND;

    autospawn_destroyed(&s->machine, fly_clock_boot_ms(), task->vm, gone);
    task_destroy(task);
}

static void destroy(struct api_spawner *s, const char *vm)
{
    struct task *task =
        task_create(s->api, TASK_DESTROY, s->api->config->autospawn_token, destroy_ended);

    (void)fly_copy_string(task->vm, sizeof task->vm, vm);
    task->user = s;
    if (!task_submit(task)) {
        autospawn_destroyed(&s->machine, fly_clock_boot_ms(), vm, false);
        task_destroy(task);
    }
}

/* --- those of an earlier life --- */

static void adopt_from(struct api_spawner *s, uint64_t after);

static void adopt_ended(struct task *task)
{
    struct api_spawner *s = task->user;
    uint64_t next = 0;

    s->adopting = false;
    s->adopted = task->status == FLY_OK;
    if (task->status == FLY_OK) {
        const Fly__V1__ListReply *page = (const Fly__V1__ListReply *)task->reply.message;
        for (size_t i = 0; i < page->n_vms; i++) {
            const Fly__V1__Vm *vm = page->vms[i];
            if (strncmp(vm->name, NAME_PREFIX, sizeof NAME_PREFIX - 1) == 0 &&
                strcmp(vm->subject, task->name) == 0) {
                autospawn_adopt(&s->machine, fly_clock_boot_ms(), vm->id);
            }
        }
        next = page->next > task->after ? page->next : 0;
    }
    if (next != 0 && !task->stopped) {
        adopt_from(s, next);
    }
    task_destroy(task);
}

/* A page of all VMs; the token's subject tells which are its own. */
static void adopt_from(struct api_spawner *s, uint64_t after)
{
    const struct dash_config *config = s->api->config;
    const char *token = config->autospawn_token;
    struct dash_who who = {.subject = ""};
    struct fly_error error = {0};

    s->adopt_ms = fly_clock_boot_ms() + ADOPT_AGAIN_MS;
    if (config->verify(config->user, token, strlen(token), fly_clock_wall_ms(), &who, &error) !=
        FLY_OK) {
        return;
    }
    struct task *task = task_create(s->api, TASK_LIST, token, adopt_ended);
    (void)fly_copy_string(task->name, sizeof task->name, who.subject);
    task->after = after;
    task->limit = API_PAGE_MAX;
    task->user = s;
    s->adopting = true;
    if (!task_submit(task)) {
        s->adopting = false;
        task_destroy(task);
    }
}

void api_spawner_tick(struct api_spawner *s)
{
    int64_t now_ms = fly_clock_boot_ms();
    uint32_t browsers = dash_counters(s->api->dash).browsers;
    struct autospawn_todo todo = {.destroy = NULL};

    if (!s->adopted && !s->adopting && now_ms >= s->adopt_ms) {
        adopt_from(s, 0);
    }
    do {
        todo = autospawn_tick(&s->machine, now_ms, browsers);
        if (todo.destroy != NULL) {
            destroy(s, todo.destroy);
        }
        if (todo.launch) {
            launch(s, todo.region);
        }
    } while (todo.destroy != NULL || todo.launch);
}
