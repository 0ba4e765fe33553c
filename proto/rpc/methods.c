#include "fly/v1/edge.pb-c.h"
#include "fly/v1/health.pb-c.h"
#include "proto/base/check.h"
#include "proto/rpc/method.h"

#define METHOD(variable, path, in, out, bits)                                                      \
    const struct rpc_method variable = {                                                           \
        .name = "fly.v1." path, .request = &(in), .reply = &(out), .flags = (bits)}

METHOD(rpc_edge_regions, "Edge/Regions", fly__v1__regions_request__descriptor,
       fly__v1__regions_reply__descriptor, 0);
METHOD(rpc_edge_launch, "Edge/Launch", fly__v1__launch_request__descriptor,
       fly__v1__launch_reply__descriptor, 0);
METHOD(rpc_edge_list, "Edge/List", fly__v1__list_request__descriptor,
       fly__v1__list_reply__descriptor, 0);
METHOD(rpc_edge_status, "Edge/Status", fly__v1__status_request__descriptor,
       fly__v1__status_reply__descriptor, 0);
METHOD(rpc_edge_destroy, "Edge/Destroy", fly__v1__destroy_request__descriptor,
       fly__v1__destroy_reply__descriptor, RPC_FINISH);
METHOD(rpc_edge_cancel, "Edge/Cancel", fly__v1__cancel_request__descriptor,
       fly__v1__cancel_reply__descriptor, RPC_FINISH);
METHOD(rpc_edge_watch, "Edge/Watch", fly__v1__watch_request__descriptor,
       fly__v1__watch_reply__descriptor, RPC_STREAM);
METHOD(rpc_health_check, "Health/Check", fly__v1__health_check_request__descriptor,
       fly__v1__health_check_response__descriptor, RPC_OPEN | RPC_INLINE);
METHOD(rpc_health_echo, "Health/Echo", fly__v1__echo_message__descriptor,
       fly__v1__echo_message__descriptor, RPC_OPEN | RPC_INLINE);

const struct rpc_method *const rpc_methods[] = {
    &rpc_edge_regions, &rpc_edge_launch, &rpc_edge_list,    &rpc_edge_status, &rpc_edge_destroy,
    &rpc_edge_cancel,  &rpc_edge_watch,  &rpc_health_check, &rpc_health_echo,
};
const size_t rpc_method_count = FLY_ARRAY_COUNT(rpc_methods);
