#include "proto/wire/seal.h"

#include <string.h>

#include <sodium.h>

#include "proto/base/check.h"

static const char domain[] = "flylight-seal-1";
static const char nonce_domain[] = "flylight-nonce-1";

enum {
    VERSION = 1,
    HEADER_SIZE = 2,
    NONCE_SIZE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG_SIZE = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    CLUSTER_SIZE = 32,
};

_Static_assert(SEAL_OVERHEAD == HEADER_SIZE + NONCE_SIZE + TAG_SIZE, "overhead");
_Static_assert(SEAL_KEY_SIZE == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key");

void seal_ring_derive(struct seal_ring *out, const struct seal_ring *group,
                      enum seal_purpose purpose, const char *cluster)
{
    const uint8_t number = (uint8_t)purpose;

    FLY_CHECK(group->count >= 1 && group->count <= SEAL_KEYS_MAX);
    FLY_CHECK(strlen(cluster) == CLUSTER_SIZE);
    *out = (struct seal_ring){.count = group->count};
    for (unsigned i = 0; i < group->count; i++) {
        crypto_generichash_state state;
        (void)crypto_generichash_init(&state, group->keys[i], SEAL_KEY_SIZE, SEAL_KEY_SIZE);
        (void)crypto_generichash_update(&state, (const uint8_t *)domain, sizeof domain);
        (void)crypto_generichash_update(&state, &number, 1);
        (void)crypto_generichash_update(&state, (const uint8_t *)cluster, CLUSTER_SIZE);
        (void)crypto_generichash_final(&state, out->keys[i], SEAL_KEY_SIZE);
        sodium_memzero(&state, sizeof state);
        out->ids[i] = group->ids[i];
    }
}

void seal_ring_wipe(struct seal_ring *ring)
{
    sodium_memzero(ring, sizeof *ring);
}

/* The nonce is a keyed hash of fresh bytes and of the plain text: two processes whose generators
 * stand alike (a cloned machine) can then repeat a nonce only for one and the same text. */
static void make_nonce(const uint8_t *key, struct fly_rng *rng, const void *plain, size_t size,
                       uint8_t nonce[static NONCE_SIZE])
{
    crypto_generichash_state state;
    uint8_t fresh[32];

    for (size_t i = 0; i < sizeof fresh; i += 8) {
        fly_store_u64(fresh + i, fly_rng_next(rng));
    }
    (void)crypto_generichash_init(&state, key, SEAL_KEY_SIZE, NONCE_SIZE);
    (void)crypto_generichash_update(&state, (const uint8_t *)nonce_domain, sizeof nonce_domain);
    (void)crypto_generichash_update(&state, fresh, sizeof fresh);
    (void)crypto_generichash_update(&state, plain, size);
    (void)crypto_generichash_final(&state, nonce, NONCE_SIZE);
    sodium_memzero(&state, sizeof state);
}

size_t seal_close(const struct seal_ring *ring, struct fly_rng *rng, const void *plain, size_t size,
                  uint8_t *out)
{
    uint8_t *nonce = out + HEADER_SIZE;

    FLY_CHECK(ring->count >= 1);
    make_nonce(ring->keys[0], rng, plain, size, nonce);
    out[0] = VERSION;
    out[1] = ring->ids[0];
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + NONCE_SIZE, NULL, plain, size, out,
                                                     HEADER_SIZE, NULL, nonce, ring->keys[0]);
    return size + SEAL_OVERHEAD;
}

bool seal_open(const struct seal_ring *ring, const void *sealed, size_t size, uint8_t *out,
               size_t *out_size)
{
    const uint8_t *bytes = sealed;
    const uint8_t *nonce = bytes + HEADER_SIZE;

    if (size < SEAL_OVERHEAD || bytes[0] != VERSION) {
        return false;
    }
    for (unsigned i = 0; i < ring->count; i++) {
        /* Ids are only hints: two keys of one id, while one replaces the other, are both tried. */
        if (ring->ids[i] == bytes[1] &&
            crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, nonce + NONCE_SIZE,
                                                       size - HEADER_SIZE - NONCE_SIZE, bytes,
                                                       HEADER_SIZE, nonce, ring->keys[i]) == 0) {
            *out_size = size - SEAL_OVERHEAD;
            return true;
        }
    }
    return false;
}
