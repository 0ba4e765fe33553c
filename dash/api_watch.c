/* api_watch - GET /v1/events: what is asked for; dash/sse.h does the rest. */
#include <stdio.h>
#include <string.h>

#include "client/lib/shape.h"
#include "dash/api_internal.h"
#include "dash/sse.h"
#include "proto/base/check.h"
#include "proto/wire/cursors.h"

enum { TYPES_SIZE = 256 };

/* "vm_started,vm_destroyed": the numbers. False: answered. */
static bool take_types(struct http_call *call, const char *text, struct sse_query *query)
{
    while (*text != '\0') {
        size_t size = strcspn(text, ",");
        uint32_t type = EVENT_MACHINE_ADDED;
        while (type <= EVENT_MACHINE_UNCORDONED &&
               !(strlen(shape_event_type(type)) == size &&
                 strncmp(shape_event_type(type), text, size) == 0)) {
            type++;
        }
        if (type > EVENT_MACHINE_UNCORDONED || query->type_count == SSE_TYPES_MAX) {
            api_refuse_input(call,
                             "machine_added, machine_resized, machine_removed, vm_started, "
                             "vm_destroyed, machine_cordoned, machine_uncordoned",
                             "'%.*s' is no type of event", (int)(size < 40 ? size : 40), text);
            return false;
        }
        query->types[query->type_count++] = type;
        text += size + (text[size] == ',' ? 1 : 0);
    }
    return true;
}

void api_watch(struct api *api, struct http_call *call, const char *rest)
{
    char since[HTTP_QUERY_MAX + 1] = "";
    char region[API_CODE_SIZE] = "";
    char types[TYPES_SIZE] = "";
    const struct api_param params[] = {{"since", since, sizeof since},
                                       {"region", region, sizeof region},
                                       {"type", types, sizeof types}};
    struct sse_query query = {.since = since, .region = region};
    uint32_t ignored = 0;

    (void)rest;
    if (!api_params(call, params, FLY_ARRAY_COUNT(params)) || !api_region(call, region) ||
        !take_types(call, types, &query) ||
        (region[0] != '\0' && !api_region_find(api, call, region, &ignored))) {
        return;
    }
    /* a browser that comes back knows better than the address that it was given once */
    if (http_header(call, "last-event-id")[0] != '\0') {
        query.since = http_header(call, "last-event-id");
    }
    sse_open(api->sse, call, &query);
}
