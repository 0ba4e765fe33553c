#include "dash/signin.h"

#include <sodium.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/base/index.h"
#include "proto/base/list.h"
#include "proto/wire/base64.h"

enum {
    ADDRESS_WAYS = 8,
    ADDRESS_SETS = SIGNIN_ADDRESSES_MAX / ADDRESS_WAYS,
    FAILURE_MS = 60 * 1000 / SIGNIN_FAILURES_A_MINUTE, /* one failure is forgiven in this time */
};

struct session {
    struct fly_list link; /* of `ages`, the oldest first, or of `unused` */
    bool used;
    uint8_t hash[SIGNIN_HASH_SIZE];
    int64_t ends_ms;
    size_t token_size;
    char token[TOKEN_TEXT_MAX + 1];
};

/* GCRA: `due_ms` is when the address would have paid for all its failures. */
struct address {
    uint64_t address;
    int64_t due_ms;
};

struct signin {
    uint8_t key[TOKEN_HASH_KEY_SIZE];
    uint32_t count;
    uint32_t touched; /* sessions[] below it were used once: memory that is never used stays so */
    struct fly_list ages;
    struct fly_list unused;
    struct index by_hash;
    struct address addresses[ADDRESS_SETS][ADDRESS_WAYS];
    struct session sessions[SIGNIN_SESSIONS_MAX];
};

static size_t index_offset(void)
{
    return (sizeof(struct signin) + 15) / 16 * 16;
}

size_t signin_size(void)
{
    return index_offset() + index_size(SIGNIN_SESSIONS_MAX);
}

struct signin *signin_init(void *memory, const uint8_t key[static TOKEN_HASH_KEY_SIZE])
{
    struct signin *s = memory;
    memcpy(s->key, key, sizeof s->key);
    fly_list_init(&s->ages);
    fly_list_init(&s->unused);
    index_init(&s->by_hash, (char *)memory + index_offset(), SIGNIN_SESSIONS_MAX);
    return s;
}

static uint32_t hash_head(const uint8_t hash[static SIGNIN_HASH_SIZE])
{
    uint32_t head = 0;
    memcpy(&head, hash, sizeof head);
    return head;
}

static void session_end(struct signin *s, struct session *session)
{
    index_drop(&s->by_hash, hash_head(session->hash), (uint32_t)(session - s->sessions));
    sodium_memzero(session->token, sizeof session->token);
    session->used = false;
    s->count--;
    fly_list_drop(&session->link);
    fly_list_append(&s->unused, &session->link);
}

void signin_fini(struct signin *s)
{
    while (!fly_list_empty(&s->ages)) {
        session_end(s, FLY_CONTAINER(s->ages.next, struct session, link));
    }
    sodium_memzero(s->key, sizeof s->key);
}

static struct session *session_take(struct signin *s)
{
    if (fly_list_empty(&s->unused) && s->touched < SIGNIN_SESSIONS_MAX) {
        struct session *session = &s->sessions[s->touched++];
        fly_list_init(&session->link);
        return session;
    }
    if (fly_list_empty(&s->unused)) {
        session_end(s, FLY_CONTAINER(s->ages.next, struct session, link));
    }
    struct session *session = FLY_CONTAINER(s->unused.next, struct session, link);
    fly_list_drop(&session->link);
    return session;
}

void signin_put(struct signin *s, const char *token, size_t size, int64_t token_ends_ms,
                int64_t now_ms, const uint8_t random[static SIGNIN_ID_SIZE],
                char id[static SIGNIN_ID_TEXT_SIZE])
{
    FLY_CHECK(size <= TOKEN_TEXT_MAX);
    struct session *session = session_take(s);
    size_t id_size = base64_encode(random, SIGNIN_ID_SIZE, id, SIGNIN_ID_TEXT_SIZE);
    token_hash(s->key, id, id_size, session->hash);
    memcpy(session->token, token, size);
    session->token[size] = '\0';
    session->token_size = size;
    int64_t life_ends = now_ms + SIGNIN_LIFE_MS;
    session->ends_ms = token_ends_ms < life_ends ? token_ends_ms : life_ends;
    session->used = true;
    fly_list_append(&s->ages, &session->link);
    index_add(&s->by_hash, hash_head(session->hash), (uint32_t)(session - s->sessions));
    s->count++;
}

static struct session *session_find(struct signin *s, const uint8_t hash[static SIGNIN_HASH_SIZE])
{
    struct index_cursor cursor = index_search(&s->by_hash, hash_head(hash));
    uint32_t slot = index_next(&s->by_hash, &cursor);
    while (slot != UINT32_MAX) {
        if (memcmp(s->sessions[slot].hash, hash, SIGNIN_HASH_SIZE) == 0) {
            return &s->sessions[slot];
        }
        slot = index_next(&s->by_hash, &cursor);
    }
    return NULL;
}

bool signin_find(struct signin *s, const char *id, size_t size, int64_t now_ms,
                 struct signin_session *out)
{
    if (size != SIGNIN_ID_TEXT_SIZE - 1) {
        return false;
    }
    uint8_t hash[SIGNIN_HASH_SIZE];
    token_hash(s->key, id, size, hash);
    struct session *session = session_find(s, hash);
    if (session == NULL) {
        return false;
    }
    if (session->ends_ms <= now_ms) {
        session_end(s, session);
        return false;
    }
    memcpy(out->hash, hash, sizeof hash);
    out->token = session->token;
    out->token_size = session->token_size;
    out->ends_ms = session->ends_ms;
    return true;
}

void signin_drop(struct signin *s, const uint8_t hash[static SIGNIN_HASH_SIZE])
{
    struct session *session = session_find(s, hash);
    if (session != NULL) {
        session_end(s, session);
    }
}

void signin_tick(struct signin *s, int64_t now_ms)
{
    for (uint32_t i = 0; i < s->touched; i++) {
        if (s->sessions[i].used && s->sessions[i].ends_ms <= now_ms) {
            session_end(s, &s->sessions[i]);
        }
    }
}

uint32_t signin_count(const struct signin *s)
{
    return s->count;
}

/* The set is chosen with the secret key: nobody can aim at another's place in it. */
static uint32_t address_set(const struct signin *s, uint64_t address)
{
    uint8_t hash[TOKEN_HASH_SIZE];
    token_hash(s->key, (const char *)&address, sizeof address, hash);
    return hash_head(hash) % ADDRESS_SETS;
}

bool signin_may_try(const struct signin *s, uint64_t address, int64_t now_ms, int64_t *wait_ms)
{
    *wait_ms = 0;
    const struct address *set = s->addresses[address_set(s, address)];
    for (uint32_t i = 0; i < ADDRESS_WAYS; i++) {
        int64_t owed_ms = set[i].due_ms - now_ms;
        int64_t owed_max_ms = (SIGNIN_FAILURES_A_MINUTE - 1) * FAILURE_MS;
        if (set[i].due_ms != 0 && set[i].address == address && owed_ms > owed_max_ms) {
            *wait_ms = owed_ms - owed_max_ms;
        }
    }
    return *wait_ms == 0;
}

void signin_failed(struct signin *s, uint64_t address, int64_t now_ms)
{
    struct address *set = s->addresses[address_set(s, address)];
    struct address *place = &set[0];
    for (uint32_t i = 0; i < ADDRESS_WAYS; i++) {
        if (set[i].due_ms != 0 && set[i].address == address) {
            place = &set[i];
            break;
        }
        if (set[i].due_ms < place->due_ms) {
            place = &set[i];
        }
    }
    if (place->address != address || place->due_ms < now_ms) {
        place->address = address;
        place->due_ms = now_ms;
    }
    place->due_ms += FAILURE_MS;
}
