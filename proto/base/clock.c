#include "proto/base/clock.h"

#include <time.h>

#include "proto/base/check.h"

static struct timespec read_clock(clockid_t id)
{
    struct timespec ts;

    FLY_CHECK(clock_gettime(id, &ts) == 0);
    return ts;
}

int64_t fly_clock_boot_ms(void)
{
    struct timespec ts = read_clock(CLOCK_BOOTTIME);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t fly_clock_boot_us(void)
{
    struct timespec ts = read_clock(CLOCK_BOOTTIME);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t fly_clock_wall_ms(void)
{
    struct timespec ts = read_clock(CLOCK_REALTIME);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
