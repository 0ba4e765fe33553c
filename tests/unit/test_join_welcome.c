/* join: a member that may admit and lies. What it gives is opened, changed, sealed again; the
 * joiner must not end up with an identity that is not its own, in its token's cluster, as it asked.
 */
#include "tests/unit/join_world.h"

#include <sodium.h>

enum lie {
    NO_LIE,
    RECORD_OF_ANOTHER,
    RECORD_GARBAGE,
    OTHER_ISSUER_CA,
    CREDENTIAL_OF_ANOTHER_KEY,
    CREDENTIAL_OF_ANOTHER_CLUSTER,
    CREDENTIAL_EXPIRED,
    CREDENTIAL_GARBAGE,
    MORE_ROLES,
    FEWER_ROLES,
    OTHER_NAME,
    TAG_BESIDE,
    TAG_NONE,
    TAG_ROOT,
    GOSSIP_SHORT,
    GOSSIP_ID,
    TLS_CA_OF_ANOTHER,
    TLS_OF_ANOTHER_KEY,
    TLS_GARBAGE,
    TLS_HASH_OF_ANOTHER,
    SEED_NONE,
    SEEDS_MANY,
    ADMISSION_NONE,
    ADMISSION_OF_ANOTHER,
    ISSUER_NONE,
    ISSUER_OF_ANOTHER,
    ANOTHER_CA_THROUGHOUT,
    ANOTHER_TLS_CA_THROUGHOUT,
    ADMISSION_BY_ANOTHER_CA,
};

static const struct {
    const char *what;
    enum lie lie;
    bool admits; /* the joiner asked for role admit */
} rows[] = {
    {"all is right", NO_LIE, false},
    {"all is right, with role admit", NO_LIE, true},
    {"another cluster's record", RECORD_OF_ANOTHER, false},
    {"a record that is none", RECORD_GARBAGE, false},
    {"a record with another CA", OTHER_ISSUER_CA, false},
    {"a credential for another key", CREDENTIAL_OF_ANOTHER_KEY, false},
    {"a credential of another cluster", CREDENTIAL_OF_ANOTHER_CLUSTER, false},
    {"a credential that is over", CREDENTIAL_EXPIRED, false},
    {"a credential that is none", CREDENTIAL_GARBAGE, false},
    {"more roles than were asked for", MORE_ROLES, false},
    {"fewer roles than were asked for", FEWER_ROLES, true},
    {"another name", OTHER_NAME, false},
    {"a slice tag that the credential does not name", TAG_BESIDE, false},
    {"no slice tag", TAG_NONE, false},
    {"the root slice's tag", TAG_ROOT, false},
    {"half a gossip key", GOSSIP_SHORT, false},
    {"a gossip key's id that is none", GOSSIP_ID, false},
    {"another cluster's TLS CA", TLS_CA_OF_ANOTHER, false},
    {"a certificate for another key", TLS_OF_ANOTHER_KEY, false},
    {"a certificate that is none", TLS_GARBAGE, false},
    {"a credential that names another TLS key", TLS_HASH_OF_ANOTHER, false},
    {"a seed that is no address", SEED_NONE, false},
    {"too many seeds", SEEDS_MANY, false},
    {"no admission", ADMISSION_NONE, true},
    {"an admission of another key", ADMISSION_OF_ANOTHER, true},
    {"no TLS issuer", ISSUER_NONE, true},
    {"a TLS issuer of another key", ISSUER_OF_ANOTHER, true},
    {"another CA, consistently", ANOTHER_CA_THROUGHOUT, false},
    {"another TLS CA, consistently", ANOTHER_TLS_CA_THROUGHOUT, false},
    {"an admission by another CA", ADMISSION_BY_ANOTHER_CA, true},
};

static struct join_world world;
static struct join_world other;
static struct identity joiner;
static struct join_client client;
static struct join_begin_answer begun;
static struct join_admit_answer admitted;

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* What a lie's message points at. */
static struct {
    char text[CLUSTER_FILE_MAX];
    uint8_t bytes[CREDENTIAL_BYTES_MAX];
    char certificate[X509_CERT_TEXT_SIZE];
    char *seeds[SETTINGS_SEEDS_MAX + 1];
} lied;

static void give_credential(Fly__V1__JoinWelcome *w, struct credential *c, struct join_world *by)
{
    c->admission = by->founder.admission.record;
    credential_sign(&by->founder.admission.keys, by->founder.record.id, c);
    w->credential = (ProtobufCBinaryData){credential_encode(c, lied.bytes), lied.bytes};
    w->slice_tag = c->slice_tag;
}

static void lie_about_credential(enum lie lie, Fly__V1__JoinWelcome *w)
{
    struct credential c;

    assert_int_equal(credential_decode(w->credential.data, w->credential.len, &c, NULL), FLY_OK);
    if (lie == CREDENTIAL_OF_ANOTHER_KEY) {
        memcpy(c.key, other.founder.keys.public_key, sizeof c.key);
    }
    if (lie == CREDENTIAL_EXPIRED) {
        c.expires_ms = world.now.wall_ms;
    }
    if (lie == MORE_ROLES) {
        c.roles |= NODE_ROLE_DASH;
    }
    if (lie == FEWER_ROLES) {
        c.roles = NODE_ROLE_PEER;
    }
    if (lie == OTHER_NAME) {
        c.name[0] = 'x';
    }
    if (lie == TAG_NONE) {
        c.slice_tag = 0;
    }
    if (lie == TAG_ROOT) {
        c.slice_tag = world.founder.record.root_tag;
    }
    if (lie == TLS_HASH_OF_ANOTHER) {
        c.tls_hash[0] ^= 1;
    }
    give_credential(w, &c, lie == CREDENTIAL_OF_ANOTHER_CLUSTER ? &other : &world);
    if (lie == TAG_BESIDE) {
        w->slice_tag ^= 1;
    }
    if (lie == CREDENTIAL_GARBAGE) {
        w->credential.len--;
    }
}

static void lie_about_tls(enum lie lie, Fly__V1__JoinWelcome *w)
{
    struct x509_spki spki;
    struct admission admission;

    assert_int_equal(x509_key_spki(other.founder.tls.key, &spki, NULL), FLY_OK);
    if (lie == TLS_CA_OF_ANOTHER) {
        w->tls_ca = other.founder.tls.ca;
    }
    if (lie == TLS_OF_ANOTHER_KEY) {
        assert_int_equal(x509_node_make(&world.founder.admission.tls, &spki, "bob",
                                        world.now.wall_ms, world.now.wall_ms + 3600000,
                                        lied.certificate, NULL),
                         FLY_OK);
        w->tls_certificate = lied.certificate;
    }
    if (lie == TLS_GARBAGE) {
        w->tls_certificate = text_of("-----BEGIN CERTIFICATE-----\n");
    }
    if (lie == ADMISSION_NONE) {
        w->admission.len = 0;
    }
    if (lie == ISSUER_NONE) {
        w->tls_issuer = text_of("");
    }
    if (lie == ADMISSION_OF_ANOTHER || lie == ISSUER_OF_ANOTHER) {
        assert_int_equal(identity_grant_admission(&world.founder, other.founder.keys.public_key,
                                                  &spki, world.now.wall_ms, &admission,
                                                  lied.certificate, NULL),
                         FLY_OK);
    }
    if (lie == ADMISSION_OF_ANOTHER) {
        w->admission = (ProtobufCBinaryData){admission_encode(&admission, lied.bytes), lied.bytes};
    }
    if (lie == ISSUER_OF_ANOTHER) {
        w->tls_issuer = lied.certificate;
    }
}

/* Lies that fit together: only what the token and the record vouch for tells. */
static void lie_throughout(enum lie lie, Fly__V1__JoinWelcome *w)
{
    struct x509_spki spki;
    struct admission admission = {.roles = NODE_ROLE_ALL,
                                  .expires_ms = world.now.wall_ms + 3600000};

    assert_int_equal(x509_key_spki(joiner.tls.key, &spki, NULL), FLY_OK);
    if (lie == ANOTHER_CA_THROUGHOUT) {
        struct cluster_record record = world.founder.record;
        struct credential c;
        assert_int_equal(credential_decode(w->credential.data, w->credential.len, &c, NULL),
                         FLY_OK);
        memcpy(admission.key, other.founder.admission.keys.public_key, sizeof admission.key);
        admission_sign(&other.founder.ca.keys, record.id, &admission);
        c.admission = admission;
        credential_sign(&other.founder.admission.keys, record.id, &c);
        w->credential = (ProtobufCBinaryData){credential_encode(&c, lied.bytes), lied.bytes};
        memcpy(record.ca, other.founder.record.ca, sizeof record.ca);
        (void)cluster_record_encode(&record, lied.text);
        w->cluster_record = lied.text;
    }
    if (lie == ANOTHER_TLS_CA_THROUGHOUT) {
        assert_int_equal(x509_node_make(&other.founder.admission.tls, &spki, "bob",
                                        world.now.wall_ms, world.now.wall_ms + 3600000,
                                        lied.certificate, NULL),
                         FLY_OK);
        w->tls_ca = other.founder.tls.ca;
        w->tls_certificate = lied.certificate;
    }
    if (lie == ADMISSION_BY_ANOTHER_CA) {
        memcpy(admission.key, joiner.admission.keys.public_key, sizeof admission.key);
        admission_sign(&other.founder.ca.keys, world.founder.record.id, &admission);
        w->admission = (ProtobufCBinaryData){admission_encode(&admission, lied.bytes), lied.bytes};
    }
}

static void lie_about_rest(enum lie lie, Fly__V1__JoinWelcome *w)
{
    struct cluster_record record = world.founder.record;

    if (lie == RECORD_OF_ANOTHER) {
        (void)cluster_record_encode(&other.founder.record, lied.text);
        w->cluster_record = lied.text;
    }
    if (lie == OTHER_ISSUER_CA) {
        memcpy(record.ca, other.founder.record.ca, sizeof record.ca);
        (void)cluster_record_encode(&record, lied.text);
        w->cluster_record = lied.text;
    }
    if (lie == RECORD_GARBAGE) {
        w->cluster_record = text_of("{}");
    }
    if (lie == GOSSIP_SHORT) {
        w->gossip_key.len = SEAL_KEY_SIZE / 2;
    }
    if (lie == GOSSIP_ID) {
        w->gossip_key_id = 256;
    }
    if (lie == SEED_NONE || lie == SEEDS_MANY) {
        for (size_t i = 0; i < FLY_ARRAY_COUNT(lied.seeds); i++) {
            lied.seeds[i] = text_of(lie == SEED_NONE ? "0.0.0.0:7400" : "10.0.0.1:7400");
        }
        w->seeds = lied.seeds;
        w->n_seeds = lie == SEED_NONE ? 1 : FLY_ARRAY_COUNT(lied.seeds);
    }
}

/* Opens the true answer, lies, seals it again. */
static void change_answer(enum lie lie)
{
    static uint8_t plain[JOIN_WELCOME_MAX];
    ProtobufCBinaryData *sealed = &admitted.message.sealed;
    size_t size = sealed->len - JOIN_SEAL_OVERHEAD;

    assert_int_equal(crypto_box_seal_open(plain, sealed->data, sealed->len, client.reply_box,
                                          client.reply_secret),
                     0);
    Fly__V1__JoinWelcome *w = fly__v1__join_welcome__unpack(NULL, size, plain);
    assert_non_null(w);
    Fly__V1__JoinWelcome lying = *w;
    if (lie >= CREDENTIAL_OF_ANOTHER_KEY && lie <= TAG_ROOT) {
        lie_about_credential(lie, &lying);
    }
    if (lie == TLS_HASH_OF_ANOTHER) {
        lie_about_credential(lie, &lying);
    }
    lie_about_tls(lie, &lying);
    lie_throughout(lie, &lying);
    lie_about_rest(lie, &lying);
    size = fly__v1__join_welcome__get_packed_size(&lying);
    assert_true(size <= sizeof plain);
    (void)fly__v1__join_welcome__pack(&lying, plain);
    fly__v1__join_welcome__free_unpacked(w, NULL);
    assert_int_equal(crypto_box_seal(admitted.sealed, plain, size, client.reply_box), 0);
    sealed->len = size + JOIN_SEAL_OVERHEAD;
}

static enum fly_status ask(const struct join_token *token, uint32_t roles, enum lie lie,
                           struct fly_error *error)
{
    Fly__V1__JoinBeginRequest begin;
    Fly__V1__JoinAdmitRequest admit;

    assert_int_equal(
        join_client_init(&client, token, &joiner, "bob", roles, world.now.wall_ms, NULL), FLY_OK);
    join_client_begin(&client, &begin);
    assert_int_equal(join_server_begin(world.server, &begin, world.now, &begun, NULL), FLY_OK);
    assert_int_equal(join_client_admit(&client, &begun.message, world.now.wall_ms, &admit, NULL),
                     FLY_OK);
    assert_int_equal(join_server_admit(world.server, &admit, world.now, &admitted, NULL), FLY_OK);
    change_answer(lie);
    enum fly_status status =
        join_client_welcome(&client, &admitted.message, world.now.wall_ms, error);
    return status == FLY_OK ? identity_join_save(&joiner, world.now.wall_ms, error) : status;
}

static void test_lies(void **state)
{
    const struct place *place = *state;

    world_open(place, "a", &world);
    world_open(place, "other", &other);
    struct join_token token = world_token(&world, NODE_ROLE_ALL, 64, NULL);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct fly_error error = {.text = ""};
        char dir[112];
        uint32_t roles = NODE_ROLE_PEER | (rows[i].admits ? NODE_ROLE_ADMIT : 0);
        (void)snprintf(dir, sizeof dir, "%s/b%zu", place->parent, i);
        assert_int_equal(identity_join_begin(dir, rows[i].admits, &joiner, NULL), FLY_OK);
        (void)fly_copy_string(joiner.settings.name, sizeof joiner.settings.name, "bob");
        world.now.boot_ms += 1000;
        enum fly_status status = ask(&token, roles, rows[i].lie, &error);
        if ((status == FLY_OK) != (rows[i].lie == NO_LIE) ||
            (status != FLY_OK && error.text[0] == '\0')) {
            fail_msg("%s: %s: %s", rows[i].what, fly_status_name(status), error.text);
        }
        identity_close(&joiner);
        status = identity_open_made(dir, world.now.wall_ms, &joiner, &error);
        if (status != (rows[i].lie == NO_LIE ? FLY_OK : FLY_FAILED_PRECONDITION)) {
            fail_msg("%s, opened: %s: %s", rows[i].what, fly_status_name(status), error.text);
        }
        identity_close(&joiner);
        join_client_fini(&client);
    }
    world_close(&other);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
