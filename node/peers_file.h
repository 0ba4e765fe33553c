/*
 * peers_file - the file `peers` of the state folder: read at the start, written beside the loop.
 *
 * A disk may take seconds for a sync, and nothing but libraft uses libuv's thread pool (DESIGN 8):
 * so one small thread of its own takes the latest text and writes it, beside, synced, renamed. The
 * loop only makes the text, at most once a second, and never waits: what changes while a write is
 * under way goes with the next one, and a failed write is tried again. A crash loses the last
 * second or so of what was seen, never the file. Shell.
 */
#ifndef FLY_NODE_PEERS_FILE_H
#define FLY_NODE_PEERS_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/catalog/peers.h"
#include "proto/base/status.h"

enum { PEERS_FILE_INTERVAL_MS = 1000, PEERS_FILE_CLOSE_MS = 2000 };

struct peers_file;

/* Reads `dir`/peers into the empty p and s. FLY_OK also when there is no such file. DATA_LOSS: it
 * is damaged; FAILED_PRECONDITION: not a file, or others may write it; UNAVAILABLE: the disk. Then
 * both stay empty and the words say what to do. */
enum fly_status peers_file_load(const char *dir, struct peers *p, struct seen *s,
                                struct fly_error *error);

/* Starts the writer; p and s are as they were loaded. RESOURCE_EXHAUSTED, UNAVAILABLE. */
enum fly_status peers_file_create(struct peers_file **out, const char *dir, const struct peers *p,
                                  const struct seen *s, struct fly_error *error);
/* Hands the text over when something changed and a second has passed since the last time; `urgent`:
 * without that second. Call it once a second or oftener. */
void peers_file_tick(struct peers_file *f, const struct peers *p, const struct seen *s,
                     int64_t now_ms, bool urgent);
/* All that p and s hold now is on the disk. */
bool peers_file_saved(struct peers_file *f, const struct peers *p, const struct seen *s);
/* Writes what changed and ends the writer; waits for the disk PEERS_FILE_CLOSE_MS at the most, then
 * leaves thread and memory behind: the process is about to end. */
void peers_file_destroy(struct peers_file *f, const struct peers *p, const struct seen *s);

#endif
