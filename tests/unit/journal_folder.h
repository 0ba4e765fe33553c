/*
 * journal_folder - a slice folder in memory and what the pure reader says of it, for
 * test_segment.c. Include cmocka first.
 */
#ifndef FLY_TESTS_JOURNAL_FOLDER_H
#define FLY_TESTS_JOURNAL_FOLDER_H

#include "node/slice/segment_check.h"
#include "tests/unit/journal_room.h"

enum { FILES_MAX = 64 };

struct image {
    char name[SEGMENT_NAME_MAX];
    uint8_t *data;
    size_t size;
};

/* A folder in memory, and what a check of it says. */
struct folder {
    struct image images[FILES_MAX];
    size_t count;
};

struct verdict {
    enum fly_status status;
    struct fly_error error;
    struct toy toy;
    struct segment_check check;
    struct segment_file files[FILES_MAX];
};

static struct segment_crc crc;

static inline struct image *folder_find(struct folder *folder, const char *name)
{
    for (size_t i = 0; i < folder->count; i++) {
        if (strcmp(folder->images[i].name, name) == 0) {
            return &folder->images[i];
        }
    }
    return NULL;
}

static inline enum fly_status folder_read(void *user, const char *file, size_t max,
                                          struct fly_bytes *out, struct fly_error *error)
{
    const struct image *image = folder_find(user, file);
    if (image == NULL) {
        return fly_error_set(error, FLY_NOT_FOUND, "%s: no such file", file);
    }
    if (image->size > max) {
        return fly_error_set(error, FLY_DATA_LOSS, "%s: offset %zu: too large", file, max);
    }
    out->data = image->data;
    out->size = image->size;
    return FLY_OK;
}

static inline enum fly_status visit_snapshot(void *user, uint64_t index, uint64_t term,
                                             const uint8_t *data, size_t size,
                                             struct fly_error *error)
{
    (void)index;
    (void)term;
    return toy_restore(user, data, size, error);
}

static inline enum fly_status visit_entry(void *user, uint64_t index, uint64_t term,
                                          const uint8_t *data, size_t size, struct fly_error *error)
{
    (void)error;
    toy_fold(user, index, term, data, size);
    return FLY_OK;
}

static const struct segment_visitor visitor = {visit_snapshot, visit_entry};

static inline void folder_check(struct folder *folder, struct verdict *v)
{
    const struct segment_source source = {folder, folder_read};
    memset(&v->toy, 0, sizeof v->toy);
    memset(&v->check, 0, sizeof v->check);
    v->error.text[0] = 0;
    v->check.crc = &crc;
    v->check.files = v->files;
    v->status = FLY_OK;
    for (size_t i = 0; i < folder->count && v->status == FLY_OK; i++) {
        struct segment_file file;
        bool wanted = false, accept = false;
        v->status = segment_file_take(&file, folder->images[i].name, &wanted, &accept, &v->error);
        v->check.accepted = v->check.accepted || accept;
        if (v->status == FLY_OK && wanted) {
            size_t at = v->check.file_count++;
            for (; at > 0 && segment_file_compare(&v->files[at - 1], &file) > 0; at--) {
                v->files[at] = v->files[at - 1];
            }
            v->files[at] = file;
        }
    }
    if (v->status == FLY_OK) {
        v->status = segment_check_run(&v->check, &source, &visitor, &v->toy, &v->error);
    }
}

static inline void folder_load(struct folder *folder, const char *dir)
{
    DIR *handle = opendir(dir);
    const struct dirent *entry;
    assert_non_null(handle);
    folder->count = 0;
    while ((entry = readdir(handle)) != NULL) {
        char path[1024];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        assert_int_equal(stat(path, &info), 0);
        if (!S_ISREG(info.st_mode)) {
            continue;
        }
        assert_true(folder->count < FILES_MAX);
        struct image *image = &folder->images[folder->count++];
        snprintf(image->name, sizeof image->name, "%s", entry->d_name);
        image->size = (size_t)info.st_size;
        image->data = malloc(image->size + 1);
        int fd = open(path, O_RDONLY);
        assert_int_equal(read(fd, image->data, image->size), (ssize_t)image->size);
        close(fd);
    }
    closedir(handle);
}

static inline void folder_drop(struct folder *folder)
{
    for (size_t i = 0; i < folder->count; i++) {
        free(folder->images[i].data);
    }
    folder->count = 0;
}

static inline void folder_store(const struct folder *folder, const char *dir)
{
    room_wipe(dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    for (size_t i = 0; i < folder->count; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", dir, folder->images[i].name);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        assert_int_equal(write(fd, folder->images[i].data, folder->images[i].size),
                         (ssize_t)folder->images[i].size);
        close(fd);
    }
}

#endif
