/*
 * journal_io - what stands between libraft and its disk: five of its raft_io functions, wrapped.
 *
 * - append: libraft 0.15 answers a failed write by cutting its log in memory while later writes are
 *   still under way, and goes on. So it never learns of one: the first failure kills the journal,
 *   and that outcome and all after it are held until raft_close, when they no longer count.
 * - set_term, set_vote: noted in the mark, synced, before libraft writes its metadata file.
 * - snapshot_put: not begun any more once the journal closes; libraft does not look.
 * - close: lets go of what was held, once libraft is no leader any more; and waits a little.
 *
 * The transport does nothing: one voter talks to nobody, and libraft's own never listens (DESIGN
 * 10). Shell.
 */
#include "node/slice/journal_state.h"
#include "proto/base/check.h"

#include <stdlib.h>

/* Turns of the loop between libraft's close callback and the end of its memory. */
enum { CLOSE_TURNS_MIN = 4, CLOSE_TURNS_MAX = 100 };

static void write_finish(struct journal_write *write)
{
    /* 0 even for a failure: libraft is a leader no more and only frees its request */
    write->callback(write->origin, 0);
    free(write);
}

static void write_done(struct raft_io_append *request, int status)
{
    struct journal_write *write = request->data;
    struct journal *j = write->journal;
    j->answered_ms = uv_now(j->config.loop);
    if (j->closing && j->raft.state == RAFT_UNAVAILABLE) {
        write_finish(write);
        return;
    }
    if (status != 0) {
        journal_die(j, journal_raft_status(status), "append: %s%s%s", journal_raft_text(status),
                    j->io.errmsg[0] != 0 ? ": " : "", j->io.errmsg);
    }
    if (j->dead) {
        write->next = NULL;
        *j->held_last = write;
        j->held_last = &write->next;
        return;
    }
    write_finish(write);
}

static int wrap_append(struct raft_io *io, struct raft_io_append *request,
                       const struct raft_entry entries[], unsigned n, raft_io_append_cb callback)
{
    struct journal *j = FLY_CONTAINER(io, struct journal, io);
    struct journal_write *write = calloc(1, sizeof *write);
    if (write == NULL) {
        return RAFT_NOMEM;
    }
    write->journal = j;
    write->origin = request;
    write->callback = callback;
    write->request.data = write;
    int code = j->io_append(io, &write->request, entries, n, write_done);
    if (code == RAFT_IOERR) {
        j->stuck = true; /* the disk keeps the request, unanswered for ever: so must we */
    } else if (code != 0) {
        free(write);
    }
    return code;
}

/* After a failure nobody knows which of the two the file holds, so nothing may follow it. */
static int intend(struct journal *j, uint64_t term, uint64_t vote)
{
    struct fly_error error;
    if (j->dead) {
        return RAFT_IOERR;
    }
    segment_mark_intend(&j->mark, term, vote);
    enum fly_status status = journal_mark_write(j, true, &error);
    if (status != FLY_OK) {
        journal_die(j, status, "%s", error.text);
        return RAFT_IOERR;
    }
    return 0;
}

static int intended(struct journal *j, int code)
{
    if (code != 0) {
        journal_die(j, journal_raft_status(code), "metadata: %s: %.200s", journal_raft_text(code),
                    j->io.errmsg);
    }
    return code;
}

static int wrap_set_term(struct raft_io *io, raft_term term)
{
    struct journal *j = FLY_CONTAINER(io, struct journal, io);
    int code = intend(j, term, 0);
    return code != 0 ? code : intended(j, j->io_set_term(io, term));
}

static int wrap_set_vote(struct raft_io *io, raft_id id)
{
    struct journal *j = FLY_CONTAINER(io, struct journal, io);
    const struct segment_mark *mark = &j->mark;
    int code = intend(j, mark->next.version != 0 ? mark->next.term : mark->current.term, id);
    return code != 0 ? code : intended(j, j->io_set_vote(io, id));
}

static int wrap_snapshot_put(struct raft_io *io, unsigned trailing,
                             struct raft_io_snapshot_put *request,
                             const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb callback)
{
    struct journal *j = FLY_CONTAINER(io, struct journal, io);
    return j->closing || j->dead ? RAFT_CANCELED
                                 : j->io_snapshot_put(io, trailing, request, snapshot, callback);
}

static void closing_seen(uv_handle_t *handle, void *seen)
{
    *(bool *)seen = *(bool *)seen || uv_is_closing(handle);
}

/* A few turns later, with no handle about to close: libraft 0.15 may call its close callback again
 * from a handle's, after a write that failed (seen), so its memory must not go with the first. */
static void close_settle(uv_idle_t *handle)
{
    struct journal *j = handle->data;
    bool seen = false;
    uv_walk(handle->loop, closing_seen, &seen);
    j->close_turns++;
    if (j->close_turns >= CLOSE_TURNS_MAX || (j->close_turns >= CLOSE_TURNS_MIN && !seen)) {
        uv_idle_stop(handle);
        j->io_close_callback(&j->io);
    }
}

static void close_fired(struct raft_io *io)
{
    struct journal *j = FLY_CONTAINER(io, struct journal, io);
    if (j->close_turns == 0) {
        j->close_turns = 1;
        uv_idle_start(&j->turn, close_settle);
    }
}

static void wrap_close(struct raft_io *io, raft_io_close_cb callback)
{
    struct journal *j = FLY_CONTAINER(io, struct journal, io);
    while (j->held_first != NULL) {
        struct journal_write *write = j->held_first;
        j->held_first = write->next;
        write_finish(write);
    }
    j->held_last = &j->held_first;
    j->io_close_callback = callback;
    j->io_close(io, close_fired);
}

void journal_io_wrap(struct journal *j)
{
    j->held_last = &j->held_first;
    j->io_append = j->io.append;
    j->io_set_term = j->io.set_term;
    j->io_set_vote = j->io.set_vote;
    j->io_close = j->io.close;
    j->io_snapshot_put = j->io.snapshot_put;
    j->io.snapshot_put = wrap_snapshot_put;
    j->io.append = wrap_append;
    j->io.set_term = wrap_set_term;
    j->io.set_vote = wrap_set_vote;
    j->io.close = wrap_close;
}

static int transport_start(struct raft_uv_transport *transport, raft_id id, const char *address)
{
    (void)transport;
    (void)id;
    (void)address;
    return 0;
}

static int transport_listen(struct raft_uv_transport *transport, raft_uv_accept_cb callback)
{
    (void)transport;
    (void)callback;
    return 0;
}

static int transport_connect(struct raft_uv_transport *transport, struct raft_uv_connect *request,
                             raft_id id, const char *address, raft_uv_connect_cb callback)
{
    (void)transport;
    (void)request;
    (void)id;
    (void)address;
    (void)callback;
    return RAFT_NOCONNECTION;
}

static void transport_close(struct raft_uv_transport *transport,
                            raft_uv_transport_close_cb callback)
{
    callback(transport);
}

void journal_transport_init(struct raft_uv_transport *transport)
{
    transport->init = transport_start;
    transport->listen = transport_listen;
    transport->connect = transport_connect;
    transport->close = transport_close;
}
