/*
 * join_parts - what the two sides of a join sign. Nobody else includes it.
 */
#ifndef FLY_NODE_JOIN_PARTS_H
#define FLY_NODE_JOIN_PARTS_H

#include "node/join.h"

#define JOIN_BEGIN_DOMAIN "flylight-join-begin-1"
#define JOIN_ADMIT_DOMAIN "flylight-join-admit-1"

enum { JOIN_MESSAGE_MAX = 128 };

size_t join_begin_message(const uint8_t nonce[static JOIN_NONCE_SIZE],
                          const uint8_t box[static JOIN_BOX_SIZE], const char *cluster,
                          uint8_t out[static JOIN_MESSAGE_MAX]);
size_t join_admit_message(const uint8_t box[static JOIN_BOX_SIZE],
                          const uint8_t token_id[static JOIN_TOKEN_ID_SIZE], const char *cluster,
                          uint8_t out[static JOIN_MESSAGE_MAX]);

#endif
