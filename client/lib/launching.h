/*
 * launching - one launch as a client makes it: mint a key before the first send, try, and try again
 * as outcome.h says. Shell.
 */
#ifndef FLY_CLIENT_LAUNCHING_H
#define FLY_CLIENT_LAUNCHING_H

#include <stdbool.h>
#include <stdint.h>

#include "client/lib/outcome.h"
#include "client/lib/session.h"
#include "proto/wire/key.h"

struct launching_spec {
    const char *region; /* as the server writes it: upper-case */
    uint32_t cores;
    uint64_t memory_bytes;
    const char *name; /* "": the server makes one */
    bool key_given;   /* by a person; else `key` is not looked at */
    struct fly_key key;
    int64_t timeout_ms;
};

struct launching_result {
    enum outcome_step end; /* OK, NOT_DONE or UNKNOWN */
    bool has_key;          /* false: it ended before a key was minted */
    struct fly_key key;    /* of the last try */
    uint32_t tries;        /* Launch calls made, and what the edge needed beyond one each */
    int64_t elapsed_ms;
    struct rpc_reply reply;               /* owns `launched` */
    const Fly__V1__LaunchReply *launched; /* end OK */
    struct failure failure;               /* of the last try, otherwise */
};

/* Runs to an end; a deadline, an interrupt (session.h) and a lost edge are ends too. */
void launching_run(struct session *session, const struct launching_spec *spec,
                   struct launching_result *result);
void launching_result_fini(struct launching_result *result);

/* Slices that this launch was at home in before, and that could not do it. */
enum { LAUNCHING_AVOID_MAX = OUTCOME_FRESH_MAX };
struct launching_avoid {
    uint32_t tags[LAUNCHING_AVOID_MAX];
    size_t count;
};

/* A slice for the wanted region out of what an edge handed out, by chance among those where the VM
 * fits and that are not to be avoided; else where it fits; else any of the region; else any at all,
 * so that the server can say what is wrong. 0: there is none. Pure. */
uint32_t launching_pick_tag(Fly__V1__RegionTag *const *tags, size_t count,
                            const struct launching_spec *spec, const struct launching_avoid *avoid,
                            struct fly_rng *rng);
/* Whether one of the tags is a slice other than `home` in which the VM fits. Pure. */
bool launching_other_room(Fly__V1__RegionTag *const *tags, size_t count,
                          const struct launching_spec *spec, uint32_t home);

#endif
