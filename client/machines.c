/*
 * flyrpc machines - the machines that the edge knows, page by page, with what is free on each.
 *
 * While machines come and go a page may begin with what the last one told: such a machine is shown
 * once, as it was told last.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/command.h"
#include "client/lib/shape.h"
#include "client/lib/text.h"
#include "fly/v1/edge.rpc.h"
#include "proto/base/check.h"
#include "proto/base/time.h"

enum { KEY_REGION = 1, KEY_NAME, KEY_LIMIT, PAGE_SIZE = 4000, PAGES_MAX = 1 << 16 };

static const struct argp_option options[] = {
    {"region", KEY_REGION, "CODE", 0, "Only of this region", 0},
    {"name", KEY_NAME, "PREFIX", 0, "Only those whose name begins so", 0},
    {"limit", KEY_LIMIT, "N", 0, "At most so many", 0},
    {0},
};

struct input {
    char region[64];
    const char *prefix;
    uint32_t limit; /* 0: all */
};

static void take(int key, const char *value, void *user)
{
    struct input *input = user;

    if (key == KEY_NAME) {
        input->prefix = value;
        return;
    }
    if (key == KEY_LIMIT) {
        char *end = NULL;
        unsigned long limit = strtoul(value, &end, 10);
        if (value[0] < '0' || value[0] > '9' || *end != '\0' || limit == 0 || limit > UINT32_MAX) {
            command_usage("--limit: '%.40s' is not a number of machines from 1 on", value);
        }
        input->limit = (uint32_t)limit;
        return;
    }
    if (value[0] == '\0' || !fly_copy_string(input->region, sizeof input->region, value)) {
        command_usage("--region: '%.40s' is not a region code", value);
    }
    for (char *c = input->region; *c != '\0'; c++) {
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    }
}

/* What was told, in pages; the pages own the machines. */
struct shown {
    struct rpc_reply *pages;
    size_t page_count;
    const Fly__V1__Machine **machines;
    size_t count;
    size_t max;
};

static void keep(struct shown *shown, const Fly__V1__Machine *machine)
{
    if (shown->count == shown->max) {
        shown->max = shown->max * 2 + PAGE_SIZE;
        shown->machines = realloc(shown->machines, shown->max * sizeof(const Fly__V1__Machine *));
        FLY_CHECK(shown->machines != NULL);
    }
    shown->machines[shown->count++] = machine;
}

static bool same(const Fly__V1__Machine *a, const Fly__V1__Machine *b)
{
    return strcmp(a->slice, b->slice) == 0 && strcmp(a->name, b->name) == 0;
}

/* A page that begins in a slice from its start again: what was told of that slice goes. */
static void drop_told_again(struct shown *shown, const Fly__V1__ListMachinesReply *page)
{
    size_t keep_count = shown->count;

    for (size_t i = shown->count; page->n_machines > 0 && i > 0; i--) {
        if (strcmp(shown->machines[i - 1]->slice, page->machines[0]->slice) != 0) {
            return;
        }
        keep_count = i - 1;
        if (same(shown->machines[i - 1], page->machines[0])) {
            shown->count = keep_count;
            return;
        }
    }
}

/* All pages; nothing is printed before the last one is there, so that an error stands alone. */
static int fetch(struct command *command, const struct input *input, struct shown *shown)
{
    Fly__V1__ListMachinesRequest request = FLY__V1__LIST_MACHINES_REQUEST__INIT;
    int code = EXIT_DONE;

    request.region = (char *)(uintptr_t)input->region;
    request.name_prefix = (char *)(uintptr_t)input->prefix;
    do {
        struct rpc_reply reply = {0};
        size_t left = input->limit - shown->count;
        request.limit = input->limit != 0 && left < PAGE_SIZE ? (uint32_t)left : PAGE_SIZE;
        if (command_call(command, &rpc_edge_machines, &request.base, false, &reply, &code) !=
            FLY_OK) {
            rpc_reply_fini(&reply);
            return code;
        }
        const Fly__V1__ListMachinesReply *page = (const Fly__V1__ListMachinesReply *)reply.message;
        drop_told_again(shown, page);
        for (size_t i = 0; i < page->n_machines; i++) {
            keep(shown, page->machines[i]);
        }
        request.after = page->next;
        shown->pages = realloc(shown->pages, (shown->page_count + 1) * sizeof *shown->pages);
        FLY_CHECK(shown->pages != NULL);
        shown->pages[shown->page_count++] = reply; /* with all that points into it */
        if (shown->page_count == PAGES_MAX) {
            command_say(command, "the edge's pages do not end: the list is not complete");
            return EXIT_ERROR;
        }
    } while (request.after[0] != '\0' && (input->limit == 0 || shown->count < input->limit));
    return EXIT_DONE;
}

static void put_table(const struct shown *shown)
{
    static const struct table_column columns[] = {{"NAME", false},
                                                  {"REGION", false},
                                                  {"SLICE", false},
                                                  {"CORES FREE/TOTAL", true},
                                                  {"MEMORY FREE/TOTAL", true},
                                                  {"NOTE", false}};
    struct table *table = table_create(columns, FLY_ARRAY_COUNT(columns));

    FLY_CHECK(table != NULL);
    for (size_t i = 0; i < shown->count; i++) {
        const Fly__V1__Machine *m = shown->machines[i];
        char cores[32];
        char memory_free[FLY_TIME_TEXT_SIZE];
        char memory_total[FLY_TIME_TEXT_SIZE];
        char memory[2 * FLY_TIME_TEXT_SIZE];
        (void)snprintf(cores, sizeof cores, "%u/%u", m->cores_free, m->cores);
        fly_size_format(m->memory_free_bytes, memory_free);
        fly_size_format(m->memory_bytes, memory_total);
        (void)snprintf(memory, sizeof memory, "%s/%s", memory_free, memory_total);
        FLY_CHECK(table_add(table, (const char *const[]){m->name, m->region, m->slice, cores,
                                                         memory, m->cordoned ? "cordoned" : "-"}));
    }
    table_print(table, stdout);
    table_destroy(table);
}

static void put_json(const struct shown *shown)
{
    json_t *array = json_array();

    for (size_t i = 0; i < shown->count; i++) {
        FLY_CHECK(json_array_append_new(array, shape_machine(shown->machines[i])) == 0);
    }
    command_put_json_lines(array);
}

int command_machines(int argc, char **argv)
{
    struct input input = {.prefix = ""};
    const struct command_spec spec = {
        .name = "flyrpc machines",
        .doc = "Lists the machines with what is free on each, as the edge knows them.\v"
               "A cordoned machine takes no new VMs.",
        .options = options,
        .take = take,
        .user = &input,
    };
    struct shown shown = {0};
    struct command command;

    command_begin(&command, &spec, argc, argv);
    int code = fetch(&command, &input, &shown);
    if (code == EXIT_DONE && command.json) {
        put_json(&shown);
    } else if (code == EXIT_DONE) {
        put_table(&shown);
    }
    for (size_t i = 0; i < shown.page_count; i++) {
        rpc_reply_fini(&shown.pages[i]);
    }
    free(shown.pages);
    free(shown.machines);
    return command_end(&command, code);
}
