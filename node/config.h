/*
 * config - what flynode was told: flag > environment > file > default (DESIGN 11).
 *
 * Files: $XDG_CONFIG_HOME/flylight/flynode.json (or ~/.config/…), then /etc/flylight/flynode.json;
 * one JSON object of strings, keys as the flags. An unknown key is an error. Shell.
 */
#ifndef FLY_NODE_CONFIG_H
#define FLY_NODE_CONFIG_H

#include <stdbool.h>

#include "proto/base/log.h"
#include "proto/base/status.h"

enum { CONFIG_TEXT_SIZE = 512 };

struct node_config {
    char state[CONFIG_TEXT_SIZE];
    char machines[CONFIG_TEXT_SIZE];
    char regions_file[CONFIG_TEXT_SIZE];
    char rpc[CONFIG_TEXT_SIZE];
    char log_level[CONFIG_TEXT_SIZE];
    char log_format[CONFIG_TEXT_SIZE];
};

/* Defaults, then files, then environment. INVALID_ARGUMENT names file or variable and what is wrong
 * with it. */
enum fly_status config_load(struct node_config *out, struct fly_error *error);
/* One key, by its flag's name without dashes in front. INVALID_ARGUMENT: unknown, or too long. */
enum fly_status config_set(struct node_config *c, const char *key, const char *value,
                           struct fly_error *error);
/* Looks at the values together: known level and format, loopback address. */
enum fly_status config_check(const struct node_config *c, struct fly_error *error);
/* Log level and form for fly_log_setup; config_check has passed. */
enum fly_log_level config_log_level(const struct node_config *c);

#endif
