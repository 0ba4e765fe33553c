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

enum { TEXT_MAX = 3 * 1024 * 1024 };

static const int64_t wall_ms = INT64_C(1795253405123); /* 2026-11-21T09:30:05.123Z */

struct fixture {
    struct top_model *model;
    struct top_view view;
    struct top_screen screen;
    struct top_status status;
    char *text;
};

static void put_region(Fly__V1__Region *regions[], size_t *count, Fly__V1__Region *region,
                       const char *code, const char *city, uint64_t stale_ms)
{
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
    f->text = malloc(TEXT_MAX);
    assert_non_null(f->text);
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
    put_region(regions, &reply.n_regions, &told[0], "SIN", "Singapore", 0);
    put_region(regions, &reply.n_regions, &told[1], "DEN", "Denver", 5000);
    put_region(regions, &reply.n_regions, &told[2], "GRU", "S\xc3\xa3o Paulo", 0);
    put_region(regions, &reply.n_regions, &told[3], "HKG", "\xe9\xa6\x99\xe6\xb8\xaf", 0);
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
    free(f->text);
    free(f);
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
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

/* ---- what stands there ---- */

static const char golden_80[] =
    " flylight   LIVE   1,234 changes/s  edge node-a  cluster 3f2a91c0     09:30:05Z\n"
    " 160 machines, free: 3,018 of 5,120 cores, 177.98 TB of 320 TB  7 cordoned\n"
    " Regions 4  free cores, memory              Machines 160\n"
    " DEN~      50      993/1600      56T/100T   DEN ????????????????????????????????\n"
    " GRU       10       272/320       12T/20T       ??????????????????\n"
    " SIN      100     1753/3200     110T/200T   GRU .144444444\n"
    " HKG        0             -             -   SIN 1.44444444444444455x..6677788899\n"
    "                                                #444444x..44444444555666677x..89\n"
    "                                                9#4444444444444x..45556666777888\n"
    "                                                99#x\n"
    "\n"
    "\n"
    "\n"
    "\n"
    " Members 2  state, RTT, roles               Latest changes\n"
    "*node-a      SIN  alive      self ped       09:30:04 started    GRU  gru-00001\n"
    " node-b      DEN  suspect  0.4 ms peer      09:30:04 started    SIN  sin-00000\n"
    "\n"
    "\n"
    "\n"
    "\n"
    "\n"
    " DEN  Denver, Somewhere  operational  50 machines, 2 cordoned  as of 6 s ago\n"
    " q quit ? help Tab pane / filter s sort c colours p pause m mean/worst +- zoom\n";

static const char golden_100[] =
    " flylight   LIVE   1,234 changes/s  edge node-a  cluster 3f2a91c0                         "
    "09:30:05Z\n"
    " 4,800 machines, free: 84,595 of 153,600 cores, 5.27 PB of 9.6 PB  240 cordoned\n"
    " Regions 4  free cores, memory                 Machines 4,800  cell: mean of 8\n"
    " DEN~   1,500         27k/48k       1.6P/3.0P  DEN "
    "░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░\n"
    " GRU      300       5294/9600       330T/600T      "
    "░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░\n"
    " SIN    3,000         53k/96k       3.3P/6.0P      "
    "░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░\n"
    " HKG        0               -               -      ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░\n"
    "                                               GRU 34485355644754557357543683448436644486\n"
    "                                               SIN "
    "3448535564475455735754368344843664448445663574437\n"
    "                                                   "
    "7355743654458346643583448635564475455734654368344\n"
    "                                                   "
    "8435654484455635744377345843664448345653583447635\n"
    "                                                   "
    "5743754458346643683448535564475455735754368344843\n"
    "                                                   "
    "6644484456635744377355743654458346643583448635564\n"
    "                                                   "
    "4754557346543683448435654484455635744377345843664\n"
    "                                                   "
    "4483456535834476355743754458346643683448535564475\n"
    "                                                   45573575436834484366444844566357\n"
    "\n"
    " Members 2  state, RTT, roles                  Latest changes\n"
    "*node-a      SIN  alive      self ped          09:30:04 started    GRU  gru-00001  "
    "0123456789ab  4 c\n"
    " node-b      DEN  suspect  0.4 ms peer         09:30:04 started    SIN  sin-00000  "
    "0123456789ab  4 c\n"
    "\n"
    "\n"
    "\n"
    "\n"
    "\n"
    "\n"
    "\n"
    "\n"
    " DEN  Denver, Somewhere  operational  1,500 machines, 75 cordoned  as of 6 s ago\n"
    " q quit ? help Tab pane / filter s sort c colours p pause m mean/worst +- zoom Enter region\n";

static void test_golden(void **state)
{
    struct fixture *small = make(24, 80, 100);
    struct fixture *large = make(30, 100, 3000);

    (void)state;
    assert_string_equal(draw(small), golden_80);
    assert_string_equal(draw(small), golden_80); /* drawing changes nothing */
    large->screen.unicode = true;
    assert_string_equal(draw(large), golden_100);
    undo(small);
    undo(large);
}

static void has(struct fixture *f, const char *words)
{
    if (strstr(draw(f), words) == NULL) {
        fail_msg("\"%s\" is not in\n%s", words, f->text);
    }
}

static void has_not(struct fixture *f, const char *words)
{
    if (strstr(draw(f), words) != NULL) {
        fail_msg("\"%s\" is in\n%s", words, f->text);
    }
}

static void press(struct fixture *f, const char *keys)
{
    for (; *keys != '\0'; keys++) {
        uint32_t key = *keys == '\t'   ? TOP_KEY_TAB
                       : *keys == '\r' ? TOP_KEY_ENTER
                       : *keys == '\b' ? TOP_KEY_BACKSPACE
                       : *keys == '~'  ? TOP_KEY_ESCAPE
                       : *keys == '<'  ? TOP_KEY_LEFT
                       : *keys == '>'  ? TOP_KEY_RIGHT
                                       : (uint32_t)*keys;
        assert_int_not_equal(top_view_key(&f->view, key), TOP_QUIT);
        (void)draw(f);
    }
}

/* Row `row` of the screen, from `column`: the number of cells of that style. */
static uint32_t styled(const struct fixture *f, uint32_t row, uint32_t column, uint32_t end,
                       enum top_style style)
{
    uint32_t count = 0;

    for (; column < end; column++) {
        count += f->screen.cells[row * f->screen.columns + column].style == style ? 1 : 0;
    }
    return count;
}

static void test_bars(void **state)
{
    struct fixture *f = make(24, 80, 100);

    (void)state;
    (void)draw(f);
    /* 13 columns each: 32 of 320 cores are taken, 8 of 20 TB; GRU stands in row 4 */
    assert_int_equal(styled(f, 4, 14, 28, TOP_BAR_LOW), 2);
    assert_int_equal(styled(f, 4, 28, 42, TOP_BAR_LOW), 5);
    assert_int_equal(styled(f, 3, 14, 42, TOP_BAR_OLD) > 0, 1); /* DEN is old: in no colour */
    assert_int_equal(styled(f, 3, 14, 42, TOP_BAR_LOW), 0);
    assert_int_equal(styled(f, 6, 14, 42, TOP_BAR_REST), 26); /* HKG: nothing to take */
    undo(f);
}

static void test_halves(void **state)
{
    struct fixture *f = make(24, 80, 100);
    const struct top_cell *cells;

    (void)state;
    f->screen.unicode = true;
    f->screen.colours = true;
    has(f, " DEN \xe2\x96\x91\xe2\x96\x91"); /* hatched */
    cells = &f->screen.cells[5 * 80 + 48];   /* the first two rows of SIN's machines, 32 wide */
    assert_int_equal(cells[0].glyph, 0x2580);
    assert_int_equal(cells[0].style, TOP_HEAT);
    assert_int_equal(cells[0].ink, TOP_HEAT_FIRST + 1); /* sin-00000 has a VM */
    assert_int_equal(cells[1].ink, TOP_HEAT_IDLE);
    assert_int_equal(cells[0].paper, TOP_HEAT_FULL);    /* sin-00032 */
    assert_int_equal(cells[2].ink, TOP_HEAT_FIRST + 4); /* half of the memory */
    assert_int_equal(cells[19].ink, TOP_HEAT_CORDONED);
    assert_int_equal(cells[80 + 3].ink, TOP_HEAT_FIRST + 4);
    assert_int_equal(cells[80 + 2].paper, TOP_HEAT_FULL); /* sin-00098 */
    press(f, "\t>>"); /* the cursor, on DEN's third: hatched, so it is shown by its style */
    assert_int_equal(f->screen.cells[3 * 80 + 50].style, TOP_CURSOR);
    has(f, " den-00002  DEN  free: 30 of 32 cores, 1 TB of 2 TB  slice 757c22\n");
    undo(f);
}

static void test_keys(void **state)
{
    struct fixture *f = make(24, 80, 100);

    (void)state;
    has(f, " DEN  Denver, Somewhere  operational  50 machines");
    press(f, "jj");
    has(f, " SIN  Singapore, Somewhere  operational  100 machines, 5 cordoned\n");
    press(f, "\r"); /* only its machines */
    has(f, ">SIN ");
    has(f, "Machines 100  SIN\n");
    press(f, "k\r");
    has(f, "Machines 10  GRU\n");
    press(f, "~");
    has(f, "Machines 160\n");
    press(f, "/gRx\b");
    has(f, "beginning of a name: gR_\n");
    has(f, "Machines 160\n"); /* not before it is said */
    press(f, "\r");
    has(f, "Machines 10\n");
    has(f, "Regions 1 ");
    has_not(f, "SIN 1.4");
    press(f, "/\b\b\rG");
    has(f, " HKG  ??, Somewhere");
    undo(f);
}

static void test_filter_by_name(void **state)
{
    struct fixture *f = make(24, 80, 100);

    (void)state;
    press(f, "/sin-0001\r");
    has(f, "Machines 10\n");
    has(f, "Regions 1 /sin-0001 ");
    press(f, "/~");
    has(f, "Machines 10\n"); /* nothing was said */
    press(f, "/zzz\r");
    has(f, "Machines 0\n");
    has(f, "none");
    press(f, "jkgG\t>\tj\tj");
    press(f, "~");
    has(f, "Machines 160\n");
    undo(f);
}

static void test_help_pause_quit(void **state)
{
    struct fixture *f = make(24, 80, 100);

    (void)state;
    press(f, "?");
    has(f, "Shift-Tab");
    press(f, "x");
    has(f, "Regions 4");
    press(f, "p");
    has(f, " PAUSED ");
    assert_true(f->view.paused);
    press(f, "p");
    has(f, " LIVE ");
    press(f, "/");
    press(f, "q"); /* a letter of the filter */
    press(f, "~");
    assert_int_equal(top_view_key(&f->view, 'q'), TOP_QUIT);
    undo(f);
}

static void test_aggregate(void **state)
{
    struct fixture *f = make(24, 80, 60000);

    (void)state;
    has(f, "Machines 96,000  cell: mean of ");
    uint32_t each = f->view.each;
    assert_true(f->view.cells <= 32 * 11);
    assert_true(f->view.cells * each >= 96000);
    press(f, "m");
    has(f, "cell: worst of ");
    press(f, "\tm");
    has(f, " DEN  ");
    has(f, " machines den-00000 .. den-00");
    has(f, " taken, ");
    press(f, "G");
    has(f, ".. sin-59999: mean ");
    press(f, "+"); /* half as many a cell: not all fit, the cursor is still seen, on its machine */
    assert_int_equal(f->view.each, each / 2);
    assert_true(f->view.lines.count > f->view.lines.page);
    assert_in_range(f->view.lines.at, f->view.lines.top,
                    f->view.lines.top + f->view.lines.page - 1);
    press(f, "g");
    assert_int_equal(f->view.lines.top, 0);
    for (int i = 0; i < 30; i++) {
        press(f, "+");
    }
    assert_int_equal(f->view.each, 1);
    press(f, "jjj>");
    has(f, " den-00097  DEN  free: ");
    press(f, "kkk<");
    has(f, " den-00000  DEN  free: ");
    undo(f);
}

static void test_sort(void **state)
{
    struct fixture *f = make(24, 80, 100);

    (void)state;
    (void)draw(f);
    press(f, "s");
    has(f, "by taken");
    for (uint32_t i = 0; i < f->view.group_count; i++) {
        const struct top_group *group = &f->view.groups[i];
        for (uint32_t j = 1; j < group->count; j++) {
            assert_true((f->model->levels[f->view.shown[group->first + j - 1]] & TOP_LEVEL_MAX) >=
                        (f->model->levels[f->view.shown[group->first + j]] & TOP_LEVEL_MAX));
        }
    }
    press(f, "s");
    assert_string_equal(draw(f), golden_80);
    undo(f);
}

/* What the person chose stays where it is, whatever comes. */
static void test_cursors_stay(void **state)
{
    struct fixture *f = make(24, 80, 100);

    (void)state;
    (void)draw(f);
    press(f, "jj");
    put_machines(f->model, "AMS", "ams", 5);
    has(f, " SIN  Singapore");
    has(f, " AMS ");
    press(f, "\t\t\tj");
    has(f, " 757c22/1 vm_started  0123456789ab on sin-00000  SIN");
    for (uint64_t seq = 3; seq < 20; seq++) {
        put_event(f->model, seq, "DEN", "den-00003");
    }
    has(f, " 757c22/1 vm_started");
    press(f, "g");
    has(f, " 757c22/19 vm_started");
    put_event(f->model, 20, "DEN", "den-00004");
    has(f, " 757c22/20 vm_started"); /* who looks at the last one follows it */
    for (uint64_t seq = 21; seq < 200; seq++) {
        put_event(f->model, seq, "DEN", "den-00003");
    }
    press(f, "\t\t\tG");
    has(f, " node-b  ");
    undo(f);
}

static void test_links(void **state)
{
    static const struct {
        const char *what;
        enum top_link link;
        int64_t silent_ms;
        const char *shown;
        bool old;
    } cases[] = {
        {"live", TOP_LIVE, 900, " LIVE ", false},
        {"silent", TOP_LIVE, 4200, " STALE 4 s ", true},
        {"lost just now", TOP_LOST, 1000, " LOST 1 s   connection reset", false},
        {"lost for long", TOP_LOST, 200000, " LOST 3 min   connection reset", true},
        {"connecting", TOP_CONNECTING, 0, " CONNECTING ", false},
        {"loading", TOP_LOADING, 10, " LOADING 12,000 ", false},
    };
    struct fixture *f = make(24, 80, 100);

    (void)state;
    (void)fly_copy_string(f->status.why, sizeof f->status.why, "connection reset");
    f->status.told = 12000;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(cases); i++) {
        f->status.link = cases[i].link;
        f->status.heard_ms = f->status.now_ms - cases[i].silent_ms;
        has(f, cases[i].shown);
        if ((strstr(f->text, "SIN~") != NULL) != cases[i].old ||
            (strstr(f->text, " SIN 1.444") != NULL) == cases[i].old) {
            fail_msg("%s:\n%s", cases[i].what, f->text);
        }
    }
    undo(f);
}

static void test_small(void **state)
{
    struct fixture *f = make(12, 50, 100);

    (void)state;
    has(f, "Regions 4");
    has_not(f, "Members");
    press(f, "\t");
    has(f, "Machines 160");
    has_not(f, "Regions 4");
    press(f, "\t");
    has(f, "Members 2");
    assert_true(top_screen_resize(&f->screen, 5, 30));
    has(f, "at least 40 by 8\n");
    undo(f);
}

/* No key in any size draws outside (top_cell_at checks) or leaves a cursor where nothing is. */
static void test_any_keys(void **state)
{
    static const char keys[] = "jkgG/s+-mcp?hqa1\b\r~<>\t\t\t ";
    static const uint32_t moves[] = {TOP_KEY_UP,  TOP_KEY_DOWN, TOP_KEY_PAGE_UP,  TOP_KEY_PAGE_DOWN,
                                     TOP_KEY_END, TOP_KEY_HOME, TOP_KEY_BACK_TAB, UINT32_MAX};
    struct fixture *f = make(24, 80, 400);
    struct fly_rng rng;

    (void)state;
    fly_rng_seed(&rng, 3);
    for (int i = 0; i < 20000; i++) {
        uint32_t choice = (uint32_t)fly_rng_below(&rng, sizeof keys - 1 + FLY_ARRAY_COUNT(moves));
        uint32_t key =
            choice < sizeof keys - 1 ? (uint32_t)keys[choice] : moves[choice - (sizeof keys - 1)];
        (void)top_view_key(&f->view, key == '~' ? TOP_KEY_ESCAPE : key == '\t' ? TOP_KEY_TAB : key);
        if (i % 50 == 0) {
            f->screen.unicode = fly_rng_below(&rng, 2) != 0;
            f->screen.colours = fly_rng_below(&rng, 2) != 0;
            assert_true(top_screen_resize(&f->screen, (uint32_t)fly_rng_below(&rng, 60),
                                          (uint32_t)fly_rng_below(&rng, 170)));
        }
        if (i % 7 == 0) {
            put_event(f->model, 10 + (uint64_t)i, "DEN", "den-00007");
            f->status.now_ms += (int64_t)fly_rng_below(&rng, 900);
            f->status.heard_ms = f->status.now_ms - (int64_t)fly_rng_below(&rng, 4000);
        }
        top_model_settle(f->model);
        top_screen_draw(&f->screen, f->model, &f->view, &f->status);
        assert_true(f->view.cells == 0 || f->view.cell_at < f->view.cells);
        assert_true(f->view.regions.count == 0 || f->view.regions.at < f->view.regions.count);
        assert_true(f->view.shown_count <= f->model->order_count);
    }
    undo(f);
}

static void test_numbers(void **state)
{
    static const struct {
        uint64_t value;
        const char *shown;
    } shorts[] = {{0, "0"},           {999, "999"},      {9999, "9999"},
                  {10000, "10k"},     {99949, "100k"},   {999499, "999k"},
                  {999500, "1.0M"},   {1234567, "1.2M"}, {UINT64_C(2000000000000), "2.0T"},
                  {UINT64_MAX, "18E"}};
    char text[TOP_SHORT_SIZE];
    char number[TOP_NUMBER_SIZE];

    (void)state;
    for (size_t i = 0; i < FLY_ARRAY_COUNT(shorts); i++) {
        top_short_number(shorts[i].value, text);
        assert_string_equal(text, shorts[i].shown);
    }
    top_number(0, number);
    assert_string_equal(number, "0");
    top_number(999, number);
    assert_string_equal(number, "999");
    top_number(UINT64_MAX, number);
    assert_string_equal(number, "18,446,744,073,709,551,615");
    top_age(UINT64_MAX, text);
    assert_string_equal(text, "ever");
    top_age(7300 * 1000, text);
    assert_string_equal(text, "2 h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),         cmocka_unit_test(test_bars),
        cmocka_unit_test(test_halves),         cmocka_unit_test(test_keys),
        cmocka_unit_test(test_filter_by_name), cmocka_unit_test(test_help_pause_quit),
        cmocka_unit_test(test_aggregate),      cmocka_unit_test(test_sort),
        cmocka_unit_test(test_cursors_stay),   cmocka_unit_test(test_links),
        cmocka_unit_test(test_small),          cmocka_unit_test(test_any_keys),
        cmocka_unit_test(test_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
