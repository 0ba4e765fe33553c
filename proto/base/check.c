#include "proto/base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void fly_check_failed(const char *file, int line, const char *what)
{
    (void)fprintf(stderr, "%s:%d: check failed: %s\n", file, line, what);
    abort();
}
