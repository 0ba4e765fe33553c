/*
 * flynode - the one daemon. Subcommands: dev, init, join, run, check, accept-loss, version.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/accept_loss.h"
#include "node/config.h"
#include "node/failpoint.h"
#include "node/founding.h"
#include "node/node.h"
#include "proto/base/check.h"

enum { EXIT_USAGE = 64, OPTION_FIRST = 0x100 };

static void die(const struct fly_error *error)
{
    (void)fprintf(stderr, "flynode: %s\n", error->text);
    exit(EXIT_USAGE);
}

/* --- dev and run: every flag is a setting of the same name --- */

struct settings_args {
    struct node_config *config;
    const struct argp_option *options;
};

#define SETTING(long_name, number, arg_name, text)                                                 \
    {                                                                                              \
        .name = (long_name), .key = (number), .arg = (arg_name), .doc = (text)                     \
    }
#define SETTING_LOG                                                                                \
    SETTING("log-level", OPTION_FIRST, "LEVEL", "error, warn, info or debug [info]"),              \
        SETTING("log-format", OPTION_FIRST + 1, "FORM", "text or json [text]")
#define SETTING_REGIONS                                                                            \
    SETTING("regions-file", OPTION_FIRST + 2, "FILE", "regions, CSV [the shipped data/regions.csv]")

#define SETTING_HTTP                                                                               \
    SETTING("http", OPTION_FIRST + 40, "ADDR", "dashboard, address and port [7403], or off"),      \
        SETTING("http-cert", OPTION_FIRST + 41, "FILE", "its certificate, PEM [as RPC's]"),        \
        SETTING("http-key", OPTION_FIRST + 42, "FILE", "its certificate's key, PEM"),              \
        SETTING("http-insecure", OPTION_FIRST + 43, NULL, "off loopback too it may be http"),      \
        SETTING("ui-dir", OPTION_FIRST + 44, "DIR", "serve the pages from here [those inside]"),   \
        SETTING("launches-per-minute", OPTION_FIRST + 45, "N", "by it, of one address [30]"),      \
        SETTING("vms-max", OPTION_FIRST + 46, "N", "that it brings the cluster to [0: any]"),      \
        SETTING("autospawn", OPTION_FIRST + 47, "A,B", "start VMs here while visitors are there"), \
        SETTING("autospawn-token-file", OPTION_FIRST + 48, "FILE", "the token that does so")

static error_t parse_setting(int key, char *value, struct argp_state *state)
{
    struct settings_args *args = state->input;
    struct fly_error error;

    if (key == ARGP_KEY_ARG) {
        argp_error(state, "unexpected argument '%s'", value);
        return 0;
    }
    for (const struct argp_option *o = args->options; o->name != NULL; o++) {
        if (o->key == key) {
            if (config_set(args->config, o->name, value != NULL ? value : "on", &error) != FLY_OK) {
                argp_error(state, "%s", error.text);
            }
            return 0;
        }
    }
    return ARGP_ERR_UNKNOWN;
}

static void parse_settings(int argc, char **argv, struct node_config *config,
                           const struct argp_option *options, const char *doc)
{
    const struct argp argp = {.options = options, .parser = parse_setting, .doc = doc};
    struct settings_args args = {.config = config, .options = options};

    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
}

#define PRECEDENCE                                                                                 \
    "Every flag is also a setting of the environment (FLYNODE_STATE, FLYNODE_LOG_LEVEL, ...) and " \
    "of the files $XDG_CONFIG_HOME/flylight/flynode.json and /etc/flylight/flynode.json. A flag "  \
    "beats the environment, which beats a file."

static int run_dev(int argc, char **argv)
{
    static const struct argp_option options[] = {
        SETTING("state", 's', "DIR", "state folder: keys and logs [.flylight/state]"),
        SETTING("machines", 'm', "FILE", "machines, CSV [the shipped data/machines.csv]"),
        SETTING_REGIONS,
        SETTING("rpc", OPTION_FIRST + 3, "ADDR", "listen here for RPC [tcp://127.0.0.1:7401]"),
        SETTING_HTTP,
        SETTING_LOG,
        {0},
    };
    struct node_config config;
    struct config_http http;
    struct fly_error error;

    if (config_load(&config, &error) != FLY_OK) {
        die(&error);
    }
    parse_settings(argc, argv, &config, options,
                   "Runs peer, edge and dash in one process, on loopback, with its state in one "
                   "folder.\v" PRECEDENCE);
    if (config_check(&config, &http, &error) != FLY_OK) {
        die(&error);
    }
    fly_log_setup(config_log_level(&config), strcmp(config.log_format, "json") == 0);
    return node_run_dev(&config, &http);
}

static int run_run(int argc, char **argv)
{
    static const struct argp_option options[] = {
        SETTING("state", 's', "DIR", "state folder of `flynode init` or `flynode join`"),
        SETTING("roles", OPTION_FIRST + 10, "ROLES", "peer, edge, dash [all it was admitted as]"),
        SETTING("name", OPTION_FIRST + 11, "N", "this node's name [as it was admitted]"),
        SETTING("region", OPTION_FIRST + 12, "R", "where this node stands [as init or join kept]"),
        SETTING("rpc", OPTION_FIRST + 3, "ADDR", "RPC, address and port [127.0.0.1:7401]"),
        SETTING("gossip", OPTION_FIRST + 13, "ADDR", "gossip, UDP [that address, port 7400]"),
        SETTING("pub", OPTION_FIRST + 14, "ADDR", "event stream [that address, port 7402]"),
        SETTING("advertise", OPTION_FIRST + 15, "ADDR", "others reach this node here"),
        SETTING("join", OPTION_FIRST + 16, "ADDR", "gossip address of a member; may be repeated"),
        SETTING("machines", 'm', "FILE", "machines that this peer brings, CSV"),
        SETTING("share", OPTION_FIRST + 17, "K/N", "only the K-th of N equal parts of them"),
        SETTING("regions", OPTION_FIRST + 18, "A,B", "only those in these regions"),
        SETTING("host", OPTION_FIRST + 19, NULL, "bring the machine that this node runs on"),
        SETTING("host-reserve", OPTION_FIRST + 20, "CORES/MEMORY",
                "of it, kept back [a tenth, at least 1 core and 1 GB]"),
        SETTING("flush-interval", OPTION_FIRST + 21, "TIME", "events are sent so often [50ms]"),
        SETTING("beacon", OPTION_FIRST + 22, "on|off", "find and be found by multicast [on]"),
        SETTING_HTTP,
        SETTING_REGIONS,
        SETTING_LOG,
        {0},
    };
    static struct config_run run;
    struct node_config config;
    struct fly_error error;

    if (config_load_run(&config, &error) != FLY_OK) {
        die(&error);
    }
    parse_settings(argc, argv, &config, options,
                   "Runs a node of a cluster that was made with `flynode init` and joined with "
                   "`flynode join`.\v" PRECEDENCE);
    if (config_check_run(&config, &run, &error) != FLY_OK) {
        die(&error);
    }
    if (failpoint_setup(&error) != FLY_OK) {
        die(&error);
    }
    fly_log_setup(config_log_level(&config), strcmp(config.log_format, "json") == 0);
    return node_run(&config, &run);
}

/* --- check --- */

struct check_args {
    const char *state;
    bool json;
};

static error_t parse_check(int key, char *value, struct argp_state *state)
{
    struct check_args *args = state->input;

    switch (key) {
    case 's':
        args->state = value;
        return 0;
    case 'j':
        args->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", value);
        return 0;
    case ARGP_KEY_END:
        if (args->state == NULL) {
            argp_error(state, "--state DIR is needed");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int run_check(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"state", 's', "DIR", 0, "state folder of a node that is not running", 0},
        {"json", 'j', NULL, 0, "print one JSON object a slice", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse_check,
        .doc = "Reads every log of a state folder, verifies every byte, changes nothing.\v"
               "Exit code 0: sound (a torn tail of a crash is sound, and reported). 1: damaged; "
               "file, offset and reason are named.",
    };
    struct check_args args = {.state = NULL};

    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    return node_check(args.state, args.json);
}

static int run_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    (void)printf("flynode %s\n", FLY_VERSION);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"dev", run_dev, "run everything in one process, on loopback"},
    {"init", init_run, "make a new cluster: keys and a join token"},
    {"join", join_run, "make this machine a node of a cluster"},
    {"run", run_run, "run a node of a cluster"},
    {"check", run_check, "verify the logs of a state folder"},
    {"accept-loss", accept_loss_run, "let a slice go on without what it lost"},
    {"version", run_version, "print the version"},
};

static int usage(FILE *out)
{
    (void)fprintf(out, "Usage: flynode COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < FLY_ARRAY_COUNT(commands); i++) {
        (void)fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].help);
    }
    (void)fprintf(out, "\n`flynode COMMAND --help` tells more.\n");
    return out == stdout ? 0 : EXIT_USAGE;
}

int main(int argc, char **argv)
{
    argp_err_exit_status = EXIT_USAGE;
    if (argc < 2) {
        return usage(stderr);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        return usage(stdout);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            static char name[64];
            (void)snprintf(name, sizeof name, "flynode %s", commands[i].name);
            argv[1] = name;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    (void)fprintf(stderr, "flynode: unknown command '%s'\n", argv[1]);
    return usage(stderr);
}
