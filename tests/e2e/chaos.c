/*
 * chaos - clients that launch, destroy and cancel through the client library while somebody else
 * kills and stops the node; what they are told goes into histories for the auditor.
 *
 *   fly_chaos --addr URL --tokens FILE --dir DIR [--regions SIN,DEN] [--keep N] [--seed S]
 *
 * FILE has a line `subject token` for each client. Commands on stdin: `go N` releases N launches;
 * when each of them was answered for, a line {"done": …} with the counters follows. End of file:
 * a last such line, and the end.
 *
 * Each client keeps a key until it is OK (a region that is full is made room in, with an own VM)
 * and writes DIR/history.<n> (audit_history.h), one write(2) a line, before its next step. Clients
 * use the same texts as keys: they are different subjects. Exits 0, or 1 after an answer that no
 * fault explains, or a key that nobody answered for within two minutes.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/lib/exits.h"
#include "client/lib/launching.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum {
    CLIENTS_MAX = 64,
    REGIONS_MAX = 16,
    LIVE_MAX = 256,
    TEXT_SIZE = 4096,
    PATIENCE_MS = 120 * 1000, /* for one key */
    DESTROY_MS = 1500,
};

struct counters {
    atomic_uint_fast64_t launched, attempts, tries, unknown, not_done, unreachable, full, replayed,
        destroyed, destroy_retries, cancelled, cancelled_late;
};

struct chaos {
    const char *addr;
    const char *tokens;
    const char *dir;
    char *regions[REGIONS_MAX];
    size_t region_count;
    unsigned keep;
    uint64_t seed;
    struct counters counters;
    atomic_bool failed;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    unsigned starving; /* clients that wait for room and have nothing to give up */
    uint64_t released;
    uint64_t taken;
    uint64_t done;
    bool ended;
};

struct client {
    struct chaos *chaos;
    unsigned number;
    pthread_t thread;
    struct session session;
    struct fly_rng rng;
    char subject[64];
    char token[TEXT_SIZE];
    int history;
    unsigned keys; /* texts used */
    unsigned live_count;
    char live[LIVE_MAX][16]; /* ids, oldest first */
};

static void count(atomic_uint_fast64_t *counter, uint64_t by)
{
    (void)atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

static void surprise(struct client *c, const char *what, const struct failure *failure)
{
    (void)fprintf(stderr, "chaos: client %u: %s: %s %s %s\n", c->number, what,
                  failure != NULL ? fly_status_name(failure->status) : "",
                  failure != NULL ? reason_name(failure->reason) : "",
                  failure != NULL ? failure->message : "");
    atomic_store(&c->chaos->failed, true);
}

static bool failed(const struct client *c)
{
    return atomic_load(&c->chaos->failed);
}

/* Takes the line over. */
static void tell(struct client *c, json_t *line)
{
    char text[TEXT_SIZE];

    FLY_CHECK(line != NULL);
    (void)json_object_set_new(line, "at_ms", json_integer(fly_clock_wall_ms()));
    size_t size = json_dumpb(line, text, sizeof text - 1, JSON_COMPACT | JSON_PRESERVE_ORDER);
    FLY_CHECK(size > 0 && size < sizeof text);
    text[size] = '\n';
    FLY_CHECK(write(c->history, text, size + 1) == (ssize_t)size + 1);
    json_decref(line);
}

static const char *outcome_name(enum outcome_step end)
{
    return end == OUTCOME_OK ? "OK" : end == OUTCOME_NOT_DONE ? "NOT_DONE" : "UNKNOWN";
}

/* ---- one call each ---- */

/* One run of the library, written down. */
static void launch_once(struct client *c, const struct launching_spec *spec,
                        struct launching_result *result)
{
    struct counters *counters = &c->chaos->counters;
    char key[FLY_KEY_TEXT_SIZE];

    launching_run(&c->session, spec, result);
    count(&counters->attempts, 1);
    count(&counters->tries, result->tries);
    if (!result->has_key) {
        count(&counters->unreachable, 1);
        return;
    }
    key_format(&result->key, key);
    json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:s, s:i}", "call", "launch",
                             "subject", c->subject, "key", key, "region", spec->region, "cores",
                             (int)spec->cores, "memory_bytes", (json_int_t)spec->memory_bytes,
                             "outcome", outcome_name(result->end), "tries", (int)result->tries);
    FLY_CHECK(line != NULL);
    if (result->end == OUTCOME_OK) {
        (void)json_object_set_new(line, "id", json_string(result->launched->vm->id));
        (void)json_object_set_new(line, "machine", json_string(result->launched->vm->machine));
        (void)json_object_set_new(line, "replayed", json_boolean(result->launched->replayed));
    } else {
        count(result->end == OUTCOME_UNKNOWN ? &counters->unknown : &counters->not_done, 1);
        (void)json_object_set_new(line, "status",
                                  json_string(fly_status_name(result->failure.status)));
        (void)json_object_set_new(line, "reason", json_string(reason_name(result->failure.reason)));
        (void)json_object_set_new(line, "text", json_string(result->failure.message));
    }
    tell(c, line);
}

/* Until it is answered for. False: it never was. */
static bool destroy(struct client *c, const char *id)
{
    int64_t until = fly_clock_boot_ms() + PATIENCE_MS;
    Fly__V1__DestroyRequest request = FLY__V1__DESTROY_REQUEST__INIT;

    request.vm = (char *)(uintptr_t)id;
    while (!failed(c) && fly_clock_boot_ms() < until) {
        struct rpc_reply reply = {0};
        struct failure failure = {0};
        enum fly_status status = session_call_again(&c->session, &rpc_edge_destroy, &request.base,
                                                    DESTROY_MS, &reply, &failure);
        bool strange = status == FLY_NOT_FOUND || status == FLY_PERMISSION_DENIED ||
                       status == FLY_INVALID_ARGUMENT || status == FLY_INTERNAL;
        tell(c, json_pack("{s:s, s:s, s:s}", "call", "destroy", "id", id, "outcome",
                          status == FLY_OK ? "OK" : "UNKNOWN"));
        if (strange) {
            surprise(c, "destroy", &failure);
        }
        rpc_reply_fini(&reply);
        failure_fini(&failure);
        if (status == FLY_OK) {
            count(&c->chaos->counters.destroyed, 1);
            return true;
        }
        count(&c->chaos->counters.destroy_retries, 1);
        (void)session_pause(30);
    }
    if (!failed(c)) {
        surprise(c, "nobody answered for a destroy", NULL);
    }
    return false;
}

static bool destroy_oldest(struct client *c)
{
    char id[16];

    (void)fly_copy_string(id, sizeof id, c->live[0]);
    memmove(c->live[0], c->live[1], sizeof c->live[0] * --c->live_count);
    return destroy(c, id);
}

/* ---- one key ---- */

static void choose_spec(struct client *c, struct launching_spec *spec)
{
    struct chaos *chaos = c->chaos;
    char text[64];

    *spec = (struct launching_spec){.region =
                                        chaos->regions[fly_rng_below(&c->rng, chaos->region_count)],
                                    .cores = 1 + (uint32_t)fly_rng_below(&c->rng, 3),
                                    .memory_bytes = (1 + fly_rng_below(&c->rng, 6)) * 1000000000,
                                    .name = "",
                                    .key_given = fly_rng_chance(&c->rng, 500)};
    if (spec->key_given) {
        (void)snprintf(text, sizeof text, "order-%u", ++c->keys);
        FLY_CHECK(key_from_text(text, &spec->key));
    }
}

/* Waits for room that others make: those without work give up VMs meanwhile. */
static void starve(struct client *c)
{
    struct chaos *chaos = c->chaos;

    (void)pthread_mutex_lock(&chaos->lock);
    chaos->starving++;
    (void)pthread_cond_broadcast(&chaos->changed);
    (void)pthread_mutex_unlock(&chaos->lock);
    (void)session_pause(10 + (int64_t)fly_rng_below(&c->rng, 40));
    (void)pthread_mutex_lock(&chaos->lock);
    chaos->starving--;
    (void)pthread_mutex_unlock(&chaos->lock);
}

/* What a refusal asks for. False: no fault explains it. */
static bool make_way(struct client *c, const struct failure *failure)
{
    switch (failure->reason) {
    case FLY__V1__REASON__REASON_REGION_FULL:
        count(&c->chaos->counters.full, 1);
        if (c->live_count > 0) {
            return destroy_oldest(c);
        }
        starve(c);
        return true;
    case FLY__V1__REASON__REASON_NONE:
    case FLY__V1__REASON__REASON_OWNER_UNREACHABLE:
    case FLY__V1__REASON__REASON_BUSY:
    case FLY__V1__REASON__REASON_JOURNAL:
    case FLY__V1__REASON__REASON_OVERLOADED:
    case FLY__V1__REASON__REASON_STOPPING:
    case FLY__V1__REASON__REASON_RATE:
        if (failure->reason == FLY__V1__REASON__REASON_NONE && failure->connected &&
            failure->status != FLY_UNAVAILABLE && failure->status != FLY_DEADLINE_EXCEEDED) {
            return false;
        }
        (void)session_pause(20 + (int64_t)fly_rng_below(&c->rng, 60));
        return true;
    default:
        return false;
    }
}

/* The same key once more must be the same VM. */
static void launch_again(struct client *c, struct launching_spec *spec, const char *id)
{
    struct launching_result result;

    spec->timeout_ms = 1000;
    launch_once(c, spec, &result);
    if (result.end == OUTCOME_OK &&
        (!result.launched->replayed || strcmp(result.launched->vm->id, id) != 0)) {
        surprise(c, "the same key again was another VM, or not marked replayed", NULL);
    }
    launching_result_fini(&result);
}

static void launched(struct client *c, struct launching_spec *spec, const char *id, bool replayed)
{
    count(&c->chaos->counters.launched, 1);
    count(&c->chaos->counters.replayed, replayed ? 1 : 0);
    FLY_CHECK(c->live_count < LIVE_MAX);
    (void)fly_copy_string(c->live[c->live_count++], sizeof c->live[0], id);
    if (fly_rng_chance(&c->rng, 30)) {
        launch_again(c, spec, id);
    }
    while (!failed(c) && c->live_count > c->chaos->keep) {
        (void)destroy_oldest(c);
    }
}

static void launch(struct client *c)
{
    int64_t until = fly_clock_boot_ms() + PATIENCE_MS;
    struct launching_spec spec;
    char id[16];

    choose_spec(c, &spec);
    while (!failed(c)) {
        struct launching_result result;
        spec.timeout_ms = 300 + (int64_t)fly_rng_below(&c->rng, 2000);
        launch_once(c, &spec, &result);
        enum outcome_step end = result.end;
        if (result.has_key) {
            spec.key_given = true;
            spec.key = result.key;
        }
        if (end == OUTCOME_OK) {
            (void)fly_copy_string(id, sizeof id, result.launched->vm->id);
            launched(c, &spec, id, result.launched->replayed);
        } else if (end == OUTCOME_NOT_DONE && !make_way(c, &result.failure)) {
            surprise(c, "launch", &result.failure);
        }
        launching_result_fini(&result);
        if (end == OUTCOME_OK) {
            return;
        }
        if (fly_clock_boot_ms() > until) {
            surprise(c, "nobody answered for a launch", NULL);
        }
    }
}

/* A launch that hardly has the time, then a cancel that settles it: either there is a VM, which is
 * destroyed, or there never will be one. */
static void cancel(struct client *c)
{
    int64_t until = fly_clock_boot_ms() + PATIENCE_MS;
    Fly__V1__CancelRequest request = FLY__V1__CANCEL_REQUEST__INIT;
    struct launching_spec spec;
    struct launching_result result;
    char key[FLY_KEY_TEXT_SIZE];

    choose_spec(c, &spec);
    if (!spec.key_given) {
        (void)snprintf(key, sizeof key, "never-%u", ++c->keys);
        FLY_CHECK(key_from_text(key, &spec.key));
        spec.key_given = true;
    }
    if (fly_rng_chance(&c->rng, 700)) {
        spec.timeout_ms = 1 + (int64_t)fly_rng_below(&c->rng, 4);
        launch_once(c, &spec, &result);
        launching_result_fini(&result);
    }
    key_format(&spec.key, key);
    request.key = (ProtobufCBinaryData){sizeof spec.key.bytes, spec.key.bytes};
    enum fly_status status = FLY_UNKNOWN;
    while (!failed(c) && status != FLY_OK && fly_clock_boot_ms() < until) {
        struct rpc_reply reply = {0};
        struct failure failure = {0};
        status = session_call_again(&c->session, &rpc_edge_cancel, &request.base, DESTROY_MS,
                                    &reply, &failure);
        const Fly__V1__CancelReply *answer = (const Fly__V1__CancelReply *)reply.message;
        bool there = status == FLY_OK && answer->launched;
        tell(c,
             json_pack("{s:s, s:s, s:s, s:s, s:b}", "call", "cancel", "subject", c->subject, "key",
                       key, "outcome", status == FLY_OK ? "OK" : "UNKNOWN", "launched", there));
        if (there) {
            char id[16];
            (void)fly_copy_string(id, sizeof id, answer->vm->id);
            count(&c->chaos->counters.cancelled_late, 1);
            (void)destroy(c, id);
        }
        rpc_reply_fini(&reply);
        failure_fini(&failure);
    }
    count(&c->chaos->counters.cancelled, 1);
    if (status != FLY_OK && !failed(c)) {
        surprise(c, "nobody answered for a cancel", NULL);
    }
}

/* ---- clients ---- */

static bool take_turn(struct client *c)
{
    struct chaos *chaos = c->chaos;

    (void)pthread_mutex_lock(&chaos->lock);
    while (!chaos->ended && chaos->taken == chaos->released) {
        if (chaos->starving > 0 && c->live_count > 0 && !failed(c)) {
            (void)pthread_mutex_unlock(&chaos->lock);
            (void)destroy_oldest(c);
            (void)pthread_mutex_lock(&chaos->lock);
        } else {
            (void)pthread_cond_wait(&chaos->changed, &chaos->lock);
        }
    }
    bool mine = chaos->taken < chaos->released;
    chaos->taken += mine ? 1 : 0;
    (void)pthread_mutex_unlock(&chaos->lock);
    return mine;
}

static void *run_client(void *user)
{
    struct client *c = user;

    while (take_turn(c)) {
        if (!failed(c)) {
            launch(c);
        }
        if (!failed(c) && fly_rng_chance(&c->rng, 20)) {
            cancel(c);
        }
        (void)pthread_mutex_lock(&c->chaos->lock);
        c->chaos->done++;
        (void)pthread_cond_broadcast(&c->chaos->changed);
        (void)pthread_mutex_unlock(&c->chaos->lock);
    }
    session_fini(&c->session);
    return NULL;
}

static void print_counters(struct chaos *chaos)
{
    struct counters *n = &chaos->counters;
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"done", chaos->done},
        {"launched", atomic_load(&n->launched)},
        {"attempts", atomic_load(&n->attempts)},
        {"tries", atomic_load(&n->tries)},
        {"unknown", atomic_load(&n->unknown)},
        {"not_done", atomic_load(&n->not_done)},
        {"unreachable", atomic_load(&n->unreachable)},
        {"full", atomic_load(&n->full)},
        {"replayed", atomic_load(&n->replayed)},
        {"destroyed", atomic_load(&n->destroyed)},
        {"destroy_retries", atomic_load(&n->destroy_retries)},
        {"cancelled", atomic_load(&n->cancelled)},
        {"cancelled_late", atomic_load(&n->cancelled_late)},
    };

    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        (void)printf("%s\"%s\": %llu", i == 0 ? "{" : ", ", rows[i].name,
                     (unsigned long long)rows[i].value);
    }
    (void)printf("}\n");
    (void)fflush(stdout);
}

static void obey(struct chaos *chaos)
{
    char line[64];

    while (fgets(line, sizeof line, stdin) != NULL) {
        unsigned long long more = 0;
        FLY_CHECK(sscanf(line, "go %llu", &more) == 1);
        (void)pthread_mutex_lock(&chaos->lock);
        chaos->released += more;
        (void)pthread_cond_broadcast(&chaos->changed);
        while (chaos->done < chaos->released) {
            (void)pthread_cond_wait(&chaos->changed, &chaos->lock);
        }
        (void)pthread_mutex_unlock(&chaos->lock);
        if (atomic_load(&chaos->failed)) {
            break;
        }
        print_counters(chaos);
    }
    (void)pthread_mutex_lock(&chaos->lock);
    chaos->ended = true;
    (void)pthread_cond_broadcast(&chaos->changed);
    (void)pthread_mutex_unlock(&chaos->lock);
}

static unsigned open_clients(struct chaos *chaos, struct client *clients)
{
    unsigned number = 0;
    FILE *file = fopen(chaos->tokens, "r");

    if (file == NULL) {
        (void)fprintf(stderr, "chaos: %s: %s\n", chaos->tokens, strerror(errno));
        exit(2);
    }
    while (number < CLIENTS_MAX) {
        struct client *c = &clients[number];
        char path[512];
        if (fscanf(file, "%63s %4095s", c->subject, c->token) != 2) {
            break;
        }
        c->chaos = chaos;
        c->number = number;
        fly_rng_seed(&c->rng, chaos->seed + number);
        (void)snprintf(path, sizeof path, "%s/history.%u", chaos->dir, number);
        c->history = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        FLY_CHECK(c->history >= 0);
        session_init(&c->session, chaos->addr, c->token);
        number++;
    }
    (void)fclose(file);
    return number;
}

enum { OPTION_ADDR = 1, OPTION_TOKENS, OPTION_DIR, OPTION_REGIONS, OPTION_KEEP, OPTION_SEED };

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct chaos *chaos = state->input;

    switch (key) {
    case OPTION_ADDR:
        chaos->addr = value;
        return 0;
    case OPTION_TOKENS:
        chaos->tokens = value;
        return 0;
    case OPTION_DIR:
        chaos->dir = value;
        return 0;
    case OPTION_REGIONS:
        for (char *at = strsep(&value, ","); at != NULL; at = strsep(&value, ",")) {
            FLY_CHECK(chaos->region_count < REGIONS_MAX);
            chaos->regions[chaos->region_count++] = at;
        }
        return 0;
    case OPTION_KEEP:
        chaos->keep = (unsigned)strtoul(value, NULL, 10);
        return 0;
    case OPTION_SEED:
        chaos->seed = strtoull(value, NULL, 10);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"addr", OPTION_ADDR, "URL", 0, "the node", 0},
        {"tokens", OPTION_TOKENS, "FILE", 0, "a line `subject token` for each client", 0},
        {"dir", OPTION_DIR, "DIR", 0, "for the histories", 0},
        {"regions", OPTION_REGIONS, "LIST", 0, "region codes, with commas", 0},
        {"keep", OPTION_KEEP, "N", 0, "VMs that a client keeps before it destroys [10]", 0},
        {"seed", OPTION_SEED, "N", 0, "of the clients' choices [1]", 0},
        {0},
    };
    static const struct argp argp = {.options = options, .parser = parse_option};
    static struct client clients[CLIENTS_MAX];
    static struct chaos chaos = {.keep = 10,
                                 .seed = 1,
                                 .lock = PTHREAD_MUTEX_INITIALIZER,
                                 .changed = PTHREAD_COND_INITIALIZER};

    (void)argp_parse(&argp, argc, argv, 0, NULL, &chaos);
    if (chaos.addr == NULL || chaos.tokens == NULL || chaos.dir == NULL ||
        chaos.region_count == 0 || chaos.keep >= LIVE_MAX) {
        (void)fprintf(stderr, "chaos: --addr, --tokens, --dir and --regions are needed\n");
        return 2;
    }
    unsigned client_count = open_clients(&chaos, clients);
    for (unsigned i = 0; i < client_count; i++) {
        FLY_CHECK(pthread_create(&clients[i].thread, NULL, run_client, &clients[i]) == 0);
    }
    obey(&chaos);
    for (unsigned i = 0; i < client_count; i++) {
        (void)pthread_join(clients[i].thread, NULL);
        (void)close(clients[i].history);
    }
    if (client_count == 0 || atomic_load(&chaos.failed)) {
        return client_count == 0 ? 2 : 1;
    }
    print_counters(&chaos);
    return 0;
}
