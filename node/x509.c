#include "node/x509.h"

#include <stdio.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "proto/base/check.h"
#include "proto/base/id.h"

enum { SERIAL_SIZE = 16, DAY_S = 86400, NAME_DIGITS = 40, CHAIN_MAX = 4 };

/* The last reason that libssl gave, behind our own words. */
static enum fly_status ssl_error(struct fly_error *error, enum fly_status status, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    ERR_clear_error();
    return fly_error_set(error, status, "%s: %s", what, reason != NULL ? reason : "refused");
}

/* --- texts --- */

/* Moves a memory BIO's text out; freeing it wipes it (BUF_MEM_free clears). */
static bool bio_text(BIO *bio, char *out, size_t max)
{
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    bool ok = size > 0 && (size_t)size < max;

    if (ok) {
        memcpy(out, data, (size_t)size);
        out[size] = '\0';
    }
    return ok;
}

/* A passphrase is never asked for. */
static int no_passphrase(char *out, int size, int writing, void *user)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)user;
    return -1;
}

static bool is_p256(const EVP_PKEY *key)
{
    char group[32] = "";
    size_t size = 0;

    return key != NULL && EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_group_name(key, group, sizeof group, &size) == 1 &&
           strcmp(group, SN_X9_62_prime256v1) == 0;
}

static EVP_PKEY *read_key(const char *text)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;

    BIO_free(bio);
    if (key != NULL && !is_p256(key)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    return key;
}

static EVP_PKEY *public_key(const struct x509_spki *spki)
{
    const uint8_t *at = spki->bytes;

    return d2i_PUBKEY(NULL, &at, (long)spki->size);
}

static X509 *read_certificate(const char *text)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509 *certificate = bio != NULL ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;

    BIO_free(bio);
    return certificate;
}

enum fly_status x509_key_make(char out[static X509_KEY_TEXT_SIZE], struct fly_error *error)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = key != NULL && bio != NULL &&
              PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
              bio_text(bio, out, X509_KEY_TEXT_SIZE);

    BIO_free(bio);
    EVP_PKEY_free(key);
    return ok ? FLY_OK : ssl_error(error, FLY_INTERNAL, "cannot make a TLS key");
}

static bool write_spki(const EVP_PKEY *key, struct x509_spki *out)
{
    uint8_t *der = NULL;
    int size = i2d_PUBKEY(key, &der);
    bool ok = size > 0 && size <= X509_SPKI_MAX;

    if (ok) {
        memset(out, 0, sizeof *out);
        memcpy(out->bytes, der, (size_t)size);
        out->size = (size_t)size;
    }
    OPENSSL_free(der);
    return ok;
}

enum fly_status x509_key_spki(const char *key, struct x509_spki *out, struct fly_error *error)
{
    EVP_PKEY *read = read_key(key);
    bool ok = read != NULL && write_spki(read, out);

    EVP_PKEY_free(read);
    ERR_clear_error();
    return ok ? FLY_OK
              : fly_error_set(error, FLY_INVALID_ARGUMENT, "not the PEM text of a P-256 key");
}

/* Written again and compared: one DER for one key, and nothing behind it. */
enum fly_status x509_spki_decode(const void *data, size_t size, struct x509_spki *out,
                                 struct fly_error *error)
{
    struct x509_spki given = {.size = size};
    struct x509_spki again = {.size = 0};
    bool ok = size > 0 && size <= sizeof given.bytes;

    if (ok) {
        memcpy(given.bytes, data, size);
        EVP_PKEY *key = public_key(&given);
        ok = is_p256(key) && write_spki(key, &again) && again.size == size &&
             memcmp(again.bytes, given.bytes, size) == 0;
        EVP_PKEY_free(key);
        ERR_clear_error();
    }
    if (!ok) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "not a P-256 public key");
    }
    *out = again;
    return FLY_OK;
}

void x509_spki_hash(const struct x509_spki *spki, uint8_t out[static X509_HASH_SIZE])
{
    (void)SHA256(spki->bytes, spki->size, out);
}

void x509_node_name(const uint8_t hash[static X509_HASH_SIZE], char out[static X509_NAME_TEXT_SIZE])
{
    char digits[NAME_DIGITS + 1];

    fly_hex_encode(hash, NAME_DIGITS / 2, digits);
    (void)snprintf(out, X509_NAME_TEXT_SIZE, "%s.node.%s", digits, X509_COMMON_NAME);
}

/* --- making one --- */

/* What is different between the three kinds. */
struct form {
    const char *common_name;
    const char *unit; /* for people who look at one; NULL: none */
    const char *constraints;
    const char *usage;
    const char *extended; /* NULL: none */
    const char *names;    /* NULL: none */
};

static bool put_extension(X509 *to, X509V3_CTX *context, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, context, nid, value);
    bool ok = extension != NULL && X509_add_ext(to, extension, -1) == 1;

    X509_EXTENSION_free(extension);
    return ok;
}

static bool put_name(X509_NAME *name, const char *field, const char *text)
{
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_ASC, (const unsigned char *)text, -1,
                                      -1, 0) == 1;
}

static bool put_serial(X509 *to)
{
    uint8_t bytes[SERIAL_SIZE];
    bool ok = RAND_bytes(bytes, sizeof bytes) == 1;

    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40); /* positive, and of one length */
    BIGNUM *number = ok ? BN_bin2bn(bytes, sizeof bytes, NULL) : NULL;
    ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(to)) != NULL;
    BN_free(number);
    return ok;
}

static bool put_times(X509 *to, int64_t now_ms, int64_t expires_ms)
{
    time_t from = (time_t)(now_ms / 1000 - DAY_S);
    time_t until = (time_t)(expires_ms / 1000);

    return ASN1_TIME_set(X509_getm_notBefore(to), from) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(to), until) != NULL;
}

static bool put_extensions(X509 *to, X509 *issuer, const struct form *form)
{
    X509V3_CTX context;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, to, NULL, NULL, 0);
    return put_extension(to, &context, NID_basic_constraints, form->constraints) &&
           put_extension(to, &context, NID_key_usage, form->usage) &&
           put_extension(to, &context, NID_subject_key_identifier, "hash") &&
           put_extension(to, &context, NID_authority_key_identifier, "keyid:always") &&
           (form->extended == NULL ||
            put_extension(to, &context, NID_ext_key_usage, form->extended)) &&
           (form->names == NULL || put_extension(to, &context, NID_subject_alt_name, form->names));
}

/* `issuer` NULL: self-signed. */
static X509 *make(const struct form *form, EVP_PKEY *subject, X509 *issuer, EVP_PKEY *signer,
                  int64_t now_ms, int64_t expires_ms)
{
    X509 *made = X509_new();
    X509_NAME *name = made != NULL ? X509_get_subject_name(made) : NULL;
    bool ok =
        made != NULL && X509_set_version(made, X509_VERSION_3) == 1 && put_serial(made) &&
        put_times(made, now_ms, expires_ms) && put_name(name, "CN", form->common_name) &&
        (form->unit == NULL || put_name(name, "OU", form->unit)) &&
        X509_set_issuer_name(made, issuer != NULL ? X509_get_subject_name(issuer) : name) == 1 &&
        X509_set_pubkey(made, subject) == 1 &&
        put_extensions(made, issuer != NULL ? issuer : made, form) &&
        X509_sign(made, signer, EVP_sha256()) > 0;

    if (!ok) {
        X509_free(made);
        made = NULL;
    }
    return made;
}

/* One certificate and, behind it, another one's text. */
static bool write_chain(X509 *certificate, const char *behind, char out[static X509_CERT_TEXT_SIZE])
{
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = bio != NULL && PEM_write_bio_X509(bio, certificate) == 1 &&
              (behind == NULL || BIO_puts(bio, behind) > 0) &&
              bio_text(bio, out, X509_CERT_TEXT_SIZE);

    BIO_free(bio);
    return ok;
}

enum fly_status x509_ca_make(struct x509_authority *ca, const char *cluster, int64_t now_ms,
                             int64_t expires_ms, struct fly_error *error)
{
    const struct form form = {.common_name = "flylight CA",
                              .unit = cluster,
                              .constraints = "critical,CA:TRUE,pathlen:1",
                              .usage = "critical,keyCertSign,cRLSign"};
    EVP_PKEY *key = read_key(ca->key);
    X509 *made = key != NULL ? make(&form, key, NULL, key, now_ms, expires_ms) : NULL;
    bool ok = made != NULL && write_chain(made, NULL, ca->certificate);

    X509_free(made);
    EVP_PKEY_free(key);
    return ok ? FLY_OK : ssl_error(error, FLY_INTERNAL, "cannot make the TLS CA's certificate");
}

/* A certificate for `spki`, by `authority`; with_chain: the authority's own behind it. */
static enum fly_status issue(const struct form *form, const struct x509_authority *authority,
                             const struct x509_spki *spki, bool with_chain, int64_t now_ms,
                             int64_t expires_ms, char out[static X509_CERT_TEXT_SIZE],
                             struct fly_error *error)
{
    EVP_PKEY *signer = read_key(authority->key);
    X509 *issuer = read_certificate(authority->certificate);
    EVP_PKEY *subject = public_key(spki);
    bool ok = signer != NULL && issuer != NULL && is_p256(subject) &&
              X509_check_private_key(issuer, signer) == 1;
    X509 *made = ok ? make(form, subject, issuer, signer, now_ms, expires_ms) : NULL;

    ok = made != NULL && write_chain(made, with_chain ? authority->certificate : NULL, out);
    X509_free(made);
    EVP_PKEY_free(subject);
    X509_free(issuer);
    EVP_PKEY_free(signer);
    return ok ? FLY_OK : ssl_error(error, FLY_INTERNAL, "cannot make a TLS certificate");
}

enum fly_status x509_issuer_make(const struct x509_authority *ca, const struct x509_spki *spki,
                                 const char *cluster, int64_t now_ms, int64_t expires_ms,
                                 char out[static X509_CERT_TEXT_SIZE], struct fly_error *error)
{
    uint8_t hash[X509_HASH_SIZE];
    char common_name[X509_NAME_TEXT_SIZE];
    const struct form form = {.common_name = common_name,
                              .unit = cluster,
                              .constraints = "critical,CA:TRUE,pathlen:0",
                              .usage = "critical,keyCertSign,cRLSign"};

    x509_spki_hash(spki, hash);
    (void)snprintf(common_name, sizeof common_name, "flylight issuer %02x%02x%02x%02x", hash[0],
                   hash[1], hash[2], hash[3]);
    return issue(&form, ca, spki, false, now_ms, expires_ms, out, error);
}

enum fly_status x509_node_make(const struct x509_authority *issuer, const struct x509_spki *spki,
                               const char *name, int64_t now_ms, int64_t expires_ms,
                               char out[static X509_CERT_TEXT_SIZE], struct fly_error *error)
{
    uint8_t hash[X509_HASH_SIZE];
    char own_name[X509_NAME_TEXT_SIZE];
    char names[128];
    const struct form form = {.common_name = own_name,
                              .unit = name,
                              .constraints = "critical,CA:FALSE",
                              .usage = "critical,digitalSignature",
                              .extended = "serverAuth,clientAuth",
                              .names = names};

    x509_spki_hash(spki, hash);
    x509_node_name(hash, own_name);
    (void)snprintf(names, sizeof names, "DNS:%s,DNS:%s", X509_COMMON_NAME, own_name);
    return issue(&form, issuer, spki, true, now_ms, expires_ms, out, error);
}

/* --- looking at one --- */

enum fly_status x509_certificate_hash(const char *certificate, uint8_t out[static X509_HASH_SIZE],
                                      struct fly_error *error)
{
    X509 *read = read_certificate(certificate);
    unsigned size = 0;
    bool ok = read != NULL && X509_digest(read, EVP_sha256(), out, &size) == 1;

    X509_free(read);
    ERR_clear_error();
    return ok ? FLY_OK
              : fly_error_set(error, FLY_INVALID_ARGUMENT, "not the PEM text of a certificate");
}

/* All certificates of a text; NULL when there are none or too many, or something else is there. */
static STACK_OF(X509) * read_chain(const char *text)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509 *next = NULL;

    while (chain != NULL && bio != NULL && sk_X509_num(chain) <= CHAIN_MAX &&
           (next = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
        if (sk_X509_push(chain, next) == 0) {
            X509_free(next);
            break;
        }
    }
    BIO_free(bio);
    ERR_clear_error();
    if (chain != NULL && (sk_X509_num(chain) == 0 || sk_X509_num(chain) > CHAIN_MAX)) {
        sk_X509_pop_free(chain, X509_free);
        chain = NULL;
    }
    return chain;
}

static bool for_key(const X509 *certificate, const struct x509_spki *spki)
{
    struct x509_spki own = {.size = 0};
    EVP_PKEY *key = X509_get0_pubkey(certificate);

    return key != NULL && write_spki(key, &own) && own.size == spki->size &&
           memcmp(own.bytes, spki->bytes, own.size) == 0;
}

/* 0, or X509_V_ERR_*. */
static int verify_chain(X509_STORE *store, X509 *first, STACK_OF(X509) * rest, int purpose,
                        int64_t now_ms)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    int result = X509_V_ERR_OUT_OF_MEM;

    if (context != NULL && X509_STORE_CTX_init(context, store, first, rest) == 1) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(context);
        unsigned long flags = X509_V_FLAG_X509_STRICT;
        if (now_ms == X509_ANY_TIME) {
            flags |= X509_V_FLAG_NO_CHECK_TIME;
        } else {
            X509_VERIFY_PARAM_set_time(param, (time_t)(now_ms / 1000));
        }
        (void)X509_VERIFY_PARAM_set_flags(param, flags);
        (void)X509_VERIFY_PARAM_set_purpose(param, purpose);
        result = X509_verify_cert(context) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(context);
    }
    X509_STORE_CTX_free(context);
    return result;
}

/* A node is looked at as a server and as a client, an issuer as one that signs. */
static enum fly_status verify_uses(X509_STORE *store, STACK_OF(X509) * chain, bool is_issuer,
                                   int64_t now_ms, struct fly_error *error)
{
    X509 *first = sk_X509_value(chain, 0);
    int result = X509_V_OK;

    if (is_issuer && X509_check_ca(first) != 1) {
        return fly_error_set(error, FLY_UNAUTHENTICATED, "the TLS certificate may not sign others");
    }
    result = verify_chain(store, first, chain,
                          is_issuer ? X509_PURPOSE_ANY : X509_PURPOSE_SSL_SERVER, now_ms);
    if (result == X509_V_OK && !is_issuer) {
        result = verify_chain(store, first, chain, X509_PURPOSE_SSL_CLIENT, now_ms);
    }
    return result == X509_V_OK ? FLY_OK
                               : fly_error_set(error, FLY_UNAUTHENTICATED,
                                               "the TLS certificate does not verify: %s",
                                               X509_verify_cert_error_string(result));
}

enum fly_status x509_verify(const char *ca, const char *chain, const struct x509_spki *spki,
                            bool is_issuer, int64_t now_ms, struct fly_error *error)
{
    X509 *root = read_certificate(ca);
    X509_STORE *store = X509_STORE_new();
    STACK_OF(X509) *read = read_chain(chain);
    enum fly_status status = FLY_OK;

    if (root == NULL || store == NULL || read == NULL || X509_STORE_add_cert(store, root) != 1) {
        status = fly_error_set(error, FLY_UNAUTHENTICATED, "not the PEM texts of certificates");
    } else if (!for_key(sk_X509_value(read, 0), spki)) {
        status = fly_error_set(error, FLY_UNAUTHENTICATED, "the TLS certificate is of another key");
    } else {
        status = verify_uses(store, read, is_issuer, now_ms, error);
    }
    sk_X509_pop_free(read, X509_free);
    X509_STORE_free(store);
    X509_free(root);
    ERR_clear_error();
    return status;
}
