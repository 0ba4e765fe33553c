/*
 * server_tls - the certificates behind the first one of a PEM text: libwebsockets takes one from
 * memory, and browsers need those of the issuers between it and a CA that they know. Shell.
 */
#ifndef FLY_DASH_SERVER_TLS_H
#define FLY_DASH_SERVER_TLS_H

#include <stdbool.h>

/* Adds all but the first to the SSL_CTX, which speaks nothing older than TLS 1.2 from then on.
 * False: one is damaged, or there is no memory. */
bool server_tls_add_chain(void *ssl_context, const char *pem);

#endif
