/*
 * seal - the group's envelope: gossip packets, beacons and feed messages of one cluster.
 *
 *   version (1) ‖ key id (1) ‖ nonce (24) ‖ XChaCha20-Poly1305(plain)       42 bytes over the plain
 *
 * Purpose keys are derived from a group key by purpose, so that a feed message is never a gossip
 * packet. Who holds the group key can seal as anybody: a seal keeps outsiders out and says nothing
 * about who sealed (signatures do). Nonces come from the caller's generator, seeded with real
 * randomness. Source: libsodium crypto_aead_xchacha20poly1305_ietf. Pure.
 */
#ifndef FLY_WIRE_SEAL_H
#define FLY_WIRE_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/rng.h"

enum {
    SEAL_KEY_SIZE = 32,
    SEAL_OVERHEAD = 1 + 1 + 24 + 16,
    SEAL_KEYS_MAX = 3,
};

enum seal_purpose { SEAL_GOSSIP = 1, SEAL_BEACON = 2, SEAL_FEED = 3 };

/* Keys by id: the first seals, all open. */
struct seal_ring {
    uint8_t count;
    uint8_t ids[SEAL_KEYS_MAX];
    uint8_t keys[SEAL_KEYS_MAX][SEAL_KEY_SIZE];
};

/* The ring of one purpose from the group's keys. `cluster`: 32 hex digits. */
void seal_ring_derive(struct seal_ring *out, const struct seal_ring *group,
                      enum seal_purpose purpose, const char *cluster);
void seal_ring_wipe(struct seal_ring *ring);
/* Seals plain[size] into out[size + SEAL_OVERHEAD]; returns that size. */
size_t seal_close(const struct seal_ring *ring, struct fly_rng *rng, const void *plain, size_t size,
                  uint8_t *out);
/* Opens into out[size - SEAL_OVERHEAD]; false: not sealed by a key of the ring; *out_size is set.
 */
bool seal_open(const struct seal_ring *ring, const void *sealed, size_t size, uint8_t *out,
               size_t *out_size);

#endif
