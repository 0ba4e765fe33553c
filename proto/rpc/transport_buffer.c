/*
 * transport_buffer - out-buffers: nothing while nothing waits.
 *
 * The first size is one that malloc keeps per thread, so that a call at a time costs neither memory
 * nor a lock; what grows past it gets a large one of a small cache at once, and is not copied again
 * and again.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/rpc/transport_internal.h"

enum {
    FIRST_SIZE = 1000,
    LARGE_SIZE = 64 * 1024,
    CACHE_MAX = 16,
};

static struct {
    pthread_mutex_t lock;
    size_t count;
    uint8_t *items[CACHE_MAX];
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint8_t *cache_take(void)
{
    uint8_t *data = NULL;

    (void)pthread_mutex_lock(&cache.lock);
    if (cache.count > 0) {
        data = cache.items[--cache.count];
    }
    (void)pthread_mutex_unlock(&cache.lock);
    return data != NULL ? data : malloc(LARGE_SIZE);
}

static void cache_put(uint8_t *data)
{
    (void)pthread_mutex_lock(&cache.lock);
    if (cache.count < CACHE_MAX) {
        cache.items[cache.count++] = data;
        data = NULL;
    }
    (void)pthread_mutex_unlock(&cache.lock);
    free(data);
}

/* Room for `max` bytes in all. False: out of memory, nothing changed. */
static bool buffer_grow(struct transport_buffer *buffer, size_t max)
{
    uint8_t *data = NULL;

    if (max <= FIRST_SIZE) {
        max = FIRST_SIZE;
        data = malloc(max);
    } else if (max <= LARGE_SIZE) {
        max = LARGE_SIZE;
        data = cache_take();
        if (data != NULL && buffer->size > 0) {
            memcpy(data, buffer->data, buffer->size);
        }
        if (data != NULL) {
            free(buffer->data);
        }
    } else {
        max = max > 2 * buffer->max ? max : 2 * buffer->max;
        data = realloc(buffer->data, max);
    }
    if (data == NULL) {
        return false;
    }
    buffer->data = data;
    buffer->max = max;
    return true;
}

uint8_t *transport_buffer_extend(struct transport_buffer *buffer, size_t size)
{
    if (buffer->max - buffer->size < size && !buffer_grow(buffer, buffer->size + size)) {
        return NULL;
    }
    buffer->size += size;
    return buffer->data + buffer->size - size;
}

void transport_buffer_empty(struct transport_buffer *buffer)
{
    if (buffer->max == LARGE_SIZE) {
        cache_put(buffer->data);
    } else {
        free(buffer->data);
    }
    *buffer = (struct transport_buffer){0};
}
