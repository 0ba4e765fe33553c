/*
 * schema - what validate_schema (proto/wire/validate.h) will say at start-up, said at build time.
 */
#ifndef FLY_PLUGIN_SCHEMA_H
#define FLY_PLUGIN_SCHEMA_H

#include "proto/plugin/model.h"

/* By its full name, which begins with a dot. Protoc has seen that there is one. */
const struct plug_type *plug_schema_type(const struct plug_model *model, const char *full_name);
/* INVALID_ARGUMENT: the type can contain itself, nests too deep, has too many fields, or one that
 * is `required`. */
enum fly_status plug_schema_check(const struct plug_model *model, const struct plug_type *type,
                                  struct fly_error *error);

#endif
