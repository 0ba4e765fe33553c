#include "node/admitting.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "fly/v1/admin.pb-c.h"
#include "fly/v1/admin.rpc.h"
#include "fly/v1/join.rpc.h"
#include "node/answer.h"
#include "node/directory.h"
#include "proto/base/check.h"
#include "proto/base/clock.h"
#include "proto/base/id.h"
#include "proto/base/log.h"

enum {
    LIFE_DEFAULT_S = 3600,
    MEMBERS_MAX = DIRECTORY_MEMBERS_MAX,
    ROLES_MAX = 4,
    REFUSAL_LOG_MS = 1000,
};

struct admitting {
    struct admitting_config config;
    char gossip_address[SETTINGS_ADDRESS_SIZE];
    struct admission_book *book;
    struct join_server *server;
    struct gossip_member *members; /* MEMBERS_MAX: what gossip knows, of the call under way */
    uint32_t member_count;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct rpc_call *waiting[ADMITTING_WAITING_MAX];
    uint32_t first;
    uint32_t count;
    int64_t refusal_log_ms; /* no line about a refused one before; the thread's */
    uint64_t refusals_unlogged;
    bool ending;
};

/* --- what the join server asks --- */

static void look(struct admitting *a)
{
    a->member_count = 0;
    if (a->config.gossip != NULL) {
        uint32_t count = gossip_thread_members(a->config.gossip, a->members, MEMBERS_MAX);
        a->member_count = count < MEMBERS_MAX ? count : MEMBERS_MAX;
    }
}

static bool tag_known(void *user, uint32_t tag)
{
    const struct admitting *a = user;

    for (uint32_t i = 0; i < a->member_count; i++) {
        const struct gossip_member *m = &a->members[i];
        if (m->credential.slice_tag == tag) {
            return true;
        }
        for (uint8_t k = 0; k < m->meta.slice_count && k < GOSSIP_SLICES_MAX; k++) {
            if (m->meta.slices[k].tag == tag) {
                return true;
            }
        }
    }
    return tag == a->config.identity->record.root_tag;
}

static bool name_taken(void *user, const char *name, const struct node_id *id)
{
    const struct admitting *a = user;

    for (uint32_t i = 0; i < a->member_count; i++) {
        const struct gossip_member *m = &a->members[i];
        if (m->state != GOSSIP_LEFT && strcmp(m->credential.name, name) == 0 &&
            !node_id_equal(&m->credential.id, id)) {
            return true;
        }
    }
    return false;
}

static uint8_t seeds(void *user, char out[SETTINGS_SEEDS_MAX][SETTINGS_ADDRESS_SIZE])
{
    const struct admitting *a = user;
    uint8_t count = 0;

    (void)fly_copy_string(out[count++], SETTINGS_ADDRESS_SIZE, a->gossip_address);
    for (uint32_t i = 0; i < a->member_count && count < SETTINGS_SEEDS_MAX; i++) {
        char text[DIRECTORY_URL_SIZE];
        if (!a->members[i].self && a->members[i].state == GOSSIP_ALIVE) {
            directory_gossip_text(&a->members[i], text);
            (void)fly_copy_string(out[count++], SETTINGS_ADDRESS_SIZE, text);
        }
    }
    return count;
}

/* --- calls, on the thread --- */

static struct join_now now(void)
{
    return (struct join_now){.boot_ms = fly_clock_boot_ms(), .wall_ms = fly_clock_wall_ms()};
}

static void refuse(struct rpc_call *call, const struct fly_error *error)
{
    struct refusal r;
    bool expired = strstr(error->text, "expired") != NULL;

    refusal_set(&r, error->status,
                error->status != FLY_PERMISSION_DENIED ? FLY__V1__REASON__REASON_NONE
                : expired                              ? FLY__V1__REASON__REASON_JOIN_EXPIRED
                                                       : FLY__V1__REASON__REASON_JOIN_INVALID,
                error->status == FLY_RESOURCE_EXHAUSTED || error->status == FLY_ABORTED, "%s",
                error->text);
    refusal_turn_away(call, &r);
}

static void begin(struct admitting *a, struct rpc_call *call)
{
    struct join_begin_answer answer;
    struct fly_error error;

    if (join_server_begin(a->server, (const Fly__V1__JoinBeginRequest *)rpc_call_request(call),
                          now(), &answer, &error) == FLY_OK) {
        rpc_call_reply(call, &answer.message.base);
    } else {
        refuse(call, &error);
    }
}

/* Anybody may call: that must not fill a disk. */
static void log_refused(struct admitting *a, const struct fly_error *error,
                        const struct rpc_call *call)
{
    int64_t now_ms = now().boot_ms;

    if (now_ms < a->refusal_log_ms) {
        a->refusals_unlogged++;
        return;
    }
    a->refusal_log_ms = now_ms + REFUSAL_LOG_MS;
    const struct fly_field fields[] = {F_STR("error", error->text),
                                       F_U64("unlogged", a->refusals_unlogged)};
    call_log(FLY_LOG_WARN, "join.refused", fields, FLY_ARRAY_COUNT(fields), call);
    a->refusals_unlogged = 0;
}

static void admit(struct admitting *a, struct rpc_call *call)
{
    struct join_admit_answer *answer = calloc(1, sizeof *answer);
    struct fly_error error;
    char id[NODE_ID_TEXT_SIZE];
    char roles[NODE_ROLES_TEXT_SIZE];
    char slice[SLICE_TEXT_SIZE];

    FLY_CHECK(answer != NULL);
    look(a);
    if (join_server_admit(a->server, (const Fly__V1__JoinAdmitRequest *)rpc_call_request(call),
                          now(), answer, &error) == FLY_OK) {
        node_id_format(&answer->credential.id, id);
        node_roles_format(answer->credential.roles, ',', roles);
        slice_format(answer->credential.slice_tag, slice);
        const struct fly_field fields[] = {F_STR("node", answer->credential.name), F_STR("id", id),
                                           F_STR("roles", roles), F_STR("slice", slice)};
        call_log(FLY_LOG_INFO, "join.admitted", fields, FLY_ARRAY_COUNT(fields), call);
        rpc_call_reply(call, &answer->message.base);
    } else {
        log_refused(a, &error, call);
        refuse(call, &error);
    }
    free(answer);
}

static bool roles_of(const Fly__V1__CreateJoinTokenRequest *q, uint32_t *roles)
{
    *roles = q->n_roles == 0 ? NODE_ROLE_PEER | NODE_ROLE_EDGE : 0;
    for (size_t i = 0; i < q->n_roles; i++) {
        uint32_t one = 0;
        if (!node_roles_parse(q->roles[i], &one)) {
            return false;
        }
        *roles |= one;
    }
    return true;
}

static void create_token(struct admitting *a, struct rpc_call *call)
{
    const Fly__V1__CreateJoinTokenRequest *q =
        (const Fly__V1__CreateJoinTokenRequest *)rpc_call_request(call);
    Fly__V1__CreateJoinTokenReply reply = FLY__V1__CREATE_JOIN_TOKEN_REPLY__INIT;
    struct join_token token;
    char text[JOIN_TOKEN_TEXT_MAX];
    char id[JOIN_TOKEN_ID_TEXT_SIZE];
    struct fly_error error;
    uint32_t roles = 0;
    uint64_t life_s = q->life_s == 0 ? LIFE_DEFAULT_S : q->life_s;
    enum fly_status status = FLY_OK;

    if (!roles_of(q, &roles)) {
        status = fly_error_set(&error, FLY_INVALID_ARGUMENT,
                               "roles are some of peer, edge, dash, admit");
    } else if (life_s > (uint64_t)ADMISSION_LIFE_MAX_MS / 1000) {
        status = fly_error_set(&error, FLY_INVALID_ARGUMENT, "a join token lives at most 30 days");
    } else {
        status = join_token_issue(a->config.identity, a->book, roles, (int64_t)life_s * 1000,
                                  q->uses == 0 ? 1 : q->uses, &a->config.address, 1, now().wall_ms,
                                  &token, &error);
    }
    if (status != FLY_OK) {
        refuse(call, &error);
        return;
    }
    (void)join_token_encode(&token, text);
    join_token_id_format(token.id, id);
    reply.token = text;
    reply.id = id;
    reply.expires_at_ms = token.expires_ms;
    rpc_call_reply(call, &reply.base);
    sodium_memzero(&token, sizeof token);
    sodium_memzero(text, sizeof text);
}

/* The texts that a JoinTokenInfo points to. */
struct token_message {
    Fly__V1__JoinTokenInfo pb;
    char id[JOIN_TOKEN_ID_TEXT_SIZE];
    char role_texts[ROLES_MAX][NODE_ROLES_TEXT_SIZE];
    char *roles[ROLES_MAX];
};

static void fill_token(struct token_message *m, const struct admission_token *t)
{
    m->pb = (Fly__V1__JoinTokenInfo)FLY__V1__JOIN_TOKEN_INFO__INIT;
    join_token_id_format(t->id, m->id);
    m->pb.id = m->id;
    for (uint32_t bit = 1; bit <= NODE_ROLE_ALL && m->pb.n_roles < ROLES_MAX; bit <<= 1) {
        if ((t->roles & bit) != 0) {
            node_roles_format(bit, ',', m->role_texts[m->pb.n_roles]);
            m->roles[m->pb.n_roles] = m->role_texts[m->pb.n_roles];
            m->pb.n_roles++;
        }
    }
    m->pb.roles = m->roles;
    m->pb.created_at_ms = t->created_ms;
    m->pb.expires_at_ms = t->expires_ms;
    m->pb.used = t->bearer_count;
    m->pb.uses_left = t->uses - t->bearer_count;
    m->pb.revoked = t->revoked;
}

static void list_tokens(struct admitting *a, struct rpc_call *call)
{
    size_t count = admission_book_count(a->book);
    Fly__V1__ListJoinTokensReply reply = FLY__V1__LIST_JOIN_TOKENS_REPLY__INIT;
    struct token_message *messages = calloc(count + 1, sizeof *messages);
    Fly__V1__JoinTokenInfo **pointers = calloc(count + 1, sizeof(void *));

    FLY_CHECK(messages != NULL && pointers != NULL);
    for (size_t i = 0; i < count; i++) {
        fill_token(&messages[i], admission_book_at(a->book, i));
        pointers[i] = &messages[i].pb;
    }
    reply.n_tokens = count;
    reply.tokens = pointers;
    rpc_call_reply(call, &reply.base);
    free(pointers);
    free(messages);
}

static void revoke_token(struct admitting *a, struct rpc_call *call)
{
    const Fly__V1__RevokeJoinTokenRequest *q =
        (const Fly__V1__RevokeJoinTokenRequest *)rpc_call_request(call);
    Fly__V1__RevokeJoinTokenReply reply = FLY__V1__REVOKE_JOIN_TOKEN_REPLY__INIT;
    struct fly_error error;

    if (admission_book_revoke(a->book, q->id, now().wall_ms, &error) == FLY_OK) {
        rpc_call_reply(call, &reply.base);
    } else {
        refuse(call, &error);
    }
}

static const struct {
    const struct rpc_method *method;
    void (*run)(struct admitting *a, struct rpc_call *call);
} served[] = {
    {&rpc_join_begin, begin},
    {&rpc_join_admit, admit},
    {&rpc_admin_create_join_token, create_token},
    {&rpc_admin_list_join_tokens, list_tokens},
    {&rpc_admin_revoke_join_token, revoke_token},
};

bool admitting_serves(const struct rpc_method *method)
{
    for (size_t i = 0; i < FLY_ARRAY_COUNT(served); i++) {
        if (served[i].method == method) {
            return true;
        }
    }
    return false;
}

static void run_call(struct admitting *a, struct rpc_call *call)
{
    for (size_t i = 0; i < FLY_ARRAY_COUNT(served); i++) {
        if (served[i].method == rpc_call_method(call)) {
            served[i].run(a, call);
            return; /* the call is gone */
        }
    }
}

/* --- the thread --- */

static void *run(void *user)
{
    struct admitting *a = user;

    (void)pthread_mutex_lock(&a->mutex);
    for (;;) {
        while (a->count == 0 && !a->ending) {
            (void)pthread_cond_wait(&a->changed, &a->mutex);
        }
        if (a->count == 0) {
            break;
        }
        struct rpc_call *call = a->waiting[a->first];
        a->first = (a->first + 1) % ADMITTING_WAITING_MAX;
        a->count--;
        bool ending = a->ending;
        (void)pthread_mutex_unlock(&a->mutex);
        if (ending) {
            rpc_call_turn_away(call, FLY_UNAVAILABLE, "the node is stopping",
                               (struct fly_bytes){.size = 0});
        } else {
            run_call(a, call);
        }
        (void)pthread_mutex_lock(&a->mutex);
    }
    (void)pthread_mutex_unlock(&a->mutex);
    return NULL;
}

void admitting_call(struct admitting *a, struct rpc_call *call)
{
    (void)pthread_mutex_lock(&a->mutex);
    bool room = a->count < ADMITTING_WAITING_MAX && !a->ending;
    if (room) {
        a->waiting[(a->first + a->count) % ADMITTING_WAITING_MAX] = call;
        a->count++;
        (void)pthread_cond_signal(&a->changed);
    }
    (void)pthread_mutex_unlock(&a->mutex);
    if (!room) {
        rpc_call_turn_away(call, FLY_RESOURCE_EXHAUSTED, "too many nodes are joining: try again",
                           (struct fly_bytes){.size = 0});
    }
}

enum fly_status admitting_create(struct admitting **out, const struct admitting_config *config,
                                 struct fly_error *error)
{
    struct admission_book *book = NULL;
    sigset_t all;
    sigset_t old;

    if (!config->identity->has_admission) {
        return fly_error_set(error, FLY_FAILED_PRECONDITION, "this node admits nobody");
    }
    enum fly_status status = admission_book_open(&config->identity->folder, &book, error);
    if (status != FLY_OK) {
        return status;
    }
    struct admitting *a = calloc(1, sizeof *a);
    FLY_CHECK(a != NULL);
    a->config = *config;
    a->book = book;
    (void)fly_copy_string(a->gossip_address, sizeof a->gossip_address, config->gossip_address);
    a->members = calloc(MEMBERS_MAX, sizeof *a->members);
    FLY_CHECK(a->members != NULL);
    const struct join_hooks hooks = {
        .user = a, .tag_known = tag_known, .name_taken = name_taken, .seeds = seeds};
    a->server = join_server_create(config->identity, a->book, &hooks);
    FLY_CHECK(pthread_mutex_init(&a->mutex, NULL) == 0);
    FLY_CHECK(pthread_cond_init(&a->changed, NULL) == 0);
    (void)sigfillset(&all); /* signals are the loop's */
    FLY_CHECK(pthread_sigmask(SIG_BLOCK, &all, &old) == 0);
    FLY_CHECK(pthread_create(&a->thread, NULL, run, a) == 0);
    FLY_CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    *out = a;
    return FLY_OK;
}

void admitting_destroy(struct admitting *a)
{
    if (a == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&a->mutex);
    a->ending = true;
    (void)pthread_cond_signal(&a->changed);
    (void)pthread_mutex_unlock(&a->mutex);
    (void)pthread_join(a->thread, NULL);
    join_server_destroy(a->server);
    admission_book_close(a->book);
    (void)pthread_cond_destroy(&a->changed);
    (void)pthread_mutex_destroy(&a->mutex);
    free(a->members);
    free(a);
}
