/*
 * fuzz_beacon - the same bytes as a datagram and as the plain text under a seal. Oracles: nobody
 * without the key makes a notice; what is decoded and is of this version encodes to the same bytes;
 * sealed, it opens to the same again.
 */
#include <stdint.h>
#include <string.h>

#include "gossip/notice.h"
#include "proto/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct seal_ring group = {.count = 2, .ids = {1, 2}, .keys = {{42}, {43}}};
    struct seal_ring ring;
    struct fly_rng rng;
    struct notice n;
    uint8_t plain[NOTICE_PLAIN_SIZE];
    uint8_t sealed[NOTICE_SIZE_MAX];

    seal_ring_derive(&ring, &group, SEAL_BEACON, "00112233445566778899aabbccddeeff");
    fly_rng_seed(&rng, size);
    FLY_CHECK(!notice_open(data, size, &ring, &n));
    if (size > NOTICE_PLAIN_MAX) {
        return 0;
    }
    bool decoded = notice_decode(data, size, &n);
    if (decoded && data[0] == NOTICE_VERSION) {
        FLY_CHECK(notice_encode(&n, plain) == size && memcmp(plain, data, size) == 0);
    }
    size_t sealed_size = seal_close(&ring, &rng, data, size, sealed);
    struct notice back;
    FLY_CHECK(notice_open(sealed, sealed_size, &ring, &back) == decoded);
    FLY_CHECK(!decoded || (memcmp(&back.id, &n.id, sizeof n.id) == 0 && back.boot == n.boot &&
                           back.generation == n.generation &&
                           memcmp(back.address.ip, n.address.ip, sizeof n.address.ip) == 0 &&
                           back.address.port == n.address.port));
    return 0;
}
