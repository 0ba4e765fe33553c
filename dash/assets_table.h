/*
 * assets_table - the pages in the program: written by dash/assets.cmake, searched by assets.c.
 */
#ifndef FLY_DASH_ASSETS_TABLE_H
#define FLY_DASH_ASSETS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct assets_row {
    const char *path; /* "/index.html" */
    const char *mime;
    const char *etag;     /* with its quotes */
    bool hashed;          /* the name holds a hash of the content */
    const uint8_t *begin; /* gzipped */
    const uint8_t *end;
};

extern const struct assets_row assets_table[];
extern const size_t assets_table_count;

#endif
