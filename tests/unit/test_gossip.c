/* gossip: one machine against words made by hand. Many machines together: tests/simgossip. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gossip_fixture.h"

#define ALL 0xfffu

/* Peers 1..n known and alive, nothing waiting to be sent. */
static struct fixture *with_peers(int n)
{
    struct fixture *f = fixture_create();

    for (int i = 1; i <= n; i++) {
        say_full(f, i);
        assert_int_equal(state_of(f, i), GOSSIP_ALIVE);
    }
    pass(f, 3000, ALL);
    (void)drain(f);
    return f;
}

static const struct gossip_counters *counters(const struct fixture *f)
{
    return gossip_counters(f->g);
}

/* 9: the exact time, by the number of witnesses and by what they saw. */
static void test_suspicion_times(void **state)
{
    const struct {
        const char *what;
        int witnesses;
        enum packet_evidence evidence;
        bool twice;      /* all say it again, which must not count */
        int64_t dead_ms; /* 0: never */
    } cases[] = {
        {"one witness is none, while others could be one", 1, PACKET_SILENT, true, 0},
        {"one who was refused is none either", 1, PACKET_DOWN, true, 0},
        {"two, silent", 2, PACKET_SILENT, false, 7500},
        {"two, silent, repeated", 2, PACKET_SILENT, true, 7500},
        {"three, silent", 3, PACKET_SILENT, false, 7208},
        {"four, silent", 4, PACKET_SILENT, false, 7000},
        {"five are as good as four", 5, PACKET_SILENT, false, 7000},
        {"two who were refused", 2, PACKET_DOWN, false, 1000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture *f = with_peers(7);
        int64_t start_ms = f->now_ms;
        for (int turn = 0; turn < (cases[i].twice ? 3 : 1); turn++) {
            for (int w = 0; w < cases[i].witnesses; w++) {
                say_accusation(f, 2 + w, 2 + w, 1, cases[i].evidence);
            }
        }
        if (state_of(f, 1) != GOSSIP_SUSPECT) {
            fail_msg("%s: not suspect", cases[i].what);
        }
        /* everybody answers us, the accused too: we are no witness ourselves */
        while (state_of(f, 1) == GOSSIP_SUSPECT && f->now_ms < start_ms + 30000) {
            pass(f, 10, ALL);
        }
        int64_t took_ms = state_of(f, 1) == GOSSIP_DEAD ? f->now_ms - start_ms : 0;
        if (took_ms < cases[i].dead_ms || took_ms > cases[i].dead_ms + 10) {
            fail_msg("%s: %lld ms", cases[i].what, (long long)took_ms);
        }
        fixture_destroy(f);
    }
}

/* Two members: the other alone can be the witness. Three: one is not enough. */
static void test_few_members(void **state)
{
    (void)state;
    struct fixture *f = with_peers(1);
    pass(f, 11000, 0);
    assert_int_equal(state_of(f, 1), GOSSIP_DEAD);
    fixture_destroy(f);

    f = with_peers(2);
    pass(f, 12000, 1 << 2); /* 2 answers, and never accuses */
    assert_int_equal(state_of(f, 1), GOSSIP_SUSPECT);
    assert_int_equal(state_of(f, 2), GOSSIP_ALIVE);
    pass(f, 30000, 0); /* now nobody is left who could */
    assert_int_equal(state_of(f, 1), GOSSIP_DEAD);
    assert_int_equal(state_of(f, 2), GOSSIP_DEAD);
    fixture_destroy(f);
}

/* A refusal ends the probe at once; two refusals and no helper: down. */
static void test_refused(void **state)
{
    (void)state;
    struct fixture *f = with_peers(1);
    gossip_hint_refused(f->g, &f->peers[1].address, fixture_now(f)); /* starts a probe */
    gossip_hint_refused(f->g, &f->peers[1].address, fixture_now(f)); /* of the PING */
    assert_int_equal(state_of(f, 1), GOSSIP_ALIVE);
    gossip_hint_refused(f->g, &f->peers[1].address, fixture_now(f)); /* of the second */
    assert_int_equal(state_of(f, 1), GOSSIP_SUSPECT);
    pass(f, 980, 0);
    assert_int_equal(state_of(f, 1), GOSSIP_SUSPECT);
    pass(f, 40, 0);
    assert_int_equal(state_of(f, 1), GOSSIP_DEAD);
    fixture_destroy(f);
}

/* 7: a new version for an accusation of the present claim, and none for others. */
static void test_refute(void **state)
{
    (void)state;
    struct fixture *f = with_peers(3);
    const struct gossip_member *me = gossip_find(f->g, &f->peers[ME].credential.id);
    uint32_t version = me->version;
    f->peers[ME].version = version;
    say_accusation(f, 1, 1, ME, PACKET_SILENT);
    assert_int_equal(me->version, version + 1);
    assert_int_equal(counters(f)->refutations, 1);
    say_accusation(f, 1, 1, ME, PACKET_SILENT); /* of the old claim */
    assert_int_equal(me->version, version + 1);
    f->peers[ME].version = version + 1;
    struct packet_accusation said = peer_accusation(f, 1, ME, PACKET_SILENT);
    said.signature[0] ^= 1;
    struct letter l = letter_begin(f, PACKET_RECORDS, 1, 0);
    l.w.data = l.plain;
    fly_put_u64(&l.w, 0);
    assert_true(packet_accusation_put(&l.w, &said));
    letter_send(f, &l);
    assert_int_equal(me->version, version + 1);
    assert_int_equal(counters(f)->refused_signature, 1);
    fixture_destroy(f);
}

static bool ack_has_claim(struct sent *s)
{
    struct packet_record record;
    struct packet_claim claim;

    packet_body_skip(&s->header, &s->body);
    while (packet_record_next(&s->body, &record)) {
        if (record.kind == PACKET_CLAIM && packet_claim_decode(record.bytes, &claim) &&
            node_id_equal(&claim.id, &s->header.from)) {
            return true;
        }
    }
    return false;
}

/* 8: a PING that accuses is answered with the claim that refutes. */
static void test_buddy(void **state)
{
    (void)state;
    struct fixture *f = with_peers(3);
    struct sent s;
    f->peers[ME].version = gossip_find(f->g, &f->peers[ME].credential.id)->version;
    struct packet_accusation said = peer_accusation(f, 1, ME, PACKET_SILENT);
    struct letter l = letter_begin(f, PACKET_PING, 1, PACKET_MAC);
    l.w.data = l.plain;
    fly_put_u64(&l.w, 77);
    fly_put_u64(&l.w, 0);
    assert_true(packet_accusation_put(&l.w, &said));
    letter_send(f, &l);
    assert_true(next_of(f, PACKET_ACK, &s));
    struct sent copy = s;
    assert_int_equal(fly_get_u64(&copy.body), 77);
    assert_true(ack_has_claim(&s));
    /* and our PING of a suspect tells it what it is accused of */
    say_accusation(f, 2, 2, 1, PACKET_SILENT); /* of three, all look for themselves */
    assert_true(next_of(f, PACKET_PING, &s));
    packet_body_skip(&s.header, &s.body);
    struct packet_record record;
    assert_true(packet_record_next(&s.body, &record));
    assert_int_equal(record.kind, PACKET_ACCUSATION);
    fixture_destroy(f);
}

/* Nobody answers for another; old and repeated packets are nothing. */
static void test_macs(void **state)
{
    (void)state;
    struct fixture *f = with_peers(3);
    struct sent s;
    uint8_t sealed[GOSSIP_PACKET_MAX];

    say_ping(f, 1, 1, 5);
    assert_true(next_of(f, PACKET_ACK, &s));
    uint64_t before = counters(f)->refused_mac;
    say_ping(f, 1, 2, 6); /* 2's key, 1's name */
    assert_false(next_of(f, PACKET_ACK, &s));
    assert_int_equal(counters(f)->refused_mac, before + 1);

    struct letter l = letter_begin(f, PACKET_PING, 1, PACKET_MAC);
    l.w.data = l.plain;
    fly_put_u64(&l.w, 7);
    fly_put_u64(&l.w, 0);
    size_t size = letter_seal(f, &l, 1, sealed);
    for (int turn = 0; turn < 3; turn++) {
        gossip_receive(f->g, &f->peers[1].address, sealed, size, fixture_now(f));
        assert_int_equal(next_of(f, PACKET_ACK, &s), turn == 0);
    }
    assert_int_equal(counters(f)->refused_replay, 2);
    for (int i = 0; i < 70; i++) { /* far behind the window: old, though never seen */
        say_ping(f, 1, 1, 8);
    }
    f->peers[1].sequence -= 69;
    before = counters(f)->refused_replay;
    say_ping(f, 1, 1, 9);
    assert_int_equal(counters(f)->refused_replay, before + 1);

    /* An ACK by another member's key does not save the probed one. */
    gossip_hint_down(f->g, &f->peers[3].credential.id, fixture_now(f));
    assert_true(next_of(f, PACKET_PING, &s));
    uint64_t nonce = fly_get_u64(&s.body);
    int64_t heard_ms = gossip_find(f->g, &f->peers[3].credential.id)->heard_ms;
    f->now_ms += 5;
    say_ack(f, 3, 2, nonce);
    assert_int_equal(gossip_find(f->g, &f->peers[3].credential.id)->heard_ms, heard_ms);
    say_ack(f, 3, 3, nonce);
    assert_int_equal(gossip_find(f->g, &f->peers[3].credential.id)->heard_ms, f->now_ms);
    fixture_destroy(f);
}

/* Claims: newer ones count, older and forged ones do not. */
static void test_claims(void **state)
{
    (void)state;
    struct fixture *f = with_peers(2);
    const struct gossip_member *m = gossip_find(f->g, &f->peers[1].credential.id);

    f->peers[1].version = 5;
    say_claim(f, 2, 1, false); /* from whom does not matter */
    assert_int_equal(m->version, 5);
    f->peers[1].version = 4;
    say_claim(f, 1, 1, true);
    assert_int_equal(m->version, 5);
    assert_int_equal(m->state, GOSSIP_ALIVE);
    f->peers[1].version = 6;
    struct node_keys own = f->peers[1].keys;
    f->peers[1].keys = f->peers[2].keys; /* 2 says that 1 left */
    say_claim(f, 2, 1, true);
    f->peers[1].keys = own;
    assert_int_equal(m->state, GOSSIP_ALIVE);
    assert_int_equal(counters(f)->refused_signature, 1);
    say_claim(f, 2, 1, true);
    assert_int_equal(m->state, GOSSIP_LEFT);
    f->peers[1].generation = 2; /* back */
    f->peers[1].version = 1;
    say_claim(f, 2, 1, false);
    assert_int_equal(m->state, GOSSIP_ALIVE);
    fixture_destroy(f);
}

/* 12: who is not known is asked about, once in a while, from who named it. */
static void test_pull(void **state)
{
    (void)state;
    struct fixture *f = with_peers(2);
    struct sent s;

    say_accusation(f, 1, 1, 5, PACKET_SILENT);
    assert_true(next_of(f, PACKET_PULL, &s));
    assert_true(memcmp(&s.to, &f->peers[1].address, sizeof s.to) == 0);
    assert_int_equal(fly_get_u8(&s.body), 1);
    assert_memory_equal(fly_get_bytes(&s.body, NODE_ID_SIZE), f->peers[5].credential.id.bytes,
                        NODE_ID_SIZE);
    say_claim(f, 1, 5, false);
    assert_false(next_of(f, PACKET_PULL, &s));
    assert_int_equal(state_of(f, 5), 0); /* a claim without a credential is nobody */
    say_full(f, 5);
    assert_int_equal(state_of(f, 5), GOSSIP_ALIVE);

    /* and we answer who asks us */
    (void)drain(f);
    struct letter l = letter_begin(f, PACKET_PULL, 1, PACKET_MAC);
    l.w.data = l.plain;
    fly_put_u8(&l.w, 1);
    fly_put_bytes(&l.w, f->peers[5].credential.id.bytes, NODE_ID_SIZE);
    letter_send(f, &l);
    assert_true(next_of(f, PACKET_RECORDS, &s));
    fixture_destroy(f);
}

/* Nobody comes in without the CA's word, nor with that of another cluster. */
static void test_credentials(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct credential good = f->peers[1].credential;

    f->peers[1].credential.roles ^= NODE_ROLE_EDGE;
    say_full(f, 1);
    f->peers[1].credential = good;
    f->peers[1].credential.admission.signature[3] ^= 1;
    say_full(f, 1);
    f->peers[1].credential = f->peers[2].credential; /* another's, with a claim of ours */
    say_full(f, 1);
    assert_int_equal(gossip_member_count(f->g), 1);
    assert_true(counters(f)->refused_credential >= 2);
    f->peers[1].credential = good;
    say_full(f, 1);
    assert_int_equal(state_of(f, 1), GOSSIP_ALIVE);
    fixture_destroy(f);
}

/* 10: missed nacks, no helper, success, and its ends. */
static void test_health(void **state)
{
    (void)state;
    struct fixture *f = with_peers(4);

    assert_int_equal(gossip_health(f->g), 0);
    pass(f, 1500, 0); /* nobody answers, no helper says no: we are the deaf one */
    assert_true(gossip_health(f->g) >= 2);
    pass(f, 20000, 0);
    assert_int_equal(gossip_health(f->g), 4);
    pass(f, 30000, ALL);
    assert_int_equal(gossip_health(f->g), 0);
    fixture_destroy(f);
}

/* A helper forwards what it cannot read, and says no when it hears nothing. */
static void test_helper(void **state)
{
    (void)state;
    struct fixture *f = with_peers(3);
    struct sent s;
    uint8_t inner[SEAL_OVERHEAD + 200] = {0};
    struct packet_header h = {.type = PACKET_PING,
                              .flags = PACKET_MAC | PACKET_RELAYED,
                              .from = f->peers[1].credential.id,
                              .to = f->peers[2].credential.id};
    struct fly_writer w = fly_writer_over(inner, 200);

    packet_header_put(&w, &h);
    fly_put_u64(&w, 4242);
    fly_put_u64(&w, 0);
    fly_put_u64(&w, 0xabcdef); /* a MAC that only 1 and 2 can judge */
    for (int turn = 0; turn < 2; turn++) {
        struct letter l = letter_begin(f, PACKET_ASK, 1, PACKET_MAC);
        l.w.data = l.plain;
        fly_put_u64(&l.w, 4242);
        fly_put_u16(&l.w, (uint16_t)w.size);
        fly_put_bytes(&l.w, inner, w.size);
        letter_send(f, &l);
        assert_true(take_sent(f, &s));
        assert_int_equal(s.size, w.size);
        assert_memory_equal(s.plain, inner, w.size);
        assert_true(memcmp(&s.to, &f->peers[2].address, sizeof s.to) == 0);
        if (turn == 0) { /* the answer goes back, byte for byte */
            struct letter ack = letter_begin(f, PACKET_ACK, 2, 0);
            memcpy(ack.plain + 3 + NODE_ID_SIZE + 8, f->peers[1].credential.id.bytes, NODE_ID_SIZE);
            ack.w.data = ack.plain;
            fly_put_u64(&ack.w, 4242);
            fly_put_u64(&ack.w, 0);
            fly_put_u64(&ack.w, 0);
            letter_send(f, &ack);
            assert_true(take_sent(f, &s));
            assert_int_equal(s.header.type, PACKET_ACK);
            assert_true(memcmp(&s.to, &f->peers[1].address, sizeof s.to) == 0);
        } else {
            f->now_ms += 210;
            gossip_tick(f->g, fixture_now(f));
            assert_true(next_of(f, PACKET_NACK, &s));
            assert_int_equal(fly_get_u64(&s.body), 4242);
        }
    }
    fixture_destroy(f);
}

/* A full table makes room of the dead, and of nobody else. Identities past PEERS are not needed:
 * the table is made small. */
static void test_full(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct gossip_config config = fixture_config(f);
    struct gossip_event event;

    config.members_max = 3;
    gossip_fini(f->g);
    memset(f->memory, 0, gossip_size(MEMBERS_MAX));
    f->g = gossip_init(f->memory, &config, fixture_now(f));
    say_full(f, 1);
    say_full(f, 2);
    say_full(f, 3);
    assert_int_equal(gossip_member_count(f->g), 3);
    assert_int_equal(counters(f)->refused_full, 1);
    f->peers[1].version = 2;
    say_claim(f, 1, 1, true);
    while (gossip_next_event(f->g, &event)) {
    }
    say_full(f, 3);
    assert_int_equal(state_of(f, 3), GOSSIP_ALIVE);
    assert_int_equal(state_of(f, 1), 0);
    bool gone = false;
    while (gossip_next_event(f->g, &event)) {
        gone |=
            event.kind == GOSSIP_EVENT_GONE && node_id_equal(&event.id, &f->peers[1].credential.id);
    }
    assert_true(gone);
    f->peers[1].version = 1;
    say_full(f, 1); /* what was forgotten stays so */
    assert_int_equal(state_of(f, 1), 0);
    fixture_destroy(f);
}

static void test_events(void **state)
{
    (void)state;
    struct fixture *f = fixture_create();
    struct gossip_event event;

    assert_false(gossip_next_event(f->g, &event));
    say_full(f, 1);
    say_accusation(f, 1, 1, 2, PACKET_SILENT); /* of nobody */
    assert_true(gossip_next_event(f->g, &event));
    assert_int_equal(event.kind, GOSSIP_EVENT_CHANGED);
    assert_int_equal(event.was, 0);
    assert_false(gossip_next_event(f->g, &event));
    say_full(f, 2);
    (void)gossip_next_event(f->g, &event);
    say_accusation(f, 2, 2, 1, PACKET_SILENT);
    f->peers[1].version = 2;
    say_claim(f, 1, 1, true); /* alive, suspect, left: one event */
    assert_true(gossip_next_event(f->g, &event));
    assert_int_equal(event.was, GOSSIP_ALIVE);
    assert_int_equal(state_of(f, 1), GOSSIP_LEFT);
    assert_false(gossip_next_event(f->g, &event));
    pass(f, 2100, ALL);
    bool settled = false;
    while (gossip_next_event(f->g, &event)) {
        settled |= event.kind == GOSSIP_EVENT_SETTLED && event.joined;
    }
    assert_true(settled);
    fixture_destroy(f);
}

static void test_meta(void **state)
{
    (void)state;
    struct fixture *f = with_peers(2);
    struct gossip_meta meta = fixture_meta(ME);
    const struct gossip_member *me = gossip_find(f->g, &f->peers[ME].credential.id);
    uint32_t version = me->version;

    gossip_set_meta(f->g, &meta, fixture_now(f));
    assert_int_equal(me->version, version);
    meta.serving = false;
    gossip_set_meta(f->g, &meta, fixture_now(f));
    assert_int_equal(me->version, version + 1);
    uint64_t before = counters(f)->updates_out;
    pass(f, 5000, ALL);
    uint64_t after = counters(f)->updates_out;
    assert_in_range(after - before, 1, 8);
    pass(f, 20000, ALL);
    assert_int_equal(counters(f)->updates_out, after); /* I7 */
    fixture_destroy(f);
}

/* 11: a claim in our name from a life that we forgot: we go above it. */
static void test_own_claims(void **state)
{
    (void)state;
    struct fixture *f = with_peers(2);
    const struct gossip_member *me = gossip_find(f->g, &f->peers[ME].credential.id);
    struct gossip_event event;

    f->peers[ME].generation = 9;
    f->peers[ME].version = 4;
    f->peers[ME].boot = 555;
    say_claim(f, 1, ME, false);
    assert_int_equal(me->generation, 10);
    f->peers[ME].generation = 3; /* an old one: told again, not raised */
    uint32_t version = me->version;
    struct sent s;
    (void)drain(f);
    f->now_ms += 200;
    say_claim(f, 1, ME, false);
    assert_int_equal(me->generation, 10);
    assert_int_equal(me->version, version);
    assert_true(next_of(f, PACKET_RECORDS, &s));
    struct node_keys own = f->peers[ME].keys;
    f->peers[ME].generation = 50;
    f->peers[ME].keys = f->peers[1].keys; /* forged */
    say_claim(f, 1, ME, false);
    f->peers[ME].keys = own;
    assert_int_equal(me->generation, 10);
    pass(f, 5000, ALL);
    while (gossip_next_event(f->g, &event)) {
        assert_int_not_equal(event.kind, GOSSIP_EVENT_TWIN); /* nobody answered there */
    }
    fixture_destroy(f);
}

/* 31 */
static void test_stall(void **state)
{
    (void)state;
    struct fixture *f = with_peers(3);

    f->now_ms += 4000;
    pass(f, 1000, 0); /* nothing is heard yet, but who stood still is in doubt of itself */
    assert_int_equal(counters(f)->stalls, 1);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(state_of(f, i), GOSSIP_ALIVE);
    }
    pass(f, 4000, 0); /* not for ever */
    assert_true(state_of(f, 1) == GOSSIP_SUSPECT || state_of(f, 2) == GOSSIP_SUSPECT ||
                state_of(f, 3) == GOSSIP_SUSPECT);
    fixture_destroy(f);
}

static void test_there(void **state)
{
    (void)state;
    struct fixture *f = with_peers(4);

    say_accusation(f, 2, 2, 1, PACKET_SILENT);
    say_accusation(f, 3, 3, 1, PACKET_SILENT);
    for (int i = 0; i < 45; i++) {
        gossip_hint_there(f->g, &f->peers[1].credential.id, fixture_now(f));
        pass(f, 1000, ALL);
        assert_int_equal(state_of(f, 1), GOSSIP_SUSPECT);
    }
    pass(f, 3500, ALL); /* the last hint holds no longer */
    assert_int_equal(state_of(f, 1), GOSSIP_DEAD);

    say_accusation(f, 2, 2, 4, PACKET_DOWN);
    say_accusation(f, 3, 3, 4, PACKET_DOWN);
    gossip_hint_there(f->g, &f->peers[4].credential.id, fixture_now(f));
    pass(f, 1100, ALL); /* two were refused: that somebody has the RPC port means nothing */
    assert_int_equal(state_of(f, 4), GOSSIP_DEAD);
    fixture_destroy(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suspicion_times), cmocka_unit_test(test_few_members),
        cmocka_unit_test(test_refused),         cmocka_unit_test(test_refute),
        cmocka_unit_test(test_buddy),           cmocka_unit_test(test_macs),
        cmocka_unit_test(test_claims),          cmocka_unit_test(test_pull),
        cmocka_unit_test(test_credentials),     cmocka_unit_test(test_health),
        cmocka_unit_test(test_helper),          cmocka_unit_test(test_full),
        cmocka_unit_test(test_events),          cmocka_unit_test(test_meta),
        cmocka_unit_test(test_own_claims),      cmocka_unit_test(test_stall),
        cmocka_unit_test(test_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
