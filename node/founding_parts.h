/*
 * founding_parts - what `flynode init` and `flynode join` share. Nobody else includes it.
 */
#ifndef FLY_NODE_FOUNDING_PARTS_H
#define FLY_NODE_FOUNDING_PARTS_H

#include <argp.h>
#include <jansson.h>

#include "node/join.h"
#include "proto/base/time.h"

enum { FOUNDING_RPC_PORT = 7401 };

/* Flags of both; argp_error on what makes no sense. */
void founding_take_name(struct argp_state *state, const char *value,
                        struct node_settings *settings);
void founding_take_region(struct argp_state *state, const char *value,
                          struct node_settings *settings);
/* Says what was wrong; the exit code. */
int founding_fail(enum fly_status status, const struct fly_error *error);
/* An object with what is said of a node that was made. */
json_t *founding_json(const struct identity *identity, const char *state);
void founding_put(json_t *object, const char *name, json_t *value);
json_t *founding_roles(uint32_t roles);
/* Prints and frees it; the exit code. */
int founding_print(json_t *root);

#endif
