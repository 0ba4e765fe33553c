/* server - what the three kinds of gRPC server share: one answer, and a way to run. */
#ifndef FLY_TESTS_BENCH_RPC_GRPC_SERVER_H
#define FLY_TESTS_BENCH_RPC_GRPC_SERVER_H

#include <grpcpp/grpcpp.h>

#include "bench.grpc.pb.h"
#include "tests/bench/rpc/answer.h"

/* As ours_server.c's answer_make. */
inline void answer_make(const bench::AllocRequest &q, bench::AllocReply *a)
{
    uint32_t gpus = q.gpus() < BENCH_GPUS_MAX ? q.gpus() : BENCH_GPUS_MAX;

    a->set_lease(bench_lease(q.job(), q.memory_mib()));
    a->set_host(BENCH_HOST);
    a->mutable_indices()->Reserve(static_cast<int>(gpus));
    for (uint32_t i = 0; i < gpus; i++) {
        a->add_indices(bench_index(q.job(), i));
    }
}

/* Each registers itself, starts (the builder knows where it listens) and runs for ever. */
void run_sync(grpc::ServerBuilder &builder, void (*listening)());
void run_callback(grpc::ServerBuilder &builder, void (*listening)());
void run_queue(grpc::ServerBuilder &builder, void (*listening)());

#endif
