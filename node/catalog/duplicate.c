#include "node/catalog/duplicate.h"

#include <string.h>

bool duplicate_older(int64_t a_founded_ms, uint32_t a, int64_t b_founded_ms, uint32_t b)
{
    return a_founded_ms != b_founded_ms ? a_founded_ms < b_founded_ms : a < b;
}

bool duplicate_settled(const struct catalog *c, const struct seen *s)
{
    for (uint32_t i = 0; i < seen_count(s); i++) {
        const struct seen_slice *slice = seen_at(s, i);
        struct catalog_slice_state state;
        if (!slice->forgotten && (!catalog_slice_read(c, slice->tag, &state) ||
                                  state.stale_ms == INT64_MAX || state.founded_ms == 0)) {
            return false;
        }
    }
    return true;
}

enum verdict { NO_ELDER, ELDER, UNDECIDED };

/* Whether an older slice has a machine of this name; *elder is the oldest that has. */
static enum verdict look(const struct catalog *c, uint32_t slice, const char *name, uint32_t *elder)
{
    uint32_t tags[DUPLICATE_SLICES_MAX];
    uint32_t count = catalog_machine_slices(c, name, tags, DUPLICATE_SLICES_MAX);
    int64_t own_ms = catalog_slice_founded_ms(c, slice);
    int64_t oldest_ms = own_ms;
    bool undecided = false;

    *elder = slice;
    for (uint32_t i = 0; i < count; i++) {
        int64_t founded_ms = catalog_slice_founded_ms(c, tags[i]);
        if (tags[i] == slice) {
            continue;
        }
        if (founded_ms == 0 || own_ms == 0) {
            undecided = true;
        } else if (duplicate_older(founded_ms, tags[i], oldest_ms, *elder)) {
            *elder = tags[i];
            oldest_ms = founded_ms;
        }
    }
    if (*elder != slice) {
        return ELDER; /* whatever the undecided turn out to be */
    }
    return undecided ? UNDECIDED : NO_ELDER;
}

static void begin(struct duplicate *d, const struct catalog *c)
{
    d->cursor = 0;
    d->version = catalog_version(c);
    d->looking = true;
    d->changed = false;
    d->counting = 0;
}

static void end(struct duplicate *d)
{
    d->looking = false;
    d->looked = true;
    d->count = d->counting;
    d->elder = d->counting > 0 ? d->counting_elder : 0;
    memcpy(d->name, d->counting_name, sizeof d->name);
    if (d->counting == 0) {
        d->name[0] = '\0';
    }
}

uint32_t duplicate_step(struct duplicate *d, const struct catalog *c, uint32_t slice, bool settled,
                        bool (*open)(void *user, const char *name), void *user,
                        struct duplicate_change *out, uint32_t max)
{
    struct catalog_machine m;
    uint32_t changes = 0;

    if (!d->looking) {
        if (d->looked && !d->changed && d->version == catalog_version(c)) {
            return 0;
        }
        begin(d, c);
    }
    for (uint32_t looks = 0; looks < DUPLICATE_LOOKS_MAX && changes < max; looks++) {
        uint32_t elder = 0;
        if (!catalog_machine_next(c, slice, &d->cursor, &m)) {
            end(d);
            break;
        }
        enum verdict verdict = look(c, slice, m.name, &elder);
        if (verdict == ELDER && d->counting++ == 0) {
            memcpy(d->counting_name, m.name, sizeof d->counting_name);
            d->counting_elder = elder;
        }
        bool wrong = verdict == ELDER ? !m.cordoned
                                      : verdict == NO_ELDER && m.cordoned && open(user, m.name);
        d->changed |= wrong; /* one that has to wait is looked at again too */
        if (wrong && (verdict == ELDER || settled)) {
            struct duplicate_change *change = &out[changes++];
            *change = (struct duplicate_change){.cordon = verdict == ELDER,
                                                .elder = verdict == ELDER ? elder : 0};
            memcpy(change->name, m.name, sizeof change->name);
        }
    }
    return changes;
}
