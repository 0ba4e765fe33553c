/*
 * peers - what a node remembers of its cluster over a restart: where members were, what was seen.
 *
 * The text form is one line a fact, for the file `peers` of the state folder:
 *
 *   flylight-peers 1
 *   member 00112233445566778899aabbccddeeff n-1 10.0.0.5:7400 [fd00:0:0:0:0:0:0:5]:7400
 *   slice 0a1b2c 1 00000000deadbeef:17 00000000cafebabe:9000      tag, forgotten, logs
 *   forgotten 0a1b2c 01000a1b2c...                                 the signed word that it is
 *   sum 0123456789abcdef                                           FNV-1a of all before it
 *
 * Reading is strict, all or nothing: this is the memory that keeps a restored owner quarantined.
 * Pure; memory is one zeroed block from the caller.
 */
#ifndef FLY_CATALOG_PEERS_H
#define FLY_CATALOG_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/catalog/seen.h"
#include "proto/base/status.h"
#include "proto/wire/credential.h"

struct peers;

enum {
    PEERS_MEMBERS_MAX = 4096,
    PEERS_ADDRESSES_MAX = 2,
    PEERS_WORDS_MAX = 256,
    PEERS_WORD_SIZE_MAX = 512,
    PEERS_TEXT_SIZE_MAX = 2 << 20,
};

/* As struct gossip_address: IPv4 as ::ffff:a.b.c.d. */
struct peers_address {
    uint8_t ip[16];
    uint16_t port;
};

struct peers_member {
    struct node_id id;
    char name[NODE_NAME_SIZE];
    struct peers_address addresses[PEERS_ADDRESSES_MAX]; /* the latest first */
    uint32_t address_count;
};

/* That a slice is forgotten, as it was signed: node/forget.h. Not looked into here. */
struct peers_word {
    uint32_t tag;
    size_t size;
    uint8_t bytes[PEERS_WORD_SIZE_MAX];
};

size_t peers_size(void);
struct peers *peers_init(void *memory, uint64_t hash_seed);
/* The member is at this address now; the one before is kept too. False: no room, or not a name. */
bool peers_note(struct peers *p, const struct node_id *id, const char *name,
                const struct peers_address *address);
/* The member was reaped. */
void peers_drop(struct peers *p, const struct node_id *id);
uint32_t peers_count(const struct peers *p);
/* In no particular order, up to peers_count; borrowed until the next change. */
const struct peers_member *peers_at(const struct peers *p, uint32_t i);
/* Keeps the word; the first of a slice stays. False: no room, or its size. */
bool peers_keep_word(struct peers *p, uint32_t tag, const uint8_t *bytes, size_t size);
/* In the order in which they came. */
uint32_t peers_word_count(const struct peers *p);
const struct peers_word *peers_word_at(const struct peers *p, uint32_t i);
/* NULL: none. */
const struct peers_word *peers_word(const struct peers *p, uint32_t tag);
/* Empties it. */
void peers_clear(struct peers *p);
uint64_t peers_version(const struct peers *p);

/* The whole text; its size in bytes, at most PEERS_TEXT_SIZE_MAX, which is always enough; 0: it
 * does not fit in max. */
size_t peers_encode(const struct peers *p, const struct seen *s, char *out, size_t max);
/* Into an empty p and s. INVALID_ARGUMENT names line and reason, and both stay empty. */
enum fly_status peers_decode(const char *text, size_t size, struct peers *p, struct seen *s,
                             struct fly_error *error);

#endif
