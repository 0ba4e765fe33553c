/* What many connections together may have waiting to be sent. */
#include "tests/unit/transport_fixture.h"

enum { BUDGET = 4 * TRANSPORT_BUDGET_STEP, PIECE = 1024 };

static const char *const LOOPBACK = "tcp://127.0.0.1:0";

struct world {
    struct transport_budget budget;
    struct house house;
    struct side *first;
    struct side *second;
    int first_fd;
    int second_fd;
};

static void world_open(struct world *w)
{
    transport_budget_init(&w->budget, BUDGET);
    house_open(&w->house, LOOPBACK,
               &(struct transport_config){
                   .events = &side_events, .out_max = 1 << 20, .budget = &w->budget});
    w->first_fd = house_visit(&w->house, 0, &w->first);
    w->second_fd = house_visit(&w->house, 0, &w->second);
}

static void world_close(struct world *w)
{
    (void)close(w->first_fd);
    (void)close(w->second_fd);
    house_close(&w->house);
    assert_int_equal(atomic_load(&w->budget.used), 0);
    transport_budget_fini(&w->budget);
}

/* Reserves, and does not send, until refused; the bytes. */
static size_t fill(struct side *side)
{
    size_t size = 0;

    while (side_put(side, PIECE, false)) {
        size += PIECE;
        assert_true(size < 1 << 20);
    }
    return size;
}

static void test_shared(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    size_t taken = fill(w.first);
    assert_int_equal(taken, BUDGET + TRANSPORT_BUDGET_FREE);
    assert_int_equal(atomic_load(&w.budget.used), BUDGET);
    /* each has its free part all the same */
    assert_int_equal(fill(w.second), TRANSPORT_BUDGET_FREE);
    assert_int_equal(atomic_load(&w.budget.refused), 2);
    assert_true(side_put(w.second, PIECE, true)); /* urgent: over it */
    assert_int_equal(atomic_load(&w.budget.used), BUDGET + TRANSPORT_BUDGET_STEP);

    /* the second has more to say than fits, nothing of its own under way, and hears of room */
    transport_flush(w.first->transport);
    assert_true(socket_read(w.first_fd, taken));
    AWAIT(atomic_load(&w.first->drained) == 1 && atomic_load(&w.second->drained) == 1);
    assert_int_equal(atomic_load(&w.budget.used), TRANSPORT_BUDGET_STEP);
    assert_true(side_put(w.second, PIECE, false));
    world_close(&w);
}

/* Refused again and again, and told again. */
static void test_again(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    for (unsigned round = 1; round <= 50; round++) {
        size_t taken = fill(w.first);
        assert_false(side_put(w.second, 2 * TRANSPORT_BUDGET_FREE, false));
        transport_flush(w.first->transport);
        assert_true(socket_read(w.first_fd, taken));
        AWAIT(atomic_load(&w.first->drained) >= round && atomic_load(&w.second->drained) == round);
        AWAIT(atomic_load(&w.budget.used) == 0);
    }
    world_close(&w);
}

/* One ends while it waits for room, the one that had spent it ends as well: nothing is kept. */
static void test_ends(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    (void)fill(w.first);
    (void)fill(w.second);
    transport_close(w.second->transport);
    AWAIT(atomic_load(&w.second->closed) == 1);
    assert_int_equal(atomic_load(&w.budget.waiters), 1);
    transport_close(w.first->transport);
    AWAIT(atomic_load(&w.first->closed) == 1);
    assert_int_equal(atomic_load(&w.budget.waiters), 0);
    assert_int_equal(atomic_load(&w.second->drained), 0);
    world_close(&w);
}

/* A message larger than all of it goes through: what is refused is only what comes on top. */
static void test_large(void **state)
{
    struct world w;

    (void)state;
    world_open(&w);
    assert_true(side_put(w.first, 4 * BUDGET, false));
    assert_false(side_put(w.second, 2 * TRANSPORT_BUDGET_FREE, false));
    transport_flush(w.first->transport);
    assert_true(socket_read(w.first_fd, 4 * BUDGET));
    AWAIT(atomic_load(&w.second->drained) == 1);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
