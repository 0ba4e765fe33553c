/*
 * packet - the bytes of gossip: a header, a body by type, and records that ride in any packet.
 *
 *   plain    header ‖ body ‖ records ‖ [MAC (8)]        sealed as a whole (proto/wire/seal.h)
 *   header   format (1) type (1) flags (1) from (16) boot (8) to (16) sequence (4)
 *   record   kind (1) size (2) bytes; a kind that nobody here knows is passed over
 *
 * A record proves itself: claims are signed by their subject, accusations by the accuser. So
 * records need no trust in the packet's sender, and go on as the bytes that came. Decoding is
 * strict and changes nothing; all integers are little-endian. Pure. The table is in docs/GOSSIP.md.
 */
#ifndef FLY_GOSSIP_PACKET_H
#define FLY_GOSSIP_PACKET_H

#include "gossip/gossip.h"
#include "proto/base/bytes.h"

enum {
    PACKET_FORMAT = 1,
    PACKET_MAC_SIZE = 8,
    PACKET_PLAIN_MAX = GOSSIP_PACKET_MAX - SEAL_OVERHEAD,
    PACKET_HEADER_SIZE = 3 + NODE_ID_SIZE + 8 + NODE_ID_SIZE + 4,
    PACKET_RECORD_HEAD = 3,
    /* What newer versions may say behind what is known here. */
    PACKET_CLAIM_EXTENSION_MAX = 64,
    PACKET_CLAIM_MAX = NODE_ID_SIZE + 4 + 4 + 8 + 1 + 8 + 16 + 2 + 2 + 2 + 1 + GOSSIP_REGION_SIZE +
                       4 + 1 + 12 * GOSSIP_SLICES_MAX + GOSSIP_NOTE_SIZE +
                       PACKET_CLAIM_EXTENSION_MAX + NODE_SIGNATURE_SIZE,
    PACKET_ACCUSATION_SIZE = NODE_ID_SIZE + 4 + 4 + NODE_ID_SIZE + 1 + NODE_SIGNATURE_SIZE,
    PACKET_FULL_MAX = 2 + CREDENTIAL_BYTES_MAX + PACKET_CLAIM_MAX,
    PACKET_IDS_MAX = 32,
    PACKET_BUCKETS = 64,
    PACKET_ENTRY_SIZE = NODE_ID_SIZE + 4 + 4 + 4 + 1,
};

enum packet_type {
    PACKET_PING = 1, /* nonce (8) view (8) */
    PACKET_ACK,      /* nonce (8) view (8) uptime, ms (8) */
    PACKET_NACK,     /* nonce (8) */
    PACKET_ASK,      /* nonce (8) size (2) and a whole plain PING for the header's third party */
    PACKET_RECORDS,  /* nonce (8): that of the JOIN it answers, or 0 */
    PACKET_JOIN,     /* nonce (8); its first record is the FULL of the sender */
    PACKET_PULL,     /* count (1) ids (16 each) */
    PACKET_SYNC,     /* PACKET_BUCKETS hashes (8 each) */
    PACKET_DIGEST,   /* covered buckets (8) count (1) entries */
};

enum packet_flag {
    PACKET_MAC = 1 << 0,     /* the last 8 bytes are a pairwise MAC over all before them */
    PACKET_RELAYED = 1 << 1, /* PING: came through a helper, so keep the ACK small */
    PACKET_LAST = 1 << 2,    /* RECORDS: the answer to a JOIN ends here */
};

struct packet_header {
    enum packet_type type;
    uint8_t flags;
    struct node_id from;
    uint64_t boot;
    struct node_id to; /* all zero: whoever is there */
    uint32_t sequence; /* per receiver and boot; of packets with a MAC */
};

enum packet_record_kind { PACKET_CLAIM = 1, PACKET_FULL, PACKET_ACCUSATION };

struct packet_record {
    uint8_t kind;
    struct fly_bytes bytes;
};

/* What a member says of itself. */
struct packet_claim {
    struct node_id id;
    uint32_t generation;
    uint32_t version;
    uint64_t boot;
    bool left;
    uint64_t credential_tag; /* of the credential in force: tells who has an older one */
    struct gossip_meta meta;
};

enum packet_evidence {
    PACKET_SILENT = 1, /* no answer, direct or through helpers */
    PACKET_DOWN,       /* and its host refuses the port */
};

/* "I do not hear it." */
struct packet_accusation {
    struct node_id accused;
    uint32_t generation; /* of the claim that it is about */
    uint32_t version;
    struct node_id accuser;
    enum packet_evidence evidence;
    uint8_t signature[NODE_SIGNATURE_SIZE];
};

/* One line of a DIGEST. */
struct packet_entry {
    struct node_id id;
    uint32_t generation;
    uint32_t version;
    uint32_t boot; /* low half */
    enum gossip_state state;
};

void packet_header_put(struct fly_writer *w, const struct packet_header *h);
/* False: not of this format, or an unknown type. */
bool packet_header_get(struct fly_reader *r, struct packet_header *out);

/* The next record; false at the end, and with r->failed when it is cut off. */
bool packet_record_next(struct fly_reader *r, struct packet_record *out);
/* Writes a record when it fits; false, nothing written, otherwise. */
bool packet_record_put(struct fly_writer *w, enum packet_record_kind kind, struct fly_bytes bytes);
bool packet_full_put(struct fly_writer *w, struct fly_bytes credential, struct fly_bytes claim);
/* Halves of a FULL; false: malformed. */
bool packet_full_split(struct fly_bytes full, struct fly_bytes *credential,
                       struct fly_bytes *claim);

/* Signs; returns the size in out[]. The meta must be packet_meta_ok. `cluster`: 32 hex digits. */
size_t packet_claim_encode(const struct packet_claim *claim, const struct node_keys *keys,
                           const char *cluster, uint8_t out[static PACKET_CLAIM_MAX]);
/* Form only: see packet_claim_signed. */
bool packet_claim_decode(struct fly_bytes bytes, struct packet_claim *out);
bool packet_claim_signed(struct fly_bytes bytes, const uint8_t key[static NODE_KEY_SIZE],
                         const char *cluster);
/* A port, texts that are terminated, printable ASCII, no more slices than there is room for. */
bool packet_meta_ok(const struct gossip_meta *meta);
/* Whether two good ones say the same. */
bool packet_meta_same(const struct gossip_meta *a, const struct gossip_meta *b);
/* <0, 0, >0: a is older than, the same as, newer than b. */
int packet_claim_compare(const struct packet_claim *a, const struct packet_claim *b);

void packet_accusation_sign(struct packet_accusation *a, const struct node_keys *keys,
                            const char *cluster);
bool packet_accusation_put(struct fly_writer *w, const struct packet_accusation *a);
bool packet_accusation_decode(struct fly_bytes bytes, struct packet_accusation *out);
bool packet_accusation_signed(const struct packet_accusation *a,
                              const uint8_t key[static NODE_KEY_SIZE], const char *cluster);

void packet_entry_put(struct fly_writer *w, const struct packet_entry *e);
/* False: cut off, or no such state. */
bool packet_entry_get(struct fly_reader *r, struct packet_entry *out);

/* Whether body and records of a packet of this type are well-formed: r stands behind the header
 * and ends before the MAC. Nothing is believed before this. */
bool packet_body_ok(const struct packet_header *h, struct fly_reader r);
/* Reads past the body, to the records. */
void packet_body_skip(const struct packet_header *h, struct fly_reader *r);

#endif
