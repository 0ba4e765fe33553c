/*
 * overload - row 11: ten times as many calls as a server can do, and what of them comes in time.
 *
 *   bench_rpc_overload [--workers N] [--work-us N] [--deadline-ms N] [--ms N] [--times N] [--rounds
 * N]
 *
 * The server is this program, executed again; its handler burns 200 µs of CPU on a worker and
 * counts calls that it begins after their deadline. The client measures the capacity (so many in
 * flight that the workers are busy), then sends by the clock, whether answers come or not: nine
 * tenths of the capacity, ten times the capacity, nine tenths again. Good is a reply within its
 * deadline.
 *
 * Prints JSON lines; the exit code is 1 unless goodput under overload is at least 90 % of the
 * capacity, no late call was begun, and goodput is back within 100 ms.
 */
#include <err.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "storm.rpc.h"

enum {
    CHANNELS = 4,
    CLOSED_LOOP = 32, /* in flight while the capacity is measured */
    SLICE_MS = 10,
    SLICES_MAX = 6000, /* of a round */
    ROUNDS_MAX = 99,
    WINDOW = 5, /* slices that recovery is looked at in */
    PACE_US = 500,
    URL_SIZE = 64,
};

struct shared {
    char url[URL_SIZE];
    atomic_bool ready;
    atomic_uint_fast64_t runs;
    atomic_uint_fast64_t late_runs;
    atomic_int_fast64_t latest_us; /* of the late ones */
};

static struct options {
    unsigned workers;
    unsigned work_us;
    int64_t deadline_ms;
    int64_t phase_ms;
    unsigned times;
    unsigned rounds;
} options = {
    .workers = 1, .work_us = 200, .deadline_ms = 100, .phase_ms = 1000, .times = 10, .rounds = 5};

/* ---- the server ---- */

static int64_t thread_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void one(void *user, struct rpc_call *call, const Storm__Ask *ask)
{
    struct shared *shared = user;
    int64_t over_us = fly_clock_boot_us() - rpc_call_deadline_ms(call) * 1000;
    int64_t end_ns = thread_ns() + (int64_t)ask->work_us * 1000;
    Storm__Said said = STORM__SAID__INIT;

    atomic_fetch_add(&shared->runs, 1);
    if (over_us > 0) {
        atomic_fetch_add(&shared->late_runs, 1);
        if (over_us > atomic_load(&shared->latest_us)) {
            atomic_store(&shared->latest_us, over_us);
        }
    }
    while (thread_ns() < end_ns) {
    }
    said.id = ask->id;
    storm_storm_one_reply(call, &said);
}

static int serve(struct shared *shared)
{
    static const struct storm_storm_handlers handlers = {.one = one};
    const char *url = "tcp://127.0.0.1:0";
    struct rpc_service service = storm_storm_serve(&handlers, shared);
    struct rpc_server_config config = {.urls = &url,
                                       .url_count = 1,
                                       .services = &service,
                                       .service_count = 1,
                                       .workers = options.workers,
                                       .calls_max = 8192};
    struct rpc_server *server = NULL;
    struct fly_error error = {.text = ""};
    sigset_t term;
    int number = 0;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)sigemptyset(&term);
    (void)sigaddset(&term, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &term, NULL);
    if (rpc_server_create(&server, &config, &error) != FLY_OK) {
        errx(1, "server: %s", error.text);
    }
    (void)snprintf(shared->url, sizeof shared->url, "%s", rpc_server_url(server, 0));
    atomic_store(&shared->ready, true);
    (void)sigwait(&term, &number);
    rpc_server_destroy(server);
    return 0;
}

/* ---- the client ---- */

static struct {
    struct rpc_channel *channels[CHANNELS];
    int64_t began_us;
    atomic_uint good[SLICES_MAX];
    atomic_uint_fast64_t ended[FLY_STATUS_COUNT];
    atomic_uint_fast64_t in_flight;
    atomic_bool closed_loop;
} client;

static void start_one(unsigned turn);

static void done(void *user, struct rpc_reply *reply)
{
    int64_t now_us = fly_clock_boot_us();
    int64_t deadline_us = (int64_t)(intptr_t)user;
    int64_t slice = (now_us - client.began_us) / (SLICE_MS * 1000);

    atomic_fetch_add(&client.ended[reply->status], 1);
    if (reply->status == FLY_OK && now_us <= deadline_us && slice < SLICES_MAX) {
        atomic_fetch_add(&client.good[slice], 1);
    }
    atomic_fetch_sub(&client.in_flight, 1);
    if (atomic_load(&client.closed_loop)) {
        start_one((unsigned)now_us);
    }
}

static void start_one(unsigned turn)
{
    Storm__Ask ask = STORM__ASK__INIT;
    struct rpc_call_options call = {.timeout_ms = options.deadline_ms};
    int64_t deadline_us = fly_clock_boot_us() + options.deadline_ms * 1000;
    enum fly_status status = FLY_OK;

    ask.work_us = options.work_us;
    atomic_fetch_add(&client.in_flight, 1);
    status = rpc_channel_start(client.channels[turn % CHANNELS], &storm_storm_one, &ask.base, &call,
                               done, (void *)(intptr_t)deadline_us, NULL);
    if (status != FLY_OK) { /* refused here: calls_max, out_max */
        atomic_fetch_add(&client.ended[status], 1);
        atomic_fetch_sub(&client.in_flight, 1);
    }
}

static unsigned slice_now(void)
{
    return (unsigned)((fly_clock_boot_us() - client.began_us) / (SLICE_MS * 1000));
}

static double good_between(unsigned from, unsigned to)
{
    double sum = 0;

    for (unsigned i = from; i < to && i < SLICES_MAX; i++) {
        sum += atomic_load(&client.good[i]);
    }
    return sum * 1000 / SLICE_MS / (to > from ? to - from : 1);
}

static void await_silence(void)
{
    while (atomic_load(&client.in_flight) > 0) {
        (void)usleep(1000);
    }
}

/* Replies a second while the workers are never idle. */
static double measure_capacity(void)
{
    unsigned from = 0;
    double capacity = 0;

    atomic_store(&client.closed_loop, true);
    for (unsigned i = 0; i < CLOSED_LOOP; i++) {
        start_one(i);
    }
    (void)usleep(200000);
    from = slice_now() + 1;
    (void)usleep((useconds_t)(options.phase_ms * 1000 / 2));
    capacity = good_between(from, slice_now());
    atomic_store(&client.closed_loop, false);
    await_silence();
    return capacity;
}

/* Sends `rate` calls a second for the time of a phase; returns how many that were a second. */
static double send_by_the_clock(double rate)
{
    int64_t began_us = fly_clock_boot_us();
    int64_t now_us = began_us;
    uint64_t sent = 0;

    while (now_us - began_us < options.phase_ms * 1000) {
        uint64_t due = (uint64_t)(rate * (double)(now_us - began_us) / 1e6);

        rpc_batch_begin();
        for (; sent < due; sent++) {
            start_one((unsigned)sent);
        }
        rpc_batch_end();
        (void)usleep(PACE_US);
        now_us = fly_clock_boot_us();
    }
    return (double)sent * 1e6 / (double)(now_us - began_us);
}

/* From slice `end` on: ms until a window of goodput is what was offered, or -1. */
static int64_t recovery_ms(unsigned end, unsigned last, double offered)
{
    for (unsigned i = end; i + WINDOW <= last; i++) {
        if (good_between(i, i + WINDOW) >= 0.95 * offered) {
            return (int64_t)(i - end) * SLICE_MS;
        }
    }
    return -1;
}

static void open_channels(const struct shared *shared)
{
    for (size_t i = 0; i < CHANNELS; i++) {
        struct rpc_channel_config config = {.url = shared->url, .calls_max = 8192};
        struct fly_error error = {.text = ""};

        if (rpc_channel_open(&client.channels[i], &config, &error) != FLY_OK) {
            errx(1, "client: %s", error.text);
        }
    }
}

struct round {
    double capacity;
    double offered;
    double goodput;
    double ratio;
    double recovery_ms; /* a time that no round has: it never came back */
};

static struct round measure_round(void)
{
    struct round round = {0};
    double offered[3] = {0};
    unsigned at[4] = {0};
    double before = 0;
    int64_t recovered_ms = 0;

    memset(client.good, 0, sizeof client.good);
    client.began_us = fly_clock_boot_us();
    round.capacity = measure_capacity();
    for (int phase = 0; phase < 3; phase++) {
        double rate = round.capacity * (phase == 1 ? options.times : 0.9);

        at[phase] = slice_now();
        offered[phase] = send_by_the_clock(rate);
    }
    at[3] = slice_now();
    await_silence();
    before = good_between(at[0] + 1, at[1]);
    round.offered = offered[1];
    round.goodput = good_between(at[1], at[2]);
    recovered_ms = recovery_ms(at[2], at[3], offered[2] < before ? offered[2] : before);
    round.recovery_ms = recovered_ms < 0 ? 1e9 : (double)recovered_ms;
    round.capacity = (round.capacity + measure_capacity()) / 2;
    round.ratio = round.goodput / round.capacity;
    return round;
}

static void print_round(const char *figure, const struct round *round)
{
    (void)printf(
        "{\"row\":\"11\",\"figure\":\"%s\",\"workers\":%u,\"work_us\":%u,\"deadline_ms\":%" PRId64
        ",\"capacity_per_s\":%.0f,\"offered_per_s\":%.0f,\"goodput_per_s\":%.0f,"
        "\"ratio\":%.3f,\"recovery_ms\":%.0f",
        figure, options.workers, options.work_us, options.deadline_ms, round->capacity,
        round->offered, round->goodput, round->ratio, round->recovery_ms);
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;

    return (left > right) - (left < right);
}

/* Of the member at `offset`. */
static double median(const struct round *rounds, size_t offset)
{
    double values[ROUNDS_MAX];

    for (unsigned i = 0; i < options.rounds; i++) {
        memcpy(&values[i], (const char *)&rounds[i] + offset, sizeof values[i]);
    }
    qsort(values, options.rounds, sizeof values[0], by_size);
    return values[options.rounds / 2];
}

static bool measure(struct shared *shared)
{
    static struct round rounds[ROUNDS_MAX];
    struct round all = {0};
    uint64_t late_runs = 0;
    bool pass = false;

    open_channels(shared);
    for (unsigned i = 0; i < options.rounds; i++) {
        rounds[i] = measure_round();
        print_round("overload_round", &rounds[i]);
        (void)printf("}\n");
        (void)fflush(stdout);
    }
    all.capacity = median(rounds, offsetof(struct round, capacity));
    all.offered = median(rounds, offsetof(struct round, offered));
    all.goodput = median(rounds, offsetof(struct round, goodput));
    all.ratio = median(rounds, offsetof(struct round, ratio));
    all.recovery_ms = median(rounds, offsetof(struct round, recovery_ms));
    late_runs = atomic_load(&shared->late_runs);
    pass = all.ratio >= 0.9 && late_runs == 0 && all.recovery_ms <= 100;
    print_round("overload", &all);
    (void)printf(",\"runs\":%" PRIu64 ",\"late_runs\":%" PRIu64 ",\"latest_us\":%" PRId64,
                 (uint64_t)atomic_load(&shared->runs), late_runs,
                 (int64_t)atomic_load(&shared->latest_us));
    for (uint32_t i = 0; i < FLY_STATUS_COUNT; i++) {
        if (atomic_load(&client.ended[i]) > 0) {
            (void)printf(",\"%s\":%" PRIu64, fly_status_name((enum fly_status)i),
                         (uint64_t)atomic_load(&client.ended[i]));
        }
    }
    (void)printf(",\"pass\":%s}\n", pass ? "true" : "false");
    for (size_t i = 0; i < CHANNELS; i++) {
        rpc_channel_close(client.channels[i]);
    }
    return pass;
}

static struct shared *map(int fd)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (shared == MAP_FAILED) {
        err(1, "mmap");
    }
    return shared;
}

/* Before the first call of the library: nng does not survive a fork. */
static pid_t start_server(int fd, char **argv)
{
    char number[16];
    pid_t pid = fork();

    if (pid < 0) {
        err(1, "fork");
    }
    if (pid == 0) {
        (void)snprintf(number, sizeof number, "%d", fd);
        (void)setenv("OVERLOAD_SERVER_FD", number, 1);
        (void)execv("/proc/self/exe", argv);
        err(1, "execv");
    }
    return pid;
}

static int run(char **argv)
{
    int fd = memfd_create("overload", 0);
    struct shared *shared = NULL;
    pid_t server = 0;
    int status = 0;
    bool pass = false;

    if (fd < 0 || ftruncate(fd, sizeof *shared) != 0) {
        err(1, "memfd");
    }
    shared = map(fd);
    server = start_server(fd, argv);
    while (!atomic_load(&shared->ready)) {
        if (waitpid(server, &status, WNOHANG) == server) {
            errx(1, "the server did not start");
        }
        (void)usleep(1000);
    }
    pass = measure(shared);
    (void)kill(server, SIGTERM);
    (void)waitpid(server, &status, 0);
    return pass && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"workers", required_argument, NULL, 'w'},     {"work-us", required_argument, NULL, 'u'},
        {"deadline-ms", required_argument, NULL, 'd'}, {"ms", required_argument, NULL, 'm'},
        {"times", required_argument, NULL, 't'},       {NULL, 0, NULL, 0}};
    const char *server_fd = getenv("OVERLOAD_SERVER_FD");
    int option = 0;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        unsigned value = optarg != NULL ? (unsigned)strtoul(optarg, NULL, 10) : 0;

        switch (option) {
        case 'w':
            options.workers = value;
            break;
        case 'u':
            options.work_us = value;
            break;
        case 'd':
            options.deadline_ms = value;
            break;
        case 'm':
            options.phase_ms = value;
            break;
        case 't':
            options.times = value;
            break;
        case 'r':
            options.rounds = value;
            break;
        default:
            return 64;
        }
    }
    if (options.workers == 0 || options.deadline_ms == 0 || options.times == 0 ||
        options.rounds == 0 || options.rounds > ROUNDS_MAX ||
        options.phase_ms * 5 > SLICES_MAX * SLICE_MS) {
        errx(64, "out of range");
    }
    return server_fd != NULL ? serve(map((int)strtol(server_fd, NULL, 10))) : run(argv);
}
