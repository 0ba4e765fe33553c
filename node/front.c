#include "node/front.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fly/v1/edge.rpc.h"
#include "fly/v1/slice.rpc.h"
#include "node/front_watch_parts.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/id.h"
#include "proto/base/log.h"
#include "proto/base/time.h"
#include "proto/wire/hello.h"
#include "proto/wire/validate.h"

enum { SLOT_BITS = 16, HELLO_ARENA_SIZE = 8192, HELLO_REPLY_MAX = 32768, EDGES_MAX = 16 };

_Static_assert(FRONT_DIRECTS_MAX <= 1 << SLOT_BITS, "a slot fits its ticket");

struct owner_now front_clocks(void)
{
    return (struct owner_now){.boot_ms = fly_clock_boot_ms(), .wall_ms = fly_clock_wall_ms()};
}

static void routed_answer(void *user, const struct owner_answer *answer, struct owner_now now);
static void routed_not_sent(void *user, uint64_t ticket, struct owner_now now);
static void routed_lost(void *user, uint64_t ticket, struct owner_now now);

static struct direct_table table_make(uint32_t max)
{
    struct direct_table t = {.slots = calloc(max, sizeof *t.slots), .max = max};

    FLY_CHECK(t.slots != NULL);
    return t;
}

struct direct_slot *front_slot_take(struct direct_table *t, struct rpc_call *call)
{
    struct direct_slot *slot = NULL;

    if (t->free_slot != 0) {
        slot = &t->slots[t->free_slot - 1];
        t->free_slot = slot->next_free;
    } else if (t->fresh < t->max) {
        slot = &t->slots[t->fresh++];
    } else {
        return NULL;
    }
    t->count++;
    slot->call = call;
    slot->generation++;
    return slot;
}

void front_slot_give(struct direct_table *t, struct direct_slot *slot)
{
    slot->call = NULL;
    slot->next_free = t->free_slot;
    t->free_slot = (uint32_t)(slot - t->slots) + 1;
    t->count--;
}

struct front *front_create(const struct front_config *config)
{
    struct front *f = calloc(1, sizeof *f);
    const struct router_config router = {
        .tag = config->tag,
        .directory = config->directory,
        .links = config->links,
        .seen = config->seen,
        .hooks = {.answer = routed_answer, .not_sent = routed_not_sent, .lost = routed_lost},
        .user = f};
    uint64_t seed = 0;

    FLY_CHECK(f != NULL);
    f->config = *config;
    gate_init(&f->gate, &config->gate);
    randombytes_buf(&seed, sizeof seed);
    fly_rng_seed(&f->rng, seed);
    f->machines_nonce = fly_rng_next(&f->rng);
    f->router = router_create(&router);
    f->launches = calloc(FRONT_LAUNCHES_MAX, sizeof *f->launches);
    FLY_CHECK(f->launches != NULL);
    fly_list_init(&f->running);
    fly_list_init(&f->free_launches);
    fly_list_init(&f->watchers);
    fly_list_init(&f->queries);
    f->directs = table_make(FRONT_DIRECTS_MAX);
    f->served = table_make(FRONT_SERVED_MAX);
    f->batches = watch_batches_create(fly_rng_next(&f->rng));
    f->next_due_ms = INT64_MAX;
    f->watch_due_ms = INT64_MAX;
    sweep_init(&f->sweep, config->tag, config->root_tag, TICKET_SWEEP, fly_rng_next(&f->rng),
               fly_clock_boot_ms());
    return f;
}

void front_destroy(struct front *f)
{
    if (f == NULL) {
        return;
    }
    FLY_CHECK(front_idle(f));
    router_destroy(f->router);
    watch_batches_destroy(f->batches);
    free(f->launches);
    free(f->directs.slots);
    free(f->served.slots);
    sodium_memzero(f, sizeof *f);
    free(f);
}

void front_attach(struct front *f, struct host *host)
{
    f->host = host;
    router_attach(f->router, host);
}

bool front_idle(const struct front *f)
{
    return f->running_count == 0 && f->directs.count == 0 && f->served.count == 0 &&
           f->watcher_count == 0 && f->query_count == 0;
}

int64_t front_deadline(const struct front *f)
{
    struct owner *owner = f->host != NULL ? host_owner(f->host) : NULL;
    bool sweeps = owner != NULL && owner_quarantined(owner) == NULL && !f->stopping;
    int64_t sweep_ms = sweeps ? sweep_deadline(&f->sweep) : INT64_MAX;
    int64_t due_ms = sweep_ms < f->next_due_ms ? sweep_ms : f->next_due_ms;

    return f->watch_due_ms < due_ms ? f->watch_due_ms : due_ms;
}

/* --- who calls --- */

/* The caller's words, checked and unpacked into `arena`; NULL: refused here. */
static const Fly__V1__Hello *read_hello(struct rpc_hello *hello, struct fly_arena *arena)
{
    const ProtobufCMessageDescriptor *type = &fly__v1__hello__descriptor;
    struct fly_bytes bytes = rpc_hello_bytes(hello);
    struct fly_error error;

    if (validate_message(type, bytes, arena->size, NULL, &error) != FLY_OK) {
        rpc_hello_refuse(hello, error.status, error.text, (struct fly_bytes){.size = 0});
        return NULL;
    }
    const ProtobufCMessage *message = validate_unpack(type, bytes, arena);
    FLY_CHECK(message != NULL);
    return (const Fly__V1__Hello *)message;
}

static void refuse_hello(struct rpc_hello *hello, const struct fly_error *error,
                         Fly__V1__Reason reason, bool retryable)
{
    struct refusal r;
    uint8_t detail[1024];

    refusal_set(&r, error->status, reason, retryable, "%s", error->text);
    size_t size = refusal_pack(&r, detail, sizeof detail);
    rpc_hello_refuse(hello, error->status, error->text,
                     (struct fly_bytes){.data = detail, .size = size});
}

/* Who the token speaks for; NULL: not admitted, refused here. */
static struct peer *admit_user(struct front *f, struct rpc_hello *hello, const char *token,
                               struct owner_now now)
{
    struct gate_refusal why = {.reason = GATE_NONE};
    struct peer *peer = peer_create(PEER_USER);

    if (gate_admit(&f->gate, now.wall_ms, token, strlen(token), &peer->user, &why) != FLY_OK) {
        refuse_hello(hello, &why.error, (Fly__V1__Reason)why.reason, why.reason == GATE_RATE);
        peer_destroy(peer);
        return NULL;
    }
    peer->token = strdup(token);
    FLY_CHECK(peer->token != NULL);
    return peer;
}

static struct hello_handshake handshake_of(struct front *f, struct rpc_hello *hello,
                                           const struct node_id *client)
{
    return (struct hello_handshake){.cluster = f->config.identity->record.id,
                                    .client_nonce = rpc_hello_client_nonce(hello),
                                    .server_nonce = rpc_hello_server_nonce(hello),
                                    .client = *client,
                                    .server = f->config.identity->credential.id};
}

/* Anybody can be refused, as often as they like: that must not fill a disk. */
static void log_refused(struct front *f, struct rpc_hello *hello, const struct fly_error *error,
                        struct owner_now now)
{
    if (now.boot_ms < f->refusal_log_ms) {
        f->refusals_unlogged++;
        return;
    }
    f->refusal_log_ms = now.boot_ms + FRONT_REFUSAL_LOG_MS;
    fly_log_warn("node.hello_refused", F_STR("remote", rpc_hello_remote(hello)),
                 F_STR("error", error->text), F_U64("unlogged", f->refusals_unlogged));
    f->refusals_unlogged = 0;
}

/* The node that a credential and a proof speak for; NULL: refused here. */
static struct peer *admit_node(struct front *f, struct rpc_hello *hello,
                               const Fly__V1__Hello *request, struct owner_now now)
{
    const struct fly_bytes credential = {request->credential.data, request->credential.len};
    const struct fly_bytes proof = {request->proof.data, request->proof.len};
    struct credential claimed;
    struct fly_error error;
    struct peer *peer = peer_create(PEER_NODE);
    enum fly_status status = credential_decode(credential.data, credential.size, &claimed, &error);

    if (status == FLY_OK) {
        const struct hello_handshake h = handshake_of(f, hello, &claimed.id);
        status = hello_verify(&h, HELLO_CLIENT, credential, proof, f->config.identity->record.ca,
                              now.wall_ms, &peer->node, &error);
    }
    if (status != FLY_OK) {
        error.status = FLY_UNAUTHENTICATED;
        log_refused(f, hello, &error, now);
        refuse_hello(hello, &error, FLY__V1__REASON__REASON_NODE_INVALID, false);
        peer_destroy(peer);
        return NULL;
    }
    return peer;
}

/* To a node: this one's credential, and a proof over this very handshake. */
static void prove(struct front *f, struct rpc_hello *hello, const struct peer *peer,
                  uint8_t credential[static CREDENTIAL_BYTES_MAX],
                  uint8_t proof[static NODE_SIGNATURE_SIZE], Fly__V1__HelloReply *reply)
{
    const struct identity *self = f->config.identity;
    const struct hello_handshake h = handshake_of(f, hello, &peer->node.id);

    hello_sign(&h, HELLO_SERVER, &self->keys, self->credential.tls_hash, proof);
    reply->credential.data = credential;
    reply->credential.len = credential_encode(&self->credential, credential);
    reply->proof.data = proof;
    reply->proof.len = NODE_SIGNATURE_SIZE;
}

/* Where a client may go on when this node dies. */
static size_t living_edges(const struct front *f, char urls[static EDGES_MAX][DIRECTORY_URL_SIZE],
                           char *pointers[static EDGES_MAX])
{
    const struct directory *d = f->config.directory;
    size_t count = 0;

    for (uint32_t i = 0; i < d->member_count && count < EDGES_MAX; i++) {
        const struct gossip_member *m = &d->members[i];
        if ((m->credential.roles & m->meta.roles & NODE_ROLE_EDGE) != 0 && directory_serves(m)) {
            directory_rpc_url(m, urls[count]);
            pointers[count] = urls[count];
            count++;
        }
    }
    return count;
}

static void accept_hello(struct front *f, struct rpc_hello *hello, struct peer *peer,
                         struct owner_now now)
{
    uint8_t packed[HELLO_REPLY_MAX];
    uint8_t credential[CREDENTIAL_BYTES_MAX];
    uint8_t proof[NODE_SIGNATURE_SIZE];
    char urls[EDGES_MAX][DIRECTORY_URL_SIZE];
    char *edges[EDGES_MAX];
    Fly__V1__HelloReply reply = FLY__V1__HELLO_REPLY__INIT;
    struct region_tags tags;

    tags.count = 0;
    reply.cluster = (char *)f->config.identity->record.id;
    reply.node = (char *)f->config.node_name;
    reply.version = FLY_VERSION;
    reply.time_ms = now.wall_ms;
    if (peer != NULL && peer->kind == PEER_USER) { /* nobody learns nothing of our machines */
        region_tags_fill(&tags, f->config.catalog, NULL);
        reply.n_edges = living_edges(f, urls, edges);
        reply.edges = edges;
    } else if (peer != NULL) {
        prove(f, hello, peer, credential, proof, &reply);
    }
    reply.n_tags = tags.count;
    reply.tags = tags.pointers;
    while (fly__v1__hello_reply__get_packed_size(&reply) > sizeof packed) {
        reply.n_tags /= 2; /* hints: half of them will do */
    }
    size_t size = fly__v1__hello_reply__pack(&reply, packed);
    if (peer != NULL) {
        rpc_hello_set_tenant(hello, peer_tenant(peer));
    }
    rpc_hello_accept(hello, (struct fly_bytes){.data = packed, .size = size}, peer);
}

void front_hello(struct front *f, struct rpc_hello *hello, struct owner_now now)
{
    _Alignas(16) uint8_t memory[HELLO_ARENA_SIZE];
    struct fly_arena arena = fly_arena_over(memory, sizeof memory);
    const Fly__V1__Hello *request = read_hello(hello, &arena);
    struct peer *peer = NULL;

    if (request == NULL) {
        return;
    }
    bool node = request->credential.len > 0;
    bool user = request->token[0] != '\0';
    if (node) {
        peer = admit_node(f, hello, request, now);
    } else if (user) {
        peer = admit_user(f, hello, request->token, now);
    }
    if (peer != NULL || (!node && !user)) {
        accept_hello(f, hello, peer, now);
    }
}

void front_peer_gone(struct front *f, void *peer)
{
    (void)f;
    peer_destroy(peer);
}

const struct gate_peer *front_user(const struct rpc_call *call)
{
    static const struct gate_peer nobody;
    const struct peer *peer = rpc_call_peer(call);

    return peer != NULL ? &peer->user : &nobody;
}

const char *front_token(const struct rpc_call *call)
{
    const struct peer *peer = rpc_call_peer(call);

    return peer != NULL ? peer->token : NULL;
}

void front_refuse_overloaded(struct rpc_call *call, const char *what)
{
    struct refusal r;

    refusal_set(&r, FLY_RESOURCE_EXHAUSTED, FLY__V1__REASON__REASON_OVERLOADED, true,
                "too many %s are under way at this edge", what);
    (void)fly_copy_string(r.hint, sizeof r.hint, "try again in a moment");
    refusal_send(call, &r);
}

/* --- Destroy --- */

/* Its ticket; 0: too many are under way. */
static uint64_t direct_take(struct front *f, struct rpc_call *call)
{
    struct direct_slot *slot = front_slot_take(&f->directs, call);

    return slot != NULL ? TICKET_DIRECT | (uint64_t)slot->generation << SLOT_BITS |
                              (uint64_t)(slot - f->directs.slots)
                        : 0;
}

/* The call of a ticket, which is over now; NULL: it was answered before. */
static struct rpc_call *direct_give(struct front *f, uint64_t ticket)
{
    uint32_t i = (uint32_t)(ticket & ((1u << SLOT_BITS) - 1));
    uint32_t generation = (uint32_t)((ticket & ~TICKET_DIRECT) >> SLOT_BITS);

    FLY_CHECK(i < f->directs.fresh);
    struct direct_slot *slot = &f->directs.slots[i];
    struct rpc_call *call = slot->call;
    if (call == NULL || slot->generation != generation) {
        return NULL;
    }
    front_slot_give(&f->directs, slot);
    return call;
}

static void refuse_unreached(struct rpc_call *call)
{
    struct refusal r;

    refusal_set(&r, FLY_UNAVAILABLE, FLY__V1__REASON__REASON_OWNER_UNREACHABLE, true,
                "the owner of the VM's slice cannot be reached: nothing was done");
    (void)fly_copy_string(r.hint, sizeof r.hint, "try again; `flyrpc slice list` shows why");
    refusal_turn_away(call, &r);
}

void front_destroy_begin(struct front *f, struct rpc_call *call, uint64_t vm, struct owner_now now)
{
    struct owner_call destroy = {.kind = OWNER_DESTROY, .ticket = direct_take(f, call), .vm = vm};

    if (destroy.ticket == 0) {
        front_refuse_overloaded(call, "calls");
        return;
    }
    (void)fly_copy_string(destroy.subject, sizeof destroy.subject, front_user(call)->subject);
    if (!router_call(f->router, vmid_tag(vm), &destroy, front_token(call), call, now)) {
        refuse_unreached(direct_give(f, destroy.ticket));
    }
}

/* The key of a VM that lived away from its home is free there from now on (DESIGN 4.9). Nobody
 * waits for it: what is lost here, home's sweep finds. */
static void release_key(struct front *f, const struct owner_answer *a, struct owner_now now)
{
    struct launch_call release;

    if (release_after_destroy(a, f->config.root_tag, &release)) {
        release.call.ticket = TICKET_QUIET;
        (void)router_call(f->router, release.to, &release.call, NULL, NULL, now);
    }
}

static void destroy_answered(struct rpc_call *call, const struct owner_answer *a)
{
    struct refusal r;

    if (a->code == OWNER_VM) {
        struct vm_message vm;
        Fly__V1__DestroyReply reply = FLY__V1__DESTROY_REPLY__INIT;
        vm_message_fill(&vm, &a->vm);
        reply.vm = &vm.pb;
        reply.already = a->replayed;
        rpc_call_reply(call, &reply.base);
        return;
    }
    if (a->code == OWNER_NOT_FOUND) {
        refusal_set(&r, FLY_NOT_FOUND, FLY__V1__REASON__REASON_NOT_FOUND, false, "no such VM");
    } else if (a->code == OWNER_UNKNOWN) {
        refusal_set(&r, FLY_UNAVAILABLE, FLY__V1__REASON__REASON_OUTCOME_UNKNOWN, true,
                    "the outcome is not known: the slice's log failed");
        (void)fly_copy_string(r.hint, sizeof r.hint, "destroy it again: that does no harm");
    } else {
        refusal_set(&r, a->status != FLY_OK ? a->status : FLY_UNAVAILABLE,
                    FLY__V1__REASON__REASON_OWNER_UNREACHABLE, true, "%s",
                    a->text != NULL ? a->text : "the owner refused");
    }
    refusal_send(call, &r);
}

/* --- answers, turns, dispatch --- */

void front_answer(struct front *f, const struct owner_answer *answer, struct owner_now now)
{
    if ((answer->ticket & TICKET_DIRECT) != 0) {
        struct rpc_call *call = direct_give(f, answer->ticket);
        release_key(f, answer, now);
        if (call != NULL) {
            destroy_answered(call, answer);
        }
    } else if ((answer->ticket & TICKET_SERVED) != 0) {
        front_served_answer(f, answer);
    } else if ((answer->ticket & TICKET_SWEEP) != 0) {
        front_sweep_answer(f, answer, now);
    } else if ((answer->ticket & TICKET_QUIET) == 0) {
        front_launch_answer(f, answer, now);
    }
}

static void routed_answer(void *user, const struct owner_answer *answer, struct owner_now now)
{
    front_answer(user, answer, now);
}

static void routed_not_sent(void *user, uint64_t ticket, struct owner_now now)
{
    struct front *f = user;
    struct rpc_call *call = NULL;

    if ((ticket & TICKET_DIRECT) != 0) {
        call = direct_give(f, ticket);
        if (call != NULL) {
            refuse_unreached(call);
        }
    } else if ((ticket & TICKET_SWEEP) != 0) {
        front_sweep_not_sent(f, ticket, now);
    } else if ((ticket & TICKET_QUIET) == 0) {
        front_launch_not_sent(f, ticket, now);
    }
}

static void routed_lost(void *user, uint64_t ticket, struct owner_now now)
{
    struct front *f = user;

    if ((ticket & TICKET_DIRECT) != 0) {
        const struct owner_answer unknown = {.code = OWNER_UNKNOWN, .ticket = ticket};
        front_answer(f, &unknown, now);
    } else if ((ticket & TICKET_SWEEP) != 0) {
        front_sweep_lost(f, ticket, now);
    } else if ((ticket & TICKET_QUIET) == 0) {
        front_launch_lost(f, ticket, now);
    }
}

void front_turn(struct front *f, struct owner_now now)
{
    front_launch_turn(f, now);
    front_watch_turn(f, now);
    front_sweep_turn(f, now);
}

void front_open(struct front *f)
{
    f->open = true;
}

void front_stop(struct front *f)
{
    f->stopping = true;
    front_watch_stop(f, FLY_UNAVAILABLE, "the node is stopping");
}

void front_abandon(struct front *f, struct owner_now now)
{
    front_launch_abandon(f, now);
    front_query_abandon(f);
    front_served_abandon(f);
    for (uint32_t i = 0; i < f->directs.fresh && f->directs.count > 0; i++) {
        const struct owner_answer unknown = {
            .code = OWNER_UNKNOWN,
            .ticket = TICKET_DIRECT | (uint64_t)f->directs.slots[i].generation << SLOT_BITS | i};
        front_answer(f, &unknown, now);
    }
}

bool front_admits(struct front *f, struct rpc_call *call, struct owner_now now)
{
    struct gate_refusal why;
    struct refusal r;

    if (peer_may(&f->gate, rpc_call_peer(call), rpc_call_method(call), now.wall_ms, &why) !=
        FLY_OK) {
        refusal_set(&r, why.error.status, (Fly__V1__Reason)why.reason, false, "%s", why.error.text);
        refusal_turn_away(call, &r);
        return false;
    }
    if (f->stopping) {
        refusal_set(&r, FLY_UNAVAILABLE, FLY__V1__REASON__REASON_STOPPING, true,
                    "the node is stopping");
        refusal_turn_away(call, &r);
        return false;
    }
    if (rpc_call_deadline_ms(call) != 0 && rpc_call_deadline_ms(call) <= now.boot_ms) {
        refusal_set(&r, FLY_DEADLINE_EXCEEDED, FLY__V1__REASON__REASON_NONE, true,
                    "the deadline passed while the call waited: it was not executed");
        refusal_turn_away(call, &r);
        return false;
    }
    return true;
}

/* Edge's methods need the role: a node that is only a peer is no front door. */
static bool edge_call(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const struct rpc_method *method = rpc_call_method(call);

    if ((f->config.roles & NODE_ROLE_EDGE) == 0) {
        return false;
    }
    if (method == &rpc_edge_launch) {
        front_launch(f, call, now);
    } else if (method == &rpc_edge_cancel) {
        front_cancel_key(f, call, now);
    } else if (method == &rpc_edge_destroy) {
        front_destroy_vm(f, call, now);
    } else if (method == &rpc_edge_regions) {
        front_regions(f, call);
    } else if (method == &rpc_edge_list) {
        front_list(f, call, now);
    } else if (method == &rpc_edge_machines) {
        front_list_machines(f, call);
    } else if (method == &rpc_edge_status) {
        front_status(f, call, now);
    } else if (method == &rpc_edge_watch) {
        front_watch(f, call, now);
    } else {
        return false;
    }
    return true;
}

static bool slice_call(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const struct rpc_method *method = rpc_call_method(call);

    if (method == &rpc_slice_call) {
        front_slice_call(f, call, now);
    } else if (method == &rpc_slice_present) {
        front_present(f, call, now);
    } else if (method == &rpc_slice_replay) {
        front_replay(f, call);
    } else if (method == &rpc_slice_machines) {
        front_machines(f, call);
    } else if (method == &rpc_slice_list) {
        front_slice_list(f, call);
    } else {
        return false;
    }
    return true;
}

/* True: turned away, this node has just started. */
static bool too_early(const struct front *f, struct rpc_call *call)
{
    static const char edge[] = "fly.v1.Edge/";
    struct refusal r;

    if (f->open || strncmp(rpc_call_method(call)->name, edge, sizeof edge - 1) != 0) {
        return false;
    }
    refusal_set(&r, FLY_UNAVAILABLE, FLY__V1__REASON__REASON_OWNER_UNREACHABLE, true,
                "this node has just started and does not know the cluster yet");
    (void)fly_copy_string(r.hint, sizeof r.hint, "try again in a moment, or at another edge");
    refusal_turn_away(call, &r);
    return true;
}

void front_call(struct front *f, struct rpc_call *call, struct owner_now now)
{
    if (too_early(f, call)) {
        return;
    }
    if (edge_call(f, call, now) || slice_call(f, call, now)) {
        return;
    }
    rpc_call_turn_away(call, FLY_UNIMPLEMENTED,
                       "this node does not serve the method: it lacks the role",
                       (struct fly_bytes){.size = 0});
}
