#include "node/inventory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/inventory_parts.h"

struct inventory_set_slot {
    char *text;
    uint32_t number;
};

void inventory_fini(struct inventory *inventory)
{
    free(inventory->regions);
    free(inventory->machines);
    for (size_t i = 0; i < inventory->warning_count; i++) {
        free(inventory->warnings[i]);
    }
    *inventory = (struct inventory){0};
}

const struct inventory_region *inventory_find_region(const struct inventory *inventory,
                                                     const char *code)
{
    for (size_t i = 0; i < inventory->region_count; i++) {
        if (strcasecmp(inventory->regions[i].code, code) == 0) {
            return &inventory->regions[i];
        }
    }
    return NULL;
}

void inventory_warn(struct inventory *inventory, const char *format, ...)
{
    char *line = NULL;
    va_list args;

    va_start(args, format);
    if (inventory->warning_count == INVENTORY_WARNINGS_MAX || vasprintf(&line, format, args) < 0) {
        inventory->warnings_lost++;
    } else {
        inventory->warnings[inventory->warning_count++] = line;
    }
    va_end(args);
}

enum fly_status inventory_add_machine(struct inventory *inventory,
                                      const struct inventory_machine *machine,
                                      struct fly_error *error)
{
    size_t count = inventory->machine_count;

    for (size_t i = 0; i < count; i++) {
        if (strcmp(inventory->machines[i].name, machine->name) == 0) {
            return fly_error_set(error, FLY_ALREADY_EXISTS, "machine %s is there already",
                                 machine->name);
        }
    }
    struct inventory_machine *all = count < INVENTORY_MACHINES_MAX
                                        ? realloc(inventory->machines, (count + 1) * sizeof *all)
                                        : NULL;
    if (all == NULL) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "no room for machine %s",
                             machine->name);
    }
    all[count] = *machine;
    inventory->machines = all;
    inventory->machine_count++;
    return FLY_OK;
}

bool inventory_reserve(void **items, size_t *room, size_t count, size_t item_size)
{
    if (count < *room) {
        return true;
    }
    size_t more = *room == 0 ? 64 : *room * 2;
    void *grown = realloc(*items, more * item_size);
    if (grown == NULL) {
        return false;
    }
    *items = grown;
    *room = more;
    return true;
}

uint32_t inventory_hash(const char *text)
{
    uint32_t hash = UINT32_C(2166136261);

    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * UINT32_C(16777619);
    }
    return hash;
}

/* The slot that holds text, or the empty one where it belongs. */
static struct inventory_set_slot *set_find(const struct inventory_set *set, const char *text)
{
    size_t at = inventory_hash(text) & (set->slot_count - 1);

    while (set->slots[at].text != NULL && strcmp(set->slots[at].text, text) != 0) {
        at = (at + 1) & (set->slot_count - 1);
    }
    return &set->slots[at];
}

static bool set_grow(struct inventory_set *set)
{
    struct inventory_set bigger = {.slot_count = set->slot_count == 0 ? 256 : set->slot_count * 2,
                                   .used = set->used};

    bigger.slots = calloc(bigger.slot_count, sizeof *bigger.slots);
    if (bigger.slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < set->slot_count; i++) {
        if (set->slots[i].text != NULL) {
            *set_find(&bigger, set->slots[i].text) = set->slots[i];
        }
    }
    free(set->slots);
    *set = bigger;
    return true;
}

enum inventory_set_answer inventory_set_put(struct inventory_set *set, const char *text,
                                            uint32_t *number)
{
    if (set->used * 2 >= set->slot_count && !set_grow(set)) {
        return INVENTORY_SET_NO_MEMORY;
    }
    struct inventory_set_slot *slot = set_find(set, text);
    if (slot->text != NULL) {
        *number = slot->number;
        return INVENTORY_SET_THERE;
    }
    slot->text = strdup(text);
    if (slot->text == NULL) {
        return INVENTORY_SET_NO_MEMORY;
    }
    slot->number = *number;
    set->used++;
    return INVENTORY_SET_NEW;
}

void inventory_set_fini(struct inventory_set *set)
{
    for (size_t i = 0; i < set->slot_count; i++) {
        free(set->slots[i].text);
    }
    free(set->slots);
    *set = (struct inventory_set){0};
}

static enum fly_status refuse_errno(const char *path, int number, struct fly_error *error)
{
    enum fly_status status = FLY_UNAVAILABLE;

    if (number == ENOENT || number == ENOTDIR) {
        status = FLY_NOT_FOUND;
    } else if (number == EACCES || number == EPERM) {
        status = FLY_PERMISSION_DENIED;
    }
    return fly_error_set(error, status, "%s: %s", path, strerror(number));
}

static enum fly_status read_all(int fd, const char *path, uint8_t **data, size_t *size,
                                struct fly_error *error)
{
    size_t room = 0;

    *data = NULL;
    *size = 0;
    for (;;) {
        if (*size == room) {
            room = room == 0 ? 65536 : room * 2;
            uint8_t *grown = realloc(*data, room);
            if (grown == NULL) {
                return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "%s: no memory", path);
            }
            *data = grown;
        }
        ssize_t got = read(fd, *data + *size, room - *size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return refuse_errno(path, errno, error);
        }
        if (got == 0) {
            return FLY_OK;
        }
        *size += (size_t)got;
        if (*size > INVENTORY_FILE_SIZE_MAX) {
            return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "%s: is larger than %d MiB", path,
                                 INVENTORY_FILE_SIZE_MAX >> 20);
        }
    }
}

typedef enum fly_status parse_fn(struct inventory *inventory, const char *name,
                                 struct fly_bytes text, struct fly_error *error);

static enum fly_status load(struct inventory *inventory, const char *path, parse_fn *parse,
                            struct fly_error *error)
{
    /* a pipe somebody left lying there must not hang the start */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint8_t *data = NULL;
    size_t size = 0;
    struct stat info;
    enum fly_status status;

    if (fd < 0) {
        return refuse_errno(path, errno, error);
    }
    if (fstat(fd, &info) != 0) {
        status = refuse_errno(path, errno, error);
    } else if (!S_ISREG(info.st_mode)) {
        status = fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: is not a regular file", path);
    } else {
        status = read_all(fd, path, &data, &size, error);
    }
    (void)close(fd);
    if (status == FLY_OK) {
        status = parse(inventory, path, (struct fly_bytes){data, size}, error);
    }
    free(data);
    return status;
}

enum fly_status inventory_load_regions(struct inventory *inventory, const char *path,
                                       struct fly_error *error)
{
    return load(inventory, path, inventory_parse_regions, error);
}

enum fly_status inventory_load_machines(struct inventory *inventory, const char *path,
                                        struct fly_error *error)
{
    return load(inventory, path, inventory_parse_machines, error);
}
