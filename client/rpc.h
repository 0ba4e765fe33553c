/*
 * rpc - what the subcommands of `flyrpc rpc` share: asking a server what it serves, and failing.
 *
 * They work against every server of proto/rpc that offers fly.v1.Reflection (builtin.h), not only
 * against nodes.
 */
#ifndef FLY_CLIENT_RPC_H
#define FLY_CLIENT_RPC_H

#include "client/command.h"
#include "client/lib/schema.h"

command_main command_rpc_list;
command_main command_rpc_describe;
command_main command_rpc_call;
command_main command_rpc_metrics;
command_main command_rpc_health;

/* Asks the server about a symbol (rpc_describe's words). False: *code, after it was said why. */
bool rpc_ask(struct command *command, const char *symbol, struct schema **out, int *code);
/* Shows how a call failed, with the name of its status, and says the exit code. */
int rpc_fail(struct command *command, struct failure *failure);

/* A call that streams, from its opening to its end; the messages are printed as they come.
 * `request` is NULL where the client streams: `text` holds its JSON then, or is NULL for stdin. */
struct rpc_talk {
    struct command *command;
    const struct schema_method *method;
    bool verbose;
    const ProtobufCMessage *request;
    const char *text;
};
int rpc_talk(const struct rpc_talk *talk);
/* Prints a reply's message. False: it is not of the method's type; that was said. */
bool rpc_put_message(struct command *command, const struct schema_method *method,
                     const ProtobufCMessage *message);
/* With -v: metadata on stderr, one entry a line. */
void rpc_put_metadata(const char *what, struct fly_bytes entries);

/* As JSON: to be freed. */
json_t *rpc_shape_service(const struct schema_service *service);
json_t *rpc_shape_method(const struct schema_method *method);
json_t *rpc_shape_message(const struct schema_message *message);
json_t *rpc_shape_enum(const struct schema_enum *enumeration);

#endif
