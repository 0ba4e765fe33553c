/* A client of a stream: counter URL. */
#include <err.h>
#include <stdio.h>

#include "greeter.rpc.h"

int main(int argc, char **argv)
{
    struct rpc_client *client;
    struct rpc_client_config config = {.url = argc == 2 ? argv[1] : ""};
    struct rpc_stream *stream;
    struct fly_error error;
    struct rpc_reply reply;
    Demo__CountRequest request = DEMO__COUNT_REQUEST__INIT;
    const Demo__Tick *tick;

    request.to = 5;
    if (rpc_client_create(&client, &config, &error) != FLY_OK ||
        demo_greeter_count_open(&stream, client, &request, NULL, &error) != FLY_OK) {
        errx(1, "%s", error.text);
    }
    while (demo_greeter_count_stream_next(stream, -1, &reply, &tick) == RPC_NEXT_MESSAGE) {
        printf("%u\n", tick->number);
        rpc_reply_fini(&reply);
    }
    puts(fly_status_name(reply.status));
    rpc_reply_fini(&reply);
    rpc_stream_close(stream);
    rpc_client_close(client);
}
