/* A whole server: serves demo.Greeter until its standard input ends. */
#include <err.h>
#include <stdio.h>

#include "greeter.rpc.h"

static void hello(void *user, struct rpc_call *call, const Demo__HelloRequest *request)
{
    char text[80];
    Demo__HelloReply reply = DEMO__HELLO_REPLY__INIT;

    (void)user;
    snprintf(text, sizeof text, "hello, %s", request->name);
    reply.text = text;
    demo_greeter_hello_reply(call, &reply);
}

static void count(void *user, struct rpc_call *call, const Demo__CountRequest *request)
{
    Demo__Tick tick = DEMO__TICK__INIT;

    (void)user;
    while (tick.number < request->to && demo_greeter_count_send_wait(call, &tick, -1) == FLY_OK) {
        tick.number++;
    }
    rpc_call_reply(call, NULL);
}

int main(void)
{
    static const struct demo_greeter_handlers handlers = {.hello = hello, .count = count};
    const struct rpc_service service = demo_greeter_serve(&handlers, NULL);
    const char *url = "tcp://127.0.0.1:0";
    struct rpc_server_config config = {
        .urls = &url, .url_count = 1, .services = &service, .service_count = 1, .workers = 2};
    struct rpc_server *server;
    struct fly_error error;

    if (rpc_server_create(&server, &config, &error) != FLY_OK) {
        errx(1, "%s", error.text);
    }
    printf("%s\n", rpc_server_url(server, 0));
    fflush(stdout);
    while (getchar() != EOF) {
    }
    rpc_server_destroy(server);
    return 0;
}
