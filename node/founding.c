#include "node/founding.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "node/founding_parts.h"
#include "proto/base/check.h"
#include "proto/base/id.h"

enum { EXIT_UNREACHABLE = 69, EXIT_REFUSED = 77 };

void founding_take_name(struct argp_state *state, const char *value, struct node_settings *settings)
{
    if (!fly_name_ok(value)) {
        argp_error(state, "--name '%.80s' is not 1 to 63 of a-z, 0-9 and -", value);
    }
    (void)fly_copy_string(settings->name, sizeof settings->name, value);
}

/* As regions.csv has it: 2 to 8 letters or digits. */
void founding_take_region(struct argp_state *state, const char *value,
                          struct node_settings *settings)
{
    size_t size = strlen(value);
    bool good = size >= 2 && size <= 8;

    for (size_t i = 0; good && i < size; i++) {
        good = isascii((unsigned char)value[i]) && isalnum((unsigned char)value[i]);
        settings->region[i] = (char)toupper((unsigned char)value[i]);
    }
    if (!good) {
        argp_error(state, "--region '%.40s' is not a region code (2 to 8 letters or digits)",
                   value);
    }
    settings->region[size] = '\0';
}

static int exit_code(enum fly_status status)
{
    switch (status) {
    case FLY_OK:
        return 0;
    case FLY_UNAVAILABLE:
    case FLY_DEADLINE_EXCEEDED:
        return EXIT_UNREACHABLE;
    case FLY_PERMISSION_DENIED:
    case FLY_UNAUTHENTICATED:
        return EXIT_REFUSED;
    case FLY_CANCELLED:
    case FLY_UNKNOWN:
    case FLY_INVALID_ARGUMENT:
    case FLY_NOT_FOUND:
    case FLY_ALREADY_EXISTS:
    case FLY_RESOURCE_EXHAUSTED:
    case FLY_FAILED_PRECONDITION:
    case FLY_ABORTED:
    case FLY_OUT_OF_RANGE:
    case FLY_UNIMPLEMENTED:
    case FLY_INTERNAL:
    case FLY_DATA_LOSS:
        break;
    }
    return 1;
}

int founding_fail(enum fly_status status, const struct fly_error *error)
{
    (void)fprintf(stderr, "flynode: %s\n", error->text);
    return exit_code(status);
}

void founding_put(json_t *object, const char *name, json_t *value)
{
    FLY_CHECK(json_object_set_new(object, name, value) == 0);
}

json_t *founding_roles(uint32_t roles)
{
    json_t *array = json_array();

    for (uint32_t role = 1; role <= NODE_ROLE_ADMIT; role <<= 1) {
        if ((roles & role) != 0) {
            char text[NODE_ROLES_TEXT_SIZE];
            node_roles_format(role, ',', text);
            FLY_CHECK(json_array_append_new(array, json_string(text)) == 0);
        }
    }
    return array;
}

json_t *founding_json(const struct identity *identity, const char *state)
{
    json_t *root = json_object();
    char node[NODE_ID_TEXT_SIZE];
    char slice[8];
    char until[FLY_TIME_TEXT_SIZE];

    node_id_format(&identity->credential.id, node);
    (void)snprintf(slice, sizeof slice, "%06x", (unsigned)identity->credential.slice_tag);
    fly_time_format(identity->credential.expires_ms, until);
    founding_put(root, "cluster", json_string(identity->record.id));
    founding_put(root, "node", json_string(node));
    founding_put(root, "name", json_string(identity->credential.name));
    founding_put(root, "region", json_string(identity->settings.region));
    founding_put(root, "roles", founding_roles(identity->credential.roles));
    founding_put(root, "slice", json_string(slice));
    founding_put(root, "expires_at", json_string(until));
    founding_put(root, "state", json_string(state));
    return root;
}

int founding_print(json_t *root)
{
    bool ok = json_dumpf(root, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;

    json_decref(root);
    return ok ? 0 : 1;
}
