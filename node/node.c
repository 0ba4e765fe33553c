#include "node/node.h"

#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <sys/mman.h>
#include <unistd.h>

#include "node/node_parts.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/rpc/batch.h"

static struct owner_now read_clocks(void)
{
    return (struct owner_now){.boot_ms = fly_clock_boot_ms(), .wall_ms = fly_clock_wall_ms()};
}

/* --- the loop's thread --- */

/* The lane of cancels is taken before those of calls: a call that was given up while it waited has
 * had its letter, and nobody would end it later. */
static void deliver_call(struct node *n, struct rpc_call *call, struct owner_now now)
{
    if (rpc_call_cancelled(call)) {
        rpc_call_turn_away(call, FLY_CANCELLED, "given up before it was begun",
                           (struct fly_bytes){.size = 0});
    } else if (front_admits(n->front, call, now) && !node_admin(n, call, now)) {
        front_call(n->front, call, now);
    }
}

static void deliver(struct node *n, const struct mail *letter, struct owner_now now)
{
    switch (letter->kind) {
    case MAIL_HELLO:
        front_hello(n->front, letter->what, now);
        break;
    case MAIL_CALL:
        deliver_call(n, letter->what, now);
        break;
    case MAIL_CANCEL:
        front_cancel(n->front, letter->what);
        rpc_call_drop(letter->what);
        break;
    case MAIL_WRITABLE:
        front_writable(n->front, letter->what);
        rpc_call_drop(letter->what);
        break;
    case MAIL_PEER_GONE:
        front_peer_gone(n->front, letter->what);
        break;
    case MAIL_LINK_OPENED:
    case MAIL_LINK_FAILED:
    case MAIL_LINK_CLOSED:
    case MAIL_LINK_REPLY:
        links_deliver(n->links, letter->kind, letter->what, now.boot_ms);
        break;
    case MAIL_FEED:
        node_take_feed(n, letter->what, now);
        break;
    case MAIL_MEMBERS:
        if (n->gossip != NULL) {
            node_members(n, now);
        }
        break;
    default:
        FLY_UNREACHABLE();
    }
}

/* True: there is more, or has come meanwhile: no letter will wake the loop for it. */
static bool take_mail(struct node *n, struct owner_now now)
{
    struct mail letters[TAKE_MAX];

    for (unsigned lane = 0; lane < MAIL_LANES; lane++) {
        uint32_t count = 0;
        do {
            count = mailbox_take(&n->mailbox, (enum mail_lane)lane, letters, TAKE_MAX);
            for (uint32_t i = 0; i < count; i++) {
                deliver(n, &letters[i], now);
            }
        } while (lane == MAIL_CONTROL && count == TAKE_MAX);
    }
    return !mailbox_empty(&n->mailbox);
}

static void begin_drain(struct node *n);
static void begin_close(struct node *n);
static void let_go(struct node *n);

static void serving(struct node *n)
{
    n->phase = SERVING;
    fly_log_info("node.serving", F_STR("rpc", rpc_server_url(n->server, 0)),
                 F_STR("http", n->dash != NULL ? node_dash_url(n) : "off"), F_STR("node", n->name),
                 F_STR("cluster", n->identity.record.id));
}

/* In dev the door opens when there is something behind it; in a cluster others must get in before,
 * to be told that it is not yet. */
static void begin_serving(struct node *n)
{
    struct fly_error error;

    if (n->server == NULL && node_listen(n, &error) != FLY_OK) {
        fly_log_error("rpc.refused", F_STR("error", error.text));
        n->exit_code = 1;
        begin_drain(n);
        return;
    }
    serving(n);
}

static void step_inventory(struct node *n, struct owner_now now)
{
    if (n->reconcile.active && reconcile_step(&n->reconcile, now)) {
        n->reconcile.active = false;
        fly_log_info("inventory.applied", F_U64("added", n->reconcile.added),
                     F_U64("resized", n->reconcile.resized), F_U64("removed", n->reconcile.removed),
                     F_U64("refused", n->reconcile.refused));
        n->inventory_applied = true;
    }
}

static void step_phase(struct node *n, struct owner_now now)
{
    bool may_speak = node_standing_turn(n, now);

    if (n->run == NULL) {
        front_open(n->front); /* `dev` is all the cluster there is */
    }
    if (may_speak && !n->inventory_applied && !n->reconcile.active && host_owner(n->host) != NULL) {
        reconcile_begin(&n->reconcile, &n->inventory, n->host);
        n->reconcile.keep_cordons = n->run != NULL;
    }
    if (may_speak) {
        step_inventory(n, now);
    }
    if (n->phase == STARTING && (n->tag != 0 ? n->inventory_applied : atomic_load(&n->settled))) {
        begin_serving(n);
    }
    if (atomic_load(&n->twin) && n->phase < DRAINING) {
        fly_log_error("node.twin",
                      F_STR("error", "another process with this state folder's identity "
                                     "is alive: the folder was copied"));
        n->exit_code = 1;
        begin_drain(n);
    }
    if (n->phase == DRAINING && (front_idle(n->front) || now.boot_ms >= n->drain_until_ms)) {
        begin_close(n);
    }
    bool serves = n->phase == SERVING && (n->tag == 0 || (may_speak && host_serving(n->host)));
    atomic_store(&n->serving, serves);
    if (n->phase < DRAINING) {
        node_builtin_health(n, serves);
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void arm_timer(struct node *n, struct owner_now now, bool soon)
{
    int64_t due_ms = earlier(front_deadline(n->front), node_cluster_deadline(n));

    due_ms = earlier(due_ms, node_standing_deadline(n));
    due_ms = earlier(due_ms, node_dash_deadline(n));
    if (n->host != NULL) {
        due_ms = earlier(due_ms, host_deadline(n->host));
    }
    if (n->phase == DRAINING) {
        due_ms = earlier(due_ms, n->drain_until_ms);
    }
    if (soon) {
        due_ms = now.boot_ms;
    }
    if (due_ms == INT64_MAX) {
        (void)uv_timer_stop(&n->timer);
        return;
    }
    uint64_t delay = due_ms > now.boot_ms ? (uint64_t)(due_ms - now.boot_ms) : 0;
    FLY_CHECK(uv_timer_start(&n->timer, n->timer.timer_cb, delay, 0) == 0);
}

static void host_step(struct node *n, struct owner_now now)
{
    if (n->host != NULL) {
        host_turn(n->host, now);
    }
}

/* What a flood of connections leaves in the heap are holes between what stays: they go back to the
 * kernel when some have gone, at most every TRIM_MS. About a millisecond. */
static void trim_heap(struct node *n, int64_t now_ms)
{
    if (n->server == NULL || now_ms < n->trim_ms) {
        return;
    }
    n->trim_ms = now_ms + TRIM_MS;
    uint64_t accepted = rpc_server_counters(n->server).accepted;
    if (accepted - n->trim_accepted >= TRIM_CONNECTIONS) {
        n->trim_accepted = accepted;
        (void)malloc_trim(0);
    }
}

static void turn(struct node *n)
{
    struct owner_now now = read_clocks();

    if (n->phase == CLOSED) {
        let_go(n);
    }
    if (n->phase == CLOSING && now.boot_ms >= n->close_until_ms) {
        fly_log_error("node.abandoned",
                      F_STR("reason", "the log does not close: its disk is silent"));
        _exit(1); /* everything acknowledged is on the disk; nothing here can wait any longer */
    }
    if (n->phase >= CLOSING) {
        return;
    }
    trim_heap(n, now.boot_ms);
    rpc_batch_begin();
    host_step(n, now);
    bool more = take_mail(n, now);
    node_cluster_turn(n, now);
    node_dash_turn(n, now);
    front_turn(n->front, now);
    step_phase(n, now);
    if (n->phase < CLOSING) {
        host_step(n, now);
        front_turn(n->front, now);
        arm_timer(n, now, more);
    }
    rpc_batch_end();
}

static void on_check(uv_check_t *check)
{
    turn(check->data);
}

static void on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

static void on_woken(uv_async_t *wake)
{
    (void)wake; /* the turn follows in this iteration's check phase */
}

/* --- the host's hooks --- */

static void host_answer(void *user, const struct owner_answer *answer)
{
    struct node *n = user;

    if ((answer->ticket >> 62) == 1) {
        reconcile_answer(&n->reconcile, answer);
    } else if (answer->ticket == NODE_TICKET_LOSS) {
        node_standing_loss(n, answer, read_clocks());
    } else {
        front_answer(n->front, answer, read_clocks());
    }
}

static void host_restored(void *user, const struct slice_state *state)
{
    struct node *n = user;
    const struct slice_totals *sum = slice_totals(state);

    streams_host(n->streams, n->tag, sum->incarnation, sum->seq, sum->founded_ms);
    node_put_machines(n, state);
}

static void host_event(void *user, const struct event *event)
{
    struct node *n = user;

    streams_host_event(n->streams, event);
}

static void host_ready(void *user)
{
    struct node *n = user;
    const struct slice_totals *sum = slice_totals(owner_state(host_owner(n->host)));

    fly_log_info("slice.ready", F_U64("term", sum->term), F_U64("seq", sum->seq),
                 F_U64("vms", sum->vms_started), F_U64("machines", sum->machines));
    streams_host(n->streams, n->tag, sum->incarnation, sum->seq, sum->founded_ms);
    node_standing_ready(n, read_clocks());
    n->reconcile.active = false; /* what was under way went with the owner before */
}

static void host_fatal(void *user, const struct fly_error *error)
{
    struct node *n = user;

    fly_log_error("slice.refused", F_STR("error", error->text));
    n->exit_code = 1;
    if (n->phase < DRAINING && n->host != NULL) {
        begin_drain(n);
    }
}

/* --- starting --- */

static enum fly_status open_host(struct node *n, struct fly_error *error)
{
    const struct host_config host = {.dir = n->slice_dir,
                                     .loop = &n->loop,
                                     .tag = n->tag,
                                     .root_tag = n->identity.record.root_tag,
                                     .hooks = {.answer = host_answer,
                                               .restored = host_restored,
                                               .event = host_event,
                                               .ready = host_ready,
                                               .fatal = host_fatal},
                                     .user = n};
    enum fly_status status = node_make_slice_dir(n, error);

    if (status == FLY_OK) {
        status = host_open(&n->host, &host, error);
    }
    if (status == FLY_OK) {
        front_attach(n->front, n->host);
    }
    return status;
}

static enum fly_status node_open(struct node *n, struct fly_error *error)
{
    enum fly_status status = node_open_feed(n, error);

    if (status == FLY_OK) {
        status = accept_loss_read(&n->identity.folder, &n->loss_word, error);
    }
    node_make_catalog(n);
    if (status == FLY_OK) {
        status = node_dash_open(n, error);
    }
    node_make_streams(n);
    node_make_front(n);
    if (status == FLY_OK && n->run != NULL) {
        status = node_open_peers(n, error);
    }
    if (status == FLY_OK && n->tag != 0) {
        status = open_host(n, error);
    }
    if (status == FLY_OK && n->run != NULL) {
        status = node_listen(n, error);
    }
    if (status == FLY_OK && n->run != NULL) {
        status = node_open_gossip(n, error);
    }
    if (status == FLY_OK && n->run != NULL) {
        status = node_open_admission(n, error);
    }
    return status;
}

/* --- stopping --- */

static void begin_drain(struct node *n)
{
    if (n->phase >= DRAINING) {
        return;
    }
    fly_log_info("node.stopping", F_U64("exit_code", n->exit_code));
    n->phase = DRAINING;
    n->drain_until_ms = fly_clock_boot_ms() + DRAIN_MS;
    atomic_store(&n->serving, false);
    node_builtin_shutdown(n);
    node_tell(n);
    if (n->server != NULL) {
        rpc_server_drain(n->server);
    }
    front_stop(n->front);
    arm_timer(n, read_clocks(), true);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    begin_drain(handle->data);
}

/* Letters that came while the node closed: calls and connections get their end. */
static void empty_mailbox(struct node *n)
{
    bool more = true;

    while (more) {
        more = take_mail(n, read_clocks());
    }
}

/* All others are closed in the same pass. What an abandoned journal left may go on for ever. */
static void on_last_closed(uv_handle_t *wake)
{
    uv_stop(wake->loop);
}

/* The log is closed; the connections may not be: the pollers let go of them one by one. */
static void let_go(struct node *n)
{
    empty_mailbox(n);
    if ((n->server != NULL && !rpc_server_idle(n->server)) ||
        (n->links != NULL && !links_idle(n->links))) {
        FLY_CHECK(uv_timer_start(&n->timer, n->timer.timer_cb, LET_GO_MS, 0) == 0);
        return;
    }
    node_dash_close(n);
    rpc_server_destroy(n->server);
    n->server = NULL;
    node_cluster_stop(n);
    empty_mailbox(n);
    n->phase = GONE;
    uv_close((uv_handle_t *)&n->check, NULL);
    uv_close((uv_handle_t *)&n->timer, NULL);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(n->signals); i++) {
        uv_close((uv_handle_t *)&n->signals[i], NULL);
    }
    uv_close((uv_handle_t *)&n->mailbox.wake, on_last_closed);
}

static void on_host_closed(void *user)
{
    struct node *n = user;

    n->host = NULL;
    front_attach(n->front, NULL);
    n->phase = CLOSED;
    FLY_CHECK(uv_timer_start(&n->timer, n->timer.timer_cb, 0, 0) == 0);
}

static void begin_close(struct node *n)
{
    n->phase = CLOSING;
    front_abandon(n->front, read_clocks());
    node_forget_abandon(n);
    if (n->links != NULL) {
        links_close(n->links);
    }
    if (n->server != NULL) {
        rpc_server_close(n->server);
    }
    n->close_until_ms = fly_clock_boot_ms() + CLOSE_MS;
    FLY_CHECK(uv_timer_start(&n->timer, n->timer.timer_cb, CLOSE_MS, 0) == 0);
    if (n->host != NULL) {
        host_close(n->host, on_host_closed);
    } else {
        on_host_closed(n);
    }
}

/* A word that was used, or is about a log that is no more. The disk may take its time now. */
static void drop_loss_word(struct node *n)
{
    struct fly_error error;

    if (n->loss_word.tag != 0 && n->standing_begun && !n->loss_allowed &&
        folder_remove(&n->identity.folder, ACCEPT_LOSS_FILE, &error) != FLY_OK) {
        fly_log_warn("node.word_left", F_STR("error", error.text));
    }
}

static void node_free(struct node *n)
{
    node_builtin_fini(n);
    drop_loss_word(n);
    node_forget_fini(n);
    front_destroy(n->front);
    streams_destroy(n->streams);
    links_destroy(n->links);
    directory_fini(&n->directory);
    free(n->seen);
    free(n->peers);
    if (n->catalog_memory != NULL) {
        (void)munmap(n->catalog_memory, n->catalog_bytes);
    }
    inventory_fini(&n->inventory);
    identity_close(&n->identity);
}

static void watch_signals(struct node *n)
{
    static const int numbers[] = {SIGTERM, SIGINT};

    for (size_t i = 0; i < FLY_ARRAY_COUNT(numbers); i++) {
        FLY_CHECK(uv_signal_init(&n->loop, &n->signals[i]) == 0);
        n->signals[i].data = n;
        FLY_CHECK(uv_signal_start(&n->signals[i], on_signal, numbers[i]) == 0);
    }
}

static void open_loop(struct node *n)
{
    const struct mailbox_config mailbox = {.lane_max = {[MAIL_CONTROL] = CONTROL_LANE_MAX,
                                                        [MAIL_FINISH] = FINISH_LANE_MAX,
                                                        [MAIL_START] = START_LANE_MAX,
                                                        [MAIL_STREAM] = STREAM_LANE_MAX},
                                           .loop = &n->loop,
                                           .woken = on_woken,
                                           .user = n};

    FLY_CHECK(uv_loop_init(&n->loop) == 0);
    mailbox_init(&n->mailbox, &mailbox);
    FLY_CHECK(uv_check_init(&n->loop, &n->check) == 0);
    n->check.data = n;
    FLY_CHECK(uv_check_start(&n->check, on_check) == 0);
    FLY_CHECK(uv_timer_init(&n->loop, &n->timer) == 0);
    n->timer.data = n;
    FLY_CHECK(uv_timer_start(&n->timer, on_timer, 0, 0) == 0);
    watch_signals(n);
}

static void close_loop(struct node *n)
{
    (void)uv_run(&n->loop, UV_RUN_DEFAULT);
    mailbox_fini(&n->mailbox);
    if (uv_loop_close(&n->loop) != 0) {
        fly_log_warn("node.handles_left", F_STR("cause", "a journal was abandoned (journal.c)"));
    }
}

/* Connections come and go on the pollers' threads with buffers of many sizes: with a heap for each
 * thread they leave holes that only grow. So one heap, and what is large goes back to the kernel at
 * once.
 */
static void tune_heap(void)
{
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_MMAP_THRESHOLD, 32 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 512 * 1024);
}

/* Runs the loop to its end; the identity is open. */
static int run_loop(struct node *n)
{
    struct fly_error error;

    n->began_ms = fly_clock_boot_ms();
    open_loop(n);
    if (node_open(n, &error) != FLY_OK) {
        fly_log_error("node.refused", F_STR("error", error.text));
        n->exit_code = 1;
        begin_close(n);
    } else if (n->exit_code != 0) {
        begin_drain(n);
    }
    close_loop(n);
    node_free(n);
    fly_log_info("node.stopped", F_I64("exit_code", n->exit_code));
    return n->exit_code;
}

static int refused(struct node *n, const struct fly_error *error)
{
    fly_log_error("node.refused", F_STR("error", error->text));
    inventory_fini(&n->inventory);
    return 1;
}

static struct node *node_begin(const struct node_config *config)
{
    static struct node node; /* a megabyte of tables: not the stack's */

    node.config = config;
    tune_heap();
    FLY_CHECK(sodium_init() >= 0);
    return &node;
}

int node_run_dev(const struct node_config *config, const struct config_http *http)
{
    struct node *n = node_begin(config);
    struct fly_error error;

    (void)fly_copy_string(n->name, sizeof n->name, "dev");
    if (node_load_inventory(n, &error) != FLY_OK ||
        identity_open(config->state, fly_clock_wall_ms(), &n->identity, &error) != FLY_OK) {
        return refused(n, &error);
    }
    n->http = http;
    n->roles = NODE_ROLE_PEER | NODE_ROLE_EDGE | NODE_ROLE_DASH;
    n->tag = n->identity.record.root_tag;
    if (n->identity.credential.slice_tag != n->tag) {
        (void)fly_error_set(&error, FLY_FAILED_PRECONDITION,
                            "%s: this node joined a cluster: `flynode run` starts it",
                            config->state);
        identity_close(&n->identity);
        return refused(n, &error);
    }
    atomic_store(&n->settled, true);
    return run_loop(n);
}

/* What was told beats what the folder says. */
static enum fly_status who_we_are(struct node *n, const struct node_config *config,
                                  const struct config_run *run, struct fly_error *error)
{
    const struct node_settings *kept = &n->identity.settings;
    const struct credential *c = &n->identity.credential;
    uint32_t roles = run->roles != 0 ? run->roles : c->roles;
    char text[NODE_ROLES_TEXT_SIZE];

    if ((roles & ~c->roles) != 0) {
        node_roles_format(roles & ~c->roles, ',', text);
        return fly_error_set(error, FLY_PERMISSION_DENIED,
                             "--roles: this node was not admitted as %s", text);
    }
    n->roles = roles;
    n->tag = (roles & NODE_ROLE_PEER) != 0 ? c->slice_tag : 0;
    (void)fly_copy_string(n->name, sizeof n->name, c->name);
    (void)fly_copy_string(n->region, sizeof n->region,
                          run->region[0] != '\0' ? run->region : kept->region);
    return config_check_roles(config, roles, error);
}

/* Addresses that init or join kept are for a start that tells none. */
static enum fly_status take_kept_addresses(const struct node_settings *kept,
                                           const struct node_config *config, struct config_run *run,
                                           struct fly_error *error)
{
    struct node_config both = *config;

    if (config->rpc[0] != '\0' || config->advertise[0] != '\0') {
        return FLY_OK;
    }
    (void)fly_copy_string(both.rpc, sizeof both.rpc, kept->rpc);
    (void)fly_copy_string(both.advertise, sizeof both.advertise, kept->advertise);
    if (config_check_run(&both, run, error) != FLY_OK) {
        return fly_error_wrap(error, "with what " SETTINGS_FILE " keeps");
    }
    return FLY_OK;
}

int node_run(const struct node_config *config, struct config_run *run)
{
    struct node *n = node_begin(config);
    struct fly_error error;

    n->run = run;
    n->http = &run->http;
    if (identity_open_made(config->state, fly_clock_wall_ms(), &n->identity, &error) != FLY_OK) {
        return refused(n, &error);
    }
    if (take_kept_addresses(&n->identity.settings, config, run, &error) != FLY_OK ||
        who_we_are(n, config, run, &error) != FLY_OK || node_load_inventory(n, &error) != FLY_OK) {
        identity_close(&n->identity);
        return refused(n, &error);
    }
    return run_loop(n);
}
