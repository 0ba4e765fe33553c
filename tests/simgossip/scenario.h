/*
 * scenario - a story on the simulated LAN with what must come of it.
 */
#ifndef FLY_SIMGOSSIP_SCENARIO_H
#define FLY_SIMGOSSIP_SCENARIO_H

#include "tests/simgossip/world.h"

struct scenario {
    const char *name;
    const char *what; /* number in reference/membership.md, section 4, and what is expected */
    bool (*run)(struct world *w); /* false: w->failure says why */
};

extern const struct scenario scenarios_life[];
extern const struct scenario scenarios_fault[];
extern const struct scenario scenarios_hostile[];
extern const size_t scenarios_life_count;
extern const size_t scenarios_fault_count;
extern const size_t scenarios_hostile_count;

/* I7: after a while no words are said any more. Call when nothing changes. */
bool expect_quiet(struct world *w);
/* Nobody but these was suspected, or buried, since world_forget; -1 ends the list. */
bool expect_only_suspected(struct world *w, int n, int a, int b);
bool expect_only_buried(struct world *w, int n, int a, int b);

#endif
