#include "dash/server_tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

bool server_tls_add_chain(void *ssl_context, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *next = NULL;
    bool first = true;
    bool ok = bio != NULL && SSL_CTX_set_min_proto_version(ssl_context, TLS1_2_VERSION) == 1;

    ERR_clear_error();
    while (ok && (next = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (first) {
            X509_free(next);
        } else if (SSL_CTX_add_extra_chain_cert(ssl_context, next) != 1) { /* else it is the
                                                                              context's */
            X509_free(next);
            ok = false;
        }
        first = false;
    }
    /* The end of the text is the error "no start line"; any other is a certificate that is none. */
    unsigned long why = ERR_peek_last_error();
    ok = ok && (why == 0 ||
                (ERR_GET_LIB(why) == ERR_LIB_PEM && ERR_GET_REASON(why) == PEM_R_NO_START_LINE));
    ERR_clear_error();
    BIO_free(bio);
    return ok;
}
