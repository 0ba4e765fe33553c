#include "dash/assets.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zlib.h>

#include "dash/assets_table.h"
#include "proto/base/check.h"

struct assets {
    int folder; /* below 0: the pages in the program */
};

enum fly_status assets_create(struct assets **out, const char *ui_dir, struct fly_error *error)
{
    int folder = -1;
    if (ui_dir != NULL) {
        folder = open(ui_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "dash: pages in %s: %s", ui_dir,
                                 strerror(errno));
        }
    }
    struct assets *assets = calloc(1, sizeof *assets);
    FLY_CHECK(assets != NULL);
    assets->folder = folder;
    *out = assets;
    return FLY_OK;
}

void assets_destroy(struct assets *assets)
{
    if (assets->folder >= 0) {
        close(assets->folder);
    }
    free(assets);
}

static bool table_find(const char *path, struct asset *out)
{
    for (size_t i = 0; i < assets_table_count; i++) {
        const struct assets_row *row = &assets_table[i];
        if (strcmp(row->path, path) == 0) {
            *out = (struct asset){
                .mime = row->mime,
                .etag = row->etag,
                .immutable = strcmp(path, "/index.html") != 0 && row->hashed,
                .gzipped = true,
                .bytes = {row->begin, (size_t)(row->end - row->begin)},
            };
            return true;
        }
    }
    return false;
}

static const char *mime_of(const char *path)
{
    static const struct {
        const char *end;
        const char *mime;
    } known[] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".json", "application/json"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".woff2", "font/woff2"},
        {".txt", "text/plain; charset=utf-8"},
        {".map", "application/json"},
    };
    size_t size = strlen(path);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(known); i++) {
        size_t end = strlen(known[i].end);
        if (size > end && strcmp(path + size - end, known[i].end) == 0) {
            return known[i].mime;
        }
    }
    return "application/octet-stream";
}

/* A plain file below the folder, whatever the path says. */
static int open_below(int folder, const char *path)
{
    struct open_how how = {
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
}

static bool read_all(int fd, uint8_t *out, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = read(fd, out + done, size - done);
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

static bool folder_find(int folder, const char *path, bool gzipped, struct asset *out)
{
    char name[512];
    int size = snprintf(name, sizeof name, "%s%s", path + 1, gzipped ? ".gz" : "");
    int fd = size < (int)sizeof name ? open_below(folder, name) : -1;
    if (fd < 0) {
        return false;
    }
    struct stat at;
    bool ok = fstat(fd, &at) == 0 && S_ISREG(at.st_mode) && at.st_size <= ASSETS_FILE_BYTES_MAX;
    uint8_t *bytes = ok ? malloc((size_t)at.st_size + 1) : NULL;
    ok = bytes != NULL && read_all(fd, bytes, (size_t)at.st_size);
    close(fd);
    if (!ok) {
        free(bytes);
        return false;
    }
    *out = (struct asset){.mime = mime_of(path),
                          .etag = "",
                          .gzipped = gzipped,
                          .bytes = {bytes, (size_t)at.st_size},
                          .owned = bytes};
    return true;
}

bool assets_find(const struct assets *assets, const char *path, struct asset *out)
{
    /* A page's own paths have no dot: the page finds its view itself. */
    const char *file = strchr(path, '.') == NULL ? "/index.html" : path;
    if (file[0] != '/') {
        return false;
    }
    if (assets->folder < 0) {
        return table_find(file, out);
    }
    return folder_find(assets->folder, file, false, out) ||
           folder_find(assets->folder, file, true, out);
}

uint8_t *assets_inflate(struct fly_bytes gzipped, size_t *size)
{
    z_stream z;
    memset(&z, 0, sizeof z);
    FLY_CHECK(inflateInit2(&z, 15 + 16) == Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)gzipped.data;
    z.avail_in = (unsigned)gzipped.size;
    size_t room = 64 * 1024;
    uint8_t *out = malloc(room);
    FLY_CHECK(out != NULL);
    int status = Z_OK;
    while (status == Z_OK) {
        if (z.total_out == room && room < ASSETS_FILE_BYTES_MAX) {
            room *= 2;
            uint8_t *grown = realloc(out, room);
            FLY_CHECK(grown != NULL);
            out = grown;
        }
        z.next_out = out + z.total_out;
        z.avail_out = (unsigned)(room - z.total_out);
        status = inflate(&z, Z_NO_FLUSH); /* Z_BUF_ERROR: no room, or the end is missing */
    }
    *size = z.total_out;
    inflateEnd(&z);
    if (status != Z_STREAM_END) {
        free(out);
        return NULL;
    }
    return out;
}
