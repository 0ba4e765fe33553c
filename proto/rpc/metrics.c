#include "proto/rpc/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/method.h"

enum { PLACES = 2 * RPC_METRICS_METHODS_MAX };

_Static_assert((PLACES & (PLACES - 1)) == 0, "the table's size is a power of two");

/* Never moved, changed or freed before the whole table goes: so it is found without a lock. */
struct entry {
    struct rpc_method_metrics metrics;
    uint32_t hash;
    char name[]; /* a copy: a client may call methods that it made itself and will free */
};

struct rpc_metrics {
    const char *side;
    atomic_uint count;
    _Atomic(struct entry *) places[PLACES];
};

enum fly_status rpc_metrics_create(struct rpc_metrics **out, const char *side,
                                   struct fly_error *error)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    (*out)->side = strcmp(side, "server") == 0 ? "server" : "client";
    return FLY_OK;
}

void rpc_metrics_destroy(struct rpc_metrics *metrics)
{
    if (metrics == NULL) {
        return;
    }
    for (size_t i = 0; i < PLACES; i++) {
        free(atomic_load_explicit(&metrics->places[i], memory_order_relaxed));
    }
    free(metrics);
}

static struct entry *make_entry(struct rpc_metrics *metrics, const char *name, uint32_t hash)
{
    struct entry *entry = NULL;

    if (atomic_fetch_add_explicit(&metrics->count, 1, memory_order_relaxed) <
        RPC_METRICS_METHODS_MAX) {
        entry = calloc(1, sizeof *entry + strlen(name) + 1);
    }
    if (entry == NULL) {
        atomic_fetch_sub_explicit(&metrics->count, 1, memory_order_relaxed);
        return NULL;
    }
    entry->hash = hash;
    memcpy(entry->name, name, strlen(name) + 1);
    return entry;
}

struct rpc_method_metrics *rpc_metrics_of(struct rpc_metrics *metrics,
                                          const struct rpc_method *method)
{
    uint32_t hash = method->hash;
    struct entry *mine = NULL;

    for (uint32_t i = hash;; i++) {
        _Atomic(struct entry *) *place = &metrics->places[i % PLACES];
        struct entry *there = atomic_load_explicit(place, memory_order_acquire);

        if (there == NULL) {
            if (mine == NULL) {
                mine = make_entry(metrics, method->name, hash);
            }
            if (mine == NULL) {
                return NULL;
            }
            if (atomic_compare_exchange_strong_explicit(place, &there, mine, memory_order_acq_rel,
                                                        memory_order_acquire)) {
                return &mine->metrics;
            }
        }
        if (there->hash == hash && strcmp(there->name, method->name) == 0) {
            if (mine != NULL) { /* another thread was quicker */
                free(mine);
                atomic_fetch_sub_explicit(&metrics->count, 1, memory_order_relaxed);
            }
            return &there->metrics;
        }
    }
}

static void add(atomic_uint_fast64_t *to, uint64_t count)
{
    atomic_fetch_add_explicit(to, count, memory_order_relaxed);
}

void rpc_metrics_started(struct rpc_method_metrics *of)
{
    if (of != NULL) {
        add(&of->started, 1);
    }
}

void rpc_metrics_message(struct rpc_method_metrics *of, bool in, size_t size)
{
    if (of != NULL) {
        add(in ? &of->messages_in : &of->messages_out, 1);
        add(in ? &of->bytes_in : &of->bytes_out, size);
    }
}

void rpc_metrics_ended(struct rpc_method_metrics *of, enum fly_status status, int64_t latency_ns)
{
    uint64_t ns = latency_ns > 0 ? (uint64_t)latency_ns : 0;
    uint64_t us = (ns + 999) / 1000; /* "at most": 1.001 µs is not in the bucket of 1 µs */
    unsigned bucket = us <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(us - 1);

    if (of != NULL) {
        add(&of->ended[fly_status_from_wire((uint32_t)status)], 1);
        add(&of->latency_ns, ns);
        add(&of->latency[bucket < RPC_METRICS_BUCKETS ? bucket : RPC_METRICS_BUCKETS - 1], 1);
    }
}

/* Where the text goes: counts on past its end. */
struct text {
    char *out;
    size_t max;
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *text, const char *format, ...)
{
    size_t room = text->size < text->max ? text->max - text->size : 0;
    va_list arguments;
    int size = 0;

    va_start(arguments, format);
    size = vsnprintf(room > 0 ? text->out + text->size : NULL, room, format, arguments);
    va_end(arguments);
    FLY_CHECK(size >= 0);
    text->size += (size_t)size;
}

/* A label's value: backslash, quote and line feed are escaped, all else is UTF-8 as it is. */
static void say_method(struct text *text, const char *name)
{
    say(text, "method=\"");
    for (; *name != '\0'; name++) {
        if (*name == '\n') {
            say(text, "\\n");
        } else {
            say(text, *name == '\\' || *name == '"' ? "\\%c" : "%c", *name);
        }
    }
    say(text, "\"");
}

struct view {
    const char *side;
    struct entry *entries[RPC_METRICS_METHODS_MAX];
    size_t count;
};

static uint64_t value(const atomic_uint_fast64_t *of)
{
    return atomic_load_explicit(of, memory_order_relaxed);
}

static void say_head(struct text *text, const struct view *view, const char *family,
                     const char *type, const char *help)
{
    say(text, "# HELP flyrpc_%s_%s %s\n", view->side, family, help);
    say(text, "# TYPE flyrpc_%s_%s %s\n", view->side, family, type);
}

static void say_counter(struct text *text, const struct view *view, const char *family,
                        size_t offset, const char *help)
{
    say_head(text, view, family, "counter", help);
    for (size_t i = 0; i < view->count; i++) {
        const void *at = (const char *)&view->entries[i]->metrics + offset;

        say(text, "flyrpc_%s_%s{", view->side, family);
        say_method(text, view->entries[i]->name);
        say(text, "} %" PRIu64 "\n", value(at));
    }
}

static void say_codes(struct text *text, const struct view *view)
{
    say_head(text, view, "handled_total", "counter", "Calls that ended, by status.");
    for (size_t i = 0; i < view->count; i++) {
        for (uint32_t code = 0; code < FLY_STATUS_COUNT; code++) {
            uint64_t count = value(&view->entries[i]->metrics.ended[code]);

            if (count > 0 || code == FLY_OK) {
                say(text, "flyrpc_%s_handled_total{", view->side);
                say_method(text, view->entries[i]->name);
                say(text, ",code=\"%s\"} %" PRIu64 "\n", fly_status_name((enum fly_status)code),
                    count);
            }
        }
    }
}

static void say_bucket(struct text *text, const struct view *view, const struct entry *entry,
                       const char *le, uint64_t count)
{
    say(text, "flyrpc_%s_latency_seconds_bucket{", view->side);
    say_method(text, entry->name);
    say(text, ",le=\"%s\"} %" PRIu64 "\n", le, count);
}

static void say_latency(struct text *text, const struct view *view, const struct entry *entry)
{
    uint64_t sum_ns = value(&entry->metrics.latency_ns);
    uint64_t below = 0;
    char le[32];

    for (unsigned i = 0; i + 1 < RPC_METRICS_BUCKETS; i++) {
        uint64_t us = UINT64_C(1) << i;

        below += value(&entry->metrics.latency[i]);
        (void)snprintf(le, sizeof le, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
        say_bucket(text, view, entry, le, below);
    }
    below += value(&entry->metrics.latency[RPC_METRICS_BUCKETS - 1]);
    say_bucket(text, view, entry, "+Inf", below);
    say(text, "flyrpc_%s_latency_seconds_sum{", view->side);
    say_method(text, entry->name);
    say(text, "} %" PRIu64 ".%09" PRIu64 "\n", sum_ns / 1000000000, sum_ns % 1000000000);
    say(text, "flyrpc_%s_latency_seconds_count{", view->side);
    say_method(text, entry->name);
    say(text, "} %" PRIu64 "\n", below); /* always that of +Inf, whoever records meanwhile */
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct entry *const *)a)->name, (*(struct entry *const *)b)->name);
}

static void view_of(struct view *view, const struct rpc_metrics *metrics)
{
    *view = (struct view){.side = metrics->side};
    for (size_t i = 0; i < PLACES && view->count < RPC_METRICS_METHODS_MAX; i++) {
        struct entry *entry = atomic_load_explicit(&metrics->places[i], memory_order_acquire);

        if (entry != NULL) {
            view->entries[view->count++] = entry;
        }
    }
    qsort(view->entries, view->count, sizeof view->entries[0], by_name);
}

size_t rpc_metrics_text(const struct rpc_metrics *metrics, char *out, size_t max)
{
    struct text text = {.out = out, .max = max};
    struct view view;

    if (max > 0) {
        out[0] = '\0';
    }
    view_of(&view, metrics);
    say_counter(&text, &view, "started_total", offsetof(struct rpc_method_metrics, started),
                "Calls that began.");
    say_codes(&text, &view);
    say_counter(&text, &view, "messages_in_total", offsetof(struct rpc_method_metrics, messages_in),
                "Message bodies received.");
    say_counter(&text, &view, "messages_out_total",
                offsetof(struct rpc_method_metrics, messages_out), "Message bodies sent.");
    say_counter(&text, &view, "bytes_in_total", offsetof(struct rpc_method_metrics, bytes_in),
                "Bytes of the bodies received.");
    say_counter(&text, &view, "bytes_out_total", offsetof(struct rpc_method_metrics, bytes_out),
                "Bytes of the bodies sent.");
    say_head(&text, &view, "latency_seconds", "histogram", "From a call's begin to its end.");
    for (size_t i = 0; i < view.count; i++) {
        say_latency(&text, &view, view.entries[i]);
    }
    return text.size;
}
