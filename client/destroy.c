/* flyrpc destroy - a VM's end; doing it twice is no error. */
#include <stdio.h>

#include "client/command.h"
#include "client/lib/shape.h"
#include "fly/v1/edge.rpc.h"

int command_destroy(int argc, char **argv)
{
    const struct command_spec spec = {
        .name = "flyrpc destroy",
        .args_doc = "VM",
        .doc = "Destroys a VM for good, by its id or a beginning of it that no other has.\v"
               "Doing it again is no error. 75: the answer was lost, run it again.",
        .words_min = 1,
        .words_max = 1,
    };
    Fly__V1__DestroyRequest request = FLY__V1__DESTROY_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure failure = {0};
    struct command command;
    char vm[16];
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    request.vm = (char *)(uintptr_t)command_vm_word(&command, 0, vm);
    if (command_try(&command, &rpc_edge_destroy, &request.base, &reply, &failure) != FLY_OK) {
        code = command_fail_vm(&command, vm, &failure, true);
    } else {
        const Fly__V1__DestroyReply *message = (const Fly__V1__DestroyReply *)reply.message;
        code = command_show_vm(&command, message->vm);
        if (message->already) {
            command_say(&command, "it was destroyed before");
        }
    }
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return command_end(&command, code);
}
