#include "client/lib/dynamic.h"

#include <stdlib.h>

#include "proto/base/check.h"

static void init_message(ProtobufCMessage *message);

static const ProtobufCMessageDescriptor anything = {
    .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
    .name = "message",
    .short_name = "message",
    .c_name = "ProtobufCMessage",
    .package_name = "",
    .sizeof_message = sizeof(ProtobufCMessage),
    .message_init = init_message,
};

static void init_message(ProtobufCMessage *message)
{
    *message = (ProtobufCMessage){.descriptor = &anything};
}

struct rpc_method dynamic_method(const struct schema_method *method)
{
    return (struct rpc_method){
        .name = method->name,
        .request = &anything,
        .reply = &anything,
        .flags = (method->client_streams ? (unsigned)RPC_CLIENT_STREAM : 0U) |
                 (method->server_streams ? (unsigned)RPC_STREAM : 0U),
        .hash = rpc_method_hash(method->name),
    };
}

ProtobufCMessage *dynamic_message(struct fly_bytes bytes)
{
    return protobuf_c_message_unpack(&anything, NULL, bytes.size, bytes.data);
}

void dynamic_free(ProtobufCMessage *message)
{
    if (message != NULL) {
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

uint8_t *dynamic_bytes(const ProtobufCMessage *message, size_t *size)
{
    *size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(*size + 1);

    FLY_CHECK(bytes != NULL);
    FLY_CHECK(protobuf_c_message_pack(message, bytes) == *size);
    return bytes;
}
