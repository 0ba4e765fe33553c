/*
 * methods - what a node answers in its own loop: all of it in one table.
 */
#ifndef FLY_RPC_METHODS_H
#define FLY_RPC_METHODS_H

#include <stddef.h>

#include "proto/rpc/method.h"

extern const struct rpc_method *const rpc_methods[];
extern const size_t rpc_method_count;

#endif
