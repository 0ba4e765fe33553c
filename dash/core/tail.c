/*
 * tail - see tail.h.
 */
#include "dash/core/tail.h"

#include <string.h>

#include <msgpack/pack.h>

#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/wire/token_claims.h"
#include "proto/wire/vmid.h"

enum {
    TEXT_MAX = 255,
    /* No row is larger: its texts with 2 bytes each before them, its numbers with 9. */
    REGION_BYTES_MAX = 384,
    EVENT_BYTES_MAX = 320,
    SLICE_TEXT_SIZE = 7,
};

static int pack_into(void *context, const char *data, size_t size)
{
    struct fly_writer *w = context;

    fly_put_bytes(w, data, size);
    return w->failed ? -1 : 0;
}

static msgpack_packer packer_over(struct fly_writer *w)
{
    msgpack_packer packer;

    msgpack_packer_init(&packer, w, pack_into);
    return packer;
}

static void put_text(msgpack_packer *to, const char *text)
{
    size_t size = strnlen(text, TEXT_MAX);

    (void)msgpack_pack_str(to, size);
    (void)msgpack_pack_str_body(to, text, size);
}

static void put_uint(msgpack_packer *to, uint64_t value)
{
    (void)msgpack_pack_uint64(to, value);
}

static void put_int(msgpack_packer *to, int64_t value)
{
    (void)msgpack_pack_int64(to, value);
}

static void put_bool(msgpack_packer *to, bool value)
{
    (void)(value ? msgpack_pack_true(to) : msgpack_pack_false(to));
}

static void put_slice(msgpack_packer *to, uint32_t tag)
{
    const uint8_t bytes[] = {(uint8_t)(tag >> 16), (uint8_t)(tag >> 8), (uint8_t)tag};
    char text[SLICE_TEXT_SIZE];

    fly_hex_encode(bytes, sizeof bytes, text);
    put_text(to, text);
}

/* --- a list of rows, whose number is known at its end --- */

/* An array of 16 bits' length; the key before it. */
static size_t list_begin(struct dash_tail *t, const char *key)
{
    msgpack_packer to = packer_over(&t->w);

    put_text(&to, key);
    fly_put_bytes(&t->w, "\xdc\0\0", 3);
    return t->w.size;
}

static void list_end(struct dash_tail *t, size_t begin, size_t rows)
{
    FLY_CHECK(!t->w.failed && rows <= UINT16_MAX);
    t->w.data[begin - 2] = (uint8_t)(rows >> 8);
    t->w.data[begin - 1] = (uint8_t)rows;
    t->pairs++;
}

/* What was written since is not there. */
static void rewind_to(struct dash_tail *t, size_t size)
{
    t->w.size = size;
    t->w.failed = false;
}

static size_t room(const struct dash_tail *t)
{
    return t->w.max - t->w.size;
}

/* --- the parts of a tail --- */

void dash_tail_begin(struct dash_tail *t, void *out, size_t max)
{
    FLY_CHECK(max >= 1);
    *t = (struct dash_tail){.w = fly_writer_over(out, max)};
    fly_put_u8(&t->w, 0x80); /* a map of no pairs, until the end */
}

struct fly_bytes dash_tail_end(struct dash_tail *t)
{
    t->w.data[0] = (uint8_t)(0x80 | t->pairs);
    return (struct fly_bytes){.data = t->w.data, .size = t->pairs != 0 ? t->w.size : 0};
}

static void put_region(struct fly_writer *w, const struct picture *p, uint32_t index)
{
    const struct picture_region *r = picture_region_at(p, index);
    msgpack_packer to = packer_over(w);

    (void)msgpack_pack_array(&to, 14);
    put_uint(&to, index);
    put_text(&to, r->code);
    put_text(&to, r->city);
    put_text(&to, r->country);
    put_text(&to, r->status);
    if (r->has_position) {
        (void)msgpack_pack_double(&to, r->latitude);
        (void)msgpack_pack_double(&to, r->longitude);
    } else {
        (void)msgpack_pack_nil(&to);
        (void)msgpack_pack_nil(&to);
    }
    put_uint(&to, r->machines);
    put_uint(&to, r->cordoned);
    put_uint(&to, r->cores_total);
    put_uint(&to, r->cores_free);
    put_uint(&to, r->memory_total_bytes);
    put_uint(&to, r->memory_free_bytes);
    put_int(&to, r->stale_ms);
}

void dash_tail_take_regions(struct dash_tail *t, struct picture *p)
{
    const size_t before = t->w.size;
    size_t rows = 0;
    uint32_t index;

    if (room(t) < 8 + REGION_BYTES_MAX) {
        return;
    }
    size_t begin = list_begin(t, "r");
    while (room(t) >= REGION_BYTES_MAX && (index = picture_take_region(p)) != PICTURE_NONE) {
        put_region(&t->w, p, index);
        rows++;
    }
    if (rows == 0) {
        rewind_to(t, before);
    } else {
        list_end(t, begin, rows);
    }
}

bool dash_tail_put_regions(struct dash_tail *t, const struct picture *p)
{
    const size_t before = t->w.size;
    size_t begin = list_begin(t, "r");

    for (uint32_t i = 0; i < picture_region_count(p); i++) {
        put_region(&t->w, p, i);
    }
    if (t->w.failed) {
        rewind_to(t, before);
        return false;
    }
    list_end(t, begin, picture_region_count(p));
    return true;
}

static void put_member(struct fly_writer *w, const struct dash_member *m)
{
    msgpack_packer to = packer_over(w);

    FLY_CHECK(m->slice_count <= DASH_MEMBER_SLICES_MAX);
    (void)msgpack_pack_array(&to, 13);
    put_text(&to, m->name);
    put_text(&to, m->region);
    put_text(&to, m->roles);
    put_text(&to, m->state);
    put_bool(&to, m->serving);
    put_bool(&to, m->self);
    put_text(&to, m->address);
    put_text(&to, m->version);
    put_text(&to, m->note);
    put_uint(&to, m->rtt_us);
    put_int(&to, m->since_ms);
    put_uint(&to, m->generation);
    (void)msgpack_pack_array(&to, m->slice_count);
    for (unsigned i = 0; i < m->slice_count; i++) {
        (void)msgpack_pack_array(&to, 2);
        put_slice(&to, m->slices[i].tag);
        put_uint(&to, m->slices[i].epoch);
    }
}

bool dash_tail_put_members(struct dash_tail *t, const struct dash_member *members, size_t count)
{
    const size_t before = t->w.size;
    size_t begin = list_begin(t, "m");

    FLY_CHECK(count <= DASH_MEMBERS_MAX);
    for (size_t i = 0; i < count; i++) {
        put_member(&t->w, &members[i]);
    }
    if (t->w.failed) {
        rewind_to(t, before);
        return false;
    }
    list_end(t, begin, count);
    return true;
}

const char *dash_event_type(uint8_t type)
{
    static const char *const names[] = {
        [EVENT_MACHINE_ADDED] = "machine_added",
        [EVENT_MACHINE_RESIZED] = "machine_resized",
        [EVENT_MACHINE_REMOVED] = "machine_removed",
        [EVENT_VM_STARTED] = "vm_started",
        [EVENT_VM_DESTROYED] = "vm_destroyed",
        [EVENT_MACHINE_CORDONED] = "machine_cordoned",
        [EVENT_MACHINE_UNCORDONED] = "machine_uncordoned",
    };

    return type != 0 && type < FLY_ARRAY_COUNT(names) ? names[type] : "unknown";
}

static void put_event(struct fly_writer *w, const struct event *e)
{
    msgpack_packer to = packer_over(w);
    char vm[VMID_TEXT_SIZE] = "";

    if (e->vm != 0) {
        vmid_format(e->vm, vm);
    }
    (void)msgpack_pack_array(&to, 10);
    put_slice(&to, e->slice);
    put_uint(&to, e->seq);
    put_text(&to, dash_event_type(e->type));
    put_int(&to, e->time_ms);
    put_text(&to, vm);
    put_text(&to, e->name);
    put_text(&to, e->machine);
    put_text(&to, e->region);
    put_uint(&to, e->cores);
    put_uint(&to, e->memory_bytes);
}

void dash_tail_put_events(struct dash_tail *t, const struct event *ring, size_t ring_max,
                          uint64_t from, uint64_t to)
{
    enum { AROUND = 16 }; /* both keys, the list's head, the number left out */
    const size_t before = t->w.size;
    uint64_t most = DASH_TAIL_EVENTS_MAX < ring_max ? DASH_TAIL_EVENTS_MAX : ring_max;

    if (from >= to || room(t) < AROUND) {
        return;
    }
    if ((room(t) - AROUND) / EVENT_BYTES_MAX < most) {
        most = (room(t) - AROUND) / EVENT_BYTES_MAX;
    }
    uint64_t first = to - from > most ? to - most : from;
    if (first < to) {
        size_t begin = list_begin(t, "e");
        for (uint64_t n = first; n < to; n++) {
            put_event(&t->w, &ring[n % ring_max]);
        }
        list_end(t, begin, (size_t)(to - first));
    }
    if (first > from) {
        msgpack_packer packer = packer_over(&t->w);
        put_text(&packer, "x");
        put_uint(&packer, first - from);
        t->pairs++;
    }
    FLY_CHECK(!t->w.failed && t->w.size > before);
}

/* --- messages --- */

/* A message whose map has `pairs`, "t" among them. */
static msgpack_packer message_begin(struct fly_writer *w, uint8_t *out, const char *t, size_t pairs)
{
    *w = fly_writer_over(out, DASH_MESSAGE_BYTES_MAX);
    fly_put_u8(w, DASH_MESSAGE_KIND);
    msgpack_packer to = packer_over(w);
    (void)msgpack_pack_map(&to, pairs);
    put_text(&to, "t");
    put_text(&to, t);
    return to;
}

static size_t message_end(const struct fly_writer *w)
{
    FLY_CHECK(!w->failed);
    return w->size;
}

static void put_scopes(msgpack_packer *to, uint32_t scopes)
{
    char text[TOKEN_SCOPES_TEXT_SIZE];
    size_t count = 0;

    for (uint32_t bit = 1; bit <= TOKEN_SCOPE_ALL; bit <<= 1) {
        count += (scopes & bit) != 0;
    }
    (void)msgpack_pack_array(to, count);
    for (uint32_t bit = 1; bit <= TOKEN_SCOPE_ALL; bit <<= 1) {
        if ((scopes & bit) != 0) {
            token_scopes_format(bit, ' ', text);
            put_text(to, text);
        }
    }
}

size_t dash_hello_make(const struct dash_hello *hello, uint8_t out[static DASH_MESSAGE_BYTES_MAX])
{
    const struct {
        const char *key;
        const char *text;
    } texts[] = {
        {"node", hello->node},       {"region", hello->region},   {"cluster", hello->cluster},
        {"version", hello->version}, {"subject", hello->subject},
    };
    struct fly_writer w;
    msgpack_packer to = message_begin(&w, out, "hello", 6 + FLY_ARRAY_COUNT(texts));
    uint8_t boot[8];
    char boot_text[17];

    for (unsigned i = 0; i < sizeof boot; i++) {
        boot[i] = (uint8_t)(hello->boot >> (56 - 8 * i));
    }
    fly_hex_encode(boot, sizeof boot, boot_text);
    put_text(&to, "boot");
    put_text(&to, boot_text);
    put_text(&to, "seq");
    put_uint(&to, hello->seq);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(texts); i++) {
        put_text(&to, texts[i].key);
        put_text(&to, texts[i].text);
    }
    put_text(&to, "scopes");
    put_scopes(&to, hello->scopes);
    put_text(&to, "expires_ms");
    put_int(&to, hello->expires_ms);
    put_text(&to, "pace_ms");
    put_uint(&to, hello->pace_ms);
    return message_end(&w);
}

size_t dash_resync_make(const char *why, uint8_t out[static DASH_MESSAGE_BYTES_MAX])
{
    struct fly_writer w;
    msgpack_packer to = message_begin(&w, out, "resync", 2);

    put_text(&to, "why");
    put_text(&to, why);
    return message_end(&w);
}

size_t dash_detail_make(const struct picture *p, const uint32_t *indices, uint32_t count,
                        uint8_t out[static DASH_MESSAGE_BYTES_MAX])
{
    struct picture_machine m;
    struct fly_writer w;
    msgpack_packer to = message_begin(&w, out, "detail", 2);
    uint32_t rows = 0;

    FLY_CHECK(count <= DASH_LOOK_MAX);
    for (uint32_t i = 0; i < count; i++) {
        rows += picture_machine_region(p, indices[i]) != PICTURE_REGIONS_MAX;
    }
    put_text(&to, "rows");
    (void)msgpack_pack_array(&to, rows);
    for (uint32_t i = 0; i < count; i++) {
        if (!picture_machine(p, indices[i], &m)) {
            continue;
        }
        (void)msgpack_pack_array(&to, 9);
        put_uint(&to, indices[i]);
        put_text(&to, m.name);
        put_slice(&to, m.slice);
        put_uint(&to, m.region);
        put_uint(&to, m.cores);
        put_uint(&to, m.cores_free);
        put_uint(&to, m.memory_bytes);
        put_uint(&to, m.memory_free_bytes);
        put_bool(&to, m.cordoned);
    }
    return message_end(&w);
}
