/*
 * identity - who a node is: its state folder's lock, keys, credential and certificates.
 *
 *   DIR/               0700, ours; every file 0600
 *   DIR/lock           held while the process lives; its text is the pid of the holder
 *   DIR/cluster.json   the cluster record; written last: with it the folder has an identity
 *   DIR/node.key       this node's seed               DIR/credential   what vouches for it
 *   DIR/tls.key        P-256                          DIR/tls.crt      its certificate and issuer's
 *   DIR/tls-ca.pem     the TLS CA                     DIR/gossip.key   the group's keys
 *   DIR/generation     of the last start              DIR/node.json    name, region, addresses
 *   where user tokens are made:      issuer.key
 *   where nodes are admitted:        admission.key, admission, tls-issuer.key, tls-issuer.crt
 *   where admitting nodes are made:  ca.key, tls-ca.key (only at the founder; may be moved away)
 *
 * A folder is founded (identity_found, or a first identity_open) or joins (identity_join_*). An
 * interrupted founding or joining leaves no cluster.json, so nothing that runs; done again it takes
 * the keys that are there and never overwrites one. What looks wrong (owner, mode, content, files
 * that do not belong together) is refused by file and reason and nothing is changed. Forms:
 * proto/wire/{cluster,keyfile}.h, node/{settings,x509}.h. Shell: files, libsodium's and libssl's
 * randomness. Secrets are wiped after use and never logged.
 */
#ifndef FLY_NODE_IDENTITY_H
#define FLY_NODE_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "node/folder.h"
#include "node/settings.h"
#include "node/x509.h"
#include "proto/base/status.h"
#include "proto/wire/cluster.h"
#include "proto/wire/credential.h"
#include "proto/wire/seal.h"

#define IDENTITY_YEAR_MS (365 * INT64_C(86400000))

enum {
    IDENTITY_CREDENTIAL_YEARS = 1,
    IDENTITY_ADMISSION_YEARS = 10, /* and a TLS issuer */
    IDENTITY_TLS_CA_YEARS = 20,
};

/* What this node shows in TLS: PEM texts. */
struct identity_tls {
    char key[X509_KEY_TEXT_SIZE];
    char certificate[X509_CERT_TEXT_SIZE]; /* its own and the issuer's */
    char ca[X509_CERT_TEXT_SIZE];
};

/* With it a node admits others. */
struct identity_admission {
    struct authority_keys keys;
    struct admission record; /* by the CA */
    struct x509_authority tls;
};

/* With it a node makes others admit. */
struct identity_ca {
    struct authority_keys keys;
    char tls_key[X509_KEY_TEXT_SIZE];
};

struct identity {
    struct cluster_record record;
    struct node_seed node;
    struct node_keys keys; /* of that seed */
    struct credential credential;
    struct identity_tls tls;
    struct seal_ring group;
    struct node_settings settings;
    uint32_t generation; /* larger than at any start before; stored already */
    bool has_issuer;     /* issuer.key is here: tokens can be made from this folder */
    bool has_admission;  /* `admission` counts */
    bool has_ca;         /* `ca` counts: ca.key and tls-ca.key are here */
    bool created;        /* by this call */
    struct identity_admission admission;
    struct identity_ca ca;
    struct folder folder;
};

/*
 * Opens the folder of a node that was founded or joined: takes its lock, loads and checks all,
 * renews its credential when it can (it admits) and half its life is over, stores a new generation.
 * `now_ms`: wall. FAILED_PRECONDITION: not made yet, in use by another process, wrong in owner or
 * mode, or its credential has expired; DATA_LOSS: a file is damaged, missing, or belongs to another
 * cluster; UNIMPLEMENTED: made by a newer version; INTERNAL: the system refused. Nothing is held
 * after an error.
 */
enum fly_status identity_open_made(const char *dir, int64_t now_ms, struct identity *out,
                                   struct fly_error *error);
/* The same for `flynode dev`: founds a cluster of one when there is none, and makes `dir` (not its
 * parents) when it is missing. A folder of a time before CAs gets one. */
enum fly_status identity_open(const char *dir, int64_t now_ms, struct identity *out,
                              struct fly_error *error);
/* Founds a cluster: ALREADY_EXISTS when the folder has one. Empty name: the host's. */
enum fly_status identity_found(const char *dir, const struct node_settings *settings,
                               int64_t now_ms, struct identity *out, struct fly_error *error);
/* Gives the lock up and wipes the keys. */
void identity_close(struct identity *identity);

/* --- joining: begin, then save what the admitting node gave --- */

/* Takes the folder, which has no identity, and makes the keys of this node: node and TLS, and with
 * `admits` those for admitting others. ALREADY_EXISTS: it has one; FAILED_PRECONDITION: keys of an
 * interrupted founding are in it. */
enum fly_status identity_join_begin(const char *dir, bool admits, struct identity *out,
                                    struct fly_error *error);
/* Checks that record, credential, group key, settings, certificates (and admission) in *identity
 * belong together and to its keys, and writes them, the record last. */
enum fly_status identity_join_save(struct identity *identity, int64_t now_ms,
                                   struct fly_error *error);

/* --- admitting --- */

/* What is signed for another node. */
struct identity_grant {
    uint8_t key[NODE_KEY_SIZE];
    struct x509_spki tls;
    char name[NODE_NAME_SIZE];
    uint32_t roles;
    uint32_t slice_tag;
};

/* A credential and a certificate chain for another node. FAILED_PRECONDITION: this node does not
 * admit, or not any more; PERMISSION_DENIED: not with these roles. */
enum fly_status identity_grant(const struct identity *identity, const struct identity_grant *grant,
                               int64_t now_ms, struct credential *out,
                               char certificate[static X509_CERT_TEXT_SIZE],
                               struct fly_error *error);
/* The CA's word on another node's admission key and TLS issuer. FAILED_PRECONDITION: ca.key is not
 * here. */
enum fly_status
identity_grant_admission(const struct identity *identity, const uint8_t key[static NODE_KEY_SIZE],
                         const struct x509_spki *tls_issuer, int64_t now_ms, struct admission *out,
                         char certificate[static X509_CERT_TEXT_SIZE], struct fly_error *error);

/* Only the lock, for programs that must not run beside a node (flynode check). Makes nothing but
 * the lock file; FAILED_PRECONDITION names the process that holds it, NOT_FOUND: no such folder. */
enum fly_status identity_lock(const char *dir, int *out_fd, struct fly_error *error);
void identity_unlock(int fd);

#endif
