#include <string.h>

#include "proto/base/check.h"
#include "proto/plugin/emit.h"
#include "proto/plugin/names.h"

/* ---- the descriptor set ---- */

/* Marks a file and all that it imports. */
static void mark_imports(const struct plug_model *model,
                         const Google__Protobuf__FileDescriptorProto *file, bool *marked)
{
    for (size_t i = 0; i < model->request->n_proto_file; i++) {
        if (model->request->proto_file[i] == file) {
            if (marked[i]) {
                return;
            }
            marked[i] = true;
        }
    }
    for (size_t i = 0; i < file->n_dependency; i++) {
        const Google__Protobuf__FileDescriptorProto *import =
            plug_model_file(model, file->dependency[i]);
        FLY_CHECK(import != NULL); /* protoc's promise */
        mark_imports(model, import, marked);
    }
}

/* The file and its imports, what is imported first, without comments and positions. */
static struct fly_bytes pack_descriptor(struct plug_model *model, const struct plug_file *file)
{
    size_t count = model->request->n_proto_file;
    bool *marked = plug_memory_take(&model->memory, count, sizeof *marked);
    Google__Protobuf__FileDescriptorProto *files =
        plug_memory_take(&model->memory, count, sizeof *files);
    Google__Protobuf__FileDescriptorSet set = GOOGLE__PROTOBUF__FILE_DESCRIPTOR_SET__INIT;

    set.file = plug_memory_take(&model->memory, count, sizeof *set.file);
    mark_imports(model, file->proto, marked);
    for (size_t i = 0; i < count; i++) {
        if (marked[i]) {
            files[i] = *model->request->proto_file[i];
            files[i].source_code_info = NULL;
            set.file[set.n_file++] = &files[i];
        }
    }
    size_t size = google__protobuf__file_descriptor_set__get_packed_size(&set);
    uint8_t *data = plug_memory_take(&model->memory, size, 1);
    FLY_CHECK(google__protobuf__file_descriptor_set__pack(&set, data) == size);
    return (struct fly_bytes){.data = data, .size = size};
}

static void emit_bytes(const char *name, struct fly_bytes bytes, struct plug_text *out)
{
    enum { BYTES_A_LINE = 20 };

    plug_text_add(out, "static const uint8_t %s[%zu] = {", name, bytes.size);
    for (size_t i = 0; i < bytes.size; i++) {
        plug_text_add(out, "%s%u,", i % BYTES_A_LINE == 0 ? "\n    " : "", (unsigned)bytes.data[i]);
    }
    plug_text_add(out, "\n};\n\n");
}

/* ---- methods ---- */

static const char *slow_reader_name(enum rpc_slow_reader policy)
{
    switch (policy) {
    case RPC_SLOW_WAIT:
        return "RPC_SLOW_WAIT";
    case RPC_SLOW_DROP:
        return "RPC_SLOW_DROP";
    case RPC_SLOW_END:
        return "RPC_SLOW_END";
    }
    FLY_UNREACHABLE();
}

static void emit_flags(unsigned flags, struct plug_text *out)
{
    static const struct {
        unsigned flag;
        const char *name;
    } names[] = {
        {RPC_INLINE, "RPC_INLINE"},       {RPC_OPEN, "RPC_OPEN"},
        {RPC_STREAM, "RPC_STREAM"},       {RPC_FINISH, "RPC_FINISH"},
        {RPC_READ_ONLY, "RPC_READ_ONLY"}, {RPC_CLIENT_STREAM, "RPC_CLIENT_STREAM"},
    };
    bool first = true;

    for (size_t i = 0; i < FLY_ARRAY_COUNT(names); i++) {
        if ((flags & names[i].flag) != 0) {
            plug_text_add(out, "%s%s", first ? "" : " | ", names[i].name);
            first = false;
        }
    }
    plug_text_add(out, "%s", first ? "0" : "");
}

static void emit_retry(const struct plug_method *method, struct plug_text *out)
{
    const struct retry_policy *retry = &method->rule.retry;

    plug_text_add(out,
                  "static const struct retry_policy %s__retry = {\n"
                  "    .attempts_max = %u,\n"
                  "    .initial_backoff_ms = %u,\n"
                  "    .max_backoff_ms = %u,\n"
                  "    .multiplier_percent = %u,\n"
                  "    .codes = 0",
                  method->name, (unsigned)retry->attempts_max, (unsigned)retry->initial_backoff_ms,
                  (unsigned)retry->max_backoff_ms, (unsigned)retry->multiplier_percent);
    for (unsigned code = 0; code < FLY_STATUS_COUNT; code++) {
        if ((retry->codes & (1U << code)) != 0) {
            plug_text_add(out, " | 1U << FLY_%s", fly_status_name((enum fly_status)code));
        }
    }
    plug_text_add(out,
                  ",\n"
                  "    .hedge = %s,\n"
                  "    .hedging_delay_ms = %u,\n"
                  "};\n\n",
                  retry->hedge ? "true" : "false", (unsigned)retry->hedging_delay_ms);
}

static void emit_method(const struct plug_method *method, struct plug_text *out)
{
    if (method->rule.repeats) {
        emit_retry(method, out);
    }
    plug_text_add(out,
                  "const struct rpc_method %s = {\n"
                  "    .name = \"%s\",\n"
                  "    .request = &%s__descriptor,\n"
                  "    .reply = &%s__descriptor,\n"
                  "    .flags = ",
                  method->name, method->full_name, method->request->c_symbol,
                  method->reply->c_symbol);
    emit_flags(method->rule.flags, out);
    plug_text_add(out,
                  ",\n"
                  "    .hash = 0x%08xU,\n"
                  "    .slow_reader = %s,\n"
                  "    .calls_max = %u,\n",
                  (unsigned)method->hash, slow_reader_name(method->rule.slow_reader),
                  (unsigned)method->rule.calls_max);
    if (method->rule.repeats) {
        plug_text_add(out, "    .retry = &%s__retry,\n", method->name);
    }
    plug_text_add(out, "};\n\n");
}

/* ---- dispatch ---- */

static void emit_case(const struct plug_method *method, size_t index, struct plug_text *out)
{
    plug_text_add(out,
                  "    case %zu:\n"
                  "        if (handlers->%s != NULL) {\n"
                  "            handlers->%s(service->user, call",
                  index, method->member, method->member);
    if ((method->rule.flags & RPC_CLIENT_STREAM) == 0) {
        plug_text_add(out, ",\n                    (const %s *)rpc_call_request(call)",
                      method->request->c_type);
    }
    plug_text_add(out, ");\n"
                       "            return;\n"
                       "        }\n"
                       "        break;\n");
}

static void emit_service(const struct plug_service *service, struct plug_text *out)
{
    const char *name = service->name;

    plug_text_add(out, "/* ---- %s ---- */\n\n", service->full_name);
    for (size_t m = 0; m < service->method_count; m++) {
        emit_method(&service->methods[m], out);
    }
    plug_text_add(out,
                  "static const struct rpc_method *const %s__methods[] = {%s};\n\n"
                  "static void %s__handle(const struct rpc_service *service, size_t index,\n"
                  "        struct rpc_call *call)\n"
                  "{\n"
                  "    const struct %s_handlers *handlers = service->handlers;\n\n"
                  "    switch (index) {\n",
                  name, service->list, name, name);
    for (size_t m = 0; m < service->method_count; m++) {
        emit_case(&service->methods[m], m, out);
    }
    plug_text_add(out,
                  "    default:\n"
                  "        break;\n"
                  "    }\n"
                  "    rpc_call_turn_away(call, FLY_UNIMPLEMENTED, \"the method is not"
                  " implemented here\",\n"
                  "            (struct fly_bytes){0});\n"
                  "}\n\n"
                  "struct rpc_service %s_serve(const struct %s_handlers *handlers, void *user)\n"
                  "{\n"
                  "    return (struct rpc_service){\n"
                  "        .name = \"%s\",\n"
                  "        .methods = %s__methods,\n"
                  "        .method_count = %zu,\n"
                  "        .handle = %s__handle,\n"
                  "        .handlers = handlers,\n"
                  "        .user = user,\n"
                  "        .descriptor = {.data = file_descriptor, .size = sizeof"
                  " file_descriptor},\n"
                  "    };\n"
                  "}\n\n",
                  name, name, service->full_name, name, service->method_count, name);
}

void plug_emit_source(struct plug_model *model, const struct plug_file *file, struct plug_text *out)
{
    plug_text_add(out,
                  "/* Made by protoc-gen-flyrpc from %s: do not edit. */\n"
                  "#include \"%s.rpc.h\"\n",
                  file->proto->name, plug_name_stem(&model->memory, file->proto->name));
    if (file->service_count == 0) {
        return;
    }
    plug_text_add(out, "#include \"proto/wire/retry.h\"\n\n");
    emit_bytes("file_descriptor", pack_descriptor(model, file), out);
    for (size_t s = 0; s < file->service_count; s++) {
        emit_service(&file->services[s], out);
    }
}
