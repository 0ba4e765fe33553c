#include "dash/limits.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/base/index.h"

enum {
    ADDRESS_BYTES = 16,
    WINDOW_S = 60,
    BUCKETS = WINDOW_S + 1, /* the second that is under way, and all that touch the minute */
};

struct entry {
    uint8_t address[ADDRESS_BYTES];
    int64_t second; /* the counts are as of */
    uint32_t total;
    uint16_t counts[BUCKETS];
};

struct limits {
    uint32_t per_minute;
    uint64_t seed;
    uint32_t count;
    uint32_t hand; /* where the search for one to replace goes on */
    struct index index;
    void *index_memory;
    struct entry entries[LIMITS_ADDRESSES_MAX];
};

/* splitmix64's last step over 8 bytes at a time: good enough for a seeded table. */
static uint32_t hash_of(uint64_t seed, const uint8_t *data, size_t size)
{
    uint64_t hash = seed;

    for (size_t i = 0; i + 8 <= size; i += 8) {
        hash += fly_load_u64(data + i) + UINT64_C(0x9e3779b97f4a7c15);
        hash = (hash ^ (hash >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        hash = (hash ^ (hash >> 27)) * UINT64_C(0x94d049bb133111eb);
        hash ^= hash >> 31;
    }
    return (uint32_t)hash;
}

struct limits *limits_create(uint32_t per_minute, uint64_t hash_seed)
{
    struct limits *l = calloc(1, sizeof *l);

    FLY_CHECK(l != NULL);
    l->per_minute = per_minute == 0                      ? LIMITS_PER_MINUTE_DEFAULT
                    : per_minute > LIMITS_PER_MINUTE_MAX ? LIMITS_PER_MINUTE_MAX
                                                         : per_minute;
    l->seed = hash_seed;
    l->index_memory = calloc(1, index_size(LIMITS_ADDRESSES_MAX));
    FLY_CHECK(l->index_memory != NULL);
    index_init(&l->index, l->index_memory, LIMITS_ADDRESSES_MAX);
    return l;
}

void limits_destroy(struct limits *l)
{
    if (l != NULL) {
        free(l->index_memory);
        free(l);
    }
}

uint32_t limits_per_minute(const struct limits *l)
{
    return l->per_minute;
}

/* IPv4 as it is mapped into IPv6, all of it; of IPv6 the first half. */
static void address_of(const char *text, uint8_t out[static ADDRESS_BYTES])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char bare[64];
    size_t size = strcspn(text, "%"); /* a zone is no part of it */

    memset(out, 0, ADDRESS_BYTES);
    if (size >= sizeof bare) {
        return;
    }
    memcpy(bare, text, size);
    bare[size] = '\0';
    if (inet_pton(AF_INET, bare, out + sizeof mapped) == 1) {
        memcpy(out, mapped, sizeof mapped);
    } else if (inet_pton(AF_INET6, bare, out) != 1) {
        memset(out, 0, ADDRESS_BYTES);
    } else if (memcmp(out, mapped, sizeof mapped) != 0) {
        memset(out + ADDRESS_BYTES / 2, 0, ADDRESS_BYTES / 2);
    }
}

static uint32_t find(const struct limits *l, const uint8_t address[static ADDRESS_BYTES])
{
    struct index_cursor cursor = index_search(&l->index, hash_of(l->seed, address, ADDRESS_BYTES));
    uint32_t slot = UINT32_MAX;

    while ((slot = index_next(&l->index, &cursor)) != UINT32_MAX) {
        if (memcmp(l->entries[slot].address, address, ADDRESS_BYTES) == 0) {
            return slot;
        }
    }
    return UINT32_MAX;
}

static void advance(struct entry *e, int64_t second)
{
    if (second - e->second >= BUCKETS) {
        memset(e->counts, 0, sizeof e->counts);
        e->total = 0;
        e->second = second;
    }
    while (e->second < second) {
        uint16_t *bucket = &e->counts[++e->second % BUCKETS];
        e->total -= *bucket;
        *bucket = 0;
    }
}

static struct limits_left left_of(const struct limits *l, const struct entry *e, int64_t now_ms)
{
    struct limits_left out = {.left = l->per_minute - e->total};

    /* the oldest bucket that holds one is the first to leave */
    for (int64_t s = e->second - WINDOW_S; out.left == 0 && s <= e->second; s++) {
        if (s >= 0 && e->counts[s % BUCKETS] > 0) {
            out.retry_ms = (s + BUCKETS) * 1000 - now_ms;
            break;
        }
    }
    return out;
}

struct limits_left limits_look(const struct limits *l, const char *address, int64_t now_ms)
{
    uint8_t bytes[ADDRESS_BYTES];
    uint32_t slot = 0;

    address_of(address, bytes);
    slot = find(l, bytes);
    if (slot == UINT32_MAX) {
        return (struct limits_left){.left = l->per_minute};
    }
    struct entry now = l->entries[slot];
    advance(&now, now_ms / 1000);
    return left_of(l, &now, now_ms);
}

/* A slot for an address that is not there: unused, or of one that launched nothing for a minute. */
static uint32_t make_room(struct limits *l, int64_t second)
{
    if (l->count < LIMITS_ADDRESSES_MAX) {
        return l->count++;
    }
    for (uint32_t n = 0; n < LIMITS_ADDRESSES_MAX; n++) {
        uint32_t slot = l->hand++ % LIMITS_ADDRESSES_MAX;
        struct entry *e = &l->entries[slot];
        advance(e, second);
        if (e->total == 0) {
            index_drop(&l->index, hash_of(l->seed, e->address, ADDRESS_BYTES), slot);
            return slot;
        }
    }
    return UINT32_MAX;
}

bool limits_take(struct limits *l, const char *address, int64_t now_ms, struct limits_left *out)
{
    uint8_t bytes[ADDRESS_BYTES];
    uint32_t slot = 0;

    address_of(address, bytes);
    slot = find(l, bytes);
    if (slot == UINT32_MAX) {
        slot = make_room(l, now_ms / 1000);
        if (slot == UINT32_MAX) {
            *out = (struct limits_left){.retry_ms = 1000};
            return false;
        }
        l->entries[slot] = (struct entry){.second = now_ms / 1000};
        memcpy(l->entries[slot].address, bytes, sizeof bytes);
        index_add(&l->index, hash_of(l->seed, bytes, sizeof bytes), slot);
    }
    struct entry *e = &l->entries[slot];
    advance(e, now_ms / 1000);
    bool good = e->total < l->per_minute;
    if (good) {
        e->counts[e->second % BUCKETS]++;
        e->total++;
    }
    *out = left_of(l, e, now_ms);
    return good;
}

/* --- how many VMs live --- */

struct limits_vms {
    uint32_t max;
    uint32_t room; /* of ids */
    uint64_t seed;
    uint32_t count;
    uint64_t more;    /* listed, and without a place */
    uint64_t pending; /* being launched */
    int64_t as_of_ms; /* INT64_MIN: not known */
    struct index index;
    void *index_memory;
    uint64_t *ids; /* the first `count` */
};

struct limits_vms *limits_vms_create(uint32_t max, uint64_t hash_seed)
{
    struct limits_vms *v = calloc(1, sizeof *v);

    FLY_CHECK(v != NULL && max >= 1);
    v->max = max < LIMITS_VMS_MAX ? max : LIMITS_VMS_MAX;
    v->room = v->max + LIMITS_VMS_SPARE;
    v->seed = hash_seed;
    v->as_of_ms = INT64_MIN;
    v->ids = calloc(v->room, sizeof *v->ids);
    v->index_memory = calloc(1, index_size(v->room));
    FLY_CHECK(v->ids != NULL && v->index_memory != NULL);
    index_init(&v->index, v->index_memory, v->room);
    return v;
}

void limits_vms_destroy(struct limits_vms *v)
{
    if (v != NULL) {
        free(v->index_memory);
        free(v->ids);
        free(v);
    }
}

uint32_t limits_vms_max(const struct limits_vms *v)
{
    return v->max;
}

static uint32_t vm_hash(const struct limits_vms *v, uint64_t id)
{
    uint8_t bytes[8];

    fly_store_u64(bytes, id);
    return hash_of(v->seed, bytes, sizeof bytes);
}

static uint32_t vm_find(const struct limits_vms *v, uint64_t id)
{
    struct index_cursor cursor = index_search(&v->index, vm_hash(v, id));
    uint32_t slot = UINT32_MAX;

    while ((slot = index_next(&v->index, &cursor)) != UINT32_MAX && v->ids[slot] != id) {
    }
    return slot;
}

static void vm_put(struct limits_vms *v, uint64_t id)
{
    if (vm_find(v, id) != UINT32_MAX) {
        return;
    }
    if (v->count == v->room) {
        v->more++;
        return;
    }
    index_add(&v->index, vm_hash(v, id), v->count);
    v->ids[v->count++] = id;
}

static void vm_drop(struct limits_vms *v, uint64_t id)
{
    uint32_t slot = vm_find(v, id);

    if (slot == UINT32_MAX) {
        return;
    }
    index_drop(&v->index, vm_hash(v, id), slot);
    uint32_t last = --v->count;
    if (last != slot) { /* the last one takes its place: no holes */
        index_drop(&v->index, vm_hash(v, v->ids[last]), last);
        index_add(&v->index, vm_hash(v, v->ids[last]), slot);
        v->ids[slot] = v->ids[last];
    }
}

void limits_vms_list(struct limits_vms *v, const uint64_t *ids, size_t count, int64_t now_ms)
{
    memset(v->index_memory, 0, index_size(v->room));
    index_init(&v->index, v->index_memory, v->room);
    v->count = 0;
    v->more = 0;
    for (size_t i = 0; i < count; i++) {
        vm_put(v, ids[i]);
    }
    v->as_of_ms = now_ms;
}

void limits_vms_event(struct limits_vms *v, uint8_t event_type, uint64_t id)
{
    if (event_type == EVENT_VM_STARTED) {
        vm_put(v, id);
    } else if (event_type == EVENT_VM_DESTROYED) {
        vm_drop(v, id);
    }
}

void limits_vms_lose(struct limits_vms *v)
{
    v->as_of_ms = INT64_MIN;
}

bool limits_vms_count(const struct limits_vms *v, uint64_t *count)
{
    *count = v->count + v->more + v->pending;
    return v->as_of_ms != INT64_MIN;
}

int64_t limits_vms_as_of(const struct limits_vms *v)
{
    return v->as_of_ms;
}

bool limits_vms_reserve(struct limits_vms *v)
{
    uint64_t count = 0;

    (void)limits_vms_count(v, &count);
    bool room = count < v->max;
    v->pending += room ? 1 : 0;
    return room;
}

void limits_vms_launched(struct limits_vms *v, uint64_t id)
{
    FLY_CHECK(v->pending > 0);
    v->pending--;
    if (id != 0) {
        vm_put(v, id);
    }
}

/* --- near --- */

struct near_entry {
    char subject[TOKEN_SUBJECT_SIZE];
    struct fly_key key;
    char region[EVENT_REGION_SIZE];
};

struct limits_near {
    struct near_entry entries[LIMITS_NEAR_MAX];
    uint32_t count; /* ever */
};

struct limits_near *limits_near_create(void)
{
    struct limits_near *n = calloc(1, sizeof *n);

    FLY_CHECK(n != NULL);
    return n;
}

void limits_near_destroy(struct limits_near *n)
{
    free(n);
}

const char *limits_near_find(const struct limits_near *n, const char *subject,
                             const struct fly_key *key)
{
    uint32_t kept = n->count < LIMITS_NEAR_MAX ? n->count : LIMITS_NEAR_MAX;

    for (uint32_t i = 0; i < kept; i++) {
        const struct near_entry *e = &n->entries[i];
        if (key_equal(&e->key, key) && strcmp(e->subject, subject) == 0) {
            return e->region;
        }
    }
    return NULL;
}

void limits_near_put(struct limits_near *n, const char *subject, const struct fly_key *key,
                     const char *region)
{
    struct near_entry *e = &n->entries[n->count++ % LIMITS_NEAR_MAX];

    (void)fly_copy_string(e->subject, sizeof e->subject, subject);
    (void)fly_copy_string(e->region, sizeof e->region, region);
    e->key = *key;
}

double limits_distance_km(double latitude_a, double longitude_a, double latitude_b,
                          double longitude_b)
{
    const double radius_km = 6371.0;
    const double radians = 3.14159265358979323846 / 180.0;
    double north = sin((latitude_b - latitude_a) * radians / 2);
    double east = sin((longitude_b - longitude_a) * radians / 2);
    double h = north * north + cos(latitude_a * radians) * cos(latitude_b * radians) * east * east;

    return 2 * radius_km * asin(sqrt(h < 1 ? h : 1));
}
