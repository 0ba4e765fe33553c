/* methods - the service of bench.proto as proto/rpc knows it. */
#ifndef FLY_TESTS_BENCH_RPC_METHODS_H
#define FLY_TESTS_BENCH_RPC_METHODS_H

#include "bench.pb-c.h"
#include "proto/rpc/method.h"

static const struct rpc_method bench_allocate = {.name = "bench.Bench/Allocate",
                                                 .request = &bench__alloc_request__descriptor,
                                                 .reply = &bench__alloc_reply__descriptor,
                                                 .flags = RPC_INLINE};
static const struct rpc_method bench_mailed = {.name = "bench.Bench/Mailed",
                                               .request = &bench__alloc_request__descriptor,
                                               .reply = &bench__alloc_reply__descriptor,
                                               .flags = 0};
static const struct rpc_method bench_stream = {.name = "bench.Bench/Stream",
                                               .request = &bench__alloc_request__descriptor,
                                               .reply = &bench__alloc_reply__descriptor,
                                               .flags = RPC_STREAM};

#endif
