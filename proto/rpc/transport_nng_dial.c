/*
 * transport_nng_dial - TLS settings, and how TLS connections come about.
 */
#include "proto/rpc/transport_nng.h"

#include <nng/supplemental/tls/tls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { ACCEPT_RETRY_MS = 100 };

struct nng_dial {
    struct transport_dial base;
    nng_stream_dialer *dialer;
    nng_aio *aio;
};

struct nng_house {
    struct transport_listener base;
    nng_stream_listener *listener;
    nng_aio *aio;
    struct rpc_timer retry;
};

/* ---- settings ---- */

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

static enum fly_status tls_make(nng_tls_config **out, const char *url, const struct rpc_tls *tls,
                                bool server, struct fly_error *error)
{
    enum fly_status status = tls_check(url, tls, server, error);

    *out = NULL;
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

static struct nng_dial *dial_of(struct transport_dial *dial)
{
    return FLY_CONTAINER(dial, struct nng_dial, base);
}

static void dial_free(struct nng_dial *d)
{
    if (d->dialer != NULL) {
        nng_stream_dialer_close(d->dialer);
    }
    nng_aio_free(d->aio); /* waits for its callback to return */
    nng_stream_dialer_free(d->dialer);
    free(d);
}

static struct transport *dial_finish(struct transport_dial *dial, struct fly_error *why)
{
    struct nng_dial *d = dial_of(dial);
    struct transport *transport = NULL;
    int failure = nng_aio_result(d->aio);

    if (failure != 0) {
        (void)fly_error_set(why, FLY_UNAVAILABLE, "%s", nng_strerror(failure));
    } else {
        transport = transport_nng_make(nng_aio_get_output(d->aio, 0), &dial->config);
        if (transport == NULL) {
            (void)fly_error_set(why, FLY_RESOURCE_EXHAUSTED, "out of memory");
        }
    }
    dial_free(d);
    return transport;
}

static void dial_stop(struct transport_dial *dial)
{
    /* ends the aio, and that is all: it is never cancelled itself */
    nng_stream_dialer_close(dial_of(dial)->dialer);
}

static void on_dialled(void *arg)
{
    struct nng_dial *d = arg;

    rpc_job_post(&d->base.job);
}

static int dial_make(struct nng_dial *d, const char *url, nng_tls_config *tls)
{
    int failure = nng_stream_dialer_alloc(&d->dialer, url);

    failure = failure != 0 ? failure : nng_aio_alloc(&d->aio, on_dialled, d);
    if (failure == 0) {
        failure = nng_stream_dialer_set_ptr(d->dialer, NNG_OPT_TLS_CONFIG, tls);
    }
    if (failure == 0) {
        /* nng clears it on streams unless told */
        (void)nng_stream_dialer_set_bool(d->dialer, NNG_OPT_TCP_NODELAY, true);
    }
    return failure;
}

enum fly_status transport_nng_dial(struct transport_dial **out, const char *url,
                                   const struct rpc_tls *tls, const struct transport_dial *common,
                                   struct fly_error *error)
{
    nng_tls_config *config = NULL;
    enum fly_status status = tls_make(&config, url, tls, false, error);

    if (status != FLY_OK) {
        return status;
    }
    struct nng_dial *d = calloc(1, sizeof *d);
    int failure = d == NULL ? NNG_ENOMEM : dial_make(d, url, config);
    nng_tls_config_free(config); /* the dialer has its own reference */
    if (failure != 0) {
        if (d != NULL) {
            dial_free(d);
        }
        return fly_error_set(error, FLY_UNAVAILABLE, "%s: %s", url, nng_strerror(failure));
    }
    d->base = *common;
    d->base.stop = dial_stop;
    d->base.finish = dial_finish;
    *out = &d->base;
    nng_stream_dialer_dial(d->dialer, d->aio);
    return FLY_OK;
}

/* ---- listening ---- */

static struct nng_house *house_of(struct transport_listener *listener)
{
    return FLY_CONTAINER(listener, struct nng_house, base);
}

static void accept_next(void *user)
{
    struct nng_house *h = user;

    nng_stream_listener_accept(h->listener, h->aio);
}

static void on_accepted(void *arg)
{
    struct nng_house *h = arg;
    int failure = nng_aio_result(h->aio);

    if (failure == NNG_ECLOSED || failure == NNG_ECANCELED) {
        return;
    }
    if (failure != 0) {
        /* out of descriptors, or a peer that left again: not at once, it would spin */
        (void)rpc_timer_arm(&h->retry, fly_clock_boot_ms() + ACCEPT_RETRY_MS);
        return;
    }
    struct transport *t = transport_nng_make(nng_aio_get_output(h->aio, 0), &h->base.config);
    if (t != NULL) {
        h->base.accepted(h->base.user, t);
    }
    accept_next(h);
}

static void house_close(struct transport_listener *listener)
{
    nng_stream_listener_close(house_of(listener)->listener);
}

static void house_destroy(struct transport_listener *listener)
{
    struct nng_house *h = house_of(listener);

    if (h->listener != NULL) {
        nng_stream_listener_close(h->listener);
    }
    if (h->aio != NULL) {
        nng_aio_stop(h->aio); /* its callback may still arm the timer: first this, then that */
    }
    rpc_timer_stop(&h->retry);
    nng_aio_free(h->aio);
    nng_stream_listener_free(h->listener);
    free(h);
}

static int listen_start(struct nng_house *h, nng_tls_config *tls)
{
    int port = 0;
    char *url = h->base.url;
    int failure = nng_stream_listener_alloc(&h->listener, url);

    failure = failure != 0 ? failure : nng_aio_alloc(&h->aio, on_accepted, h);
    if (failure != 0) {
        return failure;
    }
    failure = nng_stream_listener_set_ptr(h->listener, NNG_OPT_TLS_CONFIG, tls);
    (void)nng_stream_listener_set_bool(h->listener, NNG_OPT_TCP_NODELAY, true);
    failure = failure != 0 ? failure : nng_stream_listener_listen(h->listener);
    if (failure == 0 &&
        nng_stream_listener_get_int(h->listener, NNG_OPT_TCP_BOUND_PORT, &port) == 0) {
        size_t before = (size_t)(strrchr(url, ':') + 1 - url);
        (void)snprintf(url + before, sizeof h->base.url - before, "%d", port);
    }
    return failure;
}

enum fly_status transport_nng_listen(struct transport_listener **out, const struct rpc_tls *tls,
                                     const struct transport_listener *common,
                                     struct fly_error *error)
{
    nng_tls_config *config = NULL;
    enum fly_status status = tls_make(&config, common->url, tls, true, error);

    if (status != FLY_OK) {
        return status;
    }
    struct nng_house *h = calloc(1, sizeof *h);
    int failure = NNG_ENOMEM;
    if (h != NULL) {
        h->base = *common;
        h->base.close = house_close;
        h->base.destroy = house_destroy;
        rpc_timer_init(&h->retry, accept_next, h);
        failure = listen_start(h, config);
    }
    nng_tls_config_free(config); /* the listener has its own reference */
    if (failure != 0) {
        if (h != NULL) {
            house_destroy(&h->base);
        }
        return fly_error_set(error, FLY_UNAVAILABLE, "%s: %s", common->url, nng_strerror(failure));
    }
    *out = &h->base;
    accept_next(h);
    return FLY_OK;
}
