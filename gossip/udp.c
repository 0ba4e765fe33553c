#include "gossip/udp.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sodium.h>

#include "gossip/beacon.h"
#include "gossip/udp_address.h"
#include "gossip/udp_socket.h"
#include "gossip/udp_there.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum {
    RECEIVE_MAX = 64, /* datagrams of one turn; the rest waits for the next */
    SEND_MAX = 1024,
    STALL_MS = 1000, /* the node loop stood still that long */
    WATCH_MS = 500,  /* between looks at it */
    WATCH_STALLED_MS = 50,
    LEAVE_MS = 1000,
    JOINS_PER_SECOND = 32, /* that beacons may cause */
};

struct gossip_thread {
    struct gossip_thread_config config;
    struct udp_socket socket;
    int wake; /* eventfd */
    pthread_t thread;
    struct udp_there there; /* the thread's own */
    struct beacon *beacon;  /* the thread's own; NULL: not wanted */

    pthread_mutex_t lock; /* everything below; held for one call of the core at a time */
    struct gossip *core;
    struct gossip_meta wanted; /* what the node said; the core has it with the watchdog's word */
    struct gossip_thread_counters counters;
    bool stalled;
    bool stopping;
    bool leaving;

    /* the thread's own */
    int64_t turn_ms; /* its last look at the node loop */
    int64_t beat_ms; /* when `beat` moved last, as seen here */
    uint64_t beat;
    int64_t leave_until_ms;
    int64_t joins_since_ms;
    uint32_t joins;
    bool members_changed;
    bool more; /* a bound of this turn was met: no waiting before the next */
};

static struct gossip_now read_clocks(void)
{
    int64_t us = fly_clock_boot_us();

    return (struct gossip_now){.ms = us / 1000, .us = us, .wall_ms = fly_clock_wall_ms()};
}

static void lock(struct gossip_thread *t)
{
    FLY_CHECK(pthread_mutex_lock(&t->lock) == 0);
}

static void unlock(struct gossip_thread *t)
{
    FLY_CHECK(pthread_mutex_unlock(&t->lock) == 0);
}

static void wake(struct gossip_thread *t)
{
    uint64_t one = 1;

    /* a full counter wakes as well */
    (void)!write(t->wake, &one, sizeof one);
}

/* Under the lock. */
static void tell_meta(struct gossip_thread *t, struct gossip_now now)
{
    struct gossip_meta meta = t->wanted;

    meta.serving = meta.serving && !t->stalled;
    gossip_set_meta(t->core, &meta, now);
}

/* When this thread itself did not run (the process was stopped), nobody could move the beat: then
 * the node loop gets its second from now on. */
static void watch(struct gossip_thread *t, struct gossip_now now)
{
    if (t->config.beat == NULL) {
        return;
    }
    uint64_t beat = atomic_load_explicit(t->config.beat, memory_order_relaxed);
    bool was_away = now.ms - t->turn_ms >= STALL_MS + WATCH_MS;
    t->turn_ms = now.ms;
    if (beat != t->beat || (was_away && !t->stalled)) {
        t->beat = beat;
        t->beat_ms = now.ms;
    }
    bool stalled = now.ms - t->beat_ms >= STALL_MS;
    if (stalled == t->stalled) {
        return;
    }
    t->stalled = stalled;
    t->counters.stalls += stalled ? 1 : 0;
    tell_meta(t, now);
}

static void send_all(struct gossip_thread *t)
{
    uint8_t packet[GOSSIP_PACKET_MAX];
    struct gossip_address to;
    uint64_t unsent = 0;
    unsigned count = 0;

    while (count < SEND_MAX) {
        lock(t);
        size_t size = gossip_next_packet(t->core, &to, packet);
        unlock(t);
        if (size == 0) {
            break;
        }
        unsent += udp_socket_send(&t->socket, &to, packet, size) ? 0 : 1;
        count++;
    }
    t->more |= count == SEND_MAX;
    if (unsent > 0) {
        lock(t);
        t->counters.unsent += unsent;
        unlock(t);
    }
}

static void hand_out_events(struct gossip_thread *t)
{
    struct gossip_event event;

    for (;;) {
        lock(t);
        bool some = gossip_next_event(t->core, &event);
        unlock(t);
        if (!some) {
            return;
        }
        t->members_changed = true;
        if (t->config.event != NULL) {
            t->config.event(t->config.user, &event);
        }
    }
}

static void receive_all(struct gossip_thread *t)
{
    uint8_t packet[GOSSIP_PACKET_MAX + 1]; /* a longer one is seen to be too long */
    struct gossip_address from;
    unsigned count;

    for (count = 0; count < RECEIVE_MAX; count++) {
        ssize_t size = udp_socket_receive(&t->socket, &from, packet, sizeof packet);
        if (size < 0) {
            break;
        }
        lock(t);
        gossip_receive(t->core, &from, packet, (size_t)size, read_clocks());
        unlock(t);
    }
    t->more |= count == RECEIVE_MAX;
}

static void take_refusals(struct gossip_thread *t)
{
    struct gossip_address who;

    while (udp_socket_refused(&t->socket, &who)) {
        lock(t);
        t->counters.refused++;
        gossip_hint_refused(t->core, &who, read_clocks());
        unlock(t);
    }
}

/* Under the lock. A member that is alive as the notice says needs no asking. */
static bool is_news(const struct gossip_thread *t, const struct notice *n)
{
    const struct gossip_member *m = gossip_find(t->core, &n->id);

    return m == NULL || m->self || m->state != GOSSIP_ALIVE || m->generation != n->generation ||
           !udp_address_equal(&m->meta.address, &n->address);
}

static void take_beacons(struct gossip_thread *t)
{
    struct notice n;

    while (beacon_heard(t->beacon, &n)) {
        lock(t);
        struct gossip_now now = read_clocks();
        if (now.ms - t->joins_since_ms >= 1000) {
            t->joins_since_ms = now.ms;
            t->joins = 0;
        }
        if (!is_news(t, &n)) {
            /* nothing to do */
        } else if (t->joins == JOINS_PER_SECOND) {
            t->counters.beacons_late++;
        } else {
            t->joins++;
            t->counters.beacons_joined++;
            gossip_join(t->core, &n.address);
        }
        unlock(t);
    }
}

/* Under the lock. */
static bool is_alone(const struct gossip_thread *t)
{
    const struct gossip_member *m;

    for (uint32_t i = 0; (m = gossip_member_at(t->core, i)) != NULL; i++) {
        if (!m->self && (m->state == GOSSIP_ALIVE || m->state == GOSSIP_SUSPECT)) {
            return false;
        }
    }
    return true;
}

static void tend_beacon(struct gossip_thread *t)
{
    int64_t now_ms = fly_clock_boot_ms();

    lock(t);
    struct gossip_address address = t->wanted.address;
    bool alone = t->members_changed && is_alone(t);
    const struct beacon_counters *c = beacon_counters(t->beacon);
    t->counters.beacons_in = c->heard;
    t->counters.beacons_out = c->said;
    t->counters.beacons_foreign = c->foreign;
    bool leaving = t->leaving;
    unlock(t);
    if (t->members_changed) {
        beacon_set_alone(t->beacon, alone, now_ms);
        t->members_changed = false;
    }
    beacon_set_address(t->beacon, &address);
    if (!leaving) {
        beacon_tick(t->beacon, now_ms);
    }
}

/* Asks after the hosts of silent members: those that acknowledge are not dead yet. */
static void tend_suspects(struct gossip_thread *t)
{
    int64_t now_ms = fly_clock_boot_ms();
    const struct gossip_member *m;
    struct node_id there[UDP_THERE_MAX];

    if (!udp_there_due(&t->there, now_ms)) {
        return;
    }
    lock(t);
    for (uint32_t i = 0; (m = gossip_member_at(t->core, i)) != NULL; i++) {
        if (m->state == GOSSIP_SUSPECT) {
            udp_there_want(&t->there, m);
        }
    }
    unlock(t);
    unsigned count = udp_there_look(&t->there, now_ms, there);
    lock(t);
    for (unsigned i = 0; i < count; i++) {
        t->counters.hosts_there++;
        gossip_hint_there(t->core, &there[i], read_clocks());
    }
    unlock(t);
}

/* True: goes on. */
static bool turn(struct gossip_thread *t)
{
    t->more = false;
    lock(t);
    struct gossip_now now = read_clocks();
    watch(t, now);
    gossip_tick(t->core, now);
    bool stop = t->stopping;
    if (stop && t->leaving && t->leave_until_ms == 0) {
        t->leave_until_ms = now.ms + LEAVE_MS;
        gossip_leave(t->core, now);
    }
    bool left = gossip_left(t->core);
    unlock(t);
    send_all(t);
    hand_out_events(t);
    tend_suspects(t);
    if (t->beacon != NULL) {
        tend_beacon(t);
    }
    return !stop || (t->leaving && !left && now.ms < t->leave_until_ms);
}

static int wait_ms(struct gossip_thread *t)
{
    lock(t);
    int64_t due_ms = gossip_deadline(t->core);
    int64_t watch_ms = t->stalled ? WATCH_STALLED_MS : WATCH_MS;
    unlock(t);
    int64_t now_ms = fly_clock_boot_ms();
    int64_t most_ms = 60000;

    if (t->more) {
        return 0;
    }
    if (t->config.beat != NULL) {
        most_ms = watch_ms;
    }
    if (udp_there_busy(&t->there) && most_ms > UDP_THERE_LOOK_MS) {
        most_ms = UDP_THERE_LOOK_MS;
    }
    if (t->leave_until_ms != 0) {
        most_ms = LEAVE_MS / 10;
    }
    if (t->beacon != NULL && beacon_deadline(t->beacon) < due_ms) {
        due_ms = beacon_deadline(t->beacon);
    }
    if (due_ms <= now_ms) {
        return 0;
    }
    return (int)(due_ms - now_ms < most_ms ? due_ms - now_ms : most_ms);
}

static void *thread_main(void *argument)
{
    struct gossip_thread *t = argument;
    struct pollfd fds[2 + BEACON_FDS] = {{.fd = t->wake, .events = POLLIN},
                                         {.fd = t->socket.fd, .events = POLLIN}};

    if (t->beacon != NULL) {
        beacon_poll(t->beacon, fds + 2);
    } else {
        for (int i = 0; i < BEACON_FDS; i++) {
            fds[2 + i].fd = -1;
        }
    }
    while (turn(t)) {
        if (poll(fds, FLY_ARRAY_COUNT(fds), wait_ms(t)) <= 0) {
            continue;
        }
        if (fds[0].revents != 0) {
            uint64_t count;
            (void)!read(t->wake, &count, sizeof count);
        }
        if ((fds[1].revents & POLLERR) != 0) {
            take_refusals(t);
        }
        if (fds[1].revents != 0) {
            receive_all(t);
        }
        if ((fds[2].revents | fds[3].revents | fds[4].revents) != 0) {
            beacon_ready(t->beacon, fly_clock_boot_ms());
            take_beacons(t);
        }
    }
    return NULL;
}

static struct beacon *make_beacon(const struct gossip_thread *t)
{
    const struct gossip_config *g = &t->config.gossip;
    struct beacon_config config = {
        .notice = {.id = g->credential.id,
                   .boot = g->boot,
                   .generation = g->generation,
                   .address = t->wanted.address},
        .port = GOSSIP_BEACON_PORT,
        .loopback = udp_address_is_loopback(t->wanted.address.ip),
    };

    randombytes_buf(&config.seed, sizeof config.seed);
    seal_ring_derive(&config.ring, &g->group, SEAL_BEACON, g->cluster);
    struct beacon *b = beacon_create(&config, fly_clock_boot_ms());
    seal_ring_wipe(&config.ring);
    return b;
}

static bool make_core(struct gossip_thread *t)
{
    struct gossip_config *g = &t->config.gossip;
    void *memory = calloc(1, gossip_size(g->members_max));

    if (memory == NULL) {
        return false;
    }
    randombytes_buf(&g->seed, sizeof g->seed);
    t->core = gossip_init(memory, g, read_clocks());
    for (uint32_t i = 0; i < t->config.seed_count; i++) {
        gossip_join(t->core, &t->config.seeds[i]);
    }
    return true;
}

/* What the thread had, without the thread. */
static void discard(struct gossip_thread *t)
{
    beacon_destroy(t->beacon);
    udp_there_fini(&t->there);
    if (t->core != NULL) {
        gossip_fini(t->core);
        free(t->core);
    }
    udp_socket_close(&t->socket);
    if (t->wake >= 0) {
        (void)close(t->wake);
    }
    (void)pthread_mutex_destroy(&t->lock);
    sodium_memzero(&t->config, sizeof t->config);
    free(t);
}

/* Signals are the node loop's: this thread takes none. */
static bool start(struct gossip_thread *t)
{
    sigset_t all;
    sigset_t before;

    (void)sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) {
        return false;
    }
    bool started = pthread_create(&t->thread, NULL, thread_main, t) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) {
        (void)pthread_setname_np(t->thread, "gossip");
    }
    return started;
}

enum fly_status gossip_thread_create(struct gossip_thread **out,
                                     const struct gossip_thread_config *config,
                                     struct fly_error *error)
{
    struct gossip_thread *t = calloc(1, sizeof *t);

    FLY_CHECK(config->seed_count == 0 || config->seeds != NULL);
    if (sodium_init() < 0 || t == NULL) {
        free(t);
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "no memory for gossip");
    }
    t->config = *config;
    udp_there_init(&t->there);
    FLY_CHECK(pthread_mutex_init(&t->lock, NULL) == 0);
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum fly_status status =
        udp_socket_open(&t->socket, config->bind, config->gossip.meta.address.port, error);
    if (status != FLY_OK) {
        discard(t);
        return status;
    }
    t->config.gossip.meta.address.port = t->socket.port;
    t->wanted = t->config.gossip.meta;
    t->turn_ms = t->beat_ms = fly_clock_boot_ms();
    t->members_changed = true;
    bool ready = t->wake >= 0 && make_core(t);
    if (ready && config->beacon) {
        t->beacon = make_beacon(t);
        ready = t->beacon != NULL;
    }
    if (!ready || !start(t)) {
        discard(t);
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED,
                             "no memory, descriptor or thread for gossip");
    }
    *out = t;
    return FLY_OK;
}

uint16_t gossip_thread_port(const struct gossip_thread *t)
{
    return t->socket.port;
}

void gossip_thread_set_meta(struct gossip_thread *t, const struct gossip_meta *meta)
{
    lock(t);
    t->wanted = *meta;
    t->wanted.address.port = t->socket.port;
    tell_meta(t, read_clocks());
    unlock(t);
    wake(t);
}

void gossip_thread_hint_down(struct gossip_thread *t, const struct node_id *id)
{
    lock(t);
    gossip_hint_down(t->core, id, read_clocks());
    unlock(t);
    wake(t);
}

void gossip_thread_join(struct gossip_thread *t, const struct gossip_address *seed)
{
    lock(t);
    gossip_join(t->core, seed);
    unlock(t);
    wake(t);
}

uint32_t gossip_thread_members(struct gossip_thread *t, struct gossip_member *out, uint32_t max)
{
    const struct gossip_member *m;
    uint32_t count = 0;

    lock(t);
    while ((m = gossip_member_at(t->core, count)) != NULL) {
        if (count < max) {
            out[count] = *m;
        }
        count++;
    }
    unlock(t);
    return count;
}

uint64_t gossip_thread_rtt_us(struct gossip_thread *t, const struct node_id *id)
{
    lock(t);
    const struct gossip_member *m = gossip_find(t->core, id);
    uint64_t rtt_us = m != NULL ? m->rtt_us : 0;
    unlock(t);
    return rtt_us;
}

void gossip_thread_counters(struct gossip_thread *t, struct gossip_thread_counters *out)
{
    lock(t);
    *out = t->counters;
    out->gossip = *gossip_counters(t->core);
    unlock(t);
}

void gossip_thread_destroy(struct gossip_thread *t, bool leave)
{
    if (t == NULL) {
        return;
    }
    lock(t);
    t->stopping = true;
    t->leaving = leave;
    unlock(t);
    wake(t);
    FLY_CHECK(pthread_join(t->thread, NULL) == 0);
    discard(t);
}
