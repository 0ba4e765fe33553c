/* Twins, stolen keys, strangers on the wire. */
#include "tests/simgossip/scenario.h"

#include <string.h>

#include "gossip/packet.h"
#include "proto/base/check.h"

/* 22: a copied state folder is started while the first still runs. The first goes on. */
static bool twin(struct world *w)
{
    int n = 2 + (int)(w->seed % 10);
    int seed_of = (int)fly_rng_below(&w->rng, (uint64_t)n);

    if (!world_mesh(w, n)) {
        return false;
    }
    /* The copy counts on from what it found: as far as the first, further, or behind. */
    if (w->seed % 3 == 0) {
        w->generations[1] += 3;
    } else if (w->seed % 3 == 1) {
        w->generations[1] -= 1;
    }
    int copy = world_start(w, 1, seed_of);
    world_run(w, 1500);
    EXPECT(w, w->processes[copy].twin, "the copy does not know that it is one");
    EXPECT(w, !w->processes[1].twin, "the first stops");
    world_kill(w, copy); /* that is what it does now */
    EXPECT(w, world_run_until(w, 8000, world_is_one, 0), "the first is not what all see");
    EXPECT(w, !w->processes[1].twin, "the first stops later");
    return expect_quiet(w);
}

/* Two members with one identity that could not hear each other: when they can, one stops. */
static bool twin_later(struct world *w)
{
    if (!world_mesh(w, 5)) {
        return false;
    }
    int copy = world_start(w, 1, -1);
    for (int p = 0; p < 5; p++) {
        world_cut(w, copy, p, true);
    }
    world_run(w, 20000);
    EXPECT(w, !w->processes[copy].twin && !w->processes[1].twin, "a twin that nobody met");
    for (int p = 0; p < 5; p++) {
        world_cut(w, copy, p, false);
    }
    gossip_join(w->processes[copy].g, &w->processes[3].address);
    w->processes[copy].due_ms = w->now_ms;
    world_run(w, 1500);
    EXPECT(w, w->processes[copy].twin && !w->processes[1].twin, "the wrong one stops, or none");
    return true;
}

static size_t seal_packet(struct world *w, struct fly_writer *plain,
                          uint8_t out[static GOSSIP_PACKET_MAX])
{
    struct seal_ring ring;

    FLY_CHECK(!plain->failed);
    seal_ring_derive(&ring, world_group(), SEAL_GOSSIP, world_cluster());
    return seal_close(&ring, &w->rng, plain->data, plain->size, out);
}

/* A stolen key of `thief` accuses the victim's present claim, to everybody. */
static void accuse(struct world *w, int thief, int victim, int n)
{
    const struct gossip_member *m = gossip_find(w->processes[victim].g, world_id(victim));
    struct packet_accusation said = {
        .accused = *world_id(victim),
        .generation = m->generation,
        .version = m->version,
        .accuser = *world_id(thief),
        .evidence = PACKET_DOWN,
    };
    struct packet_header h = {.type = PACKET_RECORDS, .from = *world_id(thief), .boot = 1};

    packet_accusation_sign(&said, world_keys(thief), world_cluster());
    for (int p = 0; p < n; p++) {
        uint8_t plain[PACKET_PLAIN_MAX];
        uint8_t sealed[GOSSIP_PACKET_MAX];
        struct fly_writer out = fly_writer_over(plain, sizeof plain);
        packet_header_put(&out, &h);
        fly_put_u64(&out, 0);
        FLY_CHECK(packet_accusation_put(&out, &said));
        size_t size = seal_packet(w, &out, sealed);
        if (p != victim) {
            world_inject(w, &w->processes[thief].address, &w->processes[p].address, sealed, size);
        }
    }
}

/* One stolen key cannot evict, whatever it says and however often. */
static bool witness(struct world *w)
{
    int n = 3 + (int)(w->seed % 10);
    int thief = 2;

    if (!world_mesh(w, n)) {
        return false;
    }
    for (int turn = 0; turn < 100; turn++) {
        accuse(w, thief, 0, n);
        world_run(w, 200);
    }
    EXPECT(w, !world_was_buried(w, 0), "one stolen key evicted a member");
    /* And against one that does not even hear of it in time: no second witness, no death. */
    for (int p = 1; p < n; p++) {
        gossip_hint_refused(w->processes[p].g, &w->processes[0].address,
                            (struct gossip_now){.ms = w->now_ms, .wall_ms = w->now_ms});
    }
    world_run(w, 5000);
    EXPECT(w, !world_was_buried(w, 0), "forged refusals and one stolen key evicted a member");
    EXPECT(w, world_run_until(w, 3000, world_is_one, 0), "the views differ at the end");
    return expect_only_buried(w, n, -1, -1) && expect_quiet(w);
}

/* One who hears the victim only through helpers and probes, and the thief loudly: still one witness
 * only. */
static bool witness_silent(struct world *w)
{
    int n = 5;

    if (!world_mesh(w, n)) {
        return false;
    }
    w->records_lost = true; /* the victim hears of it by probes only */
    world_cut(w, 0, 1, true);
    for (int turn = 0; turn < 50; turn++) {
        accuse(w, 2, 0, n);
        world_run(w, 400);
    }
    EXPECT(w, !world_was_buried(w, 0), "one stolen key evicted a member");
    return true;
}

/* 27: a stranger on the wire sends garbage, cuts, flips and repeats what it heard. */
static bool stranger(struct world *w)
{
    int n = 8;

    w->captured_every = 7;
    if (!world_mesh(w, n)) {
        return false;
    }
    world_kill(w, 5);
    world_run(w, 4000);
    world_restart(w, 5, 0);
    world_run(w, 4000);
    world_forget(w);
    w->captured_every = 0;
    for (int turn = 0; turn < 3000; turn++) {
        struct packet *p = &w->captured[fly_rng_below(
            &w->rng, (uint64_t)(w->captured_count < WORLD_CAPTURED_MAX ? w->captured_count
                                                                       : WORLD_CAPTURED_MAX))];
        uint8_t bytes[GOSSIP_PACKET_MAX];
        size_t size = p->size;
        int to = (int)fly_rng_below(&w->rng, (uint64_t)n);
        memcpy(bytes, p->bytes, size);
        switch (fly_rng_below(&w->rng, 4)) {
        case 0:
            size = 1 + fly_rng_below(&w->rng, size);
            break;
        case 1:
            bytes[fly_rng_below(&w->rng, size)] ^= (uint8_t)(1 << fly_rng_below(&w->rng, 8));
            break;
        case 2:
            fly_rng_fill(&w->rng, bytes, size);
            break;
        default: /* as it was, to anybody, from anybody */
            break;
        }
        world_inject(w, &w->processes[fly_rng_below(&w->rng, (uint64_t)n)].address,
                     &w->processes[to].address, bytes, size);
        world_run(w, (int64_t)fly_rng_below(&w->rng, 10));
    }
    uint64_t refused = 0;
    for (int p = 0; p < n; p++) {
        refused += gossip_counters(w->processes[p].g)->refused_seal;
        EXPECT(w, !w->processes[p].twin, "%d was made believe in a twin", p);
    }
    EXPECT(w, refused > 1500, "only %llu were refused", (unsigned long long)refused);
    EXPECT(w, world_is_one(w, 0), "the views differ");
    return expect_only_suspected(w, n, -1, -1) && expect_quiet(w);
}

const struct scenario scenarios_hostile[] = {
    {"twin", "22: a copy of a running node stops, the first goes on", twin},
    {"twin-later", "22: two that could not hear each other: the younger stops", twin_later},
    {"witness", "one stolen key cannot evict", witness},
    {"witness-silent", "one stolen key cannot evict when only probes arrive", witness_silent},
    {"stranger", "27: garbage, cut, flipped and repeated packets change nothing", stranger},
};
const size_t scenarios_hostile_count = FLY_ARRAY_COUNT(scenarios_hostile);
