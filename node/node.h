/*
 * node - one flynode: identity, inventory, slice, edge and RPC on one loop (DESIGN 8).
 *
 * A turn: read the clocks, run expiries, take the mail, let launches and the owner talk until
 * nothing moves, append what waits as one entry, feed watchers; replies of a turn share writes.
 * Shutdown: stop accepting and say so (GOAWAY), let launches end, end the rest, cut connections,
 * close the log, close the handles, free. Shell.
 */
#ifndef FLY_NODE_NODE_H
#define FLY_NODE_NODE_H

#include "node/config.h"

/* Runs `flynode dev` until SIGTERM or SIGINT. The process's exit code. */
int node_run_dev(const struct node_config *config, const struct config_http *http);
/* Runs `flynode run`: a node among others. `run` is config_check_run's; addresses that were not
 * told are filled in from the state folder. */
int node_run(const struct node_config *config, struct config_run *run);
/* `flynode check`: walks every log of the state folder and prints what it found. Exit code. */
int node_check(const char *state, bool json);

#endif
