#include "node/peers_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/check.h"
#include "proto/base/log.h"

static const char name[] = "peers";
static const char beside[] = "peers.tmp";

/* A text on its way; large, and touched only as far as it is filled. */
struct load {
    char *text;
    size_t size; /* 0: nothing */
    uint64_t version;
};

struct peers_file {
    pthread_t thread;
    pthread_mutex_t lock; /* never held over a call to the disk */
    pthread_cond_t changed;
    int folder;
    struct load waiting; /* under the lock */
    uint64_t durable;    /* version on the disk; under the lock */
    bool again;          /* the last write failed; under the lock */
    bool stop;           /* under the lock */
    struct load writing; /* the writer's own */
    uint64_t handed;     /* the loop's own: version last handed over */
    int64_t next_ms;
};

static uint64_t version_of(const struct peers *p, const struct seen *s)
{
    return peers_version(p) + seen_version(s); /* both only grow */
}

/* --- reading --- */

static enum fly_status read_whole(int fd, char *out, size_t *size, struct fly_error *error)
{
    *size = 0;
    for (;;) {
        ssize_t n = read(fd, out + *size, PEERS_TEXT_SIZE_MAX + 1 - *size);
        if (n < 0 && errno != EINTR) {
            return fly_error_set(error, FLY_UNAVAILABLE, "%s", strerror(errno));
        }
        if (n == 0) {
            return FLY_OK;
        }
        *size += n > 0 ? (size_t)n : 0;
        if (*size > PEERS_TEXT_SIZE_MAX) {
            return fly_error_set(error, FLY_DATA_LOSS, "too long to be ours");
        }
    }
}

static enum fly_status check_file(int fd, struct fly_error *error)
{
    struct stat info;

    if (fstat(fd, &info) != 0) {
        return fly_error_set(error, FLY_UNAVAILABLE, "%s", strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION, "not a file");
    }
    if (info.st_uid != geteuid() || (info.st_mode & 022) != 0) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION,
                             "others may write it; it must be yours, with mode 600");
    }
    return FLY_OK;
}

enum fly_status peers_file_load(const char *dir, struct peers *p, struct seen *s,
                                struct fly_error *error)
{
    char path[4096];
    size_t size = 0;

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT
                   ? FLY_OK
                   : fly_error_set(error, FLY_UNAVAILABLE, "%s: %s", path, strerror(errno));
    }
    char *text = malloc(PEERS_TEXT_SIZE_MAX + 1);
    enum fly_status status = text != NULL
                                 ? check_file(fd, error)
                                 : fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "no memory");
    if (status == FLY_OK) {
        status = read_whole(fd, text, &size, error);
    }
    if (status == FLY_OK && peers_decode(text, size, p, s, error) != FLY_OK) {
        (void)fly_error_wrap(error, "damaged");
        status = FLY_DATA_LOSS;
    }
    free(text);
    (void)close(fd);
    if (status == FLY_DATA_LOSS && error != NULL) {
        char why[FLY_ERROR_TEXT_SIZE];
        (void)snprintf(why, sizeof why, "%s", error->text);
        (void)fly_error_set(error, FLY_DATA_LOSS,
                            "%.200s: %.200s; bring it back from a backup, or remove it: then this "
                            "node no longer knows what it saw of others' slices",
                            path, why);
        return FLY_DATA_LOSS;
    }
    return status == FLY_OK ? FLY_OK : fly_error_wrap(error, "%.200s", path);
}

/* --- the writer --- */

static bool write_whole(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, text, size);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        text += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* The file appears whole or not at all, also after a power loss. 0, or errno. */
static int put_file(int folder, const struct load *load)
{
    int fd = openat(folder, beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0) {
        return errno;
    }
    bool good = fchmod(fd, 0600) == 0 && write_whole(fd, load->text, load->size) && fsync(fd) == 0;
    int why = good ? 0 : errno;
    (void)close(fd);
    if (good && (renameat(folder, beside, folder, name) != 0 || fsync(folder) != 0)) {
        why = errno;
    }
    return why;
}

/* Waits for a text and takes it; false: there is none and none will come. */
static bool take(struct peers_file *f)
{
    FLY_CHECK(pthread_mutex_lock(&f->lock) == 0);
    while (f->waiting.size == 0 && !f->stop) {
        (void)pthread_cond_wait(&f->changed, &f->lock);
    }
    struct load taken = f->waiting;
    f->waiting = f->writing;
    f->waiting.size = 0;
    f->writing = taken;
    FLY_CHECK(pthread_mutex_unlock(&f->lock) == 0);
    return taken.size > 0;
}

static void *run(void *user)
{
    struct peers_file *f = user;
    int was = 0;

    while (take(f)) {
        int why = put_file(f->folder, &f->writing);
        if (why != was && why != 0) {
            fly_log_warn("peers.not_saved", F_STR("error", strerror(why)));
        } else if (why != was) {
            fly_log_info("peers.saved", F_U64("bytes", f->writing.size));
        }
        was = why;
        FLY_CHECK(pthread_mutex_lock(&f->lock) == 0);
        f->again = why != 0;
        f->durable = why == 0 ? f->writing.version : f->durable;
        FLY_CHECK(pthread_mutex_unlock(&f->lock) == 0);
    }
    return NULL;
}

/* --- the loop's side --- */

static void release(struct peers_file *f)
{
    (void)pthread_cond_destroy(&f->changed);
    (void)pthread_mutex_destroy(&f->lock);
    if (f->folder >= 0) {
        (void)close(f->folder);
    }
    free(f->waiting.text);
    free(f->writing.text);
    free(f);
}

enum fly_status peers_file_create(struct peers_file **out, const char *dir, const struct peers *p,
                                  const struct seen *s, struct fly_error *error)
{
    struct peers_file *f = calloc(1, sizeof *f);
    sigset_t all;
    sigset_t before;

    if (f == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "peers: no memory");
    }
    FLY_CHECK(pthread_mutex_init(&f->lock, NULL) == 0);
    FLY_CHECK(pthread_cond_init(&f->changed, NULL) == 0);
    f->folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->waiting.text = malloc(PEERS_TEXT_SIZE_MAX);
    f->writing.text = malloc(PEERS_TEXT_SIZE_MAX);
    f->handed = version_of(p, s);
    f->durable = f->handed;
    if (f->folder < 0) {
        enum fly_status status =
            fly_error_set(error, FLY_UNAVAILABLE, "%s: %s", dir, strerror(errno));
        release(f);
        return status;
    }
    (void)sigfillset(&all); /* the loop's signals stay the loop's */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = f->waiting.text != NULL && f->writing.text != NULL &&
                   pthread_create(&f->thread, NULL, run, f) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!started) {
        release(f);
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "peers: no memory or no thread");
    }
    *out = f;
    return FLY_OK;
}

void peers_file_tick(struct peers_file *f, const struct peers *p, const struct seen *s,
                     int64_t now_ms, bool urgent)
{
    uint64_t version = version_of(p, s);

    if (now_ms < f->next_ms && !urgent) {
        return;
    }
    FLY_CHECK(pthread_mutex_lock(&f->lock) == 0);
    if (version != f->handed || f->again) {
        f->waiting.size = peers_encode(p, s, f->waiting.text, PEERS_TEXT_SIZE_MAX);
        f->waiting.version = version;
        FLY_CHECK(f->waiting.size > 0);
        f->handed = version;
        f->again = false;
        f->next_ms = now_ms + PEERS_FILE_INTERVAL_MS;
        FLY_CHECK(pthread_cond_signal(&f->changed) == 0);
    }
    FLY_CHECK(pthread_mutex_unlock(&f->lock) == 0);
}

bool peers_file_saved(struct peers_file *f, const struct peers *p, const struct seen *s)
{
    FLY_CHECK(pthread_mutex_lock(&f->lock) == 0);
    bool saved = f->durable == version_of(p, s);
    FLY_CHECK(pthread_mutex_unlock(&f->lock) == 0);
    return saved;
}

void peers_file_destroy(struct peers_file *f, const struct peers *p, const struct seen *s)
{
    struct timespec until;

    peers_file_tick(f, p, s, 0, true);
    FLY_CHECK(pthread_mutex_lock(&f->lock) == 0);
    f->stop = true;
    FLY_CHECK(pthread_cond_signal(&f->changed) == 0);
    FLY_CHECK(pthread_mutex_unlock(&f->lock) == 0);
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PEERS_FILE_CLOSE_MS / 1000;
    if (pthread_timedjoin_np(f->thread, NULL, &until) == 0) {
        release(f);
    }
}
