/* flyrpc cancel - settles a launch whose outcome is not known: either its VM, or never one. */
#include <stdio.h>
#include <string.h>

#include "client/command.h"
#include "client/lib/shape.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/wire/key.h"

static void put_json(const struct fly_key *key, const Fly__V1__CancelReply *message)
{
    char text[FLY_KEY_TEXT_SIZE];
    json_t *object = json_object();

    key_format(key, text);
    FLY_CHECK(json_object_set_new(object, "key", json_string(text)) == 0);
    FLY_CHECK(json_object_set_new(object, "launched", json_boolean(message->launched)) == 0);
    FLY_CHECK(json_object_set_new(object, "vm",
                                  message->launched && message->vm != NULL ? shape_vm(message->vm)
                                                                           : json_null()) == 0);
    command_put_json(object);
}

int command_cancel(int argc, char **argv)
{
    const struct command_spec spec = {
        .name = "flyrpc cancel",
        .args_doc = "KEY",
        .doc = "Settles the launch with this key for good.\v"
               "If it made a VM, shows it and leaves it alone; if not, it never will.",
        .words_min = 1,
        .words_max = 1,
    };
    Fly__V1__CancelRequest request = FLY__V1__CANCEL_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct fly_key key;
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    if (!key_parse(command.words[0], &key)) {
        command_usage("'%.40s' is not a key: empty, too long, or with a mistake in it",
                      command.words[0]);
    }
    request.key = (ProtobufCBinaryData){sizeof key.bytes, key.bytes};
    if (command_call(&command, &rpc_edge_cancel, &request.base, true, &reply, &code) == FLY_OK) {
        const Fly__V1__CancelReply *message = (const Fly__V1__CancelReply *)reply.message;
        if (command.json) {
            put_json(&key, message);
        } else if (message->launched && message->vm != NULL) {
            command_say(&command, "the launch had happened; this is its VM:");
            command_put_vm(message->vm);
        } else {
            (void)printf("cancelled  nothing was launched with this key, and nothing will be\n");
        }
    }
    rpc_reply_fini(&reply);
    return command_end(&command, code);
}
