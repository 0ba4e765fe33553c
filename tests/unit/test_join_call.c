/* join over real connections, plain and TLS; and that nng's TLS takes the certificates both ways.
 */
#include "tests/unit/join_world.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

#include "fly/v1/health.pb-c.h"
#include "fly/v1/health.rpc.h"
#include "fly/v1/join.rpc.h"
#include "proto/rpc/channel.h"
#include "proto/rpc/method.h"
#include "proto/rpc/server.h"

/* The admitting node: its Join service, and Echo. One call at a time, as the node's loop has it. */
struct service {
    struct join_world world;
    pthread_mutex_t lock;
    struct rpc_server *server;
    bool silent; /* takes calls and drops Admit's */
    struct join_begin_answer begun;
    struct join_admit_answer admitted;
};

static void on_call(void *user, struct rpc_call *call)
{
    struct service *s = user;
    struct fly_error error = {.text = ""};
    const ProtobufCMessage *reply = NULL;

    (void)pthread_mutex_lock(&s->lock);
    s->world.now.wall_ms = fly_clock_wall_ms();
    if (rpc_call_method(call) == &rpc_health_echo) {
        reply = rpc_call_request(call);
    } else if (rpc_call_method(call) == &rpc_join_begin) {
        if (join_server_begin(s->world.server, (const void *)rpc_call_request(call), s->world.now,
                              &s->begun, &error) == FLY_OK) {
            reply = &s->begun.message.base;
        }
    } else if (s->silent) {
        error = (struct fly_error){.status = FLY_UNAVAILABLE, .text = "shutting down"};
    } else if (join_server_admit(s->world.server, (const void *)rpc_call_request(call),
                                 s->world.now, &s->admitted, &error) == FLY_OK) {
        reply = &s->admitted.message.base;
    }
    if (reply != NULL) {
        rpc_call_reply(call, reply);
    } else {
        rpc_call_fail(call, error.status, error.text, (struct fly_bytes){.size = 0});
    }
    (void)pthread_mutex_unlock(&s->lock);
}

static void service_start(struct service *s, const struct place *place, const char *name,
                          const char *url, bool verify_peer)
{
    static const struct rpc_method *const methods[] = {&rpc_health_echo, &rpc_join_begin,
                                                       &rpc_join_admit};
    struct fly_error error = {.text = ""};

    memset(s, 0, sizeof *s);
    (void)pthread_mutex_init(&s->lock, NULL);
    world_open(place, name, &s->world);
    const struct rpc_tls tls = {.ca_pem = s->world.founder.tls.ca,
                                .cert_pem = s->world.founder.tls.certificate,
                                .key_pem = s->world.founder.tls.key,
                                .verify_peer = verify_peer};
    if (rpc_server_create(&s->server,
                          &(struct rpc_server_config){.urls = &url,
                                                      .url_count = 1,
                                                      .tls = &tls,
                                                      .methods = methods,
                                                      .method_count = FLY_ARRAY_COUNT(methods),
                                                      .user = s,
                                                      .on_call = on_call},
                          &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
}

static void service_stop(struct service *s)
{
    rpc_server_destroy(s->server);
    world_close(&s->world);
    (void)pthread_mutex_destroy(&s->lock);
}

static struct join_address address_of(const char *url)
{
    struct config_address a;
    struct join_address out;

    assert_true(config_address_parse(url, 0, &a));
    assert_true(join_address_from(&a, &out));
    out.tls = strncmp(url, "tls", 3) == 0;
    return out;
}

static struct service service;
static struct service second;
static struct identity identity;

static struct join_options options_for(const char *dir, const struct join_token *token)
{
    struct join_options options = {
        .dir = dir, .token = token, .roles = NODE_ROLE_PEER, .timeout_ms = 20000};

    (void)fly_copy_string(options.settings.name, sizeof options.settings.name, "bob");
    (void)fly_copy_string(options.settings.region, sizeof options.settings.region, "SIN");
    return options;
}

static void joins_over(const struct place *place, const char *url)
{
    struct fly_error error = {.text = ""};
    struct join_address address;

    service_start(&service, place, "a", url, false);
    address = address_of(rpc_server_url(service.server, 0));
    struct join_token token = world_token(&service.world, NODE_ROLE_PEER, 1, &address);
    struct join_options options = options_for(place->dir, &token);
    if (join_call(&options, &identity, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    assert_string_equal(identity.credential.name, "bob");
    identity_close(&identity);
    assert_int_equal(identity_open_made(place->dir, fly_clock_wall_ms(), &identity, NULL), FLY_OK);
    assert_string_equal(identity.settings.region, "SIN");
    assert_int_equal(identity.settings.seed_count, 2);
    identity_close(&identity);
    service_stop(&service);
}

static void test_plain(void **state)
{
    joins_over(*state, "tcp://127.0.0.1:0");
}

static void test_tls(void **state)
{
    joins_over(*state, "tls+tcp://127.0.0.1:0");
}

static enum fly_status echo(const char *url, const struct rpc_tls *tls)
{
    struct rpc_channel *channel = NULL;
    Fly__V1__EchoMessage ping = FLY__V1__ECHO_MESSAGE__INIT;
    struct rpc_reply reply = {.status = FLY_OK};
    enum fly_status status = rpc_channel_open(
        &channel, &(struct rpc_channel_config){.url = url, .tls = tls, .connect_timeout_ms = 20000},
        NULL);

    if (status == FLY_OK) {
        status = rpc_channel_call(channel, &rpc_health_echo, &ping.base, NULL, &reply);
        rpc_reply_fini(&reply);
        rpc_channel_close(channel);
    }
    return status;
}

/* Two nodes, each looking at the other's certificate: this is what their connections do. */
static void test_tls_between_nodes(void **state)
{
    const struct place *place = *state;
    char own_name[X509_NAME_TEXT_SIZE];
    char other_name[X509_NAME_TEXT_SIZE];

    service_start(&service, place, "a", "tls+tcp://127.0.0.1:0", true);
    const struct identity *founder = &service.world.founder;
    const char *url = rpc_server_url(service.server, 0);
    x509_node_name(founder->credential.tls_hash, own_name);
    memcpy(other_name, own_name, sizeof other_name);
    other_name[0] = other_name[0] == '0' ? '1' : '0';

    world_open(place, "stranger", &second.world);
    const struct identity *stranger = &second.world.founder;
    const struct {
        const char *what;
        const struct identity *shows;
        const char *believes;
        const char *name;
        bool ok;
    } rows[] = {
        {"by the name of that node", founder, founder->tls.ca, own_name, true},
        {"by the name of every node", founder, founder->tls.ca, X509_COMMON_NAME, true},
        {"by the name of another node", founder, founder->tls.ca, other_name, false},
        {"believing another CA", founder, stranger->tls.ca, X509_COMMON_NAME, false},
        {"showing another cluster's certificate", stranger, founder->tls.ca, own_name, false},
    };
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        const struct rpc_tls tls = {.ca_pem = rows[i].believes,
                                    .cert_pem = rows[i].shows->tls.certificate,
                                    .key_pem = rows[i].shows->tls.key,
                                    .server_name = rows[i].name,
                                    .verify_peer = true};
        if ((echo(url, &tls) == FLY_OK) != rows[i].ok) {
            fail_msg("%s", rows[i].what);
        }
    }
    world_close(&second.world);
    service_stop(&service);
}

/* A port that nobody listens on: bound, and given back. */
static struct join_address nobody(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct join_address out = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    out.port = ntohs(address.sin_port);
    (void)close(fd);
    return out;
}

/* Who does not answer, or is a stranger, is passed over; a refusal ends it. */
static void test_addresses_in_turn(void **state)
{
    const struct place *place = *state;
    struct fly_error error = {.text = ""};

    service_start(&service, place, "a", "tcp://127.0.0.1:0", false);
    service_start(&second, place, "stranger", "tcp://127.0.0.1:0", false);
    struct join_address address = address_of(rpc_server_url(service.server, 0));
    struct join_token token = world_token(&service.world, NODE_ROLE_PEER, 1, &address);
    struct join_options options = options_for(place->dir, &token);

    token.addresses[0] = nobody();
    assert_int_equal(join_call(&options, &identity, &error), FLY_UNAVAILABLE);
    assert_int_equal(identity.folder.lock_fd, -1);

    token.addresses[0] = address_of(rpc_server_url(second.server, 0));
    assert_int_equal(join_call(&options, &identity, &error), FLY_UNAUTHENTICATED);
    assert_non_null(strstr(error.text, "another CA"));

    service.silent = true;
    token.addresses[0] = address;
    assert_int_equal(join_call(&options, &identity, &error), FLY_UNAVAILABLE);
    assert_non_null(strstr(error.text, "shutting down"));
    service.silent = false;

    token.secret[0] ^= 1;
    assert_int_equal(join_call(&options, &identity, &error), FLY_PERMISSION_DENIED);
    token.secret[0] ^= 1;

    token.addresses[0] = nobody();
    token.addresses[1] = address_of(rpc_server_url(second.server, 0));
    token.addresses[2] = address;
    token.address_count = 3;
    if (join_call(&options, &identity, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    identity_close(&identity);
    service_stop(&second);
    service_stop(&service);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *text;
        const char *url; /* NULL: not one for a token */
    } rows[] = {
        {"127.0.0.1:7401", "tcp://127.0.0.1:7401"},
        {"10.0.0.5", "tls+tcp://10.0.0.5:7401"},
        {"[::1]:99", "tcp://[::1]:99"},
        {"fd00::5", "tls+tcp://[fd00::5]:7401"},
        {"::ffff:10.0.0.5", "tls+tcp://10.0.0.5:7401"},
        {"0.0.0.0:7401", NULL},
        {"[::]:7401", NULL},
        {"10.0.0.5:0", NULL},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct config_address a;
        struct join_address address;
        char url[JOIN_URL_SIZE];
        assert_true(config_address_parse(rows[i].text, 7401, &a));
        assert_int_equal(join_address_from(&a, &address), rows[i].url != NULL);
        if (rows[i].url != NULL) {
            join_address_url(&address, url);
            assert_string_equal(url, rows[i].url);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        WITH_PLACE(test_plain),
        WITH_PLACE(test_tls),
        WITH_PLACE(test_tls_between_nodes),
        WITH_PLACE(test_addresses_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
