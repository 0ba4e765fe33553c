/* api_near - which region a launch "near" means. */
#include <math.h>
#include <string.h>

#include "dash/api_internal.h"

enum { SCAN_MAX = 1 << 17 }; /* machines; with more of them the regions' sums must do */

struct candidate {
    bool there; /* it has machines */
    bool room;  /* by its sums */
    bool fits;  /* on one machine */
    double km;
};

static void find_fits(const struct picture *p, uint32_t cores, uint64_t memory_bytes,
                      struct candidate all[static PICTURE_REGIONS_MAX])
{
    uint32_t count = picture_count(p);
    struct picture_machine m;

    for (uint32_t i = 0; i < count; i++) {
        uint8_t region = picture_machine_region(p, i);
        uint8_t cell = picture_cell(p, i);
        if (region == 255 || cell == 0 || (cell & PICTURE_CELL_CORDONED) != 0 ||
            !all[region].room || all[region].fits) {
            continue;
        }
        all[region].fits = picture_machine(p, i, &m) && m.cores_free >= cores &&
                           m.memory_free_bytes >= memory_bytes;
    }
}

/* With room before without, then the nearer one. */
static bool better(const struct candidate *a, const struct candidate *b)
{
    return a->fits != b->fits ? a->fits : a->km < b->km;
}

static bool pick(const struct picture *p, const struct api_place *place, const char *own,
                 uint32_t cores, uint64_t memory_bytes, char out[static EVENT_REGION_SIZE])
{
    static const struct candidate none = {.km = 0};
    struct candidate all[PICTURE_REGIONS_MAX] = {none};
    uint32_t count = picture_region_count(p);
    uint32_t home = place == NULL ? picture_region_find(p, own) : PICTURE_NONE;
    uint32_t best = PICTURE_NONE;
    struct api_place from = {0};

    if (place != NULL) {
        from = *place;
    } else if (home == PICTURE_NONE) {
        return false;
    }
    const struct picture_region *h = home != PICTURE_NONE ? picture_region_at(p, home) : NULL;
    bool somewhere = place != NULL || h->has_position;
    if (place == NULL) {
        from = (struct api_place){h->latitude, h->longitude};
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct picture_region *r = picture_region_at(p, i);
        struct candidate *c = &all[i];
        c->there = r->machines > 0;
        c->room = c->there && r->cores_free >= cores && r->memory_free_bytes >= memory_bytes;
        c->fits = c->room && picture_count(p) > SCAN_MAX;
        c->km = i == home ? 0
                : somewhere && r->has_position
                    ? limits_distance_km(from.latitude, from.longitude, r->latitude, r->longitude)
                    : INFINITY; /* nobody knows: after all others */
    }
    find_fits(p, cores, memory_bytes, all);
    for (uint32_t i = 0; i < count; i++) {
        if (all[i].there && (best == PICTURE_NONE || better(&all[i], &all[best]))) {
            best = i;
        }
    }
    if (best != PICTURE_NONE) {
        (void)fly_copy_string(out, EVENT_REGION_SIZE, picture_region_at(p, best)->code);
    }
    return best != PICTURE_NONE;
}

bool api_at_home(struct api *api)
{
    struct dash_state *state = dash_state(api->dash);
    const char *own = api->config->region != NULL ? api->config->region : "";

    (void)pthread_mutex_lock(&state->lock);
    bool found = own[0] != '\0' && picture_region_find(state->picture, own) != PICTURE_NONE;
    (void)pthread_mutex_unlock(&state->lock);
    return found;
}

bool api_near(struct api *api, const struct api_place *place, uint32_t cores, uint64_t memory_bytes,
              char out[static EVENT_REGION_SIZE])
{
    struct dash_state *state = dash_state(api->dash);

    (void)pthread_mutex_lock(&state->lock);
    bool found = pick(state->picture, place, api->config->region != NULL ? api->config->region : "",
                      cores, memory_bytes, out);
    (void)pthread_mutex_unlock(&state->lock);
    return found;
}
