/*
 * bench_top_pty - runs a program in a terminal of its own and measures it: CPU and memory by /proc,
 * bytes that it writes, by frame.
 *
 *   bench_top_pty --rows 50 --columns 200 --warm 3 --seconds 20 [--keys TEXT] [--name N] --
 * COMMAND...
 *
 * Bytes that come with less than 30 ms between them are one frame. After the seconds 'q' is typed;
 * one JSON line then, with the program's exit code.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"

enum { FRAME_GAP_MS = 30, READ_SIZE = 65536, END_MS = 3000 };

struct options {
    unsigned long rows;
    unsigned long columns;
    unsigned long warm_s;
    unsigned long seconds;
    const char *keys;
    const char *name;
    char **command;
};

struct counts {
    uint64_t bytes;
    uint64_t frames;
    uint64_t frame_bytes; /* of the frame under way */
    uint64_t frame_max;
    int64_t last_ms;
};

static struct options take_arguments(int argc, char **argv)
{
    struct options o = {
        .rows = 24, .columns = 80, .warm_s = 3, .seconds = 20, .keys = "", .name = "top"};
    int i = 1;

    for (; i + 1 < argc && strcmp(argv[i], "--") != 0; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--rows") == 0) {
            o.rows = strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--columns") == 0) {
            o.columns = strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--warm") == 0) {
            o.warm_s = strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            o.seconds = strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--keys") == 0) {
            o.keys = value;
        } else if (strcmp(argv[i], "--name") == 0) {
            o.name = value;
        }
    }
    if (i + 1 >= argc || o.rows == 0 || o.columns == 0 || o.seconds == 0) {
        (void)fprintf(stderr, "bench_top_pty: [options] -- COMMAND...\n");
        exit(64);
    }
    o.command = argv + i + 1;
    return o;
}

/* The terminal's master. */
static int start(const struct options *o, pid_t *child)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct winsize size = {.ws_row = (unsigned short)o->rows, .ws_col = (unsigned short)o->columns};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char slave[64];

    FLY_CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    FLY_CHECK(ptsname_r(master, slave, sizeof slave) == 0);
    FLY_CHECK(ioctl(master, TIOCSWINSZ, &size) == 0);
    /* a session leader that opens a terminal has it */
    FLY_CHECK(posix_spawnattr_init(&attributes) == 0);
    FLY_CHECK(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID) == 0);
    FLY_CHECK(posix_spawn_file_actions_init(&actions) == 0);
    FLY_CHECK(posix_spawn_file_actions_addopen(&actions, 0, slave, O_RDWR, 0) == 0);
    FLY_CHECK(posix_spawn_file_actions_adddup2(&actions, 0, 1) == 0);
    int failed = posix_spawnp(child, o->command[0], &actions, &attributes, o->command, environ);
    if (failed != 0) {
        (void)fprintf(stderr, "bench_top_pty: %s: %s\n", o->command[0], strerror(failed));
        exit(1);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    return master;
}

static void take_bytes(struct counts *c, size_t size, int64_t now)
{
    if (c->frames == 0 || now - c->last_ms >= FRAME_GAP_MS) {
        c->frames++;
        c->frame_bytes = 0;
    }
    c->last_ms = now;
    c->bytes += size;
    c->frame_bytes += size;
    c->frame_max = c->frame_bytes > c->frame_max ? c->frame_bytes : c->frame_max;
}

/* Reads what is written until then; false: the program has closed its terminal. */
static bool read_until(int master, int64_t until_ms, struct counts *c)
{
    static char buffer[READ_SIZE];
    struct pollfd fd = {.fd = master, .events = POLLIN};

    for (int64_t left = until_ms - fly_clock_boot_ms(); left > 0;
         left = until_ms - fly_clock_boot_ms()) {
        if (poll(&fd, 1, (int)left) <= 0) {
            continue;
        }
        ssize_t got = read(master, buffer, sizeof buffer);
        if (got <= 0) {
            return false; /* EIO: nobody has it open any more */
        }
        take_bytes(c, (size_t)got, fly_clock_boot_ms());
    }
    return true;
}

/* Ticks of user and system, of all its threads. */
static uint64_t cpu_ticks(pid_t pid)
{
    char path[64];
    char line[1024];
    unsigned long long user = 0;
    unsigned long long system_ = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    FLY_CHECK(file != NULL);
    FLY_CHECK(fgets(line, sizeof line, file) != NULL);
    (void)fclose(file);
    const char *at = strrchr(line, ')');
    FLY_CHECK(at != NULL && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                                   &user, &system_) == 2);
    return user + system_;
}

static uint64_t rss_bytes(pid_t pid)
{
    char path[64];
    unsigned long long pages = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    FLY_CHECK(file != NULL && fscanf(file, "%*u %llu", &pages) == 1);
    (void)fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

int main(int argc, char **argv)
{
    const struct options o = take_arguments(argc, argv);
    struct counts warm = {0};
    struct counts c = {0};
    struct counts rest = {0};
    pid_t child = 0;
    int status = 0;
    int master = start(&o, &child);
    int64_t began_ms = fly_clock_boot_ms();

    bool there = read_until(master, began_ms + (int64_t)o.warm_s * 500, &warm);
    there = there && write(master, o.keys, strlen(o.keys)) == (ssize_t)strlen(o.keys);
    there = there && read_until(master, began_ms + (int64_t)o.warm_s * 1000, &warm);
    if (!there) {
        (void)fprintf(stderr, "bench_top_pty: %s ended by itself\n", o.command[0]);
        return 1;
    }
    uint64_t ticks = cpu_ticks(child);
    int64_t from_ms = fly_clock_boot_ms();
    there = read_until(master, from_ms + (int64_t)o.seconds * 1000, &c);
    int64_t took_ms = fly_clock_boot_ms() - from_ms;
    FLY_CHECK(there);
    ticks = cpu_ticks(child) - ticks;
    uint64_t rss = rss_bytes(child);
    FLY_CHECK(write(master, "q", 1) == 1);
    (void)read_until(master, fly_clock_boot_ms() + END_MS, &rest);
    (void)kill(child, SIGKILL); /* of no effect when it has ended */
    FLY_CHECK(waitpid(child, &status, 0) == child);
    double seconds = (double)took_ms / 1000.0;
    (void)printf("{\"name\":\"%s\",\"rows\":%lu,\"columns\":%lu,\"seconds\":%.1f,"
                 "\"cpu_percent\":%.2f,\"frames_per_s\":%.1f,\"bytes_per_frame\":%.0f,"
                 "\"bytes_frame_max\":%llu,\"bytes_first\":%llu,\"rss_bytes\":%llu,\"exit\":%d}\n",
                 o.name, o.rows, o.columns, seconds,
                 (double)ticks * 100.0 / (double)sysconf(_SC_CLK_TCK) / seconds,
                 (double)c.frames / seconds,
                 c.frames == 0 ? 0.0 : (double)c.bytes / (double)c.frames,
                 (unsigned long long)c.frame_max, (unsigned long long)warm.frame_max,
                 (unsigned long long)rss, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return 0;
}
