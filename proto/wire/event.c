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

enum {
    MACHINE_NAME = 1,
    MACHINE_REGION = 2,
    MACHINE_CORES = 3,
    MACHINE_MEMORY = 4,
    MACHINE_CORES_FREE = 5,
    MACHINE_MEMORY_FREE = 6,
    MACHINE_CORDONED = 7,
    MACHINE_REMOVED = 8,
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

/* What is 0 or "" is left out of a map. */
struct number_field {
    unsigned key;
    uint64_t value;
};

struct text_field {
    unsigned key;
    const char *text;
    size_t max;
};

static size_t count_texts(const struct text_field *texts, size_t count)
{
    size_t pairs = 0;

    for (size_t i = 0; i < count; i++) {
        size_t size = strnlen(texts[i].text, texts[i].max);
        FLY_CHECK(size < texts[i].max && mp_text_ok(texts[i].text, size));
        pairs += size != 0;
    }
    return pairs;
}

static size_t count_numbers(const struct number_field *numbers, size_t count)
{
    size_t pairs = 0;

    for (size_t i = 0; i < count; i++) {
        pairs += numbers[i].value != 0;
    }
    return pairs;
}

static void pack_texts(msgpack_packer *packer, const struct text_field *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(texts[i].text);
        if (size != 0) {
            (void)msgpack_pack_unsigned_int(packer, texts[i].key);
            (void)msgpack_pack_str(packer, size);
            (void)msgpack_pack_str_body(packer, texts[i].text, size);
        }
    }
}

static void pack_numbers(msgpack_packer *packer, const struct number_field *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (numbers[i].value != 0) {
            pack_pair(packer, numbers[i].key, numbers[i].value);
        }
    }
}

size_t event_encode(const struct event *event, uint8_t out[static EVENT_BODY_BYTES_MAX])
{
    const struct number_field numbers[] = {
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

    FLY_CHECK(event->seq != 0 && event->type != 0);
    pack_head(&packer, &w,
              2 + (size_t)(event->time_ms != 0) + (size_t)(event->vm != 0) +
                  count_texts(texts, FLY_ARRAY_COUNT(texts)) +
                  count_numbers(numbers, FLY_ARRAY_COUNT(numbers)));
    pack_pair(&packer, FIELD_SEQ, event->seq);
    pack_pair(&packer, FIELD_TYPE, event->type);
    if (event->time_ms != 0) {
        (void)msgpack_pack_unsigned_int(&packer, FIELD_TIME);
        (void)msgpack_pack_int64(&packer, event->time_ms);
    }
    if (event->vm != 0) {
        pack_pair(&packer, FIELD_VM, event->vm);
    }
    pack_texts(&packer, texts, FLY_ARRAY_COUNT(texts));
    pack_numbers(&packer, numbers, FLY_ARRAY_COUNT(numbers));
    FLY_CHECK(!w.failed);
    return w.size;
}

size_t event_machine_encode(const struct event_machine *machine,
                            uint8_t out[static EVENT_BODY_BYTES_MAX])
{
    const struct text_field texts[] = {
        {MACHINE_NAME, machine->name, sizeof machine->name},
        {MACHINE_REGION, machine->region, sizeof machine->region},
    };
    const struct number_field numbers[] = {
        {MACHINE_CORES, machine->cores},
        {MACHINE_MEMORY, machine->memory_bytes},
        {MACHINE_CORES_FREE, machine->cores_free},
        {MACHINE_MEMORY_FREE, machine->memory_free_bytes},
        {MACHINE_CORDONED, machine->cordoned},
        {MACHINE_REMOVED, machine->removed},
    };
    struct fly_writer w = fly_writer_over(out, EVENT_BODY_BYTES_MAX);
    msgpack_packer packer;

    FLY_CHECK(machine->name[0] != '\0');
    pack_head(&packer, &w,
              count_texts(texts, FLY_ARRAY_COUNT(texts)) +
                  count_numbers(numbers, FLY_ARRAY_COUNT(numbers)));
    pack_texts(&packer, texts, FLY_ARRAY_COUNT(texts));
    pack_numbers(&packer, numbers, FLY_ARRAY_COUNT(numbers));
    FLY_CHECK(!w.failed);
    return w.size;
}

static size_t range_head(enum event_form form, uint32_t slice, uint64_t incarnation, uint64_t from,
                         uint64_t to, size_t count, uint8_t *out)
{
    struct fly_writer w = fly_writer_over(out, EVENT_HEAD_BYTES_MAX);
    msgpack_packer packer;

    FLY_CHECK(slice <= SLICE_TAG_MAX && from >= 1 && from <= to);
    pack_head(&packer, &w, 6);
    pack_pair(&packer, KEY_FORM, form);
    pack_pair(&packer, KEY_SLICE, slice);
    pack_pair(&packer, KEY_INCARNATION, incarnation);
    pack_pair(&packer, KEY_FROM, from);
    pack_pair(&packer, KEY_TO, to);
    (void)msgpack_pack_unsigned_int(&packer, KEY_EVENTS);
    (void)msgpack_pack_array(&packer, count);
    FLY_CHECK(!w.failed);
    return w.size;
}

size_t event_head_encode(uint32_t slice, uint64_t incarnation, uint64_t from, uint64_t to,
                         uint8_t out[static EVENT_HEAD_BYTES_MAX])
{
    FLY_CHECK(to - from < EVENT_RANGE_MAX);
    return range_head(EVENT_FORM_EVENTS, slice, incarnation, from, to, (size_t)(to - from + 1),
                      out);
}

size_t event_state_head_encode(uint32_t slice, uint64_t incarnation, uint64_t from, uint64_t to,
                               uint32_t count, uint8_t out[static EVENT_HEAD_BYTES_MAX])
{
    FLY_CHECK(to - from < EVENT_STATE_RANGE_MAX && count >= 1 && count <= EVENT_RANGE_MAX);
    return range_head(EVENT_FORM_STATE, slice, incarnation, from, to, count, out);
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

static void get_machine_field(struct fly_reader *r, unsigned key, struct event_machine *machine)
{
    switch (key) {
    case MACHINE_NAME:
        mp_get_text(r, machine->name, sizeof machine->name);
        break;
    case MACHINE_REGION:
        mp_get_text(r, machine->region, sizeof machine->region);
        break;
    case MACHINE_CORES:
        machine->cores = (uint32_t)mp_get_uint_max(r, UINT32_MAX);
        break;
    case MACHINE_MEMORY:
        machine->memory_bytes = mp_get_uint(r);
        break;
    case MACHINE_CORES_FREE:
        machine->cores_free = (uint32_t)mp_get_uint_max(r, UINT32_MAX);
        break;
    case MACHINE_MEMORY_FREE:
        machine->memory_free_bytes = mp_get_uint(r);
        break;
    case MACHINE_CORDONED:
        machine->cordoned = mp_get_uint_max(r, 1) != 0;
        break;
    case MACHINE_REMOVED:
        machine->removed = mp_get_uint_max(r, 1) != 0;
        break;
    default:
        mp_skip(r);
    }
}

static void get_machine(struct fly_reader *r, struct event_machine *out)
{
    struct event_machine machine = {0};
    size_t pairs = mp_get_map(r);
    int64_t last = -1;

    for (size_t i = 0; i < pairs && !r->failed; i++) {
        unsigned key = get_key(r, &last);
        if (!r->failed) {
            get_machine_field(r, key, &machine);
        }
    }
    r->failed = r->failed || machine.name[0] == '\0';
    if (!r->failed) {
        *out = machine;
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

/* Passes the array: bodies, which must be from..to without a gap, or machines. */
static void get_items(struct fly_reader *r, struct event_message *message)
{
    size_t count = mp_get_array(r);
    uint64_t range = message->to - message->from; /* less one */
    struct event_machine machine = {0};
    struct event event = {0};

    if (message->from == 0 || message->to < message->from || count == 0 ||
        (message->form == EVENT_FORM_STATE
             ? range >= EVENT_STATE_RANGE_MAX || count > EVENT_RANGE_MAX
             : range != count - 1)) {
        r->failed = true;
        return;
    }
    message->bodies = *r;
    message->left = count;
    for (size_t i = 0; i < count && !r->failed; i++) {
        if (message->form == EVENT_FORM_STATE) {
            get_machine(r, &machine);
        } else {
            get_body(r, message->slice, message->incarnation, &event);
            r->failed = r->failed || event.seq != message->from + i;
        }
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
            if (!r.failed && (form < EVENT_FORM_EVENTS || form > EVENT_FORM_HEARTBEAT)) {
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
            get_items(&r, &message);
            break;
        default:
            mp_skip(&r);
        }
    }
    const unsigned heartbeat =
        1U << KEY_FORM | 1U << KEY_SLICE | 1U << KEY_INCARNATION | 1U << KEY_TO;
    const unsigned range = heartbeat | 1U << KEY_FROM | 1U << KEY_EVENTS;
    if (!fly_reader_done(&r) ||
        seen != (message.form == EVENT_FORM_HEARTBEAT ? heartbeat : range)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "event message: malformed near byte %zu of %zu", r.offset, size);
    }
    *out = message;
    return FLY_OK;
}

bool event_message_next(struct event_message *message, struct event *out)
{
    if (message->left == 0 || message->form != EVENT_FORM_EVENTS) {
        return false;
    }
    get_body(&message->bodies, message->slice, message->incarnation, out);
    FLY_CHECK(!message->bodies.failed); /* the decode looked at every body */
    message->left--;
    return true;
}

bool event_message_next_machine(struct event_message *message, struct event_machine *out)
{
    if (message->left == 0 || message->form != EVENT_FORM_STATE) {
        return false;
    }
    get_machine(&message->bodies, out);
    FLY_CHECK(!message->bodies.failed);
    message->left--;
    return true;
}
