/*
 * protoc-gen-flyrpc - makes typed servers and clients of the services in .proto files.
 *
 *     protoc --plugin=protoc-gen-flyrpc=PATH --flyrpc_out=[prefix=NAME:]FOLDER FILE.proto
 *
 * Beside it `protoc-c --c_out=FOLDER FILE.proto` makes the messages. CMake: fly_proto_library.
 */
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/check.h"
#include "proto/plugin/generate.h"

enum { CHUNK = 64 * 1024 };

static struct fly_bytes read_all(FILE *in)
{
    uint8_t *data = NULL;
    size_t size = 0;

    for (;;) {
        data = realloc(data, size + CHUNK);
        FLY_CHECK(data != NULL);
        size_t got = fread(data + size, 1, CHUNK, in);
        size += got;
        if (got == 0) {
            return (struct fly_bytes){.data = data, .size = size};
        }
    }
}

int main(void)
{
    struct fly_bytes request = read_all(stdin);
    struct fly_error error;
    uint8_t *response = NULL;
    size_t size = 0;
    int code = 0;

    if (plug_generate(request, &response, &size, &error) != FLY_OK) {
        fprintf(stderr, "protoc-gen-flyrpc: %s\n", error.text);
        code = 1;
    } else if (fwrite(response, 1, size, stdout) != size || fflush(stdout) != 0) {
        perror("protoc-gen-flyrpc: stdout");
        code = 1;
    }
    free(response);
    free((void *)request.data);
    return code;
}
