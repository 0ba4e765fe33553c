/*
 * node_admin - what a node answers as a node: its view of the members and slices (Admin service),
 * and what it has seen of a slice. Nothing here asks another node.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fly/v1/admin.pb-c.h"
#include "fly/v1/admin.rpc.h"
#include "fly/v1/slice.rpc.h"
#include "node/answer.h"
#include "node/node_parts.h"
#include "proto/base/check.h"

enum { ROLES_MAX = 4, ADDRESS_SIZE = DIRECTORY_URL_SIZE };

/* --- Members --- */

/* The texts that a Member message points to, beside those of the gossip_member that it was made
 * from. */
struct member_message {
    Fly__V1__Member pb;
    char id[NODE_ID_TEXT_SIZE];
    char role_texts[ROLES_MAX][NODE_ROLES_TEXT_SIZE];
    char *roles[ROLES_MAX];
    char gossip[ADDRESS_SIZE];
    char rpc[ADDRESS_SIZE];
    char pub[ADDRESS_SIZE];
    char http[ADDRESS_SIZE];
    Fly__V1__MemberSlice slices[GOSSIP_SLICES_MAX];
    Fly__V1__MemberSlice *slice_pointers[GOSSIP_SLICES_MAX];
    char slice_texts[GOSSIP_SLICES_MAX][SLICE_TEXT_SIZE];
    char software[16];
    char *notes[1];
};

static void fill_roles(struct member_message *m, uint32_t roles)
{
    for (uint32_t bit = 1; bit <= NODE_ROLE_ALL && m->pb.n_roles < ROLES_MAX; bit <<= 1) {
        if ((roles & bit) != 0) {
            char *text = m->role_texts[m->pb.n_roles];
            node_roles_format(bit, ',', text);
            m->roles[m->pb.n_roles++] = text;
        }
    }
    m->pb.roles = m->roles;
}

static void fill_slices(struct member_message *m, const struct gossip_meta *meta)
{
    for (uint8_t i = 0; i < meta->slice_count && i < GOSSIP_SLICES_MAX; i++) {
        slice_format(meta->slices[i].tag, m->slice_texts[i]);
        m->slices[i] = (Fly__V1__MemberSlice)FLY__V1__MEMBER_SLICE__INIT;
        m->slices[i].slice = m->slice_texts[i];
        m->slices[i].epoch = meta->slices[i].epoch;
        m->slice_pointers[m->pb.n_slices++] = &m->slices[i];
    }
    m->pb.slices = m->slice_pointers;
}

static void fill_member(struct member_message *m, const struct gossip_member *from, int64_t now_ms)
{
    m->pb = (Fly__V1__Member)FLY__V1__MEMBER__INIT;
    node_id_format(&from->credential.id, m->id);
    directory_gossip_text(from, m->gossip);
    directory_rpc_url(from, m->rpc);
    directory_pub_url(from, m->pub);
    directory_http_url(from, m->http);
    uint32_t v = from->meta.software;
    (void)snprintf(m->software, sizeof m->software, "%u.%u.%u", v >> 16, v >> 8 & 0xff, v & 0xff);
    m->pb.id = m->id;
    m->pb.name = (char *)from->credential.name;
    m->pb.region = (char *)from->meta.region;
    m->pb.state = (Fly__V1__MemberState)from->state;
    m->pb.serving = from->meta.serving;
    m->pb.gossip = m->gossip;
    m->pb.rpc = m->rpc;
    m->pb.pub = m->pub;
    m->pb.http = m->http;
    m->pb.rtt_us = from->rtt_us;
    m->pb.generation = from->generation;
    m->pb.version = from->version;
    m->pb.since_ms = now_ms > from->since_ms ? (uint64_t)(now_ms - from->since_ms) : 0;
    m->pb.self = from->self;
    m->pb.version_text = m->software;
    if (from->meta.note[0] != '\0') {
        m->notes[0] = (char *)from->meta.note;
        m->pb.n_notes = 1;
        m->pb.notes = m->notes;
    }
    fill_roles(m, from->credential.roles & (from->meta.roles | NODE_ROLE_ADMIT));
    fill_slices(m, &from->meta);
}

/* `dev`, all the cluster there is. */
static void fill_alone(const struct node *n, const struct gossip_member *self,
                       struct member_message *m, int64_t now_ms)
{
    fill_member(m, self, now_ms);
    m->gossip[0] = '\0';
    (void)fly_copy_string(m->rpc, sizeof m->rpc, rpc_server_url(n->server, 0));
    (void)fly_copy_string(m->http, sizeof m->http, node_dash_url(n));
}

static int by_name(const void *a, const void *b)
{
    const struct member_message *x = *(const struct member_message *const *)a;
    const struct member_message *y = *(const struct member_message *const *)b;
    int order = strcmp(x->pb.name, y->pb.name);
    return order != 0 ? order : strcmp(x->id, y->id);
}

static void members(struct node *n, struct rpc_call *call, struct owner_now now)
{
    uint32_t count = n->directory.member_count + (n->run == NULL);
    Fly__V1__MembersReply reply = FLY__V1__MEMBERS_REPLY__INIT;
    struct gossip_member self; /* messages point into it */
    struct member_message *messages = calloc(count + 1, sizeof *messages);
    struct member_message **order = calloc(count + 1, sizeof(void *));
    Fly__V1__Member **pointers = calloc(count + 1, sizeof(void *));

    FLY_CHECK(messages != NULL && order != NULL && pointers != NULL);
    for (uint32_t i = 0; i < n->directory.member_count; i++) {
        const struct gossip_member *m = &n->directory.members[i];
        fill_member(&messages[i], m, now.boot_ms);
        if (n->gossip != NULL) {
            messages[i].pb.rtt_us = gossip_thread_rtt_us(n->gossip, &m->credential.id);
        }
        order[i] = &messages[i];
    }
    if (n->run == NULL) {
        node_self_member(n, &self);
        fill_alone(n, &self, &messages[0], now.boot_ms);
        order[0] = &messages[0];
    }
    qsort(order, count, sizeof order[0], by_name);
    for (uint32_t i = 0; i < count; i++) {
        pointers[i] = &order[i]->pb;
    }
    reply.n_members = count;
    reply.members = pointers;
    rpc_call_reply(call, &reply.base);
    free(pointers);
    free(order);
    free(messages);
}

/* --- Slices --- */

struct slice_message {
    Fly__V1__SliceInfo pb;
    char slice[SLICE_TEXT_SIZE];
};

/* How the slice stands as seen from here, in a word, and why. */
static void judge(struct node *n, const struct stream *st, const struct gossip_member *owner,
                  int64_t now_ms, Fly__V1__SliceInfo *pb)
{
    pb->state = (char *)"serving";
    if (st->forgotten) {
        pb->state = (char *)"forgotten";
        pb->reason = (char *)"declared lost";
    } else if (st->local && standing_state(&n->standing) == STANDING_QUARANTINED) {
        pb->state = (char *)"quarantined";
        pb->reason = (char *)standing_text(&n->standing);
    } else if (st->local) {
        pb->state = atomic_load(&n->serving) ? pb->state : (char *)"starting";
    } else if (owner == NULL || owner->state == GOSSIP_DEAD || owner->state == GOSSIP_LEFT) {
        pb->state = (char *)"unreachable";
        pb->reason = owner == NULL                 ? (char *)"nobody is known to lead it"
                     : owner->state == GOSSIP_LEFT ? (char *)"its owner has left"
                                                   : (char *)"its owner is dead";
    } else if (!owner->meta.serving) {
        bool told = owner->meta.note[0] != '\0';
        pb->state = told ? (char *)"quarantined" : (char *)"starting";
        pb->reason = told ? (char *)owner->meta.note : (char *)"its owner does not serve";
    } else if (owner->state == GOSSIP_SUSPECT) {
        pb->state = (char *)"unreachable";
        pb->reason = (char *)"its owner does not answer";
    } else if (!stream_live(st, now_ms)) {
        pb->state = (char *)"stale";
        pb->reason = (char *)"this node is behind its events";
    }
}

static void fill_slice(struct node *n, struct slice_message *m, const struct stream *st,
                       int64_t now_ms)
{
    const struct gossip_member *owner = directory_owner(&n->directory, st->tag);
    struct catalog_slice_sums sums = {0};
    uint64_t first = 0;
    uint64_t last = 0;

    m->pb = (Fly__V1__SliceInfo)FLY__V1__SLICE_INFO__INIT;
    slice_format(st->tag, m->slice);
    stream_range(st, &first, &last);
    (void)catalog_slice_sums(n->catalog, st->tag, &sums);
    m->pb.slice = m->slice;
    m->pb.owner = st->local       ? n->name
                  : owner != NULL ? (char *)owner->credential.name
                                  : m->pb.owner;
    m->pb.incarnation = st->incarnation;
    m->pb.seq = last;
    int64_t stale_ms = st->local ? 0 : follow_stale_ms(&st->follow, now_ms);
    m->pb.stale_ms = stale_ms == INT64_MAX ? UINT64_MAX : (uint64_t)stale_ms;
    m->pb.machines = sums.machines;
    m->pb.cores_total = sums.cores_total;
    m->pb.cores_free = sums.cores_free;
    m->pb.memory_total_bytes = sums.memory_total_bytes;
    m->pb.memory_free_bytes = sums.memory_free_bytes;
    m->pb.cordoned = sums.cordoned;
    judge(n, st, owner, now_ms, &m->pb);
}

static void slices(struct node *n, struct rpc_call *call, struct owner_now now)
{
    uint32_t count = streams_count(n->streams);
    Fly__V1__SlicesReply reply = FLY__V1__SLICES_REPLY__INIT;
    struct slice_message *messages = calloc(count + 1, sizeof *messages);
    Fly__V1__SliceInfo **pointers = calloc(count + 1, sizeof(void *));

    FLY_CHECK(messages != NULL && pointers != NULL);
    for (uint32_t i = 0; i < count; i++) {
        fill_slice(n, &messages[i], streams_at(n->streams, i), now.boot_ms);
        pointers[i] = &messages[i].pb;
    }
    reply.n_slices = count;
    reply.slices = pointers;
    rpc_call_reply(call, &reply.base);
    free(pointers);
    free(messages);
}

/* --- joining, on a thread of its own --- */

void node_refuse_admission(struct node *n, struct rpc_call *call)
{
    const struct gossip_member *other = NULL;
    struct refusal r;

    for (uint32_t i = 0; i < n->directory.member_count; i++) {
        const struct gossip_member *m = &n->directory.members[i];
        bool admits = (m->credential.roles & NODE_ROLE_ADMIT) != 0 && directory_serves(m);
        other = admits && !m->self ? m : other;
    }
    refusal_set(&r, FLY_FAILED_PRECONDITION, FLY__V1__REASON__REASON_ROLE, false,
                "this node admits nobody: it has no admission key");
    if (other != NULL) {
        (void)snprintf(r.hint, sizeof r.hint, "ask node %s, which does", other->credential.name);
    }
    refusal_turn_away(call, &r);
}

static void admission(struct node *n, struct rpc_call *call)
{
    if (n->admitting != NULL && n->phase < DRAINING) {
        admitting_call(n->admitting, call);
    } else {
        node_refuse_admission(n, call);
    }
}

bool node_admin(struct node *n, struct rpc_call *call, struct owner_now now)
{
    const struct rpc_method *method = rpc_call_method(call);

    if (method == &rpc_admin_members) {
        members(n, call, now);
    } else if (method == &rpc_admin_slices) {
        slices(n, call, now);
    } else if (method == &rpc_slice_seen) {
        node_serve_seen(n, call);
    } else if (method == &rpc_slice_forget) {
        node_forget_word(n, call);
    } else if (method == &rpc_admin_forget_slice) {
        node_forget_admin(n, call);
    } else if (admitting_serves(method)) {
        admission(n, call);
    } else {
        return false;
    }
    return true;
}
