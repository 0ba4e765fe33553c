#include "proto/base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/time.h"

enum { LINE_SIZE = 2048 };

static enum fly_log_level max_level = FLY_LOG_INFO;
static bool as_json;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

struct line {
    char text[LINE_SIZE];
    size_t size;
};

static void put(struct line *line, const char *text, size_t size)
{
    size_t room = LINE_SIZE - 2 - line->size;

    size = size < room ? size : room;
    memcpy(line->text + line->size, text, size);
    line->size += size;
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

/* Quoted as JSON does it; control characters become \u00XX so that a line stays one line. */
static void put_quoted(struct line *line, const char *text)
{
    put(line, "\"", 1);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        char escaped[8];
        if (c == '"' || c == '\\') {
            escaped[0] = '\\';
            escaped[1] = (char)c;
            put(line, escaped, 2);
        } else if (c < 0x20) {
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", c);
            put(line, escaped, 6);
        } else {
            put(line, text, 1);
        }
    }
    put(line, "\"", 1);
}

static bool plain(const char *text)
{
    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c <= ' ' || c == '"' || c == '\\' || c == '=') {
            return false;
        }
    }
    return true;
}

static void put_field(struct line *line, const struct fly_field *field)
{
    char number[32];

    if (as_json) {
        put(line, ",", 1);
        put_quoted(line, field->key);
        put(line, ":", 1);
    } else {
        put(line, " ", 1);
        put_text(line, field->key);
        put(line, "=", 1);
    }
    if (field->text == NULL) {
        (void)snprintf(number, sizeof number, "%lld", (long long)field->number);
        put_text(line, number);
    } else if (!as_json && plain(field->text)) {
        put_text(line, field->text);
    } else {
        put_quoted(line, field->text);
    }
}

void fly_log_setup(enum fly_log_level level, bool json)
{
    max_level = level;
    as_json = json;
}

void fly_log_write(enum fly_log_level level, const char *event, const struct fly_field *fields,
                   size_t count)
{
    struct line line = {.size = 0};
    char now[FLY_TIME_TEXT_SIZE];

    if (level > max_level) {
        return;
    }
    fly_time_format(fly_clock_wall_ms(), now);
    if (as_json) {
        put_text(&line, "{\"time\":");
        put_quoted(&line, now);
        put_text(&line, ",\"level\":");
        put_quoted(&line, level_names[level]);
        put_text(&line, ",\"event\":");
        put_quoted(&line, event);
    } else {
        put_text(&line, now);
        put(&line, " ", 1);
        put_text(&line, level_names[level]);
        put(&line, " ", 1);
        put_text(&line, event);
    }
    for (size_t i = 0; i < count; i++) {
        put_field(&line, &fields[i]);
    }
    if (as_json) {
        put(&line, "}", 1);
    }
    line.text[line.size++] = '\n';
    ssize_t written = write(STDERR_FILENO, line.text, line.size);
    (void)written; /* a log that cannot be written has nowhere to complain */
}
