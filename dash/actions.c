#include "dash/actions.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"

struct slot {
    struct actions_session kept;
    uint64_t generation; /* of the edges that it was made with */
    int64_t used_ms;
    uint64_t used; /* by a count: milliseconds are too coarse for an order */
    bool made;
    bool busy; /* somebody's: only that one touches it */
};

/* The server's while it is posted, so it may outlive the rest. */
struct wake {
    struct server_job job;
    struct actions *actions; /* NULL: gone */
};

struct actions {
    struct server *server;
    void (*tick)(void *user);
    void *user;
    char *ca_pem;
    int stop_fd;
    pthread_t threads[ACTIONS_THREADS];
    pthread_t ticker;

    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t more;  /* an action, or the end */
    pthread_cond_t over;  /* the end, for the ticker */
    char *edges;
    uint64_t generation;
    struct fly_list queue;
    uint32_t queued;
    struct fly_list done;
    struct fly_list notes;
    struct slot slots[ACTIONS_SESSIONS_MAX];
    uint64_t uses;
    bool ticked;
    bool stopping;
    bool posted;
    struct wake *wake;
};

static char *copy_of(const char *text)
{
    char *copy = strdup(text != NULL ? text : "");

    FLY_CHECK(copy != NULL);
    return copy;
}

/* Tokens do not stay in memory that was given back. */
static void forget(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
    }
    free(text);
}

static void run_wake(struct server_job *job);

/* With the lock. True: call post_wake when it has been given back. */
static bool must_wake(struct actions *a)
{
    bool must = !a->posted && !a->stopping;

    a->posted = a->posted || must;
    return must;
}

static void post_wake(struct actions *a, bool must)
{
    if (must) {
        server_post(a->server, &a->wake->job);
    }
}

/* --- the dash's thread --- */

static struct fly_list *pop(struct fly_list *head)
{
    struct fly_list *first = head->next;

    fly_list_drop(first);
    return first;
}

static void drain(struct actions *a)
{
    struct fly_list last; /* notes posted from here on wait for the next turn */

    (void)pthread_mutex_lock(&a->lock);
    a->posted = false;
    bool ticked = a->ticked;
    a->ticked = false;
    fly_list_append(&a->notes, &last);
    while (a->notes.next != &last) {
        struct actions_note *note = FLY_CONTAINER(pop(&a->notes), struct actions_note, link);
        (void)pthread_mutex_unlock(&a->lock);
        note->run(note);
        (void)pthread_mutex_lock(&a->lock);
    }
    fly_list_drop(&last);
    while (!fly_list_empty(&a->done)) {
        struct action *action = FLY_CONTAINER(pop(&a->done), struct action, link);
        (void)pthread_mutex_unlock(&a->lock);
        action->done(action, false);
        (void)pthread_mutex_lock(&a->lock);
    }
    (void)pthread_mutex_unlock(&a->lock);
    if (ticked && a->tick != NULL) {
        a->tick(a->user);
    }
}

static void run_wake(struct server_job *job)
{
    struct wake *wake = FLY_CONTAINER(job, struct wake, job);

    if (wake->actions == NULL) {
        free(wake);
    } else {
        drain(wake->actions);
    }
}

bool actions_submit(struct actions *a, struct action *action)
{
    (void)pthread_mutex_lock(&a->lock);
    bool taken = a->queued < ACTIONS_QUEUE_MAX && !a->stopping;
    if (taken) {
        fly_list_append(&a->queue, &action->link);
        a->queued++;
        (void)pthread_cond_signal(&a->more);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return taken;
}

void actions_note_post(struct actions *a, struct actions_note *note)
{
    bool must = false;

    (void)pthread_mutex_lock(&a->lock);
    if (fly_list_empty(&note->link)) {
        fly_list_append(&a->notes, &note->link);
        must = must_wake(a);
    }
    (void)pthread_mutex_unlock(&a->lock);
    post_wake(a, must);
}

void actions_note_drop(struct actions *a, struct actions_note *note)
{
    (void)pthread_mutex_lock(&a->lock);
    fly_list_drop(&note->link);
    (void)pthread_mutex_unlock(&a->lock);
}

/* --- sessions --- */

static void session_make(struct actions *a, struct actions_session *s, const char *edges,
                         const char *token)
{
    s->edges = copy_of(edges);
    s->token = copy_of(token);
    session_init(&s->session, s->edges, s->token);
    s->session.ca_pem = a->ca_pem;
    s->session.stop_fd = a->stop_fd;
}

void actions_session_init(struct actions *a, struct actions_session *s, const char *token)
{
    (void)pthread_mutex_lock(&a->lock);
    char *edges = copy_of(a->edges);
    (void)pthread_mutex_unlock(&a->lock);
    session_make(a, s, edges, token);
    free(edges);
}

void actions_session_fini(struct actions_session *s)
{
    session_fini(&s->session);
    free(s->edges);
    forget(s->token);
    s->edges = NULL;
    s->token = NULL;
}

static void slot_close(struct slot *slot)
{
    if (slot->made) {
        actions_session_fini(&slot->kept);
        slot->made = false;
    }
}

/* A slot nobody has: of this token, else an empty one, else the one unused longest. With the lock;
 * there are more slots than threads, so there is one. */
static struct slot *slot_pick(struct actions *a, const char *token)
{
    struct slot *best = NULL;

    for (size_t i = 0; i < ACTIONS_SESSIONS_MAX; i++) {
        struct slot *slot = &a->slots[i];
        if (slot->busy) {
            continue;
        }
        if (slot->made && strcmp(slot->kept.token, token) == 0) {
            return slot;
        }
        if (best == NULL || (best->made && (!slot->made || slot->used < best->used))) {
            best = slot;
        }
    }
    FLY_CHECK(best != NULL);
    return best;
}

static bool slot_alive(const struct slot *slot)
{
    return slot->kept.session.channel != NULL && rpc_channel_alive(slot->kept.session.channel);
}

static struct slot *slot_take(struct actions *a, const char *token)
{
    (void)pthread_mutex_lock(&a->lock);
    struct slot *slot = slot_pick(a, token);
    char *edges = copy_of(a->edges);
    uint64_t generation = a->generation;
    slot->busy = true;
    (void)pthread_mutex_unlock(&a->lock);
    /* other edges are known by now: a connection that works is kept all the same */
    if (slot->made && (strcmp(slot->kept.token, token) != 0 ||
                       (slot->generation != generation && !slot_alive(slot)))) {
        slot_close(slot);
    }
    if (!slot->made) {
        session_make(a, &slot->kept, edges, token);
        slot->generation = generation;
        slot->made = true;
    }
    free(edges);
    return slot;
}

static void slot_give(struct actions *a, struct slot *slot)
{
    (void)pthread_mutex_lock(&a->lock);
    slot->used_ms = fly_clock_boot_ms();
    slot->used = ++a->uses;
    slot->busy = false;
    (void)pthread_mutex_unlock(&a->lock);
}

/* --- threads --- */

static void run_action(struct actions *a, struct action *action)
{
    struct failure failure = {0};
    struct slot *slot = NULL;
    struct session *session = NULL;

    if (action->until_ms != 0 && fly_clock_boot_ms() >= action->until_ms) {
        /* not one more connection that nobody waits for */
        failure = (struct failure){.status = FLY_DEADLINE_EXCEEDED, .retryable = true};
        (void)fly_copy_string(failure.message, sizeof failure.message,
                              "this dash has too much to do: the time was over before it began");
    } else if (action->token != NULL) {
        slot = slot_take(a, action->token);
        session = &slot->kept.session;
        if (session->addr[0] == '\0') {
            failure = (struct failure){.status = FLY_UNAVAILABLE, .retryable = true};
            (void)fly_copy_string(failure.message, sizeof failure.message,
                                  "no edge of the cluster is known here yet");
            slot_close(slot);
            session = NULL;
        } else if (session_connect(session, ACTIONS_CONNECT_MS, &failure) != FLY_OK) {
            session = NULL;
        }
    }
    action->run(action, session, &failure);
    failure_fini(&failure);
    if (slot != NULL) {
        slot_give(a, slot);
    }
}

static void *work(void *user)
{
    struct actions *a = user;

    (void)pthread_mutex_lock(&a->lock);
    for (;;) {
        while (fly_list_empty(&a->queue) && !a->stopping) {
            (void)pthread_cond_wait(&a->more, &a->lock);
        }
        if (a->stopping) {
            break;
        }
        struct action *action = FLY_CONTAINER(pop(&a->queue), struct action, link);
        a->queued--;
        (void)pthread_mutex_unlock(&a->lock);
        run_action(a, action);
        (void)pthread_mutex_lock(&a->lock);
        fly_list_append(&a->done, &action->link);
        bool must = must_wake(a);
        (void)pthread_mutex_unlock(&a->lock);
        post_wake(a, must);
        (void)pthread_mutex_lock(&a->lock);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* With the lock, which it lets go of while it closes. */
static void close_idle(struct actions *a, int64_t now_ms)
{
    for (size_t i = 0; i < ACTIONS_SESSIONS_MAX; i++) {
        struct slot *slot = &a->slots[i];
        if (slot->made && !slot->busy && now_ms - slot->used_ms >= ACTIONS_IDLE_MS) {
            slot->busy = true;
            (void)pthread_mutex_unlock(&a->lock);
            slot_close(slot);
            (void)pthread_mutex_lock(&a->lock);
            slot->busy = false;
        }
    }
}

static void *tick(void *user)
{
    struct actions *a = user;
    struct timespec at;

    FLY_CHECK(clock_gettime(CLOCK_MONOTONIC, &at) == 0);
    (void)pthread_mutex_lock(&a->lock);
    while (!a->stopping) {
        at.tv_nsec += ACTIONS_TICK_MS * INT64_C(1000000);
        if (at.tv_nsec >= 1000000000) {
            at.tv_nsec -= 1000000000;
            at.tv_sec++;
        }
        while (!a->stopping && pthread_cond_timedwait(&a->over, &a->lock, &at) == 0) {
        }
        if (!a->stopping) {
            close_idle(a, fly_clock_boot_ms());
            a->ticked = true;
            bool must = must_wake(a);
            (void)pthread_mutex_unlock(&a->lock);
            post_wake(a, must);
            (void)pthread_mutex_lock(&a->lock);
        }
    }
    (void)pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* --- life --- */

struct actions *actions_create(const struct actions_config *config)
{
    struct actions *a = calloc(1, sizeof *a);
    pthread_condattr_t monotonic;
    struct session first;

    FLY_CHECK(a != NULL);
    a->server = config->server;
    a->tick = config->tick;
    a->user = config->user;
    a->ca_pem = config->ca_pem != NULL ? copy_of(config->ca_pem) : NULL;
    a->edges = copy_of(config->edges);
    a->wake = calloc(1, sizeof *a->wake);
    FLY_CHECK(a->wake != NULL);
    *a->wake = (struct wake){.job = {.run = run_wake}, .actions = a};
    a->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    FLY_CHECK(a->stop_fd >= 0);
    fly_list_init(&a->queue);
    fly_list_init(&a->done);
    fly_list_init(&a->notes);
    FLY_CHECK(pthread_mutex_init(&a->lock, NULL) == 0);
    FLY_CHECK(pthread_cond_init(&a->more, NULL) == 0);
    FLY_CHECK(pthread_condattr_init(&monotonic) == 0);
    FLY_CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    FLY_CHECK(pthread_cond_init(&a->over, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    /* what sessions of one process share is made by the first: before there are threads */
    session_init(&first, "", "");
    session_fini(&first);
    return a;
}

void actions_start(struct actions *a)
{
    for (size_t i = 0; i < ACTIONS_THREADS; i++) {
        FLY_CHECK(pthread_create(&a->threads[i], NULL, work, a) == 0);
    }
    FLY_CHECK(pthread_create(&a->ticker, NULL, tick, a) == 0);
}

void actions_set_edges(struct actions *a, const char *edges)
{
    (void)pthread_mutex_lock(&a->lock);
    if (strcmp(a->edges, edges != NULL ? edges : "") != 0) {
        free(a->edges);
        a->edges = copy_of(edges);
        a->generation++;
    }
    (void)pthread_mutex_unlock(&a->lock);
}

static void hand_back(struct fly_list *list)
{
    while (!fly_list_empty(list)) {
        struct action *action = FLY_CONTAINER(pop(list), struct action, link);
        action->done(action, true);
    }
}

void actions_destroy(struct actions *a)
{
    const uint64_t one = 1;

    if (a == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&a->lock);
    a->stopping = true;
    FLY_CHECK(write(a->stop_fd, &one, sizeof one) == (ssize_t)sizeof one);
    (void)pthread_cond_broadcast(&a->more);
    (void)pthread_cond_broadcast(&a->over);
    (void)pthread_mutex_unlock(&a->lock);
    for (size_t i = 0; i < ACTIONS_THREADS; i++) {
        (void)pthread_join(a->threads[i], NULL);
    }
    (void)pthread_join(a->ticker, NULL);
    hand_back(&a->done);
    hand_back(&a->queue);
    while (!fly_list_empty(&a->notes)) {
        (void)pop(&a->notes);
    }
    for (size_t i = 0; i < ACTIONS_SESSIONS_MAX; i++) {
        slot_close(&a->slots[i]);
    }
    a->wake->actions = NULL;
    if (!a->posted) {
        free(a->wake);
    }
    (void)close(a->stop_fd);
    (void)pthread_cond_destroy(&a->over);
    (void)pthread_cond_destroy(&a->more);
    (void)pthread_mutex_destroy(&a->lock);
    free(a->edges);
    free(a->ca_pem);
    free(a);
}
