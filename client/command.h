/*
 * command - what every subcommand of flyrpc shares: its options, its connection, its way to fail.
 *
 * A subcommand describes itself with a struct command_spec, calls command_begin, does its work and
 * returns command_end's or command_fail's exit code (client/lib/exits.h). Data goes to stdout,
 * people's text to stderr; with --json an error is also an object on stdout.
 */
#ifndef FLY_CLIENT_COMMAND_H
#define FLY_CLIENT_COMMAND_H

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/lib/exits.h"
#include "client/lib/session.h"
#include "client/lib/settings.h"

enum { COMMAND_WORDS_MAX = 4 };

struct command_spec {
    const char *name;     /* "flyrpc launch" */
    const char *args_doc; /* "VM", NULL: no arguments */
    const char *doc;      /* what it does, then \v, then the rest */
    int words_min;        /* arguments that are not options */
    int words_max;
    bool local;                        /* talks to no edge: no --addr, --token, --timeout */
    const struct argp_option *options; /* of its own; may be NULL */
    /* Takes one of `options` into `user`. May call command_usage. */
    void (*take)(int key, const char *value, void *user);
    void *user;
};

struct command {
    const char *name;
    bool json;
    struct settings flags; /* what the command line said */
    struct settings settings;
    char ca_pem[SETTINGS_CA_MAX];
    int64_t timeout_ms;
    int64_t timeout_given_ms; /* 0: the default counts */
    struct frame_trace trace; /* --trace, or of the environment, if trace_given */
    bool trace_said;
    bool trace_given;
    const char *words[COMMAND_WORDS_MAX];
    int word_count;
    struct session session;
};

/* Reads the command line and the settings; leaves the process with 64 when they are wrong and with
 * 0 after --help. Afterwards the session is ready to connect. One command a process. */
void command_begin(struct command *command, const struct command_spec *spec, int argc, char **argv);
/* Ends the session, and the output: EXIT_ERROR instead of `code` when stdout did not take it all.
 */
int command_end(struct command *command, int code);

/* Says what was wrong with the command line and leaves with 64. `hint` may be NULL. */
_Noreturn __attribute__((format(printf, 1, 2))) void command_usage(const char *format, ...);
/* Shows the failure and says the exit code for it. */
int command_fail(const struct command *command, const struct failure *failure);
/* The same with another code than the failure's own. */
int command_fail_as(const struct command *command, const struct failure *failure, int code);
/* A line for people on stderr, after the command's name. The text is cleaned. */
__attribute__((format(printf, 2, 3))) void command_say(const struct command *command,
                                                       const char *format, ...);

/* Prints one JSON value and a newline on stdout, and frees it. NULL (no memory) ends the process.
 */
void command_put_json(json_t *value);
/* Prints an array, one element a line, and frees it. */
void command_put_json_lines(json_t *array);

/* Calls with retries within the timeout. FLY_OK, or the exit code is in *code after the failure was
 * shown. Finish the reply in both cases. `doubtful`: the call changes something, so that a lost
 * answer means "try again" (75). */
enum fly_status command_call(struct command *command, const struct rpc_method *method,
                             const ProtobufCMessage *request, bool doubtful,
                             struct rpc_reply *reply, int *code);
/* The same, but the failure is the caller's to show and to finish. */
enum fly_status command_try(struct command *command, const struct rpc_method *method,
                            const ProtobufCMessage *request, struct rpc_reply *reply,
                            struct failure *failure);

/* A picture older than this is shown with its age: three of the stream's heartbeats. */
enum { COMMAND_STALE_MS = 3000, COMMAND_AGE_TEXT = 32 };
/* "12 s", "3 min", "5 h", "2 d"; "ever" for what was never heard. */
void command_age_text(uint64_t age_ms, char out[static COMMAND_AGE_TEXT]);

/* "4 cores, 6 GB" */
enum { COMMAND_SIZE_TEXT = 64 };
void command_size_text(uint32_t cores, uint64_t memory_bytes, char out[static COMMAND_SIZE_TEXT]);
/* Prints a VM as "key  value" lines. */
void command_put_vm(const Fly__V1__Vm *vm);
/* Prints the VM of a reply in the form that was asked for; a reply without one is an error. */
int command_show_vm(const struct command *command, const Fly__V1__Vm *vm);
/* A VM word (id or prefix) from the command line, in lower-case; usage error when it cannot be. */
const char *command_vm_word(struct command *command, int index, char out[static 16]);
/* Shows the failure of a call about that VM; when several begin so, their names too. */
int command_fail_vm(struct command *command, const char *vm, struct failure *failure,
                    bool doubtful);

/* One subcommand: argv[0] is its name. Returns the exit code. */
typedef int command_main(int argc, char **argv);

command_main command_regions;
command_main command_machines;
command_main command_launch;
command_main command_list;
command_main command_status;
command_main command_destroy;
command_main command_cancel;
command_main command_watch;
command_main command_top;
command_main command_members;
command_main command_dash;
command_main command_slice;
command_main command_join_token;
command_main command_token;
command_main command_rpc;
command_main command_version;

/* A table of subcommands: finds argv[1] and runs it; --help lists them. */
struct command_entry {
    const char *name;
    command_main *run;
    const char *help;
};
int command_dispatch(const char *name, const char *doc, const struct command_entry *entries,
                     size_t count, int argc, char **argv);

#endif
