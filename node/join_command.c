/*
 * join_command - `flynode join`: makes this machine a member, with a join token.
 */
#include <argp.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "node/founding.h"
#include "node/founding_parts.h"
#include "proto/base/check.h"

enum { OPTION_ROLES = 0x100, OPTION_TIMEOUT, OPTION_JSON };

struct join_args {
    const char *state;
    struct node_settings settings;
    uint32_t roles; /* 0: not told: all that the token gives */
    int64_t timeout_ms;
    bool json;
    bool has_token;
    struct join_token token;
};

static const struct argp_option options[] = {
    {"state", 's', "DIR", 0, "state folder to make", 0},
    {"name", 'n', "NAME", 0, "this node's name: a-z, 0-9, - [the host's]", 0},
    {"region", 'r', "CODE", 0, "region this node is in, such as SIN", 0},
    {"roles", OPTION_ROLES, "LIST", 0, "out of peer, edge, dash, admit [all that the token gives]",
     0},
    {"timeout", OPTION_TIMEOUT, "TIME", 0, "wait so long for each address [10s]", 0},
    {"json", OPTION_JSON, NULL, 0, "print one JSON object", 0},
    {0},
};

/* "-": from standard input, so that it stands in no list of processes. */
static void take_token(struct argp_state *state, char *value)
{
    struct join_args *args = state->input;
    char line[2 * JOIN_TOKEN_TEXT_MAX];
    struct fly_error error = {.text = ""};
    const char *text = value;

    if (args->has_token) {
        argp_error(state, "one join token is enough");
    }
    if (strcmp(value, "-") == 0) {
        text = fgets(line, sizeof line, stdin);
    }
    if (text == NULL) {
        argp_error(state, "no join token on standard input");
        return;
    }
    if (join_token_decode(text, strlen(text), &args->token, &error) != FLY_OK) {
        argp_error(state, "%s", error.text);
    }
    args->has_token = true;
    /* out of the list of processes, and of this one's memory */
    if (text == value) {
        sodium_memzero(value, strlen(value));
    }
    sodium_memzero(line, sizeof line);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct join_args *args = state->input;

    switch (key) {
    case 's':
        args->state = value;
        return 0;
    case 'n':
        founding_take_name(state, value, &args->settings);
        return 0;
    case 'r':
        founding_take_region(state, value, &args->settings);
        return 0;
    case OPTION_ROLES:
        if (!node_roles_parse(value, &args->roles)) {
            argp_error(state, "--roles '%.80s' is not a list out of peer,edge,dash,admit", value);
        }
        return 0;
    case OPTION_TIMEOUT:
        if (!fly_duration_parse(value, &args->timeout_ms)) {
            argp_error(state, "--timeout '%.40s' is not a time such as 5s", value);
        }
        return 0;
    case OPTION_JSON:
        args->json = true;
        return 0;
    case ARGP_KEY_ARG:
        take_token(state, value);
        return 0;
    case ARGP_KEY_END:
        if (args->state == NULL) {
            argp_error(state, "--state DIR is needed");
        }
        if (!args->has_token) {
            argp_error(state, "a join token is needed: `flynode init` and `flyrpc join-token "
                              "create` print one");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_text(const struct identity *identity, const struct join_args *args)
{
    char roles[NODE_ROLES_TEXT_SIZE];
    char until[FLY_TIME_TEXT_SIZE];

    node_roles_format(identity->credential.roles, ',', roles);
    fly_time_format(identity->credential.expires_ms, until);
    (void)printf("This node is %s in cluster %s (roles %s, until %s); its keys are in %s.\n\n"
                 "Next:\n"
                 "  flynode run --state %s\n",
                 identity->credential.name, identity->record.id, roles, until, args->state,
                 args->state);
}

static int print_json(const struct identity *identity, const struct join_args *args)
{
    json_t *root = founding_json(identity, args->state);
    json_t *seeds = json_array();

    for (size_t i = 0; i < identity->settings.seed_count; i++) {
        FLY_CHECK(json_array_append_new(seeds, json_string(identity->settings.seeds[i])) == 0);
    }
    founding_put(root, "seeds", seeds);
    return founding_print(root);
}

int join_run(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "TOKEN",
        .doc = "Makes this machine a node of a cluster, with a join token of it.\vA node that "
               "admits must run at the token's address. TOKEN \"-\" is read from standard input. "
               "Exit code 64: usage; 69: nobody answered; 77: refused.",
    };
    static struct identity identity;
    struct join_args args = {.roles = 0};
    struct fly_error error = {.text = ""};
    int code = 0;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    if (args.settings.name[0] == '\0') {
        settings_default_name(args.settings.name);
    }
    const struct join_options how = {.dir = args.state,
                                     .token = &args.token,
                                     .roles = args.roles != 0 ? args.roles : args.token.roles,
                                     .settings = args.settings,
                                     .timeout_ms = args.timeout_ms};
    enum fly_status status = join_call(&how, &identity, &error);
    sodium_memzero(&args.token, sizeof args.token);
    if (status != FLY_OK) {
        return founding_fail(status, &error);
    }
    if (args.json) {
        code = print_json(&identity, &args);
    } else {
        print_text(&identity, &args);
    }
    identity_close(&identity);
    return code;
}
