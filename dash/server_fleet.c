/*
 * server_fleet - GET /v1/fleet: the whole picture in columns, made at most once a frame and shared.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "dash/core/frame.h"
#include "dash/core/tail.h"
#include "dash/server_internal.h"
#include "proto/base/check.h"

static struct server_bytes *fleet_make(struct server *server, uint32_t seq)
{
    struct dash_state *state = server->state;
    uint8_t *room = malloc(DASH_TAIL_BYTES_MAX);
    FLY_CHECK(room != NULL);
    pthread_mutex_lock(&state->lock);
    struct dash_tail tail;
    dash_tail_begin(&tail, room, DASH_TAIL_BYTES_MAX);
    dash_tail_put_regions(&tail, state->picture);
    dash_tail_put_members(&tail, state->members, state->member_count);
    uint64_t latest =
        state->event_count < DASH_TAIL_EVENTS_MAX ? state->event_count : DASH_TAIL_EVENTS_MAX;
    dash_tail_put_events(&tail, state->events, DASH_EVENTS_MAX, state->event_count - latest,
                         state->event_count);
    struct fly_bytes bytes = dash_tail_end(&tail);
    struct server_bytes *fleet = server_bytes_new(dash_fleet_size(state->picture, bytes));
    dash_fleet_make(state->picture, server->boot, seq, bytes, fleet->data);
    pthread_mutex_unlock(&state->lock);
    free(room);
    return fleet;
}

static struct server_bytes *gzip_make(const struct server_bytes *plain)
{
    z_stream z;
    memset(&z, 0, sizeof z);
    /* 16: a gzip head; level 1: columns of bytes shrink tenfold at once. */
    FLY_CHECK(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    struct server_bytes *out = server_bytes_new(deflateBound(&z, plain->size));
    z.next_in = plain->data;
    z.avail_in = (unsigned)plain->size;
    z.next_out = out->data;
    z.avail_out = (unsigned)out->size;
    FLY_CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    out->size = z.total_out;
    deflateEnd(&z);
    return out;
}

void server_fleet(struct http_call *call)
{
    struct server *server = call->server;
    uint32_t seq = live_seq(server->live);
    if (server->fleet == NULL || server->fleet_seq != seq) {
        server_bytes_drop(server->fleet);
        server_bytes_drop(server->fleet_gzip);
        server->fleet = fleet_make(server, seq);
        server->fleet_gzip = NULL;
        server->fleet_seq = seq;
    }
    if (!http_call_takes_gzip(call)) {
        server_reply_shared(call, 200, "application/octet-stream", "Vary: Accept-Encoding\r\n",
                            server_bytes_keep(server->fleet));
        return;
    }
    if (server->fleet_gzip == NULL) {
        server->fleet_gzip = gzip_make(server->fleet);
    }
    server_reply_shared(call, 200, "application/octet-stream",
                        "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n",
                        server_bytes_keep(server->fleet_gzip));
}
