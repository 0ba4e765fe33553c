#include "dash/autospawn.h"

#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"

void autospawn_init(struct autospawn *a, uint32_t region_count, uint64_t seed)
{
    FLY_CHECK(region_count >= 1);
    *a = (struct autospawn){.region_count = region_count};
    fly_rng_seed(&a->rng, seed);
}

static struct autospawn_vm *find(struct autospawn *a, const char *id)
{
    for (size_t i = 0; i < AUTOSPAWN_VMS_MAX; i++) {
        if (strcmp(a->vms[i].id, id) == 0) {
            return &a->vms[i];
        }
    }
    return NULL;
}

static int64_t pause_ms(struct autospawn *a)
{
    const int64_t jitter = AUTOSPAWN_EVERY_MS * AUTOSPAWN_JITTER_PER_CENT / 100;

    return AUTOSPAWN_EVERY_MS - jitter + (int64_t)fly_rng_below(&a->rng, (uint64_t)jitter * 2 + 1);
}

static void look(struct autospawn *a, int64_t now_ms, uint32_t visitors)
{
    if (visitors > 0) {
        a->seen_ms = now_ms;
        if (!a->active) {
            a->active = true;
            a->next_ms = now_ms;
        }
    } else if (a->active && now_ms - a->seen_ms >= AUTOSPAWN_LINGER_MS) {
        a->active = false;
    }
}

struct autospawn_todo autospawn_tick(struct autospawn *a, int64_t now_ms, uint32_t visitors)
{
    struct autospawn_todo todo = {.destroy = NULL};

    look(a, now_ms, visitors);
    for (size_t i = 0; i < AUTOSPAWN_VMS_MAX && todo.destroy == NULL; i++) {
        struct autospawn_vm *vm = &a->vms[i];
        if (vm->id[0] != '\0' && !vm->ending && now_ms >= vm->end_ms) {
            vm->ending = true;
            todo.destroy = vm->id;
        }
    }
    if (a->active && !a->launching && now_ms >= a->next_ms && find(a, "") != NULL) {
        todo.launch = true;
        todo.region = a->region_next++ % a->region_count;
        a->launching = true;
        a->next_ms = now_ms + pause_ms(a);
    }
    return todo;
}

void autospawn_adopt(struct autospawn *a, int64_t now_ms, const char *id)
{
    struct autospawn_vm *vm = find(a, id) == NULL ? find(a, "") : NULL;

    if (vm != NULL) {
        *vm = (struct autospawn_vm){.end_ms = now_ms + AUTOSPAWN_LIFE_MS};
        (void)fly_copy_string(vm->id, sizeof vm->id, id);
    }
}

void autospawn_launched(struct autospawn *a, int64_t now_ms, const char *id)
{
    a->launching = false;
    if (id != NULL) {
        autospawn_adopt(a, now_ms, id);
    }
}

void autospawn_destroyed(struct autospawn *a, int64_t now_ms, const char *id, bool gone)
{
    struct autospawn_vm *vm = find(a, id);

    if (vm == NULL || id[0] == '\0') {
        return;
    }
    if (gone) {
        *vm = (struct autospawn_vm){.end_ms = 0};
    } else {
        vm->ending = false;
        vm->end_ms = now_ms + AUTOSPAWN_AGAIN_MS;
    }
}
