/*
 * join_client - join.h's joining side, between its two calls.
 */
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "node/join_parts.h"
#include "proto/base/check.h"
#include "proto/base/time.h"
#include "proto/wire/validate.h"

enum { WELCOME_ARENA = 64 * 1024 };

enum fly_status join_client_init(struct join_client *client, const struct join_token *token,
                                 struct identity *identity, const char *name, uint32_t roles,
                                 int64_t now_ms, struct fly_error *error)
{
    memset(client, 0, sizeof *client);
    if (now_ms >= token->expires_ms) {
        char when[FLY_TIME_TEXT_SIZE];
        fly_time_format(token->expires_ms, when);
        return fly_error_set(error, FLY_PERMISSION_DENIED,
                             "the join token expired at %s; ask for "
                             "another",
                             when);
    }
    if (roles == 0 || (roles & ~token->roles) != 0) {
        char may[NODE_ROLES_TEXT_SIZE];
        node_roles_format(token->roles, ',', may);
        return fly_error_set(error, FLY_PERMISSION_DENIED,
                             "the join token gives only these roles: %s", may);
    }
    client->token = token;
    client->identity = identity;
    client->roles = roles;
    (void)fly_copy_string(client->name, sizeof client->name, name);
    randombytes_buf(client->nonce, sizeof client->nonce);
    (void)crypto_box_keypair(client->reply_box, client->reply_secret);
    return FLY_OK;
}

void join_client_fini(struct join_client *client)
{
    sodium_memzero(client, sizeof *client);
}

void join_client_begin(struct join_client *client, Fly__V1__JoinBeginRequest *request)
{
    fly__v1__join_begin_request__init(request);
    request->nonce = (ProtobufCBinaryData){sizeof client->nonce, client->nonce};
}

/* --- Begin's answer --- */

static enum fly_status distrust(struct fly_error *error, const char *why)
{
    return fly_error_set(error, FLY_UNAUTHENTICATED,
                         "whoever answers there is not a node of the join token's cluster: %s",
                         why);
}

static enum fly_status trust_server(struct join_client *c, const Fly__V1__JoinBeginReply *reply,
                                    int64_t now_ms, struct fly_error *error)
{
    uint8_t hash[JOIN_TOKEN_CA_HASH_SIZE];
    uint8_t message[JOIN_MESSAGE_MAX];
    struct fly_error why = {.text = ""};

    if (reply->ca.len != NODE_KEY_SIZE || reply->box.len != JOIN_BOX_SIZE ||
        reply->signature.len != NODE_SIGNATURE_SIZE) {
        return distrust(error, "its answer makes no sense");
    }
    join_token_ca_hash(reply->ca.data, hash);
    if (memcmp(hash, c->token->ca_hash, sizeof hash) != 0) {
        return distrust(error, "it has another CA");
    }
    if (credential_decode(reply->credential.data, reply->credential.len, &c->server, &why) !=
            FLY_OK ||
        credential_verify(&c->server, reply->ca.data, c->token->cluster, now_ms, &why) != FLY_OK) {
        return distrust(error, why.text);
    }
    if ((c->server.roles & NODE_ROLE_ADMIT) == 0) {
        return distrust(error, "it may not admit others");
    }
    size_t size = join_begin_message(c->nonce, reply->box.data, c->token->cluster, message);
    if (!node_signed(c->server.key, JOIN_BEGIN_DOMAIN, (struct fly_bytes){message, size},
                     reply->signature.data)) {
        return distrust(error, "it shows a credential and does not hold its key");
    }
    return FLY_OK;
}

static ProtobufCBinaryData binary(const void *data, size_t size)
{
    return (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)data};
}

/* The secret and this node's public keys, sealed to the key of Begin. */
static enum fly_status seal_secret(struct join_client *c, const uint8_t *box, size_t *sealed_size,
                                   struct fly_error *error)
{
    static const char *const names[] = {"peer", "edge", "dash", "admit"};
    struct identity *id = c->identity;
    Fly__V1__JoinSecret secret = FLY__V1__JOIN_SECRET__INIT;
    uint8_t message[JOIN_MESSAGE_MAX];
    uint8_t signature[NODE_SIGNATURE_SIZE];
    uint8_t packed[JOIN_SECRET_MAX];
    char *roles[FLY_ARRAY_COUNT(names)];
    struct x509_spki tls;
    struct x509_spki issuer = {.size = 0};
    enum fly_status status = x509_key_spki(id->tls.key, &tls, error);

    for (size_t i = 0; i < FLY_ARRAY_COUNT(names); i++) {
        if ((c->roles & 1U << i) != 0) {
            roles[secret.n_roles++] = (char *)(uintptr_t)names[i];
        }
    }
    if (status == FLY_OK && (c->roles & NODE_ROLE_ADMIT) != 0) {
        status = x509_key_spki(id->admission.tls.key, &issuer, error);
        secret.admission_key = binary(id->admission.keys.public_key, NODE_KEY_SIZE);
        secret.tls_issuer_key = binary(issuer.bytes, issuer.size);
    }
    if (status != FLY_OK) {
        return status;
    }
    size_t size = join_admit_message(box, c->token->id, c->token->cluster, message);
    node_sign(&id->keys, JOIN_ADMIT_DOMAIN, (struct fly_bytes){message, size}, signature);
    secret.roles = roles;
    secret.token_id = binary(c->token->id, sizeof c->token->id);
    secret.secret = binary(c->token->secret, sizeof c->token->secret);
    secret.node_key = binary(id->keys.public_key, NODE_KEY_SIZE);
    secret.node_signature = binary(signature, sizeof signature);
    secret.reply_box = binary(c->reply_box, sizeof c->reply_box);
    secret.name = c->name;
    secret.tls_key = binary(tls.bytes, tls.size);
    size = fly__v1__join_secret__get_packed_size(&secret);
    FLY_CHECK(size <= sizeof packed);
    (void)fly__v1__join_secret__pack(&secret, packed);
    if (crypto_box_seal(c->sealed, packed, size, box) != 0) {
        status = distrust(error, "its key is none");
    }
    *sealed_size = size + JOIN_SEAL_OVERHEAD;
    sodium_memzero(packed, sizeof packed);
    return status;
}

enum fly_status join_client_admit(struct join_client *client, const Fly__V1__JoinBeginReply *reply,
                                  int64_t now_ms, Fly__V1__JoinAdmitRequest *request,
                                  struct fly_error *error)
{
    size_t size = 0;
    enum fly_status status = trust_server(client, reply, now_ms, error);

    if (status == FLY_OK) {
        status = seal_secret(client, reply->box.data, &size, error);
    }
    if (status == FLY_OK) {
        fly__v1__join_admit_request__init(request);
        client->asked = true;
        request->box = reply->box;
        request->sealed = (ProtobufCBinaryData){size, client->sealed};
        memcpy(client->identity->record.ca, reply->ca.data, NODE_KEY_SIZE);
    }
    return status;
}

/* --- Admit's answer --- */

static enum fly_status refuse(struct fly_error *error, const char *what)
{
    return fly_error_set(error, FLY_UNAUTHENTICATED,
                         "what the admitting node gave is not right: %s", what);
}

static bool take_pem(const char *text, char *out, size_t max)
{
    return strlen(text) < max && fly_copy_string(out, max, text);
}

static enum fly_status take_record(struct join_client *c, const char *text, struct fly_error *error)
{
    struct identity *id = c->identity;
    struct cluster_record record;
    struct fly_error why = {.text = ""};

    if (cluster_record_decode(text, strlen(text), &record, &why) != FLY_OK) {
        return refuse(error, why.text);
    }
    /* record.ca of the folder was set from what the token's hash vouched for */
    if (!record.has_ca || memcmp(record.ca, id->record.ca, sizeof record.ca) != 0 ||
        strcmp(record.id, c->token->cluster) != 0) {
        return refuse(error, "its cluster record is of another cluster");
    }
    id->record = record;
    return FLY_OK;
}

static enum fly_status take_admission(struct join_client *c, const Fly__V1__JoinWelcome *w,
                                      struct fly_error *error)
{
    struct identity_admission *a = &c->identity->admission;
    struct fly_error why = {.text = ""};

    if ((c->roles & NODE_ROLE_ADMIT) == 0) {
        return FLY_OK;
    }
    if (admission_decode(w->admission.data, w->admission.len, &a->record, &why) != FLY_OK) {
        return refuse(error, why.text);
    }
    return take_pem(w->tls_issuer, a->tls.certificate, sizeof a->tls.certificate)
               ? FLY_OK
               : refuse(error, "its TLS issuer is too long");
}

static enum fly_status take_seeds(struct node_settings *settings, const Fly__V1__JoinWelcome *w,
                                  struct fly_error *error)
{
    settings->seed_count = 0;
    if (w->n_seeds > SETTINGS_SEEDS_MAX) {
        return refuse(error, "too many seeds");
    }
    for (size_t i = 0; i < w->n_seeds; i++) {
        struct config_address address;
        if (!config_address_parse(w->seeds[i], 0, &address) || address.port == 0 || address.any) {
            return refuse(error, "a seed is no address");
        }
        config_address_format(address.host, address.port, settings->seeds[i]);
        settings->seed_count++;
    }
    return FLY_OK;
}

/* Whether all this belongs together and to our keys, identity_join_save looks at. */
static enum fly_status take_welcome(struct join_client *c, const Fly__V1__JoinWelcome *w,
                                    int64_t now_ms, struct fly_error *error)
{
    struct identity *id = c->identity;
    struct fly_error why = {.text = ""};
    enum fly_status status = take_record(c, w->cluster_record, error);

    if (status != FLY_OK) {
        return status;
    }
    if (credential_decode(w->credential.data, w->credential.len, &id->credential, &why) != FLY_OK ||
        credential_verify(&id->credential, id->record.ca, id->record.id, now_ms, &why) != FLY_OK) {
        return refuse(error, why.text);
    }
    if (memcmp(id->credential.key, id->keys.public_key, NODE_KEY_SIZE) != 0 ||
        strcmp(id->credential.name, c->name) != 0 || id->credential.roles != c->roles) {
        return refuse(error, "its credential is not what was asked for");
    }
    if (id->credential.slice_tag == 0 || id->credential.slice_tag != w->slice_tag ||
        id->credential.slice_tag == id->record.root_tag) {
        return refuse(error, "its slice tag");
    }
    if (w->gossip_key.len != SEAL_KEY_SIZE || w->gossip_key_id > UINT8_MAX) {
        return refuse(error, "its gossip key");
    }
    id->group = (struct seal_ring){.count = 1, .ids = {(uint8_t)w->gossip_key_id}};
    memcpy(id->group.keys[0], w->gossip_key.data, SEAL_KEY_SIZE);
    if (!take_pem(w->tls_ca, id->tls.ca, sizeof id->tls.ca) ||
        !take_pem(w->tls_certificate, id->tls.certificate, sizeof id->tls.certificate)) {
        return refuse(error, "a certificate is too long");
    }
    status = take_admission(c, w, error);
    return status == FLY_OK ? take_seeds(&id->settings, w, error) : status;
}

enum fly_status join_client_welcome(struct join_client *client,
                                    const Fly__V1__JoinAdmitReply *reply, int64_t now_ms,
                                    struct fly_error *error)
{
    const ProtobufCMessageDescriptor *type = &fly__v1__join_welcome__descriptor;
    uint8_t plain[JOIN_WELCOME_MAX];
    struct fly_error why = {.text = ""};
    enum fly_status status = FLY_OK;
    size_t size = reply->sealed.len - JOIN_SEAL_OVERHEAD;

    if (reply->sealed.len < JOIN_SEAL_OVERHEAD || size > sizeof plain ||
        crypto_box_seal_open(plain, reply->sealed.data, reply->sealed.len, client->reply_box,
                             client->reply_secret) != 0) {
        return refuse(error, "it is not sealed for us");
    }
    void *memory = calloc(1, WELCOME_ARENA);
    struct fly_arena arena = fly_arena_over(memory, WELCOME_ARENA);
    FLY_CHECK(memory != NULL);
    if (validate_message(type, (struct fly_bytes){plain, size}, WELCOME_ARENA, NULL, &why) !=
        FLY_OK) {
        status = refuse(error, why.text);
    } else {
        const void *welcome = validate_unpack(type, (struct fly_bytes){plain, size}, &arena);
        FLY_CHECK(welcome != NULL);
        status = take_welcome(client, welcome, now_ms, error);
    }
    sodium_memzero(plain, sizeof plain);
    sodium_memzero(memory, WELCOME_ARENA);
    free(memory);
    return status;
}
