/*
 * check - the invariants of DESIGN 5, looked at after every step.
 *
 * The judge never asks an owner: it folds every committed entry into the naive oracle and holds
 * against it what owners answer, what edges promise, what watchers see, and what comes back after a
 * crash.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/vmid.h"
#include "tests/sim/sim.h"

/* ---- promises of edges ---- */

uint32_t check_call_begin(struct sim_world *w, uint32_t key, const struct fly_digest *digest,
                          bool cancel)
{
    if (w->call_count == w->call_max) {
        w->call_max = w->call_max == 0 ? 256 : 2 * w->call_max;
        w->calls = realloc(w->calls, w->call_max * sizeof *w->calls);
        FLY_CHECK(w->calls != NULL);
    }
    w->calls[w->call_count] = (struct sim_call){.key = key, .digest = *digest, .cancel = cancel};
    return w->call_count++;
}

/* Somebody may still get, or has got, a VM of this spec with this key. */
static bool somebody_may(const struct sim_world *w, uint32_t key, const struct fly_digest *digest)
{
    for (uint32_t i = 0; i < w->call_count; i++) {
        const struct sim_call *c = &w->calls[i];
        if (c->key == key && !c->cancel && (c->outcome != SIM_NOT_DONE || c->sent_twice) &&
            memcmp(&c->digest, digest, sizeof *digest) == 0) {
            return true;
        }
    }
    return false;
}

static struct sim_vm *find_vm(struct sim_world *w, uint64_t id)
{
    for (uint32_t i = w->vm_count; i-- > 0;) {
        if (w->vms[i].id == id) {
            return &w->vms[i];
        }
    }
    return NULL;
}

static void check_ok(struct sim_world *w, const struct sim_call *c, const struct launch_result *r)
{
    struct sim_vm *vm = find_vm(w, r->vm_id);
    const struct sim_key *k = &w->keys[c->key];

    if (vm == NULL || vm->key != c->key) {
        sim_fail(w, "I3: OK with VM %llx for key %s, no log has it", (unsigned long long)r->vm_id,
                 sim_key_text(&k->key));
    }
    if (w->slices[vm->slice].tag != r->slice) {
        sim_fail(w, "OK names slice %06x for VM %llx", r->slice, (unsigned long long)r->vm_id);
    }
    if (r->has_vm &&
        (r->vm.id != r->vm_id || !key_equal(&r->vm.key, &k->key) ||
         strcmp(r->vm.subject, k->subject) != 0 || strcmp(r->vm.region, k->region) != 0 ||
         r->vm.memory_bytes != k->memory_bytes)) {
        sim_fail(w, "OK tells of another VM than was asked for");
    }
    if (!c->cancel && !r->replayed && vm->told_new) {
        sim_fail(w, "VM %llx was new twice", (unsigned long long)r->vm_id);
    }
    vm->told_new |= !c->cancel && !r->replayed;
    vm->acknowledged = true;
}

/* A minted key has one VM ever, a hashed one has another when its last life is over. */
static bool has_its_vm(const struct sim_world *w, const struct sim_key *k)
{
    const struct sim_vm *vm = &w->vms[k->vm];

    if (k->vms > 0 && !key_minted(&k->key) && vm->destroyed &&
        oracle_vm(w->slices[vm->slice].oracle, vm->id) == NULL) {
        return false; /* its slice's time is a little ahead of home's */
    }
    return k->vms > 0 && !k->exempt &&
           (key_minted(&k->key) || !vm->destroyed ||
            w->slices[k->home].oracle->totals.slice_ms < vm->life_until_ms);
}

/* Cancelled may be said of a key whose VM is destroyed and forgotten. Of a hashed key it may be
 * said until the very end of its last life, and be late. */
static bool has_a_vm_still(const struct sim_world *w, const struct sim_key *k)
{
    const struct sim_vm *vm = &w->vms[k->vm];

    return k->vms > 0 && !k->exempt && !k->unsure && !vm->lost &&
           (key_minted(&k->key) || w->leaps == 0) &&
           (!vm->destroyed || oracle_vm(w->slices[vm->slice].oracle, vm->id) != NULL);
}

/* A minted key stays dead for ever, a hashed one as long as its record. */
static void remember_cancelled(struct sim_world *w, struct sim_key *k)
{
    const struct slice_record *r = oracle_find(w->slices[k->home].oracle, k->subject, &k->key);

    if (k->exempt || k->unsure) {
        return;
    }
    if (key_minted(&k->key)) {
        k->cancelled_until_ms = INT64_MAX;
    } else if (r != NULL) {
        k->cancelled_until_ms = r->expires_ms;
    }
}

void check_call_end(struct sim_world *w, uint32_t call, const struct launch_result *r)
{
    struct sim_call *c = &w->calls[call];
    struct sim_key *k = &w->keys[c->key];
    bool has_vm = r->code == OWNER_VM || r->code == OWNER_VM_ELSEWHERE;

    switch (r->end) {
    case LAUNCH_OK:
        c->outcome = SIM_OK;
        if (has_vm) {
            check_ok(w, c, r);
            cover_hit(c->cancel                       ? COVER_CANCEL_VM
                      : r->code == OWNER_VM_ELSEWHERE ? COVER_OK_ELSEWHERE
                      : r->replayed                   ? COVER_OK_REPLAYED
                                                      : COVER_OK_NEW);
            return;
        }
        if (!c->cancel) {
            sim_fail(w, "OK without a VM");
        }
        cover_hit(COVER_CANCELLED);
        if (r->code == OWNER_CANCELLED && has_a_vm_still(w, k)) {
            sim_fail(w, "key %s is said to be cancelled and has a VM", sim_key_text(&k->key));
        }
        remember_cancelled(w, k);
        return;
    case LAUNCH_NOT_DONE:
        c->outcome = SIM_NOT_DONE;
        cover_hit(COVER_NOT_DONE);
        if (r->code == OWNER_REFUSED && r->status == FLY_UNAVAILABLE &&
            r->tries == LAUNCH_NOT_SENT_MAX) {
            cover_hit(COVER_HOME_GONE);
        }
        if (!c->cancel && k->vms > 0 && !w->vms[k->vm].lost && w->vms[k->vm].key == c->key &&
            !c->sent_twice && memcmp(&w->vms[k->vm].digest, &c->digest, sizeof c->digest) == 0 &&
            !somebody_may(w, c->key, &c->digest)) {
            sim_fail(w, "NOT_DONE for key %s, and nobody else can have made its VM",
                     sim_key_text(&k->key));
        }
        return;
    case LAUNCH_UNKNOWN:
        c->outcome = SIM_UNKNOWN;
        cover_hit(COVER_UNKNOWN);
        return;
    case LAUNCH_RUNNING:
    default:
        FLY_UNREACHABLE();
    }
}

/* ---- entries of a log ---- */

static uint32_t find_key(const struct sim_world *w, const struct slice_record *r)
{
    for (uint32_t i = w->key_count; i-- > 0;) {
        if (key_equal(&w->keys[i].key, &r->key) && strcmp(w->keys[i].subject, r->subject) == 0) {
            return i;
        }
    }
    return UINT32_MAX;
}

static void check_new_vm(struct sim_world *w, struct sim_slice *s, const struct slice_record *r)
{
    uint32_t key = find_key(w, r);

    FLY_CHECK(key != UINT32_MAX && w->vm_count < SIM_VMS_MAX);
    if (find_vm(w, r->vm) != NULL) {
        sim_fail(w, "VM id %llx is given out a second time", (unsigned long long)r->vm);
    }
    struct sim_key *k = &w->keys[key];
    if (has_its_vm(w, k)) {
        sim_fail(w, "I2: a second VM for key %s, %llx at s%u after %llx at s%u",
                 sim_key_text(&k->key), (unsigned long long)r->vm, s->index,
                 (unsigned long long)w->vms[k->vm].id, w->vms[k->vm].slice);
    }
    if (w->slices[k->home].oracle->totals.slice_ms < k->cancelled_until_ms) {
        sim_fail(w, "a VM for key %s, which was cancelled for good", sim_key_text(&k->key));
    }
    /* A late Open of a hashed key may come right behind the last life that settled it. */
    bool may_be_late = k->exempt || (!key_minted(&k->key) && w->leaps > 0);
    if (!may_be_late && !somebody_may(w, key, &r->digest)) {
        sim_fail(w, "a VM for key %s, and every call for it was told NOT_DONE",
                 sim_key_text(&k->key));
    }
    if (k->home != s->index) {
        cover_hit(COVER_LAUNCH_AWAY);
    }
    k->vms++;
    k->vm = w->vm_count;
    w->vms[w->vm_count++] =
        (struct sim_vm){.id = r->vm, .slice = s->index, .key = key, .digest = r->digest};
}

static void cover_replaces(const struct command *c)
{
    if (c->replaces.slice == 0) {
        return;
    }
    if (c->type == COMMAND_LAUNCH) {
        cover_hit(COVER_LAUNCH_REPLACES);
    } else if (c->type == COMMAND_BIND) {
        cover_hit(COVER_BIND_REPLACES);
    } else if (c->type == COMMAND_CANCEL) {
        cover_hit(COVER_CANCEL_REPLACES);
    }
}

static void keep_events(struct sim_world *w, struct sim_slice *s, const struct oracle_effects *e)
{
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->commands[i].type == COMMAND_LOSS && e->results[i].code == SLICE_OK) {
            FLY_CHECK(e->event_count == 0); /* a quarantined owner has nothing else to log */
            s->event_base = s->oracle->totals.seq;
            s->event_count = 0;
        }
    }
    for (uint32_t i = 0; i < e->event_count; i++) {
        if (s->event_count == s->event_max) {
            s->event_max = s->event_max == 0 ? 256 : 2 * s->event_max;
            s->events = realloc(s->events, s->event_max * sizeof *s->events);
            FLY_CHECK(s->events != NULL);
        }
        s->events[s->event_count++] = e->events[i];
        if (e->events[i].seq != s->event_base + s->event_count) {
            sim_fail(w, "I5: s%u: event %llu follows event %u", s->index,
                     (unsigned long long)e->events[i].seq, s->event_count - 1);
        }
    }
}

/* Nobody's VM may live when its key is cancelled or released at home. */
static void check_key_end(struct sim_world *w, const struct command *c)
{
    struct slice_record about = {.key = c->key};

    if (c->type != COMMAND_CANCEL && c->type != COMMAND_RELEASE) {
        return;
    }
    memcpy(about.subject, c->subject, sizeof about.subject);
    uint32_t key = find_key(w, &about);
    const struct sim_key *k = key == UINT32_MAX ? NULL : &w->keys[key];
    const struct sim_vm *vm = k == NULL ? NULL : &w->vms[k->vm];
    if (k != NULL && k->vms > 0 && !k->exempt && !k->unsure && !vm->lost && !vm->revived &&
        !vm->destroyed) {
        sim_fail(w, "key %s is %s, and its VM %llx lives", sim_key_text(&k->key),
                 c->type == COMMAND_CANCEL ? "cancelled" : "released", (unsigned long long)vm->id);
    }
    if (c->type == COMMAND_RELEASE) {
        cover_hit(COVER_RELEASED);
    }
}

void check_entry(struct sim_world *w, struct sim_slice *s, const struct oracle_effects *e)
{
    keep_events(w, s, e);
    for (uint32_t i = 0; i < e->count; i++) {
        const struct command *c = &e->commands[i];
        const struct oracle_result *r = &e->results[i];
        cover_command(c->type, r->code);
        sim_trace(w, "s%u: log %u.%u: type %d key %s -> %d", s->index, s->committed, i,
                  (int)c->type, sim_key_text(&c->key), (int)r->code);
        if (r->code != SLICE_OK) {
            continue;
        }
        cover_replaces(c);
        check_key_end(w, c);
        if (c->type == COMMAND_LOSS) {
            restore_accepted(w, s);
        } else if (c->type == COMMAND_LAUNCH) {
            check_new_vm(w, s, &r->record);
        } else if (c->type == COMMAND_DESTROY) {
            struct sim_vm *vm = find_vm(w, c->vm);
            FLY_CHECK(vm != NULL);
            vm->destroyed = true;
            vm->life_until_ms =
                w->slices[w->keys[vm->key].home].oracle->totals.slice_ms + SLICE_HASHED_KEY_LIFE_MS;
            if (!vm->destroy_asked) {
                sim_fail(w, "I3: VM %llx was destroyed and nobody asked",
                         (unsigned long long)vm->id);
            }
        }
    }
    for (uint32_t i = 0; i < s->config.slice.machines_max; i++) {
        const struct slice_machine *m = &s->oracle->machines[i];
        if (m->cores_used > m->cores || m->memory_used_bytes > m->memory_bytes) {
            sim_fail(w, "I1: s%u: more is committed than machine %s has", s->index, m->name);
        }
    }
}

void check_recovered(struct sim_world *w, struct sim_slice *s)
{
    const char *what = oracle_compare(s->oracle, owner_state(s->owner));

    if (what != NULL) {
        sim_fail(w, "s%u: what recovery made differs from the log in: %s", s->index, what);
    }
}
