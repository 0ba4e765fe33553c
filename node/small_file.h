/*
 * small_file - a text that a person keeps in a file for a node: a certificate, a key, a token.
 *
 * Read whole, once, at the start. Shell.
 */
#ifndef FLY_NODE_SMALL_FILE_H
#define FLY_NODE_SMALL_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/status.h"

/* The file's text with a NUL after it. NOT_FOUND, PERMISSION_DENIED: the system's word;
 * FAILED_PRECONDITION: not a file, or `secret` and others may read it; INVALID_ARGUMENT: empty,
 * `max` bytes or more, or a NUL in it. *out is wiped then. */
enum fly_status small_file_read(const char *path, bool secret, char *out, size_t max,
                                struct fly_error *error);

#endif
