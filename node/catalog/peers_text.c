/*
 * peers_text - the text form of peers.h: written whole, read strictly.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "node/catalog/peers.h"
#include "proto/base/bytes.h"
#include "proto/base/id.h"

enum {
    LINE_SIZE_MAX = 2 * PEERS_WORD_SIZE_MAX + 32,
    WORDS_MAX = 6,
    SUM_LINE_SIZE = 21,
    TAG_MAX = 0xffffff,
};

static const char head[] = "flylight-peers 1\n";
static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* FNV-1a, 64 bits: finds a damaged file, not a forged one. */
static uint64_t sum_of(const char *text, size_t size)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < size; i++) {
        h = (h ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
    }
    return h;
}

/* --- writing --- */

struct text {
    char *data;
    size_t size;
    size_t max;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
    va_list args;

    if (t->failed) {
        return;
    }
    va_start(args, format);
    int size = vsnprintf(t->data + t->size, t->max - t->size, format, args);
    va_end(args);
    t->failed = size < 0 || (size_t)size >= t->max - t->size;
    t->size += t->failed ? 0 : (size_t)size;
}

static void put_address(struct text *t, const struct peers_address *a)
{
    if (memcmp(a->ip, v4_prefix, sizeof v4_prefix) == 0) {
        put(t, " %u.%u.%u.%u:%u", a->ip[12], a->ip[13], a->ip[14], a->ip[15], a->port);
        return;
    }
    for (size_t i = 0; i < 8; i++) {
        put(t, "%s%x", i == 0 ? " [" : ":", a->ip[2 * i] << 8 | a->ip[2 * i + 1]);
    }
    put(t, "]:%u", a->port);
}

size_t peers_encode(const struct peers *p, const struct seen *s, char *out, size_t max)
{
    struct text t = {.data = out, .max = max};
    char id[NODE_ID_TEXT_SIZE];

    put(&t, "%s", head);
    for (uint32_t i = 0; i < peers_count(p); i++) {
        const struct peers_member *m = peers_at(p, i);
        fly_hex_encode(m->id.bytes, sizeof m->id.bytes, id);
        put(&t, "member %s %s", id, m->name);
        for (uint32_t k = 0; k < m->address_count; k++) {
            put_address(&t, &m->addresses[k]);
        }
        put(&t, "\n");
    }
    for (uint32_t i = 0; i < seen_count(s); i++) {
        const struct seen_slice *slice = seen_at(s, i);
        put(&t, "slice %06x %d", slice->tag, slice->forgotten);
        for (uint32_t k = 0; k < SEEN_LOGS_MAX && slice->logs[k].incarnation != 0; k++) {
            put(&t, " %016llx:%llu", (unsigned long long)slice->logs[k].incarnation,
                (unsigned long long)slice->logs[k].seq);
        }
        put(&t, "\n");
    }
    for (uint32_t i = 0; i < peers_word_count(p); i++) {
        const struct peers_word *w = peers_word_at(p, i);
        char hex[2 * PEERS_WORD_SIZE_MAX + 1];
        fly_hex_encode(w->bytes, w->size, hex);
        put(&t, "forgotten %06x %s\n", w->tag, hex);
    }
    put(&t, "sum %016llx\n", (unsigned long long)sum_of(out, t.size));
    return t.failed ? 0 : t.size;
}

/* --- reading --- */

/* The words of one line, each with a NUL behind it. */
struct line {
    char text[LINE_SIZE_MAX];
    const char *words[WORDS_MAX];
    size_t word_count;
};

/* Takes the line at *at; false: too long, no newline, control characters, empty or too many words.
 */
static bool take_line(const char **at, const char *end, struct line *out)
{
    const char *p = *at;
    size_t size = 0;

    while (p + size < end && p[size] != '\n') {
        if (p[size] < ' ' || p[size] > '~' || size + 1 == LINE_SIZE_MAX) {
            return false;
        }
        out->text[size] = p[size];
        size++;
    }
    if (p + size == end) {
        return false;
    }
    out->text[size] = '\0';
    *at = p + size + 1;
    out->word_count = 0;
    for (char *word = out->text; word != NULL;) {
        char *blank = strchr(word, ' ');
        if (*word == '\0' || word == blank || out->word_count == WORDS_MAX) {
            return false;
        }
        out->words[out->word_count++] = word;
        word = blank;
        if (word != NULL) {
            *word++ = '\0';
        }
    }
    return true;
}

/* Digits without a leading zero, up to max, ended by `stop`; moves behind it. */
static bool take_number(const char **text, uint64_t max, char stop, uint64_t *out)
{
    const char *p = *text;
    uint64_t value = 0;
    size_t digits = 0;

    for (; p[digits] >= '0' && p[digits] <= '9'; digits++) {
        uint64_t digit = (uint64_t)(p[digits] - '0');
        if (value > (max - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    if (digits == 0 || (p[0] == '0' && digits > 1) || p[digits] != stop) {
        return false;
    }
    *out = value;
    *text = p + digits + (stop != '\0');
    return true;
}

/* Lower-case hex digits, exactly so many. */
static bool take_hex(const char *text, size_t digits, uint64_t *out)
{
    uint64_t value = 0;

    for (size_t i = 0; i < digits; i++) {
        const char *known = "0123456789abcdef";
        const char *at = text[i] != '\0' ? strchr(known, text[i]) : NULL;
        if (at == NULL) {
            return false;
        }
        value = value << 4 | (uint64_t)(at - known);
    }
    *out = value;
    return true;
}

/* One to four hex digits without a leading zero, ended by `stop`. */
static bool take_group(const char **text, char stop, uint64_t *out)
{
    size_t digits = strcspn(*text, ":]");

    if (digits == 0 || digits > 4 || ((*text)[0] == '0' && digits > 1) || (*text)[digits] != stop ||
        !take_hex(*text, digits, out)) {
        return false;
    }
    *text += digits + 1;
    return true;
}

static bool take_address(const char *text, struct peers_address *out)
{
    uint64_t part = 0;
    struct peers_address a = {.port = 0};

    if (text[0] == '[') {
        text++;
        for (size_t i = 0; i < 8; i++) {
            if (!take_group(&text, i == 7 ? ']' : ':', &part)) {
                return false;
            }
            a.ip[2 * i] = (uint8_t)(part >> 8);
            a.ip[2 * i + 1] = (uint8_t)part;
        }
        if (*text++ != ':' || memcmp(a.ip, v4_prefix, sizeof v4_prefix) == 0) {
            return false;
        }
    } else {
        memcpy(a.ip, v4_prefix, sizeof v4_prefix);
        for (size_t i = 12; i < 16; i++) {
            if (!take_number(&text, 255, i == 15 ? ':' : '.', &part)) {
                return false;
            }
            a.ip[i] = (uint8_t)part;
        }
    }
    if (!take_number(&text, UINT16_MAX, '\0', &part)) {
        return false;
    }
    a.port = (uint16_t)part;
    *out = a;
    return true;
}

static bool take_member(const struct line *line, struct peers *p)
{
    struct peers_address addresses[PEERS_ADDRESSES_MAX];
    uint32_t place = peers_count(p);
    struct node_id id;

    if (line->word_count < 4 || line->word_count > 3 + PEERS_ADDRESSES_MAX ||
        strspn(line->words[1], "0123456789abcdef") != 2 * sizeof id.bytes ||
        !fly_hex_decode(line->words[1], strlen(line->words[1]), id.bytes, sizeof id.bytes)) {
        return false;
    }
    size_t count = line->word_count - 3;
    for (size_t i = 0; i < count; i++) {
        if (!take_address(line->words[3 + i], &addresses[i])) {
            return false;
        }
    }
    for (size_t i = count; i-- > 0;) { /* the latest is noted last */
        if (!peers_note(p, &id, line->words[2], &addresses[i])) {
            return false;
        }
    }
    /* A new one, with as many addresses: neither the member nor an address stands here twice. */
    return peers_count(p) == place + 1 && peers_at(p, place)->address_count == count;
}

static bool take_slice(const struct line *line, struct seen *s)
{
    struct seen_slice slice = {.tag = 0};
    uint64_t tag = 0;

    if (line->word_count < 3 || line->word_count > 3 + SEEN_LOGS_MAX ||
        strlen(line->words[1]) != 6 || !take_hex(line->words[1], 6, &tag) || tag == 0 ||
        (strcmp(line->words[2], "0") != 0 && strcmp(line->words[2], "1") != 0)) {
        return false;
    }
    slice.tag = (uint32_t)tag;
    slice.forgotten = line->words[2][0] == '1';
    for (size_t i = 3; i < line->word_count; i++) {
        struct seen_log *log = &slice.logs[i - 3];
        const char *word = line->words[i];
        if (strnlen(word, 17) < 17 || word[16] != ':' || !take_hex(word, 16, &log->incarnation) ||
            log->incarnation == 0) {
            return false;
        }
        word += 17;
        if (!take_number(&word, UINT64_MAX, '\0', &log->seq)) {
            return false;
        }
    }
    bool twice =
        slice.logs[0].incarnation != 0 && slice.logs[0].incarnation == slice.logs[1].incarnation;
    return !twice && seen_put(s, &slice);
}

/* The last line names the sum of all before it. */
static bool sum_right(const char *text, size_t size)
{
    uint64_t sum = 0;

    return size >= SUM_LINE_SIZE && memcmp(text + size - SUM_LINE_SIZE, "sum ", 4) == 0 &&
           text[size - 1] == '\n' && take_hex(text + size - SUM_LINE_SIZE + 4, 16, &sum) &&
           sum == sum_of(text, size - SUM_LINE_SIZE);
}

static bool take_word(const struct line *line, struct peers *p)
{
    uint8_t bytes[PEERS_WORD_SIZE_MAX];
    uint64_t tag = 0;

    if (line->word_count != 3 || strlen(line->words[1]) != 6 ||
        !take_hex(line->words[1], 6, &tag) || tag == 0 || peers_word(p, (uint32_t)tag) != NULL) {
        return false;
    }
    size_t digits = strlen(line->words[2]);
    return digits % 2 == 0 && digits <= 2 * sizeof bytes &&
           strspn(line->words[2], "0123456789abcdef") == digits &&
           fly_hex_decode(line->words[2], digits, bytes, digits / 2) &&
           peers_keep_word(p, (uint32_t)tag, bytes, digits / 2);
}

enum fly_status peers_decode(const char *text, size_t size, struct peers *p, struct seen *s,
                             struct fly_error *error)
{
    const char *at = text;
    unsigned number = 1;
    struct line line;

    if (size < sizeof head - 1 || memcmp(text, head, sizeof head - 1) != 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "line 1 is not '%.16s'", head);
    }
    if (!sum_right(text, size)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "the last line is not the sum of what stands before it");
    }
    const char *end = text + size - SUM_LINE_SIZE;
    for (at += sizeof head - 1; at < end;) {
        bool good = take_line(&at, end, &line);
        number++;
        good = good && ((strcmp(line.words[0], "member") == 0 && take_member(&line, p)) ||
                        (strcmp(line.words[0], "slice") == 0 && take_slice(&line, s)) ||
                        (strcmp(line.words[0], "forgotten") == 0 && take_word(&line, p)));
        if (!good) {
            peers_clear(p);
            seen_clear(s);
            return fly_error_set(
                error, FLY_INVALID_ARGUMENT,
                "line %u is neither a member, a slice nor a word, or is there twice", number);
        }
    }
    return FLY_OK;
}
