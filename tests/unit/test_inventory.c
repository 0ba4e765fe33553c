/* inventory: the shipped files, the ancestor's files unchanged, and every way to be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/inventory.h"
#include "proto/base/check.h"

#define REGIONS_HEAD "code,city,country,latitude,longitude,status\n"
#define MACHINES_HEAD "name,region,cores,memory_bytes\n"
#define FLY_LIGHT FLY_VECTORS "/fly-light/"
#define DATA FLY_SOURCE "/data/"

static struct fly_bytes bytes_of(const char *text)
{
    return (struct fly_bytes){(const uint8_t *)text, strlen(text)};
}

struct refusal {
    const char *what;
    const char *text;
    const char *error;
};

static const struct refusal bad_regions[] = {
    {"nothing at all", "", "r.csv: is empty"},
    {"blank lines only", "\n\n", "r.csv: is empty"},
    {"no rows", REGIONS_HEAD, "r.csv: has no regions"},
    {"no code", "city\nx\n", "r.csv:1: column 'code' is missing"},
    {"no city", "code\nSIN\n", "r.csv:1: column 'city' is missing"},
    {"two forms", "code,city,location\n",
     "r.csv:1: columns 'city' and 'location' say the same thing"},
    {"column twice", "code,city,CODE\n", "r.csv:1: columns 'code' and 'code' say the same thing"},
    {"half a position column", "code,city,latitude\n",
     "r.csv:1: columns 'latitude' and 'longitude' go together"},
    {"too few fields", REGIONS_HEAD "SIN,Singapore\n", "r.csv:2: 2 fields, the header has 6"},
    {"too many fields", "code,city\nSIN,Singapore,1\n", "r.csv:2: 3 fields, the header has 2"},
    {"code too short", "code,city\nS,x\n",
     "r.csv:2: code: 'S' is not a region code (2 to 8 letters or digits)"},
    {"code too long", "code,city\nSINGAPORE,x\n",
     "r.csv:2: code: 'SINGAPORE' is not a region code (2 to 8 letters or digits)"},
    {"code with a dash", "code,city\nS-N,x\n",
     "r.csv:2: code: 'S-N' is not a region code (2 to 8 letters or digits)"},
    {"code empty", "code,city\n,x\n",
     "r.csv:2: code: '' is not a region code (2 to 8 letters or digits)"},
    {"code twice, other case, blank line between", "code,city\nSIN,x\n\nsin,y\n",
     "r.csv:4: code: 'sin' is on line 2 already"},
    {"city empty", "code,city\nSIN,\n", "r.csv:2: city: '' is empty"},
    {"city too long",
     "code,city\nSIN,0123456789012345678901234567890123456789012345678901234567890123\n",
     "r.csv:2: city: '0123456789012345678901234567890123456789...' is longer than 63 bytes"},
    {"city with an escape sequence", "code,city\nSIN,a\033[2Jb\n",
     "r.csv:2: city: the value holds a control character"},
    {"city with a C1 control", "code,city\nSIN,a\302\233b\n",
     "r.csv:2: city: the value holds a control character"},
    {"city in Latin-1", "code,city\nBOG,Bogot\341\n",
     "r.csv:2: city: the value is not valid UTF-8"},
    {"overlong UTF-8", "code,city\nBOG,\300\257\n", "r.csv:2: city: the value is not valid UTF-8"},
    {"a surrogate", "code,city\nBOG,\355\240\200\n", "r.csv:2: city: the value is not valid UTF-8"},
    {"latitude alone", REGIONS_HEAD "SIN,x,y,1.3,,\n",
     "r.csv:2: latitude and longitude go together: one of them is empty"},
    {"latitude past the pole", REGIONS_HEAD "SIN,x,y,90.1,0,\n",
     "r.csv:2: latitude: '90.1' is not a decimal number from -90 to 90"},
    {"longitude past the line", REGIONS_HEAD "SIN,x,y,0,-180.5,\n",
     "r.csv:2: longitude: '-180.5' is not a decimal number from -180 to 180"},
    {"exponent", REGIONS_HEAD "SIN,x,y,1e1,0,\n",
     "r.csv:2: latitude: '1e1' is not a decimal number from -90 to 90"},
    {"nan", REGIONS_HEAD "SIN,x,y,nan,0,\n",
     "r.csv:2: latitude: 'nan' is not a decimal number from -90 to 90"},
    {"point without digits", REGIONS_HEAD "SIN,x,y,1.,0,\n",
     "r.csv:2: latitude: '1.' is not a decimal number from -90 to 90"},
    {"status", REGIONS_HEAD "SIN,x,y,1,0,sleepy\n",
     "r.csv:2: status: 'sleepy' is not one of operational, degraded, maintenance, offline"},
    {"quote in the middle", "code,city\nSIN,a\"b\n",
     "r.csv:2: column 2: a quote that is not closed or not doubled"},
    {"quote never closed", "code,city\nSIN,\"ab\n",
     "r.csv:2: column 2: a quote that is not closed or not doubled"},
    {"location without a city", "code,location\nSIN,\", Singapore\"\n",
     "r.csv:2: location: ', Singapore' names no city"},
};

static const struct refusal bad_machines[] = {
    {"no rows", MACHINES_HEAD, "m.csv: has no machines"},
    {"no region", "name,cores,memory_bytes\n", "m.csv:1: column 'region' is missing"},
    {"no cores", "name,region,memory_bytes\n", "m.csv:1: column 'cores' is missing"},
    {"no memory", "name,region,cores\n", "m.csv:1: column 'memory_bytes' is missing"},
    {"no name", "region,cores,memory_bytes\n", "m.csv:1: column 'name' is missing"},
    {"cores twice", "name,region,cores,cores_total,memory_bytes\n",
     "m.csv:1: columns 'cores' and 'cores_total' say the same thing"},
    {"cores with a letter", MACHINES_HEAD "a,SIN,3x,1\n",
     "m.csv:2: cores: '3x' is not a whole number from 1 to 4096"},
    {"cores zero", MACHINES_HEAD "a,SIN,0,1\n",
     "m.csv:2: cores: '0' is not a whole number from 1 to 4096"},
    {"cores negative", MACHINES_HEAD "a,SIN,-1,1\n",
     "m.csv:2: cores: '-1' is not a whole number from 1 to 4096"},
    {"cores too many", MACHINES_HEAD "a,SIN,4097,1\n",
     "m.csv:2: cores: '4097' is not a whole number from 1 to 4096"},
    {"cores empty", MACHINES_HEAD "a,SIN,,1\n",
     "m.csv:2: cores: '' is not a whole number from 1 to 4096"},
    {"memory too much", MACHINES_HEAD "a,SIN,1,100000000000001\n",
     "m.csv:2: memory_bytes: '100000000000001' is not a whole number from 1 to 100000000000000"},
    {"memory wraps 64 bits", MACHINES_HEAD "a,SIN,1,18446744073709551617\n",
     "m.csv:2: memory_bytes: '18446744073709551617' is not a whole number from 1 to "
     "100000000000000"},
    {"memory in exponent form", MACHINES_HEAD "a,SIN,1,2e12\n",
     "m.csv:2: memory_bytes: '2e12' is not a whole number from 1 to 100000000000000"},
    {"name upper-case", MACHINES_HEAD "A,SIN,1,1\n",
     "m.csv:2: name: 'A' is not 1 to 63 of a-z, 0-9 and -"},
    {"name empty", MACHINES_HEAD ",SIN,1,1\n",
     "m.csv:2: name: '' is not 1 to 63 of a-z, 0-9 and -"},
    {"region empty", MACHINES_HEAD "a,,1,1\n",
     "m.csv:2: region: '' is not a region code (2 to 8 letters or digits)"},
    {"name twice, CRLF",
     "name,region,cores,memory_bytes\r\na,SIN,1,1\r\nb,SIN,1,1\r\na,GRU,1,1\r\n",
     "m.csv:4: name: 'a' is on line 2 already"},
    {"address twice in a region",
     "name,region,address,cores,memory_bytes\na,SIN,h:1,1,1\nb,SIN,h:1,1,1\n",
     "m.csv:3: address: 'h:1' is in region SIN on line 2 already"},
    {"address with a space", "name,region,address,cores,memory_bytes\na,SIN,h 1,1,1\n",
     "m.csv:2: address: 'h 1' is not a host and port"},
    {"more allocated than there is",
     "name,region,cores,cores_allocated,memory_bytes\na,SIN,4,5,1\n",
     "m.csv:2: cores_allocated: '5' is not a whole number from 0 to 4"},
    {"more memory allocated than there is",
     "name,region,cores,memory_allocated,memory_bytes\na,SIN,4,5,4\n",
     "m.csv:2: memory_allocated: '5' is not a whole number from 0 to 4"},
    {"two addresses, one derived name",
     "region,address,cores,memory_bytes\nSIN,a.b,1,1\nSIN,a-b,1,1\n",
     "m.csv:3: address: 'a-b' makes the name sin-a-b, which is taken"},
    {"no name, no address", "region,address,cores,memory_bytes\nSIN,,1,1\n",
     "m.csv:2: address: '' is empty"},
    {"a value is never shown beside credentials",
     "name,region,http_auth_password,cores,memory_bytes\na,SIN,hunter2,hunter2,1\n",
     "m.csv:2: cores: the value is not a whole number from 1 to 4096"},
    {"a shifted row is refused before its values",
     "name,region,http_auth_password,cores,memory_bytes\na,SIN,hunter2,1\n",
     "m.csv:2: 4 fields, the header has 5"},
};

/* One good row is loaded first: a refusal must leave exactly that. */
static void test_bad_regions(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(bad_regions); i++) {
        struct inventory inventory = {0};
        struct fly_error error = {0};

        assert_int_equal(
            inventory_parse_regions(&inventory, "0", bytes_of("code,city\nQQQ,Q\n"), &error),
            FLY_OK);
        enum fly_status status =
            inventory_parse_regions(&inventory, "r.csv", bytes_of(bad_regions[i].text), &error);
        if (strcmp(error.text, bad_regions[i].error) != 0) {
            fail_msg("%s: '%s'", bad_regions[i].what, error.text);
        }
        assert_int_equal(status, FLY_INVALID_ARGUMENT);
        assert_int_equal(inventory.region_count, 1);
        inventory_fini(&inventory);
    }
}

static void test_bad_machines(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(bad_machines); i++) {
        struct inventory inventory = {0};
        struct fly_error error = {0};

        assert_int_equal(inventory_parse_machines(&inventory, "0",
                                                  bytes_of(MACHINES_HEAD "q,QQQ,1,1\n"), &error),
                         FLY_OK);
        enum fly_status status =
            inventory_parse_machines(&inventory, "m.csv", bytes_of(bad_machines[i].text), &error);
        if (strcmp(error.text, bad_machines[i].error) != 0) {
            fail_msg("%s: '%s'", bad_machines[i].what, error.text);
        }
        assert_int_equal(status, FLY_INVALID_ARGUMENT);
        assert_int_equal(inventory.machine_count, 1);
        assert_int_equal(inventory.region_count, 1);
        inventory_fini(&inventory);
    }
}

static void test_second_file(void **state)
{
    struct inventory inventory = {0};
    struct fly_error error = {0};

    (void)state;
    assert_int_equal(
        inventory_parse_regions(&inventory, "r1", bytes_of("code,city\nSIN,x\n"), &error), FLY_OK);
    assert_int_equal(
        inventory_parse_regions(&inventory, "r2", bytes_of("code,city\nGRU,y\nSIN,x\n"), &error),
        FLY_INVALID_ARGUMENT);
    assert_string_equal(error.text, "r2:3: code: 'SIN' is loaded already");
    assert_int_equal(
        inventory_parse_machines(&inventory, "m1", bytes_of(MACHINES_HEAD "a,SIN,1,1\n"), &error),
        FLY_OK);
    assert_int_equal(
        inventory_parse_machines(&inventory, "m2", bytes_of(MACHINES_HEAD "a,SIN,1,1\n"), &error),
        FLY_INVALID_ARGUMENT);
    assert_string_equal(error.text, "m2:2: name: 'a' is loaded already");
    assert_int_equal(inventory.region_count, 1);
    assert_int_equal(inventory.machine_count, 1);
    inventory_fini(&inventory);
}

static const struct inventory_region *region_of(const struct inventory *inventory, const char *code)
{
    const struct inventory_region *region = inventory_find_region(inventory, code);

    if (region == NULL) {
        fail_msg("no region %s", code);
    }
    return region;
}

static void test_fly_light_files(void **state)
{
    static const struct {
        const char *code;
        const char *city;
        const char *country;
        const char *status;
    } cases[] = {
        {"AMS", "Amsterdam", "Netherlands", "operational"},
        {"ATL", "Atlanta", "United States", "operational"},
        {"EWR", "Secaucus", "United States", "operational"},
        {"BOM", "Mumbai", "India", "degraded"},
        {"BOG", "Bogotá", "Colombia", "operational"},
        {"hkg", "Hong Kong", "Hong Kong", "operational"},
        {"SIN", "Singapore", "Singapore", "operational"},
        {"YYZ", "Toronto", "Canada", "operational"},
        {"MEL", "Melbourne", "Australia", "operational"},
    };
    struct inventory inventory = {0};
    struct fly_error error = {0};

    (void)state;
    if (inventory_load_regions(&inventory, FLY_LIGHT "fly_io_regions.csv", &error) != FLY_OK ||
        inventory_load_machines(&inventory, FLY_LIGHT "machine.csv", &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(inventory.region_count, 35);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        const struct inventory_region *region = region_of(&inventory, cases[i].code);
        assert_string_equal(region->city, cases[i].city);
        assert_string_equal(region->country, cases[i].country);
        assert_string_equal(region->status, cases[i].status);
        assert_false(region->has_position);
    }
    assert_int_equal(inventory.machine_count, 99);
    for (size_t i = 0; i < inventory.machine_count; i++) {
        assert_int_equal(inventory.machines[i].cores, 32);
        assert_true(inventory.machines[i].memory_bytes == UINT64_C(2000000000000));
        assert_false(inventory.machines[i].cordoned);
    }
    assert_string_equal(inventory.machines[0].name, "den-consul-node-01-dc-1-internal-8500");
    assert_string_equal(inventory.machines[0].address, "consul-node-01.dc-1.internal:8500");
    assert_string_equal(inventory.machines[98].name, "sin-consul-ultimate-datacenter-8500");
    /* credentials pass without a word: not kept, not warned about */
    assert_int_equal(inventory.warning_count, 0);
    inventory_fini(&inventory);
}

/* The regions file without its MEL row: the ten machines there are taken, with one warning. */
static void test_region_missing(void **state)
{
    static const char row[] = "\"MEL - Melbourne";
    struct inventory inventory = {0};
    struct fly_error error = {0};
    char text[8192];
    FILE *file = fopen(FLY_LIGHT "fly_io_regions.csv", "rb");

    (void)state;
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    (void)fclose(file);
    char *start = strstr(text, row);
    assert_non_null(start);
    char *end = strchr(start, '\n') + 1;
    memmove(start, end, strlen(end) + 1);
    assert_int_equal(inventory_parse_regions(&inventory, "r", bytes_of(text), &error), FLY_OK);
    assert_int_equal(inventory.region_count, 34);
    assert_null(inventory_find_region(&inventory, "MEL"));
    assert_int_equal(inventory_load_machines(&inventory, FLY_LIGHT "machine.csv", &error), FLY_OK);
    assert_int_equal(inventory.machine_count, 99);
    assert_int_equal(inventory.region_count, 35);
    assert_string_equal(region_of(&inventory, "MEL")->status, "operational");
    assert_string_equal(region_of(&inventory, "MEL")->city, "");
    assert_int_equal(inventory.warning_count, 1);
    assert_string_equal(
        inventory.warnings[0], FLY_LIGHT
        "machine.csv:71: region MEL is not in the regions file: taken without city and position");
    inventory_fini(&inventory);
}

static void test_shipped_files(void **state)
{
    struct inventory ours = {0};
    struct inventory theirs = {0};
    struct fly_error error = {0};

    (void)state;
    if (inventory_load_regions(&ours, DATA "regions.csv", &error) != FLY_OK ||
        inventory_load_machines(&ours, DATA "machines.csv", &error) != FLY_OK ||
        inventory_load_regions(&theirs, FLY_LIGHT "fly_io_regions.csv", &error) != FLY_OK ||
        inventory_load_machines(&theirs, FLY_LIGHT "machine.csv", &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(ours.warning_count, 0);
    assert_int_equal(ours.region_count, 37);
    for (size_t i = 0; i < ours.region_count; i++) {
        assert_true(ours.regions[i].has_position);
        assert_true(ours.regions[i].country[0] != '\0');
    }
    assert_true(region_of(&ours, "SIN")->latitude == 1.3);
    assert_true(region_of(&ours, "EZE")->longitude == -58.5358);
    for (size_t i = 0; i < theirs.region_count; i++) {
        const struct inventory_region *region = region_of(&ours, theirs.regions[i].code);
        assert_string_equal(region->status, theirs.regions[i].status);
        assert_string_equal(region->country, theirs.regions[i].country);
    }
    assert_int_equal(ours.machine_count, theirs.machine_count);
    for (size_t i = 0; i < ours.machine_count; i++) {
        assert_string_equal(ours.machines[i].region, theirs.machines[i].region);
        assert_string_equal(ours.machines[i].address, theirs.machines[i].address);
        assert_int_equal(ours.machines[i].cores, theirs.machines[i].cores);
        assert_true(ours.machines[i].memory_bytes == theirs.machines[i].memory_bytes);
    }
    inventory_fini(&ours);
    inventory_fini(&theirs);
}

static void test_warnings(void **state)
{
    static const char text[] =
        "status,memory_bytes,memory_allocated,cores_allocated,cores,region,name,colour,api_token\n"
        "available,10,4,1,8,SIN,part,red,t\n"
        "available,10,10,1,8,SIN,full,red,t\n"
        "drained,10,,,8,SIN,shut,red,t\n";
    static const char *const warnings[] = {
        "w:1: column 'colour' is not known and is ignored",
        "w:2: machine part: 1 cores and 4 bytes are allocated already: set aside",
        "w:3: machine full is wholly allocated already: left out",
        "w:4: machine shut is not available: it takes no new VMs",
    };
    struct inventory inventory = {0};
    struct fly_error error = {0};

    (void)state;
    assert_int_equal(
        inventory_parse_regions(&inventory, "r", bytes_of("code,city\nSIN,x\n"), &error), FLY_OK);
    assert_int_equal(inventory_parse_machines(&inventory, "w", bytes_of(text), &error), FLY_OK);
    assert_int_equal(inventory.warning_count, FLY_ARRAY_COUNT(warnings));
    for (size_t i = 0; i < FLY_ARRAY_COUNT(warnings); i++) {
        assert_string_equal(inventory.warnings[i], warnings[i]);
    }
    assert_int_equal(inventory.machine_count, 2);
    assert_int_equal(inventory.machines[0].cores, 7);
    assert_int_equal(inventory.machines[0].cores_reserved, 1);
    assert_true(inventory.machines[0].memory_bytes == 6);
    assert_true(inventory.machines[0].memory_reserved_bytes == 4);
    assert_false(inventory.machines[0].cordoned);
    assert_true(inventory.machines[1].cordoned);
    inventory_fini(&inventory);
}

/* A text of `count` rows made by printf of `row` with the row's number. */
static char *many_rows(const char *head, const char *row, unsigned count)
{
    size_t max = strlen(head) + (size_t)count * 64;
    char *text = malloc(max);
    assert_non_null(text);
    size_t at = (size_t)snprintf(text, max, "%s", head);

    for (unsigned i = 0; i < count; i++) {
        at += (size_t)snprintf(text + at, max - at, row, i, i);
    }
    return text;
}

static void test_bounds(void **state)
{
    struct inventory inventory = {0};
    struct fly_error error = {0};
    char *text;

    (void)state;
    text = many_rows("code,city\n", "R%u,c\n", INVENTORY_REGIONS_MAX + 1);
    assert_int_equal(inventory_parse_regions(&inventory, "r", bytes_of(text), &error),
                     FLY_RESOURCE_EXHAUSTED);
    assert_string_equal(error.text, "r:1026: more than 1024 regions");
    assert_int_equal(inventory.region_count, 0);
    *strstr(text, "R1024,") = '\0';
    assert_int_equal(inventory_parse_regions(&inventory, "r", bytes_of(text), &error), FLY_OK);
    assert_int_equal(inventory.region_count, INVENTORY_REGIONS_MAX);
    free(text);

    text = many_rows(MACHINES_HEAD, "m%u,R1,1,1\n", INVENTORY_MACHINES_MAX + 1);
    assert_int_equal(inventory_parse_machines(&inventory, "m", bytes_of(text), &error),
                     FLY_RESOURCE_EXHAUSTED);
    assert_string_equal(error.text, "m:65538: more than 65536 machines");
    assert_int_equal(inventory.machine_count, 0);
    *strstr(text, "m65536,") = '\0';
    assert_int_equal(inventory_parse_machines(&inventory, "m", bytes_of(text), &error), FLY_OK);
    assert_int_equal(inventory.machine_count, INVENTORY_MACHINES_MAX);
    free(text);
    inventory_fini(&inventory);

    /* one warning a region: the list is bounded, the rest is counted */
    text = many_rows(MACHINES_HEAD, "m%u,R%u,1,1\n", 100);
    assert_int_equal(inventory_parse_machines(&inventory, "m", bytes_of(text), &error), FLY_OK);
    assert_int_equal(inventory.warning_count, INVENTORY_WARNINGS_MAX);
    assert_int_equal(inventory.warnings_lost, 100 - INVENTORY_WARNINGS_MAX);
    free(text);
    inventory_fini(&inventory);
}

static void test_long_field(void **state)
{
    char text[4096];

    (void)state;
    for (size_t size = INVENTORY_FIELD_SIZE_MAX; size <= INVENTORY_FIELD_SIZE_MAX + 1; size++) {
        struct inventory inventory = {0};
        struct fly_error error = {0};
        size_t at = (size_t)snprintf(text, sizeof text, "code,city,note\nSIN,x,\"");
        memset(text + at, 'x', size);
        (void)snprintf(text + at + size, sizeof text - at - size, "\"\n");
        enum fly_status status = inventory_parse_regions(&inventory, "r", bytes_of(text), &error);
        if (size <= INVENTORY_FIELD_SIZE_MAX) {
            if (status != FLY_OK) {
                fail_msg("%zu: %s", size, error.text);
            }
        } else {
            assert_int_equal(status, FLY_INVALID_ARGUMENT);
            assert_string_equal(error.text, "r:2: column 3: longer than 1024 bytes");
        }
        inventory_fini(&inventory);
    }
}

static void test_files(void **state)
{
    struct inventory inventory = {0};
    struct fly_error error = {0};

    (void)state;
    assert_int_equal(inventory_load_regions(&inventory, "/nowhere/r.csv", &error), FLY_NOT_FOUND);
    assert_string_equal(error.text, "/nowhere/r.csv: No such file or directory");
    assert_int_equal(inventory_load_machines(&inventory, FLY_SOURCE, &error), FLY_INVALID_ARGUMENT);
    assert_string_equal(error.text, FLY_SOURCE ": is not a regular file");
    inventory_fini(&inventory);
}

/* "localhost:8500" of two regions are two machines; a long address still makes a good name. */
static void test_derived_names(void **state)
{
    static const char text[] =
        "region,address,cores_total,memory_total\n"
        "GRU,localhost:8500,1,1\n"
        "sin,localhost:8500,1,1\n"
        "SIN,Abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij.example:1,1,1\n"
        "SIN,Abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij.example:2,1,1\n";
    struct inventory inventory = {0};
    struct fly_error error = {0};

    (void)state;
    if (inventory_parse_machines(&inventory, "m", bytes_of(text), &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    assert_string_equal(inventory.machines[0].name, "gru-localhost-8500");
    assert_string_equal(inventory.machines[1].name, "sin-localhost-8500");
    assert_string_equal(inventory.machines[1].region, "SIN");
    assert_int_equal(strlen(inventory.machines[2].name), 63);
    assert_string_not_equal(inventory.machines[2].name, inventory.machines[3].name);
    inventory_fini(&inventory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_regions),    cmocka_unit_test(test_bad_machines),
        cmocka_unit_test(test_second_file),    cmocka_unit_test(test_fly_light_files),
        cmocka_unit_test(test_region_missing), cmocka_unit_test(test_shipped_files),
        cmocka_unit_test(test_warnings),       cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_long_field),     cmocka_unit_test(test_files),
        cmocka_unit_test(test_derived_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
