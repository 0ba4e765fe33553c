/*
 * transport_socket - one connection: a socket of ours, perhaps with TLS on it, read by a poller
 * thread, or by the caller that waits for its answer.
 *
 * The socket is blocking, so that a caller can wait in recv; everything else passes MSG_DONTWAIT:
 * no send ever waits, whatever the peer does. What the kernel does not take waits for EPOLLOUT.
 *
 * Who reads: the poller, or the one caller in transport_read_here, or, between such callers,
 * nobody for a moment. Only the poller removes the entry, for only it knows that no event of the
 * socket is at hand; the reader (the poller, if nobody else) ends the connection.
 *
 * An idle connection has no buffer: the poller reads into its own, and only what is incomplete is
 * kept here.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/batch.h"
#include "proto/rpc/poller.h"
#include "proto/rpc/transport_internal.h"
#include "proto/rpc/transport_tls.h"

enum {
    CALLER_ROOM = 16 * 1024, /* of a caller's stack */
    PLAIN_ROOM_MIN = CALLER_ROOM - CALLER_ROOM / 4,
    SHY = 64, /* after two callers at a time, so many find the poller reading */
    NOBODY_MS = 20,
};

enum reader { READER_POLLER, READER_CALLER, READER_NOBODY };

struct plain {
    struct transport base;
    int fd;
    struct poller_entry entry;

    /* under base.lock: */
    uint32_t events; /* that the poller looks for */
    bool added;
    bool busy;       /* the poller is reading */
    bool out_waits;  /* the writer waits for EPOLLOUT (or the handshake), with its reference */
    bool shaken;     /* no handshake, or it is over */
    bool push_waits; /* TLS: ciphertext waits for EPOLLOUT */
    enum reader reader;
    bool crowded;  /* somebody else had something to do while a caller read */
    bool patient;  /* a recv of a caller ends after TRANSPORT_READ_HERE_SLICE_MS */
    bool watching; /* `watch` is armed, with a reference */
    unsigned shy;
    unsigned callers;      /* that have read, ever */
    unsigned callers_seen; /* the timer's own */
    struct rpc_timer watch;

    /* the reader's own: */
    struct tls_session *tls; /* or NULL; has a lock of its own */
    uint8_t *kept;           /* the start of a frame */
    size_t kept_size;
    size_t kept_max;
    size_t wanted; /* of it, to go on */
};

static struct plain *plain_of(struct transport *t)
{
    return FLY_CONTAINER(t, struct plain, base);
}

/* Under the lock. */
static void look_for(struct plain *p)
{
    uint32_t events = (p->reader == READER_POLLER && p->base.reading ? EPOLLIN : 0U) |
                      ((p->out_waits && p->shaken) || p->push_waits ? EPOLLOUT : 0U);

    if (p->added && events != p->events) {
        p->events = events;
        poller_change(&p->entry, events);
    }
}

/* ---- sending ---- */

static bool fits(struct transport *t)
{
    (void)t;
    return true;
}

/* After a push, by whomever: what did not go waits for EPOLLOUT. */
static void note_push(struct plain *p, enum tls_push pushed)
{
    transport_lock(&p->base);
    p->push_waits = pushed == TLS_PUSH_WAITS;
    look_for(p);
    transport_unlock(&p->base);
}

static bool send_sealed(struct plain *p)
{
    struct transport *t = &p->base;
    size_t taken = 0;
    enum tls_push pushed = tls_session_write(p->tls, p->fd, t->sending.data + t->sent,
                                             t->sending.size - t->sent, &taken);

    transport_count_sent(t, taken);
    return pushed != TLS_PUSH_BROKEN;
}

static bool send_now(struct transport *t)
{
    struct plain *p = plain_of(t);

    if (p->tls != NULL) {
        return send_sealed(p);
    }
    while (t->sent < t->sending.size) {
        ssize_t count = send(p->fd, t->sending.data + t->sent, t->sending.size - t->sent,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return errno == EAGAIN;
        }
        transport_count_sent(t, (size_t)count);
    }
    return true;
}

static bool send_later(struct transport *t)
{
    struct plain *p = plain_of(t);

    transport_lock(t);
    bool alive = p->added;
    p->out_waits = alive;
    look_for(p);
    transport_unlock(t);
    return alive;
}

/* ---- reading ---- */

/* Keeps what no frame was made of yet. `data` may be of `kept` itself. False: out of memory. */
static bool keep(struct plain *p, const uint8_t *data, size_t size, size_t wanted)
{
    /* more than any reader's room is read in place */
    size_t need = wanted > PLAIN_ROOM_MIN ? wanted : size;
    bool inside = p->kept != NULL && data >= p->kept && data <= p->kept + p->kept_max;

    p->wanted = wanted;
    p->kept_size = size;
    if (size == 0) {
        free(p->kept);
        p->kept = NULL;
        p->kept_max = 0;
        return true;
    }
    if (inside) {
        memmove(p->kept, data, size);
    }
    if (need > p->kept_max || p->kept_max > POLLER_BUFFER_SIZE + need) {
        uint8_t *larger = realloc(p->kept, need);
        if (larger == NULL) {
            return false;
        }
        p->kept = larger;
        p->kept_max = need;
    }
    if (!inside) {
        memcpy(p->kept, data, size);
    }
    return true;
}

/* Where the next bytes go, behind what is kept: in the room, or in place. */
static uint8_t *place_for(struct plain *p, uint8_t *room, size_t room_size, size_t *max)
{
    bool large = p->wanted > room_size;

    if (!large && p->kept_size > 0) {
        memcpy(room, p->kept, p->kept_size);
    }
    *max = (large ? p->kept_max : room_size) - p->kept_size;
    return (large ? p->kept : room) + p->kept_size;
}

/* `count` more bytes are at place_for's. */
static bool hand_over(struct plain *p, uint8_t *place, size_t count)
{
    struct transport *t = &p->base;
    uint8_t *data = place - p->kept_size;
    size_t size = p->kept_size + count;
    size_t wanted = 0;

    (void)atomic_fetch_add_explicit(&t->bytes_in, count, memory_order_relaxed);
    size_t used = t->config.events->received(t->user, data, size, &wanted);
    return used != SIZE_MAX && keep(p, data + used, size - used, wanted);
}

/* The handshake is over: what waits for that can be sent. */
static void note_shaken(struct plain *p)
{
    struct transport *t = &p->base;

    transport_lock(t);
    bool writer = p->out_waits;
    p->shaken = true;
    p->out_waits = false;
    transport_unlock(t);
    if (writer) {
        transport_sent(t, send_now(t));
    }
}

/* Ciphertext came: all that can be read of it, and what TLS has to say to that. */
static bool unseal(struct plain *p, uint8_t *room, size_t room_size, const uint8_t *data,
                   size_t size)
{
    bool alive = true;
    ssize_t count = 0;

    tls_session_feed(p->tls, data, size);
    do {
        size_t max = 0;
        uint8_t *place = place_for(p, room, room_size, &max);
        count = tls_session_read(p->tls, place, max, &p->base.failure);
        alive = count > 0 ? hand_over(p, place, (size_t)count) : count == 0;
    } while (alive && count > 0);
    tls_session_feed(p->tls, NULL, 0);
    enum tls_push pushed = tls_session_push(p->tls, p->fd);
    if (pushed == TLS_PUSH_WAITS) {
        note_push(p, pushed);
    }
    if (alive && !p->shaken && tls_session_shaken(p->tls)) {
        note_shaken(p);
    }
    return alive && pushed != TLS_PUSH_BROKEN;
}

/* One recv, and what comes of it. False: the connection is over. */
static bool read_some(struct plain *p, uint8_t *room, size_t room_size, int flags)
{
    size_t max = room_size / 4;
    uint8_t *place = room + room_size - max;

    if (p->tls == NULL) {
        place = place_for(p, room, room_size, &max);
    }
    ssize_t count = recv(p->fd, place, max, flags);
    if (count <= 0) {
        return count < 0 && (errno == EAGAIN || errno == EINTR);
    }
    rpc_batch_begin();
    bool alive = p->tls == NULL ? hand_over(p, place, (size_t)count)
                                : unseal(p, room, room_size - max, place, (size_t)count);
    rpc_batch_end();
    return alive;
}

/* The reader, after the entry was removed. */
static void end(struct plain *p)
{
    struct transport *t = &p->base;

    transport_lock(t);
    bool first = transport_set_closing(t);
    bool writer = p->out_waits;
    p->out_waits = false;
    transport_unlock(t);
    if (first) {
        (void)shutdown(p->fd, SHUT_RDWR);
        transport_budget_leave(t);
    }
    if (writer) {
        transport_sent(t, false);
    }
    transport_end(t);
}

/* On the poller thread. With the lock, which it gives back. */
static void remove_and_end(struct plain *p)
{
    p->added = false;
    poller_remove(&p->entry);
    transport_unlock(&p->base);
    end(p);
}

/* The part of on_ready that may write on. */
static void write_on(struct plain *p)
{
    struct transport *t = &p->base;

    transport_lock(t);
    bool push = p->push_waits;
    transport_unlock(t);
    if (push) {
        note_push(p, tls_session_push(p->tls, p->fd)); /* broken: the reader finds out */
    }
    transport_lock(t);
    bool mine = p->out_waits && p->shaken;
    p->out_waits = p->out_waits && !mine;
    transport_unlock(t);
    if (mine) {
        transport_sent(t, send_now(t));
    }
}

/* ---- read by callers ---- */

static _Thread_local struct transport *here; /* that this thread reads */

/* Under the lock. */
static void give_back(struct plain *p)
{
    p->reader = READER_POLLER;
    p->base.by_callers = false;
    look_for(p);
}

static void stir(struct transport *t)
{
    struct plain *p = plain_of(t);

    if (here == t) {
        return;
    }
    if (p->reader == READER_NOBODY) {
        give_back(p);
    } else {
        p->crowded = true;
    }
}

/* On the timer thread: for a while no caller came, so the poller has to listen. */
static void on_watch(void *user)
{
    struct plain *p = user;

    transport_lock(&p->base);
    if (p->reader == READER_NOBODY && p->callers == p->callers_seen) {
        give_back(p);
    }
    p->callers_seen = p->callers;
    p->watching = p->reader != READER_POLLER && p->added;
    bool again = p->watching;
    transport_unlock(&p->base);
    if (again) {
        (void)rpc_timer_arm(&p->watch, fly_clock_boot_ms() + NOBODY_MS);
    } else {
        transport_drop(&p->base);
    }
}

/* False: somebody else reads, or is better left to. */
static bool caller_enter(struct plain *p)
{
    const struct timeval slice = {.tv_usec = TRANSPORT_READ_HERE_SLICE_MS * 1000};
    struct transport *t = &p->base;

    transport_lock(t);
    bool free = p->added && !t->closing && t->reading && !t->config.hold_back && !p->busy &&
                p->reader != READER_CALLER && p->shy == 0;
    if (free && !p->patient) {
        p->patient = setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof slice) == 0;
        free = p->patient;
    }
    if (free) {
        p->reader = READER_CALLER;
        t->by_callers = true;
        look_for(p);
    } else if (p->reader == READER_CALLER) {
        p->crowded = true;
    } else if (p->shy > 0) {
        p->shy--;
    }
    transport_unlock(t);
    return free;
}

/* True: the poller has seen it hang up and left the end to this. */
static bool caller_leave(struct plain *p, bool alive)
{
    struct transport *t = &p->base;
    bool first = false;
    bool watch = false;

    transport_lock(t);
    bool over = !p->added;
    if (!alive || p->crowded || t->closing) {
        first = !alive && transport_set_closing(t);
        p->shy = p->crowded ? SHY : 0;
        p->crowded = false;
        give_back(p);
    } else {
        p->reader = READER_NOBODY;
        p->callers++;
        watch = !p->watching;
        p->watching = true;
    }
    transport_unlock(t);
    if (first) {
        (void)shutdown(p->fd, SHUT_RDWR); /* now the poller hears of it */
        transport_budget_leave(t);
    }
    if (watch) {
        transport_hold(t);
        (void)rpc_timer_arm(&p->watch, fly_clock_boot_ms() + NOBODY_MS);
    }
    return over;
}

/* Waits for bytes, but not past the deadline: recv's own patience is a whole slice. False: past. */
static bool caller_wait(struct plain *p, int64_t deadline_ms, int *flags)
{
    int64_t left_ms = deadline_ms == 0 ? INT64_MAX : deadline_ms - fly_clock_boot_ms();

    *flags = 0;
    if (left_ms < TRANSPORT_READ_HERE_SLICE_MS) {
        struct pollfd poller = {.fd = p->fd, .events = POLLIN};
        *flags = MSG_DONTWAIT;
        return left_ms > 0 &&
               (poll(&poller, 1, (int)left_ms) != 0 || fly_clock_boot_ms() < deadline_ms);
    }
    return true;
}

static bool read_here(struct transport *t, int64_t deadline_ms, bool (*done)(void *user),
                      void *user)
{
    struct plain *p = plain_of(t);
    uint8_t room[CALLER_ROOM];
    bool alive = true;
    int flags = 0;

    if (!caller_enter(p)) {
        transport_flush(t);
        return done(user);
    }
    here = t;
    transport_flush(t);
    while (alive && !done(user) && caller_wait(p, deadline_ms, &flags)) {
        alive = read_some(p, room, sizeof room, flags);
    }
    here = NULL;
    if (caller_leave(p, alive)) {
        while (alive && read_some(p, room, sizeof room, MSG_DONTWAIT)) {
            /* its last words; a socket that has hung up never says: not now */
        }
        end(p);
    }
    return done(user);
}

/* ---- read by the poller ---- */

static void on_ready(struct poller_entry *entry, uint32_t events)
{
    struct plain *p = FLY_CONTAINER(entry, struct plain, entry);
    struct transport *t = &p->base;
    bool hung_up = (events & (EPOLLHUP | EPOLLERR)) != 0;

    if (hung_up || (events & EPOLLOUT) != 0) {
        write_on(p);
    }
    transport_lock(t);
    if (hung_up && p->reader == READER_NOBODY) {
        give_back(p);
    }
    bool mine = p->reader == READER_POLLER && t->reading;
    bool read = mine && (hung_up || (events & EPOLLIN) != 0);
    p->busy = read;
    transport_unlock(t);
    bool alive = !read || read_some(p, poller_buffer(), POLLER_BUFFER_SIZE, MSG_DONTWAIT);
    transport_lock(t);
    p->busy = false;
    if (hung_up && p->reader == READER_CALLER) {
        p->added = false; /* the caller ends it when it comes back */
        poller_remove(&p->entry);
        transport_unlock(t);
        return;
    }
    if (!alive || (hung_up && (!read || t->closing))) {
        remove_and_end(p);
        return;
    }
    if (p->reader == READER_POLLER && read) {
        (void)transport_goes_on(t);
    }
    look_for(p);
    transport_unlock(t);
}

static bool start(struct transport *t)
{
    struct plain *p = plain_of(t);

    p->entry.ready = on_ready;
    p->events = EPOLLIN;
    transport_lock(t); /* an event at once waits for this */
    bool added = poller_add(&p->entry, p->fd, p->events);
    p->added = added;
    t->closing = t->closing || !added;
    transport_unlock(t);
    return added;
}

static bool resume(struct transport *t)
{
    transport_lock(t);
    look_for(plain_of(t));
    transport_unlock(t);
    return true; /* gone, it was told already */
}

/* ---- life ---- */

/* The peer hung up, most likely: its last words are still here, and SHUT_RDWR would not lose them
 * but make others believe that it is over. */
static void hush(struct transport *t)
{
    (void)shutdown(plain_of(t)->fd, SHUT_WR);
}

static void shut(struct transport *t, bool idle)
{
    (void)idle; /* a hang-up is noticed by whoever looks for nothing else */
    (void)shutdown(plain_of(t)->fd, SHUT_RDWR);
}

static void destroy(struct transport *t)
{
    struct plain *p = plain_of(t);

    (void)close(p->fd);
    tls_session_free(p->tls);
    free(p->kept);
    transport_fini(t);
    free(p);
}

struct transport *transport_socket_make(int fd, const struct transport_config *config,
                                        const struct transport_address *peer,
                                        const struct tls_context *tls)
{
    static const struct transport_ops ops = {
        .start = start,
        .resume = resume,
        .fits = fits,
        .send_now = send_now,
        .send_later = send_later,
        .read_here = read_here,
        .stir = stir,
        .hush = hush,
        .shut = shut,
        .destroy = destroy,
    };
    struct plain *p = calloc(1, sizeof *p);
    struct tls_session *session = tls != NULL ? tls_session_make(tls) : NULL;

    if (p == NULL || (tls != NULL && session == NULL)) {
        tls_session_free(session);
        free(p);
        (void)close(fd);
        return NULL;
    }
    p->tls = session;
    p->shaken = session == NULL;
    transport_init(&p->base, &ops, config);
    p->fd = fd;
    rpc_timer_init(&p->watch, on_watch, p);
    transport_name(p->base.remote, &peer->socket.any,
                   peer->kind == TRANSPORT_INPROC ? "inproc" : "ipc");
    return &p->base;
}
