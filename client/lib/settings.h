/*
 * settings - where the edge is and who we are: flag > environment > file > default (DESIGN 11).
 *
 * Files, each optional, the first one that says a thing wins: $XDG_CONFIG_HOME/flylight/flyrpc.json
 * (~/.config without the variable), /etc/flylight/flyrpc.json. Keys: addr, token, token_file. An
 * unknown or repeated key is an error. Shell: reads files and the environment.
 */
#ifndef FLY_CLIENT_SETTINGS_H
#define FLY_CLIENT_SETTINGS_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"

enum { SETTINGS_ADDR_SIZE = 256, SETTINGS_TOKEN_SIZE = 4096, SETTINGS_PATH_SIZE = 1024 };

#define SETTINGS_ADDR_DEFAULT "tcp://127.0.0.1:7401"

/* What one source says; empty: nothing. */
struct settings {
    char addr[SETTINGS_ADDR_SIZE];
    char token[SETTINGS_TOKEN_SIZE];
    char token_file[SETTINGS_PATH_SIZE];
};

/* Resolves all sources; `flags` is what the command line said. Afterwards addr is set and token is
 * set or empty (token_file has been read, its white space trimmed). INVALID_ARGUMENT, NOT_FOUND,
 * PERMISSION_DENIED with words that name the source. The token itself is in no message. */
enum fly_status settings_resolve(const struct settings *flags, struct settings *out,
                                 struct fly_error *error);

/* One config file's bytes; `name` stands for it in messages. */
enum fly_status settings_parse(struct fly_bytes text, const char *name, struct settings *out,
                               struct fly_error *error);

#endif
