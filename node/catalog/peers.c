#include "node/catalog/peers.h"

#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/index.h"

struct peers {
    uint64_t hash_seed;
    uint64_t version;
    uint32_t count;
    struct index by_id;
    struct peers_member members[PEERS_MEMBERS_MAX];
    uint32_t word_count;
    struct peers_word words[PEERS_WORDS_MAX];
};

static size_t head_size(void)
{
    return (sizeof(struct peers) + 15) & ~(size_t)15;
}

size_t peers_size(void)
{
    return head_size() + index_size(PEERS_MEMBERS_MAX);
}

struct peers *peers_init(void *memory, uint64_t hash_seed)
{
    struct peers *p = memory;

    p->hash_seed = hash_seed;
    index_init(&p->by_id, (uint8_t *)memory + head_size(), PEERS_MEMBERS_MAX);
    return p;
}

/* Ids are hashes themselves. */
static uint32_t hash_id(const struct peers *p, const struct node_id *id)
{
    return (uint32_t)((fly_load_u64(id->bytes) ^ p->hash_seed) * UINT64_C(0x9e3779b97f4a7c15) >>
                      32);
}

static uint32_t find(const struct peers *p, const struct node_id *id)
{
    struct index_cursor at = index_search(&p->by_id, hash_id(p, id));

    for (;;) {
        uint32_t i = index_next(&p->by_id, &at);
        if (i == UINT32_MAX || memcmp(&p->members[i].id, id, sizeof *id) == 0) {
            return i;
        }
    }
}

static bool same_address(const struct peers_address *a, const struct peers_address *b)
{
    return memcmp(a->ip, b->ip, sizeof a->ip) == 0 && a->port == b->port;
}

bool peers_note(struct peers *p, const struct node_id *id, const char *name,
                const struct peers_address *address)
{
    uint32_t i = find(p, id);

    if (!fly_name_ok(name) || (i == UINT32_MAX && p->count == PEERS_MEMBERS_MAX)) {
        return false;
    }
    if (i == UINT32_MAX) {
        i = p->count++;
        p->members[i] = (struct peers_member){.id = *id};
        index_add(&p->by_id, hash_id(p, id), i);
    }
    struct peers_member *m = &p->members[i];
    if (strcmp(m->name, name) != 0) {
        (void)fly_copy_string(m->name, sizeof m->name, name);
        p->version++;
    }
    if (m->address_count == 0 || !same_address(&m->addresses[0], address)) {
        m->addresses[1] = m->addresses[0];
        m->addresses[0] = *address;
        m->address_count += m->address_count < PEERS_ADDRESSES_MAX;
        p->version++;
    }
    return true;
}

void peers_drop(struct peers *p, const struct node_id *id)
{
    uint32_t i = find(p, id);

    if (i == UINT32_MAX) {
        return;
    }
    uint32_t last = --p->count;
    index_drop(&p->by_id, hash_id(p, id), i);
    if (i != last) {
        index_drop(&p->by_id, hash_id(p, &p->members[last].id), last);
        p->members[i] = p->members[last];
        index_add(&p->by_id, hash_id(p, &p->members[i].id), i);
    }
    p->version++;
}

uint32_t peers_count(const struct peers *p)
{
    return p->count;
}

const struct peers_member *peers_at(const struct peers *p, uint32_t i)
{
    FLY_CHECK(i < p->count);
    return &p->members[i];
}

const struct peers_word *peers_word(const struct peers *p, uint32_t tag)
{
    for (uint32_t i = 0; i < p->word_count; i++) {
        if (p->words[i].tag == tag) {
            return &p->words[i];
        }
    }
    return NULL;
}

bool peers_keep_word(struct peers *p, uint32_t tag, const uint8_t *bytes, size_t size)
{
    if (peers_word(p, tag) != NULL) {
        return true;
    }
    if (p->word_count == PEERS_WORDS_MAX || size == 0 || size > PEERS_WORD_SIZE_MAX) {
        return false;
    }
    struct peers_word *w = &p->words[p->word_count++];
    w->tag = tag;
    w->size = size;
    memcpy(w->bytes, bytes, size);
    p->version++;
    return true;
}

uint32_t peers_word_count(const struct peers *p)
{
    return p->word_count;
}

const struct peers_word *peers_word_at(const struct peers *p, uint32_t i)
{
    FLY_CHECK(i < p->word_count);
    return &p->words[i];
}

void peers_clear(struct peers *p)
{
    while (p->count > 0) {
        const struct node_id id = p->members[p->count - 1].id;
        peers_drop(p, &id);
    }
    p->version += p->word_count > 0;
    p->word_count = 0;
}

uint64_t peers_version(const struct peers *p)
{
    return p->version;
}
