/*
 * front_watch_parts - the insides of watching: front_watch.c (life, places, turns),
 * front_watch_ask.c (what owners are asked), front_watch_batch.c (what many watchers are told
 * alike).
 */
#ifndef FLY_NODE_FRONT_WATCH_PARTS_H
#define FLY_NODE_FRONT_WATCH_PARTS_H

#include "node/front_parts.h"
#include "proto/wire/cursors.h"

/* What a watcher wants to be told. */
struct watch_filter {
    char region[FLY_REGION_SIZE]; /* empty: all */
    uint64_t types;               /* bit 1 << type; 0: all */
    bool latest;                  /* WATCH_LATEST_PER_OBJECT */
};

bool watch_wanted(const struct watch_filter *filter, const struct event *event);

enum watch_mode {
    WATCH_WAIT = 0, /* nothing is known of the slice yet */
    WATCH_LIVE,     /* events come from the stream's ring */
    WATCH_CATCHUP,  /* and before that from the owner's retention */
    WATCH_RESET,    /* what lives now is being told */
};

/* Where a watcher stands in one slice. */
struct watch_slice {
    uint32_t tag;
    enum watch_mode mode;
    bool waited;          /* the watch began before anything was known of the slice */
    uint64_t incarnation; /* of `next`; 0: none */
    uint64_t next;        /* seq of the next event to send */
    uint64_t range_to;    /* LATEST: end of the range that is being told */
    int64_t range_ms;     /* and when that began */
    bool asking;          /* an owner was asked for it */
    int64_t ask_ms;       /* not before */
    uint64_t reset_after; /* RESET: VMs up to this number were sent */
    uint64_t reset_incarnation;
    uint64_t reset_next; /* where events go on after the reset; 0: its first part was not sent */
    const char *reason;  /* of the reset: static */
};

struct watcher {
    struct rpc_call *call;
    uint64_t id;
    struct watch_filter filter;
    uint32_t pace_ms;           /* a slice's events go out once in this time */
    struct watch_slice *slices; /* CURSORS_MAX */
    uint32_t slice_count;
    bool from_now;       /* began without a cursor */
    bool begun;          /* has had its first turn */
    bool blocked;        /* until on_writable */
    bool cut;            /* blocked in the middle: then it goes on in the same period */
    bool behind;         /* something is left to be told or asked, whatever else happens */
    bool tell;           /* its cursor has a slice that it was not told of */
    uint64_t untold;     /* events that its filter left out since it was told where it stands */
    int64_t told_period; /* of pace_ms, in which it was told events last */
    uint64_t heard;      /* of all streams, when there was nothing left to be told */
    int64_t began_ms;    /* wall */
    uint32_t turn;       /* the stream that is looked at first */
    const char *refused; /* why it ends; NULL: it does not */
    struct fly_list link;
};

/* --- front_watch.c: messages --- */

/* A part of what lives now. `last`: no more follows. */
void watch_send_reset(struct watcher *w, struct watch_slice *ws, uint64_t incarnation, uint64_t seq,
                      Fly__V1__Vm **vms, size_t count, uint64_t after, bool last);
void watch_start_reset(struct watch_slice *ws, const char *reason);

struct watch_batch;
/* Sends the batch; the watcher stands behind it then. False: not now. */
bool watch_send_batch(struct watcher *w, struct watch_slice *ws, struct watch_batch *batch);

/* --- front_watch_ask.c --- */

void watch_ask_catchup(struct front *f, struct watcher *w, struct watch_slice *ws, int64_t now_ms);
void watch_ask_reset(struct front *f, struct watcher *w, struct watch_slice *ws, int64_t now_ms);

/* --- front_watch_batch.c --- */

/* Events as a WatchReply has them, with room behind them for a cursor. */
struct watch_batch {
    uint64_t next;  /* where whoever was told them stands */
    uint32_t count; /* events; 0: the filter left all out */
    size_t size;
    uint8_t *bytes; /* size, then WATCH_CURSOR_ROOM */
};

enum { WATCH_CURSOR_ROOM = CURSORS_TEXT_SIZE + 8 };

struct watch_batches *watch_batches_create(uint64_t seed);
void watch_batches_destroy(struct watch_batches *b);
/* What a watcher that stands at `from` of the stream is told of from..to, or of their beginning;
 * all of them are in its ring. Valid until the next call: the same place, filter and `to` get the
 * same bytes, made once. */
struct watch_batch *watch_batch_of(struct watch_batches *b, const struct stream *st,
                                   const struct watch_filter *filter, uint64_t from, uint64_t to);
/* The same of a page of at most WATCH_BATCH_MAX events that an owner replayed. */
struct watch_batch *watch_batch_of_page(struct watch_batches *b, struct event_message *page,
                                        const struct watch_filter *filter);

#endif
