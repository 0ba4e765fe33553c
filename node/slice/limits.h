/*
 * limits - the numbers that bound one slice, in one place (DESIGN 11). Pure.
 */
#ifndef FLY_SLICE_LIMITS_H
#define FLY_SLICE_LIMITS_H

#include <stdint.h>

enum {
    SLICE_MACHINES_MAX = 65536,
    SLICE_CORES_MAX = 1024,          /* of one VM */
    SLICE_MACHINE_CORES_MAX = 65536, /* of one machine */
    SLICE_BATCH_COMMANDS_MAX = 256,  /* in one entry */
    SLICE_BATCH_BYTES_MAX = 128 * 1024,
    SLICE_LOST_MAX = 4,    /* other incarnations whose loss is remembered */
    SLICE_PURGE_MAX = 512, /* records forgotten by one entry */

    SLICE_KEY_LIFE_MS = 15 * 60 * 1000,          /* of a minted key, after its VM */
    SLICE_HASHED_KEY_LIFE_MS = 24 * 3600 * 1000, /* of a 00 key, after its VM */
    SLICE_KEY_FUTURE_MS = 120 * 1000,            /* how far ahead a minter's clock may be */
    SLICE_HOLD_LIFE_MS = 3000,
};

/* What an accepted loss is jumped over by, beyond what anybody is known to have seen: the least,
 * and what the leader's chance adds to it, so that two losses of which nobody saw the same do not
 * land on the same numbers. */
#define SLICE_LOSS_MARGIN (UINT64_C(1) << 20)
#define SLICE_LOSS_CHANCE (UINT64_C(1) << 24)
#define SLICE_VM_MEMORY_MIN UINT64_C(1000000)        /* 1 MB */
#define SLICE_VM_MEMORY_MAX UINT64_C(64000000000000) /* 64 TB */

#endif
