/*
 * fuzz_event - the event decoder against two oracles: what it accepts, msgpack-c finds well-formed
 * and of the same values; and decode ∘ encode is the identity on it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <msgpack.h>

#include "proto/base/check.h"
#include "proto/wire/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const msgpack_object *value_of(const msgpack_object *map, uint64_t key)
{
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        if (map->via.map.ptr[i].key.via.u64 == key) {
            return &map->via.map.ptr[i].val;
        }
    }
    return NULL;
}

static void same_number(const msgpack_object *map, uint64_t key, uint64_t expected)
{
    const msgpack_object *value = value_of(map, key);

    FLY_CHECK(value == NULL ? expected == 0 : value->via.u64 == expected);
}

static void same_text(const msgpack_object *map, uint64_t key, const char *expected)
{
    const msgpack_object *value = value_of(map, key);
    size_t size = strlen(expected);

    if (value == NULL) {
        FLY_CHECK(size == 0);
        return;
    }
    FLY_CHECK(value->type == MSGPACK_OBJECT_STR && value->via.str.size == size);
    FLY_CHECK(size == 0 || memcmp(value->via.str.ptr, expected, size) == 0);
}

static void same_body(const msgpack_object *map, const struct event *event)
{
    FLY_CHECK(map->type == MSGPACK_OBJECT_MAP);
    same_number(map, 1, event->seq);
    same_number(map, 2, event->type);
    same_number(map, 3, (uint64_t)event->time_ms);
    same_number(map, 4, event->vm);
    same_text(map, 5, event->name);
    same_text(map, 6, event->machine);
    same_text(map, 7, event->region);
    same_number(map, 8, event->cores);
    same_number(map, 9, event->memory_bytes);
    same_number(map, 10, event->state);
    same_number(map, 11, event->machine_cores_free);
    same_number(map, 12, event->machine_memory_free_bytes);
}

static void body_again(const struct event *event)
{
    uint8_t first[EVENT_BODY_BYTES_MAX];
    uint8_t second[EVENT_BODY_BYTES_MAX];
    struct event back;
    size_t size = event_encode(event, first);

    FLY_CHECK(event_decode(first, size, event->slice, event->incarnation, &back, NULL) == FLY_OK);
    FLY_CHECK(event_encode(&back, second) == size && memcmp(first, second, size) == 0);
}

static void same_machine(const msgpack_object *map, const struct event_machine *machine)
{
    FLY_CHECK(map->type == MSGPACK_OBJECT_MAP);
    same_text(map, 1, machine->name);
    same_text(map, 2, machine->region);
    same_number(map, 3, machine->cores);
    same_number(map, 4, machine->memory_bytes);
    same_number(map, 5, machine->cores_free);
    same_number(map, 6, machine->memory_free_bytes);
    same_number(map, 7, machine->cordoned);
    same_number(map, 8, machine->removed);
}

static void machine_again(const struct event_machine *machine)
{
    uint8_t bytes[EVENT_HEAD_BYTES_MAX + EVENT_BODY_BYTES_MAX];
    struct event_message message;
    struct event_machine back;
    size_t size = event_state_head_encode(1, 2, 3, 3, 1, bytes);
    uint8_t *body = bytes + size;

    size += event_machine_encode(machine, body);
    FLY_CHECK(event_message_decode(bytes, size, &message, NULL) == FLY_OK);
    FLY_CHECK(event_message_next_machine(&message, &back));
    FLY_CHECK(event_machine_encode(&back, body) == size - (size_t)(body - bytes));
    FLY_CHECK(strcmp(back.name, machine->name) == 0 && back.removed == machine->removed);
}

static void unpack_all(const uint8_t *data, size_t size, msgpack_unpacked *unpacked)
{
    size_t offset = 0;

    msgpack_unpacked_init(unpacked);
    FLY_CHECK(msgpack_unpack_next(unpacked, (const char *)data, size, &offset) ==
              MSGPACK_UNPACK_SUCCESS);
    FLY_CHECK(offset == size);
}

static void try_body(const uint8_t *data, size_t size)
{
    struct event event;
    msgpack_unpacked unpacked;

    if (event_decode(data, size, 1, 2, &event, NULL) == FLY_OK) {
        unpack_all(data, size, &unpacked);
        same_body(&unpacked.data, &event);
        body_again(&event);
        msgpack_unpacked_destroy(&unpacked);
    }
}

static void try_message(const uint8_t *data, size_t size)
{
    struct event_message message;
    struct event_machine machine;
    struct event event;
    msgpack_unpacked unpacked;
    uint32_t count = 0;

    if (event_message_decode(data, size, &message, NULL) != FLY_OK) {
        return;
    }
    unpack_all(data, size, &unpacked);
    same_number(&unpacked.data, 0, message.form);
    same_number(&unpacked.data, 1, message.slice);
    same_number(&unpacked.data, 2, message.incarnation);
    same_number(&unpacked.data, 3, message.from);
    same_number(&unpacked.data, 4, message.to);
    const msgpack_object *events = value_of(&unpacked.data, 5);
    while (event_message_next(&message, &event)) {
        FLY_CHECK(event.seq == message.from + count);
        same_body(&events->via.array.ptr[count], &event);
        body_again(&event);
        count++;
    }
    while (event_message_next_machine(&message, &machine)) {
        same_machine(&events->via.array.ptr[count], &machine);
        machine_again(&machine);
        count++;
    }
    FLY_CHECK(events == NULL ? count == 0 : events->via.array.size == count);
    msgpack_unpacked_destroy(&unpacked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_body(data, size);
    try_message(data, size);
    return 0;
}
