/* nearest: what people type for the regions that ship, and the table against plain recursion. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/edge/nearest.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"

static const struct nearest_place places[] = {
    {"AMS", "Amsterdam, Netherlands"},
    {"BOG", "Bogot\xc3\xa1, Colombia"},
    {"CDG", "Paris, France"},
    {"DEN", "Denver, Colorado (US)"},
    {"EWR", "Secaucus, NJ (US)"},
    {"GRU", "S\xc3\xa3o Paulo, Brazil"},
    {"HKG", "Hong Kong, Hong Kong"},
    {"LHR", "London, United Kingdom"},
    {"MAD", "Madrid, Spain"},
    {"MEL", "Melbourne"},
    {"MIA", "Miami, Florida (US)"},
    {"NRT", "Tokyo, Japan"},
    {"SEA", "Seattle, Washington (US)"},
    {"SIN", "Singapore, Singapore"},
    {"SYD", "Sydney, Australia"},
    {"XXX", NULL},
    {"YYZ", ""},
};

static void test_hints(void **state)
{
    static const struct {
        const char *typed;
        const char *code; /* NULL: none */
    } rows[] = {
        {"MLE", "MEL"},
        {"mel", "MEL"},
        {"EML", "MEL"},
        {"ME", "MEL"},
        {"MELB", "MEL"},
        {"SIM", "SIN"},
        {"sing", "SIN"},
        {"singapor", "SIN"},
        {"Singapore", "SIN"},
        {"LON", "LHR"},
        {"londn", "LHR"},
        {"par", "CDG"},
        {"paris", "CDG"},
        {"tokio", "NRT"},
        {"bogota", "BOG"},
        {"hong kong", "HKG"},
        {"hogn kong", "HKG"},
        {"sao paulo", "GRU"},
        {"DNE", "DEN"},
        {"", NULL},
        {"Q", NULL},
        {"QQQ", NULL},
        {"moon base", NULL},
        {"M", NULL},
        {"YZY", "YYZ"},
        {"Melbourne, A", "MEL"},
        {"amsterdam", "AMS"},
        {"Am", "AMS"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL},
    };

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        const struct nearest_place *place =
            nearest_find(rows[i].typed, places, FLY_ARRAY_COUNT(places));
        const char *code = place != NULL ? place->code : "none";
        if (strcmp(code, rows[i].code != NULL ? rows[i].code : "none") != 0) {
            fail_msg("%s: %s", rows[i].typed, code);
        }
    }
    assert_null(nearest_find("MEL", places, 0));
}

/* The definition, read aloud. */
static unsigned naive(const char *a, size_t m, const char *b, size_t n)
{
    if (m == 0 || n == 0) {
        return NEAREST_EDIT_COST * (unsigned)(m + n);
    }
    unsigned best = naive(a, m - 1, b, n - 1) + (a[m - 1] == b[n - 1] ? 0 : NEAREST_EDIT_COST);
    unsigned drop = naive(a, m - 1, b, n) + NEAREST_EDIT_COST;
    unsigned add = naive(a, m, b, n - 1) + NEAREST_EDIT_COST;
    best = drop < best ? drop : best;
    best = add < best ? add : best;
    if (m > 1 && n > 1 && a[m - 1] == b[n - 2] && a[m - 2] == b[n - 1]) {
        unsigned swap = naive(a, m - 2, b, n - 2) + NEAREST_SWAP_COST;
        best = swap < best ? swap : best;
    }
    return best;
}

static void test_distance(void **state)
{
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 3);
    for (int i = 0; i < 2000; i++) {
        char a[6];
        char b[6];
        size_t m = (size_t)fly_rng_below(&rng, sizeof a + 1);
        size_t n = (size_t)fly_rng_below(&rng, sizeof b + 1);
        for (size_t j = 0; j < sizeof a; j++) {
            a[j] = (char)('a' + fly_rng_below(&rng, 3));
            b[j] = (char)('a' + fly_rng_below(&rng, 3));
        }
        assert_int_equal(nearest_distance(a, m, b, n), naive(a, m, b, n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hints),
        cmocka_unit_test(test_distance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
