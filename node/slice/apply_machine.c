/*
 * apply_machine - the inventory's commands: a machine is added, resized, removed, cordoned.
 *
 * A cordon is about placement only, and the leader's: apply() still takes a LAUNCH for a cordoned
 * machine, because its room was promised before the cordon was logged.
 */
#include <string.h>

#include "node/slice/apply_parts.h"
#include "proto/base/check.h"

static void emit_machine(struct step *t, enum event_type type, const struct slice_machine *m)
{
    struct event *e = step_emit(t, type);

    memcpy(e->machine, m->name, sizeof e->machine);
    memcpy(e->region, m->region, sizeof e->region);
    e->cores = m->cores;
    e->memory_bytes = m->memory_bytes;
    e->machine_cores_free = m->cores - m->cores_used;
    e->machine_memory_free_bytes = m->memory_bytes - m->memory_used_bytes;
}

static bool machine_size_ok(uint32_t cores, uint64_t memory_bytes)
{
    return cores >= 1 && cores <= SLICE_MACHINE_CORES_MAX && memory_bytes >= 1 &&
           memory_bytes <= UINT64_C(1) << 62;
}

static enum slice_code add(struct step *t, const struct command *c)
{
    const struct slice_totals *sum = &t->s->core.totals;
    uint32_t slot = slice_machine_find(t->s, c->name);

    if (slot != SLICE_NONE) {
        const struct slice_machine *m = slice_machine_at(t->s, slot);
        return strcmp(m->region, c->region) == 0 && m->cores == c->cores &&
                       m->memory_bytes == c->memory_bytes
                   ? SLICE_REPLAYED
                   : SLICE_EXISTS;
    }
    if (c->name[0] == '\0' || c->region[0] == '\0' || !machine_size_ok(c->cores, c->memory_bytes)) {
        return SLICE_NO_ROOM;
    }
    if (sum->machines == sum->machines_max) {
        return SLICE_TABLE_FULL;
    }
    slot = t->s->core.machines_used;
    if (sum->machines < slot) { /* a hole: the lowest, so that replicas agree */
        for (slot = 0; slice_machine_at(t->s, slot)->name[0] != '\0'; slot++) {
        }
    }
    struct slice_machine m = {.cores = c->cores, .memory_bytes = c->memory_bytes};
    memcpy(m.name, c->name, sizeof m.name);
    memcpy(m.region, c->region, sizeof m.region);
    state_machine_put(t->s, slot, &m);
    emit_machine(t, EVENT_MACHINE_ADDED, &m);
    return SLICE_OK;
}

static enum slice_code resize(struct step *t, const struct command *c)
{
    uint32_t slot = slice_machine_find(t->s, c->name);

    if (slot == SLICE_NONE) {
        return SLICE_NOT_FOUND;
    }
    if (!machine_size_ok(c->cores, c->memory_bytes)) {
        return SLICE_NO_ROOM;
    }
    const struct slice_machine *m = slice_machine_at(t->s, slot);
    if (m->cores == c->cores && m->memory_bytes == c->memory_bytes) {
        return SLICE_REPLAYED;
    }
    if (m->cores_used > c->cores || m->memory_used_bytes > c->memory_bytes) {
        return SLICE_IN_USE;
    }
    struct slice_machine *w = state_machine_write(t->s, slot);
    w->cores = c->cores;
    w->memory_bytes = c->memory_bytes;
    emit_machine(t, EVENT_MACHINE_RESIZED, w);
    return SLICE_OK;
}

static enum slice_code take_away(struct step *t, const struct command *c)
{
    uint32_t slot = slice_machine_find(t->s, c->name);

    if (slot == SLICE_NONE) {
        return SLICE_NOT_FOUND;
    }
    struct slice_machine m = *slice_machine_at(t->s, slot);
    if (m.vm_count > 0) {
        return SLICE_IN_USE;
    }
    state_machine_drop(t->s, slot);
    m.cores = 0;
    m.memory_bytes = 0;
    emit_machine(t, EVENT_MACHINE_REMOVED, &m);
    return SLICE_OK;
}

static enum slice_code cordon(struct step *t, const struct command *c, bool cordoned)
{
    uint32_t slot = slice_machine_find(t->s, c->name);

    if (slot == SLICE_NONE) {
        return SLICE_NOT_FOUND;
    }
    if (slice_machine_at(t->s, slot)->cordoned == cordoned) {
        return SLICE_REPLAYED;
    }
    struct slice_machine *w = state_machine_write(t->s, slot);
    w->cordoned = cordoned;
    emit_machine(t, cordoned ? EVENT_MACHINE_CORDONED : EVENT_MACHINE_UNCORDONED, w);
    return SLICE_OK;
}

enum slice_code apply_machine(struct step *t, const struct command *c)
{
    switch (c->type) {
    case COMMAND_MACHINE_ADD:
        return add(t, c);
    case COMMAND_MACHINE_RESIZE:
        return resize(t, c);
    case COMMAND_MACHINE_REMOVE:
        return take_away(t, c);
    case COMMAND_MACHINE_CORDON:
    case COMMAND_MACHINE_UNCORDON:
        return cordon(t, c, c->type == COMMAND_MACHINE_CORDON);
    case COMMAND_FOUND:
    case COMMAND_LEAD:
    case COMMAND_LAUNCH:
    case COMMAND_BIND:
    case COMMAND_DONE:
    case COMMAND_CANCEL:
    case COMMAND_DESTROY:
    case COMMAND_RELEASE:
    case COMMAND_LOSS:
    default:
        FLY_UNREACHABLE();
    }
}
