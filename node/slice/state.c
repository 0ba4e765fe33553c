#include "node/slice/state.h"

#include <sodium.h>
#include <string.h>

#include "node/slice/state_parts.h"
#include "proto/base/check.h"
#include "proto/wire/vmid.h"

static const struct slice_machine no_machine;
static const struct slice_record no_record;

static size_t aligned(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

size_t slice_state_size(const struct slice_config *config)
{
    return aligned(sizeof(struct slice_state)) +
           chunks_size(sizeof(struct slice_machine), config->machines_max) +
           chunks_size(sizeof(struct slice_record), config->records_max) +
           aligned(index_size(config->machines_max)) + 2 * aligned(index_size(config->records_max));
}

struct slice_state *slice_state_init(void *memory, const struct slice_config *config)
{
    struct slice_state *s = memory;
    uint8_t *p = memory;

    FLY_CHECK(config->machines_max >= 1 && config->machines_max <= SLICE_MACHINES_MAX);
    FLY_CHECK(config->records_max >= 16 && config->records_max <= UINT32_C(1) << 24);
    s->config = *config;
    p += aligned(sizeof *s);
    chunks_init(&s->machines, p, sizeof(struct slice_machine), config->machines_max);
    p += chunks_size(sizeof(struct slice_machine), config->machines_max);
    chunks_init(&s->records, p, sizeof(struct slice_record), config->records_max);
    p += chunks_size(sizeof(struct slice_record), config->records_max);
    index_init(&s->machine_by_name, p, config->machines_max);
    p += aligned(index_size(config->machines_max));
    index_init(&s->record_by_key, p, config->records_max);
    p += aligned(index_size(config->records_max));
    index_init(&s->record_by_number, p, config->records_max);
    for (unsigned i = 0; i < QUEUE_COUNT; i++) {
        s->core.queues[i] = (struct expiry_queue){.head = SLICE_NONE, .tail = SLICE_NONE};
    }
    return s;
}

/* SipHash with the state's own seed: chosen keys do not find its collisions. */
static uint32_t hash_bytes(const struct slice_state *s, const void *data, size_t size)
{
    uint8_t key[crypto_shorthash_KEYBYTES] = {0};
    uint8_t hash[crypto_shorthash_BYTES];

    fly_store_u64(key, s->config.hash_seed);
    (void)crypto_shorthash(hash, data, size, key);
    return fly_load_u32(hash);
}

static uint32_t hash_key(const struct slice_state *s, const char *subject,
                         const struct fly_key *key)
{
    uint8_t data[FLY_KEY_SIZE + FLY_SUBJECT_SIZE];
    size_t size = strlen(subject);

    FLY_CHECK(size < FLY_SUBJECT_SIZE);
    memcpy(data, key->bytes, FLY_KEY_SIZE);
    memcpy(data + FLY_KEY_SIZE, subject, size);
    return hash_bytes(s, data, FLY_KEY_SIZE + size);
}

/* Numbers count up and nobody chooses them: neighbours share a page of the table. */
static uint32_t hash_number(uint64_t number)
{
    return (uint32_t)number;
}

const struct slice_totals *slice_totals(const struct slice_state *s)
{
    return &s->core.totals;
}

uint32_t slice_machine_slots(const struct slice_state *s)
{
    return s->core.machines_used;
}

uint32_t slice_record_slots(const struct slice_state *s)
{
    return s->core.records_used;
}

const struct slice_machine *slice_machine_at(const struct slice_state *s, uint32_t slot)
{
    const void *m = slot < s->core.machines_used ? chunks_at(&s->machines, slot) : NULL;
    return m != NULL ? m : &no_machine;
}

const struct slice_record *slice_record_at(const struct slice_state *s, uint32_t slot)
{
    const void *r = slot < s->core.records_used ? chunks_at(&s->records, slot) : NULL;
    return r != NULL ? r : &no_record;
}

uint32_t slice_record_find(const struct slice_state *s, const char *subject,
                           const struct fly_key *key)
{
    struct index_cursor at = index_search(&s->record_by_key, hash_key(s, subject, key));

    for (;;) {
        uint32_t slot = index_next(&s->record_by_key, &at);
        if (slot == UINT32_MAX) {
            return SLICE_NONE;
        }
        const struct slice_record *r = slice_record_at(s, slot);
        if (key_equal(&r->key, key) && strcmp(r->subject, subject) == 0) {
            return slot;
        }
    }
}

uint32_t slice_vm_find(const struct slice_state *s, uint64_t vm)
{
    uint64_t number = vmid_number(vm);

    if (vm >> 60 != 0 || vmid_tag(vm) != s->core.totals.tag) {
        return SLICE_NONE;
    }
    struct index_cursor at = index_search(&s->record_by_number, hash_number(number));
    for (;;) {
        uint32_t slot = index_next(&s->record_by_number, &at);
        if (slot == UINT32_MAX || slice_record_at(s, slot)->number == number) {
            return slot == UINT32_MAX ? SLICE_NONE : slot;
        }
    }
}

uint32_t slice_machine_find(const struct slice_state *s, const char *name)
{
    struct index_cursor at = index_search(&s->machine_by_name, hash_bytes(s, name, strlen(name)));

    for (;;) {
        uint32_t slot = index_next(&s->machine_by_name, &at);
        if (slot == UINT32_MAX || strcmp(slice_machine_at(s, slot)->name, name) == 0) {
            return slot == UINT32_MAX ? SLICE_NONE : slot;
        }
    }
}

enum slice_code slice_key_age(const struct slice_state *s, const struct fly_key *key,
                              int64_t wall_ms)
{
    if (!key_minted(key)) {
        return SLICE_OK;
    }
    int64_t mint_ms = (int64_t)key_mint_s(key) * 1000;
    if (mint_ms > wall_ms + SLICE_KEY_FUTURE_MS) {
        return SLICE_KEY_FUTURE;
    }
    if (key_mint_s(key) <= s->core.totals.purged_mint_s || mint_ms + SLICE_KEY_LIFE_MS < wall_ms) {
        return SLICE_KEY_EXPIRED;
    }
    return SLICE_OK;
}

bool slice_bind_doubtful(const struct slice_state *s, const struct slice_record *r)
{
    return r->kind == RECORD_BOUND && s->core.totals.lost_ms != 0 &&
           r->created_ms <= s->core.totals.lost_ms;
}

struct slice_view *slice_view_take(struct slice_state *s)
{
    if (s->viewed) {
        return NULL;
    }
    chunks_picture_take(&s->machines);
    chunks_picture_take(&s->records);
    s->view = (struct slice_view){.core = s->core, .state = s};
    s->viewed = true;
    return &s->view;
}

void slice_view_drop(struct slice_state *s, struct slice_view *view)
{
    FLY_CHECK(s->viewed && view == &s->view);
    chunks_picture_drop(&s->machines);
    chunks_picture_drop(&s->records);
    s->viewed = false;
}

enum fly_status state_fits(const struct slice_state *s, uint32_t machines_max, uint32_t records_max,
                           struct fly_error *error)
{
    if (machines_max <= s->config.machines_max && records_max <= s->config.records_max) {
        return FLY_OK;
    }
    return fly_error_set(error, FLY_RESOURCE_EXHAUSTED,
                         "the slice was founded for %u machines and %u records; this node has room "
                         "for %u and %u",
                         machines_max, records_max, s->config.machines_max, s->config.records_max);
}

struct slice_machine *state_machine_write(struct slice_state *s, uint32_t slot)
{
    FLY_CHECK(slot < s->core.machines_used);
    return chunks_write(&s->machines, slot);
}

struct slice_record *state_record_write(struct slice_state *s, uint32_t slot)
{
    FLY_CHECK(slot < s->core.records_used);
    return chunks_write(&s->records, slot);
}

uint32_t state_record_add(struct slice_state *s, const char *subject, const struct fly_key *key)
{
    uint32_t slot = 0;

    if (s->free_record != 0) {
        slot = s->free_record - 1;
        s->free_record = slice_record_at(s, slot)->next;
    } else if (s->core.records_used < s->core.totals.records_max) {
        slot = s->core.records_used++;
    } else {
        return SLICE_NONE;
    }
    struct slice_record *r = state_record_write(s, slot);
    *r = (struct slice_record){.key = *key, .next = SLICE_NONE, .machine = SLICE_NONE};
    FLY_CHECK(fly_copy_string(r->subject, sizeof r->subject, subject));
    index_add(&s->record_by_key, hash_key(s, subject, key), slot);
    s->core.totals.records++;
    return slot;
}

void state_vm_index(struct slice_state *s, uint32_t slot)
{
    index_add(&s->record_by_number, hash_number(slice_record_at(s, slot)->number), slot);
}

void state_record_drop(struct slice_state *s, uint32_t slot)
{
    struct slice_record *r = state_record_write(s, slot);

    index_drop(&s->record_by_key, hash_key(s, r->subject, &r->key), slot);
    if (r->kind == RECORD_VM) {
        index_drop(&s->record_by_number, hash_number(r->number), slot);
    }
    *r = (struct slice_record){.next = s->free_record};
    s->free_record = slot + 1;
    s->core.totals.records--;
}

void state_machine_put(struct slice_state *s, uint32_t slot, const struct slice_machine *machine)
{
    if (slot >= s->core.machines_used) {
        s->core.machines_used = slot + 1;
    }
    struct slice_machine *m = state_machine_write(s, slot);
    FLY_CHECK(m->name[0] == '\0');
    *m = *machine;
    index_add(&s->machine_by_name, hash_bytes(s, m->name, strlen(m->name)), slot);
    s->core.totals.machines++;
}

void state_machine_drop(struct slice_state *s, uint32_t slot)
{
    struct slice_machine *m = state_machine_write(s, slot);

    index_drop(&s->machine_by_name, hash_bytes(s, m->name, strlen(m->name)), slot);
    *m = (struct slice_machine){.name = ""};
    s->core.totals.machines--;
}

unsigned state_queue_of(const struct fly_key *key)
{
    return key_minted(key) ? QUEUE_MINTED : QUEUE_HASHED;
}

void state_queue_append(struct slice_state *s, uint32_t slot)
{
    struct slice_record *r = state_record_write(s, slot);
    struct expiry_queue *q = &s->core.queues[state_queue_of(&r->key)];

    FLY_CHECK(r->expires_ms > 0);
    r->next = SLICE_NONE;
    if (q->tail == SLICE_NONE) {
        q->head = slot;
    } else {
        state_record_write(s, q->tail)->next = slot;
    }
    q->tail = slot;
}

uint32_t state_queue_pop(struct slice_state *s, unsigned queue)
{
    struct expiry_queue *q = &s->core.queues[queue];
    uint32_t slot = q->head;

    FLY_CHECK(slot != SLICE_NONE);
    q->head = slice_record_at(s, slot)->next;
    if (q->head == SLICE_NONE) {
        q->tail = SLICE_NONE;
    }
    return slot;
}
