/*
 * flush - when an owner publishes which events: FlyD's conflation (DESIGN 6), and the messages.
 *
 *   first change after a pause   at once
 *   more within the interval     together, when the interval since the last flush is over
 *   nothing for a second         a heartbeat, so that a lost last message is noticed
 *
 * A flush of many events is cut into messages of at most FLUSH_MESSAGE_BYTES, or, where it holds
 * more than FLUSH_STATE_EVENTS and the source can say what its machines are now, becomes one STATE.
 * Only applied events are ever noted. Pure: the caller owns the clock, the log and the socket.
 */
#ifndef FLY_WIRE_FLUSH_H
#define FLY_WIRE_FLUSH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/wire/event.h"

enum {
    FLUSH_INTERVAL_MS = 50, /* the default of --flush-interval */
    FLUSH_HEARTBEAT_MS = 1000,
    FLUSH_MESSAGE_BYTES = 256 * 1024,
    FLUSH_STATE_EVENTS = 4096,
    FLUSH_MACHINES_MAX = 65536, /* of a slice */
};

enum flush_kind {
    FLUSH_NOTHING = 0,
    FLUSH_EVENTS, /* from..to */
    FLUSH_HEARTBEAT,
};

/* Caller's memory, private. */
struct flush {
    int64_t interval_ms;
    uint64_t last;      /* the log's last event */
    uint64_t published; /* the last one that went out */
    int64_t flushed_ms; /* when events last went out */
    int64_t spoken_ms;  /* when anything last went out */
};

/* Events up to `last` are history: nobody gets them from here. Says a heartbeat first. */
void flush_init(struct flush *f, int64_t interval_ms, uint64_t last, int64_t now_ms);
/* The log's last event is `last` now; never less than before. */
void flush_note(struct flush *f, uint64_t last);
/* What to publish now; it counts as published. Call again until NOTHING. Of a heartbeat, `to`. */
enum flush_kind flush_next(struct flush *f, int64_t now_ms, uint64_t *from, uint64_t *to);
/* When flush_next has something to say without another note before. */
int64_t flush_deadline(const struct flush *f);

/* Where messages take what they carry. */
struct flush_source {
    uint32_t slice;
    uint64_t incarnation;
    /* The encoded body of event `seq`, valid until the next call; size 0: not kept any more. */
    struct fly_bytes (*body)(void *user, uint64_t seq);
    /* The machine of this name as it is now: its number (< FLUSH_MACHINES_MAX, each its own) and
     * its state; false: it is gone. NULL: there is no STATE. */
    bool (*machine)(void *user, const char *name, uint32_t *number, struct event_machine *out);
    void *user;
};

/* Memory of the messages; one for all slices. */
struct flush_scratch {
    uint8_t message[EVENT_MESSAGE_BYTES_MAX];
    uint8_t seen[FLUSH_MACHINES_MAX / 8]; /* machines that are in the STATE */
};

/* One EVENTS message of as many of from..to as fit into `max` bytes (≥ 512), at least one: returns
 * its size and sets *end to its last event. 0: `from` is not kept any more. For replay too. */
size_t flush_message(const struct flush_source *source, uint64_t from, uint64_t to, uint8_t *out,
                     size_t max, uint64_t *end);
/* One STATE message for from..to, whose events are all kept, where `to` is the log's last event:
 * the machines are asked for as they are now. 0: it does not fit, or some events are not kept. A
 * machine that is gone is there as removed. */
size_t flush_state(const struct flush_source *source, uint64_t from, uint64_t to,
                   struct flush_scratch *scratch);
/* flush_next and its messages, until there is nothing more to say now: `send` gets each. */
void flush_run(struct flush *f, const struct flush_source *source, int64_t now_ms,
               struct flush_scratch *scratch, void (*send)(void *user, struct fly_bytes message),
               void *user);

#endif
