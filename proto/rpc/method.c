#include "proto/rpc/method.h"

#include "proto/wire/validate.h"

enum fly_status rpc_methods_check(const struct rpc_method *const *methods, size_t count,
                                  struct fly_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (validate_schema(methods[i]->request, error) != FLY_OK ||
            validate_schema(methods[i]->reply, error) != FLY_OK) {
            return fly_error_wrap(error, "%s", methods[i]->name);
        }
        if (methods[i]->hash != rpc_method_hash(methods[i]->name)) {
            return fly_error_set(error, FLY_INTERNAL, "%s: its hash is another name's",
                                 methods[i]->name);
        }
        for (size_t k = 0; k < i; k++) {
            if (methods[k]->hash == methods[i]->hash) {
                return fly_error_set(error, FLY_INTERNAL, "%s and %s have the same hash",
                                     methods[k]->name, methods[i]->name);
            }
        }
    }
    return FLY_OK;
}
