#include "proto/wire/credential.h"

#include <inttypes.h>
#include <string.h>

#include <sodium.h>

#include "proto/base/check.h"
#include "proto/base/id.h"
#include "proto/base/time.h"

static const char admission_domain[] = "flylight-admission-1";
static const char credential_domain[] = "flylight-credential-1";

enum {
    CREDENTIAL_VERSION = 1,
    CLUSTER_DIGITS = CLUSTER_ID_SIZE - 1,
    TAG_MAX = 0xffffff,
};

static const struct {
    enum node_role role;
    const char *name;
} role_names[] = {
    {NODE_ROLE_PEER, "peer"},
    {NODE_ROLE_EDGE, "edge"},
    {NODE_ROLE_DASH, "dash"},
    {NODE_ROLE_ADMIT, "admit"},
};

/* --- keys, ids, roles --- */

void node_keys_from_seed(const struct node_seed *seed, struct node_keys *out)
{
    (void)crypto_sign_ed25519_seed_keypair(out->public_key, out->secret, seed->bytes);
}

void authority_keys_from_seed(const uint8_t seed[static 32], struct authority_keys *out)
{
    (void)crypto_sign_ed25519_seed_keypair(out->public_key, out->secret, seed);
}

struct node_id node_id_of(const uint8_t key[static NODE_KEY_SIZE])
{
    struct node_id id;

    (void)crypto_generichash(id.bytes, sizeof id.bytes, key, NODE_KEY_SIZE, NULL, 0);
    return id;
}

bool node_id_equal(const struct node_id *a, const struct node_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void node_id_format(const struct node_id *id, char out[static NODE_ID_TEXT_SIZE])
{
    fly_hex_encode(id->bytes, sizeof id->bytes, out);
}

bool node_id_parse(const char *text, struct node_id *out)
{
    size_t size = strlen(text);

    return strspn(text, "0123456789abcdef") == size &&
           fly_hex_decode(text, size, out->bytes, sizeof out->bytes);
}

bool node_roles_parse(const char *text, uint32_t *out)
{
    uint32_t roles = 0;

    for (;;) {
        size_t size = strcspn(text, ",");
        uint32_t role = 0;
        for (size_t i = 0; i < FLY_ARRAY_COUNT(role_names); i++) {
            if (strlen(role_names[i].name) == size && memcmp(role_names[i].name, text, size) == 0) {
                role = role_names[i].role;
            }
        }
        if (role == 0) {
            return false;
        }
        roles |= role;
        if (text[size] == '\0') {
            *out = roles;
            return true;
        }
        text += size + 1;
    }
}

void node_roles_format(uint32_t roles, char separator, char out[static NODE_ROLES_TEXT_SIZE])
{
    size_t used = 0;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(role_names); i++) {
        if ((roles & role_names[i].role) != 0) {
            size_t size = strlen(role_names[i].name);
            if (used > 0) {
                out[used++] = separator;
            }
            memcpy(out + used, role_names[i].name, size);
            used += size;
        }
    }
    out[used] = '\0';
}

/* --- signatures --- */

/* Everything signed here begins with its domain, so that no signature passes for one of another
 * kind; a record's parts have one length each or say it. */
static void sign_begin(crypto_sign_state *state, const char *domain)
{
    size_t size = strlen(domain);
    uint8_t size_byte = (uint8_t)size;

    FLY_CHECK(size > 0 && size <= UINT8_MAX);
    (void)crypto_sign_init(state);
    (void)crypto_sign_update(state, &size_byte, 1);
    (void)crypto_sign_update(state, (const uint8_t *)domain, size);
}

static void record_begin(crypto_sign_state *state, const char *domain, const char *cluster,
                         struct fly_bytes record)
{
    FLY_CHECK(strlen(cluster) == CLUSTER_DIGITS);
    sign_begin(state, domain);
    (void)crypto_sign_update(state, (const uint8_t *)cluster, CLUSTER_DIGITS);
    (void)crypto_sign_update(state, record.data, record.size);
}

void node_sign(const struct node_keys *keys, const char *domain, struct fly_bytes message,
               uint8_t out[static NODE_SIGNATURE_SIZE])
{
    crypto_sign_state state;

    sign_begin(&state, domain);
    (void)crypto_sign_update(&state, message.data, message.size);
    (void)crypto_sign_final_create(&state, out, NULL, keys->secret);
}

bool node_signed(const uint8_t key[static NODE_KEY_SIZE], const char *domain,
                 struct fly_bytes message, const uint8_t signature[static NODE_SIGNATURE_SIZE])
{
    crypto_sign_state state;

    sign_begin(&state, domain);
    (void)crypto_sign_update(&state, message.data, message.size);
    return crypto_sign_final_verify(&state, signature, key) == 0;
}

/* --- the two records --- */

static bool roles_ok(uint32_t roles)
{
    return roles != 0 && (roles & ~(uint32_t)NODE_ROLE_ALL) == 0;
}

/* What the CA signs. */
static void put_admission(struct fly_writer *w, const struct admission *a)
{
    FLY_CHECK(roles_ok(a->roles) && a->expires_ms >= 0);
    fly_put_bytes(w, a->key, sizeof a->key);
    fly_put_u8(w, (uint8_t)a->roles);
    fly_put_u64(w, (uint64_t)a->expires_ms);
}

/* What the admission key signs: its own record and the CA's word on it are under it too, so that a
 * node's record cannot be put behind another admission of the same key. */
static void put_credential(struct fly_writer *w, const struct credential *c)
{
    FLY_CHECK(fly_name_ok(c->name) && roles_ok(c->roles) && c->slice_tag <= TAG_MAX);
    FLY_CHECK(c->issued_ms >= 0 && c->expires_ms >= 0);
    fly_put_u8(w, CREDENTIAL_VERSION);
    put_admission(w, &c->admission);
    fly_put_bytes(w, c->admission.signature, sizeof c->admission.signature);
    fly_put_bytes(w, c->key, sizeof c->key);
    fly_put_u8(w, (uint8_t)c->roles);
    fly_put_u32(w, c->slice_tag);
    fly_put_u64(w, (uint64_t)c->issued_ms);
    fly_put_u64(w, (uint64_t)c->expires_ms);
    fly_put_bytes(w, c->tls_hash, sizeof c->tls_hash);
    fly_put_string8(w, c->name);
}

static struct fly_bytes written(const struct fly_writer *w)
{
    FLY_CHECK(!w->failed);
    return (struct fly_bytes){w->data, w->size};
}

void admission_sign(const struct authority_keys *ca, const char *cluster, struct admission *a)
{
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    struct fly_writer w = fly_writer_over(bytes, sizeof bytes);
    crypto_sign_state state;

    put_admission(&w, a);
    record_begin(&state, admission_domain, cluster, written(&w));
    (void)crypto_sign_final_create(&state, a->signature, NULL, ca->secret);
}

void credential_sign(const struct authority_keys *admission, const char *cluster,
                     struct credential *c)
{
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    struct fly_writer w = fly_writer_over(bytes, sizeof bytes);
    crypto_sign_state state;

    FLY_CHECK(memcmp(admission->public_key, c->admission.key, NODE_KEY_SIZE) == 0);
    c->id = node_id_of(c->key);
    put_credential(&w, c);
    record_begin(&state, credential_domain, cluster, written(&w));
    (void)crypto_sign_final_create(&state, c->signature, NULL, admission->secret);
}

size_t admission_encode(const struct admission *a, uint8_t out[static CREDENTIAL_BYTES_MAX])
{
    struct fly_writer w = fly_writer_over(out, CREDENTIAL_BYTES_MAX);

    fly_put_u8(&w, CREDENTIAL_VERSION);
    put_admission(&w, a);
    fly_put_bytes(&w, a->signature, sizeof a->signature);
    return written(&w).size;
}

size_t credential_encode(const struct credential *c, uint8_t out[static CREDENTIAL_BYTES_MAX])
{
    struct fly_writer w = fly_writer_over(out, CREDENTIAL_BYTES_MAX);

    put_credential(&w, c);
    fly_put_bytes(&w, c->signature, sizeof c->signature);
    return written(&w).size;
}

static enum fly_status malformed(struct fly_error *error, const char *what, const char *why)
{
    return fly_error_set(error, FLY_INVALID_ARGUMENT, "not a node's %s: %s", what, why);
}

/* Reads the version and the part that both records begin with. */
static void get_admission(struct fly_reader *r, struct admission *a, uint8_t *version)
{
    *version = fly_get_u8(r);
    fly_get_copy(r, a->key, sizeof a->key);
    a->roles = fly_get_u8(r);
    a->expires_ms = (int64_t)fly_get_u64(r);
    fly_get_copy(r, a->signature, sizeof a->signature);
}

enum fly_status admission_decode(const void *data, size_t size, struct admission *out,
                                 struct fly_error *error)
{
    struct fly_reader r = fly_reader_over(data, size);
    struct admission a = {.roles = 0};
    uint8_t version = 0;

    get_admission(&r, &a, &version);
    if (!fly_reader_done(&r)) {
        return malformed(error, "admission", "its size");
    }
    if (version != CREDENTIAL_VERSION) {
        return malformed(error, "admission", "its version");
    }
    if (!roles_ok(a.roles) || a.expires_ms < 0) {
        return malformed(error, "admission", "its roles or time");
    }
    *out = a;
    return FLY_OK;
}

enum fly_status credential_decode(const void *data, size_t size, struct credential *out,
                                  struct fly_error *error)
{
    struct fly_reader r = fly_reader_over(data, size);
    struct credential c = {.roles = 0};
    uint8_t version = 0;

    get_admission(&r, &c.admission, &version);
    fly_get_copy(&r, c.key, sizeof c.key);
    c.roles = fly_get_u8(&r);
    c.slice_tag = fly_get_u32(&r);
    c.issued_ms = (int64_t)fly_get_u64(&r);
    c.expires_ms = (int64_t)fly_get_u64(&r);
    fly_get_copy(&r, c.tls_hash, sizeof c.tls_hash);
    fly_get_string8(&r, c.name, sizeof c.name);
    fly_get_copy(&r, c.signature, sizeof c.signature);
    if (size > 0 && version != CREDENTIAL_VERSION) {
        return malformed(error, "credential", "its version");
    }
    if (!fly_reader_done(&r)) {
        return malformed(error, "credential", "its size");
    }
    if (!roles_ok(c.admission.roles) || !roles_ok(c.roles)) {
        return malformed(error, "credential", "roles that nobody here knows");
    }
    if (c.admission.expires_ms < 0 || c.issued_ms < 0 || c.expires_ms < 0) {
        return malformed(error, "credential", "times before 1970");
    }
    if (!fly_name_ok(c.name) || c.slice_tag > TAG_MAX) {
        return malformed(error, "credential", "its name or slice tag");
    }
    c.id = node_id_of(c.key);
    *out = c;
    return FLY_OK;
}

/* --- verification --- */

bool admission_signed(const struct admission *a, const uint8_t ca[static NODE_KEY_SIZE],
                      const char *cluster)
{
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    struct fly_writer w = fly_writer_over(bytes, sizeof bytes);
    crypto_sign_state state;

    put_admission(&w, a);
    record_begin(&state, admission_domain, cluster, written(&w));
    return crypto_sign_final_verify(&state, a->signature, ca) == 0;
}

static bool credential_signed(const struct credential *c, const char *cluster)
{
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    struct fly_writer w = fly_writer_over(bytes, sizeof bytes);
    crypto_sign_state state;

    put_credential(&w, c);
    record_begin(&state, credential_domain, cluster, written(&w));
    return crypto_sign_final_verify(&state, c->signature, c->admission.key) == 0;
}

static enum fly_status expired(struct fly_error *error, const char *name, const char *what,
                               int64_t expires_ms)
{
    char when[FLY_TIME_TEXT_SIZE];

    fly_time_format(expires_ms, when);
    return fly_error_set(error, FLY_UNAUTHENTICATED, "node %s: its %s expired at %s", name, what,
                         when);
}

/* What costs nothing is looked at before the signatures. */
enum fly_status credential_verify(const struct credential *c,
                                  const uint8_t ca[static NODE_KEY_SIZE], const char *cluster,
                                  int64_t now_ms, struct fly_error *error)
{
    if ((c->roles & ~c->admission.roles) != 0) {
        char roles[NODE_ROLES_TEXT_SIZE];
        node_roles_format(c->roles & ~c->admission.roles, ',', roles);
        return fly_error_set(error, FLY_UNAUTHENTICATED,
                             "node %s: its roles exceed what its admission may give (%s)", c->name,
                             roles);
    }
    if (now_ms >= c->admission.expires_ms) {
        return expired(error, c->name, "admission", c->admission.expires_ms);
    }
    if (now_ms >= c->expires_ms) {
        return expired(error, c->name, "credential", c->expires_ms);
    }
    if (!admission_signed(&c->admission, ca, cluster)) {
        return fly_error_set(error, FLY_UNAUTHENTICATED,
                             "node %s: this cluster's CA does not vouch for it (foreign cluster or "
                             "CA)",
                             c->name);
    }
    if (!credential_signed(c, cluster)) {
        return fly_error_set(error, FLY_UNAUTHENTICATED,
                             "node %s: its credential is not signed by its admission key "
                             "(changed, or of a foreign cluster)",
                             c->name);
    }
    return FLY_OK;
}
