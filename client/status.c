/* flyrpc status - one VM, by id or the beginning of one. */
#include "client/command.h"
#include "client/lib/shape.h"
#include "fly/v1/edge.rpc.h"

int command_status(int argc, char **argv)
{
    const struct command_spec spec = {
        .name = "flyrpc status",
        .args_doc = "VM",
        .doc = "Shows one VM, by its id or a beginning of it that no other has.",
        .words_min = 1,
        .words_max = 1,
    };
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure failure = {0};
    struct command command;
    char vm[16];
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    request.vm = (char *)(uintptr_t)command_vm_word(&command, 0, vm);
    if (command_try(&command, &rpc_edge_status, &request.base, &reply, &failure) != FLY_OK) {
        code = command_fail_vm(&command, vm, &failure, false);
    } else {
        code = command_show_vm(&command, ((const Fly__V1__StatusReply *)reply.message)->vm);
    }
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return command_end(&command, code);
}
