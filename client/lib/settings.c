#include "client/lib/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/check.h"

enum { FILE_SIZE_MAX = 16384 };

/* Reads a small file whole. FLY_OK, NOT_FOUND, or what is wrong with it. */
static enum fly_status read_small_file(const char *path, char *out, size_t max, size_t *size,
                                       struct fly_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    enum fly_status status = FLY_OK;

    *size = 0;
    if (fd < 0) {
        status = errno == ENOENT || errno == ENOTDIR ? FLY_NOT_FOUND
                 : errno == EACCES                   ? FLY_PERMISSION_DENIED
                                                     : FLY_UNAVAILABLE;
        return fly_error_set(error, status, "%s: %s", path, strerror(errno));
    }
    while (status == FLY_OK) {
        ssize_t got = read(fd, out + *size, max - *size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            status = fly_error_set(error, FLY_UNAVAILABLE, "%s: %s", path, strerror(errno));
        } else if (got == 0) {
            break;
        } else if ((*size += (size_t)got) == max) {
            status = fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: is larger than %zu bytes",
                                   path, max - 1);
        }
    }
    (void)close(fd);
    return status;
}

bool settings_add_addr(struct settings *settings, const char *addr)
{
    size_t used = strlen(settings->addr);
    size_t size = strlen(addr);

    if (size == 0 || used + 1 + size >= sizeof settings->addr) {
        return false;
    }
    (void)snprintf(settings->addr + used, sizeof settings->addr - used, "%s%s", used > 0 ? "," : "",
                   addr);
    return true;
}

/* "host:port", or ["host:port", "other:port"]. */
static enum fly_status take_addr(const char *name, const char *key, const json_t *value,
                                 struct settings *out, struct fly_error *error)
{
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    bool ok = count > 0;

    if (out->addr[0] != '\0') {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "%s: addr and edge are one setting: keep one of them", name);
    }
    for (size_t i = 0; ok && i < count; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        ok = json_is_string(one) && settings_add_addr(out, json_string_value(one));
    }
    return ok ? FLY_OK
              : fly_error_set(error, FLY_INVALID_ARGUMENT,
                              "%s: %s: is not a text of 1 to %zu bytes, or a list of such", name,
                              key, sizeof out->addr - 1);
}

static enum fly_status take_key(const char *name, const char *key, const json_t *value,
                                struct settings *out, struct fly_error *error)
{
    const struct {
        const char *key;
        char *to;
        size_t max;
    } known[] = {
        {"token", out->token, sizeof out->token},
        {"token_file", out->token_file, sizeof out->token_file},
        {"ca", out->ca, sizeof out->ca},
    };

    if (strcmp(key, "addr") == 0 || strcmp(key, "edge") == 0) {
        return take_addr(name, key, value, out, error);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(known); i++) {
        if (strcmp(key, known[i].key) != 0) {
            continue;
        }
        if (!json_is_string(value) || json_string_length(value) == 0 ||
            json_string_length(value) >= known[i].max) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "%s: %s: is not a text of 1 to %zu bytes", name, key,
                                 known[i].max - 1);
        }
        (void)fly_copy_string(known[i].to, known[i].max, json_string_value(value));
        return FLY_OK;
    }
    return fly_error_set(error, FLY_INVALID_ARGUMENT,
                         "%s: '%.40s' is not a setting (addr, token, token_file, ca)", name, key);
}

enum fly_status settings_parse(struct fly_bytes text, const char *name, struct settings *out,
                               struct fly_error *error)
{
    struct settings parsed = {0};
    json_error_t where;
    json_t *root = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &where);
    enum fly_status status = FLY_OK;
    const char *key;
    json_t *value;

    if (root == NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s:%d:%d: is not JSON", name, where.line,
                             where.column);
    }
    if (!json_is_object(root)) {
        status = fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: is not a JSON object", name);
    }
    if (status == FLY_OK) {
        json_object_foreach(root, key, value)
        {
            status = take_key(name, key, value, &parsed, error);
            if (status != FLY_OK) {
                break;
            }
        }
    }
    json_decref(root);
    if (status == FLY_OK) {
        *out = parsed;
    }
    return status;
}

static enum fly_status load_file(const char *path, struct settings *out, struct fly_error *error)
{
    static char text[FILE_SIZE_MAX + 1];
    size_t size = 0;
    enum fly_status status = read_small_file(path, text, sizeof text, &size, error);

    if (status == FLY_NOT_FOUND) {
        return FLY_OK;
    }
    if (status == FLY_OK) {
        status = settings_parse((struct fly_bytes){(const uint8_t *)text, size}, path, out, error);
    }
    explicit_bzero(text, sizeof text);
    return status;
}

static enum fly_status read_token_file(const char *path, char out[static SETTINGS_TOKEN_SIZE],
                                       struct fly_error *error)
{
    char text[SETTINGS_TOKEN_SIZE];
    size_t size = 0;
    enum fly_status status = read_small_file(path, text, sizeof text, &size, error);

    if (status != FLY_OK) {
        return fly_error_wrap(error, "token file");
    }
    text[size] = '\0';
    char *start = text + strspn(text, " \t\r\n");
    size_t length = strcspn(start, " \t\r\n");
    if (length == 0 || start[length + strspn(start + length, " \t\r\n")] != '\0') {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "token file: %s: is not one token", path);
    }
    start[length] = '\0';
    (void)fly_copy_string(out, SETTINGS_TOKEN_SIZE, start);
    return FLY_OK;
}

enum fly_status settings_read_ca(const char *path, char out[static SETTINGS_CA_MAX],
                                 struct fly_error *error)
{
    size_t size = 0;
    enum fly_status status = read_small_file(path, out, SETTINGS_CA_MAX - 1, &size, error);

    out[size < SETTINGS_CA_MAX ? size : 0] = '\0';
    if (status != FLY_OK) {
        return fly_error_wrap(error, "CA file");
    }
    if (strlen(out) != size || strstr(out, "-----BEGIN CERTIFICATE-----") == NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "CA file: %s: holds no PEM certificate",
                             path);
    }
    return FLY_OK;
}

static enum fly_status from_variable(const char *name, char *to, size_t max,
                                     struct fly_error *error)
{
    const char *value = getenv(name);

    return value == NULL || fly_copy_string(to, max, value)
               ? FLY_OK
               : fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: is too long", name);
}

static enum fly_status from_environment(struct settings *out, struct fly_error *error)
{
    char edge[SETTINGS_ADDR_SIZE] = "";
    enum fly_status status = from_variable("FLYRPC_ADDR", out->addr, sizeof out->addr, error);

    status = status == FLY_OK ? from_variable("FLYRPC_EDGE", edge, sizeof edge, error) : status;
    if (status == FLY_OK && edge[0] != '\0') {
        if (out->addr[0] != '\0' && strcmp(out->addr, edge) != 0) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "FLYRPC_ADDR and FLYRPC_EDGE are one setting: unset one of them");
        }
        (void)fly_copy_string(out->addr, sizeof out->addr, edge);
    }
    status = status == FLY_OK ? from_variable("FLYRPC_TOKEN", out->token, sizeof out->token, error)
                              : status;
    return status == FLY_OK ? from_variable("FLYRPC_CA", out->ca, sizeof out->ca, error) : status;
}

static enum fly_status from_user_file(struct settings *out, struct fly_error *error)
{
    const char *xdg = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    char path[SETTINGS_PATH_SIZE];
    int size = -1;

    if (xdg != NULL && xdg[0] == '/') {
        size = snprintf(path, sizeof path, "%s/flylight/flyrpc.json", xdg);
    } else if (home != NULL && home[0] == '/') {
        size = snprintf(path, sizeof path, "%s/.config/flylight/flyrpc.json", home);
    }
    return size < 0 || (size_t)size >= sizeof path ? FLY_OK : load_file(path, out, error);
}

static void merge(struct settings *into, const struct settings *from)
{
    if (into->addr[0] == '\0') {
        (void)fly_copy_string(into->addr, sizeof into->addr, from->addr);
    }
    if (into->ca[0] == '\0') {
        (void)fly_copy_string(into->ca, sizeof into->ca, from->ca);
    }
    /* the two are one setting: a token file of a stronger source beats a token of a weaker one */
    if (into->token[0] == '\0' && into->token_file[0] == '\0') {
        (void)fly_copy_string(into->token, sizeof into->token, from->token);
        (void)fly_copy_string(into->token_file, sizeof into->token_file, from->token_file);
    }
}

enum fly_status settings_resolve(const struct settings *flags, struct settings *out,
                                 struct fly_error *error)
{
    static const struct settings defaults = {.addr = SETTINGS_ADDR_DEFAULT};
    struct settings environment = {0};
    struct settings user = {0};
    struct settings machine = {0};
    enum fly_status status = from_environment(&environment, error);

    status = status == FLY_OK ? from_user_file(&user, error) : status;
    status = status == FLY_OK ? load_file("/etc/flylight/flyrpc.json", &machine, error) : status;
    if (status != FLY_OK) {
        return status;
    }
    *out = *flags;
    merge(out, &environment);
    merge(out, &user);
    merge(out, &machine);
    merge(out, &defaults);
    if (out->token[0] != '\0' && out->token_file[0] != '\0') {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "both a token and a token file: give one of them");
    }
    return out->token_file[0] != '\0' ? read_token_file(out->token_file, out->token, error)
                                      : FLY_OK;
}
