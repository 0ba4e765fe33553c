/*
 * choices - the edges that a session may go to: those it was given, then those an edge told of.
 *
 * One of them is the current one and stays so while it works; `next` moves on, round and round.
 * What an edge tells is taken only if it is no step down: no plain tcp to whom TLS was spoken, no
 * loopback address from elsewhere, no name that would have to be resolved. Pure.
 */
#ifndef FLY_CLIENT_CHOICES_H
#define FLY_CLIENT_CHOICES_H

#include <stdbool.h>
#include <stddef.h>

#include "client/lib/address.h"

enum { CHOICES_MAX = 32, CHOICES_LIST_SIZE = 4096 };

struct choice {
    char url[ADDRESS_URL_SIZE];
    bool told; /* by an edge */
};

/* Start with `= {0}`. */
struct choices {
    struct choice items[CHOICES_MAX];
    size_t count;
    size_t at;
};

/* A URL that was given. False: it is there already, or there is no room. */
bool choices_add(struct choices *choices, const char *url);
/* The edge at the current choice told of these edges: they replace what was told before. */
void choices_tell(struct choices *choices, char *const *urls, size_t count);
/* The current one; count must not be 0. */
const char *choices_url(const struct choices *choices);
void choices_next(struct choices *choices);
/* The current one is no edge: forgotten if it was told of; the next one is current. */
void choices_drop(struct choices *choices);
/* The URLs that an edge told of, with commas between; "" for none. */
void choices_told(const struct choices *choices, char out[static CHOICES_LIST_SIZE]);

#endif
