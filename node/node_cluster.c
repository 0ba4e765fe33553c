/*
 * node_cluster - a node among others: members from gossip, links to them, their slices' streams.
 *
 * Gossip and feed have threads of their own, which only post; everything here is the loop's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "node/answer.h"
#include "node/node_parts.h"
#include "proto/base/check.h"
#include "proto/base/log.h"

enum {
    LOOK_MS = 500,
    DUPLICATE_CHANGES_MAX = 64,
    FEED_WAITING_MAX = 32 << 20,
    FEED_TELL_MS = 60000, /* what the feed refused is told once in so long */
};

/* A message of the feed on its way to the loop. */
struct feed_letter {
    uint64_t source;
    size_t size;
    uint8_t bytes[];
};

static uint64_t random_u64(void)
{
    uint64_t value = 0;

    randombytes_buf(&value, sizeof value);
    return value;
}

/* --- on other threads --- */

static void on_gossip(void *user, const struct gossip_event *event)
{
    struct node *n = user;

    switch (event->kind) {
    case GOSSIP_EVENT_SETTLED:
        atomic_store(&n->settled, true);
        break;
    case GOSSIP_EVENT_TWIN:
        atomic_store(&n->twin, true);
        break;
    case GOSSIP_EVENT_CHANGED:
    case GOSSIP_EVENT_GONE:
    default:
        break;
    }
    if (!atomic_exchange(&n->members_posted, true)) { /* one letter is enough for many changes */
        (void)mailbox_post(&n->mailbox, MAIL_CONTROL, MAIL_MEMBERS, NULL);
    }
}

static bool on_feed(void *user, uint64_t source, struct fly_bytes message)
{
    struct node *n = user;
    struct feed_letter *letter = NULL;

    if (atomic_fetch_add(&n->feed_waiting, message.size) > FEED_WAITING_MAX ||
        (letter = malloc(sizeof *letter + message.size)) == NULL) {
        atomic_fetch_sub(&n->feed_waiting, message.size);
        return false;
    }
    letter->source = source;
    letter->size = message.size;
    memcpy(letter->bytes, message.data, message.size);
    if (!mailbox_post(&n->mailbox, MAIL_STREAM, MAIL_FEED, letter)) {
        atomic_fetch_sub(&n->feed_waiting, message.size);
        free(letter);
        return false;
    }
    return true;
}

/* --- the loop's thread --- */

void node_take_feed(struct node *n, void *what, struct owner_now now)
{
    struct feed_letter *letter = what;

    streams_receive(n->streams, letter->source,
                    (struct fly_bytes){.data = letter->bytes, .size = letter->size}, now.boot_ms);
    atomic_fetch_sub(&n->feed_waiting, letter->size);
    free(letter);
}

static void on_link_down(void *user, const struct node_id *id)
{
    struct node *n = user;

    if (n->gossip != NULL) {
        gossip_thread_hint_down(n->gossip, id);
    }
}

static void on_seen(void *user, uint32_t tag, uint64_t incarnation, uint64_t seq)
{
    struct node *n = user;

    (void)seen_note(n->seen, tag, incarnation, seq);
}

void node_make_streams(struct node *n)
{
    const struct links_config links = {
        .identity = &n->identity, .mailbox = &n->mailbox, .down = on_link_down, .user = n};

    directory_init(&n->directory);
    n->seen = seen_init(calloc(1, seen_size()), random_u64());
    n->peers = peers_init(calloc(1, peers_size()), random_u64());
    if (n->run != NULL) {
        n->links = links_create(&links);
    }
    const struct streams_config streams = {.catalog = n->catalog,
                                           .directory = &n->directory,
                                           .links = n->links,
                                           .feed = n->subscriber,
                                           .seed = random_u64(),
                                           .seen = on_seen,
                                           .user = n,
                                           .observer = node_dash_observer(n)};
    n->streams = streams_create(&streams);
}

/* --- what this node says of itself --- */

/* FLY_VERSION as a number: major << 16 | minor << 8 | patch. */
static uint32_t software(void)
{
    unsigned part[3] = {0};

    (void)sscanf(FLY_VERSION, "%u.%u.%u", &part[0], &part[1], &part[2]);
    return part[0] << 16 | (part[1] & 0xff) << 8 | (part[2] & 0xff);
}

void node_tell(struct node *n)
{
    struct gossip_meta meta = n->meta;
    struct owner *owner = n->host != NULL ? host_owner(n->host) : NULL;

    if (n->gossip == NULL) {
        return;
    }
    meta.serving = atomic_load(&n->serving);
    meta.slice_count = 0;
    if (owner != NULL) {
        meta.slices[meta.slice_count++] =
            (struct gossip_slice){.tag = n->tag, .epoch = slice_totals(owner_state(owner))->term};
    }
    (void)fly_copy_string(meta.note, sizeof meta.note, n->note);
    if (memcmp(&meta, &n->told, sizeof meta) != 0) {
        n->told = meta;
        gossip_thread_set_meta(n->gossip, &meta);
    }
}

static uint16_t port_of(const char *url)
{
    const char *colon = strrchr(url, ':');

    return colon != NULL ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
}

void node_self_member(const struct node *n, struct gossip_member *out)
{
    struct owner *owner = n->host != NULL ? host_owner(n->host) : NULL;

    *out = (struct gossip_member){
        .credential = n->identity.credential,
        .meta = {.roles = n->roles, .serving = atomic_load(&n->serving), .software = software()},
        .state = GOSSIP_ALIVE,
        .generation = n->identity.generation,
        .since_ms = n->began_ms,
        .self = true};
    out->credential.roles = n->roles;
    (void)fly_copy_string(out->credential.name, sizeof out->credential.name, n->name);
    (void)fly_copy_string(out->meta.region, sizeof out->meta.region, n->region);
    (void)gossip_address_parse("127.0.0.1:0", 0, &out->meta.address);
    if (n->server != NULL) {
        out->meta.rpc_port = port_of(rpc_server_url(n->server, 0));
    }
    if (owner != NULL) {
        out->meta.slices[out->meta.slice_count++] =
            (struct gossip_slice){.tag = n->tag, .epoch = slice_totals(owner_state(owner))->term};
    }
}

static bool address_of(const char *host, uint16_t port, struct gossip_address *out)
{
    char text[CONFIG_ADDRESS_TEXT_SIZE];

    config_address_format(host, port, text);
    return gossip_address_parse(text, port, out);
}

static enum fly_status make_feed(struct node *n, struct fly_error *error)
{
    char address[CONFIG_ADDRESS_TEXT_SIZE];
    char url[CONFIG_ADDRESS_TEXT_SIZE + 8];
    struct seal_ring ring;
    enum fly_status status = FLY_OK;

    seal_ring_derive(&ring, &n->identity.group, SEAL_FEED, n->identity.record.id);
    const struct feed_subscriber_config config = {.ring = &ring, .received = on_feed, .user = n};
    status = feed_subscriber_create(&n->subscriber, &config);
    if (status == FLY_OK && n->tag != 0) {
        config_address_format(n->run->pub.host, n->run->pub.port, address);
        (void)snprintf(url, sizeof url, "tcp://%s", address);
        status = feed_publisher_create(&n->publisher, url, &ring, random_u64(), error);
    }
    seal_ring_wipe(&ring);
    return status;
}

/* Before anything dials or is dialled: nng's feed sockets. */
enum fly_status node_open_feed(struct node *n, struct fly_error *error)
{
    return n->run != NULL ? make_feed(n, error) : FLY_OK;
}

static uint32_t seeds_of(struct node *n, struct gossip_address *out, uint32_t max)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < n->run->join_count && count < max; i++) {
        count += address_of(n->run->joins[i].host, n->run->joins[i].port, &out[count]);
    }
    for (uint32_t i = 0; i < n->identity.settings.seed_count && count < max; i++) {
        count += gossip_address_parse(n->identity.settings.seeds[i], 7400, &out[count]);
    }
    for (uint32_t i = 0; i < peers_count(n->peers) && count < max; i++) {
        const struct peers_member *p = peers_at(n->peers, i);
        if (p->address_count > 0 && !node_id_equal(&p->id, &n->identity.credential.id)) {
            memcpy(out[count].ip, p->addresses[0].ip, sizeof out[count].ip);
            out[count++].port = p->addresses[0].port;
        }
    }
    return count;
}

enum fly_status node_open_gossip(struct node *n, struct fly_error *error)
{
    struct gossip_address seeds[GOSSIP_SEEDS_MAX];
    struct gossip_thread_config config = {
        .beacon = n->run->beacon, .seeds = seeds, .beat = &n->beat, .event = on_gossip, .user = n};

    config.seed_count = seeds_of(n, seeds, GOSSIP_SEEDS_MAX);
    (void)fly_copy_string(config.bind, sizeof config.bind, n->run->gossip.host);
    n->meta = (struct gossip_meta){.rpc_port = port_of(rpc_server_url(n->server, 0)),
                                   .tls = !n->run->rpc.loopback,
                                   .roles = n->roles,
                                   .software = software()};
    if (n->publisher != NULL) {
        n->meta.pub_port = feed_publisher_port(n->publisher);
    }
    n->meta.http_port = node_dash_told_port(n);
    n->meta.https = n->meta.http_port != 0 && node_dash_https(n);
    (void)fly_copy_string(n->meta.region, sizeof n->meta.region, n->region);
    if (!address_of(n->run->advertise, n->run->gossip.port, &n->meta.address)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "--advertise %s is not a numeric address",
                             n->run->advertise);
    }
    config.gossip = (struct gossip_config){.members_max = DIRECTORY_MEMBERS_MAX,
                                           .cluster = n->identity.record.id,
                                           .keys = n->identity.keys,
                                           .credential = n->identity.credential,
                                           .generation = n->identity.generation,
                                           .boot = random_u64() | 1,
                                           .meta = n->meta,
                                           .group = n->identity.group,
                                           .timing = gossip_timing_lan()};
    memcpy(config.gossip.ca, n->identity.record.ca, NODE_KEY_SIZE);
    enum fly_status status = gossip_thread_create(&n->gossip, &config, error);
    sodium_memzero(&config.gossip.keys, sizeof config.gossip.keys);
    if (status == FLY_OK) {
        n->meta.address.port = gossip_thread_port(n->gossip);
        n->told = n->meta;
    }
    return status;
}

enum fly_status node_open_admission(struct node *n, struct fly_error *error)
{
    struct config_address rpc = {.port = n->meta.rpc_port, .loopback = n->run->rpc.loopback};
    struct admitting_config config = {.identity = &n->identity, .gossip = n->gossip};
    char gossip[GOSSIP_ADDRESS_TEXT_SIZE];

    if (!n->identity.has_admission) {
        return FLY_OK;
    }
    (void)fly_copy_string(rpc.host, sizeof rpc.host, n->run->advertise);
    gossip_address_format(&n->meta.address, gossip);
    config.gossip_address = gossip;
    if (!join_address_from(&rpc, &config.address)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "--advertise %s: joiners could not use it", n->run->advertise);
    }
    return admitting_create(&n->admitting, &config, error);
}

enum fly_status node_open_peers(struct node *n, struct fly_error *error)
{
    enum fly_status status = peers_file_load(n->config->state, n->peers, n->seen, error);

    if (status == FLY_OK) {
        status = peers_file_create(&n->peers_file, n->config->state, n->peers, n->seen, error);
    }
    return status;
}

/* --- what others say --- */

static void note_change(struct node *n, const struct gossip_member *m)
{
    struct peers_address address = {.port = m->meta.address.port};
    char text[DIRECTORY_URL_SIZE];
    char id[NODE_ID_TEXT_SIZE];

    memcpy(address.ip, m->meta.address.ip, sizeof address.ip);
    if (m->state == GOSSIP_ALIVE) {
        (void)peers_note(n->peers, &m->credential.id, m->credential.name, &address);
    }
    const struct gossip_member *was = directory_member(&n->directory, &m->credential.id);
    if (was != NULL && was->state == m->state && was->generation == m->generation) {
        return;
    }
    directory_gossip_text(m, text);
    node_id_format(&m->credential.id, id);
    fly_log_info("member", F_STR("node", m->credential.name),
                 F_STR("state", directory_state_name(m->state)), F_STR("address", text),
                 F_STR("id", id));
}

void node_members(struct node *n, struct owner_now now)
{
    static struct gossip_member fresh[DIRECTORY_MEMBERS_MAX];

    bool settled = atomic_load(&n->settled); /* before the look that tells what was settled */
    atomic_store(&n->members_posted, false);
    uint32_t count = gossip_thread_members(n->gossip, fresh, DIRECTORY_MEMBERS_MAX);
    count = count < DIRECTORY_MEMBERS_MAX ? count : DIRECTORY_MEMBERS_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (!fresh[i].self) {
            note_change(n, &fresh[i]);
        }
    }
    memcpy(n->directory.members, fresh, count * sizeof fresh[0]);
    directory_update(&n->directory, count);
    links_update(n->links, &n->directory);
    streams_update(n->streams, now.boot_ms);
    node_standing_members(n, now);
    node_dash_members(n, now);
    if (settled) {
        front_open(n->front);
    }
    n->look_ms = now.boot_ms;
}

/* What the catalog should think of each slice. */
static void judge_slices(struct node *n, struct owner_now now)
{
    for (uint32_t i = 0; i < streams_count(n->streams); i++) {
        struct stream *st = streams_at(n->streams, i);
        const struct gossip_member *owner = directory_owner(&n->directory, st->tag);
        bool forgotten = false;
        struct catalog_slice_state state = {.founded_ms = st->founded_ms};
        if (seen_find(n->seen, st->tag, NULL, NULL, &forgotten) && forgotten) {
            streams_forget(n->streams, st->tag);
            continue;
        }
        if (st->local) {
            state.placeable = atomic_load(&n->serving);
        } else {
            state.placeable = owner != NULL && owner->meta.serving &&
                              (owner->state == GOSSIP_ALIVE || owner->state == GOSSIP_SUSPECT);
            state.doubtful = owner != NULL && owner->state == GOSSIP_SUSPECT;
            state.stale_ms = follow_stale_ms(&st->follow, now.boot_ms);
        }
        catalog_set_slice(n->catalog, st->tag, &state);
    }
}

/* --- the same machine brought twice: the older slice keeps it --- */

static bool inventory_open(void *user, const char *name)
{
    struct node *n = user;

    return reconcile_has_open(&n->reconcile, name);
}

static void cordon_duplicates(struct node *n, struct owner_now now)
{
    struct duplicate_change changes[DUPLICATE_CHANGES_MAX];

    if (n->tag == 0 || !n->inventory_applied || n->reconcile.active || !atomic_load(&n->serving)) {
        return;
    }
    uint32_t count =
        duplicate_step(&n->duplicate, n->catalog, n->tag, duplicate_settled(n->catalog, n->seen),
                       inventory_open, n, changes, FLY_ARRAY_COUNT(changes));
    for (uint32_t i = 0; i < count; i++) {
        const struct duplicate_change *c = &changes[i];
        char elder[SLICE_TEXT_SIZE];
        slice_format(c->elder, elder);
        if (reconcile_set_cordon(&n->reconcile, c->name, c->cordon, now) && c->cordon) {
            fly_log_warn("machine.twice", F_STR("machine", c->name), F_STR("older_slice", elder),
                         F_STR("effect", "cordoned here: the older slice keeps it"));
        } else {
            fly_log_info("machine.once", F_STR("machine", c->name),
                         F_STR("effect", "uncordoned here"));
        }
    }
    if (n->standing_applied == STANDING_SERVE) {
        n->note[0] = '\0';
        if (n->duplicate.count > 0) {
            (void)snprintf(n->note, sizeof n->note,
                           "%u machines cordoned: slice %06x has them too (%.24s)",
                           n->duplicate.count, n->duplicate.elder, n->duplicate.name);
        }
    }
}

/* --- the events of the slice here, for all --- */

static struct fly_bytes body_of(void *user, uint64_t seq)
{
    const struct stream *st = user;

    return retain_at(&st->retain, seq);
}

static void publish(struct node *n, int64_t now_ms)
{
    struct stream *st = n->publisher != NULL ? streams_find(n->streams, n->tag) : NULL;
    uint64_t from = 0;
    uint64_t to = 0;
    enum flush_kind kind = FLUSH_NOTHING;

    if (st == NULL || !st->local || !n->standing_begun) {
        return;
    }
    if (n->flush_resets != st->resets) { /* another log, or one that was read again */
        n->flush_resets = st->resets;
        flush_init(&n->flush, n->run->flush_interval_ms, st->retain.last, now_ms);
    }
    flush_note(&n->flush, st->retain.last);
    while ((kind = flush_next(&n->flush, now_ms, &from, &to)) != FLUSH_NOTHING) {
        const struct flush_source source = {
            .slice = st->tag, .incarnation = st->incarnation, .body = body_of, .user = st};
        uint8_t *out = n->feed_message;
        size_t size = 0;
        if (kind == FLUSH_HEARTBEAT) {
            size = event_heartbeat_encode(st->tag, st->incarnation, to, out);
            feed_publish(n->publisher, (struct fly_bytes){.data = out, .size = size});
            continue;
        }
        for (uint64_t end = 0; from <= to; from = end + 1) {
            size = flush_message(&source, from, to, out, FLUSH_MESSAGE_BYTES, &end);
            if (size == 0) {
                break; /* more in one turn than is kept: readers see the gap */
            }
            feed_publish(n->publisher, (struct fly_bytes){.data = out, .size = size});
        }
    }
}

/* Somebody publishes what is not to be believed, or more than we can take: once a minute at most,
 * and at the end. unsealed: not of this cluster; disbelieved: of who does not lead that slice, or
 * nonsense. */
static void tell_refused(struct node *n, int64_t now_ms, bool last)
{
    struct feed_counters c;

    if (n->subscriber == NULL || (now_ms < n->feed_tell_ms && !last)) {
        return;
    }
    feed_subscriber_counters(n->subscriber, &c);
    uint64_t disbelieved = streams_refused(n->streams);
    uint64_t sum = c.refused + c.dropped + disbelieved;
    if (sum != n->feed_refused) {
        n->feed_refused = sum;
        n->feed_tell_ms = now_ms + FEED_TELL_MS;
        fly_log_warn("feed.refused", F_U64("unsealed", c.refused),
                     F_U64("disbelieved", disbelieved), F_U64("dropped", c.dropped),
                     F_U64("taken", c.messages));
    }
}

void node_cluster_turn(struct node *n, struct owner_now now)
{
    atomic_fetch_add(&n->beat, 1);
    if (n->run == NULL) {
        return;
    }
    streams_tick(n->streams, now.boot_ms);
    publish(n, now.boot_ms);
    node_forget_turn(n, now.boot_ms);
    if (now.boot_ms >= n->look_ms) {
        n->look_ms = now.boot_ms + LOOK_MS;
        judge_slices(n, now);
        cordon_duplicates(n, now);
        tell_refused(n, now.boot_ms, false);
    }
    node_tell(n);
    peers_file_tick(n->peers_file, n->peers, n->seen, now.boot_ms, false);
}

int64_t node_cluster_deadline(const struct node *n)
{
    if (n->run == NULL) {
        return INT64_MAX;
    }
    int64_t due_ms = streams_deadline(n->streams);

    if (n->publisher != NULL && n->flush_resets != 0) {
        int64_t flush_ms = flush_deadline(&n->flush);
        due_ms = flush_ms < due_ms ? flush_ms : due_ms;
    }
    int64_t forget_ms = node_forget_deadline(n);
    due_ms = forget_ms < due_ms ? forget_ms : due_ms;
    return n->look_ms < due_ms ? n->look_ms : due_ms;
}

void node_cluster_stop(struct node *n)
{
    tell_refused(n, 0, true);
    admitting_destroy(n->admitting);
    n->admitting = NULL;
    if (n->gossip != NULL) {
        gossip_thread_destroy(n->gossip, true);
        n->gossip = NULL;
    }
    if (n->subscriber != NULL) {
        feed_subscriber_destroy(n->subscriber);
        n->subscriber = NULL;
    }
    if (n->publisher != NULL) {
        feed_publisher_destroy(n->publisher);
        n->publisher = NULL;
    }
    if (n->peers_file != NULL) {
        peers_file_destroy(n->peers_file, n->peers, n->seen);
        n->peers_file = NULL;
    }
}
