/*
 * owner_parts - the insides of an owner, for owner.c (the log's side), owner_call.c (the calls) and
 * owner_machine.c (the inventory).
 */
#ifndef FLY_SLICE_OWNER_PARTS_H
#define FLY_SLICE_OWNER_PARTS_H

#include "node/slice/book.h"
#include "node/slice/owner.h"
#include "proto/wire/retain.h"

struct owner {
    struct owner_config config;
    struct slice_state *state;
    struct book book;
    struct retain retain;
    struct fly_rng rng;
    bool leading;
    bool ready;   /* an entry of the own term was applied */
    bool stopped; /* for good */
    enum fly_status stop_status;
    const char *stop_text;
    enum fly_status quarantine_status; /* OK: none */
    const char *quarantine_text;
    uint64_t term;
    int64_t lead_boot_ms; /* slice time = lead_slice_ms + boot clock since lead_boot_ms */
    int64_t lead_slice_ms;
    uint64_t batch; /* counter of the last batch encoded */
    struct owner_answer *answers;
    uint32_t answers_max;
    uint32_t answer_first; /* [first, end): not yet taken */
    uint32_t answer_end;
    struct owner_counters counters;
    struct slice_effects effects; /* of the entry being applied */
};

/* Room for one answer; both marks go back to 0 when all were taken. */
struct owner_answer *owner_answer_new(struct owner *o, uint64_t ticket, enum owner_call_kind kind,
                                      enum owner_code code);
void owner_answer_refused(struct owner *o, uint64_t ticket, enum owner_call_kind kind,
                          enum fly_status status, const char *text);
/* Answers with what a record says: its VM, where it is bound, that it was cancelled. */
void owner_answer_record(struct owner *o, uint64_t ticket, enum owner_call_kind kind, uint32_t slot,
                         bool replayed);
/* Answers every waiter of the flight with REFUSED and ends it. */
void owner_flight_refuse(struct owner *o, struct flight *f, enum fly_status status,
                         const char *text);
/* The command that a call asks for, without what only the leader can fill in. */
struct command owner_command_of(const struct owner_call *c, enum command_type type);
/* A command for the next batch, with its caller waiting. NULL: refused, the book is full. */
struct flight *owner_propose(struct owner *o, const struct owner_call *c,
                             const struct command *command, const struct reserve *reserve);
void owner_call_machine(struct owner *o, const struct owner_call *c);
/* What apply() made of a change of the inventory, for one waiter. */
void owner_answer_machine(struct owner *o, const struct waiter *w, enum slice_code code);

#endif
