/*
 * journal_room - what the journal's tests share: a folder on a real disk under the build folder, a
 * loop, and a toy state machine whose whole state is a count, an index and a hash over every entry.
 */
#ifndef FLY_TESTS_JOURNAL_ROOM_H
#define FLY_TESTS_JOURNAL_ROOM_H

#include "node/slice/journal.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#if defined(__SANITIZE_THREAD__)
/* libuv closes a poll's descriptor before it takes it out of its epoll set; by then a pool thread
 * may have been given the number. Harmless (the set does not know it), and not ours to order. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race_top:epoll_ctl\n";
}
#endif

struct toy {
    uint64_t count, index, hash;
};

static inline void toy_fold(struct toy *toy, uint64_t index, uint64_t term, const uint8_t *data,
                            size_t size)
{
    uint64_t h = toy->hash != 0 ? toy->hash : 0xcbf29ce484222325u;
    uint8_t head[16];
    fly_store_u64(head, index);
    fly_store_u64(head + 8, term);
    for (size_t i = 0; i < sizeof head; i++) {
        h = (h ^ head[i]) * 0x100000001b3u;
    }
    for (size_t i = 0; i < size; i++) {
        h = (h ^ data[i]) * 0x100000001b3u;
    }
    toy->hash = h;
    toy->index = index;
    toy->count++;
}

struct room {
    uv_loop_t loop;
    char dir[256];
    struct journal *journal;
    struct journal_config config;
    struct toy toy;
    struct toy history[4096]; /* the state after each entry of this run, by count */
    size_t ballast;           /* bytes that a snapshot carries beside the state */
    uint64_t led_term;
    unsigned leads, fails, views, releases, restores, encode_failures;
    bool refuse_view;
    bool fail_encode;
    bool closed;
    struct fly_error failure;
    struct toy pictures[64];
    struct fly_error error;
};

static inline void room_apply(void *user, uint64_t index, uint64_t term, const uint8_t *data,
                              size_t size)
{
    struct room *room = user;
    FLY_CHECK(index > room->toy.index);
    toy_fold(&room->toy, index, term, data, size);
    if (room->toy.count < 4096) {
        room->history[room->toy.count] = room->toy;
    }
}

static inline void room_lead(void *user, uint64_t term)
{
    struct room *room = user;
    room->leads++;
    room->led_term = term;
}

static inline void room_failed(void *user, const struct fly_error *error)
{
    struct room *room = user;
    room->fails++;
    room->failure = *error;
}

static inline void *room_view(void *user)
{
    struct room *room = user;
    if (room->refuse_view) {
        return NULL;
    }
    struct toy *picture = &room->pictures[room->views++ % 64];
    *picture = room->toy;
    return picture;
}

static inline enum fly_status room_encode(void *user, void *view, uint8_t **data, size_t *size)
{
    struct room *room = user;
    const struct toy *picture = view;
    if (room->fail_encode) {
        return FLY_INTERNAL;
    }
    *size = 24 + room->ballast;
    *data = calloc(1, *size);
    fly_store_u64(*data, picture->count);
    fly_store_u64(*data + 8, picture->index);
    fly_store_u64(*data + 16, picture->hash);
    for (size_t i = 24; i < *size; i++) {
        (*data)[i] = (uint8_t)(i * 7);
    }
    return FLY_OK;
}

static inline void room_release(void *user, void *view)
{
    struct room *room = user;
    (void)view;
    room->releases++;
}

static inline enum fly_status toy_restore(struct toy *toy, const uint8_t *data, size_t size,
                                          struct fly_error *error)
{
    if (size < 24) {
        return fly_error_set(error, FLY_DATA_LOSS, "a toy snapshot of %zu bytes", size);
    }
    toy->count = fly_load_u64(data);
    toy->index = fly_load_u64(data + 8);
    toy->hash = fly_load_u64(data + 16);
    return FLY_OK;
}

static inline enum fly_status room_restore(void *user, const uint8_t *data, size_t size,
                                           struct fly_error *error)
{
    struct room *room = user;
    room->restores++;
    return toy_restore(&room->toy, data, size, error);
}

static inline int room_remove_one(const char *path, const struct stat *info, int type,
                                  struct FTW *at)
{
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

static inline void room_wipe(const char *dir)
{
    nftw(dir, room_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void room_copy_file(const char *from, const char *to)
{
    static char block[65536];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0600);
    ssize_t n;
    FLY_CHECK(in >= 0 && out >= 0);
    while ((n = read(in, block, sizeof block)) > 0) {
        FLY_CHECK(write(out, block, (size_t)n) == n);
    }
    FLY_CHECK(n == 0);
    close(in);
    close(out);
}

/* The files of a folder into a new one. */
static inline void room_copy(const char *from, const char *to)
{
    DIR *handle = opendir(from);
    const struct dirent *entry;
    room_wipe(to);
    FLY_CHECK(handle != NULL && mkdir(to, 0700) == 0);
    while ((entry = readdir(handle)) != NULL) {
        char a[1024], b[1024];
        if (entry->d_name[0] != '.') {
            snprintf(a, sizeof a, "%s/%s", from, entry->d_name);
            snprintf(b, sizeof b, "%s/%s", to, entry->d_name);
            room_copy_file(a, b);
        }
    }
    closedir(handle);
}

/* An empty folder `name` under the build folder, and a loop. */
static inline void room_init(struct room *room, const char *parent, const char *name)
{
    memset(room, 0, sizeof *room);
    snprintf(room->dir, sizeof room->dir, "%s/journal-%s-%d", parent, name, (int)getpid());
    room_wipe(room->dir);
    FLY_CHECK(mkdir(room->dir, 0700) == 0);
    FLY_CHECK(uv_loop_init(&room->loop) == 0);
    room->config = (struct journal_config){
        .dir = room->dir,
        .loop = &room->loop,
        .hooks = {.apply = room_apply,
                  .lead = room_lead,
                  .failed = room_failed,
                  .view = room_view,
                  .encode = room_encode,
                  .release = room_release,
                  .restore = room_restore},
        .user = room,
        .segment_bytes = 64 * 1024,
    };
}

static inline enum fly_status room_open(struct room *room)
{
    memset(&room->toy, 0, sizeof room->toy);
    room->closed = false;
    return journal_open(&room->journal, &room->config, &room->error);
}

static inline void room_closed(void *user)
{
    struct room *room = user;
    room->closed = true;
    room->journal = NULL;
}

/* Runs the loop until nothing is left on it: after a close, or a failed open. */
static inline void room_drain(struct room *room)
{
    uv_run(&room->loop, UV_RUN_DEFAULT);
}

static inline void room_close(struct room *room)
{
    if (room->journal != NULL) {
        journal_close(room->journal, room_closed, room);
        while (!room->closed) {
            uv_run(&room->loop, UV_RUN_ONCE);
        }
    }
}

static inline void room_fini(struct room *room)
{
    room_close(room);
    room_drain(room);
    FLY_CHECK(uv_loop_close(&room->loop) == 0);
    room_wipe(room->dir);
}

/* Turns until lead() came, or failed(). */
static inline void room_lead_wait(struct room *room)
{
    unsigned before = room->leads;
    while (room->leads == before && room->fails == 0) {
        uv_run(&room->loop, UV_RUN_ONCE);
    }
}

static inline void room_run_until(struct room *room, uint64_t count)
{
    while (room->toy.count < count && room->fails == 0) {
        uv_run(&room->loop, UV_RUN_ONCE);
    }
}

/* Entry `number` of a run: its bytes follow from the number. */
static inline size_t room_entry(uint64_t number, uint8_t *out, size_t max)
{
    size_t size = 24 + (size_t)(number * 37 % 177);
    FLY_CHECK(size <= max);
    for (size_t i = 0; i < size; i++) {
        out[i] = (uint8_t)(number * 131 + i * 29 + 1);
    }
    fly_store_u64(out, number);
    return size;
}

static inline enum fly_status room_append(struct room *room, uint64_t number)
{
    uint8_t data[256];
    size_t size = room_entry(number, data, sizeof data);
    return journal_append(room->journal, data, size, &room->error);
}

#endif
