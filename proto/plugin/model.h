/*
 * model - the services of a protoc request, with every name resolved and every rule checked.
 */
#ifndef FLY_PLUGIN_MODEL_H
#define FLY_PLUGIN_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "plugin/plugin.pb-c.h"
#include "proto/base/status.h"
#include "proto/plugin/rule.h"
#include "proto/plugin/text.h"

/* A message type, of any file. */
struct plug_type {
    const Google__Protobuf__FileDescriptorProto *file;
    const Google__Protobuf__DescriptorProto *message;
    const char *full_name; /* ".fly.v1.LaunchRequest" */
    const char *c_type;    /* "Fly__V1__LaunchRequest" */
    const char *c_symbol;  /* "fly__v1__launch_request" */
};

struct plug_method {
    const char *full_name; /* "fly.v1.Edge/Launch" */
    const char *name;      /* "rpc_edge_launch" */
    const char *member;    /* "launch": in the struct of handlers */
    const struct plug_type *request;
    const struct plug_type *reply;
    struct plug_rule rule;
    uint32_t hash;
};

struct plug_service {
    const char *full_name; /* "fly.v1.Edge" */
    const char *name;      /* "rpc_edge" */
    const char *list;      /* "RPC_EDGE_METHODS" */
    struct plug_method *methods;
    size_t method_count; /* at least one: services without methods are left out */
};

/* A file for which code is wanted. */
struct plug_file {
    const Google__Protobuf__FileDescriptorProto *proto;
    struct plug_service *services;
    size_t service_count;
};

struct plug_model {
    struct plug_memory memory;
    const Fly__Plugin__Request *request;
    const char *prefix; /* NULL: each file's package */
    struct plug_type *types;
    size_t type_count;
    struct plug_file *files;
    size_t file_count;
};

/* Borrows the request. INVALID_ARGUMENT: the parameter, a rule, a type that the server would not
 * register, names or hashes that collide. Finish the model in every case. */
enum fly_status plug_model_init(struct plug_model *model, const Fly__Plugin__Request *request,
                                struct fly_error *error);
void plug_model_fini(struct plug_model *model);

const Google__Protobuf__FileDescriptorProto *plug_model_file(const struct plug_model *model,
                                                             const char *name);

#endif
