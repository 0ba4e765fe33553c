#include "client/lib/exits.h"

#include <string.h>

#include "fly/v1/common.pb-c.h"

static int code_of_status(enum fly_status status)
{
    switch (status) {
    case FLY_OK:
        return EXIT_DONE;
    case FLY_INVALID_ARGUMENT:
    case FLY_OUT_OF_RANGE:
        return EXIT_USAGE;
    case FLY_DEADLINE_EXCEEDED:
        return EXIT_DEADLINE;
    case FLY_PERMISSION_DENIED:
    case FLY_UNAUTHENTICATED:
        return EXIT_NOT_PERMITTED;
    case FLY_RESOURCE_EXHAUSTED:
    case FLY_ABORTED:
        return EXIT_TRY_AGAIN;
    case FLY_UNAVAILABLE:
        return EXIT_NO_EDGE;
    case FLY_CANCELLED:
    case FLY_UNKNOWN:
    case FLY_NOT_FOUND:
    case FLY_ALREADY_EXISTS:
    case FLY_FAILED_PRECONDITION:
    case FLY_UNIMPLEMENTED:
    case FLY_INTERNAL:
    case FLY_DATA_LOSS:
        return EXIT_ERROR;
    }
    return EXIT_ERROR;
}

int exit_code(enum fly_status status, uint32_t reason)
{
    if (status == FLY_OK) {
        return EXIT_DONE;
    }
    switch (reason) {
    case FLY__V1__REASON__REASON_REGION_UNKNOWN:
    case FLY__V1__REASON__REASON_INVALID_SPEC:
    case FLY__V1__REASON__REASON_KEY_INVALID:
    case FLY__V1__REASON__REASON_CURSOR_INVALID:
        return EXIT_USAGE;
    case FLY__V1__REASON__REASON_REGION_FULL:
    case FLY__V1__REASON__REASON_TOO_LARGE:
    case FLY__V1__REASON__REASON_CORDONED:
        return EXIT_NO_PLACEMENT;
    case FLY__V1__REASON__REASON_QUOTA:
    case FLY__V1__REASON__REASON_RATE:
    case FLY__V1__REASON__REASON_OWNER_UNREACHABLE:
    case FLY__V1__REASON__REASON_BUSY:
    case FLY__V1__REASON__REASON_TABLE_FULL:
    case FLY__V1__REASON__REASON_OVERLOADED:
    case FLY__V1__REASON__REASON_JOURNAL:
    case FLY__V1__REASON__REASON_STOPPING:
    case FLY__V1__REASON__REASON_OUTCOME_UNKNOWN:
    case FLY__V1__REASON__REASON_NOT_LEADER:
        return EXIT_TRY_AGAIN;
    case FLY__V1__REASON__REASON_TOKEN_MISSING:
    case FLY__V1__REASON__REASON_TOKEN_INVALID:
    case FLY__V1__REASON__REASON_TOKEN_EXPIRED:
    case FLY__V1__REASON__REASON_SCOPE_MISSING:
        return EXIT_NOT_PERMITTED;
    case FLY__V1__REASON__REASON_KEY_REUSED:
    case FLY__V1__REASON__REASON_KEY_EXPIRED:
    case FLY__V1__REASON__REASON_KEY_CANCELLED:
    case FLY__V1__REASON__REASON_NOT_FOUND:
        return EXIT_ERROR;
    default: /* none, or of a newer server: the status says enough */
        return code_of_status(status);
    }
}

const char *reason_name(uint32_t reason)
{
    static const char prefix[] = "REASON_";
    const ProtobufCEnumValue *value = NULL;

    if (reason <= INT32_MAX) {
        value = protobuf_c_enum_descriptor_get_value(&fly__v1__reason__descriptor, (int)reason);
    }
    if (value == NULL) {
        return "UNKNOWN";
    }
    return strncmp(value->name, prefix, sizeof prefix - 1) == 0 ? value->name + sizeof prefix - 1
                                                                : value->name;
}
