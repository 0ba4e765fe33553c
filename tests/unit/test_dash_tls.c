/*
 * Tests of the dash over https: the chain it shows, what it adds to its answers, a WebSocket.
 */
#include "tests/unit/dash_fixture.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "node/x509.h"
#include "proto/base/clock.h"

static struct x509_authority ca;
static struct x509_authority issuer;
static char key[X509_KEY_TEXT_SIZE];
static char chain[X509_CERT_TEXT_SIZE];
static struct dash *dash;
static SSL_CTX *client;

static void make_chain(void)
{
    struct fly_error error = {0};
    struct x509_spki spki;
    int64_t now_ms = fly_clock_wall_ms();
    int64_t ends_ms = now_ms + 3600000;
    assert_int_equal(x509_key_make(ca.key, &error), FLY_OK);
    assert_int_equal(x509_ca_make(&ca, "test", now_ms, ends_ms, &error), FLY_OK);
    assert_int_equal(x509_key_make(issuer.key, &error), FLY_OK);
    assert_int_equal(x509_key_spki(issuer.key, &spki, &error), FLY_OK);
    assert_int_equal(
        x509_issuer_make(&ca, &spki, "test", now_ms, ends_ms, issuer.certificate, &error), FLY_OK);
    assert_int_equal(x509_key_make(key, &error), FLY_OK);
    assert_int_equal(x509_key_spki(key, &spki, &error), FLY_OK);
    assert_int_equal(x509_node_make(&issuer, &spki, "n1", now_ms, ends_ms, chain, &error), FLY_OK);
}

static int setup(void **state)
{
    struct dash_config config = fixture_config();
    (void)state;
    make_chain();
    config.cert_pem = chain;
    config.key_pem = key;
    dash = fixture_dash(&config);
    client = SSL_CTX_new(TLS_client_method());
    FLY_CHECK(client != NULL);
    BIO *bio = BIO_new_mem_buf(ca.certificate, -1);
    X509 *root = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    FLY_CHECK(root != NULL);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(client), root);
    X509_free(root);
    BIO_free(bio);
    SSL_CTX_set_verify(client, SSL_VERIFY_PEER, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    SSL_CTX_free(client);
    dash_destroy(dash);
    return 0;
}

static void ask(const char *request, char *out, size_t max)
{
    struct browser b = browser_dial(dash, 0);
    SSL *ssl = SSL_new(client);
    SSL_set_fd(ssl, b.fd);
    assert_int_equal(SSL_connect(ssl), 1);
    assert_int_equal(SSL_get_verify_result(ssl), X509_V_OK);
    assert_int_equal(SSL_write(ssl, request, (int)strlen(request)), strlen(request));
    size_t size = 0;
    out[0] = '\0';
    while (strstr(out, "\r\n\r\n") == NULL) {
        int n = SSL_read(ssl, out + size, (int)(max - 1 - size));
        assert_true(n > 0);
        size += (size_t)n;
        out[size] = '\0';
    }
    SSL_free(ssl);
    browser_hang_up(&b);
}

static void test_answers(void **state)
{
    char out[8192];
    (void)state;
    ask("POST /v1/session HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n{\"token\":\"good\"}",
        out, sizeof out);
    assert_int_equal(strncmp(out, "HTTP/1.1 200 ", 13), 0);
    assert_non_null(strstr(out, "Strict-Transport-Security: max-age=31536000\r\n"));
    assert_non_null(strstr(out, "; HttpOnly; SameSite=Strict; Path=/; Secure\r\n"));
    ask("GET /v1/live HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Authorization: Bearer good\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        out, sizeof out);
    assert_int_equal(strncmp(out, "HTTP/1.1 101 ", 13), 0);
}

/* What is no TLS gets no answer, and nobody else notices. */
static void test_plain_text(void **state)
{
    char out[8192];
    struct browser b = browser_dial(dash, 0);
    (void)state;
    browser_send(&b, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
    while (browser_read(&b)) {
        assert_null(memmem(b.bytes, b.size, "HTTP/1.1 2", 10));
    }
    browser_hang_up(&b);
    ask("GET /v1/session HTTP/1.1\r\nHost: a\r\n\r\n", out, sizeof out);
    assert_int_equal(strncmp(out, "HTTP/1.1 401 ", 13), 0);
}

static void test_old_protocols(void **state)
{
    struct browser b = browser_dial(dash, 0);
    SSL *ssl = SSL_new(client);
    (void)state;
    SSL_set_security_level(ssl, 0);
    assert_int_equal(SSL_set_min_proto_version(ssl, TLS1_VERSION), 1);
    assert_int_equal(SSL_set_max_proto_version(ssl, TLS1_1_VERSION), 1);
    SSL_set_fd(ssl, b.fd);
    assert_int_not_equal(SSL_connect(ssl), 1);
    SSL_free(ssl);
    browser_hang_up(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plain_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_protocols, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
