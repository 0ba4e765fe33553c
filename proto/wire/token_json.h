/*
 * token_json - one JSON object from hostile bytes, without an allocator: what claims, footers and
 * the cluster record need, and no more.
 *
 * Strict RFC 8259 with PASETO's rules on top
 * (docs/02-Implementation-Guide/01-Payload-Processing.md): the top is an object, its keys are
 * unique (compared after escapes are undone), text is UTF-8 without NUL. Members hold borrowed,
 * validated pieces of the input; values that are not strings are checked and passed over. The test
 * compares it with jansson. Pure.
 */
#ifndef FLY_WIRE_TOKEN_JSON_H
#define FLY_WIRE_TOKEN_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOKEN_JSON_MEMBERS_MAX = 32,
    TOKEN_JSON_DEPTH_MAX = 8, /* containers inside a member's value */
};

/* A JSON string between its quotes, escapes as they stand. */
struct token_json_text {
    const char *at;
    size_t size;
};

struct token_json_member {
    struct token_json_text key;
    struct token_json_text value; /* when is_string */
    bool is_string;
};

struct token_json {
    struct token_json_member members[TOKEN_JSON_MEMBERS_MAX];
    size_t count;
};

/* Borrows data. False: not such an object, more members or deeper than the limits. */
bool token_json_parse(const void *data, size_t size, struct token_json *out);

enum token_json_found { TOKEN_JSON_ABSENT, TOKEN_JSON_FOUND, TOKEN_JSON_BAD };

/* Copies the string member `key` (ASCII) into out[max], NUL-terminated. BAD: it is not a
 * string, too long, or not printable ASCII. */
enum token_json_found token_json_get(const struct token_json *json, const char *key, char *out,
                                     size_t max);

#endif
