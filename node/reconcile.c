#include "node/reconcile.h"

#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/log.h"

enum { WAITING_MAX = 1024 };

void reconcile_begin(struct reconcile *r, const struct inventory *inventory, struct host *host)
{
    const struct slice_state *s = owner_state(host_owner(host));

    *r = (struct reconcile){.inventory = inventory, .active = true};
    for (uint32_t slot = 0; slot < slice_machine_slots(s); slot++) {
        if (slice_machine_at(s, slot)->name[0] != '\0') {
            r->unmatched[slot / 8] |= (uint8_t)(1u << slot % 8);
        }
    }
}

static void change(struct reconcile *r, struct host *host, struct owner_now now,
                   enum owner_machine_change what, const char *name, const char *region,
                   uint32_t cores, uint64_t memory_bytes)
{
    struct owner_call call = {.kind = OWNER_MACHINE,
                              .ticket = RECONCILE_TICKET | (uint64_t)what,
                              .machine_change = what,
                              .cores = cores,
                              .memory_bytes = memory_bytes};

    (void)fly_copy_string(call.name, sizeof call.name, name);
    (void)fly_copy_string(call.region, sizeof call.region, region);
    r->waiting++;
    host_call(host, &call, now);
}

static void compare_machine(struct reconcile *r, struct host *host, struct owner_now now,
                            const struct inventory_machine *m)
{
    const struct slice_state *s = owner_state(host_owner(host));
    uint32_t slot = slice_machine_find(s, m->name);
    const struct slice_machine *there = slice_machine_at(s, slot);

    if (slot != SLICE_NONE) {
        r->unmatched[slot / 8] &= (uint8_t) ~(1u << slot % 8);
    }
    if (m->cordoned) { /* nothing new may be placed on it: it is not brought, and not taken away */
        return;
    }
    if (slot == SLICE_NONE) {
        change(r, host, now, OWNER_MACHINE_ADD, m->name, m->region, m->cores, m->memory_bytes);
    } else if (strcmp(there->region, m->region) != 0) {
        fly_log_warn("inventory.moved", F_STR("machine", m->name), F_STR("from", there->region),
                     F_STR("to", m->region),
                     F_STR("hint", "remove it, start once, then add it in the other region"));
        r->refused++;
    } else if (there->cores != m->cores || there->memory_bytes != m->memory_bytes) {
        change(r, host, now, OWNER_MACHINE_RESIZE, m->name, "", m->cores, m->memory_bytes);
    }
}

bool reconcile_step(struct reconcile *r, struct host *host, struct owner_now now)
{
    const struct inventory *inventory = r->inventory;

    if (host_owner(host) == NULL) {
        return false;
    }
    for (; r->next_machine < inventory->machine_count && r->waiting < WAITING_MAX;
         r->next_machine++) {
        compare_machine(r, host, now, &inventory->machines[r->next_machine]);
    }
    const struct slice_state *s = owner_state(host_owner(host));
    for (; r->next_machine == inventory->machine_count && r->waiting < WAITING_MAX &&
           r->next_slot < slice_machine_slots(s);
         r->next_slot++) {
        const struct slice_machine *m = slice_machine_at(s, r->next_slot);
        bool unmatched = (r->unmatched[r->next_slot / 8] >> r->next_slot % 8 & 1) != 0;
        if (unmatched && m->name[0] != '\0') {
            change(r, host, now, OWNER_MACHINE_REMOVE, m->name, "", 0, 0);
        }
    }
    return r->waiting == 0 && r->next_machine == inventory->machine_count &&
           r->next_slot >= slice_machine_slots(s);
}

void reconcile_answer(struct reconcile *r, const struct owner_answer *answer)
{
    enum owner_machine_change what =
        (enum owner_machine_change)(answer->ticket & ~RECONCILE_TICKET);

    if (r->waiting == 0) {
        return; /* of a round that was begun again */
    }
    r->waiting--;
    if (answer->code == OWNER_DONE_OK) {
        r->added += what == OWNER_MACHINE_ADD;
        r->resized += what == OWNER_MACHINE_RESIZE;
        r->removed += what == OWNER_MACHINE_REMOVE;
    } else if (answer->code == OWNER_UNKNOWN || answer->status == FLY_UNAVAILABLE) {
        r->unknown = true;
    } else {
        r->refused++;
        fly_log_warn("inventory.refused",
                     F_STR("reason", answer->text != NULL ? answer->text : "no such machine"));
    }
}
