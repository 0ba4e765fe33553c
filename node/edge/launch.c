#include "node/edge/launch.h"

#include <string.h>

#include "proto/base/check.h"

static void finish(struct launch *l, enum launch_end end, enum owner_code code)
{
    l->result.end = end;
    l->result.code = code;
    l->waiting = false;
    l->due_ms = INT64_MAX;
}

/* The end of a launch that got no VM: UNKNOWN where one may still come. */
static void finish_without(struct launch *l, enum owner_code code)
{
    bool doubt = l->doubt_open || l->doubt_hold;

    finish(l, doubt ? LAUNCH_UNKNOWN : LAUNCH_NOT_DONE, code);
}

static void finish_refused(struct launch *l, enum fly_status status, const char *text)
{
    l->result.status = status;
    l->result.text = text;
    finish_without(l, OWNER_REFUSED);
}

/* --- calls out --- */

static void fill_key(const struct launch *l, struct owner_call *c)
{
    c->key = l->spec.key;
    c->digest = l->digest;
    memcpy(c->subject, l->spec.subject, sizeof c->subject);
}

static void fill_spec(const struct launch *l, struct owner_call *c)
{
    memcpy(c->region, l->spec.region, sizeof c->region);
    memcpy(c->name, l->spec.name, sizeof c->name);
    c->cores = l->spec.cores;
    c->memory_bytes = l->spec.memory_bytes;
}

static struct launch_call *enqueue(struct launch *l, uint32_t to, enum owner_call_kind kind)
{
    FLY_CHECK(l->queue_count < LAUNCH_QUEUE_MAX);
    struct launch_call *out = &l->queue[l->queue_count++];
    *out = (struct launch_call){.to = to, .call = {.kind = kind}};
    fill_key(l, &out->call);
    return out;
}

/* The call of the step we are at. */
static void make_call(struct launch *l, int64_t now_ms)
{
    static const enum owner_call_kind kinds[] = {
        [LAUNCH_AT_OPEN] = OWNER_OPEN,   [LAUNCH_AT_HOLD] = OWNER_HOLD,
        [LAUNCH_AT_BIND] = OWNER_BIND,   [LAUNCH_AT_COMMIT] = OWNER_COMMIT,
        [LAUNCH_AT_CLOSE] = OWNER_CLOSE,
    };
    uint32_t to = l->home;
    enum owner_call_kind kind = kinds[l->at];

    if (l->at == LAUNCH_AT_HOLD) {
        to = l->spec.candidates[l->next_candidate];
    } else if (l->at == LAUNCH_AT_COMMIT) {
        to = l->hold.slice;
    } else if (l->at == LAUNCH_AT_CLOSE) {
        to = l->bound.slice;
    } else if (l->at == LAUNCH_AT_OPEN && l->spec.cancel) {
        kind = OWNER_CANCEL;
    }
    struct owner_call *c = &enqueue(l, to, kind)->call;
    fill_spec(l, c);
    c->commit = kind == OWNER_OPEN;
    c->replaces = l->replaces;
    c->hold = l->at == LAUNCH_AT_CLOSE ? l->bound : l->hold;
    c->ticket = l->ticket = l->first_ticket + l->result.tries;
    l->result.tries++;
    l->waiting = true;
    l->due_ms = now_ms + LAUNCH_CALL_MS;
}

static void go(struct launch *l, enum launch_step_name at, int64_t now_ms)
{
    l->at = at;
    l->pause_ms = LAUNCH_PAUSE_MS;
    if (l->result.tries >= LAUNCH_TRIES_MAX) {
        finish_refused(l, FLY_ABORTED, "the launch went back and forth between owners too often");
        return;
    }
    make_call(l, now_ms);
}

/* The same call again, after a pause that doubles, with full jitter above a half. */
static void pause_then_again(struct launch *l, int64_t now_ms)
{
    int64_t half = l->pause_ms / 2;

    l->waiting = false;
    l->due_ms = now_ms + half + (int64_t)fly_rng_below(&l->rng, (uint64_t)(half + 1));
    l->pause_ms = l->pause_ms * 2 < LAUNCH_PAUSE_MAX_MS ? l->pause_ms * 2 : LAUNCH_PAUSE_MAX_MS;
}

/* A hold of ours that will not be used is closed off the path; time would end it too. */
static void give_up_hold(struct launch *l)
{
    if (l->hold.slice == 0 || l->queue_count == LAUNCH_QUEUE_MAX) {
        return;
    }
    struct launch_call *out = enqueue(l, l->hold.slice, OWNER_CLOSE);
    out->off_path = true;
    out->call.hold = l->hold;
    out->call.ticket = l->first_ticket + LAUNCH_TRIES_MAX;
    l->hold = (struct hold_id){.slice = 0};
}

/* Home learns, off the path, what the bound hold became. */
static void tell_home(struct launch *l, const struct hold_id *hold, uint64_t vm)
{
    if (l->queue_count == LAUNCH_QUEUE_MAX) {
        return; /* the next try with this key finds BOUND and asks the owner */
    }
    struct launch_call *out = enqueue(l, l->home, OWNER_DONE);
    out->off_path = true;
    out->call.hold = *hold;
    out->call.vm = vm;
    out->call.ticket = l->first_ticket + LAUNCH_TRIES_MAX + 1;
}

/* --- answers in --- */

static void finish_vm(struct launch *l, const struct owner_answer *a, uint32_t slice)
{
    l->result.vm_id = a->vm_id;
    l->result.slice = slice;
    l->result.replayed = a->replayed;
    l->result.has_vm = a->code == OWNER_VM;
    if (l->result.has_vm) {
        l->result.vm = a->vm;
    }
    finish(l, LAUNCH_OK, a->code);
}

/* Asks the next candidate that is not home to hold; none left: there is no room. */
static void next_hold(struct launch *l, int64_t now_ms)
{
    while (l->next_candidate < l->spec.candidate_count &&
           l->spec.candidates[l->next_candidate] == l->home) {
        l->next_candidate++;
    }
    if (l->next_candidate < l->spec.candidate_count) {
        go(l, LAUNCH_AT_HOLD, now_ms);
    } else {
        finish_without(l, OWNER_ELSEWHERE);
    }
}

/* The key is bound to somebody's hold: only its owner knows whether a VM came of it. */
static void close_bound(struct launch *l, const struct hold_id *bound, int64_t now_ms)
{
    l->bound = *bound;
    go(l, LAUNCH_AT_CLOSE, now_ms);
}

/* The hold that the key is bound to is dead: home may decide anew. */
static void open_again(struct launch *l, const struct hold_id *dead, int64_t now_ms)
{
    l->replaces = *dead;
    l->hold = (struct hold_id){.slice = 0};
    l->doubt_hold = false;
    l->next_candidate = 0;
    go(l, LAUNCH_AT_OPEN, now_ms);
}

static void refused(struct launch *l, const struct owner_answer *a, int64_t now_ms)
{
    if (a->status == FLY_UNAVAILABLE || a->status == FLY_ABORTED) {
        l->result.status = a->status; /* told if the deadline ends it */
        l->result.text = a->text;
        pause_then_again(l, now_ms);
    } else {
        give_up_hold(l);
        finish_refused(l, a->status, a->text);
    }
}

/* Ends that an answer about the key itself decides, at home. True: it did. */
static bool settled_by_key(struct launch *l, const struct owner_answer *a)
{
    if (a->code == OWNER_VM || a->code == OWNER_VM_ELSEWHERE) {
        give_up_hold(l);
        finish_vm(l, a, a->code == OWNER_VM ? l->home : a->hold.slice);
        return true;
    }
    if (a->code == OWNER_CANCELLED || a->code == OWNER_KEY_REUSED) {
        give_up_hold(l);
        finish(l, l->spec.cancel ? LAUNCH_OK : LAUNCH_NOT_DONE, a->code);
        return true;
    }
    if (a->code == OWNER_KEY_EXPIRED && l->spec.cancel) {
        finish(l, LAUNCH_OK, a->code);
        return true;
    }
    if (a->code == OWNER_KEY_EXPIRED || a->code == OWNER_KEY_INVALID) {
        give_up_hold(l);
        finish_without(l, a->code);
        return true;
    }
    return false;
}

static void at_open(struct launch *l, const struct owner_answer *a, int64_t now_ms)
{
    if (settled_by_key(l, a)) {
        return;
    }
    if (a->code == OWNER_BOUND) {
        close_bound(l, &a->hold, now_ms);
    } else if (a->code == OWNER_ELSEWHERE) {
        room_widen(&l->result.room, &a->room);
        next_hold(l, now_ms);
    } else if (a->code == OWNER_REFUSED) {
        refused(l, a, now_ms);
    } else { /* BUSY: another try may make the VM; UNKNOWN: ours may have */
        l->doubt_open = true;
        pause_then_again(l, now_ms);
    }
}

static void at_hold(struct launch *l, const struct owner_answer *a, int64_t now_ms)
{
    if (a->code == OWNER_HELD) {
        l->hold = a->hold;
        go(l, LAUNCH_AT_BIND, now_ms);
        return;
    }
    if (a->code == OWNER_VM) { /* an earlier try had got this far */
        tell_home(l, &a->hold, a->vm_id);
        finish_vm(l, a, l->spec.candidates[l->next_candidate]);
        return;
    }
    if (a->code == OWNER_ELSEWHERE) {
        room_widen(&l->result.room, &a->room);
    }
    l->next_candidate++;
    next_hold(l, now_ms);
}

static void at_bind(struct launch *l, const struct owner_answer *a, int64_t now_ms)
{
    if (settled_by_key(l, a)) {
        return;
    }
    if (a->code == OWNER_BOUND && hold_equal(&a->hold, &l->hold)) {
        l->doubt_open = false; /* a late Open finds the key bound */
        l->doubt_hold = true;
        go(l, LAUNCH_AT_COMMIT, now_ms);
    } else if (a->code == OWNER_BOUND) {
        l->doubt_hold = false; /* ours was not taken, and is closed before anybody could bind it */
        give_up_hold(l);
        close_bound(l, &a->hold, now_ms);
    } else if (a->code == OWNER_REFUSED) {
        refused(l, a, now_ms);
    } else {
        l->doubt_open |= a->code == OWNER_BUSY;
        l->doubt_hold |= a->code == OWNER_UNKNOWN;
        pause_then_again(l, now_ms);
    }
}

static void at_commit(struct launch *l, const struct owner_answer *a, int64_t now_ms)
{
    switch (a->code) {
    case OWNER_VM:
        tell_home(l, &l->hold, a->vm_id);
        finish_vm(l, a, l->hold.slice);
        return;
    case OWNER_DEAD: {
        const struct hold_id dead = l->hold;
        open_again(l, &dead, now_ms);
        return;
    }
    case OWNER_BUSY:
    case OWNER_UNKNOWN:
        pause_then_again(l, now_ms);
        return;
    case OWNER_REFUSED:
        if (a->status == FLY_UNAVAILABLE) {
            refused(l, a, now_ms);
            return;
        }
        break;
    case OWNER_HELD:
    case OWNER_ELSEWHERE:
    case OWNER_BOUND:
    case OWNER_VM_ELSEWHERE:
    case OWNER_CANCELLED:
    case OWNER_DONE_OK:
    case OWNER_KEY_REUSED:
    case OWNER_KEY_EXPIRED:
    case OWNER_KEY_INVALID:
    case OWNER_NOT_FOUND:
    default:
        break;
    }
    /* Not committed: have it said that the hold is dead, then home may decide anew. */
    const struct hold_id ours = l->hold;
    close_bound(l, &ours, now_ms);
}

static void at_close(struct launch *l, const struct owner_answer *a, int64_t now_ms)
{
    if (a->code == OWNER_VM) {
        tell_home(l, &l->bound, a->vm_id);
        finish_vm(l, a, l->bound.slice);
    } else if (a->code == OWNER_DEAD || (a->code == OWNER_KEY_EXPIRED && l->spec.cancel)) {
        /* Forgotten is as good as dead for a cancel, but home must say so: a launch may be under
         * way there that replaces this very hold. */
        const struct hold_id dead = l->bound;
        open_again(l, &dead, now_ms);
    } else if (a->code == OWNER_KEY_EXPIRED) { /* whatever came of the hold is forgotten there */
        finish_without(l, a->code);
    } else if (a->code == OWNER_REFUSED) {
        l->doubt_hold = true; /* whoever bound the key may still get a VM */
        l->result.status = a->status;
        l->result.text = a->text;
        pause_then_again(l, now_ms);
    } else {
        l->doubt_hold = true;
        pause_then_again(l, now_ms);
    }
}

void launch_receive(struct launch *l, const struct owner_answer *answer, int64_t now_ms)
{
    if (l->result.end != LAUNCH_RUNNING || !l->waiting || answer->ticket != l->ticket) {
        return;
    }
    l->waiting = false;
    l->not_sent = 0;
    switch (l->at) {
    case LAUNCH_AT_OPEN:
        at_open(l, answer, now_ms);
        break;
    case LAUNCH_AT_HOLD:
        at_hold(l, answer, now_ms);
        break;
    case LAUNCH_AT_BIND:
        at_bind(l, answer, now_ms);
        break;
    case LAUNCH_AT_COMMIT:
        at_commit(l, answer, now_ms);
        break;
    case LAUNCH_AT_CLOSE:
        at_close(l, answer, now_ms);
        break;
    default:
        FLY_UNREACHABLE();
    }
}

/* A call left and was not answered: what may come of it? */
static void doubt(struct launch *l)
{
    switch (l->at) {
    case LAUNCH_AT_OPEN:
        l->doubt_open = true;
        break;
    case LAUNCH_AT_BIND:
    case LAUNCH_AT_COMMIT:
    case LAUNCH_AT_CLOSE:
        l->doubt_hold = true;
        break;
    case LAUNCH_AT_HOLD: /* a hold alone becomes nothing */
    default:
        break;
    }
}

static void again_or_next(struct launch *l, int64_t now_ms)
{
    if (l->at == LAUNCH_AT_HOLD) {
        l->waiting = false;
        l->next_candidate++;
        next_hold(l, now_ms);
    } else {
        pause_then_again(l, now_ms);
    }
}

void launch_not_sent(struct launch *l, uint64_t ticket, int64_t now_ms)
{
    if (l->result.end != LAUNCH_RUNNING || !l->waiting || ticket != l->ticket) {
        return;
    }
    l->result.status = FLY_UNAVAILABLE;
    l->result.text = "the owner cannot be reached";
    if (l->at == LAUNCH_AT_CLOSE) {
        doubt(l); /* not ours, but whoever bound the key may still get a VM */
    }
    bool undecided = l->at == LAUNCH_AT_OPEN && !l->spec.cancel && !l->doubt_open && !l->doubt_hold;
    if (undecided && ++l->not_sent == LAUNCH_NOT_SENT_MAX) {
        finish_without(l, OWNER_REFUSED); /* a fresh key goes to another home at once */
        return;
    }
    again_or_next(l, now_ms);
}

void launch_lost(struct launch *l, uint64_t ticket, int64_t now_ms)
{
    if (l->result.end != LAUNCH_RUNNING || !l->waiting || ticket != l->ticket) {
        return;
    }
    l->result.status = FLY_UNAVAILABLE;
    l->result.text = "the owner did not answer";
    doubt(l);
    again_or_next(l, now_ms);
}

void launch_init(struct launch *l, const struct launch_spec *spec, uint64_t first_ticket,
                 uint64_t seed, int64_t now_ms)
{
    *l = (struct launch){.spec = *spec, .first_ticket = first_ticket};
    FLY_CHECK(spec->candidate_count <= LAUNCH_CANDIDATES_MAX);
    spec_digest(spec->region, spec->cores, spec->memory_bytes, spec->name, &l->digest);
    l->home = key_home(&spec->key, spec->root_tag);
    fly_rng_seed(&l->rng, seed);
    go(l, LAUNCH_AT_OPEN, now_ms);
}

bool launch_next_call(struct launch *l, struct launch_call *out)
{
    if (l->queue_count == 0) {
        return false;
    }
    *out = l->queue[0];
    l->queue_count--;
    memmove(l->queue, l->queue + 1, l->queue_count * sizeof l->queue[0]);
    return true;
}

void launch_tick(struct launch *l, int64_t now_ms)
{
    if (l->result.end != LAUNCH_RUNNING) {
        return;
    }
    if (now_ms >= l->spec.deadline_ms) {
        if (l->waiting) {
            doubt(l);
        }
        if (l->at == LAUNCH_AT_HOLD || l->at == LAUNCH_AT_BIND) {
            give_up_hold(l);
        }
        if (l->result.status == FLY_OK) {
            l->result.status = FLY_DEADLINE_EXCEEDED;
            l->result.text = "the deadline passed before an owner decided";
        }
        finish_without(l, OWNER_REFUSED);
    } else if (now_ms >= l->due_ms && l->waiting) {
        launch_lost(l, l->ticket, now_ms);
    } else if (now_ms >= l->due_ms) {
        int64_t pause = l->pause_ms; /* go() would start it anew */
        go(l, l->at, now_ms);
        l->pause_ms = pause;
    }
}

int64_t launch_deadline(const struct launch *l)
{
    if (l->result.end != LAUNCH_RUNNING) {
        return INT64_MAX;
    }
    return l->due_ms < l->spec.deadline_ms ? l->due_ms : l->spec.deadline_ms;
}

const struct launch_result *launch_result(const struct launch *l)
{
    return &l->result;
}
