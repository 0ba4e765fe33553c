/*
 * join_server - join.h's admitting side.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "node/join_parts.h"
#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/wire/validate.h"

enum { ARENA_SIZE = 8192 };

struct box {
    uint8_t public_key[JOIN_BOX_SIZE];
    uint8_t secret[JOIN_BOX_SIZE];
    int64_t made_ms;
    bool live;
};

struct join_server {
    const struct identity *identity;
    struct admission_book *book;
    struct join_hooks hooks;
    struct box current;
    struct box before;
    int64_t tokens_milli; /* of the rate */
    int64_t refilled_ms;
    struct join_counters counters;
};

/* --- addresses --- */

bool join_address_from(const struct config_address *from, struct join_address *out)
{
    struct in_addr v4;
    struct join_address a = {.port = from->port, .tls = !from->loopback};

    if (from->any || from->port == 0) {
        return false;
    }
    if (inet_pton(AF_INET, from->host, &v4) == 1) {
        a.ip[10] = 0xff;
        a.ip[11] = 0xff;
        memcpy(a.ip + 12, &v4, sizeof v4);
    } else if (inet_pton(AF_INET6, from->host, a.ip) != 1) {
        return false;
    }
    *out = a;
    return true;
}

void join_address_url(const struct join_address *a, char out[static JOIN_URL_SIZE])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char host[INET6_ADDRSTRLEN] = "";
    char text[CONFIG_ADDRESS_TEXT_SIZE];
    bool v4 = memcmp(a->ip, mapped, sizeof mapped) == 0;

    FLY_CHECK(inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a->ip + 12 : a->ip, host, sizeof host) !=
              NULL);
    config_address_format(host, a->port, text);
    (void)snprintf(out, JOIN_URL_SIZE, "%s://%s", a->tls ? "tls+tcp" : "tcp", text);
}

enum fly_status join_token_issue(const struct identity *identity, struct admission_book *book,
                                 uint32_t roles, int64_t life_ms, uint32_t uses,
                                 const struct join_address *addresses, uint8_t address_count,
                                 int64_t now_ms, struct join_token *out, struct fly_error *error)
{
    struct join_token token = {.address_count = address_count};

    FLY_CHECK(address_count >= 1 && address_count <= JOIN_TOKEN_ADDRESSES_MAX);
    if (!identity->has_admission || (roles & ~identity->admission.record.roles) != 0 ||
        ((roles & NODE_ROLE_ADMIT) != 0 && !identity->has_ca)) {
        return fly_error_set(error, FLY_PERMISSION_DENIED,
                             identity->has_admission
                                 ? "role admit is given where ca.key and tls-ca.key are, and not "
                                   "here"
                                 : "this node does not admit others");
    }
    enum fly_status status = admission_book_make(book, roles, life_ms, uses, now_ms, &token, error);
    if (status == FLY_OK) {
        (void)fly_copy_string(token.cluster, sizeof token.cluster, identity->record.id);
        join_token_ca_hash(identity->record.ca, token.ca_hash);
        memcpy(token.addresses, addresses, address_count * sizeof addresses[0]);
        *out = token;
    }
    sodium_memzero(&token, sizeof token);
    return status;
}

/* --- the server --- */

struct join_server *join_server_create(const struct identity *identity, struct admission_book *book,
                                       const struct join_hooks *hooks)
{
    struct join_server *server = calloc(1, sizeof *server);

    FLY_CHECK(server != NULL && identity->has_admission);
    server->identity = identity;
    server->book = book;
    server->hooks = *hooks;
    server->tokens_milli = JOIN_BURST * 1000;
    return server;
}

void join_server_destroy(struct join_server *server)
{
    if (server != NULL) {
        sodium_memzero(server, sizeof *server);
        free(server);
    }
}

struct join_counters join_server_counters(const struct join_server *server)
{
    return server->counters;
}

/* Strangers may ask; each answer costs signatures. */
static bool take_rate(struct join_server *s, int64_t now_ms)
{
    if (s->refilled_ms != 0 && now_ms > s->refilled_ms) {
        int64_t passed = now_ms - s->refilled_ms;
        passed = passed < 60000 ? passed : 60000;
        s->tokens_milli += passed * JOIN_RATE_PER_S;
    }
    s->refilled_ms = now_ms;
    if (s->tokens_milli > JOIN_BURST * 1000) {
        s->tokens_milli = JOIN_BURST * 1000;
    }
    if (s->tokens_milli < 1000) {
        s->counters.limited++;
        return false;
    }
    s->tokens_milli -= 1000;
    return true;
}

static enum fly_status limited(struct fly_error *error)
{
    return fly_error_set(error, FLY_RESOURCE_EXHAUSTED,
                         "too many nodes join at once; try again in a moment");
}

static enum fly_status malformed(struct join_server *s, struct fly_error *error, const char *what)
{
    s->counters.malformed++;
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s makes no sense", what);
}

/* A key of Begin is good for one to two lives. */
static void turn_boxes(struct join_server *s, int64_t now_ms)
{
    if (s->current.live && now_ms - s->current.made_ms >= 2 * JOIN_BOX_LIFE_MS) {
        sodium_memzero(&s->current, sizeof s->current);
    }
    if (s->before.live && now_ms - s->before.made_ms >= 2 * JOIN_BOX_LIFE_MS) {
        sodium_memzero(&s->before, sizeof s->before);
    }
}

static void begin_box(struct join_server *s, int64_t now_ms)
{
    turn_boxes(s, now_ms);
    if (s->current.live && now_ms - s->current.made_ms < JOIN_BOX_LIFE_MS) {
        return;
    }
    s->before = s->current;
    (void)crypto_box_keypair(s->current.public_key, s->current.secret);
    s->current.made_ms = now_ms;
    s->current.live = true;
}

static const struct box *find_box(const struct join_server *s, const ProtobufCBinaryData *key)
{
    const struct box *const all[] = {&s->current, &s->before};

    for (size_t i = 0; i < FLY_ARRAY_COUNT(all); i++) {
        if (all[i]->live && key->len == JOIN_BOX_SIZE &&
            memcmp(all[i]->public_key, key->data, JOIN_BOX_SIZE) == 0) {
            return all[i];
        }
    }
    return NULL;
}

/* What the admitting node signs: this joiner's nonce, this key, this cluster. */
size_t join_begin_message(const uint8_t nonce[static JOIN_NONCE_SIZE],
                          const uint8_t box[static JOIN_BOX_SIZE], const char *cluster,
                          uint8_t out[static JOIN_MESSAGE_MAX])
{
    struct fly_writer w = fly_writer_over(out, JOIN_MESSAGE_MAX);

    fly_put_bytes(&w, nonce, JOIN_NONCE_SIZE);
    fly_put_bytes(&w, box, JOIN_BOX_SIZE);
    fly_put_bytes(&w, cluster, strlen(cluster));
    FLY_CHECK(!w.failed);
    return w.size;
}

/* What the joiner signs: it holds its node key, and asks with this token now. */
size_t join_admit_message(const uint8_t box[static JOIN_BOX_SIZE],
                          const uint8_t token_id[static JOIN_TOKEN_ID_SIZE], const char *cluster,
                          uint8_t out[static JOIN_MESSAGE_MAX])
{
    struct fly_writer w = fly_writer_over(out, JOIN_MESSAGE_MAX);

    fly_put_bytes(&w, box, JOIN_BOX_SIZE);
    fly_put_bytes(&w, token_id, JOIN_TOKEN_ID_SIZE);
    fly_put_bytes(&w, cluster, strlen(cluster));
    FLY_CHECK(!w.failed);
    return w.size;
}

enum fly_status join_server_begin(struct join_server *server,
                                  const Fly__V1__JoinBeginRequest *request, struct join_now now,
                                  struct join_begin_answer *answer, struct fly_error *error)
{
    const struct identity *id = server->identity;
    uint8_t message[JOIN_MESSAGE_MAX];

    if (!take_rate(server, now.boot_ms)) {
        return limited(error);
    }
    if (request->nonce.len != JOIN_NONCE_SIZE) {
        return malformed(server, error, "the nonce");
    }
    begin_box(server, now.boot_ms);
    memcpy(answer->ca, id->record.ca, sizeof answer->ca);
    memcpy(answer->box, server->current.public_key, sizeof answer->box);
    size_t credential_size = credential_encode(&id->credential, answer->credential);
    size_t size = join_begin_message(request->nonce.data, answer->box, id->record.id, message);
    node_sign(&id->keys, JOIN_BEGIN_DOMAIN, (struct fly_bytes){message, size}, answer->signature);
    fly__v1__join_begin_reply__init(&answer->message);
    answer->message.ca = (ProtobufCBinaryData){sizeof answer->ca, answer->ca};
    answer->message.credential = (ProtobufCBinaryData){credential_size, answer->credential};
    answer->message.box = (ProtobufCBinaryData){sizeof answer->box, answer->box};
    answer->message.signature = (ProtobufCBinaryData){sizeof answer->signature, answer->signature};
    server->counters.begun++;
    return FLY_OK;
}

/* --- Admit --- */

/* A JoinSecret looked at and taken apart. */
struct wish {
    struct admission_request request;
    struct identity_grant grant; /* without the tag */
    uint8_t reply_box[JOIN_BOX_SIZE];
    bool admits;
    uint8_t admission_key[NODE_KEY_SIZE];
    struct x509_spki tls_issuer;
};

static bool take(const ProtobufCBinaryData *from, void *out, size_t size)
{
    if (from->len == size) {
        memcpy(out, from->data, size);
    }
    return from->len == size;
}

static bool take_roles(const Fly__V1__JoinSecret *secret, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < secret->n_roles; i++) {
        uint32_t role = 0;
        if (!node_roles_parse(secret->roles[i], &role)) {
            return false;
        }
        *out |= role;
    }
    return *out != 0;
}

static enum fly_status take_wish(struct join_server *s, const struct box *box,
                                 const Fly__V1__JoinSecret *secret, struct wish *out,
                                 struct fly_error *error)
{
    uint8_t message[JOIN_MESSAGE_MAX];
    uint8_t signature[NODE_SIGNATURE_SIZE];

    if (!take(&secret->token_id, out->request.id, sizeof out->request.id) ||
        !take(&secret->secret, out->request.secret, sizeof out->request.secret)) {
        return malformed(s, error, "the token");
    }
    if (!take(&secret->node_key, out->grant.key, sizeof out->grant.key) ||
        !take(&secret->node_signature, signature, sizeof signature) ||
        !take(&secret->reply_box, out->reply_box, sizeof out->reply_box)) {
        return malformed(s, error, "a key");
    }
    if (!fly_name_ok(secret->name)) {
        return malformed(s, error, "the name");
    }
    (void)fly_copy_string(out->grant.name, sizeof out->grant.name, secret->name);
    if (!take_roles(secret, &out->grant.roles)) {
        return malformed(s, error, "a role");
    }
    if (x509_spki_decode(secret->tls_key.data, secret->tls_key.len, &out->grant.tls, error) !=
        FLY_OK) {
        return malformed(s, error, "the TLS key");
    }
    out->admits = (out->grant.roles & NODE_ROLE_ADMIT) != 0;
    if (out->admits &&
        (!take(&secret->admission_key, out->admission_key, sizeof out->admission_key) ||
         x509_spki_decode(secret->tls_issuer_key.data, secret->tls_issuer_key.len, &out->tls_issuer,
                          error) != FLY_OK)) {
        return malformed(s, error, "an admission key");
    }
    size_t size =
        join_admit_message(box->public_key, out->request.id, s->identity->record.id, message);
    if (!node_signed(out->grant.key, JOIN_ADMIT_DOMAIN, (struct fly_bytes){message, size},
                     signature)) {
        return malformed(s, error, "the node key's signature");
    }
    out->request.roles = out->grant.roles;
    out->request.node = node_id_of(out->grant.key);
    return FLY_OK;
}

static enum fly_status open_secret(struct join_server *s, const struct box *box,
                                   const ProtobufCBinaryData *sealed, struct wish *out,
                                   struct fly_error *error)
{
    const ProtobufCMessageDescriptor *type = &fly__v1__join_secret__descriptor;
    uint8_t plain[JOIN_SECRET_MAX];
    _Alignas(16) uint8_t memory[ARENA_SIZE];
    struct fly_arena arena = fly_arena_over(memory, sizeof memory);
    enum fly_status status = FLY_OK;

    if (sealed->len < JOIN_SEAL_OVERHEAD || sealed->len > JOIN_SECRET_MAX + JOIN_SEAL_OVERHEAD ||
        crypto_box_seal_open(plain, sealed->data, sealed->len, box->public_key, box->secret) != 0) {
        return malformed(s, error, "what is sealed");
    }
    const struct fly_bytes bytes = {plain, sealed->len - JOIN_SEAL_OVERHEAD};
    if (validate_message(type, bytes, sizeof memory, NULL, error) != FLY_OK) {
        status = malformed(s, error, "what is sealed");
    } else {
        const void *secret = validate_unpack(type, bytes, &arena);
        FLY_CHECK(secret != NULL);
        status = take_wish(s, box, secret, out, error);
    }
    sodium_memzero(plain, sizeof plain);
    sodium_memzero(memory, sizeof memory);
    return status;
}

/* What would fail after a use was counted is looked at before. */
static enum fly_status may_give(struct join_server *s, const struct wish *wish, int64_t now_ms,
                                struct fly_error *error)
{
    const struct identity *id = s->identity;

    if (now_ms >= id->admission.record.expires_ms) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION,
                             "this node's admission has expired: it admits no others");
    }
    if ((wish->grant.roles & ~id->admission.record.roles) != 0) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION, "this node may not give these roles");
    }
    if (wish->admits && !id->has_ca) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION,
                             "role admit is given where ca.key and tls-ca.key are, and not here");
    }
    if (s->hooks.name_taken(s->hooks.user, wish->grant.name, &wish->request.node)) {
        return fly_error_set(error, FLY_ALREADY_EXISTS,
                             "another node is called %s; choose another --name", wish->grant.name);
    }
    return FLY_OK;
}

/* Everything that the welcome's message points at. */
struct welcome {
    Fly__V1__JoinWelcome message;
    char record[CLUSTER_FILE_MAX];
    uint8_t credential[CREDENTIAL_BYTES_MAX];
    uint8_t admission[CREDENTIAL_BYTES_MAX];
    char certificate[X509_CERT_TEXT_SIZE];
    char tls_ca[X509_CERT_TEXT_SIZE];
    char tls_issuer[X509_CERT_TEXT_SIZE];
    uint8_t gossip_key[SEAL_KEY_SIZE];
    char seeds[SETTINGS_SEEDS_MAX][SETTINGS_ADDRESS_SIZE];
    char *seed_pointers[SETTINGS_SEEDS_MAX];
    uint8_t packed[JOIN_WELCOME_MAX];
};

static enum fly_status grant_admission(struct join_server *s, const struct wish *wish,
                                       int64_t now_ms, struct welcome *w, struct fly_error *error)
{
    struct admission admission;
    enum fly_status status =
        identity_grant_admission(s->identity, wish->admission_key, &wish->tls_issuer, now_ms,
                                 &admission, w->tls_issuer, error);

    if (status == FLY_OK) {
        w->message.admission =
            (ProtobufCBinaryData){admission_encode(&admission, w->admission), w->admission};
        w->message.tls_issuer = w->tls_issuer;
    }
    return status;
}

static enum fly_status fill_welcome(struct join_server *s, const struct wish *wish, int64_t now_ms,
                                    struct welcome *w, struct credential *credential,
                                    struct fly_error *error)
{
    const struct identity *id = s->identity;
    Fly__V1__JoinWelcome *m = &w->message;

    fly__v1__join_welcome__init(m);
    enum fly_status status =
        identity_grant(id, &wish->grant, now_ms, credential, w->certificate, error);
    if (status == FLY_OK && wish->admits) {
        status = grant_admission(s, wish, now_ms, w, error);
    }
    if (status != FLY_OK) {
        return status;
    }
    (void)cluster_record_encode(&id->record, w->record);
    m->cluster_record = w->record;
    m->credential =
        (ProtobufCBinaryData){credential_encode(credential, w->credential), w->credential};
    memcpy(w->gossip_key, id->group.keys[0], sizeof w->gossip_key);
    m->gossip_key = (ProtobufCBinaryData){sizeof w->gossip_key, w->gossip_key};
    m->gossip_key_id = id->group.ids[0];
    (void)fly_copy_string(w->tls_ca, sizeof w->tls_ca, id->tls.ca);
    m->tls_ca = w->tls_ca;
    m->tls_certificate = w->certificate;
    m->slice_tag = credential->slice_tag;
    m->n_seeds = s->hooks.seeds(s->hooks.user, w->seeds);
    FLY_CHECK(m->n_seeds <= SETTINGS_SEEDS_MAX);
    for (size_t i = 0; i < m->n_seeds; i++) {
        w->seed_pointers[i] = w->seeds[i];
    }
    m->seeds = w->seed_pointers;
    return FLY_OK;
}

static enum fly_status give(struct join_server *s, const struct wish *wish, int64_t now_ms,
                            struct join_admit_answer *answer, struct fly_error *error)
{
    struct welcome *w = calloc(1, sizeof *w);

    FLY_CHECK(w != NULL);
    enum fly_status status = fill_welcome(s, wish, now_ms, w, &answer->credential, error);
    if (status == FLY_OK) {
        size_t size = fly__v1__join_welcome__get_packed_size(&w->message);
        FLY_CHECK(size <= sizeof w->packed);
        (void)fly__v1__join_welcome__pack(&w->message, w->packed);
        fly__v1__join_admit_reply__init(&answer->message);
        answer->message.sealed = (ProtobufCBinaryData){size + JOIN_SEAL_OVERHEAD, answer->sealed};
        if (crypto_box_seal(answer->sealed, w->packed, size, wish->reply_box) != 0) {
            status = malformed(s, error, "the key for the answer");
        }
    }
    sodium_memzero(w, sizeof *w);
    free(w);
    return status;
}

static enum fly_status admit(struct join_server *s, struct wish *wish, struct join_now now,
                             struct join_admit_answer *answer, struct fly_error *error)
{
    const struct admission_tags tags = {.known = s->hooks.tag_known, .user = s->hooks.user};
    enum fly_status status = may_give(s, wish, now.wall_ms, error);

    if (status == FLY_OK) {
        enum admission_outcome outcome = admission_book_admit(
            s->book, &wish->request, &tags, now.wall_ms, &wish->grant.slice_tag, error);
        status = outcome == ADMISSION_OK       ? FLY_OK
                 : outcome == ADMISSION_FAILED ? FLY_INTERNAL
                                               : FLY_PERMISSION_DENIED;
    }
    if (status != FLY_OK) {
        s->counters.refused++;
        return status;
    }
    status = give(s, wish, now.wall_ms, answer, error);
    s->counters.admitted += status == FLY_OK;
    return status;
}

enum fly_status join_server_admit(struct join_server *server,
                                  const Fly__V1__JoinAdmitRequest *request, struct join_now now,
                                  struct join_admit_answer *answer, struct fly_error *error)
{
    struct wish wish = {.admits = false};

    if (!take_rate(server, now.boot_ms)) {
        return limited(error);
    }
    turn_boxes(server, now.boot_ms);
    const struct box *box = find_box(server, &request->box);
    if (box == NULL) {
        server->counters.malformed++;
        return fly_error_set(error, FLY_ABORTED, "the answer of Begin is too old; begin again");
    }
    enum fly_status status = open_secret(server, box, &request->sealed, &wish, error);
    if (status == FLY_OK) {
        status = admit(server, &wish, now, answer, error);
    }
    sodium_memzero(&wish, sizeof wish);
    return status;
}
