/*
 * watcher - one watcher of a fault run: follows all events through the client library, as `flyrpc
 * watch` does, and writes down what it is shown, for fly_watch_check.
 *
 *   fly_watcher --addr LIST --token TOKEN --out FILE [--region R] [--since CURSOR] [--seed S]
 *               [--restless] [--slow] [--latest PACE_MS]
 *
 * Restless: breaks off at random, in the middle of a batch too, and goes on from its cursor with a
 * new connection, beginning at another edge. Slow: stops reading for up to three seconds. SIGTERM
 * ends it, with a line of counters. Lines of FILE:
 *
 *   C SLICE INCARNATION SEQ               stands there, without having seen anything of the slice
 *   E SLICE INCARNATION SEQ TYPE VM REGION   an event (VM, REGION: - for none)
 *   P VM                                  a VM of a reset whose end is to come
 *   R SLICE INCARNATION SEQ REASON        the reset is told; events go on behind SEQ
 *   X                                     the connection is another one
 *   L                                     with the policy LATEST, in the first line; then also:
 *   F SLICE MACHINE CORES MEMORY          what the event before says is free on its machine
 */
#include <argp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/address.h"
#include "client/lib/watching.h"
#include "proto/base/check.h"

enum { CUT_EVENTS_MAX = 400, PAUSE_MAX_MS = 3000, LIST_SIZE = 1024, CONNECT_MS = 5000 };

struct watcher {
    const char *addr;
    const char *token;
    const char *out;
    const char *region;
    const char *since;
    uint64_t seed;
    bool restless;
    bool slow;
    bool latest;
    uint32_t pace_ms;

    char edges[LIST_SIZE]; /* the list, beginning with one of them */
    unsigned begin;
    struct session session;
    struct watching watching;
    struct cursors known; /* slices that have a line */
    struct fly_rng rng;
    FILE *file;
    uint64_t cut_at; /* events: breaks off when it has so many */
    uint64_t events;
    uint64_t resets;
    uint64_t broken; /* by us */
    uint64_t lost;   /* by others */
    uint64_t twice;
    uint64_t skipped;
};

static void on_signal(int number)
{
    (void)number;
    session_interrupt();
}

static const char *or_dash(const char *text)
{
    return text[0] != '\0' ? text : "-";
}

static void put_start(struct watcher *w, struct cursor at)
{
    if (cursors_find(&w->known, at.slice) == NULL) {
        FLY_CHECK(cursors_put(&w->known, at));
        (void)fprintf(w->file, "C %06" PRIx32 " %016" PRIx64 " %" PRIu64 "\n", at.slice,
                      at.incarnation, at.seq);
    }
}

static void put_reset(struct watcher *w)
{
    const Fly__V1__WatchReply *message = w->watching.message;
    uint32_t tag = watching_reset_slice(&w->watching);
    struct cursors told;

    for (size_t i = 0; i < message->n_vms; i++) {
        (void)fprintf(w->file, "P %s\n", message->vms[i]->id);
    }
    if (message->cursor[0] != '\0') {
        FLY_CHECK(cursors_parse(message->cursor, &told));
        const struct cursor *at = cursors_find(&told, tag);
        FLY_CHECK(at != NULL);
        w->resets++;
        put_start(w, *at);
        (void)fprintf(w->file, "R %06" PRIx32 " %016" PRIx64 " %" PRIu64 " %s\n", tag,
                      at->incarnation, at->seq, message->reset_reason);
    }
}

/* Takes the first `count` events of the message. */
static void put_events(struct watcher *w, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const Fly__V1__Event *e = w->watching.message->events[i];
        put_start(w, (struct cursor){.slice = (uint32_t)strtoul(e->slice, NULL, 16),
                                     .incarnation = e->incarnation,
                                     .seq = e->seq - 1});
        if (watching_take(&w->watching, e)) {
            w->events++;
            (void)fprintf(w->file, "E %s %016" PRIx64 " %" PRIu64 " %d %s %s\n", e->slice,
                          e->incarnation, e->seq, (int)e->type, or_dash(e->vm), or_dash(e->region));
            if (w->latest && e->machine[0] != '\0') {
                (void)fprintf(w->file, "F %s %s %u %" PRIu64 "\n", e->slice, e->machine,
                              e->machine_cores_free, e->machine_memory_free_bytes);
            }
        }
    }
}

/* The list of edges, beginning with another one than before. */
static void turn_list(struct watcher *w)
{
    char urls[ADDRESS_LIST_MAX][ADDRESS_URL_SIZE];
    const char *list = w->addr;
    unsigned count = 0;
    size_t used = 0;

    while (count < ADDRESS_LIST_MAX && address_next(&list, urls[count])) {
        count++;
    }
    FLY_CHECK(count > 0);
    for (unsigned i = 0; i < count; i++) {
        used += (size_t)snprintf(w->edges + used, sizeof w->edges - used, "%s%s", i > 0 ? "," : "",
                                 urls[(w->begin + i) % count]);
    }
    w->begin++;
}

static void begin(struct watcher *w, const char *since)
{
    struct fly_error error;

    turn_list(w);
    session_init(&w->session, w->edges, w->token);
    FLY_CHECK(watching_init(&w->watching, &w->session, since, w->region, CONNECT_MS, &error) ==
              FLY_OK);
    w->watching.policy = w->latest ? FLY__V1__WATCH_POLICY__WATCH_LATEST_PER_OBJECT
                                   : FLY__V1__WATCH_POLICY__WATCH_EVERY_EVENT;
    w->watching.pace_ms = w->pace_ms;
}

static void end(struct watcher *w)
{
    w->twice += w->watching.twice;
    w->skipped += w->watching.skipped;
    watching_fini(&w->watching);
    session_fini(&w->session);
    (void)fprintf(w->file, "X\n");
}

/* As if this were another process that was given the cursor. */
static void begin_again(struct watcher *w)
{
    char cursor[CURSORS_TEXT_SIZE];

    (void)watching_cursor(&w->watching, cursor);
    end(w);
    w->broken++;
    begin(w, cursor);
}

static void take_message(struct watcher *w)
{
    const Fly__V1__WatchReply *message = w->watching.message;
    bool cut = w->restless && w->events + message->n_events >= w->cut_at;
    bool half = cut && message->n_events > 1 && fly_rng_chance(&w->rng, 500);

    if (message->reset || message->n_vms > 0) {
        put_reset(w);
    }
    put_events(w, half ? message->n_events / 2 : message->n_events);
    if (!half) {
        watching_taken(&w->watching);
        for (uint32_t i = 0; i < w->watching.places.count; i++) {
            put_start(w, w->watching.places.at[i]);
        }
    }
    FLY_CHECK(fflush(w->file) == 0);
    if (cut) {
        w->cut_at = w->events + fly_rng_below(&w->rng, CUT_EVENTS_MAX);
        begin_again(w);
    }
    if (w->slow && fly_rng_chance(&w->rng, 40)) {
        (void)session_pause((int64_t)fly_rng_below(&w->rng, PAUSE_MAX_MS));
    }
}

static bool run(struct watcher *w)
{
    for (;;) {
        switch (watching_next(&w->watching)) {
        case WATCHING_MESSAGE:
            take_message(w);
            break;
        case WATCHING_LOST:
            w->lost++;
            (void)fprintf(w->file, "X\n");
            break;
        case WATCHING_BACK:
            break;
        case WATCHING_NOTHING:
            break;
        case WATCHING_END:
            if (session_interrupted()) {
                return true;
            }
            (void)fprintf(stderr, "watcher: %s\n", w->watching.failure.message);
            return false;
        }
    }
}

enum {
    OPTION_ADDR = 1,
    OPTION_TOKEN,
    OPTION_OUT,
    OPTION_REGION,
    OPTION_SINCE,
    OPTION_SEED,
    OPTION_RESTLESS,
    OPTION_SLOW,
    OPTION_LATEST
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct watcher *w = state->input;

    switch (key) {
    case OPTION_ADDR:
        w->addr = value;
        return 0;
    case OPTION_TOKEN:
        w->token = value;
        return 0;
    case OPTION_OUT:
        w->out = value;
        return 0;
    case OPTION_REGION:
        w->region = value;
        return 0;
    case OPTION_SINCE:
        w->since = value;
        return 0;
    case OPTION_SEED:
        w->seed = strtoull(value, NULL, 10);
        return 0;
    case OPTION_RESTLESS:
        w->restless = true;
        return 0;
    case OPTION_SLOW:
        w->slow = true;
        return 0;
    case OPTION_LATEST:
        w->latest = true;
        w->pace_ms = (uint32_t)strtoul(value, NULL, 10);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"addr", OPTION_ADDR, "LIST", 0, "the edges", 0},
        {"token", OPTION_TOKEN, "TOKEN", 0, "with the scope watch", 0},
        {"out", OPTION_OUT, "FILE", 0, "what was shown", 0},
        {"region", OPTION_REGION, "CODE", 0, "only of this region", 0},
        {"since", OPTION_SINCE, "CURSOR", 0, "from there on", 0},
        {"seed", OPTION_SEED, "N", 0, "of its choices [1]", 0},
        {"restless", OPTION_RESTLESS, NULL, 0, "breaks off at random", 0},
        {"slow", OPTION_SLOW, NULL, 0, "stops reading at random", 0},
        {"latest", OPTION_LATEST, "PACE_MS", 0, "with the policy LATEST", 0},
        {0},
    };
    static const struct argp argp = {.options = options, .parser = parse_option};
    static struct watcher w = {.region = "", .since = "", .seed = 1};

    (void)argp_parse(&argp, argc, argv, 0, NULL, &w);
    if (w.addr == NULL || w.token == NULL || w.out == NULL) {
        (void)fprintf(stderr, "watcher: --addr, --token and --out are needed\n");
        return 2;
    }
    w.file = fopen(w.out, "w");
    FLY_CHECK(w.file != NULL);
    if (w.latest) {
        (void)fputs("L\n", w.file);
    }
    fly_rng_seed(&w.rng, w.seed);
    w.begin = (unsigned)w.seed;
    FLY_CHECK(sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL) == 0);
    begin(&w, w.since);
    bool ok = run(&w);
    end(&w);
    (void)fclose(w.file);
    (void)printf("{\"events\": %" PRIu64 ", \"resets\": %" PRIu64 ", \"broken\": %" PRIu64
                 ", \"lost\": %" PRIu64 ", \"twice\": %" PRIu64 ", \"skipped\": %" PRIu64 "}\n",
                 w.events, w.resets, w.broken, w.lost, w.twice, w.skipped);
    return ok ? 0 : 1;
}
