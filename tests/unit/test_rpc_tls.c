/* rpc over TLS: who is believed, what is carried, and peers that break it, stall it or say nothing.
 */
#include <openssl/ssl.h>

#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "tests/unit/rpc_fixture.h"

static const char *const SECURE = "tls+tcp://127.0.0.1:0";
static const struct fly_bytes empty;

/* tests/vectors/tls: read once, lent to every case. */
static struct {
    char *ca;
    char *other_ca;
    char *cert;
    char *key;
} pem;

static char *load(const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/tls/%s", FLY_VECTORS, name);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fail_msg("%s", path);
    }
    char *text = calloc(1, 8192);
    assert_true(fread(text, 1, 8191, file) > 0);
    (void)fclose(file);
    return text;
}

static int load_all(void **state)
{
    (void)state;
    pem.ca = load("ca.pem");
    pem.other_ca = load("other-ca.pem");
    pem.cert = load("node.pem");
    pem.key = load("node-key.pem");
    return 0;
}

static int unload_all(void **state)
{
    (void)state;
    free(pem.ca);
    free(pem.other_ca);
    free(pem.cert);
    free(pem.key);
    return 0;
}

static void start_secure(struct fixture *f, const struct rpc_server_config *limits)
{
    struct rpc_server_config config = limits != NULL ? *limits : (struct rpc_server_config){0};
    struct rpc_tls tls = {.cert_pem = pem.cert, .key_pem = pem.key};

    if (config.tls == NULL) {
        config.tls = &tls;
    }
    fixture_start(f, SECURE, &config);
}

static enum fly_status connect_secure(struct fixture *f, const struct rpc_tls *tls,
                                      struct rpc_channel **out, struct fly_error *error)
{
    struct rpc_channel_config config = {.url = rpc_server_url(f->server, 0),
                                        .tls = tls,
                                        .hello = text_bytes("me"),
                                        .connect_timeout_ms = PATIENCE_MS};

    return rpc_channel_open(out, &config, error);
}

static struct rpc_channel *must_connect(struct fixture *f)
{
    struct rpc_tls tls = {.ca_pem = pem.ca, .server_name = "flylight", .verify_peer = true};
    struct fly_error error = {.text = ""};
    struct rpc_channel *channel = NULL;

    if (connect_secure(f, &tls, &channel, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return channel;
}

/* ---- who is believed ---- */

static void test_verify(void **state)
{
    const struct {
        const char *what;
        struct rpc_tls tls;
        bool good;
    } rows[] = {
        {"the cluster's name",
         {.ca_pem = pem.ca, .server_name = "flylight", .verify_peer = true},
         true},
        {"the node's name",
         {.ca_pem = pem.ca, .server_name = "0011223344.node.flylight", .verify_peer = true},
         true},
        {"nothing is looked at", {.verify_peer = false}, true},
        {"not even a wrong CA", {.ca_pem = pem.other_ca, .verify_peer = false}, true},
        {"a certificate of its own",
         {.ca_pem = pem.ca,
          .cert_pem = pem.cert,
          .key_pem = pem.key,
          .server_name = "flylight",
          .verify_peer = true},
         true},
        {"another CA",
         {.ca_pem = pem.other_ca, .server_name = "flylight", .verify_peer = true},
         false},
        {"another node",
         {.ca_pem = pem.ca, .server_name = "5566778899.node.flylight", .verify_peer = true},
         false},
        {"an address", {.ca_pem = pem.ca, .server_name = "127.0.0.1", .verify_peer = true}, false},
    };
    struct fixture f;

    (void)state;
    start_secure(&f, NULL);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct rpc_channel *channel = NULL;
        struct fly_error error = {.text = ""};
        enum fly_status status = connect_secure(&f, &rows[i].tls, &channel, &error);
        if (status != (rows[i].good ? FLY_OK : FLY_UNAVAILABLE)) {
            fail_msg("%s: %s %s", rows[i].what, fly_status_name(status), error.text);
        }
        if (rows[i].good) {
            check_echo(channel, 1000, (uint8_t)i);
            rpc_channel_close(channel);
        } else if (strstr(error.text, ": TLS: ") == NULL) {
            fail_msg("%s: %s", rows[i].what, error.text);
        }
    }
    fixture_stop(&f);
}

static void test_client_certificate(void **state)
{
    struct fixture f;
    struct rpc_channel *channel = NULL;
    struct fly_error error;
    struct rpc_tls server = {
        .ca_pem = pem.ca, .cert_pem = pem.cert, .key_pem = pem.key, .verify_peer = true};
    struct rpc_tls client = {.cert_pem = pem.cert, .key_pem = pem.key};

    (void)state;
    start_secure(&f, &(struct rpc_server_config){.tls = &server});
    assert_int_equal(connect_secure(&f, &client, &channel, &error), FLY_OK);
    check_echo(channel, 10, 1);
    rpc_channel_close(channel);
    client.cert_pem = NULL;
    client.key_pem = NULL;
    assert_int_equal(connect_secure(&f, &client, &channel, &error), FLY_UNAVAILABLE);
    WAIT_UNTIL(rpc_server_counters(f.server).tls_failed == 1);
    fixture_stop(&f);
}

static void test_settings(void **state)
{
    const struct {
        const char *what;
        struct rpc_tls tls;
    } servers[] =
        {
            {"no certificate", {.ca_pem = pem.ca}},
            {"no key", {.cert_pem = pem.cert}},
            {"no CA to verify by", {.cert_pem = pem.cert, .key_pem = pem.key, .verify_peer = true}},
            {"garbage for a certificate", {.cert_pem = "garbage", .key_pem = pem.key}},
            {"a certificate for a key", {.cert_pem = pem.cert, .key_pem = pem.cert}},
        },
      clients[] = {
          {"no CA to verify by", {.server_name = "flylight", .verify_peer = true}},
          {"no name to verify", {.ca_pem = pem.ca, .verify_peer = true}},
          {"a key without its certificate", {.key_pem = pem.key}},
          {"garbage for a CA", {.ca_pem = "", .server_name = "flylight", .verify_peer = true}},
      };
    struct fly_error error;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(servers); i++) {
        struct rpc_server *server = NULL;
        struct rpc_server_config config = {
            .urls = &SECURE, .url_count = 1, .tls = &servers[i].tls, .on_call = fixture_on_call};
        if (rpc_server_create(&server, &config, &error) != FLY_INVALID_ARGUMENT) {
            fail_msg("server: %s", servers[i].what);
        }
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(clients); i++) {
        struct rpc_channel *channel = NULL;
        struct rpc_channel_config config = {.url = "tls+tcp://127.0.0.1:1", .tls = &clients[i].tls};
        if (rpc_channel_open(&channel, &config, &error) != FLY_INVALID_ARGUMENT) {
            fail_msg("client: %s", clients[i].what);
        }
    }
}

static void test_open_errors(void **state)
{
    static const struct {
        const char *url;
        enum fly_status status;
    } rows[] = {
        {"tls+tcp://127.0.0.1:1", FLY_UNAVAILABLE},
        {"tls+tcp://localhost:7401", FLY_INVALID_ARGUMENT},
        {"tls+tcp://127.0.0.1", FLY_INVALID_ARGUMENT},
        {"tls+ipc:///tmp/x", FLY_INVALID_ARGUMENT},
        {"tls+tls+tcp://127.0.0.1:1", FLY_INVALID_ARGUMENT},
        {"tls+", FLY_INVALID_ARGUMENT},
    };
    struct rpc_tls tls = {.verify_peer = false};
    struct fly_error error;
    struct rpc_channel *channel = NULL;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct rpc_channel_config config = {.url = rows[i].url, .tls = &tls};
        enum fly_status status = rpc_channel_open(&channel, &config, &error);
        if (status != rows[i].status) {
            fail_msg("%s: %s %s", rows[i].url, fly_status_name(status), error.text);
        }
    }
}

/* ---- HELLO over both nonces: the client says nothing but its preface first ---- */

static size_t make_hello(void *user, const uint8_t client[static FRAME_NONCE_SIZE],
                         const uint8_t server[static FRAME_NONCE_SIZE], uint8_t *out, size_t max)
{
    assert_true(max >= 2 * FRAME_NONCE_SIZE);
    memcpy(out, client, FRAME_NONCE_SIZE);
    memcpy(out + FRAME_NONCE_SIZE, server, FRAME_NONCE_SIZE);
    memcpy(user, out, 2 * FRAME_NONCE_SIZE);
    return 2 * FRAME_NONCE_SIZE;
}

static void test_proofs(void **state)
{
    struct fixture f;
    struct rpc_channel *channel = NULL;
    struct fly_error error;
    uint8_t said[2 * FRAME_NONCE_SIZE] = {0};
    struct rpc_tls tls = {.ca_pem = pem.ca, .server_name = "flylight", .verify_peer = true};

    (void)state;
    start_secure(&f, NULL);
    struct rpc_channel_config config = {.url = rpc_server_url(f.server, 0),
                                        .tls = &tls,
                                        .user = said,
                                        .hello_make = make_hello,
                                        .connect_timeout_ms = PATIENCE_MS};
    assert_int_equal(rpc_channel_open(&channel, &config, &error), FLY_OK);
    assert_int_equal(rpc_channel_hello(channel).size, sizeof said); /* the fixture says it back */
    assert_memory_equal(rpc_channel_hello(channel).data, said, sizeof said);
    assert_memory_not_equal(said, said + FRAME_NONCE_SIZE, FRAME_NONCE_SIZE);
    check_echo(channel, 10, 1);
    rpc_channel_close(channel);
    fixture_stop(&f);
}

/* ---- what is carried ---- */

static void test_echo(void **state)
{
    /* nng holds 16 KiB of ciphertext, a TLS record as much plaintext: around and far above both */
    static const size_t sizes[] = {0,     1,     16300, 16384,   16385,         32768,
                                   65536, 70000, 99999, 1 << 19, (1 << 20) - 64};
    struct fixture f;

    (void)state;
    start_secure(&f, NULL);
    struct rpc_channel *channel = must_connect(&f);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(sizes); i++) {
        check_echo(channel, sizes[i], (uint8_t)i);
    }
    for (unsigned i = 0; i < 500; i++) {
        check_echo(channel, i, (uint8_t)i);
    }
    rpc_channel_close(channel);
    assert_int_equal(rpc_server_counters(f.server).tls_failed, 0);
    fixture_stop(&f);
}

static void *echo_large(void *channel)
{
    for (unsigned i = 0; i < 40; i++) {
        check_echo(channel, i % 2 == 0 ? 200000 : 50, (uint8_t)i);
    }
    return NULL;
}

static void test_both_ways_at_once(void **state)
{
    struct fixture f;
    pthread_t threads[8];

    (void)state;
    start_secure(&f, NULL);
    struct rpc_channel *channels[] = {must_connect(&f), must_connect(&f)};
    for (size_t i = 0; i < FLY_ARRAY_COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, echo_large, channels[i % 2]), 0);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(threads); i++) {
        (void)pthread_join(threads[i], NULL);
    }
    rpc_channel_close(channels[0]);
    rpc_channel_close(channels[1]);
    fixture_stop(&f);
}

static void count_end(void *user, struct rpc_reply *reply)
{
    struct fixture *f = user;

    assert_int_equal(reply->status, FLY_OK);
    fixture_note(f, &f->writables); /* of no other use here */
}

static void test_in_flight(void **state)
{
    enum { CALLS = 200, ROUNDS = 5 };
    struct fixture f;
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
    Fly__V1__StatusReply answer = FLY__V1__STATUS_REPLY__INIT;

    (void)state;
    start_secure(&f, NULL);
    struct rpc_channel *channel = must_connect(&f);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < CALLS; i++) {
            assert_int_equal(rpc_channel_start(channel, &rpc_edge_status, &request.base, NULL,
                                               count_end, &f, NULL),
                             FLY_OK);
        }
        fixture_wait_parked(&f, CALLS);
        for (unsigned i = 0; i < CALLS; i++) {
            rpc_call_reply(fixture_take(&f), &answer.base);
        }
        fixture_wait(&f, &f.writables, (round + 1) * CALLS);
    }
    rpc_channel_close(channel);
    fixture_stop(&f);
}

static void test_stream(void **state)
{
    enum { MESSAGES = 300, SIZE = 20000 };
    struct fixture f;
    struct rpc_stream *stream = NULL;
    struct rpc_reply reply;
    struct fly_error error;
    unsigned read = 0;
    unsigned sent = 0;
    Fly__V1__WatchRequest request = FLY__V1__WATCH_REQUEST__INIT;
    Fly__V1__WatchReply message = FLY__V1__WATCH_REPLY__INIT;
    char *text = calloc(1, SIZE + 1);

    (void)state;
    start_secure(&f, NULL);
    struct rpc_channel *channel = must_connect(&f);
    assert_int_equal(
        rpc_stream_open(&stream, channel, &rpc_edge_watch, &request.base, NULL, &error), FLY_OK);
    struct rpc_call *call = fixture_take(&f);
    memset(text, 'x', SIZE);
    message.cursor = text;
    while (read < MESSAGES) {
        while (sent < MESSAGES && rpc_call_send(call, &message.base) == FLY_OK) {
            sent++;
        }
        if (read == sent) {
            (void)sched_yield(); /* the reader's grant is still on its way */
            continue;
        }
        assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_MESSAGE);
        assert_int_equal(strlen(((const Fly__V1__WatchReply *)reply.message)->cursor), SIZE);
        rpc_reply_fini(&reply);
        read++;
    }
    rpc_call_reply(call, NULL);
    assert_int_equal(rpc_stream_next(stream, -1, &reply), RPC_NEXT_END);
    rpc_reply_fini(&reply);
    rpc_stream_close(stream);
    rpc_channel_close(channel);
    free(text);
    fixture_stop(&f);
}

/* ---- the wrong protocol ---- */

static void test_plain_client(void **state)
{
    struct fixture f;
    struct rpc_channel *channel = NULL;
    struct fly_error error;
    char url[160];

    (void)state;
    start_secure(&f, NULL);
    (void)snprintf(url, sizeof url, "%s", rpc_server_url(f.server, 0) + 4);
    struct rpc_channel_config config = {.url = url};
    assert_int_equal(rpc_channel_open(&channel, &config, &error), FLY_UNAVAILABLE);
    WAIT_UNTIL(rpc_server_counters(f.server).tls_failed == 1);
    assert_int_equal(rpc_server_counters(f.server).violations, 0);
    fixture_stop(&f);
}

static void test_plain_server(void **state)
{
    struct fixture f;
    struct rpc_channel *channel = NULL;
    struct fly_error error;
    struct rpc_tls tls = {.verify_peer = false};
    char url[160];

    (void)state;
    fixture_start(&f, "tcp://127.0.0.1:0", NULL);
    (void)snprintf(url, sizeof url, "tls+%s", rpc_server_url(f.server, 0));
    struct rpc_channel_config config = {.url = url, .tls = &tls};
    assert_int_equal(rpc_channel_open(&channel, &config, &error), FLY_UNAVAILABLE);
    WAIT_UNTIL(rpc_server_counters(f.server).violations == 1);
    fixture_stop(&f);
}

static void test_garbage(void **state)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t size;
    } rows[] = {
        {"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27},
        {"a record of another kind", "\x17\x03\x03\x00\x05hello", 10},
        {"a version that never was", "\x16\x09\x09\x00\x05hello", 10},
        {"a hello that is none", "\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", 10},
        {"a record over the maximum", "\x16\x03\x01\xff\xff\x01\x00", 7},
    };
    struct fixture f;

    (void)state;
    start_secure(&f, NULL);
    struct rpc_channel *channel = must_connect(&f);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        int fd = bare_connect(&f);
        bare_send(fd, rows[i].bytes, rows[i].size);
        bare_expect_end(fd);
        WAIT_UNTIL(rpc_server_counters(f.server).tls_failed == i + 1);
        check_echo(channel, 10, 1);
    }
    rpc_channel_close(channel);
    fixture_stop(&f);
}

/* Ten say nothing, ten stop in the middle of a handshake: the others are served, and all of the
 * twenty are cut when their time is up. */
static void test_silent(void **state)
{
    enum { SILENT = 20 };
    struct fixture f;
    int fds[SILENT];

    (void)state;
    start_secure(&f, &(struct rpc_server_config){.handshake_timeout_ms = 1500});
    for (unsigned i = 0; i < SILENT; i++) {
        fds[i] = bare_connect(&f);
        if (i % 2 == 1) {
            bare_send(fds[i], "\x16\x03\x01\x02\x00\x01\x00", 7);
        }
    }
    struct rpc_tls tls = {.verify_peer = false};
    struct rpc_channel *channel = NULL;
    while (connect_secure(&f, &tls, &channel, NULL) != FLY_OK) {
        /* on a very busy machine its own time may be up, too */
    }
    check_echo(channel, 100000, 1);
    for (unsigned i = 0; i < SILENT; i++) {
        bare_expect_end(fds[i]);
    }
    WAIT_UNTIL(rpc_server_counters(f.server).connections == 1);
    assert_true(rpc_server_counters(f.server).handshakes_late >= SILENT);
    check_echo(channel, 10, 1);
    rpc_channel_close(channel);
    fixture_stop(&f);
}

/* ---- a peer that speaks TLS and breaks the rest ---- */

struct secure_peer {
    SSL_CTX *context;
    SSL *ssl;
    int fd;
};

static void peer_connect(struct secure_peer *p, struct fixture *f)
{
    struct timeval patience = {.tv_usec = 50000};

    p->context = SSL_CTX_new(TLS_client_method());
    p->ssl = SSL_new(p->context);
    p->fd = bare_connect(f);
    assert_int_equal(SSL_set_fd(p->ssl, p->fd), 1);
    assert_int_equal(SSL_connect(p->ssl), 1);
    (void)setsockopt(p->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

static void peer_end(struct secure_peer *p)
{
    SSL_free(p->ssl);
    SSL_CTX_free(p->context);
    (void)close(p->fd);
}

static bool peer_send(struct secure_peer *p, struct frame_header header, struct fly_bytes meta,
                      struct fly_bytes body)
{
    uint8_t *bytes = malloc(FRAME_HEADER_SIZE + meta.size + body.size);
    size_t size = FRAME_HEADER_SIZE + meta.size + body.size;

    header.size = (uint32_t)(meta.size + body.size);
    header.meta_size = (uint16_t)meta.size;
    frame_header_encode(&header, bytes);
    if (meta.size > 0) {
        memcpy(bytes + FRAME_HEADER_SIZE, meta.data, meta.size);
    }
    if (body.size > 0) {
        memcpy(bytes + FRAME_HEADER_SIZE + meta.size, body.data, body.size);
    }
    int sent = SSL_write(p->ssl, bytes, (int)size);
    free(bytes);
    return sent == (int)size;
}

static void peer_greet(struct secure_peer *p)
{
    uint8_t preface[FRAME_PREFACE_SIZE];

    frame_preface_encode(
        &(struct frame_preface){.version = FRAME_VERSION, .frame_max = 1 << 20, .window = 65536},
        preface);
    assert_int_equal(SSL_write(p->ssl, preface, sizeof preface), sizeof preface);
    assert_true(
        peer_send(p, (struct frame_header){.type = FRAME_HELLO}, empty, text_bytes("nobody")));
}

/* They ask for megabytes and read nothing; the others are served as if they were not. */
static void test_never_reads(void **state)
{
    enum { DEAF = 12, ASKED = 40, SIZE = 60000 };
    struct fixture f;
    struct secure_peer peers[DEAF];
    uint8_t *body = calloc(1, SIZE);
    static const uint8_t head[] = {0x0a, 0xdc, 0xd4, 0x03}; /* payload: 60,000 − 4 bytes */
    static const uint8_t meta[FRAME_REQ_META_SIZE];

    (void)state;
    memcpy(body, head, sizeof head);
    start_secure(&f, &(struct rpc_server_config){.out_max = 256 * 1024});
    struct rpc_channel *channel = must_connect(&f);
    for (size_t i = 0; i < DEAF; i++) {
        bool flows = true;
        peer_connect(&peers[i], &f);
        peer_greet(&peers[i]);
        for (uint32_t k = 0; k < ASKED && flows; k++) {
            struct frame_header request = {.type = FRAME_REQ,
                                           .call_id = frame_call_id(k, 1),
                                           .arg = rpc_method_hash(rpc_health_echo.name)};
            flows = peer_send(&peers[i], request, (struct fly_bytes){meta, sizeof meta},
                              (struct fly_bytes){body, SIZE});
        }
        check_echo(channel, 5000, (uint8_t)i);
    }
    for (unsigned i = 0; i < 100; i++) {
        check_echo(channel, 5000, (uint8_t)i);
    }
    struct rpc_channel *another = must_connect(&f);
    check_echo(another, 100000, 1);
    rpc_channel_close(another);
    for (size_t i = 0; i < DEAF; i++) {
        peer_end(&peers[i]);
    }
    check_echo(channel, 5000, 1);
    rpc_channel_close(channel);
    free(body);
    fixture_stop(&f);
}

static void test_violations(void **state)
{
    struct fixture f;
    struct secure_peer peer;

    (void)state;
    start_secure(&f, NULL);
    peer_connect(&peer, &f);
    assert_int_equal(SSL_write(peer.ssl, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    WAIT_UNTIL(rpc_server_counters(f.server).violations == 1);
    peer_end(&peer);
    peer_connect(&peer, &f);
    peer_greet(&peer);
    assert_int_equal(send(peer.fd, "not a record at all", 19, MSG_NOSIGNAL), 19);
    WAIT_UNTIL(rpc_server_counters(f.server).tls_failed == 1);
    peer_end(&peer);
    WAIT_UNTIL(rpc_server_counters(f.server).connections == 0);
    fixture_stop(&f);
}

static void *come_and_go(void *user)
{
    struct fixture *f = user;

    for (unsigned i = 0; i < 25; i++) {
        struct rpc_channel *channel = must_connect(f);
        if (i % 3 == 0) {
            check_echo(channel, 40000, (uint8_t)i);
        }
        rpc_channel_close(channel);
    }
    return NULL;
}

static void test_come_and_go(void **state)
{
    struct fixture f;
    pthread_t threads[4];

    (void)state;
    start_secure(&f, NULL);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &f), 0);
    }
    for (size_t i = 0; i < FLY_ARRAY_COUNT(threads); i++) {
        (void)pthread_join(threads[i], NULL);
    }
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_client_certificate),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_open_errors),
        cmocka_unit_test(test_proofs),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_both_ways_at_once),
        cmocka_unit_test(test_in_flight),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_plain_client),
        cmocka_unit_test(test_plain_server),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_never_reads),
        cmocka_unit_test(test_violations),
        cmocka_unit_test(test_come_and_go),
    };
    return cmocka_run_group_tests(tests, load_all, unload_all);
}
