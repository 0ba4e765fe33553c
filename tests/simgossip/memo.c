/*
 * memo - remembers what libsodium answered: signatures that were checked, keys that pairs share.
 *
 * N nodes check each signature N times, and every world has the same identities: linked with
 * --wrap, the real function is asked once for each input. Nothing is assumed about the answers.
 */
#include <stdbool.h>
#include <string.h>

#include <sodium.h>

enum { PLACES = 1 << 16, KEY_SIZE = 32, VALUE_SIZE = 32 };

struct memo {
    bool used;
    int result;
    uint8_t key[KEY_SIZE]; /* hash of the input */
    uint8_t value[VALUE_SIZE];
};

static struct memo memos[PLACES];

static struct memo *find(const char *function, const void *a, size_t a_size, const void *b,
                         size_t b_size, const void *c, size_t c_size)
{
    crypto_generichash_state state;
    uint8_t hash[KEY_SIZE];
    size_t place;

    (void)crypto_generichash_init(&state, NULL, 0, sizeof hash);
    (void)crypto_generichash_update(&state, (const uint8_t *)function, strlen(function) + 1);
    (void)crypto_generichash_update(&state, a, a_size);
    (void)crypto_generichash_update(&state, b, b_size);
    (void)crypto_generichash_update(&state, c, c_size);
    (void)crypto_generichash_final(&state, hash, sizeof hash);
    memcpy(&place, hash, sizeof place);
    struct memo *m = &memos[place % PLACES];
    if (m->used && memcmp(m->key, hash, sizeof hash) != 0) {
        m->used = false;
    }
    memcpy(m->key, hash, sizeof hash);
    return m;
}

int __real_crypto_sign_final_verify(crypto_sign_state *state, const unsigned char *signature,
                                    const unsigned char *key);
int __wrap_crypto_sign_final_verify(crypto_sign_state *state, const unsigned char *signature,
                                    const unsigned char *key);
int __wrap_crypto_sign_final_verify(crypto_sign_state *state, const unsigned char *signature,
                                    const unsigned char *key)
{
    crypto_hash_sha512_state copy = state->hs;
    uint8_t hash[crypto_hash_sha512_BYTES];

    (void)crypto_hash_sha512_final(&copy, hash);
    struct memo *m = find("verify", key, crypto_sign_PUBLICKEYBYTES, signature, crypto_sign_BYTES,
                          hash, sizeof hash);
    if (!m->used) {
        m->result = __real_crypto_sign_final_verify(state, signature, key);
        m->used = true;
    }
    return m->result;
}

int __real_crypto_scalarmult(unsigned char *out, const unsigned char *n, const unsigned char *p);
int __wrap_crypto_scalarmult(unsigned char *out, const unsigned char *n, const unsigned char *p);
int __wrap_crypto_scalarmult(unsigned char *out, const unsigned char *n, const unsigned char *p)
{
    struct memo *m =
        find("scalarmult", n, crypto_scalarmult_SCALARBYTES, p, crypto_scalarmult_BYTES, "", 0);

    if (!m->used) {
        m->result = __real_crypto_scalarmult(m->value, n, p);
        m->used = true;
    }
    memcpy(out, m->value, crypto_scalarmult_BYTES);
    return m->result;
}

int __real_crypto_sign_ed25519_pk_to_curve25519(unsigned char *out, const unsigned char *key);
int __wrap_crypto_sign_ed25519_pk_to_curve25519(unsigned char *out, const unsigned char *key);
int __wrap_crypto_sign_ed25519_pk_to_curve25519(unsigned char *out, const unsigned char *key)
{
    struct memo *m = find("curve", key, crypto_sign_PUBLICKEYBYTES, "", 0, "", 0);

    if (!m->used) {
        m->result = __real_crypto_sign_ed25519_pk_to_curve25519(m->value, key);
        m->used = true;
    }
    memcpy(out, m->value, crypto_scalarmult_BYTES);
    return m->result;
}
