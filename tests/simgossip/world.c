#include "tests/simgossip/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/packet.h"
#include "proto/base/check.h"

#define CLUSTER "5eed5eed5eed5eed5eed5eed5eed5eed"

enum { WALL_MS = 1000000 };

/* --- identities: the same in every world, so that their signatures are checked once --- */

static struct authority_keys ca_keys;
static struct authority_keys admitter;
static struct admission admission;
static struct seal_ring group;
static struct seal_ring gossip_ring;
static struct node_keys keys[WORLD_MAX];
static struct credential credentials[WORLD_MAX];

static void make_identities(void)
{
    uint8_t seed[32] = {1};
    static bool made;

    if (made) {
        return;
    }
    made = true;
    authority_keys_from_seed(seed, &ca_keys);
    seed[0] = 2;
    authority_keys_from_seed(seed, &admitter);
    memcpy(admission.key, admitter.public_key, sizeof admission.key);
    admission.roles = NODE_ROLE_ALL;
    admission.expires_ms = INT64_MAX;
    admission_sign(&ca_keys, CLUSTER, &admission);
    group.count = 1;
    memset(group.keys[0], 7, SEAL_KEY_SIZE);
    seal_ring_derive(&gossip_ring, &group, SEAL_GOSSIP, CLUSTER);
    for (int i = 0; i < WORLD_MAX; i++) {
        struct node_seed node = {{3, (uint8_t)i}};
        struct credential *c = &credentials[i];
        node_keys_from_seed(&node, &keys[i]);
        c->admission = admission;
        memcpy(c->key, keys[i].public_key, sizeof c->key);
        snprintf(c->name, sizeof c->name, "node-%d", i);
        c->roles = NODE_ROLE_PEER;
        c->expires_ms = INT64_MAX;
        credential_sign(&admitter, CLUSTER, c);
    }
}

const struct node_keys *world_keys(int identity)
{
    return &keys[identity];
}

const struct node_id *world_id(int identity)
{
    return &credentials[identity].id;
}

const char *world_cluster(void)
{
    return CLUSTER;
}

const struct seal_ring *world_group(void)
{
    return &group;
}

static int identity_of(const struct node_id *id)
{
    for (int i = 0; i < WORLD_MAX; i++) {
        if (node_id_equal(&credentials[i].id, id)) {
            return i;
        }
    }
    return -1;
}

/* --- life and death --- */

struct world *world_create(uint64_t seed, bool verbose)
{
    struct world *w = calloc(1, sizeof *w);

    FLY_CHECK(w != NULL);
    make_identities();
    w->seed = seed;
    w->verbose = verbose;
    fly_rng_seed(&w->rng, seed);
    w->now_ms = 1000 + (int64_t)fly_rng_below(&w->rng, 1000000);
    w->delay_max_ms = 2;
    w->timing = gossip_timing_lan();
    return w;
}

void world_destroy(struct world *w)
{
    for (size_t i = 0; i < w->heap_count; i++) {
        free(w->heap[i]);
    }
    for (int p = 0; p < WORLD_MAX; p++) {
        for (int i = 0; i < w->processes[p].waiting_count; i++) {
            free(w->processes[p].waiting[i]);
        }
        free(w->processes[p].memory);
    }
    free(w->heap);
    free(w);
}

static struct gossip_now now_of(const struct world *w)
{
    return (struct gossip_now){.ms = w->now_ms, .wall_ms = WALL_MS + w->now_ms};
}

static void drop_waiting(struct process *x)
{
    while (x->waiting_count > 0) {
        free(x->waiting[--x->waiting_count]);
    }
}

static void start(struct world *w, int p, int seed_of, uint32_t generation)
{
    struct process *x = &w->processes[p];
    struct gossip_config config = {
        .members_max = WORLD_MAX,
        .cluster = CLUSTER,
        .keys = keys[x->identity],
        .credential = credentials[x->identity],
        .generation = generation,
        .boot = fly_rng_next(&w->rng) | 1,
        .meta = {.address = x->address, .rpc_port = 7401, .serving = true, .region = "SIN"},
        .group = group,
        .timing = w->timing,
        .seed = fly_rng_next(&w->rng),
    };

    memcpy(config.ca, ca_keys.public_key, sizeof config.ca);
    if (x->memory == NULL) {
        FLY_CHECK(posix_memalign(&x->memory, 16, gossip_size(WORLD_MAX)) == 0);
    }
    memset(x->memory, 0, gossip_size(WORLD_MAX));
    drop_waiting(x);
    x->g = gossip_init(x->memory, &config, now_of(w));
    if (seed_of >= 0) {
        gossip_join(x->g, &w->processes[seed_of].address);
    }
    x->up = true;
    x->frozen = false;
    x->host_down = false;
    x->left = false;
    x->joined = false;
    x->twin = false;
    x->started_ms = w->now_ms;
    x->settled_ms = -1;
    x->due_ms = w->now_ms;
    memset(x->suspected, 0, sizeof x->suspected);
    memset(x->buried, 0, sizeof x->buried);
}

static void set_address(struct process *x, int host, int port)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    memcpy(x->address.ip, mapped, sizeof mapped);
    x->address.ip[12] = 10;
    x->address.ip[13] = 0;
    x->address.ip[14] = 0;
    x->address.ip[15] = (uint8_t)(host + 1);
    x->address.port = (uint16_t)port;
}

int world_start(struct world *w, int identity, int seed_of)
{
    int p = w->count++;
    struct process *x = &w->processes[p];

    FLY_CHECK(p < WORLD_MAX);
    x->identity = identity;
    x->link = p;
    set_address(x, p, 7400);
    start(w, p, seed_of, ++w->generations[identity]);
    return p;
}

void world_restart_at(struct world *w, int p, int seed_of, uint32_t generation, bool new_address)
{
    struct process *x = &w->processes[p];

    if (new_address) {
        set_address(x, p, x->address.port + 1);
    }
    if (generation > w->generations[x->identity]) {
        w->generations[x->identity] = generation;
    }
    start(w, p, seed_of, generation);
}

void world_restart(struct world *w, int p, int seed_of)
{
    int identity = w->processes[p].identity;

    world_restart_at(w, p, seed_of, w->generations[identity] + 1, false);
}

void world_kill(struct world *w, int p)
{
    w->processes[p].up = false;
    drop_waiting(&w->processes[p]);
}

void world_power_off(struct world *w, int p)
{
    world_kill(w, p);
    w->processes[p].host_down = true;
}

void world_freeze(struct world *w, int p)
{
    w->processes[p].frozen = true;
}

void world_cut(struct world *w, int a, int b, bool cut)
{
    w->cut[w->processes[a].link][w->processes[b].link] = cut;
    w->cut[w->processes[b].link][w->processes[a].link] = cut;
}

void world_split(struct world *w, int first, bool cut)
{
    for (int a = 0; a < first; a++) {
        for (int b = first; b < w->count; b++) {
            world_cut(w, a, b, cut);
        }
    }
}

/* --- packets in flight: a binary heap by time --- */

static bool before(const struct packet *a, const struct packet *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void heap_add(struct world *w, struct packet *packet)
{
    if (w->heap_count == w->heap_max) {
        w->heap_max = w->heap_max == 0 ? 1024 : 2 * w->heap_max;
        w->heap = realloc(w->heap, w->heap_max * sizeof *w->heap);
        FLY_CHECK(w->heap != NULL);
    }
    size_t i = w->heap_count++;
    while (i > 0 && before(packet, w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = packet;
}

static struct packet *heap_take(struct world *w)
{
    struct packet *first = w->heap[0];
    struct packet *last = w->heap[--w->heap_count];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->heap_count) {
            break;
        }
        if (child + 1 < w->heap_count && before(w->heap[child + 1], w->heap[child])) {
            child++;
        }
        if (!before(w->heap[child], last)) {
            break;
        }
        w->heap[i] = w->heap[child];
        i = child;
    }
    if (w->heap_count > 0) {
        w->heap[i] = last;
    }
    return first;
}

static int process_at(const struct world *w, const struct gossip_address *address)
{
    for (int p = 0; p < w->count; p++) {
        if (memcmp(&w->processes[p].address, address, sizeof *address) == 0) {
            return p;
        }
    }
    return -1;
}

/* The host that has the address, whatever the port. */
static int host_at(const struct world *w, const struct gossip_address *address)
{
    for (int p = 0; p < w->count; p++) {
        if (memcmp(w->processes[p].address.ip, address->ip, sizeof address->ip) == 0) {
            return p;
        }
    }
    return -1;
}

static bool is_only_records(const struct packet *packet)
{
    uint8_t plain[GOSSIP_PACKET_MAX];
    size_t size;
    struct packet_header h;

    if (!seal_open(&gossip_ring, packet->bytes, packet->size, plain, &size)) {
        return false;
    }
    struct fly_reader r = fly_reader_over(plain, size);
    return packet_header_get(&r, &h) && h.type == PACKET_RECORDS && fly_get_u64(&r) == 0;
}

static bool is_lost(struct world *w, int from, int to, const struct packet *packet)
{
    int a = w->processes[from].link;
    int b = w->processes[to].link;

    return (a != b && (w->cut[a][b] || fly_rng_below(&w->rng, 1000) < w->loss[a][b])) ||
           (w->records_lost && packet->size > 0 && is_only_records(packet));
}

static int64_t delay(struct world *w)
{
    return w->delay_min_ms +
           (int64_t)fly_rng_below(&w->rng, (uint64_t)(w->delay_max_ms - w->delay_min_ms + 1));
}

static void post(struct world *w, struct packet *packet)
{
    packet->at_ms = w->now_ms + delay(w);
    packet->order = w->order++;
    heap_add(w, packet);
}

void world_inject(struct world *w, const struct gossip_address *source,
                  const struct gossip_address *to, const void *data, size_t size)
{
    struct packet *packet = calloc(1, sizeof *packet);

    FLY_CHECK(packet != NULL && size > 0 && size <= sizeof packet->bytes);
    packet->from = -1;
    packet->source = *source;
    packet->to = *to;
    packet->size = (uint16_t)size;
    memcpy(packet->bytes, data, size);
    post(w, packet);
}

/* --- one process's turn --- */

static void drain_events(struct world *w, struct process *x)
{
    struct gossip_event event;

    while (gossip_next_event(x->g, &event)) {
        int subject = identity_of(&event.id);
        const struct gossip_member *m = gossip_find(x->g, &event.id);
        if (event.kind == GOSSIP_EVENT_SETTLED) {
            x->settled_ms = w->now_ms;
            x->joined = event.joined;
        } else if (event.kind == GOSSIP_EVENT_TWIN) {
            x->twin = true;
        } else if (event.kind == GOSSIP_EVENT_CHANGED && m != NULL && subject >= 0) {
            if (m->state == GOSSIP_SUSPECT && event.was != GOSSIP_SUSPECT) {
                x->suspected[subject]++;
            }
            if (m->state == GOSSIP_DEAD && event.was != GOSSIP_DEAD) {
                x->buried[subject]++;
            }
        }
        if (w->verbose) {
            printf("%8lld %2d: %s %d %d->%d gen %u.%u\n", (long long)w->now_ms,
                   (int)(x - w->processes),
                   event.kind == GOSSIP_EVENT_CHANGED   ? "changed"
                   : event.kind == GOSSIP_EVENT_GONE    ? "gone"
                   : event.kind == GOSSIP_EVENT_SETTLED ? "settled"
                                                        : "twin",
                   subject, (int)event.was, m != NULL ? (int)m->state : 0,
                   m != NULL ? m->generation : 0, m != NULL ? m->version : 0);
        }
    }
}

static void after(struct world *w, int p)
{
    struct process *x = &w->processes[p];

    for (;;) {
        struct packet *packet = malloc(sizeof *packet);
        FLY_CHECK(packet != NULL);
        size_t size = gossip_next_packet(x->g, &packet->to, packet->bytes);
        if (size == 0) {
            free(packet);
            break;
        }
        packet->from = p;
        packet->source = x->address;
        packet->size = (uint16_t)size;
        w->packets++;
        w->hash = (w->hash ^ fly_load_u64(packet->bytes + size - 8)) * UINT64_C(0x100000001b3);
        if (w->captured_every > 0 && w->packets % (unsigned)w->captured_every == 0) {
            w->captured[w->captured_count++ % WORLD_CAPTURED_MAX] = *packet;
        }
        post(w, packet);
    }
    drain_events(w, x);
    if (gossip_left(x->g) && x->up) {
        x->left = true;
        world_kill(w, p);
    }
    x->due_ms = gossip_deadline(x->g);
}

static void receive(struct world *w, int p, const struct packet *packet)
{
    struct process *x = &w->processes[p];

    if (packet->size == 0) {
        gossip_hint_refused(x->g, &packet->source, now_of(w));
    } else {
        gossip_receive(x->g, &packet->source, packet->bytes, packet->size, now_of(w));
    }
    after(w, p);
}

static void refuse(struct world *w, const struct packet *packet)
{
    int host = host_at(w, &packet->to);

    /* A host that runs tells the sender that nobody has the port. */
    if (host < 0 || w->processes[host].host_down || packet->from < 0) {
        return;
    }
    struct packet *icmp = calloc(1, sizeof *icmp);
    FLY_CHECK(icmp != NULL);
    icmp->from = packet->from;
    icmp->source = packet->to;
    if (is_lost(w, host, packet->from, icmp)) {
        free(icmp);
    } else {
        post(w, icmp);
    }
}

static void deliver(struct world *w, struct packet *packet)
{
    int p = packet->size == 0 ? packet->from : process_at(w, &packet->to);
    int host = packet->size == 0 ? p : host_at(w, &packet->to);

    if (host >= 0 && packet->from >= 0 && packet->size > 0 &&
        is_lost(w, packet->from, host, packet)) {
        free(packet);
        return;
    }
    if (p < 0 || !w->processes[p].up) {
        if (packet->size > 0) {
            refuse(w, packet);
        }
        free(packet);
        return;
    }
    struct process *x = &w->processes[p];
    if (x->frozen) {
        if (x->waiting_count < WORLD_SOCKET_MAX) {
            x->waiting[x->waiting_count++] = packet;
        } else {
            free(packet);
        }
        return;
    }
    receive(w, p, packet);
    free(packet);
}

void world_thaw(struct world *w, int p)
{
    struct process *x = &w->processes[p];

    x->frozen = false;
    if (fly_rng_chance(&w->rng, 500)) { /* timers before sockets, or behind */
        gossip_tick(x->g, now_of(w));
        after(w, p);
    }
    for (int i = 0; i < x->waiting_count; i++) {
        receive(w, p, x->waiting[i]);
        free(x->waiting[i]);
    }
    x->waiting_count = 0;
}

/* What the shell finds out about suspects: whether their host's kernel takes part in TCP. */
static void hint_there(struct world *w, int p)
{
    struct process *x = &w->processes[p];
    const struct gossip_member *m;

    x->hinted_ms = w->now_ms;
    for (uint32_t i = 0; (m = gossip_member_at(x->g, i)) != NULL; i++) {
        int q = process_at(w, &m->meta.address);
        if (m->state == GOSSIP_SUSPECT && q >= 0 && w->processes[q].up &&
            !w->cut[x->link][w->processes[q].link] && !w->cut[w->processes[q].link][x->link]) {
            struct node_id id = m->credential.id;
            gossip_hint_there(x->g, &id, now_of(w));
        }
    }
}

/* --- time --- */

/* The next thing that happens, at or before `until`; false: nothing. */
static bool step(struct world *w, int64_t until_ms)
{
    int first = -1;
    int64_t at_ms = until_ms + 1;

    for (int p = 0; p < w->count; p++) {
        const struct process *x = &w->processes[p];
        if (x->up && !x->frozen && x->due_ms < at_ms) {
            at_ms = x->due_ms;
            first = p;
        }
    }
    if (w->heap_count > 0 && w->heap[0]->at_ms <= at_ms && w->heap[0]->at_ms <= until_ms) {
        struct packet *packet = heap_take(w);
        w->now_ms = packet->at_ms > w->now_ms ? packet->at_ms : w->now_ms;
        deliver(w, packet);
        return true;
    }
    if (first < 0) {
        return false;
    }
    w->now_ms = at_ms > w->now_ms ? at_ms : w->now_ms;
    gossip_tick(w->processes[first].g, now_of(w));
    if (w->hints_there && w->now_ms - w->processes[first].hinted_ms >= 1000) {
        hint_there(w, first);
    }
    after(w, first);
    return true;
}

bool world_run_until(struct world *w, int64_t ms, world_condition condition, int argument)
{
    int64_t until_ms = w->now_ms + ms;
    int64_t look_ms = w->now_ms;

    for (;;) {
        int64_t next_ms = look_ms < until_ms ? look_ms : until_ms;
        while (step(w, next_ms)) {
        }
        w->now_ms = next_ms;
        if (condition != NULL && condition(w, argument)) {
            return true;
        }
        if (next_ms == until_ms) {
            return false;
        }
        look_ms = condition != NULL ? next_ms + 10 : until_ms;
    }
}

void world_run(struct world *w, int64_t ms)
{
    (void)world_run_until(w, ms, NULL, 0);
}

/* --- looking --- */

enum gossip_state world_view(const struct world *w, int p, int identity)
{
    const struct gossip_member *m = gossip_find(w->processes[p].g, &credentials[identity].id);

    return m != NULL ? m->state : 0;
}

bool world_all_think(const struct world *w, int identity, enum gossip_state state)
{
    for (int p = 0; p < w->count; p++) {
        const struct process *x = &w->processes[p];
        if (x->up && !x->frozen && x->identity != identity && world_view(w, p, identity) != state) {
            return false;
        }
    }
    return true;
}

static bool sees(const struct process *observer, const struct process *subject)
{
    const struct node_id *id = &credentials[subject->identity].id;
    const struct gossip_member *seen = gossip_find(observer->g, id);
    const struct gossip_member *self = gossip_find(subject->g, id);

    return seen != NULL && seen->state == GOSSIP_ALIVE && seen->generation == self->generation &&
           seen->version == self->version &&
           memcmp(&seen->meta.address, &self->meta.address, sizeof self->meta.address) == 0;
}

bool world_is_one(struct world *w, int unused)
{
    (void)unused;
    for (int a = 0; a < w->count; a++) {
        const struct process *x = &w->processes[a];
        uint32_t up = 0;
        uint32_t alive = 0;
        if (!x->up) {
            continue;
        }
        for (int b = 0; b < w->count; b++) {
            if (w->processes[b].up) {
                up++;
                if (!sees(x, &w->processes[b])) {
                    return false;
                }
            }
        }
        const struct gossip_member *m;
        for (uint32_t i = 0; (m = gossip_member_at(x->g, i)) != NULL; i++) {
            alive += m->state == GOSSIP_ALIVE || m->state == GOSSIP_SUSPECT;
        }
        if (alive != up) {
            return false;
        }
    }
    return true;
}

bool world_mesh(struct world *w, int n)
{
    for (int i = 0; i < n; i++) {
        (void)world_start(w, i, i == 0 ? -1 : 0);
    }
    EXPECT(w, world_run_until(w, 5000, world_is_one, 0), "no mesh of %d within 5 s", n);
    world_run(w, 3000);
    EXPECT(w, world_is_one(w, 0), "the mesh of %d did not last", n);
    world_forget(w);
    return true;
}

bool world_was_buried(const struct world *w, int identity)
{
    for (int p = 0; p < w->count; p++) {
        if (w->processes[p].buried[identity] > 0) {
            return true;
        }
    }
    return false;
}

bool world_was_suspected(const struct world *w, int identity)
{
    for (int p = 0; p < w->count; p++) {
        if (w->processes[p].suspected[identity] > 0) {
            return true;
        }
    }
    return false;
}

void world_forget(struct world *w)
{
    for (int p = 0; p < w->count; p++) {
        memset(w->processes[p].suspected, 0, sizeof w->processes[p].suspected);
        memset(w->processes[p].buried, 0, sizeof w->processes[p].buried);
    }
}

uint64_t world_updates(const struct world *w)
{
    uint64_t sum = 0;

    for (int p = 0; p < w->count; p++) {
        sum += w->processes[p].up ? gossip_counters(w->processes[p].g)->updates_out : 0;
    }
    return sum;
}

bool world_fail(struct world *w, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(w->failure, sizeof w->failure, format, arguments);
    va_end(arguments);
    return false;
}
