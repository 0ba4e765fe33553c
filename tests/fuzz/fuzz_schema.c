/*
 * What a server says of itself, and a message by it: [u16 size of a descriptor set][set][bytes]. A
 * set that is taken is sound enough to print, to walk, and to decode anything by.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/transcode.h"
#include "google/protobuf/descriptor.pb-c.h"
#include "proto/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TYPES_MAX = 8 };

/* The first types of the set by every name that they could have. */
static void decode_all(const struct schema *schema, struct fly_bytes set, struct fly_bytes bytes)
{
    Google__Protobuf__FileDescriptorSet *files =
        google__protobuf__file_descriptor_set__unpack(NULL, set.size, set.data);
    FILE *out = fopen("/dev/null", "w");
    unsigned tried = 0;

    FLY_CHECK(files != NULL && out != NULL);
    for (size_t f = 0; f < files->n_file; f++) {
        const Google__Protobuf__FileDescriptorProto *file = files->file[f];
        for (size_t i = 0; i < file->n_message_type && tried < TYPES_MAX; i++, tried++) {
            const char *package = file->package != NULL ? file->package : "";
            char name[1024];
            struct fly_error error;
            json_t *json = NULL;
            (void)snprintf(name, sizeof name, "%s%s%s", package, package[0] != '\0' ? "." : "",
                           file->message_type[i]->name);
            const struct schema_message *type = schema_message(schema, name);
            FLY_CHECK(type != NULL);
            schema_print_message(type, out);
            if (transcode_decode(type, bytes, &json, &error) == FLY_OK) {
                transcode_print(json, false, out);
                json_decref(json);
            }
        }
        for (size_t i = 0; i < file->n_service; i++) {
            char name[1024];
            const char *package = file->package != NULL ? file->package : "";
            (void)snprintf(name, sizeof name, "%s%s%s", package, package[0] != '\0' ? "." : "",
                           file->service[i]->name);
            const struct schema_service *service = schema_service(schema, name);
            FLY_CHECK(service != NULL);
            schema_print_service(service, out);
        }
    }
    (void)fclose(out);
    google__protobuf__file_descriptor_set__free_unpacked(files, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct schema *schema = NULL;
    struct fly_error error;

    if (size < 2) {
        return 0;
    }
    size_t set_size = (size_t)data[0] | (size_t)data[1] << 8;
    set_size = set_size < size - 2 ? set_size : size - 2;
    uint8_t *exact = malloc(set_size > 0 ? set_size : 1);
    FLY_CHECK(exact != NULL);
    memcpy(exact, data + 2, set_size);
    const struct fly_bytes set = {exact, set_size};
    if (schema_create(&schema, set, &error) == FLY_OK) {
        decode_all(schema, set, (struct fly_bytes){data + 2 + set_size, size - 2 - set_size});
    }
    schema_destroy(schema);
    free(exact);
    return 0;
}
