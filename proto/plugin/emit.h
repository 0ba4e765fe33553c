/*
 * emit - the C text of one file's services.
 */
#ifndef FLY_PLUGIN_EMIT_H
#define FLY_PLUGIN_EMIT_H

#include "proto/plugin/model.h"

/* <name>.rpc.h: methods, handlers, typed helpers of servers and stubs of clients. The helpers are
 * inline: who serves only does not link the client. */
void plug_emit_header(struct plug_model *model, const struct plug_file *file,
                      struct plug_text *out);
/* <name>.rpc.c: tables, dispatch, and the descriptor set for reflection. */
void plug_emit_source(struct plug_model *model, const struct plug_file *file,
                      struct plug_text *out);

#endif
