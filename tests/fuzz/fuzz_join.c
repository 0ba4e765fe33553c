/* What strangers and operators bring to a join, by the first byte: a join token's text, a
 * JoinSecret as the admitting node opens it, a JoinWelcome as the joiner does, a TLS key, and the
 * files of a state folder. Garbage is refused with words and changes nothing; what is taken is
 * taken again in its own encoding. */
#include <ftw.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "node/join.h"
#include "proto/base/check.h"
#include "proto/wire/keyfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int64_t wall_ms = 1795262400123;

static struct {
    bool ready;
    char parent[64];
    struct identity founder;
    struct identity joiner;
    struct admission_book *book;
    struct join_server *server;
    struct join_token token;
    int64_t boot_ms;
} world;

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

static void close_world(void)
{
    join_server_destroy(world.server);
    admission_book_close(world.book);
    identity_close(&world.founder);
    identity_close(&world.joiner);
    (void)nftw(world.parent, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static bool no_tag(void *user, uint32_t tag)
{
    (void)user;
    (void)tag;
    return false;
}

static bool no_name(void *user, const char *name, const struct node_id *id)
{
    (void)user;
    (void)name;
    (void)id;
    return false;
}

static uint8_t no_seeds(void *user, char out[SETTINGS_SEEDS_MAX][SETTINGS_ADDRESS_SIZE])
{
    (void)user;
    out[0][0] = '\0';
    return 0;
}

static void open_world(void)
{
    static const struct join_hooks hooks = {
        .tag_known = no_tag, .name_taken = no_name, .seeds = no_seeds};
    static const struct join_address address = {.ip = {[15] = 1}, .port = 7401};
    const struct node_settings settings = {.name = "founder"};
    char dir[96];

    if (world.ready) {
        return;
    }
    world.ready = true;
    (void)snprintf(world.parent, sizeof world.parent, "/dev/shm/fuzz_join.XXXXXX");
    if (mkdtemp(world.parent) == NULL) {
        (void)snprintf(world.parent, sizeof world.parent, "/tmp/fuzz_join.XXXXXX");
        FLY_CHECK(mkdtemp(world.parent) != NULL);
    }
    (void)snprintf(dir, sizeof dir, "%s/a", world.parent);
    FLY_CHECK(identity_found(dir, &settings, wall_ms, &world.founder, NULL) == FLY_OK);
    (void)snprintf(dir, sizeof dir, "%s/b", world.parent);
    FLY_CHECK(identity_join_begin(dir, false, &world.joiner, NULL) == FLY_OK);
    FLY_CHECK(admission_book_open(&world.founder.folder, &world.book, NULL) == FLY_OK);
    world.server = join_server_create(&world.founder, world.book, &hooks);
    FLY_CHECK(join_token_issue(&world.founder, world.book, NODE_ROLE_PEER, 3600000, 1, &address, 1,
                               wall_ms, &world.token, NULL) == FLY_OK);
    (void)atexit(close_world);
}

static void try_token(const uint8_t *data, size_t size)
{
    struct join_token token;
    char text[JOIN_TOKEN_TEXT_MAX];
    struct fly_error error = {.text = ""};

    if (join_token_decode((const char *)data, size, &token, &error) == FLY_OK) {
        struct join_token back;
        size_t again = join_token_encode(&token, text);
        FLY_CHECK(join_token_decode(text, again, &back, NULL) == FLY_OK);
        FLY_CHECK(memcmp(&back, &token, sizeof back) == 0);
    } else {
        FLY_CHECK(error.text[0] != '\0');
    }
}

/* The bytes are what an honest seal holds. */
static void try_secret(const uint8_t *data, size_t size)
{
    static struct join_begin_answer begun;
    static struct join_admit_answer admitted;
    static uint8_t sealed[JOIN_SECRET_MAX + JOIN_SEAL_OVERHEAD];
    uint8_t nonce[JOIN_NONCE_SIZE] = {1};
    Fly__V1__JoinBeginRequest begin = FLY__V1__JOIN_BEGIN_REQUEST__INIT;
    Fly__V1__JoinAdmitRequest admit = FLY__V1__JOIN_ADMIT_REQUEST__INIT;
    struct fly_error error = {.text = ""};
    const struct join_now now = {.boot_ms = ++world.boot_ms * 1000, .wall_ms = wall_ms};

    if (size > JOIN_SECRET_MAX) {
        return;
    }
    begin.nonce = (ProtobufCBinaryData){sizeof nonce, nonce};
    FLY_CHECK(join_server_begin(world.server, &begin, now, &begun, NULL) == FLY_OK);
    FLY_CHECK(crypto_box_seal(sealed, data, size, begun.box) == 0);
    admit.box = (ProtobufCBinaryData){sizeof begun.box, begun.box};
    admit.sealed = (ProtobufCBinaryData){size + JOIN_SEAL_OVERHEAD, sealed};
    /* nobody can sign for a key that lives for seconds */
    FLY_CHECK(join_server_admit(world.server, &admit, now, &admitted, &error) ==
              FLY_INVALID_ARGUMENT);
    FLY_CHECK(error.text[0] != '\0' && admission_book_at(world.book, 0)->bearer_count == 0);
}

static void try_welcome(const uint8_t *data, size_t size)
{
    static struct join_client client;
    static uint8_t sealed[JOIN_WELCOME_MAX + JOIN_SEAL_OVERHEAD];
    Fly__V1__JoinAdmitReply reply = FLY__V1__JOIN_ADMIT_REPLY__INIT;
    struct fly_error error = {.text = ""};

    if (size > JOIN_WELCOME_MAX) {
        return;
    }
    FLY_CHECK(join_client_init(&client, &world.token, &world.joiner, "bob", NODE_ROLE_PEER, wall_ms,
                               NULL) == FLY_OK);
    memcpy(world.joiner.record.ca, world.founder.record.ca, sizeof world.joiner.record.ca);
    FLY_CHECK(crypto_box_seal(sealed, data, size, client.reply_box) == 0);
    reply.sealed = (ProtobufCBinaryData){size + JOIN_SEAL_OVERHEAD, sealed};
    FLY_CHECK(join_client_welcome(&client, &reply, wall_ms, &error) == FLY_UNAUTHENTICATED);
    FLY_CHECK(error.text[0] != '\0');
    join_client_fini(&client);
}

static void try_files(const uint8_t *data, size_t size)
{
    char text[CLUSTER_FILE_MAX];
    struct authority_keys keys;
    struct seal_ring ring;
    struct admission admission;
    struct credential credential;
    uint32_t generation = 0;

    if (authority_key_decode(KEYFILE_KIND_CA, data, size, &keys, NULL) == FLY_OK) {
        FLY_CHECK(authority_key_decode(KEYFILE_KIND_ADMISSION, data, size, &keys, NULL) != FLY_OK);
        FLY_CHECK(authority_key_encode(KEYFILE_KIND_CA, &keys, text) - size <= 1);
    }
    if (gossip_key_decode(data, size, &ring, NULL) == FLY_OK) {
        size_t again = gossip_key_encode(&ring, text);
        FLY_CHECK(again - size <= 1 && memcmp(text, data, size) == 0);
    }
    if (admission_file_decode(data, size, &admission, NULL) == FLY_OK) {
        size_t again = admission_file_encode(&admission, text);
        FLY_CHECK(again - size <= 1 && memcmp(text, data, size) == 0);
    }
    if (credential_file_decode(data, size, &credential, NULL) == FLY_OK) {
        size_t again = credential_file_encode(&credential, text);
        FLY_CHECK(again - size <= 1 && memcmp(text, data, size) == 0);
    }
    if (generation_decode(data, size, &generation, NULL) == FLY_OK) {
        uint32_t back = 0;
        size_t again = generation_encode(generation, text);
        FLY_CHECK(generation_decode(text, again, &back, NULL) == FLY_OK && back == generation);
    }
}

static void try_settings(const uint8_t *data, size_t size)
{
    struct node_settings settings;
    struct node_settings back;
    char text[SETTINGS_FILE_MAX];

    if (settings_decode((const char *)data, size, &settings, NULL) == FLY_OK) {
        size_t again = settings_encode(&settings, text);
        FLY_CHECK(settings_decode(text, again, &back, NULL) == FLY_OK);
        FLY_CHECK(memcmp(&back, &settings, sizeof back) == 0);
    }
}

static void try_tls_key(const uint8_t *data, size_t size)
{
    struct x509_spki spki;

    if (x509_spki_decode(data, size, &spki, NULL) == FLY_OK) {
        FLY_CHECK(spki.size == size && memcmp(spki.bytes, data, size) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(const uint8_t *data, size_t size) = {
        try_token, try_secret, try_welcome, try_files, try_settings, try_tls_key};

    open_world();
    if (size > 0 && data[0] - '0' < (int)FLY_ARRAY_COUNT(tries) && data[0] >= '0') {
        tries[data[0] - '0'](data + 1, size - 1);
    }
    return 0;
}
