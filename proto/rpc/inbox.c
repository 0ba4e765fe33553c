#include "proto/rpc/inbox.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/frame.h"

enum {
    BLOCK_MIN = 1024 - 32,      /* what a stream that rarely has a message keeps */
    BLOCK_MAX = 32 * 1024 - 32, /* what one that streams takes at a time; larger for one message */
    RECORD_ALIGN = 8,
};

/* In a block, each padded to RECORD_ALIGN. */
struct record {
    uint32_t size;
    uint32_t gap;
    uint8_t body[];
};

struct inbox_block {
    struct inbox_block *next;
    uint32_t max;
    uint32_t written;
    uint32_t read;
    _Alignas(RECORD_ALIGN) uint8_t bytes[];
};

static uint32_t record_size(size_t body_size)
{
    size_t size = sizeof(struct record) + body_size;

    return (uint32_t)((size + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN);
}

void rpc_inbox_init(struct rpc_inbox *inbox, uint32_t window)
{
    *inbox = (struct rpc_inbox){.window = window};
}

uint32_t rpc_inbox_fini(struct rpc_inbox *inbox)
{
    uint32_t waiting = inbox->waiting;

    while (inbox->first != NULL) {
        struct inbox_block *block = inbox->first;
        inbox->first = block->next;
        free(block);
    }
    inbox->last = NULL;
    inbox->waiting = 0;
    return waiting;
}

/* Blocks double as long as messages come faster than they are taken. */
static struct inbox_block *add_block(struct rpc_inbox *inbox, uint32_t need)
{
    uint32_t max = inbox->last == NULL ? BLOCK_MIN : 2 * inbox->last->max;

    max = max > BLOCK_MAX ? BLOCK_MAX : max;
    max = max < need ? need : max;
    struct inbox_block *block = malloc(sizeof *block + max);
    if (block == NULL) {
        return NULL;
    }
    *block = (struct inbox_block){.max = max};
    if (inbox->last == NULL) {
        inbox->first = block;
    } else {
        inbox->last->next = block;
    }
    inbox->last = block;
    return block;
}

enum rpc_inbox_push rpc_inbox_push(struct rpc_inbox *inbox, struct fly_bytes body, uint32_t gap)
{
    struct inbox_block *block = inbox->last;
    uint32_t need = record_size(body.size);

    FLY_CHECK(body.size <= FRAME_SIZE_MAX);
    /* the sender's credit is the window less both; while any is left, a message may go past it */
    if ((uint64_t)inbox->waiting + inbox->taken >= inbox->window) {
        return RPC_INBOX_OVER;
    }
    if (block == NULL || block->max - block->written < need) {
        block = add_block(inbox, need);
    }
    if (block == NULL) {
        return RPC_INBOX_MEMORY;
    }
    struct record *record = (struct record *)(void *)(block->bytes + block->written);
    record->size = (uint32_t)body.size;
    record->gap = gap;
    if (body.size > 0) {
        memcpy(record->body, body.data, body.size);
    }
    block->written += need;
    inbox->waiting += frame_credit(body.size);
    return RPC_INBOX_DONE;
}

bool rpc_inbox_empty(const struct rpc_inbox *inbox)
{
    return inbox->waiting == 0; /* every message costs credit */
}

/* The lent message is given back: what is read through goes, but for one block of the usual size,
 * which serves the next messages. */
static void forget_read(struct rpc_inbox *inbox)
{
    struct inbox_block *block = inbox->first;

    while (block != NULL && block->read == block->written) {
        if (block->next == NULL && block->max <= BLOCK_MAX) {
            block->read = 0;
            block->written = 0;
            return;
        }
        inbox->first = block->next;
        free(block);
        block = inbox->first;
    }
    if (block == NULL) {
        inbox->last = NULL;
    }
}

/* Gives a drained block back that is larger than what an idle stream keeps. */
static void shrink(struct rpc_inbox *inbox)
{
    if (inbox->first != NULL && inbox->first->max > BLOCK_MIN) {
        (void)rpc_inbox_fini(inbox);
    }
}

/* What is to be granted, now that so much more was taken. */
static uint32_t grant_taken(struct rpc_inbox *inbox, uint32_t credit)
{
    uint32_t step = inbox->window / 2 > 0 ? inbox->window / 2 : 1;

    inbox->waiting -= credit;
    inbox->taken += credit;
    if (inbox->taken < step) {
        return 0;
    }
    uint32_t grant = inbox->taken;
    inbox->taken = 0;
    return grant;
}

bool rpc_inbox_take(struct rpc_inbox *inbox, struct fly_bytes *body, uint32_t *gap, uint32_t *grant)
{
    *grant = 0;
    forget_read(inbox);
    if (rpc_inbox_empty(inbox)) {
        return false;
    }
    struct inbox_block *block = inbox->first;
    const struct record *record = (const void *)(block->bytes + block->read);
    block->read += record_size(record->size);
    *body = (struct fly_bytes){record->body, record->size};
    *gap = record->gap;
    *grant = grant_taken(inbox, frame_credit(record->size));
    return true;
}

uint32_t rpc_inbox_refill(struct rpc_inbox *shared, struct rpc_inbox *own, uint32_t *settled)
{
    *settled = own->taken;
    uint32_t grant = grant_taken(shared, own->taken);

    own->taken = 0;
    own->window = UINT32_MAX; /* it grants nothing itself */
    if (!rpc_inbox_empty(own)) {
        return grant;
    }
    forget_read(own);
    if (rpc_inbox_empty(shared)) {
        shrink(own);
        shrink(shared);
        return grant;
    }
    /* the drained block serves the next messages */
    struct inbox_block *first = own->first;
    own->first = shared->first;
    own->last = shared->last;
    own->waiting = shared->waiting;
    shared->first = first;
    shared->last = first;
    return grant;
}
