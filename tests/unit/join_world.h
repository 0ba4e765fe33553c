/* join_world - a founder that admits, and nodes that want to join: for test_join*.c. */
#ifndef FLY_TESTS_JOIN_WORLD_H
#define FLY_TESTS_JOIN_WORLD_H

#include "tests/unit/state_folder.h"

#include <string.h>

#include "node/join.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

struct join_world {
    struct identity founder;
    struct admission_book *book;
    struct join_server *server;
    struct join_hooks hooks;
    const char *taken_name; /* by another node; NULL: none */
    uint32_t known_tag;
    struct join_now now;
    char dir[112];
};

static bool world_tag_known(void *user, uint32_t tag)
{
    const struct join_world *w = user;

    return tag == w->known_tag || tag == w->founder.record.root_tag;
}

static bool world_name_taken(void *user, const char *name, const struct node_id *id)
{
    const struct join_world *w = user;

    (void)id;
    return w->taken_name != NULL && strcmp(name, w->taken_name) == 0;
}

static uint8_t world_seeds(void *user, char out[SETTINGS_SEEDS_MAX][SETTINGS_ADDRESS_SIZE])
{
    (void)user;
    (void)fly_copy_string(out[0], SETTINGS_ADDRESS_SIZE, "10.0.0.5:7400");
    (void)fly_copy_string(out[1], SETTINGS_ADDRESS_SIZE, "[fd00::5]:7400");
    return 2;
}

/* A cluster in the folder `name` of the place. */
static void world_open(const struct place *place, const char *name, struct join_world *w)
{
    const struct node_settings settings = {.name = "founder"};
    struct fly_error error = {.text = ""};

    memset(w, 0, sizeof *w);
    w->now = (struct join_now){.boot_ms = 1000000, .wall_ms = fly_clock_wall_ms()};
    (void)snprintf(w->dir, sizeof w->dir, "%s/%s", place->parent, name);
    if (identity_found(w->dir, &settings, w->now.wall_ms, &w->founder, &error) != FLY_OK ||
        admission_book_open(&w->founder.folder, &w->book, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    w->hooks = (struct join_hooks){.user = w,
                                   .tag_known = world_tag_known,
                                   .name_taken = world_name_taken,
                                   .seeds = world_seeds};
    w->server = join_server_create(&w->founder, w->book, &w->hooks);
}

static void world_close(struct join_world *w)
{
    join_server_destroy(w->server);
    admission_book_close(w->book);
    identity_close(&w->founder);
}

static struct join_token world_token(struct join_world *w, uint32_t roles, uint32_t uses,
                                     const struct join_address *address)
{
    static const struct join_address nowhere = {.ip = {[15] = 1}, .port = 1};
    struct join_token token;

    assert_int_equal(join_token_issue(&w->founder, w->book, roles, 3600000, uses,
                                      address != NULL ? address : &nowhere, 1, w->now.wall_ms,
                                      &token, NULL),
                     FLY_OK);
    return token;
}

#endif
