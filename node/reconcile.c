#include "node/reconcile.h"

#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/log.h"

enum { WAITING_MAX = 1024, PLACE_BITS = 32 };

/* The place in a ticket is a slot of the slice, not a place in the inventory. */
#define OF_SLOT (UINT64_C(1) << 31)

void reconcile_begin(struct reconcile *r, const struct inventory *inventory, struct host *host)
{
    const struct slice_state *s = owner_state(host_owner(host));

    *r = (struct reconcile){.inventory = inventory, .host = host, .active = true};
    for (uint32_t slot = 0; slot < slice_machine_slots(s); slot++) {
        if (slice_machine_at(s, slot)->name[0] != '\0') {
            r->unmatched[slot / 8] |= (uint8_t)(1u << slot % 8);
        }
    }
}

static const struct slice_state *state_of(const struct reconcile *r)
{
    return r->host != NULL && host_owner(r->host) != NULL ? owner_state(host_owner(r->host)) : NULL;
}

static void mark_open(struct reconcile *r, const char *name)
{
    const struct slice_state *s = state_of(r);
    uint32_t slot = s != NULL ? slice_machine_find(s, name) : SLICE_NONE;

    if (slot != SLICE_NONE) {
        r->open[slot / 8] |= (uint8_t)(1u << slot % 8);
    }
}

/* A ticket tells the change and the machine: its place in the inventory, or OF_SLOT and its slot.
 */
static void change(struct reconcile *r, struct owner_now now, enum owner_machine_change what,
                   uint64_t place, const struct inventory_machine *m)
{
    struct owner_call call = {.kind = OWNER_MACHINE,
                              .ticket = RECONCILE_TICKET | (uint64_t)what << PLACE_BITS | place,
                              .machine_change = what,
                              .cores = m->cores,
                              .memory_bytes = m->memory_bytes};

    (void)fly_copy_string(call.name, sizeof call.name, m->name);
    (void)fly_copy_string(call.region, sizeof call.region, m->region);
    r->waiting++;
    host_call(r->host, &call, now);
}

static void compare_machine(struct reconcile *r, struct owner_now now, size_t place)
{
    const struct inventory_machine *m = &r->inventory->machines[place];
    const struct slice_state *s = owner_state(host_owner(r->host));
    uint32_t slot = slice_machine_find(s, m->name);
    const struct slice_machine *there = NULL;

    if (slot != SLICE_NONE) {
        there = slice_machine_at(s, slot);
        r->unmatched[slot / 8] &= (uint8_t) ~(1u << slot % 8);
    }
    if (slot == SLICE_NONE) {
        change(r, now, OWNER_MACHINE_ADD, place, m);
        if (m->cordoned) { /* right behind: no VM comes between */
            change(r, now, OWNER_MACHINE_CORDON, place, m);
        }
        return;
    }
    if (!m->cordoned) {
        mark_open(r, m->name);
    }
    if (m->cordoned && !there->cordoned) {
        change(r, now, OWNER_MACHINE_CORDON, place, m);
    } else if (!m->cordoned && there->cordoned && !r->keep_cordons) {
        change(r, now, OWNER_MACHINE_UNCORDON, place, m);
    }
    if (strcmp(there->region, m->region) != 0) {
        fly_log_warn("inventory.moved", F_STR("machine", m->name), F_STR("from", there->region),
                     F_STR("to", m->region),
                     F_STR("hint", "remove it, start once, then add it in the other region"));
        r->refused++;
    } else if (there->cores != m->cores || there->memory_bytes != m->memory_bytes) {
        change(r, now, OWNER_MACHINE_RESIZE, place, m);
    }
}

bool reconcile_step(struct reconcile *r, struct owner_now now)
{
    const struct inventory *inventory = r->inventory;

    if (host_owner(r->host) == NULL) {
        return false;
    }
    if (inventory->untold) {
        return true;
    }
    for (; r->next_machine < inventory->machine_count && r->waiting < WAITING_MAX;
         r->next_machine++) {
        compare_machine(r, now, r->next_machine);
    }
    const struct slice_state *s = owner_state(host_owner(r->host));
    for (; r->next_machine == inventory->machine_count && r->waiting < WAITING_MAX &&
           r->next_slot < slice_machine_slots(s);
         r->next_slot++) {
        const struct slice_machine *m = slice_machine_at(s, r->next_slot);
        bool unmatched = (r->unmatched[r->next_slot / 8] >> r->next_slot % 8 & 1) != 0;
        if (unmatched && m->name[0] != '\0') {
            struct inventory_machine gone = {.cores = 0};
            (void)fly_copy_string(gone.name, sizeof gone.name, m->name);
            change(r, now, OWNER_MACHINE_REMOVE, OF_SLOT | r->next_slot, &gone);
        }
    }
    return r->waiting == 0 && r->next_machine == inventory->machine_count &&
           r->next_slot >= slice_machine_slots(s);
}

bool reconcile_set_cordon(struct reconcile *r, const char *name, bool cordon, struct owner_now now)
{
    const struct slice_state *s = state_of(r);
    uint32_t slot = s != NULL ? slice_machine_find(s, name) : SLICE_NONE;
    struct inventory_machine m = {.cores = 0};

    if (slot == SLICE_NONE) {
        return false;
    }
    (void)fly_copy_string(m.name, sizeof m.name, name);
    change(r, now, cordon ? OWNER_MACHINE_CORDON : OWNER_MACHINE_UNCORDON, OF_SLOT | slot, &m);
    return true;
}

bool reconcile_has_open(const struct reconcile *r, const char *name)
{
    const struct slice_state *s = state_of(r);
    uint32_t slot = s != NULL ? slice_machine_find(s, name) : SLICE_NONE;

    return slot != SLICE_NONE && (r->inventory->untold || (r->open[slot / 8] >> slot % 8 & 1) != 0);
}

static const char *machine_of(const struct reconcile *r, uint64_t place)
{
    if ((place & OF_SLOT) == 0) {
        return r->inventory->machines[place].name;
    }
    const struct slice_state *s = state_of(r);
    return s == NULL ? "" : slice_machine_at(s, (uint32_t)(place & ~OF_SLOT))->name;
}

void reconcile_answer(struct reconcile *r, const struct owner_answer *answer)
{
    static const char *const words[] = {[OWNER_MACHINE_ADD] = "add",
                                        [OWNER_MACHINE_RESIZE] = "resize",
                                        [OWNER_MACHINE_REMOVE] = "remove",
                                        [OWNER_MACHINE_CORDON] = "cordon",
                                        [OWNER_MACHINE_UNCORDON] = "uncordon"};
    uint64_t rest = answer->ticket & ~RECONCILE_TICKET;
    enum owner_machine_change what = (enum owner_machine_change)(rest >> PLACE_BITS);
    uint64_t place = rest & ((UINT64_C(1) << PLACE_BITS) - 1);

    if (r->waiting == 0) {
        return; /* of a round that was begun again */
    }
    r->waiting--;
    if (answer->code == OWNER_DONE_OK) {
        if (what == OWNER_MACHINE_ADD && !r->inventory->machines[place].cordoned) {
            mark_open(r, r->inventory->machines[place].name);
        }
        r->added += what == OWNER_MACHINE_ADD;
        r->resized += what == OWNER_MACHINE_RESIZE;
        r->removed += what == OWNER_MACHINE_REMOVE;
        r->cordoned += what == OWNER_MACHINE_CORDON;
        r->uncordoned += what == OWNER_MACHINE_UNCORDON;
    } else if (answer->code != OWNER_UNKNOWN && answer->status != FLY_UNAVAILABLE) {
        r->refused++; /* otherwise the log failed: ready() begins again */
        fly_log_warn("inventory.refused", F_STR("change", words[what]),
                     F_STR("machine", machine_of(r, place)),
                     F_STR("reason", answer->text != NULL ? answer->text : "no such machine"));
    }
}
