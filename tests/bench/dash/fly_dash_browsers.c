/*
 * fly_dash_browsers - very many browsers' connections on one dash, from one thread.
 *
 *   fly_dash_browsers --port P [--token T] [--pid PID] [--connections N] [--mirrors N] [--slow N]
 *                     [--slow-ms MS] [--seconds S]
 *
 * Each connection signs in, says the WebSocket's upgrade and reads frames. On every one the numbers
 * of the frames are looked at: a number that is left out without a `resync` before it is a gap that
 * nobody would have noticed. A few keep the whole picture as a page does: fetch the fleet, apply
 * frames, fetch again when told; at the end they must show what the dash does, so let the publisher
 * stop some seconds earlier. --slow: so many read nothing half of the time.
 *
 * Prints one JSON line: gaps, resyncs, frames, ages (of the oldest change in a frame, when it
 * arrives), and CPU and memory of the process PID (/proc) while the connections stood.
 */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "dash/core/frame.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/wire/mp.h"
#include "tests/bench/dash/process.h"
#include "tests/bench/dash/socket.h"

enum {
    CONNECTIONS_MAX = 16384,
    DIALS_MAX = 64, /* under way at once */
    AGES_MAX = 4000,
    READ_BYTES = 256 * 1024,
    SETTLE_TRIES = 25,
    SETTLE_MS = 200,
    MIRROR_MACHINES = PICTURE_MACHINES_MAX,
};

/* What a page keeps. */
struct mirror {
    uint8_t *cells;
    uint8_t *regions;
    uint32_t seq;
    uint32_t fetches;
};

struct browser {
    struct socket socket;
    struct load *load;
    struct mirror *mirror; /* NULL: only the numbers are looked at */
    bool said_hello;
    bool resync; /* told; the next frame may have any number */
    bool slow;
    bool asleep;
    uint32_t seq;
    uint64_t frames;
};

struct load {
    uint16_t port;
    const char *token;
    pid_t pid;
    uint32_t connections;
    uint32_t mirrors;
    uint32_t slow;
    uint32_t slow_ms;
    uint32_t seconds;
    int epoll;
    struct browser *browsers;
    uint32_t opened; /* dialled until now */
    uint32_t dialling;
    uint32_t ready; /* said hello */
    uint32_t lost;
    uint64_t frames;
    uint64_t bytes;
    uint64_t gaps;
    uint64_t resyncs;       /* messages about one browser */
    uint64_t resync_frames; /* frames to all */
    uint64_t malformed;
    uint32_t seq_max;
    uint64_t ages[AGES_MAX + 1]; /* frames by age in ms */
};

/* --- the fleet --- */

static bool mirror_fetch(struct load *load, struct mirror *m)
{
    uint8_t *fleet = NULL;
    size_t size = socket_get(load->port, load->token, "/v1/fleet", &fleet);
    struct fly_reader r = fly_reader_over(fleet, size);
    const uint8_t *magic = fly_get_bytes(&r, 4);
    bool ok = magic != NULL && memcmp(magic, "FLYF", 4) == 0 && fly_get_u32(&r) == 1;

    (void)fly_get_u64(&r);
    uint32_t seq = fly_get_u32(&r);
    uint32_t count = fly_get_u32(&r);
    (void)fly_get_u32(&r);
    const uint8_t *cells = fly_get_bytes(&r, count);
    const uint8_t *regions = fly_get_bytes(&r, count);
    ok = ok && cells != NULL && regions != NULL && count <= MIRROR_MACHINES;
    if (ok) {
        memset(m->cells, 0, MIRROR_MACHINES);
        memset(m->regions, 255, MIRROR_MACHINES);
        memcpy(m->cells, cells, count);
        memcpy(m->regions, regions, count);
        m->seq = seq;
        m->fetches++;
    }
    load->malformed += !ok;
    free(fleet);
    return ok;
}

static void mirror_apply(struct load *load, struct mirror *m, struct fly_reader *r, uint32_t words,
                         uint32_t moves)
{
    const uint8_t *word = fly_get_bytes(r, (size_t)4 * words);
    const uint8_t *move = fly_get_bytes(r, (size_t)DASH_MOVE_BYTES * moves);

    if (word == NULL || move == NULL) {
        load->malformed++;
        return;
    }
    for (uint32_t i = 0; i < moves; i++, move += DASH_MOVE_BYTES) {
        uint32_t index = fly_load_u32(move) % MIRROR_MACHINES;
        m->regions[index] = move[4];
        m->cells[index] = move[5];
    }
    for (uint32_t i = 0; i < words; i++, word += 4) {
        uint32_t value = fly_load_u32(word);
        m->cells[(value >> 8) % MIRROR_MACHINES] = (uint8_t)value;
    }
}

/* --- messages --- */

static void note_age(struct load *load, double oldest_ms)
{
    if (oldest_ms > 0) {
        double age_ms = (double)fly_clock_wall_ms() - oldest_ms;
        load->ages[age_ms < 0 ? 0 : (age_ms > AGES_MAX ? AGES_MAX : (size_t)age_ms)]++;
    }
}

static void on_frame(struct browser *b, struct fly_reader *r)
{
    struct load *load = b->load;
    uint64_t bits;
    double oldest_ms;

    (void)fly_get_u8(r);
    uint16_t flags = fly_get_u16(r);
    uint32_t seq = fly_get_u32(r);
    bits = fly_get_u64(r);
    memcpy(&oldest_ms, &bits, sizeof oldest_ms);
    uint32_t words = fly_get_u32(r);
    uint32_t moves = fly_get_u32(r);
    (void)fly_get_u32(r);
    if (r->failed || !b->said_hello) {
        load->malformed++;
        return;
    }
    load->frames++;
    b->frames++;
    note_age(load, oldest_ms);
    load->gaps += seq != b->seq + 1 && !b->resync;
    b->resync = false;
    b->seq = seq;
    load->seq_max = seq > load->seq_max ? seq : load->seq_max;
    load->resync_frames += (flags & DASH_FRAME_RESYNC) != 0;
    if (b->mirror != NULL && (flags & DASH_FRAME_RESYNC) != 0) {
        (void)mirror_fetch(load, b->mirror);
    } else if (b->mirror != NULL && seq > b->mirror->seq) {
        mirror_apply(load, b->mirror, r, words, moves);
        b->mirror->seq = seq;
    }
}

/* The values of "t" and, of a hello, "seq"; the map may be cut behind them. */
static void on_message(struct browser *b, struct fly_reader *r)
{
    char key[16] = "";
    char kind[16] = "";
    size_t pairs = mp_get_map(r);

    for (size_t i = 0; i < pairs && !r->failed; i++) {
        mp_get_text(r, key, sizeof key);
        if (strcmp(key, "t") == 0) {
            mp_get_text(r, kind, sizeof kind);
            if (strcmp(kind, "resync") == 0 && !r->failed) {
                b->resync = true;
                b->load->resyncs++;
                if (b->mirror != NULL) {
                    (void)mirror_fetch(b->load, b->mirror);
                }
                return;
            }
        } else if (strcmp(kind, "hello") == 0 && strcmp(key, "seq") == 0) {
            b->seq = (uint32_t)mp_get_uint(r);
            b->said_hello = !r->failed;
            b->load->ready += b->said_hello;
            if (b->mirror != NULL) {
                (void)mirror_fetch(b->load, b->mirror);
            }
            return;
        } else {
            mp_skip(r);
        }
    }
    b->load->malformed += r->failed;
}

static void on_bytes(void *user, const uint8_t *bytes, size_t kept, size_t size)
{
    struct browser *b = user;
    struct fly_reader r = fly_reader_over(bytes, kept);
    uint8_t kind = fly_get_u8(&r);

    b->load->bytes += size;
    if (kind == DASH_FRAME_KIND) {
        on_frame(b, &r);
    } else if (kind == DASH_MESSAGE_KIND) {
        on_message(b, &r);
    } else {
        b->load->malformed++;
    }
}

/* --- connections --- */

static void watch(struct load *load, struct browser *b, uint32_t events, int how)
{
    struct epoll_event event = {.events = events, .data.ptr = b};

    FLY_CHECK(epoll_ctl(load->epoll, how, b->socket.fd, &event) == 0);
}

static void dial_more(struct load *load)
{
    while (load->opened < load->connections && load->dialling < DIALS_MAX) {
        struct browser *b = &load->browsers[load->opened++];
        if (!socket_open(&b->socket, load->port)) {
            load->lost++;
            continue;
        }
        load->dialling++;
        watch(load, b, EPOLLOUT, EPOLL_CTL_ADD);
    }
}

static void lose(struct load *load, struct browser *b)
{
    load->lost++;
    load->dialling -= !b->said_hello;
    if (load->lost <= 3) {
        (void)fprintf(stderr, "browsers: one was lost: status %u, close %u\n", b->socket.status,
                      b->socket.close_code);
    }
    socket_close(&b->socket);
}

static void serve(struct load *load, struct browser *b, uint32_t events)
{
    static uint8_t room[READ_BYTES];
    bool before = b->said_hello;

    if (b->socket.state == SOCKET_CONNECTING && (events & EPOLLOUT) != 0) {
        socket_upgrade(&b->socket, load->port, load->token);
        watch(load, b, EPOLLIN, EPOLL_CTL_MOD);
    } else if ((events & EPOLLIN) != 0) {
        ssize_t n = read(b->socket.fd, room, sizeof room);
        if (n > 0) {
            socket_take(&b->socket, room, (size_t)n);
        } else if (n == 0 || errno != EAGAIN) {
            b->socket.state = SOCKET_DEAD;
        }
    } else {
        b->socket.state = SOCKET_DEAD;
    }
    load->dialling -= !before && b->said_hello;
    if (b->socket.state == SOCKET_DEAD) {
        lose(load, b);
    }
}

/* Who is slow reads for one spell and not in the next. */
static void sleepers(struct load *load, int64_t age_ms)
{
    bool asleep = age_ms / load->slow_ms % 2 == 1;

    for (uint32_t i = 0; i < load->opened; i++) {
        struct browser *b = &load->browsers[i];
        if (b->slow && b->asleep != asleep && b->socket.state == SOCKET_OPEN) {
            b->asleep = asleep;
            watch(load, b, asleep ? 0 : EPOLLIN, EPOLL_CTL_MOD);
        }
    }
}

static void turn(struct load *load, int timeout_ms)
{
    struct epoll_event events[512];
    int n = epoll_wait(load->epoll, events, FLY_ARRAY_COUNT(events), timeout_ms);

    for (int i = 0; i < n; i++) {
        serve(load, events[i].data.ptr, events[i].events);
    }
    dial_more(load);
}

/* --- the run --- */

static uint32_t mirrors_wrong(struct load *load)
{
    struct mirror now = {.cells = malloc(MIRROR_MACHINES), .regions = malloc(MIRROR_MACHINES)};
    uint32_t wrong = load->mirrors;

    FLY_CHECK(now.cells != NULL && now.regions != NULL);
    for (unsigned tries = 0; tries < SETTLE_TRIES && wrong > 0; tries++) {
        int64_t until_ms = fly_clock_boot_ms() + SETTLE_MS;
        while (fly_clock_boot_ms() < until_ms) {
            turn(load, 20);
        }
        wrong = mirror_fetch(load, &now) ? 0 : load->mirrors;
        for (uint32_t i = 0; i < load->mirrors && wrong == 0; i++) {
            const struct mirror *m = load->browsers[i].mirror;
            wrong += memcmp(m->cells, now.cells, MIRROR_MACHINES) != 0 ||
                     memcmp(m->regions, now.regions, MIRROR_MACHINES) != 0;
        }
    }
    free(now.cells);
    free(now.regions);
    return wrong;
}

static unsigned age_at(const struct load *load, unsigned per_mille)
{
    uint64_t all = 0;
    uint64_t below = 0;
    unsigned age_ms = 0;

    for (unsigned i = 0; i <= AGES_MAX; i++) {
        all += load->ages[i];
    }
    while (age_ms < AGES_MAX && (below += load->ages[age_ms]) * 1000 < all * per_mille) {
        age_ms++;
    }
    return age_ms;
}

static void run(struct load *load)
{
    int64_t begin_ms = fly_clock_boot_ms();

    dial_more(load);
    while (load->ready + load->lost < load->connections && fly_clock_boot_ms() - begin_ms < 60000) {
        turn(load, 100);
    }
    double dialled_s = (double)(fly_clock_boot_ms() - begin_ms) / 1000;
    struct process_usage before = process_usage(load->pid);
    struct process_usage own = process_usage(getpid());
    uint64_t frames = load->frames;
    uint64_t bytes = load->bytes;
    memset(load->ages, 0, sizeof load->ages);
    begin_ms = fly_clock_boot_ms();
    int64_t age_ms = 0;
    while (age_ms < load->seconds * INT64_C(1000)) {
        turn(load, 100);
        sleepers(load, age_ms);
        age_ms = fly_clock_boot_ms() - begin_ms;
    }
    struct process_usage after = process_usage(load->pid);
    double seconds = (double)age_ms / 1000;
    frames = load->frames - frames;
    bytes = load->bytes - bytes;
    uint32_t lost = load->lost;
    double own_cores = (process_usage(getpid()).cpu_s - own.cpu_s) / seconds;
    sleepers(load, 0);
    uint32_t wrong = mirrors_wrong(load);
    uint32_t behind = 0;
    uint32_t fetches = 0;
    for (uint32_t i = 0; i < load->connections; i++) {
        const struct browser *b = &load->browsers[i];
        behind += b->socket.state == SOCKET_OPEN && b->seq + 2 < load->seq_max;
        fetches += b->mirror != NULL ? b->mirror->fetches : 0;
    }
    (void)printf(
        "{\"figure\":\"dash_browsers\",\"connections\":%u,\"lost\":%u,\"dialled_s\":%.1f,"
        "\"seconds\":%.1f,\"frames\":%llu,\"frames_per_s_each\":%.2f,\"mib_per_s\":%.1f,"
        "\"gaps_undetected\":%llu,\"resyncs\":%llu,\"resync_frames\":%llu,\"malformed\":%llu,"
        "\"behind_at_end\":%u,\"mirrors\":%u,\"mirrors_wrong\":%u,\"mirror_fetches\":%u,"
        "\"age_ms_p50\":%u,\"age_ms_p99\":%u,\"own_cores\":%.3f,\"dash_cores\":%.3f,\"dash_rss_"
        "kib\":%ld,"
        "\"dash_rss_peak_kib\":%ld}\n",
        load->ready, lost, dialled_s, seconds, (unsigned long long)frames,
        (double)frames / seconds / (load->ready > 0 ? load->ready : 1),
        (double)bytes / seconds / (1 << 20), (unsigned long long)load->gaps,
        (unsigned long long)load->resyncs, (unsigned long long)load->resync_frames,
        (unsigned long long)load->malformed, behind, load->mirrors, wrong, fetches,
        age_at(load, 500), age_at(load, 990), own_cores, (after.cpu_s - before.cpu_s) / seconds,
        after.rss_kib, after.peak_kib);
}

static error_t option(int key, char *text, struct argp_state *state)
{
    struct load *load = state->input;
    uint32_t number = text != NULL ? (uint32_t)strtoul(text, NULL, 10) : 0;

    switch (key) {
    case 'p':
        load->port = (uint16_t)number;
        return 0;
    case 't':
        load->token = text;
        return 0;
    case 'i':
        load->pid = (pid_t)number;
        return 0;
    case 'c':
        load->connections = number;
        return 0;
    case 'm':
        load->mirrors = number;
        return 0;
    case 'l':
        load->slow = number;
        return 0;
    case 'w':
        load->slow_ms = number;
        return 0;
    case 's':
        load->seconds = number;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option flags[] = {
    {"port", 'p', "P", 0, "of the dash, on 127.0.0.1", 0},
    {"token", 't', "T", 0, "[bench]", 0},
    {"pid", 'i', "PID", 0, "of the dash's process", 0},
    {"connections", 'c', "N", 0, "[5000]", 0},
    {"mirrors", 'm', "N", 0, "of them keep the whole picture [8]", 0},
    {"slow", 'l', "N", 0, "of them, the last, read only half of the time [0]", 0},
    {"slow-ms", 'w', "MS", 0, "a spell of reading, or of not reading [6000]", 0},
    {"seconds", 's', "S", 0, "[20]", 0},
    {0},
};

int main(int argc, char **argv)
{
    const struct argp argp = {flags, option, NULL, NULL, NULL, NULL, NULL};
    struct load load = {.token = "bench",
                        .pid = 0,
                        .connections = 5000,
                        .mirrors = 8,
                        .slow_ms = 6000,
                        .seconds = 20};
    struct rlimit files;

    if (argp_parse(&argp, argc, argv, 0, NULL, &load) != 0 || load.port == 0 ||
        load.connections == 0 || load.connections > CONNECTIONS_MAX ||
        load.mirrors > load.connections || load.slow > load.connections || load.slow_ms == 0) {
        return 64;
    }
    FLY_CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.browsers = calloc(load.connections, sizeof *load.browsers);
    FLY_CHECK(load.epoll >= 0 && load.browsers != NULL);
    for (uint32_t i = 0; i < load.connections; i++) {
        struct browser *b = &load.browsers[i];
        b->load = &load;
        b->slow = i >= load.connections - load.slow;
        b->socket = (struct socket){.fd = -1, .message = on_bytes, .user = b};
        if (i < load.mirrors) {
            b->mirror = calloc(1, sizeof *b->mirror);
            FLY_CHECK(b->mirror != NULL);
            b->mirror->cells = calloc(1, MIRROR_MACHINES);
            b->mirror->regions = calloc(1, MIRROR_MACHINES);
            FLY_CHECK(b->mirror->cells != NULL && b->mirror->regions != NULL);
            b->socket.whole = true;
        }
    }
    run(&load);
    for (uint32_t i = 0; i < load.connections; i++) {
        struct browser *b = &load.browsers[i];
        socket_close(&b->socket);
        if (b->mirror != NULL) {
            free(b->mirror->cells);
            free(b->mirror->regions);
            free(b->mirror);
        }
    }
    free(load.browsers);
    return 0;
}
