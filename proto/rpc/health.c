/*
 * health - grpc.health.v1 restated: who is serving, asked once (Check) or watched (Watch).
 *
 * A watch has no queue: it remembers what it last sent, and whoever finds that this is not the
 * status any more sends (pump). One thread at a time pumps a watch; who comes meanwhile leaves a
 * mark that it must look again. Nothing of the rpc layer is called with the board's lock held.
 *
 * Source: grpc/doc/health-checking.md, grpc/health/v1/health.proto.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fly/v1/health.rpc.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/rpc/builtin.h"
#include "proto/rpc/server.h"

enum { NOTHING_SENT = -1 };

struct watch {
    struct rpc_call *call; /* held */
    size_t slot;
    int sent;     /* the last status that was sent, or NOTHING_SENT */
    bool pumping; /* by some thread, which alone may free it */
    bool again;   /* look once more before you leave it */
    char service[RPC_HEALTH_NAME_SIZE];
};

struct known {
    char service[RPC_HEALTH_NAME_SIZE];
    enum rpc_serving status;
};

struct rpc_health_board {
    pthread_mutex_t lock; /* all below */
    struct known known[RPC_HEALTH_SERVICES_MAX];
    size_t known_count;
    bool shut;
    /* [watch_end) in use or holes; of holes the lowest is taken */
    struct watch *watches[RPC_HEALTH_WATCHES_MAX];
    size_t watch_end;
};

enum fly_status rpc_health_board_create(struct rpc_health_board **out, struct fly_error *error)
{
    struct rpc_health_board *board = calloc(1, sizeof *board);

    *out = board;
    if (board == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    (void)pthread_mutex_init(&board->lock, NULL);
    board->known[board->known_count++].status = RPC_SERVING;
    return FLY_OK;
}

void rpc_health_board_destroy(struct rpc_health_board *board)
{
    if (board != NULL) {
        FLY_CHECK(board->watch_end == 0); /* its server waited for all calls */
        (void)pthread_mutex_destroy(&board->lock);
        free(board);
    }
}

static struct known *find(struct rpc_health_board *board, const char *service)
{
    for (size_t i = 0; i < board->known_count; i++) {
        if (strcmp(board->known[i].service, service) == 0) {
            return &board->known[i];
        }
    }
    return NULL;
}

static enum rpc_serving status_of(struct rpc_health_board *board, const char *service)
{
    const struct known *known = find(board, service);

    return known != NULL ? known->status : RPC_SERVICE_UNKNOWN;
}

/* Under the lock, by the thread that pumps it. */
static void forget(struct rpc_health_board *board, struct watch *watch)
{
    board->watches[watch->slot] = NULL;
    while (board->watch_end > 0 && board->watches[board->watch_end - 1] == NULL) {
        board->watch_end--;
    }
}

enum step { SEND, LEAVE, END };

/* What a pumping thread has to do next; after LEAVE and END the watch is not its own any more. */
static enum step next_step(struct rpc_health_board *board, struct watch *watch, bool gone,
                           bool behind, int *status)
{
    enum step step = SEND;

    (void)pthread_mutex_lock(&board->lock);
    *status = (int)status_of(board, watch->service);
    if (gone) {
        forget(board, watch);
        step = END;
    } else if (!watch->again && (behind || watch->sent == *status)) {
        watch->pumping = false;
        step = LEAVE;
    }
    watch->again = false;
    (void)pthread_mutex_unlock(&board->lock);
    return step;
}

/* Sends until what was sent last is the status, or the reader is behind (call_changed will come),
 * or gone. `pumping` was set by this thread. */
static void pump(struct rpc_health_board *board, struct watch *watch)
{
    enum fly_status sent = FLY_OK;
    enum step step = SEND;
    int status = 0;

    while (step == SEND) {
        bool gone =
            (sent != FLY_OK && sent != FLY_RESOURCE_EXHAUSTED) || rpc_call_cancelled(watch->call);

        step = next_step(board, watch, gone, sent == FLY_RESOURCE_EXHAUSTED, &status);
        sent = FLY_OK;
        if (step == SEND && watch->sent != status) {
            Fly__V1__HealthCheckResponse response = FLY__V1__HEALTH_CHECK_RESPONSE__INIT;

            response.status = (Fly__V1__HealthCheckResponse__ServingStatus)status;
            sent = rpc_health_watch_send(watch->call, &response);
            watch->sent = sent == FLY_OK ? status : watch->sent;
        }
    }
    if (step == END) {
        rpc_call_fail(watch->call, FLY_CANCELLED, "the watch has ended", (struct fly_bytes){0});
        rpc_call_drop(watch->call);
        free(watch);
    }
}

/* Under the lock: true if it is ours to pump now. */
static bool claim(struct watch *watch)
{
    if (watch->pumping) {
        watch->again = true;
        return false;
    }
    watch->pumping = true;
    return true;
}

/* The caller gave up, or can be sent to again. The watch is looked up: it may be gone. */
static void call_changed(void *user, struct rpc_call *call)
{
    struct rpc_health_board *board = user;
    struct watch *watch = NULL;

    (void)pthread_mutex_lock(&board->lock);
    for (size_t i = 0; i < board->watch_end && watch == NULL; i++) {
        if (board->watches[i] != NULL && board->watches[i]->call == call) {
            watch = board->watches[i];
        }
    }
    if (watch != NULL && !claim(watch)) {
        watch = NULL;
    }
    (void)pthread_mutex_unlock(&board->lock);
    if (watch != NULL) {
        pump(board, watch);
    }
}

static void pump_all(struct rpc_health_board *board)
{
    for (size_t i = 0; i < RPC_HEALTH_WATCHES_MAX; i++) {
        struct watch *watch = NULL;

        (void)pthread_mutex_lock(&board->lock);
        if (i >= board->watch_end) {
            (void)pthread_mutex_unlock(&board->lock);
            return;
        }
        watch = board->watches[i];
        if (watch != NULL && !claim(watch)) {
            watch = NULL;
        }
        (void)pthread_mutex_unlock(&board->lock);
        if (watch != NULL) {
            pump(board, watch);
        }
    }
}

enum fly_status rpc_health_board_set(struct rpc_health_board *board, const char *service,
                                     enum rpc_serving status)
{
    struct known *known = NULL;
    enum fly_status result = FLY_OK;

    if (strlen(service) >= RPC_HEALTH_NAME_SIZE) {
        return FLY_INVALID_ARGUMENT;
    }
    (void)pthread_mutex_lock(&board->lock);
    known = find(board, service);
    if (board->shut) {
        /* stays as it is */
    } else if (known != NULL && status == RPC_SERVICE_UNKNOWN) {
        *known = board->known[--board->known_count];
    } else if (known != NULL) {
        known->status = status;
    } else if (status == RPC_SERVICE_UNKNOWN) {
        /* so it is */
    } else if (board->known_count == RPC_HEALTH_SERVICES_MAX) {
        result = FLY_RESOURCE_EXHAUSTED;
    } else {
        known = &board->known[board->known_count++];
        (void)fly_copy_string(known->service, sizeof known->service, service);
        known->status = status;
    }
    (void)pthread_mutex_unlock(&board->lock);
    pump_all(board);
    return result;
}

void rpc_health_board_shutdown(struct rpc_health_board *board)
{
    (void)pthread_mutex_lock(&board->lock);
    board->shut = true;
    for (size_t i = 0; i < board->known_count; i++) {
        board->known[i].status = RPC_NOT_SERVING;
    }
    (void)pthread_mutex_unlock(&board->lock);
    pump_all(board);
}

static void handle_check(void *user, struct rpc_call *call,
                         const Fly__V1__HealthCheckRequest *request)
{
    struct rpc_health_board *board = user;
    Fly__V1__HealthCheckResponse response = FLY__V1__HEALTH_CHECK_RESPONSE__INIT;

    (void)pthread_mutex_lock(&board->lock);
    response.status =
        (Fly__V1__HealthCheckResponse__ServingStatus)status_of(board, request->service);
    (void)pthread_mutex_unlock(&board->lock);
    if (response.status == FLY__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN) {
        rpc_call_fail(call, FLY_NOT_FOUND, "unknown service", (struct fly_bytes){0});
    } else {
        rpc_health_check_reply(call, &response);
    }
}

/* True: it has a slot, and is ours to pump. */
static bool add(struct rpc_health_board *board, struct watch *watch)
{
    size_t slot = 0;

    (void)pthread_mutex_lock(&board->lock);
    while (slot < board->watch_end && board->watches[slot] != NULL) {
        slot++;
    }
    if (slot < RPC_HEALTH_WATCHES_MAX) {
        board->watches[slot] = watch;
        board->watch_end = slot < board->watch_end ? board->watch_end : slot + 1;
        watch->slot = slot;
        watch->pumping = true;
    }
    (void)pthread_mutex_unlock(&board->lock);
    return slot < RPC_HEALTH_WATCHES_MAX;
}

static void handle_watch(void *user, struct rpc_call *call,
                         const Fly__V1__HealthCheckRequest *request)
{
    struct rpc_health_board *board = user;
    struct watch *watch = NULL;

    if (strlen(request->service) >= RPC_HEALTH_NAME_SIZE) {
        rpc_call_fail(call, FLY_INVALID_ARGUMENT, "no service has so long a name",
                      (struct fly_bytes){0});
        return;
    }
    watch = calloc(1, sizeof *watch);
    if (watch != NULL) {
        watch->call = call;
        watch->sent = NOTHING_SENT;
        (void)fly_copy_string(watch->service, sizeof watch->service, request->service);
    }
    if (watch == NULL || !add(board, watch)) {
        free(watch);
        rpc_call_turn_away(call, FLY_RESOURCE_EXHAUSTED, "too many watches", (struct fly_bytes){0});
        return;
    }
    rpc_call_hold(call);
    rpc_call_watch(call, call_changed, board); /* may run at once: it is in the list by now */
    pump(board, watch);
}

static void handle_echo(void *user, struct rpc_call *call, const Fly__V1__EchoMessage *request)
{
    (void)user;
    rpc_health_echo_reply(call, request);
}

struct rpc_service rpc_builtin_health(struct rpc_health_board *board)
{
    static const struct rpc_health_handlers handlers = {
        .check = handle_check, .watch = handle_watch, .echo = handle_echo};

    return rpc_health_serve(&handlers, board);
}
