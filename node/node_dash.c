#include "node/node_dash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dash/dash.h"
#include "node/node_parts.h"
#include "node/small_file.h"
#include "proto/base/check.h"
#include "proto/base/log.h"
#include "proto/wire/token.h"

enum {
    HEAR_MS = 250,  /* how old each slice's word is */
    LOOK_MS = 1000, /* round trips */
    EDGES_MAX = 16, /* as many as a list of edges takes (client/lib/address.h) */
    EDGE_SIZE = DIRECTORY_URL_SIZE + 1,
    CLOCK_SET_MS = 1000, /* the wall clock was set when it moved so far against ours */
    PEM_MAX = 64 * 1024,
};

_Static_assert((int)PICTURED_MACHINES_MAX <= (int)PICTURE_MACHINES_MAX,
               "a dash shows all machines");
_Static_assert((int)DIRECTORY_MEMBERS_MAX <= (int)DASH_MEMBERS_MAX, "and all members");

struct node_dash {
    struct dash *dash;
    char url[CONFIG_ADDRESS_TEXT_SIZE + 16];
    int64_t hear_ms; /* next */
    int64_t look_ms;
    int64_t wall_offset_ms; /* wall clock less boot clock, held still against jitter */
    char edges[EDGES_MAX * EDGE_SIZE];
    struct dash_member *members; /* DIRECTORY_MEMBERS_MAX */
    struct gate gate;            /* the dash's thread's alone */
};

/* --- making --- */

/* On the dash's thread. */
static enum fly_status verify(void *user, const char *token, size_t size, int64_t wall_ms,
                              struct dash_who *out, struct fly_error *error)
{
    struct node_dash *d = user;
    struct gate_refusal why = {.reason = GATE_NONE};
    struct gate_peer peer;
    enum fly_status status = gate_admit(&d->gate, wall_ms, token, size, &peer, &why);

    if (status != FLY_OK) {
        *error = why.error;
        return status;
    }
    *out = (struct dash_who){.scopes = peer.scopes, .expires_ms = peer.expires_ms};
    (void)fly_copy_string(out->subject, sizeof out->subject, peer.subject);
    return FLY_OK;
}

/* What --http-cert, --http-key and --autospawn-token-file name. */
struct files {
    char cert[PEM_MAX];
    char key[PEM_MAX];
    char token[TOKEN_TEXT_MAX + 64];
};

static enum fly_status read_files(const struct node_config *c, struct files *out,
                                  struct fly_error *error)
{
    enum fly_status status = FLY_OK;

    if (c->http_cert[0] != '\0') {
        status = small_file_read(c->http_cert, false, out->cert, sizeof out->cert, error);
    }
    if (status == FLY_OK && c->http_key[0] != '\0') {
        status = small_file_read(c->http_key, true, out->key, sizeof out->key, error);
    }
    if (status == FLY_OK && c->autospawn_token_file[0] != '\0') {
        status =
            small_file_read(c->autospawn_token_file, true, out->token, sizeof out->token, error);
        out->token[strcspn(out->token, " \t\r\n")] = '\0';
    }
    return status;
}

static void put_regions(const struct node *n, struct dash *dash)
{
    for (size_t i = 0; i < n->inventory.region_count; i++) {
        const struct inventory_region *from = &n->inventory.regions[i];
        struct picture_region to = {.latitude = from->latitude,
                                    .longitude = from->longitude,
                                    .has_position = from->has_position};
        (void)fly_copy_string(to.code, sizeof to.code, from->code);
        (void)fly_copy_string(to.city, sizeof to.city, from->city);
        (void)fly_copy_string(to.country, sizeof to.country, from->country);
        (void)fly_copy_string(to.status, sizeof to.status, from->status);
        dash_put_region(dash, &to);
    }
}

static const char *text_or(const char *text, const char *other)
{
    return text[0] != '\0' ? text : other;
}

static enum fly_status listen_with(struct node *n, struct node_dash *d, const struct files *files,
                                   struct fly_error *error)
{
    const struct config_http *http = n->http;
    const struct identity_tls *tls = &n->identity.tls;
    const bool away = n->run != NULL && !n->run->rpc.loopback; /* edges speak TLS */
    const struct dash_config config = {
        .host = http->address.host,
        .port = http->address.port,
        .cert_pem = http->https ? text_or(files->cert, tls->certificate) : NULL,
        .key_pem = http->https ? text_or(files->key, tls->key) : NULL,
        .node = n->name,
        .region = n->region,
        .cluster = n->identity.record.id,
        .ui_dir = text_or(n->config->ui_dir, NULL),
        .edges = d->edges,
        .ca_pem = away ? tls->ca : NULL,
        .machines_max = PICTURED_MACHINES_MAX,
        .launches_per_minute = http->launches_per_minute,
        .vms_max = http->vms_max,
        .autospawn = text_or(http->autospawn, NULL),
        .autospawn_token = text_or(files->token, NULL),
        .verify = verify,
        .user = d,
    };

    return dash_create(&d->dash, &config, error);
}

static void tell_url(struct node *n, struct node_dash *d)
{
    const struct config_address *at = &n->http->address;
    const char *host = !at->any ? at->host : n->run != NULL ? n->run->advertise : "127.0.0.1";
    char address[CONFIG_ADDRESS_TEXT_SIZE];

    config_address_format(host, dash_port(d->dash), address);
    (void)snprintf(d->url, sizeof d->url, "%s://%s", n->http->https ? "https" : "http", address);
    fly_log_info("dash.listening", F_STR("url", d->url));
}

static void drop(struct node_dash *d)
{
    free(d->members);
    free(d);
}

enum fly_status node_dash_open(struct node *n, struct fly_error *error)
{
    struct gate_config gate;
    enum fly_status status = FLY_OK;

    if ((n->roles & NODE_ROLE_DASH) == 0 || !n->http->on) {
        return FLY_OK;
    }
    struct node_dash *d = calloc(1, sizeof *d);
    struct files *files = calloc(1, sizeof *files);
    FLY_CHECK(d != NULL && files != NULL);
    d->members = calloc(DIRECTORY_MEMBERS_MAX, sizeof *d->members);
    FLY_CHECK(d->members != NULL);
    if (n->run == NULL) { /* in a cluster gossip tells where edges are */
        (void)fly_copy_string(d->edges, sizeof d->edges, n->config->rpc);
    }
    node_gate_config(n, &gate);
    gate_init(&d->gate, &gate);
    status = read_files(n->config, files, error);
    if (status == FLY_OK) {
        status = listen_with(n, d, files, error);
    }
    explicit_bzero(files, sizeof *files);
    free(files);
    if (status == FLY_OK) {
        tell_url(n, d);
        put_regions(n, d->dash);
        n->dash = d;
        return FLY_OK;
    }
    drop(d);
    if (status == FLY_UNAVAILABLE && !n->http->told) {
        fly_log_warn("dash.refused", F_STR("error", error->text),
                     F_STR("effect", "this node runs without a dashboard: --http ADDR:PORT"));
        return FLY_OK;
    }
    return fly_error_wrap(error, "http");
}

void node_dash_close(struct node *n)
{
    struct node_dash *d = n->dash;

    n->dash = NULL;
    if (d != NULL) {
        dash_destroy(d->dash);
        drop(d);
    }
}

const char *node_dash_url(const struct node *n)
{
    return n->dash != NULL ? n->dash->url : "";
}

bool node_dash_https(const struct node *n)
{
    return n->http->https;
}

/* Others know one address of this node. */
uint16_t node_dash_told_port(const struct node *n)
{
    if (n->dash == NULL || n->run == NULL) {
        return 0;
    }
    const struct config_address *at = &n->http->address;
    bool there = at->any || strcmp(at->host, n->run->advertise) == 0 ||
                 strcmp(at->host, n->run->rpc.host) == 0;
    return there ? dash_port(n->dash->dash) : 0;
}

/* --- machines --- */

static void on_event(void *user, const struct event *event)
{
    const struct node *n = user;

    if (n->dash != NULL) {
        dash_event(n->dash->dash, event);
    }
}

static void on_snapshot_begin(void *user, uint32_t tag)
{
    const struct node *n = user;

    if (n->dash != NULL) {
        dash_snapshot_begin(n->dash->dash, tag);
    }
}

static void on_snapshot_put(void *user, uint32_t tag, const struct catalog_machine *m)
{
    const struct node *n = user;
    struct picture_machine to = {.slice = tag,
                                 .cores = m->cores,
                                 .cores_free = m->cores_free,
                                 .memory_bytes = m->memory_bytes,
                                 .memory_free_bytes = m->memory_free_bytes,
                                 .cordoned = m->cordoned};

    if (n->dash != NULL) {
        (void)fly_copy_string(to.name, sizeof to.name, m->name);
        dash_snapshot_put(n->dash->dash, tag, &to, m->region);
    }
}

static void on_snapshot_end(void *user, uint32_t tag, uint64_t incarnation)
{
    const struct node *n = user;

    if (n->dash != NULL) {
        dash_snapshot_end(n->dash->dash, tag, incarnation);
    }
}

static void on_dropped(void *user, uint32_t tag)
{
    const struct node *n = user;

    if (n->dash != NULL) {
        dash_drop_slice(n->dash->dash, tag);
    }
}

struct streams_observer node_dash_observer(struct node *n)
{
    return (struct streams_observer){.event = on_event,
                                     .snapshot_begin = on_snapshot_begin,
                                     .snapshot_put = on_snapshot_put,
                                     .snapshot_end = on_snapshot_end,
                                     .dropped = on_dropped,
                                     .user = n};
}

static void hear(struct node *n, int64_t now_ms)
{
    for (uint32_t i = 0; i < streams_count(n->streams); i++) {
        const struct stream *st = streams_at(n->streams, i);
        if (!st->forgotten) {
            dash_hear(n->dash->dash, st->tag, st->local ? 0 : follow_stale_ms(&st->follow, now_ms));
        }
    }
}

/* --- members --- */

static void fill_member(const struct node_dash *d, const struct gossip_member *m,
                        struct dash_member *out)
{
    char url[DIRECTORY_URL_SIZE];
    char roles[NODE_ROLES_TEXT_SIZE];
    uint32_t v = m->meta.software;

    *out = (struct dash_member){.serving = m->meta.serving,
                                .self = m->self,
                                .rtt_us = m->rtt_us,
                                .since_ms = m->since_ms + d->wall_offset_ms,
                                .generation = m->generation};
    directory_rpc_url(m, url);
    node_roles_format(m->credential.roles & (m->meta.roles | NODE_ROLE_ADMIT), ',', roles);
    (void)fly_copy_string(out->name, sizeof out->name, m->credential.name);
    (void)fly_copy_string(out->region, sizeof out->region, m->meta.region);
    (void)fly_copy_string(out->roles, sizeof out->roles, roles);
    (void)fly_copy_string(out->state, sizeof out->state, directory_state_name(m->state));
    (void)fly_copy_string(out->address, sizeof out->address, strstr(url, "://") + 3);
    (void)snprintf(out->version, sizeof out->version, "%u.%u.%u", v >> 16, v >> 8 & 0xff, v & 0xff);
    (void)fly_copy_string(out->note, sizeof out->note, m->meta.note);
    for (uint8_t i = 0; i < m->meta.slice_count && i < FLY_ARRAY_COUNT(out->slices); i++) {
        out->slices[out->slice_count++] = (struct dash_member_slice){
            .tag = m->meta.slices[i].tag, .epoch = m->meta.slices[i].epoch};
    }
}

static int by_name(const void *a, const void *b)
{
    const struct dash_member *x = a;
    const struct dash_member *y = b;

    return strcmp(x->name, y->name);
}

static void set_members(struct node *n)
{
    struct node_dash *d = n->dash;
    uint32_t count = n->directory.member_count;

    for (uint32_t i = 0; i < count; i++) {
        fill_member(d, &n->directory.members[i], &d->members[i]);
    }
    qsort(d->members, count, sizeof d->members[0], by_name);
    dash_set_members(d->dash, d->members, count);
}

/* A list of addresses: our own first, the others by name; `used` is what it has already. */
static size_t add_edge(char *out, size_t used, const char *url)
{
    return used + (size_t)snprintf(out + used, EDGE_SIZE, "%s%s", used > 0 ? "," : "", url);
}

static bool is_edge(const struct gossip_member *m)
{
    return (m->credential.roles & m->meta.roles & NODE_ROLE_EDGE) != 0 &&
           (m->self || directory_serves(m));
}

static int by_self_and_name(const void *a, const void *b)
{
    const struct gossip_member *x = *(const struct gossip_member *const *)a;
    const struct gossip_member *y = *(const struct gossip_member *const *)b;

    return x->self != y->self ? y->self - x->self : strcmp(x->credential.name, y->credential.name);
}

/* When no edge lives the last ones stay: a call that fails there says more than none at all. */
static void set_edges(struct node *n)
{
    struct node_dash *d = n->dash;
    const struct gossip_member *edges[DIRECTORY_MEMBERS_MAX];
    char list[sizeof d->edges] = "";
    char url[DIRECTORY_URL_SIZE];
    uint32_t count = 0;
    size_t used = 0;

    for (uint32_t i = 0; i < n->directory.member_count; i++) {
        if (is_edge(&n->directory.members[i])) {
            edges[count++] = &n->directory.members[i];
        }
    }
    qsort(edges, count, sizeof(void *), by_self_and_name);
    for (uint32_t i = 0; i < count && i < EDGES_MAX; i++) {
        directory_rpc_url(edges[i], url);
        used = add_edge(list, used, url);
    }
    if (count > 0 && strcmp(list, d->edges) != 0) {
        memcpy(d->edges, list, sizeof d->edges);
        dash_set_edges(d->dash, d->edges);
    }
}

static void keep_wall_offset(struct node_dash *d, struct owner_now now)
{
    int64_t offset_ms = now.wall_ms - now.boot_ms;

    if (offset_ms > d->wall_offset_ms + CLOCK_SET_MS ||
        offset_ms < d->wall_offset_ms - CLOCK_SET_MS) {
        d->wall_offset_ms = offset_ms;
    }
}

void node_dash_members(struct node *n, struct owner_now now)
{
    if (n->dash != NULL) {
        keep_wall_offset(n->dash, now);
        set_members(n);
        set_edges(n);
    }
}

/* Round trips change all the time and are no events of gossip. */
static void look_at_members(struct node *n, struct owner_now now)
{
    for (uint32_t i = 0; i < n->directory.member_count; i++) {
        struct gossip_member *m = &n->directory.members[i];
        m->rtt_us = gossip_thread_rtt_us(n->gossip, &m->credential.id);
    }
    node_dash_members(n, now);
}

/* `dev` has no gossip: it is all the cluster there is. */
static void look_at_self(struct node *n, struct owner_now now)
{
    struct node_dash *d = n->dash;
    struct gossip_member self;

    keep_wall_offset(d, now);
    node_self_member(n, &self);
    fill_member(d, &self, &d->members[0]);
    dash_set_members(d->dash, d->members, 1);
    if (n->server != NULL && strcmp(d->edges, rpc_server_url(n->server, 0)) != 0) {
        (void)fly_copy_string(d->edges, sizeof d->edges, rpc_server_url(n->server, 0));
        dash_set_edges(d->dash, d->edges);
    }
}

void node_dash_turn(struct node *n, struct owner_now now)
{
    struct node_dash *d = n->dash;

    if (d == NULL) {
        return;
    }
    if (now.boot_ms >= d->hear_ms) {
        d->hear_ms = now.boot_ms + HEAR_MS;
        hear(n, now.boot_ms);
    }
    if (now.boot_ms < d->look_ms) {
        return;
    }
    d->look_ms = now.boot_ms + LOOK_MS;
    if (n->run == NULL) {
        look_at_self(n, now);
    } else if (n->gossip != NULL) {
        look_at_members(n, now);
    }
}

int64_t node_dash_deadline(const struct node *n)
{
    return n->dash != NULL ? n->dash->hear_ms : INT64_MAX;
}
