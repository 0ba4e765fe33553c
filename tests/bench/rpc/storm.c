/*
 * storm - row 10: random calls of all kinds to servers that are killed, stopped and drained.
 *
 *   bench_rpc_storm [--calls N] [--seed S] [--threads N] [--calm] [--plain] [--strict]
 *
 * This process is the driver: it starts the servers and the client (itself, executed again: nng
 * must not be forked), kills -9, stops (SIGSTOP) or drains (SIGTERM) a server every few
 * milliseconds and starts it again. At the end it looks at what all of them wrote down:
 *
 *   - each call ended exactly once;
 *   - what a client was told was not executed was not, what it was told was executed was;
 *   - no call that may not be repeated was begun twice;
 *   - what came back is what was asked for (checked by the client);
 *   - nobody died of anything but the driver, so that sanitizers are heard.
 *
 * Prints JSON lines; the exit code is 1 when one of these does not hold. --strict: or when the
 * deadlines' overshoot is over 2 ms at p99.9, which only a quiet machine can keep (the control says
 * how quiet it was). --plain: no server over TLS.
 */
#include "tests/bench/rpc/storm.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/rng.h"

enum { EXIT_BUSY = 75, KILLED_BY_US = 1, DRAINED_BY_US = 2, NUMBER_SIZE = 24 };

struct server {
    pid_t pid;      /* 0: it is down */
    unsigned ended; /* what we did to it */
    bool stopped;
};

struct driver {
    struct storm_options options;
    struct server servers[STORM_SERVERS];
    char folder[64];
    char file[96];
    char urls[STORM_SERVERS][STORM_URL_SIZE];
    struct fly_rng rng;
    unsigned kills;
    unsigned stops;
    unsigned drains;
    unsigned unexpected; /* ends of a server that were not ours */
};

static size_t shared_size(uint64_t calls)
{
    return sizeof(struct storm_shared) + (size_t)calls * sizeof(struct storm_record);
}

struct storm_shared *storm_map(const char *file, uint64_t calls, bool make)
{
    int fd = open(file, make ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
    struct storm_shared *shared = MAP_FAILED;

    if (fd >= 0 && (!make || ftruncate(fd, (off_t)shared_size(calls)) == 0)) {
        shared = mmap(NULL, shared_size(calls), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (shared == MAP_FAILED) {
        err(1, "%s", file);
    }
    (void)close(fd);
    if (make) {
        shared->calls = calls;
    }
    return shared;
}

void storm_unmap(struct storm_shared *shared)
{
    (void)munmap(shared, shared_size(shared->calls));
}

static const char *pem(const char *name)
{
    static struct {
        char name[32];
        char text[8192];
    } files[3];
    char path[512];
    FILE *file = NULL;
    size_t i = 0;

    while (files[i].name[0] != '\0' && strcmp(files[i].name, name) != 0) {
        i++;
    }
    if (files[i].name[0] == '\0') {
        (void)snprintf(files[i].name, sizeof files[i].name, "%s", name);
        (void)snprintf(path, sizeof path, "%s/tls/%s", FLY_VECTORS, name);
        file = fopen(path, "re");
        if (file == NULL || fread(files[i].text, 1, sizeof files[i].text - 1, file) == 0) {
            err(1, "%s", path);
        }
        (void)fclose(file);
    }
    return files[i].text;
}

struct rpc_tls storm_tls_server(void)
{
    return (struct rpc_tls){.cert_pem = pem("node.pem"), .key_pem = pem("node-key.pem")};
}

struct rpc_tls storm_tls_client(void)
{
    return (struct rpc_tls){
        .ca_pem = pem("ca.pem"), .server_name = "flylight", .verify_peer = true};
}

/* A port that is free now; whoever takes it before the server does makes the server try again. */
static unsigned free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        err(1, "no port");
    }
    (void)close(fd);
    return ntohs(address.sin_port);
}

static pid_t start(struct driver *d, const char *role, size_t first, size_t count)
{
    char calls[NUMBER_SIZE];
    char seed[NUMBER_SIZE];
    char threads[NUMBER_SIZE];
    char *arguments[16] = {(char *)(uintptr_t)d->options.program, (char *)(uintptr_t)role,
                           (char *)(uintptr_t) "--file",          d->file,
                           (char *)(uintptr_t) "--calls",         calls,
                           (char *)(uintptr_t) "--seed",          seed,
                           (char *)(uintptr_t) "--threads",       threads};
    size_t used = 10;
    sigset_t term;
    sigset_t before;
    pid_t pid = 0;

    (void)snprintf(calls, sizeof calls, "%" PRIu64, d->options.calls);
    (void)snprintf(seed, sizeof seed, "%" PRIu64, d->options.seed);
    (void)snprintf(threads, sizeof threads, "%u", d->options.threads);
    for (size_t i = 0; i < count; i++) {
        arguments[used++] = d->urls[first + i];
    }
    if (d->options.strict) {
        arguments[used++] = (char *)(uintptr_t) "--strict";
    }
    arguments[used] = NULL;
    (void)fflush(stdout);
    /* A server waits for it, and must not die of it before it is there to wait. */
    (void)sigemptyset(&term);
    (void)sigaddset(&term, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &term, &before);
    pid = fork();
    if (pid < 0) {
        err(1, "fork");
    }
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)execv(d->options.program, arguments);
        err(1, "%s", d->options.program);
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

static void start_server(struct driver *d, size_t i)
{
    d->servers[i] = (struct server){.pid = start(d, "--serve", i, 1)};
}

static void nap(int64_t us)
{
    (void)nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000},
                    NULL);
}

/* The server's process is gone. */
static void note_end(struct driver *d, struct server *server, int status)
{
    bool ours = (server->ended == KILLED_BY_US && WIFSIGNALED(status)) ||
                (server->ended != 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
                (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_BUSY);

    if (!ours) {
        warnx("a server ended by itself: status %#x", (unsigned)status);
        d->unexpected++;
    }
    server->pid = 0;
}

static void signal_server(struct server *server, int number)
{
    if (server->pid != 0) {
        (void)kill(server->pid, number);
    }
}

static void hurt(struct driver *d, size_t i)
{
    struct server *server = &d->servers[i];

    if (server->stopped) {
        signal_server(server, SIGCONT);
        server->stopped = false;
    } else if (server->pid == 0) {
        start_server(d, i);
    } else if (server->ended == 0) {
        switch (fly_rng_below(&d->rng, 5)) {
        case 0:
        case 1:
            signal_server(server, SIGKILL);
            server->ended = KILLED_BY_US;
            d->kills++;
            break;
        case 2:
            signal_server(server, SIGTERM);
            server->ended = DRAINED_BY_US;
            d->drains++;
            break;
        default:
            signal_server(server, SIGSTOP);
            server->stopped = true;
            d->stops++;
            break;
        }
    }
}

static void reap(struct driver *d, pid_t client, int *client_status, bool *client_gone)
{
    int status = 0;
    pid_t pid = 0;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == client) {
            *client_status = status;
            *client_gone = true;
        }
        for (size_t i = 0; i < STORM_SERVERS; i++) {
            if (d->servers[i].pid == pid) {
                note_end(d, &d->servers[i], status);
                if (d->options.calm) {
                    start_server(d, i);
                }
            }
        }
    }
}

/* Until the client is done. Never all servers at once for long: one is left alone at a time. */
static int rage(struct driver *d, pid_t client)
{
    int client_status = 0;
    bool client_gone = false;

    while (!client_gone) {
        nap(2000 + (int64_t)fly_rng_below(&d->rng, 60000));
        reap(d, client, &client_status, &client_gone);
        if (!d->options.calm && !client_gone) {
            hurt(d, fly_rng_below(&d->rng, STORM_SERVERS));
        }
    }
    return client_status;
}

static void stop_servers(struct driver *d)
{
    for (size_t i = 0; i < STORM_SERVERS; i++) {
        signal_server(&d->servers[i], SIGCONT);
        if (d->servers[i].ended == 0) {
            d->servers[i].ended = DRAINED_BY_US;
            signal_server(&d->servers[i], SIGTERM);
        }
    }
    for (size_t i = 0; i < STORM_SERVERS; i++) {
        int status = 0;

        if (d->servers[i].pid != 0 && waitpid(d->servers[i].pid, &status, 0) > 0) {
            note_end(d, &d->servers[i], status);
        }
    }
}

/* What must hold of each call, from both sides. Says the first few that do not. */
static uint64_t judge(const struct storm_shared *shared, const struct driver *d, int client_status)
{
    uint64_t statuses[FLY_STATUS_COUNT] = {0};
    uint64_t closed = 0;
    uint64_t executed = 0;
    uint64_t wrong = d->unexpected + (client_status != 0);

    for (uint64_t id = 0; id < shared->calls; id++) {
        const struct storm_record *r = &shared->records[id];
        unsigned kind = r->kind_flags & 15;
        unsigned flags = r->kind_flags >> 4;
        unsigned began = atomic_load(&r->executed);
        bool repeatable = kind == STORM_LOOK || kind == STORM_GLANCE;
        const char *what = NULL;

        if (atomic_load(&r->ends) != 1) {
            what = "did not end exactly once";
        } else if ((flags & STORM_BAD) != 0) {
            what = "came back wrong";
        } else if (began > 1 && !repeatable) {
            what = "was executed more than once";
        } else if (began > 0 && (flags & STORM_SENT) == 0) {
            what = "was executed, and its caller was told that it certainly was not";
        } else if (began == 0 && r->status == FLY_OK && (flags & STORM_CLOSED) == 0) {
            what = "ended with OK and was never executed";
        }
        if (what != NULL && wrong++ < 20) {
            (void)fprintf(
                stderr, "call %" PRIu64 " %s: kind %u, ends %u, executed %u, status %u, flags %u\n",
                id, what, kind, (unsigned)atomic_load(&r->ends), began, r->status, flags);
        }
        executed += began > 0;
        closed += (flags & STORM_CLOSED) != 0;
        statuses[r->status < FLY_STATUS_COUNT ? r->status : FLY_UNKNOWN] +=
            (flags & STORM_CLOSED) == 0;
    }
    (void)printf("{\"row\":\"10\",\"figure\":\"storm\",\"calls\":%" PRIu64 ",\"executed\":%" PRIu64
                 ",\"closed\":%" PRIu64,
                 shared->calls, executed, closed);
    for (uint32_t i = 0; i < FLY_STATUS_COUNT; i++) {
        if (statuses[i] > 0) {
            (void)printf(",\"%s\":%" PRIu64, fly_status_name((enum fly_status)i), statuses[i]);
        }
    }
    (void)printf(",\"kills\":%u,\"stops\":%u,\"drains\":%u,\"late_runs\":%" PRIu64
                 ",\"wrong\":%" PRIu64 ",\"seed\":%" PRIu64 "}\n",
                 d->kills, d->stops, d->drains, (uint64_t)atomic_load(&shared->late_runs), wrong,
                 d->options.seed);
    return wrong;
}

static int drive(const struct storm_options *options)
{
    static struct driver d;
    struct storm_shared *shared = NULL;
    int client_status = 0;
    uint64_t wrong = 0;

    d.options = *options;
    fly_rng_seed(&d.rng, options->seed ^ 0x5707);
    (void)snprintf(d.folder, sizeof d.folder, "/tmp/fly-storm.XXXXXX");
    if (mkdtemp(d.folder) == NULL) {
        err(1, "%s", d.folder);
    }
    (void)snprintf(d.file, sizeof d.file, "%s/records", d.folder);
    shared = storm_map(d.file, options->calls, true);
    (void)snprintf(d.urls[0], STORM_URL_SIZE, "tcp://127.0.0.1:%u", free_port());
    (void)snprintf(d.urls[1], STORM_URL_SIZE, "ipc://%s/one", d.folder);
    (void)snprintf(d.urls[2], STORM_URL_SIZE, "%stcp://127.0.0.1:%u", options->plain ? "" : "tls+",
                   free_port());
    for (size_t i = 0; i < STORM_SERVERS; i++) {
        start_server(&d, i);
    }
    client_status = rage(&d, start(&d, "--call", 0, STORM_SERVERS));
    stop_servers(&d);
    wrong = judge(shared, &d, client_status);
    storm_unmap(shared);
    (void)unlink(d.file);
    (void)unlink(d.urls[1] + sizeof "ipc://" - 1);
    (void)rmdir(d.folder);
    return wrong == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"calls", required_argument, NULL, 'n'},   {"seed", required_argument, NULL, 's'},
        {"threads", required_argument, NULL, 't'}, {"calm", no_argument, NULL, 'c'},
        {"plain", no_argument, NULL, 'p'},         {"strict", no_argument, NULL, 'x'},
        {"file", required_argument, NULL, 'f'},    {"serve", no_argument, NULL, 'S'},
        {"call", no_argument, NULL, 'C'},          {NULL, 0, NULL, 0}};
    struct storm_options options = {
        .program = "/proc/self/exe", .calls = 20000, .seed = 1, .threads = 8};
    int (*role)(const struct storm_options *) = drive;
    int option = 0;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'n':
            options.calls = strtoull(optarg, NULL, 10);
            break;
        case 's':
            options.seed = strtoull(optarg, NULL, 10);
            break;
        case 't':
            options.threads = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            options.calm = true;
            break;
        case 'p':
            options.plain = true;
            break;
        case 'x':
            options.strict = true;
            break;
        case 'f':
            options.file = optarg;
            break;
        case 'S':
            role = storm_serve;
            break;
        case 'C':
            role = storm_call;
            break;
        default:
            errx(64,
                 "usage: %s [--calls N] [--seed S] [--threads N] [--calm] [--plain] "
                 "[--strict]",
                 argv[0]);
        }
    }
    for (int i = optind; i < argc && options.url_count < STORM_SERVERS; i++) {
        options.urls[options.url_count++] = argv[i];
    }
    if (options.calls == 0 || options.threads == 0) {
        errx(64, "at least one call and one thread");
    }
    return role(&options);
}
