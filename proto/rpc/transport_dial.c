/*
 * transport_dial - TLS settings, dialling and listening.
 */
/* after nng.h, which it needs and does not include */
#include <nng/nng.h>

#include <nng/supplemental/tls/tls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/rpc/timer.h"
#include "proto/rpc/transport_internal.h"

enum { ACCEPT_RETRY_MS = 100 };

struct transport_dial {
    nng_stream_dialer *dialer;
    nng_aio *aio;
    struct transport_config config;
    struct transport_address address;
    transport_dialled *dialled;
    void *user;
    struct rpc_job job;
};

struct transport_listener {
    nng_stream_listener *listener;
    nng_aio *aio;
    struct transport_config config;
    struct transport_address address;
    void (*accepted)(void *user, struct transport *transport);
    void *user;
    struct rpc_timer retry;
    char url[TRANSPORT_URL_SIZE];
};

/* ---- TLS ---- */

/* What the settings of this side must have; the rest is the PEM parser's. */
static enum fly_status tls_check(const char *url, const struct rpc_tls *tls, bool server,
                                 struct fly_error *error)
{
    const char *missing = NULL;

    if (tls == NULL) {
        missing = "TLS settings";
    } else if ((tls->cert_pem == NULL) != (tls->key_pem == NULL)) {
        missing = "both a certificate and its key";
    } else if (server && tls->cert_pem == NULL) {
        missing = "a certificate";
    } else if (tls->verify_peer && tls->ca_pem == NULL) {
        missing = "a CA to verify by";
    } else if (tls->verify_peer && !server && tls->server_name == NULL) {
        missing = "the server's name to verify"; /* nng would take the address: never right */
    }
    return missing == NULL
               ? FLY_OK
               : fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: needs %s", url, missing);
}

static int tls_fill(nng_tls_config *config, const struct rpc_tls *tls, bool server)
{
    int failure = nng_tls_config_auth_mode(config, tls->verify_peer ? NNG_TLS_AUTH_MODE_REQUIRED
                                                                    : NNG_TLS_AUTH_MODE_NONE);

    if (failure == 0 && tls->verify_peer) {
        failure = nng_tls_config_ca_chain(config, tls->ca_pem, NULL);
    }
    if (failure == 0 && tls->cert_pem != NULL) {
        failure = nng_tls_config_own_cert(config, tls->cert_pem, tls->key_pem, NULL);
    }
    if (failure == 0 && !server && tls->server_name != NULL) {
        failure = nng_tls_config_server_name(config, tls->server_name);
    }
    return failure;
}

/* *out stays NULL for urls without TLS. */
static enum fly_status tls_make(nng_tls_config **out, const char *url, bool secure,
                                const struct rpc_tls *tls, bool server, struct fly_error *error)
{
    *out = NULL;
    if (!secure) {
        return FLY_OK;
    }
    enum fly_status status = tls_check(url, tls, server, error);
    if (status != FLY_OK) {
        return status;
    }
    int failure = nng_tls_config_alloc(out, server ? NNG_TLS_MODE_SERVER : NNG_TLS_MODE_CLIENT);
    failure = failure != 0 ? failure : tls_fill(*out, tls, server);
    if (failure == 0) {
        return FLY_OK;
    }
    if (*out != NULL) {
        nng_tls_config_free(*out);
        *out = NULL;
    }
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: certificate, key or CA: %s", url,
                         nng_strerror(failure));
}

/* ---- dialling ---- */

static void dial_free(struct transport_dial *dial)
{
    if (dial->dialer != NULL) {
        nng_stream_dialer_close(dial->dialer);
    }
    nng_aio_free(dial->aio); /* waits for its callback to return */
    nng_stream_dialer_free(dial->dialer);
    free(dial);
}

/* On the timer thread: freeing waits for nng, and nobody else touches the dial meanwhile. */
static void dial_end(struct rpc_job *job)
{
    struct transport_dial *dial = FLY_CONTAINER(job, struct transport_dial, job);
    transport_dialled *dialled = dial->dialled;
    void *user = dial->user;
    struct transport *transport = NULL;
    struct fly_error why = {.status = FLY_OK};
    int failure = nng_aio_result(dial->aio);

    if (failure != 0) {
        (void)fly_error_set(&why, FLY_UNAVAILABLE, "%s", nng_strerror(failure));
    } else {
        transport = transport_make(nng_aio_get_output(dial->aio, 0), &dial->config, &dial->address);
        if (transport == NULL) {
            (void)(dial->address.inproc
                       ? fly_error_set(&why, FLY_UNAVAILABLE, "not of this process")
                       : fly_error_set(&why, FLY_RESOURCE_EXHAUSTED, "out of memory"));
        }
    }
    dial_free(dial);
    dialled(user, transport, &why);
}

static void on_dialled(void *arg)
{
    struct transport_dial *dial = arg;

    rpc_job_post(&dial->job);
}

static int dial_make(struct transport_dial *dial, nng_tls_config *tls)
{
    int failure = nng_stream_dialer_alloc(&dial->dialer, dial->address.native);

    failure = failure != 0 ? failure : nng_aio_alloc(&dial->aio, on_dialled, dial);
    if (failure == 0 && tls != NULL) {
        failure = nng_stream_dialer_set_ptr(dial->dialer, NNG_OPT_TLS_CONFIG, tls);
    }
    if (failure == 0) {
        (void)nng_stream_dialer_set_bool(dial->dialer, NNG_OPT_TCP_NODELAY, true);
    }
    return failure;
}

enum fly_status transport_dial(struct transport_dial **out, const char *url,
                               const struct rpc_tls *tls, const struct transport_config *config,
                               transport_dialled *dialled, void *user, struct fly_error *error)
{
    nng_tls_config *tls_config = NULL;
    struct transport_address address;
    enum fly_status status = transport_address_parse(&address, url, error);

    status =
        status == FLY_OK ? tls_make(&tls_config, url, address.secure, tls, false, error) : status;
    if (status != FLY_OK) {
        return status;
    }
    struct transport_dial *dial = calloc(1, sizeof *dial);
    int failure = NNG_ENOMEM;
    if (dial != NULL) {
        dial->address = address;
        failure = dial_make(dial, tls_config);
    }
    if (tls_config != NULL) {
        nng_tls_config_free(tls_config); /* the dialer has its own reference */
    }
    if (failure != 0) {
        if (dial != NULL) {
            dial_free(dial);
        }
        return fly_error_set(error, FLY_UNAVAILABLE, "%s: %s", url, nng_strerror(failure));
    }
    dial->config = *config;
    dial->dialled = dialled;
    dial->user = user;
    dial->job.run = dial_end;
    *out = dial; /* before it begins: it may end on another thread at once */
    nng_stream_dialer_dial(dial->dialer, dial->aio);
    return FLY_OK;
}

void transport_dial_stop(struct transport_dial *dial)
{
    /* ends the aio, and that is all: it is never cancelled itself */
    nng_stream_dialer_close(dial->dialer);
}

/* ---- listening ---- */

static void accept_next(void *user)
{
    struct transport_listener *l = user;

    nng_stream_listener_accept(l->listener, l->aio);
}

static void on_accepted(void *arg)
{
    struct transport_listener *l = arg;
    int failure = nng_aio_result(l->aio);

    if (failure == NNG_ECLOSED || failure == NNG_ECANCELED) {
        return;
    }
    if (failure != 0) {
        /* out of descriptors, or a peer that left again: not at once, it would spin */
        (void)rpc_timer_arm(&l->retry, fly_clock_boot_ms() + ACCEPT_RETRY_MS);
        return;
    }
    struct transport *t = transport_make(nng_aio_get_output(l->aio, 0), &l->config, &l->address);
    if (t != NULL) {
        l->accepted(l->user, t);
    }
    accept_next(l);
}

static int listen_start(struct transport_listener *l, const char *url, nng_tls_config *tls)
{
    int port = 0;
    int failure = nng_stream_listener_alloc(&l->listener, l->address.native);

    failure = failure != 0 ? failure : nng_aio_alloc(&l->aio, on_accepted, l);
    if (failure != 0) {
        return failure;
    }
    if (tls != NULL) {
        failure = nng_stream_listener_set_ptr(l->listener, NNG_OPT_TLS_CONFIG, tls);
    }
    (void)nng_stream_listener_set_bool(l->listener, NNG_OPT_TCP_NODELAY, true);
    failure = failure != 0 ? failure : nng_stream_listener_listen(l->listener);
    (void)fly_copy_string(l->url, sizeof l->url, url);
    if (failure == 0 &&
        nng_stream_listener_get_int(l->listener, NNG_OPT_TCP_BOUND_PORT, &port) == 0) {
        (void)snprintf(l->url, sizeof l->url, "%.*s:%d", (int)(strrchr(url, ':') - url), url, port);
    }
    return failure;
}

enum fly_status transport_listen(struct transport_listener **out, const char *url,
                                 const struct rpc_tls *tls, const struct transport_config *config,
                                 void (*accepted)(void *user, struct transport *transport),
                                 void *user, struct fly_error *error)
{
    nng_tls_config *tls_config = NULL;
    struct transport_address address;
    enum fly_status status = transport_address_parse(&address, url, error);

    status =
        status == FLY_OK ? tls_make(&tls_config, url, address.secure, tls, true, error) : status;
    if (status != FLY_OK) {
        return status;
    }
    struct transport_listener *l = calloc(1, sizeof *l);
    int failure = NNG_ENOMEM;
    if (l != NULL) {
        l->config = *config;
        l->address = address;
        l->accepted = accepted;
        l->user = user;
        rpc_timer_init(&l->retry, accept_next, l);
        failure = listen_start(l, url, tls_config);
    }
    if (tls_config != NULL) {
        nng_tls_config_free(tls_config); /* the listener has its own reference */
    }
    if (failure != 0) {
        transport_listener_destroy(l);
        return fly_error_set(error, FLY_UNAVAILABLE, "%s: %s", url, nng_strerror(failure));
    }
    accept_next(l);
    *out = l;
    return FLY_OK;
}

const char *transport_listener_url(const struct transport_listener *l)
{
    return l->url;
}

void transport_listener_close(struct transport_listener *l)
{
    nng_stream_listener_close(l->listener);
}

void transport_listener_destroy(struct transport_listener *l)
{
    if (l == NULL) {
        return;
    }
    if (l->listener != NULL) {
        nng_stream_listener_close(l->listener);
    }
    if (l->aio != NULL) {
        nng_aio_stop(l->aio); /* its callback may still arm the timer: first this, then that */
    }
    rpc_timer_stop(&l->retry);
    nng_aio_free(l->aio);
    nng_stream_listener_free(l->listener);
    free(l);
}
