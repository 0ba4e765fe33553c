#include "tests/bench/rpc/grpc/server.hh"

namespace
{
class Pump final : public grpc::ServerWriteReactor<bench::AllocReply>
{
  public:
    explicit Pump(const bench::AllocRequest &request)
    {
        answer_make(request, &reply);
        if (request.priority() == 7) {
            options.set_buffer_hint();
        }
        StartWrite(&reply, options);
    }
    void OnWriteDone(bool ok) override
    {
        if (ok) {
            StartWrite(&reply, options);
        } else {
            Finish(grpc::Status::CANCELLED);
        }
    }
    void OnDone() override
    {
        delete this;
    }

  private:
    bench::AllocReply reply;
    grpc::WriteOptions options;
};

class Service final : public bench::Bench::CallbackService
{
    grpc::ServerUnaryReactor *Allocate(grpc::CallbackServerContext *context,
                                       const bench::AllocRequest *request,
                                       bench::AllocReply *reply) override
    {
        auto *reactor = context->DefaultReactor();

        answer_make(*request, reply);
        reactor->Finish(grpc::Status::OK);
        return reactor;
    }

    grpc::ServerWriteReactor<bench::AllocReply> *Stream(grpc::CallbackServerContext *,
                                                        const bench::AllocRequest *request) override
    {
        return new Pump(*request);
    }
};
} // namespace

void run_callback(grpc::ServerBuilder &builder, void (*listening)())
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
