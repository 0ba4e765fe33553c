/*
 * identity_parts - what identity.c and identity_make.c share: the files of a state folder, by name
 * and bit. Nobody else includes it.
 */
#ifndef FLY_NODE_IDENTITY_PARTS_H
#define FLY_NODE_IDENTITY_PARTS_H

#include "node/identity.h"
#include "proto/wire/keyfile.h"

#define IDENTITY_TLS_KEY "tls.key"
#define IDENTITY_TLS_CERTIFICATE "tls.crt"
#define IDENTITY_TLS_CA "tls-ca.pem"
#define IDENTITY_TLS_CA_KEY "tls-ca.key"
#define IDENTITY_TLS_ISSUER_KEY "tls-issuer.key"
#define IDENTITY_TLS_ISSUER "tls-issuer.crt"

enum identity_file {
    FILE_RECORD = 1 << 0,
    FILE_ISSUER = 1 << 1,
    FILE_NODE = 1 << 2,
    FILE_CA = 1 << 3,
    FILE_TLS_CA_KEY = 1 << 4,
    FILE_ADMISSION_KEY = 1 << 5,
    FILE_ADMISSION = 1 << 6,
    FILE_TLS_ISSUER_KEY = 1 << 7,
    FILE_TLS_ISSUER = 1 << 8,
    FILE_CREDENTIAL = 1 << 9,
    FILE_GOSSIP = 1 << 10,
    FILE_TLS_KEY = 1 << 11,
    FILE_TLS = 1 << 12,
    FILE_TLS_CA = 1 << 13,
    FILE_GENERATION = 1 << 14,
    FILE_SETTINGS = 1 << 15,
    FILES_MEMBER = FILE_NODE | FILE_CREDENTIAL | FILE_GOSSIP | FILE_TLS_KEY | FILE_TLS |
                   FILE_TLS_CA | FILE_SETTINGS,
    FILES_ADMISSION = FILE_ADMISSION_KEY | FILE_ADMISSION | FILE_TLS_ISSUER_KEY | FILE_TLS_ISSUER,
};

/* What was read, and which of it was there. */
struct identity_files {
    struct identity *identity;
    struct token_secret_key issuer;
    uint32_t present; /* of enum identity_file */
};

/* Reads every file that is there and checks its form. */
enum fly_status identity_load(struct identity_files *files, struct fly_error *error);
/* Files that are fine one by one and do not belong together, or are missing; there is a record
 * with a CA. Sets has_issuer, has_admission, has_ca. Looks at no clock. */
enum fly_status identity_check(const struct identity_files *files, struct fly_error *error);

/* Makes what a founder's folder lacks, the record last. */
enum fly_status identity_make(struct identity_files *files, int64_t now_ms,
                              struct fly_error *error);
/* A new credential and certificate for this node itself, by its own admission key. */
enum fly_status identity_renew(struct identity *identity, int64_t now_ms, struct fly_error *error);
enum fly_status identity_write_credential(const struct identity *identity, struct fly_error *error);

#endif
