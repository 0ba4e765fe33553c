/* bring: shares add up to the file, whatever N; the host is what its files say, less a reserve. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/bring.h"
#include "proto/base/id.h"
#include "proto/wire/credential.h"

static void make_dir(char *dir, size_t size)
{
    (void)snprintf(dir, size, "%s/test-bring-XXXXXX", FLY_BINARY);
    assert_non_null(mkdtemp(dir));
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[1024];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    for (char *slash = path + strlen(dir) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void set_up(struct node_config *c, struct config_run *r, const char *machines)
{
    *c = (struct node_config){.join_by_flag = false};
    (void)snprintf(c->machines, sizeof c->machines, "%s", machines);
    (void)snprintf(c->regions_file, sizeof c->regions_file, "%s/data/regions.csv", FLY_SOURCE);
    *r = (struct config_run){.roles = NODE_ROLE_PEER, .share = 1, .shares = 1, .name = "node-7"};
}

static void load(struct inventory *out, const struct node_config *c, const struct config_run *r)
{
    struct fly_error error;

    *out = (struct inventory){0};
    if (bring_load(out, c, r, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
}

static size_t count_in(const struct inventory *inventory, const char *region)
{
    size_t count = 0;

    for (size_t i = 0; i < inventory->machine_count; i++) {
        count += strcmp(inventory->machines[i].region, region) == 0;
    }
    return count;
}

/* Each machine of the file is in exactly one share; no region is dealt out unevenly. */
static void test_shares(void **state)
{
    static const uint32_t shares[] = {1, 2, 3, 4, 5, 7, 10, 99, 1024};
    struct node_config c;
    struct config_run r;
    struct inventory whole;
    struct inventory part;

    (void)state;
    set_up(&c, &r, FLY_SOURCE "/data/machines.csv");
    load(&whole, &c, &r);
    assert_int_equal(whole.machine_count, 99);
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        unsigned *seen = calloc(whole.machine_count, sizeof *seen);
        assert_non_null(seen);
        r.shares = shares[i];
        for (r.share = 1; r.share <= r.shares; r.share++) {
            size_t at = 0;
            load(&part, &c, &r);
            for (size_t k = 0; k < part.machine_count; k++, at++) {
                while (strcmp(whole.machines[at].name, part.machines[k].name) != 0) {
                    at++; /* in the order of the file */
                    assert_true(at < whole.machine_count);
                }
                seen[at]++;
            }
            for (size_t k = 0; k < whole.region_count; k++) {
                size_t has = count_in(&part, whole.regions[k].code);
                size_t all = count_in(&whole, whole.regions[k].code);
                assert_in_range(has, all / r.shares, (all + r.shares - 1) / r.shares);
            }
            if (r.shares == 3) { /* about a third, as deploy/up brings it */
                assert_in_range(part.machine_count, 30, 36);
            }
            inventory_fini(&part);
        }
        for (size_t k = 0; k < whole.machine_count; k++) {
            assert_int_equal(seen[k], 1);
        }
        free(seen);
    }
    inventory_fini(&whole);
}

/* A row at the end of one region moves no machine between shares. */
static void test_shares_stay(void **state)
{
    char dir[512];
    char path[600];
    char text[4096] = "name,region,cores,memory_bytes\n";
    struct node_config c;
    struct config_run r;
    struct inventory before;
    struct inventory after;

    (void)state;
    make_dir(dir, sizeof dir);
    (void)snprintf(path, sizeof path, "%s/m.csv", dir);
    for (int i = 0; i < 20; i++) {
        size_t used = strlen(text);
        (void)snprintf(text + used, sizeof text - used, "m-%d,%s,4,1000000\n", i,
                       i < 9 ? "SIN" : "NRT");
    }
    set_up(&c, &r, path);
    r.shares = 3;
    for (r.share = 1; r.share <= 3; r.share++) {
        write_file(dir, "m.csv", text);
        load(&before, &c, &r);
        char *more = strdup(text);
        assert_non_null(more);
        char *nrt = strstr(more, "m-9,");
        char grown[5000];
        (void)snprintf(grown, sizeof grown, "%.*sm-new,SIN,4,1000000\n%s", (int)(nrt - more), more,
                       nrt);
        write_file(dir, "m.csv", grown);
        load(&after, &c, &r);
        assert_in_range(after.machine_count, before.machine_count, before.machine_count + 1);
        size_t at = 0;
        for (size_t i = 0; i < before.machine_count; i++) {
            while (strcmp(after.machines[at].name, before.machines[i].name) != 0) {
                at++;
                assert_true(at < after.machine_count);
            }
        }
        inventory_fini(&before);
        inventory_fini(&after);
        free(more);
    }
}

static void test_regions(void **state)
{
    struct node_config c;
    struct config_run r;
    struct inventory whole;
    struct inventory part;
    size_t sum = 0;

    (void)state;
    set_up(&c, &r, FLY_SOURCE "/data/machines.csv");
    load(&whole, &c, &r);
    size_t wanted = count_in(&whole, "DEN") + count_in(&whole, "ARN");
    r.region_count = 2;
    (void)snprintf(r.regions[0], sizeof r.regions[0], "DEN");
    (void)snprintf(r.regions[1], sizeof r.regions[1], "ARN");
    r.shares = 2;
    for (r.share = 1; r.share <= 2; r.share++) {
        load(&part, &c, &r);
        assert_int_equal(part.machine_count, count_in(&part, "DEN") + count_in(&part, "ARN"));
        assert_int_equal(part.region_count, whole.region_count);
        assert_int_equal(part.warning_count, whole.warning_count);
        sum += part.machine_count;
        inventory_fini(&part);
    }
    assert_int_equal(sum, wanted);
    r.share = 1;
    r.shares = 1;
    (void)snprintf(r.regions[1], sizeof r.regions[1], "BOG"); /* no machine is there */
    load(&part, &c, &r);
    assert_int_equal(part.warning_count, whole.warning_count + 1);
    assert_non_null(strstr(part.warnings[part.warning_count - 1], "BOG"));
    inventory_fini(&part);
    inventory_fini(&whole);
}

static void test_who_brings(void **state)
{
    struct node_config c;
    struct config_run r;
    struct inventory i;
    struct fly_error error;

    (void)state;
    set_up(&c, &r, FLY_SOURCE "/data/machines.csv");
    r.roles = NODE_ROLE_EDGE;
    load(&i, &c, &r);
    assert_int_equal(i.machine_count, 0);
    assert_true(i.region_count > 0);
    assert_false(i.untold);
    inventory_fini(&i);
    set_up(&c, &r, "");
    load(&i, &c, &r);
    assert_int_equal(i.machine_count, 0);
    assert_true(i.untold);
    assert_int_equal(i.warning_count, 1);
    inventory_fini(&i);

    r.host = true; /* this very host, whatever it has */
    r.reserve_told = true;
    i = (struct inventory){0};
    assert_int_equal(bring_load(&i, &c, &r, &error), FLY_INVALID_ARGUMENT);
    assert_non_null(strstr(error.text, "--region"));
    inventory_fini(&i);
    (void)snprintf(r.region, sizeof r.region, "XYZ");
    assert_int_equal(bring_load(&i, &c, &r, &error), FLY_INVALID_ARGUMENT);
    inventory_fini(&i);
    (void)snprintf(r.region, sizeof r.region, "SIN");
    load(&i, &c, &r);
    assert_false(i.untold);
    assert_int_equal(i.machine_count, 1);
    assert_string_equal(i.machines[0].region, "SIN");
    assert_true(fly_name_ok(i.machines[0].name));
    assert_in_range(i.machines[0].cores, 1, sysconf(_SC_NPROCESSORS_CONF));
    assert_true(i.machines[0].memory_bytes >= 1000000);
    assert_int_equal(inventory_add_machine(&i, &i.machines[0], &error), FLY_ALREADY_EXISTS);
    inventory_fini(&i);
}

static void test_host_names(void **state)
{
    static const struct {
        const char *host;
        const char *name;
    } rows[] = {
        {"rack-1", "rack-1"},     {"Rack_1.example.org", "rack-1"},
        {"localhost", "node-7"},  {"", "node-7"},
        {".x", "node-7"},         {"localhost.localdomain", "node-7"},
        {"b\303\274ro", "b--ro"},
    };
    char name[64];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bring_host_name(rows[i].host, "node-7", name);
        assert_string_equal(name, rows[i].name);
    }
    char longest[101];
    memset(longest, 'a', 100);
    longest[100] = '\0';
    bring_host_name(longest, "node-7", name);
    assert_int_equal(strlen(name), 63);
}

static void test_measure(void **state)
{
    static const struct {
        const char *what;
        const char *group;                    /* of /proc/self/cgroup */
        const char *cpu, *memory;             /* of a/b, NULL: no file */
        const char *upper_cpu, *upper_memory; /* of a */
        uint32_t cores;                       /* 0: all that there are */
        uint64_t memory_bytes;
    } rows[] = {
        {"no limit", "0::/a/b\n", "max 100000\n", "max\n", NULL, NULL, 0, 8192000000},
        {"no cgroup", "", NULL, NULL, NULL, NULL, 0, 8192000000},
        {"the root", "0::/\n", "100000 100000", "5", NULL, NULL, 0, 8192000000},
        {"a core and a half is one", "0::/a/b\n", "150000 100000\n", "1000000000\n", NULL, NULL, 1,
         1000000000},
        {"half a core is one", "0::/a/b\n", "50000 100000\n", NULL, NULL, NULL, 1, 8192000000},
        {"the folder above", "0::/a/b\n", "max 100000\n", "3000000000\n", "100000 100000\n",
         "2000000000\n", 1, 2000000000},
        {"more than there is", "0::/a/b\n", "99900000000 100000\n", "999000000000000\n", NULL, NULL,
         0, 8192000000},
        {"beside version 1", "4:memory:/x\n0::/a/b\n", NULL, "1000000000\n", NULL, NULL, 0,
         1000000000},
        {"garbage", "0::/a/b\n", "many\n", "99999999999999999999999\n", NULL, NULL, 0, 8192000000},
    };
    struct bring_host all;
    struct bring_host host;
    struct fly_error error;

    (void)state;
    assert_int_equal(bring_measure("/proc", "/nonexistent", &all, &error), FLY_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char dir[512];
        make_dir(dir, sizeof dir);
        write_file(dir, "meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n");
        write_file(dir, "self/cgroup", rows[i].group);
        if (rows[i].cpu != NULL) {
            write_file(dir, "a/b/cpu.max", rows[i].cpu);
        }
        if (rows[i].memory != NULL) {
            write_file(dir, "a/b/memory.max", rows[i].memory);
        }
        if (rows[i].upper_cpu != NULL) {
            write_file(dir, "a/cpu.max", rows[i].upper_cpu);
            write_file(dir, "a/memory.max", rows[i].upper_memory);
        }
        assert_int_equal(bring_measure(dir, dir, &host, &error), FLY_OK);
        if (host.cores != (rows[i].cores != 0 ? rows[i].cores : all.cores) ||
            host.memory_bytes != rows[i].memory_bytes) {
            fail_msg("%s: %u cores, %llu bytes", rows[i].what, host.cores,
                     (unsigned long long)host.memory_bytes);
        }
    }
    assert_int_equal(bring_measure("/nonexistent", "/nonexistent", &host, &error), FLY_UNAVAILABLE);
}

static void test_reserve(void **state)
{
    static const struct {
        const char *what;
        struct bring_host host;
        bool told;
        uint32_t reserve_cores;
        uint64_t reserve_memory;
        uint32_t cores; /* 0: refused */
        uint64_t memory;
    } rows[] = {
        {"a core and a GB", {4, 8000500000}, false, 0, 0, 3, 7000000000},
        {"a tenth", {64, 100000000000}, false, 0, 0, 58, 90000000000},
        {"a small host", {1, 1000000000}, false, 0, 0, 1, 500000000},
        {"nothing kept", {4, 8000000000}, true, 0, 0, 4, 8000000000},
        {"as told", {4, 8000000000}, true, 3, 7999000000, 1, 1000000},
        {"all cores kept", {4, 8000000000}, true, 4, 0, 0, 0},
        {"all memory kept", {4, 8000000000}, true, 0, 8000000000, 0, 0},
        {"less than a MB left", {4, 8000000000}, true, 0, 7999000001, 0, 0},
        {"larger than any machine", {9000, 200000000000000}, true, 0, 0, 4096, 100000000000000},
    };
    struct fly_error error;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bring_host host = rows[i].host;
        struct config_run r = {.reserve_told = rows[i].told,
                               .reserve_cores = rows[i].reserve_cores,
                               .reserve_memory_bytes = rows[i].reserve_memory};
        enum fly_status status = bring_less_reserve(&host, &r, &error);
        if (rows[i].cores == 0 ? status != FLY_FAILED_PRECONDITION
                               : status != FLY_OK || host.cores != rows[i].cores ||
                                     host.memory_bytes != rows[i].memory) {
            fail_msg("%s: %u cores, %llu bytes", rows[i].what, host.cores,
                     (unsigned long long)host.memory_bytes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),     cmocka_unit_test(test_shares_stay),
        cmocka_unit_test(test_regions),    cmocka_unit_test(test_who_brings),
        cmocka_unit_test(test_host_names), cmocka_unit_test(test_measure),
        cmocka_unit_test(test_reserve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
