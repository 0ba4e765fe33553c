/* slice_wire: calls and answers come through protobuf as they were; what makes no sense does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/slice_wire.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

enum { HERE = 0x0a1b2c, THERE = 0x111111 };

static const struct hold_id hold_there = {.slice = THERE, .term = 3, .boot = 4, .counter = 5};
static const struct hold_id hold_before = {.slice = 0x222222, .term = 1, .boot = 2, .counter = 9};

static struct owner_call call_of(enum owner_call_kind kind)
{
    struct owner_call c = {.kind = kind, .subject = "ada"};

    key_mint(&c.key, HERE, 1795219200, (const uint8_t *)"random");
    memset(c.digest.bytes, 0x5a, sizeof c.digest.bytes);
    return c;
}

static void same_call(const struct owner_call *a, const struct owner_call *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_memory_equal(a->key.bytes, b->key.bytes, FLY_KEY_SIZE);
    assert_string_equal(a->subject, b->subject);
    assert_memory_equal(a->digest.bytes, b->digest.bytes, FLY_DIGEST_SIZE);
    assert_int_equal(a->commit, b->commit);
    assert_true(hold_equal(&a->hold, &b->hold));
    assert_true(hold_equal(&a->replaces, &b->replaces));
    assert_int_equal(a->vm, b->vm);
    assert_string_equal(a->region, b->region);
    assert_int_equal(a->cores, b->cores);
    assert_int_equal(a->memory_bytes, b->memory_bytes);
    assert_string_equal(a->name, b->name);
}

/* Through bytes, not only through structs. */
static enum fly_status call_travel(const struct owner_call *call, struct owner_call *out,
                                   struct fly_error *error)
{
    struct slice_call_message m;
    uint8_t bytes[2048];

    slice_call_fill(&m, HERE, call, NULL);
    assert_true(fly__v1__slice_call_request__get_packed_size(&m.pb) <= sizeof bytes);
    size_t size = fly__v1__slice_call_request__pack(&m.pb, bytes);
    Fly__V1__SliceCallRequest *pb = fly__v1__slice_call_request__unpack(NULL, size, bytes);
    assert_non_null(pb);
    assert_int_equal(pb->slice, HERE);
    enum fly_status status = slice_call_read(pb, out, error);
    fly__v1__slice_call_request__free_unpacked(pb, NULL);
    return status;
}

static void test_calls_round_trip(void **state)
{
    static const enum owner_call_kind kinds[] = {OWNER_OPEN,   OWNER_COMMIT, OWNER_HOLD,
                                                 OWNER_BIND,   OWNER_CLOSE,  OWNER_DONE,
                                                 OWNER_CANCEL, OWNER_RELEASE};
    struct owner_call back;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(kinds); i++) {
        struct owner_call c = call_of(kinds[i]);
        c.commit = i % 2 == 0;
        c.hold = hold_there;
        c.replaces = hold_before;
        c.vm = UINT64_C(0x0a1b2c000000f);
        c.cores = 1024;
        c.memory_bytes = UINT64_MAX;
        (void)fly_copy_string(c.region, sizeof c.region, "SIN");
        (void)fly_copy_string(c.name, sizeof c.name, "web-1");
        assert_int_equal(call_travel(&c, &back, NULL), FLY_OK);
        same_call(&c, &back);
        c = call_of(kinds[i]);
        assert_int_equal(call_travel(&c, &back, NULL), FLY_OK);
        same_call(&c, &back);
    }
    struct owner_call destroy = {.kind = OWNER_DESTROY, .vm = 77, .subject = "ada"};
    assert_int_equal(call_travel(&destroy, &back, NULL), FLY_OK);
    assert_int_equal(back.vm, 77);
}

static void test_calls_that_make_no_sense(void **state)
{
    static char long_name[65];
    static const struct {
        const char *what;
        const char *field; /* that the refusal names */
        uint32_t kind;
        size_t key_size;
        size_t digest_size;
        const char *subject;
        const char *name;
        const char *region;
        uint32_t hold_slice;
    } rows[] = {
        {"no kind", "kind", 0, 16, 16, "ada", "", "", 1},
        {"inventory from afar", "kind", OWNER_MACHINE, 16, 16, "ada", "", "", 1},
        {"a loss from afar", "kind", OWNER_LOSS, 16, 16, "ada", "", "", 1},
        {"a kind of tomorrow", "kind", 99, 16, 16, "ada", "", "", 1},
        {"a kind beyond int", "kind", UINT32_MAX, 16, 16, "ada", "", "", 1},
        {"no key", "key", OWNER_OPEN, 0, 16, "ada", "", "", 1},
        {"a short key", "key", OWNER_OPEN, 15, 16, "ada", "", "", 1},
        {"a long key", "key", OWNER_OPEN, 17, 16, "ada", "", "", 1},
        {"no digest", "digest", OWNER_OPEN, 16, 0, "ada", "", "", 1},
        {"a long digest", "digest", OWNER_OPEN, 16, 64, "ada", "", "", 1},
        {"no subject", "subject", OWNER_OPEN, 16, 16, "", "", "", 1},
        {"a subject in capitals", "subject", OWNER_CANCEL, 16, 16, "Ada", "", "", 1},
        {"a subject too long", "subject", OWNER_OPEN, 16, 16, long_name, "", "", 1},
        {"destroy by nobody we could name", "subject", OWNER_DESTROY, 0, 0, "a b", "", "", 1},
        {"a name with a space", "name", OWNER_OPEN, 16, 16, "ada", "a b", "", 1},
        {"a name too long", "name", OWNER_OPEN, 16, 16, "ada", long_name, "", 1},
        {"a region too long", "text", OWNER_OPEN, 16, 16, "ada", "", "AAAAAAAAAAAAAAAA", 1},
        {"a hold of no slice's tag", "hold", OWNER_COMMIT, 16, 16, "ada", "", "", 1u << 24},
    };
    const struct owner_call good = call_of(OWNER_OPEN);
    uint8_t key[64] = {0};
    uint8_t digest[64] = {0};

    (void)state;
    memset(long_name, 'a', sizeof long_name - 1);
    memcpy(key, good.key.bytes, FLY_KEY_SIZE);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct slice_call_message m;
        struct owner_call out = {.vm = 42};
        struct fly_error error = {.status = FLY_OK};
        slice_call_fill(&m, HERE, &good, NULL);
        m.pb.kind = rows[i].kind;
        m.pb.key = (ProtobufCBinaryData){.len = rows[i].key_size, .data = key};
        m.pb.digest = (ProtobufCBinaryData){.len = rows[i].digest_size, .data = digest};
        m.pb.subject = (char *)rows[i].subject;
        m.pb.name = (char *)rows[i].name;
        m.pb.region = (char *)rows[i].region;
        m.hold = (Fly__V1__HoldId)FLY__V1__HOLD_ID__INIT;
        m.hold.slice = rows[i].hold_slice;
        m.pb.hold = &m.hold;
        if (slice_call_read(&m.pb, &out, &error) != FLY_INVALID_ARGUMENT || out.vm != 42 ||
            strstr(error.text, rows[i].field) == NULL) {
            fail_msg("%s: %s", rows[i].what, error.text);
        }
    }
    struct slice_call_message m;
    struct owner_call out;
    slice_call_fill(&m, HERE, &good, NULL);
    key[FLY_KEY_SIZE - 1] ^= 1; /* the key's check says no */
    m.pb.key = (ProtobufCBinaryData){.len = FLY_KEY_SIZE, .data = key};
    assert_int_equal(slice_call_read(&m.pb, &out, NULL), FLY_INVALID_ARGUMENT);
}

static void test_token_hash_travels(void **state)
{
    uint8_t hash[TOKEN_HASH_SIZE];
    struct owner_call c = call_of(OWNER_OPEN);
    struct slice_call_message m;

    (void)state;
    memset(hash, 7, sizeof hash);
    slice_call_fill(&m, HERE, &c, hash);
    assert_int_equal(m.pb.token_hash.len, TOKEN_HASH_SIZE);
    assert_memory_equal(m.pb.token_hash.data, hash, sizeof hash);
    slice_call_fill(&m, HERE, &c, NULL);
    assert_int_equal(m.pb.token_hash.len, 0);
}

static struct vm vm_sample(void)
{
    struct vm vm = {.id = vmid_make(THERE, 12),
                    .number = 12,
                    .name = "web-1",
                    .region = "SIN",
                    .machine = "sin-0",
                    .subject = "ada",
                    .cores = 4,
                    .memory_bytes = UINT64_C(6000000000),
                    .state = VM_STARTED,
                    .seq = 99,
                    .created_ms = 1795219200000};

    vm.key = call_of(OWNER_OPEN).key;
    return vm;
}

static enum fly_status answer_travel(const struct owner_answer *answer, struct owner_answer *out)
{
    struct slice_answer_message m;
    uint8_t bytes[4096];

    slice_answer_fill(&m, answer);
    assert_true(fly__v1__slice_call_reply__get_packed_size(&m.pb) <= sizeof bytes);
    size_t size = fly__v1__slice_call_reply__pack(&m.pb, bytes);
    Fly__V1__SliceCallReply *pb = fly__v1__slice_call_reply__unpack(NULL, size, bytes);
    assert_non_null(pb);
    enum fly_status status = slice_answer_read(pb, answer->kind, out, NULL);
    fly__v1__slice_call_reply__free_unpacked(pb, NULL);
    return status;
}

static void test_answers_round_trip(void **state)
{
    struct owner_answer back;

    (void)state;
    for (int code = OWNER_VM; code <= OWNER_UNKNOWN; code++) {
        struct owner_answer a = {.kind = OWNER_OPEN,
                                 .code = (enum owner_code)code,
                                 .replayed = code % 2 == 0,
                                 .hold = hold_there,
                                 .generation = 3,
                                 .vm_id = 1234};
        a.vm = vm_sample();
        a.room = (struct owner_room){.machines = 4, .cores_max = 64, .fits_empty = true};
        a.status = code == OWNER_REFUSED ? FLY_RESOURCE_EXHAUSTED : FLY_OK;
        a.text = code == OWNER_REFUSED ? "the table is full" : NULL;
        assert_int_equal(answer_travel(&a, &back), FLY_OK);
        assert_int_equal(back.code, code);
        assert_int_equal(back.kind, OWNER_OPEN);
        assert_int_equal(back.replayed, a.replayed);
        assert_true(hold_equal(&back.hold, &a.hold));
        assert_int_equal(back.generation, 3);
        assert_int_equal(back.vm_id, 1234);
        if (code == OWNER_VM) {
            assert_int_equal(back.vm.id, a.vm.id);
            assert_int_equal(back.vm.number, 12);
            assert_string_equal(back.vm.machine, "sin-0");
            assert_memory_equal(back.vm.key.bytes, a.vm.key.bytes, FLY_KEY_SIZE);
        }
        if (code == OWNER_ELSEWHERE) {
            assert_int_equal(back.room.cores_max, 64);
            assert_true(back.room.fits_empty);
        }
        if (code == OWNER_REFUSED) {
            assert_int_equal(back.status, FLY_RESOURCE_EXHAUSTED);
            assert_string_equal(back.text, "the table is full");
        }
    }
}

static void test_answers_that_make_no_sense(void **state)
{
    struct slice_answer_message m;
    struct owner_answer out;
    struct owner_answer a = {.kind = OWNER_OPEN, .code = OWNER_VM, .hold = hold_there};

    (void)state;
    a.vm = vm_sample();
    static const struct {
        const char *what;
        uint32_t code;
        bool vm;
        bool hold;
        uint32_t status;
    } rows[] = {
        {"no code", 0, true, true, 0},
        {"a code of tomorrow", OWNER_UNKNOWN + 1, true, true, 0},
        {"a VM without a VM", OWNER_VM, false, true, 0},
        {"held by no hold", OWNER_HELD, true, false, 0},
        {"bound to no hold", OWNER_BOUND, true, false, 0},
        {"elsewhere by no hold", OWNER_VM_ELSEWHERE, true, false, 0},
        {"refused with OK", OWNER_REFUSED, true, true, 0},
        {"refused with no status of ours", OWNER_REFUSED, true, true, 17},
    };
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        slice_answer_fill(&m, &a);
        m.pb.code = rows[i].code;
        m.pb.vm = rows[i].vm ? m.pb.vm : NULL;
        m.pb.hold = rows[i].hold ? m.pb.hold : NULL;
        m.pb.status = rows[i].status;
        if (slice_answer_read(&m.pb, OWNER_OPEN, &out, NULL) != FLY_INVALID_ARGUMENT) {
            fail_msg("%s was taken", rows[i].what);
        }
    }
    slice_answer_fill(&m, &a);
    m.pb.vm->id = (char *)"not a vm";
    assert_int_equal(slice_answer_read(&m.pb, OWNER_OPEN, &out, NULL), FLY_INVALID_ARGUMENT);
    slice_answer_fill(&m, &a);
    m.pb.vm->state = FLY__V1__VM_STATE__VM_STATE_FAILED;
    assert_int_equal(slice_answer_read(&m.pb, OWNER_OPEN, &out, NULL), FLY_INVALID_ARGUMENT);
    slice_answer_fill(&m, &a);
    m.pb.vm->key.len = 3;
    assert_int_equal(slice_answer_read(&m.pb, OWNER_OPEN, &out, NULL), FLY_INVALID_ARGUMENT);
}

/* A hostile owner cannot make a node remember words without end. */
static void test_interned_texts(void **state)
{
    char text[400];
    const char *first = text_intern("the first");

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(text, sizeof text, "word %u %0300u", i, i);
        const char *kept = text_intern(text);
        assert_ptr_equal(kept, text_intern(text));
        assert_true(strlen(kept) < 200);
    }
    assert_ptr_equal(text_intern("the first"), first);
    assert_string_equal(text_intern("one more"), "the owner refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_round_trip),
        cmocka_unit_test(test_calls_that_make_no_sense),
        cmocka_unit_test(test_token_hash_travels),
        cmocka_unit_test(test_answers_round_trip),
        cmocka_unit_test(test_answers_that_make_no_sense),
        cmocka_unit_test(test_interned_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
