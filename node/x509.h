/*
 * x509 - the certificates that TLS between nodes needs: a P-256 CA, its issuers, nodes.
 *
 *   CA      self-signed, path length 1; its key may go offline with ca.key
 *   issuer  signed by the CA, path length 0; one for each node that may admit others
 *   node    signed by an issuer; shown together with the issuer's (a chain)
 *
 * P-256 because that is what every TLS library takes. Who a node is says its credential, which
 * names the SHA-256 of its TLS key; a certificate only lets TLS begin. A node's certificate is good
 * for the names "flylight" and "<first 40 hex digits of that hash>.node.flylight", as server and as
 * client. Keys and certificates are PEM texts, NUL-terminated; what holds a private key is the
 * caller's to wipe. Shell: libssl and its randomness. Sources: RFC 5280; RFC 5480; RFC 6125.
 */
#ifndef FLY_NODE_X509_H
#define FLY_NODE_X509_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

enum {
    X509_KEY_TEXT_SIZE = 512,   /* a private key's PEM */
    X509_CERT_TEXT_SIZE = 3072, /* one certificate's PEM, or a node's two */
    X509_SPKI_MAX = 128,        /* DER SubjectPublicKeyInfo of P-256: 91 bytes */
    X509_HASH_SIZE = 32,
    X509_NAME_TEXT_SIZE = 64,
};

#define X509_ANY_TIME INT64_MIN     /* x509_verify: nothing has expired yet */
#define X509_COMMON_NAME "flylight" /* every node's certificate is good for it */

/* The public half of a TLS key. */
struct x509_spki {
    uint8_t bytes[X509_SPKI_MAX];
    size_t size;
};

/* A CA or an issuer: who signs. */
struct x509_authority {
    char key[X509_KEY_TEXT_SIZE];
    char certificate[X509_CERT_TEXT_SIZE];
};

/* A fresh P-256 key. */
enum fly_status x509_key_make(char out[static X509_KEY_TEXT_SIZE], struct fly_error *error);
/* INVALID_ARGUMENT: not the PEM of one P-256 key. */
enum fly_status x509_key_spki(const char *key, struct x509_spki *out, struct fly_error *error);
/* INVALID_ARGUMENT: not the DER of a P-256 key, exactly. */
enum fly_status x509_spki_decode(const void *data, size_t size, struct x509_spki *out,
                                 struct fly_error *error);
void x509_spki_hash(const struct x509_spki *spki, uint8_t out[static X509_HASH_SIZE]);
/* The name by which one node alone is reached. */
void x509_node_name(const uint8_t hash[static X509_HASH_SIZE],
                    char out[static X509_NAME_TEXT_SIZE]);

/* Fills in ca->certificate for ca->key. Times are wall, ms; certificates begin a day before now_ms,
 * since clocks differ. */
enum fly_status x509_ca_make(struct x509_authority *ca, const char *cluster, int64_t now_ms,
                             int64_t expires_ms, struct fly_error *error);
/* An issuer's certificate for its public key. */
enum fly_status x509_issuer_make(const struct x509_authority *ca, const struct x509_spki *spki,
                                 const char *cluster, int64_t now_ms, int64_t expires_ms,
                                 char out[static X509_CERT_TEXT_SIZE], struct fly_error *error);
/* A node's certificate and the issuer's behind it. */
enum fly_status x509_node_make(const struct x509_authority *issuer, const struct x509_spki *spki,
                               const char *name, int64_t now_ms, int64_t expires_ms,
                               char out[static X509_CERT_TEXT_SIZE], struct fly_error *error);

/* SHA-256 of the first certificate's DER. */
enum fly_status x509_certificate_hash(const char *certificate, uint8_t out[static X509_HASH_SIZE],
                                      struct fly_error *error);
/* Whether `chain` leads to `ca` at that time, as server and client, and is for this key.
 * UNAUTHENTICATED says why not. `is_issuer`: a chain of one that may sign nodes. */
enum fly_status x509_verify(const char *ca, const char *chain, const struct x509_spki *spki,
                            bool is_issuer, int64_t now_ms, struct fly_error *error);

#endif
