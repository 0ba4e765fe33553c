/*
 * flyrpc against an edge that knows its lines by heart: members, slices and join tokens as tables
 * of 80 columns and as JSON, lists that are not complete, regions that are old.
 */
#include "tests/unit/flyrpc_fixture.h"

#include <jansson.h>
#include <pthread.h>
#include <string.h>

#include "fly/v1/admin.pb-c.h"
#include "fly/v1/admin.rpc.h"
#include "fly/v1/edge.pb-c.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/rpc/server.h"

enum { COLUMNS = 80, HOUR_MS = 3600 * 1000 };

static struct {
    struct rpc_server *server;
    pthread_mutex_t lock;
    char forgotten[16];
    unsigned created;
    uint64_t life_s;
    uint32_t uses;
    char roles[64];
    bool deny;
} edge = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void on_hello(void *user, struct rpc_hello *hello)
{
    Fly__V1__HelloReply reply = FLY__V1__HELLO_REPLY__INIT;
    uint8_t packed[64];

    (void)user;
    reply.time_ms = INT64_C(1790000000000);
    rpc_hello_accept(hello, (struct fly_bytes){packed, fly__v1__hello_reply__pack(&reply, packed)},
                     &edge);
}

static void answer_members(struct rpc_call *call)
{
    Fly__V1__MembersReply reply = FLY__V1__MEMBERS_REPLY__INIT;
    Fly__V1__MemberSlice slice = FLY__V1__MEMBER_SLICE__INIT;
    Fly__V1__MemberSlice *slices[] = {&slice};
    Fly__V1__Member a = FLY__V1__MEMBER__INIT, b = a, c = a;
    Fly__V1__Member *members[] = {&c, &a, &b};

    slice.slice = "0a1b2c";
    slice.epoch = 7;
    a.id = "00112233445566778899aabbccddeeff";
    a.name = "alpha";
    a.region = "SIN";
    a.roles = (char *[]){"peer", "edge"};
    a.n_roles = 2;
    a.state = FLY__V1__MEMBER_STATE__MEMBER_ALIVE;
    a.serving = true;
    a.self = true;
    a.rpc = "tls+tcp://192.168.100.101:7401";
    a.gossip = "192.168.100.101:7400";
    a.slices = slices;
    a.n_slices = 1;
    a.notes = (char *[]){"machine sin-01 is cordoned: slice 0a0a0a has it\033[2J"};
    a.n_notes = 1;
    b.name = "beta";
    b.roles = (char *[]){"edge"};
    b.n_roles = 1;
    b.state = FLY__V1__MEMBER_STATE__MEMBER_ALIVE;
    b.rpc = "tls+tcp://192.168.100.102:7401";
    b.rtt_us = 12349;
    b.http = "https://192.168.100.102:7403";
    c.name = "gamma";
    c.roles = (char *[]){"peer"};
    c.n_roles = 1;
    c.state = FLY__V1__MEMBER_STATE__MEMBER_DEAD;
    c.since_ms = 125 * 1000;
    c.gossip = "192.168.100.103:7400";
    c.rtt_us = 250;
    c.http = "https://192.168.100.103:7403";
    reply.members = members;
    reply.n_members = 3;
    rpc_call_reply(call, &reply.base);
}

static void answer_slices(struct rpc_call *call)
{
    Fly__V1__SlicesReply reply = FLY__V1__SLICES_REPLY__INIT;
    Fly__V1__SliceInfo a = FLY__V1__SLICE_INFO__INIT, b = a;
    Fly__V1__SliceInfo *slices[] = {&b, &a};

    a.slice = "0a1b2c";
    a.owner = "alpha";
    a.state = "serving";
    a.incarnation = UINT64_C(0xfedcba9876543210);
    a.seq = 12;
    a.machines = 33;
    a.cores_total = 33 * 256;
    a.cores_free = 8000;
    a.memory_total_bytes = UINT64_C(33000000000000);
    a.memory_free_bytes = UINT64_C(32123456789012);
    a.cordoned = 1;
    b.slice = "ffeedd";
    b.state = "quarantined";
    b.reason = "came back with event 7, and event 9 was seen of it";
    b.stale_ms = 61000;
    reply.slices = slices;
    reply.n_slices = 2;
    rpc_call_reply(call, &reply.base);
}

static void answer_create(struct rpc_call *call)
{
    const Fly__V1__CreateJoinTokenRequest *request =
        (const Fly__V1__CreateJoinTokenRequest *)rpc_call_request(call);
    Fly__V1__CreateJoinTokenReply reply = FLY__V1__CREATE_JOIN_TOKEN_REPLY__INIT;

    (void)pthread_mutex_lock(&edge.lock);
    edge.created++;
    edge.life_s = request->life_s;
    edge.uses = request->uses;
    size_t used = 0;
    edge.roles[0] = '\0';
    for (size_t i = 0; i < request->n_roles; i++) {
        used += (size_t)snprintf(edge.roles + used, sizeof edge.roles - used, "%.9s+",
                                 request->roles[i]);
    }
    (void)pthread_mutex_unlock(&edge.lock);
    reply.token = "flyj1.secret";
    reply.id = "c0ffee00";
    reply.expires_at_ms = INT64_C(1790000000000) + HOUR_MS;
    rpc_call_reply(call, &reply.base);
}

static void answer_tokens(struct rpc_call *call)
{
    Fly__V1__ListJoinTokensReply reply = FLY__V1__LIST_JOIN_TOKENS_REPLY__INIT;
    Fly__V1__JoinTokenInfo a = FLY__V1__JOIN_TOKEN_INFO__INIT;
    a.id = "c0ffee00";
    a.roles = (char *[]){"peer", "edge"};
    a.n_roles = 2;
    a.expires_at_ms = INT64_C(1790000000000) + HOUR_MS;
    a.uses_left = 1;
    Fly__V1__JoinTokenInfo b = a, c = a, d = a;
    Fly__V1__JoinTokenInfo *tokens[] = {&a, &b, &c, &d};

    b.expires_at_ms = INT64_C(1790000000000) - 1;
    c.revoked = true;
    d.uses_left = 0;
    d.used = 3;
    reply.tokens = tokens;
    reply.n_tokens = 4;
    rpc_call_reply(call, &reply.base);
}

static void answer_list(struct rpc_call *call)
{
    const Fly__V1__ListRequest *request = (const Fly__V1__ListRequest *)rpc_call_request(call);
    Fly__V1__ListReply reply = FLY__V1__LIST_REPLY__INIT;
    Fly__V1__Vm vm = FLY__V1__VM__INIT;
    Fly__V1__Vm *vms[] = {&vm};
    char *missing[] = {"0a1b2c"};
    uint64_t first = UINT64_C(0xffeedd) << 40 | 5;

    /* the second slice has the smaller tag: what `after` means is the edge's own business */
    vm.id = request->after == first ? "bbbbbbbbbbbb" : "aaaaaaaaaaaa";
    vm.name = "n";
    vm.region = "SIN";
    vm.machine = "sin-01";
    vm.cores = 1;
    vm.memory_bytes = 1000000;
    vm.state = FLY__V1__VM_STATE__VM_STATE_STARTED;
    reply.vms = vms;
    reply.n_vms = 1;
    reply.next = request->after == 0       ? first
                 : request->after == first ? UINT64_C(0x0a1b2c) << 40 | 1
                                           : 0;
    if (reply.next == 0) {
        reply.n_vms = 0;
    }
    if (strcmp(request->region, "DEN") == 0) {
        reply.next = 0;
        reply.unreachable = missing;
        reply.n_unreachable = 1;
    }
    rpc_call_reply(call, &reply.base);
}

static void answer_regions(struct rpc_call *call)
{
    Fly__V1__RegionsReply reply = FLY__V1__REGIONS_REPLY__INIT;
    Fly__V1__Region a = FLY__V1__REGION__INIT, b = a;
    Fly__V1__Region *regions[] = {&a, &b};

    a.code = "DEN";
    a.status = "operational";
    a.stale_ms = 3000;
    b.code = "SIN";
    b.status = "operational";
    b.stale_ms = 42000;
    reply.regions = regions;
    reply.n_regions = 2;
    rpc_call_reply(call, &reply.base);
}

static void deny(struct rpc_call *call)
{
    Fly__V1__Refusal refusal = FLY__V1__REFUSAL__INIT;
    uint8_t packed[128];

    refusal.reason = FLY__V1__REASON__REASON_SCOPE_MISSING;
    refusal.message = "token lacks scope admin; it has read";
    rpc_call_fail(call, FLY_PERMISSION_DENIED, "refused",
                  (struct fly_bytes){packed, fly__v1__refusal__pack(&refusal, packed)});
}

static void on_call(void *user, struct rpc_call *call)
{
    const struct rpc_method *method = rpc_call_method(call);

    (void)user;
    (void)pthread_mutex_lock(&edge.lock);
    bool denied = edge.deny;
    (void)pthread_mutex_unlock(&edge.lock);
    if (denied) {
        deny(call);
    } else if (method == &rpc_admin_members) {
        answer_members(call);
    } else if (method == &rpc_admin_slices) {
        answer_slices(call);
    } else if (method == &rpc_admin_create_join_token) {
        answer_create(call);
    } else if (method == &rpc_admin_list_join_tokens) {
        answer_tokens(call);
    } else if (method == &rpc_edge_list) {
        answer_list(call);
    } else if (method == &rpc_edge_regions) {
        answer_regions(call);
    } else if (method == &rpc_admin_forget_slice) {
        const Fly__V1__ForgetSliceRequest *request =
            (const Fly__V1__ForgetSliceRequest *)rpc_call_request(call);
        Fly__V1__ForgetSliceReply reply = FLY__V1__FORGET_SLICE_REPLY__INIT;
        (void)pthread_mutex_lock(&edge.lock);
        (void)fly_copy_string(edge.forgotten, sizeof edge.forgotten, request->slice);
        (void)pthread_mutex_unlock(&edge.lock);
        rpc_call_reply(call, &reply.base);
    } else {
        Fly__V1__RevokeJoinTokenReply reply = FLY__V1__REVOKE_JOIN_TOKEN_REPLY__INIT;
        rpc_call_reply(call, &reply.base);
    }
}

static int start(void **state)
{
    static const struct rpc_method *const methods[] = {&rpc_admin_members,
                                                       &rpc_admin_slices,
                                                       &rpc_admin_forget_slice,
                                                       &rpc_admin_create_join_token,
                                                       &rpc_admin_list_join_tokens,
                                                       &rpc_admin_revoke_join_token,
                                                       &rpc_edge_list,
                                                       &rpc_edge_regions};
    const char *url = "tcp://127.0.0.1:0";
    struct fly_error error = {0};

    (void)state;
    (void)pthread_mutex_lock(&edge.lock);
    edge.deny = false;
    (void)pthread_mutex_unlock(&edge.lock);
    return rpc_server_create(&edge.server,
                             &(struct rpc_server_config){.urls = &url,
                                                         .url_count = 1,
                                                         .methods = methods,
                                                         .method_count = FLY_ARRAY_COUNT(methods),
                                                         .on_hello = on_hello,
                                                         .on_call = on_call},
                             &error) == FLY_OK
               ? 0
               : -1;
}

static int stop(void **state)
{
    (void)state;
    rpc_server_destroy(edge.server);
    return 0;
}

static char output[OUTPUT_SIZE];

static void expect(int code, const char *arguments)
{
    int got = flyrpc(rpc_server_url(edge.server, 0), arguments, output);

    if (got != code) {
        fail_msg("%s: exit code %d, not %d (is flyrpc built?): %s", arguments, got, code, output);
    }
}

static void expect_text(const char *text)
{
    if (strstr(output, text) == NULL) {
        fail_msg("'%s' is not in: %s", text, output);
    }
}

/* Whole lines, and none wider than a terminal. */
static void expect_narrow(void)
{
    for (const char *line = output; *line != '\0'; line += strcspn(line, "\n") + 1) {
        if (strcspn(line, "\n") > COLUMNS) {
            fail_msg("%zu columns: %.*s", strcspn(line, "\n"), (int)strcspn(line, "\n"), line);
        }
    }
}

static json_t *json(void)
{
    json_t *root = json_loads(output, JSON_REJECT_DUPLICATES, NULL);

    if (root == NULL) {
        fail_msg("not JSON: %s", output);
    }
    return root;
}

static void test_members(void **state)
{
    (void)state;
    expect(0, "flyrpc members");
    assert_string_equal(
        output, "NAME    REGION  ROLES      STATE        RTT  ADDRESS               SLICES\n"
                "alpha*  SIN     peer,edge  alive          -  192.168.100.101:7401  0a1b2c\n"
                "beta    -       edge       stalled  12.3 ms  192.168.100.102:7401  -\n"
                "gamma   -       peer       dead           -  192.168.100.103:7400  -\n"
                "* answered this\n"
                "alpha: machine sin-01 is cordoned: slice 0a0a0a has it?[2J\n"
                "gamma: dead for 2 min\n");
    expect_narrow();
    expect(0, "flyrpc members --wide");
    expect_text("DASHBOARD");
    expect_text("192.168.100.102:7401  -       https://192.168.100.102:7403\n");
    expect(0, "flyrpc members --json");
    json_t *root = json();
    json_t *first = json_array_get(root, 0);
    assert_int_equal(json_array_size(root), 3);
    assert_true(json_is_true(json_object_get(first, "self")));
    assert_int_equal(json_integer_value(json_object_get(
                         json_array_get(json_object_get(first, "slices"), 0), "epoch")),
                     7);
    assert_true(json_is_null(json_object_get(first, "rtt_us")));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(root, 1), "rtt_us")), 12349);
    json_decref(root);
    expect(0, "flyrpc dash"); /* gamma is dead */
    assert_string_equal(output, "https://192.168.100.102:7403\n");
    expect(0, "flyrpc dash --json");
    expect_text("\"node\":");
}

static void test_slices(void **state)
{
    (void)state;
    expect(0, "flyrpc slice list");
    expect_narrow();
    expect_text("0a1b2c  alpha  serving            33         8000/8448     32.12 TB/33 TB\n");
    expect_text("ffeedd: quarantined: came back with event 7");
    expect_text("ffeedd: not heard of for 61 s");
    expect_text("0a1b2c: 1 of its machines is cordoned");
    expect(0, "flyrpc slice list --json");
    json_t *root = json();
    assert_string_equal(json_string_value(json_object_get(json_array_get(root, 0), "incarnation")),
                        "fedcba9876543210");
    json_decref(root);
}

static void test_forget(void **state)
{
    (void)state;
    (void)pthread_mutex_lock(&edge.lock);
    edge.forgotten[0] = '\0';
    (void)pthread_mutex_unlock(&edge.lock);
    expect(64, "flyrpc slice forget ffeedd </dev/null");
    expect_text("--yes");
    expect(64, "flyrpc slice forget FFEEDD --yes");
    (void)pthread_mutex_lock(&edge.lock);
    assert_string_equal(edge.forgotten, "");
    (void)pthread_mutex_unlock(&edge.lock);
    expect(0, "flyrpc slice forget ffeedd --yes");
    expect_text("forgotten  slice ffeedd");
    (void)pthread_mutex_lock(&edge.lock);
    assert_string_equal(edge.forgotten, "ffeedd");
    (void)pthread_mutex_unlock(&edge.lock);
    /* a person types it; script(1) gives the program a terminal */
    (void)pthread_mutex_lock(&edge.lock);
    edge.forgotten[0] = '\0';
    (void)pthread_mutex_unlock(&edge.lock);
    expect(1, "echo no | script -qec \"flyrpc slice forget ffeedd\" /dev/null");
    expect_text("nothing was done");
    (void)pthread_mutex_lock(&edge.lock);
    assert_string_equal(edge.forgotten, "");
    (void)pthread_mutex_unlock(&edge.lock);
    expect(0, "echo ffeedd | script -qec \"flyrpc slice forget ffeedd\" /dev/null");
    (void)pthread_mutex_lock(&edge.lock);
    assert_string_equal(edge.forgotten, "ffeedd");
    (void)pthread_mutex_unlock(&edge.lock);
}

static void test_join_tokens(void **state)
{
    static const char *const wrong[] = {"--roles king", "--roles peer,peer", "--roles peer,",
                                        "--life 0s",    "--life 31d",        "--uses 0",
                                        "--uses 1001",  "--uses 1x",         "--life 5"};

    (void)state;
    (void)pthread_mutex_lock(&edge.lock);
    edge.created = 0;
    (void)pthread_mutex_unlock(&edge.lock);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(wrong); i++) {
        char command[128];
        (void)snprintf(command, sizeof command, "flyrpc join-token create %s", wrong[i]);
        expect(64, command);
    }
    (void)pthread_mutex_lock(&edge.lock);
    assert_int_equal(edge.created, 0);
    (void)pthread_mutex_unlock(&edge.lock);
    expect(0, "flyrpc join-token create 2>/dev/null");
    assert_string_equal(output, "flyj1.secret\n");
    (void)pthread_mutex_lock(&edge.lock);
    assert_int_equal(edge.life_s, 3600);
    assert_int_equal(edge.uses, 1);
    assert_string_equal(edge.roles, "peer+edge+");
    (void)pthread_mutex_unlock(&edge.lock);
    expect(0, "flyrpc join-token create --roles dash --life 10m --uses 3 --json");
    json_t *root = json();
    assert_string_equal(json_string_value(json_object_get(root, "token")), "flyj1.secret");
    json_decref(root);
    (void)pthread_mutex_lock(&edge.lock);
    assert_int_equal(edge.life_s, 600);
    assert_int_equal(edge.uses, 3);
    assert_string_equal(edge.roles, "dash+");
    (void)pthread_mutex_unlock(&edge.lock);

    expect(0, "flyrpc join-token list");
    expect_narrow();
    expect_text("c0ffee00  peer,edge  valid       0     1  2026-09-21T");
    expect_text("c0ffee00  peer,edge  expired");
    expect_text("c0ffee00  peer,edge  revoked");
    expect_text("c0ffee00  peer,edge  used        3     0");
    expect(0, "flyrpc join-token revoke c0ff");
    expect_text("revoked  c0ff");
}

static void test_denied(void **state)
{
    static const char *const commands[] = {"members",
                                           "dash",
                                           "slice list",
                                           "slice forget 0a1b2c --yes",
                                           "join-token create",
                                           "join-token list",
                                           "join-token revoke c0"};

    (void)state;
    (void)pthread_mutex_lock(&edge.lock);
    edge.deny = true;
    (void)pthread_mutex_unlock(&edge.lock);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(commands); i++) {
        char command[128];
        (void)snprintf(command, sizeof command, "flyrpc %s", commands[i]);
        expect(77, command);
        expect_text("lacks scope admin");
    }
}

static void test_list_over_slices(void **state)
{
    (void)state;
    expect(0, "flyrpc list");
    expect_text("aaaaaaaaaaaa");
    expect_text("bbbbbbbbbbbb");
    expect(75, "flyrpc list --region DEN");
    expect_text("aaaaaaaaaaaa");
    expect_text("slice 0a1b2c does not answer");
}

static void test_old_regions(void **state)
{
    (void)state;
    expect(0, "flyrpc regions");
    expect_text("\nDEN   ");
    expect_text("\nSIN~  ");
    expect_text("~ not all of its owners were heard of lately (42 s)");
    expect_narrow();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_members, start, stop),
        cmocka_unit_test_setup_teardown(test_slices, start, stop),
        cmocka_unit_test_setup_teardown(test_forget, start, stop),
        cmocka_unit_test_setup_teardown(test_join_tokens, start, stop),
        cmocka_unit_test_setup_teardown(test_denied, start, stop),
        cmocka_unit_test_setup_teardown(test_list_over_slices, start, stop),
        cmocka_unit_test_setup_teardown(test_old_regions, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
