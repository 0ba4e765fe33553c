/*
 * config - what flynode was told: flag > environment > file > default (DESIGN 11).
 *
 * Files: $XDG_CONFIG_HOME/flylight/flynode.json (or ~/.config/…), then /etc/flylight/flynode.json;
 * one JSON object of strings (true and false for switches), keys as the flags. An unknown key is an
 * error; one that only the other subcommand reads is not, as both share the files. Shell.
 */
#ifndef FLY_NODE_CONFIG_H
#define FLY_NODE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/log.h"
#include "proto/base/status.h"

enum {
    CONFIG_TEXT_SIZE = 512,
    CONFIG_LIST_SIZE = 2048,
    CONFIG_JOIN_MAX = 32,
    CONFIG_REGIONS_MAX = 64,
    CONFIG_SHARES_MAX = 1024,
    CONFIG_HOST_SIZE = 48,
    CONFIG_ADDRESS_TEXT_SIZE = 64,
    CONFIG_AUTOSPAWN_SIZE = 256,
    CONFIG_HTTP_PORT = 7403,
};

/* As it was told: texts, "" for what was not. Switches are "on" or "off". */
struct node_config {
    /* dev and run */
    char state[CONFIG_TEXT_SIZE];
    char machines[CONFIG_TEXT_SIZE];
    char regions_file[CONFIG_TEXT_SIZE];
    char rpc[CONFIG_TEXT_SIZE];
    char log_level[CONFIG_TEXT_SIZE];
    char log_format[CONFIG_TEXT_SIZE];
    char http[CONFIG_TEXT_SIZE];
    char http_cert[CONFIG_TEXT_SIZE];
    char http_key[CONFIG_TEXT_SIZE];
    char http_insecure[CONFIG_TEXT_SIZE];
    char ui_dir[CONFIG_TEXT_SIZE];
    char launches_per_minute[CONFIG_TEXT_SIZE];
    char vms_max[CONFIG_TEXT_SIZE];
    char autospawn[CONFIG_TEXT_SIZE]; /* comma separated */
    char autospawn_token_file[CONFIG_TEXT_SIZE];
    /* run */
    char roles[CONFIG_TEXT_SIZE];
    char name[CONFIG_TEXT_SIZE];
    char region[CONFIG_TEXT_SIZE];
    char gossip[CONFIG_TEXT_SIZE];
    char pub[CONFIG_TEXT_SIZE];
    char advertise[CONFIG_TEXT_SIZE];
    char join[CONFIG_LIST_SIZE]; /* comma separated */
    char share[CONFIG_TEXT_SIZE];
    char regions[CONFIG_TEXT_SIZE]; /* comma separated */
    char host[CONFIG_TEXT_SIZE];
    char host_reserve[CONFIG_TEXT_SIZE];
    char flush_interval[CONFIG_TEXT_SIZE];
    char beacon[CONFIG_TEXT_SIZE];
    bool join_by_flag; /* the first --join takes the place of other sources, the next add to it */
};

/* Numeric. */
struct config_address {
    char host[CONFIG_HOST_SIZE]; /* "10.0.0.5", "fd00::5": in the shortest form, no brackets */
    uint16_t port;               /* 0: any that is free */
    bool loopback;               /* 127.0.0.0/8 or ::1 */
    bool any;                    /* 0.0.0.0 or :: */
};

/* What was told of the dashboard, looked at and taken apart; for a node with the role dash. */
struct config_http {
    bool on;
    bool told;                             /* --http names it: the node does not start without it */
    bool https;                            /* with --http-cert, or the certificate that RPC shows */
    struct config_address address;         /* to bind */
    uint32_t launches_per_minute;          /* of one address */
    uint32_t vms_max;                      /* 0: no limit */
    char autospawn[CONFIG_AUTOSPAWN_SIZE]; /* "SIN,NRT"; "": none */
};

/* What `flynode run` was told, looked at and taken apart. */
struct config_run {
    uint32_t roles;            /* set of NODE_ROLE_*; 0: not told, all that the credential allows */
    char name[64];             /* "": not told */
    char region[16];           /* upper-case; "": not told */
    struct config_address rpc; /* to bind */
    struct config_address gossip;
    struct config_address pub;
    char advertise[CONFIG_HOST_SIZE]; /* others reach all three here; numeric, never any */
    bool loopback;                    /* everything of this node is on loopback */
    struct config_address joins[CONFIG_JOIN_MAX];
    uint32_t join_count;
    uint32_t share; /* K of K/N, 1..N; both 1 without --share */
    uint32_t shares;
    char regions[CONFIG_REGIONS_MAX][16]; /* upper-case, each once; none: all */
    uint32_t region_count;
    bool host;
    bool reserve_told; /* else bring.h's own measure */
    uint32_t reserve_cores;
    uint64_t reserve_memory_bytes;
    int64_t flush_interval_ms;
    bool beacon;
    struct config_http http;
};

/* Defaults of `dev`, then files, then environment. INVALID_ARGUMENT names file or variable and what
 * is wrong with it. */
enum fly_status config_load(struct node_config *out, struct fly_error *error);
/* The same with the defaults of `run`: no machines, addresses without a scheme. */
enum fly_status config_load_run(struct node_config *out, struct fly_error *error);
/* One flag, by its name without dashes in front; a switch takes "on" or "off". --join may come
 * several times. INVALID_ARGUMENT: unknown, too long, or no such switch. */
enum fly_status config_set(struct node_config *c, const char *key, const char *value,
                           struct fly_error *error);

/* Looks at the values of `dev` together: known level and format, loopback address. *http is only
 * whole when the answer is FLY_OK. */
enum fly_status config_check(const struct node_config *c, struct config_http *http,
                             struct fly_error *error);
/* Looks at the values of `run` together and takes them apart. INVALID_ARGUMENT says which and what
 * would do. *out is only whole when the answer is FLY_OK. */
enum fly_status config_check_run(const struct node_config *c, struct config_run *out,
                                 struct fly_error *error);
/* Whether a node with these roles (of its credential, or those told) can do what was asked:
 * machines need the role peer, --http the role dash. config_check_run does so for roles that were
 * told. */
enum fly_status config_check_roles(const struct node_config *c, uint32_t roles,
                                   struct fly_error *error);

/* "10.0.0.5:7401", "[fd00::5]:7401". */
void config_address_format(const char *host, uint16_t port,
                           char out[static CONFIG_ADDRESS_TEXT_SIZE]);
/* ADDR or ADDR:PORT, the address numeric, IPv6 in brackets before a port, "tcp://" or "tls+tcp://"
 * in front allowed; IPv4-mapped becomes IPv4. False: not so, multicast or link-local IPv6. */
bool config_address_parse(const char *text, uint16_t default_port, struct config_address *out);

/* The next part of a comma-separated list, blanks around it cut off; false at the end. *fits: it is
 * neither empty nor too long. *list is NULL behind the last one. */
bool config_next_part(const char **list, char *out, size_t max, bool *fits);
/* Two to eight letters or digits, made upper-case. */
bool config_take_code(const char *text, char out[static 16]);
/* Decimal digits only, 0..max. */
bool config_parse_number(const char *text, size_t size, uint32_t max, uint32_t *out);
/* The dashboard's settings; `rpc` is where this node takes RPC. Part of both checks. */
enum fly_status config_take_http(const struct node_config *c, const struct config_address *rpc,
                                 struct config_http *out, struct fly_error *error);

/* Level and form for fly_log_setup are known. Part of both checks. */
enum fly_status config_check_log(const struct node_config *c, struct fly_error *error);
/* Log level and form for fly_log_setup; config_check has passed. */
enum fly_log_level config_log_level(const struct node_config *c);

#endif
