/*
 * transport_nng - one TLS connection, over an nng stream: reading, and sending in its two ways.
 *
 * What it does with nng 1.5.2, and why, is in reference/rpc.md:
 * - One receive is always under way (unless reading is held back); its callback hands over what
 *   came, arms the next, and flushes.
 * - A send through an aio without a callback completes in place and saves two thread switches. It
 *   cannot be taken back (nng would end the connection) and must not wait on one of nng's few
 *   threads, so it is used only for what nng surely takes: after the handshake, and while all that
 *   the peer has not yet read fits the 16 KiB of ciphertext that nng keeps by itself. The peer's
 *   answers to marks tell how far it has read; they carry random numbers, so it cannot answer what
 *   it has not read. Past that, an aio with a callback.
 * - No aio is ever cancelled, timed out, stopped or freed on an nng thread: disposal runs on the
 *   timer thread.
 */
#include "proto/rpc/transport_nng.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/rpc/batch.h"

enum {
    IN_SMALL = 1024,
    IN_MIDDLE = 4 * 1024,
    IN_SIZE = 64 * 1024,
    /* a read that fills its buffer heats, a small one cools */
    HEAT_STEP = 8,
    HEAT_MAX = 64,
    RECORDS_MAX = 16,
    /* what nng takes without sending any of it (NNG_TLS_MAX_SEND_SIZE) is 16 KiB; a record of
     * mbedTLS is at most 16 KiB and this larger than its text */
    INLINE_MAX = 14 * 1024,
    RECORD_COST = 128,
};

struct secure {
    struct transport base;
    nng_stream *stream;
    nng_aio *recv_aio;
    nng_aio *send_aio; /* with a callback */

    /* only the receiving callback touches these */
    struct transport_buffer in; /* in_small while that does */
    size_t in_room;             /* of the receive under way */
    size_t in_count;            /* that the last one brought */
    unsigned records;
    unsigned heat; /* so many small reads and a large `in` is given back */
    uint8_t in_small[IN_SMALL];

    bool shaken; /* its handshake is over; under base.lock */

    /* nng 1.5.2 keeps an aio for ever that is begun on a stream after its close: beginning one with
     * a callback and closing exclude each other. */
    pthread_mutex_t beginning;
    bool shut;
};

static struct secure *secure_of(struct transport *t)
{
    return FLY_CONTAINER(t, struct secure, base);
}

/* ---- reading ---- */

/* False: the stream was shut, nothing will come of it. */
static bool receive_more(struct transport *t)
{
    struct secure *s = secure_of(t);

    s->in_room = s->in.max - s->in.size;
    nng_iov iov = {.iov_buf = s->in.data + s->in.size, .iov_len = s->in_room};

    FLY_CHECK(nng_aio_set_iov(s->recv_aio, 1, &iov) == 0);
    (void)pthread_mutex_lock(&s->beginning);
    bool open = !s->shut;
    if (open) {
        nng_stream_recv(s->stream, s->recv_aio);
    }
    (void)pthread_mutex_unlock(&s->beginning);
    return open;
}

static bool in_resize(struct secure *s, size_t max)
{
    bool was_small = s->in.data == s->in_small;
    uint8_t *data = s->in_small;

    if (max > sizeof s->in_small) {
        data = realloc(was_small ? NULL : s->in.data, max);
        if (data == NULL) {
            return false;
        }
    }
    if (was_small != (data == s->in_small)) {
        memcpy(data, s->in.data, s->in.size);
    }
    if (data == s->in_small && !was_small) {
        free(s->in.data);
    }
    s->in.data = data;
    s->in.max = max;
    return true;
}

/* The buffer of the next read: as large as is worth it now. */
static size_t in_size_next(struct secure *s, size_t wanted)
{
    size_t next = s->in.max;

    if (s->in_count == s->in_room) {
        s->heat = s->heat + HEAT_STEP < HEAT_MAX ? s->heat + HEAT_STEP : HEAT_MAX;
        next = next < IN_MIDDLE ? IN_MIDDLE : next < IN_SIZE ? IN_SIZE : next;
    } else if (s->in_count <= IN_SMALL && s->heat > 0) {
        s->heat--;
    }
    if (next > IN_SIZE && s->in.size <= IN_SIZE / 2) {
        next = IN_SIZE;
    }
    if (s->heat == 0 && s->in.size == 0) {
        next = IN_SMALL;
    }
    return wanted <= next ? next : wanted < IN_MIDDLE ? IN_MIDDLE : wanted;
}

/* Hands over what has come; false: this connection is to be cut. */
static bool hand_over(struct secure *s)
{
    struct transport *t = &s->base;
    size_t wanted = 0;
    size_t used = t->config.events->received(t->user, s->in.data, s->in.size, &wanted);

    if (used == SIZE_MAX) {
        return false;
    }
    s->in.size -= used;
    if (s->in.size > 0 && used > 0) {
        memmove(s->in.data, s->in.data + used, s->in.size);
    }
    size_t next = in_size_next(s, wanted);
    return next == s->in.max || in_resize(s, next);
}

static void shut(struct transport *t, bool idle)
{
    struct secure *s = secure_of(t);

    (void)pthread_mutex_lock(&s->beginning);
    s->shut = true;
    (void)pthread_mutex_unlock(&s->beginning);
    nng_stream_close(s->stream);
    /* nng closes a stream by itself on a reset: what began after that is ended here */
    nng_aio_abort(s->recv_aio, NNG_ECLOSED);
    nng_aio_abort(s->send_aio, NNG_ECLOSED);
    if (idle) {
        /* no receive will fail and tell; the receive's reference goes with the job */
        rpc_job_post(&t->closed_job);
    }
}

enum next { NEXT_NONE, NEXT_HELD_BACK, NEXT_ARMED };

/* After what was handed over: arms the next receive, unless it was the last. */
static enum next go_on(struct secure *s, bool alive)
{
    struct transport *t = &s->base;

    transport_lock(t);
    s->shaken = true;
    if (t->probing && !t->mark_pending) {
        t->probing = false; /* only keepalives come */
        s->heat = 1;
    }
    bool first = !alive && transport_set_closing(t);
    bool more = transport_goes_on(t);
    bool over = t->closing;
    transport_unlock(t);
    if (first) {
        shut(t, false);
        transport_budget_leave(t);
    }
    if (!over && !more) {
        return NEXT_HELD_BACK;
    }
    return !over && receive_more(t) ? NEXT_ARMED : NEXT_NONE;
}

/* A receive brings one record. When the next is there already, the answers to both shall become one
 * record again: many calls in flight would fall apart into records of one call each for ever. */
static void on_received(void *arg)
{
    struct secure *s = arg;
    struct transport *t = &s->base;
    int failure = nng_aio_result(s->recv_aio);
    size_t count = nng_aio_count(s->recv_aio);
    /* TLS may succeed with nothing: at its end, where it would go on doing so, or for empty
     * records, which nobody of ours sends */
    bool alive = failure == 0 && count > 0;
    bool may_wait = ++s->records % RECORDS_MAX != 0;

    t->failure = failure == NNG_EPEERAUTH || failure == NNG_ECRYPTO ? nng_strerror(failure) : NULL;
    transport_hold(t); /* the next receive may end it */
    rpc_batch_begin();
    transport_flush(t); /* at the end: what the one before left to this */
    if (alive) {
        s->in.size += count;
        s->in_count = count;
        (void)atomic_fetch_add_explicit(&t->bytes_in, count, memory_order_relaxed);
        alive = hand_over(s);
    }
    enum next next = go_on(s, alive);
    /* nng clears the count when a receive begins: above 0, on_received has been or is to be called
     * again since, and flushes */
    if (next == NEXT_ARMED && may_wait && nng_aio_count(s->recv_aio) > 0) {
        transport_batch_forget(t);
    }
    rpc_batch_end();
    if (next == NEXT_NONE) {
        transport_end(t);
    }
    transport_drop(t);
}

/* ---- sending ---- */

static pthread_once_t place_once = PTHREAD_ONCE_INIT;
static pthread_key_t place_key;
static bool place_kept; /* the key was made */
static _Thread_local nng_aio *place;

static void place_free(void *aio)
{
    place = NULL;
    nng_aio_free(aio);
}

static void place_prepare(void)
{
    place_kept = pthread_key_create(&place_key, place_free) == 0;
}

/* This thread's aio without a callback: what it does is done when the call returns. Or NULL. */
static nng_aio *place_aio(void)
{
    if (place != NULL) {
        return place;
    }
    (void)pthread_once(&place_once, place_prepare);
    if (!place_kept || nng_aio_alloc(&place, NULL, NULL) != 0) {
        place = NULL;
        return NULL;
    }
    if (pthread_setspecific(place_key, place) != 0) {
        place_free(place);
    }
    return place;
}

/* Whether nng surely takes what is about to be sent; asks the peer how far it has read. */
static bool fits(struct transport *t)
{
    t->spent += t->out.size + t->out.size / RECORD_COST + RECORD_COST;
    if (!t->mark_pending && t->spent - t->read_by_peer > INLINE_MAX / 2) {
        uint8_t *room = transport_buffer_extend(&t->out, TRANSPORT_MARK_SIZE);
        if (room != NULL) {
            t->reserved += TRANSPORT_MARK_SIZE;
            t->spent += TRANSPORT_MARK_SIZE;
            transport_write_mark(t, room);
        }
    }
    return !t->lies && secure_of(t)->shaken && t->spent - t->read_by_peer <= INLINE_MAX;
}

static void set_rest(struct transport *t, nng_aio *aio)
{
    nng_iov iov = {.iov_buf = t->sending.data + t->sent, .iov_len = t->sending.size - t->sent};

    FLY_CHECK(nng_aio_set_iov(aio, 1, &iov) == 0);
}

static bool account(struct transport *t, nng_aio *aio)
{
    if (nng_aio_result(aio) != 0) {
        return false;
    }
    transport_count_sent(t, nng_aio_count(aio));
    return true;
}

static bool send_now(struct transport *t)
{
    nng_aio *aio = place_aio();

    if (aio == NULL) {
        return true; /* then later */
    }
    set_rest(t, aio);
    nng_stream_send(secure_of(t)->stream, aio);
    nng_aio_wait(aio);
    return account(t, aio);
}

static bool send_later(struct transport *t)
{
    struct secure *s = secure_of(t);

    (void)pthread_mutex_lock(&s->beginning);
    bool begun = !s->shut;
    if (begun) {
        set_rest(t, s->send_aio);
        nng_stream_send(s->stream, s->send_aio);
    }
    (void)pthread_mutex_unlock(&s->beginning);
    return begun;
}

static void on_sent(void *arg)
{
    struct secure *s = arg;

    transport_sent(&s->base, account(&s->base, s->send_aio));
}

/* ---- life ---- */

static void free_parts(struct secure *s)
{
    nng_aio_free(s->recv_aio);
    nng_aio_free(s->send_aio);
    nng_stream_free(s->stream);
    (void)pthread_mutex_destroy(&s->beginning);
    if (s->in.data != s->in_small) {
        free(s->in.data);
    }
    transport_fini(&s->base);
    free(s);
}

static void destroy(struct transport *t)
{
    nng_stream_close(secure_of(t)->stream);
    free_parts(secure_of(t));
}

static void describe_remote(struct secure *s)
{
    nng_sockaddr from;
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    const struct sockaddr *address = (const struct sockaddr *)&in;

    if (nng_stream_get_addr(s->stream, NNG_OPT_REMADDR, &from) != 0) {
        from.s_family = NNG_AF_UNSPEC;
    }
    if (from.s_family == NNG_AF_INET) {
        in.sin_addr.s_addr = from.s_in.sa_addr;
        in.sin_port = from.s_in.sa_port;
    } else if (from.s_family == NNG_AF_INET6) {
        memcpy(&in6.sin6_addr, from.s_in6.sa_addr, sizeof in6.sin6_addr);
        in6.sin6_port = from.s_in6.sa_port;
        address = (const struct sockaddr *)&in6;
    } else {
        in.sin_family = AF_UNSPEC;
    }
    transport_name(s->base.remote, address, "tls");
}

struct transport *transport_nng_make(nng_stream *stream, const struct transport_config *config)
{
    static const struct transport_ops ops = {
        .start = receive_more,
        .resume = receive_more,
        .fits = fits,
        .send_now = send_now,
        .send_later = send_later,
        .shut = shut,
        .destroy = destroy,
    };
    struct secure *s = calloc(1, sizeof *s);

    if (s == NULL) {
        nng_stream_free(stream);
        return NULL;
    }
    transport_init(&s->base, &ops, config);
    s->stream = stream;
    s->in.data = s->in_small;
    s->in.max = sizeof s->in_small;
    (void)pthread_mutex_init(&s->beginning, NULL);
    if (nng_aio_alloc(&s->recv_aio, on_received, s) != 0 ||
        nng_aio_alloc(&s->send_aio, on_sent, s) != 0) {
        free_parts(s);
        return NULL;
    }
    describe_remote(s);
    return &s->base;
}
