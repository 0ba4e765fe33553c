/*
 * oracle_slice - what slice_apply means, said a second time and naively: plain arrays, linear
 * search, malloc. Test code only. It shares the entry decoder with the real one and nothing else.
 *
 * Unit tests and the simulator fold the same entries into both and compare all there is to see.
 */
#ifndef FLY_TESTS_ORACLE_SLICE_H
#define FLY_TESTS_ORACLE_SLICE_H

#include "node/slice/state.h"

struct oracle_record {
    struct slice_record r; /* `next` is not used */
    uint64_t dying;        /* order in which last lives began */
};

struct oracle {
    struct slice_config config;
    struct slice_totals totals;
    struct slice_machine *machines; /* machines_max slots */
    struct oracle_record *records;  /* totals.records of them, in no order */
    uint64_t dying;
    uint64_t forgotten; /* records, ever */
};

struct oracle_result {
    enum slice_code code;
    bool has_record;
    struct slice_record record; /* as it was right after the command */
    uint32_t event;             /* SLICE_NONE: none */
};

struct oracle_effects {
    struct batch_head head;
    uint32_t count;
    struct command commands[SLICE_BATCH_COMMANDS_MAX];
    struct oracle_result results[SLICE_BATCH_COMMANDS_MAX];
    uint32_t event_count;
    struct event events[SLICE_BATCH_COMMANDS_MAX];
};

struct oracle *oracle_create(const struct slice_config *config);
void oracle_destroy(struct oracle *o);
struct oracle *oracle_copy(const struct oracle *o);

enum fly_status oracle_apply(struct oracle *o, const uint8_t *data, size_t size,
                             struct oracle_effects *out);

const struct slice_record *oracle_find(const struct oracle *o, const char *subject,
                                       const struct fly_key *key);
const struct slice_record *oracle_vm(const struct oracle *o, uint64_t vm);

/* NULL: equal; otherwise what differs, static text. */
const char *oracle_compare(const struct oracle *o, const struct slice_state *s);
const char *oracle_compare_effects(const struct oracle_effects *o, const struct slice_effects *e);
const char *oracle_compare_record(const struct slice_record *a, const struct slice_record *b);
const char *oracle_compare_event(const struct event *a, const struct event *b);

#endif
