/*
 * collide - two methods with one hash on the wire, two things with one name in C: found at build
 * time, among all files of one run of protoc.
 */
#ifndef FLY_PLUGIN_COLLIDE_H
#define FLY_PLUGIN_COLLIDE_H

#include "proto/plugin/model.h"

/* INVALID_ARGUMENT names the two. */
enum fly_status plug_collide_check(struct plug_model *model, struct fly_error *error);

#endif
