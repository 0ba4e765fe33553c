/*
 * rng - seeded generator, handed in as an argument wherever chance is needed.
 *
 * xoshiro256** by Blackman and Vigna (public domain), seeded through splitmix64. Not for secrets:
 * those come from libsodium in a shell. Same seed, same numbers, on every machine.
 */
#ifndef FLY_BASE_RNG_H
#define FLY_BASE_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fly_rng {
    uint64_t state[4];
};

void fly_rng_seed(struct fly_rng *rng, uint64_t seed);
uint64_t fly_rng_next(struct fly_rng *rng);
/* Uniform in [0, bound), bound ≥ 1 (Lemire's multiply; the bias below 2^-32 is accepted). */
uint64_t fly_rng_below(struct fly_rng *rng, uint64_t bound);
/* True `per_mille` times in a thousand. */
bool fly_rng_chance(struct fly_rng *rng, unsigned per_mille);
void fly_rng_fill(struct fly_rng *rng, void *out, size_t size);

#endif
