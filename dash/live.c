#include "dash/live.h"

#include <stdlib.h>
#include <string.h>

#include "dash/live_internal.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { CLOSING_S = 5 }; /* for one that takes no bytes */

/* libwebsockets has a kind of write for close frames and does not name it: the hole in its enum. */
#define WRITE_CLOSE ((enum lws_write_protocol)4)

struct live *live_create(struct server *server)
{
    struct live *live = calloc(1, sizeof *live);
    FLY_CHECK(live != NULL);
    live->server = server;
    fly_list_init(&live->browsers);
    live_flush_init(live);
    return live;
}

void live_destroy(struct live *live)
{
    FLY_CHECK(fly_list_empty(&live->browsers));
    live_flush_fini(live);
    free(live);
}

uint32_t live_browsers(const struct live *live)
{
    return live->count;
}

uint32_t live_seq(const struct live *live)
{
    return live->seq;
}

struct live_browser *live_open(struct live *live, struct lws *wsi, const struct dash_who *who,
                               const uint8_t *session_hash)
{
    struct live_browser *browser = calloc(1, sizeof *browser);
    FLY_CHECK(browser != NULL);
    browser->wsi = wsi;
    browser->who = *who;
    browser->hello_due = true;
    if (session_hash != NULL) {
        browser->by_session = true;
        memcpy(browser->session, session_hash, sizeof browser->session);
    }
    fly_list_append(&live->browsers, &browser->link);
    live->count++;
    atomic_store(&live->server->browsers, live->count);
    lws_callback_on_writable(wsi);
    return browser;
}

static void look_free(struct live *live, struct live_browser *browser)
{
    if (browser->look != NULL) {
        live->lookers--;
        free(browser->look);
        browser->look = NULL;
    }
}

void live_close(struct live *live, struct live_browser *browser)
{
    fly_list_drop(&browser->link);
    live->count--;
    atomic_store(&live->server->browsers, live->count);
    if (browser->sending != NULL) {
        live_frame_drop(browser->sending);
    }
    look_free(live, browser);
    free(browser->text);
    free(browser);
    server_gone(live->server);
}

/* It is told and closed when next it can be written to. */
void live_end(struct live_browser *browser, uint16_t code, const char *why)
{
    if (browser->close_code == 0) {
        browser->close_code = code;
        browser->close_why = why;
        lws_callback_on_writable(browser->wsi);
    }
}

void live_goodbye(struct live *live)
{
    for (struct fly_list *at = live->browsers.next; at != &live->browsers; at = at->next) {
        live_end(FLY_CONTAINER(at, struct live_browser, link), LWS_CLOSE_STATUS_GOINGAWAY,
                 "the dash ends");
    }
}

void live_sign_out(struct live *live, const uint8_t *session_hash)
{
    for (struct fly_list *at = live->browsers.next; at != &live->browsers; at = at->next) {
        struct live_browser *browser = FLY_CONTAINER(at, struct live_browser, link);
        if (browser->by_session &&
            memcmp(browser->session, session_hash, sizeof browser->session) == 0) {
            live_end(browser, LIVE_CLOSE_EXPIRED, "signed out");
        }
    }
}

void live_second(struct live *live, int64_t wall_ms)
{
    struct dash_state *state = live->server->state;
    pthread_mutex_lock(&state->lock);
    dash_state_tick(state, fly_clock_boot_ms());
    bool news = picture_has_dirty(state->picture);
    pthread_mutex_unlock(&state->lock);
    if (news) {
        live_wake(live);
    }
    struct fly_list *at = live->browsers.next;
    while (at != &live->browsers) {
        struct live_browser *browser = FLY_CONTAINER(at, struct live_browser, link);
        at = at->next;
        browser->said = 0;
        if (browser->who.expires_ms <= wall_ms) {
            live_end(browser, LIVE_CLOSE_EXPIRED, "the token has expired");
        }
        if (browser->close_code != 0 && ++browser->closing_s > CLOSING_S) {
            lws_set_timeout(browser->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
        }
    }
}

void live_bound_held(struct live *live)
{
    if (live->held_bytes <= LIVE_HELD_BYTES_MAX) {
        return;
    }
    struct fly_list *at = live->browsers.next;
    while (at != &live->browsers) {
        struct live_browser *browser = FLY_CONTAINER(at, struct live_browser, link);
        at = at->next;
        if (browser->sending != NULL && !browser->sending->in_ring) {
            lws_set_timeout(browser->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
        }
    }
}

/* --- what a browser says --- */

static void look(struct live *live, struct live_browser *browser, const struct live_message *m)
{
    if (m->count == 0) {
        look_free(live, browser);
        return;
    }
    if (browser->look == NULL) {
        browser->look = malloc(sizeof *browser->look);
        FLY_CHECK(browser->look != NULL);
        live->lookers++;
    }
    struct live_look *now = browser->look;
    now->count = m->count;
    memcpy(now->machines, m->machines, m->count * sizeof m->machines[0]);
    memset(now->due, 0, sizeof now->due);
    for (uint32_t i = 0; i < m->count; i++) {
        now->due[i / 64] |= UINT64_C(1) << i % 64;
    }
}

static bool hear(struct live *live, struct live_browser *browser, const char *text, size_t size)
{
    struct live_message message;
    if (++browser->said > LIVE_MESSAGES_A_SECOND_MAX ||
        !live_message_decode(text, size, &message)) {
        return false;
    }
    switch (message.kind) {
    case LIVE_LOOK:
        look(live, browser, &message);
        break;
    case LIVE_PAUSE:
        browser->paused = true;
        break;
    case LIVE_RESUME:
        if (browser->paused) {
            browser->paused = false;
            browser->resync_why = "paused";
        }
        break;
    }
    lws_callback_on_writable(browser->wsi);
    return true;
}

/* A close frame of our own making: when a writable callback asks libwebsockets 4.1 to close, it
 * hangs up without one. The browser answers with its own, and then it ends. */
static int close_now(struct live *live, struct live_browser *browser)
{
    size_t size = strlen(browser->close_why);
    live->message[0] = (uint8_t)(browser->close_code >> 8);
    live->message[1] = (uint8_t)browser->close_code;
    memcpy(live->message + 2, browser->close_why, size);
    browser->close_sent = true;
    lws_set_timeout(browser->wsi, PENDING_TIMEOUT_CLOSE_ACK, CLOSING_S);
    return lws_write(browser->wsi, live->message, 2 + size, WRITE_CLOSE) < 0 ? -1 : 0;
}

int live_refuse(struct lws *wsi)
{
    uint8_t text[] = "not a message";
    lws_close_reason(wsi, LWS_CLOSE_STATUS_POLICY_VIOLATION, text, sizeof text - 1);
    return -1;
}

int live_receive(struct live *live, struct live_browser *browser, const char *text, size_t size)
{
    if (browser->close_sent) {
        return 0;
    }
    bool first = browser->text_size == 0;
    bool last =
        lws_is_final_fragment(browser->wsi) != 0 && lws_remaining_packet_payload(browser->wsi) == 0;
    bool ok = size <= LIVE_MESSAGE_BYTES_MAX - browser->text_size;
    if (ok && first && last) {
        ok = hear(live, browser, text, size);
    } else if (ok) {
        if (browser->text == NULL) {
            browser->text = malloc(LIVE_MESSAGE_BYTES_MAX);
            FLY_CHECK(browser->text != NULL);
        }
        memcpy(browser->text + browser->text_size, text, size);
        browser->text_size += size;
        if (last) {
            ok = hear(live, browser, browser->text, browser->text_size);
            free(browser->text);
            browser->text = NULL;
            browser->text_size = 0;
        }
    }
    return ok ? 0 : live_refuse(browser->wsi);
}

/* --- what it is told --- */

static int message_send(struct live *live, struct live_browser *browser, size_t size)
{
    return lws_write(browser->wsi, live->message, size, LWS_WRITE_BINARY) < 0 ? -1 : 0;
}

static int hello_send(struct live *live, struct live_browser *browser)
{
    const struct dash_config *config = live->server->config;
    struct dash_hello hello = {
        .boot = live->server->boot,
        .seq = live->seq,
        .node = config->node,
        .region = config->region,
        .cluster = config->cluster,
        .version = FLY_VERSION,
        .subject = browser->who.subject,
        .scopes = browser->who.scopes,
        .expires_ms = browser->who.expires_ms,
        .pace_ms = atomic_load(&live->server->pace_ms),
    };
    browser->hello_due = false;
    browser->next = live->seq + 1;
    return message_send(live, browser, dash_hello_make(&hello, live->message));
}

static int resync_send(struct live *live, struct live_browser *browser)
{
    size_t size = dash_resync_make(browser->resync_why, live->message);
    atomic_fetch_add(&live->server->resyncs, 1);
    browser->resync_why = NULL;
    browser->next = live->seq + 1;
    return message_send(live, browser, size);
}

static bool detail_due(const struct live_browser *browser)
{
    uint64_t any = 0;
    for (uint32_t i = 0; browser->look != NULL && i < LIVE_LOOK_WORDS; i++) {
        any |= browser->look->due[i];
    }
    return any != 0;
}

static int detail_send(struct live *live, struct live_browser *browser)
{
    struct live_look *look = browser->look;
    struct dash_state *state = live->server->state;
    uint32_t indices[DASH_LOOK_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < look->count; i++) {
        if ((look->due[i / 64] >> i % 64 & 1) != 0) {
            indices[count++] = look->machines[i];
        }
    }
    memset(look->due, 0, sizeof look->due);
    pthread_mutex_lock(&state->lock);
    size_t size = dash_detail_make(state->picture, indices, count, live->message);
    pthread_mutex_unlock(&state->lock);
    return message_send(live, browser, size);
}

/* One part of a frame, and the whole when it is short. */
static int frame_send(struct live_browser *browser)
{
    struct live_frame *frame = browser->sending;
    uint32_t left = frame->size - browser->sent;
    uint32_t part = left < SERVER_CHUNK_BYTES ? left : SERVER_CHUNK_BYTES;
    int kind = browser->sent == 0 ? LWS_WRITE_BINARY : LWS_WRITE_CONTINUATION;
    if (part < left) {
        kind |= LWS_WRITE_NO_FIN;
    }
    /* What stands before a later part is the end of one that was sent: it is put back. */
    uint8_t *at = frame->room + LWS_PRE + browser->sent;
    uint8_t before[LWS_PRE];
    memcpy(before, at - LWS_PRE, LWS_PRE);
    int written = lws_write(browser->wsi, at, part, (enum lws_write_protocol)kind);
    memcpy(at - LWS_PRE, before, LWS_PRE);
    if (written < 0) {
        return -1;
    }
    browser->sent += part;
    if (browser->sent == frame->size) {
        browser->sending = NULL;
        browser->sent = 0;
        browser->next = frame->seq + 1;
        live_frame_drop(frame);
    }
    return 0;
}

static bool frame_begin(struct live *live, struct live_browser *browser)
{
    if (browser->paused || (int32_t)(live->seq - browser->next) < 0) {
        return false;
    }
    struct live_frame *frame = live_frame_at(live, browser->next);
    if (frame == NULL) {
        browser->resync_why = "slow";
        return false;
    }
    frame->references++;
    browser->sending = frame;
    return true;
}

static int write_one(struct live *live, struct live_browser *browser, bool *wrote)
{
    *wrote = true;
    if (browser->sending != NULL) {
        return frame_send(browser);
    }
    if (browser->hello_due) {
        return hello_send(live, browser);
    }
    if (browser->resync_why == NULL && frame_begin(live, browser)) {
        return frame_send(browser);
    }
    if (browser->resync_why != NULL) {
        return resync_send(live, browser);
    }
    if (detail_due(browser)) {
        return detail_send(live, browser);
    }
    *wrote = false;
    return 0;
}

static bool more_to_say(const struct live *live, const struct live_browser *browser)
{
    return browser->sending != NULL || browser->resync_why != NULL || detail_due(browser) ||
           (!browser->paused && (int32_t)(live->seq - browser->next) >= 0);
}

int live_writable(struct live *live, struct live_browser *browser)
{
    if (browser->close_sent) {
        return 0;
    }
    if (browser->close_code != 0 && browser->sending == NULL) {
        return close_now(live, browser);
    }
    bool wrote = false;
    if (write_one(live, browser, &wrote) != 0) {
        return -1;
    }
    if (wrote && (browser->close_code != 0 || more_to_say(live, browser))) {
        lws_callback_on_writable(browser->wsi);
    }
    return 0;
}
