/*
 * swim - the insides of a struct gossip, for the files that share them.
 *
 *   gossip.c    public face, time        receive.c   a packet comes in
 *   member.c    the table, events        outbox.c    a packet goes out
 *   claim.c     what members say of themselves, and what we say
 *   probe.c     who is heard             suspect.c   accusations, and who is dead
 *   spread.c    what is told on the way  sync.c      what was missed
 *   join.c      seeds, settling          twin.c      another process with our identity
 *
 * Everything is bounded and lies in one block. A slot is the place of a member in the table and is
 * its name inside this process; slot 0 is this node. Functions that need the time find it in
 * g->now. Pure.
 */
#ifndef FLY_GOSSIP_SWIM_H
#define FLY_GOSSIP_SWIM_H

#include "gossip/keyring.h"
#include "gossip/packet.h"
#include "proto/base/index.h"
#include "proto/base/list.h"
#include "proto/base/rng.h"

#define SWIM_NONE UINT32_MAX
#define SWIM_NEVER INT64_MAX

enum {
    SWIM_SELF = 0, /* slot */
    SWIM_ACCUSERS_MAX = 4,
    SWIM_PROBES_MAX = 16,
    SWIM_RELAYS_MAX = 64,
    SWIM_JOBS_MAX = 128,
    SWIM_PULLS_MAX = 64,
    SWIM_TWINS_MAX = 4,
    SWIM_HEALTH_MAX = 4,
    SWIM_FORWARD_MAX = 640,
    SWIM_SLOTS_MAX = 64,        /* members that one answer names */
    SWIM_DUMP_MAX = 96,         /* members that an answer to a JOIN tells of */
    SWIM_VERIFIES_PER_S = 1000, /* signatures, in the long run */
    SWIM_VERIFIES_BURST = 1000, /* and at once */
    SWIM_TOMBSTONES_MIN = 64,
    SWIM_WITNESSES_ASKED = 3, /* members that look for themselves when they hear an accusation */
    SWIM_SEED_TRIES = 5,      /* once somebody else has answered */
};

/* --- the table --- */

struct swim_accuser {
    struct packet_accusation said;
    uint8_t sends; /* times it is still to be told */
};

struct swim_member {
    struct gossip_member seen; /* the public face; credential.id names it */
    struct fly_list spread;    /* in g->spread while there is something to tell of it */
    struct fly_list event;     /* in g->events while the caller has not heard */
    enum gossip_state was;     /* what the caller last heard; 0: nothing yet */
    bool used;
    bool gone;      /* reaped; the slot waits until the caller has heard of it */
    uint32_t place; /* in g->order */
    uint64_t boot;
    uint64_t credential_tag; /* of the credential that we hold */
    uint64_t hash;           /* its share of g->buckets */
    uint16_t claim_size;
    uint8_t claim[PACKET_CLAIM_MAX]; /* as it came */
    uint8_t claim_sends;
    uint8_t accuser_count;
    struct swim_accuser accusers[SWIM_ACCUSERS_MAX]; /* of the claim above */
    int64_t suspected_ms; /* start of the suspicion time; stalls of our own push it on */
    int64_t verdict_ms;   /* not judged again before this */
    int64_t looked_ms;    /* last look before the verdict */
    int64_t there_ms;     /* its host's kernel was heard last */
    int64_t answered_ms;  /* its last JOIN */
    bool pair_ready;
    uint8_t pair[KEYRING_SIZE];
    uint32_t sequence_out;
    uint32_t sequence_in; /* highest of its present boot; bit i of the mask: that - i was seen */
    uint64_t sequence_mask;
};

/* A member that was forgotten; claims up to this one stay forgotten. */
struct swim_tombstone {
    struct node_id id;
    uint32_t generation;
    uint32_t version;
    int64_t until_ms; /* 0: free */
};

/* --- probes --- */

enum swim_stage { SWIM_IDLE = 0, SWIM_DIRECT, SWIM_INDIRECT };

struct swim_probe {
    enum swim_stage stage;
    uint32_t slot;
    uint64_t nonce;
    int64_t sent_us; /* when it began, as gossip_now */
    int64_t deadline_ms;
    uint8_t asked;    /* helpers */
    uint8_t nacks;    /* of them */
    uint8_t refusals; /* its host said that nobody listens there */
    bool to_dead;     /* one PING to see whether it is there after all: no accusation */
    bool graced;      /* we were late: the deadline was moved once */
};

/* Somebody asked us to probe for it. */
struct swim_relay {
    bool used;
    uint32_t asker;
    uint32_t target;
    uint64_t nonce;
    int64_t deadline_ms;
};

struct swim_twin {
    bool used;
    struct gossip_address address;
    uint64_t nonce;
    int64_t sent_ms;
    int64_t next_ms;
    uint8_t tries;
};

struct swim_seed {
    bool used;
    bool answered;
    struct gossip_address address;
    uint64_t nonce;
    int64_t next_ms;
    uint8_t tries;
};

struct swim_pull {
    struct node_id id;
    int64_t until_ms; /* not asked again before this; past: free */
};

/* --- what goes out, encoded when it is taken --- */

enum swim_job_kind {
    SWIM_JOB_PING = 1,
    SWIM_JOB_TWIN,
    SWIM_JOB_ASK,
    SWIM_JOB_ACK,
    SWIM_JOB_NACK,
    SWIM_JOB_FORWARD,
    SWIM_JOB_JOIN,
    SWIM_JOB_SPREAD,
    SWIM_JOB_RECORDS,
    SWIM_JOB_DUMP,
    SWIM_JOB_PULL,
    SWIM_JOB_SYNC,
    SWIM_JOB_DIGEST,
};

struct swim_job {
    enum swim_job_kind kind;
    uint8_t flags;  /* of the packet */
    bool tell_self; /* ACK: our own claim goes first */
    bool tell_them; /* ACK: what we know of them, whose boot is another */
    uint32_t slot;  /* of the receiver; SWIM_NONE: only `to` is known */
    uint32_t about; /* ASK: the target */
    struct gossip_address to;
    uint64_t nonce;
    union {
        struct {
            uint16_t size;
            uint8_t bytes[SWIM_FORWARD_MAX];
        } forward;
        struct {
            uint32_t count;
            struct node_id ids[PACKET_IDS_MAX];
        } pull;
        struct {
            uint32_t at;
            uint32_t count;
            uint32_t slots[SWIM_SLOTS_MAX];
        } records;
        struct {
            uint32_t start; /* slot behind this node's own */
            uint32_t at;    /* steps made */
            uint32_t left;  /* members that may still be told of */
        } dump;
        uint64_t buckets;
    } as;
};

struct gossip {
    struct gossip_timing timing;
    struct gossip_counters counters;
    char cluster[CLUSTER_ID_SIZE];
    uint8_t ca[NODE_KEY_SIZE];
    struct node_keys keys;
    uint8_t x_secret[KEYRING_SIZE];
    struct seal_ring ring;
    struct fly_rng rng;
    struct gossip_now now;
    int64_t started_ms;
    uint64_t boot;

    /* table */
    uint32_t members_max;
    uint32_t slot_count;
    uint32_t sequence_floor;     /* highest sequence_out of a member that was dropped */
    struct swim_member *members; /* [slot_count], by slot */
    uint32_t *order;             /* [count], slots, shuffled: the way of the probes */
    uint32_t *free;              /* [free_count], slots */
    uint32_t free_count;
    uint32_t count;
    uint32_t suspects;
    struct index index;
    uint64_t buckets[PACKET_BUCKETS]; /* XOR over living members, by id */
    struct swim_tombstone *tombstones;
    uint32_t tombstone_count;
    uint32_t tombstone_next;
    int64_t changed_ms; /* last change of the buckets */
    int64_t reap_ms;    /* next look for members to forget */
    struct fly_list events;

    /* failure detection */
    struct swim_probe probes[SWIM_PROBES_MAX];
    struct swim_relay relays[SWIM_RELAYS_MAX];
    uint32_t probe_at; /* in order */
    bool probe_next_in_ring;
    uint32_t health; /* Lifeguard's local health: 0 is well */
    int64_t round_ms;
    int64_t dead_ms;  /* next probe of a dead member */
    int64_t heard_ms; /* last authentic word of anybody; the start at first */
    int64_t alone_ms; /* next look for anybody, while nobody is heard */
    int64_t doubt_ms; /* we stood still: no accusation before this, or an answer; 0: no doubt */

    /* dissemination, repair */
    struct fly_list spread;
    int64_t spread_ms;
    int64_t sync_ms; /* none before this */
    int64_t synced_ms;
    struct swim_pull pulls[SWIM_PULLS_MAX];
    uint32_t strangers; /* told of in this second to who has no MAC */
    int64_t strangers_ms;
    uint32_t verifies; /* that may still be made, times 1000 */
    int64_t verifies_ms;
    int64_t retold_ms; /* our claim, to one who had an old one */

    /* joining, leaving */
    struct swim_seed seeds[GOSSIP_SEEDS_MAX];
    uint32_t seed_next;
    bool joined;
    bool settled;
    bool settled_told;
    int64_t settle_ms;
    bool leaving;
    bool left;
    int64_t leave_ms;
    struct swim_twin twins[SWIM_TWINS_MAX];
    bool twin;
    bool twin_told;
    struct gossip_address twin_address;

    struct swim_job jobs[SWIM_JOBS_MAX];
    uint32_t job_first;
    uint32_t job_count;
};

/* A packet while it is taken in. */
struct swim_arrival {
    const struct gossip_address *from;
    struct packet_header header;
    struct fly_bytes plain; /* all of it */
    struct fly_reader body; /* without the MAC */
    uint32_t sender;        /* slot; SWIM_NONE: not known */
    bool authentic;         /* its MAC is right, from the boot we know, and it is not a replay */
    bool other_boot;        /* its MAC is right, but we know another life of the sender */
    bool accused;           /* it accused us: the answer carries our claim */
    uint32_t want_count;    /* ids to ask the sender about */
    struct node_id wants[PACKET_IDS_MAX];
};

/* --- member.c --- */

void swim_member_setup(struct gossip *g);
uint32_t swim_member_find(const struct gossip *g, const struct node_id *id);
/* A place for a new member; the longest dead or gone one makes room when the table is full.
 * SWIM_NONE: full, counted. The caller fills in the claim. */
uint32_t swim_member_add(struct gossip *g, const struct credential *credential);
/* Keeps a tombstone; GONE is told. */
void swim_member_drop(struct gossip *g, uint32_t slot);
void swim_member_state(struct gossip *g, uint32_t slot, enum gossip_state state);
/* After any change of state, claim or boot: buckets and the caller learn of it. */
void swim_member_changed(struct gossip *g, uint32_t slot);
unsigned swim_member_bucket(const struct node_id *id);
uint64_t swim_member_view(const struct gossip *g);
/* Whether a claim about a forgotten member is one of those that were forgotten. */
bool swim_member_buried(const struct gossip *g, const struct packet_claim *claim);
bool swim_member_is_up(const struct swim_member *m); /* alive or suspect */
enum swim_choice {
    SWIM_UP,    /* alive or suspect */
    SWIM_HEARD, /* up, and we do not accuse it */
    SWIM_ALIVE,
};
/* Up to max random slots of such members, without this node and `except`. */
uint32_t swim_member_choose(struct gossip *g, uint32_t except, enum swim_choice choice,
                            uint32_t *out, uint32_t max);
/* Others that are up. */
uint32_t swim_member_others(const struct gossip *g);
uint32_t swim_member_at_address(const struct gossip *g, const struct gossip_address *address);
void swim_member_reap(struct gossip *g);
/* The pair's key, made at the first use; NULL: the member's key is no good. */
const uint8_t *swim_member_pair(struct gossip *g, uint32_t slot);
struct fly_bytes swim_member_claim(const struct swim_member *m);

/* --- claim.c --- */

/* Signs a new claim of this node from its meta, and tells it. */
void swim_claim_say(struct gossip *g);
/* One version more than the present one. */
void swim_claim_raise(struct gossip *g);
void swim_claim_receive(struct gossip *g, struct swim_arrival *a, struct fly_bytes bytes);
void swim_full_receive(struct gossip *g, struct swim_arrival *a, struct fly_bytes bytes);
/* Whether one more signature may be checked now. */
bool swim_verify_allowed(struct gossip *g, uint32_t count);

/* --- suspect.c --- */

void swim_suspect_receive(struct gossip *g, struct swim_arrival *a,
                          const struct packet_accusation *said);
/* Our own accusation, or a stronger one than before. */
void swim_suspect_accuse(struct gossip *g, uint32_t slot, enum packet_evidence evidence);
bool swim_suspect_is_accused_by(const struct swim_member *m, const struct node_id *accuser);
void swim_suspect_tick(struct gossip *g);
int64_t swim_suspect_deadline(const struct gossip *g);
/* Forgets all accusations: a newer claim was heard. */
void swim_suspect_clear(struct swim_member *m);
/* A stall of ours of so many ms: nobody's time runs out meanwhile. */
void swim_suspect_postpone(struct gossip *g, int64_t ms);

/* --- probe.c --- */

void swim_probe_start(struct gossip *g, uint32_t slot, bool to_dead);
void swim_probe_tick(struct gossip *g);
int64_t swim_probe_deadline(const struct gossip *g);
/* Forgets what goes on with the slot. */
void swim_probe_forget(struct gossip *g, uint32_t slot);
void swim_probe_ping(struct gossip *g, struct swim_arrival *a);
void swim_probe_ack(struct gossip *g, struct swim_arrival *a);
void swim_probe_nack(struct gossip *g, struct swim_arrival *a);
void swim_probe_ask(struct gossip *g, struct swim_arrival *a);
/* An ACK that is not for us: goes on to who asked for it. */
void swim_probe_relay(struct gossip *g, struct swim_arrival *a);
void swim_probe_refused(struct gossip *g, uint32_t slot);
void swim_probe_stalled(struct gossip *g, int64_t ms);

/* --- spread.c --- */

/* How often a word is told. */
uint8_t swim_spread_limit(const struct gossip *g);
/* The slot's claim or accusers have `sends` left. */
void swim_spread_add(struct gossip *g, uint32_t slot);
void swim_spread_fill(struct gossip *g, struct fly_writer *w, uint32_t receiver);
void swim_spread_tick(struct gossip *g);
int64_t swim_spread_deadline(const struct gossip *g);

/* --- sync.c --- */

/* The view of a member that just spoke to us. */
void swim_sync_notice(struct gossip *g, uint32_t slot, uint64_t view);
void swim_sync_receive(struct gossip *g, struct swim_arrival *a);
void swim_sync_digest(struct gossip *g, struct swim_arrival *a);
void swim_sync_pull(struct gossip *g, struct swim_arrival *a);
/* Asks the packet's sender about an id, at the end of the packet. */
void swim_sync_want(struct swim_arrival *a, const struct node_id *id);
void swim_sync_flush(struct gossip *g, struct swim_arrival *a);
/* A DIGEST's body: lines of as many of these buckets as fit. Returns those that are done. */
uint64_t swim_sync_lines(const struct gossip *g, uint64_t buckets, struct fly_writer *w);

/* --- join.c --- */

void swim_join_receive(struct gossip *g, struct swim_arrival *a);
void swim_join_answer(struct gossip *g, struct swim_arrival *a);
void swim_join_tick(struct gossip *g);
int64_t swim_join_deadline(const struct gossip *g);
/* We took a new generation: who answers us should have heard of it. */
void swim_join_again(struct gossip *g);

/* --- twin.c --- */

void swim_twin_check(struct gossip *g, const struct gossip_address *address);
void swim_twin_ack(struct gossip *g, const struct swim_arrival *a);
void swim_twin_tick(struct gossip *g);
int64_t swim_twin_deadline(const struct gossip *g);

/* --- outbox.c --- */

/* The next job, zeroed but for kind, slot and address; NULL: no room, counted. */
struct swim_job *swim_outbox_new(struct gossip *g, enum swim_job_kind kind, uint32_t slot,
                                 const struct gossip_address *to);
/* To a member, where its claim says. */
struct swim_job *swim_outbox_to(struct gossip *g, enum swim_job_kind kind, uint32_t slot);
/* FULL and accusations of a member; false: no room. */
bool swim_outbox_put_full(struct gossip *g, struct fly_writer *w, uint32_t slot);

/* --- gossip.c --- */

/* Sets g->now, never backwards; a long stop is noticed here. */
void swim_pass_time(struct gossip *g, struct gossip_now now);

bool swim_address_equal(const struct gossip_address *a, const struct gossip_address *b);

#endif
