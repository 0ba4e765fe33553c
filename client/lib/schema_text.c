/* A schema as a .proto file has it, the rules of methods in words: see schema.h. */
#include <stdarg.h>
#include <string.h>

#include "client/lib/schema.h"
#include "proto/base/check.h"
#include "proto/base/status.h"

enum { COLUMNS = 80, LINE_SIZE = 1024 };

static const char *scalar_name(enum schema_type type)
{
    static const char *const names[] = {
        [SCHEMA_DOUBLE] = "double",     [SCHEMA_FLOAT] = "float",
        [SCHEMA_INT64] = "int64",       [SCHEMA_UINT64] = "uint64",
        [SCHEMA_INT32] = "int32",       [SCHEMA_FIXED64] = "fixed64",
        [SCHEMA_FIXED32] = "fixed32",   [SCHEMA_BOOL] = "bool",
        [SCHEMA_STRING] = "string",     [SCHEMA_GROUP] = "group",
        [SCHEMA_MESSAGE] = "message",   [SCHEMA_BYTES] = "bytes",
        [SCHEMA_UINT32] = "uint32",     [SCHEMA_ENUM] = "enum",
        [SCHEMA_SFIXED32] = "sfixed32", [SCHEMA_SFIXED64] = "sfixed64",
        [SCHEMA_SINT32] = "sint32",     [SCHEMA_SINT64] = "sint64"};

    return names[type];
}

static const char *one_type(const struct schema_field *field)
{
    return field->message != NULL       ? field->message->name
           : field->enumeration != NULL ? field->enumeration->name
                                        : scalar_name(field->type);
}

void schema_type_text(const struct schema_field *field, char out[static SCHEMA_TYPE_TEXT])
{
    const struct schema_field *key = NULL;
    const struct schema_field *value = NULL;

    if (schema_field_map(field, &key, &value)) {
        (void)snprintf(out, SCHEMA_TYPE_TEXT, "map<%s, %s>", one_type(key), one_type(value));
    } else {
        (void)snprintf(out, SCHEMA_TYPE_TEXT, "%s", one_type(field));
    }
}

static void print_field(const struct schema_field *field, const char *indent, FILE *out)
{
    const struct schema_field *key = NULL;
    const struct schema_field *value = NULL;
    char type[SCHEMA_TYPE_TEXT];
    bool map = schema_field_map(field, &key, &value);
    bool optional = field->presence && field->oneof < 0 && field->type != SCHEMA_MESSAGE;

    schema_type_text(field, type);
    (void)fprintf(out, "%s%s%s %s = %u;\n", indent,
                  field->repeated && !map ? "repeated "
                  : optional              ? "optional "
                                          : "",
                  type, field->name, (unsigned)field->number);
}

void schema_print_message(const struct schema_message *message, FILE *out)
{
    (void)fprintf(out, "message %s {\n", message->name);
    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *field = &message->fields[i];
        bool first = field->oneof >= 0;
        for (size_t k = 0; k < i; k++) {
            first = first && message->fields[k].oneof != field->oneof;
        }
        if (field->oneof < 0) {
            print_field(field, "  ", out);
        } else if (first) {
            (void)fprintf(out, "  oneof %s {\n", message->oneofs[field->oneof]);
            for (size_t k = i; k < message->field_count; k++) {
                if (message->fields[k].oneof == field->oneof) {
                    print_field(&message->fields[k], "    ", out);
                }
            }
            (void)fputs("  }\n", out);
        }
    }
    (void)fputs("}\n", out);
}

void schema_print_enum(const struct schema_enum *enumeration, FILE *out)
{
    (void)fprintf(out, "enum %s {\n", enumeration->name);
    for (size_t i = 0; i < enumeration->value_count; i++) {
        (void)fprintf(out, "  %s = %d;\n", enumeration->values[i].name,
                      (int)enumeration->values[i].number);
    }
    (void)fputs("}\n", out);
}

/* --- rules in words --- */

struct words {
    char text[LINE_SIZE];
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void say(struct words *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int put = vsnprintf(w->text + w->size, sizeof w->text - w->size, format, args);
    va_end(args);
    if (put > 0) {
        size_t size = w->size + (size_t)put;
        w->size = size < sizeof w->text ? size : sizeof w->text - 1;
    }
}

static void say_codes(struct words *w, const Fly__V1__Code *codes, size_t count)
{
    for (size_t i = 0; i < count && i < FLY_STATUS_COUNT; i++) {
        say(w, "%s%s",
            i == 0           ? ""
            : i + 1 == count ? " or "
                             : ", ",
            fly_status_name(fly_status_from_wire((uint32_t)codes[i])));
    }
}

static void say_retry(struct words *w, const Fly__V1__RetryRule *r)
{
    unsigned first_ms = r->initial_backoff_ms != 0 ? r->initial_backoff_ms : 50;
    unsigned most_ms = r->max_backoff_ms != 0 ? r->max_backoff_ms : 1000;

    say(w, "up to %u attempts when it ends with ", r->max_attempts);
    say_codes(w, r->codes, r->n_codes);
    say(w, ", after at most %u ms, later %u ms; ", first_ms, most_ms);
}

static void say_rule(struct words *w, const Fly__V1__MethodRule *rule)
{
    static const char *const slow[] = {
        [FLY__V1__SLOW_READER__DROP_OLDEST] = "a slow reader loses the oldest messages; ",
        [FLY__V1__SLOW_READER__END] = "a slow reader's stream is ended; "};

    say(w, "%s", rule->read_only ? "changes nothing; " : "");
    say(w, "%s", rule->open ? "anybody may call it; " : "");
    say(w, "%s", rule->inline_ ? "answered at once, never waits; " : "");
    say(w, "%s", rule->finish ? "finishes what was begun: goes before other calls; " : "");
    if (rule->retry != NULL) {
        say_retry(w, rule->retry);
    }
    if (rule->hedge != NULL) {
        say(w, "hedged: up to %u attempts, one each %u ms; ", rule->hedge->max_attempts,
            rule->hedge->delay_ms);
    }
    if ((size_t)rule->slow_reader < FLY_ARRAY_COUNT(slow) && slow[rule->slow_reader] != NULL) {
        say(w, "%s", slow[rule->slow_reader]);
    }
    if (rule->calls_max != 0) {
        say(w, "at most %u calls at a time; ", rule->calls_max);
    }
    w->size -= w->size >= 2 ? 2 : 0; /* the last semicolon */
    w->text[w->size] = '\0';
}

/* Comment lines, broken between words. */
static void print_words(const struct words *w, const char *indent, FILE *out)
{
    size_t column = COLUMNS;

    for (const char *at = w->text; *at != '\0';) {
        size_t size = strcspn(at, " ");
        if (column + 1 + size > COLUMNS) {
            (void)fprintf(out, "%s%s// ", at == w->text ? "" : "\n", indent);
            column = strlen(indent) + 3;
        } else {
            (void)putc(' ', out);
            column++;
        }
        (void)fprintf(out, "%.*s", (int)size, at);
        column += size;
        at += size;
        at += *at == ' ';
    }
    (void)fputs(w->size > 0 ? "\n" : "", out);
}

static void print_method(const struct schema_method *m, const char *indent, const char *name,
                         FILE *out)
{
    struct words rule = {.text = ""};
    char takes[LINE_SIZE];
    char gives[LINE_SIZE];

    if (m->rule != NULL) {
        say_rule(&rule, m->rule);
        print_words(&rule, indent, out);
    }
    (void)snprintf(takes, sizeof takes, "%srpc %s(%s%s)", indent, name,
                   m->client_streams ? "stream " : "", m->input->name);
    (void)snprintf(gives, sizeof gives, "returns (%s%s);", m->server_streams ? "stream " : "",
                   m->output->name);
    if (strlen(takes) + 1 + strlen(gives) <= COLUMNS) {
        (void)fprintf(out, "%s %s\n", takes, gives);
    } else {
        (void)fprintf(out, "%s\n%s    %s\n", takes, indent, gives);
    }
}

void schema_print_method(const struct schema_method *method, FILE *out)
{
    print_method(method, "", method->name, out);
}

void schema_print_service(const struct schema_service *service, FILE *out)
{
    (void)fprintf(out, "service %s {\n", service->name);
    for (size_t i = 0; i < service->method_count; i++) {
        print_method(&service->methods[i], "  ", service->methods[i].short_name, out);
    }
    (void)fputs("}\n", out);
}
