#include "proto/rpc/method.h"

#include "proto/wire/validate.h"

uint32_t rpc_method_hash(const char *name)
{
    uint32_t hash = 2166136261U;

    for (const char *c = name; *c != '\0'; c++) {
        hash = (hash ^ (uint8_t)*c) * 16777619U;
    }
    return hash;
}

enum fly_status rpc_methods_check(const struct rpc_method *const *methods, size_t count,
                                  struct fly_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (validate_schema(methods[i]->request, error) != FLY_OK ||
            validate_schema(methods[i]->reply, error) != FLY_OK) {
            return fly_error_wrap(error, "%s", methods[i]->name);
        }
        for (size_t k = 0; k < i; k++) {
            if (rpc_method_hash(methods[k]->name) == rpc_method_hash(methods[i]->name)) {
                return fly_error_set(error, FLY_INTERNAL, "%s and %s have the same hash",
                                     methods[k]->name, methods[i]->name);
            }
        }
    }
    return FLY_OK;
}
