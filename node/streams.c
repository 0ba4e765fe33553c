#include "node/streams.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fly/v1/slice.rpc.h"
#include "node/answer.h"
#include "proto/base/check.h"
#include "proto/base/log.h"

enum {
    REPLAY_LIMIT = 1024,
    REPAIR_MS = 1500,
    BACK_STALE_MS = 1200, /* a heartbeat was missed */
};

struct streams {
    struct streams_config config;
    struct stream *slots[STREAMS_MAX];
    uint32_t count;
    uint64_t refused;
    int64_t now_ms; /* of the call under way: for the callbacks of follow */
};

uint64_t streams_source(const struct node_id *id)
{
    uint64_t source = 0;

    memcpy(&source, id->bytes, sizeof source);
    return source;
}

struct streams *streams_create(const struct streams_config *config)
{
    struct streams *s = calloc(1, sizeof *s);

    FLY_CHECK(s != NULL);
    s->config = *config;
    return s;
}

static void stream_free(struct stream *st)
{
    (void)munmap(st->retain.entries, retain_size(STREAM_EVENTS_MAX, STREAM_BYTES_MAX));
    free(st);
}

void streams_destroy(struct streams *s)
{
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < s->count; i++) {
        stream_free(s->slots[i]);
    }
    free(s);
}

uint32_t streams_count(const struct streams *s)
{
    return s->count;
}

struct stream *streams_at(struct streams *s, uint32_t i)
{
    return s->slots[i];
}

struct stream *streams_find(struct streams *s, uint32_t tag)
{
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->slots[i]->tag == tag) {
            return s->slots[i];
        }
    }
    return NULL;
}

uint64_t streams_refused(const struct streams *s)
{
    return s->refused;
}

static struct stream *stream_make(struct streams *s, uint32_t tag)
{
    struct stream *st = streams_find(s, tag);

    if (st != NULL || s->count == STREAMS_MAX) {
        return st;
    }
    st = calloc(1, sizeof *st);
    FLY_CHECK(st != NULL);
    st->tag = tag;
    follow_init(&st->follow, tag, s->config.seed ^ tag);
    void *memory = mmap(NULL, retain_size(STREAM_EVENTS_MAX, STREAM_BYTES_MAX),
                        PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    FLY_CHECK(memory != MAP_FAILED);
    retain_init(&st->retain, memory, STREAM_EVENTS_MAX, STREAM_BYTES_MAX);
    s->slots[s->count++] = st;
    return st;
}

/* --- what is new --- */

static void begin_anew(struct stream *st, uint64_t incarnation, uint64_t last)
{
    st->incarnation = incarnation;
    st->resets++;
    retain_start(&st->retain, last);
}

static void take_event(struct streams *s, struct stream *st, const struct event *event)
{
    if (event->seq != st->retain.last + 1 || event->incarnation != st->incarnation) {
        begin_anew(st, event->incarnation, event->seq - 1);
    }
    retain_add(&st->retain, event);
    if (catalog_apply(s->config.catalog, event) != FLY_OK) {
        fly_log_warn("catalog.full", F_STR("machine", event->machine));
    }
    if (s->config.observer.event != NULL) {
        s->config.observer.event(s->config.observer.user, event);
    }
    s->config.seen(s->config.user, st->tag, event->incarnation, event->seq);
}

struct applying {
    struct streams *s;
    struct stream *st;
};

static void apply(void *user, const struct event *event)
{
    const struct applying *a = user;

    take_event(a->s, a->st, event);
}

/* Watchers need every event: a STATE message only tells this reader that there are some. */
static struct follow_sink sink_of(struct applying *a)
{
    return (struct follow_sink){.event = apply, .user = a};
}

void streams_host(struct streams *s, uint32_t tag, uint64_t incarnation, uint64_t last,
                  int64_t founded_ms)
{
    struct stream *st = stream_make(s, tag);

    FLY_CHECK(st != NULL);
    st->local = true;
    st->founded_ms = founded_ms;
    if (st->incarnation != incarnation || st->retain.last != last) {
        begin_anew(st, incarnation, last);
    }
    s->config.seen(s->config.user, tag, incarnation, last);
}

void streams_host_event(struct streams *s, const struct event *event)
{
    struct stream *st = stream_make(s, event->slice);

    FLY_CHECK(st != NULL);
    st->local = true;
    if (event->incarnation != st->incarnation || event->seq > st->retain.last) {
        take_event(s, st, event); /* a log that is read again tells what was told */
    }
}

void stream_range(const struct stream *st, uint64_t *first, uint64_t *last)
{
    *first = retain_first(&st->retain);
    *last = st->retain.last;
}

bool stream_event(const struct stream *st, uint64_t seq, struct event *out)
{
    struct fly_bytes body = retain_at(&st->retain, seq);
    struct fly_error error;

    return body.size > 0 &&
           event_decode(body.data, body.size, st->tag, st->incarnation, out, &error) == FLY_OK;
}

bool stream_live(const struct stream *st, int64_t now_ms)
{
    return st->local || follow_live(&st->follow, now_ms);
}

/* --- who publishes what --- */

static void follow_owner(struct streams *s, struct stream *st, const struct gossip_member *owner)
{
    char url[DIRECTORY_URL_SIZE];
    struct fly_error error;

    if (s->config.feed == NULL || owner->self || st->forgotten) {
        return;
    }
    directory_pub_url(owner, url);
    if (url[0] != '\0' &&
        feed_subscriber_follow(s->config.feed, url, streams_source(&owner->credential.id),
                               &error) != FLY_OK) {
        fly_log_warn("feed.refused", F_STR("url", url), F_STR("error", error.text));
    }
}

/* Somebody leads a slice and is heard again: the wire may be whole again, to others too. */
static bool anybody_back(struct streams *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct stream *st = s->slots[i];
        const struct gossip_member *owner = directory_owner(s->config.directory, st->tag);
        if (owner != NULL && owner->state == GOSSIP_ALIVE && !st->owner_alive) {
            return true;
        }
    }
    return false;
}

void streams_update(struct streams *s, int64_t now_ms)
{
    bool back = anybody_back(s);
    const struct directory *d = s->config.directory;

    for (uint32_t i = 0; i < d->slice_count; i++) {
        const struct directory_slice *claimed = &d->slices[i];
        const struct gossip_member *owner = directory_member(d, &claimed->owner);
        struct stream *st = stream_make(s, claimed->tag);
        if (st == NULL || owner == NULL) {
            continue;
        }
        bool changed = !st->owner_known || !node_id_equal(&st->owner, &claimed->owner);
        if (changed && st->owner_known) {
            follow_moved(&st->follow, now_ms);
        }
        if (back && !owner->self && follow_stale_ms(&st->follow, now_ms) > BACK_STALE_MS) {
            follow_moved(&st->follow, now_ms); /* what was missed is asked for now */
        }
        st->owner_alive = owner->state == GOSSIP_ALIVE;
        st->owner_known = true;
        st->owner = claimed->owner;
        follow_owner(s, st, owner);
        if (changed && !owner->self) {
            char slice[SLICE_TEXT_SIZE];
            slice_format(st->tag, slice);
            fly_log_info("slice.owner", F_STR("slice", slice),
                         F_STR("node", owner->credential.name));
        }
        if (!owner->self && owner->state == GOSSIP_ALIVE) {
            links_want(s->config.links, &owner->credential.id, now_ms);
        }
    }
}

void streams_receive(struct streams *s, uint64_t source, struct fly_bytes data, int64_t now_ms)
{
    struct event_message message;
    struct fly_error error;

    if (event_message_decode(data.data, data.size, &message, &error) != FLY_OK) {
        s->refused++;
        return;
    }
    struct stream *st = streams_find(s, message.slice);
    if (st == NULL || st->local || st->forgotten || !st->owner_known ||
        streams_source(&st->owner) != source) {
        s->refused++; /* only who leads a slice is believed about it */
        return;
    }
    struct applying a = {.s = s, .st = st};
    const struct follow_sink sink = sink_of(&a);
    follow_receive(&st->follow, &message, now_ms, &sink);
}

/* --- pictures --- */

void streams_snapshot_begin(struct streams *s, uint32_t tag)
{
    catalog_snapshot_begin(s->config.catalog, tag);
    if (s->config.observer.snapshot_begin != NULL) {
        s->config.observer.snapshot_begin(s->config.observer.user, tag);
    }
}

enum fly_status streams_snapshot_put(struct streams *s, uint32_t tag,
                                     const struct catalog_machine *m)
{
    if (s->config.observer.snapshot_put != NULL) {
        s->config.observer.snapshot_put(s->config.observer.user, tag, m);
    }
    return catalog_snapshot_put(s->config.catalog, tag, m);
}

void streams_snapshot_end(struct streams *s, uint32_t tag, uint64_t incarnation, uint64_t seq)
{
    catalog_snapshot_end(s->config.catalog, tag, seq);
    if (s->config.observer.snapshot_end != NULL) {
        s->config.observer.snapshot_end(s->config.observer.user, tag, incarnation);
    }
}

/* --- repair --- */

static void replay_done(void *user, uint64_t context, struct rpc_reply *reply)
{
    struct streams *s = user;
    struct stream *st = streams_find(s, (uint32_t)context);
    struct event_message events = {.form = EVENT_FORM_EVENTS};
    struct fly_error error;

    st->asking = false;
    if (st->forgotten) { /* since it was asked */
        rpc_reply_fini(reply);
        return;
    }
    const Fly__V1__ReplayReply *r = (const Fly__V1__ReplayReply *)reply->message;
    bool page = reply->status == FLY_OK && r->events.len > 0;
    if (reply->status != FLY_OK ||
        (page && event_message_decode(r->events.data, r->events.len, &events, &error) != FLY_OK)) {
        follow_failed(&st->follow, st->question, s->now_ms);
    } else {
        struct applying a = {.s = s, .st = st};
        const struct follow_sink sink = sink_of(&a);
        follow_replayed(&st->follow, st->question, r->incarnation, r->below, r->last,
                        page ? &events : NULL, s->now_ms, &sink);
    }
    rpc_reply_fini(reply);
}

static bool ask_replay(struct streams *s, struct stream *st, int64_t now_ms)
{
    Fly__V1__ReplayRequest q = FLY__V1__REPLAY_REQUEST__INIT;

    q.slice = st->tag;
    q.incarnation = st->follow.incarnation;
    q.from = st->follow.next;
    q.limit = REPLAY_LIMIT;
    return links_call(s->config.links, &st->owner, &rpc_slice_replay, &q.base,
                      &(struct rpc_call_options){.timeout_ms = REPAIR_MS}, now_ms, replay_done, s,
                      st->tag) == FLY_OK;
}

static bool ask_machines(struct streams *s, struct stream *st, uint32_t after, int64_t now_ms);

static void put_machines(struct streams *s, struct stream *st, const Fly__V1__MachinesReply *r)
{
    for (size_t i = 0; i < r->n_machines; i++) {
        const Fly__V1__SliceMachine *m = r->machines[i];
        struct catalog_machine machine = {.cores = m->cores,
                                          .cores_free = m->cores_free,
                                          .memory_bytes = m->memory_bytes,
                                          .memory_free_bytes = m->memory_free_bytes,
                                          .cordoned = m->cordoned};
        if (!fly_copy_string(machine.name, sizeof machine.name, m->name) ||
            !fly_copy_string(machine.region, sizeof machine.region, m->region) ||
            streams_snapshot_put(s, st->tag, &machine) != FLY_OK) {
            s->refused++;
        }
    }
}

/* A slice that is at work changes between any two pages, so they need not be of one moment: the
 * picture counts as of the first page's, and the events from there on, whose values are absolute,
 * bring every machine that changed since to what it is. */
static void machines_done(void *user, uint64_t context, struct rpc_reply *reply)
{
    struct streams *s = user;
    struct stream *st = streams_find(s, (uint32_t)context);
    const Fly__V1__MachinesReply *r = (const Fly__V1__MachinesReply *)reply->message;

    st->asking = false;
    if (reply->status != FLY_OK || st->forgotten) {
        follow_failed(&st->follow, st->question, s->now_ms);
        st->asked_incarnation = 0;
    } else if (st->asked_incarnation != 0 &&
               (r->incarnation != st->asked_incarnation || r->seq < st->asked_seq ||
                st->question != st->follow.question)) {
        st->asked_incarnation = 0; /* another log, or another owner's: from the start */
        follow_failed(&st->follow, st->question, s->now_ms);
    } else {
        if (st->asked_incarnation == 0) {
            streams_snapshot_begin(s, st->tag);
            st->asked_incarnation = r->incarnation;
            st->asked_seq = r->seq;
        }
        put_machines(s, st, r);
        if (r->next == 0) {
            uint64_t seq = st->asked_seq;
            streams_snapshot_end(s, st->tag, r->incarnation, seq);
            st->founded_ms = r->founded_ms;
            st->asked_incarnation = 0;
            if (follow_snapshot(&st->follow, st->question, r->incarnation, seq, s->now_ms)) {
                begin_anew(st, r->incarnation, seq);
                s->config.seen(s->config.user, st->tag, r->incarnation, seq);
            }
        } else if (!ask_machines(s, st, r->next, s->now_ms)) {
            st->asked_incarnation = 0;
            follow_failed(&st->follow, st->question, s->now_ms);
        }
    }
    rpc_reply_fini(reply);
}

static bool ask_machines(struct streams *s, struct stream *st, uint32_t after, int64_t now_ms)
{
    Fly__V1__MachinesRequest q = FLY__V1__MACHINES_REQUEST__INIT;

    q.slice = st->tag;
    q.after = after;
    st->asking = links_call(s->config.links, &st->owner, &rpc_slice_machines, &q.base,
                            &(struct rpc_call_options){.timeout_ms = REPAIR_MS}, now_ms,
                            machines_done, s, st->tag) == FLY_OK;
    return st->asking;
}

static void repair(struct streams *s, struct stream *st, int64_t now_ms)
{
    enum follow_want want = FOLLOW_NOTHING;

    if (st->local || st->forgotten || !st->owner_known || st->asking ||
        (want = follow_next(&st->follow, now_ms)) == FOLLOW_NOTHING) {
        return;
    }
    st->question = st->follow.question;
    if (want == FOLLOW_REPLAY) {
        st->asking = ask_replay(s, st, now_ms);
    } else {
        st->asked_incarnation = 0;
        (void)ask_machines(s, st, 0, now_ms);
    }
    if (!st->asking) {
        follow_failed(&st->follow, st->question, now_ms);
    }
}

void streams_tick(struct streams *s, int64_t now_ms)
{
    s->now_ms = now_ms;
    for (uint32_t i = 0; i < s->count; i++) {
        repair(s, s->slots[i], now_ms);
    }
}

int64_t streams_deadline(const struct streams *s)
{
    int64_t due_ms = INT64_MAX;

    for (uint32_t i = 0; i < s->count; i++) {
        const struct stream *st = s->slots[i];
        if (!st->local && !st->forgotten && st->owner_known && !st->asking) {
            int64_t at_ms = follow_deadline(&st->follow);
            due_ms = at_ms < due_ms ? at_ms : due_ms;
        }
    }
    return due_ms;
}

void streams_forget(struct streams *s, uint32_t tag)
{
    struct stream *st = stream_make(s, tag);

    if (st != NULL && !st->forgotten) {
        st->forgotten = true;
        catalog_drop_slice(s->config.catalog, tag);
        if (s->config.observer.dropped != NULL) {
            s->config.observer.dropped(s->config.observer.user, tag);
        }
    }
}
