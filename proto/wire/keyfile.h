/*
 * keyfile - the text forms of a node's other files: one line, a header that says its kind,
 * base64url.
 *
 *   ca.key          flyca-ed25519-1.<43>         seed; signs admissions
 *   admission.key   flyadmission-ed25519-1.<43>  seed; signs credentials
 *   admission       flyadmission-1.<142>         what the CA says of that key
 *   credential      flycredential-1.<…>          what an admission key says of this node
 *   gossip.key      flygossip-1.<2 hex>.<43>     the group's keys, one a line, the first seals
 *   generation      <decimal>                    of the process that ran last
 *
 * A key of one kind is no key of another. Beside them: cluster.h. Pure.
 */
#ifndef FLY_WIRE_KEYFILE_H
#define FLY_WIRE_KEYFILE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/cluster.h"
#include "proto/wire/credential.h"
#include "proto/wire/seal.h"

#define KEYFILE_CA "ca.key"
#define KEYFILE_ADMISSION_KEY "admission.key"
#define KEYFILE_ADMISSION "admission"
#define KEYFILE_CREDENTIAL "credential"
#define KEYFILE_GOSSIP "gossip.key"
#define KEYFILE_GENERATION "generation"

enum keyfile_kind { KEYFILE_KIND_CA, KEYFILE_KIND_ADMISSION };

/* Each writes a file's text with a newline at its end and a NUL after it; returns its size without
 * the NUL. */
size_t authority_key_encode(enum keyfile_kind kind, const struct authority_keys *keys,
                            char out[static CLUSTER_FILE_MAX]);
size_t admission_file_encode(const struct admission *a, char out[static CLUSTER_FILE_MAX]);
size_t credential_file_encode(const struct credential *c, char out[static CLUSTER_FILE_MAX]);
size_t gossip_key_encode(const struct seal_ring *ring, char out[static CLUSTER_FILE_MAX]);
size_t generation_encode(uint32_t generation, char out[static CLUSTER_FILE_MAX]);

/* INVALID_ARGUMENT says what is wrong and never quotes a key; *out is untouched then. Nothing is
 * verified here but the form. */
enum fly_status authority_key_decode(enum keyfile_kind kind, const void *data, size_t size,
                                     struct authority_keys *out, struct fly_error *error);
enum fly_status admission_file_decode(const void *data, size_t size, struct admission *out,
                                      struct fly_error *error);
enum fly_status credential_file_decode(const void *data, size_t size, struct credential *out,
                                       struct fly_error *error);
/* 1..SEAL_KEYS_MAX keys of different ids. */
enum fly_status gossip_key_decode(const void *data, size_t size, struct seal_ring *out,
                                  struct fly_error *error);
enum fly_status generation_decode(const void *data, size_t size, uint32_t *out,
                                  struct fly_error *error);

#endif
