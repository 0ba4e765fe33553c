/*
 * options - the command line of a subcommand: its own options beside the shared ones, by argp.
 *
 * argp reports a bad option in its own words and only on stderr; so options are looked over here
 * first, which gives one form of error, a near miss, and the JSON that a program asked for.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/command.h"
#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "proto/base/check.h"
#include "proto/base/time.h"
#include "proto/wire/trace.h"

enum { TIMEOUT_DEFAULT_MS = 5000, TIMEOUT_MAX_MS = 3600000, OPTIONS_MAX = 48 };
enum { KEY_ADDR = 0x1000, KEY_CA, KEY_TOKEN, KEY_TOKEN_FILE, KEY_TIMEOUT, KEY_TRACE, KEY_JSON };

static const struct argp_option edge_options[] = {
    {"addr", KEY_ADDR, "ADDR", 0, "Edge to call, host:port; several with commas, or given again",
     90},
    {"edge", KEY_ADDR, NULL, OPTION_ALIAS, NULL, 90},
    {"ca", KEY_CA, "FILE", 0, "The cluster's TLS certificate: tls-ca.pem of a state folder", 90},
    {"token", KEY_TOKEN, "TOKEN", 0, "Token (others can see it in ps; better: FLYRPC_TOKEN)", 90},
    {"token-file", KEY_TOKEN_FILE, "FILE", 0, "File that holds the token", 90},
    {"timeout", KEY_TIMEOUT, "TIME", 0, "Give up after so long, such as 500ms, 5s, 2m (5s)", 90},
    {"trace", KEY_TRACE, "TRACEPARENT", OPTION_ARG_OPTIONAL,
     "Belong to this W3C trace; without a value: begin one and say which", 90},
    {0},
};
static const struct argp_option print_options[] = {
    {"json", KEY_JSON, NULL, 0, "Print JSON", 91},
    {NULL, 'j', NULL, OPTION_HIDDEN, NULL, 91},
    {NULL, 'h', NULL, OPTION_HIDDEN, NULL, 91},
    {0},
};

/* What command_usage needs when something is wrong before a struct command is whole. */
static const char *usage_name = "flyrpc";
static bool usage_json;

struct parse {
    const struct command_spec *spec;
    struct command *command;
};

_Noreturn void command_usage(const char *format, ...)
{
    struct failure failure = {.status = FLY_INVALID_ARGUMENT};
    char text[RPC_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    text_clean(text, failure.message, sizeof failure.message);
    (void)fprintf(stderr, "%s: %s\nTry '%s --help'.\n", usage_name, failure.message, usage_name);
    if (usage_json) {
        json_t *object = shape_error(&failure);
        (void)json_object_set_new(json_object_get(object, "error"), "reason", json_string("USAGE"));
        command_put_json(object);
        (void)fflush(stdout);
    }
    exit(EXIT_USAGE);
}

static void take_setting(char *to, size_t max, const char *flag, const char *value)
{
    if (value[0] == '\0' || !fly_copy_string(to, max, value)) {
        command_usage("%s is empty or longer than %zu bytes", flag, max - 1);
    }
}

static error_t parse_edge(int key, char *arg, struct argp_state *state)
{
    struct command *command = state->input;

    switch (key) {
    case KEY_ADDR:
        if (!settings_add_addr(&command->flags, arg)) {
            command_usage("--addr is empty or longer than %d bytes", SETTINGS_ADDR_SIZE - 1);
        }
        return 0;
    case KEY_CA:
        take_setting(command->flags.ca, sizeof command->flags.ca, "--ca", arg);
        return 0;
    case KEY_TOKEN:
        take_setting(command->flags.token, sizeof command->flags.token, "--token", arg);
        return 0;
    case KEY_TOKEN_FILE:
        take_setting(command->flags.token_file, sizeof command->flags.token_file, "--token-file",
                     arg);
        return 0;
    case KEY_TIMEOUT:
        if (!fly_duration_parse(arg, &command->timeout_given_ms) ||
            command->timeout_given_ms > TIMEOUT_MAX_MS) {
            command_usage("--timeout: '%.40s' is not a time up to 1h such as 500ms, 5s or 2m", arg);
        }
        command->timeout_ms = command->timeout_given_ms;
        return 0;
    case KEY_TRACE:
        command->trace_said = true;
        command->trace_given = arg != NULL;
        if (arg != NULL && !trace_parse(arg, strlen(arg), &command->trace)) {
            command_usage("--trace: '%.80s' is not a traceparent such as "
                          "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                          arg);
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_print(int key, char *arg, struct argp_state *state)
{
    struct command *command = state->input;

    (void)arg;
    switch (key) {
    case KEY_JSON:
    case 'j':
        command->json = true;
        return 0;
    case 'h':
        argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_own(int key, char *arg, struct argp_state *state)
{
    struct parse *parse = state->input;
    const struct argp_option *own = parse->spec->options;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = parse->command;
        if (!parse->spec->local) {
            state->child_inputs[1] = parse->command;
        }
        return 0;
    case ARGP_KEY_ARG:
        if (parse->command->word_count == parse->spec->words_max) {
            command_usage("'%.80s' is one argument too many", arg);
        }
        parse->command->words[parse->command->word_count++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (parse->command->word_count < parse->spec->words_min) {
            command_usage("%s is missing", parse->spec->args_doc);
        }
        return 0;
    default:
        for (; own != NULL && (own->name != NULL || own->key != 0); own++) {
            if (own->key == key && own->key != 0) {
                parse->spec->take(key, arg, parse->spec->user);
                return 0;
            }
        }
        return ARGP_ERR_UNKNOWN;
    }
}

struct known {
    const char *names[OPTIONS_MAX];
    bool valued[OPTIONS_MAX];
    bool optional[OPTIONS_MAX]; /* its value only behind = */
    char letters[OPTIONS_MAX];
    size_t count;
};

static void know(struct known *known, const struct argp_option *options)
{
    bool valued = false;
    bool optional = false;

    for (; options != NULL && (options->name != NULL || options->key != 0); options++) {
        /* an alias has its original's value */
        valued = (options->flags & OPTION_ALIAS) != 0 ? valued : options->arg != NULL;
        optional = (options->flags & OPTION_ARG_OPTIONAL) != 0;
        if (options->key > ' ' && options->key < 0x7f) {
            size_t letters = strlen(known->letters);
            FLY_CHECK(letters + 1 < sizeof known->letters);
            known->letters[letters] = (char)options->key;
        }
        if (options->name != NULL) {
            FLY_CHECK(known->count < OPTIONS_MAX);
            known->valued[known->count] = valued;
            known->optional[known->count] = optional;
            known->names[known->count++] = options->name;
        }
    }
}

/* The option that `name` of `size` bytes means, as getopt_long has it: exactly, or as the only one
 * that begins so. -1: none; -2: several. */
static int find_option(const struct known *known, const char *name, size_t size)
{
    int found = -1;

    for (size_t i = 0; i < known->count; i++) {
        if (strncmp(known->names[i], name, size) != 0) {
            continue;
        }
        if (strlen(known->names[i]) == size) {
            return (int)i;
        }
        found = found == -1 ? (int)i : -2;
    }
    return found;
}

/* Refuses one "--name[=value]"; says whether the next word is its value. */
static bool check_long(const struct known *known, const char *word)
{
    const char *name = word + 2;
    size_t size = strcspn(name, "=");
    int at = find_option(known, name, size);
    char typed[64];

    if (at == -2) {
        command_usage("'--%.*s' may be several options", (int)size, name);
    }
    if (at == -1) {
        (void)snprintf(typed, sizeof typed, "%.*s", (int)size, name);
        const char *near = text_nearest(typed, known->names, known->count);
        if (near != NULL) {
            command_usage("there is no option '--%s'; did you mean '--%s'?", typed, near);
        }
        command_usage("there is no option '--%s'", typed);
    }
    if (name[size] == '=' && !known->valued[at]) {
        command_usage("option '--%s' takes no value", known->names[at]);
    }
    return known->valued[at] && !known->optional[at] && name[size] != '=';
}

static void check_options(const struct command_spec *spec, int argc, char **argv)
{
    static const struct argp_option builtin[] = {
        {.name = "help"}, {.name = "usage"}, {.name = "version"}, {0}};
    struct known known = {.letters = "jh?V"};

    know(&known, spec->options);
    know(&known, spec->local ? NULL : edge_options);
    know(&known, print_options);
    for (size_t i = 0; builtin[i].name != NULL; i++) {
        known.names[known.count++] = builtin[i].name;
    }
    for (int i = 1; i < argc; i++) {
        usage_json = usage_json || strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-j") == 0;
    }
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--", 2) == 0) {
            if (check_long(&known, argv[i])) {
                if (i + 1 == argc) {
                    command_usage("option '%s' needs a value", argv[i]);
                }
                i++;
            }
        } else if (argv[i][0] == '-' && argv[i][1] != '\0' &&
                   strspn(argv[i] + 1, known.letters) != strlen(argv[i] + 1)) {
            command_usage("there is no option '%.40s'", argv[i]);
        }
    }
}

static void parse_line(struct command *command, const struct command_spec *spec, int argc,
                       char **argv)
{
    struct parse parse = {.spec = spec, .command = command};
    const struct argp print_argp = {.options = print_options, .parser = parse_print};
    const struct argp edge_argp = {.options = edge_options, .parser = parse_edge};
    const struct argp_child children[] = {
        {&print_argp, 0, NULL, 0}, {spec->local ? NULL : &edge_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = spec->options,
        .parser = parse_own,
        .args_doc = spec->args_doc,
        .doc = spec->doc,
        .children = children,
    };

    argv[0] = (char *)(uintptr_t)spec->name;
    argp_err_exit_status = EXIT_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &parse) != 0) {
        command_usage("the command line is not understood");
    }
}

/* --trace, then FLYRPC_TRACEPARENT, then TRACEPARENT: the last one is for everybody, and who cannot
 * read it begins a trace of his own (W3C Trace Context, 4.3). */
static void begin_trace(struct command *command)
{
    const char *ours = getenv("FLYRPC_TRACEPARENT");
    const char *all = getenv("TRACEPARENT");
    char text[TRACE_TEXT_SIZE];

    if (!command->trace_said && ours != NULL && ours[0] != '\0') {
        command->trace_given = trace_parse(ours, strlen(ours), &command->trace);
        if (!command->trace_given) {
            command_usage("FLYRPC_TRACEPARENT: '%.80s' is not a traceparent", ours);
        }
    } else if (!command->trace_said && all != NULL) {
        command->trace_given = trace_parse(all, strlen(all), &command->trace);
    }
    if (command->trace_given) {
        session_trace(&command->session, &command->trace);
    } else if (command->trace_said) {
        command->trace = command->session.trace;
        session_trace(&command->session, &command->trace);
        trace_format(&command->trace, text);
        command_say(command, "trace %s", text);
    }
}

void command_begin(struct command *command, const struct command_spec *spec, int argc, char **argv)
{
    struct fly_error error = {0};

    *command = (struct command){.name = spec->name, .timeout_ms = TIMEOUT_DEFAULT_MS};
    usage_name = spec->name;
    check_options(spec, argc, argv);
    parse_line(command, spec, argc, argv);
    usage_json = command->json;
    if (spec->local) {
        return;
    }
    if (settings_resolve(&command->flags, &command->settings, &error) != FLY_OK) {
        command_usage("%s", error.text);
    }
    if (address_list_check(command->settings.addr, &error) != FLY_OK ||
        (command->settings.ca[0] != '\0' &&
         settings_read_ca(command->settings.ca, command->ca_pem, &error) != FLY_OK)) {
        command_usage("%s", error.text);
    }
    session_init(&command->session, command->settings.addr, command->settings.token);
    command->session.ca_pem = command->ca_pem[0] != '\0' ? command->ca_pem : NULL;
    begin_trace(command);
}

/* Does `word` ask for help in any of its spellings? */
static bool wants_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "-?") == 0 ||
           strcmp(word, "help") == 0;
}

static void put_help(const char *name, const char *doc, const struct command_entry *entries,
                     size_t count)
{
    (void)printf("Usage: %s COMMAND [OPTION...]\n%s\n\nCommands:\n", name, doc);
    for (size_t i = 0; i < count; i++) {
        (void)printf("  %-11s %s\n", entries[i].name, entries[i].help);
    }
    (void)printf("\n'%s COMMAND --help' says more about each.\n", name);
}

int command_dispatch(const char *name, const char *doc, const struct command_entry *entries,
                     size_t count, int argc, char **argv)
{
    const char *names[24];

    usage_name = name;
    FLY_CHECK(count <= FLY_ARRAY_COUNT(names));
    for (int i = 1; i < argc; i++) {
        usage_json = usage_json || strcmp(argv[i], "--json") == 0;
    }
    if (argc >= 2 && wants_help(argv[1])) {
        put_help(name, doc, entries, count);
        return fflush(stdout) == 0 ? EXIT_DONE : EXIT_ERROR;
    }
    if (argc < 2) {
        command_usage("which command? '%s --help' lists them", name);
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = entries[i].name;
        if (strcmp(argv[1], entries[i].name) == 0) {
            return entries[i].run(argc - 1, argv + 1);
        }
    }
    const char *near = text_nearest(argv[1], names, count);
    if (near != NULL) {
        command_usage("there is no command '%.40s'; did you mean '%s'?", argv[1], near);
    }
    command_usage("there is no command '%.40s'", argv[1]);
}
