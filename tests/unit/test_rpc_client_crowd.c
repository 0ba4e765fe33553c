/* rpc client: many threads, servers that drain, die and come back. Each call ends once, and is
 * executed as often as its ending says. */
#include "fly/v1/edge.rpc.h"
#include "tests/unit/client_fixture.h"

enum { THREADS = 4, CALLS = 300, IDS = THREADS * CALLS, REPLICAS = 2 };

/* ---- a server that counts what it executes ---- */

static atomic_uint executed[IDS];

static void count_call(void *user, struct rpc_call *call)
{
    const Fly__V1__StatusRequest *request = (const void *)rpc_call_request(call);
    unsigned long id = strtoul(request->vm, NULL, 10);

    (void)user;
    FLY_CHECK(id < IDS);
    (void)atomic_fetch_add(&executed[id], 1);
    switch (id % 5) {
    case 0:
        fail_with(call, FLY_ABORTED);
        break;
    case 1:
        fail_with(call, FLY_UNAVAILABLE); /* a policy makes it again */
        break;
    default:
        answer(call);
        break;
    }
}

static struct rpc_server *replica_start(const char *url)
{
    static const struct rpc_method *const methods[] = {&rpc_edge_status};
    struct rpc_server *server = NULL;
    struct fly_error error = {.text = ""};
    struct rpc_server_config config = {
        .urls = &url, .url_count = 1, .methods = methods, .method_count = 1, .on_call = count_call};

    if (rpc_server_create(&server, &config, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    return server;
}

/* ---- callers ---- */

struct ending {
    atomic_uint times;
    atomic_int status;
    atomic_bool sent;
};

struct crowd {
    struct rpc_client *client;
    char urls[REPLICAS][64];
    struct rpc_server *servers[REPLICAS];
    struct ending endings[IDS];
    atomic_uint running; /* threads */
    struct rpc_method methods[3];
    bool gentle; /* no deadlines, no cancels, no policies */
};

struct member {
    struct crowd *crowd;
    unsigned number;
    pthread_t thread;
};

static void ending_note(void *user, struct rpc_reply *reply)
{
    struct ending *ending = user;

    (void)atomic_fetch_add(&ending->times, 1);
    atomic_store(&ending->status, (int)reply->status);
    atomic_store(&ending->sent, reply->sent);
}

static void call_once(struct crowd *c, unsigned id, struct fly_rng *rng)
{
    Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
    struct rpc_call_options options = {.wait_for_ready = true};
    const struct rpc_method *method = &c->methods[0];
    struct rpc_reply reply;
    char vm[1100];
    uint64_t call = 0;

    /* some are larger than what is kept without being asked for */
    bool blocking = fly_rng_chance(rng, 500);
    bool large = blocking && fly_rng_chance(rng, 300);
    (void)snprintf(vm, sizeof vm, "%u%*s", id, large ? 1000 : 0, "");
    request.vm = vm;
    if (!c->gentle) {
        method = &c->methods[fly_rng_below(rng, 3)];
        options.wait_for_ready = fly_rng_chance(rng, 700);
        options.timeout_ms = fly_rng_chance(rng, 300) ? 1 + (int64_t)fly_rng_below(rng, 10) : 0;
    }
    if (blocking) {
        (void)rpc_client_call(c->client, method, &request.base, &options, &reply);
        ending_note(&c->endings[id], &reply);
        rpc_reply_fini(&reply);
        return;
    }
    rpc_client_start(c->client, method, &request.base, &options, ending_note, &c->endings[id],
                     &call);
    if (!c->gentle && fly_rng_chance(rng, 300)) {
        rpc_client_cancel(c->client, call);
    }
}

static void *member_run(void *user)
{
    struct member *m = user;
    struct fly_rng rng;

    fly_rng_seed(&rng, m->number);
    for (unsigned i = 0; i < CALLS; i++) {
        unsigned id = m->number * CALLS + i;
        call_once(m->crowd, id, &rng);
        if (fly_rng_chance(&rng, 100)) {
            WAIT_UNTIL(atomic_load(&m->crowd->endings[id].times) == 1);
        }
    }
    (void)atomic_fetch_sub(&m->crowd->running, 1);
    return NULL;
}

static unsigned ended_count(struct crowd *c)
{
    unsigned count = 0;

    for (unsigned i = 0; i < IDS; i++) {
        count += atomic_load(&c->endings[i].times) > 0 ? 1 : 0;
    }
    return count;
}

static bool all_ended(struct crowd *c)
{
    return ended_count(c) == IDS;
}

static struct crowd *crowd_make(enum rpc_balance balance, bool gentle)
{
    static const struct retry_policy retrying = {.attempts_max = 4,
                                                 .initial_backoff_ms = 1,
                                                 .max_backoff_ms = 4,
                                                 .multiplier_percent = 200,
                                                 .codes = CODE(FLY_UNAVAILABLE)};
    static const struct retry_policy hedging = {
        .attempts_max = 3, .hedge = true, .hedging_delay_ms = 1, .codes = CODE(FLY_UNAVAILABLE)};
    struct crowd *c = calloc(1, sizeof *c);
    const char *urls[REPLICAS];

    c->gentle = gentle;
    c->methods[0] = plain;
    c->methods[1] = status_with(&retrying);
    c->methods[2] = status_with(&hedging);
    for (unsigned i = 0; i < REPLICAS; i++) {
        fresh_url(c->urls[i]);
        urls[i] = c->urls[i];
        c->servers[i] = replica_start(urls[i]);
    }
    for (unsigned i = 0; i < IDS; i++) {
        atomic_store(&executed[i], 0);
    }
    c->client = client_of((struct rpc_client_config){.urls = urls,
                                                     .url_count = REPLICAS,
                                                     .balance = balance,
                                                     .waiting_max = IDS,
                                                     .throttle_tokens = 100000});
    return c;
}

static void crowd_run(struct crowd *c, bool drain)
{
    struct member members[THREADS];
    struct fly_rng rng;

    fly_rng_seed(&rng, 99);
    atomic_store(&c->running, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        members[i] = (struct member){.crowd = c, .number = i};
        assert_int_equal(pthread_create(&members[i].thread, NULL, member_run, &members[i]), 0);
    }
    while (atomic_load(&c->running) > 0 || !all_ended(c)) {
        unsigned victim = (unsigned)fly_rng_below(&rng, REPLICAS);
        unsigned ended = ended_count(c);
        if (drain) { /* until the clients have hung up by themselves */
            rpc_server_drain(c->servers[victim]);
            WAIT_UNTIL(rpc_server_idle(c->servers[victim]));
        }
        rpc_server_destroy(c->servers[victim]);
        c->servers[victim] = replica_start(c->urls[victim]);
        WAIT_UNTIL(ended_count(c) >= ended + 20 || all_ended(c));
    }
    for (unsigned i = 0; i < THREADS; i++) {
        (void)pthread_join(members[i].thread, NULL);
    }
}

static void crowd_end(struct crowd *c)
{
    rpc_client_close(c->client);
    for (unsigned i = 0; i < REPLICAS; i++) {
        rpc_server_destroy(c->servers[i]);
    }
    free(c);
}

/* Servers that drain lose nothing: each call is executed exactly once, whatever connection it was
 * on, and none of it shows. But for those that two servers turned away, one after the other: once
 * is made good (A6), the second time is said, and that nothing was done. */
static void test_drain(void **state)
{
    static const enum rpc_balance balances[] = {RPC_PICK_FIRST, RPC_ROUND_ROBIN,
                                                RPC_LEAST_IN_FLIGHT};

    (void)state;
    for (unsigned b = 0; b < FLY_ARRAY_COUNT(balances); b++) {
        struct crowd *c = crowd_make(balances[b], true);
        unsigned unlucky = 0;
        crowd_run(c, true);
        for (unsigned i = 0; i < IDS; i++) {
            enum fly_status want = i % 5 == 0 ? FLY_ABORTED : i % 5 == 1 ? FLY_UNAVAILABLE : FLY_OK;
            enum fly_status got = (enum fly_status)atomic_load(&c->endings[i].status);
            unsigned times = atomic_load(&executed[i]);
            bool turned_away = got == FLY_UNAVAILABLE && !atomic_load(&c->endings[i].sent);
            unlucky += turned_away ? 1 : 0;
            if (atomic_load(&c->endings[i].times) != 1 || (!turned_away && got != want) ||
                times != (turned_away ? 0 : 1)) {
                fail_msg("call %u: %s, executed %u times", i, fly_status_name(got), times);
            }
        }
        assert_in_range(unlucky, 0, IDS / 100);
        crowd_end(c);
    }
}

/* Servers that die: what ended as not sent was not executed, what ended well was; nothing without
 * a policy was executed twice. */
static void test_killed(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        struct crowd *c = crowd_make(RPC_ROUND_ROBIN, round == 0);
        crowd_run(c, false);
        for (unsigned i = 0; i < IDS; i++) {
            unsigned times = atomic_load(&executed[i]);
            int status = atomic_load(&c->endings[i].status);
            bool sent = atomic_load(&c->endings[i].sent);
            if (atomic_load(&c->endings[i].times) != 1 || (!sent && times > 0) ||
                (status == FLY_OK && times == 0) || (c->gentle && times > 1)) {
                fail_msg("call %u: ended %u times, last with %s%s, executed %u times", i,
                         atomic_load(&c->endings[i].times),
                         fly_status_name((enum fly_status)status), sent ? "" : " not sent", times);
            }
        }
        crowd_end(c);
    }
}

/* Closed in the middle of it all. */
static void test_closed(void **state)
{
    struct crowd *c = crowd_make(RPC_ROUND_ROBIN, false);
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 5);
    for (unsigned round = 0; round < 20; round++) {
        const char *urls[REPLICAS] = {c->urls[0], c->urls[1]};
        struct rpc_client *first = c->client;
        for (unsigned i = 0; i < IDS; i++) {
            atomic_store(&c->endings[i].times, 0);
        }
        for (unsigned i = 0; i < 100; i++) {
            unsigned id = i;
            Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
            struct rpc_call_options options = {.wait_for_ready = fly_rng_chance(&rng, 500)};
            char vm[16];
            (void)snprintf(vm, sizeof vm, "%u", id);
            request.vm = vm;
            rpc_client_start(c->client, &c->methods[fly_rng_below(&rng, 3)], &request.base,
                             &options, ending_note, &c->endings[id], NULL);
        }
        rpc_client_close(first);
        for (unsigned i = 0; i < 100; i++) {
            assert_int_equal(atomic_load(&c->endings[i].times), 1);
        }
        c->client = client_of((struct rpc_client_config){
            .urls = urls, .url_count = REPLICAS, .balance = RPC_ROUND_ROBIN});
        if (fly_rng_chance(&rng, 700)) {
            Fly__V1__StatusRequest request = FLY__V1__STATUS_REQUEST__INIT;
            struct rpc_reply reply;
            request.vm = "2";
            assert_int_equal(rpc_client_call(c->client, &plain, &request.base, NULL, &reply),
                             FLY_OK);
            rpc_reply_fini(&reply);
        }
    }
    crowd_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_closed),
    };
    plain_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
