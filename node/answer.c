#include "node/answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/trace.h"

enum { DETAIL_MAX = 16 * 1024 };

void slice_format(uint32_t tag, char out[static SLICE_TEXT_SIZE])
{
    (void)snprintf(out, SLICE_TEXT_SIZE, "%06x", tag & 0xffffff);
}

void call_log(enum fly_log_level level, const char *event, const struct fly_field *fields,
              size_t count, const struct rpc_call *call)
{
    struct fly_field all[CALL_FIELDS_MAX + 1];
    char trace[TRACE_ID_TEXT_SIZE];

    FLY_CHECK(count <= CALL_FIELDS_MAX);
    memcpy(all, fields, count * sizeof *all);
    if (call != NULL && frame_trace_present(rpc_call_trace(call))) {
        trace_id_format(rpc_call_trace(call), trace);
        all[count++] = F_STR("trace", trace);
    }
    fly_log_write(level, event, all, count);
}

void vm_message_fill(struct vm_message *m, const struct vm *vm)
{
    m->vm = *vm;
    vmid_format(vm->id, m->id);
    slice_format(vmid_tag(vm->id), m->slice);
    m->pb = (Fly__V1__Vm)FLY__V1__VM__INIT;
    m->pb.id = m->id;
    m->pb.name = m->vm.name;
    m->pb.region = m->vm.region;
    m->pb.machine = m->vm.machine;
    m->pb.cores = vm->cores;
    m->pb.memory_bytes = vm->memory_bytes;
    m->pb.state = (Fly__V1__VmState)vm->state;
    m->pb.slice = m->slice;
    m->pb.seq = vm->seq;
    m->pb.key = (ProtobufCBinaryData){.len = FLY_KEY_SIZE, .data = m->vm.key.bytes};
    m->pb.created_at_ms = vm->created_ms;
    m->pb.destroyed_at_ms = vm->destroyed_ms;
    m->pb.subject = m->vm.subject;
}

void event_message_fill(struct event_message_pb *m, const struct event *event)
{
    m->event = *event;
    m->id[0] = '\0';
    if (event->vm != 0) {
        vmid_format(event->vm, m->id);
    }
    slice_format(event->slice, m->slice);
    m->pb = (Fly__V1__Event)FLY__V1__EVENT__INIT;
    m->pb.slice = m->slice;
    m->pb.incarnation = event->incarnation;
    m->pb.seq = event->seq;
    m->pb.type = (Fly__V1__EventType)event->type;
    m->pb.time_ms = event->time_ms;
    m->pb.vm = m->id;
    m->pb.name = m->event.name;
    m->pb.machine = m->event.machine;
    m->pb.region = m->event.region;
    m->pb.cores = event->cores;
    m->pb.memory_bytes = event->memory_bytes;
    m->pb.state = (Fly__V1__VmState)event->state;
    m->pb.machine_cores_free = event->machine_cores_free;
    m->pb.machine_memory_free_bytes = event->machine_memory_free_bytes;
}

static void add_tags(struct region_tags *out, const struct catalog *c,
                     const struct catalog_region *region)
{
    struct catalog_candidate slices[8];
    uint32_t n = catalog_slices(c, region->code, slices, FLY_ARRAY_COUNT(slices));

    for (uint32_t i = 0; i < n && out->count < REGION_TAGS_MAX; i++) {
        if (slices[i].doubtful && !slices[0].doubtful) {
            break; /* a key's home is for its life: none that may be gone while others are sure */
        }
        Fly__V1__RegionTag *t = &out->pb[out->count];
        *t = (Fly__V1__RegionTag)FLY__V1__REGION_TAG__INIT;
        t->region = (char *)region->code;
        t->tag = slices[i].slice;
        t->cores_free_max = slices[i].cores_free_max;
        t->memory_free_max_bytes = slices[i].memory_free_max_bytes;
        out->pointers[out->count++] = t;
    }
}

void region_tags_fill(struct region_tags *out, const struct catalog *c, const char *region)
{
    out->count = 0;
    for (uint32_t i = 0; i < catalog_region_count(c); i++) {
        const struct catalog_region *r = catalog_region_at(c, i);
        if (r->machines > 0 && (region == NULL || strcmp(region, r->code) == 0)) {
            add_tags(out, c, r);
        }
    }
}

void refusal_set(struct refusal *r, enum fly_status status, Fly__V1__Reason reason, bool retryable,
                 const char *format, ...)
{
    va_list args;

    r->status = status;
    r->reason = reason;
    r->retryable = retryable;
    r->hint[0] = '\0';
    r->tags = NULL;
    r->leader[0] = '\0';
    va_start(args, format);
    (void)vsnprintf(r->message, sizeof r->message, format, args);
    va_end(args);
}

size_t refusal_pack(const struct refusal *r, uint8_t *out, size_t max)
{
    Fly__V1__Refusal pb = FLY__V1__REFUSAL__INIT;

    pb.reason = r->reason;
    pb.message = (char *)r->message;
    pb.hint = (char *)r->hint;
    pb.retryable = r->retryable;
    pb.leader = (char *)r->leader;
    if (r->tags != NULL) {
        pb.n_tags = r->tags->count;
        pb.tags = (Fly__V1__RegionTag **)r->tags->pointers;
    }
    return fly__v1__refusal__get_packed_size(&pb) <= max ? fly__v1__refusal__pack(&pb, out) : 0;
}

void refusal_send(struct rpc_call *call, const struct refusal *r)
{
    uint8_t detail[DETAIL_MAX];
    size_t size = refusal_pack(r, detail, sizeof detail);

    rpc_call_fail(call, r->status, r->message, (struct fly_bytes){.data = detail, .size = size});
}

void refusal_turn_away(struct rpc_call *call, const struct refusal *r)
{
    uint8_t detail[DETAIL_MAX];
    size_t size = refusal_pack(r, detail, sizeof detail);

    rpc_call_turn_away(call, r->status, r->message,
                       (struct fly_bytes){.data = detail, .size = size});
}
