/*
 * transport_dial - dialling and listening: addresses and settings.
 */
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/rpc/transport_internal.h"
#include "proto/rpc/transport_tls.h"

/* On the timer thread: nobody else touches the dial any more. */
static void dial_end(struct rpc_job *job)
{
    struct transport_dial *dial = FLY_CONTAINER(job, struct transport_dial, job);
    transport_dialled *dialled = dial->dialled;
    void *user = dial->user;
    struct fly_error why = {.status = FLY_OK};
    struct transport *transport = dial->finish(dial, &why);

    dialled(user, transport, &why);
}

enum fly_status transport_dial(struct transport_dial **out, const char *url,
                               const struct rpc_tls *tls, const struct transport_config *config,
                               transport_dialled *dialled, void *user, struct fly_error *error)
{
    struct transport_address address;
    struct transport_dial common = {
        .config = *config, .dialled = dialled, .user = user, .job = {.run = dial_end}};
    struct tls_context *context = NULL;
    enum fly_status status = transport_address_parse(&address, url, error);

    if (status == FLY_OK && address.secure) {
        status = tls_context_make(&context, url, tls, false, error);
    }
    return status == FLY_OK ? transport_socket_dial(out, &address, context, &common, error)
                            : status;
}

void transport_dial_stop(struct transport_dial *dial)
{
    dial->stop(dial);
}

enum fly_status transport_listen(struct transport_listener **out, const char *url,
                                 const struct rpc_tls *tls, const struct transport_config *config,
                                 void (*accepted)(void *user, struct transport *transport),
                                 void *user, struct fly_error *error)
{
    struct transport_address address;
    struct transport_listener common = {.config = *config, .accepted = accepted, .user = user};
    struct tls_context *context = NULL;
    enum fly_status status = transport_address_parse(&address, url, error);

    if (status == FLY_OK && address.secure) {
        status = tls_context_make(&context, url, tls, true, error);
    }
    if (status != FLY_OK) {
        return status;
    }
    FLY_CHECK(fly_copy_string(common.url, sizeof common.url, url));
    return transport_socket_listen(out, &address, context, &common, error);
}

const char *transport_listener_url(const struct transport_listener *listener)
{
    return listener->url;
}

void transport_listener_close(struct transport_listener *listener)
{
    listener->close(listener);
}

void transport_listener_destroy(struct transport_listener *listener)
{
    if (listener != NULL) {
        listener->destroy(listener);
    }
}
