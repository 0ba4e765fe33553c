/* entry: every command through its bytes and back; what is cut, newer or foreign is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/slice/entry.h"
#include "proto/base/rng.h"

static struct fly_key some_key(void)
{
    struct fly_key key;
    const uint8_t random[FLY_KEY_RANDOM_SIZE] = {1, 2, 3, 4, 5, 6};

    key_mint(&key, 0xabcdef, 1700000000, random);
    return key;
}

static struct command some_command(enum command_type type)
{
    struct command c = {.type = type};

    switch (type) {
    case COMMAND_FOUND:
        c.tag = 0xabcdef;
        c.incarnation = 77;
        c.machines_max = 100;
        c.records_max = 1000;
        return c;
    case COMMAND_LEAD:
        c.term = 9;
        return c;
    case COMMAND_MACHINE_ADD:
        memcpy(c.region, "SIN", 4);
        c.cores = 32;
        c.memory_bytes = 2000000000000;
        memcpy(c.name, "sin-01", 7);
        return c;
    case COMMAND_MACHINE_RESIZE:
        c.cores = 64;
        c.memory_bytes = 4;
        memcpy(c.name, "sin-01", 7);
        return c;
    case COMMAND_MACHINE_REMOVE:
    case COMMAND_MACHINE_CORDON:
    case COMMAND_MACHINE_UNCORDON:
        memcpy(c.name, "sin-01", 7);
        return c;
    case COMMAND_LOSS:
        c.incarnation = 77;
        c.seq = 812;
        c.margin = 99;
        return c;
    case COMMAND_DESTROY:
        c.vm = 1234567;
        return c;
    case COMMAND_LAUNCH:
    case COMMAND_BIND:
    case COMMAND_DONE:
    case COMMAND_CANCEL:
    case COMMAND_RELEASE:
        break;
    default:
        fail();
    }
    const struct hold_id hold = {.slice = 3, .term = 2, .boot = UINT64_MAX, .counter = 5};
    c.key = some_key();
    memcpy(c.subject, "ada", 4);
    if (type == COMMAND_LAUNCH || type == COMMAND_BIND) {
        memset(&c.digest, 0x5a, sizeof c.digest);
        c.hold = hold;
        c.replaces = hold;
        c.replaces.counter = 6;
    }
    if (type == COMMAND_LAUNCH) {
        c.machine = 12;
        c.cores = 4;
        c.memory_bytes = 6000000000;
        memcpy(c.name, "web-1", 6);
    }
    if (type == COMMAND_DONE) {
        c.hold = hold;
    }
    if (type == COMMAND_CANCEL) {
        c.replaces = hold;
    }
    if (type == COMMAND_DONE || type == COMMAND_RELEASE) {
        c.vm = 1234567;
    }
    return c;
}

static size_t encode_all(uint8_t *out, size_t max)
{
    const struct batch_head head = {
        .wall_ms = -1, .slice_ms = 1700000000123, .boot = 0xb007, .batch = 3};
    struct fly_writer w;

    entry_begin(&w, out, max, &head);
    for (int type = COMMAND_FOUND; type <= COMMAND_LAST; type++) {
        struct command c = some_command((enum command_type)type);
        assert_true(entry_put(&w, &c));
    }
    return entry_end(&w);
}

static enum fly_status decode_all(const uint8_t *data, size_t size, bool compare)
{
    struct fly_reader r = fly_reader_over(data, size);
    struct batch_head head;
    struct command c;
    enum fly_status status = entry_head_decode(&r, &head, NULL);

    for (unsigned i = 0; status == FLY_OK && i < head.count; i++) {
        status = entry_command_decode(&r, &c, NULL);
        if (status == FLY_OK && compare) {
            struct command same = some_command((enum command_type)(i + 1));
            assert_memory_equal(&c, &same, sizeof c);
        }
    }
    return status == FLY_OK && !fly_reader_done(&r) ? FLY_DATA_LOSS : status;
}

static void test_round_trip(void **state)
{
    uint8_t data[4096];
    size_t size = encode_all(data, sizeof data);

    (void)state;
    assert_int_equal(decode_all(data, size, true), FLY_OK);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *exact = malloc(cut > 0 ? cut : 1); /* a read past the end is seen by ASan */
        assert_non_null(exact);
        memcpy(exact, data, cut);
        assert_int_equal(decode_all(exact, cut, false), FLY_DATA_LOSS);
        free(exact);
    }
}

static void test_newer_forms_stop(void **state)
{
    uint8_t data[4096];
    size_t size = encode_all(data, sizeof data);

    (void)state;
    data[1] = ENTRY_VERSION + 1;
    assert_int_equal(decode_all(data, size, false), FLY_UNIMPLEMENTED);
    data[1] = ENTRY_VERSION;
    data[ENTRY_HEAD_SIZE] = COMMAND_LAST + 1;
    assert_int_equal(decode_all(data, size, false), FLY_UNIMPLEMENTED);
    data[ENTRY_HEAD_SIZE] = COMMAND_FOUND;
    data[0] = 0;
    assert_int_equal(decode_all(data, size, false), FLY_DATA_LOSS);
}

static void test_a_full_batch_takes_no_more(void **state)
{
    static uint8_t data[SLICE_BATCH_BYTES_MAX];
    const struct batch_head head = {.boot = 1};
    const struct command c = some_command(COMMAND_LAUNCH);
    struct fly_writer w;
    unsigned count = 0;

    (void)state;
    entry_begin(&w, data, sizeof data, &head);
    while (entry_put(&w, &c)) {
        count++;
    }
    assert_int_equal(count, SLICE_BATCH_COMMANDS_MAX);
    struct fly_reader r = fly_reader_over(data, entry_end(&w));
    struct batch_head back;
    assert_int_equal(entry_head_decode(&r, &back, NULL), FLY_OK);
    assert_int_equal(back.count, count);
    entry_begin(&w, data, ENTRY_HEAD_SIZE + 20, &head);
    assert_false(entry_put(&w, &c)); /* does not fit: nothing is written */
    assert_int_equal(w.size, ENTRY_HEAD_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_newer_forms_stop),
        cmocka_unit_test(test_a_full_batch_takes_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
