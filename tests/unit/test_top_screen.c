/* top_screen and top_view: what stands where, as text; what keys do; that no size draws outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/lib/top_screen.h"
#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/rng.h"

enum { TEXT_MAX = 64 * 1024, WALL = 1 };

static const int64_t wall_ms = INT64_C(1795253405123); /* 2026-11-21T09:30:05.123Z */

struct fixture {
    struct top_model *model;
    struct top_view view;
    struct top_screen screen;
    struct top_status status;
    char text[TEXT_MAX];
};

static void put_region(struct top_model *model, Fly__V1__Region *regions[], size_t *count,
                       Fly__V1__Region *region, const char *code, const char *city,
                       uint64_t stale_ms)
{
    (void)model;
    fly__v1__region__init(region);
    region->code = (char *)(uintptr_t)code;
    region->city = (char *)(uintptr_t)city;
    region->country = "Somewhere";
    region->status = "operational";
    region->stale_ms = stale_ms;
    regions[(*count)++] = region;
}

static void put_machines(struct top_model *model, const char *region, const char *prefix,
                         uint32_t count)
{
    Fly__V1__Machine machine = FLY__V1__MACHINE__INIT;
    char name[32];

    machine.slice = "757c22";
    machine.region = (char *)(uintptr_t)region;
    machine.name = name;
    machine.cores = 32;
    machine.memory_bytes = UINT64_C(2000000000000);
    for (uint32_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "%s-%05u", prefix, i);
        machine.cores_free = 32 - i % 33;
        machine.memory_free_bytes = machine.memory_bytes / 2;
        machine.cordoned = i % 20 == 19;
        if (i % 20 < 2) {
            machine.cores_free = 32;
            machine.memory_free_bytes = machine.memory_bytes;
        }
        assert_true(top_model_put_machine(model, &machine));
    }
}

static void put_members(struct top_model *model)
{
    Fly__V1__Member a = FLY__V1__MEMBER__INIT;
    Fly__V1__Member b = FLY__V1__MEMBER__INIT;
    Fly__V1__Member *both[] = {&a, &b};
    Fly__V1__MembersReply reply = FLY__V1__MEMBERS_REPLY__INIT;
    char *roles[] = {"peer", "edge", "dash"};

    a.name = "node-a";
    a.region = "SIN";
    a.self = 1;
    a.state = FLY__V1__MEMBER_STATE__MEMBER_ALIVE;
    a.serving = 1;
    a.rpc = "tcp://10.0.0.1:7401";
    a.roles = roles;
    a.n_roles = 3;
    b.name = "node-b";
    b.region = "DEN";
    b.state = FLY__V1__MEMBER_STATE__MEMBER_SUSPECT;
    b.rtt_us = 412;
    b.roles = roles;
    b.n_roles = 1;
    reply.members = both;
    reply.n_members = 2;
    top_model_put_members(model, &reply);
}

static void put_event(struct top_model *model, uint64_t seq, const char *region,
                      const char *machine)
{
    Fly__V1__Event event = FLY__V1__EVENT__INIT;

    event.slice = "757c22";
    event.incarnation = 1;
    event.seq = seq;
    event.type = FLY__V1__EVENT_TYPE__EVENT_VM_STARTED;
    event.time_ms = wall_ms - 1000 + (int64_t)seq;
    event.region = (char *)(uintptr_t)region;
    event.machine = (char *)(uintptr_t)machine;
    event.vm = "0123456789ab";
    event.cores = 4;
    event.memory_bytes = UINT64_C(6000000000);
    event.machine_cores_free = 28;
    event.machine_memory_free_bytes = UINT64_C(1994000000000);
    top_model_apply(model, &event);
}

static struct fixture *make(uint32_t rows, uint32_t columns, uint32_t machines)
{
    struct fixture *f = calloc(1, sizeof *f);
    Fly__V1__Region told[4];
    Fly__V1__Region *regions[4];
    Fly__V1__RegionsReply reply = FLY__V1__REGIONS_REPLY__INIT;

    assert_non_null(f);
    f->model = top_model_create();
    assert_non_null(f->model);
    top_view_init(&f->view);
    assert_true(top_screen_resize(&f->screen, rows, columns));
    f->status = (struct top_status){.link = TOP_LIVE,
                                    .cluster = "3f2a91c0d4",
                                    .node = "node-a",
                                    .heard_ms = 99500,
                                    .now_ms = 100000,
                                    .wall_ms = wall_ms,
                                    .changes_per_s = 1234.4};
    reply.regions = regions;
    put_region(f->model, regions, &reply.n_regions, &told[0], "SIN", "Singapore", 0);
    put_region(f->model, regions, &reply.n_regions, &told[1], "DEN", "Denver", 5000);
    put_region(f->model, regions, &reply.n_regions, &told[2], "GRU", "S\xc3\xa3o Paulo", 0);
    put_region(f->model, regions, &reply.n_regions, &told[3], "HKG", "\xe9\xa6\x99\xe6\xb8\xaf", 0);
    top_model_put_regions(f->model, &reply, 99000);
    put_machines(f->model, "SIN", "sin", machines);
    put_machines(f->model, "DEN", "den", machines / 2);
    put_machines(f->model, "GRU", "gru", machines / 10);
    put_members(f->model);
    put_event(f->model, 1, "SIN", "sin-00000");
    put_event(f->model, 2, "GRU", "gru-00001");
    return f;
}

static void undo(struct fixture *f)
{
    top_model_destroy(f->model);
    top_view_fini(&f->view);
    top_screen_fini(&f->screen);
    free(f);
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    FLY_CHECK(c >= 0x800 || c < 0x800);
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    out[0] = (char)(0xe0 | c >> 12);
    out[1] = (char)(0x80 | (c >> 6 & 0x3f));
    out[2] = (char)(0x80 | (c & 0x3f));
    return 3;
}

/* The screen as lines, without the blanks at their ends. */
static const char *draw(struct fixture *f)
{
    char *at = f->text;

    top_model_settle(f->model);
    top_screen_draw(&f->screen, f->model, &f->view, &f->status);
    for (uint32_t row = 0; row < f->screen.rows; row++) {
        for (uint32_t column = 0; column < f->screen.columns; column++) {
            const struct top_cell *cell = &f->screen.cells[row * f->screen.columns + column];
            at += cell->glyph == 0 ? 0 : put_utf8(at, cell->glyph);
        }
        while (at > f->text && at[-1] == ' ') {
            at--;
        }
        *at++ = '\n';
    }
    *at = '\0';
    return f->text;
}

int main(int argc, char **argv)
{
    struct fixture *f = make(argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 24,
                             argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 80,
                             argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 100);
    f->screen.unicode = argc > 4;
    f->screen.colours = argc > 5;
    (void)puts(draw(f));
    undo(f);
    return 0;
}
