/*
 * grpc client - the calls of bench.proto on gRPC C++, each with a deadline.
 *
 *   --mode threads --variant sync...                 blocking calls
 *   --mode chains|open --variant queue...|callback...  a completion queue that one thread works
 *                                                    through; or callbacks
 *   --mode stream --variant sync...|callback...       a blocking reader; a reactor
 *
 * What follows the first word of the variant is the server's kind, for whoever reads the line;
 * "-hint" at its end asks the server for gRPC's batching of a stream's writes. Every connection is
 * a channel with a subchannel pool of its own: one TCP connection each.
 */
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "bench.grpc.pb.h"
#include "tests/bench/rpc/answer.h"
#include "tests/bench/rpc/load.h"

namespace
{
/* What one caller needs for one call: used again, as far as gRPC lets it. */
struct Slot {
    std::unique_ptr<grpc::ClientContext> context;
    bench::AllocRequest request;
    bench::AllocReply reply;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<bench::AllocReply>> reader;
};

std::vector<std::unique_ptr<bench::Bench::Stub>> stubs;
std::vector<Slot> slots;
std::unique_ptr<grpc::CompletionQueue> queue;
std::thread worker;
bool by_callback;

bench::Bench::Stub &stub_of(unsigned caller)
{
    return *stubs[caller % stubs.size()];
}

void set_deadline(grpc::ClientContext &context)
{
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::milliseconds(BENCH_TIMEOUT_MS));
}

bool right(const grpc::Status &status, const bench::AllocReply &a)
{
    return status.ok() && a.indices_size() > 0 &&
           bench_right(a.lease(), static_cast<uint64_t>(a.indices_size()),
                       a.indices(a.indices_size() - 1)) != 0;
}

void make_request(bench::AllocRequest *q, bool hint)
{
    q->set_tenant(BENCH_TENANT);
    q->set_job(BENCH_JOB);
    q->set_gpus(BENCH_GPUS);
    q->set_memory_mib(BENCH_MEMORY_MIB);
    q->add_labels(BENCH_LABEL_0);
    q->add_labels(BENCH_LABEL_1);
    q->set_trace_id(BENCH_TRACE, BENCH_TRACE_SIZE);
    q->set_priority(hint ? 7 : BENCH_PRIORITY);
}

std::shared_ptr<grpc::ChannelCredentials> credentials(const char *ca)
{
    if (ca == nullptr) {
        return grpc::InsecureChannelCredentials();
    }
    std::ifstream file(ca);
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs.assign(std::istreambuf_iterator<char>(file),
                              std::istreambuf_iterator<char>());
    return grpc::SslCredentials(tls);
}

void work()
{
    void *tag = nullptr;
    bool ok = false;

    while (queue->Next(&tag, &ok)) {
        auto caller = static_cast<unsigned>(reinterpret_cast<uintptr_t>(tag));
        load_ended(caller, ok && right(slots[caller].status, slots[caller].reply));
    }
}

void bench_open(const struct load_options *o)
{
    grpc::ChannelArguments arguments;
    auto creds = credentials(o->tls_ca);
    bool hint = std::strstr(o->variant, "-hint") != nullptr;

    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    if (o->tls_ca != nullptr) {
        arguments.SetSslTargetNameOverride("flylight");
    }
    for (unsigned i = 0; i < o->connections; i++) {
        auto channel = grpc::CreateCustomChannel(o->address, creds, arguments);
        if (!channel->WaitForConnected(std::chrono::system_clock::now() +
                                       std::chrono::seconds(10))) {
            load_die("no connection to %s", o->address);
        }
        stubs.push_back(bench::Bench::NewStub(channel));
    }
    slots.resize(o->callers);
    for (auto &slot : slots) {
        make_request(&slot.request, hint);
    }
    by_callback = std::strncmp(o->variant, "callback", 8) == 0;
    if (std::strncmp(o->variant, "queue", 5) == 0) {
        queue = std::make_unique<grpc::CompletionQueue>();
        worker = std::thread(work);
    }
}

void bench_close()
{
    if (queue) {
        queue->Shutdown();
        worker.join();
    }
    std::fflush(stdout);
    std::_Exit(0); /* channels take their time */
}

unsigned bench_call(unsigned caller)
{
    Slot &slot = slots[caller];
    grpc::ClientContext context;
    bench::AllocReply reply;

    set_deadline(context);
    grpc::Status status = stub_of(caller).Allocate(&context, slot.request, &reply);
    return right(status, reply) ? 1 : 0;
}

bool bench_start(unsigned caller)
{
    Slot &slot = slots[caller];

    slot.context = std::make_unique<grpc::ClientContext>();
    slot.reply.Clear();
    set_deadline(*slot.context);
    if (by_callback) {
        stub_of(caller).async()->Allocate(
            slot.context.get(), &slot.request, &slot.reply, [caller](grpc::Status status) {
                load_ended(caller, right(status, slots[caller].reply));
            });
        return true;
    }
    slot.reader = stub_of(caller).AsyncAllocate(slot.context.get(), slot.request, queue.get());
    slot.reader->Finish(&slot.reply, &slot.status,
                        reinterpret_cast<void *>(static_cast<uintptr_t>(caller)));
    return true;
}

class Reader final : public grpc::ClientReadReactor<bench::AllocReply>
{
  public:
    explicit Reader(unsigned number) : caller(number)
    {
        stub_of(caller).async()->Stream(&context, &slots[caller].request, this);
        StartRead(&reply);
        StartCall();
    }
    void OnReadDone(bool ok) override
    {
        good = good && (!ok || right(grpc::Status::OK, reply));
        if (ok) {
            load_took(caller, 1);
            StartRead(&reply);
        }
    }
    void OnDone(const grpc::Status &) override
    {
        std::lock_guard<std::mutex> guard(lock);
        done = true;
        changed.notify_one();
    }
    bool wait()
    {
        bool early;
        {
            std::unique_lock<std::mutex> guard(lock);
            while (!done && !load_over()) {
                changed.wait_for(guard, std::chrono::milliseconds(10));
            }
            early = done;
        }
        context.TryCancel();
        std::unique_lock<std::mutex> guard(lock);
        changed.wait(guard, [this] { return done; });
        return good && !early;
    }

  private:
    unsigned caller;
    grpc::ClientContext context;
    bench::AllocReply reply;
    bool good = true;
    bool done = false;
    std::mutex lock;
    std::condition_variable changed;
};

bool bench_stream(unsigned caller)
{
    if (by_callback) {
        Reader reader(caller);
        return reader.wait();
    }
    grpc::ClientContext context;
    bench::AllocReply reply;
    bool good = true;

    auto reader = stub_of(caller).Stream(&context, slots[caller].request);
    while (good && !load_over()) {
        good = reader->Read(&reply) && right(grpc::Status::OK, reply);
        load_took(caller, 1);
    }
    context.TryCancel();
    while (reader->Read(&reply)) {
    }
    (void)reader->Finish();
    return good;
}
} // namespace

int main(int argc, char **argv)
{
    struct load_backend backend = {};

    backend.open = bench_open;
    backend.close = bench_close;
    backend.call = bench_call;
    backend.start = bench_start;
    backend.stream = bench_stream;
    return load_main(argc, argv, &backend);
}
