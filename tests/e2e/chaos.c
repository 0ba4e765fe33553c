/*
 * chaos - clients that launch, destroy and cancel through the client library while somebody else
 * kills and stops the nodes; what they are told goes into histories for the auditor.
 *
 *   fly_chaos --addr URL[,URL...] [--ca FILE] --tokens FILE --dir DIR --regions SIN,DEN [--keep N]
 *             [--seed S]
 *
 * FILE has a line `subject token` for each client. Commands on stdin: `go N` releases N launches;
 * when each of them was answered for, a line {"done": …} with the counters follows. End of file:
 * what is in doubt is settled, by another try or a cancel; then a last such line, and the end.
 *
 * Each client starts at another of the edges and goes to the others when one fails it. It keeps a
 * key until it is OK or in doubt (a region that is full is made room in, with an own VM); a launch
 * that certainly was not done is tried again with a fresh key, one in doubt with the same, or put
 * aside for the end. Clients use the same texts as keys: they are different subjects. Exits 0, or 1
 * after an answer that no fault explains, or a key that nobody answered for within two minutes.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/lib/settings.h"
#include "proto/base/check.h"
#include "tests/e2e/chaos_client.h"

static void print_counters(struct chaos *chaos)
{
    struct chaos_counters *n = &chaos->counters;
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
        {"fresh", atomic_load(&n->fresh)},
        {"moved", atomic_load(&n->moved)},
        {"aside", atomic_load(&n->aside)},
        {"settled", atomic_load(&n->settled)},
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

/* The list, beginning with its number `first` (modulo their count). */
static void rotate(const char *list, unsigned first, char out[static CHAOS_TEXT_SIZE])
{
    char urls[ADDRESS_LIST_MAX][ADDRESS_URL_SIZE];
    unsigned count = 0;
    size_t used = 0;

    while (count < ADDRESS_LIST_MAX && address_next(&list, urls[count])) {
        count++;
    }
    for (unsigned i = 0; i < count; i++) {
        used += (size_t)snprintf(out + used, CHAOS_TEXT_SIZE - used, "%s%s", i > 0 ? "," : "",
                                 urls[(first + i) % count]);
    }
}

static unsigned open_clients(struct chaos *chaos, struct chaos_client *clients)
{
    unsigned number = 0;
    FILE *file = fopen(chaos->tokens, "r");

    if (file == NULL) {
        (void)fprintf(stderr, "chaos: %s: %s\n", chaos->tokens, strerror(errno));
        exit(2);
    }
    while (number < CHAOS_CLIENTS_MAX) {
        struct chaos_client *c = &clients[number];
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
        rotate(chaos->edges, number, c->edges);
        session_init(&c->session, c->edges, c->token);
        c->session.ca_pem = chaos->ca_pem[0] != '\0' ? chaos->ca_pem : NULL;
        number++;
    }
    (void)fclose(file);
    return number;
}

enum {
    OPTION_ADDR = 1,
    OPTION_CA,
    OPTION_TOKENS,
    OPTION_DIR,
    OPTION_REGIONS,
    OPTION_KEEP,
    OPTION_SEED
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct chaos *chaos = state->input;

    switch (key) {
    case OPTION_ADDR: {
        size_t used = strlen(chaos->edges);
        (void)snprintf(chaos->edges + used, sizeof chaos->edges - used, "%s%s", used > 0 ? "," : "",
                       value);
        return 0;
    }
    case OPTION_CA: {
        struct fly_error error = {0};
        if (settings_read_ca(value, chaos->ca_pem, &error) != FLY_OK) {
            argp_error(state, "%s", error.text);
        }
        return 0;
    }
    case OPTION_TOKENS:
        chaos->tokens = value;
        return 0;
    case OPTION_DIR:
        chaos->dir = value;
        return 0;
    case OPTION_REGIONS:
        for (char *at = strsep(&value, ","); at != NULL; at = strsep(&value, ",")) {
            FLY_CHECK(chaos->region_count < CHAOS_REGIONS_MAX);
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
        {"addr", OPTION_ADDR, "URL", 0, "an edge; several with commas, or again", 0},
        {"ca", OPTION_CA, "FILE", 0, "the cluster's TLS certificate", 0},
        {"tokens", OPTION_TOKENS, "FILE", 0, "a line `subject token` for each client", 0},
        {"dir", OPTION_DIR, "DIR", 0, "for the histories", 0},
        {"regions", OPTION_REGIONS, "LIST", 0, "region codes, with commas", 0},
        {"keep", OPTION_KEEP, "N", 0, "VMs that a client keeps before it destroys [10]", 0},
        {"seed", OPTION_SEED, "N", 0, "of the clients' choices [1]", 0},
        {0},
    };
    static const struct argp argp = {.options = options, .parser = parse_option};
    static struct chaos_client clients[CHAOS_CLIENTS_MAX];
    static struct chaos chaos = {.keep = 10,
                                 .seed = 1,
                                 .lock = PTHREAD_MUTEX_INITIALIZER,
                                 .changed = PTHREAD_COND_INITIALIZER};

    (void)argp_parse(&argp, argc, argv, 0, NULL, &chaos);
    if (chaos.edges[0] == '\0' || chaos.tokens == NULL || chaos.dir == NULL ||
        chaos.region_count == 0 || chaos.keep >= CHAOS_LIVE_MAX) {
        (void)fprintf(stderr, "chaos: --addr, --tokens, --dir and --regions are needed\n");
        return 2;
    }
    unsigned client_count = open_clients(&chaos, clients);
    for (unsigned i = 0; i < client_count; i++) {
        FLY_CHECK(pthread_create(&clients[i].thread, NULL, chaos_client_run, &clients[i]) == 0);
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
