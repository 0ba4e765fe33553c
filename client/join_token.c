/*
 * flyrpc join-token - what lets a new node in.
 *
 * A token is shown once, when it is made; afterwards it is known by its id. Each node that admits
 * keeps the tokens that it made; an edge that admits nobody is asked who does, and that node then.
 */
#include <stdio.h>
#include <string.h>

#include "client/command.h"
#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "fly/v1/admin.rpc.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

enum { KEY_ROLES = 1, KEY_LIFE, KEY_USES, ROLES_MAX = 4, ROLE_SIZE = 16, USES_MAX = 1000 };

#define LIFE_MAX_MS (INT64_C(30) * 24 * 3600 * 1000)

static const char *const role_names[ROLES_MAX] = {"peer", "edge", "dash", "admit"};

struct create_input {
    char roles[ROLES_MAX][ROLE_SIZE];
    size_t role_count;
    int64_t life_ms;
    uint32_t uses;
};

static void take_role(struct create_input *input, const char *role)
{
    bool known = false;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(role_names); i++) {
        known = known || strcmp(role, role_names[i]) == 0;
    }
    for (size_t i = 0; i < input->role_count; i++) {
        known = known && strcmp(role, input->roles[i]) != 0;
    }
    if (!known) {
        command_usage("--roles: '%.40s' is not one of peer, edge, dash, admit, or is there twice",
                      role);
    }
    (void)fly_copy_string(input->roles[input->role_count++], ROLE_SIZE, role);
}

static void take_roles(struct create_input *input, const char *value)
{
    char role[ROLE_SIZE];

    input->role_count = 0;
    for (const char *at = value;; at++) {
        size_t size = strcspn(at, ",");
        (void)snprintf(role, sizeof role, "%.*s", (int)size, at);
        take_role(input, role);
        at += size;
        if (*at == '\0') {
            return;
        }
    }
}

static void take_create(int key, const char *value, void *user)
{
    struct create_input *input = user;
    int used = 0;

    switch (key) {
    case KEY_ROLES:
        take_roles(input, value);
        break;
    case KEY_LIFE:
        if (!fly_duration_parse(value, &input->life_ms) || input->life_ms < 1000 ||
            input->life_ms > LIFE_MAX_MS) {
            command_usage("--life: '%.40s' is not a time from 1s to 30d, such as 10m or 1h", value);
        }
        break;
    default:
        if (strspn(value, "0123456789") != strlen(value) ||
            sscanf(value, "%5u%n", &input->uses, &used) != 1 || value[used] != '\0' ||
            input->uses < 1 || input->uses > USES_MAX) {
            command_usage("--uses: '%.40s' is not a number from 1 to %d", value, USES_MAX);
        }
    }
}

/* Another node may have what this one has not. */
static bool ask_elsewhere(const struct failure *failure)
{
    return failure->reason == FLY__V1__REASON__REASON_ROLE ||
           failure->reason == FLY__V1__REASON__REASON_NOT_FOUND;
}

static bool admits(const Fly__V1__Member *member)
{
    bool found = false;

    for (size_t i = 0; i < member->n_roles; i++) {
        found = found || strcmp(member->roles[i], "admit") == 0;
    }
    return found && !member->self && member->rpc[0] != '\0' &&
           member->state != FLY__V1__MEMBER_STATE__MEMBER_DEAD &&
           member->state != FLY__V1__MEMBER_STATE__MEMBER_LEFT;
}

/* The nodes that admit, as the edge tells, in `nodes`; only what is no step down (choices.h). A
 * token without the scope for that finds none, and the first refusal stands. */
static void find_admitting(struct command *command, struct choices *nodes)
{
    Fly__V1__MembersRequest request = FLY__V1__MEMBERS_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure ignored = {0};
    char *urls[CHOICES_MAX];
    size_t count = 0;

    *nodes = (struct choices){.count = 0};
    if (command_try(command, &rpc_admin_members, &request.base, &reply, &ignored) == FLY_OK) {
        const Fly__V1__MembersReply *message = (const Fly__V1__MembersReply *)reply.message;
        for (size_t i = 0; i < message->n_members && count < CHOICES_MAX; i++) {
            if (admits(message->members[i])) {
                urls[count++] = message->members[i]->rpc;
            }
        }
        (void)choices_add(nodes, choices_url(&command->session.choices));
        choices_tell(nodes, urls, count);
    }
    rpc_reply_fini(&reply);
    failure_fini(&ignored);
}

/* Once at each node that may know: a second try could make a second token that nobody ever sees. */
static enum fly_status call_admitting(struct command *command, const struct rpc_method *method,
                                      const ProtobufCMessage *request, struct rpc_reply *reply,
                                      struct failure *failure)
{
    struct choices nodes;
    enum fly_status status =
        session_call(&command->session, method, request, command->timeout_ms, reply, failure);

    if (status == FLY_OK || !ask_elsewhere(failure)) {
        return status;
    }
    find_admitting(command, &nodes);
    for (size_t i = 0; i < nodes.count && status != FLY_OK && ask_elsewhere(failure); i++) {
        struct rpc_reply other = {0};
        struct failure other_failure = {0};
        struct session session;
        if (!nodes.items[i].told) {
            continue;
        }
        session_init(&session, nodes.items[i].url, command->settings.token);
        session.ca_pem = command->session.ca_pem;
        if (session_call(&session, method, request, command->timeout_ms, &other, &other_failure) ==
            FLY_OK) {
            status = FLY_OK;
            rpc_reply_fini(reply);
            rpc_reply_move(reply, &other);
        } else if (other_failure.connected) { /* it knows better than who admits nobody */
            status = other_failure.status;
            failure_fini(failure);
            *failure = other_failure;
            other_failure.refusal = NULL;
        }
        rpc_reply_fini(&other);
        failure_fini(&other_failure);
        session_fini(&session);
    }
    return status;
}

static void put_created(const struct command *command, const struct create_input *input,
                        const Fly__V1__CreateJoinTokenReply *message)
{
    char roles[ROLES_MAX * ROLE_SIZE] = "";
    char expires[FLY_TIME_TEXT_SIZE];

    fly_time_format(message->expires_at_ms, expires);
    if (command->json) {
        json_t *object = json_object();
        json_t *array = json_array();
        for (size_t i = 0; i < input->role_count; i++) {
            FLY_CHECK(json_array_append_new(array, json_string(input->roles[i])) == 0);
        }
        FLY_CHECK(json_object_set_new(object, "token", shape_text(message->token)) == 0);
        FLY_CHECK(json_object_set_new(object, "id", shape_text(message->id)) == 0);
        FLY_CHECK(json_object_set_new(object, "roles", array) == 0);
        FLY_CHECK(json_object_set_new(object, "uses", json_integer(input->uses)) == 0);
        FLY_CHECK(json_object_set_new(object, "expires_at", json_string(expires)) == 0);
        command_put_json(object);
        return;
    }
    for (size_t i = 0; i < input->role_count; i++) {
        size_t used = strlen(roles);
        (void)snprintf(roles + used, sizeof roles - used, "%s%s", i > 0 ? "," : "",
                       input->roles[i]);
    }
    char clean[2 * RPC_TEXT_SIZE];
    text_clean(message->token, clean, sizeof clean);
    (void)puts(clean);
    command_say(command, "id %s, roles %s, %u use%s, until %s", message->id, roles, input->uses,
                input->uses == 1 ? "" : "s", expires);
    command_say(command, "on the new machine: flynode join --state DIR TOKEN");
}

static int create(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"roles", KEY_ROLES, "LIST", 0,
         "What its bearer may be, out of peer,edge,dash,admit (peer,edge)", 0},
        {"life", KEY_LIFE, "TIME", 0, "How long it is good, such as 10m, 1h, 7d (1h)", 0},
        {"uses", KEY_USES, "N", 0, "How many nodes may join with it (1)", 0},
        {0},
    };
    struct create_input input = {
        .roles = {"peer", "edge"}, .role_count = 2, .life_ms = 3600 * 1000, .uses = 1};
    const struct command_spec spec = {
        .name = "flyrpc join-token create",
        .doc =
            "Makes a token with which a new node joins the cluster, and prints it once.\v"
            "Needs a token with scope admin; read too, when the edge is not the node that admits.",
        .options = options,
        .take = take_create,
        .user = &input,
    };
    Fly__V1__CreateJoinTokenRequest request = FLY__V1__CREATE_JOIN_TOKEN_REQUEST__INIT;
    char *roles[ROLES_MAX];
    struct rpc_reply reply = {0};
    struct failure failure = {0};
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    for (size_t i = 0; i < input.role_count; i++) {
        roles[i] = input.roles[i];
    }
    request.roles = roles;
    request.n_roles = input.role_count;
    request.life_s = (uint64_t)input.life_ms / 1000;
    request.uses = input.uses;
    if (call_admitting(&command, &rpc_admin_create_join_token, &request.base, &reply, &failure) !=
        FLY_OK) {
        code = command_fail(&command, &failure);
    } else {
        put_created(&command, &input, (const Fly__V1__CreateJoinTokenReply *)reply.message);
    }
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return command_end(&command, code);
}

static const char *state_of(const struct command *command, const Fly__V1__JoinTokenInfo *token)
{
    return token->revoked                                               ? "revoked"
           : token->expires_at_ms <= session_wall_ms(&command->session) ? "expired"
           : token->uses_left == 0                                      ? "used"
                                                                        : "valid";
}

static void put_table(const struct command *command, const Fly__V1__ListJoinTokensReply *message)
{
    static const struct table_column columns[] = {{"ID", false},    {"ROLES", false},
                                                  {"STATE", false}, {"USED", true},
                                                  {"LEFT", true},   {"EXPIRES", false}};
    struct table *table = table_create(columns, FLY_ARRAY_COUNT(columns));

    FLY_CHECK(table != NULL);
    for (size_t i = 0; i < message->n_tokens; i++) {
        const Fly__V1__JoinTokenInfo *token = message->tokens[i];
        char roles[ROLES_MAX * ROLE_SIZE] = "";
        char used[16];
        char left[16];
        char expires[FLY_TIME_TEXT_SIZE];
        for (size_t j = 0; j < token->n_roles; j++) {
            size_t at = strlen(roles);
            (void)snprintf(roles + at, sizeof roles - at, "%s%s", j > 0 ? "," : "",
                           token->roles[j]);
        }
        (void)snprintf(used, sizeof used, "%u", token->used);
        (void)snprintf(left, sizeof left, "%u", token->uses_left);
        fly_time_format(token->expires_at_ms, expires);
        FLY_CHECK(table_add(table, (const char *const[]){token->id, roles, state_of(command, token),
                                                         used, left, expires}));
    }
    table_print(table, stdout);
    table_destroy(table);
}

static int list(int argc, char **argv)
{
    const struct command_spec spec = {
        .name = "flyrpc join-token list",
        .doc = "Lists the join tokens by id; never the tokens themselves.\v"
               "Needs a token with scope admin.",
    };
    Fly__V1__ListJoinTokensRequest request = FLY__V1__LIST_JOIN_TOKENS_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure failure = {0};
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    if (call_admitting(&command, &rpc_admin_list_join_tokens, &request.base, &reply, &failure) !=
        FLY_OK) {
        code = command_fail(&command, &failure);
    } else {
        const Fly__V1__ListJoinTokensReply *message =
            (const Fly__V1__ListJoinTokensReply *)reply.message;
        if (command.json) {
            json_t *array = json_array();
            for (size_t i = 0; i < message->n_tokens; i++) {
                FLY_CHECK(json_array_append_new(
                              array, shape_join_token(message->tokens[i],
                                                      state_of(&command, message->tokens[i]))) ==
                          0);
            }
            command_put_json_lines(array);
        } else {
            put_table(&command, message);
        }
    }
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return command_end(&command, code);
}

static int revoke(int argc, char **argv)
{
    const struct command_spec spec = {
        .name = "flyrpc join-token revoke",
        .args_doc = "ID",
        .doc = "Ends a join token, by its id or a beginning of it that no other has.\v"
               "Nodes that joined with it stay. Needs a token with scope admin.",
        .words_min = 1,
        .words_max = 1,
    };
    Fly__V1__RevokeJoinTokenRequest request = FLY__V1__REVOKE_JOIN_TOKEN_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure failure = {0};
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    request.id = (char *)(uintptr_t)command.words[0];
    if (call_admitting(&command, &rpc_admin_revoke_join_token, &request.base, &reply, &failure) !=
        FLY_OK) {
        code = command_fail(&command, &failure);
    } else {
        if (command.json) {
            json_t *object = json_object();
            FLY_CHECK(json_object_set_new(object, "id", shape_text(command.words[0])) == 0);
            FLY_CHECK(json_object_set_new(object, "revoked", json_true()) == 0);
            command_put_json(object);
        } else {
            (void)printf("revoked  %s\n", command.words[0]);
        }
    }
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return command_end(&command, code);
}

int command_join_token(int argc, char **argv)
{
    static const struct command_entry commands[] = {
        {"create", create, "Make a token for a new node"},
        {"list", list, "Tokens by id: good for what, used how often"},
        {"revoke", revoke, "End a token"},
    };

    return command_dispatch("flyrpc join-token", "Tokens with which nodes join the cluster.",
                            commands, FLY_ARRAY_COUNT(commands), argc, argv);
}
