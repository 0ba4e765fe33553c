/*
 * identity - the state folder's lock and keys: made at the first start, read at every later one.
 *
 *   DIR/             0700, ours
 *   DIR/lock         held while the process lives; its text is the pid of the holder
 *   DIR/node.key     0600   DIR/issuer.key   0600   DIR/cluster.json   0600, written last
 *
 * A folder with a cluster.json has an identity; one without it, and without slices/, gets one (keys
 * that an interrupted first start left are taken, never overwritten). What looks wrong (owner,
 * mode, content, keys that do not belong together) is refused by file and reason and nothing is
 * changed. Files appear whole: written beside, synced, renamed, folder synced. Forms:
 * proto/wire/cluster.h. Shell: files and libsodium's randomness. Keys are wiped after use and never
 * logged.
 */
#ifndef FLY_NODE_IDENTITY_H
#define FLY_NODE_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/cluster.h"

struct identity {
    struct cluster_record record;
    struct node_seed node;
    bool has_issuer; /* issuer.key is here: tokens can be made from this folder */
    bool created;    /* by this call */
    int lock_fd;
};

/* Makes `dir` (not its parents) when it is missing, takes its lock and loads or makes the identity;
 * `now_ms` of the wall clock is stamped into a new one. FAILED_PRECONDITION: in use by another
 * process, or wrong in owner or mode; DATA_LOSS: a file is damaged or missing; UNIMPLEMENTED: made
 * by a newer version; INTERNAL: the system refused. Nothing is held after an error. */
enum fly_status identity_open(const char *dir, int64_t now_ms, struct identity *out,
                              struct fly_error *error);

/* Gives the lock up and wipes the keys. */
void identity_close(struct identity *identity);

/* Only the lock, for programs that must not run beside a node (flynode check). Makes nothing but
 * the lock file; FAILED_PRECONDITION names the process that holds it, NOT_FOUND: no such folder. */
enum fly_status identity_lock(const char *dir, int *out_fd, struct fly_error *error);
void identity_unlock(int fd);

#endif
