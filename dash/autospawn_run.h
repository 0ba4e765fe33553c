/* autospawn_run - the autospawner's hands: it launches and destroys through an edge, with a token
 * of its own (scopes launch, read, destroy). On the dash's thread. Shell. */
#ifndef FLY_DASH_AUTOSPAWN_RUN_H
#define FLY_DASH_AUTOSPAWN_RUN_H

#include "dash/api_internal.h"

/* NULL: there is no region in the list, or no token. */
struct api_spawner *api_spawner_create(struct api *api, uint64_t seed);
/* After the actions ended. NULL is fine. */
void api_spawner_destroy(struct api_spawner *s);
void api_spawner_tick(struct api_spawner *s);

#endif
