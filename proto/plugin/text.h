/*
 * text - texts that grow, and memory that is given back all at once: what the plug-in builds with.
 *
 * A tool that runs for milliseconds at build time: without memory it stops (FLY_CHECK).
 */
#ifndef FLY_PLUGIN_TEXT_H
#define FLY_PLUGIN_TEXT_H

#include <stddef.h>

/* Zeroed is empty. */
struct plug_text {
    char *data; /* NUL-terminated; NULL while nothing was added */
    size_t size;
    size_t max;
};

__attribute__((format(printf, 2, 3))) void plug_text_add(struct plug_text *text, const char *format,
                                                         ...);
void plug_text_fini(struct plug_text *text);

/* Zeroed is empty. */
struct plug_memory {
    struct plug_block *blocks;
};

/* Zeroed memory that lives until plug_memory_fini. */
void *plug_memory_take(struct plug_memory *memory, size_t count, size_t size);
__attribute__((format(printf, 2, 3))) char *plug_memory_format(struct plug_memory *memory,
                                                               const char *format, ...);
void plug_memory_fini(struct plug_memory *memory);

#endif
