#include "proto/wire/token_claims.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/time.h"
#include "proto/wire/token_json.h"

enum { SCOPE_TEXT_MAX = 256 };

static const char *const scope_names[] = {"regions", "launch", "read", "destroy", "watch", "admin"};

_Static_assert(TOKEN_SCOPE_ALL == (1U << sizeof scope_names / sizeof scope_names[0]) - 1, "scopes");

/* --- scopes --- */

/* The bit of a name; 0 for one that is not known. */
static uint32_t scope_bit(const char *name, size_t size)
{
    for (size_t i = 0; i < FLY_ARRAY_COUNT(scope_names); i++) {
        if (strlen(scope_names[i]) == size && memcmp(scope_names[i], name, size) == 0) {
            return UINT32_C(1) << i;
        }
    }
    return 0;
}

/* `strict`: an unknown name is an error, else it grants nothing. */
static bool scopes_parse(const char *text, char separator, bool strict, uint32_t *out)
{
    uint32_t scopes = 0;

    for (;;) {
        const char *end = strchr(text, separator);
        size_t size = end != NULL ? (size_t)(end - text) : strlen(text);
        uint32_t bit = scope_bit(text, size);
        if (size == 0 || (strict && bit == 0)) {
            return false;
        }
        scopes |= bit;
        if (end == NULL) {
            break;
        }
        text = end + 1;
    }
    *out = scopes;
    return true;
}

bool token_scopes_parse(const char *text, char separator, uint32_t *out)
{
    return scopes_parse(text, separator, true, out);
}

void token_scopes_format(uint32_t scopes, char separator, char out[static TOKEN_SCOPES_TEXT_SIZE])
{
    struct fly_writer w = fly_writer_over(out, TOKEN_SCOPES_TEXT_SIZE);

    for (size_t i = 0; i < FLY_ARRAY_COUNT(scope_names); i++) {
        if ((scopes >> i & 1) != 0) {
            if (w.size > 0) {
                fly_put_u8(&w, (uint8_t)separator);
            }
            fly_put_bytes(&w, scope_names[i], strlen(scope_names[i]));
        }
    }
    fly_put_u8(&w, 0);
    FLY_CHECK(!w.failed);
}

/* --- times --- */

/* `count` digits at *text, which moves past them; -1 when one is missing. */
static int digits(const char **text, int count)
{
    int value = 0;

    for (int i = 0; i < count; i++) {
        char c = (*text)[i];
        if (c < '0' || c > '9') {
            return -1;
        }
        value = value * 10 + (c - '0');
    }
    *text += count;
    return value;
}

static bool one_of(const char **text, const char *set)
{
    if (**text == '\0' || strchr(set, **text) == NULL) {
        return false;
    }
    (*text)++;
    return true;
}

/* Days since 1970-01-01: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". */
static int64_t days_from_civil(int year, int month, int day)
{
    int shifted = month <= 2 ? year - 1 : year; /* years begin in March */
    int era = shifted / 400;
    int of_era = shifted - era * 400;
    int of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

    return (int64_t)era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool date_ok(int year, int month, int day)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return year >= 1970 && month >= 1 && month <= 12 && day >= 1 &&
           day <= lengths[month - 1] + (leap && month == 2 ? 1 : 0);
}

/* "Z" or "+08:00" at the end of the text, in minutes. */
static bool parse_offset(const char *text, int *minutes)
{
    int sign = *text == '-' ? -1 : 1;

    *minutes = 0;
    if (one_of(&text, "Zz")) {
        return *text == '\0';
    }
    if (!one_of(&text, "+-")) {
        return false;
    }
    int hour = digits(&text, 2);
    bool colon = hour >= 0 && one_of(&text, ":");
    int minute = colon ? digits(&text, 2) : -1;
    *minutes = sign * (hour * 60 + minute);
    return minute >= 0 && hour <= 23 && minute <= 59 && *text == '\0';
}

bool token_time_parse(const char *text, int64_t *out_ms)
{
    static const struct {
        int digits;
        const char *after;
    } pieces[] = {{4, "-"}, {2, "-"}, {2, "Tt "}, {2, ":"}, {2, ":"}, {2, NULL}};
    int value[FLY_ARRAY_COUNT(pieces)];
    int milliseconds = 0;
    int offset_minutes = 0;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(pieces); i++) {
        value[i] = digits(&text, pieces[i].digits);
        if (value[i] < 0 || (pieces[i].after != NULL && !one_of(&text, pieces[i].after))) {
            return false;
        }
    }
    if (one_of(&text, ".")) {
        int scale = 100;
        if (*text < '0' || *text > '9') {
            return false;
        }
        for (; *text >= '0' && *text <= '9'; text++) {
            milliseconds += (*text - '0') * scale;
            scale /= 10;
        }
    }
    /* 23:59:60 is a second that RFC 3339 knows; it counts as the one after it */
    if (!date_ok(value[0], value[1], value[2]) || value[3] > 23 || value[4] > 59 || value[5] > 60 ||
        !parse_offset(text, &offset_minutes)) {
        return false;
    }
    int64_t minutes = days_from_civil(value[0], value[1], value[2]) * 1440 + value[3] * 60 +
                      value[4] - offset_minutes;
    *out_ms = (minutes * 60 + value[5]) * 1000 + milliseconds;
    return true;
}

/* --- claims --- */

/* Goes between quotes as it is. */
static bool plain(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < 0x20 || *text > 0x7e || *text == '"' || *text == '\\') {
            return false;
        }
    }
    return true;
}

size_t token_claims_encode(const struct token_claims *claims, uint8_t out[static TOKEN_PAYLOAD_MAX])
{
    char issued[FLY_TIME_TEXT_SIZE];
    char not_before[FLY_TIME_TEXT_SIZE];
    char expires[FLY_TIME_TEXT_SIZE];
    char scopes[TOKEN_SCOPES_TEXT_SIZE];

    FLY_CHECK(fly_name_ok(claims->subject) && claims->id[0] != '\0' && claims->scopes != 0);
    FLY_CHECK(plain(claims->id) && plain(claims->issuer));
    fly_time_format(claims->issued_ms, issued);
    fly_time_format(claims->not_before_ms, not_before);
    fly_time_format(claims->expires_ms, expires);
    token_scopes_format(claims->scopes, ' ', scopes);
    int size =
        snprintf((char *)out, TOKEN_PAYLOAD_MAX,
                 "{\"iss\":\"%s\",\"sub\":\"%s\",\"jti\":\"%s\",\"iat\":\"%s\",\"nbf\":\"%s\","
                 "\"exp\":\"%s\",\"scope\":\"%s\"}",
                 claims->issuer, claims->subject, claims->id, issued, not_before, expires, scopes);
    FLY_CHECK(size > 0 && size < TOKEN_PAYLOAD_MAX);
    return (size_t)size;
}

static enum fly_status bad_claim(struct fly_error *error, const char *name, const char *form)
{
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "token: claim %s is not %s", name, form);
}

enum fly_status token_claims_decode(const void *payload, size_t size, struct token_claims *out,
                                    struct fly_error *error)
{
    static const char time_form[] = "an RFC 3339 time";
    struct token_claims claims = {0};
    struct token_json json;
    char text[SCOPE_TEXT_MAX];

    if (!token_json_parse(payload, size, &json)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "token: claims are not a JSON object with unique keys");
    }
    if (token_json_get(&json, "iss", claims.issuer, sizeof claims.issuer) == TOKEN_JSON_BAD) {
        return bad_claim(error, "iss", "a short text");
    }
    if (token_json_get(&json, "sub", claims.subject, sizeof claims.subject) != TOKEN_JSON_FOUND ||
        !fly_name_ok(claims.subject)) {
        return bad_claim(error, "sub", "a name of [a-z0-9-]{1,63}");
    }
    if (token_json_get(&json, "jti", claims.id, sizeof claims.id) != TOKEN_JSON_FOUND ||
        claims.id[0] == '\0') {
        return bad_claim(error, "jti", "a text of 1 to 64 characters");
    }
    const struct {
        const char *name;
        int64_t *out_ms;
        bool required;
    } times[] = {
        {"iat", &claims.issued_ms, true},
        {"nbf", &claims.not_before_ms, false},
        {"exp", &claims.expires_ms, true},
    };
    for (size_t i = 0; i < FLY_ARRAY_COUNT(times); i++) {
        enum token_json_found found = token_json_get(&json, times[i].name, text, sizeof text);
        if (found == TOKEN_JSON_ABSENT && !times[i].required) {
            *times[i].out_ms = claims.issued_ms;
        } else if (found != TOKEN_JSON_FOUND || !token_time_parse(text, times[i].out_ms)) {
            return bad_claim(error, times[i].name, time_form);
        }
    }
    if (token_json_get(&json, "scope", text, sizeof text) != TOKEN_JSON_FOUND ||
        !scopes_parse(text, ' ', false, &claims.scopes)) {
        return bad_claim(error, "scope", "words with single spaces between them");
    }
    *out = claims;
    return FLY_OK;
}

/* --- footer --- */

size_t token_footer_encode(const struct token_key_id *kid, uint8_t out[static TOKEN_FOOTER_MAX])
{
    int size = snprintf((char *)out, TOKEN_FOOTER_MAX, "{\"kid\":\"%s\"}", kid->text);

    FLY_CHECK(size > 0 && size < TOKEN_FOOTER_MAX);
    return (size_t)size;
}

bool token_footer_decode(const void *footer, size_t size, struct token_key_id *out)
{
    struct token_json json;
    struct token_key_id kid;

    if (!token_json_parse(footer, size, &json) ||
        token_json_get(&json, "kid", kid.text, sizeof kid.text) != TOKEN_JSON_FOUND ||
        strlen(kid.text) != sizeof kid.text - 1 || strncmp(kid.text, "k4.pid.", 7) != 0) {
        return false;
    }
    *out = kid;
    return true;
}
