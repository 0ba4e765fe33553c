/*
 * raw_tls - TLS over a blocking socket by OpenSSL, for the raw server and client: what one record
 * each way costs with nothing on top of it.
 */
#ifndef FLY_TESTS_BENCH_RPC_RAW_TLS_H
#define FLY_TESTS_BENCH_RPC_RAW_TLS_H

#include <openssl/ssl.h>

/* Ends the process when a file is no certificate or key. */
SSL_CTX *raw_tls_server(const char *cert, const char *key);
SSL_CTX *raw_tls_client(const char *ca);
/* Shakes hands; NULL: it failed. The socket stays the caller's. */
SSL *raw_tls_accept(SSL_CTX *context, int fd);
SSL *raw_tls_connect(SSL_CTX *context, int fd);

#endif
