/* state_folder - a throw-away parent folder for tests of state folders. */
#ifndef FLY_TESTS_STATE_FOLDER_H
#define FLY_TESTS_STATE_FOLDER_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char parent[64];
    char dir[80];
};

static int place_make(void **state)
{
    struct place *place = calloc(1, sizeof *place);

    assert_non_null(place);
    /* in memory where that is possible: these tests sync hundreds of files */
    (void)snprintf(place->parent, sizeof place->parent, "/dev/shm/test_state.XXXXXX");
    if (mkdtemp(place->parent) == NULL) {
        (void)snprintf(place->parent, sizeof place->parent, "/tmp/test_state.XXXXXX");
        assert_non_null(mkdtemp(place->parent));
    }
    (void)snprintf(place->dir, sizeof place->dir, "%s/state", place->parent);
    *state = place;
    return 0;
}

static int place_remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

static int place_remove(void **state)
{
    struct place *place = *state;
    int failed = nftw(place->parent, place_remove_one, 8, FTW_DEPTH | FTW_PHYS);

    free(place);
    return failed;
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)

#endif
