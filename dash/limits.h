/*
 * limits - what a dash allows: launches a minute of one address, how many VMs may live, and which
 * region a launch "near" went to.
 *
 * Rate: in any 60 seconds at most `per_minute` launches of one address, counted in buckets of a
 * second. Addresses are IPv4 /32 and IPv6 /64 (one household has that many). A fixed table: while
 * it is full of addresses that launched within the minute, a new one is refused.
 *
 * VMs: the set of the ids that live. It begins with a list from an edge; after that events keep it.
 * Both are idempotent, so an event that the list knew already does no harm, and none is lost as
 * long as all since the list was asked for are put after it. Whoever is about to refuse asks for a
 * list again unless it is fresh.
 *
 * Near: a launch with a key of the person's own must find the same region when it is tried again,
 * though the nearest with room may be another by then.
 *
 * Pure but for the memory, which _create takes once.
 */
#ifndef FLY_DASH_LIMITS_H
#define FLY_DASH_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/event.h"
#include "proto/wire/key.h"
#include "proto/wire/token_claims.h"

enum {
    LIMITS_PER_MINUTE_DEFAULT = 30,
    LIMITS_PER_MINUTE_MAX = 60000,
    LIMITS_ADDRESSES_MAX = 4096,
    LIMITS_NEAR_MAX = 256,
    LIMITS_VMS_SPARE = 4096, /* ids kept beyond the cap */
    LIMITS_VMS_MAX = 1 << 20,
};

struct limits;

/* per_minute 0: LIMITS_PER_MINUTE_DEFAULT. Never NULL. */
struct limits *limits_create(uint32_t per_minute, uint64_t hash_seed);
void limits_destroy(struct limits *l);
uint32_t limits_per_minute(const struct limits *l);

struct limits_left {
    uint32_t left;    /* launches that this address has now */
    int64_t retry_ms; /* until it has one more than none; 0: it has one */
};
/* `address` as text without port; what is none counts as one address of its own. now_ms: a clock
 * that only rises. */
struct limits_left limits_look(const struct limits *l, const char *address, int64_t now_ms);
/* Takes one. False: nothing is left; *out says when there is. */
bool limits_take(struct limits *l, const char *address, int64_t now_ms, struct limits_left *out);

/* --- how many VMs live --- */

struct limits_vms;

/* max: 1..LIMITS_VMS_MAX, more is taken as that. */
struct limits_vms *limits_vms_create(uint32_t max, uint64_t hash_seed);
void limits_vms_destroy(struct limits_vms *v);
uint32_t limits_vms_max(const struct limits_vms *v);
/* A list in place of what was known; past max + LIMITS_VMS_SPARE they are only counted. */
void limits_vms_list(struct limits_vms *v, const uint64_t *ids, size_t count, int64_t now_ms);
/* Started or destroyed; others are passed over. */
void limits_vms_event(struct limits_vms *v, uint8_t event_type, uint64_t id);
/* Events were missed: what is known is worth nothing until the next list. */
void limits_vms_lose(struct limits_vms *v);
/* False: nothing is known. Those that this dash is launching count. */
bool limits_vms_count(const struct limits_vms *v, uint64_t *count);
/* When the list that it rests on ended; INT64_MIN: nothing is known. */
int64_t limits_vms_as_of(const struct limits_vms *v);
/* Room for one more: true counts it as being launched, until limits_vms_launched. */
bool limits_vms_reserve(struct limits_vms *v);
/* It ended: `id` of the new VM, 0: none came of it (or nobody knows). */
void limits_vms_launched(struct limits_vms *v, uint64_t id);

/* --- near --- */

struct limits_near;

struct limits_near *limits_near_create(void);
void limits_near_destroy(struct limits_near *n);
/* Where that person's launch with that key went; NULL: not known. */
const char *limits_near_find(const struct limits_near *n, const char *subject,
                             const struct fly_key *key);
/* The oldest of LIMITS_NEAR_MAX goes. */
void limits_near_put(struct limits_near *n, const char *subject, const struct fly_key *key,
                     const char *region);

/* Kilometres on the great circle (haversine, sphere of 6,371 km). */
double limits_distance_km(double latitude_a, double longitude_a, double latitude_b,
                          double longitude_b);

#endif
