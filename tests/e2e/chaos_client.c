#include "tests/e2e/chaos_client.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/lib/exits.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { PATIENCE_MS = 120 * 1000 /* for one key */, DESTROY_MS = 1500 };

static void count(atomic_uint_fast64_t *counter, uint64_t by)
{
    (void)atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

static void surprise(struct chaos_client *c, const char *what, const struct failure *failure)
{
    (void)fprintf(stderr, "chaos: client %u: %s: %s %s %s\n", c->number, what,
                  failure != NULL ? fly_status_name(failure->status) : "",
                  failure != NULL ? reason_name(failure->reason) : "",
                  failure != NULL ? failure->message : "");
    atomic_store(&c->chaos->failed, true);
}

static bool failed(const struct chaos_client *c)
{
    return atomic_load(&c->chaos->failed);
}

/* Takes the line over. */
static void tell(struct chaos_client *c, json_t *line)
{
    char text[CHAOS_TEXT_SIZE];

    FLY_CHECK(line != NULL);
    (void)json_object_set_new(line, "at_ms", json_integer(fly_clock_wall_ms()));
    size_t size = json_dumpb(line, text, sizeof text - 1, JSON_COMPACT | JSON_PRESERVE_ORDER);
    FLY_CHECK(size > 0 && size < sizeof text);
    text[size] = '\n';
    FLY_CHECK(write(c->history, text, size + 1) == (ssize_t)size + 1);
    json_decref(line);
}

static const char *outcome_name(enum outcome_step end)
{
    return end == OUTCOME_OK ? "OK" : end == OUTCOME_NOT_DONE ? "NOT_DONE" : "UNKNOWN";
}

/* ---- one call each ---- */

/* Which edge the session stands at now. */
static void note_edge(struct chaos_client *c)
{
    const char *edge = c->session.choices.count > 0 ? choices_url(&c->session.choices) : "";

    if (c->edge[0] != '\0' && strcmp(c->edge, edge) != 0) {
        count(&c->chaos->counters.moved, 1);
    }
    (void)fly_copy_string(c->edge, sizeof c->edge, edge);
}

/* One run of the library, written down. */
static void launch_once(struct chaos_client *c, const struct launching_spec *spec,
                        struct launching_result *result)
{
    struct chaos_counters *counters = &c->chaos->counters;
    char key[FLY_KEY_TEXT_SIZE];

    launching_run(&c->session, spec, result);
    count(&counters->attempts, 1);
    count(&counters->tries, result->tries);
    note_edge(c);
    if (!result->has_key) {
        count(&counters->unreachable, 1);
        return;
    }
    key_format(&result->key, key);
    json_t *line =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:s, s:i}", "call", "launch", "subject",
                  c->subject, "edge", c->edge, "key", key, "region", spec->region, "cores",
                  (int)spec->cores, "memory_bytes", (json_int_t)spec->memory_bytes, "outcome",
                  outcome_name(result->end), "tries", (int)result->tries);
    FLY_CHECK(line != NULL);
    if (result->end == OUTCOME_OK) {
        (void)json_object_set_new(line, "id", json_string(result->launched->vm->id));
        (void)json_object_set_new(line, "machine", json_string(result->launched->vm->machine));
        (void)json_object_set_new(line, "replayed", json_boolean(result->launched->replayed));
    } else {
        count(result->end == OUTCOME_UNKNOWN ? &counters->unknown : &counters->not_done, 1);
        (void)json_object_set_new(line, "status",
                                  json_string(fly_status_name(result->failure.status)));
        (void)json_object_set_new(line, "reason", json_string(reason_name(result->failure.reason)));
        (void)json_object_set_new(line, "text", json_string(result->failure.message));
    }
    tell(c, line);
}

/* Until it is answered for. False: it never was. */
static bool destroy(struct chaos_client *c, const char *id)
{
    int64_t until = fly_clock_boot_ms() + PATIENCE_MS;
    Fly__V1__DestroyRequest request = FLY__V1__DESTROY_REQUEST__INIT;

    request.vm = (char *)(uintptr_t)id;
    while (!failed(c) && fly_clock_boot_ms() < until) {
        struct rpc_reply reply = {0};
        struct failure failure = {0};
        enum fly_status status = session_call_again(&c->session, &rpc_edge_destroy, &request.base,
                                                    DESTROY_MS, &reply, &failure);
        bool strange = status == FLY_NOT_FOUND || status == FLY_PERMISSION_DENIED ||
                       status == FLY_INVALID_ARGUMENT || status == FLY_INTERNAL;
        tell(c, json_pack("{s:s, s:s, s:s}", "call", "destroy", "id", id, "outcome",
                          status == FLY_OK ? "OK" : "UNKNOWN"));
        if (strange) {
            surprise(c, "destroy", &failure);
        }
        rpc_reply_fini(&reply);
        failure_fini(&failure);
        if (status == FLY_OK) {
            count(&c->chaos->counters.destroyed, 1);
            return true;
        }
        count(&c->chaos->counters.destroy_retries, 1);
        (void)session_pause(30);
    }
    if (!failed(c)) {
        surprise(c, "nobody answered for a destroy", NULL);
    }
    return false;
}

static bool destroy_oldest(struct chaos_client *c)
{
    char id[16];

    (void)fly_copy_string(id, sizeof id, c->live[0]);
    memmove(c->live[0], c->live[1], sizeof c->live[0] * --c->live_count);
    return destroy(c, id);
}

/* ---- one key ---- */

static void choose_spec(struct chaos_client *c, struct launching_spec *spec)
{
    struct chaos *chaos = c->chaos;
    char text[64];

    *spec = (struct launching_spec){.region =
                                        chaos->regions[fly_rng_below(&c->rng, chaos->region_count)],
                                    .cores = 1 + (uint32_t)fly_rng_below(&c->rng, 3),
                                    .memory_bytes = (1 + fly_rng_below(&c->rng, 6)) * 1000000000,
                                    .name = "",
                                    .key_given = fly_rng_chance(&c->rng, 500)};
    if (spec->key_given) {
        (void)snprintf(text, sizeof text, "order-%u", ++c->keys);
        FLY_CHECK(key_from_text(text, &spec->key));
    }
}

/* Waits for room that others make: those without work give up VMs meanwhile. */
static void starve(struct chaos_client *c)
{
    struct chaos *chaos = c->chaos;

    (void)pthread_mutex_lock(&chaos->lock);
    chaos->starving++;
    (void)pthread_cond_broadcast(&chaos->changed);
    (void)pthread_mutex_unlock(&chaos->lock);
    (void)session_pause(10 + (int64_t)fly_rng_below(&c->rng, 40));
    (void)pthread_mutex_lock(&chaos->lock);
    chaos->starving--;
    (void)pthread_mutex_unlock(&chaos->lock);
}

/* What a refusal asks for. False: no fault explains it. */
static bool make_way(struct chaos_client *c, const struct failure *failure)
{
    switch (failure->reason) {
    case FLY__V1__REASON__REASON_REGION_FULL:
        count(&c->chaos->counters.full, 1);
        if (c->live_count > 0) {
            return destroy_oldest(c);
        }
        starve(c);
        return true;
    case FLY__V1__REASON__REASON_NONE:
    case FLY__V1__REASON__REASON_OWNER_UNREACHABLE:
    case FLY__V1__REASON__REASON_BUSY:
    case FLY__V1__REASON__REASON_JOURNAL:
    case FLY__V1__REASON__REASON_OVERLOADED:
    case FLY__V1__REASON__REASON_STOPPING:
    case FLY__V1__REASON__REASON_RATE:
    case FLY__V1__REASON__REASON_NOT_LEADER:
    case FLY__V1__REASON__REASON_QUARANTINED: /* until it has asked what others saw of it */
    case FLY__V1__REASON__REASON_CORDONED:
        if (failure->reason == FLY__V1__REASON__REASON_NONE && failure->connected &&
            failure->status != FLY_UNAVAILABLE && failure->status != FLY_DEADLINE_EXCEEDED) {
            return false;
        }
        (void)session_pause(20 + (int64_t)fly_rng_below(&c->rng, 60));
        return true;
    default:
        return false;
    }
}

/* The same key once more must be the same VM. */
static void launch_again(struct chaos_client *c, struct launching_spec *spec, const char *id)
{
    struct launching_result result;

    spec->timeout_ms = 1000;
    launch_once(c, spec, &result);
    if (result.end == OUTCOME_OK &&
        (!result.launched->replayed || strcmp(result.launched->vm->id, id) != 0)) {
        surprise(c, "the same key again was another VM, or not marked replayed", NULL);
    }
    launching_result_fini(&result);
}

static void launched(struct chaos_client *c, struct launching_spec *spec, const char *id,
                     bool replayed)
{
    count(&c->chaos->counters.launched, 1);
    count(&c->chaos->counters.replayed, replayed ? 1 : 0);
    FLY_CHECK(c->live_count < CHAOS_LIVE_MAX);
    (void)fly_copy_string(c->live[c->live_count++], sizeof c->live[0], id);
    if (fly_rng_chance(&c->rng, 30)) {
        launch_again(c, spec, id);
    }
    while (!failed(c) && c->live_count > c->chaos->keep) {
        (void)destroy_oldest(c);
    }
}

/* In doubt, and for later; false: there is no room for more such. */
static bool put_aside(struct chaos_client *c, const struct launching_spec *spec)
{
    if (c->aside_count == CHAOS_ASIDE_MAX) {
        return false;
    }
    c->aside[c->aside_count++] = *spec;
    count(&c->chaos->counters.aside, 1);
    return true;
}

/* One launch until it is OK or in doubt, through whatever edge. */
static void launch(struct chaos_client *c)
{
    int64_t until = fly_clock_boot_ms() + PATIENCE_MS;
    struct launching_spec spec;
    bool doubt = false; /* some try with this key may have done it */
    char id[16];

    choose_spec(c, &spec);
    bool own_text = spec.key_given;
    while (!failed(c)) {
        struct launching_result result;
        spec.timeout_ms = 300 + (int64_t)fly_rng_below(&c->rng, 2000);
        launch_once(c, &spec, &result);
        enum outcome_step end = result.end;
        if (result.has_key) {
            spec.key_given = true;
            spec.key = result.key;
        }
        doubt = doubt || end == OUTCOME_UNKNOWN;
        if (end == OUTCOME_OK) {
            (void)fly_copy_string(id, sizeof id, result.launched->vm->id);
            launched(c, &spec, id, result.launched->replayed);
        } else if (end == OUTCOME_NOT_DONE && !make_way(c, &result.failure)) {
            surprise(c, "launch", &result.failure);
        }
        launching_result_fini(&result);
        if (end == OUTCOME_OK || (doubt && fly_rng_chance(&c->rng, 300) && put_aside(c, &spec))) {
            return;
        }
        if (!doubt && !own_text && spec.key_given) {
            spec.key_given = false; /* certainly nothing came of it: a person would go elsewhere */
            count(&c->chaos->counters.fresh, 1);
        }
        if (fly_clock_boot_ms() > until) {
            surprise(c, "nobody answered for a launch", NULL);
        }
    }
}

/* Settles a key for good: either there is a VM, which is destroyed, or there never will be one. */
static bool cancel_key(struct chaos_client *c, const struct fly_key *key)
{
    int64_t until = fly_clock_boot_ms() + PATIENCE_MS;
    Fly__V1__CancelRequest request = FLY__V1__CANCEL_REQUEST__INIT;
    uint8_t bytes[FLY_KEY_SIZE];
    char text[FLY_KEY_TEXT_SIZE];
    enum fly_status status = FLY_UNKNOWN;

    key_format(key, text);
    memcpy(bytes, key->bytes, sizeof bytes);
    request.key = (ProtobufCBinaryData){sizeof bytes, bytes};
    while (!failed(c) && status != FLY_OK && fly_clock_boot_ms() < until) {
        struct rpc_reply reply = {0};
        struct failure failure = {0};
        status = session_call_again(&c->session, &rpc_edge_cancel, &request.base, DESTROY_MS,
                                    &reply, &failure);
        const Fly__V1__CancelReply *answer = (const Fly__V1__CancelReply *)reply.message;
        bool there = status == FLY_OK && answer->launched;
        note_edge(c);
        tell(c, json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "call", "cancel", "subject", c->subject,
                          "edge", c->edge, "key", text, "outcome",
                          status == FLY_OK ? "OK" : "UNKNOWN", "launched", there));
        if (there) {
            char id[16];
            (void)fly_copy_string(id, sizeof id, answer->vm->id);
            count(&c->chaos->counters.cancelled_late, 1);
            (void)destroy(c, id);
        }
        if (status == FLY_PERMISSION_DENIED || status == FLY_INVALID_ARGUMENT) {
            surprise(c, "cancel", &failure);
        }
        rpc_reply_fini(&reply);
        failure_fini(&failure);
        if (status != FLY_OK) {
            (void)session_pause(30);
        }
    }
    count(&c->chaos->counters.cancelled, 1);
    if (status != FLY_OK && !failed(c)) {
        surprise(c, "nobody answered for a cancel", NULL);
    }
    return status == FLY_OK;
}

/* A launch that hardly has the time, then a cancel that settles it. */
static void cancel(struct chaos_client *c)
{
    struct launching_spec spec;
    struct launching_result result;
    char text[32];

    choose_spec(c, &spec);
    if (!spec.key_given) {
        (void)snprintf(text, sizeof text, "never-%u", ++c->keys);
        FLY_CHECK(key_from_text(text, &spec.key));
        spec.key_given = true;
    }
    if (fly_rng_chance(&c->rng, 700)) {
        spec.timeout_ms = 1 + (int64_t)fly_rng_below(&c->rng, 4);
        launch_once(c, &spec, &result);
        launching_result_fini(&result);
    }
    (void)cancel_key(c, &spec.key);
}

/* The same launch once more; what that does not settle, a cancel does. */
static void settle(struct chaos_client *c, struct launching_spec *spec)
{
    struct launching_result result;
    bool done = false;

    if (fly_rng_chance(&c->rng, 600)) {
        char id[16] = "";
        spec->timeout_ms = 3000;
        launch_once(c, spec, &result);
        done = result.end == OUTCOME_OK;
        if (done) {
            (void)fly_copy_string(id, sizeof id, result.launched->vm->id);
            launched(c, spec, id, result.launched->replayed);
        }
        launching_result_fini(&result);
    }
    done = done || cancel_key(c, &spec->key);
    count(&c->chaos->counters.settled, done ? 1 : 0);
}

/* ---- clients ---- */

static bool take_turn(struct chaos_client *c)
{
    struct chaos *chaos = c->chaos;

    (void)pthread_mutex_lock(&chaos->lock);
    while (!chaos->ended && chaos->taken == chaos->released) {
        if (chaos->starving > 0 && c->live_count > 0 && !failed(c)) {
            (void)pthread_mutex_unlock(&chaos->lock);
            (void)destroy_oldest(c);
            (void)pthread_mutex_lock(&chaos->lock);
        } else {
            (void)pthread_cond_wait(&chaos->changed, &chaos->lock);
        }
    }
    bool mine = chaos->taken < chaos->released;
    chaos->taken += mine ? 1 : 0;
    (void)pthread_mutex_unlock(&chaos->lock);
    return mine;
}

void *chaos_client_run(void *user)
{
    struct chaos_client *c = user;

    while (take_turn(c)) {
        if (!failed(c)) {
            launch(c);
        }
        if (!failed(c) && fly_rng_chance(&c->rng, 20)) {
            cancel(c);
        }
        (void)pthread_mutex_lock(&c->chaos->lock);
        c->chaos->done++;
        (void)pthread_cond_broadcast(&c->chaos->changed);
        (void)pthread_mutex_unlock(&c->chaos->lock);
    }
    while (!failed(c) && c->aside_count > 0) {
        settle(c, &c->aside[--c->aside_count]);
    }
    session_fini(&c->session);
    return NULL;
}
