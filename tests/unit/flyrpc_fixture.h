/* flyrpc_fixture - runs the program flyrpc as a person would, for tests of what it prints. */
#ifndef FLY_TESTS_FLYRPC_FIXTURE_H
#define FLY_TESTS_FLYRPC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUTPUT_SIZE = 8192 };

/* Runs a shell command, as a person would paste it; its stdout goes to `output`. Exit code. */
static int run(const char *command, char output[static OUTPUT_SIZE])
{
    char *const argv[] = {"/bin/sh", "-c", (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child = 0;
    int ends[2];
    int status = 0;
    size_t size = 0;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO), 0);
    assert_int_equal(posix_spawn(&child, argv[0], &actions, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    for (ssize_t got = 1; got > 0 && size<OUTPUT_SIZE - 1; size += got> 0 ? (size_t)got : 0) {
        got = read(ends[0], output + size, OUTPUT_SIZE - 1 - size);
    }
    output[size] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int flyrpc(const char *url, const char *arguments, char output[static OUTPUT_SIZE])
{
    char command[1024];

    (void)snprintf(command, sizeof command,
                   "PATH=%s/bin:$PATH FLYRPC_ADDR=%s FLYRPC_EDGE= FLYRPC_CA= FLYRPC_TOKEN= "
                   "XDG_CONFIG_HOME=/nowhere "
                   "sh -c '%s' 2>&1",
                   FLY_BINARY, url, arguments);
    return run(command, output);
}

#endif
