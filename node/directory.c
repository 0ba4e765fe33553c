#include "node/directory.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/check.h"

void directory_init(struct directory *d)
{
    *d = (struct directory){.member_count = 0};
    d->members = calloc(DIRECTORY_MEMBERS_MAX, sizeof *d->members);
    FLY_CHECK(d->members != NULL);
}

void directory_fini(struct directory *d)
{
    free(d->members);
    d->members = NULL;
}

static void claim(struct directory *d, const struct gossip_member *m, const struct gossip_slice *s)
{
    struct directory_slice *at = NULL;

    for (uint32_t i = 0; i < d->slice_count && at == NULL; i++) {
        at = d->slices[i].tag == s->tag ? &d->slices[i] : NULL;
    }
    if (at == NULL && d->slice_count == DIRECTORY_SLICES_MAX) {
        d->slices_lost++;
        return;
    }
    if (at == NULL) {
        at = &d->slices[d->slice_count++];
        *at = (struct directory_slice){.tag = s->tag};
    } else if (at->epoch > s->epoch ||
               (at->epoch == s->epoch && node_id_equal(&at->owner, &m->credential.id))) {
        return;
    }
    at->epoch = s->epoch;
    at->owner = m->credential.id;
}

void directory_update(struct directory *d, uint32_t count)
{
    d->member_count = count < DIRECTORY_MEMBERS_MAX ? count : DIRECTORY_MEMBERS_MAX;
    for (uint32_t i = 0; i < d->member_count; i++) {
        const struct gossip_member *m = &d->members[i];
        if ((m->credential.roles & NODE_ROLE_PEER) == 0) {
            continue;
        }
        for (uint8_t k = 0; k < m->meta.slice_count && k < GOSSIP_SLICES_MAX; k++) {
            claim(d, m, &m->meta.slices[k]);
        }
    }
}

const struct gossip_member *directory_member(const struct directory *d, const struct node_id *id)
{
    for (uint32_t i = 0; i < d->member_count; i++) {
        if (node_id_equal(&d->members[i].credential.id, id)) {
            return &d->members[i];
        }
    }
    return NULL;
}

const struct directory_slice *directory_slice(const struct directory *d, uint32_t tag)
{
    for (uint32_t i = 0; i < d->slice_count; i++) {
        if (d->slices[i].tag == tag) {
            return &d->slices[i];
        }
    }
    return NULL;
}

const struct gossip_member *directory_owner(const struct directory *d, uint32_t tag)
{
    const struct directory_slice *s = directory_slice(d, tag);

    return s != NULL ? directory_member(d, &s->owner) : NULL;
}

bool directory_serves(const struct gossip_member *m)
{
    return m->state == GOSSIP_ALIVE && m->meta.serving;
}

static void host_text(const struct gossip_member *m, char *out, size_t max)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const uint8_t *ip = m->meta.address.ip;
    char text[INET6_ADDRSTRLEN] = "";

    if (memcmp(ip, mapped, sizeof mapped) == 0) {
        (void)inet_ntop(AF_INET, ip + 12, text, sizeof text);
        (void)snprintf(out, max, "%s", text);
    } else {
        (void)inet_ntop(AF_INET6, ip, text, sizeof text);
        (void)snprintf(out, max, "[%s]", text);
    }
}

void directory_rpc_url(const struct gossip_member *m, char out[static DIRECTORY_URL_SIZE])
{
    char host[64];

    host_text(m, host, sizeof host);
    (void)snprintf(out, DIRECTORY_URL_SIZE, "%s://%s:%u", m->meta.tls ? "tls+tcp" : "tcp", host,
                   m->meta.rpc_port);
}

void directory_pub_url(const struct gossip_member *m, char out[static DIRECTORY_URL_SIZE])
{
    char host[64];

    out[0] = '\0';
    if (m->meta.pub_port != 0) {
        host_text(m, host, sizeof host);
        (void)snprintf(out, DIRECTORY_URL_SIZE, "tcp://%s:%u", host, m->meta.pub_port);
    }
}

void directory_http_url(const struct gossip_member *m, char out[static DIRECTORY_URL_SIZE])
{
    char host[64];

    out[0] = '\0';
    if (m->meta.http_port != 0) {
        host_text(m, host, sizeof host);
        (void)snprintf(out, DIRECTORY_URL_SIZE, "%s://%s:%u", m->meta.https ? "https" : "http",
                       host, m->meta.http_port);
    }
}

void directory_gossip_text(const struct gossip_member *m, char out[static DIRECTORY_URL_SIZE])
{
    char host[64];

    host_text(m, host, sizeof host);
    (void)snprintf(out, DIRECTORY_URL_SIZE, "%s:%u", host, m->meta.address.port);
}

const char *directory_state_name(enum gossip_state state)
{
    static const char *const names[] = {[GOSSIP_ALIVE] = "alive",
                                        [GOSSIP_SUSPECT] = "suspect",
                                        [GOSSIP_DEAD] = "dead",
                                        [GOSSIP_LEFT] = "left"};

    return (unsigned)state < FLY_ARRAY_COUNT(names) && names[state] != NULL ? names[state]
                                                                            : "unknown";
}
