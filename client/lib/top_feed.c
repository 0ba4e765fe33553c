#include "client/lib/top_feed.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/text.h"
#include "client/lib/watching.h"
#include "fly/v1/admin.rpc.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum {
    POLL_TIMEOUT_MS = 2500,
    REFUSED_MS = 10000, /* what was not permitted is asked for so seldom */
    PAUSED_MS = 50,
    AGAIN_MS = 250, /* a first pause between two loads */
    AGAIN_MAX_MS = 5000,
};

/* A call that is made again and again, beside the stream. */
struct poll_call {
    const struct rpc_method *method;
    const ProtobufCMessage *request;
    int64_t every_ms;
    int64_t next_ms;
    bool under_way; /* the feed's thread's */
    pthread_mutex_t lock;
    bool done;
    struct rpc_reply reply;
};

struct top_feed {
    struct session *session;
    int64_t timeout_ms;
    pthread_t thread;
    atomic_bool paused;
    struct watching watching; /* the thread's, like the session */
    char since[CURSORS_TEXT_SIZE];
    bool loaded; /* once at least */
    struct poll_call regions;
    struct poll_call members;

    pthread_mutex_t lock; /* of all below */
    struct top_model *model;
    struct top_status status;
    struct rpc_reply last_members;
    bool ended;
    struct failure failure;
};

static void lock(struct top_feed *feed)
{
    FLY_CHECK(pthread_mutex_lock(&feed->lock) == 0);
}

static void unlock(struct top_feed *feed)
{
    FLY_CHECK(pthread_mutex_unlock(&feed->lock) == 0);
}

/* ---- how it stands ---- */

static void say_link(struct top_feed *feed, enum top_link link, const char *why)
{
    lock(feed);
    feed->status.link = link;
    text_clean(why, feed->status.why, sizeof feed->status.why);
    unlock(feed);
}

static void say_heard(struct top_feed *feed)
{
    const Fly__V1__HelloReply *hello = feed->session->hello;

    lock(feed);
    feed->status.heard_ms = fly_clock_boot_ms();
    if (hello != NULL) {
        text_clean(hello->cluster, feed->status.cluster, sizeof feed->status.cluster);
        text_clean(hello->node, feed->status.node, sizeof feed->status.node);
    }
    unlock(feed);
}

static const char *words_of(const struct failure *failure)
{
    return failure->message[0] != '\0' ? failure->message : fly_status_name(failure->status);
}

/* What neither another try nor another edge will change. */
static bool for_good(const struct failure *failure)
{
    return failure->status == FLY_UNAUTHENTICATED || failure->status == FLY_PERMISSION_DENIED ||
           failure->status == FLY_INVALID_ARGUMENT || failure->status == FLY_UNIMPLEMENTED;
}

static void end(struct top_feed *feed, const struct failure *failure)
{
    lock(feed);
    feed->ended = true;
    feed->failure = *failure;
    feed->failure.refusal = NULL; /* its owner keeps it */
    feed->status.link = TOP_LOST;
    unlock(feed);
}

/* ---- all machines ---- */

static enum fly_status fetch_regions(struct top_feed *feed, struct failure *failure)
{
    Fly__V1__RegionsRequest request = FLY__V1__REGIONS_REQUEST__INIT;
    struct rpc_reply reply = {0};
    enum fly_status status = session_call_again(feed->session, &rpc_edge_regions, &request.base,
                                                feed->timeout_ms, &reply, failure);

    if (status == FLY_OK) {
        say_heard(feed);
        lock(feed);
        top_model_put_regions(feed->model, (const Fly__V1__RegionsReply *)reply.message,
                              fly_clock_boot_ms());
        unlock(feed);
    }
    rpc_reply_fini(&reply);
    return status;
}

/* One page; `after` becomes where the next one begins, "" when that was all. */
static enum fly_status fetch_page(struct top_feed *feed, char **after, bool first,
                                  struct failure *failure)
{
    Fly__V1__ListMachinesRequest request = FLY__V1__LIST_MACHINES_REQUEST__INIT;
    struct rpc_reply reply = {0};

    request.after = *after != NULL ? *after : "";
    request.limit = TOP_FEED_PAGE;
    enum fly_status status = session_call_again(feed->session, &rpc_edge_machines, &request.base,
                                                feed->timeout_ms, &reply, failure);
    if (status == FLY_OK) {
        const Fly__V1__ListMachinesReply *page = (const Fly__V1__ListMachinesReply *)reply.message;
        say_heard(feed);
        lock(feed);
        for (size_t i = 0; i < page->n_machines; i++) {
            (void)top_model_put_machine(feed->model, page->machines[i]);
        }
        feed->status.told += page->n_machines;
        unlock(feed);
        if (first && !fly_copy_string(feed->since, sizeof feed->since, page->cursor)) {
            feed->since[0] = '\0';
        }
        free(*after);
        *after = strdup(page->next);
        FLY_CHECK(*after != NULL);
    }
    rpc_reply_fini(&reply);
    return status;
}

/* All regions and machines, of one edge. ABORTED: it changed on the way; from the beginning. */
static enum fly_status load(struct top_feed *feed, struct failure *failure)
{
    char *after = NULL;
    enum fly_status status = fetch_regions(feed, failure);
    int64_t hello_ms = feed->session->hello_boot_ms;
    bool first = true;

    if (status != FLY_OK) {
        return status;
    }
    lock(feed);
    feed->status.link = TOP_LOADING;
    feed->status.told = 0;
    top_model_refill_begin(feed->model);
    unlock(feed);
    while (status == FLY_OK && (first || after[0] != '\0')) {
        status = fetch_page(feed, &after, first, failure);
        first = false;
        if (status == FLY_OK && feed->session->hello_boot_ms != hello_ms) {
            status = failure->status = FLY_ABORTED;
            (void)fly_copy_string(failure->message, sizeof failure->message,
                                  "another edge while the machines were fetched");
        }
    }
    free(after);
    if (status == FLY_OK) {
        lock(feed);
        top_model_refill_end(feed->model);
        feed->status.link = TOP_LIVE;
        unlock(feed);
        feed->loaded = true;
    }
    return status;
}

/* Until it is done. False: the feed ends. */
static bool load_again(struct top_feed *feed)
{
    int64_t pause_ms = AGAIN_MS;

    for (;;) {
        struct failure failure = {0};
        enum fly_status status = load(feed, &failure);
        if (status == FLY_OK || session_interrupted()) {
            failure_fini(&failure);
            return status == FLY_OK;
        }
        bool ends = for_good(&failure) || (!feed->loaded && status != FLY_ABORTED);
        if (ends) {
            end(feed, &failure);
        } else {
            session_move_on(feed->session, &failure);
            say_link(feed, TOP_LOST, words_of(&failure));
        }
        failure_fini(&failure);
        if (ends || !session_pause(pause_ms)) {
            return false;
        }
        pause_ms = pause_ms * 2 < AGAIN_MAX_MS ? pause_ms * 2 : AGAIN_MAX_MS;
    }
}

/* ---- polls ---- */

/* On a thread of the library. */
static void on_polled(void *user, struct rpc_reply *reply)
{
    struct poll_call *poll = user;

    FLY_CHECK(pthread_mutex_lock(&poll->lock) == 0);
    rpc_reply_move(&poll->reply, reply);
    poll->done = true;
    FLY_CHECK(pthread_mutex_unlock(&poll->lock) == 0);
}

static void poll_begin(struct top_feed *feed, struct poll_call *poll, int64_t now)
{
    const struct rpc_call_options options = session_options(feed->session, POLL_TIMEOUT_MS);

    if (poll->under_way || now < poll->next_ms || feed->session->channel == NULL) {
        return;
    }
    poll->next_ms = now + poll->every_ms;
    poll->under_way = rpc_channel_start(feed->session->channel, poll->method, poll->request,
                                        &options, on_polled, poll, NULL) == FLY_OK;
}

/* The answer that has come since, if one has; to be finished. */
static bool poll_end(struct poll_call *poll, struct rpc_reply *out)
{
    bool done = false;

    if (!poll->under_way) {
        return false;
    }
    FLY_CHECK(pthread_mutex_lock(&poll->lock) == 0);
    done = poll->done;
    if (done) {
        rpc_reply_move(out, &poll->reply);
        poll->done = false;
        poll->under_way = false;
    }
    FLY_CHECK(pthread_mutex_unlock(&poll->lock) == 0);
    return done;
}

static void take_members(struct top_feed *feed, struct rpc_reply *reply, int64_t now)
{
    bool refused = reply->status == FLY_PERMISSION_DENIED || reply->status == FLY_UNIMPLEMENTED;

    lock(feed);
    if (reply->status == FLY_OK) {
        top_model_put_members(feed->model, (const Fly__V1__MembersReply *)reply->message);
        rpc_reply_fini(&feed->last_members);
        rpc_reply_move(&feed->last_members, reply);
        feed->status.note[0] = '\0';
    } else if (refused) {
        (void)fly_copy_string(feed->status.note, sizeof feed->status.note,
                              "no members: they need scope read");
        feed->members.next_ms = now + REFUSED_MS;
    }
    unlock(feed);
}

static void poll_all(struct top_feed *feed)
{
    struct rpc_reply reply = {0};
    int64_t now = fly_clock_boot_ms();

    if (poll_end(&feed->regions, &reply)) {
        if (reply.status == FLY_OK) {
            say_heard(feed);
            lock(feed);
            top_model_put_regions(feed->model, (const Fly__V1__RegionsReply *)reply.message, now);
            unlock(feed);
        }
        rpc_reply_fini(&reply);
    }
    if (poll_end(&feed->members, &reply)) {
        take_members(feed, &reply, now);
        rpc_reply_fini(&reply);
    }
    poll_begin(feed, &feed->regions, now);
    poll_begin(feed, &feed->members, now);
}

static void poll_init(struct poll_call *poll, const struct rpc_method *method,
                      const ProtobufCMessage *request, int64_t every_ms)
{
    *poll = (struct poll_call){.method = method, .request = request, .every_ms = every_ms};
    FLY_CHECK(pthread_mutex_init(&poll->lock, NULL) == 0);
}

static void poll_fini(struct poll_call *poll)
{
    rpc_reply_fini(&poll->reply);
    (void)pthread_mutex_destroy(&poll->lock);
}

/* ---- the stream ---- */

/* True: what lay between is gone, and the machines are to be fetched again. */
static bool take_message(struct top_feed *feed)
{
    const Fly__V1__WatchReply *message = feed->watching.message;
    bool gone = message->reset || message->n_vms > 0;

    say_heard(feed);
    lock(feed);
    for (size_t i = 0; i < message->n_events; i++) {
        if (watching_take(&feed->watching, message->events[i])) {
            top_model_apply(feed->model, message->events[i]);
        }
    }
    unlock(feed);
    watching_taken(&feed->watching);
    return gone;
}

/* Follows it until all is to be fetched again (true), or for good (false). */
static bool follow(struct top_feed *feed)
{
    struct watching *watching = &feed->watching;

    while (!session_interrupted()) {
        if (atomic_load(&feed->paused)) {
            (void)session_pause(PAUSED_MS);
            continue;
        }
        switch (watching_next(watching)) {
        case WATCHING_MESSAGE:
            if (take_message(feed)) {
                return true;
            }
            break;
        case WATCHING_NOTHING:
            break;
        case WATCHING_LOST:
            say_link(feed, TOP_LOST, words_of(&watching->failure));
            break;
        case WATCHING_BACK:
            say_link(feed, TOP_LIVE, "");
            feed->regions.next_ms = 0;
            feed->members.next_ms = 0;
            break;
        case WATCHING_END:
            if (session_interrupted()) {
                return false;
            }
            if (for_good(&watching->failure) && watching->failure.status != FLY_INVALID_ARGUMENT) {
                end(feed, &watching->failure);
                return false;
            }
            say_link(feed, TOP_LOST, words_of(&watching->failure));
            (void)session_pause(AGAIN_MS); /* a place that the edge does not know */
            return true;
        }
        poll_all(feed);
    }
    return false;
}

static void *run(void *user)
{
    struct top_feed *feed = user;
    struct fly_error error = {0};
    bool going = true;

    while (going && load_again(feed)) {
        enum fly_status status = watching_init(&feed->watching, feed->session, feed->since, "",
                                               feed->timeout_ms, &error);
        if (status != FLY_OK) {
            struct failure failure = {.status = FLY_INTERNAL, .connected = true};
            (void)fly_copy_string(failure.message, sizeof failure.message, error.text);
            end(feed, &failure);
            break;
        }
        feed->watching.policy = FLY__V1__WATCH_POLICY__WATCH_LATEST_PER_OBJECT;
        feed->watching.pace_ms = TOP_FEED_PACE_MS;
        feed->watching.patience_ms = TOP_FEED_PACE_MS;
        going = follow(feed);
        watching_fini(&feed->watching);
    }
    return NULL;
}

struct top_feed *top_feed_start(struct session *session, int64_t timeout_ms)
{
    static const Fly__V1__RegionsRequest regions = FLY__V1__REGIONS_REQUEST__INIT;
    static const Fly__V1__MembersRequest members = FLY__V1__MEMBERS_REQUEST__INIT;
    struct top_feed *feed = calloc(1, sizeof *feed);

    if (feed == NULL) {
        return NULL;
    }
    feed->session = session;
    feed->timeout_ms = timeout_ms;
    feed->status.link = TOP_CONNECTING;
    feed->model = top_model_create();
    poll_init(&feed->regions, &rpc_edge_regions, &regions.base, TOP_FEED_REGIONS_MS);
    poll_init(&feed->members, &rpc_admin_members, &members.base, TOP_FEED_MEMBERS_MS);
    FLY_CHECK(pthread_mutex_init(&feed->lock, NULL) == 0);
    if (feed->model == NULL || pthread_create(&feed->thread, NULL, run, feed) != 0) {
        top_model_destroy(feed->model);
        poll_fini(&feed->regions);
        poll_fini(&feed->members);
        (void)pthread_mutex_destroy(&feed->lock);
        free(feed);
        return NULL;
    }
    return feed;
}

void top_feed_stop(struct top_feed *feed)
{
    if (feed == NULL) {
        return;
    }
    session_interrupt();
    (void)pthread_join(feed->thread, NULL);
    session_fini(feed->session); /* calls under way have ended when this returns */
    poll_fini(&feed->regions);
    poll_fini(&feed->members);
    rpc_reply_fini(&feed->last_members);
    top_model_destroy(feed->model);
    (void)pthread_mutex_destroy(&feed->lock);
    free(feed);
}

const struct top_model *top_feed_lock(struct top_feed *feed, struct top_status *status)
{
    double changes_per_s = status->changes_per_s;

    lock(feed);
    *status = feed->status;
    status->changes_per_s = changes_per_s;
    status->now_ms = fly_clock_boot_ms();
    status->wall_ms = fly_clock_wall_ms();
    top_model_settle(feed->model);
    return feed->model;
}

void top_feed_unlock(struct top_feed *feed)
{
    unlock(feed);
}

const Fly__V1__MembersReply *top_feed_members(const struct top_feed *feed)
{
    return (const Fly__V1__MembersReply *)feed->last_members.message;
}

void top_feed_pause(struct top_feed *feed, bool paused)
{
    if (atomic_exchange(&feed->paused, paused) && !paused) {
        lock(feed); /* nothing was listened to: that is no silence of the edge's */
        feed->status.heard_ms = fly_clock_boot_ms();
        unlock(feed);
    }
}

bool top_feed_ended(struct top_feed *feed, struct failure *out)
{
    lock(feed);
    bool ended = feed->ended;
    if (ended) {
        *out = feed->failure;
    }
    unlock(feed);
    return ended;
}
