#include "proto/wire/hello.h"

#include <string.h>

#include "proto/base/check.h"

static const char hello_domain[] = "flylight-hello-1";

enum { MESSAGE_MAX = 192, CLUSTER_DIGITS = CLUSTER_ID_SIZE - 1 };

static size_t write_message(const struct hello_handshake *h, enum hello_side side,
                            const uint8_t *tls_hash, uint8_t out[static MESSAGE_MAX])
{
    struct fly_writer w = fly_writer_over(out, MESSAGE_MAX);

    FLY_CHECK(strlen(h->cluster) == CLUSTER_DIGITS);
    FLY_CHECK(side == HELLO_CLIENT || side == HELLO_SERVER);
    fly_put_bytes(&w, h->cluster, CLUSTER_DIGITS);
    fly_put_u8(&w, (uint8_t)side);
    fly_put_bytes(&w, h->client_nonce, FRAME_NONCE_SIZE);
    fly_put_bytes(&w, h->server_nonce, FRAME_NONCE_SIZE);
    fly_put_bytes(&w, h->client.bytes, sizeof h->client.bytes);
    fly_put_bytes(&w, h->server.bytes, sizeof h->server.bytes);
    fly_put_bytes(&w, tls_hash, NODE_TLS_HASH_SIZE);
    FLY_CHECK(!w.failed);
    return w.size;
}

_Static_assert(CLUSTER_DIGITS + 1 + 2 * FRAME_NONCE_SIZE + 2 * NODE_ID_SIZE + NODE_TLS_HASH_SIZE <=
                   MESSAGE_MAX,
               "a handshake fits");

void hello_sign(const struct hello_handshake *h, enum hello_side side, const struct node_keys *keys,
                const uint8_t tls_hash[static NODE_TLS_HASH_SIZE],
                uint8_t out[static NODE_SIGNATURE_SIZE])
{
    uint8_t message[MESSAGE_MAX];
    size_t size = write_message(h, side, tls_hash, message);

    node_sign(keys, hello_domain, (struct fly_bytes){message, size}, out);
}

enum fly_status hello_verify(const struct hello_handshake *h, enum hello_side side,
                             struct fly_bytes credential, struct fly_bytes proof,
                             const uint8_t ca[static NODE_KEY_SIZE], int64_t now_ms,
                             struct credential *c, struct fly_error *error)
{
    struct credential said;
    uint8_t message[MESSAGE_MAX];

    if (credential_decode(credential.data, credential.size, &said, error) != FLY_OK) {
        if (error != NULL) {
            error->status = FLY_UNAUTHENTICATED;
        }
        return FLY_UNAUTHENTICATED;
    }
    if (!node_id_equal(&said.id, side == HELLO_CLIENT ? &h->client : &h->server)) {
        return fly_error_set(error, FLY_UNAUTHENTICATED,
                             "node %s: not the node that this handshake is with", said.name);
    }
    if (proof.size != NODE_SIGNATURE_SIZE) {
        return fly_error_set(error, FLY_UNAUTHENTICATED, "node %s: its proof is not 64 bytes",
                             said.name);
    }
    enum fly_status status = credential_verify(&said, ca, h->cluster, now_ms, error);
    if (status != FLY_OK) {
        return status;
    }
    size_t size = write_message(h, side, said.tls_hash, message);
    if (!node_signed(said.key, hello_domain, (struct fly_bytes){message, size}, proof.data)) {
        return fly_error_set(error, FLY_UNAUTHENTICATED,
                             "node %s: its proof is not of this handshake", said.name);
    }
    *c = said;
    return FLY_OK;
}
