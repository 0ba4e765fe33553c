/*
 * node_builtin - the services that the RPC layer answers for a node: health, reflection, metrics.
 */
#include <string.h>

#include "fly/v1/admin.rpc.h"
#include "fly/v1/edge.rpc.h"
#include "fly/v1/join.rpc.h"
#include "fly/v1/slice.rpc.h"
#include "node/node_parts.h"
#include "proto/base/check.h"

/* Of a service only its name and its description count here: the loop answers its calls. */
static void describe(struct node_builtin *b, struct rpc_service service)
{
    FLY_CHECK(b->described_count < NODE_DESCRIBED_MAX);
    b->described[b->described_count++] = service;
}

static void set_all(struct node_builtin *b, bool serving)
{
    enum rpc_serving status = serving ? RPC_SERVING : RPC_NOT_SERVING;

    FLY_CHECK(rpc_health_board_set(b->board, "", status) == FLY_OK);
    /* the last two are health and metrics: they answer whatever else does */
    for (size_t i = 0; i + 2 < b->described_count; i++) {
        FLY_CHECK(rpc_health_board_set(b->board, b->described[i].name, status) == FLY_OK);
    }
    b->serving = serving;
}

enum fly_status node_builtin_make(struct node *n, struct fly_error *error)
{
    struct node_builtin *b = &n->builtin;
    enum fly_status status = rpc_health_board_create(&b->board, error);

    if (status != FLY_OK) {
        return status;
    }
    if ((n->roles & NODE_ROLE_EDGE) != 0) {
        describe(b, rpc_edge_serve(NULL, NULL));
    }
    describe(b, rpc_slice_serve(NULL, NULL));
    describe(b, rpc_admin_serve(NULL, NULL));
    describe(b, rpc_join_serve(NULL, NULL));
    describe(b, rpc_builtin_health(b->board));
    describe(b, rpc_builtin_metrics());
    set_all(b, false);
    status = rpc_reflection_create(&b->reflection, b->described, b->described_count, error);
    if (status != FLY_OK) {
        return status;
    }
    b->services[0] = rpc_builtin_health(b->board);
    b->services[1] = rpc_builtin_metrics();
    b->services[2] = rpc_builtin_reflection(b->reflection);
    return FLY_OK;
}

void node_builtin_fini(struct node *n)
{
    rpc_reflection_destroy(n->builtin.reflection);
    rpc_health_board_destroy(n->builtin.board);
    n->builtin = (struct node_builtin){.board = NULL};
}

bool node_builtin_answers(const struct node *n, const struct rpc_method *method)
{
    for (size_t i = 0; i < NODE_SERVICES; i++) {
        const struct rpc_service *s = &n->builtin.services[i];
        for (size_t k = 0; k < s->method_count; k++) {
            if (s->methods[k] == method) {
                return true;
            }
        }
    }
    return false;
}

void node_builtin_health(struct node *n, bool serving)
{
    if (n->builtin.board != NULL && serving != n->builtin.serving) {
        set_all(&n->builtin, serving);
    }
}

void node_builtin_shutdown(struct node *n)
{
    if (n->builtin.board != NULL) {
        rpc_health_board_shutdown(n->builtin.board);
    }
}
