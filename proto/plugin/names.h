/*
 * names - C names of protobuf things, letter by letter as protoc-c 1.4.1 makes them, and ours.
 *
 * All results live as long as the memory they were taken from.
 */
#ifndef FLY_PLUGIN_NAMES_H
#define FLY_PLUGIN_NAMES_H

#include <stdbool.h>

#include "google/protobuf/descriptor.pb-c.h"
#include "proto/plugin/text.h"

/* "fly.v1.ForgetSlice" -> "fly_v1_forget_slice": a `_` before each capital that follows no capital,
 * and for each dot. */
char *plug_name_snake(struct plug_memory *memory, const char *dotted);
char *plug_name_upper(struct plug_memory *memory, const char *name);
/* ".fly.v1.Outer.Inner", defined in `file` -> "Fly__V1__Outer__Inner". Option c_package of
 * protobuf-c.proto stands for the package where it is set. */
char *plug_name_type(struct plug_memory *memory, const Google__Protobuf__FileDescriptorProto *file,
                     const char *full_name);
/* The same -> "fly__v1__outer__inner", what its descriptor's name begins with. */
char *plug_name_symbol(struct plug_memory *memory,
                       const Google__Protobuf__FileDescriptorProto *file, const char *full_name);
/* "fly/v1/edge.proto" -> "fly/v1/edge". */
char *plug_name_stem(struct plug_memory *memory, const char *file_name);
/* "fly/v1/edge.proto" -> "fly_2fv1_2fedge_2eproto": different files, different names. */
char *plug_name_guard(struct plug_memory *memory, const char *file_name);
/* A word that cannot name a member of a struct: of C, or a macro of its headers. */
bool plug_name_is_keyword(const char *name);
/* [a-z_][a-z0-9_]*, and no keyword. */
bool plug_name_is_prefix(const char *name);

#endif
