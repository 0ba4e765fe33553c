#include "proto/plugin/rule.h"

#include "fly/v1/options.pb-c.h"
#include "proto/plugin/field.h"

enum {
    FIELD_RPC = 50744, /* options.proto */
    INITIAL_BACKOFF_MS = 50,
    MAX_BACKOFF_MS = 1000,
    MULTIPLIER_PERCENT = 200,
};

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

static enum fly_status read_attempts(const char *what, uint32_t attempts, struct fly_error *error)
{
    if (attempts < 2 || attempts > RETRY_ATTEMPTS_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: max_attempts is %u, not 2 to %d",
                             what, (unsigned)attempts, (int)RETRY_ATTEMPTS_MAX);
    }
    return FLY_OK;
}

static enum fly_status read_codes(const char *what, const Fly__V1__Code *codes, size_t count,
                                  uint32_t *mask, struct fly_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (codes[i] == FLY__V1__CODE__OK) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: OK is no failure", what);
        }
        if ((int)codes[i] < 0 || (int)codes[i] >= FLY_STATUS_COUNT) {
            return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: %d is no code", what,
                                 (int)codes[i]);
        }
        *mask |= 1U << codes[i];
    }
    return FLY_OK;
}

static enum fly_status read_retry(const Fly__V1__RetryRule *rule, struct retry_policy *out,
                                  struct fly_error *error)
{
    enum fly_status status = read_attempts("retry", rule->max_attempts, error);

    *out = (struct retry_policy){
        .attempts_max = rule->max_attempts,
        .initial_backoff_ms = or_default(rule->initial_backoff_ms, INITIAL_BACKOFF_MS),
        .max_backoff_ms = or_default(rule->max_backoff_ms, MAX_BACKOFF_MS),
        .multiplier_percent = or_default(rule->multiplier_percent, MULTIPLIER_PERCENT),
    };
    if (status == FLY_OK && rule->n_codes == 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "retry: codes says none");
    }
    if (status == FLY_OK && out->initial_backoff_ms > out->max_backoff_ms) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "retry: initial_backoff_ms %u is over max_backoff_ms %u",
                             (unsigned)out->initial_backoff_ms, (unsigned)out->max_backoff_ms);
    }
    return status == FLY_OK ? read_codes("retry", rule->codes, rule->n_codes, &out->codes, error)
                            : status;
}

static enum fly_status read_hedge(const Fly__V1__HedgeRule *rule, bool read_only,
                                  struct retry_policy *out, struct fly_error *error)
{
    if (!read_only) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "hedge: only a read_only method may run several times at once");
    }
    enum fly_status status = read_attempts("hedge", rule->max_attempts, error);

    *out = (struct retry_policy){
        .attempts_max = rule->max_attempts, .hedge = true, .hedging_delay_ms = rule->delay_ms};
    return status == FLY_OK ? read_codes("hedge", rule->non_fatal_codes, rule->n_non_fatal_codes,
                                         &out->codes, error)
                            : status;
}

static enum fly_status read_slow_reader(Fly__V1__SlowReader rule, bool streams,
                                        enum rpc_slow_reader *out, struct fly_error *error)
{
    switch (rule) {
    case FLY__V1__SLOW_READER__WAIT:
        *out = RPC_SLOW_WAIT;
        return FLY_OK;
    case FLY__V1__SLOW_READER__DROP_OLDEST:
        *out = RPC_SLOW_DROP;
        break;
    case FLY__V1__SLOW_READER__END:
        *out = RPC_SLOW_END;
        break;
#ifdef PROTOBUF_C__FORCE_ENUM_TO_BE_INT_SIZE
    case _FLY__V1__SLOW_READER_IS_INT_SIZE:
#endif
    default:
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "slow_reader: %d is no policy",
                             (int)rule);
    }
    return streams ? FLY_OK
                   : fly_error_set(error, FLY_INVALID_ARGUMENT,
                                   "slow_reader: the method does not stream to the client");
}

static enum fly_status read_rule(const Fly__V1__MethodRule *rule, struct plug_rule *out,
                                 struct fly_error *error)
{
    bool client_streams = (out->flags & RPC_CLIENT_STREAM) != 0;
    bool server_streams = (out->flags & RPC_STREAM) != 0;

    out->flags |= rule->inline_ ? RPC_INLINE : 0U;
    out->flags |= rule->open ? RPC_OPEN : 0U;
    out->flags |= rule->finish ? RPC_FINISH : 0U;
    out->flags |= rule->read_only ? RPC_READ_ONLY : 0U;
    out->calls_max = rule->calls_max;
    out->repeats = rule->retry != NULL || rule->hedge != NULL;
    if (rule->inline_ && client_streams) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "inline: a handler that must not wait cannot take a stream");
    }
    if (rule->retry != NULL && rule->hedge != NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "retry and hedge: one of the two");
    }
    if (out->repeats && (client_streams || server_streams)) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "%s: a stream is not sent again",
                             rule->retry != NULL ? "retry" : "hedge");
    }
    enum fly_status status =
        read_slow_reader(rule->slow_reader, server_streams, &out->slow_reader, error);
    if (status == FLY_OK && rule->retry != NULL) {
        status = read_retry(rule->retry, &out->retry, error);
    }
    if (status == FLY_OK && rule->hedge != NULL) {
        status = read_hedge(rule->hedge, rule->read_only, &out->retry, error);
    }
    return status;
}

enum fly_status plug_rule_read(struct plug_memory *memory,
                               const Google__Protobuf__MethodDescriptorProto *method,
                               struct plug_rule *out, struct fly_error *error)
{
    struct fly_bytes bytes;

    *out = (struct plug_rule){.flags = (method->server_streaming ? RPC_STREAM : 0U) |
                                       (method->client_streaming ? RPC_CLIENT_STREAM : 0U)};
    if (method->options == NULL ||
        !plug_field_unknown(memory, &method->options->base, FIELD_RPC, &bytes)) {
        return FLY_OK;
    }
    Fly__V1__MethodRule *rule = fly__v1__method_rule__unpack(NULL, bytes.size, bytes.data);
    if (rule == NULL) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "option %d is no fly.v1.MethodRule: is it another's number?",
                             (int)FIELD_RPC);
    }
    enum fly_status status = read_rule(rule, out, error);
    fly__v1__method_rule__free_unpacked(rule, NULL);
    return status;
}
