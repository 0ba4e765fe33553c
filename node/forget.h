/*
 * forget - the signed word that a slice is lost for good (DESIGN 4.10).
 *
 *   u8 version 1 ‖ u32 tag ‖ u64 wall ms ‖ string16 credential of the signer ‖ 64 signature
 *
 * Signed by the key of a node that may admit others, over the cluster's id and all before the
 * signature. Whoever holds it can prove it to anybody, for ever: the signer's credential must have
 * been good when it signed, not now. There is no word that takes it back. Pure.
 */
#ifndef FLY_NODE_FORGET_H
#define FLY_NODE_FORGET_H

#include "node/catalog/peers.h"
#include "proto/base/bytes.h"
#include "proto/wire/credential.h"

enum { FORGET_SIZE_MAX = PEERS_WORD_SIZE_MAX };

struct forget_word {
    uint32_t tag;
    int64_t time_ms;
    struct credential by;
};

/* The word of the node with this credential and its keys; its size. */
size_t forget_sign(const struct credential *by, const struct node_keys *keys, const char *cluster,
                   uint32_t tag, int64_t now_ms, uint8_t out[static FORGET_SIZE_MAX]);
/* INVALID_ARGUMENT: not such a word; PERMISSION_DENIED: not said by one who may, or of another
 * cluster, or of tomorrow. */
enum fly_status forget_verify(struct fly_bytes word, const char *cluster,
                              const uint8_t ca[static NODE_KEY_SIZE], int64_t now_ms,
                              struct forget_word *out, struct fly_error *error);

#endif
