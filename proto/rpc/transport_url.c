/*
 * transport_url - the addresses that a transport takes.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/rpc/transport_internal.h"

static enum fly_status parse_name(struct transport_address *address, enum transport_kind kind,
                                  const char *url, const char *name, struct fly_error *error)
{
    address->kind = kind;
    address->socket.un.sun_family = AF_UNIX;
    address->size = sizeof address->socket.un;
    if (name[0] == '\0' ||
        !fly_copy_string(address->socket.un.sun_path, sizeof address->socket.un.sun_path, name)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: want a name of 1 to %zu bytes", url,
                             sizeof address->socket.un.sun_path - 1);
    }
    return FLY_OK;
}

/* "127.0.0.1:7401" or "[::1]:7401". */
static bool parse_tcp(struct transport_address *address, const char *text)
{
    char host[INET6_ADDRSTRLEN] = "";
    const char *colon = strrchr(text, ':');
    bool six = text[0] == '[';
    char *end = NULL;

    if (colon == NULL || (six && colon[-1] != ']')) {
        return false;
    }
    text += six ? 1 : 0;
    size_t host_size = (size_t)(colon - text) - (six ? 1 : 0);
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (host_size >= sizeof host || colon[1] < '0' || colon[1] > '9' || *end != '\0' ||
        port > UINT16_MAX) {
        return false;
    }
    memcpy(host, text, host_size);
    if (six) {
        address->size = sizeof address->socket.in6;
        address->socket.in6.sin6_family = AF_INET6;
        address->socket.in6.sin6_port = htons((uint16_t)port);
        return inet_pton(AF_INET6, host, &address->socket.in6.sin6_addr) == 1;
    }
    address->size = sizeof address->socket.in;
    address->socket.in.sin_family = AF_INET;
    address->socket.in.sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &address->socket.in.sin_addr) == 1;
}

enum fly_status transport_address_parse(struct transport_address *address, const char *url,
                                        struct fly_error *error)
{
    bool tls = strncmp(url, "tls+", 4) == 0;
    const char *plain = tls ? url + 4 : url;

    memset(address, 0, sizeof *address);
    if (strlen(url) >= TRANSPORT_URL_SIZE) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "address is too long");
    }
    if (strncmp(url, "inproc://", 9) == 0) {
        return parse_name(address, TRANSPORT_INPROC, url, url + 9, error);
    }
    if (strncmp(url, "ipc://", 6) == 0) {
        return parse_name(address, TRANSPORT_IPC, url, url + 6, error);
    }
    if (strncmp(plain, "tcp://", 6) != 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "%s: want [tls+]tcp://ADDRESS:PORT, ipc:///path or inproc://name",
                             url);
    }
    address->kind = TRANSPORT_TCP;
    address->secure = tls;
    return parse_tcp(address, plain + 6)
               ? FLY_OK
               : fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: want a numeric address and a port",
                               url);
}

enum fly_status transport_url_check(const char *url, struct fly_error *error)
{
    struct transport_address address;

    return transport_address_parse(&address, url, error);
}
