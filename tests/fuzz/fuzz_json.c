/*
 * JSON into a message of every kind of field (tests/vectors/transcode) and back: what is taken
 * decodes, encodes again to the same bytes, and what is printed reads back the same. The first byte
 * says whether the rest is JSON or a message.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/transcode.h"
#include "proto/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Beside this file in the source tree, whose path the compiler knows. */
static size_t read_set(uint8_t *out, size_t max)
{
    static const char here[] = __FILE__;
    char path[sizeof here + 64];
    size_t folder = sizeof here - sizeof "fuzz/fuzz_json.c";

    (void)snprintf(path, sizeof path, "%.*svectors/transcode/all.desc", (int)folder, here);
    FILE *file = fopen(path, "rb");
    FLY_CHECK(file != NULL);
    size_t size = fread(out, 1, max, file);
    (void)fclose(file);
    return size;
}

static const struct schema_message *all_type(void)
{
    static struct schema *schema; /* made once, kept */
    static uint8_t set[1 << 16];
    struct fly_error error;

    if (schema == NULL) {
        size_t size = read_set(set, sizeof set);
        FLY_CHECK(schema_create(&schema, (struct fly_bytes){set, size}, &error) == FLY_OK);
    }
    return schema_message(schema, "t.All");
}

static void check_print(const json_t *json)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    json_t *back = NULL;
    struct fly_error error;

    FLY_CHECK(out != NULL);
    transcode_print(json, true, out);
    (void)fclose(out);
    size_t start = 0;
    size_t end = 0;
    FLY_CHECK(transcode_next(text, size, &start, &end) == TRANSCODE_READY && start == 0 &&
              end == size);
    /* a NUL cannot be in a text that is read, and two keys may be one behind a NUL */
    if (transcode_parse(text, size, &back, &error) == FLY_OK) {
        FLY_CHECK(json_equal(json, back));
    }
    json_decref(back);
    free(text);
}

/* Bytes through JSON into bytes again; false when there are too many values. */
static bool round_of(const struct schema_message *type, struct fly_bytes in, uint8_t **out,
                     size_t *size)
{
    struct fly_error error;
    json_t *json = NULL;

    if (transcode_decode(type, in, &json, &error) != FLY_OK) {
        FLY_CHECK(error.status == FLY_RESOURCE_EXHAUSTED);
        return false;
    }
    check_print(json);
    FLY_CHECK(transcode_encode(type, json, out, size, &error) == FLY_OK);
    json_decref(json);
    return true;
}

/* Once through JSON, bytes are in their one form. Not at once: a map's key may be written in
 * several ways ("0", "00"), of which the last one counts. */
static void check_rounds(const struct schema_message *type, struct fly_bytes bytes)
{
    uint8_t *first = NULL;
    uint8_t *second = NULL;
    size_t first_size = 0;
    size_t second_size = 0;

    if (round_of(type, bytes, &first, &first_size)) {
        FLY_CHECK(round_of(type, (struct fly_bytes){first, first_size}, &second, &second_size));
        FLY_CHECK(second_size == first_size &&
                  (first_size == 0 || memcmp(first, second, first_size) == 0));
    }
    free(first);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct schema_message *type = all_type();
    struct fly_error error;
    json_t *json = NULL;
    uint8_t *bytes = NULL;
    size_t bytes_size = 0;

    if (size < 1) {
        return 0;
    }
    uint8_t *exact = malloc(size);
    FLY_CHECK(exact != NULL);
    memcpy(exact, data + 1, size - 1);
    if (data[0] % 2 == 0) {
        (void)transcode_parse((const char *)exact, size - 1, &json, &error);
    } else {
        (void)transcode_decode(type, (struct fly_bytes){exact, size - 1}, &json, &error);
    }
    free(exact);
    if (json != NULL && transcode_encode(type, json, &bytes, &bytes_size, &error) == FLY_OK) {
        check_rounds(type, (struct fly_bytes){bytes, bytes_size});
    }
    free(bytes);
    json_decref(json);
    return 0;
}
