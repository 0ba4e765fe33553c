#include "proto/plugin/emit.h"
#include "proto/plugin/names.h"

static bool client_streams(const struct plug_method *method)
{
    return (method->rule.flags & RPC_CLIENT_STREAM) != 0;
}

static bool server_streams(const struct plug_method *method)
{
    return (method->rule.flags & RPC_STREAM) != 0;
}

static const char *kind_of(const struct plug_method *method)
{
    if (client_streams(method)) {
        return server_streams(method) ? "both sides stream" : "the client streams";
    }
    return server_streams(method) ? "the server streams" : "unary";
}

/* ---- of servers ---- */

static void emit_reply(const struct plug_method *method, struct plug_text *out)
{
    plug_text_add(out,
                  "static inline void %s_reply(struct rpc_call *call, const %s *reply)\n"
                  "{\n"
                  "    rpc_call_reply(call, (const ProtobufCMessage *)reply);\n"
                  "}\n\n",
                  method->name, method->reply->c_type);
}

static void emit_call_send(const struct plug_method *method, struct plug_text *out)
{
    plug_text_add(out,
                  "static inline enum fly_status %s_send(struct rpc_call *call,\n"
                  "        const %s *message)\n"
                  "{\n"
                  "    return rpc_call_send(call, (const ProtobufCMessage *)message);\n"
                  "}\n\n"
                  "static inline enum fly_status %s_send_wait(struct rpc_call *call,\n"
                  "        const %s *message, int64_t timeout_ms)\n"
                  "{\n"
                  "    return rpc_call_send_wait(call, (const ProtobufCMessage *)message,"
                  " timeout_ms);\n"
                  "}\n\n",
                  method->name, method->reply->c_type, method->name, method->reply->c_type);
}

static void emit_call_next(const struct plug_method *method, struct plug_text *out)
{
    plug_text_add(out,
                  "static inline enum rpc_next %s_next(struct rpc_call *call, int64_t timeout_ms,\n"
                  "        struct rpc_reply *message, const %s **out)\n"
                  "{\n"
                  "    enum rpc_next next = rpc_call_next(call, timeout_ms, message);\n"
                  "    *out = (const %s *)message->message;\n"
                  "    return next;\n"
                  "}\n\n",
                  method->name, method->request->c_type, method->request->c_type);
}

/* ---- of clients ---- */

static void emit_call(const struct plug_method *method, struct plug_text *out)
{
    const char *name = method->name;
    const char *request = method->request->c_type;
    const char *reply = method->reply->c_type;

    plug_text_add(out,
                  "static inline enum fly_status %s_call(struct rpc_client *client,\n"
                  "        const %s *request, const struct rpc_call_options *options,\n"
                  "        struct rpc_reply *reply, const %s **out)\n"
                  "{\n"
                  "    enum fly_status status = rpc_client_call(client, &%s,\n"
                  "            (const ProtobufCMessage *)request, options, reply);\n"
                  "    *out = (const %s *)reply->message;\n"
                  "    return status;\n"
                  "}\n\n",
                  name, request, reply, name, reply);
    plug_text_add(out,
                  "static inline void %s_start(struct rpc_client *client,\n"
                  "        const %s *request, const struct rpc_call_options *options,\n"
                  "        rpc_done *done, void *user, uint64_t *id)\n"
                  "{\n"
                  "    rpc_client_start(client, &%s, (const ProtobufCMessage *)request, options,\n"
                  "            done, user, id);\n"
                  "}\n\n",
                  name, request, name);
}

static void emit_open(const struct plug_method *method, struct plug_text *out)
{
    const char *name = method->name;

    plug_text_add(out,
                  "static inline enum fly_status %s_open(struct rpc_stream **out,\n"
                  "        struct rpc_client *client,",
                  name);
    if (!client_streams(method)) {
        plug_text_add(out, " const %s *request,", method->request->c_type);
    }
    plug_text_add(out,
                  "\n        const struct rpc_call_options *options, struct fly_error *error)\n"
                  "{\n"
                  "    return rpc_client_stream(out, client, &%s,\n"
                  "            %s, options, error);\n"
                  "}\n\n",
                  name, client_streams(method) ? "NULL" : "(const ProtobufCMessage *)request");
}

static void emit_stream_send(const struct plug_method *method, struct plug_text *out)
{
    plug_text_add(out,
                  "static inline enum fly_status %s_stream_send(struct rpc_stream *stream,\n"
                  "        const %s *message, int64_t timeout_ms)\n"
                  "{\n"
                  "    return rpc_stream_send(stream, (const ProtobufCMessage *)message,"
                  " timeout_ms);\n"
                  "}\n\n",
                  method->name, method->request->c_type);
}

static void emit_stream_next(const struct plug_method *method, struct plug_text *out)
{
    plug_text_add(out,
                  "static inline enum rpc_next %s_stream_next(struct rpc_stream *stream,\n"
                  "        int64_t timeout_ms, struct rpc_reply *reply,\n"
                  "        const %s **out)\n"
                  "{\n"
                  "    enum rpc_next next = rpc_stream_next(stream, timeout_ms, reply);\n"
                  "    *out = (const %s *)reply->message;\n"
                  "    return next;\n"
                  "}\n\n",
                  method->name, method->reply->c_type, method->reply->c_type);
}

static void emit_method(const struct plug_method *method, struct plug_text *out)
{
    plug_text_add(out, "/* %s: %s */\n\n", method->full_name, kind_of(method));
    if (client_streams(method)) {
        emit_call_next(method, out);
    }
    if (server_streams(method)) {
        emit_call_send(method, out);
    } else {
        emit_reply(method, out);
    }
    if (!client_streams(method) && !server_streams(method)) {
        emit_call(method, out);
        return;
    }
    emit_open(method, out);
    if (client_streams(method)) {
        emit_stream_send(method, out);
    }
    emit_stream_next(method, out);
}

/* ---- the whole ---- */

static void emit_handlers(const struct plug_service *service, struct plug_text *out)
{
    plug_text_add(out,
                  "/* A handler has its call until it finishes it, there or later, from any thread:"
                  " *_reply,\n"
                  " * rpc_call_reply(call, NULL) where the server streams, or rpc_call_fail."
                  " NULL: UNIMPLEMENTED. */\n"
                  "struct %s_handlers {\n",
                  service->name);
    for (size_t m = 0; m < service->method_count; m++) {
        const struct plug_method *method = &service->methods[m];
        plug_text_add(out, "    void (*%s)(void *user, struct rpc_call *call", method->member);
        if (!client_streams(method)) {
            plug_text_add(out, ",\n            const %s *request", method->request->c_type);
        }
        plug_text_add(out, ");\n");
    }
    plug_text_add(out,
                  "};\n\n"
                  "/* For rpc_server_config.services. Borrows the handlers. */\n"
                  "struct rpc_service %s_serve(const struct %s_handlers *handlers,"
                  " void *user);\n\n",
                  service->name, service->name);
}

static void emit_service(const struct plug_service *service, struct plug_text *out)
{
    plug_text_add(out, "/* ---- %s ---- */\n\n", service->full_name);
    for (size_t m = 0; m < service->method_count; m++) {
        plug_text_add(out, "extern const struct rpc_method %s;\n", service->methods[m].name);
    }
    plug_text_add(out, "\n/* All of them, for initialisers. */\n#define %s", service->list);
    for (size_t m = 0; m < service->method_count; m++) {
        plug_text_add(out, "%s \\\n    &%s", m > 0 ? "," : "", service->methods[m].name);
    }
    plug_text_add(out, "\n\n");
    emit_handlers(service, out);
    for (size_t m = 0; m < service->method_count; m++) {
        emit_method(&service->methods[m], out);
    }
}

void plug_emit_header(struct plug_model *model, const struct plug_file *file, struct plug_text *out)
{
    const char *guard = plug_name_guard(&model->memory, file->proto->name);

    plug_text_add(out,
                  "/* Made by protoc-gen-flyrpc from %s: do not edit. */\n"
                  "#ifndef FLYRPC_%s\n"
                  "#define FLYRPC_%s\n\n"
                  "#include \"%s.pb-c.h\"\n"
                  "#include \"proto/rpc/client.h\"\n"
                  "#include \"proto/rpc/method.h\"\n"
                  "#include \"proto/rpc/server.h\"\n\n",
                  file->proto->name, guard, guard,
                  plug_name_stem(&model->memory, file->proto->name));
    for (size_t s = 0; s < file->service_count; s++) {
        emit_service(&file->services[s], out);
    }
    plug_text_add(out, "#endif\n");
}
