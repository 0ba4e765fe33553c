/* flyrpc rpc metrics - the counters that a server keeps of itself, as Prometheus reads them. */
#include <stdio.h>

#include "client/lib/shape.h"
#include "client/rpc.h"
#include "fly/v1/metrics.rpc.h"
#include "proto/base/check.h"

/* Letters, blanks and lines: nothing else belongs there. */
static void put_text(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        (void)putchar(((unsigned char)*c < 0x20 && *c != '\n') || *c == 0x7f ? '?' : *c);
    }
}

static void put_json(const Fly__V1__MetricsReply *said)
{
    json_t *object = json_object();

    FLY_CHECK(json_object_set_new(object, "text", json_string(said->text)) == 0);
    FLY_CHECK(json_object_set_new(object, "cut", json_boolean(said->cut)) == 0);
    command_put_json(object);
}

int command_rpc_metrics(int argc, char **argv)
{
    const struct command_spec spec = {
        .name = "flyrpc rpc metrics",
        .doc = "Prints a server's own counters and latencies, as Prometheus reads them.",
    };
    Fly__V1__MetricsRequest request = FLY__V1__METRICS_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure failure = {0};
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    if (command_try(&command, &rpc_metrics_read, &request.base, &reply, &failure) != FLY_OK) {
        code = rpc_fail(&command, &failure);
    } else {
        const Fly__V1__MetricsReply *said = (const Fly__V1__MetricsReply *)reply.message;
        if (command.json) {
            put_json(said);
        } else {
            put_text(said->text);
        }
        if (said->cut) {
            command_say(&command, "not all of it: the server has more than one answer holds");
        }
    }
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return command_end(&command, code);
}
