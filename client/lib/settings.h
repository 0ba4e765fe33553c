/*
 * settings - where the edge is and who we are: flag > environment > file > default (DESIGN 11).
 *
 * Files, each optional, the first one that says a thing wins: $XDG_CONFIG_HOME/flylight/flyrpc.json
 * (~/.config without the variable), /etc/flylight/flyrpc.json. Keys: addr (a text, or a list of
 * them), token, token_file, ca. An unknown or repeated key is an error. `addr` has a second name,
 * `edge`, everywhere: a source that says both is an error. Shell: reads files and the environment.
 */
#ifndef FLY_CLIENT_SETTINGS_H
#define FLY_CLIENT_SETTINGS_H

#include <stdbool.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum {
    SETTINGS_ADDR_SIZE = 2048,
    SETTINGS_TOKEN_SIZE = 4096,
    SETTINGS_PATH_SIZE = 1024,
    SETTINGS_CA_MAX = 16384, /* bytes of PEM */
};

#define SETTINGS_ADDR_DEFAULT "tcp://127.0.0.1:7401"

/* What one source says; empty: nothing. */
struct settings {
    char addr[SETTINGS_ADDR_SIZE]; /* of one edge or several, with commas between */
    char token[SETTINGS_TOKEN_SIZE];
    char token_file[SETTINGS_PATH_SIZE];
    char ca[SETTINGS_PATH_SIZE]; /* file with the cluster's TLS certificate authority */
};

/* Resolves all sources; `flags` is what the command line said. Afterwards addr is set and token is
 * set or empty (token_file has been read, its white space trimmed). INVALID_ARGUMENT, NOT_FOUND,
 * PERMISSION_DENIED with words that name the source. The token itself is in no message. */
enum fly_status settings_resolve(const struct settings *flags, struct settings *out,
                                 struct fly_error *error);

/* Adds an address, or several with commas between; false when there is no room. */
bool settings_add_addr(struct settings *settings, const char *addr);
/* The certificates of a CA file as a text, for rpc_tls. NOT_FOUND, PERMISSION_DENIED,
 * INVALID_ARGUMENT with words. */
enum fly_status settings_read_ca(const char *path, char out[static SETTINGS_CA_MAX],
                                 struct fly_error *error);

/* One config file's bytes; `name` stands for it in messages. */
enum fly_status settings_parse(struct fly_bytes text, const char *name, struct settings *out,
                               struct fly_error *error);

#endif
