#include "gossip/udp_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/udp.h"

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
static const uint8_t zeros[16];

bool udp_address_is_v4(const uint8_t ip[static 16])
{
    return memcmp(ip, v4_prefix, sizeof v4_prefix) == 0;
}

bool udp_address_is_loopback(const uint8_t ip[static 16])
{
    return udp_address_is_v4(ip) ? ip[12] == 127 : memcmp(ip, zeros, 15) == 0 && ip[15] == 1;
}

bool udp_address_is_any(const uint8_t ip[static 16])
{
    return memcmp(ip, zeros, 16) == 0 ||
           (udp_address_is_v4(ip) && memcmp(ip + sizeof v4_prefix, zeros, 4) == 0);
}

bool udp_address_is_link_local(const uint8_t ip[static 16])
{
    return ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
}

bool udp_address_equal(const struct gossip_address *a, const struct gossip_address *b)
{
    return a->port == b->port && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

socklen_t udp_address_to_kernel(const struct gossip_address *a, sa_family_t family,
                                struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (family == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(a->port);
        memcpy(&in6->sin6_addr, a->ip, sizeof in6->sin6_addr);
        return sizeof *in6;
    }
    if (!udp_address_is_v4(a->ip)) {
        return 0;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    in->sin_family = AF_INET;
    in->sin_port = htons(a->port);
    memcpy(&in->sin_addr, a->ip + sizeof v4_prefix, sizeof in->sin_addr);
    return sizeof *in;
}

bool udp_address_from_kernel(const struct sockaddr_storage *from, struct gossip_address *out)
{
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
        memcpy(out->ip, &in6->sin6_addr, sizeof out->ip);
        out->port = ntohs(in6->sin6_port);
        return true;
    }
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        memcpy(out->ip, v4_prefix, sizeof v4_prefix);
        memcpy(out->ip + sizeof v4_prefix, &in->sin_addr, sizeof in->sin_addr);
        out->port = ntohs(in->sin_port);
        return true;
    }
    return false;
}

/* 1..65535 in decimal digits, nothing else. */
static bool parse_port(const char *text, uint16_t *out)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 5 || text[digits] != '\0') {
        return false;
    }
    unsigned long port = strtoul(text, NULL, 10);
    if (port == 0 || port > UINT16_MAX) {
        return false;
    }
    *out = (uint16_t)port;
    return true;
}

/* "host", "host:port", "[host]:port" or "host" of IPv6: *port points to the digits or is NULL. */
static bool split(const char *text, char host[static GOSSIP_ADDRESS_TEXT_SIZE], const char **port)
{
    const char *start = text;
    size_t size;

    *port = NULL;
    if (text[0] == '[') {
        const char *end = strchr(text, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':')) {
            return false;
        }
        start = text + 1;
        size = (size_t)(end - start);
        *port = end[1] == ':' ? end + 2 : NULL;
    } else {
        const char *colon = strchr(text, ':');
        bool one = colon != NULL && strchr(colon + 1, ':') == NULL;
        size = one ? (size_t)(colon - text) : strlen(text);
        *port = one ? colon + 1 : NULL;
    }
    if (size >= GOSSIP_ADDRESS_TEXT_SIZE) {
        return false;
    }
    memcpy(host, start, size);
    host[size] = '\0';
    return true;
}

bool gossip_address_parse(const char *text, uint16_t default_port, struct gossip_address *out)
{
    char host[GOSSIP_ADDRESS_TEXT_SIZE];
    struct gossip_address a = {.port = default_port};
    const char *port;

    if (!split(text, host, &port) || (port != NULL && !parse_port(port, &a.port)) || a.port == 0) {
        return false;
    }
    if (text[0] != '[' && inet_pton(AF_INET, host, a.ip + sizeof v4_prefix) == 1) {
        memcpy(a.ip, v4_prefix, sizeof v4_prefix);
    } else if (inet_pton(AF_INET6, host, a.ip) != 1) {
        return false;
    }
    *out = a;
    return true;
}

void gossip_address_format(const struct gossip_address *a,
                           char out[static GOSSIP_ADDRESS_TEXT_SIZE])
{
    char host[INET6_ADDRSTRLEN];

    if (udp_address_is_v4(a->ip)) {
        (void)inet_ntop(AF_INET, a->ip + sizeof v4_prefix, host, sizeof host);
        (void)snprintf(out, GOSSIP_ADDRESS_TEXT_SIZE, "%s:%u", host, a->port);
    } else {
        (void)inet_ntop(AF_INET6, a->ip, host, sizeof host);
        (void)snprintf(out, GOSSIP_ADDRESS_TEXT_SIZE, "[%s]:%u", host, a->port);
    }
}
