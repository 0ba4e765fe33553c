#include "node/identity.h"

#include <string.h>

#include <sodium.h>

#include "node/identity_parts.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

/* A folder that had an identity has slices: a missing cluster.json is then a loss, not a start. */
static const char slices_name[] = "slices";

enum fly_status identity_lock(const char *dir, int *out_fd, struct fly_error *error)
{
    struct folder folder;
    enum fly_status status = folder_open(dir, &folder, error);

    if (status == FLY_OK) {
        *out_fd = folder.lock_fd;
        folder.lock_fd = -1;
        folder_close(&folder);
    }
    return status;
}

void identity_unlock(int fd)
{
    struct folder folder = {.fd = -1, .lock_fd = fd};

    folder_close(&folder);
}

/* --- reading --- */

static enum fly_status take_record(struct identity_files *f, const char *text, size_t size,
                                   struct fly_error *error)
{
    return cluster_record_decode(text, size, &f->identity->record, error);
}

static enum fly_status take_issuer(struct identity_files *f, const char *text, size_t size,
                                   struct fly_error *error)
{
    return issuer_key_decode(text, size, &f->issuer, error);
}

static enum fly_status take_node(struct identity_files *f, const char *text, size_t size,
                                 struct fly_error *error)
{
    enum fly_status status = node_key_decode(text, size, &f->identity->node, error);

    if (status == FLY_OK) {
        node_keys_from_seed(&f->identity->node, &f->identity->keys);
    }
    return status;
}

static enum fly_status take_ca(struct identity_files *f, const char *text, size_t size,
                               struct fly_error *error)
{
    return authority_key_decode(KEYFILE_KIND_CA, text, size, &f->identity->ca.keys, error);
}

static enum fly_status take_admission_key(struct identity_files *f, const char *text, size_t size,
                                          struct fly_error *error)
{
    return authority_key_decode(KEYFILE_KIND_ADMISSION, text, size, &f->identity->admission.keys,
                                error);
}

static enum fly_status take_admission(struct identity_files *f, const char *text, size_t size,
                                      struct fly_error *error)
{
    return admission_file_decode(text, size, &f->identity->admission.record, error);
}

static enum fly_status take_credential(struct identity_files *f, const char *text, size_t size,
                                       struct fly_error *error)
{
    return credential_file_decode(text, size, &f->identity->credential, error);
}

static enum fly_status take_gossip(struct identity_files *f, const char *text, size_t size,
                                   struct fly_error *error)
{
    return gossip_key_decode(text, size, &f->identity->group, error);
}

static enum fly_status take_generation(struct identity_files *f, const char *text, size_t size,
                                       struct fly_error *error)
{
    return generation_decode(text, size, &f->identity->generation, error);
}

static enum fly_status take_settings(struct identity_files *f, const char *text, size_t size,
                                     struct fly_error *error)
{
    return settings_decode(text, size, &f->identity->settings, error);
}

static enum fly_status take_text(const char *text, size_t size, char *out, size_t max,
                                 struct fly_error *error)
{
    if (size >= max || memchr(text, '\0', size) != NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "not a PEM text of ours");
    }
    memcpy(out, text, size);
    out[size] = '\0';
    return FLY_OK;
}

static enum fly_status take_key(const char *text, size_t size, char *out, struct fly_error *error)
{
    struct x509_spki spki;
    enum fly_status status = take_text(text, size, out, X509_KEY_TEXT_SIZE, error);

    return status == FLY_OK ? x509_key_spki(out, &spki, error) : status;
}

static enum fly_status take_certificate(const char *text, size_t size, char *out,
                                        struct fly_error *error)
{
    uint8_t hash[X509_HASH_SIZE];
    enum fly_status status = take_text(text, size, out, X509_CERT_TEXT_SIZE, error);

    return status == FLY_OK ? x509_certificate_hash(out, hash, error) : status;
}

static enum fly_status take_tls_ca_key(struct identity_files *f, const char *text, size_t size,
                                       struct fly_error *error)
{
    return take_key(text, size, f->identity->ca.tls_key, error);
}

static enum fly_status take_tls_issuer_key(struct identity_files *f, const char *text, size_t size,
                                           struct fly_error *error)
{
    return take_key(text, size, f->identity->admission.tls.key, error);
}

static enum fly_status take_tls_issuer(struct identity_files *f, const char *text, size_t size,
                                       struct fly_error *error)
{
    return take_certificate(text, size, f->identity->admission.tls.certificate, error);
}

static enum fly_status take_tls_key(struct identity_files *f, const char *text, size_t size,
                                    struct fly_error *error)
{
    return take_key(text, size, f->identity->tls.key, error);
}

static enum fly_status take_tls(struct identity_files *f, const char *text, size_t size,
                                struct fly_error *error)
{
    return take_certificate(text, size, f->identity->tls.certificate, error);
}

static enum fly_status take_tls_ca(struct identity_files *f, const char *text, size_t size,
                                   struct fly_error *error)
{
    return take_certificate(text, size, f->identity->tls.ca, error);
}

static const struct {
    const char *name;
    enum identity_file bit;
    enum fly_status (*take)(struct identity_files *f, const char *text, size_t size,
                            struct fly_error *error);
} state_files[] = {
    {CLUSTER_RECORD_FILE, FILE_RECORD, take_record},
    {CLUSTER_ISSUER_FILE, FILE_ISSUER, take_issuer},
    {CLUSTER_NODE_FILE, FILE_NODE, take_node},
    {KEYFILE_CA, FILE_CA, take_ca},
    {IDENTITY_TLS_CA_KEY, FILE_TLS_CA_KEY, take_tls_ca_key},
    {KEYFILE_ADMISSION_KEY, FILE_ADMISSION_KEY, take_admission_key},
    {KEYFILE_ADMISSION, FILE_ADMISSION, take_admission},
    {IDENTITY_TLS_ISSUER_KEY, FILE_TLS_ISSUER_KEY, take_tls_issuer_key},
    {IDENTITY_TLS_ISSUER, FILE_TLS_ISSUER, take_tls_issuer},
    {KEYFILE_CREDENTIAL, FILE_CREDENTIAL, take_credential},
    {KEYFILE_GOSSIP, FILE_GOSSIP, take_gossip},
    {IDENTITY_TLS_KEY, FILE_TLS_KEY, take_tls_key},
    {IDENTITY_TLS_CERTIFICATE, FILE_TLS, take_tls},
    {IDENTITY_TLS_CA, FILE_TLS_CA, take_tls_ca},
    {KEYFILE_GENERATION, FILE_GENERATION, take_generation},
    {SETTINGS_FILE, FILE_SETTINGS, take_settings},
};

static const char *file_name(uint32_t bit)
{
    for (size_t i = 0; i < FLY_ARRAY_COUNT(state_files); i++) {
        if ((uint32_t)state_files[i].bit == bit) {
            return state_files[i].name;
        }
    }
    return "?";
}

static enum fly_status damaged(const char *dir, const char *name, enum fly_status status,
                               struct fly_error *error)
{
    if (status != FLY_OK && error != NULL) {
        if (status == FLY_INVALID_ARGUMENT) {
            error->status = FLY_DATA_LOSS;
        }
        return fly_error_wrap(error, "%s/%s", dir, name);
    }
    return status == FLY_INVALID_ARGUMENT ? FLY_DATA_LOSS : status;
}

enum fly_status identity_load(struct identity_files *files, struct fly_error *error)
{
    const struct folder *folder = &files->identity->folder;
    char text[CLUSTER_FILE_MAX];
    enum fly_status status = FLY_OK;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(state_files) && status == FLY_OK; i++) {
        ssize_t size = -1;
        status = folder_read(folder, state_files[i].name, text, sizeof text, &size, error);
        if (status == FLY_OK && size >= 0) {
            files->present |= state_files[i].bit;
            status = damaged(folder->dir, state_files[i].name,
                             state_files[i].take(files, text, (size_t)size, error), error);
        }
    }
    sodium_memzero(text, sizeof text);
    return status;
}

/* --- what belongs together --- */

static enum fly_status missing(const struct identity *id, const char *name, struct fly_error *error)
{
    return fly_error_set(error, FLY_DATA_LOSS, "%s/%s: missing; bring it back from a backup",
                         id->folder.dir, name);
}

static enum fly_status foreign(const struct identity *id, const char *name, const char *what,
                               struct fly_error *error)
{
    return fly_error_set(error, FLY_DATA_LOSS, "%s/%s: not the %s", id->folder.dir, name, what);
}

/* The folder has no record: is it a new one? */
static enum fly_status check_new(const struct identity *id, struct fly_error *error)
{
    return folder_has(&id->folder, slices_name)
               ? fly_error_set(error, FLY_DATA_LOSS,
                               "%s/%s: missing, and there is a %s/ that belongs to it; bring it "
                               "back from a backup",
                               id->folder.dir, CLUSTER_RECORD_FILE, slices_name)
               : FLY_OK;
}

static enum fly_status check_issuer(const struct identity_files *files, struct fly_error *error)
{
    if ((files->present & FILE_ISSUER) == 0) {
        return FLY_OK;
    }
    struct token_public_key issuer = token_public_key_of(&files->issuer);
    return memcmp(&issuer, &files->identity->record.issuer, sizeof issuer) == 0
               ? FLY_OK
               : foreign(files->identity, CLUSTER_ISSUER_FILE,
                         "issuer that " CLUSTER_RECORD_FILE " names", error);
}

/* This node's own: the credential names node.key and tls.key, the certificate is of tls.key. As of
 * the day they were made: what has expired since is another matter. */
static enum fly_status check_member(const struct identity *id, struct fly_error *error)
{
    const struct credential *c = &id->credential;
    struct x509_spki spki;
    uint8_t hash[X509_HASH_SIZE];

    if (memcmp(c->key, id->keys.public_key, sizeof c->key) != 0) {
        return foreign(id, KEYFILE_CREDENTIAL, "credential of " CLUSTER_NODE_FILE, error);
    }
    if (credential_verify(c, id->record.ca, id->record.id, c->issued_ms, error) != FLY_OK) {
        return damaged(id->folder.dir, KEYFILE_CREDENTIAL, FLY_INVALID_ARGUMENT, error);
    }
    if (x509_certificate_hash(id->tls.ca, hash, error) != FLY_OK ||
        memcmp(hash, id->record.tls_ca_hash, sizeof hash) != 0) {
        return foreign(id, IDENTITY_TLS_CA, "TLS CA that " CLUSTER_RECORD_FILE " names", error);
    }
    if (x509_key_spki(id->tls.key, &spki, error) != FLY_OK) {
        return damaged(id->folder.dir, IDENTITY_TLS_KEY, FLY_INVALID_ARGUMENT, error);
    }
    x509_spki_hash(&spki, hash);
    if (memcmp(hash, c->tls_hash, sizeof hash) != 0) {
        return foreign(id, IDENTITY_TLS_KEY, "TLS key that " KEYFILE_CREDENTIAL " names", error);
    }
    if (x509_verify(id->tls.ca, id->tls.certificate, &spki, false, X509_ANY_TIME, error) !=
        FLY_OK) {
        return damaged(id->folder.dir, IDENTITY_TLS_CERTIFICATE, FLY_INVALID_ARGUMENT, error);
    }
    return FLY_OK;
}

static enum fly_status check_admission(const struct identity_files *f, struct fly_error *error)
{
    const struct identity *id = f->identity;
    const struct identity_admission *a = &id->admission;
    struct x509_spki spki;

    if ((f->present & FILES_ADMISSION) == 0) {
        return FLY_OK;
    }
    for (uint32_t bit = FILE_ADMISSION_KEY; bit <= FILE_TLS_ISSUER; bit <<= 1) {
        if ((f->present & bit) == 0) {
            return missing(id, file_name(bit), error);
        }
    }
    if (memcmp(a->record.key, a->keys.public_key, sizeof a->record.key) != 0 ||
        !admission_signed(&a->record, id->record.ca, id->record.id)) {
        return foreign(id, KEYFILE_ADMISSION, "CA's word on " KEYFILE_ADMISSION_KEY, error);
    }
    if (x509_key_spki(a->tls.key, &spki, error) != FLY_OK ||
        x509_verify(id->tls.ca, a->tls.certificate, &spki, true, X509_ANY_TIME, error) != FLY_OK) {
        return damaged(id->folder.dir, IDENTITY_TLS_ISSUER, FLY_INVALID_ARGUMENT, error);
    }
    return FLY_OK;
}

static enum fly_status check_ca(const struct identity_files *f, struct fly_error *error)
{
    const struct identity *id = f->identity;
    struct x509_spki spki;

    if ((f->present & FILE_CA) != 0 &&
        memcmp(id->ca.keys.public_key, id->record.ca, sizeof id->record.ca) != 0) {
        return foreign(id, KEYFILE_CA, "CA that " CLUSTER_RECORD_FILE " names", error);
    }
    if ((f->present & FILE_TLS_CA_KEY) != 0 &&
        (x509_key_spki(id->ca.tls_key, &spki, error) != FLY_OK ||
         x509_verify(id->tls.ca, id->tls.ca, &spki, true, X509_ANY_TIME, error) != FLY_OK)) {
        return foreign(id, IDENTITY_TLS_CA_KEY, "key of " IDENTITY_TLS_CA, error);
    }
    return FLY_OK;
}

enum fly_status identity_check(const struct identity_files *files, struct fly_error *error)
{
    struct identity *id = files->identity;
    const uint32_t ca = FILE_CA | FILE_TLS_CA_KEY;
    enum fly_status status = FLY_OK;

    for (uint32_t bit = FILE_RECORD; bit <= FILE_SETTINGS; bit <<= 1) {
        if ((FILES_MEMBER & bit) != 0 && (files->present & bit) == 0) {
            return missing(id, file_name(bit), error);
        }
    }
    status = check_issuer(files, error);
    if (status == FLY_OK) {
        status = check_member(id, error);
    }
    if (status == FLY_OK) {
        status = check_admission(files, error);
    }
    if (status == FLY_OK) {
        status = check_ca(files, error);
    }
    id->has_issuer = (files->present & FILE_ISSUER) != 0;
    id->has_admission = (files->present & FILES_ADMISSION) == FILES_ADMISSION;
    id->has_ca = (files->present & ca) == ca;
    return status;
}

/* --- opening --- */

static void identity_zero(struct identity *out)
{
    memset(out, 0, sizeof *out);
    out->folder.fd = -1;
    out->folder.lock_fd = -1;
}

/* Stored before it is used: no two starts share one, not even around a power loss. */
static enum fly_status next_generation(struct identity *id, int64_t now_ms, struct fly_error *error)
{
    char text[CLUSTER_FILE_MAX];
    int64_t now_s = now_ms / 1000;

    if (id->generation == UINT32_MAX) {
        return fly_error_set(error, FLY_DATA_LOSS, "%s/%s: used up", id->folder.dir,
                             KEYFILE_GENERATION);
    }
    id->generation++;
    if (now_s > id->generation && now_s < UINT32_MAX) {
        id->generation = (uint32_t)now_s;
    }
    size_t size = generation_encode(id->generation, text);
    return folder_write(&id->folder, KEYFILE_GENERATION, text, size, error);
}

/* An admitting node vouches for itself again in time; others must ask one that does. */
static enum fly_status keep_fresh(struct identity *id, int64_t now_ms, struct fly_error *error)
{
    const struct credential *c = &id->credential;
    bool half_over = now_ms > c->issued_ms + (c->expires_ms - c->issued_ms) / 2;
    char when[FLY_TIME_TEXT_SIZE];

    if (half_over && id->has_admission && now_ms < id->admission.record.expires_ms) {
        return identity_renew(id, now_ms, error);
    }
    if (now_ms >= c->expires_ms) {
        fly_time_format(c->expires_ms, when);
        return fly_error_set(error, FLY_FAILED_PRECONDITION,
                             "%s/%s: expired at %s; join again with a new folder", id->folder.dir,
                             KEYFILE_CREDENTIAL, when);
    }
    return FLY_OK;
}

/* What is there, and whole. */
static enum fly_status load(struct identity_files *files, struct fly_error *error)
{
    struct identity *id = files->identity;
    enum fly_status status = identity_load(files, error);

    if (status != FLY_OK) {
        return status;
    }
    if ((files->present & FILE_RECORD) == 0) {
        return check_new(id, error);
    }
    if ((files->present & FILE_NODE) == 0) {
        return missing(id, CLUSTER_NODE_FILE, error);
    }
    return id->record.has_ca ? identity_check(files, error) : check_issuer(files, error);
}

/* Behind a lock that is held: load, make what may be made, and be ready to run. */
static enum fly_status open_locked(struct identity *out, bool may_make, int64_t now_ms,
                                   struct fly_error *error)
{
    struct identity_files files = {.identity = out};
    enum fly_status status = load(&files, error);
    bool made = (files.present & FILE_RECORD) != 0;

    if (status == FLY_OK && !made && !may_make) {
        status = fly_error_set(error, FLY_FAILED_PRECONDITION,
                               "%s: no node was made here; run `flynode init` or `flynode join` "
                               "first",
                               out->folder.dir);
    }
    if (status == FLY_OK && (!made || !out->record.has_ca)) {
        out->created = !made;
        status = identity_make(&files, now_ms, error);
    }
    if (status == FLY_OK) {
        status = keep_fresh(out, now_ms, error);
    }
    if (status == FLY_OK) {
        status = next_generation(out, now_ms, error);
    }
    sodium_memzero(&files, sizeof files);
    return status;
}

static enum fly_status open_with(const char *dir, bool may_make, int64_t now_ms,
                                 struct identity *out, struct fly_error *error)
{
    identity_zero(out);
    if (sodium_init() < 0) {
        return fly_error_set(error, FLY_INTERNAL, "libsodium finds no randomness");
    }
    enum fly_status status =
        may_make ? folder_make(dir, &out->folder, error) : folder_open(dir, &out->folder, error);
    if (status == FLY_NOT_FOUND) {
        status =
            fly_error_set(error, FLY_FAILED_PRECONDITION,
                          "%s: no such folder; run `flynode init` or `flynode join` first", dir);
    }
    if (status == FLY_OK) {
        status = open_locked(out, may_make, now_ms, error);
    }
    if (status != FLY_OK) {
        identity_close(out);
    }
    return status;
}

enum fly_status identity_open_made(const char *dir, int64_t now_ms, struct identity *out,
                                   struct fly_error *error)
{
    return open_with(dir, false, now_ms, out, error);
}

enum fly_status identity_open(const char *dir, int64_t now_ms, struct identity *out,
                              struct fly_error *error)
{
    return open_with(dir, true, now_ms, out, error);
}

void identity_close(struct identity *identity)
{
    folder_close(&identity->folder);
    sodium_memzero(identity, sizeof *identity);
    identity->folder.fd = -1;
    identity->folder.lock_fd = -1;
}
