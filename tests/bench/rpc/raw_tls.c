#include "tests/bench/rpc/raw_tls.h"

#include <stdio.h>
#include <stdlib.h>

static SSL_CTX *need(SSL_CTX *context, int fine, const char *file)
{
    if (context == NULL || fine != 1) {
        (void)fprintf(stderr, "raw: no TLS with %s\n", file);
        exit(1);
    }
    return context;
}

SSL_CTX *raw_tls_server(const char *cert, const char *key)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    SSL_CTX_set_read_ahead(context, 1); /* header and body of a record in one read */
    (void)need(context, SSL_CTX_use_certificate_chain_file(context, cert), cert);
    return need(context, SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM), key);
}

SSL_CTX *raw_tls_client(const char *ca)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    return need(context, SSL_CTX_load_verify_locations(context, ca, NULL), ca);
}

static SSL *attach(SSL_CTX *context, int fd, int (*shake)(SSL *))
{
    SSL *ssl = SSL_new(context);

    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 || shake(ssl) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

SSL *raw_tls_accept(SSL_CTX *context, int fd)
{
    return attach(context, fd, SSL_accept);
}

SSL *raw_tls_connect(SSL_CTX *context, int fd)
{
    return attach(context, fd, SSL_connect);
}
