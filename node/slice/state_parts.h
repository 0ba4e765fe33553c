/*
 * state_parts - the insides of slice_state, for state.c (queries), apply.c and snapshot.c only.
 */
#ifndef FLY_SLICE_STATE_PARTS_H
#define FLY_SLICE_STATE_PARTS_H

#include "node/slice/chunks.h"
#include "node/slice/state.h"
#include "proto/base/index.h"

/* Records in their last life, the first to be forgotten at the head; slots, SLICE_NONE: empty. */
struct expiry_queue {
    uint32_t head;
    uint32_t tail;
};

enum { QUEUE_MINTED = 0, QUEUE_HASHED = 1, QUEUE_COUNT = 2 };

struct slice_core {
    struct slice_totals totals;
    struct expiry_queue queues[QUEUE_COUNT];
    uint32_t machines_used; /* slots ever used */
    uint32_t records_used;
};

struct slice_view {
    struct slice_core core;
    const struct slice_state *state; /* for its chunks' picture */
};

struct slice_state {
    struct slice_config config;
    struct slice_core core;
    uint32_t free_record; /* head of the free list through `next`, slot + 1; 0: none */
    struct chunks machines;
    struct chunks records;
    struct index machine_by_name;
    struct index record_by_key;
    struct index record_by_number;
    struct slice_view view;
    bool viewed;
};

/* RESOURCE_EXHAUSTED when a slice with these bounds does not fit into this memory. */
enum fly_status state_fits(const struct slice_state *s, uint32_t machines_max, uint32_t records_max,
                           struct fly_error *error);
struct slice_machine *state_machine_write(struct slice_state *s, uint32_t slot);
struct slice_record *state_record_write(struct slice_state *s, uint32_t slot);
/* A free record slot with key and subject set and indexed by them; SLICE_NONE: the table is full.
 */
uint32_t state_record_add(struct slice_state *s, const char *subject, const struct fly_key *key);
/* Indexes a record that became a VM. */
void state_vm_index(struct slice_state *s, uint32_t slot);
/* Forgets a record. */
void state_record_drop(struct slice_state *s, uint32_t slot);
/* Fills a machine slot (free until now) and indexes it; raises machines_used. */
void state_machine_put(struct slice_state *s, uint32_t slot, const struct slice_machine *machine);
void state_machine_drop(struct slice_state *s, uint32_t slot);
/* Appends to the expiry queue of the record's key. expires_ms must be set. */
void state_queue_append(struct slice_state *s, uint32_t slot);
/* Takes the head off; FLY_CHECKs that there is one. */
uint32_t state_queue_pop(struct slice_state *s, unsigned queue);
unsigned state_queue_of(const struct fly_key *key);

#endif
