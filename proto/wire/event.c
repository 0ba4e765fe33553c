#include "proto/wire/event.h"

#include <string.h>

#include <msgpack/pack.h>

#include "proto/base/check.h"
#include "proto/wire/mp.h"

enum {
    KEY_FORM = 0,
    KEY_SLICE = 1,
    KEY_INCARNATION = 2,
    KEY_FROM = 3,
    KEY_TO = 4,
    KEY_EVENTS = 5,
};

enum {
    FIELD_SEQ = 1,
    FIELD_TYPE = 2,
    FIELD_TIME = 3,
    FIELD_VM = 4,
    FIELD_NAME = 5,
    FIELD_MACHINE = 6,
    FIELD_REGION = 7,
    FIELD_CORES = 8,
    FIELD_MEMORY = 9,
    FIELD_STATE = 10,
    FIELD_CORES_FREE = 11,
    FIELD_MEMORY_FREE = 12,
};

enum { SLICE_TAG_MAX = 0xffffff };

/* --- writing: msgpack-c into the caller's bytes --- */

static int pack_into(void *context, const char *data, size_t size)
{
    struct fly_writer *w = context;

    fly_put_bytes(w, data, size);
    return w->failed ? -1 : 0;
}

static void pack_head(msgpack_packer *packer, struct fly_writer *w, size_t pairs)
{
    msgpack_packer_init(packer, w, pack_into);
    (void)msgpack_pack_map(packer, pairs);
}

static void pack_pair(msgpack_packer *packer, unsigned key, uint64_t value)
{
    (void)msgpack_pack_unsigned_int(packer, key);
    (void)msgpack_pack_uint64(packer, value);
}

struct text_field {
    unsigned key;
    const char *text;
    size_t max;
};

size_t event_encode(const struct event *event, uint8_t out[static EVENT_BODY_BYTES_MAX])
{
    const struct {
        unsigned key;
        uint64_t value;
    } numbers[] = {
        {FIELD_CORES, event->cores},
        {FIELD_MEMORY, event->memory_bytes},
        {FIELD_STATE, event->state},
        {FIELD_CORES_FREE, event->machine_cores_free},
        {FIELD_MEMORY_FREE, event->machine_memory_free_bytes},
    };
    const struct text_field texts[] = {
        {FIELD_NAME, event->name, sizeof event->name},
        {FIELD_MACHINE, event->machine, sizeof event->machine},
        {FIELD_REGION, event->region, sizeof event->region},
    };
    struct fly_writer w = fly_writer_over(out, EVENT_BODY_BYTES_MAX);
    msgpack_packer packer;
    size_t pairs = 2 + (size_t)(event->time_ms != 0) + (size_t)(event->vm != 0);

    FLY_CHECK(event->seq != 0 && event->type != 0);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(texts); i++) {
        size_t size = strnlen(texts[i].text, texts[i].max);
        FLY_CHECK(size < texts[i].max && mp_text_ok(texts[i].text, size));
        pairs += size != 0;
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(numbers); i++) {
        pairs += numbers[i].value != 0;
    }
    pack_head(&packer, &w, pairs);
    pack_pair(&packer, FIELD_SEQ, event->seq);
    pack_pair(&packer, FIELD_TYPE, event->type);
    if (event->time_ms != 0) {
        (void)msgpack_pack_unsigned_int(&packer, FIELD_TIME);
        (void)msgpack_pack_int64(&packer, event->time_ms);
    }
    if (event->vm != 0) {
        pack_pair(&packer, FIELD_VM, event->vm);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(texts); i++) {
        size_t size = strlen(texts[i].text);
        if (size != 0) {
            (void)msgpack_pack_unsigned_int(&packer, texts[i].key);
            (void)msgpack_pack_str(&packer, size);
            (void)msgpack_pack_str_body(&packer, texts[i].text, size);
        }
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(numbers); i++) {
        if (numbers[i].value != 0) {
            pack_pair(&packer, numbers[i].key, numbers[i].value);
        }
    }
    FLY_CHECK(!w.failed);
    return w.size;
}

size_t event_head_encode(uint32_t slice, uint64_t incarnation, uint64_t from, uint64_t to,
                         uint8_t out[static EVENT_HEAD_BYTES_MAX])
{
    struct fly_writer w = fly_writer_over(out, EVENT_HEAD_BYTES_MAX);
    msgpack_packer packer;

    FLY_CHECK(slice <= SLICE_TAG_MAX && from >= 1 && from <= to && to - from < EVENT_RANGE_MAX);
    pack_head(&packer, &w, 6);
    pack_pair(&packer, KEY_FORM, EVENT_FORM_EVENTS);
    pack_pair(&packer, KEY_SLICE, slice);
    pack_pair(&packer, KEY_INCARNATION, incarnation);
    pack_pair(&packer, KEY_FROM, from);
    pack_pair(&packer, KEY_TO, to);
    (void)msgpack_pack_unsigned_int(&packer, KEY_EVENTS);
    (void)msgpack_pack_array(&packer, (size_t)(to - from + 1));
    FLY_CHECK(!w.failed);
    return w.size;
}

size_t event_heartbeat_encode(uint32_t slice, uint64_t incarnation, uint64_t to,
                              uint8_t out[static EVENT_HEAD_BYTES_MAX])
{
    struct fly_writer w = fly_writer_over(out, EVENT_HEAD_BYTES_MAX);
    msgpack_packer packer;

    FLY_CHECK(slice <= SLICE_TAG_MAX);
    pack_head(&packer, &w, 4);
    pack_pair(&packer, KEY_FORM, EVENT_FORM_HEARTBEAT);
    pack_pair(&packer, KEY_SLICE, slice);
    pack_pair(&packer, KEY_INCARNATION, incarnation);
    pack_pair(&packer, KEY_TO, to);
    FLY_CHECK(!w.failed);
    return w.size;
}

/* --- reading --- */

/* The next key of a map; keys ascend strictly, so none is there twice. */
static unsigned get_key(struct fly_reader *r, int64_t *last)
{
    uint64_t key = mp_get_uint_max(r, UINT32_MAX);

    r->failed = r->failed || (int64_t)key <= *last;
    *last = (int64_t)key;
    return (unsigned)key;
}

static void get_field(struct fly_reader *r, unsigned key, struct event *event)
{
    switch (key) {
    case FIELD_SEQ:
        event->seq = mp_get_uint(r);
        break;
    case FIELD_TYPE:
        event->type = (uint8_t)mp_get_uint_max(r, UINT8_MAX);
        break;
    case FIELD_TIME:
        event->time_ms = mp_get_int(r);
        break;
    case FIELD_VM:
        event->vm = mp_get_uint(r);
        break;
    case FIELD_NAME:
        mp_get_text(r, event->name, sizeof event->name);
        break;
    case FIELD_MACHINE:
        mp_get_text(r, event->machine, sizeof event->machine);
        break;
    case FIELD_REGION:
        mp_get_text(r, event->region, sizeof event->region);
        break;
    case FIELD_CORES:
        event->cores = (uint32_t)mp_get_uint_max(r, UINT32_MAX);
        break;
    case FIELD_MEMORY:
        event->memory_bytes = mp_get_uint(r);
        break;
    case FIELD_STATE:
        event->state = (uint8_t)mp_get_uint_max(r, UINT8_MAX);
        break;
    case FIELD_CORES_FREE:
        event->machine_cores_free = (uint32_t)mp_get_uint_max(r, UINT32_MAX);
        break;
    case FIELD_MEMORY_FREE:
        event->machine_memory_free_bytes = mp_get_uint(r);
        break;
    default:
        mp_skip(r);
    }
}

static void get_body(struct fly_reader *r, uint32_t slice, uint64_t incarnation, struct event *out)
{
    struct event event = {.slice = slice, .incarnation = incarnation};
    size_t pairs = mp_get_map(r);
    int64_t last = -1;

    for (size_t i = 0; i < pairs && !r->failed; i++) {
        unsigned key = get_key(r, &last);
        if (!r->failed) {
            get_field(r, key, &event);
        }
    }
    r->failed = r->failed || event.seq == 0 || event.type == 0;
    if (!r->failed) {
        *out = event;
    }
}

enum fly_status event_decode(const void *data, size_t size, uint32_t slice, uint64_t incarnation,
                             struct event *out, struct fly_error *error)
{
    struct fly_reader r = fly_reader_over(data, size);
    struct event event;

    FLY_CHECK(slice <= SLICE_TAG_MAX);
    get_body(&r, slice, incarnation, &event);
    if (!fly_reader_done(&r)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "event: malformed near byte %zu of %zu",
                             r.offset, size);
    }
    *out = event;
    return FLY_OK;
}

/* Passes the bodies, which must be from..to without a gap. */
static void get_bodies(struct fly_reader *r, struct event_message *message)
{
    size_t count = mp_get_array(r);
    struct event event = {0};

    if (message->from == 0 || message->to < message->from || count == 0 ||
        message->to - message->from != count - 1) {
        r->failed = true;
        return;
    }
    message->bodies = *r;
    for (size_t i = 0; i < count && !r->failed; i++) {
        get_body(r, message->slice, message->incarnation, &event);
        r->failed = r->failed || event.seq != message->from + i;
    }
}

enum fly_status event_message_decode(const void *data, size_t size, struct event_message *out,
                                     struct fly_error *error)
{
    struct fly_reader r = fly_reader_over(data, size);
    struct event_message message = {0};
    size_t pairs = size <= EVENT_MESSAGE_BYTES_MAX ? mp_get_map(&r) : 0;
    unsigned seen = 0;
    int64_t last = -1;

    for (size_t i = 0; i < pairs && !r.failed; i++) {
        unsigned key = get_key(&r, &last);
        if (r.failed) {
            break;
        }
        seen |= key <= KEY_EVENTS ? 1U << key : 0;
        switch (key) {
        case KEY_FORM: {
            uint64_t form = mp_get_uint(&r);
            if (!r.failed && form != EVENT_FORM_EVENTS && form != EVENT_FORM_HEARTBEAT) {
                return fly_error_set(error, FLY_UNIMPLEMENTED, "event message: form %llu is newer",
                                     (unsigned long long)form);
            }
            message.form = (enum event_form)form;
            break;
        }
        case KEY_SLICE:
            message.slice = (uint32_t)mp_get_uint_max(&r, SLICE_TAG_MAX);
            break;
        case KEY_INCARNATION:
            message.incarnation = mp_get_uint(&r);
            break;
        case KEY_FROM:
            message.from = mp_get_uint(&r);
            break;
        case KEY_TO:
            message.to = mp_get_uint(&r);
            break;
        case KEY_EVENTS:
            get_bodies(&r, &message);
            break;
        default:
            mp_skip(&r);
        }
    }
    const unsigned heartbeat =
        1U << KEY_FORM | 1U << KEY_SLICE | 1U << KEY_INCARNATION | 1U << KEY_TO;
    const unsigned events = heartbeat | 1U << KEY_FROM | 1U << KEY_EVENTS;
    if (!fly_reader_done(&r) || seen != (message.form == EVENT_FORM_EVENTS ? events : heartbeat)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "event message: malformed near byte %zu of %zu", r.offset, size);
    }
    message.left = message.form == EVENT_FORM_EVENTS ? message.to - message.from + 1 : 0;
    *out = message;
    return FLY_OK;
}

bool event_message_next(struct event_message *message, struct event *out)
{
    if (message->left == 0) {
        return false;
    }
    get_body(&message->bodies, message->slice, message->incarnation, out);
    FLY_CHECK(!message->bodies.failed); /* the decode looked at every body */
    message->left--;
    return true;
}
