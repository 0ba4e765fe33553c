/*
 * transport_nng - TLS connections: nng's streams. Only transport_nng*.c include it, or nng.
 */
#ifndef FLY_RPC_TRANSPORT_NNG_H
#define FLY_RPC_TRANSPORT_NNG_H

#include <nng/nng.h>

#include "proto/rpc/transport_internal.h"

/* Takes the stream over, also on failure (NULL: out of memory). */
struct transport *transport_nng_make(nng_stream *stream, const struct transport_config *config);

#endif
