#include "proto/plugin/schema.h"

#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/validate.h"

const struct plug_type *plug_schema_type(const struct plug_model *model, const char *full_name)
{
    for (size_t i = 0; i < model->type_count; i++) {
        if (strcmp(model->types[i].full_name, full_name) == 0) {
            return &model->types[i];
        }
    }
    FLY_UNREACHABLE();
}

static enum fly_status check(const struct plug_model *model, const struct plug_type *type,
                             const struct plug_type **path, unsigned depth, struct fly_error *error)
{
    const char *name = type->full_name + 1;

    for (unsigned i = 0; i < depth; i++) {
        if (path[i] == type) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s can contain itself", name);
        }
    }
    if (depth == VALIDATE_DEPTH_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s is nested too deep: over %d", name,
                             (int)VALIDATE_DEPTH_MAX);
    }
    if (type->message->n_field > VALIDATE_FIELDS_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s has too many fields: over %d", name,
                             (int)VALIDATE_FIELDS_MAX);
    }
    path[depth] = type;
    for (size_t i = 0; i < type->message->n_field; i++) {
        const Google__Protobuf__FieldDescriptorProto *field = type->message->field[i];
        if (field->label == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__LABEL__LABEL_REQUIRED) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s.%s is required", name,
                                 field->name);
        }
        if (field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_GROUP) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s.%s is a group", name,
                                 field->name);
        }
        if (field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_MESSAGE) {
            enum fly_status status =
                check(model, plug_schema_type(model, field->type_name), path, depth + 1, error);
            if (status != FLY_OK) {
                return status;
            }
        }
    }
    return FLY_OK;
}

enum fly_status plug_schema_check(const struct plug_model *model, const struct plug_type *type,
                                  struct fly_error *error)
{
    const struct plug_type *path[VALIDATE_DEPTH_MAX];

    return check(model, type, path, 0, error);
}
