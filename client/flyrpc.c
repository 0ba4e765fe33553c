/*
 * flyrpc - the client: a table of subcommands, one file each, over libflyrpc (client/lib).
 *
 * Exit codes: client/lib/exits.h. An interrupt ends the call under way; the command then says what
 * is known about it and leaves with 130.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "client/command.h"
#include "proto/base/check.h"

const char *argp_program_version = "flyrpc " FLY_VERSION;

static const struct command_entry commands[] = {
    {"regions", command_regions, "Regions with their machines and what is free"},
    {"machines", command_machines, "Machines with what is free on each"},
    {"launch", command_launch, "Launch a VM, durably and once"},
    {"list", command_list, "VMs"},
    {"status", command_status, "One VM"},
    {"destroy", command_destroy, "Destroy a VM for good"},
    {"cancel", command_cancel, "Settle a launch whose outcome is not known"},
    {"watch", command_watch, "Every change, as it happens, once"},
    {"top", command_top, "The cluster on the terminal, live: regions, machines, members"},
    {"members", command_members, "The nodes of the cluster"},
    {"dash", command_dash, "Where the dashboard is"},
    {"slice", command_slice, "Slices: list them; forget one that is lost"},
    {"join-token", command_join_token, "Let new nodes in: create, list or revoke join tokens"},
    {"token", command_token, "Create or inspect access tokens"},
    {"rpc", command_rpc, "Any method of any server: list, describe, call; metrics, health"},
    {"version", command_version, "Version of this program and of the edge"},
};

static void on_signal(int number)
{
    static volatile sig_atomic_t seen;

    (void)number;
    /* the second time, or while nothing is on its way: there is nothing to say */
    if (seen != 0 || session_idle()) {
        _exit(EXIT_INTERRUPTED);
    }
    seen = 1;
    session_interrupt();
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    if (argc >= 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        argv[1] = (char *)(uintptr_t) "version";
    }
    return command_dispatch("flyrpc", "The client of a Flylight cluster.", commands,
                            FLY_ARRAY_COUNT(commands), argc, argv);
}
