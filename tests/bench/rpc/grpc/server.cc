/*
 * grpc server - bench.proto on gRPC C++ as Debian ships it.
 *
 *   bench_rpc_grpc_server sync|callback|queue [CERT KEY]
 *
 * One of gRPC's three ways to write a server: a thread for each call, callbacks, or a completion
 * queue that one thread works through. Prints "listening HOST:PORT [HOST:PORT with TLS]". A
 * connection may have 1,024 streams at once, as ours.
 */
#include "tests/bench/rpc/grpc/server.hh"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/resource.h>

static int clear_port;
static int tls_port;

static std::string read_file(const char *path)
{
    std::ifstream file(path);
    std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};

    if (text.empty()) {
        std::fprintf(stderr, "grpc server: %s cannot be read\n", path);
        std::exit(1);
    }
    return text;
}

static void listening()
{
    std::printf("listening 127.0.0.1:%d", clear_port);
    if (tls_port != 0) {
        std::printf(" 127.0.0.1:%d", tls_port);
    }
    std::printf("\n");
    std::fflush(stdout);
}

int main(int argc, char **argv)
{
    grpc::ServerBuilder builder;
    std::string kind = argc > 1 ? argv[1] : "";
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &clear_port);
    if (argc > 3) {
        grpc::SslServerCredentialsOptions tls;
        tls.pem_key_cert_pairs.push_back({read_file(argv[3]), read_file(argv[2])});
        builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(tls), &tls_port);
    }
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1024);
    if (kind == "sync") {
        run_sync(builder, listening);
    } else if (kind == "callback") {
        run_callback(builder, listening);
    } else if (kind == "queue") {
        run_queue(builder, listening);
    }
    std::fprintf(stderr, "grpc server: sync, callback or queue, please\n");
    return 64;
}
