#include "gossip/notice.h"

#include "proto/base/check.h"

size_t notice_encode(const struct notice *n, uint8_t out[static NOTICE_PLAIN_SIZE])
{
    struct fly_writer w = fly_writer_over(out, NOTICE_PLAIN_SIZE);

    FLY_CHECK(n->address.port != 0);
    fly_put_u8(&w, NOTICE_VERSION);
    fly_put_bytes(&w, n->id.bytes, sizeof n->id.bytes);
    fly_put_u64(&w, n->boot);
    fly_put_u32(&w, n->generation);
    fly_put_bytes(&w, n->address.ip, sizeof n->address.ip);
    fly_put_u16(&w, n->address.port);
    FLY_CHECK(!w.failed);
    return w.size;
}

bool notice_decode(const void *data, size_t size, struct notice *out)
{
    struct fly_reader r = fly_reader_over(data, size);
    struct notice n;

    /* later versions only append */
    uint8_t version = fly_get_u8(&r);
    fly_get_copy(&r, n.id.bytes, sizeof n.id.bytes);
    n.boot = fly_get_u64(&r);
    n.generation = fly_get_u32(&r);
    fly_get_copy(&r, n.address.ip, sizeof n.address.ip);
    n.address.port = fly_get_u16(&r);
    if (r.failed || version < NOTICE_VERSION || n.address.port == 0 ||
        (version == NOTICE_VERSION && !fly_reader_done(&r))) {
        return false;
    }
    *out = n;
    return true;
}

size_t notice_close(const struct notice *n, const struct seal_ring *ring, struct fly_rng *rng,
                    uint8_t out[static NOTICE_SIZE_MAX])
{
    uint8_t plain[NOTICE_PLAIN_SIZE];

    return seal_close(ring, rng, plain, notice_encode(n, plain), out);
}

bool notice_open(const void *data, size_t size, const struct seal_ring *ring, struct notice *out)
{
    uint8_t plain[NOTICE_PLAIN_MAX];
    size_t plain_size;

    return size > SEAL_OVERHEAD && size <= NOTICE_SIZE_MAX &&
           seal_open(ring, data, size, plain, &plain_size) && notice_decode(plain, plain_size, out);
}
