/*
 * config_run - the settings of `flynode run` looked at together and taken apart.
 *
 * Left out: rpc is the advertised address (or 127.0.0.1), port 7401; gossip and pub are on rpc's
 * address, on the ports beside rpc's: one flag moves all three.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "node/config.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/time.h"
#include "proto/wire/credential.h"

enum {
    GOSSIP_PORT = 7400,
    RPC_PORT = 7401,
    FLUSH_MAX_MS = 10000,
    CORES_MAX = 4096,
};

/* --- addresses --- */

bool config_parse_number(const char *text, size_t size, uint32_t max, uint32_t *out)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9' || i == 9) {
            return false;
        }
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    if (size == 0 || value > max) {
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool take_v4(struct in_addr ip, struct config_address *out)
{
    uint32_t bits = ntohl(ip.s_addr);

    out->loopback = bits >> 24 == 127;
    out->any = bits == 0;
    return bits >> 28 < 14 && inet_ntop(AF_INET, &ip, out->host, sizeof out->host) != NULL;
}

static bool take_v6(const struct in6_addr *ip, struct config_address *out)
{
    struct in_addr v4;

    if (IN6_IS_ADDR_V4MAPPED(ip)) {
        memcpy(&v4, ip->s6_addr + 12, sizeof v4);
        return take_v4(v4, out);
    }
    out->loopback = IN6_IS_ADDR_LOOPBACK(ip) != 0;
    out->any = IN6_IS_ADDR_UNSPECIFIED(ip) != 0;
    return !IN6_IS_ADDR_MULTICAST(ip) && !IN6_IS_ADDR_LINKLOCAL(ip) &&
           inet_ntop(AF_INET6, ip, out->host, sizeof out->host) != NULL;
}

static bool take_host(const char *text, size_t size, bool bracket, struct config_address *out)
{
    char host[CONFIG_HOST_SIZE];
    struct in_addr v4;
    struct in6_addr v6;

    if (size >= sizeof host) {
        return false;
    }
    memcpy(host, text, size);
    host[size] = '\0';
    if (!bracket && inet_pton(AF_INET, host, &v4) == 1) {
        return take_v4(v4, out);
    }
    return inet_pton(AF_INET6, host, &v6) == 1 && take_v6(&v6, out);
}

bool config_address_parse(const char *text, uint16_t default_port, struct config_address *out)
{
    static const char *const schemes[] = {"tcp://", "tls+tcp://"};
    struct config_address a = {.port = default_port};
    uint32_t port = default_port;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(schemes); i++) {
        size_t size = strlen(schemes[i]);
        if (strncmp(text, schemes[i], size) == 0) {
            text += size;
            break;
        }
    }
    bool bracket = text[0] == '[';
    text += bracket;
    size_t host_size = strcspn(text, bracket ? "]" : ":");
    const char *rest = text + host_size;
    if (bracket) {
        if (*rest++ != ']') {
            return false;
        }
    } else if (*rest == ':' && strchr(rest + 1, ':') != NULL) { /* IPv6 without a port */
        host_size = strlen(text);
        rest = text + host_size;
    }
    if (*rest != '\0' &&
        (*rest != ':' || !config_parse_number(rest + 1, strlen(rest + 1), UINT16_MAX, &port))) {
        return false;
    }
    a.port = (uint16_t)port;
    if (!take_host(text, host_size, bracket, &a)) {
        return false;
    }
    *out = a;
    return true;
}

void config_address_format(const char *host, uint16_t port,
                           char out[static CONFIG_ADDRESS_TEXT_SIZE])
{
    bool v6 = strchr(host, ':') != NULL;

    (void)snprintf(out, CONFIG_ADDRESS_TEXT_SIZE, "%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "",
                   port);
}

static enum fly_status bad_address(const char *key, const char *text, struct fly_error *error)
{
    return fly_error_set(error, FLY_INVALID_ARGUMENT,
                         "%s '%.64s' is not ADDR or ADDR:PORT with a numeric address that others "
                         "can dial, such as 10.0.0.5:7401 or [fd00::5]:7401",
                         key, text);
}

/* The address beside rpc's port when none was told. */
static enum fly_status take_beside(const char *key, const char *text,
                                   const struct config_address *rpc, int step,
                                   struct config_address *out, struct fly_error *error)
{
    int port = rpc->port == 0 ? 0 : rpc->port + step;

    if (port > UINT16_MAX || (port == 0 && rpc->port != 0)) {
        if (text[0] == '\0') {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "rpc's port %u leaves no port beside it: tell --%s too", rpc->port,
                                 key);
        }
        port = RPC_PORT + step;
    }
    if (text[0] == '\0') {
        *out = *rpc;
        out->port = (uint16_t)port;
        return FLY_OK;
    }
    return config_address_parse(text, (uint16_t)port, out) ? FLY_OK : bad_address(key, text, error);
}

static enum fly_status take_advertise(const struct node_config *c, struct config_address *out,
                                      struct fly_error *error)
{
    if (c->advertise[0] == '\0') {
        return FLY_OK;
    }
    if (!take_host(c->advertise, strlen(c->advertise), false, out) || out->any) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "advertise '%.64s' is not a numeric address that others can dial, "
                             "without a port, such as 10.0.0.5 or fd00::5",
                             c->advertise);
    }
    return FLY_OK;
}

/* What others dial must be where this node listens. */
static enum fly_status check_reach(const struct config_address *told, struct config_run *out,
                                   struct fly_error *error)
{
    const struct config_address *const all[] = {&out->rpc, &out->gossip, &out->pub};
    static const char *const keys[] = {"rpc", "gossip", "pub"};
    char has[CONFIG_ADDRESS_TEXT_SIZE];

    for (size_t i = 0; i < FLY_ARRAY_COUNT(all); i++) {
        config_address_format(all[i]->host, all[i]->port, has);
        if (told->host[0] == '\0' && all[i]->any) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "%s %s is every address of this host: tell others one of them "
                                 "with --advertise ADDR",
                                 keys[i], has);
        }
        if (told->host[0] != '\0' && all[i]->loopback && !told->loopback) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "%s %s is on loopback: others that are told %s cannot reach it",
                                 keys[i], has, told->host);
        }
        if (told->host[0] != '\0' && strchr(told->host, ':') != NULL &&
            strchr(all[i]->host, ':') == NULL) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "%s %s is IPv4 and advertise %s is IPv6: both must be of one kind",
                                 keys[i], has, told->host);
        }
        if (told->host[0] == '\0' && strcmp(all[i]->host, out->rpc.host) != 0) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "%s %s is not on rpc's address %s: others know one address of a "
                                 "node; use one, or tell it with --advertise ADDR",
                                 keys[i], has, out->rpc.host);
        }
    }
    (void)fly_copy_string(out->advertise, sizeof out->advertise,
                          told->host[0] != '\0' ? told->host : out->rpc.host);
    out->loopback = out->rpc.loopback && out->gossip.loopback && out->pub.loopback;
    return FLY_OK;
}

static enum fly_status take_addresses(const struct node_config *c, struct config_run *out,
                                      struct fly_error *error)
{
    struct config_address told = {.host = ""};
    enum fly_status status = take_advertise(c, &told, error);

    if (status != FLY_OK) {
        return status;
    }
    const char *rpc = c->rpc[0] != '\0' ? c->rpc : told.host[0] != '\0' ? told.host : "127.0.0.1";
    if (!config_address_parse(rpc, RPC_PORT, &out->rpc)) {
        return bad_address("rpc", rpc, error);
    }
    status =
        take_beside("gossip", c->gossip, &out->rpc, GOSSIP_PORT - RPC_PORT, &out->gossip, error);
    if (status == FLY_OK) {
        status = take_beside("pub", c->pub, &out->rpc, 1, &out->pub, error);
    }
    if (status == FLY_OK && out->rpc.port != 0 && out->rpc.port == out->pub.port) {
        status = fly_error_set(error, FLY_INVALID_ARGUMENT, "rpc and pub have the same port %u",
                               out->rpc.port);
    }
    return status == FLY_OK ? check_reach(&told, out, error) : status;
}

/* --- lists --- */

bool config_next_part(const char **list, char *out, size_t max, bool *fits)
{
    const char *p = *list;

    if (p == NULL) {
        return false;
    }
    size_t size = strcspn(p, ",");
    *list = p[size] == ',' ? p + size + 1 : NULL;
    while (size > 0 && *p == ' ') {
        p++;
        size--;
    }
    while (size > 0 && p[size - 1] == ' ') {
        size--;
    }
    *fits = size > 0 && size < max;
    if (*fits) {
        memcpy(out, p, size);
        out[size] = '\0';
    }
    return true;
}

static enum fly_status take_joins(const struct node_config *c, struct config_run *out,
                                  struct fly_error *error)
{
    const char *list = c->join[0] != '\0' ? c->join : NULL;
    char part[CONFIG_TEXT_SIZE];
    bool fits = false;

    while (config_next_part(&list, part, sizeof part, &fits)) {
        struct config_address *a = &out->joins[out->join_count];
        if (out->join_count == CONFIG_JOIN_MAX) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "join has more than %d addresses",
                                 CONFIG_JOIN_MAX);
        }
        if (!fits || !config_address_parse(part, GOSSIP_PORT, a) || a->any || a->port == 0) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "join '%.64s' is not ADDR or ADDR:PORT with the numeric gossip "
                                 "address of another node, such as 10.0.0.5 or [fd00::5]:7400",
                                 fits ? part : c->join);
        }
        out->join_count++;
    }
    return FLY_OK;
}

bool config_take_code(const char *text, char out[static 16])
{
    size_t size = strlen(text);

    for (size_t i = 0; i < size; i++) {
        if (i >= 8 || isalnum((unsigned char)text[i]) == 0) {
            return false;
        }
        out[i] = (char)toupper((unsigned char)text[i]);
    }
    out[size <= 8 ? size : 0] = '\0';
    return size >= 2;
}

static enum fly_status take_regions(const struct node_config *c, struct config_run *out,
                                    struct fly_error *error)
{
    const char *list = c->regions[0] != '\0' ? c->regions : NULL;
    char part[CONFIG_TEXT_SIZE];
    bool fits = false;

    if (c->region[0] != '\0' && !config_take_code(c->region, out->region)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "region '%.32s' is not 2 to 8 letters or digits, such as SIN",
                             c->region);
    }
    while (config_next_part(&list, part, sizeof part, &fits)) {
        char code[16] = "";
        if (!fits || !config_take_code(part, code)) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "regions '%.64s' is not a list of codes such as SIN,NRT",
                                 c->regions);
        }
        for (uint32_t i = 0; i < out->region_count; i++) {
            if (strcmp(out->regions[i], code) == 0) {
                return fly_error_set(error, FLY_INVALID_ARGUMENT, "regions names %s twice", code);
            }
        }
        if (out->region_count == CONFIG_REGIONS_MAX) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "regions has more than %d codes",
                                 CONFIG_REGIONS_MAX);
        }
        memcpy(out->regions[out->region_count++], code, sizeof code);
    }
    return FLY_OK;
}

/* --- what the node brings --- */

static enum fly_status take_share(const struct node_config *c, struct config_run *out,
                                  struct fly_error *error)
{
    const char *slash = strchr(c->share, '/');

    out->share = 1;
    out->shares = 1;
    if (c->share[0] == '\0') {
        return FLY_OK;
    }
    if (slash == NULL ||
        !config_parse_number(c->share, (size_t)(slash - c->share), CONFIG_SHARES_MAX,
                             &out->share) ||
        !config_parse_number(slash + 1, strlen(slash + 1), CONFIG_SHARES_MAX, &out->shares) ||
        out->share == 0 || out->share > out->shares) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "share '%.32s' is not K/N with 1 <= K <= N <= %d, such as 1/3",
                             c->share, CONFIG_SHARES_MAX);
    }
    return FLY_OK;
}

static enum fly_status take_reserve(const struct node_config *c, struct config_run *out,
                                    struct fly_error *error)
{
    const char *slash = strchr(c->host_reserve, '/');

    if (c->host_reserve[0] == '\0') {
        return FLY_OK;
    }
    out->reserve_told = true;
    if (slash == NULL ||
        !config_parse_number(c->host_reserve, (size_t)(slash - c->host_reserve), CORES_MAX,
                             &out->reserve_cores) ||
        (strcmp(slash + 1, "0") != 0 && !fly_size_parse(slash + 1, &out->reserve_memory_bytes))) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "host-reserve '%.32s' is not CORES/MEMORY to keep back, such as 1/1GB "
                             "or 0/0",
                             c->host_reserve);
    }
    return FLY_OK;
}

static enum fly_status take_brought(const struct node_config *c, struct config_run *out,
                                    struct fly_error *error)
{
    static const char *const needs = "%s needs --machines FILE: it is a part of that file";
    enum fly_status status = take_share(c, out, error);

    out->host = strcmp(c->host, "on") == 0;
    if (status == FLY_OK && c->share[0] != '\0' && c->machines[0] == '\0') {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, needs, "share");
    }
    if (status == FLY_OK && c->regions[0] != '\0' && c->machines[0] == '\0') {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, needs, "regions");
    }
    if (status == FLY_OK && c->host_reserve[0] != '\0' && !out->host) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "host-reserve needs --host: it is kept back from this host");
    }
    return status == FLY_OK ? take_reserve(c, out, error) : status;
}

enum fly_status config_check_roles(const struct node_config *c, uint32_t roles,
                                   struct fly_error *error)
{
    bool host = strcmp(c->host, "on") == 0;

    if ((roles & NODE_ROLE_PEER) == 0 && (c->machines[0] != '\0' || host)) {
        char text[NODE_ROLES_TEXT_SIZE];
        node_roles_format(roles, ',', text);
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "%s needs the role peer: only a peer owns machines, and the roles of "
                             "this node are '%s'",
                             c->machines[0] != '\0' ? "machines" : "host", text);
    }
    if ((roles & NODE_ROLE_DASH) == 0 && c->http[0] != '\0' && strcmp(c->http, "off") != 0) {
        char text[NODE_ROLES_TEXT_SIZE];
        node_roles_format(roles, ',', text);
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "http needs the role dash, and the roles of this node are '%s'", text);
    }
    return FLY_OK;
}

static enum fly_status take_dashboard(const struct node_config *c, struct config_run *out,
                                      struct fly_error *error)
{
    const struct config_http *http = &out->http;
    enum fly_status status = config_take_http(c, &out->rpc, &out->http, error);

    if (status == FLY_OK && http->told && http->address.port != 0 &&
        (http->address.port == out->rpc.port || http->address.port == out->pub.port)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "http and %s have the same port %u",
                             http->address.port == out->rpc.port ? "rpc" : "pub",
                             http->address.port);
    }
    return status;
}

static enum fly_status take_who(const struct node_config *c, struct config_run *out,
                                struct fly_error *error)
{
    if (c->roles[0] != '\0' && !node_roles_parse(c->roles, &out->roles)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "roles '%.64s' is not a list of peer, edge, dash, admit", c->roles);
    }
    if (c->name[0] != '\0') {
        if (!fly_name_ok(c->name)) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "name '%.64s' is not 1 to 63 of a to z, 0 to 9 and -", c->name);
        }
        (void)fly_copy_string(out->name, sizeof out->name, c->name);
    }
    return out->roles != 0 ? config_check_roles(c, out->roles, error) : FLY_OK;
}

enum fly_status config_check_run(const struct node_config *c, struct config_run *out,
                                 struct fly_error *error)
{
    static enum fly_status (*const steps[])(const struct node_config *c, struct config_run *out,
                                            struct fly_error *error) = {
        take_who, take_regions, take_addresses, take_joins, take_brought, take_dashboard};
    enum fly_status status = config_check_log(c, error);

    *out = (struct config_run){.beacon = strcmp(c->beacon, "on") == 0};
    for (size_t i = 0; status == FLY_OK && i < FLY_ARRAY_COUNT(steps); i++) {
        status = steps[i](c, out, error);
    }
    if (status == FLY_OK && (!fly_duration_parse(c->flush_interval, &out->flush_interval_ms) ||
                             out->flush_interval_ms > FLUSH_MAX_MS)) {
        status = fly_error_set(error, FLY_INVALID_ARGUMENT,
                               "flush-interval '%.32s' is not from 1ms to 10s, such as 50ms",
                               c->flush_interval);
    }
    if (status == FLY_OK && (c->state[0] == '\0' || c->regions_file[0] == '\0')) {
        status = fly_error_set(error, FLY_INVALID_ARGUMENT, "%s is empty",
                               c->state[0] == '\0' ? "state" : "regions-file");
    }
    return status;
}
