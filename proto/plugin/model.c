#include "proto/plugin/model.h"

#include <string.h>

#include "proto/base/check.h"
#include "proto/plugin/collide.h"
#include "proto/plugin/names.h"
#include "proto/plugin/schema.h"

/* ---- types ---- */

static size_t count_types(Google__Protobuf__DescriptorProto *const *messages, size_t count)
{
    size_t sum = count;

    for (size_t i = 0; i < count; i++) {
        sum += count_types(messages[i]->nested_type, messages[i]->n_nested_type);
    }
    return sum;
}

static void add_types(struct plug_model *model, const Google__Protobuf__FileDescriptorProto *file,
                      const char *scope, Google__Protobuf__DescriptorProto *const *messages,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct plug_type *type = &model->types[model->type_count++];
        const char *full_name =
            plug_memory_format(&model->memory, "%s.%s", scope, messages[i]->name);
        *type = (struct plug_type){
            .file = file,
            .message = messages[i],
            .full_name = full_name,
            .c_type = plug_name_type(&model->memory, file, full_name),
            .c_symbol = plug_name_symbol(&model->memory, file, full_name),
        };
        add_types(model, file, full_name, messages[i]->nested_type, messages[i]->n_nested_type);
    }
}

static const char *package_of(const Google__Protobuf__FileDescriptorProto *file)
{
    return file->package != NULL ? file->package : "";
}

static void collect_types(struct plug_model *model)
{
    const Fly__Plugin__Request *request = model->request;
    size_t count = 0;

    for (size_t i = 0; i < request->n_proto_file; i++) {
        count += count_types(request->proto_file[i]->message_type,
                             request->proto_file[i]->n_message_type);
    }
    model->types = plug_memory_take(&model->memory, count, sizeof *model->types);
    for (size_t i = 0; i < request->n_proto_file; i++) {
        const Google__Protobuf__FileDescriptorProto *file = request->proto_file[i];
        const char *package = package_of(file);
        const char *scope =
            plug_memory_format(&model->memory, "%s%s", package[0] != '\0' ? "." : "", package);
        add_types(model, file, scope, file->message_type, file->n_message_type);
    }
}

/* ---- services ---- */

/* "rpc", "fly_v1" or nothing, with the underscore that stands behind it. */
static const char *prefix_of(struct plug_model *model,
                             const Google__Protobuf__FileDescriptorProto *file)
{
    if (model->prefix != NULL) {
        return plug_memory_format(&model->memory, "%s_", model->prefix);
    }
    if (package_of(file)[0] == '\0') {
        return "";
    }
    return plug_memory_format(&model->memory, "%s_",
                              plug_name_snake(&model->memory, package_of(file)));
}

static enum fly_status add_method(struct plug_model *model, const struct plug_service *service,
                                  const Google__Protobuf__MethodDescriptorProto *proto,
                                  struct plug_method *method, struct fly_error *error)
{
    method->full_name =
        plug_memory_format(&model->memory, "%s/%s", service->full_name, proto->name);
    method->member = plug_name_snake(&model->memory, proto->name);
    method->name = plug_memory_format(&model->memory, "%s_%s", service->name, method->member);
    method->hash = rpc_method_hash(method->full_name);
    method->request = plug_schema_type(model, proto->input_type);
    method->reply = plug_schema_type(model, proto->output_type);
    enum fly_status status = plug_rule_read(&model->memory, proto, &method->rule, error);
    if (status == FLY_OK && plug_name_is_keyword(method->member)) {
        status = fly_error_set(error, FLY_INVALID_ARGUMENT,
                               "\"%s\" is a word of C: protoc-c and we cannot name it so",
                               method->member);
    }
    if (status == FLY_OK) {
        status = plug_schema_check(model, method->request, error);
    }
    if (status == FLY_OK) {
        status = plug_schema_check(model, method->reply, error);
    }
    return status == FLY_OK ? FLY_OK : fly_error_wrap(error, "%s", method->full_name);
}

static enum fly_status add_service(struct plug_model *model, struct plug_file *file,
                                   const Google__Protobuf__ServiceDescriptorProto *proto,
                                   struct fly_error *error)
{
    struct plug_service *service = &file->services[file->service_count++];
    const char *package = package_of(file->proto);

    service->full_name = plug_memory_format(&model->memory, "%s%s%s", package,
                                            package[0] != '\0' ? "." : "", proto->name);
    service->name = plug_memory_format(&model->memory, "%s%s", prefix_of(model, file->proto),
                                       plug_name_snake(&model->memory, proto->name));
    service->list = plug_memory_format(&model->memory, "%s_METHODS",
                                       plug_name_upper(&model->memory, service->name));
    service->methods = plug_memory_take(&model->memory, proto->n_method, sizeof *service->methods);
    service->method_count = proto->n_method;
    for (size_t i = 0; i < proto->n_method; i++) {
        enum fly_status status =
            add_method(model, service, proto->method[i], &service->methods[i], error);
        if (status != FLY_OK) {
            return status;
        }
    }
    return FLY_OK;
}

static enum fly_status add_file(struct plug_model *model, const char *name, struct fly_error *error)
{
    struct plug_file *file = &model->files[model->file_count++];
    enum fly_status status = FLY_OK;

    file->proto = plug_model_file(model, name);
    FLY_CHECK(file->proto != NULL); /* protoc's promise */
    file->services =
        plug_memory_take(&model->memory, file->proto->n_service, sizeof *file->services);
    for (size_t i = 0; i < file->proto->n_service && status == FLY_OK; i++) {
        if (file->proto->service[i]->n_method > 0) {
            status = add_service(model, file, file->proto->service[i], error);
        }
    }
    return status == FLY_OK ? FLY_OK : fly_error_wrap(error, "%s", name);
}

/* "prefix=rpc" or nothing. */
static enum fly_status read_parameter(struct plug_model *model, struct fly_error *error)
{
    static const char key[] = "prefix=";
    const char *parameter = model->request->parameter;

    if (parameter == NULL || parameter[0] == '\0') {
        return FLY_OK;
    }
    if (strncmp(parameter, key, sizeof key - 1) != 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "parameter \"%s\": the only one is prefix=NAME", parameter);
    }
    model->prefix = parameter + sizeof key - 1;
    if (!plug_name_is_prefix(model->prefix)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "prefix \"%s\": not [a-z_][a-z0-9_]*, or a word of C", model->prefix);
    }
    return FLY_OK;
}

enum fly_status plug_model_init(struct plug_model *model, const Fly__Plugin__Request *request,
                                struct fly_error *error)
{
    *model = (struct plug_model){.request = request};
    enum fly_status status = read_parameter(model, error);

    if (status != FLY_OK) {
        return status;
    }
    collect_types(model);
    model->files =
        plug_memory_take(&model->memory, request->n_file_to_generate, sizeof *model->files);
    for (size_t i = 0; i < request->n_file_to_generate && status == FLY_OK; i++) {
        status = add_file(model, request->file_to_generate[i], error);
    }
    return status == FLY_OK ? plug_collide_check(model, error) : status;
}

void plug_model_fini(struct plug_model *model)
{
    plug_memory_fini(&model->memory);
}

const Google__Protobuf__FileDescriptorProto *plug_model_file(const struct plug_model *model,
                                                             const char *name)
{
    for (size_t i = 0; i < model->request->n_proto_file; i++) {
        if (strcmp(model->request->proto_file[i]->name, name) == 0) {
            return model->request->proto_file[i];
        }
    }
    return NULL;
}
