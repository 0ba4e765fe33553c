/* segment: the reader of libraft's files. The log under test is written once by libraft itself, by
 * a process that is killed with -9; then every flip of a bit and every length of truncation of
 * every file is judged in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/journal_folder.h"
#include "tests/unit/journal_room.h"

#include <signal.h>
#include <sys/wait.h>

enum { ENTRIES = 200 };

/* Nothing here loses its page cache, so nothing has to wait for the disk. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

static struct folder base;
static struct room room;

static void mark_set_back(struct folder *folder, uint64_t index);

/* --- the log under test -------------------------------------------------------------------- */

static uint64_t build_entries = ENTRIES;

/* In a child: 200 entries in waves of 1 to 7, three lives, and a kill -9. */
static void build_in_child(const char *name, unsigned snapshot_bytes)
{
    uint64_t number = 0;
    for (int life = 0; life < 3; life++) {
        uint64_t until = life == 2 ? build_entries : (uint64_t)(life + 1) * build_entries / 3;
        if (life == 0) {
            room_init(&room, FLY_BINARY, name);
        }
        room.config.segment_bytes = 16 * 1024;
        room.config.snapshot_bytes = snapshot_bytes;
        room.config.trailing = 20;
        FLY_CHECK(room_open(&room) == FLY_OK);
        room_lead_wait(&room);
        while (number < until) {
            for (uint64_t i = 0; i <= number % 7 && number < until; i++) {
                FLY_CHECK(room_append(&room, ++number) == FLY_OK);
            }
            room_run_until(&room, number);
        }
        if (snapshot_bytes != 0) {
            struct journal_stats stats;
            do {
                uv_run(&room.loop, UV_RUN_NOWAIT);
                journal_stats(room.journal, &stats);
            } while (stats.snapshots == 0 && life == 2);
        }
        if (life < 2) {
            room_close(&room);
        }
    }
    kill(getpid(), SIGKILL);
}

static void build(struct folder *folder, const char *name, unsigned snapshot_bytes)
{
    char dir[300];
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct sigaction plain = {.sa_handler = SIG_DFL}; /* cmocka's would go on in here */
        (void)sigaction(SIGABRT, &plain, NULL);
        (void)sigaction(SIGSEGV, &plain, NULL);
        build_in_child(name, snapshot_bytes);
        _exit(3);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    snprintf(dir, sizeof dir, "%s/journal-%s-%d", FLY_BINARY, name, (int)child);
    folder_load(folder, dir);
    room_wipe(dir);
}

/* prefix[n]: the state after n entries, from the folder itself, checked against the generator. */
static struct toy prefix[ENTRIES + 1];

static enum fly_status prefix_entry(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                                    size_t size, struct fly_error *error)
{
    struct toy *toy = user;
    uint8_t expected[256];
    (void)error;
    assert_int_equal(room_entry(toy->count + 1, expected, sizeof expected), size);
    assert_memory_equal(expected, data, size);
    toy_fold(toy, index, term, data, size);
    assert_true(toy->count <= ENTRIES);
    prefix[toy->count] = *toy;
    return FLY_OK;
}

static int setup(void **state)
{
    (void)state;
    segment_crc_init(&crc);
    build(&base, "flips", 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_drop(&base);
    return 0;
}

static void test_whole_log(void **state)
{
    (void)state;
    static struct verdict v;
    folder_check(&base, &v);
    assert_int_equal(v.status, FLY_OK);
    assert_int_equal(v.toy.count, ENTRIES);
    assert_false(v.check.walk.torn_seen);
    assert_int_equal(v.check.mark.index, v.check.last_index);
    assert_true(v.check.segments_closed >= 3 && v.check.segments_open >= 1);

    const struct segment_visitor first = {NULL, prefix_entry};
    const struct segment_source source = {&base, folder_read};
    struct toy toy = {0, 0, 0};
    struct segment_check again = {.crc = &crc, .files = v.files, .file_count = v.check.file_count};
    assert_int_equal(segment_check_run(&again, &source, &first, &toy, NULL), FLY_OK);
    assert_int_equal(toy.count, ENTRIES);
    assert_int_equal(toy.hash, v.toy.hash);
}

/* The one rule: the whole state; or a reported tear with an exact prefix, shorter by at most the
 * last batch; or a refusal with file, offset and reason. */
static void judge(const struct verdict *v, const char *name, const char *what, size_t at,
                  uint64_t last_batch)
{
    bool good = false;
    if (v->status == FLY_OK) {
        good = v->toy.count <= ENTRIES && v->toy.hash == prefix[v->toy.count].hash &&
               (v->toy.count == ENTRIES ||
                (v->check.walk.torn_seen && v->toy.count + last_batch >= ENTRIES));
    } else {
        good = v->status == FLY_DATA_LOSS && strstr(v->error.text, ": offset ") != NULL;
    }
    if (!good) {
        fail_msg("%s: %s %zu: %s, %llu entries, torn %d: %s", name, what, at,
                 fly_status_name(v->status), (unsigned long long)v->toy.count,
                 v->check.walk.torn_seen, v->error.text);
    }
}

/* The written part of a file: up to its last byte that is not zero, and a little more. */
static size_t written(const struct image *image)
{
    size_t end = image->size;
    while (end > 0 && image->data[end - 1] == 0) {
        end--;
    }
    return end + 24 < image->size ? end + 24 : image->size;
}

static void flip_all(struct folder *folder, uint64_t last_batch, unsigned counts[3])
{
    static struct verdict v;
    for (size_t f = 0; f < folder->count; f++) {
        struct image *image = &folder->images[f];
        for (size_t bit = 0; bit < written(image) * 8; bit++) {
            image->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            folder_check(folder, &v);
            judge(&v, image->name, "bit", bit, last_batch);
            counts[v.status != FLY_OK ? 2 : v.check.walk.torn_seen ? 1 : 0]++;
            image->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
    }
}

static void cut_all(struct folder *folder, uint64_t last_batch, unsigned counts[3])
{
    static struct verdict v;
    for (size_t f = 0; f < folder->count; f++) {
        struct image *image = &folder->images[f];
        size_t whole = image->size;
        for (size_t size = 0; size < written(image); size++) {
            image->size = size;
            folder_check(folder, &v);
            image->size = whole;
            judge(&v, image->name, "cut", size, last_batch);
            counts[v.status != FLY_OK ? 2 : v.check.walk.torn_seen ? 1 : 0]++;
        }
    }
}

static void test_every_flip_and_cut(void **state)
{
    (void)state;
    unsigned flips[3] = {0, 0, 0}, cuts[3] = {0, 0, 0};
    /* the mark is up to date: not one entry may go. What is called torn here is a flip in the zeros
     * behind the end, which costs none. */
    flip_all(&base, 0, flips);
    cut_all(&base, 0, cuts);
    print_message("flips: %u harmless, %u torn, %u refused; cuts: %u, %u, %u\n", flips[0], flips[1],
                  flips[2], cuts[0], cuts[1], cuts[2]);
    assert_int_equal(cuts[1], 0);
    assert_true(flips[2] > 100000 && cuts[2] > 10000);
}

/* The folder with its mark set back, as a power loss may leave it. */
static void mark_set_back(struct folder *folder, uint64_t index)
{
    struct image *image = folder_find(folder, "mark");
    struct segment_mark mark;
    unsigned bad = 0;
    assert_int_equal(segment_mark_decode(&crc, image->data, image->size, &mark, &bad, NULL),
                     FLY_OK);
    memset(image->data, 0, image->size);
    mark.counter = 0;
    mark.index = index;
    segment_mark_encode(&crc, &mark, image->data);
}

static void test_power_loss(void **state)
{
    (void)state;
    static struct verdict v;
    struct folder folder;
    build(&folder, "power", 0);
    folder_check(&folder, &v);
    mark_set_back(&folder, v.check.last_index - 40);
    struct image *image = folder_find(&folder, v.check.walk.end_file);
    size_t end = (size_t)v.check.walk.end_offset;
    unsigned torn = 0, refused = 0;
    for (size_t bit = 0; bit < end * 8; bit++) {
        image->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        folder_check(&folder, &v);
        judge(&v, image->name, "bit", bit, 7);
        torn += v.status == FLY_OK && v.check.walk.torn_seen;
        refused += v.status != FLY_OK;
        image->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    /* the last batch may be a torn write; every batch before it is vouched for by a later one */
    print_message("%u torn, %u refused\n", torn, refused);
    assert_true(torn > 0 && refused > torn);
    folder_drop(&folder);
}

static void test_snapshot_flips(void **state)
{
    (void)state;
    static struct verdict v;
    struct folder folder;
    unsigned flips[3] = {0, 0, 0}, cuts[3] = {0, 0, 0};
    build(&folder, "snap", 6000);
    folder_check(&folder, &v);
    assert_int_equal(v.status, FLY_OK);
    assert_true(v.check.snapshot_index > 0 && v.check.snapshot_bytes == 24);
    assert_int_equal(v.toy.count, ENTRIES);
    /* an older snapshot is kept by libraft as a spare: nobody reads it, so it may be damaged */
    flip_all(&folder, 0, flips);
    cut_all(&folder, 0, cuts);
    print_message("flips: %u harmless, %u torn, %u refused; cuts: %u, %u, %u\n", flips[0], flips[1],
                  flips[2], cuts[0], cuts[1], cuts[2]);
    assert_true(flips[2] > 10000 && cuts[2] > 1000);
    folder_drop(&folder);
}

/* The verdict in memory, then the same folder through journal_open and a real libraft: it must load
 * exactly the entries the reader named, or not be asked at all. */
static void open_and_compare(struct folder *folder, const char *what, size_t at, unsigned counts[3])
{
    static struct verdict v;
    folder_check(folder, &v);
    folder_store(folder, room.dir);
    enum fly_status status = room_open(&room);
    if (status != v.status ||
        (status == FLY_OK && (room.toy.count != v.toy.count || room.toy.hash != v.toy.hash))) {
        fail_msg("%s %zu: the reader says %s, %llu entries (%s); libraft %s, %llu entries (%s)",
                 what, at, fly_status_name(v.status), (unsigned long long)v.toy.count, v.error.text,
                 fly_status_name(status), (unsigned long long)room.toy.count,
                 status == FLY_OK ? "" : room.error.text);
    }
    room_close(&room);
    room_drain(&room);
    counts[v.status != FLY_OK ? 2 : v.check.walk.torn_seen ? 1 : 0]++;
}

static void open_sample(struct folder *folder, size_t flip_stride, size_t cut_stride,
                        unsigned counts[3])
{
    for (size_t f = 0; f < folder->count; f++) {
        struct image *image = &folder->images[f];
        size_t whole = image->size, end = written(image);
        for (size_t bit = f; bit < end * 8; bit += flip_stride) {
            image->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            open_and_compare(folder, image->name, bit, counts);
            image->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
        for (size_t size = f; size < end; size += cut_stride) {
            image->size = size;
            open_and_compare(folder, image->name, size, counts);
            image->size = whole;
        }
    }
}

static void test_libraft_loads_what_the_reader_says(void **state)
{
    (void)state;
    struct folder folder;
    unsigned counts[3] = {0, 0, 0};
    build(&folder, "sample", 0);
    room_init(&room, FLY_BINARY, "opened");
    open_sample(&folder, 9973, 1511, counts);
    mark_set_back(&folder, 120); /* from here on tails may be torn */
    open_sample(&folder, 4999, 997, counts);
    folder_drop(&folder);
    build(&folder, "sample", 6000);
    open_sample(&folder, 4999, 997, counts);
    folder_drop(&folder);
    room_fini(&room);
    print_message("%u whole, %u torn, %u refused\n", counts[0], counts[1], counts[2]);
    assert_true(counts[0] > 0 && counts[1] > 0 && counts[2] > 50);
}

static void test_missing_and_swapped_files(void **state)
{
    (void)state;
    static struct verdict v;
    for (size_t f = 0; f < base.count; f++) {
        struct image kept = base.images[f];
        base.images[f] = base.images[base.count - 1];
        base.count--;
        folder_check(&base, &v);
        judge(&v, kept.name, "without", 0, 0);
        base.images[base.count] = base.images[f];
        base.images[f] = kept;
        base.count++;
    }
    for (size_t f = 0; f < base.count; f++) {
        for (size_t g = 0; g < f; g++) {
            struct image a = base.images[f], b = base.images[g];
            base.images[f].data = b.data;
            base.images[f].size = b.size;
            base.images[g].data = a.data;
            base.images[g].size = a.size;
            folder_check(&base, &v);
            judge(&v, a.name, b.name, 0, 0);
            base.images[f] = a;
            base.images[g] = b;
        }
    }
}

static void test_strange_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum segment_kind kind;
    } table[] = {
        {"metadata1", SEGMENT_METADATA},
        {"metadata3", SEGMENT_OTHER},
        {"mark", SEGMENT_OTHER},
        {"open-1", SEGMENT_OPEN},
        {"open-18446744073709551615", SEGMENT_OPEN},
        {"open-18446744073709551616", SEGMENT_LOOKALIKE},
        {"open-0", SEGMENT_LOOKALIKE},
        {"open-01", SEGMENT_LOOKALIKE},
        {"open-1x", SEGMENT_LOOKALIKE},
        {"open- 1", SEGMENT_LOOKALIKE},
        {"open-", SEGMENT_LOOKALIKE},
        {"0000000000000001-0000000000000009", SEGMENT_CLOSED},
        {"0000000000000001-000000000000009", SEGMENT_LOOKALIKE},
        {"0000000000000009-0000000000000001", SEGMENT_LOOKALIKE},
        {"0000000000000000-0000000000000001", SEGMENT_LOOKALIKE},
        {"1-9", SEGMENT_LOOKALIKE},
        {" 1-9", SEGMENT_LOOKALIKE},
        {"+1-9", SEGMENT_LOOKALIKE},
        {"0000000000000001-0000000000000009.bak", SEGMENT_LOOKALIKE},
        {"snapshot-1-2-3", SEGMENT_SNAPSHOT},
        {"snapshot-1-2-3.meta", SEGMENT_SNAPSHOT_META},
        {"snapshot-1-2-3.metal", SEGMENT_LOOKALIKE},
        {"snapshot-1-2", SEGMENT_LOOKALIKE},
        {"snapshot-01-2-3", SEGMENT_LOOKALIKE},
        {"tmp-metadata1", SEGMENT_TEMPORARY},
        {"torn-open-1-8", SEGMENT_OTHER},
        {"notes.txt", SEGMENT_OTHER},
        {"", SEGMENT_OTHER},
    };
    for (size_t i = 0; i < FLY_ARRAY_COUNT(table); i++) {
        struct segment_name name = segment_name_parse(table[i].name);
        if (name.kind != table[i].kind) {
            fail_msg("\"%s\" is kind %d, not %d", table[i].name, (int)name.kind,
                     (int)table[i].kind);
        }
    }
    struct segment_name name = segment_name_parse("snapshot-7-90-1234567.meta");
    assert_true(name.a == 7 && name.b == 90 && name.c == 1234567);
}

static uint32_t crc_naive(uint32_t sum, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        sum ^= (uint32_t)data[i] << 24;
        for (int bit = 0; bit < 8; bit++) {
            sum = (sum & 0x80000000u) != 0 ? (sum << 1) ^ 0x04C11DB7u : sum << 1;
        }
    }
    return sum;
}

static void test_crc(void **state)
{
    (void)state;
    uint8_t data[100];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 73 + 5);
    }
    for (size_t size = 0; size <= sizeof data; size++) {
        uint32_t whole = crc_naive(0, data, size);
        assert_int_equal(segment_crc_update(&crc, 0, data, size), whole);
        uint32_t part = segment_crc_update(&crc, 0, data, size / 3);
        assert_int_equal(segment_crc_update(&crc, part, data + size / 3, size - size / 3), whole);
    }
}

static void test_wrap(void **state)
{
    (void)state;
    uint8_t data[64], out[128];
    memset(data, 0xAB, sizeof data);
    for (size_t size = 1; size <= sizeof data; size++) {
        struct segment_wrap wrap = {7, 3, 5}, back;
        const uint8_t *inner = NULL;
        size_t inner_size = 0, total = segment_wrap_size(size);
        assert_int_equal(total % 8, 0);
        segment_wrap_encode(out, &wrap, data, size);
        assert_int_equal(segment_wrap_decode(out, total, &back, &inner, &inner_size, NULL), FLY_OK);
        assert_int_equal(inner_size, size);
        assert_memory_equal(inner, data, size);
        assert_memory_equal(&wrap, &back, sizeof wrap);
        assert_int_equal(segment_wrap_decode(out, total - 8, &back, &inner, &inner_size, NULL),
                         FLY_DATA_LOSS);
        assert_int_equal(segment_wrap_decode(out, total + 8, &back, &inner, &inner_size, NULL),
                         FLY_DATA_LOSS);
    }
}

static void test_mark(void **state)
{
    (void)state;
    uint8_t file[SEGMENT_MARK_SIZE] = {0};
    struct segment_mark mark = {0, 0, 0, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}}, back;
    unsigned bad = 0;
    assert_int_equal(segment_mark_decode(&crc, file, sizeof file, &back, &bad, NULL),
                     FLY_DATA_LOSS);
    for (uint64_t i = 1; i <= 9; i++) {
        mark.counter = i;
        mark.index = i * 10;
        segment_mark_encode(&crc, &mark,
                            file + (i % SEGMENT_MARK_SLOTS) * (size_t)SEGMENT_MARK_SLOT);
        assert_int_equal(segment_mark_decode(&crc, file, sizeof file, &back, &bad, NULL), FLY_OK);
        assert_int_equal(back.index, i * 10);
        assert_int_equal(bad, 0);
    }
    file[(9 % SEGMENT_MARK_SLOTS) * SEGMENT_MARK_SLOT + 20] ^= 1;
    assert_int_equal(segment_mark_decode(&crc, file, sizeof file, &back, &bad, NULL), FLY_OK);
    assert_int_equal(back.index, 80);
    assert_int_equal(bad, 1);
    assert_int_equal(segment_mark_decode(&crc, file, sizeof file - 1, &back, &bad, NULL),
                     FLY_DATA_LOSS);
    /* a slot copied over another does not count */
    memcpy(file + SEGMENT_MARK_SLOT, file, SEGMENT_MARK_SLOT);
    assert_int_equal(segment_mark_decode(&crc, file, sizeof file, &back, &bad, NULL), FLY_OK);
    assert_int_equal(back.index, 80);
}

static void test_metadata_rules(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        struct segment_metadata one, two;
        bool marked;
        bool good;
        uint64_t newest;
    } table[] = {
        /* the mark remembers (4, 5) and intends 6 */
        {"next not begun", {5, 3, 1}, {4, 3, 0}, true, true, 5},
        {"next written", {5, 3, 1}, {6, 4, 0}, true, true, 6},
        {"next half created", {5, 3, 1}, {0, 0, 0}, true, false, 0},
        {"current gone", {0, 0, 0}, {6, 4, 0}, true, false, 0},
        {"other term", {5, 3, 1}, {6, 5, 0}, true, false, 0},
        {"other vote", {5, 3, 2}, {6, 4, 0}, true, false, 0},
        {"older", {3, 2, 1}, {4, 3, 0}, true, false, 0},
        {"both newer", {7, 5, 1}, {6, 4, 0}, true, false, 0},
        /* without a mark only the sequence counts */
        {"a pair", {5, 3, 1}, {4, 3, 0}, false, true, 5},
        {"a gap", {7, 3, 1}, {4, 3, 0}, false, false, 0},
        {"the first", {1, 1, 0}, {0, 0, 0}, false, true, 1},
        {"half a pair", {0, 0, 0}, {4, 3, 0}, false, false, 0},
        {"term goes back", {5, 2, 1}, {4, 3, 0}, false, false, 0},
        {"nothing", {0, 0, 0}, {0, 0, 0}, false, true, 0},
    };
    const struct segment_mark mark = {9, 100, 3, {4, 3, 0}, {5, 3, 1}, {6, 4, 0}};
    for (size_t i = 0; i < FLY_ARRAY_COUNT(table); i++) {
        const struct segment_metadata files[2] = {table[i].one, table[i].two};
        struct segment_metadata newest;
        struct fly_error error;
        enum fly_status status =
            segment_metadata_check(files, table[i].marked ? &mark : NULL, &newest, &error);
        if ((status == FLY_OK) != table[i].good ||
            (status == FLY_OK && newest.version != table[i].newest)) {
            fail_msg("%s: %s", table[i].what, error.text);
        }
    }
}

/* `test_segment corpus DIR`: seeds for tests/fuzz/fuzz_segment.c, in its container's form. */
static int corpus_write(const char *dir)
{
    static const struct {
        const char *name;
        uint64_t entries;
        unsigned snapshot;
    } seeds[] = {{"few", 4, 0}, {"waves", 20, 0}, {"snapshot", 12, 1200}, {"twice", 30, 1500}};
    segment_crc_init(&crc);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(seeds); i++) {
        struct folder folder;
        char path[1024];
        build_entries = seeds[i].entries;
        build(&folder, "corpus", seeds[i].snapshot);
        for (int fix = 0; fix < 2; fix++) {
            snprintf(path, sizeof path, "%s/%s-%d", dir, seeds[i].name, fix);
            FILE *out = fopen(path, "wb");
            FLY_CHECK(out != NULL);
            fputc(fix, out);
            for (size_t f = 0; f < folder.count; f++) {
                const struct image *image = &folder.images[f];
                uint8_t head[4];
                size_t size = written(image);
                fly_store_u32(head, (uint32_t)size);
                fputc((int)strlen(image->name), out);
                fwrite(image->name, 1, strlen(image->name), out);
                fwrite(head, 1, sizeof head, out);
                fwrite(image->data, 1, size, out);
            }
            fclose(out);
        }
        folder_drop(&folder);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "corpus") == 0) {
        return corpus_write(argv[2]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_strange_names),
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_mark),
        cmocka_unit_test(test_metadata_rules),
        cmocka_unit_test(test_whole_log),
        cmocka_unit_test(test_missing_and_swapped_files),
        cmocka_unit_test(test_snapshot_flips),
        cmocka_unit_test(test_power_loss),
        cmocka_unit_test(test_libraft_loads_what_the_reader_says),
        cmocka_unit_test(test_every_flip_and_cut),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
