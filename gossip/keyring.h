/*
 * keyring - the key that two members share, and the short MACs made with it.
 *
 * X25519 over the members' Ed25519 keys (RFC 7748; the birational map of libsodium), hashed with
 * both ids and the cluster: nobody else of the group can make or check such a MAC, so a third
 * member's stolen key cannot answer for anybody. Pure.
 */
#ifndef FLY_GOSSIP_KEYRING_H
#define FLY_GOSSIP_KEYRING_H

#include "gossip/packet.h"

enum { KEYRING_SIZE = 32 };

/* The X25519 half of a node's own key. */
void keyring_secret(const struct node_keys *keys, uint8_t out[static KEYRING_SIZE]);
/* The key shared by `self` and `other`, the same on both sides. False: other's key is no good. */
bool keyring_pair(const uint8_t secret[static KEYRING_SIZE], const struct node_id *self,
                  const struct node_id *other, const uint8_t other_key[static NODE_KEY_SIZE],
                  const char *cluster, uint8_t out[static KEYRING_SIZE]);
void keyring_mac(const uint8_t pair[static KEYRING_SIZE], struct fly_bytes message,
                 uint8_t out[static PACKET_MAC_SIZE]);
bool keyring_mac_ok(const uint8_t pair[static KEYRING_SIZE], struct fly_bytes message,
                    const uint8_t mac[static PACKET_MAC_SIZE]);

#endif
