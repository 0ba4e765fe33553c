/*
 * config_http - the settings of the dashboard looked at together and taken apart.
 *
 * Left out: it is on rpc's address, two ports above rpc's; over http on loopback, else over https.
 * Plain http that leaves the machine carries tokens for all to read: only when somebody says so
 * twice.
 */
#include <stdio.h>
#include <string.h>

#include "node/config.h"
#include "proto/base/bytes.h"

enum {
    LAUNCHES_MAX = 100000,
    VMS_MAX = 10 * 1000 * 1000,
    HTTP_STEP = 2, /* from rpc's port */
};

enum scheme { NOT_SAID, HTTP, HTTPS };

static enum scheme take_scheme(const char **text)
{
    static const char *const schemes[] = {[HTTP] = "http://", [HTTPS] = "https://"};

    for (enum scheme s = HTTP; s <= HTTPS; s++) {
        size_t size = strlen(schemes[s]);
        if (strncmp(*text, schemes[s], size) == 0) {
            *text += size;
            return s;
        }
    }
    return NOT_SAID;
}

static enum fly_status take_address(const struct node_config *c, const struct config_address *rpc,
                                    enum scheme *scheme, struct config_http *out,
                                    struct fly_error *error)
{
    const char *text = c->http;
    bool room = rpc->port <= UINT16_MAX - HTTP_STEP;
    uint16_t port = CONFIG_HTTP_PORT;

    if (rpc->port == 0) {
        port = 0;
    } else if (room) {
        port = (uint16_t)(rpc->port + HTTP_STEP);
    }
    if (text[0] == '\0') {
        out->address = *rpc;
        out->address.port = port;
        return FLY_OK;
    }
    out->told = true;
    *scheme = take_scheme(&text);
    /* config_address_parse would take tcp:// */
    if (strstr(text, "://") != NULL ||
        !config_address_parse(text, CONFIG_HTTP_PORT, &out->address)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "http '%.64s' is not off, ADDR or ADDR:PORT with a numeric address of "
                             "this host, such as 10.0.0.5:7403; http:// or https:// may stand in "
                             "front",
                             c->http);
    }
    return FLY_OK;
}

static enum fly_status take_tls(const struct node_config *c, enum scheme scheme,
                                struct config_http *out, struct fly_error *error)
{
    bool cert = c->http_cert[0] != '\0';
    bool insecure = strcmp(c->http_insecure, "on") == 0;
    char text[CONFIG_ADDRESS_TEXT_SIZE];

    if (cert != (c->http_key[0] != '\0')) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s is of no use without %s",
                             cert ? "http-cert" : "http-key", cert ? "http-key" : "http-cert");
    }
    if (scheme == HTTP && cert) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "http '%.64s' is without TLS, and http-cert is told: leave one out",
                             c->http);
    }
    out->https =
        scheme == HTTPS || cert || (scheme == NOT_SAID && !out->address.loopback && !insecure);
    if (!out->https && !out->address.loopback && !insecure) {
        config_address_format(out->address.host, out->address.port, text);
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "http %s is not on loopback: tokens would travel in the clear. Leave "
                             "http:// out for https, or say --http-insecure too",
                             text);
    }
    return FLY_OK;
}

static enum fly_status take_count(const char *key, const char *text, uint32_t min, uint32_t max,
                                  uint32_t *out, struct fly_error *error)
{
    if (!config_parse_number(text, strlen(text), max, out) || *out < min) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "%s '%.32s' is not a number from %u to %u", key, text, min, max);
    }
    return FLY_OK;
}

static enum fly_status take_autospawn(const struct node_config *c, struct config_http *out,
                                      struct fly_error *error)
{
    const char *list = c->autospawn[0] != '\0' ? c->autospawn : NULL;
    bool token = c->autospawn_token_file[0] != '\0';
    char part[CONFIG_TEXT_SIZE];
    char code[16];
    size_t used = 0;
    bool fits = false;

    if (token != (list != NULL)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s",
                             token ? "autospawn-token-file is of no use without autospawn REGIONS"
                                   : "autospawn needs --autospawn-token-file: whom it launches as");
    }
    while (config_next_part(&list, part, sizeof part, &fits)) {
        if (!fits || !config_take_code(part, code)) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "autospawn '%.64s' is not a list of codes such as SIN,NRT",
                                 c->autospawn);
        }
        int size = snprintf(out->autospawn + used, sizeof out->autospawn - used, "%s%s",
                            used > 0 ? "," : "", code);
        used += (size_t)size;
        if (used >= sizeof out->autospawn) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "autospawn has too many regions");
        }
    }
    return FLY_OK;
}

enum fly_status config_take_http(const struct node_config *c, const struct config_address *rpc,
                                 struct config_http *out, struct fly_error *error)
{
    enum scheme scheme = NOT_SAID;

    *out = (struct config_http){.on = strcmp(c->http, "off") != 0};
    if (!out->on) {
        return FLY_OK;
    }
    enum fly_status status = take_address(c, rpc, &scheme, out, error);
    if (status == FLY_OK) {
        status = take_tls(c, scheme, out, error);
    }
    if (status == FLY_OK) {
        status = take_count("launches-per-minute", c->launches_per_minute, 1, LAUNCHES_MAX,
                            &out->launches_per_minute, error);
    }
    if (status == FLY_OK) {
        status = take_count("vms-max", c->vms_max, 0, VMS_MAX, &out->vms_max, error);
    }
    return status == FLY_OK ? take_autospawn(c, out, error) : status;
}
