/*
 * dash/core/tail: msgpack-c's own reader finds in tails and messages what was put there; whatever
 * is put fits where it should, and what does not fit is not half there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include "dash/core/tail.h"
#include "proto/base/check.h"
#include "proto/wire/token_claims.h"
#include "proto/wire/vmid.h"

/* One decoded map, and its values. */
struct map {
    msgpack_unpacked unpacked;
    msgpack_object_map map;
};

static void map_read(struct map *m, struct fly_bytes bytes)
{
    size_t offset = 0;

    msgpack_unpacked_init(&m->unpacked);
    assert_int_equal(
        msgpack_unpack_next(&m->unpacked, (const char *)bytes.data, bytes.size, &offset),
        MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(offset, bytes.size); /* nothing behind it */
    assert_int_equal(m->unpacked.data.type, MSGPACK_OBJECT_MAP);
    m->map = m->unpacked.data.via.map;
}

static void map_free(struct map *m)
{
    msgpack_unpacked_destroy(&m->unpacked);
}

static void message_read(struct map *m, const uint8_t *bytes, size_t size, const char *t);

static const msgpack_object *value_of(const struct map *m, const char *key)
{
    for (uint32_t i = 0; i < m->map.size; i++) {
        const msgpack_object_str *is = &m->map.ptr[i].key.via.str;
        if (is->size == strlen(key) && memcmp(is->ptr, key, is->size) == 0) {
            return &m->map.ptr[i].val;
        }
    }
    return NULL;
}

static const msgpack_object_array *list_of(const struct map *m, const char *key)
{
    const msgpack_object *value = value_of(m, key);

    assert_true(value != NULL && value->type == MSGPACK_OBJECT_ARRAY);
    return &value->via.array;
}

static const msgpack_object_array *row_of(const msgpack_object_array *list, uint32_t i,
                                          uint32_t size)
{
    assert_true(i < list->size && list->ptr[i].type == MSGPACK_OBJECT_ARRAY);
    assert_int_equal(list->ptr[i].via.array.size, size);
    return &list->ptr[i].via.array;
}

static void expect_text(const msgpack_object *o, const char *text)
{
    assert_int_equal(o->type, MSGPACK_OBJECT_STR);
    assert_int_equal(o->via.str.size, strlen(text));
    assert_memory_equal(o->via.str.ptr, text, strlen(text));
}

static void expect_number(const msgpack_object *o, uint64_t value)
{
    assert_int_equal(o->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
    assert_int_equal(o->via.u64, value);
}

static void expect_bool(const msgpack_object *o, bool value)
{
    assert_int_equal(o->type, MSGPACK_OBJECT_BOOLEAN);
    assert_int_equal(o->via.boolean, value);
}

static void message_read(struct map *m, const uint8_t *bytes, size_t size, const char *t)
{
    assert_int_equal(bytes[0], 2);
    map_read(m, (struct fly_bytes){bytes + 1, size - 1});
    assert_non_null(value_of(m, "t"));
    expect_text(value_of(m, "t"), t);
}

static struct picture *make(uint32_t machines_max)
{
    const struct picture_config config = {.machines_max = machines_max};

    return picture_init(calloc(1, picture_size(&config)), &config);
}

static void put_machine(struct picture *p, const char *name, const char *region)
{
    struct event e = {.slice = 0x00f00d,
                      .incarnation = 1,
                      .seq = 1,
                      .type = EVENT_MACHINE_ADDED,
                      .cores = 64,
                      .memory_bytes = UINT64_C(500000000000),
                      .machine_cores_free = 60,
                      .machine_memory_free_bytes = 1000};

    (void)snprintf(e.machine, sizeof e.machine, "%s", name);
    (void)snprintf(e.region, sizeof e.region, "%s", region);
    assert_int_equal(picture_apply(p, &e), FLY_OK);
}

static uint8_t *bytes_of(size_t size)
{
    uint8_t *bytes = malloc(size);

    assert_non_null(bytes);
    return bytes;
}

static void test_regions(void **state)
{
    struct picture *p = make(4);
    struct picture_region sin = {.latitude = 1.35, .longitude = -103.5, .has_position = true};
    uint8_t *out = bytes_of(DASH_TAIL_BYTES_MAX);
    struct dash_tail t;
    struct map m;

    (void)state;
    (void)snprintf(sin.code, sizeof sin.code, "SIN");
    (void)snprintf(sin.city, sizeof sin.city, "Singapore");
    (void)snprintf(sin.country, sizeof sin.country, "SG");
    (void)snprintf(sin.status, sizeof sin.status, "operational");
    assert_int_equal(picture_put_region(p, &sin, NULL), FLY_OK);
    put_machine(p, "a", "SIN");
    put_machine(p, "b", "NRT");
    picture_hear(p, 0x00f00d, INT64_MAX);

    dash_tail_begin(&t, out, DASH_TAIL_BYTES_MAX);
    assert_true(dash_tail_put_regions(&t, p));
    map_read(&m, dash_tail_end(&t));
    assert_int_equal(m.map.size, 1);
    const msgpack_object_array *rows = list_of(&m, "r");
    assert_int_equal(rows->size, 2);
    const msgpack_object *o = row_of(rows, 0, 14)->ptr;
    expect_number(&o[0], 0);
    expect_text(&o[1], "SIN");
    expect_text(&o[2], "Singapore");
    expect_text(&o[3], "SG");
    expect_text(&o[4], "operational");
    assert_true(o[5].via.f64 == 1.35 && o[6].via.f64 == -103.5);
    expect_number(&o[7], 1);
    expect_number(&o[8], 0);
    expect_number(&o[9], 64);
    expect_number(&o[10], 60);
    expect_number(&o[11], UINT64_C(500000000000));
    expect_number(&o[12], 1000);
    expect_number(&o[13], INT64_MAX);
    o = row_of(rows, 1, 14)->ptr;
    expect_text(&o[1], "NRT");
    assert_true(o[5].type == MSGPACK_OBJECT_NIL && o[6].type == MSGPACK_OBJECT_NIL);
    map_free(&m);

    for (unsigned i = 0; i < 3; i++) { /* both, none, then the one that changed */
        dash_tail_begin(&t, out, DASH_TAIL_BYTES_MAX);
        dash_tail_take_regions(&t, p);
        struct fly_bytes tail = dash_tail_end(&t);
        if (i == 1) {
            assert_int_equal(tail.size, 0);
            put_machine(p, "c", "NRT");
            continue;
        }
        map_read(&m, tail);
        assert_int_equal(list_of(&m, "r")->size, i == 0 ? 2 : 1);
        expect_number(&list_of(&m, "r")->ptr[0].via.array.ptr[0], i == 0 ? 0 : 1);
        map_free(&m);
    }
    free(out);
    free(p);
}

/* With room for some at a time the regions come in turns; none is lost. */
static void test_regions_in_turns(void **state)
{
    enum { SIZE = 700 };
    struct picture *p = make(64);
    uint8_t seen[40] = {0};
    uint8_t out[SIZE];
    struct dash_tail t;
    struct map m;
    unsigned turns = 0;

    (void)state;
    for (unsigned i = 0; i < sizeof seen; i++) {
        char code[EVENT_REGION_SIZE];
        (void)snprintf(code, sizeof code, "R%u", i);
        put_machine(p, "a", code); /* the same machine moves through all */
    }
    for (;;) {
        dash_tail_begin(&t, out, sizeof out);
        dash_tail_take_regions(&t, p);
        struct fly_bytes tail = dash_tail_end(&t);
        if (tail.size == 0) {
            break;
        }
        turns++;
        map_read(&m, tail);
        const msgpack_object_array *rows = list_of(&m, "r");
        for (uint32_t i = 0; i < rows->size; i++) {
            seen[rows->ptr[i].via.array.ptr[0].via.u64]++;
        }
        map_free(&m);
    }
    assert_true(turns > 1);
    for (unsigned i = 0; i < sizeof seen; i++) {
        assert_int_equal(seen[i], 1);
    }
    dash_tail_begin(&t, out, sizeof out);
    assert_false(dash_tail_put_regions(&t, p)); /* all do not fit, so none is there */
    assert_int_equal(dash_tail_end(&t).size, 0);
    free(p);
}

static struct event event_of(uint64_t seq)
{
    struct event e = {.slice = 0x0a0b0c,
                      .incarnation = 1,
                      .seq = seq,
                      .type = EVENT_VM_STARTED,
                      .time_ms = INT64_C(1700000000123),
                      .vm = vmid_make(0x0a0b0c, seq + 1),
                      .cores = 4,
                      .memory_bytes = 6000000000};

    (void)snprintf(e.name, sizeof e.name, "brave-heron-%u", (unsigned)seq);
    (void)snprintf(e.machine, sizeof e.machine, "sin-1");
    (void)snprintf(e.region, sizeof e.region, "SIN");
    return e;
}

static void test_events(void **state)
{
    static const struct {
        const char *what;
        uint64_t from;
        uint64_t to;
        size_t room;
        uint64_t first; /* seq of the first that is told */
        uint64_t told;
        uint64_t left_out;
    } table[] = {
        {"none", 5, 5, 100000, 0, 0, 0},
        {"one", 5, 6, 100000, 5, 1, 0},
        {"as many as may be", 100, 164, 100000, 100, 64, 0},
        {"one more", 100, 165, 100000, 101, 64, 1},
        {"more than the ring", 0, 5000, 100000, 4936, 64, 4936},
        {"over the ring's end", 120, 140, 100000, 120, 20, 0},
        {"room for a few", 0, 10, 1000, 7, 3, 7},
        {"room for the number only", 0, 10, 100, 0, 0, 10},
        {"no room at all", 0, 10, 10, 0, 0, 0},
    };
    enum { RING = 128 };
    struct event *ring = calloc(RING, sizeof *ring);
    uint8_t *out = bytes_of(100000);

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(table); i++) {
        struct dash_tail t;
        struct map m;
        for (uint64_t n = table[i].to > RING ? table[i].to - RING : 0; n < table[i].to; n++) {
            ring[n % RING] = event_of(n);
        }
        dash_tail_begin(&t, out, table[i].room);
        dash_tail_put_events(&t, ring, RING, table[i].from, table[i].to);
        struct fly_bytes tail = dash_tail_end(&t);
        if (table[i].told == 0 && table[i].left_out == 0) {
            assert_int_equal(tail.size, 0);
            continue;
        }
        map_read(&m, tail);
        if ((value_of(&m, "e") != NULL) != (table[i].told != 0) ||
            (value_of(&m, "x") != NULL) != (table[i].left_out != 0)) {
            fail_msg("%s: e or x", table[i].what);
        }
        for (uint32_t n = 0; n < table[i].told; n++) {
            expect_number(&row_of(list_of(&m, "e"), n, 10)->ptr[1], table[i].first + n);
        }
        if (table[i].told != 0) {
            assert_int_equal(list_of(&m, "e")->size, table[i].told);
        }
        if (table[i].left_out != 0) {
            expect_number(value_of(&m, "x"), table[i].left_out);
        }
        map_free(&m);
    }
    free(ring);
    free(out);
}

static void test_one_event(void **state)
{
    const struct event ring[2] = {event_of(1), {.slice = 1, .seq = 2, .type = 77, .machine = "m"}};
    char id[VMID_TEXT_SIZE];
    uint8_t out[2000];
    struct dash_tail t;
    struct map m;

    (void)state;
    dash_tail_begin(&t, out, sizeof out);
    dash_tail_put_events(&t, ring, 2, 0, 2);
    map_read(&m, dash_tail_end(&t));
    const msgpack_object *o = row_of(list_of(&m, "e"), 0, 10)->ptr;
    vmid_format(ring[0].vm, id);
    expect_text(&o[0], "0a0b0c");
    expect_number(&o[1], 1);
    expect_text(&o[2], "vm_started");
    expect_number(&o[3], 1700000000123);
    expect_text(&o[4], id);
    expect_text(&o[5], "brave-heron-1");
    expect_text(&o[6], "sin-1");
    expect_text(&o[7], "SIN");
    expect_number(&o[8], 4);
    expect_number(&o[9], 6000000000);
    o = row_of(list_of(&m, "e"), 1, 10)->ptr;
    expect_text(&o[0], "000001");
    expect_text(&o[2], "unknown"); /* of a newer node */
    expect_text(&o[4], "");        /* about no VM */
    map_free(&m);
}

/* Every text as long as it can be, every number as large. */
static void fill(char *text, size_t size)
{
    memset(text, 'w', size - 1);
    text[size - 1] = '\0';
}

static struct dash_member member_of(unsigned i)
{
    struct dash_member m = {.serving = true,
                            .rtt_us = UINT64_MAX - i,
                            .since_ms = INT64_MIN,
                            .generation = UINT32_MAX,
                            .slice_count = DASH_MEMBER_SLICES_MAX};

    fill(m.name, sizeof m.name);
    fill(m.region, sizeof m.region);
    fill(m.roles, sizeof m.roles);
    fill(m.state, sizeof m.state);
    fill(m.address, sizeof m.address);
    fill(m.version, sizeof m.version);
    fill(m.note, sizeof m.note);
    for (unsigned s = 0; s < DASH_MEMBER_SLICES_MAX; s++) {
        m.slices[s] = (struct dash_member_slice){0xfffff0 + s, UINT64_MAX};
    }
    return m;
}

static void test_members(void **state)
{
    struct dash_member member = member_of(3);
    uint8_t out[1000];
    struct dash_tail t;
    struct map m;

    (void)state;
    dash_tail_begin(&t, out, sizeof out);
    assert_true(dash_tail_put_members(&t, &member, 1));
    assert_false(dash_tail_put_members(&t, (struct dash_member[2]){member, member}, 2));
    map_read(&m, dash_tail_end(&t));
    assert_int_equal(m.map.size, 1);
    const msgpack_object *o = row_of(list_of(&m, "m"), 0, 13)->ptr;
    expect_text(&o[0], member.name);
    expect_text(&o[1], member.region);
    expect_text(&o[2], member.roles);
    expect_text(&o[3], member.state);
    expect_bool(&o[4], true);
    expect_bool(&o[5], false);
    expect_text(&o[6], member.address);
    expect_text(&o[7], member.version);
    expect_text(&o[8], member.note);
    expect_number(&o[9], UINT64_MAX - 3);
    assert_true(o[10].via.i64 == INT64_MIN);
    expect_number(&o[11], UINT32_MAX);
    assert_int_equal(o[12].via.array.size, 4);
    expect_text(&row_of(&o[12].via.array, 3, 2)->ptr[0], "fffff3");
    expect_number(&row_of(&o[12].via.array, 3, 2)->ptr[1], UINT64_MAX);
    map_free(&m);
}

static void test_the_largest_tail(void **state)
{
    struct picture *p = make(512);
    struct dash_member *members = malloc(DASH_MEMBERS_MAX * sizeof *members);
    struct event *ring = calloc(DASH_TAIL_EVENTS_MAX, sizeof *ring);
    uint8_t *out = bytes_of(DASH_TAIL_BYTES_MAX);
    struct dash_tail t;
    struct map m;

    (void)state;
    assert_true(members != NULL && ring != NULL);
    for (unsigned i = 0; i < DASH_MEMBERS_MAX; i++) {
        members[i] = member_of(i);
    }
    for (unsigned i = 0; i < PICTURE_REGIONS_MAX; i++) {
        struct picture_region r = {.latitude = 1.1, .longitude = 2.2, .has_position = true};
        (void)snprintf(r.code, sizeof r.code, "R-%013u", i);
        fill(r.city, sizeof r.city);
        fill(r.country, sizeof r.country);
        fill(r.status, sizeof r.status);
        assert_int_equal(picture_put_region(p, &r, NULL), FLY_OK);
        put_machine(p, r.code, r.code);
    }
    for (unsigned i = 0; i < DASH_TAIL_EVENTS_MAX; i++) {
        ring[i] = (struct event){.slice = 0xffffff,
                                 .seq = UINT64_MAX,
                                 .type = EVENT_MACHINE_UNCORDONED,
                                 .time_ms = INT64_MIN,
                                 .vm = 1,
                                 .cores = UINT32_MAX,
                                 .memory_bytes = UINT64_MAX};
        fill(ring[i].name, sizeof ring[i].name);
        fill(ring[i].machine, sizeof ring[i].machine);
        fill(ring[i].region, sizeof ring[i].region);
    }
    for (unsigned taken = 0; taken < 2; taken++) {
        dash_tail_begin(&t, out, DASH_TAIL_BYTES_MAX);
        if (taken) {
            dash_tail_take_regions(&t, p);
        } else {
            assert_true(dash_tail_put_regions(&t, p));
        }
        assert_true(dash_tail_put_members(&t, members, DASH_MEMBERS_MAX));
        dash_tail_put_events(&t, ring, DASH_TAIL_EVENTS_MAX, 0, UINT64_MAX);
        struct fly_bytes tail = dash_tail_end(&t);
        map_read(&m, tail);
        assert_int_equal(m.map.size, 4);
        assert_int_equal(list_of(&m, "r")->size, PICTURE_REGIONS_MAX);
        assert_int_equal(list_of(&m, "m")->size, DASH_MEMBERS_MAX);
        assert_int_equal(list_of(&m, "e")->size, DASH_TAIL_EVENTS_MAX);
        map_free(&m);
    }
    free(out);
    free(ring);
    free(members);
    free(p);
}

static void test_hello(void **state)
{
    const struct dash_hello hello = {.boot = UINT64_C(0x00112233445566ff),
                                     .seq = 42,
                                     .node = "node-a",
                                     .region = "SIN",
                                     .cluster = "c0ffee",
                                     .version = "0.1.0",
                                     .subject = "ada",
                                     .scopes = TOKEN_SCOPE_READ | TOKEN_SCOPE_LAUNCH,
                                     .expires_ms = 1700000000123,
                                     .pace_ms = 16};
    uint8_t *out = bytes_of(DASH_MESSAGE_BYTES_MAX);
    struct map m;

    (void)state;
    message_read(&m, out, dash_hello_make(&hello, out), "hello");
    assert_int_equal(m.map.size, 11);
    expect_text(value_of(&m, "boot"), "00112233445566ff");
    expect_number(value_of(&m, "seq"), 42);
    expect_text(value_of(&m, "node"), "node-a");
    expect_text(value_of(&m, "region"), "SIN");
    expect_text(value_of(&m, "cluster"), "c0ffee");
    expect_text(value_of(&m, "version"), "0.1.0");
    expect_text(value_of(&m, "subject"), "ada");
    expect_number(value_of(&m, "expires_ms"), 1700000000123);
    expect_number(value_of(&m, "pace_ms"), 16);
    assert_int_equal(list_of(&m, "scopes")->size, 2);
    expect_text(&list_of(&m, "scopes")->ptr[0], "launch");
    expect_text(&list_of(&m, "scopes")->ptr[1], "read");
    map_free(&m);

    message_read(&m, out, dash_resync_make("it read too slowly", out), "resync");
    expect_text(value_of(&m, "why"), "it read too slowly");
    map_free(&m);
    free(out);
}

static void test_detail(void **state)
{
    struct picture *p = make(1024);
    uint8_t *out = bytes_of(DASH_MESSAGE_BYTES_MAX);
    uint32_t indices[DASH_LOOK_MAX];
    struct map m;
    char name[EVENT_NAME_SIZE];

    (void)state;
    for (unsigned i = 0; i < DASH_LOOK_MAX; i++) {
        (void)snprintf(name, sizeof name, "%063u", i); /* as long as a name may be */
        put_machine(p, name, "SIN");
        indices[i] = i;
    }
    struct event gone = {
        .slice = 0x00f00d, .incarnation = 1, .seq = 9, .type = EVENT_MACHINE_REMOVED};
    (void)snprintf(gone.machine, sizeof gone.machine, "%063u", 1);
    assert_int_equal(picture_apply(p, &gone), FLY_OK);
    indices[7] = 900; /* no such machine */
    message_read(&m, out, dash_detail_make(p, indices, DASH_LOOK_MAX, out), "detail");
    const msgpack_object_array *rows = list_of(&m, "rows");
    assert_int_equal(rows->size, DASH_LOOK_MAX - 2);
    const msgpack_object *o = row_of(rows, 1, 9)->ptr;
    expect_number(&o[0], 2);
    expect_text(&o[1], "000000000000000000000000000000000000000000000000000000000000002");
    expect_text(&o[2], "00f00d");
    expect_number(&o[3], 0);
    expect_number(&o[4], 64);
    expect_number(&o[5], 60);
    expect_number(&o[6], UINT64_C(500000000000));
    expect_number(&o[7], 1000);
    expect_bool(&o[8], false);
    map_free(&m);
    message_read(&m, out, dash_detail_make(p, indices, 0, out), "detail");
    assert_int_equal(list_of(&m, "rows")->size, 0);
    map_free(&m);
    free(out);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regions),   cmocka_unit_test(test_regions_in_turns),
        cmocka_unit_test(test_one_event), cmocka_unit_test(test_events),
        cmocka_unit_test(test_members),   cmocka_unit_test(test_the_largest_tail),
        cmocka_unit_test(test_hello),     cmocka_unit_test(test_detail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
