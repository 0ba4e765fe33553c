/*
 * transport_tls - TLS between a socket and its frames, by OpenSSL: settings, and one session's two
 * directions. Only transport_tls.c includes OpenSSL.
 *
 * TLS 1.2 or 1.3, AES-GCM first. No socket here: ciphertext is fed in and taken out. A session's
 * reader and its writer are two threads, so it has a lock of its own, which is never held while
 * anything waits.
 */
#ifndef FLY_RPC_TRANSPORT_TLS_H
#define FLY_RPC_TRANSPORT_TLS_H

#include "proto/rpc/transport_internal.h"

struct tls_context; /* one side's settings, parsed */
struct tls_session;

/* INVALID_ARGUMENT: what is missing, or does not parse. */
enum fly_status tls_context_make(struct tls_context **out, const char *url,
                                 const struct rpc_tls *tls, bool server, struct fly_error *error);
void tls_context_free(struct tls_context *context);

/* NULL: out of memory. It may outlive the context. */
struct tls_session *tls_session_make(const struct tls_context *context);
void tls_session_free(struct tls_session *session);

/* The reader's. What came: borrowed until it is fed something else, or nothing (NULL, 0). */
void tls_session_feed(struct tls_session *session, const uint8_t *data, size_t size);
/* Plaintext of it; 0: nothing more; -1: over, and *failure says why if TLS did not believe it. */
ssize_t tls_session_read(struct tls_session *session, uint8_t *to, size_t max,
                         const char **failure);
/* The handshake is over: something can be written. */
bool tls_session_shaken(struct tls_session *session);

enum tls_push { TLS_PUSH_DONE, TLS_PUSH_WAITS, TLS_PUSH_BROKEN };

/* Sends ciphertext that waits, as much as goes at once. */
enum tls_push tls_session_push(struct tls_session *session, int fd);
/* The writer's. Seals and sends of data[size], calling again with what is left; *taken: so much of
 * it has left for good. WAITS: for room in the socket, or the handshake. */
enum tls_push tls_session_write(struct tls_session *session, int fd, const uint8_t *data,
                                size_t size, size_t *taken);

#endif
