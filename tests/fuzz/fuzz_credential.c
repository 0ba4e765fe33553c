/* Any bytes are refused, or are the one encoding of a credential (or admission) that verifies under
 * no CA that did not sign it. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/check.h"
#include "proto/wire/credential.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char cluster[] = "000102030405060708090a0b0c0d0e0f";
    static const uint8_t unknown_seed[32] = "nobody signs with this one";
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    struct authority_keys ca;
    struct credential c;
    struct admission a;
    struct fly_error error = {.text = ""};

    if (credential_decode(data, size, &c, &error) == FLY_OK) {
        FLY_CHECK(credential_encode(&c, bytes) == size);
        FLY_CHECK(memcmp(bytes, data, size) == 0);
        authority_keys_from_seed(unknown_seed, &ca);
        FLY_CHECK(credential_verify(&c, ca.public_key, cluster, 0, &error) == FLY_UNAUTHENTICATED);
    } else {
        FLY_CHECK(error.status == FLY_INVALID_ARGUMENT && error.text[0] != '\0');
    }
    if (admission_decode(data, size, &a, &error) == FLY_OK) {
        FLY_CHECK(admission_encode(&a, bytes) == size);
        FLY_CHECK(memcmp(bytes, data, size) == 0);
    }
    return 0;
}
