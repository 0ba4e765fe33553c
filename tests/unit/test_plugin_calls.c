/*
 * What protoc-gen-flyrpc makes, used: each kind of call through typed handlers and typed stubs, and
 * a method that nobody wrote.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "names.rpc.h"
#include "proto/base/check.h"

enum { MESSAGES = 100 };

/* ---- the server ---- */

static void on_get_it(void *user, struct rpc_call *call, const MyPkg__Sub2__HTTPRequest *request)
{
    char text[32];
    MyPkg__Sub2__LowerCase reply = MY_PKG__SUB2__LOWER_CASE__INIT;

    FLY_CHECK(strcmp(user, "user") == 0);
    (void)snprintf(text, sizeof text, "%d", request->inner->part->a);
    reply.switch_ = text;
    my_pkg_sub2_httpservice_get_it_reply(call, &reply);
}

/* INLINE, and answers with a status of its own. */
static void on_select(void *user, struct rpc_call *call,
                      const MyPkg__Sub2__HTTPRequest__InnerThing__ABc2D *request)
{
    (void)user;
    rpc_call_fail(call, request->a == 7 ? FLY_OUT_OF_RANGE : FLY_INTERNAL, "seven",
                  (struct fly_bytes){0});
}

static void on_upload(void *user, struct rpc_call *call)
{
    Google__Protobuf__Empty reply = GOOGLE__PROTOBUF__EMPTY__INIT;
    const MyPkg__Sub2__OddName *message = NULL;
    struct rpc_reply taken;
    uint64_t sum = 0;

    (void)user;
    while (my_pkg_sub2_httpservice_upload_next(call, -1, &taken, &message) == RPC_NEXT_MESSAGE) {
        sum += message->right;
        rpc_reply_fini(&taken);
    }
    enum fly_status status = taken.status;
    rpc_reply_fini(&taken);
    if (status == FLY_OK && sum == MESSAGES * (MESSAGES - 1) / 2) {
        my_pkg_sub2_httpservice_upload_reply(call, &reply);
    } else {
        rpc_call_fail(call, FLY_DATA_LOSS, "another sum", (struct fly_bytes){0});
    }
}

static void on_download(void *user, struct rpc_call *call, const Google__Protobuf__Empty *request)
{
    char text[32];
    MyPkg__Sub2__LowerCase message = MY_PKG__SUB2__LOWER_CASE__INIT;

    (void)user;
    (void)request;
    message.switch_ = text;
    for (int i = 0; i < 3; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        FLY_CHECK(my_pkg_sub2_httpservice_download_send(call, &message) == FLY_OK);
    }
    rpc_call_reply(call, NULL);
}

/* Says back the length of what it hears. */
static void on_chat(void *user, struct rpc_call *call)
{
    const MyPkg__Sub2__LowerCase *heard = NULL;
    struct rpc_reply taken;

    (void)user;
    while (my_pkg_sub2_httpservice_chat_next(call, -1, &taken, &heard) == RPC_NEXT_MESSAGE) {
        MyPkg__Sub2__OddName said = MY_PKG__SUB2____ODD___NAME___INIT;
        said.which_case = MY_PKG__SUB2____ODD___NAME___WHICH_RIGHT;
        said.right = strlen(heard->switch_);
        rpc_reply_fini(&taken);
        FLY_CHECK(my_pkg_sub2_httpservice_chat_send_wait(call, &said, -1) == FLY_OK);
    }
    rpc_reply_fini(&taken);
    rpc_call_reply(call, NULL);
}

static void on_second(void *user, struct rpc_call *call, const MyPkg__Sub2__LowerCase *request)
{
    (void)user;
    my_pkg_sub2_second_get_it_reply(call, request);
}

/* ---- both ---- */

struct both {
    struct rpc_server *server;
    struct rpc_client *client;
};

static int setup(void **state)
{
    static const struct my_pkg_sub2_httpservice_handlers handlers = {
        .get_it = on_get_it,
        .select = on_select,
        .upload = on_upload,
        .download = on_download,
        .chat = on_chat,
    };
    static const struct my_pkg_sub2_second_handlers second = {.get_it = on_second};
    static char user[] = "user";
    static struct both both;
    const struct rpc_service services[] = {
        my_pkg_sub2_httpservice_serve(&handlers, user),
        my_pkg_sub2_second_serve(&second, NULL),
    };
    const char *url = "tcp://127.0.0.1:0";
    struct fly_error error;

    assert_int_equal(rpc_server_create(&both.server,
                                       &(struct rpc_server_config){.urls = &url,
                                                                   .url_count = 1,
                                                                   .services = services,
                                                                   .service_count = 2,
                                                                   .workers = 2},
                                       &error),
                     FLY_OK);
    assert_int_equal(
        rpc_client_create(&both.client,
                          &(struct rpc_client_config){.url = rpc_server_url(both.server, 0)},
                          &error),
        FLY_OK);
    *state = &both;
    return 0;
}

static int teardown(void **state)
{
    struct both *both = *state;

    rpc_client_close(both->client);
    rpc_server_destroy(both->server);
    return 0;
}

/* ---- the calls ---- */

static void test_unary(void **state)
{
    struct both *both = *state;
    MyPkg__Sub2__HTTPRequest__InnerThing__ABc2D part =
        MY_PKG__SUB2__HTTPREQUEST__INNER_THING__ABC2_D__INIT;
    MyPkg__Sub2__HTTPRequest__InnerThing inner = MY_PKG__SUB2__HTTPREQUEST__INNER_THING__INIT;
    MyPkg__Sub2__HTTPRequest request = MY_PKG__SUB2__HTTPREQUEST__INIT;
    const MyPkg__Sub2__LowerCase *out = NULL;
    struct rpc_reply reply;

    part.a = -12;
    inner.part = &part;
    request.inner = &inner;
    assert_int_equal(
        my_pkg_sub2_httpservice_get_it_call(both->client, &request, NULL, &reply, &out), FLY_OK);
    assert_string_equal(out->switch_, "-12");
    rpc_reply_fini(&reply);
}

static void test_failure(void **state)
{
    struct both *both = *state;
    MyPkg__Sub2__HTTPRequest__InnerThing__ABc2D request =
        MY_PKG__SUB2__HTTPREQUEST__INNER_THING__ABC2_D__INIT;
    const MyPkg__Sub2__HTTPRequest__InnerThing *out = NULL;
    struct rpc_reply reply;

    request.a = 7;
    assert_int_equal(
        my_pkg_sub2_httpservice_select_call(both->client, &request, NULL, &reply, &out),
        FLY_OUT_OF_RANGE);
    assert_null(out);
    assert_string_equal(reply.text, "seven");
    rpc_reply_fini(&reply);
}

static void test_nobody_wrote_it(void **state)
{
    struct both *both = *state;
    MyPkg__Sub2__LowerCase request = MY_PKG__SUB2__LOWER_CASE__INIT;
    const FarOff__Place__Thing *out = NULL;
    struct rpc_reply reply;

    assert_int_equal(
        my_pkg_sub2_httpservice_plain__retry_call(both->client, &request, NULL, &reply, &out),
        FLY_UNIMPLEMENTED);
    assert_null(out);
    assert_false(reply.sent);
    rpc_reply_fini(&reply);
}

static void test_client_stream(void **state)
{
    struct both *both = *state;
    MyPkg__Sub2__OddName message = MY_PKG__SUB2____ODD___NAME___INIT;
    const Google__Protobuf__Empty *out = NULL;
    struct rpc_stream *stream = NULL;
    struct rpc_reply reply;
    struct fly_error error;

    assert_int_equal(my_pkg_sub2_httpservice_upload_open(&stream, both->client, NULL, &error),
                     FLY_OK);
    message.which_case = MY_PKG__SUB2____ODD___NAME___WHICH_RIGHT;
    for (uint64_t i = 0; i < MESSAGES; i++) {
        message.right = i;
        assert_int_equal(my_pkg_sub2_httpservice_upload_stream_send(stream, &message, -1), FLY_OK);
    }
    rpc_stream_finish(stream);
    assert_int_equal(my_pkg_sub2_httpservice_upload_stream_next(stream, -1, &reply, &out),
                     RPC_NEXT_END);
    assert_int_equal(reply.status, FLY_OK);
    assert_non_null(out);
    rpc_reply_fini(&reply);
    rpc_stream_close(stream);
}

static void test_server_stream(void **state)
{
    struct both *both = *state;
    Google__Protobuf__Empty request = GOOGLE__PROTOBUF__EMPTY__INIT;
    const MyPkg__Sub2__LowerCase *out = NULL;
    struct rpc_stream *stream = NULL;
    struct rpc_reply reply;
    struct fly_error error;
    char expected[] = "0";

    assert_int_equal(
        my_pkg_sub2_httpservice_download_open(&stream, both->client, &request, NULL, &error),
        FLY_OK);
    for (; expected[0] < '3'; expected[0]++) {
        assert_int_equal(my_pkg_sub2_httpservice_download_stream_next(stream, -1, &reply, &out),
                         RPC_NEXT_MESSAGE);
        assert_string_equal(out->switch_, expected);
        rpc_reply_fini(&reply);
    }
    assert_int_equal(my_pkg_sub2_httpservice_download_stream_next(stream, -1, &reply, &out),
                     RPC_NEXT_END);
    assert_int_equal(reply.status, FLY_OK);
    assert_null(out);
    rpc_reply_fini(&reply);
    rpc_stream_close(stream);
}

static void test_both_stream(void **state)
{
    struct both *both = *state;
    MyPkg__Sub2__LowerCase message = MY_PKG__SUB2__LOWER_CASE__INIT;
    static char words[][8] = {"a", "bcd", ""};
    const MyPkg__Sub2__OddName *out = NULL;
    struct rpc_stream *stream = NULL;
    struct rpc_reply reply;
    struct fly_error error;

    assert_int_equal(my_pkg_sub2_httpservice_chat_open(&stream, both->client, NULL, &error),
                     FLY_OK);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(words); i++) {
        message.switch_ = words[i];
        assert_int_equal(my_pkg_sub2_httpservice_chat_stream_send(stream, &message, -1), FLY_OK);
        assert_int_equal(my_pkg_sub2_httpservice_chat_stream_next(stream, -1, &reply, &out),
                         RPC_NEXT_MESSAGE);
        assert_int_equal(out->right, strlen(words[i]));
        rpc_reply_fini(&reply);
    }
    rpc_stream_finish(stream);
    assert_int_equal(my_pkg_sub2_httpservice_chat_stream_next(stream, -1, &reply, &out),
                     RPC_NEXT_END);
    assert_int_equal(reply.status, FLY_OK);
    rpc_reply_fini(&reply);
    rpc_stream_close(stream);
}

/* Two services of one server, with a method of the same short name in each. */
static void test_second_service(void **state)
{
    struct both *both = *state;
    MyPkg__Sub2__LowerCase request = MY_PKG__SUB2__LOWER_CASE__INIT;
    static char words[] = "back again";
    const MyPkg__Sub2__LowerCase *out = NULL;
    struct rpc_reply reply;

    request.switch_ = words;
    assert_int_equal(my_pkg_sub2_second_get_it_call(both->client, &request, NULL, &reply, &out),
                     FLY_OK);
    assert_string_equal(out->switch_, words);
    rpc_reply_fini(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),           cmocka_unit_test(test_failure),
        cmocka_unit_test(test_nobody_wrote_it), cmocka_unit_test(test_client_stream),
        cmocka_unit_test(test_server_stream),   cmocka_unit_test(test_both_stream),
        cmocka_unit_test(test_second_service),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
