/*
 * Tests of the dash's WebSockets: a real dash, and browsers that are bare sockets (dash_fixture.h).
 */
#include "tests/unit/dash_fixture.h"

#include "dash/core/frame.h"
#include "proto/wire/mp.h"

enum { MACHINES = 500 };

static struct dash *dash;
static uint8_t message[MESSAGE_MAX];

static int setup(void **state)
{
    struct dash_config config = fixture_config();
    (void)state;
    dash = fixture_dash(&config);
    fixture_feed(dash, MACHINES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dash_destroy(dash);
    return 0;
}

/* What a browser would know. */
struct view {
    uint8_t cells[4096];
    uint32_t seq;
    uint32_t frames;
    uint32_t gaps;
    uint32_t resyncs;
    uint32_t details; /* rows */
    unsigned closed;  /* with this code */
};

static bool map_has(const uint8_t *data, size_t size, const char *text)
{
    return memmem(data, size, text, strlen(text)) != NULL;
}

static void view_frame(struct view *v, const uint8_t *data, size_t size)
{
    struct fly_reader r = fly_reader_over(data, size);
    assert_int_equal(fly_get_u8(&r), 1);
    assert_int_equal(fly_get_u8(&r), 1);
    fly_get_u16(&r);
    uint32_t seq = fly_get_u32(&r);
    fly_get_u64(&r);
    uint32_t words = fly_get_u32(&r);
    uint32_t moves = fly_get_u32(&r);
    uint32_t tail = fly_get_u32(&r);
    assert_int_equal(size, DASH_FRAME_HEAD_BYTES + 4 * words + DASH_MOVE_BYTES * moves + tail);
    for (uint32_t i = 0; i < words; i++) {
        uint32_t word = fly_get_u32(&r);
        assert_true(word >> 8 < sizeof v->cells);
        v->cells[word >> 8] = (uint8_t)word;
    }
    for (uint32_t i = 0; i < moves; i++) {
        uint32_t index = fly_get_u32(&r);
        assert_true(index < sizeof v->cells);
        fly_get_u8(&r);
        v->cells[index] = fly_get_u8(&r);
        fly_get_u16(&r);
    }
    v->gaps += seq != v->seq + 1;
    v->seq = seq;
    v->frames++;
}

/* Takes one message in. */
static void view_take(struct view *v, struct browser *b)
{
    size_t size = 0;
    unsigned opcode = browser_hear(b, message, &size);
    if (opcode == 8) {
        v->closed = size >= 2 ? (unsigned)message[0] << 8 | message[1] : 1;
    } else if (opcode == 2 && message[0] == 1) {
        view_frame(v, message, size);
    } else if (opcode == 2 && message[0] == 2) {
        if (map_has(message, size, "hello")) {
            const uint8_t *at = memmem(message, size, "\xa3seq", 4);
            struct fly_reader r = fly_reader_over(at + 4, size - (size_t)(at + 4 - message));
            v->seq = (uint32_t)mp_get_uint(&r);
        } else if (map_has(message, size, "resync")) {
            v->resyncs++;
            v->seq = UINT32_MAX;
        } else {
            assert_true(map_has(message, size, "detail"));
            v->details++;
        }
    } else {
        assert_int_equal(opcode, 0);
        v->closed = v->closed == 0 ? 1 : v->closed;
    }
}

/* The picture as it is now, from the fleet. */
static void view_fetch(struct view *v)
{
    struct answer a;
    assert_int_equal(dash_ask(dash, "GET", "/v1/fleet", "Authorization: Bearer good\r\n", NULL, &a),
                     200);
    uint32_t count = fly_load_u32(a.body + 20);
    assert_true(count <= sizeof v->cells);
    memcpy(v->cells, a.body + 28, count);
    free(a.body);
}

static void test_hello(void **state)
{
    static const char *const words[] = {
        "hello",  "node-1",  "AMS",      "00112233445566778899aabbccddeeff",
        "ada",    "destroy", "seq",      "boot",
        "scopes", "pace_ms", FLY_VERSION};
    struct browser b = browser_open(dash, 0);
    size_t size = 0;
    (void)state;
    assert_int_equal(browser_hear(&b, message, &size), 2);
    assert_int_equal(message[0], 2);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(words); i++) {
        if (!map_has(message, size, words[i])) {
            fail_msg("%s is not in hello", words[i]);
        }
    }
    browser_hang_up(&b);
}

/* Two browsers see every frame, and the fleet's cells in the end. */
static void test_frames_have_no_gap(void **state)
{
    static struct view views[2];
    struct browser browsers[2];
    (void)state;
    memset(views, 0, sizeof views);
    for (int i = 0; i < 2; i++) {
        browsers[i] = browser_open(dash, 0);
        view_take(&views[i], &browsers[i]);
        view_fetch(&views[i]);
    }
    uint64_t seq = 0;
    for (int round = 0; round < 30; round++) {
        for (int k = 0; k < 50; k++) {
            seq++;
            fixture_event(dash, seq, (uint32_t)(seq * 7 % MACHINES), (uint32_t)(seq * 13 % 65));
        }
        for (int i = 0; i < 2; i++) {
            view_take(&views[i], &browsers[i]);
        }
    }
    /* A mark that is the last change: then both know all. */
    fixture_event(dash, ++seq, 3, 0);
    for (int i = 0; i < 2; i++) {
        while (views[i].cells[3] != (PICTURE_CELL_MACHINE | 31)) {
            view_take(&views[i], &browsers[i]);
        }
    }
    static struct view truth;
    view_fetch(&truth);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(views[i].gaps, 0);
        assert_int_equal(views[i].resyncs, 0);
        assert_memory_equal(views[i].cells, truth.cells, sizeof truth.cells);
        browser_hang_up(&browsers[i]);
    }
}

/* Nothing happens: a heartbeat. */
static void test_heartbeat(void **state)
{
    struct view v = {0};
    struct browser b = browser_open(dash, 0);
    (void)state;
    view_take(&v, &b);
    view_take(&v, &b);
    assert_int_equal(v.frames, 1);
    assert_int_equal(v.gaps, 0);
    browser_hang_up(&b);
}

/* One reads nothing while very much happens: it is told, the other loses nothing. */
static void test_slow_browser(void **state)
{
    static struct view slow;
    static struct view quick;
    struct browser s = browser_open(dash, 4096);
    struct browser q = browser_open(dash, 0);
    (void)state;
    memset(&slow, 0, sizeof slow);
    memset(&quick, 0, sizeof quick);
    view_take(&slow, &s);
    view_take(&quick, &q);
    uint64_t seq = 0;
    while (dash_counters(dash).resyncs == 0) {
        if (quick.frames > 5000) {
            fail_msg("the slow browser was never told");
        }
        for (int k = 0; k < 500; k++) {
            seq++;
            fixture_event(dash, seq, (uint32_t)(seq % MACHINES), (uint32_t)((seq / MACHINES) % 64));
        }
        view_take(&quick, &q);
        /* It reads again after a while, or its resync would never be written. */
        if (quick.frames > 120) {
            view_take(&slow, &s);
        }
    }
    while (slow.resyncs == 0) {
        view_take(&slow, &s);
    }
    assert_int_equal(slow.gaps, 0); /* until it was told */
    assert_int_equal(quick.gaps, 0);
    assert_int_equal(quick.resyncs, 0);
    view_fetch(&slow);
    fixture_event(dash, ++seq, 3, 0);
    uint32_t told = slow.frames;
    while (slow.cells[3] != (PICTURE_CELL_MACHINE | 31)) {
        view_take(&slow, &s);
    }
    assert_true(slow.frames > told);
    browser_hang_up(&s);
    browser_hang_up(&q);
}

static void test_look(void **state)
{
    struct view v = {0};
    struct browser b = browser_open(dash, 0);
    (void)state;
    view_take(&v, &b);
    browser_say(&b, "{\"t\":\"look\",\"machines\":[1,2,499,4000]}");
    while (v.details == 0) {
        view_take(&v, &b);
    }
    assert_true(map_has(message, sizeof message, "m499")); /* all at once, a hole left out */
    fixture_event(dash, 1, 2, 17);
    while (v.details == 1) {
        view_take(&v, &b);
    }
    size_t size = strlen((const char *)message + 2);
    (void)size;
    assert_true(map_has(message, 64, "\xa2m2"));
    assert_false(map_has(message, 64, "m499"));
    browser_say(&b, "{\"t\":\"look\",\"machines\":[]}");
    browser_say(&b, "{\"t\":\"pause\"}");
    browser_say(&b, "{\"t\":\"resume\"}");
    while (v.resyncs == 0) {
        view_take(&v, &b);
    }
    fixture_event(dash, 2, 2, 18);
    uint32_t frames = v.frames;
    for (uint64_t i = 0; v.frames < frames + 2; i++) {
        fixture_event(dash, 3 + i, 2, 19 + (uint32_t)i);
        view_take(&v, &b);
    }
    assert_int_equal(v.details, 2);
    browser_hang_up(&b);
}

/* A message in parts, with a ping between them. */
static void test_message_in_parts(void **state)
{
    struct view v = {0};
    struct browser b = browser_open(dash, 0);
    (void)state;
    view_take(&v, &b);
    browser_say_as(&b, 1, false, "{\"t\":\"look\",", 12);
    browser_say_as(&b, 0, false, "\"machines\":", 11);
    browser_say_as(&b, 0, true, "[7]}", 4);
    while (v.details == 0) {
        view_take(&v, &b);
    }
    /* and one that libwebsockets hands on in pieces */
    static char text[8000];
    int size = snprintf(text, sizeof text, "{\"t\":\"look\",\"machines\":[");
    for (int i = 0; i < 512; i++) {
        size +=
            snprintf(text + size, sizeof text - (size_t)size, "%s%d", i > 0 ? "," : "", i % 400);
    }
    snprintf(text + size, sizeof text - (size_t)size, "]%*s}", 5000, "");
    browser_say(&b, text);
    while (v.details == 1) {
        view_take(&v, &b);
    }
    browser_hang_up(&b);
}

static void test_garbage_closes(void **state)
{
    static char large[9000];
    static char many[9000];
    static const struct {
        const char *what;
        const char *text;
        uint8_t opcode;
    } cases[] = {
        {"not JSON", "hello", 1},
        {"empty", "", 1},
        {"an unknown word", "{\"t\":\"dance\"}", 1},
        {"no word", "{\"machines\":[1]}", 1},
        {"a key too many", "{\"t\":\"pause\",\"x\":1}", 1},
        {"a key twice", "{\"t\":\"pause\",\"t\":\"pause\"}", 1},
        {"no machines", "{\"t\":\"look\"}", 1},
        {"a machine that is no number", "{\"t\":\"look\",\"machines\":[\"1\"]}", 1},
        {"half a machine", "{\"t\":\"look\",\"machines\":[0.5]}", 1},
        {"below zero", "{\"t\":\"look\",\"machines\":[-1]}", 1},
        {"beyond all", "{\"t\":\"look\",\"machines\":[1048576]}", 1},
        {"513 machines", many, 1},
        {"too large", large, 1},
        {"binary", "{\"t\":\"pause\"}", 2},
        {"not UTF-8", "{\"t\":\"pau\xff\xfe\"}", 1},
        {"a second document", "{\"t\":\"pause\"}{\"t\":\"pause\"}", 1},
    };
    (void)state;
    memset(large, ' ', sizeof large - 1);
    memcpy(large, "{\"t\":\"pause\"}", 13);
    size_t size = (size_t)snprintf(many, sizeof many, "{\"t\":\"look\",\"machines\":[0");
    for (int i = 0; i < 512; i++) {
        size += (size_t)snprintf(many + size, sizeof many - size, ",1");
    }
    snprintf(many + size, sizeof many - size, "]}");
    struct browser other = browser_open(dash, 0);
    struct view seen = {0};
    view_take(&seen, &other);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        struct view v = {0};
        struct browser b = browser_open(dash, 0);
        browser_say_as(&b, cases[i].opcode, true, cases[i].text, strlen(cases[i].text));
        while (v.closed == 0) {
            view_take(&v, &b);
        }
        if (v.closed != 1008) {
            fail_msg("%s: %u", cases[i].what, v.closed);
        }
        browser_hang_up(&b);
    }
    fixture_event(dash, 1, 2, 18);
    view_take(&seen, &other); /* it does not notice */
    assert_int_equal(seen.frames, 1);
    browser_hang_up(&other);
}

static void test_too_many_messages(void **state)
{
    struct view v = {0};
    struct browser b = browser_open(dash, 0);
    (void)state;
    /* All of them within one second, or the dash would be right to take them: three times as many.
     */
    for (int i = 0; i < 200; i++) {
        uint8_t head[6] = {0x81, 0x80 | 13};
        if (send(b.fd, head, sizeof head, MSG_NOSIGNAL) < 0 ||
            send(b.fd, "{\"t\":\"pause\"}", 13, MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    while (v.closed == 0) {
        view_take(&v, &b);
    }
    assert_true(v.closed == 1008 ||
                v.closed == 1); /* what it sent later may reset the connection */
    browser_hang_up(&b);
}

static void test_who_may_open(void **state)
{
    static const struct {
        const char *what;
        const char *path;
        const char *headers;
        unsigned status;
    } cases[] = {
        {"nobody", "/v1/live", "", 401},
        {"bad", "/v1/live", "Authorization: Bearer bad\r\n", 401},
        {"no scope", "/v1/live", "Authorization: Bearer plain\r\n", 403},
        {"another path", "/v1/other", "Authorization: Bearer good\r\n", 404},
        {"a page", "/", "Authorization: Bearer good\r\n", 404},
        {"a token in the path", "/v1/live?token=good", "", 401},
        {"good", "/v1/live", "Authorization: Bearer good\r\n", 101},
    };
    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        struct browser b = browser_dial(dash, 0);
        unsigned status = browser_upgrade(&b, cases[i].path, cases[i].headers);
        if (status != cases[i].status) {
            fail_msg("%s: %u", cases[i].what, status);
        }
        browser_hang_up(&b);
    }
}

static void test_token_expires(void **state)
{
    struct view v = {0};
    struct browser b = browser_dial(dash, 0);
    (void)state;
    assert_int_equal(browser_upgrade(&b, "/v1/live", "Authorization: Bearer soon\r\n"), 101);
    while (v.closed == 0) {
        view_take(&v, &b);
    }
    assert_int_equal(v.closed, 4401);
    browser_hang_up(&b);
}

static void test_sign_out_closes(void **state)
{
    char cookie[256];
    char headers[512];
    struct view v = {0};
    struct view w = {0};
    (void)state;
    dash_sign_in(dash, "good", cookie, sizeof cookie);
    snprintf(headers, sizeof headers, "%sOrigin: http://dash.test:7403\r\n", cookie);
    struct browser b = browser_dial(dash, 0);
    assert_int_equal(browser_upgrade(&b, "/v1/live", headers), 101);
    struct browser other = browser_open(dash, 0);
    assert_int_equal(dash_ask(dash, "DELETE", "/v1/session", headers, NULL, NULL), 204);
    while (v.closed == 0) {
        view_take(&v, &b);
    }
    assert_int_equal(v.closed, 4401);
    fixture_event(dash, 1, 2, 18);
    view_take(&w, &other);
    view_take(&w, &other);
    assert_int_equal(w.closed, 0);
    browser_hang_up(&b);
    browser_hang_up(&other);
}

static void test_goodbye(void **state)
{
    struct dash_config config = fixture_config();
    struct view v = {0};
    (void)state;
    struct dash *other = fixture_dash(&config);
    struct browser b = browser_open(other, 0);
    view_take(&v, &b);
    dash_destroy(other);
    while (v.closed == 0) {
        view_take(&v, &b);
    }
    assert_int_equal(v.closed, 1001);
    browser_hang_up(&b);
}

/* Members are told when one changed, and not when one only answered a little later. */
static void test_members(void **state)
{
    struct dash_member members[2] = {
        {.name = "node-1", .state = "alive", .self = true, .serving = true},
        {.name = "node-2", .state = "alive", .serving = true, .rtt_us = 1000},
    };
    struct view v = {0};
    struct browser b = browser_open(dash, 0);
    (void)state;
    view_take(&v, &b);
    dash_set_members(dash, members, 2);
    do {
        memset(message, 0, 4096);
        view_take(&v, &b);
    } while (!map_has(message, 4096, "node-2"));
    members[1].rtt_us = 1100;
    dash_set_members(dash, members, 2);
    dash_set_members(dash, members, 2);
    memset(message, 0, 4096);
    fixture_event(dash, 1, 2, 18);
    view_take(&v, &b);
    assert_false(map_has(message, 4096, "node-2"));
    snprintf(members[1].state, sizeof members[1].state, "suspect");
    dash_set_members(dash, members, 2);
    do {
        memset(message, 0, 4096);
        view_take(&v, &b);
    } while (!map_has(message, 4096, "suspect"));
    assert_int_equal(v.gaps, 0);
    browser_hang_up(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hello, setup, teardown),
        cmocka_unit_test_setup_teardown(test_frames_have_no_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_heartbeat, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_browser, setup, teardown),
        cmocka_unit_test_setup_teardown(test_look, setup, teardown),
        cmocka_unit_test_setup_teardown(test_message_in_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many_messages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_may_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_token_expires, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sign_out_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_goodbye, setup, teardown),
        cmocka_unit_test_setup_teardown(test_members, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
