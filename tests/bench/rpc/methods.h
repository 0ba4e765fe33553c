/*
 * methods - the service of bench.proto as proto/rpc knows it; by hand, since bench.proto is gRPC's
 * too and names no options of ours. bench_methods_init first.
 */
#ifndef FLY_TESTS_BENCH_RPC_METHODS_H
#define FLY_TESTS_BENCH_RPC_METHODS_H

#include "bench.pb-c.h"
#include "proto/rpc/method.h"

static struct rpc_method bench_allocate = {.name = "bench.Bench/Allocate",
                                           .request = &bench__alloc_request__descriptor,
                                           .reply = &bench__alloc_reply__descriptor,
                                           .flags = RPC_INLINE};
static struct rpc_method bench_mailed = {.name = "bench.Bench/Mailed",
                                         .request = &bench__alloc_request__descriptor,
                                         .reply = &bench__alloc_reply__descriptor,
                                         .flags = 0};
static struct rpc_method bench_stream = {.name = "bench.Bench/Stream",
                                         .request = &bench__alloc_request__descriptor,
                                         .reply = &bench__alloc_reply__descriptor,
                                         .flags = RPC_STREAM};

static inline void bench_methods_init(void)
{
    struct rpc_method *all[] = {&bench_allocate, &bench_mailed, &bench_stream};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        all[i]->hash = rpc_method_hash(all[i]->name);
    }
}

#endif
