#include "node/mailbox.h"

#include <stdlib.h>

#include "proto/base/check.h"

void mailbox_init(struct mailbox *m, const struct mailbox_config *config)
{
    *m = (struct mailbox){.shed = 0};
    FLY_CHECK(pthread_mutex_init(&m->mutex, NULL) == 0);
    for (unsigned i = 0; i < MAIL_LANES; i++) {
        m->lanes[i].max = config->lane_max[i];
        m->lanes[i].items = calloc(config->lane_max[i], sizeof(struct mail));
        FLY_CHECK(m->lanes[i].items != NULL);
    }
    FLY_CHECK(uv_async_init(config->loop, &m->wake, config->woken) == 0);
    m->wake.data = config->user;
}

void mailbox_fini(struct mailbox *m)
{
    for (unsigned i = 0; i < MAIL_LANES; i++) {
        FLY_CHECK(m->lanes[i].count == 0);
        free(m->lanes[i].items);
    }
    (void)pthread_mutex_destroy(&m->mutex);
}

static uint32_t waiting(const struct mailbox *m)
{
    uint32_t count = 0;

    for (unsigned i = 0; i < MAIL_LANES; i++) {
        count += m->lanes[i].count;
    }
    return count;
}

bool mailbox_post(struct mailbox *m, enum mail_lane lane, enum mail_kind kind, void *what)
{
    struct mail_ring *r = &m->lanes[lane];

    (void)pthread_mutex_lock(&m->mutex);
    bool room = r->count < (kind == MAIL_HELLO ? r->max / 2 : r->max);
    bool first = waiting(m) == 0;
    if (room) {
        r->items[(r->first + r->count) % r->max] = (struct mail){.kind = kind, .what = what};
        r->count++;
    } else {
        m->shed++;
    }
    (void)pthread_mutex_unlock(&m->mutex);
    FLY_CHECK(room || lane == MAIL_FINISH || lane == MAIL_START || lane == MAIL_STREAM ||
              kind == MAIL_HELLO);
    if (room && first) {
        FLY_CHECK(uv_async_send(&m->wake) == 0);
    }
    return room;
}

uint32_t mailbox_take(struct mailbox *m, enum mail_lane lane, struct mail *out, uint32_t max)
{
    struct mail_ring *r = &m->lanes[lane];
    uint32_t taken = 0;

    (void)pthread_mutex_lock(&m->mutex);
    while (taken < max && r->count > 0) {
        out[taken++] = r->items[r->first];
        r->first = (r->first + 1) % r->max;
        r->count--;
    }
    (void)pthread_mutex_unlock(&m->mutex);
    return taken;
}

bool mailbox_empty(struct mailbox *m)
{
    (void)pthread_mutex_lock(&m->mutex);
    bool empty = waiting(m) == 0;
    (void)pthread_mutex_unlock(&m->mutex);
    return empty;
}
