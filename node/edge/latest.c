#include "node/edge/latest.h"

#include <string.h>

#include "proto/base/check.h"

enum fact {
    FACT_VM = 1 << 0,
    FACT_HERE = 1 << 1, /* whether the machine is there */
    FACT_SIZE = 1 << 2,
    FACT_CORDON = 1 << 3, /* whether it is cordoned */
    FACT_FREE = 1 << 4,
};

static size_t rounded(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

static size_t table_size(uint32_t max, uint32_t key_size)
{
    return rounded((size_t)max * key_size) + rounded((size_t)max * sizeof(uint32_t)) +
           rounded(max) + rounded(index_size(max));
}

size_t latest_size(uint32_t events_max)
{
    return table_size(events_max, sizeof(uint64_t)) + table_size(events_max, EVENT_NAME_SIZE);
}

static void table_init(struct latest_table *t, uint8_t *memory, uint32_t max, uint32_t key_size)
{
    *t = (struct latest_table){.keys = memory, .key_size = key_size};
    memory += rounded((size_t)max * key_size);
    t->hashes = (uint32_t *)(void *)memory;
    memory += rounded((size_t)max * sizeof(uint32_t));
    t->facts = memory;
    memory += rounded(max);
    index_init(&t->index, memory, max);
}

void latest_init(struct latest *l, void *memory, uint32_t events_max, uint64_t seed)
{
    l->events_max = events_max;
    l->seed = seed;
    table_init(&l->vms, memory, events_max, sizeof(uint64_t));
    table_init(&l->machines, (uint8_t *)memory + table_size(events_max, sizeof(uint64_t)),
               events_max, EVENT_NAME_SIZE);
}

static void table_begin(struct latest_table *t)
{
    while (t->count > 0) {
        t->count--;
        index_drop(&t->index, t->hashes[t->count], t->count);
    }
}

void latest_begin(struct latest *l)
{
    table_begin(&l->vms);
    table_begin(&l->machines);
}

/* FNV-1a over the bytes and the seed, its halves folded. */
static uint32_t hash_of(uint64_t seed, const uint8_t *bytes, size_t size)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;

    for (size_t i = 0; i < size; i++) {
        h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return (uint32_t)(h ^ h >> 32);
}

/* True: something of it was not said before. `key`: key_size bytes, of which hash_size tell keys
 * apart. */
static bool say(struct latest *l, struct latest_table *t, const void *key, size_t hash_size,
                uint8_t facts)
{
    uint32_t hash = hash_of(l->seed, key, hash_size);
    struct index_cursor at = index_search(&t->index, hash);
    uint32_t i = index_next(&t->index, &at);

    while (i != UINT32_MAX && memcmp(t->keys + (size_t)i * t->key_size, key, t->key_size) != 0) {
        i = index_next(&t->index, &at);
    }
    if (i == UINT32_MAX) {
        i = t->count++;
        FLY_CHECK(i < l->events_max);
        memcpy(t->keys + (size_t)i * t->key_size, key, t->key_size);
        t->hashes[i] = hash;
        t->facts[i] = 0;
        index_add(&t->index, hash, i);
    }
    bool new = (facts & ~t->facts[i]) != 0;
    t->facts[i] |= facts;
    return new;
}

static bool say_machine(struct latest *l, const char *name, uint8_t facts)
{
    char key[EVENT_NAME_SIZE] = "";
    size_t size = strlen(name);

    FLY_CHECK(size < sizeof key);
    memcpy(key, name, size);
    return say(l, &l->machines, key, size, facts);
}

bool latest_needs(struct latest *l, const struct event *event)
{
    bool needed = false;
    uint8_t facts = FACT_FREE;

    switch (event->type) {
    case EVENT_VM_STARTED:
    case EVENT_VM_DESTROYED:
        needed = say(l, &l->vms, &event->vm, sizeof event->vm, FACT_VM);
        break;
    case EVENT_MACHINE_ADDED:
    case EVENT_MACHINE_REMOVED:
        facts = FACT_HERE | FACT_SIZE | FACT_CORDON | FACT_FREE;
        break;
    case EVENT_MACHINE_RESIZED:
        facts = FACT_SIZE | FACT_FREE;
        break;
    case EVENT_MACHINE_CORDONED:
    case EVENT_MACHINE_UNCORDONED:
        facts = FACT_CORDON | FACT_FREE;
        break;
    default:
        return true;
    }
    return say_machine(l, event->machine, facts) || needed;
}
