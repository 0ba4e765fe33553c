/*
 * condition - what `flyrpc watch --for` waits for.
 *
 *   vm=ID              the VM runs (ID: 12 digits, or a prefix that only one has)
 *   vm=ID:destroyed    it is destroyed
 *   name=NAME          a VM of this name runs
 *   name=NAME:destroyed  one of this name was destroyed, and none of it runs
 *   region=CODE:free>=N  so many cores are free in the region; also free<=N
 *
 * `:started` may be written where nothing stands above. Pure: an event either settles it, or says
 * that it must be looked at; looking is the caller's.
 */
#ifndef FLY_CLIENT_CONDITION_H
#define FLY_CLIENT_CONDITION_H

#include <stdbool.h>
#include <stdint.h>

#include "fly/v1/edge.pb-c.h"
#include "proto/base/status.h"

enum condition_kind { CONDITION_NONE = 0, CONDITION_VM, CONDITION_NAME, CONDITION_REGION };

enum { CONDITION_WORD_SIZE = 64 };

struct condition {
    enum condition_kind kind;
    char word[CONDITION_WORD_SIZE]; /* id or prefix in lower case, name, code in upper case */
    bool destroyed;
    bool at_most; /* REGION: free<= */
    uint64_t cores;
};

/* INVALID_ARGUMENT says what is wrong with it, and what may have been meant. */
enum fly_status condition_parse(const char *text, struct condition *out, struct fly_error *error);

enum condition_says {
    CONDITION_NOTHING = 0, /* the event has nothing to do with it */
    CONDITION_HOLDS,
    CONDITION_LOOK, /* it may hold now */
};

enum condition_says condition_event(const struct condition *c, const Fly__V1__Event *event);
/* Whether so many free cores will do. */
bool condition_free(const struct condition *c, uint64_t cores_free);

#endif
