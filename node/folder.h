/*
 * folder - a state folder: its lock, and small files that appear whole or not at all.
 *
 * The folder is ours alone (0700, files 0600); what others may use is refused by name and remedy.
 * One process holds the lock; it ends with the process, however that dies. Shell.
 */
#ifndef FLY_NODE_FOLDER_H
#define FLY_NODE_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "proto/base/status.h"

struct folder {
    char dir[256]; /* for messages; cut when it is longer */
    int fd;        /* -1: not open */
    int lock_fd;   /* -1: not held */
};

/* Opens `dir` and takes its lock. NOT_FOUND: no such folder; FAILED_PRECONDITION: in use (names the
 * process), or wrong in owner or mode; INTERNAL: the system refused. Nothing is held after an
 * error. */
enum fly_status folder_open(const char *dir, struct folder *out, struct fly_error *error);
/* The same; makes `dir` (not its parents) when it is missing. */
enum fly_status folder_make(const char *dir, struct folder *out, struct fly_error *error);
/* Gives the lock up. Twice is fine. */
void folder_close(struct folder *folder);

/* A file of less than `max` bytes. *out_size is -1 when it is not there, which is no error.
 * FAILED_PRECONDITION: not a file, or owner or mode; DATA_LOSS: too long to be ours. */
enum fly_status folder_read(const struct folder *folder, const char *name, char *out, size_t max,
                            ssize_t *out_size, struct fly_error *error);
/* The file appears whole or not at all, also after a power loss: written beside, synced, renamed,
 * the folder synced. */
enum fly_status folder_write(const struct folder *folder, const char *name, const char *text,
                             size_t size, struct fly_error *error);
/* It need not be there. */
enum fly_status folder_remove(const struct folder *folder, const char *name,
                              struct fly_error *error);
/* Whether something of that name is there. */
bool folder_has(const struct folder *folder, const char *name);

#endif
