/*
 * What protoc-gen-flyrpc makes: the node's methods with the rules of their .proto, and a .proto of
 * awkward names (tests/unit/plugin/names.proto), which compiles only if each name is protoc-c's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare.rpc.h"
#include "dotted/other-file.rpc.h"
#include "fly/v1/admin.rpc.h"
#include "fly/v1/edge.rpc.h"
#include "fly/v1/join.rpc.h"
#include "fly/v1/slice.rpc.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "names.rpc.h"
#include "proto/base/check.h"
#include "proto/plugin/generate.h"
#include "proto/wire/retry.h"

enum { UNAVAILABLE = 1 << FLY_UNAVAILABLE };

struct expected {
    const struct rpc_method *method;
    const char *name;
    unsigned flags;
    struct retry_policy retry; /* attempts_max 0: none */
};

#define RETRIED                                                                                    \
    {                                                                                              \
        4, 50, 1000, 200, UNAVAILABLE, false, 0                                                    \
    }
#define HEDGED                                                                                     \
    {                                                                                              \
        2, 0, 0, 0, UNAVAILABLE, true, 100                                                         \
    }

static const struct expected node_methods[] = {
    {&rpc_edge_regions, "fly.v1.Edge/Regions", RPC_READ_ONLY, HEDGED},
    {&rpc_edge_launch, "fly.v1.Edge/Launch", 0, {0}},
    {&rpc_edge_list, "fly.v1.Edge/List", RPC_READ_ONLY, RETRIED},
    {&rpc_edge_machines, "fly.v1.Edge/Machines", RPC_READ_ONLY, RETRIED},
    {&rpc_edge_status, "fly.v1.Edge/Status", RPC_READ_ONLY, HEDGED},
    {&rpc_edge_destroy, "fly.v1.Edge/Destroy", RPC_FINISH, {0}},
    {&rpc_edge_cancel, "fly.v1.Edge/Cancel", RPC_FINISH, {0}},
    {&rpc_edge_watch, "fly.v1.Edge/Watch", RPC_STREAM | RPC_READ_ONLY, {0}},
    {&rpc_slice_present, "fly.v1.Slice/Present", 0, {0}},
    {&rpc_slice_call, "fly.v1.Slice/Call", 0, {0}},
    {&rpc_slice_replay, "fly.v1.Slice/Replay", RPC_READ_ONLY, RETRIED},
    {&rpc_slice_machines, "fly.v1.Slice/Machines", RPC_READ_ONLY, RETRIED},
    {&rpc_slice_list, "fly.v1.Slice/List", RPC_READ_ONLY, RETRIED},
    {&rpc_slice_seen, "fly.v1.Slice/Seen", RPC_READ_ONLY, RETRIED},
    {&rpc_slice_forget, "fly.v1.Slice/Forget", 0, {0}},
    {&rpc_admin_members, "fly.v1.Admin/Members", RPC_READ_ONLY, RETRIED},
    {&rpc_admin_slices, "fly.v1.Admin/Slices", RPC_READ_ONLY, RETRIED},
    {&rpc_admin_forget_slice, "fly.v1.Admin/ForgetSlice", 0, {0}},
    {&rpc_admin_create_join_token, "fly.v1.Admin/CreateJoinToken", 0, {0}},
    {&rpc_admin_list_join_tokens, "fly.v1.Admin/ListJoinTokens", RPC_READ_ONLY, RETRIED},
    {&rpc_admin_revoke_join_token, "fly.v1.Admin/RevokeJoinToken", 0, {0}},
    {&rpc_join_begin, "fly.v1.Join/Begin", RPC_OPEN, {0}},
    {&rpc_join_admit, "fly.v1.Join/Admit", RPC_OPEN, {0}},
};

static void check_method(const struct expected *row)
{
    const struct rpc_method *method = row->method;

    if (strcmp(method->name, row->name) != 0) {
        fail_msg("%s is called %s", row->name, method->name);
    }
    if (method->flags != row->flags || method->hash != rpc_method_hash(row->name)) {
        fail_msg("%s: flags 0x%x, expected 0x%x; hash 0x%08x", row->name, method->flags, row->flags,
                 (unsigned)method->hash);
    }
    if ((method->retry != NULL) != (row->retry.attempts_max != 0)) {
        fail_msg("%s: retry is %s", row->name, method->retry != NULL ? "there" : "missing");
    }
    if (method->retry != NULL) {
        const struct retry_policy *is = method->retry;
        assert_int_equal(is->attempts_max, row->retry.attempts_max);
        assert_int_equal(is->initial_backoff_ms, row->retry.initial_backoff_ms);
        assert_int_equal(is->max_backoff_ms, row->retry.max_backoff_ms);
        assert_int_equal(is->multiplier_percent, row->retry.multiplier_percent);
        assert_int_equal(is->codes, row->retry.codes);
        assert_int_equal(is->hedge, row->retry.hedge);
        assert_int_equal(is->hedging_delay_ms, row->retry.hedging_delay_ms);
    }
}

static void test_node_methods(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(node_methods); i++) {
        check_method(&node_methods[i]);
        assert_int_equal(node_methods[i].method->slow_reader, RPC_SLOW_WAIT);
        assert_int_equal(node_methods[i].method->calls_max, 0);
    }
    assert_ptr_equal(rpc_edge_launch.request, &fly__v1__launch_request__descriptor);
    assert_ptr_equal(rpc_slice_call.reply, &fly__v1__slice_call_reply__descriptor);
}

static void test_rules(void **state)
{
    static const struct expected rows[] = {
        {&my_pkg_sub2_httpservice_get_it, "My_pkg.Sub2.HTTPService/getIt", 0, {0}},
        {&my_pkg_sub2_httpservice_select,
         "My_pkg.Sub2.HTTPService/Select",
         RPC_INLINE | RPC_OPEN | RPC_FINISH | RPC_READ_ONLY,
         {5, 7, 70, 150, UNAVAILABLE | 1 << FLY_RESOURCE_EXHAUSTED, false, 0}},
        {&my_pkg_sub2_httpservice_plain__retry,
         "My_pkg.Sub2.HTTPService/Plain_Retry",
         0,
         {2, 50, 1000, 200, 1 << FLY_ABORTED, false, 0}},
        {&my_pkg_sub2_httpservice_hedged,
         "My_pkg.Sub2.HTTPService/Hedged",
         RPC_READ_ONLY,
         {3, 0, 0, 0, 1 << FLY_UNKNOWN, true, 20}},
        {&my_pkg_sub2_httpservice_upload, "My_pkg.Sub2.HTTPService/Upload", RPC_CLIENT_STREAM, {0}},
        {&my_pkg_sub2_httpservice_download, "My_pkg.Sub2.HTTPService/Download", RPC_STREAM, {0}},
        {&my_pkg_sub2_httpservice_chat,
         "My_pkg.Sub2.HTTPService/Chat",
         RPC_STREAM | RPC_CLIENT_STREAM,
         {0}},
        {&my_pkg_sub2_second_get_it, "My_pkg.Sub2.Second/getIt", 0, {0}},
        {&keeper_keep, "Keeper/Keep", 0, {0}},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        check_method(&rows[i]);
    }
    assert_int_equal(my_pkg_sub2_httpservice_upload.calls_max, 3);
    assert_int_equal(my_pkg_sub2_httpservice_upload.slow_reader, RPC_SLOW_WAIT);
    assert_int_equal(my_pkg_sub2_httpservice_download.slow_reader, RPC_SLOW_DROP);
    assert_int_equal(my_pkg_sub2_httpservice_chat.slow_reader, RPC_SLOW_END);
}

static void test_types(void **state)
{
    const struct {
        const ProtobufCMessageDescriptor *is;
        const char *name;
        size_t size;
    } rows[] = {
        {my_pkg_sub2_httpservice_get_it.request, "My_pkg.Sub2.HTTPRequest",
         sizeof(MyPkg__Sub2__HTTPRequest)},
        {my_pkg_sub2_httpservice_select.request, "My_pkg.Sub2.HTTPRequest.inner_thing.ABc2D",
         sizeof(MyPkg__Sub2__HTTPRequest__InnerThing__ABc2D)},
        {my_pkg_sub2_httpservice_select.reply, "My_pkg.Sub2.HTTPRequest.inner_thing",
         sizeof(MyPkg__Sub2__HTTPRequest__InnerThing)},
        {my_pkg_sub2_httpservice_plain__retry.reply, "Elsewhere.Thing",
         sizeof(FarOff__Place__Thing)},
        {my_pkg_sub2_httpservice_hedged.reply, "Elsewhere.Thing.Part",
         sizeof(FarOff__Place__Thing__Part)},
        {my_pkg_sub2_httpservice_upload.request, "My_pkg.Sub2._Odd__Name_",
         sizeof(MyPkg__Sub2__OddName)},
        {keeper_keep.request, "Note", sizeof(Note)},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        assert_string_equal(rows[i].is->name, rows[i].name);
        assert_int_equal(rows[i].is->sizeof_message, rows[i].size);
    }
}

/* ---- the helpers have the types that they say: this compiles ---- */

static void on_get_it(void *user, struct rpc_call *call, const MyPkg__Sub2__HTTPRequest *request)
{
    (void)user;
    (void)call;
    (void)request;
}

static void on_select(void *user, struct rpc_call *call,
                      const MyPkg__Sub2__HTTPRequest__InnerThing__ABc2D *request)
{
    (void)user;
    (void)call;
    (void)request;
}

static void on_upload(void *user, struct rpc_call *call)
{
    (void)user;
    (void)call;
}

static void test_service(void **state)
{
    static const struct my_pkg_sub2_httpservice_handlers handlers = {
        .get_it = on_get_it, .select = on_select, .upload = on_upload, .chat = on_upload};
    static const struct rpc_method *const expected[] = {MY_PKG_SUB2_HTTPSERVICE_METHODS};
    struct rpc_service service = my_pkg_sub2_httpservice_serve(&handlers, &service);
    struct fly_error error;

    (void)state;
    assert_string_equal(service.name, "My_pkg.Sub2.HTTPService");
    assert_int_equal(service.method_count, 7);
    assert_int_equal(FLY_ARRAY_COUNT(expected), 7);
    for (size_t i = 0; i < service.method_count; i++) {
        assert_ptr_equal(service.methods[i], expected[i]);
    }
    assert_ptr_equal(service.methods[0], &my_pkg_sub2_httpservice_get_it);
    assert_ptr_equal(service.methods[6], &my_pkg_sub2_httpservice_chat);
    assert_ptr_equal(service.handlers, &handlers);
    assert_ptr_equal(service.user, &service);
    assert_non_null(service.handle);
    assert_int_equal(rpc_methods_check(service.methods, service.method_count, &error), FLY_OK);
}

static void test_helper_types(void **state)
{
    /* of servers */
    void (*reply)(struct rpc_call *, const MyPkg__Sub2__LowerCase *) =
        my_pkg_sub2_httpservice_get_it_reply;
    enum fly_status (*send)(struct rpc_call *, const MyPkg__Sub2__OddName *) =
        my_pkg_sub2_httpservice_chat_send;
    enum fly_status (*send_wait)(struct rpc_call *, const MyPkg__Sub2__LowerCase *, int64_t) =
        my_pkg_sub2_httpservice_download_send_wait;
    enum rpc_next (*next)(struct rpc_call *, int64_t, struct rpc_reply *,
                          const MyPkg__Sub2__OddName **) = my_pkg_sub2_httpservice_upload_next;
    void (*upload_reply)(struct rpc_call *, const Google__Protobuf__Empty *) =
        my_pkg_sub2_httpservice_upload_reply;
    /* of clients */
    enum fly_status (*call)(struct rpc_client *, const MyPkg__Sub2__LowerCase *,
                            const struct rpc_call_options *, struct rpc_reply *,
                            const FarOff__Place__Thing **) =
        my_pkg_sub2_httpservice_plain__retry_call;
    void (*start)(struct rpc_client *, const Note *, const struct rpc_call_options *, rpc_done *,
                  void *, uint64_t *) = keeper_keep_start;
    enum fly_status (*open)(struct rpc_stream **, struct rpc_client *,
                            const Google__Protobuf__Empty *, const struct rpc_call_options *,
                            struct fly_error *) = my_pkg_sub2_httpservice_download_open;
    enum fly_status (*open_sending)(struct rpc_stream **, struct rpc_client *,
                                    const struct rpc_call_options *, struct fly_error *) =
        my_pkg_sub2_httpservice_upload_open;
    enum fly_status (*stream_send)(struct rpc_stream *, const MyPkg__Sub2__LowerCase *, int64_t) =
        my_pkg_sub2_httpservice_chat_stream_send;
    enum rpc_next (*stream_next)(struct rpc_stream *, int64_t, struct rpc_reply *,
                                 const MyPkg__Sub2__OddName **) =
        my_pkg_sub2_httpservice_chat_stream_next;

    (void)state;
    assert_true(reply != NULL && send != NULL && send_wait != NULL && next != NULL &&
                upload_reply != NULL);
    assert_true(call != NULL && start != NULL && open != NULL && open_sending != NULL &&
                stream_send != NULL && stream_next != NULL);
}

/* ---- the descriptor set ---- */

static uint8_t *read_file(const char *path, size_t *size)
{
    enum { FILE_MAX = 1 << 20 };
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(FILE_MAX);

    assert_non_null(file);
    assert_non_null(data);
    *size = fread(data, 1, FILE_MAX, file);
    assert_true(*size > 0 && *size < FILE_MAX);
    fclose(file);
    return data;
}

/* The same files in the same order as protoc's own, byte for byte but for json_name. */
static void check_descriptor(struct fly_bytes made, const char *path)
{
    size_t size = 0;
    uint8_t *data = read_file(path, &size);
    Google__Protobuf__FileDescriptorSet *ours =
        google__protobuf__file_descriptor_set__unpack(NULL, made.size, made.data);
    Google__Protobuf__FileDescriptorSet *theirs =
        google__protobuf__file_descriptor_set__unpack(NULL, size, data);

    assert_non_null(ours);
    assert_non_null(theirs);
    assert_int_equal(ours->n_file, theirs->n_file);
    for (size_t i = 0; i < ours->n_file; i++) {
        assert_string_equal(ours->file[i]->name, theirs->file[i]->name);
        assert_null(ours->file[i]->source_code_info);
    }
    assert_int_equal(made.size, size);
    assert_memory_equal(made.data, data, size);
    google__protobuf__file_descriptor_set__free_unpacked(ours, NULL);
    google__protobuf__file_descriptor_set__free_unpacked(theirs, NULL);
    free(data);
}

static void test_descriptors(void **state)
{
    (void)state;
    check_descriptor(my_pkg_sub2_httpservice_serve(NULL, NULL).descriptor,
                     FLY_DESCRIPTORS "/names.descriptor");
    check_descriptor(my_pkg_sub2_second_serve(NULL, NULL).descriptor,
                     FLY_DESCRIPTORS "/names.descriptor");
    check_descriptor(keeper_serve(NULL, NULL).descriptor, FLY_DESCRIPTORS "/bare.descriptor");
}

/* ---- what is not protoc's ---- */

static void test_no_request(void **state)
{
    static const uint8_t garbage[] = {0x0a, 0xff, 0xff, 0xff};
    struct fly_error error;
    uint8_t *response = NULL;
    size_t size = 0;

    (void)state;
    assert_int_equal(plug_generate((struct fly_bytes){.data = garbage, .size = sizeof garbage},
                                   &response, &size, &error),
                     FLY_INTERNAL);
    assert_null(response);
}

static void test_hash_is_checked(void **state)
{
    struct rpc_method renamed = rpc_edge_status;
    struct rpc_method same_hash = rpc_edge_status;
    const struct rpc_method *table[] = {&rpc_edge_launch, &renamed};
    struct fly_error error;

    (void)state;
    assert_int_equal(rpc_methods_check(table, 2, &error), FLY_OK);
    renamed.name = "fly.v1.Edge/Other";
    assert_int_equal(rpc_methods_check(table, 2, &error), FLY_INTERNAL);
    assert_non_null(strstr(error.text, "fly.v1.Edge/Other"));
    renamed.hash = rpc_method_hash(renamed.name);
    assert_int_equal(rpc_methods_check(table, 2, &error), FLY_OK);
    table[0] = &rpc_edge_status;
    table[1] = &same_hash;
    assert_int_equal(rpc_methods_check(table, 2, &error), FLY_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node_methods), cmocka_unit_test(test_rules),
        cmocka_unit_test(test_types),        cmocka_unit_test(test_service),
        cmocka_unit_test(test_helper_types), cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_no_request),   cmocka_unit_test(test_hash_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
