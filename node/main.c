/*
 * flynode - the one daemon. Subcommands: dev, init, join, check, version.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/config.h"
#include "node/founding.h"
#include "node/node.h"
#include "proto/base/check.h"

enum {
    EXIT_USAGE = 64,
    OPTION_REGIONS_FILE = 0x100,
    OPTION_RPC,
    OPTION_LOG_LEVEL,
    OPTION_LOG_FORMAT
};

static void die(const struct fly_error *error)
{
    (void)fprintf(stderr, "flynode: %s\n", error->text);
    exit(EXIT_USAGE);
}

/* --- dev --- */

static const struct argp_option dev_options[] = {
    {"state", 's', "DIR", 0, "state folder: keys and logs [.flylight/state]", 0},
    {"machines", 'm', "FILE", 0, "machines, CSV [the shipped data/machines.csv]", 0},
    {"regions-file", OPTION_REGIONS_FILE, "FILE", 0, "regions, CSV [the shipped data/regions.csv]",
     0},
    {"rpc", OPTION_RPC, "ADDR", 0, "listen here for RPC [tcp://127.0.0.1:7401]", 0},
    {"log-level", OPTION_LOG_LEVEL, "LEVEL", 0, "error, warn, info or debug [info]", 0},
    {"log-format", OPTION_LOG_FORMAT, "FORM", 0, "text or json [text]", 0},
    {0},
};

static error_t parse_dev(int key, char *value, struct argp_state *state)
{
    struct node_config *config = state->input;
    struct fly_error error;
    const char *name = NULL;

    switch (key) {
    case 's':
        name = "state";
        break;
    case 'm':
        name = "machines";
        break;
    case OPTION_REGIONS_FILE:
        name = "regions-file";
        break;
    case OPTION_RPC:
        name = "rpc";
        break;
    case OPTION_LOG_LEVEL:
        name = "log-level";
        break;
    case OPTION_LOG_FORMAT:
        name = "log-format";
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", value);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    if (config_set(config, name, value, &error) != FLY_OK) {
        argp_error(state, "%s", error.text);
    }
    return 0;
}

static int run_dev(int argc, char **argv)
{
    static const struct argp argp = {
        .options = dev_options,
        .parser = parse_dev,
        .doc = "Runs peer, edge and slice in one process, on loopback, with its state in one "
               "folder.\vEnvironment: FLYNODE_STATE, FLYNODE_MACHINES, FLYNODE_REGIONS_FILE, "
               "FLYNODE_RPC, FLYNODE_LOG_LEVEL, FLYNODE_LOG_FORMAT. Files: "
               "$XDG_CONFIG_HOME/flylight/flynode.json, /etc/flylight/flynode.json. A flag beats "
               "the environment, which beats a file.",
    };
    struct node_config config;
    struct fly_error error;

    if (config_load(&config, &error) != FLY_OK) {
        die(&error);
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &config);
    if (config_check(&config, &error) != FLY_OK) {
        die(&error);
    }
    fly_log_setup(config_log_level(&config), strcmp(config.log_format, "json") == 0);
    return node_run_dev(&config);
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
    {"check", run_check, "verify the logs of a state folder"},
    {"version", run_version, "print the version"},
};

static int usage(FILE *out)
{
    (void)fprintf(out, "Usage: flynode COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < FLY_ARRAY_COUNT(commands); i++) {
        (void)fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
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
