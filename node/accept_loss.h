/*
 * accept_loss - a person's word that what other nodes saw of a slice's log, and is not here, is
 * given up (DESIGN 4.10).
 *
 * `flynode accept-loss` writes it into the state folder of a node that does not run:
 *
 *   flylight-accept-loss 1
 *   slice 0a1b2c log 00000000deadbeef ends 17
 *
 * It speaks of the log as it stood then, in that very folder, and of no other: once the loss is in
 * the log (OWNER_LOSS), or another copy was put in its place, it means nothing any more. Shell.
 */
#ifndef FLY_NODE_ACCEPT_LOSS_H
#define FLY_NODE_ACCEPT_LOSS_H

#include <stdint.h>

#include "node/folder.h"

#define ACCEPT_LOSS_FILE "accept-loss"

struct accept_loss {
    uint32_t tag; /* 0: no word */
    uint64_t incarnation;
    uint64_t seq; /* the last event of the log as it was */
};

/* The word in the folder; none is no error. FAILED_PRECONDITION, DATA_LOSS: as folder_read, or it
 * is not in its form. */
enum fly_status accept_loss_read(const struct folder *folder, struct accept_loss *out,
                                 struct fly_error *error);
/* `flynode accept-loss`: the process's exit code. */
int accept_loss_run(int argc, char **argv);

#endif
