/*
 * transport_url - the addresses that a transport takes, and what nng calls them.
 *
 * inproc:// is an abstract unix socket, for nng 1.5.2 has no streams inside a process. Its name
 * carries the process id and a number that other processes do not know; who connects is checked
 * all the same (transport_make).
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/rpc/transport_internal.h"

enum { INPROC_NAME_MAX = 48 /* with what goes before it, of the 107 of a unix address */ };

static uint64_t process_number;
static pthread_once_t process_once = PTHREAD_ONCE_INIT;

static void process_prepare(void)
{
    FLY_CHECK(sodium_init() >= 0);
    randombytes_buf(&process_number, sizeof process_number);
}

static enum fly_status parse_inproc(struct transport_address *address, const char *url,
                                    struct fly_error *error)
{
    const char *name = url + 9;
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");

    if (size == 0 || name[size] != '\0' || size > INPROC_NAME_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "%s: want a name of at most %d letters, digits and -._", url,
                             INPROC_NAME_MAX);
    }
    (void)pthread_once(&process_once, process_prepare);
    (void)snprintf(address->native, sizeof address->native, "abstract://flylight.%ld.%016llx.%s",
                   (long)getpid(), (unsigned long long)process_number, name);
    address->inproc = true;
    return FLY_OK;
}

static enum fly_status check_tcp(const char *url, const char *rest, struct fly_error *error)
{
    char host[64] = "";
    struct in6_addr address;
    const char *colon = strrchr(rest, ':');
    bool six = rest[0] == '[';
    char *end = NULL;

    if (colon == NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: want ADDRESS:PORT", url);
    }
    size_t host_size = (size_t)(colon - rest);
    if (six && host_size >= 2 && colon[-1] == ']') {
        rest++;
        host_size -= 2;
    }
    if (host_size < sizeof host) {
        memcpy(host, rest, host_size);
    }
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (inet_pton(six ? AF_INET6 : AF_INET, host, &address) != 1 || colon[1] < '0' ||
        colon[1] > '9' || *end != '\0' || port > UINT16_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: want a numeric address and a port",
                             url);
    }
    return FLY_OK;
}

enum fly_status transport_address_parse(struct transport_address *address, const char *url,
                                        struct fly_error *error)
{
    const char *plain = strncmp(url, "tls+", 4) == 0 ? url + 4 : url;

    memset(address, 0, sizeof *address);
    if (!fly_copy_string(address->native, sizeof address->native, url)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "address is too long");
    }
    if (strncmp(url, "inproc://", 9) == 0) {
        return parse_inproc(address, url, error);
    }
    if (strncmp(url, "ipc://", 6) == 0 && url[6] != '\0') {
        return FLY_OK;
    }
    if (strncmp(plain, "tcp://", 6) != 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "%s: want [tls+]tcp://ADDRESS:PORT, ipc:///path or inproc://name",
                             url);
    }
    address->secure = plain != url;
    return check_tcp(url, plain + 6, error);
}

enum fly_status transport_url_check(const char *url, struct fly_error *error)
{
    struct transport_address address;

    return transport_address_parse(&address, url, error);
}
