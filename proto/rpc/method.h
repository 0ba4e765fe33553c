/*
 * method - what may be called: names, message types, and the rules that each method is run by.
 *
 * On the wire a method is the 32-bit FNV-1a hash of its full name ("fly.v1.Edge/Launch"), never an
 * index: editing a .proto must not renumber its neighbours. rpc_methods_check proves, before the
 * first connection, that no two hashes collide and that no message type can nest in itself.
 *
 * Nobody writes these by hand: proto/plugin (protoc-gen-flyrpc) makes a `struct rpc_method` of each
 * rpc of a .proto, its rules from `option (fly.v1.rpc)` (proto/fly/v1/options.proto), and beside
 * it typed stubs and a service table (rpc_service below).
 */
#ifndef FLY_RPC_METHOD_H
#define FLY_RPC_METHOD_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

struct retry_policy; /* proto/wire/retry.h */
struct rpc_call;     /* proto/rpc/server.h */

enum rpc_method_flag {
    RPC_INLINE = 1 << 0,        /* answered on the reading thread: microseconds, never waits */
    RPC_OPEN = 1 << 1,          /* callable without an identity, and before HELLO was answered */
    RPC_STREAM = 1 << 2,        /* the server streams: rpc_call_send … then the end */
    RPC_FINISH = 1 << 3,        /* mailbox lane finish; without it: start, the lane that sheds */
    RPC_CLIENT_STREAM = 1 << 4, /* the client streams: rpc_call_next */
    RPC_READ_ONLY = 1 << 5,     /* changes nothing: may be hedged and repeated */
};

/* What rpc_call_send does when the reader is behind its window or the connection at out_max. */
enum rpc_slow_reader {
    RPC_SLOW_WAIT, /* refuses; on_writable tells when to go on */
    RPC_SLOW_DROP, /* keeps the latest RPC_SLOW_KEEP bytes, drops the oldest; the reader is told */
    RPC_SLOW_END,  /* ends the call with RESOURCE_EXHAUSTED */
};

struct rpc_method {
    const char *name;
    const ProtobufCMessageDescriptor *request; /* of each message, where the client streams */
    const ProtobufCMessageDescriptor *reply;   /* of each message, where the server streams */
    unsigned flags;
    uint32_t hash; /* rpc_method_hash(name) */
    enum rpc_slow_reader slow_reader;
    uint32_t calls_max;               /* in flight at one server; 0: no limit of its own */
    const struct retry_policy *retry; /* NULL: only what certainly never left is sent again */
};

/* One service of a server: its methods and whose they are. Made by generated code. */
struct rpc_service {
    const char *name; /* "fly.v1.Edge" */
    const struct rpc_method *const *methods;
    size_t method_count;
    /* Calls the typed handler of method `index`; UNIMPLEMENTED when it is NULL. */
    void (*handle)(const struct rpc_service *service, size_t index, struct rpc_call *call);
    const void *handlers;        /* generated struct of typed function pointers */
    void *user;                  /* given to each of them */
    struct fly_bytes descriptor; /* serialized FileDescriptorSet, imports included */
};

/* FNV-1a of the full name: the method's number on the wire. Inline: the plug-in counts too. */
static inline uint32_t rpc_method_hash(const char *name)
{
    uint32_t hash = 2166136261U;

    for (const char *c = name; *c != '\0'; c++) {
        hash = (hash ^ (uint8_t)*c) * 16777619U;
    }
    return hash;
}

/* FLY_OK, or FLY_INTERNAL with the names of two methods that collide, whose `hash` is not that of
 * the name, or of a message type that contains itself. O(n²) over a table of dozens; run once. */
enum fly_status rpc_methods_check(const struct rpc_method *const *methods, size_t count,
                                  struct fly_error *error);

#endif
