/*
 * transport_internal - what transport.c (a connection) and transport_dial.c (how it comes about)
 * share. Nobody else includes it, or nng.
 */
#ifndef FLY_RPC_TRANSPORT_INTERNAL_H
#define FLY_RPC_TRANSPORT_INTERNAL_H

#include <nng/nng.h>

#include "proto/rpc/transport.h"

enum transport_kind { TRANSPORT_ACCEPTED = 0, TRANSPORT_DIALLED = 1, TRANSPORT_SECURE = 2 };

/* Takes the stream over, also on failure (NULL). `kind` is of the bits above. */
struct transport *transport_make(nng_stream *stream, const struct transport_config *config,
                                 unsigned kind);

#endif
