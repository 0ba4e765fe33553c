/*
 * member - a node as the others see it, in the words that a browser is told. Pure.
 */
#ifndef FLY_DASH_MEMBER_H
#define FLY_DASH_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

enum { DASH_MEMBERS_MAX = 4096, DASH_MEMBER_SLICES_MAX = 4 };

struct dash_member_slice {
    uint32_t tag;
    uint64_t epoch;
};

struct dash_member {
    char name[64];
    char region[16];
    char roles[64];   /* "peer,edge" */
    char state[16];   /* alive, suspect, dead, left */
    char address[64]; /* of its RPC */
    char version[16];
    char note[96];
    bool serving;
    bool self;
    uint64_t rtt_us;  /* 0: not measured */
    int64_t since_ms; /* in this state, wall time */
    uint32_t generation;
    uint8_t slice_count;
    struct dash_member_slice slices[DASH_MEMBER_SLICES_MAX];
};

#endif
