#include "proto/wire/token_json.h"

#include <string.h>

#include "proto/base/check.h"

/* A failed scan stands at its end, so that every loop ends. */
struct scan {
    const char *at;
    const char *end;
    bool failed;
};

static void fail(struct scan *s)
{
    s->failed = true;
    s->at = s->end;
}

/* The next byte, 0 at the end: a NUL in the input is refused wherever it stands. */
static unsigned char peek(const struct scan *s)
{
    return s->at < s->end ? (unsigned char)*s->at : 0;
}

static bool accept(struct scan *s, char c)
{
    if (s->at < s->end && *s->at == c) {
        s->at++;
        return true;
    }
    return false;
}

static void expect(struct scan *s, char c)
{
    if (!accept(s, c)) {
        fail(s);
    }
}

static void skip_space(struct scan *s)
{
    while (accept(s, ' ') || accept(s, '\n') || accept(s, '\r') || accept(s, '\t')) {
    }
}

/* --- strings --- */

static uint32_t hex4(struct scan *s)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++) {
        unsigned char c = peek(s);
        unsigned char lower = c | 0x20;
        if (c >= '0' && c <= '9') {
            value = value << 4 | (uint32_t)(c - '0');
        } else if (lower >= 'a' && lower <= 'f') {
            value = value << 4 | (uint32_t)(lower - 'a' + 10);
        } else {
            fail(s);
            return 0;
        }
        s->at++;
    }
    return value;
}

static uint32_t escaped(struct scan *s)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    unsigned char c = peek(s);
    const char *name = c != 0 ? strchr(names, c) : NULL;

    if (name != NULL) {
        s->at++;
        return (uint32_t)values[name - names];
    }
    expect(s, 'u');
    uint32_t unit = hex4(s);
    if (unit >= 0xd800 && unit <= 0xdbff) {
        expect(s, '\\');
        expect(s, 'u');
        uint32_t low = hex4(s);
        if (low < 0xdc00 || low > 0xdfff) {
            fail(s);
        }
        return 0x10000 + ((unit & 0x3ff) << 10 | (low & 0x3ff));
    }
    if (unit == 0 || (unit >= 0xdc00 && unit <= 0xdfff)) {
        fail(s);
    }
    return unit;
}

/* One character of two to four bytes: shortest form only, no surrogates (RFC 3629). */
static uint32_t multibyte(struct scan *s, unsigned char lead)
{
    static const uint32_t least[] = {0x80, 0x800, 0x10000};
    unsigned tail = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    uint32_t value = lead & (0x3fU >> tail);

    if (lead < 0xc2 || lead > 0xf4) {
        fail(s);
        return 0;
    }
    for (unsigned i = 0; i < tail; i++) {
        unsigned char c = peek(s);
        if ((c & 0xc0) != 0x80) {
            fail(s);
            return 0;
        }
        value = value << 6 | (c & 0x3f);
        s->at++;
    }
    if (value < least[tail - 1] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        fail(s);
    }
    return value;
}

static uint32_t next_character(struct scan *s)
{
    unsigned char c = peek(s);

    if (c < 0x20) {
        fail(s);
        return 0;
    }
    s->at++;
    return c == '\\' ? escaped(s) : c >= 0x80 ? multibyte(s, c) : c;
}

static struct token_json_text scan_string(struct scan *s)
{
    expect(s, '"');
    const char *start = s->at;
    while (!s->failed && peek(s) != '"') {
        (void)next_character(s);
    }
    struct token_json_text text = {start, (size_t)(s->at - start)};
    expect(s, '"');
    return text;
}

static bool same_text(struct token_json_text a, struct token_json_text b)
{
    struct scan x = {a.at, a.at + a.size, false};
    struct scan y = {b.at, b.at + b.size, false};

    while (x.at < x.end && y.at < y.end) {
        if (next_character(&x) != next_character(&y)) {
            return false;
        }
    }
    return x.at == x.end && y.at == y.end;
}

/* --- values that are looked at only to pass them --- */

static void skip_digits(struct scan *s)
{
    if (peek(s) < '0' || peek(s) > '9') {
        fail(s);
    }
    while (peek(s) >= '0' && peek(s) <= '9') {
        s->at++;
    }
}

static void skip_number(struct scan *s)
{
    (void)accept(s, '-');
    if (!accept(s, '0')) {
        skip_digits(s);
    }
    if (accept(s, '.')) {
        skip_digits(s);
    }
    if (accept(s, 'e') || accept(s, 'E')) {
        (void)(accept(s, '+') || accept(s, '-'));
        skip_digits(s);
    }
}

static void skip_word(struct scan *s, const char *word)
{
    while (*word != '\0') {
        expect(s, *word++);
    }
}

static void skip_value(struct scan *s, unsigned depth);

static void skip_container(struct scan *s, bool object, unsigned depth)
{
    const char close = object ? '}' : ']';

    if (depth == TOKEN_JSON_DEPTH_MAX) {
        fail(s);
        return;
    }
    s->at++;
    skip_space(s);
    if (accept(s, close)) {
        return;
    }
    do {
        skip_space(s);
        if (object) {
            (void)scan_string(s);
            skip_space(s);
            expect(s, ':');
        }
        skip_value(s, depth + 1);
    } while (accept(s, ','));
    expect(s, close);
}

/* With the space around it. */
static void skip_value(struct scan *s, unsigned depth)
{
    skip_space(s);
    switch (peek(s)) {
    case '"':
        (void)scan_string(s);
        break;
    case '{':
    case '[':
        skip_container(s, peek(s) == '{', depth);
        break;
    case 't':
        skip_word(s, "true");
        break;
    case 'f':
        skip_word(s, "false");
        break;
    case 'n':
        skip_word(s, "null");
        break;
    default:
        skip_number(s);
    }
    skip_space(s);
}

/* --- the object --- */

static void scan_member(struct scan *s, struct token_json *json)
{
    if (json->count == TOKEN_JSON_MEMBERS_MAX) {
        fail(s);
        return;
    }
    struct token_json_member *member = &json->members[json->count];
    skip_space(s);
    member->key = scan_string(s);
    for (size_t i = 0; !s->failed && i < json->count; i++) {
        if (same_text(json->members[i].key, member->key)) {
            fail(s);
        }
    }
    skip_space(s);
    expect(s, ':');
    skip_space(s);
    member->is_string = peek(s) == '"';
    if (member->is_string) {
        member->value = scan_string(s);
        skip_space(s);
    } else {
        skip_value(s, 0);
    }
    json->count++;
}

bool token_json_parse(const void *data, size_t size, struct token_json *out)
{
    struct scan s = {data, (const char *)data + size, false};

    out->count = 0;
    skip_space(&s);
    expect(&s, '{');
    skip_space(&s);
    if (!accept(&s, '}')) {
        do {
            scan_member(&s, out);
        } while (accept(&s, ','));
        expect(&s, '}');
    }
    skip_space(&s);
    return !s.failed && s.at == s.end;
}

static enum token_json_found copy_text(struct token_json_text text, char *out, size_t max)
{
    struct scan s = {text.at, text.at + text.size, false};
    size_t size = 0;

    FLY_CHECK(max > 0);
    out[0] = '\0';
    while (s.at < s.end) {
        uint32_t c = next_character(&s);
        if (c < 0x20 || c > 0x7e || size + 1 >= max) {
            out[0] = '\0';
            return TOKEN_JSON_BAD;
        }
        out[size++] = (char)c;
    }
    out[size] = '\0';
    return TOKEN_JSON_FOUND;
}

enum token_json_found token_json_get(const struct token_json *json, const char *key, char *out,
                                     size_t max)
{
    const struct token_json_text wanted = {key, strlen(key)};

    for (size_t i = 0; i < json->count; i++) {
        if (same_text(json->members[i].key, wanted)) {
            return json->members[i].is_string ? copy_text(json->members[i].value, out, max)
                                              : TOKEN_JSON_BAD;
        }
    }
    return TOKEN_JSON_ABSENT;
}
