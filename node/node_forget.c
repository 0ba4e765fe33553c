#include "node/node_forget.h"

#include <stdlib.h>
#include <string.h>

#include "fly/v1/admin.pb-c.h"
#include "fly/v1/slice.pb-c.h"
#include "fly/v1/slice.rpc.h"
#include "node/answer.h"
#include "node/node_parts.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/id.h"
#include "proto/base/log.h"

/* --- calls that wait for the disk --- */

static void refuse(struct rpc_call *call, enum fly_status status, const char *text,
                   const char *hint)
{
    struct refusal r;

    refusal_set(&r, status, FLY__V1__REASON__REASON_NONE, false, "%s", text);
    (void)fly_copy_string(r.hint, sizeof r.hint, hint);
    refusal_turn_away(call, &r);
}

static void reply(struct forget_waiting *w)
{
    const Fly__V1__ForgetSliceReply admin = FLY__V1__FORGET_SLICE_REPLY__INIT;
    const Fly__V1__ForgetReply word = FLY__V1__FORGET_REPLY__INIT;

    rpc_call_reply(w->call, w->admin ? &admin.base : &word.base);
}

static void let_go(struct node *n, struct forget_waiting *w)
{
    w->call = NULL;
    n->forget.waiting_count--;
}

static void wait_for_disk(struct node *n, struct rpc_call *call, bool admin)
{
    int64_t now_ms = fly_clock_boot_ms();

    peers_file_tick(n->peers_file, n->peers, n->seen, now_ms, true);
    for (uint32_t i = 0; i < FORGET_WAITING_MAX; i++) {
        struct forget_waiting *w = &n->forget.waiting[i];
        if (w->call == NULL) {
            *w = (struct forget_waiting){
                .call = call, .until_ms = now_ms + FORGET_CALL_MS, .admin = admin};
            n->forget.waiting_count++;
            n->forget.waiting_look_ms = now_ms + FORGET_LOOK_MS;
            return;
        }
    }
    refuse(call, FLY_RESOURCE_EXHAUSTED, "too many calls wait for this node's disk",
           "try again in a moment");
}

static void answer_waiting(struct node *n, int64_t now_ms)
{
    bool saved = n->forget.waiting_count > 0 && peers_file_saved(n->peers_file, n->peers, n->seen);

    for (uint32_t i = 0; i < FORGET_WAITING_MAX && n->forget.waiting_count > 0; i++) {
        struct forget_waiting *w = &n->forget.waiting[i];
        if (w->call == NULL) {
            continue;
        }
        if (saved) {
            reply(w);
            let_go(n, w);
        } else if (now_ms >= w->until_ms) {
            rpc_call_fail(w->call, FLY_UNAVAILABLE,
                          "the word that the slice is lost is not on this node's disk yet: its "
                          "disk does not answer",
                          (struct fly_bytes){.size = 0});
            let_go(n, w);
        }
    }
    n->forget.waiting_look_ms = now_ms + FORGET_LOOK_MS;
}

void node_forget_abandon(struct node *n)
{
    for (uint32_t i = 0; i < FORGET_WAITING_MAX; i++) {
        struct forget_waiting *w = &n->forget.waiting[i];
        if (w->call != NULL) {
            rpc_call_fail(w->call, FLY_UNAVAILABLE, "the node is stopping",
                          (struct fly_bytes){.size = 0});
            let_go(n, w);
        }
    }
}

/* --- a word --- */

/* False: no room for it. */
static bool take(struct node *n, const struct forget_word *word, const uint8_t *bytes, size_t size,
                 const struct rpc_call *call)
{
    char slice[SLICE_TEXT_SIZE];

    if (peers_word(n->peers, word->tag) != NULL) {
        return true;
    }
    if (!seen_forget(n->seen, word->tag) || !peers_keep_word(n->peers, word->tag, bytes, size)) {
        return false;
    }
    slice_format(word->tag, slice);
    const struct fly_field fields[] = {F_STR("slice", slice), F_STR("by", word->by.name)};
    call_log(FLY_LOG_WARN, "slice.forgotten", fields, FLY_ARRAY_COUNT(fields), call);
    streams_forget(n->streams, word->tag);
    node_standing_forgotten(n, word->by.name);
    n->look_ms = 0; /* others hear of it now */
    return true;
}

void node_forget_word(struct node *n, struct rpc_call *call)
{
    const Fly__V1__ForgetRequest *q = (const Fly__V1__ForgetRequest *)rpc_call_request(call);
    struct forget_word word;
    struct fly_error error;

    if (n->peers_file == NULL) {
        refuse(call, FLY_FAILED_PRECONDITION, "this is a cluster of one", "");
    } else if (forget_verify((struct fly_bytes){.data = q->word.data, .size = q->word.len},
                             n->identity.record.id, n->identity.record.ca, fly_clock_wall_ms(),
                             &word, &error) != FLY_OK) {
        refuse(call, error.status, error.text, "");
    } else if (!take(n, &word, q->word.data, q->word.len, call)) {
        refuse(call, FLY_RESOURCE_EXHAUSTED, "this node can keep no more lost slices", "");
    } else {
        wait_for_disk(n, call, false);
    }
}

/* --- an admin says it --- */

/* The slice that is named, or 0: refused here. */
static uint32_t read_slice(struct node *n, struct rpc_call *call)
{
    const Fly__V1__ForgetSliceRequest *q =
        (const Fly__V1__ForgetSliceRequest *)rpc_call_request(call);
    uint8_t bytes[3];

    if (strlen(q->slice) != 2 * sizeof bytes ||
        !fly_hex_decode(q->slice, strlen(q->slice), bytes, sizeof bytes)) {
        refuse(call, FLY_INVALID_ARGUMENT, "a slice is named by six hex digits, such as 0a1b2c",
               "");
        return 0;
    }
    uint32_t tag = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
    const struct gossip_member *owner = directory_owner(&n->directory, tag);
    if (tag == 0 || (owner == NULL && streams_find(n->streams, tag) == NULL &&
                     !seen_find(n->seen, tag, NULL, NULL, NULL))) {
        refuse(call, FLY_NOT_FOUND, "this node knows no such slice", "`flyrpc slice list`");
        return 0;
    }
    bool here = tag == n->tag && atomic_load(&n->serving);
    if (here || (owner != NULL && !owner->self && directory_serves(owner))) {
        refuse(call, FLY_FAILED_PRECONDITION,
               "the slice is not lost: its owner lives and serves it",
               "destroy its VMs and stop its node first");
        return 0;
    }
    return tag;
}

void node_forget_admin(struct node *n, struct rpc_call *call)
{
    uint8_t bytes[FORGET_SIZE_MAX];

    if (n->peers_file == NULL || !n->identity.has_admission) {
        node_refuse_admission(n, call);
        return;
    }
    uint32_t tag = read_slice(n, call);
    if (tag == 0) {
        return;
    }
    const struct forget_word word = {.tag = tag, .by = n->identity.credential};
    size_t size = forget_sign(&n->identity.credential, &n->identity.keys, n->identity.record.id,
                              tag, fly_clock_wall_ms(), bytes);
    if (take(n, &word, bytes, size, call)) {
        wait_for_disk(n, call, true);
    } else {
        refuse(call, FLY_RESOURCE_EXHAUSTED, "this node can keep no more lost slices", "");
    }
}

/* --- to all others --- */

static struct forget_member *member_of(struct node_forget *f, const struct node_id *id)
{
    for (uint32_t i = 0; i < f->member_count; i++) {
        if (node_id_equal(&f->members[i].id, id)) {
            return &f->members[i];
        }
    }
    if (f->members == NULL) {
        f->members = calloc(FORGET_MEMBERS_MAX, sizeof *f->members);
        FLY_CHECK(f->members != NULL);
    }
    if (f->member_count == FORGET_MEMBERS_MAX) {
        return NULL;
    }
    f->members[f->member_count] = (struct forget_member){.id = *id};
    return &f->members[f->member_count++];
}

static bool has(const struct forget_member *m, uint32_t word)
{
    return (m->has[word / 8] & 1u << word % 8) != 0;
}

/* Context: the member's place ‖ the word's. */
static void pushed(void *user, uint64_t context, struct rpc_reply *r)
{
    struct node *n = user;
    struct forget_member *m = &n->forget.members[context >> 32];
    uint32_t word = (uint32_t)context;

    m->asking = false;
    if (r->status == FLY_OK) {
        m->has[word / 8] |= (uint8_t)(1u << word % 8);
        n->look_ms = 0; /* the next one */
    } else {
        m->again_ms = fly_clock_boot_ms() + FORGET_AGAIN_MS;
    }
    rpc_reply_fini(r);
}

static void push(struct node *n, const struct gossip_member *to, int64_t now_ms)
{
    struct forget_member *m = member_of(&n->forget, &to->credential.id);
    Fly__V1__ForgetRequest q = FLY__V1__FORGET_REQUEST__INIT;

    if (m == NULL || m->asking || now_ms < m->again_ms) {
        return;
    }
    for (uint32_t i = 0; i < peers_word_count(n->peers); i++) {
        const struct peers_word *w = peers_word_at(n->peers, i);
        if (has(m, i)) {
            continue;
        }
        q.word = (ProtobufCBinaryData){.len = w->size, .data = (uint8_t *)w->bytes};
        uint64_t context = (uint64_t)(m - n->forget.members) << 32 | i;
        /* not connected now: the link opens, the next look tries again */
        m->asking = links_call(n->links, &m->id, &rpc_slice_forget, &q.base,
                               &(struct rpc_call_options){.timeout_ms = FORGET_CALL_MS}, now_ms,
                               pushed, n, context) == FLY_OK;
        return;
    }
}

void node_forget_turn(struct node *n, int64_t now_ms)
{
    answer_waiting(n, now_ms);
    if (now_ms < n->look_ms || peers_word_count(n->peers) == 0) {
        return;
    }
    for (uint32_t i = 0; i < n->directory.member_count; i++) {
        const struct gossip_member *m = &n->directory.members[i];
        if (!m->self && m->state == GOSSIP_ALIVE) {
            push(n, m, now_ms);
        }
    }
}

int64_t node_forget_deadline(const struct node *n)
{
    return n->forget.waiting_count > 0 ? n->forget.waiting_look_ms : INT64_MAX;
}

void node_forget_fini(struct node *n)
{
    free(n->forget.members);
    n->forget.members = NULL;
}
