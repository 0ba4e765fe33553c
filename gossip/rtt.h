/*
 * rtt - a round trip time, smoothed: SRTT of RFC 6298 §2 with alpha 1/8. Pure.
 */
#ifndef FLY_GOSSIP_RTT_H
#define FLY_GOSSIP_RTT_H

#include <stdint.h>

enum { RTT_SHIFT = 3, RTT_MAX_US = 60 * 1000 * 1000 };

/* What `smoothed_us` (0: nothing was measured yet) is after one more measure: the first one itself,
 * then an eighth of the way to it, at least 1 us unless it is there. Never 0; measures past
 * RTT_MAX_US count as that. */
uint64_t rtt_smooth(uint64_t smoothed_us, uint64_t measured_us);

#endif
