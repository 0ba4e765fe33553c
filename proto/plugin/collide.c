#include "proto/plugin/collide.h"

#include <stdlib.h>
#include <string.h>

/* A name that will stand in generated code, and the full name of what it belongs to. */
struct owned {
    const char *name;
    const char *owner;
};

struct names {
    struct plug_memory *memory;
    struct owned *list;
    size_t count;
};

enum { NAMES_OF_METHOD_MAX = 8 };

/* What the header puts behind a method's name. */
static const char *const of_unary[] = {"", "_reply", "_call", "_start", NULL};
static const char *const of_server_stream[] = {"",      "_send",        "_send_wait",
                                               "_open", "_stream_next", NULL};
static const char *const of_client_stream[] = {
    "", "_next", "_reply", "_open", "_stream_send", "_stream_next", NULL};
static const char *const of_both_stream[] = {"",      "_next",        "_send",        "_send_wait",
                                             "_open", "_stream_send", "_stream_next", NULL};

static const char *const *suffixes_of(const struct plug_method *method)
{
    bool client_streams = (method->rule.flags & RPC_CLIENT_STREAM) != 0;
    bool server_streams = (method->rule.flags & RPC_STREAM) != 0;

    if (client_streams) {
        return server_streams ? of_both_stream : of_client_stream;
    }
    return server_streams ? of_server_stream : of_unary;
}

static void add(struct names *names, const char *name, const char *suffix, const char *owner)
{
    names->list[names->count++] = (struct owned){
        .name = plug_memory_format(names->memory, "%s%s", name, suffix), .owner = owner};
}

static int compare_names(const void *a, const void *b)
{
    const struct owned *left = a;
    const struct owned *right = b;

    return strcmp(left->name, right->name);
}

static enum fly_status check_names(struct plug_model *model, size_t method_count,
                                   size_t service_count, struct fly_error *error)
{
    struct names names = {.memory = &model->memory};

    names.list = plug_memory_take(
        &model->memory, method_count * NAMES_OF_METHOD_MAX + service_count, sizeof *names.list);
    for (size_t f = 0; f < model->file_count; f++) {
        for (size_t s = 0; s < model->files[f].service_count; s++) {
            const struct plug_service *service = &model->files[f].services[s];
            add(&names, service->name, "_serve", service->full_name);
            for (size_t m = 0; m < service->method_count; m++) {
                const struct plug_method *method = &service->methods[m];
                for (const char *const *end = suffixes_of(method); *end != NULL; end++) {
                    add(&names, method->name, *end, method->full_name);
                }
            }
        }
    }
    qsort(names.list, names.count, sizeof *names.list, compare_names);
    for (size_t i = 1; i < names.count; i++) {
        if (strcmp(names.list[i - 1].name, names.list[i].name) == 0) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s and %s both need the C name %s",
                                 names.list[i - 1].owner, names.list[i].owner, names.list[i].name);
        }
    }
    return FLY_OK;
}

static int compare_hashes(const void *a, const void *b)
{
    const struct plug_method *left = *(const struct plug_method *const *)a;
    const struct plug_method *right = *(const struct plug_method *const *)b;

    return left->hash < right->hash ? -1 : left->hash > right->hash;
}

static enum fly_status check_hashes(struct plug_model *model, size_t method_count,
                                    struct fly_error *error)
{
    const struct plug_method **all = plug_memory_take(&model->memory, method_count, sizeof *all);
    size_t count = 0;

    for (size_t f = 0; f < model->file_count; f++) {
        for (size_t s = 0; s < model->files[f].service_count; s++) {
            const struct plug_service *service = &model->files[f].services[s];
            for (size_t m = 0; m < service->method_count; m++) {
                all[count++] = &service->methods[m];
            }
        }
    }
    qsort(all, count, sizeof(struct plug_method *), compare_hashes);
    for (size_t i = 1; i < count; i++) {
        if (all[i - 1]->hash == all[i]->hash) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT,
                                 "%s and %s have the same hash 0x%08x: rename one",
                                 all[i - 1]->full_name, all[i]->full_name, (unsigned)all[i]->hash);
        }
    }
    return FLY_OK;
}

enum fly_status plug_collide_check(struct plug_model *model, struct fly_error *error)
{
    size_t method_count = 0;
    size_t service_count = 0;

    for (size_t f = 0; f < model->file_count; f++) {
        service_count += model->files[f].service_count;
        for (size_t s = 0; s < model->files[f].service_count; s++) {
            method_count += model->files[f].services[s].method_count;
        }
    }
    enum fly_status status = check_names(model, method_count, service_count, error);
    return status == FLY_OK ? check_hashes(model, method_count, error) : status;
}
