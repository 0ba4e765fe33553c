/*
 * owner_machine - the leader and its machines: changes of the inventory, and how much room there
 * is.
 */
#include <string.h>

#include "node/slice/owner_parts.h"
#include "proto/base/check.h"

/* What a machine is about to lose is reserved, so that nothing is promised of it meanwhile.
 * False: answered. */
static bool reserve_loss(struct owner *o, const struct owner_call *c, uint32_t slot,
                         struct reserve *out)
{
    const struct slice_machine *m = slice_machine_at(o->state, slot);
    bool remove = c->machine_change == OWNER_MACHINE_REMOVE;
    uint32_t cores = remove ? 0 : c->cores;
    uint64_t memory_bytes = remove ? 0 : c->memory_bytes;

    *out = (struct reserve){
        .machine = slot,
        .cores = m->cores > cores ? m->cores - cores : 0,
        .memory_bytes = m->memory_bytes > memory_bytes ? m->memory_bytes - memory_bytes : 0,
    };
    if (out->cores > book_cores_free(&o->book, o->state, slot) ||
        out->memory_bytes > book_memory_free(&o->book, o->state, slot)) {
        owner_answer_refused(o, c->ticket, c->kind, FLY_FAILED_PRECONDITION,
                             "the machine has VMs that would not fit");
        return false;
    }
    return true;
}

/* A resize or removal of this machine has not landed: what it will lose was reckoned from a size
 * that a second change would make wrong. */
static bool machine_changes(const struct owner *o, const char *name)
{
    for (uint32_t i = 0; i < o->book.fresh; i++) {
        const struct flight *f = &o->book.flights[i];
        if (f->state != FLIGHT_FREE &&
            (f->command.type == COMMAND_MACHINE_RESIZE ||
             f->command.type == COMMAND_MACHINE_REMOVE) &&
            strcmp(f->command.name, name) == 0) {
            return true;
        }
    }
    return false;
}

void owner_call_machine(struct owner *o, const struct owner_call *c)
{
    static const enum command_type types[] = {
        [OWNER_MACHINE_ADD] = COMMAND_MACHINE_ADD,
        [OWNER_MACHINE_RESIZE] = COMMAND_MACHINE_RESIZE,
        [OWNER_MACHINE_REMOVE] = COMMAND_MACHINE_REMOVE,
        [OWNER_MACHINE_CORDON] = COMMAND_MACHINE_CORDON,
        [OWNER_MACHINE_UNCORDON] = COMMAND_MACHINE_UNCORDON,
    };
    uint32_t slot = slice_machine_find(o->state, c->name);
    struct reserve reserve = {.machine = 0};

    FLY_CHECK(c->machine_change >= OWNER_MACHINE_ADD &&
              c->machine_change <= OWNER_MACHINE_UNCORDON);
    bool cordon =
        c->machine_change == OWNER_MACHINE_CORDON || c->machine_change == OWNER_MACHINE_UNCORDON;
    const struct command change = owner_command_of(c, types[c->machine_change]);
    if (c->machine_change == OWNER_MACHINE_ADD || cordon) {
        /* a cordon may be of a machine whose ADD is still under way: they go in one entry */
        (void)owner_propose(o, c, &change, NULL);
    } else if (slot == SLICE_NONE) {
        (void)owner_answer_new(o, c->ticket, c->kind, OWNER_NOT_FOUND);
    } else if (machine_changes(o, c->name)) {
        owner_answer_refused(o, c->ticket, c->kind, FLY_ABORTED,
                             "another change of this machine is under way");
    } else if (reserve_loss(o, c, slot, &reserve)) {
        (void)owner_propose(o, c, &change, &reserve);
    }
}

void owner_answer_machine(struct owner *o, const struct waiter *w, enum slice_code code)
{
    switch (code) {
    case SLICE_OK:
    case SLICE_REPLAYED:
        (void)owner_answer_new(o, w->ticket, w->kind, OWNER_DONE_OK);
        return;
    case SLICE_NOT_FOUND:
        (void)owner_answer_new(o, w->ticket, w->kind, OWNER_NOT_FOUND);
        return;
    case SLICE_EXISTS:
        owner_answer_refused(o, w->ticket, w->kind, FLY_ALREADY_EXISTS,
                             "a machine of this name is there with another size or region");
        return;
    case SLICE_IN_USE:
        owner_answer_refused(o, w->ticket, w->kind, FLY_FAILED_PRECONDITION,
                             "the machine has VMs that would not fit");
        return;
    case SLICE_TABLE_FULL:
        owner_answer_refused(o, w->ticket, w->kind, FLY_RESOURCE_EXHAUSTED,
                             "the slice has no room for another machine");
        return;
    case SLICE_BOUND:
    case SLICE_DONE_ELSEWHERE:
    case SLICE_CANCELLED:
    case SLICE_KEY_REUSED:
    case SLICE_KEY_EXPIRED:
    case SLICE_KEY_FUTURE:
    case SLICE_NO_ROOM:
    case SLICE_STALE:
    default:
        owner_answer_refused(o, w->ticket, w->kind, FLY_INVALID_ARGUMENT,
                             "the machine's name, region or size is out of bounds");
    }
}

void owner_room(const struct owner *o, const char *region, uint32_t cores, uint64_t memory_bytes,
                struct owner_room *out)
{
    *out = (struct owner_room){.machines = 0};
    for (uint32_t slot = 0; slot < slice_machine_slots(o->state); slot++) {
        const struct slice_machine *m = slice_machine_at(o->state, slot);
        if (m->name[0] == '\0' || strcmp(m->region, region) != 0) {
            continue;
        }
        out->machines++;
        if (m->cordoned) {
            out->cordoned++;
            continue;
        }
        uint32_t cores_free = book_cores_free(&o->book, o->state, slot);
        uint64_t memory_free = book_memory_free(&o->book, o->state, slot);
        out->cores_max = m->cores > out->cores_max ? m->cores : out->cores_max;
        out->memory_max_bytes =
            m->memory_bytes > out->memory_max_bytes ? m->memory_bytes : out->memory_max_bytes;
        out->fits_empty |= m->cores >= cores && m->memory_bytes >= memory_bytes;
        if (cores_free > out->cores_free_max ||
            (cores_free == out->cores_free_max && memory_free > out->memory_free_max_bytes)) {
            out->cores_free_max = cores_free; /* both of one machine: the one with most cores */
            out->memory_free_max_bytes = memory_free;
        }
    }
}
