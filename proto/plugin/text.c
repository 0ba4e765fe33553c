#include "proto/plugin/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/check.h"

enum { TEXT_FIRST = 4096 };

struct plug_block {
    struct plug_block *next;
    max_align_t data[];
};

__attribute__((format(printf, 2, 0))) static void text_add(struct plug_text *text,
                                                           const char *format, va_list arguments)
{
    va_list again;

    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, again);
    va_end(again);
    FLY_CHECK(size >= 0);
    if (text->max - text->size <= (size_t)size) {
        text->max = 2 * text->max + (size_t)size + TEXT_FIRST;
        text->data = realloc(text->data, text->max);
        FLY_CHECK(text->data != NULL);
    }
    (void)vsnprintf(text->data + text->size, text->max - text->size, format, arguments);
    text->size += (size_t)size;
}

void plug_text_add(struct plug_text *text, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    text_add(text, format, arguments);
    va_end(arguments);
}

void plug_text_fini(struct plug_text *text)
{
    free(text->data);
    *text = (struct plug_text){0};
}

void *plug_memory_take(struct plug_memory *memory, size_t count, size_t size)
{
    FLY_CHECK(size == 0 || count < (SIZE_MAX - sizeof(struct plug_block)) / size);
    struct plug_block *block = calloc(1, sizeof *block + count * size);

    FLY_CHECK(block != NULL);
    block->next = memory->blocks;
    memory->blocks = block;
    return block->data;
}

char *plug_memory_format(struct plug_memory *memory, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    FLY_CHECK(size >= 0);
    char *out = plug_memory_take(memory, (size_t)size + 1, 1);
    va_start(arguments, format);
    (void)vsnprintf(out, (size_t)size + 1, format, arguments);
    va_end(arguments);
    return out;
}

void plug_memory_fini(struct plug_memory *memory)
{
    while (memory->blocks != NULL) {
        struct plug_block *next = memory->blocks->next;
        free(memory->blocks);
        memory->blocks = next;
    }
}
