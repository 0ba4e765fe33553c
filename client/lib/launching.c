#include "client/lib/launching.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/id.h"

enum { TAGS_TIMEOUT_MS = 2000 };

struct run {
    struct session *session;
    const struct launching_spec *spec;
    struct launching_result *result;
    struct outcome outcome;
    struct launching_avoid avoid;
    int64_t deadline_ms;
};

static bool usable(const Fly__V1__RegionTag *tag)
{
    return tag->tag >= 1 && tag->tag <= FLY_TAG_MAX;
}

static bool of_region(const Fly__V1__RegionTag *tag, const struct launching_spec *spec)
{
    return usable(tag) && strcasecmp(tag->region, spec->region) == 0;
}

static bool fits(const Fly__V1__RegionTag *tag, const struct launching_spec *spec)
{
    return of_region(tag, spec) && tag->cores_free_max >= spec->cores &&
           tag->memory_free_max_bytes >= spec->memory_bytes;
}

static bool avoided(const Fly__V1__RegionTag *tag, const struct launching_avoid *avoid)
{
    for (size_t i = 0; i < avoid->count; i++) {
        if (avoid->tags[i] == tag->tag) {
            return true;
        }
    }
    return false;
}

enum rule { RULE_FITS_ELSEWHERE, RULE_FITS, RULE_OF_REGION, RULE_USABLE, RULE_COUNT };

static bool takes(enum rule rule, const Fly__V1__RegionTag *tag, const struct launching_spec *spec,
                  const struct launching_avoid *avoid)
{
    switch (rule) {
    case RULE_FITS_ELSEWHERE:
        return fits(tag, spec) && !avoided(tag, avoid);
    case RULE_FITS:
        return fits(tag, spec);
    case RULE_OF_REGION:
        return of_region(tag, spec);
    case RULE_USABLE:
        return usable(tag);
    case RULE_COUNT:
        break;
    }
    return false;
}

uint32_t launching_pick_tag(Fly__V1__RegionTag *const *tags, size_t count,
                            const struct launching_spec *spec, const struct launching_avoid *avoid,
                            struct fly_rng *rng)
{
    for (enum rule rule = 0; rule < RULE_COUNT; rule++) {
        uint32_t picked = 0;
        uint64_t seen = 0;
        for (size_t i = 0; i < count; i++) {
            if (takes(rule, tags[i], spec, avoid) && fly_rng_below(rng, ++seen) == 0) {
                picked = tags[i]->tag;
            }
        }
        if (picked != 0) {
            return picked;
        }
    }
    return 0;
}

bool launching_other_room(Fly__V1__RegionTag *const *tags, size_t count,
                          const struct launching_spec *spec, uint32_t home)
{
    for (size_t i = 0; i < count; i++) {
        if (fits(tags[i], spec) && tags[i]->tag != home) {
            return true;
        }
    }
    return false;
}

static void mint(struct run *run, uint32_t tag)
{
    struct launching_result *result = run->result;
    uint8_t random[FLY_KEY_SIZE];
    char text[2 * sizeof random + 1];

    FLY_CHECK(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
    if (tag != 0) {
        key_mint(&result->key, tag, (uint32_t)(session_wall_ms(run->session) / 1000), random);
    } else {
        /* an edge that knows no slice: a key at home in the root slice works with every edge */
        fly_hex_encode(random, sizeof random, text);
        FLY_CHECK(key_from_text(text, &result->key));
    }
    result->has_key = true;
}

static int64_t left_ms(const struct run *run)
{
    int64_t left = run->deadline_ms - fly_clock_boot_ms();

    return left > 0 ? left : 0;
}

/* The first key: from HELLO's tags, else from those that the list of regions brings. */
static enum fly_status mint_first(struct run *run)
{
    struct session *session = run->session;
    struct failure *failure = &run->result->failure;
    enum fly_status status = session_connect(session, left_ms(run), failure);
    uint32_t tag = 0;

    if (status != FLY_OK) {
        return status;
    }
    tag = launching_pick_tag(session->hello->tags, session->hello->n_tags, run->spec, &run->avoid,
                             &session->rng);
    if (tag == 0) {
        Fly__V1__RegionsRequest request = FLY__V1__REGIONS_REQUEST__INIT;
        struct rpc_reply reply = {0};
        struct failure ignored = {0};
        int64_t timeout_ms = left_ms(run) < TAGS_TIMEOUT_MS ? left_ms(run) : TAGS_TIMEOUT_MS;
        /* a token for launches need not be one for regions: a refusal changes nothing */
        if (session_call(session, &rpc_edge_regions, &request.base, timeout_ms, &reply, &ignored) ==
            FLY_OK) {
            const Fly__V1__RegionsReply *regions = (const Fly__V1__RegionsReply *)reply.message;
            tag = launching_pick_tag(regions->tags, regions->n_tags, run->spec, &run->avoid,
                                     &session->rng);
        }
        rpc_reply_fini(&reply);
        failure_fini(&ignored);
    }
    mint(run, tag);
    return FLY_OK;
}

static void mint_again(struct run *run)
{
    const Fly__V1__Refusal *refusal = run->result->failure.refusal;
    const struct fly_key *key = &run->result->key;

    if (key_minted(key) && run->avoid.count < LAUNCHING_AVOID_MAX) {
        run->avoid.tags[run->avoid.count++] = key_home(key, 0);
    }
    mint(run, refusal == NULL ? 0
                              : launching_pick_tag(refusal->tags, refusal->n_tags, run->spec,
                                                   &run->avoid, &run->session->rng));
}

static enum fly_status try_once(struct run *run)
{
    struct launching_result *result = run->result;
    Fly__V1__LaunchRequest request = FLY__V1__LAUNCH_REQUEST__INIT;

    if (!result->has_key) {
        enum fly_status status = mint_first(run);
        if (status != FLY_OK) {
            return status;
        }
    }
    /* protobuf-c's structs know no const; packing only reads */
    request.region = (char *)(uintptr_t)run->spec->region;
    request.name = (char *)(uintptr_t)run->spec->name;
    request.cores = run->spec->cores;
    request.memory_bytes = run->spec->memory_bytes;
    request.key = (ProtobufCBinaryData){sizeof result->key.bytes, result->key.bytes};
    return session_call(run->session, &rpc_edge_launch, &request.base, left_ms(run), &result->reply,
                        &result->failure);
}

static struct outcome_try describe(const struct run *run, enum fly_status status)
{
    const struct failure *failure = &run->result->failure;
    struct outcome_try ended = {.status = status};

    if (status == FLY_OK) {
        ended.connected = ended.sent = true;
        return ended;
    }
    ended.reason = failure->reason;
    ended.retryable = failure->retryable;
    ended.connected = failure->connected;
    ended.sent = failure->sent;
    if (failure->refusal != NULL && run->result->has_key) {
        uint32_t home = key_minted(&run->result->key) ? key_home(&run->result->key, 0) : 0;
        ended.other_room =
            launching_other_room(failure->refusal->tags, failure->refusal->n_tags, run->spec, home);
    }
    return ended;
}

/* An OK that holds no VM is no OK: the outcome is not known. */
static enum fly_status check_reply(struct launching_result *result, enum fly_status status)
{
    if (status != FLY_OK) {
        return status;
    }
    result->launched = (const Fly__V1__LaunchReply *)result->reply.message;
    if (result->launched != NULL && result->launched->vm != NULL &&
        result->launched->vm->id[0] != '\0') {
        return FLY_OK;
    }
    result->launched = NULL;
    result->failure = (struct failure){.status = FLY_INTERNAL, .connected = true, .sent = true};
    (void)fly_copy_string(result->failure.message, sizeof result->failure.message,
                          "the edge answered OK without a VM");
    return FLY_INTERNAL;
}

void launching_run(struct session *session, const struct launching_spec *spec,
                   struct launching_result *result)
{
    int64_t start_ms = fly_clock_boot_ms();
    struct run run = {.session = session,
                      .spec = spec,
                      .result = result,
                      .deadline_ms = start_ms + spec->timeout_ms};

    *result = (struct launching_result){.has_key = spec->key_given, .key = spec->key};
    outcome_init(&run.outcome, spec->key_given, run.deadline_ms);
    for (;;) {
        int64_t pause_ms = 0;
        enum fly_status status = check_reply(result, try_once(&run));
        struct outcome_try ended = describe(&run, status);
        result->end =
            outcome_next(&run.outcome, &ended, fly_clock_boot_ms(), &session->rng, &pause_ms);
        if (result->end != OUTCOME_AGAIN_SAME && result->end != OUTCOME_AGAIN_FRESH) {
            break;
        }
        if (session_stopped(session) || !session_pause(pause_ms)) {
            result->end = run.outcome.doubt ? OUTCOME_UNKNOWN : OUTCOME_NOT_DONE;
            break;
        }
        if (result->end == OUTCOME_AGAIN_FRESH) {
            mint_again(&run);
        }
        rpc_reply_fini(&result->reply);
        failure_fini(&result->failure);
    }
    result->tries = run.outcome.tries;
    if (result->launched != NULL && result->launched->tries > 1) {
        result->tries += result->launched->tries - 1;
    }
    result->elapsed_ms = fly_clock_boot_ms() - start_ms;
}

void launching_result_fini(struct launching_result *result)
{
    rpc_reply_fini(&result->reply);
    failure_fini(&result->failure);
    result->launched = NULL;
}
