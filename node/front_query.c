/*
 * front_query - lists and look-ups: what several slices' owners must be asked.
 *
 * Slices are asked one after the other in the order of their tags, so that a page ends where the
 * next one begins: a place is a tag and a creation number. An owner that does not answer is named
 * in the answer; its VMs are missing there, and nothing says that they do not exist.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fly/v1/slice.rpc.h"
#include "node/front_parts.h"
#include "node/slice_wire.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/log.h"

enum {
    AMBIGUOUS_MAX = 4,
    PLACE_BITS = 40,
    QUERY_CALL_MS = 1500,
    QUERY_LEFT_MS = 100, /* of the caller's time, to tell what there is */
};

struct query {
    uint64_t id;
    struct rpc_call *call;
    enum query_kind kind;
    struct vm_query what;
    char region[FLY_REGION_SIZE];
    char text[VMID_TEXT_SIZE]; /* STATUS, DESTROY: the prefix as it was given */
    uint32_t limit;
    uint32_t tags[STREAMS_MAX]; /* to be asked, ascending */
    uint32_t tag_count;
    uint32_t next_tag;
    struct vm *vms; /* limit of them */
    uint32_t count;
    bool more; /* a slice has more than fitted */
    char unreachable[STREAMS_MAX][SLICE_TEXT_SIZE];
    uint32_t unreachable_count;
    struct fly_list link;
};

static void query_free(struct front *f, struct query *q)
{
    fly_list_drop(&q->link);
    f->query_count--;
    free(q->vms);
    free(q);
}

/* --- answers --- */

static void reply_list(struct query *q)
{
    Fly__V1__ListReply reply = FLY__V1__LIST_REPLY__INIT;
    struct vm_message *vms = calloc(q->count + 1, sizeof *vms);
    Fly__V1__Vm **pointers = calloc(q->count + 1, sizeof *pointers);
    char *missing[STREAMS_MAX];

    FLY_CHECK(vms != NULL && pointers != NULL);
    for (uint32_t i = 0; i < q->count; i++) {
        vm_message_fill(&vms[i], &q->vms[i]);
        pointers[i] = &vms[i].pb;
    }
    for (uint32_t i = 0; i < q->unreachable_count; i++) {
        missing[i] = q->unreachable[i];
    }
    reply.n_vms = q->count;
    reply.vms = pointers;
    reply.n_unreachable = q->unreachable_count;
    reply.unreachable = missing;
    if (q->count > 0 && (q->more || q->next_tag < q->tag_count)) {
        const struct vm *last = &q->vms[q->count - 1];
        reply.next = (uint64_t)vmid_tag(last->id) << PLACE_BITS | last->number;
    }
    rpc_call_reply(q->call, &reply.base);
    free(pointers);
    free(vms);
}

static void refuse_vm(const struct query *q)
{
    struct refusal r;

    if (q->count > 0) {
        size_t at = 0;
        refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_NOT_FOUND, false,
                    "'%s' begins the ids of several VMs", q->text);
        at = (size_t)snprintf(r.hint, sizeof r.hint, "among them:");
        for (uint32_t i = 0; i < q->count; i++) {
            char id[VMID_TEXT_SIZE];
            vmid_format(q->vms[i].id, id);
            at += (size_t)snprintf(r.hint + at, sizeof r.hint - at, " %s", id);
        }
    } else if (q->unreachable_count > 0) {
        refusal_set(&r, FLY_UNAVAILABLE, FLY__V1__REASON__REASON_OWNER_UNREACHABLE, true,
                    "no VM's id begins with '%s' in the slices that answered; slice %s does not",
                    q->text, q->unreachable[0]);
        (void)fly_copy_string(r.hint, sizeof r.hint, "try again; `flyrpc slice list` shows why");
    } else {
        refusal_set(&r, FLY_NOT_FOUND, FLY__V1__REASON__REASON_NOT_FOUND, false,
                    "no VM's id begins with '%s'", q->text);
        (void)fly_copy_string(r.hint, sizeof r.hint, "`flyrpc list` shows them");
    }
    refusal_send(q->call, &r);
}

static void query_finish(struct front *f, struct query *q, struct owner_now now)
{
    /* a prefix means one VM only if every slice said so */
    bool one = q->count == 1 && (q->unreachable_count == 0 || q->what.prefix_digits == VMID_DIGITS);

    if (q->kind == QUERY_LIST) {
        reply_list(q);
    } else if (!one) {
        refuse_vm(q);
    } else if (q->kind == QUERY_STATUS) {
        Fly__V1__StatusReply reply = FLY__V1__STATUS_REPLY__INIT;
        struct vm_message message;
        vm_message_fill(&message, &q->vms[0]);
        reply.vm = &message.pb;
        rpc_call_reply(q->call, &reply.base);
    } else {
        front_destroy_begin(f, q->call, q->vms[0].id, now);
    }
    query_free(f, q);
}

/* --- asking --- */

static void ask_here(struct query *q, struct owner *owner)
{
    struct found_vm *found = NULL;
    size_t count = front_find_vms(owner_state(owner), &q->what, &found);
    size_t taken = 0;
    for (; taken < count && q->count < q->limit; taken++) {
        FLY_CHECK(owner_vm_at(owner, found[taken].slot, &q->vms[q->count]));
        q->count++;
    }
    q->more = taken < count;
    free(found);
}

static void missing(struct query *q, uint32_t tag)
{
    slice_format(tag, q->unreachable[q->unreachable_count++]);
}

static void query_run(struct front *f, struct query *q, struct owner_now now);

static struct query *query_find(struct front *f, uint64_t id)
{
    for (struct fly_list *at = f->queries.next; at != &f->queries; at = at->next) {
        struct query *q = FLY_CONTAINER(at, struct query, link);
        if (q->id == id) {
            return q;
        }
    }
    return NULL;
}

static void asked(void *user, uint64_t context, struct rpc_reply *reply)
{
    struct front *f = user;
    struct query *q = query_find(f, context);
    const struct owner_now now = front_clocks();

    if (q != NULL) { /* else it was abandoned */
        uint32_t tag = q->tags[q->next_tag - 1];
        const Fly__V1__SliceListReply *r = (const Fly__V1__SliceListReply *)reply->message;
        struct fly_error error;
        if (reply->status != FLY_OK) {
            missing(q, tag);
        }
        for (size_t i = 0; reply->status == FLY_OK && i < r->n_vms && q->count < q->limit; i++) {
            if (vm_read(r->vms[i], &q->vms[q->count], &error) == FLY_OK &&
                vmid_tag(q->vms[q->count].id) == tag) {
                q->count++;
            } else {
                call_log(FLY_LOG_WARN, "list.refused", &F_U64("slice_tag", tag), 1, q->call);
            }
        }
        /* a page that has no more than its place would end the whole list */
        q->more = reply->status == FLY_OK && r->next != 0 && q->count > 0;
        query_run(f, q, now);
    }
    rpc_reply_fini(reply);
}

/* How long an owner may take; ≤ 0: nobody waits for its answer, or not long enough. */
static int64_t time_left(const struct query *q, struct owner_now now)
{
    int64_t deadline_ms = rpc_call_deadline_ms(q->call);
    int64_t left_ms = deadline_ms != 0 ? deadline_ms - now.boot_ms - QUERY_LEFT_MS : QUERY_CALL_MS;

    if (rpc_call_cancelled(q->call)) {
        return 0;
    }
    return left_ms < QUERY_CALL_MS ? left_ms : QUERY_CALL_MS;
}

/* True: an answer will come. */
static bool ask_away(struct front *f, struct query *q, uint32_t tag, struct owner_now now)
{
    const struct gossip_member *owner = directory_owner(f->config.directory, tag);
    Fly__V1__SliceListRequest request = FLY__V1__SLICE_LIST_REQUEST__INIT;
    const struct rpc_call_options options = {.timeout_ms = time_left(q, now), .parent = q->call};

    if (f->config.links == NULL || owner == NULL || owner->self || options.timeout_ms <= 0) {
        return false;
    }
    request.slice = tag;
    request.region = q->region;
    request.state = (Fly__V1__VmState)q->what.state;
    request.prefix = q->what.prefix;
    request.prefix_digits = (uint32_t)q->what.prefix_digits;
    request.after = q->what.after;
    request.limit = q->limit - q->count;
    request.any_state = q->what.any_state;
    return links_call(f->config.links, &owner->credential.id, &rpc_slice_list, &request.base,
                      &options, now.boot_ms, asked, f, q->id) == FLY_OK;
}

static void query_run(struct front *f, struct query *q, struct owner_now now)
{
    while (q->next_tag < q->tag_count && q->count < q->limit && !q->more) {
        uint32_t tag = q->tags[q->next_tag++];
        struct owner *owner = tag == f->config.tag && f->host != NULL ? host_owner(f->host) : NULL;
        if (q->next_tag > 1) {
            q->what.after = 0; /* the place of a page is in its first slice */
        }
        if (owner != NULL) {
            ask_here(q, owner);
        } else if (ask_away(f, q, tag, now)) {
            return;
        } else {
            missing(q, tag);
        }
    }
    query_finish(f, q, now);
}

static int by_tag(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The slices from a tag on that may have VMs of ours. */
static void choose_slices(struct front *f, struct query *q, uint32_t from)
{
    for (uint32_t i = 0; i < streams_count(f->config.streams); i++) {
        const struct stream *st = streams_at(f->config.streams, i);
        if (!st->forgotten && st->tag >= from) {
            q->tags[q->tag_count++] = st->tag;
        }
    }
    qsort(q->tags, q->tag_count, sizeof q->tags[0], by_tag);
}

/* NULL: refused here. */
static struct query *query_make(struct front *f, struct rpc_call *call, enum query_kind kind,
                                uint32_t limit)
{
    if (f->query_count == FRONT_QUERIES_MAX) {
        front_refuse_overloaded(call, "lists");
        return NULL;
    }
    struct query *q = calloc(1, sizeof *q);
    FLY_CHECK(q != NULL);
    q->id = ++f->query_next_id;
    q->call = call;
    q->kind = kind;
    q->limit = limit;
    q->what.region = q->region;
    q->vms = calloc(limit, sizeof *q->vms);
    FLY_CHECK(q->vms != NULL);
    fly_list_append(&f->queries, &q->link);
    f->query_count++;
    return q;
}

static bool parse_prefix(const char *text, size_t *digits, uint64_t *value)
{
    *digits = strlen(text);
    *value = 0;
    return *digits == 0 || (*digits <= VMID_DIGITS && fly_crockford_decode(text, *digits, value));
}

void front_list(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__ListRequest *request = (const Fly__V1__ListRequest *)rpc_call_request(call);
    const struct catalog_region *region = NULL;
    size_t digits = 0;
    uint64_t prefix = 0;
    uint32_t limit = request->limit == 0               ? FRONT_LIST_DEFAULT
                     : request->limit > FRONT_LIST_MAX ? FRONT_LIST_MAX
                                                       : request->limit;

    if (request->region[0] != '\0' && (region = front_region(f, call, request->region)) == NULL) {
        return;
    }
    if (!parse_prefix(request->id_prefix, &digits, &prefix)) {
        struct refusal r;
        refusal_set(&r, FLY_INVALID_ARGUMENT, FLY__V1__REASON__REASON_INVALID_SPEC, false,
                    "'%.16s' does not begin a VM's id", request->id_prefix);
        refusal_send(call, &r);
        return;
    }
    struct query *q = query_make(f, call, QUERY_LIST, limit);
    if (q == NULL) {
        return;
    }
    if (region != NULL) {
        (void)fly_copy_string(q->region, sizeof q->region, region->code);
    }
    q->what.state = (enum vm_state)request->state;
    q->what.prefix_digits = digits;
    q->what.prefix = prefix;
    uint32_t from = (uint32_t)(request->after >> PLACE_BITS);
    choose_slices(f, q, from);
    if (q->tag_count > 0 && q->tags[0] == from) {
        q->what.after = request->after & ((UINT64_C(1) << PLACE_BITS) - 1);
    }
    query_run(f, q, now);
}

/* One VM, by its id or a unique prefix: ids say their slice, prefixes do not. */
static void look_up(struct front *f, struct rpc_call *call, enum query_kind kind, const char *text,
                    struct owner_now now)
{
    size_t digits = 0;
    uint64_t prefix = 0;
    struct query *q = query_make(f, call, kind, AMBIGUOUS_MAX);

    if (q == NULL) {
        return;
    }
    (void)fly_copy_string(q->text, sizeof q->text, text);
    bool any = parse_prefix(text, &digits, &prefix) && digits > 0;
    q->what.prefix_digits = digits;
    q->what.prefix = prefix;
    q->what.any_state = true;
    if (any && digits == VMID_DIGITS) {
        const struct stream *st = streams_find(f->config.streams, vmid_tag(prefix));
        q->tags[0] = vmid_tag(prefix);
        q->tag_count = st != NULL && !st->forgotten; /* what is lost counts as gone */
    } else if (any) {
        choose_slices(f, q, 0);
    }
    query_run(f, q, now);
}

void front_status(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__StatusRequest *q = (const Fly__V1__StatusRequest *)rpc_call_request(call);

    look_up(f, call, QUERY_STATUS, q->vm, now);
}

void front_destroy_vm(struct front *f, struct rpc_call *call, struct owner_now now)
{
    const Fly__V1__DestroyRequest *q = (const Fly__V1__DestroyRequest *)rpc_call_request(call);
    uint64_t id = 0;

    if (vmid_parse(q->vm, &id) && streams_find(f->config.streams, vmid_tag(id)) != NULL) {
        front_destroy_begin(f, call, id, now);
    } else {
        look_up(f, call, QUERY_DESTROY, q->vm, now);
    }
}

void front_query_abandon(struct front *f)
{
    while (!fly_list_empty(&f->queries)) {
        struct query *q = FLY_CONTAINER(f->queries.next, struct query, link);
        rpc_call_fail(q->call, FLY_UNAVAILABLE, "the node is stopping",
                      (struct fly_bytes){.size = 0});
        query_free(f, q);
    }
}
