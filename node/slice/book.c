#include "node/slice/book.h"

#include <sodium.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"

enum { SLOT_BITS = 16 };

static size_t aligned(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

size_t book_size(uint32_t flights_max, uint32_t machines_max)
{
    return aligned(flights_max * sizeof(struct flight)) + aligned(index_size(flights_max)) +
           aligned(machines_max * sizeof(uint64_t)) + aligned(machines_max * sizeof(uint32_t));
}

void book_init(struct book *b, void *memory, uint32_t flights_max, uint32_t machines_max,
               uint64_t hash_seed)
{
    uint8_t *p = memory;

    FLY_CHECK(flights_max >= 1 && flights_max < UINT32_C(1) << SLOT_BITS);
    *b = (struct book){.flights_max = flights_max, .hash_seed = hash_seed};
    b->flights = memory;
    p += aligned(flights_max * sizeof(struct flight));
    index_init(&b->by_key, p, flights_max);
    p += aligned(index_size(flights_max));
    b->memory_held = (uint64_t *)(void *)p;
    p += aligned(machines_max * sizeof(uint64_t));
    b->cores_held = (uint32_t *)(void *)p;
    for (unsigned i = 0; i < FLY_ARRAY_COUNT(b->lists); i++) {
        fly_list_init(&b->lists[i]);
    }
}

static uint32_t hash_key(const struct book *b, const char *subject, const struct fly_key *key)
{
    uint8_t seed[crypto_shorthash_KEYBYTES] = {0};
    uint8_t data[FLY_KEY_SIZE + FLY_SUBJECT_SIZE];
    uint8_t hash[crypto_shorthash_BYTES];
    size_t size = strlen(subject);

    FLY_CHECK(size < FLY_SUBJECT_SIZE);
    fly_store_u64(seed, b->hash_seed);
    memcpy(data, key->bytes, FLY_KEY_SIZE);
    memcpy(data + FLY_KEY_SIZE, subject, size);
    (void)crypto_shorthash(hash, data, FLY_KEY_SIZE + size, seed);
    return fly_load_u32(hash);
}

static uint32_t slot_of(const struct book *b, const struct flight *f)
{
    return (uint32_t)(f - b->flights);
}

struct flight *book_first(const struct book *b, enum flight_state state)
{
    const struct fly_list *head = &b->lists[state];

    return fly_list_empty(head) ? NULL : FLY_CONTAINER(head->next, struct flight, link);
}

struct flight *book_add(struct book *b, const struct command *command, enum flight_state state,
                        const struct reserve *reserve)
{
    struct flight *f = book_first(b, FLIGHT_FREE);

    if (f != NULL) {
        fly_list_drop(&f->link);
    } else if (b->fresh < b->flights_max) {
        f = &b->flights[b->fresh++];
    } else {
        return NULL;
    }
    *f = (struct flight){.state = state, .command = *command};
    fly_list_append(&b->lists[state], &f->link);
    b->flight_count++;
    f->keyed = command->type == COMMAND_LAUNCH || command->type == COMMAND_BIND ||
               command->type == COMMAND_CANCEL;
    if (f->keyed) {
        f->hash = hash_key(b, command->subject, &command->key);
        index_add(&b->by_key, f->hash, slot_of(b, f));
    }
    if (reserve != NULL) {
        f->reserve = *reserve;
        b->cores_held[reserve->machine] += reserve->cores;
        b->memory_held[reserve->machine] += reserve->memory_bytes;
    }
    return f;
}

void book_move(struct book *b, struct flight *f, enum flight_state state)
{
    FLY_CHECK(f->state != FLIGHT_FREE && state != FLIGHT_FREE);
    fly_list_drop(&f->link);
    fly_list_append(&b->lists[state], &f->link);
    f->state = state;
}

void book_drop(struct book *b, struct flight *f)
{
    const struct reserve *r = &f->reserve;

    FLY_CHECK(f->state != FLIGHT_FREE);
    if (f->keyed) {
        index_drop(&b->by_key, f->hash, slot_of(b, f));
    }
    FLY_CHECK(b->cores_held[r->machine] >= r->cores);
    FLY_CHECK(b->memory_held[r->machine] >= r->memory_bytes);
    b->cores_held[r->machine] -= r->cores;
    b->memory_held[r->machine] -= r->memory_bytes;
    fly_list_drop(&f->link);
    f->state = FLIGHT_FREE;
    f->id = (struct hold_id){.slice = 0};
    fly_list_prepend(&b->lists[FLIGHT_FREE], &f->link);
    b->flight_count--;
}

struct flight *book_find(const struct book *b, const char *subject, const struct fly_key *key)
{
    struct index_cursor at = index_search(&b->by_key, hash_key(b, subject, key));

    for (;;) {
        uint32_t slot = index_next(&b->by_key, &at);
        if (slot == UINT32_MAX) {
            return NULL;
        }
        struct flight *f = &b->flights[slot];
        if (key_equal(&f->command.key, key) && strcmp(f->command.subject, subject) == 0) {
            return f;
        }
    }
}

struct flight *book_find_hold(const struct book *b, const struct hold_id *id)
{
    uint32_t slot = (uint32_t)(id->counter & ((UINT32_C(1) << SLOT_BITS) - 1));

    if (slot >= b->fresh || id->slice == 0) {
        return NULL;
    }
    struct flight *f = &b->flights[slot];
    return f->state != FLIGHT_FREE && hold_equal(&f->id, id) ? f : NULL;
}

bool flight_wait(struct flight *f, uint64_t ticket, enum owner_call_kind kind)
{
    if (f->waiter_count == FLIGHT_WAITERS_MAX) {
        return false;
    }
    f->waiters[f->waiter_count++] = (struct waiter){.ticket = ticket, .kind = kind};
    return true;
}

uint32_t book_cores_free(const struct book *b, const struct slice_state *s, uint32_t machine)
{
    const struct slice_machine *m = slice_machine_at(s, machine);
    uint32_t taken = m->cores_used + b->cores_held[machine];

    return taken < m->cores ? m->cores - taken : 0;
}

uint64_t book_memory_free(const struct book *b, const struct slice_state *s, uint32_t machine)
{
    const struct slice_machine *m = slice_machine_at(s, machine);
    uint64_t taken = m->memory_used_bytes + b->memory_held[machine];

    return taken < m->memory_bytes ? m->memory_bytes - taken : 0;
}

uint32_t book_choose(const struct book *b, const struct slice_state *s, const char *region,
                     uint32_t cores, uint64_t memory_bytes, struct fly_rng *rng)
{
    uint32_t best = SLICE_NONE;
    uint32_t best_free = 0;
    uint32_t ties = 0;

    for (uint32_t slot = 0; slot < slice_machine_slots(s); slot++) {
        const struct slice_machine *m = slice_machine_at(s, slot);
        uint32_t free_cores = book_cores_free(b, s, slot);
        if (m->name[0] == '\0' || m->cordoned || strcmp(m->region, region) != 0 ||
            free_cores < cores || book_memory_free(b, s, slot) < memory_bytes ||
            free_cores < best_free) {
            continue;
        }
        ties = free_cores == best_free ? ties + 1 : 1;
        if (fly_rng_below(rng, ties) == 0) { /* one of the equals, each as likely */
            best = slot;
        }
        best_free = free_cores;
    }
    return best;
}
