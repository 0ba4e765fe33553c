/*
 * trace - W3C's text form of a trace context (the header `traceparent`) and the 24 bytes of it that
 * travel in a frame.
 *
 * "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": version, trace-id, parent-id, flags.
 * Our frames have no place for the flags: who sends a trace wants it followed, so the text always
 * says "sampled". Source: W3C Trace Context (2021), 3.2. Pure.
 */
#ifndef FLY_WIRE_TRACE_H
#define FLY_WIRE_TRACE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/wire/frame.h"

enum {
    TRACE_TEXT_SIZE = 56,    /* with the NUL */
    TRACE_ID_TEXT_SIZE = 33, /* the trace-id alone, for logs */
};

/* Strict: lower-case hex, version ff and ids of zeros are invalid, version 00 has nothing behind
 * its flags. A newer version is read as far as version 00 goes (3.2.4: it may only have more behind
 * a dash). *out is changed only when it is true. */
bool trace_parse(const char *text, size_t size, struct frame_trace *out);
void trace_format(const struct frame_trace *trace, char out[static TRACE_TEXT_SIZE]);
void trace_id_format(const struct frame_trace *trace, char out[static TRACE_ID_TEXT_SIZE]);

#endif
