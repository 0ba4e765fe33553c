/*
 * apply_parts - one command's application under way, for apply.c (keys and VMs) and apply_machine.c
 * (the inventory).
 */
#ifndef FLY_SLICE_APPLY_PARTS_H
#define FLY_SLICE_APPLY_PARTS_H

#include "node/slice/state.h"
#include "node/slice/state_parts.h"

struct step {
    struct slice_state *s;
    const struct batch_head *head;
    struct slice_effects *out;
    struct slice_result *result;
};

/* The next event of the slice, numbered and dated; its caller fills in what changed. */
struct event *step_emit(struct step *t, enum event_type type);
/* MACHINE_*. */
enum slice_code apply_machine(struct step *t, const struct command *c);

#endif
