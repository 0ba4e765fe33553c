#include "node/router.h"

#include <stdlib.h>
#include <string.h>

#include "fly/v1/slice.rpc.h"
#include "node/slice_wire.h"
#include "proto/base/arena.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/wire/validate.h"

/* A call on its way to another node. */
struct flight {
    uint64_t ticket;
    struct node_id node;
    enum owner_call_kind kind;
    uint32_t next_free;
    bool has_token;
    uint8_t token_hash[TOKEN_HASH_SIZE];
};

struct router {
    struct router_config config;
    struct host *host;
    struct flight *flights;
    uint32_t fresh_flight; /* flights from here on were never used: their pages are not there */
    uint32_t free_flight;  /* + 1, of those given back */
    uint32_t flight_count;
};

struct router *router_create(const struct router_config *config)
{
    struct router *r = calloc(1, sizeof *r);

    FLY_CHECK(r != NULL);
    r->config = *config;
    r->flights = calloc(ROUTER_FLIGHTS_MAX, sizeof *r->flights);
    FLY_CHECK(r->flights != NULL);
    return r;
}

void router_destroy(struct router *r)
{
    if (r != NULL) {
        FLY_CHECK(r->flight_count == 0);
        free(r->flights);
        free(r);
    }
}

void router_attach(struct router *r, struct host *host)
{
    r->host = host;
}

static struct owner_now read_clocks(void)
{
    return (struct owner_now){.boot_ms = fly_clock_boot_ms(), .wall_ms = fly_clock_wall_ms()};
}

/* Why the owner's node did not take the call. */
static Fly__V1__Reason reason_of(const struct rpc_reply *reply)
{
    Fly__V1__Reason reason = FLY__V1__REASON__REASON_NONE;
    _Alignas(16) uint8_t memory[4096];
    struct fly_arena arena = fly_arena_over(memory, sizeof memory);
    struct fly_error error;

    if (reply->detail.size > 0 && validate_message(&fly__v1__refusal__descriptor, reply->detail,
                                                   arena.size, NULL, &error) == FLY_OK) {
        const ProtobufCMessage *m =
            validate_unpack(&fly__v1__refusal__descriptor, reply->detail, &arena);
        reason = m != NULL ? ((const Fly__V1__Refusal *)m)->reason : reason;
    }
    return reason;
}

/* The node's refusal of a call that no owner saw, where trying again does not help. */
static bool final_refusal(const struct rpc_reply *reply, Fly__V1__Reason reason)
{
    return reason != FLY__V1__REASON__REASON_TOKEN_UNKNOWN &&
           reason != FLY__V1__REASON__REASON_NOT_LEADER &&
           (reply->status == FLY_UNAUTHENTICATED || reply->status == FLY_PERMISSION_DENIED ||
            reply->status == FLY_INVALID_ARGUMENT || reply->status == FLY_FAILED_PRECONDITION ||
            reply->status == FLY_UNIMPLEMENTED);
}

static void refused(struct router *r, const struct flight *f, const struct rpc_reply *reply,
                    struct owner_now now)
{
    Fly__V1__Reason reason = reason_of(reply);

    if (reason == FLY__V1__REASON__REASON_TOKEN_UNKNOWN && f->has_token) {
        links_forget_presented(r->config.links, &f->node, f->token_hash);
    }
    if (final_refusal(reply, reason)) {
        const struct owner_answer answer = {.ticket = f->ticket,
                                            .kind = f->kind,
                                            .code = OWNER_REFUSED,
                                            .status = reply->status,
                                            .text = text_intern(reply->text)};
        r->config.hooks.answer(r->config.user, &answer, now);
    } else {
        r->config.hooks.not_sent(r->config.user, f->ticket, now);
    }
}

static void call_done(void *user, uint64_t context, struct rpc_reply *reply)
{
    struct router *r = user;
    const struct flight f = r->flights[context];
    struct owner_now now = read_clocks();
    struct owner_answer answer;
    struct fly_error error;

    r->flights[context].next_free = r->free_flight;
    r->free_flight = (uint32_t)context + 1;
    r->flight_count--;
    if (reply->status == FLY_OK) {
        if (slice_answer_read((const Fly__V1__SliceCallReply *)reply->message, f.kind, &answer,
                              &error) == FLY_OK) {
            answer.ticket = f.ticket;
            r->config.hooks.answer(r->config.user, &answer, now);
        } else {
            r->config.hooks.lost(r->config.user, f.ticket, now);
        }
    } else if (!reply->sent) {
        refused(r, &f, reply, now);
    } else {
        r->config.hooks.lost(r->config.user, f.ticket, now);
    }
    rpc_reply_fini(reply);
}

static void present_done(void *user, uint64_t context, struct rpc_reply *reply)
{
    (void)user; /* a token that was not taken shows itself in the call behind it: TOKEN_UNKNOWN */
    (void)context;
    rpc_reply_fini(reply);
}

static bool present(struct router *r, const struct node_id *node, const char *token,
                    const uint8_t hash[static TOKEN_HASH_SIZE], int64_t now_ms)
{
    Fly__V1__PresentRequest q = FLY__V1__PRESENT_REQUEST__INIT;

    if (links_presented(r->config.links, node, hash)) {
        return true;
    }
    q.token = (char *)token;
    const struct rpc_call_options options = {.timeout_ms = ROUTER_CALL_MS};
    if (links_call(r->config.links, node, &rpc_slice_present, &q.base, &options, now_ms,
                   present_done, r, 0) != FLY_OK) {
        links_forget_presented(r->config.links, node, hash);
        return false;
    }
    return true;
}

/* Whoever waits for the call may have no time left: then an owner must not begin it. What ends
 * something that was begun must get there all the same. */
static struct rpc_call_options options_of(enum owner_call_kind kind, const struct rpc_call *parent)
{
    bool begins = kind == OWNER_OPEN || kind == OWNER_HOLD || kind == OWNER_DESTROY;
    struct rpc_call_options options = {.timeout_ms = ROUTER_CALL_MS};

    if (parent != NULL && begins) {
        options.parent = parent;
    } else if (parent != NULL) {
        options.trace = *rpc_call_trace(parent);
    }
    return options;
}

static bool call_away(struct router *r, uint32_t to, const struct owner_call *call,
                      const char *token, const struct rpc_call *parent, struct owner_now now)
{
    const struct rpc_call_options options = options_of(call->kind, parent);
    const struct gossip_member *owner = directory_owner(r->config.directory, to);
    struct slice_call_message message;

    if (r->config.links == NULL || owner == NULL || owner->self ||
        (r->free_flight == 0 && r->fresh_flight == ROUTER_FLIGHTS_MAX)) {
        return false;
    }
    bool fresh = r->free_flight == 0;
    uint32_t i = fresh ? r->fresh_flight : r->free_flight - 1;
    struct flight *f = &r->flights[i];
    uint32_t next_free = f->next_free;
    *f = (struct flight){.ticket = call->ticket,
                         .node = owner->credential.id,
                         .kind = call->kind,
                         .next_free = next_free,
                         .has_token = token != NULL};
    if (token != NULL) {
        peer_token_hash(token, f->token_hash);
        if (!present(r, &f->node, token, f->token_hash, now.boot_ms)) {
            return false;
        }
    }
    slice_call_fill(&message, to, call, token != NULL ? f->token_hash : NULL);
    if (links_call(r->config.links, &f->node, &rpc_slice_call, &message.pb.base, &options,
                   now.boot_ms, call_done, r, i) != FLY_OK) {
        return false;
    }
    if (fresh) {
        r->fresh_flight++;
    } else {
        r->free_flight = next_free;
    }
    r->flight_count++;
    return true;
}

static bool forgotten(const struct router *r, uint32_t to)
{
    bool is = false;

    return r->config.seen != NULL && seen_find(r->config.seen, to, NULL, NULL, &is) && is;
}

/* Nobody speaks for a slice that was declared lost: what came of its keys and holds is given up,
 * and its VMs are gone (DESIGN 4.10). */
static enum owner_code code_of_lost(enum owner_call_kind kind)
{
    switch (kind) {
    case OWNER_DESTROY:
        return OWNER_NOT_FOUND;
    case OWNER_HOLD:
        return OWNER_ELSEWHERE;
    case OWNER_DONE:
    case OWNER_RELEASE:
        return OWNER_DONE_OK;
    case OWNER_OPEN:
    case OWNER_COMMIT:
    case OWNER_BIND:
    case OWNER_CLOSE:
    case OWNER_CANCEL:
    case OWNER_MACHINE:
    case OWNER_LOSS:
    default:
        return OWNER_KEY_EXPIRED;
    }
}

bool router_call(struct router *r, uint32_t to, const struct owner_call *call, const char *token,
                 const struct rpc_call *parent, struct owner_now now)
{
    if (forgotten(r, to)) {
        const struct owner_answer lost = {
            .ticket = call->ticket, .kind = call->kind, .code = code_of_lost(call->kind)};
        r->config.hooks.answer(r->config.user, &lost, now);
        return true;
    }
    if (to == r->config.tag && r->host != NULL) {
        host_call(r->host, call, now);
        return true;
    }
    return call_away(r, to, call, token, parent, now);
}
