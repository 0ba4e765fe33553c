#include "node/config.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"

struct setting {
    const char *key; /* flag and file */
    const char *variable;
    size_t offset;
    const char *fallback;
};

static const struct setting settings[] = {
    {"state", "FLYNODE_STATE", offsetof(struct node_config, state), ".flylight/state"},
    {"machines", "FLYNODE_MACHINES", offsetof(struct node_config, machines),
     FLY_DATA_DIR "/machines.csv"},
    {"regions-file", "FLYNODE_REGIONS_FILE", offsetof(struct node_config, regions_file),
     FLY_DATA_DIR "/regions.csv"},
    {"rpc", "FLYNODE_RPC", offsetof(struct node_config, rpc), "tcp://127.0.0.1:7401"},
    {"log-level", "FLYNODE_LOG_LEVEL", offsetof(struct node_config, log_level), "info"},
    {"log-format", "FLYNODE_LOG_FORMAT", offsetof(struct node_config, log_format), "text"},
};

static const char *const levels[] = {"error", "warn", "info", "debug"};

enum fly_status config_set(struct node_config *c, const char *key, const char *value,
                           struct fly_error *error)
{
    for (size_t i = 0; i < FLY_ARRAY_COUNT(settings); i++) {
        if (strcmp(settings[i].key, key) == 0) {
            if (strlen(value) >= CONFIG_TEXT_SIZE) {
                return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s is longer than %d bytes", key,
                                     CONFIG_TEXT_SIZE - 1);
            }
            (void)fly_copy_string((char *)c + settings[i].offset, CONFIG_TEXT_SIZE, value);
            return FLY_OK;
        }
    }
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "unknown setting '%.64s'", key);
}

static enum fly_status load_file(struct node_config *c, const char *path, struct fly_error *error)
{
    json_error_t at;
    enum fly_status status = FLY_OK;

    if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
        return FLY_OK;
    }
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &at);
    if (root == NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s:%d: %s", path, at.line, at.text);
    }
    if (!json_is_object(root)) {
        status = fly_error_set(error, FLY_INVALID_ARGUMENT, "not a JSON object");
    }
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(root, key, value)
    {
        if (status != FLY_OK) {
            break;
        }
        if (!json_is_string(value)) {
            status = fly_error_set(error, FLY_INVALID_ARGUMENT, "%.64s is not a string", key);
        } else {
            status = config_set(c, key, json_string_value(value), error);
        }
    }
    json_decref(root);
    return status == FLY_OK ? FLY_OK : fly_error_wrap(error, "%s", path);
}

static enum fly_status load_files(struct node_config *c, struct fly_error *error)
{
    char path[4096];
    const char *base = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    enum fly_status status = load_file(c, "/etc/flylight/flynode.json", error);

    if (status != FLY_OK) {
        return status;
    }
    if (base != NULL && base[0] == '/') {
        (void)snprintf(path, sizeof path, "%s/flylight/flynode.json", base);
    } else if (home != NULL && home[0] == '/') {
        (void)snprintf(path, sizeof path, "%s/.config/flylight/flynode.json", home);
    } else {
        return FLY_OK;
    }
    return load_file(c, path, error);
}

enum fly_status config_load(struct node_config *out, struct fly_error *error)
{
    for (size_t i = 0; i < FLY_ARRAY_COUNT(settings); i++) {
        FLY_CHECK(config_set(out, settings[i].key, settings[i].fallback, error) == FLY_OK);
    }
    enum fly_status status = load_files(out, error);
    for (size_t i = 0; status == FLY_OK && i < FLY_ARRAY_COUNT(settings); i++) {
        const char *value = getenv(settings[i].variable);
        if (value != NULL) {
            status = config_set(out, settings[i].key, value, error);
            if (status != FLY_OK) {
                return fly_error_wrap(error, "%s", settings[i].variable);
            }
        }
    }
    return status;
}

/* RPC off loopback needs TLS and joined nodes, which `dev` has not. */
static bool loopback(const char *url)
{
    return strncmp(url, "tcp://127.", 10) == 0 || strncmp(url, "tcp://[::1]:", 12) == 0 ||
           strncmp(url, "ipc://", 6) == 0;
}

enum fly_status config_check(const struct node_config *c, struct fly_error *error)
{
    bool known = false;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(levels); i++) {
        known |= strcmp(levels[i], c->log_level) == 0;
    }
    if (!known) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "log-level '%.32s' is not one of error, warn, info, debug",
                             c->log_level);
    }
    if (strcmp(c->log_format, "text") != 0 && strcmp(c->log_format, "json") != 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "log-format '%.32s' is not text or json",
                             c->log_format);
    }
    if (!loopback(c->rpc)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "rpc '%.64s' is not on loopback: flynode dev speaks without TLS; use "
                             "tcp://127.0.0.1:PORT, tcp://[::1]:PORT or ipc:///PATH",
                             c->rpc);
    }
    return FLY_OK;
}

enum fly_log_level config_log_level(const struct node_config *c)
{
    size_t i = 0;

    while (strcmp(levels[i], c->log_level) != 0) {
        i++;
    }
    return (enum fly_log_level)i;
}
