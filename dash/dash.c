#include "dash/dash.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "dash/api.h"
#include "dash/server.h"
#include "dash/state.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"

struct dash {
    struct dash_config config;
    char *texts[16]; /* of the config */
    uint32_t text_count;
    struct dash_state state;
    struct server *server;
    struct api *api;
    pthread_t thread;
};

static const char *text_keep(struct dash *d, const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    FLY_CHECK(d->text_count < FLY_ARRAY_COUNT(d->texts));
    char *copy = strdup(text);
    FLY_CHECK(copy != NULL);
    d->texts[d->text_count++] = copy;
    return copy;
}

static void config_copy(struct dash *d, const struct dash_config *config)
{
    d->config = *config;
    d->config.host = text_keep(d, config->host);
    d->config.cert_pem = text_keep(d, config->cert_pem);
    d->config.key_pem = text_keep(d, config->key_pem);
    d->config.node = text_keep(d, config->node == NULL ? "" : config->node);
    d->config.region = text_keep(d, config->region == NULL ? "" : config->region);
    d->config.cluster = text_keep(d, config->cluster == NULL ? "" : config->cluster);
    d->config.ui_dir = text_keep(d, config->ui_dir);
    d->config.edges = text_keep(d, config->edges == NULL ? "" : config->edges);
    d->config.ca_pem = text_keep(d, config->ca_pem);
    d->config.autospawn = text_keep(d, config->autospawn);
    d->config.autospawn_token = text_keep(d, config->autospawn_token);
}

static void dash_free(struct dash *d)
{
    dash_state_fini(&d->state);
    for (uint32_t i = 0; i < d->text_count; i++) {
        explicit_bzero(d->texts[i], strlen(d->texts[i]));
        free(d->texts[i]);
    }
    free(d);
}

static void *thread_main(void *user)
{
    struct dash *d = user;
    server_run(d->server, d->api);
    return NULL;
}

enum fly_status dash_create(struct dash **out, const struct dash_config *config,
                            struct fly_error *error)
{
    FLY_CHECK(config->verify != NULL && sodium_init() >= 0);
    struct dash *d = calloc(1, sizeof *d);
    FLY_CHECK(d != NULL);
    uint64_t seed = 0;
    randombytes_buf(&seed, sizeof seed);
    config_copy(d, config);
    dash_state_init(&d->state, config->machines_max, seed);
    enum fly_status status = server_create(&d->server, &d->config, &d->state, error);
    if (status != FLY_OK) {
        dash_free(d);
        return status;
    }
    d->api = api_create(&d->config, d, d->server);
    FLY_CHECK(pthread_create(&d->thread, NULL, thread_main, d) == 0);
    *out = d;
    return FLY_OK;
}

uint16_t dash_port(const struct dash *d)
{
    return server_port(d->server);
}

void dash_destroy(struct dash *d)
{
    if (d == NULL) {
        return;
    }
    server_stop(d->server);
    pthread_join(d->thread, NULL);
    server_destroy(d->server);
    dash_free(d);
}

struct dash_state *dash_state(struct dash *d)
{
    return &d->state;
}

const struct dash_config *dash_config(const struct dash *d)
{
    return &d->config;
}

/* --- feeding: the lock, one change, and a wake-up --- */

static struct picture *enter(struct dash *d)
{
    dash_state_enter(&d->state);
    return d->state.picture;
}

static void leave(struct dash *d)
{
    pthread_mutex_unlock(&d->state.lock);
    server_wake(d->server);
}

void dash_put_region(struct dash *d, const struct picture_region *region)
{
    uint8_t index = 0;
    picture_put_region(enter(d), region, &index);
    leave(d);
}

void dash_event(struct dash *d, const struct event *event)
{
    enter(d);
    dash_state_event(&d->state, event);
    leave(d);
}

void dash_snapshot_begin(struct dash *d, uint32_t slice)
{
    picture_snapshot_begin(enter(d), slice);
    leave(d);
}

void dash_snapshot_put(struct dash *d, uint32_t slice, const struct picture_machine *m,
                       const char *region)
{
    picture_snapshot_put(enter(d), slice, m, region); /* a refusal is counted there */
    leave(d);
}

void dash_snapshot_end(struct dash *d, uint32_t slice, uint64_t incarnation)
{
    picture_snapshot_end(enter(d), slice, incarnation);
    leave(d);
}

void dash_drop_slice(struct dash *d, uint32_t slice)
{
    enter(d);
    dash_state_forget(&d->state, slice);
    leave(d);
}

/* Told often and mostly no news: whoever looks is woken only by a region that turned stale. */
void dash_hear(struct dash *d, uint32_t slice, int64_t stale_ms)
{
    struct picture *picture = enter(d);
    dash_state_hear(&d->state, slice, stale_ms, fly_clock_boot_ms());
    bool news = picture_has_dirty(picture);
    pthread_mutex_unlock(&d->state.lock);
    if (news) {
        server_wake(d->server);
    }
}

void dash_set_members(struct dash *d, const struct dash_member *members, size_t count)
{
    enter(d);
    bool news = dash_state_members(&d->state, members, count);
    pthread_mutex_unlock(&d->state.lock);
    if (news) {
        server_wake(d->server);
    }
}

void dash_set_edges(struct dash *d, const char *edges)
{
    api_set_edges(d->api, edges);
}

struct dash_counters dash_counters(struct dash *d)
{
    return server_counters(d->server);
}
