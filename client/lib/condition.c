#include "client/lib/condition.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/lib/text.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/wire/vmid.h"

enum { CODE_LENGTH_MAX = 15, NAME_LENGTH_MAX = 63, CORES_DIGITS_MAX = 9 };

#define WORDS "vm=ID, vm=ID:destroyed, name=NAME, name=NAME:destroyed, region=CODE:free>=CORES"

static void change_case(char *text, bool upper)
{
    for (; *text != '\0'; text++) {
        if (upper) {
            *text = *text >= 'a' && *text <= 'z' ? (char)(*text - 'a' + 'A') : *text;
        } else {
            *text = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;
        }
    }
}

/* As ids are written: in lower case, and what is read as 0 or 1 is 0 or 1. */
static void canonical(char *digits)
{
    change_case(digits, false);
    for (; *digits != '\0'; digits++) {
        *digits = *digits == 'o' ? '0' : *digits == 'i' || *digits == 'l' ? '1' : *digits;
    }
}

/* "started", "destroyed" or nothing. */
static enum fly_status parse_state(const char *state, struct condition *out,
                                   struct fly_error *error)
{
    static const char *const states[] = {"started", "destroyed"};

    if (state == NULL || strcasecmp(state, states[0]) == 0) {
        return FLY_OK;
    }
    if (strcasecmp(state, states[1]) == 0) {
        out->destroyed = true;
        return FLY_OK;
    }
    const char *near = text_nearest(state, states, FLY_ARRAY_COUNT(states));
    return fly_error_set(error, FLY_INVALID_ARGUMENT,
                         "'%.40s' is not a state to wait for: started or destroyed%s%s%s", state,
                         near != NULL ? " (did you mean " : "", near != NULL ? near : "",
                         near != NULL ? "?)" : "");
}

static enum fly_status parse_vm(struct condition *out, const char *state, struct fly_error *error)
{
    size_t size = strlen(out->word);
    uint64_t ignored;

    if (size == 0 || size > VMID_DIGITS || !fly_crockford_decode(out->word, size, &ignored)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "'%.40s' is not a VM's id or the beginning of one (1 to %d letters "
                             "and digits)",
                             out->word, VMID_DIGITS);
    }
    canonical(out->word);
    return parse_state(state, out, error);
}

static enum fly_status parse_name(struct condition *out, const char *state, struct fly_error *error)
{
    size_t size = strlen(out->word);

    if (size == 0 || size > NAME_LENGTH_MAX ||
        strspn(out->word, "abcdefghijklmnopqrstuvwxyz0123456789-") != size) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "'%.63s' is not a VM's name (1 to %d of a-z, 0-9 and -)", out->word,
                             NAME_LENGTH_MAX);
    }
    return parse_state(state, out, error);
}

static enum fly_status parse_region(struct condition *out, const char *what,
                                    struct fly_error *error)
{
    size_t size = strlen(out->word);

    if (size == 0 || size > CODE_LENGTH_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "'%.40s' is not a region code",
                             out->word);
    }
    if (what == NULL || strncasecmp(what, "free", 4) != 0 || (what[4] != '>' && what[4] != '<') ||
        what[5] != '=') {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "behind region=%s there must be :free>=CORES or :free<=CORES",
                             out->word);
    }
    const char *digits = what + 6;
    size = strlen(digits);
    if (size == 0 || size > CORES_DIGITS_MAX || strspn(digits, "0123456789") != size) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "'%.40s' is not a number of cores",
                             digits);
    }
    out->at_most = what[4] == '<';
    out->cores = strtoull(digits, NULL, 10);
    change_case(out->word, true);
    return FLY_OK;
}

enum fly_status condition_parse(const char *text, struct condition *out, struct fly_error *error)
{
    static const char *const keys[] = {"vm", "name", "region"};
    struct condition c = {.kind = CONDITION_NONE};
    char key[16] = "";
    const char *equals = strchr(text, '=');
    size_t key_size = equals != NULL ? (size_t)(equals - text) : 0;
    enum fly_status status = FLY_OK;

    if (equals == NULL || key_size >= sizeof key) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "'%.60s' is none of " WORDS, text);
    }
    memcpy(key, text, key_size);
    const char *value = equals + 1;
    const char *colon = strchr(value, ':');
    size_t size = colon != NULL ? (size_t)(colon - value) : strlen(value);
    if (size >= sizeof c.word) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "what follows %s= is longer than %zu",
                             key, sizeof c.word - 1);
    }
    memcpy(c.word, value, size);
    const char *rest = colon != NULL ? colon + 1 : NULL;
    if (strcasecmp(key, "vm") == 0) {
        c.kind = CONDITION_VM;
        status = parse_vm(&c, rest, error);
    } else if (strcasecmp(key, "name") == 0) {
        c.kind = CONDITION_NAME;
        status = parse_name(&c, rest, error);
    } else if (strcasecmp(key, "region") == 0) {
        c.kind = CONDITION_REGION;
        status = parse_region(&c, rest, error);
    } else {
        const char *near = text_nearest(key, keys, FLY_ARRAY_COUNT(keys));
        status = fly_error_set(error, FLY_INVALID_ARGUMENT, "'%.15s=' is none of " WORDS "%s%s%s",
                               key, near != NULL ? " (did you mean " : "", near != NULL ? near : "",
                               near != NULL ? "=?)" : "");
    }
    if (status == FLY_OK) {
        *out = c;
    }
    return status;
}

enum condition_says condition_event(const struct condition *c, const Fly__V1__Event *event)
{
    bool started = event->type == FLY__V1__EVENT_TYPE__EVENT_VM_STARTED;
    bool destroyed = event->type == FLY__V1__EVENT_TYPE__EVENT_VM_DESTROYED;

    switch (c->kind) {
    case CONDITION_NONE:
        return CONDITION_NOTHING;
    case CONDITION_REGION:
        return strcasecmp(event->region, c->word) == 0 ? CONDITION_LOOK : CONDITION_NOTHING;
    case CONDITION_VM:
        if (strncmp(event->vm, c->word, strlen(c->word)) != 0 || !(started || destroyed)) {
            return CONDITION_NOTHING;
        }
        if (strlen(c->word) < VMID_DIGITS) {
            return CONDITION_LOOK; /* is it the only one that begins so? */
        }
        return started == !c->destroyed ? CONDITION_HOLDS : CONDITION_NOTHING;
    case CONDITION_NAME:
        if (strcmp(event->name, c->word) != 0 || !(started || destroyed)) {
            return CONDITION_NOTHING;
        }
        if (c->destroyed) {
            return destroyed ? CONDITION_LOOK : CONDITION_NOTHING;
        }
        return started ? CONDITION_HOLDS : CONDITION_NOTHING;
    }
    return CONDITION_NOTHING;
}

bool condition_free(const struct condition *c, uint64_t cores_free)
{
    return c->at_most ? cores_free <= c->cores : cores_free >= c->cores;
}
