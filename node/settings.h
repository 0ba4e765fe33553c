/*
 * settings - what a node was told when it was made, kept in its state folder as defaults for later
 * starts: node.json.
 *
 *   {"format":"flylight-node-1","name":"rack-7","region":"SIN","advertise":"10.0.0.7",
 *    "rpc":"10.0.0.7:7401","seeds":["10.0.0.5:7400"]}
 *
 * No secret is in it. An empty member is one that was not told. Shell (jansson).
 */
#ifndef FLY_NODE_SETTINGS_H
#define FLY_NODE_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/credential.h"

#define SETTINGS_FILE "node.json"

enum {
    SETTINGS_REGION_SIZE = 16,
    SETTINGS_ADDRESS_SIZE = 64,
    SETTINGS_SEEDS_MAX = 8,
    SETTINGS_FILE_MAX = 4096,
};

struct node_settings {
    char name[NODE_NAME_SIZE];
    char region[SETTINGS_REGION_SIZE];
    char advertise[SETTINGS_ADDRESS_SIZE]; /* numeric address, no port */
    char rpc[SETTINGS_ADDRESS_SIZE]; /* where it takes RPC, "10.0.0.7:7401": flag --rpc of run */
    uint8_t seed_count;
    char seeds[SETTINGS_SEEDS_MAX][SETTINGS_ADDRESS_SIZE]; /* gossip, "10.0.0.5:7400" */
};

/* Writes a file's text with a newline at its end and a NUL after it; returns its size. */
size_t settings_encode(const struct node_settings *settings, char out[static SETTINGS_FILE_MAX]);
/* INVALID_ARGUMENT: what is wrong; UNIMPLEMENTED: of a newer version. *out is untouched then. */
enum fly_status settings_decode(const char *text, size_t size, struct node_settings *out,
                                struct fly_error *error);
/* A name for a node that was given none: this host's, made to fit [a-z0-9-]{1,63}. */
void settings_default_name(char out[static NODE_NAME_SIZE]);

#endif
