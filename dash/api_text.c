/* api_text - strict parameters, and answers as JSON. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/exits.h"
#include "client/lib/shape.h"
#include "dash/api_internal.h"
#include "proto/base/check.h"

enum { HEADERS_SIZE = 256, WORDS_SIZE = 320, REAL_DIGITS = 10 };

static const char type_json[] = "application/json";

json_t *api_number(uint64_t value)
{
    return json_integer(value <= INT64_MAX ? (json_int_t)value : INT64_MAX);
}

void api_append(json_t **array, json_t *value)
{
    if (*array == NULL) {
        json_decref(value);
    } else if (json_array_append_new(*array, value) != 0) {
        json_decref(*array);
        *array = NULL;
    }
}

void api_reply(struct http_call *call, unsigned status, const char *headers, json_t *object)
{
    char *text =
        object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS)) : NULL;
    char lines[HEADERS_SIZE + 64];

    json_decref(object);
    if (text == NULL) {
        http_error(call, 500, "INTERNAL", "the answer could not be written", "", true);
        return;
    }
    (void)snprintf(lines, sizeof lines, "Cache-Control: no-store\r\n%s",
                   headers != NULL ? headers : "");
    http_reply(call, status, type_json, lines,
               (struct fly_bytes){(const uint8_t *)text, strlen(text)});
    free(text);
}

void api_refuse(struct http_call *call, const struct api_refusal *refusal)
{
    char headers[HEADERS_SIZE] = "";
    size_t at = 0;
    json_t *object = json_pack("{s:{s:s,s:o,s:o,s:b}}", "error", "code", refusal->code, "message",
                               shape_text(refusal->message), "hint",
                               shape_text(refusal->hint != NULL ? refusal->hint : ""), "retryable",
                               (int)refusal->retryable);
    json_t *error = json_object_get(object, "error");

    if (error != NULL && refusal->key != NULL) {
        (void)json_object_set_new(error, "key", shape_text(refusal->key));
    }
    if (error != NULL && refusal->region != NULL) {
        (void)json_object_set_new(error, "region", shape_text(refusal->region));
    }
    if (refusal->retry_after_ms > 0) {
        at = (size_t)snprintf(headers, sizeof headers, "Retry-After: %lld\r\n",
                              (long long)((refusal->retry_after_ms + 999) / 1000));
    }
    if (refusal->allow != NULL) {
        at += (size_t)snprintf(headers + at, sizeof headers - at, "Allow: %s\r\n", refusal->allow);
    }
    if (refusal->status == 401) {
        (void)snprintf(headers + at, sizeof headers - at, "WWW-Authenticate: Bearer\r\n");
    }
    api_reply(call, refusal->status, headers, object);
}

void api_refuse_input(struct http_call *call, const char *hint, const char *format, ...)
{
    char words[WORDS_SIZE];
    va_list list;

    va_start(list, format);
    (void)vsnprintf(words, sizeof words, format, list);
    va_end(list);
    api_refuse(call,
               &(struct api_refusal){
                   .status = 400, .code = "INVALID_ARGUMENT", .message = words, .hint = hint});
}

static const struct api_param *param_of(const struct api_param *params, size_t count,
                                        const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(params[i].name, name) == 0) {
            return &params[i];
        }
    }
    return NULL;
}

static void refuse_unknown(struct http_call *call, const struct api_param *params, size_t count,
                           const char *name)
{
    char known[WORDS_SIZE] = "there are none here";
    size_t at = 0;

    for (size_t i = 0; i < count && at < sizeof known; i++) {
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s",
                               i == 0 ? "known here: " : ", ", params[i].name);
    }
    api_refuse_input(call, known, "'%.64s' is no parameter of %.64s", name, http_path(call));
}

bool api_params(struct http_call *call, const struct api_param *params, size_t count)
{
    const char *name = NULL;

    for (uint32_t n = 0; (name = http_param_name(call, n)) != NULL; n++) {
        const struct api_param *param = param_of(params, count, name);
        if (param == NULL) {
            refuse_unknown(call, params, count, name);
            return false;
        }
        for (uint32_t m = 0; m < n; m++) {
            if (strcmp(http_param_name(call, m), name) == 0) {
                api_refuse_input(call, "say it once", "'%s' came twice", name);
                return false;
            }
        }
        if (!http_param(call, name, param->out, param->size)) {
            api_refuse_input(call, "", "%s is longer than %zu bytes", name, param->size - 1);
            return false;
        }
    }
    return true;
}

bool api_param_number(struct http_call *call, const char *name, const char *text, uint64_t min,
                      uint64_t max, uint64_t *out)
{
    size_t size = strlen(text);
    uint64_t value = 0;

    if (size == 0) {
        return true;
    }
    bool good = size <= 20 && strspn(text, "0123456789") == size;
    if (good) {
        errno = 0;
        value = strtoull(text, NULL, 10);
        good = errno == 0;
    }
    if (!good || value < min || value > max) {
        api_refuse_input(call, "", "%s must be a whole number from %llu to %llu, not '%.40s'", name,
                         (unsigned long long)min, (unsigned long long)max, text);
        return false;
    }
    *out = value;
    return true;
}

bool api_region(struct http_call *call, char *code)
{
    for (char *c = code; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~' || c - code >= EVENT_REGION_SIZE - 1) {
            api_refuse_input(call, "GET /v1/regions names them", "'%.40s' is not a region code",
                             code);
            return false;
        }
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    }
    return true;
}

bool api_region_find(struct api *api, struct http_call *call, const char *code, uint32_t *out)
{
    struct dash_state *state = dash_state(api->dash);
    char words[WORDS_SIZE];

    (void)pthread_mutex_lock(&state->lock);
    *out = picture_region_find(state->picture, code);
    (void)pthread_mutex_unlock(&state->lock);
    if (*out != PICTURE_NONE) {
        return true;
    }
    (void)snprintf(words, sizeof words, "there is no region %.40s", code);
    api_refuse(call, &(struct api_refusal){.status = 404,
                                           .code = "REGION_UNKNOWN",
                                           .message = words,
                                           .hint = "GET /v1/regions names them"});
    return false;
}
