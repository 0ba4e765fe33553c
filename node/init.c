/*
 * init - `flynode init`: makes a cluster's keys in a state folder and a first join token.
 */
#include <argp.h>
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "node/founding.h"
#include "node/founding_parts.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/id.h"

enum { USES_DEFAULT = 16 };

static const int64_t life_default_ms = 3600000;
static const char roles_default[] = "peer,edge";

enum { OPTION_RPC = 0x100, OPTION_ADVERTISE, OPTION_ROLES, OPTION_USES, OPTION_TTL, OPTION_JSON };

struct init_args {
    const char *state;
    struct node_settings settings;
    const char *rpc;
    const char *advertise;
    uint32_t join_roles;
    uint32_t uses;
    int64_t life_ms;
    bool json;
    struct join_address address; /* from rpc and advertise */
};

/* --- what was typed --- */

static const struct argp_option options[] = {
    {"state", 's', "DIR", 0, "state folder to make", 0},
    {"name", 'n', "NAME", 0, "this node's name: a-z, 0-9, - [the host's]", 0},
    {"region", 'r', "CODE", 0, "region this node is in, such as SIN", 0},
    {"advertise", OPTION_ADVERTISE, "ADDR", 0,
     "address by which other machines reach this one [127.0.0.1: only this machine]", 0},
    {"rpc", OPTION_RPC, "ADDR:PORT", 0, "where it will take RPC [the advertised address, 7401]", 0},
    {"roles-for-join", OPTION_ROLES, "LIST", 0,
     "roles that the first join token gives: peer, edge, dash, admit [peer,edge]", 0},
    {"uses", OPTION_USES, "N", 0, "nodes that may join with it [16]", 0},
    {"ttl", OPTION_TTL, "TIME", 0, "how long it is valid, such as 30m, 1h, 7d [1h]", 0},
    {"json", OPTION_JSON, NULL, 0, "print one JSON object", 0},
    {0},
};

static uint32_t parse_uses(const char *text)
{
    uint32_t value = 0;

    for (const char *at = text; *at >= '0' && *at <= '9' && value <= ADMISSION_USES_MAX; at++) {
        value = 10 * value + (uint32_t)(*at - '0');
    }
    return strspn(text, "0123456789") == strlen(text) && value <= ADMISSION_USES_MAX ? value : 0;
}

static void parse_join_option(int key, const char *value, struct argp_state *state)
{
    struct init_args *args = state->input;

    if (key == OPTION_ROLES && !node_roles_parse(value, &args->join_roles)) {
        argp_error(state, "--roles-for-join '%.80s' is not a list out of peer,edge,dash,admit",
                   value);
    }
    if (key == OPTION_USES) {
        args->uses = parse_uses(value);
        if (args->uses == 0) {
            argp_error(state, "--uses '%.40s' is not 1 to %d", value, ADMISSION_USES_MAX);
        }
    }
    if (key == OPTION_TTL &&
        (!fly_duration_parse(value, &args->life_ms) || args->life_ms > ADMISSION_LIFE_MAX_MS)) {
        argp_error(state, "--ttl '%.40s' is not a time up to 30d, such as 30m, 1h or 7d", value);
    }
}

/* A numeric address and nothing behind it. */
static void take_advertise(const char *text, struct argp_state *state, struct config_address *out)
{
    struct config_address other;

    if (!config_address_parse(text, 1, out) || !config_address_parse(text, 2, &other) ||
        out->port == other.port || out->any) {
        argp_error(state,
                   "--advertise '%.64s' is not a numeric address, without a port, that others can "
                   "dial",
                   text);
    }
}

/* The token carries the address that others dial: the advertised one, with rpc's port. */
static void take_addresses(struct init_args *args, struct argp_state *state)
{
    const char *rpc = args->rpc != NULL         ? args->rpc
                      : args->advertise != NULL ? args->advertise
                                                : "127.0.0.1";
    struct config_address told;
    struct config_address bind;

    if (args->advertise != NULL) {
        take_advertise(args->advertise, state, &told);
    }
    if (!config_address_parse(rpc, FOUNDING_RPC_PORT, &bind) || bind.port == 0) {
        argp_error(state, "--rpc '%.64s' is not ADDR or ADDR:PORT with a numeric address", rpc);
    }
    if (args->advertise == NULL) {
        told = bind;
    }
    told.port = bind.port;
    if (!join_address_from(&told, &args->address)) {
        argp_error(state,
                   "--rpc %.64s is every address of this host: tell others one with --advertise",
                   rpc);
    }
    if (!bind.any && bind.loopback != told.loopback) {
        argp_error(state, "--rpc %s and --advertise %s: one is on loopback, the other is not",
                   bind.host, told.host);
    }
    (void)fly_copy_string(args->settings.advertise, sizeof args->settings.advertise, told.host);
    config_address_format(bind.host, bind.port, args->settings.rpc);
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct init_args *args = state->input;

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
    case OPTION_RPC:
        args->rpc = value;
        return 0;
    case OPTION_ADVERTISE:
        args->advertise = value;
        return 0;
    case OPTION_JSON:
        args->json = true;
        return 0;
    case OPTION_ROLES:
    case OPTION_USES:
    case OPTION_TTL:
        parse_join_option(key, value, state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", value);
        return 0;
    case ARGP_KEY_END:
        if (args->state == NULL) {
            argp_error(state, "--state DIR is needed");
        }
        take_addresses(args, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- the work --- */

static enum fly_status make_token(const struct identity *identity, const struct init_args *args,
                                  int64_t now_ms, char text[static JOIN_TOKEN_TEXT_MAX],
                                  struct join_token *token, struct fly_error *error)
{
    struct admission_book *book = NULL;
    enum fly_status status = admission_book_open(&identity->folder, &book, error);

    if (status == FLY_OK) {
        status = join_token_issue(identity, book, args->join_roles, args->life_ms, args->uses,
                                  &args->address, 1, now_ms, token, error);
    }
    if (status == FLY_OK) {
        (void)join_token_encode(token, text);
    }
    admission_book_close(book);
    return status;
}

static void print_text(const struct identity *identity, const struct init_args *args,
                       const struct join_token *token, const char *text)
{
    char roles[NODE_ROLES_TEXT_SIZE];
    char until[FLY_TIME_TEXT_SIZE];

    node_roles_format(token->roles, ',', roles);
    fly_time_format(token->expires_ms, until);
    (void)printf("Cluster %s is made; this node is %s, its keys are in %s.\n\n"
                 "Join token (roles %s, for %u nodes, until %s):\n\n%s\n\n"
                 "Next, here:\n"
                 "  flynode run --state %s\n"
                 "and on each other machine:\n"
                 "  flynode join --state DIR TOKEN\n"
                 "  flynode run --state DIR\n"
                 "A token for people who use it:\n"
                 "  flyrpc token create --state %s --scope regions,launch,read,destroy,watch\n",
                 identity->record.id, identity->settings.name, args->state, roles,
                 (unsigned)args->uses, until, text, args->state, args->state);
    if (!args->address.tls) {
        (void)printf("\nThe join token's address is on loopback: only this machine can use it. For "
                     "others, use\n--advertise ADDR with another folder.\n");
    }
}

static int print_json(const struct identity *identity, const struct init_args *args,
                      const struct join_token *token, const char *text)
{
    char until[FLY_TIME_TEXT_SIZE];
    char token_id[JOIN_TOKEN_ID_TEXT_SIZE];
    char url[JOIN_URL_SIZE];
    json_t *root = founding_json(identity, args->state);

    fly_time_format(token->expires_ms, until);
    join_token_id_format(token->id, token_id);
    join_address_url(&args->address, url);
    founding_put(root, "rpc", json_string(url));
    founding_put(root, "join_token", json_string(text));
    founding_put(root, "join_token_id", json_string(token_id));
    founding_put(root, "join_roles", founding_roles(token->roles));
    founding_put(root, "join_uses", json_integer(args->uses));
    founding_put(root, "join_expires_at", json_string(until));
    return founding_print(root);
}

int init_run(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Makes a new cluster: its keys and this node's, in a folder that has none yet, and "
               "a join token for other nodes.\vNothing needs to run. The folder's ca.key and "
               "tls-ca.key are only needed to let other nodes admit (role admit): they may be "
               "moved away. Whoever has issuer.key makes tokens for users.",
    };
    static struct identity identity;
    struct init_args args = {.uses = USES_DEFAULT, .life_ms = life_default_ms};
    struct join_token token = {.roles = 0};
    struct fly_error error = {.text = ""};
    char text[JOIN_TOKEN_TEXT_MAX];
    int64_t now_ms = fly_clock_wall_ms();

    FLY_CHECK(node_roles_parse(roles_default, &args.join_roles));
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    enum fly_status status = identity_found(args.state, &args.settings, now_ms, &identity, &error);
    if (status != FLY_OK) {
        return founding_fail(status, &error);
    }
    status = make_token(&identity, &args, now_ms, text, &token, &error);
    int code = 0;
    if (status != FLY_OK) {
        code = founding_fail(status, &error);
    } else if (args.json) {
        code = print_json(&identity, &args, &token, text);
    } else {
        print_text(&identity, &args, &token, text);
    }
    sodium_memzero(text, sizeof text);
    sodium_memzero(&token, sizeof token);
    identity_close(&identity);
    return code;
}
