#include "client/lib/session.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "client/lib/outcome.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum {
    PAUSE_FIRST_MS = 50,
    HELLO_SIZE_MAX = 8192,
    CONNECT_MAX_MS = 2000, /* to one of several edges */
    TRY_MIN_MS = 200,      /* a call's share of the time, with several edges */
    KEEPALIVE_MS = 3000,   /* a stopped edge is left after twice that */
};

/* The name in every node's certificate: mbedTLS 2.28 looks at no address there. */
#define TLS_SERVER_NAME "flylight"

/* Written by the signal handler; one per process, as signals are. -1: not made yet. */
static atomic_int interrupt_fd = -1;
static atomic_bool interrupted;
static atomic_bool connecting;
static atomic_bool was_sent; /* some request left this process */

/* A call being waited for: `done` runs on an nng thread, the waiter polls the eventfd. */
struct waiter {
    int fd;
    struct rpc_reply reply;
};

static int make_eventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    FLY_CHECK(fd >= 0);
    return fd;
}

void session_interrupt(void)
{
    const uint64_t one = 1;
    int fd = atomic_load(&interrupt_fd);
    int saved = errno;

    atomic_store(&interrupted, true);
    if (fd >= 0) {
        ssize_t written = write(fd, &one, sizeof one);
        (void)written; /* full means that it is readable already */
    }
    errno = saved;
}

bool session_interrupted(void)
{
    return atomic_load(&interrupted);
}

bool session_stopped(const struct session *session)
{
    struct pollfd fd = {.fd = session->stop_fd, .events = POLLIN};

    return session_interrupted() || (fd.fd >= 0 && poll(&fd, 1, 0) == 1);
}

bool session_idle(void)
{
    return atomic_load(&connecting) && !atomic_load(&was_sent);
}

void session_init(struct session *session, const char *addr, const char *token)
{
    uint64_t seed = 0;

    *session = (struct session){.addr = addr, .token = token, .stop_fd = -1};
    FLY_CHECK(getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed);
    fly_rng_seed(&session->rng, seed);
    FLY_CHECK(getrandom(&session->trace, sizeof session->trace, 0) ==
              (ssize_t)sizeof session->trace);
    if (atomic_load(&interrupt_fd) < 0) {
        atomic_store(&interrupt_fd, make_eventfd());
    }
}

void session_trace(struct session *session, const struct frame_trace *trace)
{
    session->trace = *trace;
    session->span_given = true;
}

struct rpc_call_options session_options(const struct session *session, int64_t timeout_ms)
{
    struct rpc_call_options options = {
        .timeout_ms = timeout_ms, .trace = session->trace, .metadata = session->metadata};

    if (!session->span_given) {
        FLY_CHECK(getrandom(options.trace.span_id, sizeof options.trace.span_id, 0) ==
                  (ssize_t)sizeof options.trace.span_id);
    }
    return options;
}

static void disconnect(struct session *session)
{
    rpc_channel_close(session->channel);
    session->channel = NULL;
}

void session_fini(struct session *session)
{
    disconnect(session);
    if (session->hello != NULL) {
        fly__v1__hello_reply__free_unpacked(session->hello, NULL);
    }
    session->hello = NULL;
}

void failure_fini(struct failure *failure)
{
    if (failure->refusal != NULL) {
        fly__v1__refusal__free_unpacked(failure->refusal, NULL);
    }
    failure->refusal = NULL;
}

void failure_from_reply(struct failure *failure, const struct rpc_reply *reply)
{
    *failure = (struct failure){
        .status = reply->status, .sent = reply->sent, .connected = true, .message = ""};
    (void)fly_copy_string(failure->message, sizeof failure->message, reply->text);
    if (reply->detail.size == 0) {
        return;
    }
    Fly__V1__Refusal *refusal =
        fly__v1__refusal__unpack(NULL, reply->detail.size, reply->detail.data);
    if (refusal == NULL) {
        return;
    }
    failure->refusal = refusal;
    failure->reason = (uint32_t)refusal->reason;
    failure->retryable = refusal->retryable;
    if (refusal->message[0] != '\0') {
        (void)fly_copy_string(failure->message, sizeof failure->message, refusal->message);
    }
    (void)fly_copy_string(failure->hint, sizeof failure->hint, refusal->hint);
}

static enum fly_status fail(struct failure *failure, enum fly_status status, const char *message)
{
    *failure = (struct failure){.status = status, .connected = false};
    (void)fly_copy_string(failure->message, sizeof failure->message, message);
    return status;
}

static enum fly_status connect_to(struct session *session, const char *url, int64_t timeout_ms,
                                  struct failure *failure)
{
    Fly__V1__Hello hello = FLY__V1__HELLO__INIT;
    uint8_t packed[HELLO_SIZE_MAX];
    struct rpc_reply refusal = {0};
    enum fly_status status;

    if (address_url_tls(url) && session->ca_pem == NULL) {
        (void)fail(failure, FLY_INVALID_ARGUMENT, url);
        (void)fly_copy_string(failure->message + strlen(url), sizeof failure->message - strlen(url),
                              " speaks TLS, and the cluster's certificate is not known here");
        (void)fly_copy_string(failure->hint, sizeof failure->hint,
                              "copy tls-ca.pem from a node's state folder "
                              "and name it with --ca or FLYRPC_CA");
        return FLY_INVALID_ARGUMENT;
    }
    hello.token = (char *)(uintptr_t)session->token;
    hello.agent = (char *)(uintptr_t) "flyrpc/" FLY_VERSION;
    if (fly__v1__hello__get_packed_size(&hello) > sizeof packed) {
        return fail(failure, FLY_INVALID_ARGUMENT, "the token is too long");
    }
    /* who the node is, HELLO tells; that it belongs to the cluster, its certificate proves */
    const struct rpc_tls tls = {
        .ca_pem = session->ca_pem, .server_name = TLS_SERVER_NAME, .verify_peer = true};
    struct rpc_channel_config config = {
        .url = url,
        .tls = address_url_tls(url) ? &tls : NULL,
        .hello = {packed, fly__v1__hello__pack(&hello, packed)},
        .connect_timeout_ms = timeout_ms,
        .keepalive_ms = KEEPALIVE_MS,
    };
    atomic_store(&connecting, true);
    status = rpc_channel_open_detailed(&session->channel, &config, &refusal);
    atomic_store(&connecting, false);
    explicit_bzero(packed, sizeof packed);
    if (status != FLY_OK) {
        session->channel = NULL;
        failure_from_reply(failure, &refusal);
        failure->status = status;
        failure->sent = false;
        /* it was there and said no: that is an answer */
        failure->connected = refusal.detail.size > 0 || status == FLY_UNAUTHENTICATED ||
                             status == FLY_PERMISSION_DENIED;
    }
    rpc_reply_fini(&refusal);
    return status;
}

/* All addresses of the list that have one now; those that are there already stay where they are. */
static enum fly_status resolve(struct session *session, struct failure *failure)
{
    const char *at = session->addr;
    char one[ADDRESS_URL_SIZE];
    enum fly_status status = FLY_OK;

    while (address_next(&at, one)) {
        char urls[ADDRESS_URLS_MAX][ADDRESS_URL_SIZE];
        struct fly_error error = {0};
        size_t count = 0;
        enum fly_status resolved = address_resolve(one, urls, &count, &error);
        for (size_t i = 0; i < count; i++) {
            (void)choices_add(&session->choices, urls[i]);
        }
        if (resolved != FLY_OK) {
            failure_fini(failure);
            status = fail(failure, resolved, error.text);
        }
    }
    return session->choices.count > 0 ? FLY_OK : status;
}

/* A no from which no other edge will shrink. */
static bool is_answer(const struct failure *failure)
{
    return failure->connected &&
           (failure->status == FLY_UNAUTHENTICATED || failure->status == FLY_PERMISSION_DENIED ||
            failure->status == FLY_INVALID_ARGUMENT);
}

static enum fly_status take_hello(struct session *session, struct failure *failure)
{
    struct fly_bytes packed = rpc_channel_hello(session->channel);
    Fly__V1__HelloReply *hello = fly__v1__hello_reply__unpack(NULL, packed.size, packed.data);

    if (hello == NULL) {
        disconnect(session);
        return fail(failure, FLY_INTERNAL, "the edge's HELLO is not a HelloReply");
    }
    if (session->hello != NULL) {
        fly__v1__hello_reply__free_unpacked(session->hello, NULL);
    }
    session->hello = hello;
    session->hello_boot_ms = fly_clock_boot_ms();
    choices_tell(&session->choices, hello->edges, hello->n_edges);
    return FLY_OK;
}

enum fly_status session_connect(struct session *session, int64_t timeout_ms,
                                struct failure *failure)
{
    int64_t until = fly_clock_boot_ms() + timeout_ms;
    enum fly_status status;

    *failure = (struct failure){0};
    if (session->channel != NULL) {
        if (rpc_channel_alive(session->channel)) {
            return FLY_OK;
        }
        disconnect(session);
        choices_next(&session->choices);
    }
    if (!session->resolved) {
        status = resolve(session, failure);
        if (status != FLY_OK) {
            return status;
        }
    }
    session->resolved = true;
    status = FLY_UNAVAILABLE;
    for (size_t left_count = session->choices.count; left_count > 0; left_count--) {
        int64_t left = until - fly_clock_boot_ms();
        failure_fini(failure);
        if (session_stopped(session)) {
            return fail(failure, FLY_CANCELLED, "interrupted");
        }
        if (left <= 0) {
            return fail(failure, FLY_DEADLINE_EXCEEDED, "the edge did not answer in time");
        }
        if (session->choices.count > 1 && left > CONNECT_MAX_MS) {
            left = CONNECT_MAX_MS;
        }
        if (left_count > 1 && left > 1) {
            left /= 2;
        }
        status = connect_to(session, choices_url(&session->choices), left, failure);
        if (status == FLY_OK || is_answer(failure)) {
            break;
        }
        choices_next(&session->choices);
    }
    /* names may mean something else by then */
    session->resolved = status == FLY_OK;
    return status == FLY_OK ? take_hello(session, failure) : status;
}

void session_move_on(struct session *session, struct failure *failure)
{
    bool silent = failure->status == FLY_DEADLINE_EXCEEDED;
    bool stuck = failure->reason == FLY__V1__REASON__REASON_OWNER_UNREACHABLE ||
                 failure->reason == FLY__V1__REASON__REASON_OUTCOME_UNKNOWN ||
                 failure->reason == FLY__V1__REASON__REASON_STOPPING ||
                 failure->reason == FLY__V1__REASON__REASON_OVERLOADED;
    /* a stream or call that was turned away without a word about why */
    bool leaving = failure->status == FLY_UNAVAILABLE &&
                   failure->reason == FLY__V1__REASON__REASON_NONE && failure->connected;
    bool no_edge = failure->status == FLY_UNIMPLEMENTED;

    if (session->channel != NULL && session->choices.count > 1 &&
        (silent || stuck || leaving || no_edge)) {
        disconnect(session);
        failure->moved = true;
        if (no_edge) {
            choices_drop(&session->choices);
        } else {
            choices_next(&session->choices);
        }
    }
}

static void on_done(void *user, struct rpc_reply *reply)
{
    struct waiter *waiter = user;
    const uint64_t one = 1;

    rpc_reply_move(&waiter->reply, reply);
    /* the waiter may free itself as soon as this is read: nothing may follow */
    FLY_CHECK(write(waiter->fd, &one, sizeof one) == (ssize_t)sizeof one);
}

/* Until the call has ended; an interrupt cancels it once. The call itself bounds the time. */
static void wait_for(struct session *session, struct waiter *waiter, uint32_t id)
{
    struct pollfd fds[3] = {{.fd = waiter->fd, .events = POLLIN},
                            {.fd = atomic_load(&interrupt_fd), .events = POLLIN},
                            {.fd = session->stop_fd, .events = POLLIN}}; /* -1 is passed over */
    nfds_t watched = 3;

    for (;;) {
        int ready = poll(fds, watched, -1);
        if (ready < 0) {
            FLY_CHECK(errno == EINTR);
            continue;
        }
        if ((fds[0].revents & POLLIN) != 0) {
            uint64_t count;
            /* the read, not the poll, is what orders the reply before us */
            FLY_CHECK(read(waiter->fd, &count, sizeof count) == (ssize_t)sizeof count);
            return;
        }
        if (watched == 3 && ((fds[1].revents | fds[2].revents) & POLLIN) != 0) {
            watched = 1;
            rpc_channel_cancel(session->channel, id);
        }
    }
}

static enum fly_status call_once(struct session *session, const struct rpc_method *method,
                                 const ProtobufCMessage *request, int64_t timeout_ms,
                                 struct rpc_reply *reply, struct failure *failure)
{
    int64_t until = fly_clock_boot_ms() + timeout_ms;
    struct waiter waiter = {.fd = -1};
    uint32_t id = 0;
    enum fly_status status;

    *reply = (struct rpc_reply){0};
    if (session_stopped(session)) {
        return fail(failure, FLY_CANCELLED, "interrupted");
    }
    status = session_connect(session, timeout_ms, failure);
    if (status != FLY_OK) {
        return status;
    }
    int64_t left = until - fly_clock_boot_ms();
    if (left <= 0) {
        (void)fail(failure, FLY_DEADLINE_EXCEEDED, "no time is left for the call");
        failure->connected = true;
        return FLY_DEADLINE_EXCEEDED;
    }
    if (session->choices.count > 1) {
        left = left / 2 > TRY_MIN_MS ? left / 2 : left < TRY_MIN_MS ? left : TRY_MIN_MS;
    }
    waiter.fd = make_eventfd();
    const struct rpc_call_options options = session_options(session, left);
    status = rpc_channel_start(session->channel, method, request, &options, on_done, &waiter, &id);
    if (status != FLY_OK) {
        (void)fail(failure, status, "the connection to the edge went away");
        failure->connected = true;
    } else {
        atomic_store(&was_sent, true);
        wait_for(session, &waiter, id);
        *reply = waiter.reply;
        status = reply->status;
        if (status != FLY_OK) {
            failure_from_reply(failure, reply);
        }
    }
    (void)close(waiter.fd);
    if (status != FLY_OK) {
        session_move_on(session, failure);
    }
    return status;
}

enum fly_status session_call(struct session *session, const struct rpc_method *method,
                             const ProtobufCMessage *request, int64_t timeout_ms,
                             struct rpc_reply *reply, struct failure *failure)
{
    int64_t until = fly_clock_boot_ms() + timeout_ms;
    size_t others = CHOICES_MAX;
    enum fly_status status = call_once(session, method, request, timeout_ms, reply, failure);

    /* who is no edge did nothing: the next one is asked as if it had been the first */
    while (status == FLY_UNIMPLEMENTED && failure->moved && others-- > 0 &&
           fly_clock_boot_ms() < until) {
        rpc_reply_fini(reply);
        failure_fini(failure);
        status = call_once(session, method, request, until - fly_clock_boot_ms(), reply, failure);
    }
    return status;
}

/* For calls that may be made twice: what a second try can help. */
static bool worth_again(const struct session *session, const struct failure *failure,
                        bool was_connected)
{
    if (session_stopped(session) || (!failure->connected && !was_connected)) {
        return false;
    }
    if (failure->reason != FLY__V1__REASON__REASON_NONE) {
        return failure->retryable && failure->reason != FLY__V1__REASON__REASON_QUOTA;
    }
    return failure->status == FLY_UNAVAILABLE ||
           (failure->status == FLY_DEADLINE_EXCEEDED && session->choices.count > 1);
}

enum fly_status session_call_again(struct session *session, const struct rpc_method *method,
                                   const ProtobufCMessage *request, int64_t timeout_ms,
                                   struct rpc_reply *reply, struct failure *failure)
{
    int64_t until = fly_clock_boot_ms() + timeout_ms;
    int64_t pause_ms = PAUSE_FIRST_MS;
    bool was_connected = false;
    bool sent = false;

    for (;;) {
        int64_t left = until - fly_clock_boot_ms();
        enum fly_status status = session_call(session, method, request, left, reply, failure);
        if (status == FLY_OK) {
            return status;
        }
        was_connected = was_connected || failure->connected;
        sent = sent || failure->sent;
        /* of all tries: the caller asks whether anything can have been done */
        failure->sent = sent;
        if (!worth_again(session, failure, was_connected) ||
            fly_clock_boot_ms() + pause_ms >= until || !session_pause(pause_ms)) {
            return status;
        }
        rpc_reply_fini(reply);
        failure_fini(failure);
        pause_ms = pause_ms * 2 < OUTCOME_PAUSE_MAX_MS ? pause_ms * 2 : OUTCOME_PAUSE_MAX_MS;
    }
}

int64_t session_wall_ms(const struct session *session)
{
    if (session->hello == NULL || session->hello->time_ms <= 0) {
        return fly_clock_wall_ms();
    }
    return session->hello->time_ms + (fly_clock_boot_ms() - session->hello_boot_ms);
}

bool session_pause(int64_t pause_ms)
{
    struct pollfd fd = {.fd = atomic_load(&interrupt_fd), .events = POLLIN};
    int64_t until = fly_clock_boot_ms() + pause_ms;

    for (int64_t left = pause_ms; left > 0 && !session_interrupted();
         left = until - fly_clock_boot_ms()) {
        (void)poll(&fd, 1, (int)(left < 60000 ? left : 60000));
    }
    return !session_interrupted();
}
