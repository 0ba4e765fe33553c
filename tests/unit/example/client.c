/* A whole client: client URL. */
#include <err.h>
#include <stdio.h>

#include "greeter.rpc.h"

int main(int argc, char **argv)
{
    struct rpc_client *client;
    struct rpc_client_config config = {.url = argc == 2 ? argv[1] : ""};
    struct fly_error error;
    struct rpc_reply reply;
    Demo__HelloRequest request = DEMO__HELLO_REQUEST__INIT;
    const Demo__HelloReply *hello;

    if (rpc_client_create(&client, &config, &error) != FLY_OK) {
        errx(64, "%s", error.text);
    }
    request.name = "world";
    if (demo_greeter_hello_call(client, &request, NULL, &reply, &hello) != FLY_OK) {
        errx(1, "%s: %s", fly_status_name(reply.status), reply.text);
    }
    puts(hello->text);
    rpc_reply_fini(&reply);
    rpc_client_close(client);
}
