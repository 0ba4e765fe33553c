#include "tests/bench/rpc/grpc/server.hh"

namespace
{
enum { READY_CALLS = 256 /* asked for at once */ };

bench::Bench::AsyncService service;
grpc::ServerCompletionQueue *queue;

class Call
{
  public:
    virtual ~Call() = default;
    virtual void proceed(bool ok) = 0;
};

class Unary final : public Call
{
  public:
    Unary() : responder(&context)
    {
        service.RequestAllocate(&context, &request, &responder, queue, queue, this);
    }
    void proceed(bool ok) override
    {
        if (answered || !ok) {
            delete this;
            return;
        }
        new Unary;
        bench::AllocReply reply;
        answer_make(request, &reply);
        answered = true;
        responder.Finish(reply, grpc::Status::OK, this);
    }

  private:
    grpc::ServerContext context;
    bench::AllocRequest request;
    grpc::ServerAsyncResponseWriter<bench::AllocReply> responder;
    bool answered = false;
};

class Pump final : public Call
{
  public:
    Pump() : writer(&context)
    {
        service.RequestStream(&context, &request, &writer, queue, queue, this);
    }
    void proceed(bool ok) override
    {
        if (ended || (!begun && !ok)) {
            delete this;
            return;
        }
        if (!begun) {
            begun = true;
            new Pump;
            answer_make(request, &reply);
            if (request.priority() == 7) {
                options.set_buffer_hint();
            }
        }
        if (ok) {
            writer.Write(reply, options, this);
        } else {
            ended = true;
            writer.Finish(grpc::Status::CANCELLED, this);
        }
    }

  private:
    grpc::ServerContext context;
    bench::AllocRequest request;
    bench::AllocReply reply;
    grpc::WriteOptions options;
    grpc::ServerAsyncWriter<bench::AllocReply> writer;
    bool begun = false;
    bool ended = false;
};
} // namespace

void run_queue(grpc::ServerBuilder &builder, void (*listening)())
{
    void *tag = nullptr;
    bool ok = false;

    builder.RegisterService(&service);
    auto own = builder.AddCompletionQueue();
    queue = own.get();
    auto server = builder.BuildAndStart();
    if (!server) {
        std::exit(1);
    }
    listening();
    for (int i = 0; i < READY_CALLS; i++) {
        new Unary;
    }
    new Pump;
    while (queue->Next(&tag, &ok)) {
        static_cast<Call *>(tag)->proceed(ok);
    }
    std::exit(0);
}
