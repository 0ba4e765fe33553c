/* queue - virtual time: the heap of events to come, chance, the trace and how a run ends badly. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "tests/sim/sim.h"

uint64_t sim_below(struct sim_world *w, uint64_t bound)
{
    return fly_rng_below(&w->rng, bound);
}

bool sim_chance(struct sim_world *w, unsigned per_mille)
{
    return per_mille > 0 && fly_rng_chance(&w->rng, per_mille);
}

int64_t sim_between(struct sim_world *w, int64_t low, int64_t high)
{
    return low + (int64_t)fly_rng_below(&w->rng, (uint64_t)(high - low + 1));
}

const char *sim_key_text(const struct fly_key *key)
{
    static char texts[4][FLY_KEY_TEXT_SIZE];
    static unsigned turn;
    char *text = texts[turn++ % 4];

    key_format(key, text);
    return text;
}

void sim_trace(struct sim_world *w, const char *format, ...)
{
    char *line = w->trace[w->trace_count++ % SIM_TRACE_LINES];
    va_list args;

    int head = snprintf(line, SIM_TRACE_SIZE, "%10" PRId64 " ", w->now_ms);
    va_start(args, format);
    (void)vsnprintf(line + head, SIM_TRACE_SIZE - (size_t)head, format, args);
    va_end(args);
    for (const char *p = line; *p != '\0'; p++) { /* FNV-1a */
        w->hash = (w->hash ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    }
    if (w->verbose) {
        (void)fprintf(stderr, "%s\n", line);
    }
}

void sim_print_trace(const struct sim_world *w)
{
    uint64_t first = w->trace_count > SIM_TRACE_LINES ? w->trace_count - SIM_TRACE_LINES : 0;

    for (uint64_t i = first; i < w->trace_count; i++) {
        (void)fprintf(stderr, "%s\n", w->trace[i % SIM_TRACE_LINES]);
    }
}

void sim_fail(struct sim_world *w, const char *format, ...)
{
    va_list args;

    if (!w->verbose) {
        sim_print_trace(w);
    }
    (void)fprintf(stderr, "violated at %" PRId64 " ms, step %" PRIu64 ": ", w->now_ms, w->steps);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fprintf(stderr, "\nsim_run --seed %" PRIu64 "\n", w->seed);
    (void)fflush(stderr);
    _Exit(1); /* memory is where the violation left it: no leak report on top */
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

void sim_at(struct sim_world *w, int64_t at_ms, enum sim_kind kind, uint32_t who, uint32_t other,
            uint64_t life, struct sim_message *message)
{
    if (w->heap_count == w->heap_max) {
        w->heap_max = w->heap_max == 0 ? 256 : 2 * w->heap_max;
        w->heap = realloc(w->heap, w->heap_max * sizeof *w->heap);
        FLY_CHECK(w->heap != NULL);
    }
    struct sim_event e = {.at_ms = at_ms,
                          .order = w->order++,
                          .kind = kind,
                          .who = who,
                          .other = other,
                          .life = life,
                          .message = message};
    uint32_t i = w->heap_count++;
    for (; i > 0 && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        w->heap[i] = w->heap[(i - 1) / 2];
    }
    w->heap[i] = e;
}

bool sim_next(struct sim_world *w, struct sim_event *out)
{
    if (w->heap_count == 0) {
        return false;
    }
    *out = w->heap[0];
    struct sim_event last = w->heap[--w->heap_count];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child + 1 < w->heap_count && before(&w->heap[child + 1], &w->heap[child])) {
            child++;
        }
        if (child >= w->heap_count || before(&last, &w->heap[child])) {
            break;
        }
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return true;
}
