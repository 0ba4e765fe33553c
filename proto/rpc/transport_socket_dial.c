/*
 * transport_socket_dial - how connections come about: tcp, with TLS or not, ipc, and inproc, whose
 * two ends are a socketpair, found by a name that only this process has.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/poller.h"
#include "proto/rpc/transport_internal.h"
#include "proto/rpc/transport_tls.h"

enum {
    BACKLOG = 1024, /* or net.core.somaxconn */
    ACCEPT_BATCH = 64,
    ACCEPT_RETRY_MS = 100,
    CONNECT_RETRY_MS = 10,
};

struct socket_dial {
    struct transport_dial base;
    struct transport_address address;
    struct tls_context *tls; /* or NULL */
    struct poller_entry entry;
    struct rpc_timer retry; /* ipc: its backlog is full */
    int fd;
    int failure; /* errno */
    atomic_bool stopped;
};

struct socket_house {
    struct transport_listener base;
    struct transport_address address;
    struct tls_context *tls; /* or NULL */
    int fd;                  /* not inproc */
    struct poller_entry entry;
    struct rpc_timer retry;

    struct rpc_job job;   /* inproc: there are visitors */
    struct fly_list node; /* inproc: of `names`; under its lock, as are: */
    int visitors[BACKLOG];
    size_t visitor_count;
    bool posted;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed;
    bool paused; /* out of descriptors: the timer accepts again */
    bool over;   /* the poller is done with it */
};

static int no_delay(int fd)
{
    const int on = 1;

    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* TCP itself would send again for minutes. */
static int give_up_after(int fd, int64_t timeout_ms)
{
    const unsigned ms = (unsigned)timeout_ms;

    return setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

/* ---- names inside of this process ---- */

static struct {
    pthread_mutex_t lock;
    struct fly_list houses;
} names = {.lock = PTHREAD_MUTEX_INITIALIZER, .houses = {&names.houses, &names.houses}};

/* With the lock. */
static struct socket_house *name_find(const char *name)
{
    for (struct fly_list *at = names.houses.next; at != &names.houses; at = at->next) {
        struct socket_house *h = FLY_CONTAINER(at, struct socket_house, node);
        if (strcmp(h->address.socket.un.sun_path, name) == 0) {
            return h;
        }
    }
    return NULL;
}

/* One end of a new pair, the other goes to who listens; or an errno. */
static int name_visit(const char *name, int *fd)
{
    int ends[2] = {-1, -1};
    int failure = 0;

    (void)pthread_mutex_lock(&names.lock);
    struct socket_house *h = name_find(name);
    if (h == NULL || h->visitor_count == BACKLOG) {
        failure = ECONNREFUSED;
    } else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        failure = errno;
    } else {
        h->visitors[h->visitor_count++] = ends[1];
        *fd = ends[0];
        if (!h->posted) {
            h->posted = true;
            rpc_job_post(&h->job);
        }
    }
    (void)pthread_mutex_unlock(&names.lock);
    return failure;
}

/* On the timer thread. */
static void let_visitors_in(struct rpc_job *job)
{
    struct socket_house *h = FLY_CONTAINER(job, struct socket_house, job);

    (void)pthread_mutex_lock(&names.lock);
    for (size_t i = 0; i < h->visitor_count; i++) {
        int fd = h->visitors[i];
        (void)pthread_mutex_unlock(&names.lock);
        struct transport *t = transport_socket_make(fd, &h->base.config, &h->address, NULL);
        if (t != NULL) {
            h->base.accepted(h->base.user, t);
        }
        (void)pthread_mutex_lock(&names.lock);
    }
    h->visitor_count = 0;
    h->posted = false;
    (void)pthread_cond_broadcast(&h->changed);
    (void)pthread_mutex_unlock(&names.lock);
}

static enum fly_status name_listen(struct socket_house *h, struct fly_error *error)
{
    h->fd = -1;
    h->job.run = let_visitors_in;
    (void)pthread_mutex_lock(&names.lock);
    bool taken = name_find(h->address.socket.un.sun_path) != NULL;
    if (!taken) {
        fly_list_append(&names.houses, &h->node);
    }
    (void)pthread_mutex_unlock(&names.lock);
    return taken
               ? fly_error_set(error, FLY_UNAVAILABLE, "%s: %s", h->base.url, strerror(EADDRINUSE))
               : FLY_OK;
}

static void name_close(struct socket_house *h)
{
    (void)pthread_mutex_lock(&names.lock);
    fly_list_drop(&h->node);
    (void)pthread_mutex_unlock(&names.lock);
}

static void name_settle(struct socket_house *h)
{
    (void)pthread_mutex_lock(&names.lock);
    while (h->posted) {
        (void)pthread_cond_wait(&h->changed, &names.lock);
    }
    (void)pthread_mutex_unlock(&names.lock);
}

/* ---- dialling ---- */

static struct socket_dial *dial_of(struct transport_dial *dial)
{
    return FLY_CONTAINER(dial, struct socket_dial, base);
}

static void dial_ended(struct socket_dial *d, int failure)
{
    d->failure = failure;
    rpc_job_post(&d->base.job);
}

/* On its poller thread: connected, or not. */
static void on_connected(struct poller_entry *entry, uint32_t events)
{
    struct socket_dial *d = FLY_CONTAINER(entry, struct socket_dial, entry);
    struct sockaddr_storage peer;
    socklen_t peer_size = sizeof peer;
    int failure = 0;
    socklen_t size = sizeof failure;

    (void)events;
    poller_remove(entry);
    if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0 ||
        (failure == 0 && getpeername(d->fd, (struct sockaddr *)&peer, &peer_size) != 0)) {
        failure = errno; /* or it was stopped */
    }
    dial_ended(d, failure);
}

/* Also the timer's, when there was no place in the backlog. */
static void dial_connect(void *user)
{
    struct socket_dial *d = user;
    int failure = connect(d->fd, &d->address.socket.any, d->address.size) == 0 ? 0 : errno;

    if (atomic_load(&d->stopped)) {
        dial_ended(d, ECANCELED);
    } else if (failure == EAGAIN) {
        (void)rpc_timer_arm(&d->retry, fly_clock_boot_ms() + CONNECT_RETRY_MS);
    } else if (failure != EINPROGRESS) {
        dial_ended(d, failure);
    } else if (!poller_add(&d->entry, d->fd, EPOLLOUT)) {
        dial_ended(d, ENOMEM);
    }
}

static void dial_stop(struct transport_dial *dial)
{
    struct socket_dial *d = dial_of(dial);

    atomic_store(&d->stopped, true);
    (void)shutdown(d->fd, SHUT_RDWR); /* ends a connect that is under way */
    if (rpc_timer_cancel(&d->retry)) {
        dial_ended(d, ECANCELED);
    }
}

/* From here on it is as the transport wants it: blocking. */
static struct transport *dial_take(struct socket_dial *d, struct fly_error *why)
{
    int flags = fcntl(d->fd, F_GETFL);

    if (flags < 0 || fcntl(d->fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
        (void)fly_error_set(why, FLY_UNAVAILABLE, "%s", strerror(errno));
        (void)close(d->fd);
        return NULL;
    }
    struct transport *transport =
        transport_socket_make(d->fd, &d->base.config, &d->address, d->tls);
    if (transport == NULL) {
        (void)fly_error_set(why, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    return transport;
}

static struct transport *dial_finish(struct transport_dial *dial, struct fly_error *why)
{
    struct socket_dial *d = dial_of(dial);
    struct transport *transport = NULL;

    if (d->failure == 0) {
        transport = dial_take(d, why);
    } else {
        /* as a sentence: "Connection refused" */
        (void)fly_error_set(why, FLY_UNAVAILABLE, "%s", strerror(d->failure));
        if (d->fd >= 0) {
            (void)close(d->fd);
        }
    }
    tls_context_free(d->tls);
    free(d);
    return transport;
}

enum fly_status transport_socket_dial(struct transport_dial **out,
                                      const struct transport_address *address,
                                      struct tls_context *tls, const struct transport_dial *common,
                                      struct fly_error *error)
{
    struct socket_dial *d = calloc(1, sizeof *d);

    if (d == NULL) {
        tls_context_free(tls);
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    d->base = *common;
    d->base.stop = dial_stop;
    d->base.finish = dial_finish;
    d->address = *address;
    d->tls = tls;
    d->entry.ready = on_connected;
    d->fd = -1;
    rpc_timer_init(&d->retry, dial_connect, d);
    if (address->kind == TRANSPORT_INPROC) {
        *out = &d->base;
        dial_ended(d, name_visit(address->socket.un.sun_path, &d->fd));
        return FLY_OK;
    }
    d->fd = socket(address->socket.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (d->fd < 0 ||
        (address->kind == TRANSPORT_TCP &&
         (no_delay(d->fd) != 0 || give_up_after(d->fd, common->config.unacknowledged_ms) != 0))) {
        int failure = errno;
        if (d->fd >= 0) {
            (void)close(d->fd);
        }
        tls_context_free(tls);
        free(d);
        return fly_error_set(error, FLY_UNAVAILABLE, "socket: %s", strerror(failure));
    }
    *out = &d->base;
    dial_connect(d);
    return FLY_OK;
}

/* ---- listening ---- */

static struct socket_house *house_of(struct transport_listener *listener)
{
    return FLY_CONTAINER(listener, struct socket_house, base);
}

/* False: not now, out of descriptors or memory. */
static bool accept_some(struct socket_house *h)
{
    for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
        struct transport_address peer = {.kind = h->address.kind, .size = sizeof peer.socket};
        int fd = accept4(h->fd, &peer.socket.any, &peer.size, SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            return false;
        }
        if (fd < 0 && (errno == EAGAIN || errno == EINVAL)) {
            return true; /* none is left, or it was closed */
        }
        if (fd < 0) {
            continue; /* that one had left again */
        }
        if (peer.kind == TRANSPORT_TCP) {
            (void)no_delay(fd);
        } else {
            peer.socket.any.sa_family = AF_UNIX; /* unnamed: not even the family came */
        }
        struct transport *t = transport_socket_make(fd, &h->base.config, &peer, h->tls);
        if (t != NULL) {
            h->base.accepted(h->base.user, t);
        }
    }
    return true;
}

static void on_visitors(struct poller_entry *entry, uint32_t events)
{
    struct socket_house *h = FLY_CONTAINER(entry, struct socket_house, entry);

    (void)events;
    bool fine = accept_some(h);
    (void)pthread_mutex_lock(&h->lock);
    if (h->closed) {
        poller_remove(entry);
        h->over = true;
        (void)pthread_cond_broadcast(&h->changed);
    } else if (!fine) {
        h->paused = true;
        poller_change(entry, 0);
        (void)rpc_timer_arm(&h->retry, fly_clock_boot_ms() + ACCEPT_RETRY_MS);
    }
    (void)pthread_mutex_unlock(&h->lock);
}

static void on_retry(void *user)
{
    struct socket_house *h = user;

    (void)pthread_mutex_lock(&h->lock);
    if (h->paused && !h->over) {
        h->paused = false;
        poller_change(&h->entry, EPOLLIN);
    }
    (void)pthread_mutex_unlock(&h->lock);
}

/* A path that nobody listens at any more is in the way. */
static void remove_stale(const struct transport_address *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 && connect(fd, &address->socket.any, address->size) != 0 && errno == ECONNREFUSED) {
        (void)unlink(address->socket.un.sun_path);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

static bool bind_to(int fd, const struct transport_address *address)
{
    const int on = 1;

    if (address->kind == TRANSPORT_TCP &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
        return false;
    }
    if (bind(fd, &address->socket.any, address->size) == 0) {
        return true;
    }
    if (address->kind != TRANSPORT_IPC || errno != EADDRINUSE) {
        return false;
    }
    remove_stale(address);
    return bind(fd, &address->socket.any, address->size) == 0;
}

/* The port that was bound, in the url. */
static void name_port(struct socket_house *h)
{
    struct transport_address bound = {.size = sizeof bound.socket};
    size_t before = (size_t)(strrchr(h->base.url, ':') + 1 - h->base.url);

    if (getsockname(h->fd, &bound.socket.any, &bound.size) == 0) {
        (void)snprintf(h->base.url + before, sizeof h->base.url - before, "%u",
                       (unsigned)ntohs(bound.socket.any.sa_family == AF_INET6
                                           ? bound.socket.in6.sin6_port
                                           : bound.socket.in.sin_port));
    }
}

static enum fly_status socket_listen(struct socket_house *h, struct fly_error *error)
{
    int family = h->address.socket.any.sa_family;

    h->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool bound = h->fd >= 0 && bind_to(h->fd, &h->address);
    if (bound && listen(h->fd, BACKLOG) == 0 && poller_add(&h->entry, h->fd, EPOLLIN)) {
        if (h->address.kind == TRANSPORT_TCP) {
            name_port(h);
        }
        return FLY_OK;
    }
    enum fly_status status =
        fly_error_set(error, FLY_UNAVAILABLE, "%s: %s", h->base.url, strerror(errno));
    if (bound && h->address.kind == TRANSPORT_IPC) {
        (void)unlink(h->address.socket.un.sun_path);
    }
    if (h->fd >= 0) {
        (void)close(h->fd);
    }
    return status;
}

static void house_close(struct transport_listener *listener)
{
    struct socket_house *h = house_of(listener);

    if (h->address.kind == TRANSPORT_INPROC) {
        name_close(h);
        return;
    }
    (void)pthread_mutex_lock(&h->lock);
    bool first = !h->closed;
    h->closed = true;
    (void)pthread_mutex_unlock(&h->lock);
    if (first && h->address.kind == TRANSPORT_IPC) {
        (void)unlink(h->address.socket.un.sun_path);
    }
    if (first) {
        (void)shutdown(h->fd, SHUT_RDWR); /* the poller hears of it, paused or not */
    }
}

static void house_free(struct socket_house *h)
{
    (void)pthread_mutex_destroy(&h->lock);
    (void)pthread_cond_destroy(&h->changed);
    tls_context_free(h->tls);
    free(h);
}

static void house_destroy(struct transport_listener *listener)
{
    struct socket_house *h = house_of(listener);

    house_close(listener);
    if (h->address.kind == TRANSPORT_INPROC) {
        name_settle(h);
    } else {
        (void)pthread_mutex_lock(&h->lock);
        while (!h->over) {
            (void)pthread_cond_wait(&h->changed, &h->lock);
        }
        (void)pthread_mutex_unlock(&h->lock);
        rpc_timer_stop(&h->retry);
        (void)close(h->fd);
    }
    house_free(h);
}

enum fly_status transport_socket_listen(struct transport_listener **out,
                                        const struct transport_address *address,
                                        struct tls_context *tls,
                                        const struct transport_listener *common,
                                        struct fly_error *error)
{
    struct socket_house *h = calloc(1, sizeof *h);

    if (h == NULL) {
        tls_context_free(tls);
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    h->base = *common;
    h->base.close = house_close;
    h->base.destroy = house_destroy;
    h->address = *address;
    h->tls = tls;
    h->entry.ready = on_visitors;
    rpc_timer_init(&h->retry, on_retry, h);
    (void)pthread_mutex_init(&h->lock, NULL);
    (void)pthread_cond_init(&h->changed, NULL);
    fly_list_init(&h->node);
    *out = &h->base;
    enum fly_status status =
        address->kind == TRANSPORT_INPROC ? name_listen(h, error) : socket_listen(h, error);
    if (status != FLY_OK) {
        *out = NULL;
        house_free(h);
    }
    return status;
}
