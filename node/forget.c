#include "node/forget.h"

#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/key.h"

enum {
    VERSION = 1,
    CLUSTER_DIGITS = 32,
    AHEAD_MS = 600000, /* the signer's clock may be ahead of ours */
};

static const char domain[] = "flylight-forget-1";

/* What is signed: the cluster's id ‖ the word without its signature. */
static struct fly_bytes message_of(const char *cluster, const uint8_t *word, size_t size,
                                   uint8_t room[static CLUSTER_DIGITS + FORGET_SIZE_MAX])
{
    FLY_CHECK(strlen(cluster) == CLUSTER_DIGITS && size <= FORGET_SIZE_MAX);
    memcpy(room, cluster, CLUSTER_DIGITS);
    memcpy(room + CLUSTER_DIGITS, word, size);
    return (struct fly_bytes){.data = room, .size = CLUSTER_DIGITS + size};
}

size_t forget_sign(const struct credential *by, const struct node_keys *keys, const char *cluster,
                   uint32_t tag, int64_t now_ms, uint8_t out[static FORGET_SIZE_MAX])
{
    uint8_t credential[CREDENTIAL_BYTES_MAX];
    uint8_t room[CLUSTER_DIGITS + FORGET_SIZE_MAX];
    struct fly_writer w = fly_writer_over(out, FORGET_SIZE_MAX);
    size_t size = credential_encode(by, credential);

    fly_put_u8(&w, VERSION);
    fly_put_u32(&w, tag);
    fly_put_u64(&w, (uint64_t)now_ms);
    fly_put_u16(&w, (uint16_t)size);
    fly_put_bytes(&w, credential, size);
    FLY_CHECK(!w.failed && w.size + NODE_SIGNATURE_SIZE <= FORGET_SIZE_MAX);
    node_sign(keys, domain, message_of(cluster, out, w.size, room), out + w.size);
    return w.size + NODE_SIGNATURE_SIZE;
}

static enum fly_status denied(struct fly_error *error, const char *why)
{
    return fly_error_set(error, FLY_PERMISSION_DENIED, "the word that a slice is lost: %s", why);
}

enum fly_status forget_verify(struct fly_bytes word, const char *cluster,
                              const uint8_t ca[static NODE_KEY_SIZE], int64_t now_ms,
                              struct forget_word *out, struct fly_error *error)
{
    struct forget_word f = {.tag = 0};
    struct fly_reader r = fly_reader_over(word.data, word.size);
    uint8_t credential[CREDENTIAL_BYTES_MAX];
    uint8_t room[CLUSTER_DIGITS + FORGET_SIZE_MAX];
    struct fly_error why;

    bool known = fly_get_u8(&r) == VERSION;
    f.tag = fly_get_u32(&r);
    f.time_ms = (int64_t)fly_get_u64(&r);
    size_t size = fly_get_u16(&r);
    if (!known || r.failed || size > sizeof credential || word.size > FORGET_SIZE_MAX ||
        f.tag == 0 || f.tag > FLY_TAG_MAX || f.time_ms < 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "not the word that a slice is lost");
    }
    fly_get_copy(&r, credential, size);
    if (r.failed || fly_reader_left(&r) != NODE_SIGNATURE_SIZE ||
        credential_decode(credential, size, &f.by, &why) != FLY_OK) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "not the word that a slice is lost");
    }
    if (f.time_ms > now_ms + AHEAD_MS) {
        return denied(error, "it is of a time to come");
    }
    if (credential_verify(&f.by, ca, cluster, f.time_ms, &why) != FLY_OK) {
        return denied(error, why.text);
    }
    if ((f.by.roles & NODE_ROLE_ADMIT) == 0) {
        return denied(error, "only a node that may admit others can say it");
    }
    if (!node_signed(f.by.key, domain, message_of(cluster, word.data, r.offset, room),
                     word.data + r.offset)) {
        return denied(error, "its signature is not good");
    }
    *out = f;
    return FLY_OK;
}
