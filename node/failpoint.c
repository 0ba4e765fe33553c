#include "node/failpoint.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 512 };

static const char *const names[FAILPOINT_COUNT] = {
    [FAILPOINT_EDGE_AFTER_OPEN] = "edge-after-open",
    [FAILPOINT_EDGE_AFTER_HOLD] = "edge-after-hold",
    [FAILPOINT_EDGE_AFTER_BIND] = "edge-after-bind",
    [FAILPOINT_EDGE_AFTER_COMMIT] = "edge-after-commit",
    [FAILPOINT_OWNER_BEFORE_APPEND] = "owner-before-append",
    [FAILPOINT_OWNER_AFTER_APPEND] = "owner-after-append",
};

static struct {
    int signal; /* 0: nothing happens here */
    unsigned long left;
} points[FAILPOINT_COUNT];

static bool any;

static enum fly_status set(char *entry, struct fly_error *error)
{
    char *equals = strchr(entry, '=');
    char *action = equals != NULL ? equals + 1 : entry;
    char *colon = strchr(action, ':');
    unsigned long pass = 1;
    char *end = NULL;

    if (equals != NULL) {
        *equals = '\0';
    }
    if (colon != NULL) {
        *colon = '\0';
        pass = strtoul(colon + 1, &end, 10);
    }
    int number = strcmp(action, "kill") == 0 ? SIGKILL : strcmp(action, "stop") == 0 ? SIGSTOP : 0;
    for (int i = 0; i < FAILPOINT_COUNT; i++) {
        if (equals != NULL && strcmp(entry, names[i]) == 0 && number != 0 && pass > 0 &&
            (end == NULL || *end == '\0')) {
            points[i].signal = number;
            points[i].left = pass;
            any = true;
            return FLY_OK;
        }
    }
    return fly_error_set(error, FLY_INVALID_ARGUMENT,
                         "FLYNODE_FAILPOINTS: '%s' is not name=kill|stop[:N]", entry);
}

enum fly_status failpoint_setup(struct fly_error *error)
{
    const char *told = getenv("FLYNODE_FAILPOINTS");
    char text[TEXT_MAX];
    char *rest = NULL;
    enum fly_status status = FLY_OK;

    if (told == NULL || told[0] == '\0') {
        return FLY_OK;
    }
    if (strlen(told) >= sizeof text) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "FLYNODE_FAILPOINTS is too long");
    }
    memcpy(text, told, strlen(told) + 1);
    for (char *entry = strtok_r(text, ",", &rest); entry != NULL && status == FLY_OK;
         entry = strtok_r(NULL, ",", &rest)) {
        status = set(entry, error);
    }
    return status;
}

void failpoint_pass(enum failpoint at)
{
    if (any && points[at].signal != 0 && --points[at].left == 0) {
        int number = points[at].signal;
        points[at].signal = 0;
        (void)fprintf(stderr, "failpoint %s\n", names[at]);
        (void)kill(getpid(), number);
    }
}
