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

enum { RPC_PORT = 7401 };
enum kind { TEXT, SWITCH, LIST };
enum source { SOURCE_FILE_OR_ENVIRONMENT, SOURCE_FLAG };

struct setting {
    const char *key; /* flag and file */
    const char *variable;
    size_t offset;
    const char *fallback;     /* of run */
    const char *dev_fallback; /* NULL: as run */
    enum kind kind;
};

static const struct setting settings[] = {
    {"state", "FLYNODE_STATE", offsetof(struct node_config, state), ".flylight/state", NULL, TEXT},
    {"machines", "FLYNODE_MACHINES", offsetof(struct node_config, machines), "",
     FLY_DATA_DIR "/machines.csv", TEXT},
    {"regions-file", "FLYNODE_REGIONS_FILE", offsetof(struct node_config, regions_file),
     FLY_DATA_DIR "/regions.csv", NULL, TEXT},
    {"rpc", "FLYNODE_RPC", offsetof(struct node_config, rpc), "", "tcp://127.0.0.1:7401", TEXT},
    {"log-level", "FLYNODE_LOG_LEVEL", offsetof(struct node_config, log_level), "info", NULL, TEXT},
    {"log-format", "FLYNODE_LOG_FORMAT", offsetof(struct node_config, log_format), "text", NULL,
     TEXT},
    {"http", "FLYNODE_HTTP", offsetof(struct node_config, http), "", NULL, TEXT},
    {"http-cert", "FLYNODE_HTTP_CERT", offsetof(struct node_config, http_cert), "", NULL, TEXT},
    {"http-key", "FLYNODE_HTTP_KEY", offsetof(struct node_config, http_key), "", NULL, TEXT},
    {"http-insecure", "FLYNODE_HTTP_INSECURE", offsetof(struct node_config, http_insecure), "off",
     NULL, SWITCH},
    {"ui-dir", "FLYNODE_UI_DIR", offsetof(struct node_config, ui_dir), "", NULL, TEXT},
    {"launches-per-minute", "FLYNODE_LAUNCHES_PER_MINUTE",
     offsetof(struct node_config, launches_per_minute), "30", NULL, TEXT},
    {"vms-max", "FLYNODE_VMS_MAX", offsetof(struct node_config, vms_max), "0", NULL, TEXT},
    {"autospawn", "FLYNODE_AUTOSPAWN", offsetof(struct node_config, autospawn), "", NULL, TEXT},
    {"autospawn-token-file", "FLYNODE_AUTOSPAWN_TOKEN_FILE",
     offsetof(struct node_config, autospawn_token_file), "", NULL, TEXT},
    {"roles", "FLYNODE_ROLES", offsetof(struct node_config, roles), "", NULL, TEXT},
    {"name", "FLYNODE_NAME", offsetof(struct node_config, name), "", NULL, TEXT},
    {"region", "FLYNODE_REGION", offsetof(struct node_config, region), "", NULL, TEXT},
    {"gossip", "FLYNODE_GOSSIP", offsetof(struct node_config, gossip), "", NULL, TEXT},
    {"pub", "FLYNODE_PUB", offsetof(struct node_config, pub), "", NULL, TEXT},
    {"advertise", "FLYNODE_ADVERTISE", offsetof(struct node_config, advertise), "", NULL, TEXT},
    {"join", "FLYNODE_JOIN", offsetof(struct node_config, join), "", NULL, LIST},
    {"share", "FLYNODE_SHARE", offsetof(struct node_config, share), "", NULL, TEXT},
    {"regions", "FLYNODE_REGIONS", offsetof(struct node_config, regions), "", NULL, TEXT},
    {"host", "FLYNODE_HOST", offsetof(struct node_config, host), "off", NULL, SWITCH},
    {"host-reserve", "FLYNODE_HOST_RESERVE", offsetof(struct node_config, host_reserve), "", NULL,
     TEXT},
    {"flush-interval", "FLYNODE_FLUSH_INTERVAL", offsetof(struct node_config, flush_interval),
     "50ms", NULL, TEXT},
    {"beacon", "FLYNODE_BEACON", offsetof(struct node_config, beacon), "on", NULL, SWITCH},
};

static const char *const levels[] = {"error", "warn", "info", "debug"};

static enum fly_status too_long(const char *key, size_t size, struct fly_error *error)
{
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s is longer than %zu bytes", key, size - 1);
}

static enum fly_status set_switch(char *to, const char *key, const char *value,
                                  struct fly_error *error)
{
    static const char *const on[] = {"on", "true", "1"};
    static const char *const off[] = {"off", "false", "0"};

    for (size_t i = 0; i < FLY_ARRAY_COUNT(on); i++) {
        if (strcmp(value, on[i]) == 0 || strcmp(value, off[i]) == 0) {
            (void)fly_copy_string(to, CONFIG_TEXT_SIZE, strcmp(value, on[i]) == 0 ? "on" : "off");
            return FLY_OK;
        }
    }
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s '%.32s' is not on or off", key, value);
}

/* A list's source takes the place of weaker ones; only flags may come several times. */
static enum fly_status set_join(struct node_config *c, const char *value, enum source source,
                                struct fly_error *error)
{
    size_t used = source == SOURCE_FLAG && c->join_by_flag ? strlen(c->join) : 0;
    size_t size = strlen(value);

    if (used + (used > 0) + size >= sizeof c->join) {
        return too_long("join", sizeof c->join, error);
    }
    if (used > 0) {
        c->join[used++] = ',';
    }
    memcpy(c->join + used, value, size + 1);
    c->join_by_flag = source == SOURCE_FLAG;
    return FLY_OK;
}

static const struct setting *find(const char *key)
{
    for (size_t i = 0; i < FLY_ARRAY_COUNT(settings); i++) {
        if (strcmp(settings[i].key, key) == 0) {
            return &settings[i];
        }
    }
    return NULL;
}

static enum fly_status set_from(struct node_config *c, const char *key, const char *value,
                                enum source source, struct fly_error *error)
{
    const struct setting *setting = find(key);

    if (setting == NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "unknown setting '%.64s'", key);
    }
    char *to = (char *)c + setting->offset;
    if (setting->kind == SWITCH) {
        return set_switch(to, key, value, error);
    }
    if (setting->kind == LIST) {
        return set_join(c, value, source, error);
    }
    return fly_copy_string(to, CONFIG_TEXT_SIZE, value) ? FLY_OK
                                                        : too_long(key, CONFIG_TEXT_SIZE, error);
}

enum fly_status config_set(struct node_config *c, const char *key, const char *value,
                           struct fly_error *error)
{
    struct node_config before = *c;
    enum fly_status status = set_from(c, key, value, SOURCE_FLAG, error);

    if (status != FLY_OK) {
        *c = before;
    }
    return status;
}

/* A string; for a switch true and false too. */
static enum fly_status set_json(struct node_config *c, const char *key, const json_t *value,
                                struct fly_error *error)
{
    const struct setting *setting = find(key);

    if (json_is_boolean(value) && setting != NULL && setting->kind == SWITCH) {
        return set_from(c, key, json_is_true(value) ? "on" : "off", SOURCE_FILE_OR_ENVIRONMENT,
                        error);
    }
    if (!json_is_string(value)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%.64s is not a string", key);
    }
    return set_from(c, key, json_string_value(value), SOURCE_FILE_OR_ENVIRONMENT, error);
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
        status = set_json(c, key, value, error);
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

static enum fly_status load(struct node_config *out, bool dev, struct fly_error *error)
{
    *out = (struct node_config){.join_by_flag = false};
    for (size_t i = 0; i < FLY_ARRAY_COUNT(settings); i++) {
        const struct setting *s = &settings[i];
        const char *value = dev && s->dev_fallback != NULL ? s->dev_fallback : s->fallback;
        FLY_CHECK(set_from(out, s->key, value, SOURCE_FILE_OR_ENVIRONMENT, error) == FLY_OK);
    }
    enum fly_status status = load_files(out, error);
    for (size_t i = 0; status == FLY_OK && i < FLY_ARRAY_COUNT(settings); i++) {
        const char *value = getenv(settings[i].variable);
        if (value != NULL) {
            status = set_from(out, settings[i].key, value, SOURCE_FILE_OR_ENVIRONMENT, error);
            if (status != FLY_OK) {
                return fly_error_wrap(error, "%s", settings[i].variable);
            }
        }
    }
    return status;
}

enum fly_status config_load(struct node_config *out, struct fly_error *error)
{
    return load(out, true, error);
}

enum fly_status config_load_run(struct node_config *out, struct fly_error *error)
{
    return load(out, false, error);
}

/* RPC off loopback needs TLS and joined nodes, which `dev` has not. */
static bool loopback(const char *url)
{
    return strncmp(url, "tcp://127.", 10) == 0 || strncmp(url, "tcp://[::1]:", 12) == 0 ||
           strncmp(url, "ipc://", 6) == 0;
}

enum fly_status config_check_log(const struct node_config *c, struct fly_error *error)
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
    return FLY_OK;
}

enum fly_status config_check(const struct node_config *c, struct config_http *http,
                             struct fly_error *error)
{
    enum fly_status status = config_check_log(c, error);
    struct config_address rpc;

    if (status == FLY_OK && !loopback(c->rpc)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "rpc '%.64s' is not on loopback: flynode dev speaks without TLS; use "
                             "tcp://127.0.0.1:PORT, tcp://[::1]:PORT or ipc:///PATH",
                             c->rpc);
    }
    if (!config_address_parse(c->rpc, RPC_PORT, &rpc)) { /* ipc */
        FLY_CHECK(config_address_parse("127.0.0.1", RPC_PORT, &rpc));
    }
    return status == FLY_OK ? config_take_http(c, &rpc, http, error) : status;
}

enum fly_log_level config_log_level(const struct node_config *c)
{
    size_t i = 0;

    while (strcmp(levels[i], c->log_level) != 0) {
        i++;
    }
    return (enum fly_log_level)i;
}
