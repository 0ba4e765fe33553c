#include "client/lib/text.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

enum { DISTANCE_TEXT_MAX = 63, CELL_SIZE = 512 };

/* Reads one UTF-8 character; 0 bytes used when it is not one (RFC 3629). */
static size_t next_character(const char *text, uint32_t *out)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t size = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c = size == 1 ? p[0] : p[0] & (0x7fU >> size);

    if (p[0] > 0xf4 || (p[0] >= 0x80 && p[0] < 0xc2)) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0; /* the NUL ends here too */
        }
        c = c << 6 | (p[i] & 0x3fU);
    }
    if (c < least[size] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return 0;
    }
    *out = c;
    return size;
}

/* Moves a cursor, changes direction or draws nothing: none of it may come from a server. */
static bool unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffb);
}

void text_clean(const char *text, char *out, size_t max)
{
    size_t at = 0;

    while (*text != '\0') {
        uint32_t c = 0;
        size_t size = next_character(text, &c);
        bool bad = size == 0 || unsafe(c);
        size_t shown = bad ? 1 : size;
        if (at + shown >= max) {
            break;
        }
        memcpy(out + at, bad ? "?" : text, shown);
        at += shown;
        text += size == 0 ? 1 : size;
    }
    out[at] = '\0';
}

static size_t character_width(uint32_t c)
{
    static const struct {
        uint32_t from;
        uint32_t to;
    } wide[] = {
        {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xac00, 0xd7a3},
        {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},
        {0x1f300, 0x1f64f}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd},
    };

    if (c >= 0x300 && c <= 0x36f) {
        return 0;
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(wide); i++) {
        if (c >= wide[i].from && c <= wide[i].to) {
            return 2;
        }
    }
    return 1;
}

size_t text_character(const char *text, uint32_t *out, size_t *width)
{
    size_t size = next_character(text, out);

    if (size == 0) {
        *out = '?';
        size = 1;
    }
    *width = character_width(*out);
    return size;
}

size_t text_width(const char *text)
{
    size_t width = 0;

    while (*text != '\0') {
        uint32_t c = 0;
        size_t columns = 1;
        text += text_character(text, &c, &columns);
        width += columns;
    }
    return width;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Damerau-Levenshtein in its "optimal string alignment" form; three rows are enough for it. */
size_t text_distance(const char *a, const char *b)
{
    size_t rows[3][DISTANCE_TEXT_MAX + 1];
    size_t a_size = strlen(a);
    size_t b_size = strlen(b);

    if (a_size > DISTANCE_TEXT_MAX || b_size > DISTANCE_TEXT_MAX) {
        return DISTANCE_TEXT_MAX + 1;
    }
    for (size_t j = 0; j <= b_size; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a_size; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];
        const size_t *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            bool same = lower(a[i - 1]) == lower(b[j - 1]);
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1])) {
                row[j] = least(row[j], above2[j - 2] + 1);
            }
        }
    }
    return rows[a_size % 3][b_size];
}

const char *text_nearest(const char *text, const char *const *words, size_t count)
{
    const char *best = NULL;
    /* a third of it may be wrong, one letter always */
    size_t most = strlen(text) / 3 > 1 ? strlen(text) / 3 : 1;

    for (size_t i = 0; i < count; i++) {
        size_t distance = text_distance(text, words[i]);
        if (distance <= most) {
            best = words[i];
            most = distance > 0 ? distance - 1 : 0;
            if (distance == 0) {
                break;
            }
        }
    }
    return best;
}

void text_put_shell_word(FILE *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./:=,+@%";

    if (word[0] != '\0' && strspn(word, plain) == strlen(word)) {
        (void)fputs(word, out);
        return;
    }
    (void)fputc('\'', out);
    for (const char *c = word; *c != '\0'; c++) {
        if (*c == '\'') {
            (void)fputs("'\\''", out);
        } else {
            (void)fputc(*c, out);
        }
    }
    (void)fputc('\'', out);
}

struct table {
    struct table_column columns[TABLE_COLUMNS_MAX];
    size_t widths[TABLE_COLUMNS_MAX];
    size_t column_count;
    char **cells; /* row by row */
    size_t cell_count;
    size_t room;
};

struct table *table_create(const struct table_column *columns, size_t count)
{
    struct table *table = calloc(1, sizeof *table);

    FLY_CHECK(count >= 1 && count <= TABLE_COLUMNS_MAX);
    if (table != NULL) {
        table->column_count = count;
        for (size_t i = 0; i < count; i++) {
            table->columns[i] = columns[i];
            table->widths[i] = text_width(columns[i].title);
        }
    }
    return table;
}

bool table_add(struct table *table, const char *const *cells)
{
    if (table->cell_count + table->column_count > table->room) {
        size_t room = table->room == 0 ? 32 * table->column_count : table->room * 2;
        char **grown = realloc(table->cells, room * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        table->cells = grown;
        table->room = room;
    }
    for (size_t i = 0; i < table->column_count; i++) {
        char clean[CELL_SIZE];
        text_clean(cells[i] != NULL && cells[i][0] != '\0' ? cells[i] : "<none>", clean,
                   sizeof clean);
        char *copy = strdup(clean);
        if (copy == NULL) {
            for (size_t j = 0; j < i; j++) {
                free(table->cells[table->cell_count + j]);
            }
            return false;
        }
        table->cells[table->cell_count + i] = copy;
        size_t width = text_width(clean);
        table->widths[i] = width > table->widths[i] ? width : table->widths[i];
    }
    table->cell_count += table->column_count;
    return true;
}

size_t table_rows(const struct table *table)
{
    return table->cell_count / table->column_count;
}

static void print_row(const struct table *table, const char *const *cells, FILE *out)
{
    for (size_t i = 0; i < table->column_count; i++) {
        int pad = (int)(table->widths[i] - text_width(cells[i]));
        bool last = i + 1 == table->column_count;
        if (table->columns[i].right) {
            (void)fprintf(out, "%*s%s%s", pad, "", cells[i], last ? "\n" : "  ");
        } else {
            (void)fprintf(out, "%s%*s%s", cells[i], last ? 0 : pad, "", last ? "\n" : "  ");
        }
    }
}

void table_print(const struct table *table, FILE *out)
{
    const char *titles[TABLE_COLUMNS_MAX];

    for (size_t i = 0; i < table->column_count; i++) {
        titles[i] = table->columns[i].title;
    }
    print_row(table, titles, out);
    for (size_t at = 0; at < table->cell_count; at += table->column_count) {
        print_row(table, (const char *const *)&table->cells[at], out);
    }
}

void table_destroy(struct table *table)
{
    if (table == NULL) {
        return;
    }
    for (size_t i = 0; i < table->cell_count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    free(table);
}
