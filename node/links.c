#include "node/links.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fly/v1/edge.pb-c.h"
#include "proto/base/arena.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/id.h"
#include "proto/base/log.h"
#include "proto/wire/hello.h"
#include "proto/wire/validate.h"

enum { HELLO_ARENA_SIZE = 64 * 1024, SERVER_NAME_SIZE = 80, TLS_NAME_BYTES = 20 };

/* One connection, from its opening to its last callback. Pollers read what is const. */
struct attempt {
    struct links *links;
    struct node_id id; /* whom it must reach */
    char url[DIRECTORY_URL_SIZE];
    struct rpc_channel *channel; /* the loop's; NULL once released */
    struct fly_error error;      /* of an opening that failed */
};

enum link_state { LINK_DOWN = 0, LINK_OPENING, LINK_OPEN };

struct link {
    struct node_id id;
    enum link_state state;
    char url[DIRECTORY_URL_SIZE];
    char server_name[SERVER_NAME_SIZE];
    bool tls;
    bool wanted;
    bool alive;              /* as gossip said last */
    struct attempt *attempt; /* OPENING, OPEN */
    int64_t retry_ms;        /* DOWN: not before */
    int64_t pause_ms;
    uint32_t presented_next;
    uint32_t presented_count;
    uint8_t presented[LINK_PRESENTED_MAX][TOKEN_HASH_SIZE];
};

struct link_call {
    struct links *links;
    links_done *done;
    void *user;
    uint64_t context;
    struct rpc_reply reply;
};

struct links {
    struct links_config config;
    struct link *slots[LINKS_MAX];
    uint32_t count;
    uint32_t attempts; /* whose last callback has not come */
    uint32_t calls;
    bool closing;
};

struct links *links_create(const struct links_config *config)
{
    struct links *l = calloc(1, sizeof *l);

    FLY_CHECK(l != NULL);
    l->config = *config;
    return l;
}

static struct link *link_find(struct links *l, const struct node_id *id)
{
    for (uint32_t i = 0; i < l->count; i++) {
        if (node_id_equal(&l->slots[i]->id, id)) {
            return l->slots[i];
        }
    }
    return NULL;
}

/* --- on pollers --- */

static struct hello_handshake handshake_of(const struct attempt *a, const uint8_t *client_nonce,
                                           const uint8_t *server_nonce)
{
    const struct identity *self = a->links->config.identity;

    return (struct hello_handshake){.cluster = self->record.id,
                                    .client_nonce = client_nonce,
                                    .server_nonce = server_nonce,
                                    .client = self->credential.id,
                                    .server = a->id};
}

static size_t hello_make(void *user, const uint8_t client_nonce[static FRAME_NONCE_SIZE],
                         const uint8_t server_nonce[static FRAME_NONCE_SIZE], uint8_t *out,
                         size_t max)
{
    const struct attempt *a = user;
    const struct identity *self = a->links->config.identity;
    const struct hello_handshake h = handshake_of(a, client_nonce, server_nonce);
    uint8_t credential[CREDENTIAL_BYTES_MAX];
    uint8_t proof[NODE_SIGNATURE_SIZE];
    Fly__V1__Hello hello = FLY__V1__HELLO__INIT;

    hello_sign(&h, HELLO_CLIENT, &self->keys, self->credential.tls_hash, proof);
    hello.agent = (char *)"flynode/" FLY_VERSION;
    hello.credential.data = credential;
    hello.credential.len = credential_encode(&self->credential, credential);
    hello.proof.data = proof;
    hello.proof.len = sizeof proof;
    return fly__v1__hello__get_packed_size(&hello) <= max ? fly__v1__hello__pack(&hello, out) : 0;
}

static enum fly_status hello_check(void *user, const uint8_t client_nonce[static FRAME_NONCE_SIZE],
                                   const uint8_t server_nonce[static FRAME_NONCE_SIZE],
                                   struct fly_bytes bytes, struct fly_error *error)
{
    const struct attempt *a = user;
    const ProtobufCMessageDescriptor *type = &fly__v1__hello_reply__descriptor;
    const struct hello_handshake h = handshake_of(a, client_nonce, server_nonce);
    struct credential theirs;
    size_t size = 0;
    enum fly_status status = validate_message(type, bytes, HELLO_ARENA_SIZE, &size, error);

    if (status != FLY_OK) {
        return status;
    }
    void *memory = aligned_alloc(16, (size + 15) / 16 * 16 + 16);
    FLY_CHECK(memory != NULL);
    struct fly_arena arena = fly_arena_over(memory, size);
    const Fly__V1__HelloReply *reply =
        (const Fly__V1__HelloReply *)validate_unpack(type, bytes, &arena);
    FLY_CHECK(reply != NULL);
    status = hello_verify(
        &h, HELLO_SERVER, (struct fly_bytes){reply->credential.data, reply->credential.len},
        (struct fly_bytes){reply->proof.data, reply->proof.len},
        a->links->config.identity->record.ca, fly_clock_wall_ms(), &theirs, error);
    free(memory);
    return status;
}

static void post(struct attempt *a, enum mail_kind kind)
{
    (void)mailbox_post(a->links->config.mailbox, MAIL_CONTROL, kind, a);
}

static void opened(void *user, struct rpc_channel *channel, struct rpc_reply *refusal)
{
    struct attempt *a = user;

    (void)channel;
    if (refusal != NULL) {
        (void)fly_error_set(&a->error, refusal->status, "%s", refusal->text);
    }
    post(a, refusal == NULL ? MAIL_LINK_OPENED : MAIL_LINK_FAILED);
}

static void closed(void *user)
{
    post(user, MAIL_LINK_CLOSED);
}

static void replied(void *user, struct rpc_reply *reply)
{
    struct link_call *c = user;

    rpc_reply_move(&c->reply, reply);
    (void)mailbox_post(c->links->config.mailbox, MAIL_CONTROL, MAIL_LINK_REPLY, c);
}

/* --- the loop's thread --- */

static void release(struct attempt *a)
{
    rpc_channel_release(a->channel);
    a->channel = NULL;
}

/* The link has no connection any more; what is left of the old one ends by itself. */
static void link_drop(struct link *k)
{
    if (k->attempt != NULL) {
        release(k->attempt);
        k->attempt = NULL;
    }
    k->state = LINK_DOWN;
    k->presented_count = 0;
}

static void link_open(struct links *l, struct link *k, int64_t now_ms)
{
    const struct identity *self = l->config.identity;
    struct attempt *a = calloc(1, sizeof *a);
    struct fly_error error;

    FLY_CHECK(a != NULL);
    a->links = l;
    a->id = k->id;
    (void)fly_copy_string(a->url, sizeof a->url, k->url);
    const struct rpc_tls tls = {.ca_pem = self->tls.ca,
                                .cert_pem = self->tls.certificate,
                                .key_pem = self->tls.key,
                                .server_name = k->server_name,
                                .verify_peer = true};
    const struct rpc_channel_config config = {.url = a->url,
                                              .tls = k->tls ? &tls : NULL,
                                              .user = a,
                                              .hello_make = hello_make,
                                              .hello_check = hello_check,
                                              .closed = closed,
                                              .calls_max = LINK_CALLS_MAX,
                                              .connect_timeout_ms = LINK_CONNECT_MS,
                                              .unacknowledged_ms = LINK_UNACKNOWLEDGED_MS};
    if (rpc_channel_start_open(&a->channel, &config, opened, a, &error) != FLY_OK) {
        fly_log_warn("link.refused", F_STR("url", k->url), F_STR("error", error.text));
        free(a);
        k->retry_ms = now_ms + LINK_PAUSE_MAX_MS;
        return;
    }
    l->attempts++;
    k->attempt = a;
    k->state = LINK_OPENING;
}

void links_want(struct links *l, const struct node_id *id, int64_t now_ms)
{
    struct link *k = link_find(l, id);

    if (k != NULL) {
        k->wanted = true;
        if (k->state == LINK_DOWN && now_ms >= k->retry_ms && !l->closing) {
            link_open(l, k, now_ms);
        }
    }
}

static void link_failed(struct links *l, struct link *k, const struct fly_error *error,
                        int64_t now_ms)
{
    bool was_open = k->state == LINK_OPEN;
    bool first = was_open || k->pause_ms == 0; /* what goes on failing is not told again */

    link_drop(k);
    k->pause_ms = was_open || k->pause_ms == 0          ? LINK_PAUSE_MS
                  : 2 * k->pause_ms < LINK_PAUSE_MAX_MS ? 2 * k->pause_ms
                                                        : LINK_PAUSE_MAX_MS;
    k->retry_ms = now_ms + k->pause_ms;
    if (!l->closing) {
        if (first) {
            fly_log_info("link.down", F_STR("url", k->url), F_STR("reason", error->text));
        }
        l->config.down(l->config.user, &k->id);
    }
}

static struct link *link_of(struct links *l, const struct attempt *a)
{
    struct link *k = link_find(l, &a->id);

    return k != NULL && k->attempt == a ? k : NULL;
}

static void attempt_free(struct links *l, struct attempt *a)
{
    if (a->channel != NULL) {
        release(a);
    }
    l->attempts--;
    free(a);
}

void links_deliver(struct links *l, enum mail_kind kind, void *what, int64_t now_ms)
{
    if (kind == MAIL_LINK_REPLY) {
        struct link_call *c = what;
        l->calls--;
        c->done(c->user, c->context, &c->reply);
        free(c);
        return;
    }
    struct attempt *a = what;
    struct link *k = link_of(l, a);
    if (kind == MAIL_LINK_OPENED) {
        if (k != NULL) {
            k->state = LINK_OPEN;
            k->pause_ms = 0;
            fly_log_info("link.up", F_STR("url", k->url));
        }
        return;
    }
    if (k != NULL) {
        if (kind == MAIL_LINK_CLOSED) {
            (void)fly_error_set(&a->error, FLY_UNAVAILABLE, "the connection broke");
        }
        const struct fly_error error = a->error;
        link_failed(l, k, &error, now_ms);
    }
    attempt_free(l, a);
}

/* A place for another node; NULL: there is none. When all are taken, that of one whom nobody knows
 * any more. */
static struct link *link_make(struct links *l, const struct directory *d, const struct node_id *id)
{
    struct link *k = NULL;

    if (l->count < LINKS_MAX) {
        k = calloc(1, sizeof *k);
        FLY_CHECK(k != NULL);
        l->slots[l->count++] = k;
    }
    for (uint32_t i = 0; i < l->count && k == NULL; i++) {
        if (l->slots[i]->attempt == NULL && directory_member(d, &l->slots[i]->id) == NULL) {
            k = l->slots[i];
            memset(k, 0, sizeof *k);
        }
    }
    if (k != NULL) {
        k->id = *id;
    }
    return k;
}

/* Somebody is heard again. */
static bool anybody_back(struct links *l, const struct directory *d)
{
    for (uint32_t i = 0; i < d->member_count; i++) {
        const struct gossip_member *m = &d->members[i];
        const struct link *k = link_find(l, &m->credential.id);
        if (k != NULL && m->state == GOSSIP_ALIVE && !k->alive) {
            return true;
        }
    }
    return false;
}

/* The wire may be whole again, to others too: an opening that began while it was cut waits for a
 * SYN to be sent again, and has no calls to lose. An open link that was cut off meanwhile was given
 * up by the transport. */
static void link_at_once(struct link *k)
{
    if (k->state == LINK_OPENING) {
        link_drop(k);
    }
    k->pause_ms = 0;
    k->retry_ms = 0;
}

void links_update(struct links *l, const struct directory *d)
{
    bool back = anybody_back(l, d);

    for (uint32_t i = 0; i < d->member_count; i++) {
        const struct gossip_member *m = &d->members[i];
        struct link *k = link_find(l, &m->credential.id);
        char url[DIRECTORY_URL_SIZE];
        if (m->self || (k == NULL && (k = link_make(l, d, &m->credential.id)) == NULL)) {
            continue;
        }
        directory_rpc_url(m, url);
        if (strcmp(url, k->url) != 0 || m->state == GOSSIP_DEAD || m->state == GOSSIP_LEFT) {
            link_drop(k); /* its calls end now, not when TCP gives up */
        }
        if (back && (m->state == GOSSIP_ALIVE || m->state == GOSSIP_SUSPECT)) {
            link_at_once(k);
        }
        k->alive = m->state == GOSSIP_ALIVE;
        if (strcmp(url, k->url) != 0 || m->meta.serving) {
            k->retry_ms = k->state == LINK_DOWN && strcmp(url, k->url) != 0 ? 0 : k->retry_ms;
        }
        (void)fly_copy_string(k->url, sizeof k->url, url);
        k->tls = m->meta.tls;
        char hex[2 * TLS_NAME_BYTES + 1];
        fly_hex_encode(m->credential.tls_hash, TLS_NAME_BYTES, hex);
        (void)snprintf(k->server_name, sizeof k->server_name, "%s.node.flylight", hex);
    }
}

enum fly_status links_call(struct links *l, const struct node_id *id,
                           const struct rpc_method *method, const ProtobufCMessage *request,
                           const struct rpc_call_options *options, int64_t now_ms, links_done *done,
                           void *user, uint64_t context)
{
    struct link *k = link_find(l, id);

    if (k == NULL || l->closing) {
        return FLY_UNAVAILABLE;
    }
    if (k->state != LINK_OPEN) {
        links_want(l, id, now_ms);
        return FLY_UNAVAILABLE;
    }
    if (l->calls == LINK_CALLS_MAX) {
        return FLY_RESOURCE_EXHAUSTED;
    }
    struct link_call *c = calloc(1, sizeof *c);
    FLY_CHECK(c != NULL);
    c->links = l;
    c->done = done;
    c->user = user;
    c->context = context;
    enum fly_status status =
        rpc_channel_start(k->attempt->channel, method, request, options, replied, c, NULL);
    if (status != FLY_OK) {
        free(c);
        return status;
    }
    l->calls++;
    return FLY_OK;
}

bool links_presented(struct links *l, const struct node_id *id,
                     const uint8_t hash[static TOKEN_HASH_SIZE])
{
    struct link *k = link_find(l, id);

    if (k == NULL || k->state != LINK_OPEN) {
        return false;
    }
    for (uint32_t i = 0; i < k->presented_count; i++) {
        if (memcmp(k->presented[i], hash, TOKEN_HASH_SIZE) == 0) {
            return true;
        }
    }
    uint32_t at = k->presented_count < LINK_PRESENTED_MAX
                      ? k->presented_count++
                      : k->presented_next++ % LINK_PRESENTED_MAX;
    memcpy(k->presented[at], hash, TOKEN_HASH_SIZE);
    return false;
}

void links_forget_presented(struct links *l, const struct node_id *id,
                            const uint8_t hash[static TOKEN_HASH_SIZE])
{
    struct link *k = link_find(l, id);

    for (uint32_t i = 0; k != NULL && i < k->presented_count; i++) {
        if (memcmp(k->presented[i], hash, TOKEN_HASH_SIZE) == 0) {
            memcpy(k->presented[i], k->presented[--k->presented_count], TOKEN_HASH_SIZE);
            return;
        }
    }
}

void links_close(struct links *l)
{
    l->closing = true;
    for (uint32_t i = 0; i < l->count; i++) {
        link_drop(l->slots[i]);
    }
}

bool links_idle(const struct links *l)
{
    return l->attempts == 0 && l->calls == 0;
}

void links_destroy(struct links *l)
{
    if (l == NULL) {
        return;
    }
    FLY_CHECK(links_idle(l));
    for (uint32_t i = 0; i < l->count; i++) {
        free(l->slots[i]);
    }
    free(l);
}
