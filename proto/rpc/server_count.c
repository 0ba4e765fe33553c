/*
 * server_count - what a server counts: rare things in common, calls at their connection.
 */
#include "proto/base/check.h"
#include "proto/rpc/server_internal.h"

static void add_counts(struct call_counts *to, const struct call_counts *from)
{
    to->calls += from->calls;
    to->begun += from->begun;
    to->finished += from->finished;
}

void server_count_fold(struct server_conn *conn)
{
    struct rpc_server *server = conn->server;

    add_counts(&server->counts, &conn->counts);
    conn->counts = (struct call_counts){0};
    server->bytes_in += transport_bytes_in(conn->link.transport);
    server->bytes_out += transport_bytes_out(conn->link.transport);
}

struct rpc_server_counters rpc_server_counters(struct rpc_server *server)
{
    struct server_stats *s = &server->stats;
    struct rpc_server_counters c = {
        .accepted = atomic_load(&s->accepted),
        .refused = atomic_load(&s->refused),
        .hellos_refused = atomic_load(&s->hellos_refused),
        .handshakes_late = atomic_load(&s->handshakes_late),
        .tls_failed = atomic_load(&s->tls_failed),
        .keepalives_lost = atomic_load(&s->keepalives_lost),
        .violations = atomic_load(&s->violations),
        .oversize = atomic_load(&s->oversize),
        .malformed = atomic_load(&s->malformed),
        .unknown_methods = atomic_load(&s->unknown_methods),
        .unauthenticated = atomic_load(&s->unauthenticated),
        .excess = atomic_load(&s->excess),
        .handshakes_excess = atomic_load(&s->handshakes_excess),
        .frames_late = atomic_load(&s->frames_late),
        .slow_ended = atomic_load(&s->slow_ended),
        .slow_dropped = atomic_load(&s->slow_dropped),
        .late = atomic_load(&s->late),
        .cancelled = atomic_load(&s->cancelled),
        .orphaned = atomic_load(&s->orphaned),
        .stale = atomic_load(&s->stale),
    };

    (void)pthread_mutex_lock(&server->lock);
    struct call_counts calls = server->counts;
    c.connections = server->connection_count;
    c.bytes_in = server->bytes_in;
    c.bytes_out = server->bytes_out;
    for (struct fly_list *node = server->connections.next; node != &server->connections;
         node = node->next) {
        struct server_conn *conn = FLY_CONTAINER(node, struct server_conn, node);
        rpc_link_lock(&conn->link);
        add_counts(&calls, &conn->counts);
        rpc_link_unlock(&conn->link);
        c.bytes_in += transport_bytes_in(conn->link.transport);
        c.bytes_out += transport_bytes_out(conn->link.transport);
    }
    c.calls = calls.calls;
    c.calls_finished = calls.finished + atomic_load(&s->finished_late);
    c.calls_active = calls.begun - atomic_load(&s->unbegun_late) - c.calls_finished;
    (void)pthread_mutex_unlock(&server->lock);
    return c;
}
