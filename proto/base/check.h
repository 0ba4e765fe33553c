/*
 * check - assertions that stay on in release: our own mistakes stop the process with a name.
 *
 * What comes from network, disk or a person gets a status, never a FLY_CHECK.
 */
#ifndef FLY_BASE_CHECK_H
#define FLY_BASE_CHECK_H

_Noreturn void fly_check_failed(const char *file, int line, const char *what);

#define FLY_CHECK(condition)                                                                       \
    ((condition) ? (void)0 : fly_check_failed(__FILE__, __LINE__, #condition))
#define FLY_UNREACHABLE() fly_check_failed(__FILE__, __LINE__, "unreachable")

#define FLY_ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The struct that holds `member` at `pointer`. */
#define FLY_CONTAINER(pointer, type, member)                                                       \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
