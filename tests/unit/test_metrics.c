/* metrics: what is recorded is what the text says, read back by the exposition format's rules. */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/check.h"
#include "proto/rpc/method.h"
#include "proto/rpc/metrics.h"

static struct rpc_metrics *metrics_of(const char *side)
{
    struct rpc_metrics *metrics = NULL;
    struct fly_error error = {.text = ""};

    assert_int_equal(rpc_metrics_create(&metrics, side, &error), FLY_OK);
    return metrics;
}

static char *text_of(const struct rpc_metrics *metrics)
{
    size_t size = rpc_metrics_text(metrics, NULL, 0);
    char *text = malloc(size + 1);

    assert_non_null(text);
    assert_int_equal(rpc_metrics_text(metrics, text, size + 1), size);
    assert_int_equal(strlen(text), size);
    return text;
}

/* One sample as a Prometheus server would read it. */
struct sample {
    char name[128];
    char method[256]; /* unescaped */
    char label[64];   /* the other label, "code=OK", "le=+Inf"; or empty */
    double value;
};

static const char *read_value(const char *at, char *out, size_t max)
{
    size_t size = 0;

    assert_int_equal(*at++, '"');
    for (; *at != '"'; at++) {
        assert_true(*at != '\n' && *at != '\0');
        if (*at == '\\') {
            at++;
            assert_true(*at == '\\' || *at == '"' || *at == 'n');
            out[size++] = *at == 'n' ? '\n' : *at;
        } else {
            out[size++] = *at;
        }
        assert_true(size < max);
    }
    out[size] = '\0';
    return at + 1;
}

/* name{method="…"[,label="…"]} value */
static const char *read_sample(const char *at, struct sample *sample)
{
    size_t size = strcspn(at, "{ \n");
    char *end = NULL;

    memset(sample, 0, sizeof *sample);
    assert_true(size > 0 && size < sizeof sample->name && at[size] == '{');
    memcpy(sample->name, at, size);
    at += size + 1;
    assert_int_equal(strncmp(at, "method=", 7), 0);
    at = read_value(at + 7, sample->method, sizeof sample->method);
    if (*at == ',') {
        size = strcspn(++at, "=");
        memcpy(sample->label, at, size + 1);
        at = read_value(at + size + 1, sample->label + size + 1, sizeof sample->label - size - 1);
    }
    assert_int_equal(strncmp(at, "} ", 2), 0);
    sample->value = strtod(at + 2, &end);
    assert_int_equal(*end, '\n');
    return end + 1;
}

enum { SAMPLES_MAX = 20000 };

static struct sample samples[SAMPLES_MAX];
static size_t sample_count;

/* Reads all of a text; every sample must stand under a HELP and a TYPE of its family, each once. */
static void read_text(const char *text)
{
    char family[128] = "";
    char seen[4096] = "";
    char type[16] = "";

    sample_count = 0;
    while (*text != '\0') {
        if (*text == '#') {
            char kind[8] = "";
            char name[128] = "";

            assert_int_equal(sscanf(text, "# %7s %127s %15s", kind, name, type), 3);
            if (strcmp(kind, "HELP") == 0) {
                char key[160];

                (void)snprintf(key, sizeof key, "<%s>", name);
                assert_null(strstr(seen, key));
                assert_true(strlen(seen) + strlen(key) < sizeof seen);
                memcpy(seen + strlen(seen), key, strlen(key) + 1);
                (void)snprintf(family, sizeof family, "%s", name);
            } else {
                assert_string_equal(kind, "TYPE");
                assert_string_equal(name, family);
                assert_true(strcmp(type, "counter") == 0 || strcmp(type, "histogram") == 0);
            }
            text += strcspn(text, "\n") + 1;
            continue;
        }
        assert_true(sample_count < SAMPLES_MAX);
        text = read_sample(text, &samples[sample_count]);
        assert_int_equal(strncmp(samples[sample_count].name, family, strlen(family)), 0);
        if (strcmp(type, "histogram") != 0) {
            assert_string_equal(samples[sample_count].name, family);
        }
        sample_count++;
    }
}

static double sample_of(const char *name, const char *method, const char *label)
{
    for (size_t i = 0; i < sample_count; i++) {
        if (strcmp(samples[i].name, name) == 0 && strcmp(samples[i].method, method) == 0 &&
            strcmp(samples[i].label, label) == 0) {
            return samples[i].value;
        }
    }
    return -1;
}

static void test_counts(void **state)
{
    struct rpc_metrics *metrics = metrics_of("server");
    struct rpc_method a = {.name = "fly.v1.Edge/Launch"};
    struct rpc_method b = {.name = "odd\\name\"with\nall"};
    struct rpc_method_metrics *of = rpc_metrics_of(metrics, &a);
    char *text = NULL;

    (void)state;
    assert_non_null(of);
    assert_ptr_equal(of, rpc_metrics_of(metrics, &a));
    assert_ptr_not_equal(of, rpc_metrics_of(metrics, &b));
    for (int i = 0; i < 3; i++) {
        rpc_metrics_started(of);
    }
    rpc_metrics_message(of, true, 100);
    rpc_metrics_message(of, true, 23);
    rpc_metrics_message(of, false, 7);
    rpc_metrics_ended(of, FLY_OK, 1000);
    rpc_metrics_ended(of, FLY_OK, 2000000);
    rpc_metrics_ended(of, FLY_NOT_FOUND, INT64_C(5000000000));
    rpc_metrics_started(NULL);
    rpc_metrics_message(NULL, true, 1);
    rpc_metrics_ended(NULL, FLY_OK, 1);
    text = text_of(metrics);
    read_text(text);
    assert_true(sample_of("flyrpc_server_started_total", a.name, "") == 3);
    assert_true(sample_of("flyrpc_server_started_total", b.name, "") == 0);
    assert_true(sample_of("flyrpc_server_handled_total", a.name, "code=OK") == 2);
    assert_true(sample_of("flyrpc_server_handled_total", a.name, "code=NOT_FOUND") == 1);
    assert_true(sample_of("flyrpc_server_messages_in_total", a.name, "") == 2);
    assert_true(sample_of("flyrpc_server_bytes_in_total", a.name, "") == 123);
    assert_true(sample_of("flyrpc_server_messages_out_total", a.name, "") == 1);
    assert_true(sample_of("flyrpc_server_bytes_out_total", a.name, "") == 7);
    assert_true(sample_of("flyrpc_server_latency_seconds_bucket", a.name, "le=0.000001") == 1);
    assert_true(sample_of("flyrpc_server_latency_seconds_bucket", a.name, "le=0.001024") == 1);
    assert_true(sample_of("flyrpc_server_latency_seconds_bucket", a.name, "le=0.002048") == 2);
    assert_true(sample_of("flyrpc_server_latency_seconds_bucket", a.name, "le=4.194304") == 2);
    assert_true(sample_of("flyrpc_server_latency_seconds_bucket", a.name, "le=+Inf") == 3);
    assert_true(sample_of("flyrpc_server_latency_seconds_count", a.name, "") == 3);
    assert_true(sample_of("flyrpc_server_latency_seconds_sum", a.name, "") == 5.002001);
    free(text);
    rpc_metrics_destroy(metrics);
    rpc_metrics_destroy(NULL);
}

/* Each bucket holds exactly what is at most its bound, by the naive count. */
static void test_buckets(void **state)
{
    static const int64_t times[] = {-5,
                                    0,
                                    1,
                                    999,
                                    1000,
                                    1001,
                                    2000,
                                    2001,
                                    4000,
                                    4001,
                                    1024000,
                                    1024001,
                                    999999,
                                    123456,
                                    1000000,
                                    4194304,
                                    4194304000,
                                    4194304001,
                                    1 << 30,
                                    65536000,
                                    65536001,
                                    500,
                                    INT64_C(90000000000)};
    struct rpc_metrics *metrics = metrics_of("client");
    struct rpc_method method = {.name = "m"};
    char *text = NULL;
    size_t buckets = 0;
    double below = 0;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(times); i++) {
        rpc_metrics_ended(rpc_metrics_of(metrics, &method), FLY_OK, times[i]);
    }
    text = text_of(metrics);
    read_text(text);
    for (size_t i = 0; i < sample_count; i++) {
        if (strncmp(samples[i].label, "le=", 3) == 0) {
            double bound = strtod(samples[i].label + 3, NULL); /* +Inf, too */
            double count = 0;

            for (size_t k = 0; k < FLY_ARRAY_COUNT(times); k++) {
                count += (double)times[k] <= bound * 1e9 + 0.5;
            }
            assert_true(samples[i].value == count && count >= below);
            below = count;
            buckets++;
        }
    }
    assert_int_equal(buckets, RPC_METRICS_BUCKETS);
    free(text);
    rpc_metrics_destroy(metrics);
}

static void test_cut(void **state)
{
    struct rpc_metrics *metrics = metrics_of("server");
    struct rpc_method method = {.name = "fly.v1.Health/Echo"};
    char *whole = NULL;
    size_t size = 0;

    (void)state;
    (void)rpc_metrics_of(metrics, &method);
    whole = text_of(metrics);
    size = strlen(whole);
    for (size_t max = 1; max <= size + 1; max++) {
        char *part = malloc(max); /* of the exact size, for the sanitizer */

        assert_non_null(part);
        assert_int_equal(rpc_metrics_text(metrics, part, max), size);
        assert_int_equal(strlen(part), max - 1);
        assert_int_equal(memcmp(part, whole, max - 1), 0);
        free(part);
    }
    free(whole);
    rpc_metrics_destroy(metrics);
}

/* Methods that are gone and others at the same address are told apart; past the limit there are
 * none. */
static void test_many_methods(void **state)
{
    struct rpc_metrics *metrics = metrics_of("client");
    struct rpc_method_metrics *of[RPC_METRICS_METHODS_MAX + 10] = {NULL};
    char name[32];
    struct rpc_method method = {.name = name};
    char *text = NULL;

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(of); i++) {
        (void)snprintf(name, sizeof name, "service/Method%zu", i);
        /* all of one hash: still each its own */
        method.hash = 4711;
        of[i] = rpc_metrics_of(metrics, &method);
        assert_true((of[i] != NULL) == (i < RPC_METRICS_METHODS_MAX));
        for (size_t k = 0; k < i; k++) {
            assert_true(of[i] == NULL || of[i] != of[k]);
        }
        rpc_metrics_started(of[i]);
    }
    text = text_of(metrics);
    read_text(text);
    assert_true(sample_of("flyrpc_client_started_total", "service/Method17", "") == 1);
    assert_true(sample_of("flyrpc_client_started_total", "service/Method256", "") == -1);
    free(text);
    rpc_metrics_destroy(metrics);
}

enum { THREADS = 4, ROUNDS = 20000, METHODS = 16 };

static void *record(void *user)
{
    struct rpc_metrics *metrics = user;
    char name[32];
    struct rpc_method method = {.name = name};

    for (int i = 0; i < ROUNDS; i++) {
        (void)snprintf(name, sizeof name, "s/%d", i % METHODS);
        struct rpc_method_metrics *of = rpc_metrics_of(metrics, &method);
        rpc_metrics_started(of);
        rpc_metrics_message(of, true, 3);
        rpc_metrics_ended(of, FLY_OK, i);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct rpc_metrics *metrics = metrics_of("server");
    pthread_t threads[THREADS];
    char *text = NULL;

    (void)state;
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, record, metrics), 0);
    }
    for (int i = 0; i < 20; i++) {
        static char some[64 * 1024];
        (void)rpc_metrics_text(metrics, some, sizeof some);
    }
    for (size_t i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    text = text_of(metrics);
    read_text(text);
    for (int i = 0; i < METHODS; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "s/%d", i);
        assert_true(sample_of("flyrpc_server_started_total", name, "") ==
                    (double)THREADS * ROUNDS / METHODS);
        assert_true(sample_of("flyrpc_server_bytes_in_total", name, "") ==
                    3.0 * THREADS * ROUNDS / METHODS);
        assert_true(sample_of("flyrpc_server_latency_seconds_count", name, "") ==
                    (double)THREADS * ROUNDS / METHODS);
    }
    free(text);
    rpc_metrics_destroy(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),  cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_cut),     cmocka_unit_test(test_many_methods),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
