/* flyrpc members - the nodes of the cluster, as the edge that answers sees them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/command.h"
#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "fly/v1/admin.rpc.h"
#include "proto/base/check.h"

enum { WORDS_SIZE = 256, RTT_TEXT_SIZE = 32, COLUMNS_MAX = 8, KEY_WIDE = 1 };

static const struct argp_option options[] = {
    {"wide", KEY_WIDE, NULL, 0, "Where their dashboards are, too", 0},
    {0},
};

static void take(int key, const char *value, void *user)
{
    bool *wide = user;

    (void)value;
    *wide = *wide || key == KEY_WIDE;
}

static int by_name(const void *x, const void *y)
{
    const Fly__V1__Member *const *a = x;
    const Fly__V1__Member *const *b = y;
    int order = strcmp((*a)->name, (*b)->name);

    return order != 0 ? order : strcmp((*a)->id, (*b)->id);
}

static void add_word(char out[static WORDS_SIZE], const char *word)
{
    size_t used = strlen(out);

    (void)snprintf(out + used, WORDS_SIZE - used, "%s%s", used > 0 ? "," : "", word);
}

/* The address that RPC is spoken at; a dead node's is where it was. */
static const char *address_of(const Fly__V1__Member *member)
{
    const char *url = member->rpc[0] != '\0' ? member->rpc : member->gossip;
    const char *host = strstr(url, "://");

    return host != NULL ? host + 3 : url;
}

/* "0.3 ms", as the node that answers measured it; to those that are gone there is none. */
static void rtt_text(const Fly__V1__Member *member, char out[static RTT_TEXT_SIZE])
{
    bool there = member->state == FLY__V1__MEMBER_STATE__MEMBER_ALIVE ||
                 member->state == FLY__V1__MEMBER_STATE__MEMBER_SUSPECT;
    uint64_t tenths = (member->rtt_us + 50) / 100;

    if (!there || member->self || member->rtt_us == 0) {
        (void)fly_copy_string(out, RTT_TEXT_SIZE, "-");
        return;
    }
    (void)snprintf(out, RTT_TEXT_SIZE, "%" PRIu64 ".%" PRIu64 " ms", tenths / 10, tenths % 10);
}

static void add_row(struct table *table, const Fly__V1__Member *member)
{
    char rtt[RTT_TEXT_SIZE];
    char name[WORDS_SIZE] = "";
    char roles[WORDS_SIZE] = "";
    char slices[WORDS_SIZE] = "";

    (void)snprintf(name, sizeof name, "%.200s%s", member->name, member->self ? "*" : "");
    for (size_t i = 0; i < member->n_roles; i++) {
        add_word(roles, member->roles[i]);
    }
    for (size_t i = 0; i < member->n_slices; i++) {
        add_word(slices, member->slices[i]->slice);
    }
    rtt_text(member, rtt);
    const char *const row[COLUMNS_MAX] = {name,
                                          member->region[0] != '\0' ? member->region : "-",
                                          roles,
                                          shape_member_state(member),
                                          rtt,
                                          address_of(member),
                                          slices[0] != '\0' ? slices : "-",
                                          member->http[0] != '\0' ? member->http : "-"};
    FLY_CHECK(table_add(table, row));
}

static void put_note(const char *name, const char *note)
{
    char line[RPC_TEXT_SIZE];
    char clean[RPC_TEXT_SIZE];

    (void)snprintf(line, sizeof line, "%s: %s", name, note);
    text_clean(line, clean, sizeof clean);
    (void)puts(clean);
}

static void put_notes(Fly__V1__Member *const *members, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const Fly__V1__Member *member = members[i];
        char since[64];
        char age[COMMAND_AGE_TEXT];
        if (member->state == FLY__V1__MEMBER_STATE__MEMBER_DEAD ||
            member->state == FLY__V1__MEMBER_STATE__MEMBER_LEFT) {
            command_age_text(member->since_ms, age);
            (void)snprintf(since, sizeof since, "%s for %s", shape_member_state(member), age);
            put_note(member->name, since);
        }
        for (size_t j = 0; j < member->n_notes; j++) {
            put_note(member->name, member->notes[j]);
        }
    }
}

static void put_table(Fly__V1__Member *const *members, size_t count, bool wide)
{
    static const struct table_column columns[COLUMNS_MAX] = {
        {"NAME", false}, {"REGION", false},  {"ROLES", false},  {"STATE", false},
        {"RTT", true},   {"ADDRESS", false}, {"SLICES", false}, {"DASHBOARD", false}};
    struct table *table = table_create(columns, COLUMNS_MAX - !wide);
    bool self = false;

    FLY_CHECK(table != NULL);
    for (size_t i = 0; i < count; i++) {
        add_row(table, members[i]);
        self = self || members[i]->self;
    }
    table_print(table, stdout);
    table_destroy(table);
    if (self) {
        (void)puts("* answered this");
    }
    put_notes(members, count);
}

int command_members(int argc, char **argv)
{
    bool wide = false;
    const struct command_spec spec = {
        .name = "flyrpc members",
        .doc =
            "Shows the nodes of the cluster: who is there, with which roles and slices.\v"
            "Needs a token with scope read. A node that is alive but \"stalled\" does not answer "
            "its calls: nothing is placed there. RTT is the round trip from the node that answers, "
            "by its own probes.",
        .options = options,
        .take = take,
        .user = &wide,
    };
    Fly__V1__MembersRequest request = FLY__V1__MEMBERS_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    if (command_call(&command, &rpc_admin_members, &request.base, false, &reply, &code) == FLY_OK) {
        const Fly__V1__MembersReply *message = (const Fly__V1__MembersReply *)reply.message;
        if (message->n_members > 0) {
            qsort(message->members, message->n_members, sizeof(Fly__V1__Member *), by_name);
        }
        if (command.json) {
            json_t *array = json_array();
            for (size_t i = 0; i < message->n_members; i++) {
                FLY_CHECK(json_array_append_new(array, shape_member(message->members[i])) == 0);
            }
            command_put_json_lines(array);
        } else {
            put_table(message->members, message->n_members, wide);
        }
    }
    rpc_reply_fini(&reply);
    return command_end(&command, code);
}
