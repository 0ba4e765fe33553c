/*
 * Suspicion: who accuses whom, how long that lasts, and when it is enough.
 *
 * Lifeguard's shape (arXiv 1707.00788, section IV-B): the time shrinks with every independent
 * witness, with the logarithm of their number. Two things are ours. Silence is judged late and an
 * open refusal early: of a killed process the host says that nobody listens there, of a stopped one
 * it says nothing. And one witness is never enough while another member could be one: a stolen key
 * must not evict.
 */
#include "gossip/swim.h"
#include "proto/base/check.h"

static struct swim_accuser *find_accuser(struct swim_member *m, const struct node_id *id)
{
    for (unsigned i = 0; i < m->accuser_count; i++) {
        if (node_id_equal(&m->accusers[i].said.accuser, id)) {
            return &m->accusers[i];
        }
    }
    return NULL;
}

bool swim_suspect_is_accused_by(const struct swim_member *m, const struct node_id *accuser)
{
    for (unsigned i = 0; i < m->accuser_count; i++) {
        if (node_id_equal(&m->accusers[i].said.accuser, accuser)) {
            return true;
        }
    }
    return false;
}

void swim_suspect_clear(struct swim_member *m)
{
    m->accuser_count = 0;
}

/* Room for this accuser's words: its old place, a new one, or that of the weakest when the words
 * are ours or worth more. NULL: enough said already. */
static struct swim_accuser *place_for(struct swim_member *m, const struct packet_accusation *said,
                                      bool ours)
{
    struct swim_accuser *place = find_accuser(m, &said->accuser);

    if (place != NULL) {
        return said->evidence > place->said.evidence ? place : NULL;
    }
    if (m->accuser_count < SWIM_ACCUSERS_MAX) {
        return &m->accusers[m->accuser_count++];
    }
    /* Not the first: while somebody remembers it, the views of all agree on one. */
    for (unsigned i = SWIM_ACCUSERS_MAX - 1; i > 0; i--) {
        if (m->accusers[i].said.evidence < said->evidence) {
            return &m->accusers[i];
        }
    }
    return ours ? &m->accusers[SWIM_ACCUSERS_MAX - 1] : NULL;
}

static void store(struct gossip *g, uint32_t slot, struct swim_accuser *place,
                  const struct packet_accusation *said)
{
    struct swim_member *m = &g->members[slot];

    place->said = *said;
    place->sends = swim_spread_limit(g);
    swim_spread_add(g, slot);
    m->verdict_ms = 0;
    if (m->seen.state == GOSSIP_ALIVE) {
        swim_member_state(g, slot, GOSSIP_SUSPECT);
    }
}

void swim_suspect_accuse(struct gossip *g, uint32_t slot, enum packet_evidence evidence)
{
    struct swim_member *m = &g->members[slot];
    struct packet_accusation said = {
        .accused = m->seen.credential.id,
        .generation = m->seen.generation,
        .version = m->seen.version,
        .accuser = g->members[SWIM_SELF].seen.credential.id,
        .evidence = evidence,
    };

    if (slot == SWIM_SELF || !swim_member_is_up(m)) {
        return;
    }
    struct swim_accuser *place = place_for(m, &said, true);
    if (place != NULL) {
        packet_accusation_sign(&said, &g->keys, g->cluster);
        store(g, slot, place, &said);
    }
}

/* Members that are up and that we ourselves hear: any of them could be a witness, too. */
static uint32_t heard_by_us(const struct gossip *g)
{
    const struct node_id *self = &g->members[SWIM_SELF].seen.credential.id;
    uint32_t heard = 0;

    for (uint32_t i = 0; i < g->count; i++) {
        const struct swim_member *m = &g->members[g->order[i]];
        heard += g->order[i] != SWIM_SELF && swim_member_is_up(m) &&
                 !swim_suspect_is_accused_by(m, self);
    }
    return heard;
}

/* --- what others say --- */

static bool signed_right(struct gossip *g, const struct packet_accusation *said, uint32_t accuser)
{
    if (!swim_verify_allowed(g, 1)) {
        return false;
    }
    if (!packet_accusation_signed(said, g->members[accuser].seen.credential.key, g->cluster)) {
        g->counters.refused_signature++;
        return false;
    }
    return true;
}

/* Somebody does not hear us: a newer claim makes its accusation void. */
static void refute(struct gossip *g, struct swim_arrival *a, const struct packet_accusation *said)
{
    const struct gossip_member *self = &g->members[SWIM_SELF].seen;
    uint32_t accuser = swim_member_find(g, &said->accuser);

    a->accused = true;
    /* One that we cannot check is refuted too: it costs a claim, and silence may cost our life. */
    if (said->generation != self->generation || said->version != self->version || g->leaving ||
        (accuser != SWIM_NONE && !signed_right(g, said, accuser))) {
        return;
    }
    g->counters.refutations++;
    if (g->health < SWIM_HEALTH_MAX) {
        g->health++;
    }
    swim_claim_raise(g);
}

/* Who hears an accusation looks for itself, so that witnesses need not stumble upon it. */
static void look(struct gossip *g, uint32_t slot)
{
    uint32_t heard = heard_by_us(g);

    if (fly_rng_below(&g->rng, heard > 0 ? heard : 1) < SWIM_WITNESSES_ASKED) {
        swim_probe_start(g, slot, false);
    }
}

void swim_suspect_receive(struct gossip *g, struct swim_arrival *a,
                          const struct packet_accusation *said)
{
    uint32_t slot = swim_member_find(g, &said->accused);
    const struct node_id *self = &g->members[SWIM_SELF].seen.credential.id;

    if (slot == SWIM_SELF) {
        refute(g, a, said);
        return;
    }
    if (slot == SWIM_NONE) {
        struct packet_claim claim = {
            .id = said->accused, .generation = said->generation, .version = said->version};
        if (!swim_member_buried(g, &claim)) {
            swim_sync_want(a, &said->accused);
        }
        return;
    }
    struct swim_member *m = &g->members[slot];
    if (said->generation > m->seen.generation ||
        (said->generation == m->seen.generation && said->version > m->seen.version)) {
        swim_sync_want(a, &said->accused); /* about a claim that we have not heard */
        return;
    }
    if (said->generation != m->seen.generation || said->version != m->seen.version ||
        !swim_member_is_up(m) || node_id_equal(&said->accuser, &said->accused) ||
        node_id_equal(&said->accuser, self)) {
        return;
    }
    uint32_t accuser = swim_member_find(g, &said->accuser);
    if (accuser == SWIM_NONE) {
        swim_sync_want(a, &said->accuser);
        return;
    }
    const struct swim_accuser *old = find_accuser(m, &said->accuser);
    if (!swim_member_is_up(&g->members[accuser]) ||
        (old != NULL && old->said.evidence >= said->evidence) || !signed_right(g, said, accuser)) {
        return;
    }
    struct swim_accuser *place = place_for(m, said, false);
    if (place != NULL) {
        store(g, slot, place, said);
        if (!swim_suspect_is_accused_by(m, self)) {
            look(g, slot);
        }
    }
}

/* --- the verdict --- */

/* Two accusers; or we alone, when nobody is left who could be the second, or who still could after
 * a long time would have: others may have forgotten a member that we remember. */
static bool enough(const struct gossip *g, const struct swim_member *m, uint32_t heard,
                   enum packet_evidence least)
{
    const struct node_id *self = &g->members[SWIM_SELF].seen.credential.id;
    unsigned witnesses = 0;
    bool ours = false;

    for (unsigned i = 0; i < m->accuser_count; i++) {
        const struct packet_accusation *said = &m->accusers[i].said;
        if (said->evidence >= least) {
            witnesses++;
            ours |= node_id_equal(&said->accuser, self);
        }
    }
    bool long_silent = g->now.ms - m->suspected_ms >= g->timing.there_max_ms;
    return witnesses >= 2 || (ours && (heard == 0 || long_silent));
}

/* max - (max - min) · ln(witnesses) / ln(4), and by the logarithm of members past a hundred. */
static int64_t suspicion_ms(const struct gossip *g, const struct swim_member *m, uint32_t heard)
{
    static const int share[SWIM_ACCUSERS_MAX + 1] = {0, 0, 500, 792, 1000};
    const struct gossip_timing *t = &g->timing;
    int64_t scale = 1;

    for (uint32_t n = g->count; n >= 1000; n /= 10) {
        scale++;
    }
    if (enough(g, m, heard, PACKET_DOWN)) {
        return t->suspicion_down_ms * scale;
    }
    int64_t shrink = (t->suspicion_max_ms - t->suspicion_min_ms) * share[m->accuser_count] / 1000;
    return (t->suspicion_max_ms - shrink) * scale;
}

/* A host that acknowledges holds off the verdict on its silent process, but not for ever. */
static int64_t held_until(const struct gossip *g, const struct swim_member *m, int64_t due_ms)
{
    int64_t held_ms = m->there_ms + g->timing.there_ms;
    int64_t most_ms = m->suspected_ms + g->timing.there_max_ms;

    held_ms = held_ms < most_ms ? held_ms : most_ms;
    return held_ms > due_ms ? held_ms : due_ms;
}

/* When it is to be judged; or looked at once more, which comes first and takes a PING. */
static int64_t due_of(const struct gossip *g, const struct swim_member *m, uint32_t heard,
                      bool *look)
{
    int64_t due_ms = m->suspected_ms + suspicion_ms(g, m, heard);
    if (m->there_ms >= m->suspected_ms && !enough(g, m, heard, PACKET_DOWN)) {
        due_ms = held_until(g, m, due_ms);
    }
    int64_t look_ms = due_ms - 2 * g->timing.ack_ms;

    *look = m->looked_ms < look_ms && m->verdict_ms == 0;
    if (*look) {
        return look_ms;
    }
    if (m->looked_ms >= m->suspected_ms && due_ms < m->looked_ms + 2 * g->timing.ack_ms) {
        due_ms = m->looked_ms + 2 * g->timing.ack_ms; /* late words made it sooner: still a look */
    }
    return due_ms > m->verdict_ms ? due_ms : m->verdict_ms;
}

int64_t swim_suspect_deadline(const struct gossip *g)
{
    int64_t first_ms = SWIM_NEVER;

    if (g->suspects == 0) {
        return first_ms;
    }
    uint32_t heard = heard_by_us(g);
    for (uint32_t i = 0; i < g->count; i++) {
        const struct swim_member *m = &g->members[g->order[i]];
        bool look;
        if (m->seen.state == GOSSIP_SUSPECT && due_of(g, m, heard, &look) < first_ms) {
            first_ms = due_of(g, m, heard, &look);
        }
    }
    return first_ms;
}

void swim_suspect_tick(struct gossip *g)
{
    const struct node_id *self = &g->members[SWIM_SELF].seen.credential.id;

    if (g->suspects == 0) {
        return;
    }
    uint32_t heard = heard_by_us(g);
    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t slot = g->order[i];
        struct swim_member *m = &g->members[slot];
        bool look;
        if (m->seen.state != GOSSIP_SUSPECT || due_of(g, m, heard, &look) > g->now.ms) {
            continue;
        }
        if (look) {
            m->looked_ms = g->now.ms;
            swim_probe_start(g, slot, true); /* one PING, with what it is accused of */
            continue;
        }
        if (g->doubt_ms == 0 && enough(g, m, heard, PACKET_SILENT)) {
            swim_member_state(g, slot, GOSSIP_DEAD);
            continue;
        }
        /* Not enough: our own eyes once more; or, when we have looked, the same words again, since
         * views do not show who accuses whom and nobody would notice that one got lost. */
        if (!swim_suspect_is_accused_by(m, self)) {
            m->verdict_ms = g->now.ms + g->timing.probe_ms;
            swim_probe_start(g, slot, false);
        } else {
            m->verdict_ms = g->now.ms + g->timing.sync_ms;
            for (unsigned j = 0; j < m->accuser_count; j++) {
                m->accusers[j].sends = swim_spread_limit(g);
            }
            swim_spread_add(g, slot);
        }
    }
}

void swim_suspect_postpone(struct gossip *g, int64_t ms)
{
    for (uint32_t i = 0; i < g->count; i++) {
        struct swim_member *m = &g->members[g->order[i]];
        if (m->seen.state == GOSSIP_SUSPECT) {
            m->suspected_ms += ms;
        }
    }
}
