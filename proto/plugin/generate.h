/*
 * generate - from what protoc says to what it wants to hear: for each file that was asked for, one
 * .rpc.h and one .rpc.c (of a file without services: only the includes).
 */
#ifndef FLY_PLUGIN_GENERATE_H
#define FLY_PLUGIN_GENERATE_H

#include "proto/base/bytes.h"
#include "proto/base/status.h"

/* Gives *response (malloc'ed, the caller's; a mistake in a .proto is told in it). INTERNAL: the
 * request is not protoc's. */
enum fly_status plug_generate(struct fly_bytes request, uint8_t **response, size_t *size,
                              struct fly_error *error);

#endif
