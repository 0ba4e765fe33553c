/*
 * liar - a hostile publisher at a member's address: seals with the group's key, which a state
 * folder gives it, and tells lies about other members' slices; in turns with that, as an outsider
 * without the key, garbage.
 *
 *   fly_liar --state DIR --url tcp://ADDRESS:PORT SLICE:INCARNATION:SEQ...
 *
 * What it tells of each slice: a VM that fills a machine, as the next event; a heartbeat far ahead;
 * another incarnation; bytes that mean nothing. SIGTERM ends it, with a line of counters.
 */
#include <argp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "node/identity.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/feed/feed.h"
#include "proto/wire/cursors.h"
#include "proto/wire/event.h"

enum { TARGETS_MAX = 16, TURN_MS = 3000, PAUSE_US = 2000, NOISE_SIZE = 200 };

struct liar {
    const char *state;
    const char *url;
    struct cursors targets[TARGETS_MAX];
    uint32_t target_count;
    struct seal_ring ring;    /* the group's */
    struct seal_ring foreign; /* nobody's */
    struct fly_rng rng;
    uint64_t lies;
    uint64_t garbage;
    uint64_t connections;
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static struct fly_bytes lie(struct liar *l, const struct cursor *at,
                            uint8_t out[static EVENT_HEAD_BYTES_MAX + EVENT_BODY_BYTES_MAX])
{
    uint64_t seq = at->seq + 1 + fly_rng_below(&l->rng, 3);
    struct event e = {.seq = seq,
                      .type = EVENT_VM_STARTED,
                      .time_ms = fly_clock_wall_ms(),
                      .vm = seq << 24 | at->slice,
                      .name = "early-raven-5448",
                      .machine = "sin-0",
                      .region = "SIN",
                      .cores = 16};
    size_t size = 0;

    switch (fly_rng_below(&l->rng, 4)) {
    case 0:
        size = event_head_encode(at->slice, at->incarnation, seq, seq, out);
        size += event_encode(&e, out + size);
        break;
    case 1:
        size = event_heartbeat_encode(at->slice, at->incarnation, at->seq + 1000000, out);
        break;
    case 2:
        size = event_heartbeat_encode(at->slice, at->incarnation ^ 1, at->seq, out);
        break;
    default:
        size = NOISE_SIZE;
        fly_rng_fill(&l->rng, out, size);
        break;
    }
    return (struct fly_bytes){.data = out, .size = size};
}

/* One turn, as a member or as a stranger. */
static uint64_t publish(struct liar *l, const struct seal_ring *ring)
{
    uint8_t bytes[EVENT_HEAD_BYTES_MAX + EVENT_BODY_BYTES_MAX];
    struct feed_publisher *p = NULL;
    struct feed_counters counters;
    struct fly_error error = {0};
    int64_t until_ms = fly_clock_boot_ms() + TURN_MS;
    uint64_t count = 0;

    while (stopped == 0 && fly_clock_boot_ms() < until_ms) {
        if (p == NULL &&
            feed_publisher_create(&p, l->url, ring, fly_rng_next(&l->rng), &error) != FLY_OK) {
            p = NULL; /* the port is not free yet */
        } else {
            const struct cursors *target = &l->targets[fly_rng_below(&l->rng, l->target_count)];
            feed_publish(p, lie(l, &target->at[0], bytes));
            count++;
        }
        (void)usleep(PAUSE_US);
    }
    if (p != NULL) {
        feed_publisher_counters(p, &counters);
        l->connections += counters.opened;
        feed_publisher_destroy(p);
    }
    return count;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    struct liar *l = state->input;

    switch (key) {
    case 's':
        l->state = value;
        return 0;
    case 'u':
        l->url = value;
        return 0;
    case ARGP_KEY_ARG:
        if (l->target_count == TARGETS_MAX ||
            !cursors_parse(value, &l->targets[l->target_count++])) {
            argp_error(state, "%s is not SLICE:INCARNATION:SEQ", value);
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"state", 's', "DIR", 0, "of a member that does not run", 0},
        {"url", 'u', "URL", 0, "where that member published", 0},
        {0},
    };
    static const struct argp argp = {.options = options, .parser = parse_option};
    static struct identity identity;
    static struct liar l;
    struct seal_ring nobody;
    struct fly_error error = {0};
    uint64_t seed = 0;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &l);
    FLY_CHECK(sodium_init() >= 0);
    if (l.state == NULL || l.url == NULL || l.target_count == 0 ||
        identity_open_made(l.state, fly_clock_wall_ms(), &identity, &error) != FLY_OK) {
        (void)fprintf(stderr, "liar: --state, --url and a slice are needed %s\n", error.text);
        return 2;
    }
    randombytes_buf(&seed, sizeof seed);
    fly_rng_seed(&l.rng, seed);
    nobody = identity.group;
    randombytes_buf(nobody.keys, sizeof nobody.keys);
    seal_ring_derive(&l.ring, &identity.group, SEAL_FEED, identity.record.id);
    seal_ring_derive(&l.foreign, &nobody, SEAL_FEED, identity.record.id);
    FLY_CHECK(sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL) == 0);
    while (stopped == 0) {
        l.lies += publish(&l, &l.ring);
        l.garbage += publish(&l, &l.foreign);
    }
    identity_close(&identity);
    (void)printf("{\"lies\": %" PRIu64 ", \"garbage\": %" PRIu64 ", \"connections\": %" PRIu64
                 "}\n",
                 l.lies, l.garbage, l.connections);
    return 0;
}
