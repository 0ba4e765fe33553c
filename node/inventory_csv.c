/*
 * inventory_csv - see the header. libcsv does the quoting; lines are counted here, by handing it
 * one physical line at a time.
 *
 * Source: RFC 4180; csv(3) of libcsv 3.0.3.
 */
#include "node/inventory_csv.h"

#include <csv.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/base/check.h"

enum {
    HEADER_NAME_SIZE = 64,
    QUOTED_SIZE_MAX = 40,
    /* libcsv asks for room before it knows that the field is over */
    BUFFER_SIZE_MAX = INVENTORY_FIELD_SIZE_MAX + 128,
};

struct parse {
    struct csv_table *table;
    csv_row_fn *header;
    csv_row_fn *row;
    void *user;
    enum fly_status status; /* not OK: stopped, later callbacks do nothing */
    uint32_t line;          /* the physical line that libcsv is being fed */
    bool header_done;
    size_t column_count;
    size_t field_count; /* of the row in hand */
    int slots[CSV_COLUMNS_MAX];
};

/* libcsv grows its buffer through this: a field past the bound ends the parse before it costs. */
static void *bounded_realloc(void *data, size_t size)
{
    return size > BUFFER_SIZE_MAX ? NULL : realloc(data, size);
}

static bool continuation(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* Bytes of the UTF-8 sequence at p (RFC 3629: no overlong forms, no surrogates), 0 when bad. */
static size_t utf8_size(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] >= 0xc2 && p[0] <= 0xdf && left >= 2 && continuation(p[1])) {
        return 2;
    }
    if (p[0] >= 0xe0 && p[0] <= 0xef && left >= 3 && continuation(p[1]) && continuation(p[2]) &&
        !(p[0] == 0xe0 && p[1] < 0xa0) && !(p[0] == 0xed && p[1] > 0x9f)) {
        return 3;
    }
    if (p[0] >= 0xf0 && p[0] <= 0xf4 && left >= 4 && continuation(p[1]) && continuation(p[2]) &&
        continuation(p[3]) && !(p[0] == 0xf0 && p[1] < 0x90) && !(p[0] == 0xf4 && p[1] > 0x8f)) {
        return 4;
    }
    return 0;
}

/* Why these bytes may not stand in a name or an answer; NULL: they may. */
static const char *text_fault(const unsigned char *p, size_t size)
{
    for (size_t i = 0; i < size;) {
        size_t step = utf8_size(p + i, size - i);
        if (step == 0) {
            return "is not valid UTF-8";
        }
        /* C1 controls (U+0080..9F) move cursors too */
        if (p[i] < 0x20 || p[i] == 0x7f || (step == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0)) {
            return "holds a control character";
        }
        i += step;
    }
    return NULL;
}

static bool blank(unsigned char c)
{
    return c == ' ' || c == '\t';
}

static struct fly_bytes trimmed(const void *data, size_t size)
{
    const unsigned char *p = data;

    while (size > 0 && blank(p[0])) {
        p++;
        size--;
    }
    while (size > 0 && blank(p[size - 1])) {
        size--;
    }
    return (struct fly_bytes){p, size};
}

/* Copies a text for a message: at most 40 bytes, cut between characters, nothing that is not text.
 */
static void quote(const char *text, size_t size, char out[static QUOTED_SIZE_MAX + 4])
{
    size_t at = 0;

    while (at < size) {
        size_t step = utf8_size((const unsigned char *)text + at, size - at);
        if (step == 0 || at + step > QUOTED_SIZE_MAX) {
            break;
        }
        at += step;
    }
    memcpy(out, text, at);
    memcpy(out + at, at < size ? "..." : "", at < size ? 4 : 1);
}

static enum fly_status refuse_at(struct csv_table *table, uint32_t line, const char *format,
                                 va_list args)
{
    char text[FLY_ERROR_TEXT_SIZE];

    (void)vsnprintf(text, sizeof text, format, args);
    return fly_error_set(table->error, FLY_INVALID_ARGUMENT, "%s:%u: %s", table->file, line, text);
}

enum fly_status csv_refuse_row(struct csv_table *table, const char *reason, ...)
{
    va_list args;

    va_start(args, reason);
    enum fly_status status = refuse_at(table, table->line, reason, args);
    va_end(args);
    return status;
}

enum fly_status csv_refuse_value(struct csv_table *table, int slot, const char *reason, ...)
{
    const struct csv_field *field = &table->fields[slot];
    char why[FLY_ERROR_TEXT_SIZE];
    char value[QUOTED_SIZE_MAX + 4];
    va_list args;

    va_start(args, reason);
    (void)vsnprintf(why, sizeof why, reason, args);
    va_end(args);
    if (table->secretive || field->fault != NULL) {
        return fly_error_set(table->error, FLY_INVALID_ARGUMENT, "%s:%u: %s: the value %s",
                             table->file, field->line, field->column, why);
    }
    quote(field->text, field->size, value);
    return fly_error_set(table->error, FLY_INVALID_ARGUMENT, "%s:%u: %s: '%s' %s", table->file,
                         field->line, field->column, value, why);
}

void csv_warn(struct csv_table *table, const char *format, ...)
{
    char text[FLY_ERROR_TEXT_SIZE];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    inventory_warn(table->warn_to, "%s:%u: %s", table->file, table->line, text);
}

bool csv_has(const struct csv_table *table, int slot)
{
    return table->fields[slot].column != NULL;
}

bool csv_empty(const struct csv_table *table, int slot)
{
    return table->fields[slot].column == NULL || table->fields[slot].size == 0;
}

/* Names under which people keep what must not be read: dropped without a word. */
static bool credential_column(const char *name)
{
    static const char *const parts[] = {"pass", "secret", "token", "credential", "auth",
                                        "user", "tls",    "cert",  "key"};

    for (size_t i = 0; i < FLY_ARRAY_COUNT(parts); i++) {
        if (strcasestr(name, parts[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static enum fly_status take_header_column(struct parse *parse, const char *name, size_t size,
                                          int *slot)
{
    struct csv_table *table = parse->table;
    char shown[QUOTED_SIZE_MAX + 4];

    *slot = CSV_DROPPED;
    for (size_t i = 0; i < table->known_count; i++) {
        const struct csv_column *known = &table->known[i];
        if (strcasecmp(name, known->name) != 0) {
            continue;
        }
        if (known->slot == CSV_DROPPED) {
            return FLY_OK;
        }
        struct csv_field *field = &table->fields[known->slot];
        if (field->column != NULL) {
            return csv_refuse_row(table, "columns '%s' and '%s' say the same thing", field->column,
                                  known->name);
        }
        field->column = known->name;
        *slot = known->slot;
        return FLY_OK;
    }
    if (credential_column(name)) {
        table->secretive = true;
        return FLY_OK;
    }
    quote(name, size, shown);
    csv_warn(table, "column '%s' is not known and is ignored", shown);
    return FLY_OK;
}

static void take_header_field(struct parse *parse, struct fly_bytes text)
{
    struct csv_table *table = parse->table;
    char name[HEADER_NAME_SIZE];

    if (parse->column_count == CSV_COLUMNS_MAX) {
        parse->status = csv_refuse_row(table, "more than %d columns", CSV_COLUMNS_MAX);
        return;
    }
    if (text.size >= sizeof name || text_fault(text.data, text.size) != NULL) {
        parse->status = csv_refuse_row(table, "the name of column %zu is not a name of a column",
                                       parse->column_count + 1);
        return;
    }
    memcpy(name, text.data, text.size);
    name[text.size] = '\0';
    parse->status = take_header_column(parse, name, text.size, &parse->slots[parse->column_count]);
    parse->column_count++;
}

/* While the field in hand is field_count, counted from 1. */
static enum fly_status refuse_long_field(struct parse *parse)
{
    parse->table->line = parse->line;
    return csv_refuse_row(parse->table, "column %zu: longer than %d bytes", parse->field_count,
                          INVENTORY_FIELD_SIZE_MAX);
}

static void take_field(void *data, size_t size, void *user)
{
    struct parse *parse = user;
    struct csv_table *table = parse->table;

    if (parse->status != FLY_OK) {
        return;
    }
    struct fly_bytes text = trimmed(data, size);
    if (parse->field_count == 0) {
        table->line = parse->line;
    }
    parse->field_count++;
    if (size > INVENTORY_FIELD_SIZE_MAX) {
        parse->status = refuse_long_field(parse);
        return;
    }
    if (!parse->header_done) {
        take_header_field(parse, text);
        return;
    }
    if (parse->field_count > parse->column_count || parse->slots[parse->field_count - 1] < 0) {
        return;
    }
    struct csv_field *field = &table->fields[parse->slots[parse->field_count - 1]];
    field->line = parse->line;
    field->size = text.size;
    field->fault = text_fault(text.data, text.size);
    memcpy(field->text, text.data, text.size);
    field->text[text.size] = '\0';
}

static void take_row_end(int terminator, void *user)
{
    struct parse *parse = user;
    struct csv_table *table = parse->table;

    (void)terminator;
    if (parse->status != FLY_OK) {
        return;
    }
    if (!parse->header_done) {
        parse->header_done = true;
        parse->status = parse->header(parse->user, table);
    } else if (parse->field_count != parse->column_count) {
        /* before any value is looked at: a shifted row must not show a password as a number */
        parse->status = csv_refuse_row(table, "%zu fields, the header has %zu", parse->field_count,
                                       parse->column_count);
    } else {
        for (size_t i = 0; i < CSV_SLOTS_MAX && parse->status == FLY_OK; i++) {
            if (table->fields[i].column != NULL && table->fields[i].fault != NULL) {
                parse->status = csv_refuse_value(table, (int)i, "%s", table->fields[i].fault);
            }
        }
        if (parse->status == FLY_OK) {
            parse->status = parse->row(parse->user, table);
        }
    }
    parse->field_count = 0;
}

static enum fly_status refuse_syntax(struct parse *parse, int error)
{
    parse->table->line = parse->line;
    parse->field_count++;
    if (error == CSV_ENOMEM) {
        return refuse_long_field(parse);
    }
    return csv_refuse_row(parse->table, "column %zu: a quote that is not closed or not doubled",
                          parse->field_count);
}

static void feed(struct parse *parse, struct csv_parser *parser, struct fly_bytes text)
{
    size_t at = 0;

    while (at < text.size && parse->status == FLY_OK) {
        const uint8_t *end = memchr(text.data + at, '\n', text.size - at);
        size_t size = end != NULL ? (size_t)(end - (text.data + at)) + 1 : text.size - at;
        parse->line++;
        if (csv_parse(parser, text.data + at, size, take_field, take_row_end, parse) != size &&
            parse->status == FLY_OK) {
            parse->status = refuse_syntax(parse, csv_error(parser));
        }
        at += size;
    }
    if (parse->status == FLY_OK && csv_fini(parser, take_field, take_row_end, parse) != 0 &&
        parse->status == FLY_OK) {
        parse->status = refuse_syntax(parse, csv_error(parser));
    }
}

enum fly_status csv_parse_table(struct csv_table *table, struct fly_bytes text, csv_row_fn *header,
                                csv_row_fn *row, void *user)
{
    static const uint8_t byte_order_mark[] = {0xef, 0xbb, 0xbf};
    struct parse parse = {.table = table, .header = header, .row = row, .user = user};
    struct csv_parser parser;

    if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI) != 0) {
        return fly_error_set(table->error, FLY_RESOURCE_EXHAUSTED, "%s: no memory", table->file);
    }
    csv_set_realloc_func(&parser, bounded_realloc);
    if (text.size >= sizeof byte_order_mark &&
        memcmp(text.data, byte_order_mark, sizeof byte_order_mark) == 0) {
        text.data += sizeof byte_order_mark;
        text.size -= sizeof byte_order_mark;
    }
    feed(&parse, &parser, text);
    csv_free(&parser);
    if (parse.status == FLY_OK && !parse.header_done) {
        return fly_error_set(table->error, FLY_INVALID_ARGUMENT, "%s: is empty", table->file);
    }
    return parse.status;
}

enum fly_status csv_take_text(struct csv_table *table, int slot, bool needed, char *out, size_t max)
{
    const struct csv_field *field = &table->fields[slot];

    out[0] = '\0';
    if (csv_empty(table, slot)) {
        return needed ? csv_refuse_value(table, slot, "is empty") : FLY_OK;
    }
    if (field->size >= max) {
        return csv_refuse_value(table, slot, "is longer than %zu bytes", max - 1);
    }
    memcpy(out, field->text, field->size + 1);
    return FLY_OK;
}

enum fly_status csv_take_code(struct csv_table *table, int slot, char out[static 16])
{
    const struct csv_field *field = &table->fields[slot];
    bool good = field->size >= 2 && field->size <= 8;

    for (size_t i = 0; good && i < field->size; i++) {
        char c = field->text[i];
        out[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        good = (out[i] >= 'A' && out[i] <= 'Z') || (out[i] >= '0' && out[i] <= '9');
    }
    if (!good) {
        return csv_refuse_value(table, slot, "is not a region code (2 to 8 letters or digits)");
    }
    out[field->size] = '\0';
    return FLY_OK;
}

enum fly_status csv_take_number(struct csv_table *table, int slot, uint64_t low, uint64_t high,
                                uint64_t *out)
{
    const struct csv_field *field = &table->fields[slot];
    uint64_t value = 0;
    bool good = field->size > 0 && strspn(field->text, "0123456789") == field->size;

    for (size_t i = 0; good && i < field->size; i++) {
        uint64_t digit = (uint64_t)(field->text[i] - '0');
        good = value <= (high - digit) / 10 && digit <= high;
        value = value * 10 + digit;
    }
    if (!good || value < low || value > high) {
        return csv_refuse_value(table, slot, "is not a whole number from %llu to %llu",
                                (unsigned long long)low, (unsigned long long)high);
    }
    *out = value;
    return FLY_OK;
}

enum fly_status csv_take_decimal(struct csv_table *table, int slot, double bound, double *out)
{
    const struct csv_field *field = &table->fields[slot];
    size_t sign = field->text[0] == '-' ? 1 : 0;
    size_t whole = strspn(field->text + sign, "0123456789");
    size_t point = field->text[sign + whole] == '.' ? 1 : 0;
    size_t part = strspn(field->text + sign + whole + point, "0123456789");
    bool good = whole > 0 && (part > 0) == (point > 0) &&
                sign + whole + point + part == field->size && field->size < 32;
    /* digits only, so that no locale and no exponent enters: sums in exact powers of ten */
    double value = 0;

    for (size_t i = 0; good && i < whole; i++) {
        value = value * 10 + (field->text[sign + i] - '0');
    }
    double scale = 1;
    for (size_t i = 0; good && i < part; i++) {
        value = value * 10 + (field->text[sign + whole + 1 + i] - '0');
        scale *= 10;
    }
    value = sign > 0 ? -value / scale : value / scale;
    if (!good || !(value >= -bound && value <= bound)) {
        return csv_refuse_value(table, slot, "is not a decimal number from %d to %d", (int)-bound,
                                (int)bound);
    }
    *out = value;
    return FLY_OK;
}
