/*
 * identity_make - the writing half of identity.h: founding, joining, admitting others.
 */
#include <string.h>

#include <sodium.h>

#include "node/identity_parts.h"
#include "proto/base/check.h"
#include "proto/base/id.h"

enum { SEED_SIZE = 32, TAG_MAX = 0xffffff, GROUP_KEY_ID = 1 };

static const char dev_name[] = "dev";

/* --- writing one file --- */

static enum fly_status write_text(const struct identity *id, const char *name, const char *text,
                                  struct fly_error *error)
{
    return folder_write(&id->folder, name, text, strlen(text), error);
}

static enum fly_status write_record(const struct identity *id, struct fly_error *error)
{
    char text[CLUSTER_FILE_MAX];

    (void)cluster_record_encode(&id->record, text);
    return write_text(id, CLUSTER_RECORD_FILE, text, error);
}

static enum fly_status write_settings(const struct identity *id, struct fly_error *error)
{
    char text[SETTINGS_FILE_MAX];

    (void)settings_encode(&id->settings, text);
    return write_text(id, SETTINGS_FILE, text, error);
}

static enum fly_status write_group(const struct identity *id, struct fly_error *error)
{
    char text[CLUSTER_FILE_MAX];

    (void)gossip_key_encode(&id->group, text);
    enum fly_status status = write_text(id, KEYFILE_GOSSIP, text, error);
    sodium_memzero(text, sizeof text);
    return status;
}

static enum fly_status write_admission(const struct identity *id, struct fly_error *error)
{
    char text[CLUSTER_FILE_MAX];

    (void)admission_file_encode(&id->admission.record, text);
    enum fly_status status = write_text(id, KEYFILE_ADMISSION, text, error);
    if (status == FLY_OK) {
        status = write_text(id, IDENTITY_TLS_ISSUER, id->admission.tls.certificate, error);
    }
    return status;
}

/* The credential last: with an old one beside a new certificate both are made again. */
enum fly_status identity_write_credential(const struct identity *identity, struct fly_error *error)
{
    char text[CLUSTER_FILE_MAX];
    enum fly_status status =
        write_text(identity, IDENTITY_TLS_CERTIFICATE, identity->tls.certificate, error);

    if (status == FLY_OK) {
        (void)credential_file_encode(&identity->credential, text);
        status = write_text(identity, KEYFILE_CREDENTIAL, text, error);
    }
    return status;
}

/* --- keys that are not there yet --- */

static enum fly_status make_node_key(struct identity *id, struct fly_error *error)
{
    char text[CLUSTER_FILE_MAX];

    randombytes_buf(id->node.bytes, sizeof id->node.bytes);
    node_keys_from_seed(&id->node, &id->keys);
    (void)node_key_encode(&id->node, text);
    enum fly_status status = write_text(id, CLUSTER_NODE_FILE, text, error);
    sodium_memzero(text, sizeof text);
    return status;
}

static enum fly_status make_issuer(struct identity_files *files, struct fly_error *error)
{
    char text[CLUSTER_FILE_MAX];
    uint8_t seed[TOKEN_SEED_SIZE];

    randombytes_buf(seed, sizeof seed);
    token_secret_key_from_seed(seed, &files->issuer);
    (void)issuer_key_encode(&files->issuer, text);
    enum fly_status status = write_text(files->identity, CLUSTER_ISSUER_FILE, text, error);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(text, sizeof text);
    return status;
}

static enum fly_status make_authority(const struct identity *id, enum keyfile_kind kind,
                                      const char *name, struct authority_keys *out,
                                      struct fly_error *error)
{
    char text[CLUSTER_FILE_MAX];
    uint8_t seed[SEED_SIZE];

    randombytes_buf(seed, sizeof seed);
    authority_keys_from_seed(seed, out);
    (void)authority_key_encode(kind, out, text);
    enum fly_status status = write_text(id, name, text, error);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(text, sizeof text);
    return status;
}

static enum fly_status make_tls_key(const struct identity *id, const char *name,
                                    char out[static X509_KEY_TEXT_SIZE], struct fly_error *error)
{
    enum fly_status status = x509_key_make(out, error);

    return status == FLY_OK ? write_text(id, name, out, error) : status;
}

/* Keys of every node, and with `admits` of one that admits; those that are there stay. */
static enum fly_status make_keys(struct identity_files *files, bool admits, struct fly_error *error)
{
    struct identity *id = files->identity;
    uint32_t lacks = ~files->present;
    enum fly_status status = FLY_OK;

    if ((lacks & FILE_NODE) != 0) {
        status = make_node_key(id, error);
    }
    if (status == FLY_OK && (lacks & FILE_TLS_KEY) != 0) {
        status = make_tls_key(id, IDENTITY_TLS_KEY, id->tls.key, error);
    }
    if (status == FLY_OK && admits && (lacks & FILE_ADMISSION_KEY) != 0) {
        status = make_authority(id, KEYFILE_KIND_ADMISSION, KEYFILE_ADMISSION_KEY,
                                &id->admission.keys, error);
    }
    if (status == FLY_OK && admits && (lacks & FILE_TLS_ISSUER_KEY) != 0) {
        status = make_tls_key(id, IDENTITY_TLS_ISSUER_KEY, id->admission.tls.key, error);
    }
    return status;
}

/* Keys that only a founder has. */
static enum fly_status make_founder_keys(struct identity_files *files, struct fly_error *error)
{
    struct identity *id = files->identity;
    uint32_t lacks = ~files->present;
    enum fly_status status = FLY_OK;

    /* a folder of a time before CAs has a record, and its issuer key may be elsewhere */
    if ((lacks & FILE_ISSUER) != 0 && (lacks & FILE_RECORD) != 0) {
        status = make_issuer(files, error);
        id->has_issuer = true;
    }
    if (status == FLY_OK && (lacks & FILE_CA) != 0) {
        status = make_authority(id, KEYFILE_KIND_CA, KEYFILE_CA, &id->ca.keys, error);
    }
    if (status == FLY_OK && (lacks & FILE_TLS_CA_KEY) != 0) {
        status = make_tls_key(id, IDENTITY_TLS_CA_KEY, id->ca.tls_key, error);
    }
    return status;
}

/* --- founding --- */

static void name_cluster(struct identity_files *files, int64_t now_ms)
{
    struct cluster_record *record = &files->identity->record;
    uint8_t random[CLUSTER_ID_BYTES];

    randombytes_buf(random, sizeof random);
    fly_hex_encode(random, sizeof random, record->id);
    record->issuer = token_public_key_of(&files->issuer);
    record->root_tag = 1 + randombytes_uniform(TAG_MAX);
    record->created_ms = now_ms;
}

static enum fly_status make_tls_ca(struct identity *id, int64_t now_ms, struct fly_error *error)
{
    struct x509_authority ca;

    memcpy(ca.key, id->ca.tls_key, sizeof ca.key);
    enum fly_status status = x509_ca_make(&ca, id->record.id, now_ms,
                                          now_ms + IDENTITY_TLS_CA_YEARS * IDENTITY_YEAR_MS, error);
    if (status == FLY_OK) {
        memcpy(id->tls.ca, ca.certificate, sizeof id->tls.ca);
        status = x509_certificate_hash(id->tls.ca, id->record.tls_ca_hash, error);
    }
    if (status == FLY_OK) {
        status = write_text(id, IDENTITY_TLS_CA, id->tls.ca, error);
    }
    sodium_memzero(&ca, sizeof ca);
    return status;
}

/* The founder's own word on its own admission key. */
static enum fly_status admit_self(struct identity *id, int64_t now_ms, struct fly_error *error)
{
    struct x509_spki issuer;
    enum fly_status status = x509_key_spki(id->admission.tls.key, &issuer, error);

    if (status == FLY_OK) {
        status =
            identity_grant_admission(id, id->admission.keys.public_key, &issuer, now_ms,
                                     &id->admission.record, id->admission.tls.certificate, error);
    }
    return status == FLY_OK ? write_admission(id, error) : status;
}

enum fly_status identity_renew(struct identity *identity, int64_t now_ms, struct fly_error *error)
{
    struct identity_grant grant = {.roles = identity->credential.roles,
                                   .slice_tag = identity->credential.slice_tag};
    struct credential made;
    enum fly_status status = x509_key_spki(identity->tls.key, &grant.tls, error);

    memcpy(grant.key, identity->keys.public_key, sizeof grant.key);
    memcpy(grant.name, identity->credential.name, sizeof grant.name);
    if (status == FLY_OK) {
        status = identity_grant(identity, &grant, now_ms, &made, identity->tls.certificate, error);
    }
    if (status == FLY_OK) {
        identity->credential = made;
        status = identity_write_credential(identity, error);
    }
    return status;
}

static enum fly_status make_member(struct identity *id, int64_t now_ms, struct fly_error *error)
{
    enum fly_status status = FLY_OK;

    id->group = (struct seal_ring){.count = 1, .ids = {GROUP_KEY_ID}};
    randombytes_buf(id->group.keys[0], SEAL_KEY_SIZE);
    status = write_group(id, error);
    if (id->settings.name[0] == '\0') {
        (void)fly_copy_string(id->settings.name, sizeof id->settings.name, dev_name);
    }
    if (status == FLY_OK) {
        status = write_settings(id, error);
    }
    (void)fly_copy_string(id->credential.name, sizeof id->credential.name, id->settings.name);
    id->credential.roles = NODE_ROLE_ALL;
    id->credential.slice_tag = id->record.root_tag;
    return status == FLY_OK ? identity_renew(id, now_ms, error) : status;
}

enum fly_status identity_make(struct identity_files *files, int64_t now_ms, struct fly_error *error)
{
    struct identity *id = files->identity;
    enum fly_status status = make_keys(files, true, error);

    if (status == FLY_OK) {
        status = make_founder_keys(files, error);
    }
    if (status != FLY_OK) {
        return status;
    }
    if ((files->present & FILE_RECORD) == 0) {
        name_cluster(files, now_ms);
    }
    id->has_issuer = id->has_issuer || (files->present & FILE_ISSUER) != 0;
    id->has_admission = true;
    id->has_ca = true;
    memcpy(id->record.ca, id->ca.keys.public_key, sizeof id->record.ca);
    status = make_tls_ca(id, now_ms, error);
    id->record.has_ca = true;
    if (status == FLY_OK) {
        status = admit_self(id, now_ms, error);
    }
    if (status == FLY_OK) {
        status = make_member(id, now_ms, error);
    }
    return status == FLY_OK ? write_record(id, error) : status;
}

/* Opens a folder that must have no identity yet. */
static enum fly_status open_new(const char *dir, struct identity_files *files,
                                struct fly_error *error)
{
    struct identity *id = files->identity;

    memset(id, 0, sizeof *id);
    id->folder.fd = -1;
    id->folder.lock_fd = -1;
    if (sodium_init() < 0) {
        return fly_error_set(error, FLY_INTERNAL, "libsodium finds no randomness");
    }
    enum fly_status status = folder_make(dir, &id->folder, error);
    if (status == FLY_OK &&
        (folder_has(&id->folder, CLUSTER_RECORD_FILE) || folder_has(&id->folder, "slices"))) {
        status = fly_error_set(error, FLY_ALREADY_EXISTS,
                               "%s: this folder belongs to a cluster already; use another", dir);
    }
    return status == FLY_OK ? identity_load(files, error) : status;
}

enum fly_status identity_found(const char *dir, const struct node_settings *settings,
                               int64_t now_ms, struct identity *out, struct fly_error *error)
{
    struct identity_files files = {.identity = out};
    enum fly_status status = open_new(dir, &files, error);

    if (status == FLY_OK) {
        out->settings = *settings;
        if (out->settings.name[0] == '\0') {
            settings_default_name(out->settings.name);
        }
        out->created = true;
        status = identity_make(&files, now_ms, error);
    }
    sodium_memzero(&files, sizeof files);
    if (status != FLY_OK) {
        identity_close(out);
    }
    return status;
}

/* --- joining --- */

enum fly_status identity_join_begin(const char *dir, bool admits, struct identity *out,
                                    struct fly_error *error)
{
    struct identity_files files = {.identity = out};
    enum fly_status status = open_new(dir, &files, error);

    if (status == FLY_OK && (files.present & (FILE_ISSUER | FILE_CA | FILE_TLS_CA_KEY)) != 0) {
        status = fly_error_set(error, FLY_FAILED_PRECONDITION,
                               "%s: keys of an interrupted `flynode init` are in it; use another "
                               "folder",
                               dir);
    }
    if (status == FLY_OK) {
        status = make_keys(&files, admits, error);
    }
    sodium_memzero(&files, sizeof files);
    if (status != FLY_OK) {
        identity_close(out);
    }
    return status;
}

/* Of an interrupted join that asked for more. */
static enum fly_status drop_admission(const struct identity *id, struct fly_error *error)
{
    static const char *const names[] = {KEYFILE_ADMISSION_KEY, KEYFILE_ADMISSION,
                                        IDENTITY_TLS_ISSUER_KEY, IDENTITY_TLS_ISSUER};
    enum fly_status status = FLY_OK;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(names) && status == FLY_OK; i++) {
        status = folder_remove(&id->folder, names[i], error);
    }
    return status;
}

enum fly_status identity_join_save(struct identity *identity, int64_t now_ms,
                                   struct fly_error *error)
{
    bool admits = (identity->credential.roles & NODE_ROLE_ADMIT) != 0;
    const struct identity_files files = {.identity = identity,
                                         .present = FILE_RECORD | FILES_MEMBER |
                                                    (admits ? FILES_ADMISSION : 0)};
    enum fly_status status = identity_check(&files, error);

    if (status == FLY_OK) {
        status = credential_verify(&identity->credential, identity->record.ca, identity->record.id,
                                   now_ms, error);
    }
    if (status == FLY_OK) {
        status = admits ? write_admission(identity, error) : drop_admission(identity, error);
    }
    if (status == FLY_OK) {
        status = write_group(identity, error);
    }
    if (status == FLY_OK) {
        status = write_text(identity, IDENTITY_TLS_CA, identity->tls.ca, error);
    }
    if (status == FLY_OK) {
        status = write_settings(identity, error);
    }
    if (status == FLY_OK) {
        status = identity_write_credential(identity, error);
    }
    return status == FLY_OK ? write_record(identity, error) : status;
}

/* --- admitting --- */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

enum fly_status identity_grant(const struct identity *identity, const struct identity_grant *grant,
                               int64_t now_ms, struct credential *out,
                               char certificate[static X509_CERT_TEXT_SIZE],
                               struct fly_error *error)
{
    const struct admission *a = &identity->admission.record;
    struct credential c = {
        .admission = *a, .roles = grant->roles, .slice_tag = grant->slice_tag, .issued_ms = now_ms};

    if (!identity->has_admission || now_ms >= a->expires_ms) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION, "this node %s admit others",
                             identity->has_admission ? "may no longer" : "does not");
    }
    if ((grant->roles & ~a->roles) != 0) {
        return fly_error_set(error, FLY_PERMISSION_DENIED, "this node may not give these roles");
    }
    c.expires_ms = earlier(now_ms + IDENTITY_CREDENTIAL_YEARS * IDENTITY_YEAR_MS, a->expires_ms);
    memcpy(c.key, grant->key, sizeof c.key);
    memcpy(c.name, grant->name, sizeof c.name);
    x509_spki_hash(&grant->tls, c.tls_hash);
    enum fly_status status = x509_node_make(&identity->admission.tls, &grant->tls, grant->name,
                                            now_ms, c.expires_ms, certificate, error);
    if (status == FLY_OK) {
        credential_sign(&identity->admission.keys, identity->record.id, &c);
        *out = c;
    }
    return status;
}

enum fly_status
identity_grant_admission(const struct identity *identity, const uint8_t key[static NODE_KEY_SIZE],
                         const struct x509_spki *tls_issuer, int64_t now_ms, struct admission *out,
                         char certificate[static X509_CERT_TEXT_SIZE], struct fly_error *error)
{
    struct x509_authority ca;
    struct admission a = {.roles = NODE_ROLE_ALL,
                          .expires_ms = now_ms + IDENTITY_ADMISSION_YEARS * IDENTITY_YEAR_MS};

    if (!identity->has_ca) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION,
                             "only a node with %s and %s can make another one admit", KEYFILE_CA,
                             IDENTITY_TLS_CA_KEY);
    }
    memcpy(ca.key, identity->ca.tls_key, sizeof ca.key);
    memcpy(ca.certificate, identity->tls.ca, sizeof ca.certificate);
    memcpy(a.key, key, sizeof a.key);
    enum fly_status status = x509_issuer_make(&ca, tls_issuer, identity->record.id, now_ms,
                                              a.expires_ms, certificate, error);
    sodium_memzero(&ca, sizeof ca);
    if (status == FLY_OK) {
        admission_sign(&identity->ca.keys, identity->record.id, &a);
        *out = a;
    }
    return status;
}
