/*
 * method - what may be called: names, message types and how each method is dispatched.
 *
 * On the wire a method is the 32-bit FNV-1a hash of its full name ("fly.v1.Edge/Launch"), never an
 * index: editing a .proto must not renumber its neighbours. rpc_methods_check proves, before the
 * first connection, that no two hashes collide and that no message type can nest in itself.
 */
#ifndef FLY_RPC_METHOD_H
#define FLY_RPC_METHOD_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum rpc_method_flag {
    RPC_INLINE = 1 << 0, /* answered on the nng thread: microseconds, never waits */
    RPC_OPEN = 1 << 1,   /* callable without an identity, and before HELLO was answered */
    RPC_STREAM = 1 << 2, /* many replies: rpc_call_send … then the end */
    RPC_FINISH = 1 << 3, /* mailbox lane finish; without it: start, the lane that sheds */
};

struct rpc_method {
    const char *name;
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *reply; /* of each message, for streams */
    unsigned flags;
};

/* fly/v1/{edge,health,slice,admin,join}.proto */
extern const struct rpc_method rpc_edge_regions;
extern const struct rpc_method rpc_edge_launch;
extern const struct rpc_method rpc_edge_list;
extern const struct rpc_method rpc_edge_status;
extern const struct rpc_method rpc_edge_destroy;
extern const struct rpc_method rpc_edge_cancel;
extern const struct rpc_method rpc_edge_watch;
extern const struct rpc_method rpc_health_check;
extern const struct rpc_method rpc_health_echo;
extern const struct rpc_method rpc_slice_present;
extern const struct rpc_method rpc_slice_call;
extern const struct rpc_method rpc_slice_replay;
extern const struct rpc_method rpc_slice_machines;
extern const struct rpc_method rpc_slice_list;
extern const struct rpc_method rpc_slice_seen;
extern const struct rpc_method rpc_slice_forget;
extern const struct rpc_method rpc_admin_members;
extern const struct rpc_method rpc_admin_slices;
extern const struct rpc_method rpc_admin_forget_slice;
extern const struct rpc_method rpc_admin_create_join_token;
extern const struct rpc_method rpc_admin_list_join_tokens;
extern const struct rpc_method rpc_admin_revoke_join_token;
extern const struct rpc_method rpc_join_begin;
extern const struct rpc_method rpc_join_admit;

/* All of the above: what a node serves. */
extern const struct rpc_method *const rpc_methods[];
extern const size_t rpc_method_count;

/* FNV-1a of the full name: the method's number on the wire. */
uint32_t rpc_method_hash(const char *name);

/* FLY_OK, or FLY_INTERNAL with the names of two methods that collide or of a message type that
 * contains itself. O(n²) over a table of dozens; run once. */
enum fly_status rpc_methods_check(const struct rpc_method *const *methods, size_t count,
                                  struct fly_error *error);

#endif
