#include "dash/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dash/server_internal.h"
#include "dash/server_socket.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

enum {
    ACCEPTS_A_TURN = 64,
    FILES_LOOKUP_MAX = 1 << 18, /* libwebsockets' table by descriptor: 8 bytes each */
    GOODBYE_MS = 400,           /* for answers and close frames to leave */
    DESTROY_STEPS_MAX = 8,
    DESTROY_TURNS = 4,
};

static const struct lws_protocols protocols[] = {
    {.name = "fly",
     .callback = server_callback,
     .per_session_data_size = sizeof(struct server_peer),
     .rx_buffer_size = 1024,
     /* else a write is cut at rx_buffer_size, and its rest copied */
     .tx_packet_size = SERVER_CHUNK_BYTES + LWS_PRE},
    {.name = NULL},
};

int64_t server_now_ms(const struct server *server)
{
    return (int64_t)uv_now(&server->loop);
}

struct server_bytes *server_bytes_new(size_t size)
{
    struct server_bytes *bytes = malloc(sizeof *bytes + LWS_PRE + size);
    FLY_CHECK(bytes != NULL);
    bytes->references = 1;
    bytes->size = size;
    bytes->data = (uint8_t *)(bytes + 1) + LWS_PRE;
    return bytes;
}

struct server_bytes *server_bytes_keep(struct server_bytes *bytes)
{
    bytes->references++;
    return bytes;
}

void server_bytes_drop(struct server_bytes *bytes)
{
    if (bytes != NULL && --bytes->references == 0) {
        free(bytes);
    }
}

static void emit_log(int level, const char *line)
{
    char text[200];
    size_t size = strcspn(line, "\n");
    size = size < sizeof text ? size : sizeof text - 1;
    memcpy(text, line, size);
    text[size] = '\0';
    if (level == LLL_ERR) {
        fly_log_error("dash.lws", F_STR("text", text));
    } else {
        fly_log_warn("dash.lws", F_STR("text", text));
    }
}

/* --- the loop's turns --- */

static void on_accept(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct server *server = poll->data;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int fd = server_socket_accept(server->listen_fd);
        if (fd < 0) {
            return;
        }
        if (server->connections >= DASH_CONNECTIONS_MAX || server->closing) {
            atomic_fetch_add(&server->refused, 1);
            close(fd);
            continue;
        }
        lws_adopt_socket_vhost(server->vhost, fd); /* closes it when it fails */
    }
}

void server_drain(struct server *server)
{
    for (;;) {
        pthread_mutex_lock(&server->jobs_lock);
        struct server_job *job = NULL;
        if (!fly_list_empty(&server->jobs)) {
            job = FLY_CONTAINER(server->jobs.next, struct server_job, link);
            fly_list_drop(&job->link);
        }
        pthread_mutex_unlock(&server->jobs_lock);
        if (job == NULL) {
            return;
        }
        job->run(job);
    }
}

void server_post(struct server *server, struct server_job *job)
{
    pthread_mutex_lock(&server->jobs_lock);
    fly_list_append(&server->jobs, &job->link);
    pthread_mutex_unlock(&server->jobs_lock);
    uv_async_send(&server->wake);
}

void server_wake(struct server *server)
{
    if (!atomic_exchange(&server->woken, true)) {
        uv_async_send(&server->wake);
    }
}

static void on_stopped(uv_timer_t *timer)
{
    struct server *server = timer->data;
    uv_stop(&server->loop);
}

/* No browser and no answer is on its way. */
static bool all_gone(const struct server *server)
{
    for (struct fly_list *at = server->calls.next; at != &server->calls; at = at->next) {
        if (FLY_CONTAINER(at, struct http_call, link)->answered) {
            return false;
        }
    }
    return live_browsers(server->live) == 0;
}

void server_gone(struct server *server)
{
    if (uv_is_active((uv_handle_t *)&server->stop) && all_gone(server)) {
        uv_timer_start(&server->stop, on_stopped, 0, 0);
    }
}

static void stop_begin(struct server *server)
{
    server->closing = true;
    uv_poll_stop(&server->listen);
    /* Its threads end here, while calls that wait can still be answered. */
    api_destroy(server->api);
    server_drain(server);
    server->api = NULL;
    live_goodbye(server->live);
    uv_timer_start(&server->stop, on_stopped, all_gone(server) ? 0 : GOODBYE_MS, 0);
}

static void on_wake(uv_async_t *wake)
{
    struct server *server = wake->data;
    atomic_store(&server->woken, false);
    server_drain(server);
    if (atomic_load(&server->stopping) && !server->closing) {
        stop_begin(server);
    }
    if (!server->closing) {
        live_wake(server->live);
    }
}

static void on_second(uv_timer_t *timer)
{
    struct server *server = timer->data;
    int64_t wall_ms = fly_clock_wall_ms();
    signin_tick(server->signin, wall_ms);
    server_http_tick(server, server_now_ms(server));
    if (!server->closing) {
        live_second(server->live, wall_ms);
    }
}

/* --- beginning --- */

static void loop_init(struct server *server)
{
    FLY_CHECK(uv_loop_init(&server->loop) == 0);
    FLY_CHECK(uv_async_init(&server->loop, &server->wake, on_wake) == 0);
    FLY_CHECK(uv_timer_init(&server->loop, &server->second) == 0);
    FLY_CHECK(uv_timer_init(&server->loop, &server->flush) == 0);
    FLY_CHECK(uv_timer_init(&server->loop, &server->stop) == 0);
    FLY_CHECK(uv_poll_init(&server->loop, &server->listen, server->listen_fd) == 0);
    server->wake.data = server;
    server->second.data = server;
    server->flush.data = server;
    server->stop.data = server;
    server->listen.data = server;
}

static enum fly_status context_create(struct server *server, struct fly_error *error)
{
    void *loops[] = {&server->loop};
    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
    info.protocols = protocols;
    info.vhost_name = "dash";
    info.user = server;
    info.foreign_loops = loops;
    info.pcontext = &server->context;
    info.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_UV_NO_SIGSEGV_SIGFPE_SPIN |
                   LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS | LWS_SERVER_OPTION_NO_LWS_SYSTEM_STATES |
                   LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
    info.gid = -1;
    info.uid = -1;
    info.count_threads = 1;
    info.timeout_secs = SERVER_REQUEST_MS / 1000;
    info.timeout_secs_ah_idle = SERVER_REQUEST_MS / 1000;
    info.max_http_header_data2 = SERVER_HEADER_DATA_MAX;
    info.max_http_header_pool = SERVER_HEADER_POOL;
    info.alpn = "http/1.1";
    struct rlimit files = {0};
    /* Its table is as long as the limit; where there is none, it searches a short one. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > FILES_LOOKUP_MAX) {
        info.fd_limit_per_thread = DASH_CONNECTIONS_MAX + 64;
    }
    if (server->tls) {
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
        info.server_ssl_cert_mem = server->config->cert_pem;
        info.server_ssl_cert_mem_len = (unsigned)strlen(server->config->cert_pem);
        info.server_ssl_private_key_mem = server->config->key_pem;
        info.server_ssl_private_key_mem_len = (unsigned)strlen(server->config->key_pem);
    }
    lws_set_log_level(LLL_ERR | LLL_WARN, emit_log);
    server->context = lws_create_context(&info);
    if (server->context == NULL) {
        return fly_error_set(error, FLY_INTERNAL,
                             "dash: libwebsockets does not start: is its libuv plug-in "
                             "(libwebsockets-evlib-uv) here?");
    }
    server->vhost = lws_create_vhost(server->context, &info);
    if (server->vhost == NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "dash: the certificate and its key are no pair in PEM");
    }
    return FLY_OK;
}

static void secrets_init(struct server *server)
{
    uint8_t key[TOKEN_HASH_KEY_SIZE];
    randombytes_buf(key, sizeof key);
    void *memory = calloc(1, signin_size());
    FLY_CHECK(memory != NULL);
    server->signin = signin_init(memory, key);
    sodium_memzero(key, sizeof key);
    randombytes_buf(&server->boot, sizeof server->boot);
}

enum fly_status server_create(struct server **out, const struct dash_config *config,
                              struct dash_state *state, struct fly_error *error)
{
    if ((config->cert_pem == NULL) != (config->key_pem == NULL)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "dash: a certificate and its key come together");
    }
    FLY_CHECK(sodium_init() >= 0);
    struct server *server = calloc(1, sizeof *server);
    FLY_CHECK(server != NULL);
    server->config = config;
    server->state = state;
    server->tls = config->cert_pem != NULL;
    fly_list_init(&server->jobs);
    fly_list_init(&server->calls);
    FLY_CHECK(pthread_mutex_init(&server->jobs_lock, NULL) == 0);
    enum fly_status status =
        server_socket_listen(config->host, config->port, &server->listen_fd, &server->port, error);
    if (status == FLY_OK) {
        status = assets_create(&server->assets, config->ui_dir, error);
        if (status != FLY_OK) {
            close(server->listen_fd);
        }
    }
    if (status != FLY_OK) {
        pthread_mutex_destroy(&server->jobs_lock);
        free(server);
        return status;
    }
    loop_init(server);
    secrets_init(server);
    server->live = live_create(server);
    status = context_create(server, error);
    if (status != FLY_OK) {
        server_destroy(server);
        return status;
    }
    *out = server;
    return FLY_OK;
}

uint16_t server_port(const struct server *server)
{
    return server->port;
}

void server_run(struct server *server, struct api *api)
{
    server->api = api;
    uv_timer_start(&server->second, on_second, 1000, 1000);
    FLY_CHECK(uv_poll_start(&server->listen, UV_READABLE, on_accept) == 0);
    uv_update_time(&server->loop);
    uv_run(&server->loop, UV_RUN_DEFAULT);
}

void server_stop(struct server *server)
{
    atomic_store(&server->stopping, true);
    uv_async_send(&server->wake);
}

void server_destroy(struct server *server)
{
    if (server == NULL) {
        return;
    }
    server->closing = true;
    uv_close((uv_handle_t *)&server->second, NULL);
    uv_close((uv_handle_t *)&server->flush, NULL);
    uv_close((uv_handle_t *)&server->stop, NULL);
    uv_close((uv_handle_t *)&server->listen, NULL);
    /* With a loop that is not its own libwebsockets ends in steps: the first call closes what it
     * has, turns of the loop run the closing, the next call frees. It writes NULL through pcontext
     * then. */
    for (int i = 0; i < DESTROY_STEPS_MAX && server->context != NULL; i++) {
        lws_context_destroy(server->context);
        for (int turn = 0; turn < DESTROY_TURNS; turn++) {
            uv_run(&server->loop, UV_RUN_NOWAIT);
        }
    }
    FLY_CHECK(server->context == NULL);
    uv_close((uv_handle_t *)&server->wake, NULL);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    FLY_CHECK(uv_loop_close(&server->loop) == 0);
    close(server->listen_fd);
    FLY_CHECK(fly_list_empty(&server->calls));
    live_destroy(server->live);
    server_bytes_drop(server->fleet);
    server_bytes_drop(server->fleet_gzip);
    assets_destroy(server->assets);
    signin_fini(server->signin);
    free(server->signin);
    pthread_mutex_destroy(&server->jobs_lock);
    free(server);
}

struct dash_counters server_counters(struct server *server)
{
    return (struct dash_counters){
        .browsers = atomic_load(&server->browsers),
        .frames = atomic_load(&server->frames),
        .resyncs = atomic_load(&server->resyncs),
        .requests = atomic_load(&server->requests),
        .refused = atomic_load(&server->refused),
        .pace_ms = atomic_load(&server->pace_ms),
    };
}
