#include "gossip/keyring.h"

#include <string.h>

#include <sodium.h>

#include "proto/base/check.h"

static const char pair_domain[] = "flylight-pair-1";

_Static_assert(KEYRING_SIZE == crypto_scalarmult_BYTES, "pair");

void keyring_secret(const struct node_keys *keys, uint8_t out[static KEYRING_SIZE])
{
    FLY_CHECK(crypto_sign_ed25519_sk_to_curve25519(out, keys->secret) == 0);
}

bool keyring_pair(const uint8_t secret[static KEYRING_SIZE], const struct node_id *self,
                  const struct node_id *other, const uint8_t other_key[static NODE_KEY_SIZE],
                  const char *cluster, uint8_t out[static KEYRING_SIZE])
{
    uint8_t theirs[crypto_scalarmult_BYTES];
    uint8_t shared[crypto_scalarmult_BYTES];
    bool first = memcmp(self->bytes, other->bytes, NODE_ID_SIZE) < 0;
    crypto_generichash_state state;

    if (crypto_sign_ed25519_pk_to_curve25519(theirs, other_key) != 0 ||
        crypto_scalarmult(shared, secret, theirs) != 0) {
        return false;
    }
    (void)crypto_generichash_init(&state, shared, sizeof shared, KEYRING_SIZE);
    (void)crypto_generichash_update(&state, (const uint8_t *)pair_domain, sizeof pair_domain);
    (void)crypto_generichash_update(&state, (const uint8_t *)cluster, strlen(cluster));
    (void)crypto_generichash_update(&state, first ? self->bytes : other->bytes, NODE_ID_SIZE);
    (void)crypto_generichash_update(&state, first ? other->bytes : self->bytes, NODE_ID_SIZE);
    (void)crypto_generichash_final(&state, out, KEYRING_SIZE);
    sodium_memzero(shared, sizeof shared);
    sodium_memzero(&state, sizeof state);
    return true;
}

void keyring_mac(const uint8_t pair[static KEYRING_SIZE], struct fly_bytes message,
                 uint8_t out[static PACKET_MAC_SIZE])
{
    uint8_t hash[crypto_generichash_BYTES_MIN];

    (void)crypto_generichash(hash, sizeof hash, message.data, message.size, pair, KEYRING_SIZE);
    memcpy(out, hash, PACKET_MAC_SIZE);
}

bool keyring_mac_ok(const uint8_t pair[static KEYRING_SIZE], struct fly_bytes message,
                    const uint8_t mac[static PACKET_MAC_SIZE])
{
    uint8_t right[PACKET_MAC_SIZE];

    keyring_mac(pair, message, right);
    return sodium_memcmp(right, mac, PACKET_MAC_SIZE) == 0;
}
