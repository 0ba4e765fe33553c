#include "client/lib/address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/base/bytes.h"

static enum fly_status refuse(const char *text, const char *why, struct fly_error *error)
{
    return fly_error_set(error, FLY_INVALID_ARGUMENT,
                         "address '%.80s' %s (host:port, tcp://host:port, tls+tcp://host:port or "
                         "ipc:///path)",
                         text, why);
}

bool address_next(const char **at, char out[static ADDRESS_URL_SIZE])
{
    const char *start = *at + strspn(*at, ", \t");
    size_t size = strcspn(start, ",");

    *at = start + size;
    while (size > 0 && (start[size - 1] == ' ' || start[size - 1] == '\t')) {
        size--;
    }
    if (size == 0) {
        return false;
    }
    size = size < ADDRESS_URL_SIZE ? size : ADDRESS_URL_SIZE - 1;
    memcpy(out, start, size);
    out[size] = '\0';
    return true;
}

enum fly_status address_list_check(const char *list, struct fly_error *error)
{
    char one[ADDRESS_URL_SIZE];
    struct address_parts parts;
    size_t count = 0;

    while (address_next(&list, one)) {
        enum fly_status status = address_split(one, &parts, error);
        if (status != FLY_OK) {
            return status;
        }
        if (++count > ADDRESS_LIST_MAX) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "more than %d addresses of edges",
                                 ADDRESS_LIST_MAX);
        }
    }
    return count > 0 ? FLY_OK : refuse("", "is empty", error);
}

bool address_url_tls(const char *url)
{
    return strncmp(url, "tls+tcp://", 10) == 0;
}

bool address_url_loopback(const char *url)
{
    const char *host = strstr(url, "://");

    if (host == NULL || strncmp(url, "ipc://", 6) == 0) {
        return host != NULL;
    }
    host += 3;
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "[::1]", 5) == 0 ||
           strncmp(host, "[::ffff:127.", 12) == 0;
}

static enum fly_status split_port(const char *text, const char *digits, unsigned *out,
                                  struct fly_error *error)
{
    size_t size = strlen(digits);
    unsigned long port = size >= 1 && size <= 5 && strspn(digits, "0123456789") == size
                             ? strtoul(digits, NULL, 10)
                             : 0;

    if (port < 1 || port > 65535) {
        return refuse(text, "has no port from 1 to 65535", error);
    }
    *out = (unsigned)port;
    return FLY_OK;
}

enum fly_status address_split(const char *text, struct address_parts *out, struct fly_error *error)
{
    struct address_parts parts = {.port = ADDRESS_PORT_DEFAULT};
    const char *rest = text;
    const char *host_end;
    const char *port = NULL;

    for (const char *c = text; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~') {
            return refuse("", "holds a space or a character that is not ASCII", error);
        }
    }
    if (strncmp(text, "ipc://", 6) == 0) {
        parts.port = 0;
        parts.scheme = ADDRESS_IPC;
        if (text[6] != '/' || !fly_copy_string(parts.host, sizeof parts.host, text)) {
            return refuse(text, "is not an absolute path, or is too long", error);
        }
        *out = parts;
        return FLY_OK;
    }
    if (strncmp(text, "tcp://", 6) == 0) {
        rest = text + 6;
        parts.scheme = ADDRESS_TCP;
    } else if (address_url_tls(text)) {
        rest = text + 10;
        parts.scheme = ADDRESS_TLS;
    } else if (strstr(text, "://") != NULL) {
        return refuse(text, "is of a kind that is not known", error);
    }
    if (rest[0] == '[') {
        rest++;
        host_end = strchr(rest, ']');
        if (host_end == NULL || (host_end[1] != '\0' && host_end[1] != ':')) {
            return refuse(text, "has brackets that do not close", error);
        }
        port = host_end[1] == ':' ? host_end + 2 : NULL;
    } else {
        const char *colon = strchr(rest, ':');
        /* a second colon: a bare IPv6 address, which has no room for a port */
        bool bare = colon != NULL && strchr(colon + 1, ':') != NULL;
        host_end = colon != NULL && !bare ? colon : rest + strlen(rest);
        port = colon != NULL && !bare ? colon + 1 : NULL;
    }
    size_t size = (size_t)(host_end - rest);
    if (size == 0 || size >= 200 || memchr(rest, '/', size) != NULL) {
        return refuse(text, "has no host", error);
    }
    memcpy(parts.host, rest, size);
    parts.host[size] = '\0';
    if (port != NULL) {
        enum fly_status status = split_port(text, port, &parts.port, error);
        if (status != FLY_OK) {
            return status;
        }
    }
    *out = parts;
    return FLY_OK;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, address, sizeof four);
        return ntohl(four.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    struct sockaddr_in6 six;
    memcpy(&six, address, sizeof six);
    return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr);
}

static void add_url(const struct addrinfo *info, const struct address_parts *parts,
                    char urls[static ADDRESS_URLS_MAX][ADDRESS_URL_SIZE], size_t *count)
{
    char host[NI_MAXHOST];
    char url[ADDRESS_URL_SIZE];

    if (getnameinfo(info->ai_addr, info->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST) !=
            0 ||
        strlen(host) > 100) {
        return;
    }
    bool tls = parts->scheme == ADDRESS_TLS ||
               (parts->scheme == ADDRESS_ANY && !is_loopback(info->ai_addr));
    bool six = info->ai_family == AF_INET6;
    (void)snprintf(url, sizeof url, "%s://%s%s%s:%u", tls ? "tls+tcp" : "tcp", six ? "[" : "", host,
                   six ? "]" : "", parts->port);
    for (size_t i = 0; i < *count; i++) {
        if (strcmp(urls[i], url) == 0) {
            return;
        }
    }
    if (*count < ADDRESS_URLS_MAX) {
        (void)fly_copy_string(urls[(*count)++], ADDRESS_URL_SIZE, url);
    }
}

enum fly_status address_resolve(const char *text,
                                char urls[static ADDRESS_URLS_MAX][ADDRESS_URL_SIZE], size_t *count,
                                struct fly_error *error)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    struct address_parts parts;
    enum fly_status status = address_split(text, &parts, error);

    *count = 0;
    if (status != FLY_OK) {
        return status;
    }
    if (parts.port == 0) {
        (void)fly_copy_string(urls[(*count)++], ADDRESS_URL_SIZE, parts.host);
        return FLY_OK;
    }
    int code = getaddrinfo(parts.host, NULL, &hints, &found);
    if (code != 0) {
        return fly_error_set(error, FLY_UNAVAILABLE, "address '%s': %s", parts.host,
                             gai_strerror(code));
    }
    for (const struct addrinfo *info = found; info != NULL; info = info->ai_next) {
        add_url(info, &parts, urls, count);
    }
    freeaddrinfo(found);
    return *count > 0 ? FLY_OK
                      : fly_error_set(error, FLY_UNAVAILABLE, "address '%s': no usable address",
                                      parts.host);
}
