/*
 * publisher - the owners of the synthetic cluster: changes of machines, numbered and sealed, on the
 * real feed. All slices speak from one socket.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/rng.h"
#include "proto/feed/feed.h"
#include "proto/wire/vmid.h"
#include "tests/bench/dash/cluster.h"

enum { MESSAGE_EVENTS = 4000, HEARTBEAT_MS = 1000, CORDONS_A_MILLE = 1 };

struct publisher {
    struct cluster *c;
    struct feed_publisher *feed;
    struct fly_rng rng;
    int64_t wall_ms;
    uint8_t message[EVENT_HEAD_BYTES_MAX + MESSAGE_EVENTS * EVENT_BODY_BYTES_MAX];
};

/* Changes one machine of the slice, in shared memory, and says so. */
static size_t change(struct publisher *p, uint32_t slice, uint64_t seq, uint8_t *out)
{
    const struct cluster *c = p->c;
    uint32_t members = (c->machines - slice + c->slices - 1) / c->slices;
    uint32_t machine = slice + c->slices * (uint32_t)fly_rng_below(&p->rng, members);
    uint16_t word = atomic_load_explicit(&c->shared->machine[machine], memory_order_relaxed);
    struct event e = {.seq = seq, .time_ms = p->wall_ms};
    uint32_t cores_free = word & (CLUSTER_CORDONED - 1);

    cluster_name(machine, e.machine);
    (void)snprintf(e.region, sizeof e.region, "%s", cluster_region(c, machine));
    if (fly_rng_chance(&p->rng, CORDONS_A_MILLE)) {
        word ^= CLUSTER_CORDONED;
        e.type = (word & CLUSTER_CORDONED) != 0 ? EVENT_MACHINE_CORDONED : EVENT_MACHINE_UNCORDONED;
        e.cores = CLUSTER_CORES;
        e.memory_bytes = CLUSTER_CORES * CLUSTER_MEMORY_A_CORE;
    } else {
        uint32_t cores = 1 + (uint32_t)fly_rng_below(&p->rng, 16);
        bool starts = cores <= cores_free &&
                      (cores_free + cores > CLUSTER_CORES || fly_rng_chance(&p->rng, 500));
        if (!starts && cores_free + cores > CLUSTER_CORES) {
            cores = CLUSTER_CORES - cores_free;
        }
        cores_free = starts ? cores_free - cores : cores_free + cores;
        word = (uint16_t)((word & CLUSTER_CORDONED) | cores_free);
        e.type = starts ? EVENT_VM_STARTED : EVENT_VM_DESTROYED;
        e.vm = vmid_make(cluster_tag(slice), seq);
        (void)snprintf(e.name, sizeof e.name, "vm-%llu", (unsigned long long)seq);
        e.cores = cores;
        e.memory_bytes = cores * CLUSTER_MEMORY_A_CORE;
        e.state = starts ? 2 : 6;
    }
    e.machine_cores_free = cores_free;
    e.machine_memory_free_bytes = cores_free * CLUSTER_MEMORY_A_CORE;
    atomic_store_explicit(&c->shared->machine[machine], word, memory_order_relaxed);
    return event_encode(&e, out);
}

static void publish(struct publisher *p, uint32_t slice, uint32_t count)
{
    atomic_uint_fast64_t *last = &p->c->shared->seq[slice];
    uint64_t from = atomic_load_explicit(last, memory_order_relaxed) + 1;
    size_t size = event_head_encode(cluster_tag(slice), CLUSTER_INCARNATION, from, from + count - 1,
                                    p->message);

    for (uint32_t i = 0; i < count; i++) {
        size += change(p, slice, from + i, p->message + size);
    }
    feed_publish(p->feed, (struct fly_bytes){p->message, size});
    atomic_store_explicit(last, from + count - 1, memory_order_release);
    atomic_fetch_add(&p->c->shared->published, count);
}

static void heartbeats(struct publisher *p)
{
    for (uint32_t s = 0; s < p->c->slices; s++) {
        size_t size = event_heartbeat_encode(cluster_tag(s), CLUSTER_INCARNATION,
                                             atomic_load(&p->c->shared->seq[s]), p->message);
        feed_publish(p->feed, (struct fly_bytes){p->message, size});
    }
}

/* What is due of `changes`, the same to each slice. */
static void batch(struct publisher *p, uint64_t changes)
{
    for (uint32_t s = 0; s < p->c->slices; s++) {
        uint64_t share = changes / p->c->slices + (s < changes % p->c->slices);
        while (share > 0) {
            uint32_t count = share < MESSAGE_EVENTS ? (uint32_t)share : MESSAGE_EVENTS;
            publish(p, s, count);
            share -= count;
        }
    }
}

_Noreturn void publisher_run(struct cluster *c, const struct publisher_config *config)
{
    struct publisher *p = calloc(1, sizeof *p);
    struct fly_error error = {0};

    FLY_CHECK(p != NULL && config->batch_ms > 0);
    p->c = c;
    fly_rng_seed(&p->rng, config->seed);
    if (feed_publisher_create(&p->feed, "tcp://127.0.0.1:0", &c->ring, config->seed, &error) !=
        FLY_OK) {
        (void)fprintf(stderr, "publisher: %s\n", error.text);
        _exit(1);
    }
    uint16_t port = feed_publisher_port(p->feed);
    FLY_CHECK(write(config->port_fd, &port, sizeof port) == sizeof port);
    (void)close(config->port_fd);
    int64_t begin_ms = fly_clock_boot_ms();
    int64_t beat_ms = begin_ms;
    uint64_t told = 0;
    for (;;) {
        const struct timespec pause = {.tv_nsec = (long)config->batch_ms * 1000000};
        int64_t now_ms = fly_clock_boot_ms();
        p->wall_ms = fly_clock_wall_ms();
        if (atomic_load(&c->shared->stop)) {
            atomic_store(&c->shared->stopped, true);
        } else {
            uint64_t due = (uint64_t)(now_ms - begin_ms) * config->changes_per_s / 1000;
            uint64_t most = (uint64_t)config->changes_per_s / 4 + 1; /* it does not catch up */
            batch(p, due - told < most ? due - told : most);
            told = due;
        }
        if (now_ms - beat_ms >= HEARTBEAT_MS) {
            beat_ms = now_ms;
            heartbeats(p);
        }
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
}
