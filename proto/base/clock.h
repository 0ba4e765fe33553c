/*
 * clock - the only place that reads a clock. Shell: cores take `now` as an argument (DESIGN 7).
 */
#ifndef FLY_BASE_CLOCK_H
#define FLY_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_BOOTTIME: monotonic, counts suspended time. */
int64_t fly_clock_boot_ms(void);
int64_t fly_clock_boot_us(void);
/* CLOCK_REALTIME, milliseconds since the Unix epoch. */
int64_t fly_clock_wall_ms(void);

#endif
