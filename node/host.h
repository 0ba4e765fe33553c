/*
 * host - one slice hosted by this node: its owner over its journal, and recovery between them.
 *
 * When an append fails after its submission the owner stops (every proposal UNKNOWN), the journal
 * is closed and opened again, with a pause that doubles, and a new owner with a new boot reads the
 * log from its start: only then is any key spoken of again (DESIGN 4.7). Damage is not repaired
 * here: `fatal` is called and the node stops. Shell; all on the loop's thread.
 */
#ifndef FLY_NODE_HOST_H
#define FLY_NODE_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "node/slice/journal.h"
#include "node/slice/owner.h"

struct host;

struct host_hooks {
    /* An answer to a host_call. May call host_call. */
    void (*answer)(void *user, const struct owner_answer *answer);
    /* The state was read from a snapshot: what the log tells comes on top of it. */
    void (*restored)(void *user, const struct slice_state *state);
    /* An applied event, in order; also those of a replay. */
    void (*event)(void *user, const struct event *event);
    /* The slice leads: calls are decided from now on. Again after every recovery. */
    void (*ready)(void *user);
    /* The log cannot be read or understood. The host answers nothing any more. */
    void (*fatal)(void *user, const struct fly_error *error);
};

struct host_config {
    const char *dir; /* the slice's folder, must exist; copied by the journal */
    uv_loop_t *loop;
    uint32_t tag;
    uint32_t root_tag;
    struct host_hooks hooks;
    void *user;
};

struct host_stats {
    struct journal_stats journal;
    struct owner_counters owner;
    uint64_t recoveries; /* journals opened again after a failure */
    uint64_t failures;   /* failed() and failed opens */
    bool ready;
};

/* Opens the slice; answers wait for ready(). Errors as journal_open. */
enum fly_status host_open(struct host **out, const struct host_config *config,
                          struct fly_error *error);
/* Answers everything that waits, closes the journal, frees the host, then calls closed(). */
void host_close(struct host *h, void (*closed)(void *user));

/* One call to the owner; its answer comes through hooks.answer during host_turn, later or now. */
void host_call(struct host *h, const struct owner_call *call, struct owner_now now);
/* Expiries; hands out answers until none is left; appends what waits. Once or more per turn. */
void host_turn(struct host *h, struct owner_now now);
/* Boot ms of the next thing to do; INT64_MAX: none. */
int64_t host_deadline(const struct host *h);
/* The slice was founded by this process: it had no log before. */
bool host_founded(const struct host *h);
/* Leads, and its disk answers: what health says. */
bool host_serving(const struct host *h);
/* For reads; NULL while the slice is not ready. */
struct owner *host_owner(struct host *h);
void host_stats(const struct host *h, struct host_stats *out);

#endif
