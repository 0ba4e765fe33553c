/*
 * fuzz_follow - a follower driven by a script of messages, answers and hours, with the few rules
 * that hold whatever is said to it; and the text of cursors.
 *
 *   byte 0: what   then per step: op (1), argument (8, little-endian), for messages a size (1) and
 *   so many bytes as they came off the wire
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/cursors.h"
#include "proto/wire/follow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct follow follow;
    uint64_t next;
};

static void on_event(void *user, const struct event *event)
{
    struct seen *s = user;

    FLY_CHECK(!s->follow.lost && event->seq == s->next && event->slice == 7);
    FLY_CHECK(event->incarnation == s->follow.incarnation);
    s->next++;
}

static void on_machine(void *user, const struct event_message *message,
                       const struct event_machine *machine)
{
    struct seen *s = user;

    FLY_CHECK(message->from <= s->follow.next && message->to >= s->follow.next);
    FLY_CHECK(machine->name[0] != '\0');
    s->next = message->to + 1;
}

static bool read_message(struct fly_reader *r, struct event_message *message)
{
    size_t size = fly_get_u8(r);
    const uint8_t *bytes = fly_get_bytes(r, size);

    return bytes != NULL && event_message_decode(bytes, size, message, NULL) == FLY_OK;
}

static void step(struct seen *s, struct fly_reader *r, int64_t *now_ms,
                 const struct follow_sink *sink)
{
    struct follow *f = &s->follow;
    struct event_message message;
    uint8_t op = fly_get_u8(r);
    uint64_t argument = fly_get_u64(r);

    switch (op % 8) {
    case 0:
    case 1:
        if (read_message(r, &message)) {
            follow_receive(f, &message, *now_ms, sink);
        }
        break;
    case 2:
        *now_ms += (int64_t)(argument % 5000);
        break;
    case 3:
        follow_replayed(f, f->question - op / 128, op & 16 ? f->incarnation : argument,
                        (op & 32) != 0, op & 64 ? f->known : argument,
                        (op & 8) != 0 && read_message(r, &message) ? &message : NULL, *now_ms,
                        sink);
        break;
    case 4:
        if (follow_snapshot(f, f->question, op & 16 ? f->incarnation : 9, argument, *now_ms)) {
            FLY_CHECK(argument != UINT64_MAX);
            s->next = argument + 1;
        }
        break;
    case 5:
        follow_failed(f, f->question, *now_ms);
        break;
    case 6:
        follow_moved(f, *now_ms);
        break;
    default:
        follow_resume(f, op & 16 ? 9 : argument, argument);
        s->next = f->next;
    }
}

static void drive(struct fly_reader *r)
{
    struct seen s;
    struct follow_sink sink = {.event = on_event, .machine = on_machine, .user = &s};
    int64_t now_ms = 1000;

    sink.machine = fly_get_u8(r) % 2 != 0 ? on_machine : NULL;
    follow_init(&s.follow, 7, 1);
    s.next = 1;
    while (!r->failed && fly_reader_left(r) > 0) {
        uint32_t question = s.follow.question;
        step(&s, r, &now_ms, &sink);
        FLY_CHECK(s.follow.lost || (s.next == s.follow.next && s.next >= 1));
        FLY_CHECK(s.follow.lost || s.follow.incarnation != 0);
        enum follow_want want = follow_next(&s.follow, now_ms);
        FLY_CHECK((want == FOLLOW_NOTHING) == (s.follow.question == question));
        FLY_CHECK(want == FOLLOW_NOTHING || (want == FOLLOW_SNAPSHOT) == s.follow.lost);
        FLY_CHECK(follow_next(&s.follow, now_ms) == FOLLOW_NOTHING);
        FLY_CHECK(follow_deadline(&s.follow) > now_ms);
        FLY_CHECK(!follow_live(&s.follow, now_ms) || s.follow.known < s.follow.next);
    }
}

static void try_cursors(const uint8_t *data, size_t size)
{
    struct cursors c;
    struct cursors back;
    char first[CURSORS_TEXT_SIZE];
    char second[CURSORS_TEXT_SIZE];
    char *text = malloc(size + 1);

    FLY_CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (cursors_parse(text, &c)) {
        FLY_CHECK(c.count >= 1 && c.count <= CURSORS_MAX);
        size_t length = cursors_format(&c, first);
        FLY_CHECK(length == strlen(text) && length < CURSORS_TEXT_SIZE);
        FLY_CHECK(cursors_parse(first, &back));
        FLY_CHECK(cursors_format(&back, second) == length && strcmp(first, second) == 0);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fly_reader r = fly_reader_over(data, size);

    try_cursors(data, size);
    drive(&r);
    return 0;
}
