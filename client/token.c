/* flyrpc token - makes a token from a state folder, and shows what one says. */
#include <stdio.h>
#include <string.h>

#include "client/command.h"
#include "client/lib/issuer.h"
#include "client/lib/text.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/time.h"

enum { KEY_STATE = 1, KEY_SCOPE, KEY_TTL, KEY_SUB };

#define TTL_DEFAULT_MS (INT64_C(3600) * 1000)
#define SUBJECT_DEFAULT "admin"

static const struct argp_option create_options[] = {
    {"state", KEY_STATE, "DIR", 0, "State folder of the node that founded the cluster", 0},
    {"scope", KEY_SCOPE, "LIST", 0,
     "What for, with commas: regions,launch,read,destroy,watch,admin", 0},
    {"ttl", KEY_TTL, "TIME", 0, "How long it is valid, such as 30m, 1h, 7d (1h)", 0},
    {"sub", KEY_SUB, "NAME", 0, "Whose it is (a-z, 0-9, -) (" SUBJECT_DEFAULT ")", 0},
    {0},
};

struct create_input {
    const char *state;
    uint32_t scopes;
    int64_t ttl_ms;
    const char *subject;
};

static void take_create(int key, const char *value, void *user)
{
    struct create_input *input = user;

    switch (key) {
    case KEY_STATE:
        input->state = value;
        break;
    case KEY_SCOPE:
        if (!token_scopes_parse(value, ',', &input->scopes)) {
            command_usage("--scope: '%.80s' is not a list out of "
                          "regions,launch,read,destroy,watch,admin",
                          value);
        }
        break;
    case KEY_TTL:
        if (!fly_duration_parse(value, &input->ttl_ms)) {
            command_usage("--ttl: '%.40s' is not a time such as 30m, 1h or 7d", value);
        }
        break;
    default:
        input->subject = value;
    }
}

static void set(json_t *object, const char *key, json_t *value)
{
    FLY_CHECK(json_object_set_new(object, key, value) == 0);
}

static json_t *shape_claims(const struct token_claims *claims)
{
    json_t *object = json_object();
    char text[TOKEN_SCOPES_TEXT_SIZE];
    char time[FLY_TIME_TEXT_SIZE];

    set(object, "subject", json_string(claims->subject));
    token_scopes_format(claims->scopes, ',', text);
    set(object, "scope", json_string(text));
    set(object, "id", json_string(claims->id));
    fly_time_format(claims->issued_ms, time);
    set(object, "issued_at", json_string(time));
    fly_time_format(claims->not_before_ms, time);
    set(object, "not_before", json_string(time));
    fly_time_format(claims->expires_ms, time);
    set(object, "expires_at", json_string(time));
    return object;
}

static int fail_with(struct command *command, const struct fly_error *error, int code)
{
    struct failure failure = {.status = error->status, .connected = true};

    (void)fly_copy_string(failure.message, sizeof failure.message, error->text);
    return command_fail_as(command, &failure, code);
}

static int create(int argc, char **argv)
{
    struct create_input input = {.ttl_ms = TTL_DEFAULT_MS, .subject = SUBJECT_DEFAULT};
    const struct command_spec spec = {
        .name = "flyrpc token create",
        .doc = "Makes a token from a state folder's issuer key and prints it.",
        .local = true,
        .options = create_options,
        .take = take_create,
        .user = &input,
    };
    char text[TOKEN_TEXT_MAX + 1];
    struct token_claims claims;
    struct fly_error error = {0};
    struct issuer issuer;
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    if (input.state == NULL || input.scopes == 0) {
        command_usage("%s is missing", input.state == NULL ? "--state" : "--scope");
    }
    if (issuer_open(input.state, &issuer, &error) != FLY_OK) {
        return command_end(
            &command,
            fail_with(&command, &error,
                      error.status == FLY_PERMISSION_DENIED ? EXIT_NOT_PERMITTED : EXIT_ERROR));
    }
    if (issuer_token(&issuer, input.subject, input.scopes, input.ttl_ms, fly_clock_wall_ms(), text,
                     &claims, &error) != FLY_OK) {
        code = fail_with(&command, &error,
                         error.status == FLY_INVALID_ARGUMENT ? EXIT_USAGE : EXIT_ERROR);
    } else if (command.json) {
        json_t *object = shape_claims(&claims);
        set(object, "token", json_string(text));
        command_put_json(object);
    } else {
        (void)puts(text);
    }
    issuer_close(&issuer);
    explicit_bzero(text, sizeof text);
    return command_end(&command, code);
}

static void put_line(const char *key, const char *value)
{
    char clean[1024];

    text_clean(value != NULL && value[0] != '\0' ? value : "<none>", clean, sizeof clean);
    (void)printf("%-10s  %s\n", key, clean);
}

static void put_claims(const struct token_claims *claims, const char *kid, bool expired)
{
    char text[TOKEN_SCOPES_TEXT_SIZE];
    char time[FLY_TIME_TEXT_SIZE];

    put_line("subject", claims->subject);
    token_scopes_format(claims->scopes, ',', text);
    put_line("scope", text);
    put_line("id", claims->id);
    fly_time_format(claims->issued_ms, time);
    put_line("issued", time);
    fly_time_format(claims->expires_ms, time);
    put_line("expires", time);
    put_line("expired", expired ? "yes" : "no");
    put_line("key", kid);
}

static int inspect(int argc, char **argv)
{
    const struct command_spec spec = {
        .name = "flyrpc token inspect",
        .args_doc = "TOKEN",
        .doc = "Shows what a token says. Nothing is verified: that is the edge's business.",
        .words_min = 1,
        .words_max = 1,
        .local = true,
    };
    static struct token token;
    struct token_claims claims;
    struct token_key_id kid = {.text = ""};
    struct fly_error error = {0};
    struct command command;

    command_begin(&command, &spec, argc, argv);
    const char *text = command.words[0];
    if (token_peek(text, strlen(text), &token, &error) != FLY_OK ||
        token_claims_decode(token.payload, token.payload_size, &claims, &error) != FLY_OK) {
        return command_end(&command, fail_with(&command, &error, EXIT_USAGE));
    }
    (void)token_footer_decode(token.footer, token.footer_size, &kid);
    bool expired = claims.expires_ms <= fly_clock_wall_ms();
    if (command.json) {
        json_t *object = shape_claims(&claims);
        set(object, "expired", json_boolean(expired));
        set(object, "key_id", kid.text[0] != '\0' ? json_string(kid.text) : json_null());
        set(object, "verified", json_false());
        command_put_json(object);
    } else {
        put_claims(&claims, kid.text, expired);
        command_say(&command, "not verified");
    }
    return command_end(&command, EXIT_DONE);
}

int command_token(int argc, char **argv)
{
    static const struct command_entry commands[] = {
        {"create", create, "Make a token from a state folder"},
        {"inspect", inspect, "Show what a token says"},
    };

    return command_dispatch("flyrpc token", "Access tokens.", commands, FLY_ARRAY_COUNT(commands),
                            argc, argv);
}
