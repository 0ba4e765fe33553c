#include "proto/rpc/transport_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

enum { SEAL_MAX = 64 * 1024 /* sealed before it is sent */ };

struct tls_context {
    SSL_CTX *ssl;
    char *server_name; /* clients that verify */
    bool server;
};

struct tls_session {
    SSL *ssl;
    pthread_mutex_t lock; /* ssl, and all below */
    const uint8_t *in;    /* the reader's, fed and not yet read */
    size_t in_size;
    struct transport_buffer out;
    size_t out_sent;
    size_t sealed;       /* plaintext in `out` that is not counted as taken yet */
    const char *failure; /* found out behind plaintext that came before it */
};

/* ---- settings ---- */

/* What the settings of this side must have; the rest is the PEM parser's. */
static enum fly_status check(const char *url, const struct rpc_tls *tls, bool server,
                             struct fly_error *error)
{
    const char *missing = NULL;

    if (tls == NULL) {
        missing = "TLS settings";
    } else if ((tls->cert_pem == NULL) != (tls->key_pem == NULL)) {
        missing = "both a certificate and its key";
    } else if (server && tls->cert_pem == NULL) {
        missing = "a certificate";
    } else if (tls->verify_peer && tls->ca_pem == NULL) {
        missing = "a CA to verify by";
    } else if (tls->verify_peer && !server && tls->server_name == NULL) {
        missing = "the server's name to verify"; /* never the address: it says nothing */
    }
    return missing == NULL
               ? FLY_OK
               : fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: needs %s", url, missing);
}

/* Every certificate of the text, at least one. */
static bool add_authorities(SSL_CTX *ssl, const char *pem)
{
    BIO *text = BIO_new_mem_buf(pem, -1);
    X509_STORE *store = SSL_CTX_get_cert_store(ssl);
    unsigned count = 0;
    X509 *one = NULL;

    while (text != NULL && (one = PEM_read_bio_X509(text, NULL, NULL, NULL)) != NULL) {
        count += X509_STORE_add_cert(store, one) == 1 ? 1 : 0;
        X509_free(one);
    }
    (void)BIO_free(text);
    ERR_clear_error(); /* that there was no further one */
    /* a CA of ours need not be the root of all */
    return count > 0 && X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1;
}

/* Its own first, then what leads to the CA. */
static bool use_certificates(SSL_CTX *ssl, const char *pem)
{
    BIO *text = BIO_new_mem_buf(pem, -1);
    bool fine = text != NULL;
    X509 *one = fine ? PEM_read_bio_X509(text, NULL, NULL, NULL) : NULL;

    fine = one != NULL && SSL_CTX_use_certificate(ssl, one) == 1;
    X509_free(one);
    while (fine && (one = PEM_read_bio_X509(text, NULL, NULL, NULL)) != NULL) {
        fine = SSL_CTX_add1_chain_cert(ssl, one) == 1;
        X509_free(one);
    }
    (void)BIO_free(text);
    ERR_clear_error();
    return fine;
}

static bool use_key(SSL_CTX *ssl, const char *pem)
{
    BIO *text = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = text != NULL ? PEM_read_bio_PrivateKey(text, NULL, NULL, NULL) : NULL;
    bool fine =
        key != NULL && SSL_CTX_use_PrivateKey(ssl, key) == 1 && SSL_CTX_check_private_key(ssl) == 1;

    EVP_PKEY_free(key);
    (void)BIO_free(text);
    ERR_clear_error();
    return fine;
}

static bool settle(struct tls_context *c, const struct rpc_tls *tls)
{
    int verify = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;

    (void)SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                          SSL_OP_IGNORE_UNEXPECTED_EOF |
                                          SSL_OP_CIPHER_SERVER_PREFERENCE);
    (void)SSL_CTX_set_mode(c->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                       SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(c->ssl, 1);
    (void)SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(c->ssl, tls->verify_peer ? verify : SSL_VERIFY_NONE, NULL);
    return SSL_CTX_set_min_proto_version(c->ssl, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_num_tickets(c->ssl, 0) == 1 &&
           SSL_CTX_set_ciphersuites(c->ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                            "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
           SSL_CTX_set_cipher_list(c->ssl, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1;
}

static const char *fill(struct tls_context *c, const struct rpc_tls *tls)
{
    c->ssl = SSL_CTX_new(c->server ? TLS_server_method() : TLS_client_method());
    if (c->ssl == NULL || !settle(c, tls)) {
        return "no TLS";
    }
    if (tls->verify_peer && !add_authorities(c->ssl, tls->ca_pem)) {
        return "the CA is no certificate";
    }
    if (tls->cert_pem != NULL && !use_certificates(c->ssl, tls->cert_pem)) {
        return "the certificate is none";
    }
    if (tls->key_pem != NULL && !use_key(c->ssl, tls->key_pem)) {
        return "the key is none, or not the certificate's";
    }
    if (tls->server_name != NULL && !c->server) {
        c->server_name = strdup(tls->server_name);
        return c->server_name == NULL ? "out of memory" : NULL;
    }
    return NULL;
}

enum fly_status tls_context_make(struct tls_context **out, const char *url,
                                 const struct rpc_tls *tls, bool server, struct fly_error *error)
{
    enum fly_status status = check(url, tls, server, error);

    if (status != FLY_OK) {
        return status;
    }
    struct tls_context *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    c->server = server;
    const char *wrong = fill(c, tls);
    if (wrong != NULL) {
        tls_context_free(c);
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: %s", url, wrong);
    }
    *out = c;
    return FLY_OK;
}

void tls_context_free(struct tls_context *c)
{
    if (c != NULL) {
        SSL_CTX_free(c->ssl);
        free(c->server_name);
        free(c);
    }
}

/* ---- where OpenSSL finds ciphertext, and leaves it ---- */

static int take_in(BIO *bio, char *to, int max)
{
    struct tls_session *s = BIO_get_data(bio);
    size_t size = s->in_size < (size_t)max ? s->in_size : (size_t)max;

    BIO_clear_retry_flags(bio);
    if (size == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(to, s->in, size);
    s->in += size;
    s->in_size -= size;
    return (int)size;
}

static int put_out(BIO *bio, const char *data, int size)
{
    struct tls_session *s = BIO_get_data(bio);
    uint8_t *room = transport_buffer_extend(&s->out, (size_t)size);

    BIO_clear_retry_flags(bio);
    if (room == NULL) {
        return -1;
    }
    memcpy(room, data, (size_t)size);
    return size;
}

static long control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

/* Lives as long as the process: OpenSSL's own cleaning up at exit may come before the last use. */
static void method_prepare(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "flylight");
    FLY_CHECK(method != NULL);
    (void)BIO_meth_set_read(method, take_in);
    (void)BIO_meth_set_write(method, put_out);
    (void)BIO_meth_set_ctrl(method, control);
}

/* ---- a session ---- */

static bool set_up(struct tls_session *s, const struct tls_context *c)
{
    s->ssl = SSL_new(c->ssl);
    BIO *bio = s->ssl != NULL ? BIO_new(method) : NULL;
    if (bio == NULL) {
        return false;
    }
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    SSL_set_bio(s->ssl, bio, bio);
    if (c->server) {
        SSL_set_accept_state(s->ssl);
        return true;
    }
    SSL_set_connect_state(s->ssl);
    return c->server_name == NULL || (SSL_set_tlsext_host_name(s->ssl, c->server_name) == 1 &&
                                      SSL_set1_host(s->ssl, c->server_name) == 1);
}

struct tls_session *tls_session_make(const struct tls_context *c)
{
    struct tls_session *s = calloc(1, sizeof *s);

    if (s == NULL) {
        return NULL;
    }
    (void)pthread_once(&method_once, method_prepare);
    (void)pthread_mutex_init(&s->lock, NULL);
    if (!set_up(s, c)) {
        tls_session_free(s);
        ERR_clear_error();
        return NULL;
    }
    return s;
}

void tls_session_free(struct tls_session *s)
{
    if (s != NULL) {
        SSL_free(s->ssl);
        transport_buffer_empty(&s->out);
        (void)pthread_mutex_destroy(&s->lock);
        free(s);
    }
}

void tls_session_feed(struct tls_session *s, const uint8_t *data, size_t size)
{
    (void)pthread_mutex_lock(&s->lock); /* the writer's part of the handshake may read it, too */
    s->in = data;
    s->in_size = size;
    (void)pthread_mutex_unlock(&s->lock);
}

/* With the lock: OpenSSL's word, which lives as long as OpenSSL. */
static const char *explain(struct tls_session *s)
{
    long verdict = SSL_get_verify_result(s->ssl);
    const char *reason = verdict != X509_V_OK && SSL_get_verify_mode(s->ssl) != SSL_VERIFY_NONE
                             ? X509_verify_cert_error_string(verdict)
                             : ERR_reason_error_string(ERR_peek_error());

    return reason != NULL ? reason : "broken";
}

ssize_t tls_session_read(struct tls_session *s, uint8_t *to, size_t max, const char **failure)
{
    size_t got = 0;
    int result = 1;
    ssize_t count = 0;

    (void)pthread_mutex_lock(&s->lock);
    ERR_clear_error();
    while (result == 1 && (size_t)count < max) {
        result = SSL_read_ex(s->ssl, to + count, max - (size_t)count, &got);
        count += result == 1 ? (ssize_t)got : 0;
    }
    int why = SSL_get_error(s->ssl, result);
    if (why == SSL_ERROR_SSL && s->failure == NULL) {
        s->failure = explain(s);
    }
    if (count == 0 && why != SSL_ERROR_WANT_READ) {
        count = -1;
        *failure = s->failure;
    }
    ERR_clear_error();
    (void)pthread_mutex_unlock(&s->lock);
    return count;
}

bool tls_session_shaken(struct tls_session *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool shaken = SSL_is_init_finished(s->ssl) == 1;
    (void)pthread_mutex_unlock(&s->lock);
    return shaken;
}

/* With the lock. */
static enum tls_push push(struct tls_session *s, int fd)
{
    while (s->out_sent < s->out.size) {
        ssize_t count = send(fd, s->out.data + s->out_sent, s->out.size - s->out_sent,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count >= 0) {
            s->out_sent += (size_t)count;
        } else if (errno == EAGAIN) {
            return TLS_PUSH_WAITS;
        } else if (errno != EINTR) {
            return TLS_PUSH_BROKEN;
        }
    }
    transport_buffer_empty(&s->out);
    s->out_sent = 0;
    return TLS_PUSH_DONE;
}

enum tls_push tls_session_push(struct tls_session *s, int fd)
{
    (void)pthread_mutex_lock(&s->lock);
    enum tls_push pushed = push(s, fd);
    (void)pthread_mutex_unlock(&s->lock);
    return pushed;
}

/* With the lock: the handshake's next step, if it is not over. */
static enum tls_push shake(struct tls_session *s, int fd)
{
    if (SSL_is_init_finished(s->ssl) == 1) {
        return TLS_PUSH_DONE;
    }
    int result = SSL_do_handshake(s->ssl);
    int why = SSL_get_error(s->ssl, result);
    if (why == SSL_ERROR_SSL && s->failure == NULL) {
        s->failure = explain(s); /* the reader tells */
    }
    if (result != 1 && why != SSL_ERROR_WANT_READ) {
        (void)push(s, fd); /* what it has to say to that */
        return TLS_PUSH_BROKEN;
    }
    enum tls_push pushed = push(s, fd);
    return pushed == TLS_PUSH_DONE && result != 1 ? TLS_PUSH_WAITS : pushed;
}

/* With the lock: some of data[size] becomes records. */
static bool seal(struct tls_session *s, const uint8_t *data, size_t size)
{
    size_t written = 0;

    size = size < SEAL_MAX ? size : SEAL_MAX;
    while (s->sealed < size) {
        if (SSL_write_ex(s->ssl, data + s->sealed, size - s->sealed, &written) != 1) {
            return false;
        }
        s->sealed += written;
    }
    return true;
}

enum tls_push tls_session_write(struct tls_session *s, int fd, const uint8_t *data, size_t size,
                                size_t *taken)
{
    (void)pthread_mutex_lock(&s->lock);
    ERR_clear_error();
    enum tls_push pushed = shake(s, fd);
    while (pushed == TLS_PUSH_DONE) {
        pushed = push(s, fd);
        if (pushed != TLS_PUSH_DONE) {
            break;
        }
        *taken += s->sealed;
        s->sealed = 0;
        if (*taken == size) {
            break;
        }
        if (!seal(s, data + *taken, size - *taken)) {
            pushed = TLS_PUSH_BROKEN;
        }
    }
    ERR_clear_error();
    (void)pthread_mutex_unlock(&s->lock);
    return pushed;
}
