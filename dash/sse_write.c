/* sse_write - blocks of Server-Sent Events: whole ones, or none where the reader is slow. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lib/shape.h"
#include "dash/sse_internal.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

bool sse_put(struct sse_stream *st, const char *id, const char *name, json_t *data)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    FLY_CHECK(out != NULL);
    if (id != NULL) {
        (void)fprintf(out, "id: %s\n", id);
    }
    if (name != NULL) {
        FLY_CHECK(data != NULL);
        (void)fprintf(out, "event: %s\ndata: ", name);
        FLY_CHECK(json_dumpf(data, out, JSON_COMPACT) == 0);
        (void)fputc('\n', out);
    }
    (void)fputc('\n', out);
    FLY_CHECK(fclose(out) == 0);
    json_decref(data);
    bool good = http_stream_write(st->call, (struct fly_bytes){(const uint8_t *)text, size});
    free(text);
    if (good) {
        st->wrote_ms = fly_clock_boot_ms();
    }
    return good;
}

bool sse_put_words(struct sse_stream *st, const char *words)
{
    bool good =
        http_stream_write(st->call, (struct fly_bytes){(const uint8_t *)words, strlen(words)});

    if (good) {
        st->wrote_ms = fly_clock_boot_ms();
    }
    return good;
}

bool sse_put_reset(struct sse_stream *st, uint32_t tag, const char *reason, size_t vms)
{
    char slice[8];

    (void)snprintf(slice, sizeof slice, "%06x", tag & 0xffffff);
    return sse_put(st, NULL, "reset",
                   json_pack("{s:o,s:o,s:I}", "slice", tag != 0 ? json_string(slice) : json_null(),
                             "reason", shape_text(reason), "vms", (json_int_t)vms));
}

/* With the id of its place, unless that is what was said last. */
static bool put_event(struct sse_stream *st, const Fly__V1__Event *event)
{
    char cursor[CURSORS_TEXT_SIZE];

    (void)watching_cursor(&st->watching, cursor);
    if (!sse_put(st, cursor[0] != '\0' ? cursor : NULL, "change", shape_event(event, NULL))) {
        return false;
    }
    (void)fly_copy_string(st->told, sizeof st->told, cursor);
    return true;
}

static bool put_place(struct sse_stream *st)
{
    char cursor[CURSORS_TEXT_SIZE];

    (void)watching_cursor(&st->watching, cursor);
    if (cursor[0] == '\0' || strcmp(cursor, st->told) == 0) {
        return true;
    }
    if (!sse_put(st, cursor, NULL, NULL)) {
        return false;
    }
    (void)fly_copy_string(st->told, sizeof st->told, cursor);
    return true;
}

static bool put_events(struct sse_stream *st)
{
    const Fly__V1__WatchReply *message = st->watching.message;

    for (; st->at < message->n_events; st->at++) {
        const Fly__V1__Event *event = message->events[st->at];
        /* looked at once: its place is behind it from then on */
        st->taken = st->taken || watching_take(&st->watching, event);
        if (st->taken && !put_event(st, event)) {
            return false;
        }
        st->taken = false;
    }
    return true;
}

bool sse_put_message(struct sse_stream *st)
{
    struct watching *w = &st->watching;
    const Fly__V1__WatchReply *message = w->message;

    if (st->stage == STAGE_RESET) {
        if ((message->reset || message->n_vms > 0) &&
            !sse_put_reset(st, watching_reset_slice(w), message->reset_reason, message->n_vms)) {
            return false;
        }
        st->stage = STAGE_VMS;
        st->at = 0;
    }
    if (st->stage == STAGE_VMS) {
        for (; st->at < message->n_vms; st->at++) {
            if (!sse_put(st, NULL, "present", api_vm(message->vms[st->at]))) {
                return false;
            }
        }
        st->stage = STAGE_EVENTS;
        st->at = 0;
        st->taken = false;
    }
    if (st->stage == STAGE_EVENTS) {
        if (!put_events(st)) {
            return false;
        }
        watching_taken(w);
        st->stage = STAGE_PLACE;
    }
    if (st->stage == STAGE_PLACE && !put_place(st)) {
        return false;
    }
    st->stage = STAGE_NONE;
    w->message = NULL;
    rpc_reply_fini(&w->reply);
    return true;
}
