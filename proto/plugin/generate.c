#include "proto/plugin/generate.h"

#include <stdlib.h>

#include "proto/base/check.h"
#include "proto/plugin/emit.h"
#include "proto/plugin/names.h"

enum { FILES_OF_PROTO = 2 };

struct output {
    Fly__Plugin__Response__File file;
    struct plug_text text;
};

static void generate_file(struct plug_model *model, const struct plug_file *file,
                          struct output out[static FILES_OF_PROTO])
{
    const char *stem = plug_name_stem(&model->memory, file->proto->name);

    plug_emit_header(model, file, &out[0].text);
    plug_emit_source(model, file, &out[1].text);
    for (size_t i = 0; i < FILES_OF_PROTO; i++) {
        fly__plugin__response__file__init(&out[i].file);
        out[i].file.name = plug_memory_format(&model->memory, "%s.rpc.%c", stem, "hc"[i]);
        out[i].file.content = out[i].text.data;
    }
}

static void pack(const Fly__Plugin__Response *response, uint8_t **out, size_t *size)
{
    *size = fly__plugin__response__get_packed_size(response);
    *out = malloc(*size + 1);
    FLY_CHECK(*out != NULL);
    FLY_CHECK(fly__plugin__response__pack(response, *out) == *size);
}

enum fly_status plug_generate(struct fly_bytes request, uint8_t **response, size_t *size,
                              struct fly_error *error)
{
    struct plug_model model;
    struct fly_error mistake;
    Fly__Plugin__Response answer = FLY__PLUGIN__RESPONSE__INIT;
    Fly__Plugin__Request *question = fly__plugin__request__unpack(NULL, request.size, request.data);

    if (question == NULL) {
        return fly_error_set(error, FLY_INTERNAL, "no request of protoc: run me as its plug-in");
    }
    enum fly_status status = plug_model_init(&model, question, &mistake);
    size_t count = status == FLY_OK ? FILES_OF_PROTO * model.file_count : 0;
    struct output *outputs = plug_memory_take(&model.memory, count, sizeof *outputs);

    answer.error = status == FLY_OK ? NULL : mistake.text;
    answer.file = plug_memory_take(&model.memory, count, sizeof *answer.file);
    for (size_t i = 0; i < count; i++) {
        if (i % FILES_OF_PROTO == 0) {
            generate_file(&model, &model.files[i / FILES_OF_PROTO], &outputs[i]);
        }
        answer.file[answer.n_file++] = &outputs[i].file;
    }
    pack(&answer, response, size);
    for (size_t i = 0; i < count; i++) {
        plug_text_fini(&outputs[i].text);
    }
    plug_model_fini(&model);
    fly__plugin__request__free_unpacked(question, NULL);
    return FLY_OK;
}
