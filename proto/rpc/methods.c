/*
 * methods - the table of what a node answers in its own loop: every method of its services. Of
 * health two stand here; the whole of it is a service of its own (proto/rpc/builtin.h).
 */
#include "proto/rpc/methods.h"
#include "fly/v1/admin.rpc.h"
#include "fly/v1/edge.rpc.h"
#include "fly/v1/health.rpc.h"
#include "fly/v1/join.rpc.h"
#include "fly/v1/slice.rpc.h"
#include "proto/base/check.h"

/* Health/Watch is not among them: only proto/rpc/builtin.h answers it. */
const struct rpc_method *const rpc_methods[] = {
    RPC_EDGE_METHODS,  &rpc_health_check, &rpc_health_echo,
    RPC_SLICE_METHODS, RPC_ADMIN_METHODS, RPC_JOIN_METHODS,
};
const size_t rpc_method_count = FLY_ARRAY_COUNT(rpc_methods);
