/*
 * live_internal - what live.c (browsers) and live_flush.c (frames) share.
 */
#ifndef FLY_DASH_LIVE_INTERNAL_H
#define FLY_DASH_LIVE_INTERNAL_H

#include "dash/core/frame.h"
#include "dash/core/tail.h"
#include "dash/live.h"
#include "dash/live_message.h"
#include "dash/server_internal.h"

enum { LIVE_LOOK_WORDS = DASH_LOOK_MAX / 64 };

/* What a browser looks at, and which of it is to be told. */
struct live_look {
    uint32_t count;
    uint64_t due[LIVE_LOOK_WORDS];
    uint32_t machines[DASH_LOOK_MAX];
};

struct live_frame {
    struct live *live;
    uint32_t references; /* the ring's, and of each browser in the midst of it */
    uint32_t seq;
    uint32_t size;
    bool in_ring;
    uint8_t room[]; /* LWS_PRE bytes, then `size` */
};

struct live_browser {
    struct fly_list link;
    struct lws *wsi;
    struct dash_who who;
    bool by_session;
    bool hello_due;
    bool paused;
    const char *resync_why; /* NULL: none is due */
    uint16_t close_code;    /* 0: it lives */
    const char *close_why;
    uint32_t closing_s;
    bool close_sent;
    uint32_t next;              /* seq of its next frame */
    struct live_frame *sending; /* in the midst of it */
    uint32_t sent;
    uint32_t said; /* messages in this second */
    uint8_t session[SIGNIN_HASH_SIZE];
    struct live_look *look; /* NULL: nothing */
    char *text;             /* of a message that comes in parts; LIVE_MESSAGE_BYTES_MAX */
    size_t text_size;
};

struct live {
    struct server *server;
    struct fly_list browsers;
    uint32_t count;
    uint32_t lookers;
    uint32_t seq;                           /* of the newest frame; 0: none yet */
    struct live_frame *ring[LIVE_RING_MAX]; /* frame seq at seq % LIVE_RING_MAX */
    size_t held_bytes;                      /* of frames that only browsers hold */
    int64_t turn_ms;      /* of the next frame; one may be ahead of it by the pace */
    int64_t due_ms;       /* when the flush timer fires */
    uint64_t event_count; /* told until now */
    uint64_t members_version;
    uint64_t *changed; /* bitmap of machines in the newest frame */
    uint32_t changed_max;
    /* room for making, each as large as its kind can be */
    uint8_t *tail;
    uint8_t *frame;
    uint32_t *detailed;
    uint8_t *message; /* LWS_PRE bytes before it */
};

void live_flush_init(struct live *live);
void live_flush_fini(struct live *live);
/* The frame, or NULL: it is no longer kept. */
struct live_frame *live_frame_at(struct live *live, uint32_t seq);
void live_frame_drop(struct live_frame *frame);
/* Frames that left the ring hold too much: who is in the midst of one is cut off. */
void live_bound_held(struct live *live);
void live_end(struct live_browser *browser, uint16_t code, const char *why);

#endif
