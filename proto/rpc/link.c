#include "proto/rpc/link.h"

#include <sodium.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { GRANT_PART = 16 }; /* of the connection's window is granted at a time */

static struct rpc_link *link_of(void *user)
{
    return user;
}

/* PONG or a mark answered; false: it cannot be answered, the peer does not read. */
static bool link_own_frame(struct rpc_link *link, const struct frame *frame)
{
    bool fine = true;

    rpc_link_lock(link);
    if (frame->header.type == FRAME_PONG) {
        transport_marked(link->transport, frame->header.arg);
    } else {
        struct frame_header pong = {.type = FRAME_PONG, .arg = frame->header.arg};
        fine = rpc_link_put(link, pong, (struct fly_bytes){0}, (struct fly_bytes){0}, true) ==
               RPC_PUT_DONE;
    }
    rpc_link_unlock(link);
    transport_flush(link->transport);
    return fine;
}

/* WINDOW for all calls together. */
static void take_credit(struct rpc_link *link, uint32_t bytes)
{
    rpc_link_lock(link);
    bool dry = link->credit <= 0;
    link->credit += bytes;
    link->credit = link->credit > INT32_MAX ? INT32_MAX : link->credit;
    bool tell = dry && link->credit > 0;
    rpc_link_unlock(link);
    if (tell) {
        link->events->credited(link);
    }
}

static bool take_frame(struct rpc_link *link, const struct frame *frame)
{
    switch (frame->header.type) {
    case FRAME_VOID:
        return true;
    case FRAME_PING:
    case FRAME_PONG:
        return link_own_frame(link, frame);
    case FRAME_WINDOW:
        if (frame->header.call_id == 0) {
            take_credit(link, frame->header.arg);
            return true;
        }
        return link->events->frame(link, frame);
    default:
        return link->events->frame(link, frame);
    }
}

/* The preface's bytes, 0 while it is not whole, or SIZE_MAX. */
static size_t take_preface(struct rpc_link *link, const uint8_t *data, size_t size)
{
    struct fly_error error = {.text = "no preface of ours"};
    struct frame_preface theirs;

    if (!frame_preface_begins(data, size)) {
        link->events->violation(link, FRAME_BAD, error.text);
        return SIZE_MAX;
    }
    if (size < FRAME_PREFACE_SIZE) {
        return 0;
    }
    if (frame_preface_decode(data, &theirs, &error) != FLY_OK) {
        link->events->violation(link, FRAME_BAD, error.text);
        return SIZE_MAX;
    }
    rpc_link_lock(link); /* other threads may be sending already */
    link->theirs = theirs;
    link->credit = theirs.conn_window;
    link->preface_seen = true;
    link->taken = FRAME_PREFACE_SIZE;
    rpc_link_unlock(link);
    return link->events->preface(link) ? FRAME_PREFACE_SIZE : SIZE_MAX;
}

/* A frame is there in part, or none; one that the last read had left is another one now if any was
 * taken. */
static void note_began(struct rpc_link *link, size_t taken, size_t size)
{
    int64_t was_ms = atomic_load_explicit(&link->began_ms, memory_order_relaxed);
    int64_t now_ms = atomic_load_explicit(&link->heard_ms, memory_order_relaxed);
    int64_t began_ms = taken == size ? 0 : taken > 0 || was_ms == 0 ? now_ms : was_ms;

    if (began_ms != was_ms) {
        atomic_store_explicit(&link->began_ms, began_ms, memory_order_relaxed);
    }
}

static size_t on_bytes(void *user, const uint8_t *data, size_t size, size_t *wanted)
{
    struct rpc_link *link = link_of(user);
    size_t taken = 0;

    link->heard_us = fly_clock_boot_us();
    atomic_store_explicit(&link->heard_ms, link->heard_us / 1000, memory_order_relaxed);
    if (!link->preface_seen) {
        taken = take_preface(link, data, size);
        if (taken == 0 || taken == SIZE_MAX) {
            *wanted = FRAME_PREFACE_SIZE;
            return taken;
        }
    }
    for (;;) {
        struct frame frame;
        size_t used = 0;
        enum frame_step step =
            frame_next(data + taken, size - taken, link->frame_max, &frame, &used);
        if (step == FRAME_SHORT) {
            *wanted = used;
            note_began(link, taken, size);
            if (link->granted) {
                link->granted = false;
                transport_flush(link->transport);
            }
            if (link->events->rested != NULL) {
                link->events->rested(link);
            }
            return taken;
        }
        if (step == FRAME_READY) {
            link->taken += used;
            step = take_frame(link, &frame) ? FRAME_READY : FRAME_BAD;
        }
        if (step != FRAME_READY) {
            link->events->violation(link, step,
                                    step == FRAME_LARGE ? "a frame over the limit"
                                                        : "a frame that breaks the protocol");
            return SIZE_MAX;
        }
        taken += used;
    }
}

static void on_closed(void *user)
{
    link_of(user)->events->closed(link_of(user));
}

static void on_drained(void *user)
{
    link_of(user)->events->drained(link_of(user));
}

static void on_disposed(void *user)
{
    link_of(user)->events->disposed(link_of(user));
}

static void write_mark(uint32_t number, uint8_t out[static TRANSPORT_MARK_SIZE])
{
    _Static_assert((int)TRANSPORT_MARK_SIZE == (int)FRAME_HEADER_SIZE, "a mark is a bare frame");
    struct frame_header ping = {.type = FRAME_PING, .arg = number};

    frame_header_encode(&ping, out);
}

struct transport_config rpc_link_transport_config(size_t out_max, bool hold_back)
{
    static const struct transport_events events = {
        .received = on_bytes,
        .closed = on_closed,
        .drained = on_drained,
        .disposed = on_disposed,
        .mark = write_mark,
    };

    return (struct transport_config){.events = &events, .out_max = out_max, .hold_back = hold_back};
}

void rpc_link_init(struct rpc_link *link, struct transport *transport, uint32_t frame_max,
                   const struct rpc_link_events *events)
{
    memset(link, 0, sizeof *link);
    link->transport = transport;
    link->events = events;
    link->frame_max = frame_max;
    atomic_init(&link->heard_ms, fly_clock_boot_ms());
    atomic_init(&link->began_ms, 0);
}

void rpc_link_start(struct rpc_link *link, struct frame_preface ours)
{
    FLY_CHECK(sodium_init() >= 0);
    randombytes_buf(ours.nonce, sizeof ours.nonce);
    rpc_link_lock(link);
    link->ours = ours;
    link->allowed = ours.conn_window;
    uint8_t *room = transport_reserve(link->transport, FRAME_PREFACE_SIZE, true);
    if (room != NULL) {
        frame_preface_encode(&ours, room);
    }
    rpc_link_unlock(link);
    transport_start(link->transport, link);
    transport_flush(link->transport);
}

void rpc_link_lock(struct rpc_link *link)
{
    transport_lock(link->transport);
}

void rpc_link_unlock(struct rpc_link *link)
{
    transport_unlock(link->transport);
}

void rpc_link_hold(struct rpc_link *link)
{
    transport_hold(link->transport);
}

void rpc_link_drop(struct rpc_link *link)
{
    transport_drop(link->transport);
}

bool rpc_link_large(const struct rpc_link *link, size_t size, bool urgent)
{
    uint32_t size_max = link->preface_seen ? link->theirs.frame_max : FRAME_SIZE_MIN;

    return size > size_max ||
           (!urgent && FRAME_HEADER_SIZE + size > transport_out_max(link->transport));
}

/* Header and meta in place; *room is where the body goes. */
static enum rpc_put put_head(struct rpc_link *link, struct frame_header *header,
                             struct fly_bytes meta, size_t body_size, bool urgent, uint8_t **room)
{
    size_t size = meta.size + body_size;

    if (rpc_link_large(link, size, urgent)) {
        return RPC_PUT_LARGE;
    }
    *room = transport_reserve(link->transport, FRAME_HEADER_SIZE + size, urgent);
    if (*room == NULL) {
        return RPC_PUT_FULL;
    }
    header->size = (uint32_t)size;
    header->meta_size = (uint16_t)meta.size;
    frame_header_encode(header, *room);
    *room += FRAME_HEADER_SIZE;
    if (meta.size > 0) {
        memcpy(*room, meta.data, meta.size);
        *room += meta.size;
    }
    return RPC_PUT_DONE;
}

enum rpc_put rpc_link_put(struct rpc_link *link, struct frame_header header, struct fly_bytes meta,
                          struct fly_bytes body, bool urgent)
{
    uint8_t *room = NULL;
    enum rpc_put put = put_head(link, &header, meta, body.size, urgent, &room);

    if (put == RPC_PUT_DONE && body.size > 0) {
        memcpy(room, body.data, body.size);
    }
    return put;
}

enum rpc_put rpc_link_put_message(struct rpc_link *link, struct frame_header header,
                                  struct fly_bytes meta, const ProtobufCMessage *message,
                                  size_t body_size, bool urgent)
{
    uint8_t *room = NULL;
    enum rpc_put put = put_head(link, &header, meta, body_size, urgent, &room);

    if (put == RPC_PUT_DONE) {
        FLY_CHECK(protobuf_c_message_pack(message, room) == body_size);
    }
    return put;
}

/* ---- flow control of the whole connection ---- */

int64_t rpc_link_credit(const struct rpc_link *link)
{
    return link->credit;
}

void rpc_link_spend(struct rpc_link *link, uint32_t bytes)
{
    link->credit -= bytes;
}

/* What was repaid goes in steps that cost little; at once when the peer has nothing left: who waits
 * for a step then may wait for ever, if what is missing lies unread in streams that nobody reads.
 */
static bool grant(struct rpc_link *link)
{
    struct frame_header window = {.type = FRAME_WINDOW, .arg = link->repaid};
    static const struct fly_bytes nothing;
    bool step = link->repaid >= link->ours.conn_window / GRANT_PART;

    if (link->repaid == 0 || (!step && link->allowed > 0)) {
        return false;
    }
    if (rpc_link_put(link, window, nothing, nothing, true) != RPC_PUT_DONE) {
        return false; /* the connection is ending */
    }
    link->allowed += link->repaid;
    link->repaid = 0;
    return true;
}

bool rpc_link_charge(struct rpc_link *link, uint32_t bytes)
{
    /* the peer sends while it has any credit, so its last message may go past it */
    bool fine = link->allowed > 0;

    link->allowed -= bytes;
    link->granted = (fine && grant(link)) || link->granted;
    return fine;
}

bool rpc_link_repay(struct rpc_link *link, uint32_t bytes)
{
    link->repaid += bytes;
    return grant(link);
}

int64_t rpc_link_began_ms(struct rpc_link *link, int64_t now_ms)
{
    int64_t began_ms = atomic_load_explicit(&link->began_ms, memory_order_relaxed);

    if (began_ms != 0 && transport_held_back(link->transport)) {
        began_ms = now_ms;
        atomic_store_explicit(&link->began_ms, began_ms, memory_order_relaxed);
    }
    return began_ms;
}

uint64_t rpc_link_taken(const struct rpc_link *link)
{
    return link->taken;
}

int64_t rpc_link_tick(struct rpc_link *link, int64_t now_ms, int64_t keepalive_ms)
{
    int64_t heard_ms = atomic_load_explicit(&link->heard_ms, memory_order_relaxed);

    if (now_ms >= heard_ms + 2 * keepalive_ms) {
        return 0;
    }
    if (now_ms < heard_ms + keepalive_ms) {
        return heard_ms + keepalive_ms;
    }
    rpc_link_lock(link);
    transport_probe(link->transport);
    rpc_link_unlock(link);
    transport_flush(link->transport);
    return heard_ms + 2 * keepalive_ms;
}
