/*
 * rpc_play - what fuzz_rpc_server and fuzz_rpc_client share: an input becomes frames, so that most
 * of them are about calls that there are; the methods; a unix socket.
 *
 * A frame is five bytes of input and its payload: type and flags, slot and generation, which arg,
 * how much meta, how much body. Type 15 is raw bytes instead.
 */
#ifndef FLY_TESTS_RPC_PLAY_H
#define FLY_TESTS_RPC_PLAY_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fly/v1/health.pb-c.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/rpc/method.h"
#include "proto/wire/frame.h"

enum { PLAY_MAX = 64 * 1024, PLAY_SLOTS = 6, PLAY_GENERATIONS = 3, PLAY_METHODS = 4 };
enum { PLAY_UNARY, PLAY_COUNT, PLAY_COLLECT, PLAY_CHAT };

#define PLAY_METHOD(path, bits)                                                                    \
    {                                                                                              \
        .name = "fuzz.v1.T/" path, .request = &fly__v1__echo_message__descriptor,                  \
        .reply = &fly__v1__echo_message__descriptor, .flags = (bits)                               \
    }

static struct rpc_method play_methods[PLAY_METHODS] = {
    [PLAY_UNARY] = PLAY_METHOD("Unary", 0),
    [PLAY_COUNT] = PLAY_METHOD("Count", RPC_STREAM),
    [PLAY_COLLECT] = PLAY_METHOD("Collect", RPC_CLIENT_STREAM),
    [PLAY_CHAT] = PLAY_METHOD("Chat", RPC_STREAM | RPC_CLIENT_STREAM),
};

static uint32_t play_arg(uint8_t which)
{
    static const uint32_t odd[] = {0, 1, 7, 16, 1000, INT32_MAX, 0x80000000U, UINT32_MAX};

    return which < 128 ? play_methods[which % PLAY_METHODS].hash : odd[which % 8];
}

static uint32_t play_id(uint8_t byte)
{
    uint32_t slot = byte % 8;

    return slot >= PLAY_SLOTS ? slot % 2 : frame_call_id(slot, 1 + byte / 8U % PLAY_GENERATIONS);
}

/* The bytes of the frames that an input stands for. */
static size_t play_frames(struct fly_reader *r, uint8_t *out)
{
    size_t size = 0;

    while (fly_reader_left(r) >= 5 && size + FRAME_HEADER_SIZE + 512 < PLAY_MAX) {
        const uint8_t *op = fly_get_bytes(r, 5);
        size_t left = fly_reader_left(r);
        size_t meta = op[3] < left ? op[3] : left;
        size_t body = op[4] < left - meta ? op[4] : left - meta;
        struct frame_header header = {.size = (uint32_t)(meta + body),
                                      .type = op[0] & 15,
                                      .flags = op[0] >> 4,
                                      .meta_size = (uint16_t)meta,
                                      .call_id = play_id(op[1]),
                                      .arg = play_arg(op[2])};
        if (header.type != 15) {
            frame_header_encode(&header, out + size);
            size += FRAME_HEADER_SIZE;
        }
        if (meta + body > 0) {
            memcpy(out + size, fly_get_bytes(r, meta + body), meta + body);
        }
        size += meta + body;
    }
    return size;
}

static size_t play_preface(uint8_t *out, uint8_t windows, uint32_t calls_max)
{
    static const uint32_t sizes[] = {65536, 0, 1, 100, 1000, INT32_MAX, 65536, 65536};

    frame_preface_encode(&(struct frame_preface){.version = FRAME_VERSION,
                                                 .frame_max = FRAME_SIZE_MIN,
                                                 .calls_max = calls_max,
                                                 .window = sizes[windows % 8],
                                                 .conn_window = sizes[windows / 8 % 8]},
                         out);
    return FRAME_PREFACE_SIZE;
}

static void play_send(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t count = send(fd, data, size, MSG_NOSIGNAL);
        if (count <= 0) {
            return; /* it has hung up: that is an answer, too */
        }
        data += count;
        size -= (size_t)count;
    }
}

static struct sockaddr_un play_address(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)snprintf(address.sun_path, sizeof address.sun_path, "/tmp/fly-%s-%ld.sock", name,
                   (long)getpid());
    return address;
}

static void play_init(void)
{
    for (size_t i = 0; i < PLAY_METHODS; i++) {
        play_methods[i].hash = rpc_method_hash(play_methods[i].name);
    }
}

#endif
