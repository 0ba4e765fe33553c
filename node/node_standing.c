/*
 * node_standing - may the slice hosted here speak? Asks the others what they saw (DESIGN 4.10).
 *
 * The machine is node/slice/standing.h; here it gets its members from gossip and the peers file,
 * its answers by RPC, and its verdict goes to the owner.
 */
#include <stdlib.h>
#include <string.h>

#include "fly/v1/slice.rpc.h"
#include "node/front_parts.h"
#include "node/node_parts.h"
#include "node/slice_wire.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

enum { SEEN_CALL_MS = 1000, ORPHANS_MAX = 10000 };

static uint64_t handle_of(const struct node_id *id)
{
    uint64_t handle = streams_source(id);

    return handle != 0 ? handle : 1;
}

static enum standing_presence presence_of(const struct gossip_member *m)
{
    return m->state == GOSSIP_ALIVE || m->state == GOSSIP_SUSPECT ? STANDING_ALIVE : STANDING_GONE;
}

void node_standing_members(struct node *n, struct owner_now now)
{
    (void)now;
    for (uint32_t i = 0; n->standing_begun && i < n->directory.member_count; i++) {
        const struct gossip_member *m = &n->directory.members[i];
        if (!m->self) {
            standing_member(&n->standing, handle_of(&m->credential.id), m->credential.name,
                            presence_of(m));
        }
    }
}

static uint64_t own_seq(struct node *n)
{
    struct owner *owner = host_owner(n->host);

    return owner != NULL ? slice_totals(owner_state(owner))->seq : 0;
}

/* What lives in a slice that was declared lost: nobody answers for it any more. */
static void tell_orphans(struct node *n, struct owner *owner)
{
    const struct vm_query all = {.region = ""};
    struct found_vm *found = NULL;
    size_t count = front_find_vms(owner_state(owner), &all, &found);

    for (size_t i = 0; i < count && i < ORPHANS_MAX; i++) {
        struct vm vm;
        char id[VMID_TEXT_SIZE];
        FLY_CHECK(owner_vm_at(owner, found[i].slot, &vm));
        vmid_format(vm.id, id);
        fly_log_warn("vm.orphan", F_STR("id", id), F_STR("name", vm.name),
                     F_STR("machine", vm.machine), F_STR("subject", vm.subject));
    }
    fly_log_warn("slice.orphans", F_U64("vms", count));
    n->orphans_told = true;
    free(found);
}

/* The verdict, told to the owner and to people. Again after every recovery of the log: the owner is
 * a new one then. */
static void apply_verdict(struct node *n, bool again)
{
    struct owner *owner = host_owner(n->host);
    enum standing_state state = standing_state(&n->standing);

    if (owner == NULL || (state == n->standing_applied && !again)) {
        return;
    }
    n->note[0] = '\0';
    if (state == STANDING_SERVE) {
        owner_release_quarantine(owner);
        if (standing_warned(&n->standing)) {
            fly_log_warn("slice.alone", F_STR("reason", standing_text(&n->standing)));
        }
    } else if (state == STANDING_QUARANTINED) {
        owner_quarantine(owner, FLY_FAILED_PRECONDITION, text_intern(standing_text(&n->standing)));
        (void)snprintf(n->note, sizeof n->note, "slice %06x: %.80s", n->tag,
                       standing_text(&n->standing));
        fly_log_error(
            "slice.quarantined", F_STR("reason", standing_text(&n->standing)),
            F_STR("hint", standing_forgotten(&n->standing)
                              ? "for good: join again with a new folder"
                              : "restore the newer folder, or `flynode accept-loss` here"));
        if (standing_forgotten(&n->standing) && !n->orphans_told) {
            tell_orphans(n, owner);
        }
    } else {
        owner_quarantine(owner, FLY_UNAVAILABLE,
                         "the slice's owner is asking the other nodes what they saw of its log");
    }
    n->standing_applied = state;
}

/* `flynode accept-loss` spoke of the log as it stood: it counts for no other. */
static void take_word(struct node *n, const struct standing_log *log)
{
    const struct accept_loss *word = &n->loss_word;

    n->loss_allowed =
        word->tag == n->tag && word->incarnation == log->incarnation && word->seq == log->seq;
    if (word->tag != 0 && !n->loss_allowed) {
        fly_log_warn("slice.loss_word_void",
                     F_STR("reason", "the log is not the one that it was said of: " ACCEPT_LOSS_FILE
                                     " counts for nothing"));
    }
}

void node_standing_forgotten(struct node *n, const char *who)
{
    const struct standing_seen lost = {.forgotten = true};
    bool forgotten = false;

    if (n->standing_begun && seen_find(n->seen, n->tag, NULL, NULL, &forgotten) && forgotten) {
        standing_evidence(&n->standing, who, &lost, 0);
    }
}

/* The host leads: for the first time, or again with a new owner. */
void node_standing_ready(struct node *n, struct owner_now now)
{
    const struct slice_totals *sum = slice_totals(owner_state(host_owner(n->host)));

    if (!n->standing_begun) {
        struct standing_log log = {.incarnation = sum->incarnation,
                                   .seq = sum->seq,
                                   .fresh = host_founded(n->host) || n->run == NULL};
        memcpy(log.lost, sum->lost, sizeof log.lost);
        standing_init(&n->standing, &log, now.boot_ms);
        n->standing_begun = true;
        for (uint32_t i = 0; i < peers_count(n->peers); i++) {
            const struct peers_member *p = peers_at(n->peers, i);
            if (!node_id_equal(&p->id, &n->identity.credential.id)) {
                standing_member(&n->standing, handle_of(&p->id), p->name, STANDING_EXPECTED);
            }
        }
        node_standing_members(n, now);
        standing_tick(&n->standing, now.boot_ms);
        take_word(n, &log);
        node_standing_forgotten(n, n->name);
    }
    apply_verdict(n, true);
}

/* What is missing here goes into the peers file too: `flynode accept-loss` tells it. */
static void note_loss(struct node *n)
{
    struct standing_loss loss;

    if (standing_loss(&n->standing, &loss)) {
        (void)seen_note(n->seen, n->tag, loss.incarnation, loss.seq);
    }
}

static void seen_answered(void *user, uint64_t context, struct rpc_reply *reply)
{
    struct node *n = user;
    int64_t now_ms = fly_clock_boot_ms();

    /* while the log is being read again its end is not known: nothing can be compared with it */
    if (reply->status == FLY_OK && n->host != NULL && host_owner(n->host) != NULL) {
        const Fly__V1__SeenReply *r = (const Fly__V1__SeenReply *)reply->message;
        const struct standing_seen seen = {.known = r->known,
                                           .incarnation = r->incarnation,
                                           .seq = r->seq,
                                           .forgotten = r->forgotten};
        standing_answer(&n->standing, context, &seen, own_seq(n), now_ms);
        note_loss(n);
    } else {
        standing_failed(&n->standing, context, now_ms);
    }
    rpc_reply_fini(reply);
}

static void ask(struct node *n, uint64_t handle, int64_t now_ms)
{
    Fly__V1__SeenRequest q = FLY__V1__SEEN_REQUEST__INIT;

    q.slice = n->tag;
    for (uint32_t i = 0; i < n->directory.member_count; i++) {
        const struct gossip_member *m = &n->directory.members[i];
        if (handle_of(&m->credential.id) == handle &&
            links_call(n->links, &m->credential.id, &rpc_slice_seen, &q.base,
                       &(struct rpc_call_options){.timeout_ms = SEEN_CALL_MS}, now_ms,
                       seen_answered, n, handle) == FLY_OK) {
            return;
        }
    }
    standing_failed(&n->standing, handle, now_ms);
}

/* The loss that a person accepted goes into the log: numbers and keys of that time are used up. */
static void accept_loss(struct node *n, struct owner_now now)
{
    struct owner_call loss = {.kind = OWNER_LOSS, .ticket = NODE_TICKET_LOSS};

    if (standing_state(&n->standing) == STANDING_SERVE && !standing_warned(&n->standing)) {
        n->loss_allowed = false; /* was used, or there was none */
    }
    if (!n->loss_allowed || n->loss_asked || host_owner(n->host) == NULL ||
        !standing_loss(&n->standing, &n->loss)) {
        return;
    }
    n->loss_asked = true;
    loss.incarnation = n->loss.incarnation;
    loss.seq = n->loss.seq;
    host_call(n->host, &loss, now);
}

void node_standing_loss(struct node *n, const struct owner_answer *answer, struct owner_now now)
{
    struct owner *owner = host_owner(n->host);

    n->loss_asked = false; /* what was refused or is not known is asked again */
    if (answer->code != OWNER_DONE_OK || owner == NULL) {
        fly_log_warn(
            "slice.loss_not_accepted",
            F_STR("reason", answer->text != NULL ? answer->text : "the outcome is not known"));
        return;
    }
    const struct slice_totals *sum = slice_totals(owner_state(owner));
    fly_log_warn("slice.loss_accepted", F_U64("incarnation", n->loss.incarnation),
                 F_U64("seen", n->loss.seq), F_U64("seq", sum->seq));
    streams_host(n->streams, n->tag, sum->incarnation, sum->seq, sum->founded_ms);
    standing_accept(&n->standing, &n->loss, now.boot_ms);
}

/* True while the slice may decide. */
bool node_standing_turn(struct node *n, struct owner_now now)
{
    uint64_t handle = 0;

    if (!n->standing_begun || n->host == NULL) {
        return false;
    }
    standing_tick(&n->standing, now.boot_ms);
    while (n->links != NULL && standing_next(&n->standing, &handle, now.boot_ms)) {
        ask(n, handle, now.boot_ms);
    }
    accept_loss(n, now);
    apply_verdict(n, false);
    return standing_state(&n->standing) == STANDING_SERVE;
}

int64_t node_standing_deadline(const struct node *n)
{
    return n->standing_begun && n->host != NULL ? standing_deadline(&n->standing) : INT64_MAX;
}

void node_serve_seen(struct node *n, struct rpc_call *call)
{
    const Fly__V1__SeenRequest *q = (const Fly__V1__SeenRequest *)rpc_call_request(call);
    Fly__V1__SeenReply reply = FLY__V1__SEEN_REPLY__INIT;
    uint64_t incarnation = 0;
    uint64_t seq = 0;
    bool forgotten = false;

    reply.known = seen_find(n->seen, q->slice, &incarnation, &seq, &forgotten);
    reply.incarnation = incarnation;
    reply.seq = seq;
    reply.forgotten = forgotten;
    rpc_call_reply(call, &reply.base);
}
