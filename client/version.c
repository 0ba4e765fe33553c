/* flyrpc version - of this program and, when it can be reached, of the edge. */
#include <stdio.h>

#include "client/command.h"
#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "proto/base/check.h"

static void put_json(const Fly__V1__HelloReply *hello)
{
    json_t *object = json_object();

    FLY_CHECK(json_object_set_new(object, "client", json_string(FLY_VERSION)) == 0);
    FLY_CHECK(json_object_set_new(object, "server",
                                  hello != NULL ? shape_text(hello->version) : json_null()) == 0);
    FLY_CHECK(json_object_set_new(object, "node",
                                  hello != NULL ? shape_text(hello->node) : json_null()) == 0);
    FLY_CHECK(json_object_set_new(object, "cluster",
                                  hello != NULL ? shape_text(hello->cluster) : json_null()) == 0);
    command_put_json(object);
}

static void put_line(const char *key, const char *value)
{
    char clean[256];

    text_clean(value != NULL && value[0] != '\0' ? value : "<none>", clean, sizeof clean);
    (void)printf("%-9s  %s\n", key, clean);
}

int command_version(int argc, char **argv)
{
    const struct command_spec spec = {
        .name = "flyrpc version",
        .doc = "Shows the version of this program and of the edge, if that can be reached.",
    };
    struct failure failure = {0};
    struct command command;

    command_begin(&command, &spec, argc, argv);
    (void)session_connect(&command.session, command.timeout_ms, &failure);
    const Fly__V1__HelloReply *hello = command.session.hello;
    if (command.json) {
        put_json(hello);
    } else {
        put_line("client", FLY_VERSION);
        put_line("server", hello != NULL ? hello->version : NULL);
        put_line("node", hello != NULL ? hello->node : NULL);
        put_line("cluster", hello != NULL ? hello->cluster : NULL);
    }
    if (hello == NULL && failure.message[0] != '\0') {
        command_say(&command, "%s: %s", command.settings.addr, failure.message);
    }
    failure_fini(&failure);
    return command_end(&command, session_interrupted() ? EXIT_INTERRUPTED : EXIT_DONE);
}
