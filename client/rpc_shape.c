/* A schema as JSON: a contract with programs. */
#include "client/lib/shape.h"
#include "client/rpc.h"
#include "proto/base/check.h"

static void put(json_t *object, const char *key, json_t *value)
{
    FLY_CHECK(object != NULL && json_object_set_new(object, key, value) == 0);
}

static json_t *shape_codes(const Fly__V1__Code *codes, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++) {
        const char *name = fly_status_name(fly_status_from_wire((uint32_t)codes[i]));
        FLY_CHECK(json_array_append_new(array, json_string(name)) == 0);
    }
    return array;
}

static json_t *shape_rule(const Fly__V1__MethodRule *rule)
{
    static const char *const slow[] = {"WAIT", "DROP_OLDEST", "END"};
    json_t *object = json_object();

    put(object, "inline", json_boolean(rule->inline_));
    put(object, "open", json_boolean(rule->open));
    put(object, "finish", json_boolean(rule->finish));
    put(object, "read_only", json_boolean(rule->read_only));
    put(object, "calls_max", json_integer(rule->calls_max));
    put(object, "slow_reader",
        (size_t)rule->slow_reader < FLY_ARRAY_COUNT(slow) ? json_string(slow[rule->slow_reader])
                                                          : json_null());
    if (rule->retry != NULL) {
        json_t *retry = json_object();
        put(retry, "max_attempts", json_integer(rule->retry->max_attempts));
        put(retry, "initial_backoff_ms", json_integer(rule->retry->initial_backoff_ms));
        put(retry, "max_backoff_ms", json_integer(rule->retry->max_backoff_ms));
        put(retry, "multiplier_percent", json_integer(rule->retry->multiplier_percent));
        put(retry, "codes", shape_codes(rule->retry->codes, rule->retry->n_codes));
        put(object, "retry", retry);
    }
    if (rule->hedge != NULL) {
        json_t *hedge = json_object();
        put(hedge, "max_attempts", json_integer(rule->hedge->max_attempts));
        put(hedge, "delay_ms", json_integer(rule->hedge->delay_ms));
        put(hedge, "non_fatal_codes",
            shape_codes(rule->hedge->non_fatal_codes, rule->hedge->n_non_fatal_codes));
        put(object, "hedge", hedge);
    }
    return object;
}

json_t *rpc_shape_method(const struct schema_method *method)
{
    json_t *object = json_object();

    put(object, "method", json_string(method->name));
    put(object, "input", json_string(method->input->name));
    put(object, "output", json_string(method->output->name));
    put(object, "client_streams", json_boolean(method->client_streams));
    put(object, "server_streams", json_boolean(method->server_streams));
    put(object, "rule", method->rule != NULL ? shape_rule(method->rule) : json_null());
    return object;
}

json_t *rpc_shape_service(const struct schema_service *service)
{
    json_t *object = json_object();
    json_t *methods = json_array();

    for (size_t i = 0; i < service->method_count; i++) {
        FLY_CHECK(json_array_append_new(methods, rpc_shape_method(&service->methods[i])) == 0);
    }
    put(object, "service", json_string(service->name));
    put(object, "methods", methods);
    return object;
}

json_t *rpc_shape_message(const struct schema_message *message)
{
    json_t *object = json_object();
    json_t *fields = json_array();

    for (size_t i = 0; i < message->field_count; i++) {
        const struct schema_field *f = &message->fields[i];
        char type[SCHEMA_TYPE_TEXT];
        json_t *field = json_object();
        schema_type_text(f, type);
        put(field, "name", json_string(f->name));
        put(field, "json_name", shape_text(f->json_name));
        put(field, "number", json_integer(f->number));
        put(field, "type", json_string(type));
        put(field, "repeated", json_boolean(f->repeated));
        put(field, "oneof", f->oneof >= 0 ? json_string(message->oneofs[f->oneof]) : json_null());
        FLY_CHECK(json_array_append_new(fields, field) == 0);
    }
    put(object, "message", json_string(message->name));
    put(object, "fields", fields);
    return object;
}

json_t *rpc_shape_enum(const struct schema_enum *enumeration)
{
    json_t *object = json_object();
    json_t *values = json_object();

    for (size_t i = 0; i < enumeration->value_count; i++) {
        put(values, enumeration->values[i].name, json_integer(enumeration->values[i].number));
    }
    put(object, "enum", json_string(enumeration->name));
    put(object, "values", values);
    return object;
}
