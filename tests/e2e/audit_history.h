/*
 * audit_history - what clients were told, held against the ledger of the log.
 *
 * One JSON object a line:
 *   {"call": "launch", "subject", "key", "region", "cores", "memory_bytes", "outcome", …}
 *        outcome OK (with "id" and "machine"), NOT_DONE or UNKNOWN: one try
 *   {"call": "cancel", "subject", "key", "outcome", "launched"}
 *   {"call": "destroy", "id", "outcome"}
 *   what `flyrpc launch --json` prints: a launch that was OK;  {"destroyed": ID}: a destroy
 * likewise
 *
 * Findings and their names: lost (told of, not in the log), differs (another machine, region, size
 * or key than told), two-answers (one key, two VMs told), undead (destroyed, they were told, and it
 * runs), cancelled (settled as never launched, and there is a VM), ghost (every try was NOT_DONE,
 * and there is a VM), untold (a VM that nobody was told of).
 */
#ifndef FLY_TESTS_E2E_AUDIT_HISTORY_H
#define FLY_TESTS_E2E_AUDIT_HISTORY_H

#include <jansson.h>

#include "tests/e2e/audit_ledger.h"

/* What became of one key, by its client. */
struct audit_key {
    struct fly_key key;
    char subject[64];
    char where[160]; /* its last line */
    bool has_subject;
    bool cancelled; /* settled: never launched */
    bool unknown;
    bool not_done;
    uint64_t told; /* VM; 0: none */
};

struct audit_history {
    struct audit_ledger *ledger; /* borrowed */
    audit_finding *finding;
    void *user;
    bool partial; /* VMs of slices that were not read are not judged */
    struct audit_key *keys;
    size_t key_count;
    uint64_t acknowledged; /* launches that were told to be OK, each VM once */
    uint64_t destroyed;    /* destroys that were told to be OK, each VM once */
    uint64_t unknowns;
    uint64_t replays;
    uint64_t partial_answers; /* OK, without the VM's machine */
};

/* False: not a line that anybody writes; nothing was judged. */
bool audit_history_line(struct audit_history *h, const char *where, const json_t *line);
/* After the last line: what can be said only now. `complete`: the lines are all that was ever
 * acknowledged, so every VM of the log must be in them. */
void audit_history_end(struct audit_history *h, bool complete);
void audit_history_fini(struct audit_history *h);

#endif
