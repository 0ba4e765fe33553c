/*
 * entry - the commands of a slice's log and their bytes: one log entry is one batch of commands.
 *
 * A command is a request, not a fact: apply() may refuse it. Time, chance and the machine are
 * stamped in by the leader, so that apply() is a pure function (DESIGN 3.2).
 *
 *   batch   0 magic F1 | 1 version 2 | 2 count u16 | 4 wall_ms i64 | 12 slice_ms i64 | 20 boot u64
 *           28 batch u64 | 36 commands
 *   command type u8 | size u16 | body[size]                          (all little-endian)
 *
 * docs/PROTOCOL.md has every body. Version 1 differs in one thing: the name that a VM gets that was
 * given none (0004: what apply() depends on is a constant of the version). An unknown version or
 * type is FLY_UNIMPLEMENTED: the replica stops, it never skips. Pure, no allocation.
 */
#ifndef FLY_SLICE_ENTRY_H
#define FLY_SLICE_ENTRY_H

#include <stdint.h>

#include "node/slice/limits.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/wire/key.h"
#include "proto/wire/placement.h"

enum {
    ENTRY_VERSION = 2,
    ENTRY_VERSION_FIRST = 1,
    ENTRY_HEAD_SIZE = 36,
    ENTRY_COMMAND_BYTES_MAX = 512
};

enum command_type {
    COMMAND_FOUND = 1, /* first of a log: tag, incarnation, the bounds of its tables */
    COMMAND_LEAD = 2,  /* first entry of a term: the leader's boot becomes the valid one */
    COMMAND_MACHINE_ADD = 3,
    COMMAND_MACHINE_RESIZE = 4, /* refused below what is committed */
    COMMAND_MACHINE_REMOVE = 5, /* refused with VMs */
    COMMAND_LAUNCH = 6,         /* VM and key record in one */
    COMMAND_BIND = 7,           /* home: key belongs to a hold elsewhere */
    COMMAND_DONE = 8,           /* home: the bound hold became this VM */
    COMMAND_CANCEL = 9,         /* home: nothing will ever come of this key */
    COMMAND_DESTROY = 10,
    COMMAND_RELEASE = 11,        /* home: the VM elsewhere is gone, the key's last life begins */
    COMMAND_MACHINE_CORDON = 12, /* nothing new is placed on it; its VMs stay */
    COMMAND_MACHINE_UNCORDON = 13,
    COMMAND_LOSS = 14, /* events of this log, or another log of this tag, are lost for good */
    COMMAND_LAST = COMMAND_LOSS,
};

/* One command; which fields count is told by the type. */
struct command {
    enum command_type type;
    /* LAUNCH BIND DONE CANCEL RELEASE */
    struct fly_key key;
    char subject[FLY_SUBJECT_SIZE];
    struct fly_digest digest; /* LAUNCH BIND */
    struct hold_id hold; /* LAUNCH: the hold it fulfils; BIND: the hold elsewhere; DONE: likewise */
    struct hold_id replaces; /* LAUNCH BIND CANCEL: the bound hold, proven dead by Close; or none */
    uint64_t vm;             /* DONE DESTROY RELEASE: VM id */
    /* LAUNCH; MACHINE_ADD and RESIZE: of the machine */
    uint32_t machine; /* LAUNCH: slot */
    uint32_t cores;
    uint64_t memory_bytes;
    char name[FLY_NAME_SIZE];     /* VM's, may be empty; machine's for MACHINE_* */
    char region[FLY_REGION_SIZE]; /* MACHINE_ADD */
    /* FOUND */
    uint32_t tag;
    uint64_t incarnation;  /* LOSS: of the log that lost */
    uint32_t machines_max; /* what apply() allows, on every replica alike */
    uint32_t records_max;
    /* LEAD */
    uint64_t term;
    /* LOSS */
    uint64_t seq;    /* the last event that somebody saw */
    uint64_t margin; /* to jump over beyond it */
};

/* What stands before the commands of a batch. */
struct batch_head {
    uint8_t version; /* of a decoded batch; what is written has ENTRY_VERSION */
    uint16_t count;
    int64_t wall_ms;  /* leader's wall clock: shown to people, compared with mint times */
    int64_t slice_ms; /* slice time: monotonic, runs life spans (DESIGN 7) */
    uint64_t boot;    /* leader's boot */
    uint64_t batch;   /* leader's counter, so that it knows its own */
};

/* Opens a batch in out[max]; commands follow with entry_put, entry_end writes the count. */
void entry_begin(struct fly_writer *w, void *out, size_t max, const struct batch_head *head);
/* False when the command does not fit (nothing is written then) or the batch is full. */
bool entry_put(struct fly_writer *w, const struct command *command);
/* Writes the count into the head; returns the whole size. */
size_t entry_end(struct fly_writer *w);

/* DATA_LOSS: malformed; UNIMPLEMENTED: a version or type of a newer node. */
enum fly_status entry_head_decode(struct fly_reader *r, struct batch_head *out,
                                  struct fly_error *error);
enum fly_status entry_command_decode(struct fly_reader *r, struct command *out,
                                     struct fly_error *error);

void hold_put(struct fly_writer *w, const struct hold_id *hold);
void hold_get(struct fly_reader *r, struct hold_id *out);

#endif
