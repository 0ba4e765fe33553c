#include "node/peer.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "fly/v1/admin.rpc.h"
#include "fly/v1/common.pb-c.h"
#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "fly/v1/join.rpc.h"
#include "fly/v1/metrics.rpc.h"
#include "fly/v1/reflection.rpc.h"
#include "fly/v1/slice.rpc.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

void peer_token_hash(const char *token, uint8_t out[static TOKEN_HASH_SIZE])
{
    static const uint8_t no_key[TOKEN_HASH_KEY_SIZE];

    token_hash(no_key, token, strlen(token), out);
}

struct peer *peer_create(enum peer_kind kind)
{
    struct peer *p = calloc(1, sizeof *p);

    FLY_CHECK(p != NULL);
    p->kind = kind;
    return p;
}

void peer_destroy(struct peer *p)
{
    if (p == NULL) {
        return;
    }
    if (p->token != NULL) {
        sodium_memzero(p->token, strlen(p->token));
        free(p->token);
    }
    free(p->presented);
    sodium_memzero(p, sizeof *p);
    free(p);
}

void peer_present(struct peer *p, const uint8_t hash[static TOKEN_HASH_SIZE],
                  const struct gate_peer *user)
{
    if (p->presented == NULL) {
        p->presented = calloc(PEER_PRESENTED_MAX, sizeof *p->presented);
        FLY_CHECK(p->presented != NULL);
    }
    struct peer_presented *place = &p->presented[0];
    for (uint32_t i = 0; i < PEER_PRESENTED_MAX; i++) {
        struct peer_presented *at = &p->presented[i];
        if (at->used != 0 && memcmp(at->hash, hash, TOKEN_HASH_SIZE) == 0) {
            place = at;
            break;
        }
        place = at->used < place->used ? at : place;
    }
    memcpy(place->hash, hash, TOKEN_HASH_SIZE);
    place->user = *user;
    place->used = ++p->turn;
}

const struct gate_peer *peer_presented(struct peer *p, const uint8_t hash[static TOKEN_HASH_SIZE])
{
    for (uint32_t i = 0; p->presented != NULL && i < PEER_PRESENTED_MAX; i++) {
        struct peer_presented *at = &p->presented[i];
        if (at->used != 0 && memcmp(at->hash, hash, TOKEN_HASH_SIZE) == 0) {
            at->used = ++p->turn;
            return &at->user;
        }
    }
    return NULL;
}

uint64_t peer_tenant(const struct peer *p)
{
    const bool node = p->kind == PEER_NODE;
    const void *who = node ? (const void *)&p->node.id : p->user.subject;
    const uint8_t kind[] = {(uint8_t)p->kind};
    uint8_t hash[crypto_generichash_BYTES];

    /* subjects are people's choice: with a hash nobody can aim at another's number */
    (void)crypto_generichash(hash, sizeof hash, who,
                             node ? sizeof p->node.id : strlen(p->user.subject), kind, sizeof kind);
    uint64_t tenant = fly_load_u64(hash);
    return tenant != 0 ? tenant : 1;
}

/* --- who may call what --- */

struct access {
    const struct rpc_method *method;
    uint32_t scope; /* of users; 0: no user may */
    uint32_t roles; /* of nodes, any of them; 0: no node may */
    bool open;      /* anybody may */
    bool known;     /* any user and any node may */
};

static const struct access table[] = {
    {.method = &rpc_health_check, .open = true},
    {.method = &rpc_health_watch, .open = true},
    {.method = &rpc_health_echo, .known = true},
    {.method = &rpc_reflection_list, .known = true},
    {.method = &rpc_reflection_describe, .known = true},
    {.method = &rpc_metrics_read, .known = true},
    {.method = &rpc_join_begin, .open = true},
    {.method = &rpc_join_admit, .open = true},
    {.method = &rpc_edge_regions, .scope = TOKEN_SCOPE_REGIONS},
    {.method = &rpc_edge_launch, .scope = TOKEN_SCOPE_LAUNCH},
    {.method = &rpc_edge_cancel, .scope = TOKEN_SCOPE_LAUNCH},
    {.method = &rpc_edge_list, .scope = TOKEN_SCOPE_READ},
    {.method = &rpc_edge_machines, .scope = TOKEN_SCOPE_READ},
    {.method = &rpc_edge_status, .scope = TOKEN_SCOPE_READ},
    {.method = &rpc_edge_destroy, .scope = TOKEN_SCOPE_DESTROY},
    {.method = &rpc_edge_watch, .scope = TOKEN_SCOPE_WATCH},
    {.method = &rpc_admin_members, .scope = TOKEN_SCOPE_READ},
    {.method = &rpc_admin_slices, .scope = TOKEN_SCOPE_READ},
    {.method = &rpc_admin_forget_slice, .scope = TOKEN_SCOPE_ADMIN},
    {.method = &rpc_admin_create_join_token, .scope = TOKEN_SCOPE_ADMIN},
    {.method = &rpc_admin_list_join_tokens, .scope = TOKEN_SCOPE_ADMIN},
    {.method = &rpc_admin_revoke_join_token, .scope = TOKEN_SCOPE_ADMIN},
    /* edges launch; peers settle what edges left behind */
    {.method = &rpc_slice_present, .roles = NODE_ROLE_EDGE},
    {.method = &rpc_slice_call, .roles = NODE_ROLE_EDGE | NODE_ROLE_PEER},
    {.method = &rpc_slice_replay, .roles = NODE_ROLE_EDGE | NODE_ROLE_PEER | NODE_ROLE_DASH},
    {.method = &rpc_slice_machines, .roles = NODE_ROLE_EDGE | NODE_ROLE_PEER | NODE_ROLE_DASH},
    {.method = &rpc_slice_list, .roles = NODE_ROLE_EDGE | NODE_ROLE_DASH},
    {.method = &rpc_slice_seen, .roles = NODE_ROLE_PEER},
    {.method = &rpc_slice_forget, .roles = NODE_ROLE_ALL}, /* the word speaks for itself */
};

static const struct access *access_of(const struct rpc_method *method)
{
    for (size_t i = 0; i < FLY_ARRAY_COUNT(table); i++) {
        if (table[i].method == method) {
            return &table[i];
        }
    }
    return NULL;
}

static enum fly_status deny(struct gate_refusal *refusal, enum fly_status status, int reason,
                            const char *format, const char *detail)
{
    refusal->reason = (enum gate_reason)reason;
    return fly_error_set(&refusal->error, status, format, detail);
}

static enum fly_status node_expired(const struct peer *peer, struct gate_refusal *refusal)
{
    return deny(refusal, FLY_UNAUTHENTICATED, FLY__V1__REASON__REASON_NODE_INVALID,
                "the credential of node %s has expired", peer->node.name);
}

/* Nothing here changes after HELLO: no lock is needed. */
static enum fly_status known_may(const struct peer *peer, const struct rpc_method *method,
                                 int64_t wall_ms, struct gate_refusal *refusal)
{
    if (peer == NULL) {
        return deny(refusal, FLY_UNAUTHENTICATED, FLY__V1__REASON__REASON_TOKEN_MISSING,
                    "%s needs a token, of any scope", method->name);
    }
    if (peer->kind == PEER_NODE) {
        return peer->node.expires_ms <= wall_ms ? node_expired(peer, refusal) : FLY_OK;
    }
    return peer->user.expires_ms <= wall_ms
               ? deny(refusal, FLY_UNAUTHENTICATED, FLY__V1__REASON__REASON_TOKEN_EXPIRED,
                      "the token of %s has expired", peer->user.subject)
               : FLY_OK;
}

static enum fly_status node_may(const struct access *a, const struct peer *peer, int64_t wall_ms,
                                struct gate_refusal *refusal)
{
    char roles[NODE_ROLES_TEXT_SIZE];

    if (a->roles == 0) {
        return deny(refusal, FLY_PERMISSION_DENIED, FLY__V1__REASON__REASON_ROLE,
                    "a node may not call %s: it needs a user's token", a->method->name);
    }
    if (peer->node.expires_ms <= wall_ms) {
        return node_expired(peer, refusal);
    }
    if ((peer->node.roles & a->roles) == 0) {
        node_roles_format(a->roles, ',', roles);
        return deny(refusal, FLY_PERMISSION_DENIED, FLY__V1__REASON__REASON_ROLE,
                    "this node's roles may not call the method: it needs one of %s", roles);
    }
    return FLY_OK;
}

static enum fly_status nobody_may(const struct rpc_method *method, struct gate_refusal *refusal)
{
    return deny(refusal, FLY_PERMISSION_DENIED, FLY__V1__REASON__REASON_ROLE, "nobody may call %s",
                method->name);
}

enum fly_status peer_may_builtin(const struct peer *peer, const struct rpc_method *method,
                                 int64_t wall_ms, struct gate_refusal *refusal)
{
    const struct access *a = access_of(method);

    *refusal = (struct gate_refusal){.reason = GATE_NONE};
    if (a != NULL && a->open) {
        return FLY_OK;
    }
    return a != NULL && a->known ? known_may(peer, method, wall_ms, refusal)
                                 : nobody_may(method, refusal);
}

enum fly_status peer_may(struct gate *gate, const struct peer *peer,
                         const struct rpc_method *method, int64_t wall_ms,
                         struct gate_refusal *refusal)
{
    static const struct gate_peer nobody;
    const struct access *a = access_of(method);

    *refusal = (struct gate_refusal){.reason = GATE_NONE};
    if (a == NULL) {
        return nobody_may(method, refusal);
    }
    if (a->open || a->known) {
        return peer_may_builtin(peer, method, wall_ms, refusal);
    }
    if (peer != NULL && peer->kind == PEER_NODE) {
        return node_may(a, peer, wall_ms, refusal);
    }
    if (a->scope == 0) {
        return deny(refusal, peer == NULL ? FLY_UNAUTHENTICATED : FLY_PERMISSION_DENIED,
                    FLY__V1__REASON__REASON_ROLE, "only nodes of the cluster may call %s",
                    method->name);
    }
    return gate_check(gate, peer != NULL ? &peer->user : &nobody, wall_ms,
                      (enum token_scope)a->scope, refusal);
}
