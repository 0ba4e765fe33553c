#include "fly/v1/admin.pb-c.h"
#include "fly/v1/edge.pb-c.h"
#include "fly/v1/health.pb-c.h"
#include "fly/v1/join.pb-c.h"
#include "fly/v1/slice.pb-c.h"
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

METHOD(rpc_slice_present, "Slice/Present", fly__v1__present_request__descriptor,
       fly__v1__present_reply__descriptor, 0);
METHOD(rpc_slice_call, "Slice/Call", fly__v1__slice_call_request__descriptor,
       fly__v1__slice_call_reply__descriptor, 0);
METHOD(rpc_slice_replay, "Slice/Replay", fly__v1__replay_request__descriptor,
       fly__v1__replay_reply__descriptor, 0);
METHOD(rpc_slice_machines, "Slice/Machines", fly__v1__machines_request__descriptor,
       fly__v1__machines_reply__descriptor, 0);
METHOD(rpc_slice_list, "Slice/List", fly__v1__slice_list_request__descriptor,
       fly__v1__slice_list_reply__descriptor, 0);
METHOD(rpc_slice_seen, "Slice/Seen", fly__v1__seen_request__descriptor,
       fly__v1__seen_reply__descriptor, 0);
METHOD(rpc_slice_forget, "Slice/Forget", fly__v1__forget_request__descriptor,
       fly__v1__forget_reply__descriptor, 0);
METHOD(rpc_admin_members, "Admin/Members", fly__v1__members_request__descriptor,
       fly__v1__members_reply__descriptor, 0);
METHOD(rpc_admin_slices, "Admin/Slices", fly__v1__slices_request__descriptor,
       fly__v1__slices_reply__descriptor, 0);
METHOD(rpc_admin_forget_slice, "Admin/ForgetSlice", fly__v1__forget_slice_request__descriptor,
       fly__v1__forget_slice_reply__descriptor, 0);
METHOD(rpc_admin_create_join_token, "Admin/CreateJoinToken",
       fly__v1__create_join_token_request__descriptor, fly__v1__create_join_token_reply__descriptor,
       0);
METHOD(rpc_admin_list_join_tokens, "Admin/ListJoinTokens",
       fly__v1__list_join_tokens_request__descriptor, fly__v1__list_join_tokens_reply__descriptor,
       0);
METHOD(rpc_admin_revoke_join_token, "Admin/RevokeJoinToken",
       fly__v1__revoke_join_token_request__descriptor, fly__v1__revoke_join_token_reply__descriptor,
       0);
METHOD(rpc_join_begin, "Join/Begin", fly__v1__join_begin_request__descriptor,
       fly__v1__join_begin_reply__descriptor, RPC_OPEN);
METHOD(rpc_join_admit, "Join/Admit", fly__v1__join_admit_request__descriptor,
       fly__v1__join_admit_reply__descriptor, RPC_OPEN);

const struct rpc_method *const rpc_methods[] = {
    &rpc_edge_regions,
    &rpc_edge_launch,
    &rpc_edge_list,
    &rpc_edge_status,
    &rpc_edge_destroy,
    &rpc_edge_cancel,
    &rpc_edge_watch,
    &rpc_health_check,
    &rpc_health_echo,
    &rpc_slice_present,
    &rpc_slice_call,
    &rpc_slice_replay,
    &rpc_slice_machines,
    &rpc_slice_list,
    &rpc_slice_seen,
    &rpc_slice_forget,
    &rpc_admin_members,
    &rpc_admin_slices,
    &rpc_admin_forget_slice,
    &rpc_admin_create_join_token,
    &rpc_admin_list_join_tokens,
    &rpc_admin_revoke_join_token,
    &rpc_join_begin,
    &rpc_join_admit,
};
const size_t rpc_method_count = FLY_ARRAY_COUNT(rpc_methods);
