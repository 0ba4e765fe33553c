/*
 * transport_internal - what transport.c (a connection) and transport_dial.c (how it comes about)
 * share. Nobody else includes it, or nng.
 */
#ifndef FLY_RPC_TRANSPORT_INTERNAL_H
#define FLY_RPC_TRANSPORT_INTERNAL_H

#include <nng/nng.h>

#include "proto/rpc/transport.h"

/* Takes the stream over, also on failure (NULL). */
struct transport *transport_make(nng_stream *stream, const struct transport_config *config,
                                 bool secure);

#endif
