/*
 * failpoint - places where a test may have this process die or stop, so that faults hit between two
 * steps of a launch and not only around them.
 *
 *   FLYNODE_FAILPOINTS=edge-after-hold=kill:3,owner-after-append=stop
 *
 * name=action[:N]: at the N-th pass (1 without it), once. `kill` is SIGKILL; `stop` is SIGSTOP, and
 * whoever set it sends SIGCONT. Without the variable a pass costs one load. Shell.
 */
#ifndef FLY_NODE_FAILPOINT_H
#define FLY_NODE_FAILPOINT_H

#include "proto/base/status.h"

enum failpoint {
    FAILPOINT_EDGE_AFTER_OPEN = 0, /* home has answered Open, nothing else was asked yet */
    FAILPOINT_EDGE_AFTER_HOLD,     /* a hold is there, the key is not bound */
    FAILPOINT_EDGE_AFTER_BIND,     /* the key is bound, the hold is not committed */
    FAILPOINT_EDGE_AFTER_COMMIT,   /* the VM is there, neither client nor home knows */
    FAILPOINT_OWNER_BEFORE_APPEND,
    FAILPOINT_OWNER_AFTER_APPEND, /* submitted to the log, nobody was answered */
    FAILPOINT_COUNT,
};

/* Reads the environment; INVALID_ARGUMENT names what it does not know. */
enum fly_status failpoint_setup(struct fly_error *error);
void failpoint_pass(enum failpoint at);

#endif
