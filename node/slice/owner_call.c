/*
 * owner_call - what a leader makes of each call: DESIGN 4.2 to 4.8, one function per call.
 *
 * The order in each of them is the same: what the record says, then what is under way in the book,
 * then the age of the key, then room. Only the last may make something new.
 */
#include <string.h>

#include "node/slice/owner.h"
#include "node/slice/owner_parts.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

static void answer(struct owner *o, const struct owner_call *c, enum owner_code code)
{
    (void)owner_answer_new(o, c->ticket, c->kind, code);
}

static void refuse(struct owner *o, const struct owner_call *c, enum fly_status status,
                   const char *text)
{
    owner_answer_refused(o, c->ticket, c->kind, status, text);
}

struct command owner_command_of(const struct owner_call *c, enum command_type type)
{
    struct command out = {
        .type = type,
        .key = c->key,
        .digest = c->digest,
        .hold = c->hold,
        .replaces = c->replaces,
        .vm = c->vm,
        .cores = c->cores,
        .memory_bytes = c->memory_bytes,
    };
    memcpy(out.subject, c->subject, sizeof out.subject);
    memcpy(out.name, c->name, sizeof out.name);
    memcpy(out.region, c->region, sizeof out.region);
    return out;
}

struct flight *owner_propose(struct owner *o, const struct owner_call *c,
                             const struct command *command, const struct reserve *reserve)
{
    struct flight *f = book_add(&o->book, command, FLIGHT_WAITING, reserve);

    if (f == NULL) {
        refuse(o, c, FLY_RESOURCE_EXHAUSTED, "too many calls are under way at this owner");
        return NULL;
    }
    FLY_CHECK(flight_wait(f, c->ticket, c->kind));
    return f;
}

/* Joins a flight that has not landed yet; its outcome is this call's too. */
static void join(struct owner *o, const struct owner_call *c, struct flight *f)
{
    if (!flight_wait(f, c->ticket, c->kind)) {
        answer(o, c, OWNER_BUSY);
    }
}

static bool at_home(struct owner *o, const struct owner_call *c)
{
    if (key_home(&c->key, o->config.root_tag) != o->config.tag) {
        answer(o, c, OWNER_KEY_INVALID);
        return false;
    }
    return true;
}

/* Answers when the key's record decides the call. True: it does not (there is none, or it is bound
 * to the hold that `replaces` proves dead). */
static bool record_leaves_open(struct owner *o, const struct owner_call *c, bool compare_spec)
{
    uint32_t slot = slice_record_find(o->state, c->subject, &c->key);
    const struct slice_record *r = slice_record_at(o->state, slot);

    if (slot == SLICE_NONE) {
        return true;
    }
    if (compare_spec && r->kind != RECORD_CANCELLED &&
        memcmp(&r->digest, &c->digest, sizeof r->digest) != 0) {
        answer(o, c, OWNER_KEY_REUSED);
        return false;
    }
    if (r->kind == RECORD_BOUND && hold_equal(&r->hold, &c->replaces)) {
        if (compare_spec && slice_bind_doubtful(o->state, r)) {
            answer(o, c, OWNER_KEY_EXPIRED);
            return false;
        }
        return true;
    }
    owner_answer_record(o, c->ticket, c->kind, slot, true);
    return false;
}

static bool key_young(struct owner *o, const struct owner_call *c, struct owner_now now)
{
    if (slice_record_find(o->state, c->subject, &c->key) != SLICE_NONE) {
        return true; /* a record keeps its key alive */
    }
    enum slice_code age = slice_key_age(o->state, &c->key, now.wall_ms);
    if (age == SLICE_OK) {
        return true;
    }
    answer(o, c, age == SLICE_KEY_EXPIRED ? OWNER_KEY_EXPIRED : OWNER_KEY_INVALID);
    return false;
}

/* --- Open, Hold, Commit, Close --- */

/* A LAUNCH on the best machine, held or waiting. NULL: answered. */
static struct flight *place(struct owner *o, const struct owner_call *c, enum flight_state state)
{
    bool too_large = c->cores > SLICE_CORES_MAX || c->memory_bytes > SLICE_VM_MEMORY_MAX;
    uint32_t machine =
        too_large ? SLICE_NONE
                  : book_choose(&o->book, o->state, c->region, c->cores, c->memory_bytes, &o->rng);

    if (machine == SLICE_NONE) {
        struct owner_answer *a = owner_answer_new(o, c->ticket, c->kind, OWNER_ELSEWHERE);
        owner_room(o, c->region, c->cores, c->memory_bytes, &a->room);
        a->room.fits_empty &= !too_large;
        return NULL;
    }
    struct command launch = owner_command_of(c, COMMAND_LAUNCH);
    const struct reserve reserve = {
        .machine = machine, .cores = c->cores, .memory_bytes = c->memory_bytes};
    launch.machine = machine;
    struct flight *f = book_add(&o->book, &launch, state, &reserve);
    if (f == NULL) {
        refuse(o, c, FLY_RESOURCE_EXHAUSTED, "too many calls are under way at this owner");
        return NULL;
    }
    f->id = (struct hold_id){
        .slice = o->config.tag,
        .term = o->term,
        .boot = o->config.boot,
        .counter = ++o->book.hold_counter << 16 | (uint64_t)(f - o->book.flights),
    };
    f->command.hold = f->id;
    return f;
}

static void hold(struct owner *o, const struct owner_call *c, struct owner_now now)
{
    struct flight *f = place(o, c, FLIGHT_HELD);

    if (f == NULL) {
        return;
    }
    f->expires_ms = now.boot_ms + o->config.hold_life_ms;
    owner_answer_new(o, c->ticket, c->kind, OWNER_HELD)->hold = f->id;
    o->counters.held++;
}

static void call_open(struct owner *o, const struct owner_call *c, struct owner_now now)
{
    if (!at_home(o, c) || !record_leaves_open(o, c, true)) {
        return;
    }
    if (book_find(&o->book, c->subject, &c->key) != NULL) {
        answer(o, c, OWNER_BUSY);
        return;
    }
    if (!key_young(o, c, now)) {
        return;
    }
    if (!c->commit) {
        hold(o, c, now);
        return;
    }
    struct flight *f = place(o, c, FLIGHT_WAITING);
    if (f != NULL) {
        FLY_CHECK(flight_wait(f, c->ticket, c->kind));
    }
}

static void call_hold(struct owner *o, const struct owner_call *c, struct owner_now now)
{
    bool home = key_home(&c->key, o->config.root_tag) == o->config.tag;

    if (!record_leaves_open(o, c, true)) {
        return;
    }
    if (home && book_find(&o->book, c->subject, &c->key) != NULL) {
        answer(o, c, OWNER_BUSY);
        return;
    }
    if (key_young(o, c, now)) {
        hold(o, c, now);
    }
}

/* The VM that came of the key here, if one did. */
static bool answered_vm(struct owner *o, const struct owner_call *c)
{
    uint32_t slot = slice_record_find(o->state, c->subject, &c->key);

    if (slice_record_at(o->state, slot)->kind != RECORD_VM) {
        return false;
    }
    owner_answer_record(o, c->ticket, c->kind, slot, true);
    return true;
}

/* The hold may have become a VM whose record went with its key's last life. DEAD would be a lie on
 * which home makes a second VM. */
static bool may_be_forgotten(const struct owner *o, const struct owner_call *c)
{
    return key_minted(&c->key) && key_mint_s(&c->key) <= slice_totals(o->state)->purged_mint_s &&
           slice_record_find(o->state, c->subject, &c->key) == SLICE_NONE;
}

/* The flight of c->hold. NULL: answered; the hold is dead, or it is not ours to judge. */
static struct flight *live_hold(struct owner *o, const struct owner_call *c)
{
    if (c->hold.slice != o->config.tag) {
        refuse(o, c, FLY_INVALID_ARGUMENT, "this hold is of another slice");
        return NULL;
    }
    /* After an accepted loss a later term may only mean that it is lost; no key that is too old by
     * the log can become anything, whoever leads. */
    if (c->hold.term > o->term && slice_totals(o->state)->lost_ms == 0 && !may_be_forgotten(o, c)) {
        refuse(o, c, FLY_UNAVAILABLE, "a later leader made this hold");
        return NULL;
    }
    struct flight *f = book_find_hold(&o->book, &c->hold);
    if (f == NULL) {
        answer(o, c, may_be_forgotten(o, c) ? OWNER_KEY_EXPIRED : OWNER_DEAD);
        return NULL;
    }
    if (!key_equal(&f->command.key, &c->key) || strcmp(f->command.subject, c->subject) != 0) {
        refuse(o, c, FLY_INVALID_ARGUMENT, "this hold is of another key");
        return NULL;
    }
    return f;
}

static void call_commit(struct owner *o, const struct owner_call *c, struct owner_now now)
{
    struct flight *f = answered_vm(o, c) ? NULL : live_hold(o, c);

    if (f == NULL) {
        return;
    }
    if (f->state == FLIGHT_HELD && f->expires_ms <= now.boot_ms) {
        book_drop(&o->book, f);
        o->counters.holds_expired++;
        answer(o, c, OWNER_DEAD);
        return;
    }
    if (f->state == FLIGHT_HELD) {
        book_move(&o->book, f, FLIGHT_WAITING);
    }
    join(o, c, f);
}

static void call_close(struct owner *o, const struct owner_call *c)
{
    struct flight *f = answered_vm(o, c) ? NULL : live_hold(o, c);

    if (f == NULL) {
        return;
    }
    if (f->state == FLIGHT_HELD) {
        book_drop(&o->book, f);
        answer(o, c, OWNER_DEAD);
        return;
    }
    join(o, c, f); /* proposed: only the log knows */
}

/* --- Bind, Done, Cancel, Release: at home --- */

static void call_bind(struct owner *o, const struct owner_call *c, struct owner_now now)
{
    if (c->hold.slice == 0 || c->hold.slice == o->config.tag) {
        refuse(o, c, FLY_INVALID_ARGUMENT, "a key is bound to a hold of another slice");
        return;
    }
    if (!at_home(o, c) || !record_leaves_open(o, c, true)) {
        return;
    }
    struct flight *f = book_find(&o->book, c->subject, &c->key);
    if (f != NULL) {
        if (f->command.type == COMMAND_BIND && hold_equal(&f->command.hold, &c->hold)) {
            join(o, c, f);
        } else {
            answer(o, c, OWNER_BUSY);
        }
        return;
    }
    if (key_young(o, c, now)) {
        const struct command bind = owner_command_of(c, COMMAND_BIND);
        (void)owner_propose(o, c, &bind, NULL);
    }
}

static void call_done(struct owner *o, const struct owner_call *c)
{
    uint32_t slot = slice_record_find(o->state, c->subject, &c->key);
    const struct slice_record *r = slice_record_at(o->state, slot);

    if (r->kind == RECORD_DONE && r->vm == c->vm) {
        answer(o, c, OWNER_DONE_OK);
    } else if (r->kind == RECORD_BOUND && hold_equal(&r->hold, &c->hold)) {
        const struct command done = owner_command_of(c, COMMAND_DONE);
        (void)owner_propose(o, c, &done, NULL);
    } else {
        answer(o, c, OWNER_NOT_FOUND);
    }
}

/* A key that is too old by the clock may become young again when the clock is set back: only an
 * entry makes "nothing will ever come of it" true. */
static bool old_by_clock_only(const struct owner *o, const struct owner_call *c,
                              struct owner_now now)
{
    return slice_record_find(o->state, c->subject, &c->key) == SLICE_NONE &&
           slice_key_age(o->state, &c->key, now.wall_ms) == SLICE_KEY_EXPIRED &&
           key_mint_s(&c->key) > slice_totals(o->state)->purged_mint_s;
}

static void call_cancel(struct owner *o, const struct owner_call *c, struct owner_now now)
{
    if (!at_home(o, c) || !record_leaves_open(o, c, false)) {
        return;
    }
    struct flight *f = book_find(&o->book, c->subject, &c->key);
    if (f != NULL && f->state != FLIGHT_HELD) {
        answer(o, c, OWNER_BUSY);
        return;
    }
    if (f != NULL) {
        book_drop(&o->book, f);
    }
    if (old_by_clock_only(o, c, now) || key_young(o, c, now)) {
        const struct command cancel = owner_command_of(c, COMMAND_CANCEL);
        (void)owner_propose(o, c, &cancel, NULL);
    }
}

static void call_release(struct owner *o, const struct owner_call *c)
{
    uint32_t slot = slice_record_find(o->state, c->subject, &c->key);
    const struct slice_record *r = slice_record_at(o->state, slot);

    if (r->kind != RECORD_DONE || r->vm != c->vm) {
        answer(o, c, OWNER_NOT_FOUND);
    } else if (r->expires_ms != 0) {
        answer(o, c, OWNER_DONE_OK);
    } else {
        const struct command release = owner_command_of(c, COMMAND_RELEASE);
        (void)owner_propose(o, c, &release, NULL);
    }
}

/* --- Destroy --- */

static void call_destroy(struct owner *o, const struct owner_call *c)
{
    uint32_t slot = slice_vm_find(o->state, c->vm);

    if (slot == SLICE_NONE) {
        answer(o, c, OWNER_NOT_FOUND);
    } else if (slice_record_at(o->state, slot)->state == VM_DESTROYED) {
        owner_answer_record(o, c->ticket, c->kind, slot, true);
    } else {
        const struct command destroy = owner_command_of(c, COMMAND_DESTROY);
        (void)owner_propose(o, c, &destroy, NULL);
    }
}

static void call_loss(struct owner *o, const struct owner_call *c)
{
    struct command loss = owner_command_of(c, COMMAND_LOSS);

    loss.incarnation = c->incarnation;
    loss.seq = c->seq;
    loss.margin = SLICE_LOSS_MARGIN + fly_rng_below(&o->rng, SLICE_LOSS_CHANCE);
    (void)owner_propose(o, c, &loss, NULL);
}

void owner_call(struct owner *o, const struct owner_call *c, struct owner_now now)
{
    bool keyed = c->kind != OWNER_DESTROY && c->kind != OWNER_MACHINE && c->kind != OWNER_LOSS;

    o->counters.calls++;
    if (o->stopped) {
        refuse(o, c, o->stop_status, o->stop_text);
        return;
    }
    if (o->quarantine_status != FLY_OK && c->kind != OWNER_LOSS) {
        refuse(o, c, o->quarantine_status, o->quarantine_text);
        return;
    }
    if (!o->ready) { /* nothing is said of any key before an own entry was applied (4.7) */
        refuse(o, c, FLY_UNAVAILABLE, "this owner does not lead its slice yet");
        return;
    }
    if (keyed && !key_valid(&c->key)) {
        answer(o, c, OWNER_KEY_INVALID);
        return;
    }
    switch (c->kind) {
    case OWNER_OPEN:
        call_open(o, c, now);
        break;
    case OWNER_COMMIT:
        call_commit(o, c, now);
        break;
    case OWNER_HOLD:
        call_hold(o, c, now);
        break;
    case OWNER_BIND:
        call_bind(o, c, now);
        break;
    case OWNER_CLOSE:
        call_close(o, c);
        break;
    case OWNER_DONE:
        call_done(o, c);
        break;
    case OWNER_CANCEL:
        call_cancel(o, c, now);
        break;
    case OWNER_DESTROY:
        call_destroy(o, c);
        break;
    case OWNER_RELEASE:
        call_release(o, c);
        break;
    case OWNER_MACHINE:
        owner_call_machine(o, c);
        break;
    case OWNER_LOSS:
        call_loss(o, c);
        break;
    default:
        refuse(o, c, FLY_UNIMPLEMENTED, "unknown call");
    }
}
