#include "node/settings.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/id.h"

static const char settings_format[] = "flylight-node-1";
static const char settings_family[] = "flylight-node-";

static void put(json_t *root, const char *name, const char *text)
{
    if (text[0] != '\0') {
        FLY_CHECK(json_object_set_new(root, name, json_string(text)) == 0);
    }
}

size_t settings_encode(const struct node_settings *settings, char out[static SETTINGS_FILE_MAX])
{
    json_t *root = json_object();
    json_t *seeds = json_array();

    put(root, "format", settings_format);
    put(root, "name", settings->name);
    put(root, "region", settings->region);
    put(root, "advertise", settings->advertise);
    put(root, "rpc", settings->rpc);
    for (size_t i = 0; i < settings->seed_count; i++) {
        FLY_CHECK(json_array_append_new(seeds, json_string(settings->seeds[i])) == 0);
    }
    FLY_CHECK(json_object_set_new(root, "seeds", seeds) == 0);
    size_t size = json_dumpb(root, out, SETTINGS_FILE_MAX - 2, JSON_INDENT(2));
    json_decref(root);
    FLY_CHECK(size > 0 && size < SETTINGS_FILE_MAX - 2);
    memcpy(out + size, "\n", 2);
    return size + 1;
}

/* A member that may be missing. */
static bool take(const json_t *value, char *out, size_t max)
{
    return value == NULL || (json_is_string(value) && json_string_length(value) < max &&
                             fly_copy_string(out, max, json_string_value(value)));
}

static bool take_seeds(const json_t *seeds, struct node_settings *out)
{
    size_t count = json_array_size(seeds);

    if (seeds != NULL && (!json_is_array(seeds) || count > SETTINGS_SEEDS_MAX)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!take(json_array_get(seeds, i), out->seeds[i], sizeof out->seeds[i])) {
            return false;
        }
    }
    out->seed_count = (uint8_t)count;
    return true;
}

static enum fly_status bad(struct fly_error *error, const char *member)
{
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "\"%s\" makes no sense", member);
}

static enum fly_status take_all(const json_t *root, struct node_settings *out,
                                struct fly_error *error)
{
    const char *format = json_string_value(json_object_get(root, "format"));

    if (format == NULL || strncmp(format, settings_family, sizeof settings_family - 1) != 0) {
        return bad(error, "format");
    }
    if (strcmp(format, settings_format) != 0) {
        return fly_error_set(error, FLY_UNIMPLEMENTED, "its format is %.40s; this program knows %s",
                             format, settings_format);
    }
    if (!take(json_object_get(root, "name"), out->name, sizeof out->name) ||
        (out->name[0] != '\0' && !fly_name_ok(out->name))) {
        return bad(error, "name");
    }
    if (!take(json_object_get(root, "region"), out->region, sizeof out->region)) {
        return bad(error, "region");
    }
    if (!take(json_object_get(root, "advertise"), out->advertise, sizeof out->advertise)) {
        return bad(error, "advertise");
    }
    if (!take(json_object_get(root, "rpc"), out->rpc, sizeof out->rpc)) {
        return bad(error, "rpc");
    }
    return take_seeds(json_object_get(root, "seeds"), out) ? FLY_OK : bad(error, "seeds");
}

enum fly_status settings_decode(const char *text, size_t size, struct node_settings *out,
                                struct fly_error *error)
{
    struct node_settings read = {.seed_count = 0};
    json_error_t at;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &at);
    enum fly_status status = FLY_OK;

    if (!json_is_object(root)) {
        status = fly_error_set(error, FLY_INVALID_ARGUMENT, "not a JSON object with unique keys");
    } else {
        status = take_all(root, &read, error);
    }
    json_decref(root);
    if (status == FLY_OK) {
        *out = read;
    }
    return status;
}

void settings_default_name(char out[static NODE_NAME_SIZE])
{
    char host[NODE_NAME_SIZE] = "";
    size_t used = 0;

    if (gethostname(host, sizeof host - 1) != 0) {
        host[0] = '\0';
    }
    for (size_t i = 0; host[i] != '\0' && host[i] != '.'; i++) {
        char c = host[i];
        if (c >= 'A' && c <= 'Z') {
            c = (char)(c - 'A' + 'a');
        }
        out[used++] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
    }
    out[used] = '\0';
    if (!fly_name_ok(out)) {
        memcpy(out, "node", sizeof "node");
    }
}
