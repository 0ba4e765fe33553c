#include "proto/wire/flush.h"

#include <string.h>

#include "proto/base/check.h"

void flush_init(struct flush *f, int64_t interval_ms, uint64_t last, int64_t now_ms)
{
    FLY_CHECK(interval_ms >= 0);
    *f = (struct flush){
        .interval_ms = interval_ms,
        .last = last,
        .published = last,
        .flushed_ms = now_ms - interval_ms,
        .spoken_ms = now_ms - FLUSH_HEARTBEAT_MS,
    };
}

void flush_note(struct flush *f, uint64_t last)
{
    FLY_CHECK(last >= f->last);
    f->last = last;
}

int64_t flush_deadline(const struct flush *f)
{
    int64_t heartbeat = f->spoken_ms + FLUSH_HEARTBEAT_MS;
    int64_t flush = f->flushed_ms + f->interval_ms;

    return f->last > f->published && flush < heartbeat ? flush : heartbeat;
}

enum flush_kind flush_next(struct flush *f, int64_t now_ms, uint64_t *from, uint64_t *to)
{
    *from = f->published + 1;
    *to = f->last;
    if (f->last > f->published && now_ms >= f->flushed_ms + f->interval_ms) {
        f->published = f->last;
        f->flushed_ms = now_ms;
        f->spoken_ms = now_ms;
        return FLUSH_EVENTS;
    }
    if (now_ms >= f->spoken_ms + FLUSH_HEARTBEAT_MS) {
        *to = f->published; /* with a long interval: what waits is not missing yet */
        f->spoken_ms = now_ms;
        return FLUSH_HEARTBEAT;
    }
    return FLUSH_NOTHING;
}

size_t flush_message(const struct flush_source *source, uint64_t from, uint64_t to, uint8_t *out,
                     size_t max, uint64_t *end)
{
    uint8_t head[EVENT_HEAD_BYTES_MAX];
    size_t size = EVENT_HEAD_BYTES_MAX; /* bodies first: their number decides the head's size */
    uint64_t seq = from;

    FLY_CHECK(from >= 1 && from <= to && max >= EVENT_HEAD_BYTES_MAX + EVENT_BODY_BYTES_MAX);
    for (; seq <= to && seq - from < EVENT_RANGE_MAX; seq++) {
        struct fly_bytes body = source->body(source->user, seq);
        if (body.size == 0 || body.size > max - size) {
            break;
        }
        memcpy(out + size, body.data, body.size);
        size += body.size;
    }
    if (seq == from) {
        return 0;
    }
    *end = seq - 1;
    size_t head_size = event_head_encode(source->slice, source->incarnation, from, *end, head);
    size -= EVENT_HEAD_BYTES_MAX;
    memmove(out + head_size, out + EVENT_HEAD_BYTES_MAX, size);
    memcpy(out, head, head_size);
    return head_size + size;
}

/* Appends the machine of one event, unless it is there; false: no room. */
static bool state_add(const struct flush_source *source, const struct event *event,
                      struct flush_scratch *scratch, size_t *size, uint32_t *count)
{
    uint8_t bytes[EVENT_BODY_BYTES_MAX];
    struct event_machine machine;
    uint32_t number = 0;

    if (source->machine(source->user, event->machine, &number, &machine)) {
        uint8_t bit = (uint8_t)(1U << number % 8);
        FLY_CHECK(number < FLUSH_MACHINES_MAX);
        if ((scratch->seen[number / 8] & bit) != 0) {
            return true;
        }
        scratch->seen[number / 8] |= bit;
    } else if (event->type != EVENT_MACHINE_REMOVED) {
        return true; /* its end is among these events too */
    } else {
        machine = (struct event_machine){.removed = true};
        memcpy(machine.name, event->machine, sizeof machine.name);
    }
    size_t machine_size = event_machine_encode(&machine, bytes);
    if (machine_size > EVENT_MESSAGE_BYTES_MAX - *size || *count == EVENT_RANGE_MAX) {
        return false;
    }
    memcpy(scratch->message + *size, bytes, machine_size);
    *size += machine_size;
    *count += 1;
    return true;
}

size_t flush_state(const struct flush_source *source, uint64_t from, uint64_t to,
                   struct flush_scratch *scratch)
{
    uint8_t head[EVENT_HEAD_BYTES_MAX];
    size_t size = EVENT_HEAD_BYTES_MAX;
    uint32_t count = 0;

    FLY_CHECK(from >= 1 && from <= to && source->machine != NULL);
    if (to - from >= EVENT_STATE_RANGE_MAX) {
        return 0;
    }
    memset(scratch->seen, 0, sizeof scratch->seen);
    for (uint64_t seq = from; seq <= to; seq++) {
        struct fly_bytes body = source->body(source->user, seq);
        struct event event;
        if (body.size == 0) {
            return 0;
        }
        FLY_CHECK(event_decode(body.data, body.size, source->slice, source->incarnation, &event,
                               NULL) == FLY_OK);
        if (event.machine[0] != '\0' && !state_add(source, &event, scratch, &size, &count)) {
            return 0;
        }
    }
    if (count == 0) {
        return 0;
    }
    size_t head_size =
        event_state_head_encode(source->slice, source->incarnation, from, to, count, head);
    size -= EVENT_HEAD_BYTES_MAX;
    memmove(scratch->message + head_size, scratch->message + EVENT_HEAD_BYTES_MAX, size);
    memcpy(scratch->message, head, head_size);
    return head_size + size;
}

static void publish(const struct flush_source *source, uint64_t from, uint64_t to,
                    struct flush_scratch *scratch,
                    void (*send)(void *user, struct fly_bytes message), void *user)
{
    size_t size = 0;

    if (source->machine != NULL && to - from >= FLUSH_STATE_EVENTS) {
        size = flush_state(source, from, to, scratch);
        if (size != 0) {
            send(user, (struct fly_bytes){.data = scratch->message, .size = size});
            return;
        }
    }
    while (from <= to) {
        size = flush_message(source, from, to, scratch->message, FLUSH_MESSAGE_BYTES, &from);
        if (size == 0) { /* gone already: readers see the gap, and ask */
            size = event_heartbeat_encode(source->slice, source->incarnation, to, scratch->message);
            from = to;
        }
        send(user, (struct fly_bytes){.data = scratch->message, .size = size});
        from++;
    }
}

void flush_run(struct flush *f, const struct flush_source *source, int64_t now_ms,
               struct flush_scratch *scratch, void (*send)(void *user, struct fly_bytes message),
               void *user)
{
    enum flush_kind kind = FLUSH_NOTHING;
    uint64_t from = 0;
    uint64_t to = 0;

    while ((kind = flush_next(f, now_ms, &from, &to)) != FLUSH_NOTHING) {
        if (kind == FLUSH_EVENTS) {
            publish(source, from, to, scratch, send, user);
        } else {
            size_t size =
                event_heartbeat_encode(source->slice, source->incarnation, to, scratch->message);
            send(user, (struct fly_bytes){.data = scratch->message, .size = size});
        }
    }
}
