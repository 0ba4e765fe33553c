/*
 * churn - a bulk load: clients that launch and destroy through the client library, over killed
 * owners and edges, without keeping histories (chaos.c does).
 *
 *   fly_churn --addr LIST --token TOKEN --regions SIN,DEN [--clients N] [--events N] [--rate N]
 *             [--ms N]
 *
 * Each client launches a VM and destroys it, again and again, until all clients together made so
 * many events, or for so long; --rate is of events a second of all together, 0: as fast as it goes.
 * What fails is counted and left. Prints a line of counters. Exits 0 if the events were made.
 */
#include <argp.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/address.h"
#include "client/lib/launching.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { CLIENTS_MAX = 128, REGIONS_MAX = 8, LIST_SIZE = 1024, CALL_MS = 5000, PAUSE_MS = 50 };

struct churn {
    const char *addr;
    const char *token;
    char regions[REGIONS_MAX][16];
    unsigned region_count;
    unsigned clients;
    uint64_t events;
    uint64_t rate_per_s;
    int64_t ms;
    int64_t begun_ms;
    atomic_uint_fast64_t made;
    atomic_uint_fast64_t failed;
};

struct client {
    struct churn *churn;
    unsigned number;
    char edges[LIST_SIZE];
    pthread_t thread;
};

/* The list of edges, beginning with another one for each client. */
static void turn_list(struct client *c)
{
    char urls[ADDRESS_LIST_MAX][ADDRESS_URL_SIZE];
    const char *list = c->churn->addr;
    unsigned count = 0;
    size_t used = 0;

    while (count < ADDRESS_LIST_MAX && address_next(&list, urls[count])) {
        count++;
    }
    FLY_CHECK(count > 0);
    for (unsigned i = 0; i < count; i++) {
        used += (size_t)snprintf(c->edges + used, sizeof c->edges - used, "%s%s", i > 0 ? "," : "",
                                 urls[(c->number + i) % count]);
    }
}

static bool over(struct churn *churn)
{
    return (churn->events != 0 && atomic_load(&churn->made) >= churn->events) ||
           (churn->ms != 0 && fly_clock_boot_ms() >= churn->begun_ms + churn->ms);
}

static void pace(struct churn *churn)
{
    uint64_t made = atomic_load(&churn->made);

    if (churn->rate_per_s != 0) {
        int64_t due_ms = churn->begun_ms + (int64_t)(made * 1000 / churn->rate_per_s);
        int64_t left_ms = due_ms - fly_clock_boot_ms();
        if (left_ms > 0) {
            (void)session_pause(left_ms);
        }
    }
}

static bool destroy(struct session *session, const char *id)
{
    Fly__V1__DestroyRequest request = FLY__V1__DESTROY_REQUEST__INIT;
    struct rpc_reply reply = {0};
    struct failure failure = {0};

    request.vm = (char *)(uintptr_t)id;
    bool done = session_call_again(session, &rpc_edge_destroy, &request.base, CALL_MS, &reply,
                                   &failure) == FLY_OK;
    rpc_reply_fini(&reply);
    failure_fini(&failure);
    return done;
}

static void *run(void *user)
{
    struct client *c = user;
    struct churn *churn = c->churn;
    struct session session;

    turn_list(c);
    session_init(&session, c->edges, churn->token);
    for (unsigned turn = c->number; !over(churn); turn++) {
        const struct launching_spec spec = {.region = churn->regions[turn % churn->region_count],
                                            .cores = 1,
                                            .memory_bytes = 1000000000,
                                            .name = "",
                                            .timeout_ms = CALL_MS};
        struct launching_result result = {0};
        pace(churn);
        launching_run(&session, &spec, &result);
        bool launched = result.end == OUTCOME_OK;
        bool destroyed = launched && destroy(&session, result.launched->vm->id);
        (void)atomic_fetch_add(&churn->made, (uint64_t)launched + destroyed);
        if (!destroyed) {
            (void)atomic_fetch_add(&churn->failed, 1);
            (void)session_pause(PAUSE_MS);
        }
        launching_result_fini(&result);
    }
    session_fini(&session);
    return NULL;
}

enum { KEY_ADDR = 1, KEY_TOKEN, KEY_REGIONS, KEY_CLIENTS, KEY_EVENTS, KEY_RATE, KEY_MS };

static void take_regions(struct churn *churn, const char *list)
{
    while (*list != '\0' && churn->region_count < REGIONS_MAX) {
        size_t size = strcspn(list, ",");
        FLY_CHECK(size > 0 && size < sizeof churn->regions[0]);
        memcpy(churn->regions[churn->region_count++], list, size);
        list += size + (list[size] == ',');
    }
}

static error_t take(int key, char *value, struct argp_state *state)
{
    struct churn *churn = state->input;

    switch (key) {
    case KEY_ADDR:
        churn->addr = value;
        return 0;
    case KEY_TOKEN:
        churn->token = value;
        return 0;
    case KEY_REGIONS:
        take_regions(churn, value);
        return 0;
    case KEY_CLIENTS:
        churn->clients = (unsigned)strtoul(value, NULL, 10);
        return 0;
    case KEY_EVENTS:
        churn->events = strtoull(value, NULL, 10);
        return 0;
    case KEY_RATE:
        churn->rate_per_s = strtoull(value, NULL, 10);
        return 0;
    case KEY_MS:
        churn->ms = strtoll(value, NULL, 10);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"addr", KEY_ADDR, "LIST", 0, "the edges", 0},
        {"token", KEY_TOKEN, "TOKEN", 0, "with regions, launch and destroy", 0},
        {"regions", KEY_REGIONS, "LIST", 0, "where to launch, in turn", 0},
        {"clients", KEY_CLIENTS, "N", 0, "that call at the same time [32]", 0},
        {"events", KEY_EVENTS, "N", 0, "until there are so many", 0},
        {"rate", KEY_RATE, "N", 0, "events a second, of all together", 0},
        {"ms", KEY_MS, "N", 0, "for so long at most", 0},
        {0},
    };
    static const struct argp argp = {.options = options, .parser = take};
    static struct churn churn = {.clients = 32};
    static struct client clients[CLIENTS_MAX];

    (void)argp_parse(&argp, argc, argv, 0, NULL, &churn);
    if (churn.addr == NULL || churn.token == NULL || churn.region_count == 0 ||
        churn.clients == 0 || churn.clients > CLIENTS_MAX || (churn.events == 0 && churn.ms == 0)) {
        (void)fprintf(stderr, "churn: --addr, --token, --regions, and --events or --ms\n");
        return 2;
    }
    churn.begun_ms = fly_clock_boot_ms();
    for (unsigned i = 0; i < churn.clients; i++) {
        clients[i] = (struct client){.churn = &churn, .number = i};
        FLY_CHECK(pthread_create(&clients[i].thread, NULL, run, &clients[i]) == 0);
    }
    for (unsigned i = 0; i < churn.clients; i++) {
        (void)pthread_join(clients[i].thread, NULL);
    }
    uint64_t made = atomic_load(&churn.made);
    int64_t took_ms = fly_clock_boot_ms() - churn.begun_ms;
    (void)printf("{\"events\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"ms\": %" PRId64
                 ", \"events_per_s\": %" PRIu64 "}\n",
                 made, (uint64_t)atomic_load(&churn.failed), took_ms,
                 took_ms > 0 ? made * 1000 / (uint64_t)took_ms : 0);
    return made >= churn.events ? 0 : 1;
}
