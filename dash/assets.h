/*
 * assets - the pages: gzipped files that stand in the program, or a folder (files, or files.gz).
 *
 * In the program: dash/web/dist at build time, put there by dash/assets.cmake. `path` is found in a
 * table or not at all, so no path leaves the pages; in a folder the kernel sees to that (openat2,
 * RESOLVE_BENEATH). Shell.
 */
#ifndef FLY_DASH_ASSETS_H
#define FLY_DASH_ASSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum {
    ASSETS_FILE_BYTES_MAX = 8 << 20, /* of one file, inflated too */
};

struct assets;

/* One file, found. */
struct asset {
    const char *mime;
    const char *etag; /* with its quotes; "": none */
    bool immutable;   /* its name changes with its content */
    bool gzipped;     /* what `bytes` is */
    struct fly_bytes bytes;
    uint8_t *owned; /* where the bytes are, for the caller to free; NULL: in the program */
};

/* INVALID_ARGUMENT: `ui_dir` is no folder. NULL: those in the program. */
enum fly_status assets_create(struct assets **out, const char *ui_dir, struct fly_error *error);
void assets_destroy(struct assets *assets);
/* "/" and paths without a dot are index.html. False: there is none. */
bool assets_find(const struct assets *assets, const char *path, struct asset *out);
/* The gzipped bytes as they were, in memory the caller frees; NULL: broken, or larger than
 * ASSETS_FILE_BYTES_MAX. */
uint8_t *assets_inflate(struct fly_bytes gzipped, size_t *size);

#endif
