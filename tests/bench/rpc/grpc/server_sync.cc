#include "tests/bench/rpc/grpc/server.hh"

namespace
{
class Service final : public bench::Bench::Service
{
    grpc::Status Allocate(grpc::ServerContext *, const bench::AllocRequest *request,
                          bench::AllocReply *reply) override
    {
        answer_make(*request, reply);
        return grpc::Status::OK;
    }

    grpc::Status Stream(grpc::ServerContext *, const bench::AllocRequest *request,
                        grpc::ServerWriter<bench::AllocReply> *writer) override
    {
        bench::AllocReply reply;

        answer_make(*request, &reply);
        /* priority 7 asks for gRPC's batching of writes */
        grpc::WriteOptions options;
        if (request->priority() == 7) {
            options.set_buffer_hint();
        }
        while (writer->Write(reply, options)) {
        }
        return grpc::Status::OK;
    }
};
} // namespace

void run_sync(grpc::ServerBuilder &builder, void (*listening)())
{
    Service service;

    builder.RegisterService(&service);
    auto server = builder.BuildAndStart();
    if (!server) {
        std::exit(1);
    }
    listening();
    server->Wait();
    std::exit(0);
}
