/*
 * front_machines - Edge.Machines: the machines of all slices as this edge's catalog has them, page
 * by page.
 *
 * A page ends at a machine: its slice, its place, its name, and the version of the catalog then.
 * While the catalog has that version the next page begins right behind the place. Else the machine
 * is looked for by its name in its slice; is it gone, or is the place another edge's, the slice is
 * told from its start. So a machine that is there all the time is never left out; while machines
 * come and go it may be told twice, which does no harm: values are absolute.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/front_parts.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/wire/cursors.h"
#include "proto/wire/vmid.h"

enum {
    MACHINES_MAX = 4000,
    MACHINES_DEFAULT = 500,
    MACHINES_FRAME = 1 << 20,
    /* Of one on the wire: tags, lengths, three texts, three u32 as varints, two u64, a bool. */
    MACHINE_BYTES_MAX = 4 + (2 + EVENT_NAME_SIZE) + (2 + EVENT_REGION_SIZE) +
                        (2 + SLICE_TEXT_SIZE) + 2 * 6 + 2 * 11 + 2,
};

_Static_assert(MACHINES_MAX *MACHINE_BYTES_MAX + CURSORS_TEXT_SIZE + 4096 < MACHINES_FRAME,
               "a page fits a frame");

struct place {
    uint32_t slice;
    uint64_t after; /* catalog_machine_next's, behind the last machine told */
    uint64_t version;
    uint64_t edge; /* front.machines_nonce of who said it */
    char name[EVENT_NAME_SIZE];
};

struct page {
    const struct catalog *catalog;
    const char *region; /* NULL: all */
    const char *prefix;
    size_t prefix_size;
    uint32_t limit;
    struct catalog_machine *machines; /* limit of them */
    uint32_t *slices;                 /* of each */
    uint32_t count;
};

/* --- places --- */

static void place_format(const struct place *p, char *out, size_t max)
{
    (void)snprintf(out, max, "%06x.%" PRIx64 ".%" PRIx64 ".%016" PRIx64 ".%s", p->slice, p->after,
                   p->version, p->edge, p->name);
}

/* A hexadecimal number of at most 16 digits and the dot behind it. */
static bool take_number(const char **text, uint64_t *out)
{
    const char *at = *text;
    int digits = 0;

    *out = 0;
    for (; digits < 16 && strchr("0123456789abcdef", *at) != NULL && *at != '\0'; digits++, at++) {
        *out = *out << 4 | (uint64_t)(*at <= '9' ? *at - '0' : *at - 'a' + 10);
    }
    *text = at + 1;
    return digits > 0 && *at == '.';
}

static bool place_parse(const char *text, struct place *out)
{
    uint64_t slice = 0;
    bool good = take_number(&text, &slice) && take_number(&text, &out->after) &&
                take_number(&text, &out->version) && take_number(&text, &out->edge) &&
                slice <= 0xffffff && fly_copy_string(out->name, sizeof out->name, text);

    out->slice = (uint32_t)slice;
    return good;
}

/* Where to go on in the slice of a place. */
static uint64_t go_on(const struct front *f, const struct catalog *c, const struct place *p)
{
    struct catalog_machine m;
    uint64_t at = 0;

    if (p->edge != f->machines_nonce) {
        return 0; /* another edge's order is another */
    }
    if (p->version == catalog_version(c)) {
        return p->after;
    }
    while (catalog_machine_next(c, p->slice, &at, &m)) {
        if (strcmp(m.name, p->name) == 0) {
            return at;
        }
    }
    return 0;
}

/* --- one page --- */

static bool matches(const struct page *page, const struct catalog_machine *m)
{
    return (page->region == NULL || strcmp(page->region, m->region) == 0) &&
           strncmp(m->name, page->prefix, page->prefix_size) == 0;
}

/* From `at` on, until the page is full (then true: *at is behind the last one) or the slice ends.
 */
static bool read_slice(struct page *page, uint32_t tag, uint64_t *at)
{
    struct catalog_machine m;

    while (page->count < page->limit) {
        if (!catalog_machine_next(page->catalog, tag, at, &m)) {
            return false;
        }
        if (matches(page, &m)) {
            page->slices[page->count] = tag;
            page->machines[page->count++] = m;
        }
    }
    return true;
}

static int by_tag(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Fills the page; `from` is where it begins, and where the next one does if there is more. */
static bool read_page(struct front *f, struct page *page, struct place *from)
{
    uint32_t tags[STREAMS_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0; i < streams_count(f->config.streams); i++) {
        const struct stream *st = streams_at(f->config.streams, i);
        if (!st->forgotten && st->tag >= from->slice) {
            tags[count++] = st->tag;
        }
    }
    qsort(tags, count, sizeof tags[0], by_tag);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = tags[i] == from->slice ? go_on(f, page->catalog, from) : 0;
        if (read_slice(page, tags[i], &at)) {
            from->slice = tags[i];
            from->after = at;
            from->version = catalog_version(page->catalog);
            from->edge = f->machines_nonce;
            memcpy(from->name, page->machines[page->count - 1].name, sizeof from->name);
            return true;
        }
    }
    return false;
}

/* Where a watch that begins now would stand; "" when it cannot be said. */
static void cursor_now(struct front *f, char out[static CURSORS_TEXT_SIZE])
{
    struct cursors now = {.count = 0};

    out[0] = '\0';
    for (uint32_t i = 0; i < streams_count(f->config.streams); i++) {
        const struct stream *st = streams_at(f->config.streams, i);
        uint64_t first = 0;
        uint64_t last = 0;
        if (st->forgotten || st->incarnation == 0) {
            continue; /* one that is heard of later is told of from its start */
        }
        stream_range(st, &first, &last);
        if (!cursors_put(
                &now,
                (struct cursor){.slice = st->tag, .incarnation = st->incarnation, .seq = last})) {
            return;
        }
    }
    (void)cursors_format(&now, out);
}

static void send_page(struct front *f, struct rpc_call *call, const struct page *page,
                      const char *next)
{
    Fly__V1__ListMachinesReply reply = FLY__V1__LIST_MACHINES_REPLY__INIT;
    Fly__V1__Machine *machines = calloc(page->count + 1, sizeof *machines);
    Fly__V1__Machine **pointers = calloc(page->count + 1, sizeof *pointers);
    char(*slices)[SLICE_TEXT_SIZE] = calloc(page->count + 1, sizeof *slices);
    char cursor[CURSORS_TEXT_SIZE];

    FLY_CHECK(machines != NULL && pointers != NULL && slices != NULL);
    for (uint32_t i = 0; i < page->count; i++) {
        struct catalog_machine *m = &page->machines[i];
        slice_format(page->slices[i], slices[i]);
        machines[i] = (Fly__V1__Machine)FLY__V1__MACHINE__INIT;
        machines[i].name = m->name;
        machines[i].region = m->region;
        machines[i].slice = slices[i];
        machines[i].cores = m->cores;
        machines[i].cores_free = m->cores_free;
        machines[i].memory_bytes = m->memory_bytes;
        machines[i].memory_free_bytes = m->memory_free_bytes;
        machines[i].cordoned = m->cordoned;
        pointers[i] = &machines[i];
    }
    cursor_now(f, cursor);
    reply.n_machines = page->count;
    reply.machines = pointers;
    reply.next = (char *)next;
    reply.cursor = cursor;
    rpc_call_reply(call, &reply.base);
    free(slices);
    free(pointers);
    free(machines);
}

static uint32_t limit_of(uint32_t limit)
{
    return limit == 0 ? MACHINES_DEFAULT : limit < MACHINES_MAX ? limit : MACHINES_MAX;
}

void front_list_machines(struct front *f, struct rpc_call *call)
{
    const Fly__V1__ListMachinesRequest *q =
        (const Fly__V1__ListMachinesRequest *)rpc_call_request(call);
    const struct catalog_region *region = NULL;
    struct place from = {.slice = 0};
    char next[EVENT_NAME_SIZE + 64] = "";

    if (q->region[0] != '\0' && (region = front_region(f, call, q->region)) == NULL) {
        return;
    }
    if (q->after[0] != '\0' && !place_parse(q->after, &from)) {
        struct refusal r;
        refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_INVALID_SPEC, false,
                    "'%.64s' is not what a page's `next` said", q->after);
        refusal_send(call, &r);
        return;
    }
    struct page page = {.catalog = f->config.catalog,
                        .region = region != NULL ? region->code : NULL,
                        .prefix = q->name_prefix,
                        .prefix_size = strlen(q->name_prefix),
                        .limit = limit_of(q->limit)};
    page.machines = calloc(page.limit, sizeof *page.machines);
    page.slices = calloc(page.limit, sizeof *page.slices);
    FLY_CHECK(page.machines != NULL && page.slices != NULL);
    if (read_page(f, &page, &from)) {
        place_format(&from, next, sizeof next);
    }
    send_page(f, call, &page, next);
    free(page.slices);
    free(page.machines);
}
