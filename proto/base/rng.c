#include "proto/base/rng.h"

#include "proto/base/check.h"

static uint64_t rotate_left(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

void fly_rng_seed(struct fly_rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        rng->state[i] = z ^ (z >> 31);
    }
}

uint64_t fly_rng_next(struct fly_rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t fly_rng_below(struct fly_rng *rng, uint64_t bound)
{
    FLY_CHECK(bound > 0);
    if (bound <= UINT32_MAX) {
        return ((fly_rng_next(rng) >> 32) * bound) >> 32;
    }
    return fly_rng_next(rng) % bound;
}

bool fly_rng_chance(struct fly_rng *rng, unsigned per_mille)
{
    return fly_rng_below(rng, 1000) < per_mille;
}

void fly_rng_fill(struct fly_rng *rng, void *out, size_t size)
{
    uint8_t *p = out;

    for (size_t i = 0; i < size; i++) {
        p[i] = (uint8_t)(fly_rng_next(rng) >> 56);
    }
}
