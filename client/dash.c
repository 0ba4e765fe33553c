/* flyrpc dash - where the dashboard is: of the edge that answers, or of another living node. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/command.h"
#include "client/lib/text.h"
#include "fly/v1/admin.rpc.h"
#include "proto/base/check.h"

enum { KEY_OPEN = 1, URL_SIZE = 256 };

static const struct argp_option options[] = {
    {"open", KEY_OPEN, NULL, 0, "Open it too, with xdg-open", 0},
    {0},
};

static void take(int key, const char *value, void *user)
{
    bool *open = user;

    (void)value;
    *open = *open || key == KEY_OPEN;
}

static bool is_url(const char *text)
{
    return strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
}

/* The one that answered before others, then by name. NULL: none. */
static const Fly__V1__Member *choose(const Fly__V1__MembersReply *reply)
{
    const Fly__V1__Member *best = NULL;

    for (size_t i = 0; i < reply->n_members; i++) {
        const Fly__V1__Member *m = reply->members[i];
        if (m->state != FLY__V1__MEMBER_STATE__MEMBER_ALIVE || !is_url(m->http)) {
            continue;
        }
        if (best == NULL || m->self > best->self ||
            (m->self == best->self && strcmp(m->name, best->name) < 0)) {
            best = m;
        }
    }
    return best;
}

static int open_url(const struct command *command, char *url)
{
    char program[] = "xdg-open";
    char *const arguments[] = {program, url, NULL};
    int wrong = posix_spawnp(NULL, program, NULL, NULL, arguments, environ);

    if (wrong != 0) {
        command_say(command, "xdg-open: %s: open the address in a browser", strerror(wrong));
        return EXIT_ERROR;
    }
    return EXIT_DONE;
}

static int show(const struct command *command, const Fly__V1__MembersReply *reply, bool open)
{
    const Fly__V1__Member *m = choose(reply);
    char url[URL_SIZE];

    if (m == NULL) {
        command_say(command, "no living node has a dashboard: start one with the role dash, and "
                             "without --http off");
        return EXIT_ERROR;
    }
    text_clean(m->http, url, sizeof url);
    if (command->json) {
        command_put_json(json_pack("{s:s, s:s}", "http", url, "node", m->name));
    } else {
        (void)puts(url);
    }
    return open ? open_url(command, url) : EXIT_DONE;
}

int command_dash(int argc, char **argv)
{
    bool open = false;
    const struct command_spec spec = {
        .name = "flyrpc dash",
        .doc = "Shows the address of the dashboard.\v"
               "It asks for a token: sign in with the one that flyrpc uses. Needs a token with "
               "scope read.",
        .options = options,
        .take = take,
        .user = &open,
    };
    Fly__V1__MembersRequest request = FLY__V1__MEMBERS_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    if (command_call(&command, &rpc_admin_members, &request.base, false, &reply, &code) == FLY_OK) {
        code = show(&command, (const Fly__V1__MembersReply *)reply.message, open);
    }
    rpc_reply_fini(&reply);
    return command_end(&command, code);
}
