#include "client/lib/choices.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"

static bool known(const struct choices *choices, const char *url)
{
    for (size_t i = 0; i < choices->count; i++) {
        if (strcmp(choices->items[i].url, url) == 0) {
            return true;
        }
    }
    return false;
}

static bool put(struct choices *choices, const char *url, bool told)
{
    struct choice *choice = &choices->items[choices->count];

    if (choices->count == CHOICES_MAX || known(choices, url) ||
        !fly_copy_string(choice->url, sizeof choice->url, url)) {
        return false;
    }
    choice->told = told;
    choices->count++;
    return true;
}

bool choices_add(struct choices *choices, const char *url)
{
    return put(choices, url, false);
}

/* A URL that can be connected to as it is. */
static bool numeric(const char *url)
{
    struct address_parts parts;
    struct fly_error error;
    uint8_t address[sizeof(struct in6_addr)];

    return strlen(url) < ADDRESS_URL_SIZE && address_split(url, &parts, &error) == FLY_OK &&
           (parts.scheme == ADDRESS_TCP || parts.scheme == ADDRESS_TLS) &&
           (inet_pton(AF_INET, parts.host, address) == 1 ||
            inet_pton(AF_INET6, parts.host, address) == 1);
}

static bool acceptable(const char *url, const char *teller)
{
    if (!numeric(url) || (address_url_loopback(url) && !address_url_loopback(teller))) {
        return false;
    }
    return address_url_tls(url) || (!address_url_tls(teller) &&
                                    (address_url_loopback(url) || !address_url_loopback(teller)));
}

void choices_tell(struct choices *choices, char *const *urls, size_t count)
{
    char teller[ADDRESS_URL_SIZE];
    size_t kept = 0;

    (void)fly_copy_string(teller, sizeof teller, choices_url(choices));
    for (size_t i = 0; i < choices->count; i++) {
        /* who speaks stays, even if it does not name itself */
        if (!choices->items[i].told || i == choices->at) {
            choices->at = i == choices->at ? kept : choices->at;
            choices->items[kept++] = choices->items[i];
        }
    }
    choices->count = kept;
    for (size_t i = 0; i < count; i++) {
        if (acceptable(urls[i], teller)) {
            (void)put(choices, urls[i], true);
        }
    }
}

const char *choices_url(const struct choices *choices)
{
    FLY_CHECK(choices->at < choices->count);
    return choices->items[choices->at].url;
}

void choices_next(struct choices *choices)
{
    choices->at = choices->count == 0 ? 0 : (choices->at + 1) % choices->count;
}

void choices_drop(struct choices *choices)
{
    FLY_CHECK(choices->at < choices->count);
    if (!choices->items[choices->at].told || choices->count == 1) {
        choices_next(choices);
        return;
    }
    choices->count--;
    memmove(&choices->items[choices->at], &choices->items[choices->at + 1],
            (choices->count - choices->at) * sizeof choices->items[0]);
    choices->at %= choices->count;
}

void choices_told(const struct choices *choices, char out[static CHOICES_LIST_SIZE])
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < choices->count; i++) {
        size_t size = strlen(choices->items[i].url);
        if (choices->items[i].told && used + size + 2 <= CHOICES_LIST_SIZE) {
            used += (size_t)snprintf(out + used, CHOICES_LIST_SIZE - used, "%s%s",
                                     used > 0 ? "," : "", choices->items[i].url);
        }
    }
}
