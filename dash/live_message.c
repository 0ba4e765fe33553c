#include "dash/live_message.h"

#include <jansson.h>
#include <string.h>

static bool look_decode(const json_t *machines, struct live_message *out)
{
    if (!json_is_array(machines) || json_array_size(machines) > DASH_LOOK_MAX) {
        return false;
    }
    out->count = (uint32_t)json_array_size(machines);
    for (uint32_t i = 0; i < out->count; i++) {
        const json_t *item = json_array_get(machines, i);
        json_int_t index = json_integer_value(item);
        if (!json_is_integer(item) || index < 0 || index >= PICTURE_MACHINES_MAX) {
            return false;
        }
        out->machines[i] = (uint32_t)index;
    }
    return true;
}

static bool object_decode(const json_t *root, struct live_message *out)
{
    const char *kind = json_string_value(json_object_get(root, "t"));
    size_t keys = json_object_size(root);
    out->count = 0;
    if (kind == NULL) {
        return false;
    }
    if (strcmp(kind, "look") == 0) {
        out->kind = LIVE_LOOK;
        return keys == 2 && look_decode(json_object_get(root, "machines"), out);
    }
    if (strcmp(kind, "pause") == 0) {
        out->kind = LIVE_PAUSE;
        return keys == 1;
    }
    out->kind = LIVE_RESUME;
    return strcmp(kind, "resume") == 0 && keys == 1;
}

bool live_message_decode(const char *text, size_t size, struct live_message *out)
{
    if (size > LIVE_MESSAGE_BYTES_MAX) {
        return false;
    }
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    bool ok = root != NULL && object_decode(root, out);
    json_decref(root);
    return ok;
}
