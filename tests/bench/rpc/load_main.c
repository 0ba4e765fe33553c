/* load_main - the command line that all clients of the bench share. */
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/rpc/load.h"

static unsigned long long number(struct argp_state *state, const char *text, unsigned long long max)
{
    char *end = NULL;
    unsigned long long value = strtoull(text, &end, 10);

    if (end == text || *end != '\0' || value > max) {
        argp_error(state, "not a number up to %llu: %s", max, text);
    }
    return value;
}

static enum load_mode mode_of(struct argp_state *state, const char *text)
{
    static const char *const names[] = {"threads", "chains", "open", "stream"};

    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], text) == 0) {
            return (enum load_mode)i;
        }
    }
    argp_error(state, "no mode %s", text);
    return LOAD_THREADS;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct load_options *o = state->input;

    switch (key) {
    case 'a':
        o->address = arg;
        return 0;
    case 'm':
        o->mode = mode_of(state, arg);
        return 0;
    case 'c':
        o->callers = (unsigned)number(state, arg, LOAD_CALLERS_MAX);
        return 0;
    case 'C':
        o->connections = (unsigned)number(state, arg, LOAD_CALLERS_MAX);
        return 0;
    case 'r':
        o->rate = (unsigned)number(state, arg, 10000000);
        return 0;
    case 'w':
        o->warm_ms = (unsigned)number(state, arg, 600000);
        return 0;
    case 't':
        o->ms = (unsigned)number(state, arg, 600000);
        return 0;
    case 'n':
        o->calls = number(state, arg, 1000000000);
        return 0;
    case 's':
        o->server = (pid_t)number(state, arg, 1 << 30);
        return 0;
    case 'v':
        o->variant = arg;
        return 0;
    case 'g':
        o->tag = arg;
        return 0;
    case 'T':
        o->tls_ca = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int load_main(int argc, char **argv, const struct load_backend *backend)
{
    static const struct argp_option options[] = {
        {"address", 'a', "HOST:PORT", 0, "the server", 0},
        {"mode", 'm', "MODE", 0, "threads, chains, open or stream", 0},
        {"callers", 'c', "N", 0, "calls in flight [1]", 0},
        {"connections", 'C', "N", 0, "[1]", 0},
        {"rate", 'r', "N", 0, "open: calls a second [20000]", 0},
        {"warm", 'w', "MS", 0, "before it counts [100]", 0},
        {"ms", 't', "MS", 0, "while it counts [1000]", 0},
        {"calls", 'n', "N", 0, "so many calls instead", 0},
        {"server", 's', "PID", 0, "its processor time counts too", 0},
        {"variant", 'v', "NAME", 0, "the backend's", 0},
        {"tag", 'g', "JSON", 0, "members for the line", 0},
        {"tls", 'T', "FILE", 0, "the CA's certificate", 0},
        {0}};
    static const struct argp argp = {.options = options, .parser = parse};

    struct load_options o = {.callers = 1,
                             .connections = 1,
                             .rate = 20000,
                             .warm_ms = 100,
                             .ms = 1000,
                             .address = "",
                             .variant = "",
                             .tag = ""};

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0 || o.callers == 0 || o.connections == 0 ||
        o.rate == 0) {
        return 64;
    }
    load_run(&o, backend);
    return 0;
}
