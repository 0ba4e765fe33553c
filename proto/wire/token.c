#include "proto/wire/token.h"

#include <string.h>

#include <sodium.h>

#include "proto/base/check.h"
#include "proto/wire/base64.h"

static const char header[] = "v4.public.";
static const char public_header[] = "k4.public.";
static const char secret_header[] = "k4.secret.";
static const char id_header[] = "k4.pid.";

enum {
    HEADER_SIZE = sizeof header - 1,
    SIGNATURE_SIZE = crypto_sign_BYTES,
    KEY_ID_BYTES = 33,
    /* five lengths of 8 bytes and the four pieces */
    PAE_MAX = 5 * 8 + HEADER_SIZE + TOKEN_PAYLOAD_MAX + TOKEN_FOOTER_MAX + TOKEN_IMPLICIT_MAX,
};

_Static_assert(sizeof((struct token_public_key *)0)->bytes == crypto_sign_PUBLICKEYBYTES, "key");
_Static_assert(sizeof((struct token_secret_key *)0)->bytes == crypto_sign_SECRETKEYBYTES, "key");
_Static_assert(TOKEN_SEED_SIZE == crypto_sign_SEEDBYTES, "seed");
_Static_assert(TOKEN_KID_SIZE ==
                   sizeof id_header - 1 +
                       sodium_base64_ENCODED_LEN(KEY_ID_BYTES,
                                                 sodium_base64_VARIANT_URLSAFE_NO_PADDING),
               "kid");
_Static_assert(TOKEN_PUBLIC_TEXT_SIZE ==
                   sizeof public_header - 1 +
                       sodium_base64_ENCODED_LEN(32, sodium_base64_VARIANT_URLSAFE_NO_PADDING),
               "k4.public");
_Static_assert(TOKEN_SECRET_TEXT_SIZE ==
                   sizeof secret_header - 1 +
                       sodium_base64_ENCODED_LEN(64, sodium_base64_VARIANT_URLSAFE_NO_PADDING),
               "k4.secret");

static bool has_header(const char *text, size_t size, const char *head, size_t head_size)
{
    return size >= head_size && memcmp(text, head, head_size) == 0;
}

/* --- keys --- */

void token_secret_key_from_seed(const uint8_t seed[static TOKEN_SEED_SIZE],
                                struct token_secret_key *out)
{
    struct token_public_key public_key;

    (void)crypto_sign_seed_keypair(public_key.bytes, out->bytes, seed);
}

struct token_public_key token_public_key_of(const struct token_secret_key *key)
{
    struct token_public_key public_key;

    memcpy(public_key.bytes, key->bytes + TOKEN_SEED_SIZE, sizeof public_key.bytes);
    return public_key;
}

struct token_key_id token_key_id_of(const struct token_public_key *key)
{
    struct token_key_id id;
    char text[sizeof id_header - 1 + TOKEN_PUBLIC_TEXT_SIZE];
    uint8_t digest[KEY_ID_BYTES];
    const size_t head_size = sizeof id_header - 1;

    memcpy(text, id_header, head_size);
    token_public_key_encode(key, text + head_size);
    (void)crypto_generichash(digest, sizeof digest, (const uint8_t *)text, sizeof text - 1, NULL,
                             0);
    memcpy(id.text, id_header, head_size);
    (void)base64_encode(digest, sizeof digest, id.text + head_size, sizeof id.text - head_size);
    return id;
}

void token_secret_key_wipe(struct token_secret_key *key)
{
    sodium_memzero(key, sizeof *key);
}

void token_public_key_encode(const struct token_public_key *key,
                             char out[static TOKEN_PUBLIC_TEXT_SIZE])
{
    const size_t head_size = sizeof public_header - 1;

    memcpy(out, public_header, head_size);
    (void)base64_encode(key->bytes, sizeof key->bytes, out + head_size,
                        TOKEN_PUBLIC_TEXT_SIZE - head_size);
}

bool token_public_key_decode(const char *text, size_t size, struct token_public_key *out)
{
    const size_t head_size = sizeof public_header - 1;
    struct token_public_key key;
    size_t decoded = 0;

    if (size != TOKEN_PUBLIC_TEXT_SIZE - 1 || !has_header(text, size, public_header, head_size) ||
        !base64_decode(text + head_size, size - head_size, key.bytes, sizeof key.bytes, &decoded) ||
        decoded != sizeof key.bytes) {
        return false;
    }
    *out = key;
    return true;
}

void token_secret_key_encode(const struct token_secret_key *key,
                             char out[static TOKEN_SECRET_TEXT_SIZE])
{
    const size_t head_size = sizeof secret_header - 1;

    memcpy(out, secret_header, head_size);
    (void)base64_encode(key->bytes, sizeof key->bytes, out + head_size,
                        TOKEN_SECRET_TEXT_SIZE - head_size);
}

bool token_secret_key_decode(const char *text, size_t size, struct token_secret_key *out)
{
    const size_t head_size = sizeof secret_header - 1;
    struct token_secret_key key;
    struct token_secret_key derived;
    size_t decoded = 0;
    bool ok = false;

    if (size == TOKEN_SECRET_TEXT_SIZE - 1 && has_header(text, size, secret_header, head_size) &&
        base64_decode(text + head_size, size - head_size, key.bytes, sizeof key.bytes, &decoded) &&
        decoded == sizeof key.bytes) {
        token_secret_key_from_seed(key.bytes, &derived);
        ok = sodium_memcmp(&key, &derived, sizeof key) == 0;
        if (ok) {
            *out = key;
        }
        token_secret_key_wipe(&derived);
    }
    token_secret_key_wipe(&key);
    return ok;
}

/* --- tokens --- */

static void pae_piece(struct fly_writer *w, const void *data, size_t size)
{
    fly_put_u64(w, size);
    fly_put_bytes(w, data, size);
}

/* Pre-Authentication Encoding of the four pieces (Common.md): every length before its bytes, so
 * that no byte can move from one piece into its neighbour. */
static size_t pae_encode(struct fly_bytes payload, struct fly_bytes footer,
                         struct fly_bytes implicit, uint8_t out[static PAE_MAX])
{
    struct fly_writer w = fly_writer_over(out, PAE_MAX);

    fly_put_u64(&w, 4);
    pae_piece(&w, header, HEADER_SIZE);
    pae_piece(&w, payload.data, payload.size);
    pae_piece(&w, footer.data, footer.size);
    pae_piece(&w, implicit.data, implicit.size);
    FLY_CHECK(!w.failed);
    return w.size;
}

enum fly_status token_sign(const struct token_secret_key *key, struct fly_bytes payload,
                           struct fly_bytes footer, struct fly_bytes implicit,
                           char out[static TOKEN_TEXT_MAX + 1], struct fly_error *error)
{
    uint8_t message[PAE_MAX];
    uint8_t body[TOKEN_PAYLOAD_MAX + SIGNATURE_SIZE];

    if (payload.size > TOKEN_PAYLOAD_MAX || footer.size > TOKEN_FOOTER_MAX ||
        implicit.size > TOKEN_IMPLICIT_MAX ||
        HEADER_SIZE + base64_size(payload.size + SIGNATURE_SIZE) +
                (footer.size > 0 ? 1 + base64_size(footer.size) : 0) >
            TOKEN_TEXT_MAX) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED,
                             "token: %zu bytes of claims and %zu of footer do not fit in %d",
                             payload.size, footer.size, TOKEN_TEXT_MAX);
    }
    size_t message_size = pae_encode(payload, footer, implicit, message);
    if (payload.size > 0) {
        memcpy(body, payload.data, payload.size);
    }
    (void)crypto_sign_detached(body + payload.size, NULL, message, message_size, key->bytes);
    memcpy(out, header, HEADER_SIZE);
    size_t size = HEADER_SIZE;
    size +=
        base64_encode(body, payload.size + SIGNATURE_SIZE, out + size, TOKEN_TEXT_MAX + 1 - size);
    if (footer.size > 0) {
        out[size++] = '.';
        (void)base64_encode(footer.data, footer.size, out + size, TOKEN_TEXT_MAX + 1 - size);
    }
    return FLY_OK;
}

static enum fly_status malformed(struct fly_error *error, const char *what)
{
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "token: %s", what);
}

enum fly_status token_peek(const char *text, size_t size, struct token *out,
                           struct fly_error *error)
{
    uint8_t body[TOKEN_PAYLOAD_MAX + SIGNATURE_SIZE];
    size_t body_size = 0;

    if (size > TOKEN_TEXT_MAX) {
        return malformed(error, "longer than 2048 characters");
    }
    if (!has_header(text, size, header, HEADER_SIZE)) {
        return malformed(error, "does not start with v4.public.");
    }
    text += HEADER_SIZE;
    size -= HEADER_SIZE;
    const char *dot = memchr(text, '.', size);
    size_t body_text_size = dot != NULL ? (size_t)(dot - text) : size;
    if (!base64_decode(text, body_text_size, body, sizeof body, &body_size) ||
        body_size < SIGNATURE_SIZE) {
        return malformed(error, "its body is not base64url of claims and a signature");
    }
    out->footer_size = 0;
    /* a dot with nothing after it would be a second text of the same token */
    if (dot != NULL && (!base64_decode(dot + 1, size - body_text_size - 1, out->footer,
                                       sizeof out->footer, &out->footer_size) ||
                        out->footer_size == 0)) {
        return malformed(error, "its footer is not base64url of at most 256 bytes");
    }
    out->payload_size = body_size - SIGNATURE_SIZE;
    memcpy(out->payload, body, out->payload_size);
    memcpy(out->signature, body + out->payload_size, SIGNATURE_SIZE);
    return FLY_OK;
}

void token_hash(const uint8_t key[static TOKEN_HASH_KEY_SIZE], const char *text, size_t size,
                uint8_t out[static TOKEN_HASH_SIZE])
{
    (void)crypto_generichash(out, TOKEN_HASH_SIZE, (const uint8_t *)text, size, key,
                             TOKEN_HASH_KEY_SIZE);
}

bool token_signed_by(const struct token *token, const struct token_public_key *key,
                     struct fly_bytes implicit)
{
    uint8_t message[PAE_MAX];
    const struct fly_bytes payload = {token->payload, token->payload_size};
    const struct fly_bytes footer = {token->footer, token->footer_size};

    FLY_CHECK(implicit.size <= TOKEN_IMPLICIT_MAX);
    size_t size = pae_encode(payload, footer, implicit, message);
    return crypto_sign_verify_detached(token->signature, message, size, key->bytes) == 0;
}

enum fly_status token_verify(const struct token_public_key *key, const char *text, size_t size,
                             struct fly_bytes implicit, struct token *out, struct fly_error *error)
{
    enum fly_status status = token_peek(text, size, out, error);

    if (status == FLY_OK && !token_signed_by(out, key, implicit)) {
        sodium_memzero(out, sizeof *out);
        status = fly_error_set(error, FLY_UNAUTHENTICATED,
                               "token: not signed by this issuer for this cluster");
    }
    return status;
}
