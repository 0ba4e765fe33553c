/*
 * fuzz_feed - what a subscriber does with bytes of a connection: open the seal, decode, follow.
 *
 * The input as it is must not open (nobody has the key). Sealed by us it opens to itself, goes
 * through the decoder and a follower, and with one bit turned, or cut, or in another purpose's
 * ring, does not open.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/feed/feed.h"
#include "proto/wire/follow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct seal_ring feed_ring;
static struct seal_ring gossip_ring;

static void make_rings(void)
{
    struct seal_ring group = {.count = 2, .ids = {1, 1}};

    memset(group.keys[0], 3, sizeof group.keys[0]);
    memset(group.keys[1], 4, sizeof group.keys[1]);
    seal_ring_derive(&feed_ring, &group, SEAL_FEED, "00112233445566778899aabbccddeeff");
    seal_ring_derive(&gossip_ring, &group, SEAL_GOSSIP, "00112233445566778899aabbccddeeff");
}

static void on_event(void *user, const struct event *event)
{
    uint64_t *next = user;

    FLY_CHECK(event->seq == *next);
    *next += 1;
}

static void on_machine(void *user, const struct event_message *message,
                       const struct event_machine *machine)
{
    uint64_t *next = user;

    (void)machine;
    *next = message->to + 1;
}

/* To a follower that stands just where this message could begin. */
static void follow(const uint8_t *bytes, size_t size)
{
    uint64_t next = 0;
    struct follow_sink sink = {.event = on_event, .machine = on_machine, .user = &next};
    struct event_message message;
    struct follow f;

    if (event_message_decode(bytes, size, &message, NULL) != FLY_OK) {
        return;
    }
    follow_init(&f, message.slice, 1);
    follow_resume(&f, message.incarnation, message.from == 0 ? message.to : message.from - 1);
    next = f.next;
    follow_receive(&f, &message, 1, &sink);
    follow_receive(&f, &message, 2, &sink); /* a copy brings nothing */
    FLY_CHECK(f.lost || f.next == next);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *sealed = malloc(size + SEAL_OVERHEAD);
    uint8_t *plain = malloc(size + SEAL_OVERHEAD);
    size_t plain_size = 0;
    struct fly_rng rng;

    FLY_CHECK(sealed != NULL && plain != NULL);
    if (feed_ring.count == 0) {
        make_rings();
    }
    fly_rng_seed(&rng, size);
    FLY_CHECK(!seal_open(&feed_ring, data, size, plain, &plain_size));
    size_t sealed_size = seal_close(&feed_ring, &rng, data, size, sealed);
    FLY_CHECK(seal_open(&feed_ring, sealed, sealed_size, plain, &plain_size));
    FLY_CHECK(plain_size == size && memcmp(plain, data, size) == 0);
    follow(plain, plain_size);
    FLY_CHECK(!seal_open(&gossip_ring, sealed, sealed_size, plain, &plain_size));
    FLY_CHECK(!seal_open(&feed_ring, sealed, sealed_size - 1, plain, &plain_size));
    size_t at = (size_t)fly_rng_below(&rng, sealed_size);
    sealed[at] ^= (uint8_t)(1U << fly_rng_below(&rng, 8));
    FLY_CHECK(!seal_open(&feed_ring, sealed, sealed_size, plain, &plain_size));
    free(sealed);
    free(plain);
    return 0;
}
