/* peer: who may call what, every method against every kind of caller; tokens that nodes show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fly/v1/common.pb-c.h"
#include "fly/v1/health.rpc.h"
#include "fly/v1/metrics.rpc.h"
#include "fly/v1/reflection.rpc.h"
#include "node/peer.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/rpc/methods.h"

enum { NOW_MS = 1000000, LATER_MS = NOW_MS + 1, SUBJECTS = 300 };

/* What the design grants, written down a second time: a method that gets into the node without a
 * line here fails the test, as does one that is granted to more than this. */
enum who {
    SOME /* with the scope, or one of the roles */,
    ANYBODY,
    KNOWN /* all users and nodes */
};

static const struct {
    const char *method;
    enum who who;
    uint32_t scope;
    uint32_t roles;
} granted[] = {
    {"fly.v1.Health/Check", ANYBODY, 0, 0},
    {"fly.v1.Health/Watch", ANYBODY, 0, 0},
    {"fly.v1.Health/Echo", KNOWN, 0, 0},
    {"fly.v1.Reflection/List", KNOWN, 0, 0},
    {"fly.v1.Reflection/Describe", KNOWN, 0, 0},
    {"fly.v1.Metrics/Read", KNOWN, 0, 0},
    {"fly.v1.Join/Begin", ANYBODY, 0, 0},
    {"fly.v1.Join/Admit", ANYBODY, 0, 0},
    {"fly.v1.Edge/Regions", SOME, TOKEN_SCOPE_REGIONS, 0},
    {"fly.v1.Edge/Launch", SOME, TOKEN_SCOPE_LAUNCH, 0},
    {"fly.v1.Edge/Cancel", SOME, TOKEN_SCOPE_LAUNCH, 0},
    {"fly.v1.Edge/List", SOME, TOKEN_SCOPE_READ, 0},
    {"fly.v1.Edge/Machines", SOME, TOKEN_SCOPE_READ, 0},
    {"fly.v1.Edge/Status", SOME, TOKEN_SCOPE_READ, 0},
    {"fly.v1.Edge/Destroy", SOME, TOKEN_SCOPE_DESTROY, 0},
    {"fly.v1.Edge/Watch", SOME, TOKEN_SCOPE_WATCH, 0},
    {"fly.v1.Admin/Members", SOME, TOKEN_SCOPE_READ, 0},
    {"fly.v1.Admin/Slices", SOME, TOKEN_SCOPE_READ, 0},
    {"fly.v1.Admin/ForgetSlice", SOME, TOKEN_SCOPE_ADMIN, 0},
    {"fly.v1.Admin/CreateJoinToken", SOME, TOKEN_SCOPE_ADMIN, 0},
    {"fly.v1.Admin/ListJoinTokens", SOME, TOKEN_SCOPE_ADMIN, 0},
    {"fly.v1.Admin/RevokeJoinToken", SOME, TOKEN_SCOPE_ADMIN, 0},
    {"fly.v1.Slice/Present", SOME, 0, NODE_ROLE_EDGE},
    {"fly.v1.Slice/Call", SOME, 0, NODE_ROLE_EDGE | NODE_ROLE_PEER},
    {"fly.v1.Slice/Replay", SOME, 0, NODE_ROLE_EDGE | NODE_ROLE_PEER | NODE_ROLE_DASH},
    {"fly.v1.Slice/Machines", SOME, 0, NODE_ROLE_EDGE | NODE_ROLE_PEER | NODE_ROLE_DASH},
    {"fly.v1.Slice/List", SOME, 0, NODE_ROLE_EDGE | NODE_ROLE_DASH},
    {"fly.v1.Slice/Seen", SOME, 0, NODE_ROLE_PEER},
    {"fly.v1.Slice/Forget", SOME, 0,
     NODE_ROLE_PEER | NODE_ROLE_EDGE | NODE_ROLE_DASH | NODE_ROLE_ADMIT},
};

/* What the RPC layer answers for the node, beside what the loop answers (rpc_methods). */
static const struct rpc_method *const builtin[] = {&rpc_health_watch, &rpc_reflection_list,
                                                   &rpc_reflection_describe, &rpc_metrics_read};

static size_t served_count(void)
{
    return rpc_method_count + FLY_ARRAY_COUNT(builtin);
}

static const struct rpc_method *served(size_t i)
{
    return i < rpc_method_count ? rpc_methods[i] : builtin[i - rpc_method_count];
}

static struct gate *gate_make(void)
{
    const uint8_t seed[TOKEN_SEED_SIZE] = {7};
    struct token_secret_key key;
    struct gate_config config = {.cluster = "00112233445566778899aabbccddeeff", .issuer_count = 1};
    struct gate *gate = malloc(sizeof *gate);

    assert_non_null(gate);
    token_secret_key_from_seed(seed, &key);
    config.issuers[0] = token_public_key_of(&key);
    gate_init(gate, &config);
    return gate;
}

static struct peer *user_make(uint32_t scopes, int64_t expires_ms)
{
    struct peer *p = peer_create(PEER_USER);

    p->user =
        (struct gate_peer){.subject = "ada", .id = "1", .scopes = scopes, .expires_ms = expires_ms};
    return p;
}

static struct peer *node_make(uint32_t roles, int64_t expires_ms)
{
    struct peer *p = peer_create(PEER_NODE);

    p->node = (struct credential){.name = "n-1", .roles = roles, .expires_ms = expires_ms};
    return p;
}

struct answer {
    enum fly_status status;
    int reason; /* Fly__V1__Reason */
};

static const struct answer good = {FLY_OK, FLY__V1__REASON__REASON_NONE};

/* Peer NULL: nobody. Consumes it. */
static void check(struct gate *gate, const char *who, struct peer *peer, size_t row,
                  const struct rpc_method *method, struct answer want)
{
    struct gate_refusal why;
    enum fly_status got = peer_may(gate, peer, method, NOW_MS, &why);
    char what[160];

    (void)snprintf(what, sizeof what, "%s, %s", granted[row].method, who);
    if (got != want.status || (int)why.reason != want.reason) {
        fail_msg("%s: status %d reason %d, expected %d and %d", what, (int)got, (int)why.reason,
                 (int)want.status, want.reason);
    }
    if (got != FLY_OK && why.error.text[0] == '\0') {
        fail_msg("%s: refused without a word", what);
    }
    peer_destroy(peer);
}

static void check_users(struct gate *gate, size_t row, const struct rpc_method *method)
{
    const struct answer no_user = {FLY_PERMISSION_DENIED, FLY__V1__REASON__REASON_ROLE};
    const struct answer no_scope = {FLY_PERMISSION_DENIED, FLY__V1__REASON__REASON_SCOPE_MISSING};
    const struct answer expired = {FLY_UNAUTHENTICATED, FLY__V1__REASON__REASON_TOKEN_EXPIRED};
    bool known = granted[row].who == KNOWN;
    bool open = granted[row].who == ANYBODY || known;
    bool users = granted[row].scope != 0 || known;

    for (uint32_t scope = 1; scope <= TOKEN_SCOPE_ALL; scope <<= 1) {
        char who[96];
        char name[TOKEN_SCOPES_TEXT_SIZE];
        token_scopes_format(scope, ',', name);
        (void)snprintf(who, sizeof who, "user with %s", name);
        bool may = open || scope == granted[row].scope;
        check(gate, who, user_make(scope, LATER_MS), row, method,
              may     ? good
              : users ? no_scope
                      : no_user);
    }
    check(gate, "user with all scopes", user_make(TOKEN_SCOPE_ALL, LATER_MS), row, method,
          open || users ? good : no_user);
    check(gate, "user without scope", user_make(0, LATER_MS), row, method,
          open    ? good
          : users ? no_scope
                  : no_user);
    check(gate, "user whose token has expired", user_make(TOKEN_SCOPE_ALL, NOW_MS), row, method,
          open && !known ? good
          : users        ? expired
                         : no_user);
}

static void check_nodes(struct gate *gate, size_t row, const struct rpc_method *method)
{
    const struct answer no_role = {FLY_PERMISSION_DENIED, FLY__V1__REASON__REASON_ROLE};
    const struct answer expired = {FLY_UNAUTHENTICATED, FLY__V1__REASON__REASON_NODE_INVALID};
    bool known = granted[row].who == KNOWN;
    bool open = granted[row].who == ANYBODY || known;
    uint32_t roles = granted[row].roles;

    for (uint32_t role = 1; role <= NODE_ROLE_ALL; role <<= 1) {
        char who[96];
        char name[NODE_ROLES_TEXT_SIZE];
        node_roles_format(role, ',', name);
        (void)snprintf(who, sizeof who, "node with role %s", name);
        check(gate, who, node_make(role, LATER_MS), row, method,
              open || (role & roles) != 0 ? good : no_role);
        (void)snprintf(who, sizeof who, "expired node with role %s", name);
        check(gate, who, node_make(role, NOW_MS), row, method,
              open && !known         ? good
              : roles == 0 && !known ? no_role
                                     : expired);
    }
    check(gate, "node with all roles", node_make(NODE_ROLE_ALL, LATER_MS), row, method,
          open || roles != 0 ? good : no_role);
    check(gate, "node without role", node_make(0, LATER_MS), row, method, open ? good : no_role);
}

static void test_every_method_and_caller(void **state)
{
    const struct answer nobody_for_users = {FLY_UNAUTHENTICATED,
                                            FLY__V1__REASON__REASON_TOKEN_MISSING};
    const struct answer nobody_for_nodes = {FLY_UNAUTHENTICATED, FLY__V1__REASON__REASON_ROLE};
    struct gate *gate = gate_make();

    (void)state;
    for (size_t m = 0; m < served_count(); m++) {
        const struct rpc_method *method = served(m);
        size_t row = 0;
        while (row < FLY_ARRAY_COUNT(granted) && strcmp(granted[row].method, method->name) != 0) {
            row++;
        }
        if (row == FLY_ARRAY_COUNT(granted)) {
            fail_msg("%s is served, and nobody wrote down here who may call it", method->name);
        }
        /* who has no identity gets past the RPC layer only with this; the node may be stricter */
        if (granted[row].who == ANYBODY) {
            assert_true((method->flags & RPC_OPEN) != 0);
        }
        check(gate, "nobody", NULL, row, method,
              granted[row].who == ANYBODY                            ? good
              : granted[row].scope != 0 || granted[row].who == KNOWN ? nobody_for_users
                                                                     : nobody_for_nodes);
        check_users(gate, row, method);
        check_nodes(gate, row, method);
    }
    free(gate);
}

static void test_every_row_is_served(void **state)
{
    (void)state;
    assert_int_equal(served_count(), FLY_ARRAY_COUNT(granted));
    for (size_t row = 0; row < FLY_ARRAY_COUNT(granted); row++) {
        size_t found = 0;
        for (size_t m = 0; m < served_count(); m++) {
            found += strcmp(granted[row].method, served(m)->name) == 0;
        }
        if (found != 1) {
            fail_msg("%s is served %zu times", granted[row].method, found);
        }
    }
}

/* What the loop is asked about must not be let in by the RPC layer's own question. */
static void test_builtin_is_stricter(void **state)
{
    struct peer *user = user_make(TOKEN_SCOPE_ALL, LATER_MS);
    struct gate_refusal why;

    (void)state;
    for (size_t m = 0; m < served_count(); m++) {
        size_t row = 0;
        while (strcmp(granted[row].method, served(m)->name) != 0) {
            row++;
        }
        assert_int_equal(peer_may_builtin(user, served(m), NOW_MS, &why),
                         granted[row].who == SOME ? FLY_PERMISSION_DENIED : FLY_OK);
    }
    peer_destroy(user);
}

static void test_tenants(void **state)
{
    struct peer *ada = user_make(TOKEN_SCOPE_READ, LATER_MS);
    struct peer *ada_too = user_make(TOKEN_SCOPE_ALL, NOW_MS);
    struct peer *node = node_make(NODE_ROLE_PEER, LATER_MS);
    struct peer *other = node_make(NODE_ROLE_PEER, LATER_MS);

    (void)state;
    other->node.id.bytes[0] = 1;
    assert_int_equal(peer_tenant(ada), peer_tenant(ada_too));
    assert_int_not_equal(peer_tenant(ada), peer_tenant(node));
    assert_int_not_equal(peer_tenant(node), peer_tenant(other));
    (void)snprintf(ada_too->user.subject, sizeof ada_too->user.subject, "bob");
    assert_int_not_equal(peer_tenant(ada), peer_tenant(ada_too));
    assert_int_not_equal(peer_tenant(ada), 0);
    peer_destroy(ada);
    peer_destroy(ada_too);
    peer_destroy(node);
    peer_destroy(other);
}

static void test_method_without_access(void **state)
{
    const struct rpc_method stranger = {.name = "fly.v1.Edge/Stranger", .flags = RPC_OPEN};
    struct gate *gate = gate_make();
    struct peer *user = user_make(TOKEN_SCOPE_ALL, LATER_MS);
    struct peer *node = node_make(NODE_ROLE_ALL, LATER_MS);
    struct gate_refusal why;

    (void)state;
    assert_int_equal(peer_may(gate, NULL, &stranger, NOW_MS, &why), FLY_PERMISSION_DENIED);
    assert_int_equal(peer_may(gate, user, &stranger, NOW_MS, &why), FLY_PERMISSION_DENIED);
    assert_int_equal(peer_may(gate, node, &stranger, NOW_MS, &why), FLY_PERMISSION_DENIED);
    assert_int_equal(why.reason, FLY__V1__REASON__REASON_ROLE);
    peer_destroy(user);
    peer_destroy(node);
    free(gate);
}

static void hash_number(uint32_t i, uint8_t out[static TOKEN_HASH_SIZE])
{
    char text[32];

    (void)snprintf(text, sizeof text, "token %u", i);
    peer_token_hash(text, out);
}

/* Against the plainest model: a list in the order of use. */
static void test_presented_tokens(void **state)
{
    struct peer *p = node_make(NODE_ROLE_EDGE, LATER_MS);
    struct gate_peer user = {.subject = "ada", .expires_ms = LATER_MS};
    uint8_t hash[TOKEN_HASH_SIZE];

    (void)state;
    hash_number(0, hash);
    assert_null(peer_presented(p, hash));
    for (uint32_t i = 0; i < SUBJECTS; i++) {
        hash_number(i, hash);
        user.scopes = i;
        peer_present(p, hash, &user);
        hash_number(0, hash); /* is used all the time, and never goes */
        const struct gate_peer *first = peer_presented(p, hash);
        assert_non_null(first);
        assert_int_equal(first->scopes, 0);
    }
    for (uint32_t i = 1; i < SUBJECTS; i++) {
        hash_number(i, hash);
        const struct gate_peer *got = peer_presented(p, hash);
        bool kept = i > SUBJECTS - PEER_PRESENTED_MAX;
        assert_int_equal(got != NULL, kept);
        assert_true(got == NULL || got->scopes == i);
    }
    hash_number(SUBJECTS - 1, hash); /* shown again: the newer word counts */
    user.scopes = TOKEN_SCOPE_READ;
    peer_present(p, hash, &user);
    assert_int_equal(peer_presented(p, hash)->scopes, TOKEN_SCOPE_READ);
    peer_destroy(p);
    peer_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_method_and_caller), cmocka_unit_test(test_every_row_is_served),
        cmocka_unit_test(test_builtin_is_stricter),     cmocka_unit_test(test_tenants),
        cmocka_unit_test(test_method_without_access),   cmocka_unit_test(test_presented_tokens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
