/*
 * client - what a user's library does: mint a key, launch, and retry the same key through any edge
 * until it is OK, refused without doubt, or cancelled for good. Sometimes it gives up in between,
 * uses somebody else's key, or destroys what it got.
 */
#include <stdio.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "tests/sim/sim.h"

static const uint32_t no_key = UINT32_MAX;

static void wake_in(struct sim_world *w, struct sim_client *c, int64_t in_ms)
{
    sim_at(w, w->now_ms + in_ms, SIM_CLIENT, c->index, 0, c->try_id, NULL);
}

uint32_t client_make_key(struct sim_world *w, struct sim_client *c)
{
    struct sim_key *k = &w->keys[w->key_count];

    FLY_CHECK(w->key_count < SIM_KEYS_MAX);
    *k = (struct sim_key){.cores = 1 + (uint32_t)sim_below(w, w->vm_cores_max),
                          .memory_bytes = (1 + sim_below(w, 8)) * UINT64_C(1000000000)};
    if (sim_chance(w, w->hashed_keys)) {
        char text[32];
        (void)snprintf(text, sizeof text, "order-%u", w->key_count);
        FLY_CHECK(key_from_text(text, &k->key));
    } else {
        uint8_t random[FLY_KEY_RANDOM_SIZE];
        k->home = (uint32_t)sim_below(w, w->slice_count);
        fly_rng_fill(&w->rng, random, sizeof random);
        key_mint(&k->key, w->slices[k->home].tag,
                 (uint32_t)((w->now_ms + SIM_WALL_MS + c->clock_skew_ms) / 1000), random);
    }
    (void)fly_copy_string(k->subject, sizeof k->subject, sim_chance(w, 800) ? "alice" : "bob");
    (void)fly_copy_string(k->region, sizeof k->region, sim_chance(w, 800) ? "SIN" : "FRA");
    return w->key_count++;
}

static uint32_t key_to_use(struct sim_world *w, struct sim_client *c)
{
    if (w->key_count > 0 && sim_chance(w, w->shared_keys)) {
        uint32_t recent = w->key_count < w->recent_keys ? w->key_count : w->recent_keys;
        return w->key_count - 1 - (uint32_t)sim_below(w, recent);
    }
    return w->key_count < SIM_KEYS_MAX ? client_make_key(w, c)
                                       : (uint32_t)sim_below(w, w->key_count);
}

/* In the healing phase: the next key about which nobody was told anything for sure. */
static uint32_t key_to_settle(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->key_count; i++) {
        uint32_t key = (w->settle_next + i) % w->key_count;
        if (!w->keys[key].settled) {
            w->settle_next = key + 1;
            return key;
        }
    }
    return no_key;
}

static void let_go(struct sim_client *c)
{
    c->key = no_key;
    c->tries = 0;
    c->doubt = false;
    c->cancelling = false;
}

static void launch(struct sim_world *w, struct sim_client *c)
{
    const struct sim_key *k = &w->keys[c->key];
    struct sim_edge *e = &w->edges[sim_below(w, w->edge_count)];
    if (c->tries > 0 && e->index != c->edge) {
        cover_hit(COVER_FAILOVER);
    }
    c->edge = e->index;
    int64_t timeout_ms = sim_between(w, 300, 6000);
    uint32_t cores = k->cores;

    if (!w->healing && !c->cancelling && sim_chance(w, w->shared_keys) &&
        sim_chance(w, w->other_spec)) {
        cores++;
    }
    c->try_id++;
    c->tries++;
    if (edge_launch(w, e, c->index, c->key, cores, c->cancelling, timeout_ms)) {
        c->state = SIM_WAITING;
        c->give_up_ms = w->now_ms + timeout_ms + sim_between(w, 0, 1000);
        wake_in(w, c, c->give_up_ms - w->now_ms);
    } else {
        wake_in(w, c, sim_between(w, 5, 200));
    }
}

static void destroy_some(struct sim_world *w)
{
    if (w->vm_count == 0) {
        return;
    }
    uint32_t recent = w->vm_count < 30 ? w->vm_count : 30;
    uint32_t i = w->vm_count - 1 - (uint32_t)sim_below(w, recent);
    struct sim_vm *vm = &w->vms[i];
    struct sim_raw raw = {.kind = SIM_RAW_DESTROY, .slice = vm->slice, .vm = i};

    if (!vm->acknowledged && !sim_chance(w, 100)) {
        return;
    }
    raw.call.kind = OWNER_DESTROY;
    raw.call.vm = vm->id;
    vm->destroy_asked |= edge_raw(w, &w->edges[sim_below(w, w->edge_count)], &raw);
}

void client_wake(struct sim_world *w, struct sim_client *c)
{
    static const struct launch_result silence = {.end = LAUNCH_UNKNOWN};

    if (c->state == SIM_WAITING) {
        if (w->now_ms >= c->give_up_ms) { /* the edge is gone, or its answer */
            client_told(w, c->index, c->try_id, c->cancelling, &silence);
        }
        return;
    }
    if (c->key == no_key && w->healing) {
        c->key = key_to_settle(w);
        c->cancelling = sim_chance(w, 500);
    } else if (c->key == no_key && sim_chance(w, 400)) {
        destroy_some(w);
    } else if (c->key == no_key) {
        c->key = key_to_use(w, c);
        c->cancelling = sim_chance(w, 60);
    } else if (!w->healing && sim_chance(w, 50)) {
        let_go(c); /* the user has gone home */
    }
    if (c->key != no_key) {
        launch(w, c);
    } else if (!w->healing) {
        wake_in(w, c, sim_between(w, 1, 120));
    }
}

static void told_unknown(struct sim_world *w, struct sim_client *c)
{
    c->doubt = true;
    if (!c->cancelling) {
        c->cancelling = sim_chance(w, 200) || c->tries > 12;
    }
}

void client_told(struct sim_world *w, uint32_t client, uint64_t try_id, bool cancel,
                 const struct launch_result *r)
{
    struct sim_client *c = &w->clients[client];

    if (c->state != SIM_WAITING || c->try_id != try_id) {
        return;
    }
    c->state = SIM_IDLE;
    struct sim_key *k = &w->keys[c->key];
    if (r->end == LAUNCH_UNKNOWN) {
        told_unknown(w, c);
    } else if (r->end == LAUNCH_OK) { /* a VM, or settled by cancel */
        k->settled = true;
        let_go(c);
    } else if (cancel && r->code != OWNER_KEY_INVALID && r->status != FLY_RESOURCE_EXHAUSTED) {
        c->doubt = true; /* it could not be settled now */
    } else if (!cancel && (c->doubt || w->healing) && r->code != OWNER_KEY_REUSED &&
               r->code != OWNER_CANCELLED) {
        c->cancelling = true; /* this try did nothing, an earlier one may have */
    } else {
        k->settled = w->healing;
        let_go(c);
    }
    bool quarantined = r->status == FLY_FAILED_PRECONDITION;
    wake_in(w, c, quarantined ? sim_between(w, 100, 2000) : sim_between(w, 1, 100));
}
