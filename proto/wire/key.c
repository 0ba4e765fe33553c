#include "proto/wire/key.h"

#include <sodium.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/id.h"

enum { HASHED = 0x00, MINTED = 0xf1, CHECKED_SIZE = 14, HASH_SIZE = 16 };

static void put_check(const uint8_t bytes[static CHECKED_SIZE], uint8_t out[static 2])
{
    uint8_t hash[HASH_SIZE];

    (void)crypto_generichash(hash, sizeof hash, bytes, CHECKED_SIZE, NULL, 0);
    memcpy(out, hash, 2);
}

void key_mint(struct fly_key *out, uint32_t tag, uint32_t mint_s,
              const uint8_t random[static FLY_KEY_RANDOM_SIZE])
{
    uint8_t *b = out->bytes;

    FLY_CHECK(tag >= 1 && tag <= FLY_TAG_MAX);
    b[0] = MINTED;
    b[1] = (uint8_t)(tag >> 16);
    b[2] = (uint8_t)(tag >> 8);
    b[3] = (uint8_t)tag;
    b[4] = (uint8_t)(mint_s >> 24);
    b[5] = (uint8_t)(mint_s >> 16);
    b[6] = (uint8_t)(mint_s >> 8);
    b[7] = (uint8_t)mint_s;
    memcpy(b + 8, random, FLY_KEY_RANDOM_SIZE);
    put_check(b, b + CHECKED_SIZE);
}

bool key_from_text(const char *text, struct fly_key *out)
{
    size_t size = strlen(text);

    if (size < 1 || size > FLY_KEY_TEXT_MAX) {
        return false;
    }
    uint8_t hash[HASH_SIZE];
    (void)crypto_generichash(hash, sizeof hash, (const uint8_t *)text, size, NULL, 0);
    out->bytes[0] = HASHED;
    memcpy(out->bytes + 1, hash, FLY_KEY_SIZE - 1);
    return true;
}

bool key_parse(const char *text, struct fly_key *out)
{
    struct fly_key key;

    if (fly_hex_decode(text, strlen(text), key.bytes, sizeof key.bytes) &&
        (key.bytes[0] == MINTED || key.bytes[0] == HASHED)) {
        if (!key_valid(&key)) {
            return false;
        }
        *out = key;
        return true;
    }
    return key_from_text(text, out);
}

void key_format(const struct fly_key *key, char out[static FLY_KEY_TEXT_SIZE])
{
    fly_hex_encode(key->bytes, FLY_KEY_SIZE, out);
}

static uint32_t key_tag(const struct fly_key *key)
{
    const uint8_t *b = key->bytes;
    return (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

bool key_valid(const struct fly_key *key)
{
    uint8_t check[2];

    if (key->bytes[0] == HASHED) {
        return true;
    }
    if (key->bytes[0] != MINTED || key_tag(key) == 0) {
        return false;
    }
    put_check(key->bytes, check);
    return memcmp(check, key->bytes + CHECKED_SIZE, sizeof check) == 0;
}

uint32_t key_home(const struct fly_key *key, uint32_t root_tag)
{
    FLY_CHECK(key_valid(key));
    return key_minted(key) ? key_tag(key) : root_tag;
}

bool key_minted(const struct fly_key *key)
{
    return key->bytes[0] == MINTED;
}

uint32_t key_mint_s(const struct fly_key *key)
{
    const uint8_t *b = key->bytes;

    if (!key_minted(key)) {
        return 0;
    }
    return (uint32_t)b[4] << 24 | (uint32_t)b[5] << 16 | (uint32_t)b[6] << 8 | b[7];
}

bool key_equal(const struct fly_key *a, const struct fly_key *b)
{
    return memcmp(a->bytes, b->bytes, FLY_KEY_SIZE) == 0;
}

void spec_digest(const char *region, uint32_t cores, uint64_t memory_bytes, const char *name,
                 struct fly_digest *out)
{
    uint8_t data[256];
    struct fly_writer w = fly_writer_over(data, sizeof data);

    fly_put_string8(&w, region);
    fly_put_u32(&w, cores);
    fly_put_u64(&w, memory_bytes);
    fly_put_string8(&w, name);
    FLY_CHECK(!w.failed);
    (void)crypto_generichash(out->bytes, FLY_DIGEST_SIZE, data, w.size, NULL, 0);
}
