/* event: encode and decode agree, msgpack-c reads what we write, hostile bytes change nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include "proto/base/check.h"
#include "proto/base/rng.h"
#include "proto/wire/event.h"

static struct event sample_event(uint64_t seq)
{
    struct event event = {
        .slice = 0xabcdef,
        .incarnation = UINT64_C(0xfedcba9876543210),
        .seq = seq,
        .type = EVENT_VM_STARTED,
        .state = 2,
        .time_ms = 1795219200123,
        .vm = UINT64_C(0xabcdef0000000001),
        .name = "blue-fox",
        .machine = "consul-node-01.dc-1.internal",
        .region = "SIN",
        .cores = 4,
        .memory_bytes = UINT64_C(6000000000),
        .machine_cores_free = 28,
        .machine_memory_free_bytes = UINT64_C(1994000000000),
    };
    return event;
}

static void assert_same(const struct event *a, const struct event *b)
{
    assert_int_equal(a->slice, b->slice);
    assert_int_equal(a->incarnation, b->incarnation);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->time_ms, b->time_ms);
    assert_int_equal(a->vm, b->vm);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->machine, b->machine);
    assert_string_equal(a->region, b->region);
    assert_int_equal(a->cores, b->cores);
    assert_int_equal(a->memory_bytes, b->memory_bytes);
    assert_int_equal(a->machine_cores_free, b->machine_cores_free);
    assert_int_equal(a->machine_memory_free_bytes, b->machine_memory_free_bytes);
}

/* A number whose width is chosen evenly: the edges between msgpack's forms are met often. */
static uint64_t odd_number(struct fly_rng *rng)
{
    uint64_t value = fly_rng_next(rng) >> fly_rng_below(rng, 64);

    return fly_rng_chance(rng, 200) ? 0 : value;
}

static void odd_text(struct fly_rng *rng, char *out, size_t max)
{
    size_t size = (size_t)fly_rng_below(rng, max);

    for (size_t i = 0; i < size; i++) {
        out[i] = (char)(0x20 + fly_rng_below(rng, 0x7f - 0x20));
    }
    out[size] = '\0';
}

static struct event random_event(struct fly_rng *rng, uint64_t seq)
{
    struct event event = {.slice = 7, .incarnation = 9, .seq = seq};

    event.type = (uint8_t)(1 + fly_rng_below(rng, 255));
    event.state = (uint8_t)fly_rng_below(rng, 256);
    event.time_ms = (int64_t)odd_number(rng);
    event.vm = odd_number(rng);
    event.cores = (uint32_t)odd_number(rng);
    event.memory_bytes = odd_number(rng);
    event.machine_cores_free = (uint32_t)odd_number(rng);
    event.machine_memory_free_bytes = odd_number(rng);
    odd_text(rng, event.name, sizeof event.name);
    odd_text(rng, event.machine, sizeof event.machine);
    odd_text(rng, event.region, sizeof event.region);
    if (fly_rng_chance(rng, 300)) {
        event.time_ms = -event.time_ms;
    }
    return event;
}

static void test_body_round_trip(void **state)
{
    struct fly_rng rng;
    uint8_t bytes[EVENT_BODY_BYTES_MAX];

    (void)state;
    fly_rng_seed(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        struct event event = random_event(&rng, 1 + (odd_number(&rng) >> 1));
        struct event back;
        size_t size = event_encode(&event, bytes);
        assert_int_equal(event_decode(bytes, size, 7, 9, &back, NULL), FLY_OK);
        assert_same(&event, &back);
    }
}

static void test_largest_body_fits(void **state)
{
    struct event event = sample_event(UINT64_MAX);
    uint8_t bytes[EVENT_BODY_BYTES_MAX];
    struct event back;

    (void)state;
    memset(event.name, 'n', sizeof event.name - 1);
    memset(event.machine, 'm', sizeof event.machine - 1);
    memset(event.region, 'r', sizeof event.region - 1);
    event.type = event.state = UINT8_MAX;
    event.time_ms = INT64_MIN;
    event.vm = event.memory_bytes = event.machine_memory_free_bytes = UINT64_MAX;
    event.cores = event.machine_cores_free = UINT32_MAX;
    size_t size = event_encode(&event, bytes);
    assert_int_equal(event_decode(bytes, size, event.slice, event.incarnation, &back, NULL),
                     FLY_OK);
    assert_same(&event, &back);
}

static size_t encode_range(struct fly_rng *rng, uint64_t from, uint64_t to, uint8_t *out)
{
    size_t size = event_head_encode(7, 9, from, to, out);

    for (uint64_t seq = from; seq <= to; seq++) {
        struct event event = random_event(rng, seq);
        size += event_encode(&event, out + size);
    }
    return size;
}

static void test_range_round_trip(void **state)
{
    static const uint64_t counts[] = {1, 2, 15, 16, 17, 255, 1000};
    uint8_t *bytes = malloc(EVENT_MESSAGE_BYTES_MAX);

    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(counts); i++) {
        uint64_t from = i % 2 == 0 ? 1 : UINT64_MAX - counts[i];
        uint64_t to = from + counts[i] - 1;
        struct fly_rng rng;
        struct event_message message;
        struct event event;
        fly_rng_seed(&rng, i);
        size_t size = encode_range(&rng, from, to, bytes);
        assert_int_equal(event_message_decode(bytes, size, &message, NULL), FLY_OK);
        assert_int_equal(message.form, EVENT_FORM_EVENTS);
        assert_int_equal(message.slice, 7);
        assert_int_equal(message.incarnation, 9);
        assert_true(message.from == from && message.to == to);
        fly_rng_seed(&rng, i);
        for (uint64_t seq = from; seq <= to; seq++) {
            struct event expected = random_event(&rng, seq);
            assert_true(event_message_next(&message, &event));
            assert_same(&expected, &event);
        }
        assert_false(event_message_next(&message, &event));
    }
    free(bytes);
}

static void test_heartbeat(void **state)
{
    uint8_t bytes[EVENT_HEAD_BYTES_MAX];
    struct event_message message;
    struct event event;

    (void)state;
    size_t size = event_heartbeat_encode(0xffffff, UINT64_MAX, UINT64_MAX, bytes);
    assert_int_equal(event_message_decode(bytes, size, &message, NULL), FLY_OK);
    assert_int_equal(message.form, EVENT_FORM_HEARTBEAT);
    assert_int_equal(message.slice, 0xffffff);
    assert_true(message.incarnation == UINT64_MAX && message.to == UINT64_MAX && message.from == 0);
    assert_false(event_message_next(&message, &event));
    size = event_heartbeat_encode(0, 0, 0, bytes);
    assert_int_equal(event_message_decode(bytes, size, &message, NULL), FLY_OK);
}

static struct event_machine random_machine(struct fly_rng *rng)
{
    struct event_machine m = {
        .cores = (uint32_t)odd_number(rng),
        .cores_free = (uint32_t)odd_number(rng),
        .memory_bytes = odd_number(rng),
        .memory_free_bytes = odd_number(rng),
        .cordoned = fly_rng_chance(rng, 300),
        .removed = fly_rng_chance(rng, 300),
    };

    do {
        odd_text(rng, m.name, sizeof m.name);
    } while (m.name[0] == '\0');
    odd_text(rng, m.region, sizeof m.region);
    return m;
}

static void test_state_round_trip(void **state)
{
    enum { MACHINES = 3000 };
    uint8_t *bytes = malloc(EVENT_HEAD_BYTES_MAX + MACHINES * EVENT_BODY_BYTES_MAX);
    struct event_message message;
    struct event_machine machine;
    struct event event;
    struct fly_rng rng;

    (void)state;
    assert_non_null(bytes);
    fly_rng_seed(&rng, 17);
    size_t size = event_state_head_encode(7, 9, 11, 100000, MACHINES, bytes);
    for (uint32_t i = 0; i < MACHINES; i++) {
        machine = random_machine(&rng);
        size += event_machine_encode(&machine, bytes + size);
    }
    assert_int_equal(event_message_decode(bytes, size, &message, NULL), FLY_OK);
    assert_int_equal(message.form, EVENT_FORM_STATE);
    assert_true(message.from == 11 && message.to == 100000);
    assert_false(event_message_next(&message, &event));
    fly_rng_seed(&rng, 17);
    for (uint32_t i = 0; i < MACHINES; i++) {
        struct event_machine expected = random_machine(&rng);
        assert_true(event_message_next_machine(&message, &machine));
        assert_string_equal(machine.name, expected.name);
        assert_string_equal(machine.region, expected.region);
        assert_true(machine.cores == expected.cores && machine.cores_free == expected.cores_free);
        assert_true(machine.memory_bytes == expected.memory_bytes);
        assert_true(machine.memory_free_bytes == expected.memory_free_bytes);
        assert_true(machine.cordoned == expected.cordoned && machine.removed == expected.removed);
    }
    assert_false(event_message_next_machine(&message, &machine));
    for (size_t cut = 1; cut < size; cut += 97) {
        assert_int_equal(event_message_decode(bytes, size - cut, &message, NULL),
                         FLY_INVALID_ARGUMENT);
    }
    free(bytes);
}

/* msgpack-c is the other reader: it must see the documented keys in order. */
static void test_msgpack_c_reads_it(void **state)
{
    static const uint64_t keys[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    struct event event = sample_event(300);
    uint8_t bytes[EVENT_BODY_BYTES_MAX];
    size_t offset = 0;
    msgpack_unpacked unpacked;

    (void)state;
    size_t size = event_encode(&event, bytes);
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(msgpack_unpack_next(&unpacked, (const char *)bytes, size, &offset),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(offset, size);
    assert_int_equal(unpacked.data.type, MSGPACK_OBJECT_MAP);
    assert_int_equal(unpacked.data.via.map.size, FLY_ARRAY_COUNT(keys));
    for (size_t i = 0; i < FLY_ARRAY_COUNT(keys); i++) {
        assert_int_equal(unpacked.data.via.map.ptr[i].key.via.u64, keys[i]);
    }
    assert_int_equal(unpacked.data.via.map.ptr[0].val.via.u64, 300);
    assert_memory_equal(unpacked.data.via.map.ptr[6].val.via.str.ptr, "SIN", 3);
    msgpack_unpacked_destroy(&unpacked);
}

#define ROW(what, literal, status)                                                                 \
    {                                                                                              \
        what, literal, sizeof literal - 1, status                                                  \
    }

static void test_bodies(void **state)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t size;
        enum fly_status status;
    } rows[] = {
        ROW("least", "\x82\x01\x01\x02\x04", FLY_OK),
        ROW("number in a wider form", "\x82\x01\xcf\0\0\0\0\0\0\0\1\x02\x04", FLY_OK),
        ROW("map16", "\xde\0\2\x01\x01\x02\x04", FLY_OK),
        ROW("type of a newer node", "\x82\x01\x01\x02\x7f", FLY_OK),
        ROW("unknown key", "\x83\x01\x01\x02\x04\x20\xc0", FLY_OK),
        ROW("unknown nested value", "\x83\x01\x01\x02\x04\x20\x92\x81\x01\xc4\x01z\xd6\x01zzzz",
            FLY_OK),
        ROW("negative time", "\x83\x01\x01\x02\x04\x03\xd1\xff\x00", FLY_OK),
        ROW("empty", "", FLY_INVALID_ARGUMENT),
        ROW("no seq", "\x81\x02\x04", FLY_INVALID_ARGUMENT),
        ROW("seq 0", "\x82\x01\x00\x02\x04", FLY_INVALID_ARGUMENT),
        ROW("no type", "\x81\x01\x01", FLY_INVALID_ARGUMENT),
        ROW("type 0", "\x82\x01\x01\x02\x00", FLY_INVALID_ARGUMENT),
        ROW("type 256", "\x82\x01\x01\x02\xcd\x01\x00", FLY_INVALID_ARGUMENT),
        ROW("key twice", "\x83\x01\x01\x02\x04\x02\x04", FLY_INVALID_ARGUMENT),
        ROW("keys out of order", "\x82\x02\x04\x01\x01", FLY_INVALID_ARGUMENT),
        ROW("text key", "\x83\x01\x01\x02\x04\xa1z\x01", FLY_INVALID_ARGUMENT),
        ROW("array", "\x92\x01\x02", FLY_INVALID_ARGUMENT),
        ROW("seq is negative", "\x82\x01\xff\x02\x04", FLY_INVALID_ARGUMENT),
        ROW("seq is text", "\x82\x01\xa1z\x02\x04", FLY_INVALID_ARGUMENT),
        ROW("byte left over", "\x82\x01\x01\x02\x04\x00", FLY_INVALID_ARGUMENT),
        ROW("map32 of 2^32-1", "\xdf\xff\xff\xff\xff\x01\x01\x02\x04", FLY_INVALID_ARGUMENT),
        ROW("newline in a name", "\x83\x01\x01\x02\x04\x05\xa1\n", FLY_INVALID_ARGUMENT),
        ROW("NUL in a name", "\x83\x01\x01\x02\x04\x05\xa1\0", FLY_INVALID_ARGUMENT),
        ROW("UTF-8 in a name", "\x83\x01\x01\x02\x04\x05\xa2\xc3\xa9", FLY_INVALID_ARGUMENT),
        ROW("region of 16", "\x83\x01\x01\x02\x04\x07\xb0rrrrrrrrrrrrrrrr", FLY_INVALID_ARGUMENT),
        ROW("name goes past the end", "\x83\x01\x01\x02\x04\x05\xd9\xffn", FLY_INVALID_ARGUMENT),
        ROW("never used byte", "\x83\x01\x01\x02\x04\x20\xc1", FLY_INVALID_ARGUMENT),
        ROW("bin32 past the end", "\x83\x01\x01\x02\x04\x20\xc6\xff\xff\xff\xff\0",
            FLY_INVALID_ARGUMENT),
        ROW("array32 past the end", "\x83\x01\x01\x02\x04\x20\xdd\xff\xff\xff\xff\0",
            FLY_INVALID_ARGUMENT),
        ROW("cores of 33 bits", "\x83\x01\x01\x02\x04\x08\xcf\0\0\0\1\0\0\0\0",
            FLY_INVALID_ARGUMENT),
        ROW("nested 7 deep", "\x83\x01\x01\x02\x04\x20\x91\x91\x91\x91\x91\x91\x91\x00", FLY_OK),
        ROW("nested 8 deep", "\x83\x01\x01\x02\x04\x20\x91\x91\x91\x91\x91\x91\x91\x91\x00",
            FLY_INVALID_ARGUMENT),
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct event event = {.seq = 77, .name = "before"};
        struct fly_error error = {0};
        enum fly_status status = event_decode(rows[i].bytes, rows[i].size, 1, 2, &event, &error);
        if (status != rows[i].status) {
            fail_msg("%s: %s", rows[i].what, fly_status_name(status));
        }
        if (status != FLY_OK) {
            assert_int_equal(error.status, status);
            assert_int_equal(event.seq, 77);
            assert_string_equal(event.name, "before");
        }
    }
}

static void test_messages(void **state)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t size;
        enum fly_status status;
    } rows[] = {
        ROW("one event", "\x86\0\1\1\7\2\x09\3\5\4\5\5\x91\x82\1\5\2\4", FLY_OK),
        ROW("key after the events", "\x87\0\1\1\7\2\x09\3\5\4\5\5\x91\x82\1\5\2\4\6\xc3", FLY_OK),
        ROW("heartbeat", "\x84\0\3\1\7\2\x09\4\0", FLY_OK),
        ROW("newer form", "\x84\0\4\1\7\2\x09\4\0", FLY_UNIMPLEMENTED),
        ROW("state", "\x86\0\2\1\7\2\x09\3\5\4\6\5\x91\x81\1\xa1m", FLY_OK),
        ROW("state of many events", "\x86\0\2\1\7\2\x09\3\1\4\xce\0\x10\0\0\5\x91\x81\1\xa1m",
            FLY_OK),
        ROW("state of too many", "\x86\0\2\1\7\2\x09\3\1\4\xce\0\x10\0\1\5\x91\x81\1\xa1m",
            FLY_INVALID_ARGUMENT),
        ROW("state without machines", "\x86\0\2\1\7\2\x09\3\5\4\6\5\x90", FLY_INVALID_ARGUMENT),
        ROW("state of events", "\x86\0\2\1\7\2\x09\3\5\4\5\5\x91\x82\1\5\2\4",
            FLY_INVALID_ARGUMENT),
        ROW("state without a range", "\x85\0\2\1\7\2\x09\4\6\5\x91\x81\1\xa1m",
            FLY_INVALID_ARGUMENT),
        ROW("state from 0", "\x86\0\2\1\7\2\x09\3\0\4\6\5\x91\x81\1\xa1m", FLY_INVALID_ARGUMENT),
        ROW("state backwards", "\x86\0\2\1\7\2\x09\3\7\4\6\5\x91\x81\1\xa1m", FLY_INVALID_ARGUMENT),
        ROW("machine without a name", "\x86\0\2\1\7\2\x09\3\5\4\6\5\x91\x81\2\xa1m",
            FLY_INVALID_ARGUMENT),
        ROW("machine with a flag of 2", "\x86\0\2\1\7\2\x09\3\5\4\6\5\x91\x82\1\xa1m\7\2",
            FLY_INVALID_ARGUMENT),
        ROW("machine with an unknown key", "\x86\0\2\1\7\2\x09\3\5\4\6\5\x91\x82\1\xa1m\x09\xc0",
            FLY_OK),
        ROW("events of machines", "\x86\0\1\1\7\2\x09\3\5\4\5\5\x91\x81\1\xa1m",
            FLY_INVALID_ARGUMENT),
        ROW("heartbeat with events", "\x85\0\3\1\7\2\x09\4\5\5\x91\x82\1\5\2\4",
            FLY_INVALID_ARGUMENT),
        ROW("form 0", "\x84\0\0\1\7\2\x09\4\0", FLY_UNIMPLEMENTED),
        ROW("no form", "\x83\1\7\2\x09\4\0", FLY_INVALID_ARGUMENT),
        ROW("no slice", "\x83\0\3\2\x09\4\0", FLY_INVALID_ARGUMENT),
        ROW("slice of 25 bits", "\x84\0\3\1\xce\1\0\0\0\2\x09\4\0", FLY_INVALID_ARGUMENT),
        ROW("heartbeat with a from", "\x85\0\3\1\7\2\x09\3\1\4\1", FLY_INVALID_ARGUMENT),
        ROW("no events", "\x85\0\1\1\7\2\x09\3\5\4\5", FLY_INVALID_ARGUMENT),
        ROW("empty events", "\x86\0\1\1\7\2\x09\3\5\4\4\5\x90", FLY_INVALID_ARGUMENT),
        ROW("from 0", "\x86\0\1\1\7\2\x09\3\0\4\0\5\x91\x82\1\1\2\4", FLY_INVALID_ARGUMENT),
        ROW("seq outside", "\x86\0\1\1\7\2\x09\3\5\4\5\5\x91\x82\1\6\2\4", FLY_INVALID_ARGUMENT),
        ROW("one too few", "\x86\0\1\1\7\2\x09\3\5\4\6\5\x91\x82\1\5\2\4", FLY_INVALID_ARGUMENT),
        ROW("one too many", "\x86\0\1\1\7\2\x09\3\5\4\5\5\x92\x82\1\5\2\4\x82\1\6\2\4",
            FLY_INVALID_ARGUMENT),
        ROW("gap", "\x86\0\1\1\7\2\x09\3\5\4\6\5\x92\x82\1\5\2\4\x82\1\7\2\4",
            FLY_INVALID_ARGUMENT),
        ROW("whole u64 range", "\x86\0\1\1\7\2\x09\3\1\4\xcf\xff\xff\xff\xff\xff\xff\xff\xff\5\x91",
            FLY_INVALID_ARGUMENT),
        ROW("array32 of 2^32-1",
            "\x86\0\1\1\7\2\x09\3\1\4\xce\xff\xff\xff\xff\5\xdd\xff\xff\xff\xff",
            FLY_INVALID_ARGUMENT),
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct event_message message = {.to = 77};
        enum fly_status status = event_message_decode(rows[i].bytes, rows[i].size, &message, NULL);
        if (status != rows[i].status) {
            fail_msg("%s: %s", rows[i].what, fly_status_name(status));
        }
        assert_true(status == FLY_OK || message.to == 77);
    }
}

/* Every prefix is refused, and no flipped bit makes more than the same message accepted or refused.
 */
static void test_damage(void **state)
{
    uint8_t bytes[4096];
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 5);
    size_t size = encode_range(&rng, 100, 105, bytes);
    for (size_t cut = 0; cut < size; cut++) {
        struct event_message message;
        assert_int_equal(event_message_decode(bytes, cut, &message, NULL), FLY_INVALID_ARGUMENT);
    }
    for (size_t bit = 0; bit < size * 8; bit++) {
        struct event_message message;
        struct event event;
        uint64_t seen = 0;
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        if (event_message_decode(bytes, size, &message, NULL) == FLY_OK) {
            bool events = message.form == EVENT_FORM_EVENTS; /* a bit makes another form */
            while (event_message_next(&message, &event)) {
                assert_int_equal(event.seq, message.from + seen);
                seen++;
            }
            assert_true(!events || seen == message.to - message.from + 1);
        }
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

static void test_oversized(void **state)
{
    uint8_t *bytes = calloc(1, EVENT_MESSAGE_BYTES_MAX + 64);
    struct event_message message;

    (void)state;
    assert_non_null(bytes);
    size_t size = event_heartbeat_encode(7, 9, 1, bytes);
    assert_int_equal(bytes[0], 0x84);
    bytes[0] = 0x85; /* one more pair: a bin that fills the rest */
    bytes[size] = 6;
    bytes[size + 1] = 0xc6;
    for (uint32_t extra = 0; extra < 2; extra++) {
        uint32_t rest = EVENT_MESSAGE_BYTES_MAX + extra - (uint32_t)size - 6;
        for (size_t i = 0; i < 4; i++) {
            bytes[size + 2 + i] = (uint8_t)(rest >> (24 - 8 * i));
        }
        assert_int_equal(
            event_message_decode(bytes, EVENT_MESSAGE_BYTES_MAX + extra, &message, NULL),
            extra == 0 ? FLY_OK : FLY_INVALID_ARGUMENT);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_round_trip),  cmocka_unit_test(test_largest_body_fits),
        cmocka_unit_test(test_range_round_trip), cmocka_unit_test(test_state_round_trip),
        cmocka_unit_test(test_heartbeat),        cmocka_unit_test(test_msgpack_c_reads_it),
        cmocka_unit_test(test_bodies),           cmocka_unit_test(test_messages),
        cmocka_unit_test(test_damage),           cmocka_unit_test(test_oversized),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
