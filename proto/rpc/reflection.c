/*
 * reflection - what a server serves, from the descriptors that its services carry.
 *
 * The descriptors are our own, compiled in: they are unpacked once, without the checks that bytes
 * from a network need. A name is looked up by walking them; nobody asks often.
 */
#include <stdlib.h>
#include <string.h>

#include "fly/v1/reflection.rpc.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "proto/base/check.h"
#include "proto/rpc/builtin.h"
#include "proto/rpc/server.h"

struct rpc_reflection {
    const char **names; /* sorted */
    size_t count;       /* of names and sets; ours is one of them */
    Google__Protobuf__FileDescriptorSet **sets;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* False: it does not parse, or no memory. */
static bool put(struct rpc_reflection *reflection, const struct rpc_service *service)
{
    Google__Protobuf__FileDescriptorSet *set = google__protobuf__file_descriptor_set__unpack(
        NULL, service->descriptor.size, service->descriptor.data);

    if (set == NULL) {
        return false;
    }
    reflection->sets[reflection->count] = set;
    reflection->names[reflection->count++] = service->name;
    return true;
}

enum fly_status rpc_reflection_create(struct rpc_reflection **out,
                                      const struct rpc_service *services, size_t count,
                                      struct fly_error *error)
{
    struct rpc_reflection *reflection = calloc(1, sizeof *reflection);
    struct rpc_service own = rpc_builtin_reflection(NULL);

    *out = NULL;
    if (reflection != NULL) {
        reflection->names = calloc(count + 1, sizeof *reflection->names);
        reflection->sets = calloc(count + 1, sizeof *reflection->sets);
    }
    if (reflection == NULL || reflection->names == NULL || reflection->sets == NULL) {
        rpc_reflection_destroy(reflection);
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED, "out of memory");
    }
    for (size_t i = 0; i <= count; i++) {
        const struct rpc_service *service = i < count ? &services[i] : &own;

        if (i < count && strcmp(service->name, own.name) == 0) {
            continue;
        }
        if (!put(reflection, service)) {
            rpc_reflection_destroy(reflection);
            return fly_error_set(error, FLY_INTERNAL, "the descriptor of %s does not parse",
                                 service->name);
        }
    }
    qsort(reflection->names, reflection->count, sizeof reflection->names[0], by_name);
    *out = reflection;
    return FLY_OK;
}

void rpc_reflection_destroy(struct rpc_reflection *reflection)
{
    if (reflection == NULL) {
        return;
    }
    for (size_t i = 0; i < reflection->count; i++) {
        google__protobuf__file_descriptor_set__free_unpacked(reflection->sets[i], NULL);
    }
    free(reflection->sets);
    free(reflection->names);
    free(reflection);
}

/* What is left of a dotted name after its first part: NULL if that is not `part`; "" if it is all.
 * `marks`: what may stand between them. */
static const char *after(const char *name, const char *part, const char *marks)
{
    size_t size = strlen(part);

    if (size == 0 || strncmp(name, part, size) != 0) {
        return NULL;
    }
    if (name[size] == '\0') {
        return name + size;
    }
    return strchr(marks, name[size]) != NULL && name[size + 1] != '\0' ? name + size + 1 : NULL;
}

static bool names_service(const Google__Protobuf__FileDescriptorProto *file, const char *name)
{
    for (size_t i = 0; i < file->n_service; i++) {
        const Google__Protobuf__ServiceDescriptorProto *service = file->service[i];
        const char *method = after(name, service->name, "./");

        if (method == NULL) {
            continue;
        }
        if (*method == '\0') {
            return true;
        }
        for (size_t k = 0; k < service->n_method; k++) {
            if (strcmp(service->method[k]->name, method) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool names_enum(Google__Protobuf__EnumDescriptorProto *const *enums, size_t count,
                       const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(enums[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* A message or an enum, also nested ones: one part of the name at a time. */
static bool names_type(const Google__Protobuf__FileDescriptorProto *file, const char *name)
{
    Google__Protobuf__DescriptorProto *const *messages = file->message_type;
    size_t count = file->n_message_type;
    bool found = names_enum(file->enum_type, file->n_enum_type, name);

    for (size_t i = 0; i < count && !found;) {
        const char *rest = after(name, messages[i]->name, ".");

        if (rest == NULL) {
            i++;
            continue;
        }
        found = *rest == '\0' || names_enum(messages[i]->enum_type, messages[i]->n_enum_type, rest);
        name = rest;
        count = messages[i]->n_nested_type;
        messages = messages[i]->nested_type;
        i = 0;
    }
    return found;
}

static bool declares(const Google__Protobuf__FileDescriptorProto *file, const char *symbol)
{
    const char *name = symbol;

    if (file->package != NULL && *file->package != '\0') {
        name = after(symbol, file->package, ".");
    }
    return name != NULL && *name != '\0' && (names_service(file, name) || names_type(file, name));
}

static size_t index_of(const Google__Protobuf__FileDescriptorSet *set, const char *name)
{
    size_t i = 0;

    while (i < set->n_file && strcmp(set->file[i]->name, name) != 0) {
        i++;
    }
    return i;
}

/* Of a set, in which imports come before who imports them: file `at` and what it needs. */
static void reply_with(struct rpc_call *call, const Google__Protobuf__FileDescriptorSet *set,
                       size_t at)
{
    Fly__V1__DescribeReply reply = FLY__V1__DESCRIBE_REPLY__INIT;
    Google__Protobuf__FileDescriptorSet part = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;
    bool *needed = calloc(set->n_file, sizeof *needed);
    uint8_t *bytes = NULL;

    part.file = calloc(set->n_file, sizeof part.file[0]);
    if (needed != NULL && part.file != NULL) {
        needed[at] = true;
        for (size_t i = at + 1; i-- > 0;) {
            const Google__Protobuf__FileDescriptorProto *file = set->file[i];

            for (size_t k = 0; needed[i] && k < file->n_dependency; k++) {
                size_t dependency = index_of(set, file->dependency[k]);

                if (dependency < i) {
                    needed[dependency] = true;
                }
            }
        }
        for (size_t i = 0; i <= at; i++) {
            if (needed[i]) {
                part.file[part.n_file++] = set->file[i];
            }
        }
        bytes = malloc(google__protobuf__file_descriptor_set__get_packed_size(&part));
    }
    if (bytes != NULL) {
        reply.file_descriptor_set.data = bytes;
        reply.file_descriptor_set.len = google__protobuf__file_descriptor_set__pack(&part, bytes);
        rpc_reflection_describe_reply(call, &reply);
    } else {
        rpc_call_fail(call, FLY_RESOURCE_EXHAUSTED, "out of memory", (struct fly_bytes){0});
    }
    free(bytes);
    free(part.file);
    free(needed);
}

static void handle_list(void *user, struct rpc_call *call,
                        const Fly__V1__ListServicesRequest *request)
{
    const struct rpc_reflection *reflection = user;
    Fly__V1__ListServicesReply reply = FLY__V1__LIST_SERVICES_REPLY__INIT;

    (void)request;
    reply.n_services = reflection->count;
    reply.services = (char **)(void *)reflection->names; /* only read */
    rpc_reflection_list_reply(call, &reply);
}

static void handle_describe(void *user, struct rpc_call *call,
                            const Fly__V1__DescribeRequest *request)
{
    const struct rpc_reflection *reflection = user;

    for (size_t i = 0; i < reflection->count; i++) {
        const Google__Protobuf__FileDescriptorSet *set = reflection->sets[i];

        for (size_t k = 0; k < set->n_file; k++) {
            if (declares(set->file[k], request->symbol)) {
                reply_with(call, set, k);
                return;
            }
        }
    }
    rpc_call_fail(call, FLY_NOT_FOUND, "no such service, method or type", (struct fly_bytes){0});
}

struct rpc_service rpc_builtin_reflection(struct rpc_reflection *reflection)
{
    static const struct rpc_reflection_handlers handlers = {.list = handle_list,
                                                            .describe = handle_describe};

    return rpc_reflection_serve(&handlers, reflection);
}
