/*
 * Source: protobuf-c 1.4.1's behaviour; tests/unit/test_plugin.c compiles what is made here
 * against what protoc-c makes.
 */
#include "proto/plugin/names.h"

#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/plugin/field.h"

enum { FIELD_C_FILE = 1019, FIELD_C_PACKAGE = 6 };

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char to_upper(char c)
{
    return is_lower(c) ? (char)(c - 'a' + 'A') : c;
}

static char to_lower(char c)
{
    return is_upper(c) ? (char)(c - 'A' + 'a') : c;
}

/* Writes the snake form of name[size]; returns what was written, at most 2 * size. */
static size_t snake_into(char *out, const char *name, size_t size)
{
    size_t written = 0;
    bool was_upper = true;

    for (size_t i = 0; i < size; i++) {
        if (is_upper(name[i]) && !was_upper) {
            out[written++] = '_';
        }
        was_upper = is_upper(name[i]);
        out[written++] = to_lower(name[i]);
    }
    return written;
}

/* The camel form: underscores go, the letter behind each is a capital. */
static size_t camel_into(char *out, const char *name, size_t size)
{
    size_t written = 0;
    bool next_upper = true;

    for (size_t i = 0; i < size; i++) {
        if (name[i] == '_') {
            next_upper = true;
        } else {
            out[written++] = next_upper ? to_upper(name[i]) : name[i];
            next_upper = false;
        }
    }
    return written;
}

char *plug_name_upper(struct plug_memory *memory, const char *name)
{
    char *out = plug_memory_format(memory, "%s", name);

    for (char *c = out; *c != '\0'; c++) {
        *c = to_upper(*c);
    }
    return out;
}

/* The pieces between the dots, each turned by `turn`, `between` between. */
static char *join_pieces(struct plug_memory *memory, const char *dotted, const char *between,
                         size_t (*turn)(char *out, const char *name, size_t size))
{
    char *out = plug_memory_take(memory, 3 * strlen(dotted) + 1, 1);
    size_t written = 0;

    for (const char *piece = dotted; *piece != '\0';) {
        size_t size = strcspn(piece, ".");
        if (size > 0) {
            for (const char *c = written > 0 ? between : ""; *c != '\0'; c++) {
                out[written++] = *c;
            }
            written += turn(out + written, piece, size);
        }
        piece += size + (piece[size] == '.' ? 1 : 0);
    }
    return out;
}

char *plug_name_snake(struct plug_memory *memory, const char *dotted)
{
    return join_pieces(memory, dotted, "_", snake_into);
}

/* The full name with the package that protoc-c takes. */
static const char *c_full_name(struct plug_memory *memory,
                               const Google__Protobuf__FileDescriptorProto *file,
                               const char *full_name)
{
    struct fly_bytes rules;
    struct fly_bytes package;
    const char *local = full_name[0] == '.' ? full_name + 1 : full_name;

    if (file->options == NULL ||
        !plug_field_unknown(memory, &file->options->base, FIELD_C_FILE, &rules) ||
        !plug_field_find(rules, FIELD_C_PACKAGE, &package)) {
        return local;
    }
    if (file->package != NULL && file->package[0] != '\0') {
        local += strlen(file->package) + 1;
    }
    return plug_memory_format(memory, "%.*s.%s", (int)package.size, (const char *)package.data,
                              local);
}

char *plug_name_type(struct plug_memory *memory, const Google__Protobuf__FileDescriptorProto *file,
                     const char *full_name)
{
    return join_pieces(memory, c_full_name(memory, file, full_name), "__", camel_into);
}

char *plug_name_symbol(struct plug_memory *memory,
                       const Google__Protobuf__FileDescriptorProto *file, const char *full_name)
{
    return join_pieces(memory, c_full_name(memory, file, full_name), "__", snake_into);
}

char *plug_name_stem(struct plug_memory *memory, const char *file_name)
{
    static const char *const endings[] = {".proto", ".protodevel"};
    size_t size = strlen(file_name);

    for (size_t i = 0; i < FLY_ARRAY_COUNT(endings); i++) {
        size_t ending = strlen(endings[i]);
        if (size > ending && strcmp(file_name + size - ending, endings[i]) == 0) {
            return plug_memory_format(memory, "%.*s", (int)(size - ending), file_name);
        }
    }
    return plug_memory_format(memory, "%s", file_name);
}

char *plug_name_guard(struct plug_memory *memory, const char *file_name)
{
    static const char digits[] = "0123456789abcdef";
    char *out = plug_memory_take(memory, 3 * strlen(file_name) + 1, 1);
    size_t written = 0;

    for (const char *c = file_name; *c != '\0'; c++) {
        if (is_upper(*c) || is_lower(*c) || is_digit(*c)) {
            out[written++] = *c;
        } else {
            out[written++] = '_';
            out[written++] = digits[(unsigned char)*c >> 4];
            out[written++] = digits[(unsigned char)*c & 15];
        }
    }
    return out;
}

bool plug_name_is_keyword(const char *name)
{
    static const char *const words[] = {
        "asm",      "auto",   "bool",     "break",  "case",     "char",   "const",  "continue",
        "default",  "do",     "double",   "else",   "enum",     "errno",  "extern", "false",
        "float",    "for",    "goto",     "if",     "inline",   "int",    "linux",  "long",
        "register", "return", "short",    "signed", "sizeof",   "static", "stdin",  "stdout",
        "stderr",   "struct", "switch",   "true",   "typedef",  "typeof", "union",  "unix",
        "unsigned", "void",   "volatile", "while",  "restrict",
    };

    for (size_t i = 0; i < FLY_ARRAY_COUNT(words); i++) {
        if (strcmp(words[i], name) == 0) {
            return true;
        }
    }
    return false;
}

bool plug_name_is_prefix(const char *name)
{
    for (const char *c = name; *c != '\0'; c++) {
        if (!is_lower(*c) && *c != '_' && (c == name || !is_digit(*c))) {
            return false;
        }
    }
    return name[0] != '\0' && !plug_name_is_keyword(name);
}
