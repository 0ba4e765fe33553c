#include "node/slice/entry.h"

#include <string.h>

#include "proto/base/check.h"

enum { MAGIC = 0xf1, COMMAND_HEAD_SIZE = 3, COUNT_AT = 2 };

void hold_put(struct fly_writer *w, const struct hold_id *hold)
{
    fly_put_u32(w, hold->slice);
    fly_put_u64(w, hold->term);
    fly_put_u64(w, hold->boot);
    fly_put_u64(w, hold->counter);
}

void hold_get(struct fly_reader *r, struct hold_id *out)
{
    out->slice = fly_get_u32(r);
    out->term = fly_get_u64(r);
    out->boot = fly_get_u64(r);
    out->counter = fly_get_u64(r);
}

static void key_put(struct fly_writer *w, const struct command *c)
{
    fly_put_bytes(w, c->key.bytes, FLY_KEY_SIZE);
    fly_put_string8(w, c->subject);
}

static void key_get(struct fly_reader *r, struct command *c)
{
    fly_get_copy(r, c->key.bytes, FLY_KEY_SIZE);
    fly_get_string8(r, c->subject, sizeof c->subject);
    if (!r->failed && !key_valid(&c->key)) {
        r->failed = true;
    }
}

static void put_size(struct fly_writer *w, const struct command *c)
{
    fly_put_u32(w, c->cores);
    fly_put_u64(w, c->memory_bytes);
}

static void get_size(struct fly_reader *r, struct command *c)
{
    c->cores = fly_get_u32(r);
    c->memory_bytes = fly_get_u64(r);
}

static void body_put(struct fly_writer *w, const struct command *c)
{
    switch (c->type) {
    case COMMAND_FOUND:
        fly_put_u32(w, c->tag);
        fly_put_u64(w, c->incarnation);
        fly_put_u32(w, c->machines_max);
        fly_put_u32(w, c->records_max);
        break;
    case COMMAND_LEAD:
        fly_put_u64(w, c->term);
        break;
    case COMMAND_MACHINE_ADD:
        fly_put_string8(w, c->name);
        fly_put_string8(w, c->region);
        put_size(w, c);
        break;
    case COMMAND_MACHINE_RESIZE:
        fly_put_string8(w, c->name);
        put_size(w, c);
        break;
    case COMMAND_MACHINE_REMOVE:
    case COMMAND_MACHINE_CORDON:
    case COMMAND_MACHINE_UNCORDON:
        fly_put_string8(w, c->name);
        break;
    case COMMAND_LOSS:
        fly_put_u64(w, c->incarnation);
        fly_put_u64(w, c->seq);
        fly_put_u64(w, c->margin);
        break;
    case COMMAND_LAUNCH:
        key_put(w, c);
        fly_put_bytes(w, c->digest.bytes, FLY_DIGEST_SIZE);
        hold_put(w, &c->hold);
        hold_put(w, &c->replaces);
        fly_put_u32(w, c->machine);
        put_size(w, c);
        fly_put_string8(w, c->name);
        break;
    case COMMAND_BIND:
        key_put(w, c);
        fly_put_bytes(w, c->digest.bytes, FLY_DIGEST_SIZE);
        hold_put(w, &c->hold);
        hold_put(w, &c->replaces);
        break;
    case COMMAND_DONE:
        key_put(w, c);
        hold_put(w, &c->hold);
        fly_put_u64(w, c->vm);
        break;
    case COMMAND_CANCEL:
        key_put(w, c);
        hold_put(w, &c->replaces);
        break;
    case COMMAND_DESTROY:
        fly_put_u64(w, c->vm);
        break;
    case COMMAND_RELEASE:
        key_put(w, c);
        fly_put_u64(w, c->vm);
        break;
    default:
        FLY_UNREACHABLE();
    }
}

/* False: a type of a newer node. */
static bool body_get(struct fly_reader *r, struct command *c)
{
    switch (c->type) {
    case COMMAND_FOUND:
        c->tag = fly_get_u32(r);
        c->incarnation = fly_get_u64(r);
        c->machines_max = fly_get_u32(r);
        c->records_max = fly_get_u32(r);
        return true;
    case COMMAND_LEAD:
        c->term = fly_get_u64(r);
        return true;
    case COMMAND_MACHINE_ADD:
        fly_get_string8(r, c->name, sizeof c->name);
        fly_get_string8(r, c->region, sizeof c->region);
        get_size(r, c);
        return true;
    case COMMAND_MACHINE_RESIZE:
        fly_get_string8(r, c->name, sizeof c->name);
        get_size(r, c);
        return true;
    case COMMAND_MACHINE_REMOVE:
    case COMMAND_MACHINE_CORDON:
    case COMMAND_MACHINE_UNCORDON:
        fly_get_string8(r, c->name, sizeof c->name);
        return true;
    case COMMAND_LOSS:
        c->incarnation = fly_get_u64(r);
        c->seq = fly_get_u64(r);
        c->margin = fly_get_u64(r);
        return true;
    case COMMAND_LAUNCH:
        key_get(r, c);
        fly_get_copy(r, c->digest.bytes, FLY_DIGEST_SIZE);
        hold_get(r, &c->hold);
        hold_get(r, &c->replaces);
        c->machine = fly_get_u32(r);
        get_size(r, c);
        fly_get_string8(r, c->name, sizeof c->name);
        return true;
    case COMMAND_BIND:
        key_get(r, c);
        fly_get_copy(r, c->digest.bytes, FLY_DIGEST_SIZE);
        hold_get(r, &c->hold);
        hold_get(r, &c->replaces);
        return true;
    case COMMAND_DONE:
        key_get(r, c);
        hold_get(r, &c->hold);
        c->vm = fly_get_u64(r);
        return true;
    case COMMAND_CANCEL:
        key_get(r, c);
        hold_get(r, &c->replaces);
        return true;
    case COMMAND_DESTROY:
        c->vm = fly_get_u64(r);
        return true;
    case COMMAND_RELEASE:
        key_get(r, c);
        c->vm = fly_get_u64(r);
        return true;
    default:
        return false;
    }
}

void entry_begin(struct fly_writer *w, void *out, size_t max, const struct batch_head *head)
{
    FLY_CHECK(max >= ENTRY_HEAD_SIZE);
    *w = fly_writer_over(out, max);
    fly_put_u8(w, MAGIC);
    fly_put_u8(w, ENTRY_VERSION);
    fly_put_u16(w, 0);
    fly_put_u64(w, (uint64_t)head->wall_ms);
    fly_put_u64(w, (uint64_t)head->slice_ms);
    fly_put_u64(w, head->boot);
    fly_put_u64(w, head->batch);
}

static uint16_t batch_count(const struct fly_writer *w)
{
    return (uint16_t)(w->data[COUNT_AT] | w->data[COUNT_AT + 1] << 8);
}

bool entry_put(struct fly_writer *w, const struct command *command)
{
    uint8_t body[ENTRY_COMMAND_BYTES_MAX];
    struct fly_writer b = fly_writer_over(body, sizeof body);
    unsigned count = batch_count(w);

    body_put(&b, command);
    FLY_CHECK(!b.failed);
    if (count >= SLICE_BATCH_COMMANDS_MAX || w->max - w->size < COMMAND_HEAD_SIZE + b.size) {
        return false;
    }
    fly_put_u8(w, (uint8_t)command->type);
    fly_put_u16(w, (uint16_t)b.size);
    fly_put_bytes(w, body, b.size);
    count++;
    w->data[COUNT_AT] = (uint8_t)count;
    w->data[COUNT_AT + 1] = (uint8_t)(count >> 8);
    return true;
}

size_t entry_end(struct fly_writer *w)
{
    FLY_CHECK(!w->failed && batch_count(w) > 0);
    return w->size;
}

enum fly_status entry_head_decode(struct fly_reader *r, struct batch_head *out,
                                  struct fly_error *error)
{
    uint8_t magic = fly_get_u8(r);
    uint8_t version = fly_get_u8(r);

    if (r->failed || magic != MAGIC) {
        return fly_error_set(error, FLY_DATA_LOSS, "not a batch of slice commands");
    }
    if (version < ENTRY_VERSION_FIRST) {
        return fly_error_set(error, FLY_DATA_LOSS, "no batch has version %u", version);
    }
    if (version > ENTRY_VERSION) {
        return fly_error_set(error, FLY_UNIMPLEMENTED,
                             "batch version %u is newer than this node's %u: upgrade flynode",
                             version, ENTRY_VERSION);
    }
    out->version = version;
    out->count = fly_get_u16(r);
    out->wall_ms = (int64_t)fly_get_u64(r);
    out->slice_ms = (int64_t)fly_get_u64(r);
    out->boot = fly_get_u64(r);
    out->batch = fly_get_u64(r);
    if (r->failed || out->count < 1 || out->count > SLICE_BATCH_COMMANDS_MAX) {
        return fly_error_set(error, FLY_DATA_LOSS, "batch head is cut or counts %u commands",
                             out->count);
    }
    return FLY_OK;
}

enum fly_status entry_command_decode(struct fly_reader *r, struct command *out,
                                     struct fly_error *error)
{
    memset(out, 0, sizeof *out);
    unsigned type = fly_get_u8(r);
    size_t size = fly_get_u16(r);
    const uint8_t *body = fly_get_bytes(r, size);

    if (body == NULL) {
        return fly_error_set(error, FLY_DATA_LOSS, "command is cut");
    }
    struct fly_reader b = fly_reader_over(body, size);
    out->type = (enum command_type)type;
    if (!body_get(&b, out)) {
        return fly_error_set(error, FLY_UNIMPLEMENTED,
                             "command type %u is not known to this node: upgrade flynode", type);
    }
    if (!fly_reader_done(&b)) {
        return fly_error_set(error, FLY_DATA_LOSS, "command of type %u is malformed", type);
    }
    return FLY_OK;
}
