/*
 * flyrpc launch - a VM, durably and once (DESIGN 4.8).
 *
 * When the outcome is not known it exits 75 and prints the command that settles it: the same
 * launch with the same key.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/command.h"
#include "client/lib/launching.h"
#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/time.h"

enum { KEY_REGION = 1, KEY_MEMORY, KEY_CORES, KEY_KEY, KEY_NAME, REGION_SIZE = 64 };

static const struct argp_option options[] = {
    {"region", KEY_REGION, "CODE", 0, "Region, such as SIN", 0},
    {"vm-region", KEY_REGION, NULL, OPTION_ALIAS, NULL, 0},
    {"memory", KEY_MEMORY, "SIZE", 0, "Memory: 6 is 6 GB; also 512MB, 4GiB", 0},
    {"vm-memory", KEY_MEMORY, NULL, OPTION_ALIAS, NULL, 0},
    {"cores", KEY_CORES, "N", 0, "Cores", 0},
    {"vm-cores", KEY_CORES, NULL, OPTION_ALIAS, NULL, 0},
    {"key", KEY_KEY, "HEX|TEXT", 0, "Idempotency key: the same key never makes a second VM", 0},
    {"name", KEY_NAME, "NAME", 0, "Name of the VM (a-z, 0-9, -); made up without it", 0},
    {0},
};

static const char doc[] =
    "Launches a VM in a region and answers when it is durably allocated.\v"
    "Exits 0 only with a VM; 2 when nothing has room; 75 when the outcome is not known or trying "
    "again may help, and then prints the command to run again.";

struct input {
    char region[REGION_SIZE];
    const char *memory; /* as the person wrote it, for the command to run again */
    uint64_t memory_bytes;
    uint32_t cores;
    const char *name;
    bool key_given;
    struct fly_key key;
};

static void take_cores(struct input *input, const char *value)
{
    size_t size = strlen(value);
    unsigned long long cores = 0;

    if (size >= 1 && size <= 9 && strspn(value, "0123456789") == size) {
        cores = strtoull(value, NULL, 10);
    }
    if (cores == 0) {
        command_usage("--cores: '%.40s' is not a whole number, at least 1", value);
    }
    input->cores = (uint32_t)cores;
}

static void take_region(struct input *input, const char *value)
{
    if (value[0] == '\0' || !fly_copy_string(input->region, sizeof input->region, value)) {
        command_usage("--region: '%.40s' is not a region code", value);
    }
    for (char *c = input->region; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~') {
            command_usage("--region: '%.40s' is not a region code", value);
        }
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    }
}

static void take(int key, const char *value, void *user)
{
    struct input *input = user;

    switch (key) {
    case KEY_REGION:
        take_region(input, value);
        break;
    case KEY_MEMORY:
        input->memory = value;
        if (!fly_size_parse(value, &input->memory_bytes)) {
            command_usage("--memory: '%.40s' is not a size such as 6 (GB), 512MB or 4GiB", value);
        }
        break;
    case KEY_CORES:
        take_cores(input, value);
        break;
    case KEY_KEY:
        input->key_given = true;
        if (!key_parse(value, &input->key)) {
            command_usage(value[0] == '\0' || strlen(value) > FLY_KEY_TEXT_MAX
                              ? "--key: it is empty or longer than 256 bytes"
                              : "--key: '%.40s' is a key with a mistake in it",
                          value);
        }
        break;
    default:
        input->name = value;
        if (!fly_name_ok(value)) {
            command_usage("--name: '%.63s' is not 1 to 63 of a-z, 0-9 and -", value);
        }
    }
}

static void check_input(const struct input *input)
{
    const char *missing = input->region[0] == '\0' ? "--region"
                          : input->memory == NULL  ? "--memory"
                          : input->cores == 0      ? "--cores"
                                                   : NULL;

    if (missing != NULL) {
        command_usage("%s is missing", missing);
    }
}

/* Where to: what was given, and the edges that were told of, for the given one may be dead. */
static void put_edges(const struct command *command)
{
    char told[CHOICES_LIST_SIZE];

    choices_told(&command->session.choices, told);
    if (command->flags.addr[0] != '\0' || told[0] != '\0') {
        (void)fputs(" --addr ", stderr);
        text_put_shell_word(stderr, command->settings.addr);
        if (told[0] != '\0') {
            (void)fputc(',', stderr);
            text_put_shell_word(stderr, told);
        }
    }
    if (command->flags.ca[0] != '\0') {
        (void)fputs(" --ca ", stderr);
        text_put_shell_word(stderr, command->flags.ca);
    }
}

/* The same launch with its key, ready to paste. The token stays out of it. */
static void put_again(const struct command *command, const struct input *input,
                      const struct fly_key *key)
{
    char text[FLY_KEY_TEXT_SIZE];

    key_format(key, text);
    (void)fputs("  flyrpc launch --region ", stderr);
    text_put_shell_word(stderr, input->region);
    (void)fputs(" --memory ", stderr);
    text_put_shell_word(stderr, input->memory);
    (void)fprintf(stderr, " --cores %u", input->cores);
    if (input->name != NULL) {
        (void)fprintf(stderr, " --name %s", input->name);
    }
    put_edges(command);
    if (command->flags.token_file[0] != '\0') {
        (void)fputs(" --token-file ", stderr);
        text_put_shell_word(stderr, command->flags.token_file);
    }
    if (command->timeout_given_ms != 0) {
        (void)fprintf(stderr, " --timeout %lldms", (long long)command->timeout_given_ms);
    }
    (void)fprintf(stderr, "%s --key %s\n", command->json ? " --json" : "", text);
    if (command->flags.token[0] != '\0') {
        (void)fputs("  (and --token as before)\n", stderr);
    }
}

/* Never 0 without a VM: a key outlives its VM by a while, and then tells of a dead one. */
static int put_launched(struct command *command, const struct launching_result *result)
{
    const Fly__V1__LaunchReply *launched = result->launched;

    if (command->json) {
        json_t *object = shape_vm(launched->vm);
        FLY_CHECK(object != NULL);
        (void)json_object_set_new(object, "elapsed_ms", json_integer(result->elapsed_ms));
        (void)json_object_set_new(object, "tries", json_integer(result->tries));
        (void)json_object_set_new(object, "replayed", json_boolean(launched->replayed));
        command_put_json(object);
    } else {
        command_put_vm(launched->vm);
        (void)printf("%-9s  %lld ms\n", "elapsed", (long long)result->elapsed_ms);
        (void)printf("%-9s  %s\n", "replayed",
                     launched->replayed ? "yes: this key's VM was there" : "no");
    }
    if (launched->vm->state != FLY__V1__VM_STATE__VM_STATE_DESTROYED) {
        return EXIT_DONE;
    }
    command_say(command, "this key's VM was destroyed: launch again with a fresh key");
    return EXIT_ERROR;
}

static int put_unknown(struct command *command, const struct input *input,
                       struct launching_result *result)
{
    struct failure *failure = &result->failure;
    bool stopped = session_interrupted();

    (void)snprintf(failure->hint, sizeof failure->hint, "%s",
                   "run the same launch again with the same key, or cancel the key");
    failure->reason = FLY__V1__REASON__REASON_OUTCOME_UNKNOWN;
    failure->retryable = true;
    command_say(command, "%s: the outcome is not known: a VM may have been launched",
                stopped ? "interrupted" : "no answer");
    int code = command_fail_as(command, failure, stopped ? EXIT_INTERRUPTED : EXIT_TRY_AGAIN);
    command_say(command, "to settle it, run again:");
    put_again(command, input, &result->key);
    return code;
}

static int put_not_done(struct command *command, const struct input *input,
                        struct launching_result *result)
{
    int code = command_fail(command, &result->failure);

    if (code == EXIT_TRY_AGAIN && result->has_key) {
        command_say(command, "nothing was launched by this call; to try again:");
        put_again(command, input, &result->key);
    }
    return code;
}

int command_launch(int argc, char **argv)
{
    struct input input = {.cores = 0};
    const struct command_spec spec = {
        .name = "flyrpc launch",
        .doc = doc,
        .options = options,
        .take = take,
        .user = &input,
    };
    struct launching_result result;
    struct command command;
    int code = EXIT_DONE;

    command_begin(&command, &spec, argc, argv);
    check_input(&input);
    struct launching_spec launch = {
        .region = input.region,
        .cores = input.cores,
        .memory_bytes = input.memory_bytes,
        .name = input.name != NULL ? input.name : "",
        .key_given = input.key_given,
        .key = input.key,
        .timeout_ms = command.timeout_ms,
    };
    launching_run(&command.session, &launch, &result);
    if (result.end == OUTCOME_OK) {
        code = put_launched(&command, &result);
    } else if (result.end == OUTCOME_UNKNOWN) {
        code = put_unknown(&command, &input, &result);
    } else {
        code = put_not_done(&command, &input, &result);
    }
    launching_result_fini(&result);
    return command_end(&command, code);
}
