#include "gossip/rtt.h"

uint64_t rtt_smooth(uint64_t smoothed_us, uint64_t measured_us)
{
    uint64_t r = measured_us == 0 ? 1 : measured_us > RTT_MAX_US ? RTT_MAX_US : measured_us;
    const uint64_t round_up = (1 << RTT_SHIFT) - 1;

    if (smoothed_us == 0) {
        return r;
    }
    /* Away from where it was: rounded down it would stop short of the measure. */
    return r >= smoothed_us ? smoothed_us + ((r - smoothed_us + round_up) >> RTT_SHIFT)
                            : smoothed_us - ((smoothed_us - r + round_up) >> RTT_SHIFT);
}
