/*
 * fuzz_dash_look - what a browser says over its WebSocket (dash/live_message.h).
 *
 * What is taken is within its bounds, and is taken again when it is written anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dash/live_message.h"
#include "proto/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t message_write(const struct live_message *m, char *out, size_t max)
{
    if (m->kind != LIVE_LOOK) {
        return (size_t)snprintf(out, max, "{\"t\":\"%s\"}",
                                m->kind == LIVE_PAUSE ? "pause" : "resume");
    }
    size_t size = (size_t)snprintf(out, max, "{\"machines\":[");
    for (uint32_t i = 0; i < m->count; i++) {
        size += (size_t)snprintf(out + size, max - size, "%s%u", i > 0 ? "," : "", m->machines[i]);
    }
    return size + (size_t)snprintf(out + size, max - size, "],\"t\":\"look\"}");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct live_message first;
    static struct live_message second;
    char text[LIVE_MESSAGE_BYTES_MAX];
    if (!live_message_decode((const char *)data, size, &first)) {
        return 0;
    }
    FLY_CHECK(size <= LIVE_MESSAGE_BYTES_MAX && first.count <= DASH_LOOK_MAX);
    size_t written = message_write(&first, text, sizeof text);
    FLY_CHECK(live_message_decode(text, written, &second));
    FLY_CHECK(second.kind == first.kind && second.count == first.count);
    for (uint32_t i = 0; i < first.count; i++) {
        FLY_CHECK(first.machines[i] < PICTURE_MACHINES_MAX);
        FLY_CHECK(first.machines[i] == second.machines[i]);
    }
    return 0;
}
