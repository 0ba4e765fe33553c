/*
 * autospawn - VMs that come and go by themselves while somebody looks: when, where, and when each
 * of them ends. A step machine: told the time and the visitors, it says what to do.
 *
 * The first visitor starts it at once; then one VM every AUTOSPAWN_EVERY_MS ± 20 %, in each region
 * in turn; it stops AUTOSPAWN_LINGER_MS after the last visitor. Each VM ends AUTOSPAWN_LIFE_MS
 * after it came, visitors or not. Pure.
 */
#ifndef FLY_DASH_AUTOSPAWN_H
#define FLY_DASH_AUTOSPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/rng.h"

enum {
    AUTOSPAWN_EVERY_MS = 60000,
    AUTOSPAWN_JITTER_PER_CENT = 20,
    AUTOSPAWN_LINGER_MS = 60000,
    AUTOSPAWN_LIFE_MS = 60000,
    AUTOSPAWN_AGAIN_MS = 10000, /* after a destroy that failed */
    AUTOSPAWN_VMS_MAX = 16,     /* with so many of its own it launches no more */
    AUTOSPAWN_ID_SIZE = 16,
};

struct autospawn_vm {
    char id[AUTOSPAWN_ID_SIZE]; /* "": none */
    int64_t end_ms;
    bool ending; /* a destroy is under way */
};

/* Caller's memory. */
struct autospawn {
    struct fly_rng rng;
    uint32_t region_count;
    uint32_t region_next;
    bool active;
    bool launching;
    int64_t seen_ms; /* the last visitor */
    int64_t next_ms; /* the next launch */
    struct autospawn_vm vms[AUTOSPAWN_VMS_MAX];
};

struct autospawn_todo {
    bool launch;
    uint32_t region;     /* index of the list that it was made with */
    const char *destroy; /* id; NULL: nothing. Ask again for the next */
};

/* region_count ≥ 1. */
void autospawn_init(struct autospawn *a, uint32_t region_count, uint64_t seed);
/* What to do now; call until there is nothing. */
struct autospawn_todo autospawn_tick(struct autospawn *a, int64_t now_ms, uint32_t visitors);
/* The launch ended: the new VM's id, or NULL. */
void autospawn_launched(struct autospawn *a, int64_t now_ms, const char *id);
/* One that was found from an earlier life: it ends as if it had just come. */
void autospawn_adopt(struct autospawn *a, int64_t now_ms, const char *id);
/* The destroy ended; false: it is tried again. */
void autospawn_destroyed(struct autospawn *a, int64_t now_ms, const char *id, bool gone);

#endif
