/*
 * rule - a method's `option (fly.v1.rpc)`, read and found to make sense.
 */
#ifndef FLY_PLUGIN_RULE_H
#define FLY_PLUGIN_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "google/protobuf/descriptor.pb-c.h"
#include "proto/base/status.h"
#include "proto/plugin/text.h"
#include "proto/rpc/method.h"
#include "proto/wire/retry.h"

struct plug_rule {
    unsigned flags; /* enum rpc_method_flag; the streaming ones come from the method itself */
    enum rpc_slow_reader slow_reader;
    uint32_t calls_max;
    bool repeats; /* `retry` is said: retried or hedged */
    struct retry_policy retry;
};

/* INVALID_ARGUMENT names what is wrong. A method without the option has the rule of all zeros. */
enum fly_status plug_rule_read(struct plug_memory *memory,
                               const Google__Protobuf__MethodDescriptorProto *method,
                               struct plug_rule *out, struct fly_error *error);

#endif
