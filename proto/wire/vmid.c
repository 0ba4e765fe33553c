#include "proto/wire/vmid.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/wire/key.h"

enum { NUMBER_BITS = 36, TAG_BITS = 24, FOLD = 18 };

/* An odd factor and its inverse modulo 2^36: multiplying by one undoes the other. */
#define FACTOR UINT64_C(0x9e3779b97)
#define FACTOR_INVERSE UINT64_C(0x54e4c9427)

static const char *const adjectives[] = {
    "amber", "bold",  "brave", "brisk", "calm",  "clear", "cool",  "crisp",
    "dawn",  "deep",  "early", "fair",  "fleet", "fresh", "glad",  "gold",
    "grand", "green", "keen",  "kind",  "light", "lucky", "mild",  "neat",
    "noble", "quick", "quiet", "rapid", "sharp", "still", "swift", "warm",
};
static const char *const nouns[] = {
    "arrow", "badger", "beacon", "breeze", "brook",  "cedar",  "cliff", "cloud",
    "comet", "crane",  "dune",   "eagle",  "ember",  "falcon", "fern",  "field",
    "finch", "glade",  "harbor", "heron",  "island", "lark",   "maple", "meadow",
    "otter", "pebble", "raven",  "reef",   "ridge",  "river",  "spark", "wave",
};

uint64_t vmid_make(uint32_t tag, uint64_t number)
{
    FLY_CHECK(tag >= 1 && tag <= FLY_TAG_MAX);
    FLY_CHECK(number >= 1 && number <= VMID_NUMBER_MAX);
    uint64_t mixed = number * FACTOR & VMID_NUMBER_MAX;
    mixed ^= mixed >> FOLD;
    return mixed << TAG_BITS | tag;
}

uint32_t vmid_tag(uint64_t id)
{
    return (uint32_t)(id & FLY_TAG_MAX);
}

uint64_t vmid_number(uint64_t id)
{
    uint64_t mixed = id >> TAG_BITS;

    mixed ^= mixed >> FOLD; /* half the width: its own inverse */
    return mixed * FACTOR_INVERSE & VMID_NUMBER_MAX;
}

void vmid_format(uint64_t id, char out[static VMID_TEXT_SIZE])
{
    fly_crockford_encode(id, VMID_DIGITS, out);
}

bool vmid_parse(const char *text, uint64_t *out)
{
    return strlen(text) == VMID_DIGITS && fly_crockford_decode(text, VMID_DIGITS, out);
}

static void name_of(uint64_t x, char out[static 64])
{
    (void)snprintf(out, 64, "%s-%s-%04u", adjectives[x & 31], nouns[(x >> 5) & 31],
                   (unsigned)((x >> 10) % 10000));
}

void vmid_name(uint64_t id, char out[static 64])
{
    /* A multiple of the tag, odd and wide: each slice begins elsewhere in the same circle of names.
     */
    uint64_t shift = (uint64_t)vmid_tag(id) * UINT64_C(0x9e3779b97f4a7c15);

    name_of(((id >> TAG_BITS) + (shift >> 20)) & VMID_NUMBER_MAX, out);
}

void vmid_name_1(uint64_t id, char out[static 64])
{
    name_of(id >> TAG_BITS, out);
}
