/*
 * front_sweep - keys that are at home here and whose VM is elsewhere: moves the sweep's calls
 * (node/edge/sweep.h) and lends it the records.
 */
#include "node/front_parts.h"
#include "proto/base/check.h"

static enum sweep_found away_at(void *user, uint32_t slot, struct key_away *out)
{
    struct owner *owner = user;

    if (slot >= slice_record_slots(owner_state(owner))) {
        return SWEEP_END;
    }
    return owner_away_at(owner, slot, out) ? SWEEP_AWAY : SWEEP_NOTHING;
}

static void move_calls(struct front *f, struct owner_now now)
{
    struct launch_call out;

    while (sweep_next_call(&f->sweep, &out)) {
        const struct stream *st = streams_find(f->config.streams, out.to);
        if (st != NULL && st->forgotten) { /* what it had is given up: nothing will come of it */
            const struct owner_answer lost = {
                .ticket = out.call.ticket, .kind = out.call.kind, .code = OWNER_KEY_EXPIRED};
            sweep_receive(&f->sweep, &lost, now.boot_ms);
        } else if (!router_call(f->router, out.to, &out.call, NULL, NULL, now)) {
            sweep_not_sent(&f->sweep, out.call.ticket, now.boot_ms);
        }
    }
}

void front_sweep_turn(struct front *f, struct owner_now now)
{
    struct owner *owner = f->host != NULL ? host_owner(f->host) : NULL;

    if (owner == NULL || owner_quarantined(owner) != NULL || f->stopping ||
        now.boot_ms < sweep_deadline(&f->sweep)) {
        return;
    }
    const struct sweep_source source = {.user = owner, .at = away_at};
    sweep_tick(&f->sweep, &source, now.boot_ms, now.wall_ms);
    move_calls(f, now);
}

void front_sweep_answer(struct front *f, const struct owner_answer *answer, struct owner_now now)
{
    sweep_receive(&f->sweep, answer, now.boot_ms);
    move_calls(f, now);
}

void front_sweep_not_sent(struct front *f, uint64_t ticket, struct owner_now now)
{
    sweep_not_sent(&f->sweep, ticket, now.boot_ms);
    move_calls(f, now);
}

void front_sweep_lost(struct front *f, uint64_t ticket, struct owner_now now)
{
    sweep_lost(&f->sweep, ticket, now.boot_ms);
    move_calls(f, now);
}
