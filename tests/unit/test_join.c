/* join: the exchange step by step, and every way in which it is refused, on both sides. */
#include "tests/unit/join_world.h"

#include <sodium.h>

#include "node/join_parts.h"

/* One joiner's side of it. */
struct joiner {
    struct identity identity;
    struct join_client client;
    struct join_begin_answer begun;
    struct join_admit_answer admitted;
    char dir[112];
};

static void joiner_open(const struct place *place, const char *name, bool admits, struct joiner *j)
{
    struct fly_error error = {.text = ""};

    memset(j, 0, sizeof *j);
    (void)snprintf(j->dir, sizeof j->dir, "%s/%s", place->parent, name);
    if (identity_join_begin(j->dir, admits, &j->identity, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    (void)fly_copy_string(j->identity.settings.name, sizeof j->identity.settings.name, name);
}

static void joiner_close(struct joiner *j)
{
    join_client_fini(&j->client);
    identity_close(&j->identity);
}

static enum fly_status begin(struct join_world *w, struct joiner *j, struct fly_error *error)
{
    Fly__V1__JoinBeginRequest request;

    join_client_begin(&j->client, &request);
    return join_server_begin(w->server, &request, w->now, &j->begun, error);
}

/* From Begin to what is on the disk. */
static enum fly_status exchange(struct join_world *w, struct joiner *j,
                                const struct join_token *token, uint32_t roles,
                                struct fly_error *error)
{
    Fly__V1__JoinAdmitRequest request;
    enum fly_status status = join_client_init(
        &j->client, token, &j->identity, j->identity.settings.name, roles, w->now.wall_ms, error);

    if (status == FLY_OK) {
        status = begin(w, j, error);
    }
    if (status == FLY_OK) {
        status = join_client_admit(&j->client, &j->begun.message, w->now.wall_ms, &request, error);
    }
    if (status == FLY_OK) {
        status = join_server_admit(w->server, &request, w->now, &j->admitted, error);
    }
    if (status == FLY_OK) {
        status = join_client_welcome(&j->client, &j->admitted.message, w->now.wall_ms, error);
    }
    if (status == FLY_OK) {
        status = identity_join_save(&j->identity, w->now.wall_ms, error);
    }
    return status;
}

static struct join_world world;
static struct join_world other;
static struct joiner joiner;
static struct joiner second;
static struct identity opened;

static void expect_ok(enum fly_status status, const struct fly_error *error)
{
    if (status != FLY_OK) {
        fail_msg("%s: %s", fly_status_name(status), error->text);
    }
}

static void test_joins(void **state)
{
    struct fly_error error = {.text = ""};

    world_open(*state, "a", &world);
    struct join_token token = world_token(&world, NODE_ROLE_PEER | NODE_ROLE_EDGE, 2, NULL);
    joiner_open(*state, "bob", false, &joiner);
    expect_ok(exchange(&world, &joiner, &token, NODE_ROLE_PEER, &error), &error);
    joiner_close(&joiner);

    expect_ok(identity_open_made(joiner.dir, world.now.wall_ms, &opened, &error), &error);
    assert_string_equal(opened.record.id, world.founder.record.id);
    assert_memory_equal(&opened.record.issuer, &world.founder.record.issuer, 32);
    assert_int_equal(opened.record.root_tag, world.founder.record.root_tag);
    assert_string_equal(opened.credential.name, "bob");
    assert_string_equal(opened.settings.name, "bob");
    assert_int_equal(opened.credential.roles, NODE_ROLE_PEER);
    assert_int_not_equal(opened.credential.slice_tag, 0);
    assert_int_not_equal(opened.credential.slice_tag, world.founder.credential.slice_tag);
    assert_memory_equal(&opened.group, &world.founder.group, sizeof opened.group);
    assert_string_equal(opened.tls.ca, world.founder.tls.ca);
    assert_int_equal(opened.settings.seed_count, 2);
    assert_string_equal(opened.settings.seeds[1], "[fd00::5]:7400");
    assert_false(opened.has_issuer);
    assert_false(opened.has_admission);
    assert_false(opened.has_ca);
    assert_true(opened.generation > 0);
    assert_int_equal(admission_book_at(world.book, 0)->bearer_count, 1);
    assert_int_equal(join_server_counters(world.server).admitted, 1);
    identity_close(&opened);

    /* the folder has an identity now */
    assert_int_equal(identity_join_begin(joiner.dir, false, &second.identity, &error),
                     FLY_ALREADY_EXISTS);
    assert_int_equal(identity_found(joiner.dir, &world.founder.settings, world.now.wall_ms,
                                    &second.identity, &error),
                     FLY_ALREADY_EXISTS);
    world_close(&world);
}

/* A second admitting node, made with the founder's CA, admits a third. */
static void test_admits_further(void **state)
{
    struct fly_error error = {.text = ""};
    struct join_token token;

    world_open(*state, "a", &world);
    token = world_token(&world, NODE_ROLE_ALL, 2, NULL);
    joiner_open(*state, "bob", true, &joiner);
    expect_ok(exchange(&world, &joiner, &token, NODE_ROLE_PEER | NODE_ROLE_ADMIT, &error), &error);
    joiner_close(&joiner);
    world_close(&world); /* the founder is gone */

    memset(&world, 0, sizeof world);
    world.now = (struct join_now){.boot_ms = 5, .wall_ms = fly_clock_wall_ms()};
    expect_ok(identity_open_made(joiner.dir, world.now.wall_ms, &world.founder, &error), &error);
    assert_true(world.founder.has_admission);
    assert_false(world.founder.has_ca);
    assert_int_equal(admission_book_open(&world.founder.folder, &world.book, NULL), FLY_OK);
    world.hooks = (struct join_hooks){.user = &world,
                                      .tag_known = world_tag_known,
                                      .name_taken = world_name_taken,
                                      .seeds = world_seeds};
    world.server = join_server_create(&world.founder, world.book, &world.hooks);
    token = world_token(&world, NODE_ROLE_PEER, 1, NULL);
    joiner_open(*state, "cid", false, &joiner);
    expect_ok(exchange(&world, &joiner, &token, NODE_ROLE_PEER, &error), &error);
    joiner_close(&joiner);
    expect_ok(identity_open_made(joiner.dir, world.now.wall_ms, &opened, &error), &error);
    identity_close(&opened);

    /* and gives no role that takes the CA */
    struct join_token more = token;
    assert_int_equal(join_token_issue(&world.founder, world.book, NODE_ROLE_ADMIT, 3600000, 1,
                                      token.addresses, 1, world.now.wall_ms, &more, &error),
                     FLY_PERMISSION_DENIED);
    world_close(&world);
}

/* The answer was lost: the same node asks again, and takes no second use. */
static void test_lost_answer(void **state)
{
    struct fly_error error = {.text = ""};
    Fly__V1__JoinAdmitRequest request;

    world_open(*state, "a", &world);
    struct join_token token = world_token(&world, NODE_ROLE_PEER, 1, NULL);
    joiner_open(*state, "bob", false, &joiner);
    expect_ok(join_client_init(&joiner.client, &token, &joiner.identity, "bob", NODE_ROLE_PEER,
                               world.now.wall_ms, &error),
              &error);
    expect_ok(begin(&world, &joiner, &error), &error);
    expect_ok(join_client_admit(&joiner.client, &joiner.begun.message, world.now.wall_ms, &request,
                                &error),
              &error);
    expect_ok(join_server_admit(world.server, &request, world.now, &joiner.admitted, &error),
              &error);
    uint32_t tag = joiner.admitted.credential.slice_tag;
    joiner_close(&joiner); /* interrupted: keys are there, and no identity */
    assert_int_equal(identity_open_made(joiner.dir, world.now.wall_ms, &opened, &error),
                     FLY_FAILED_PRECONDITION);
    assert_non_null(strstr(error.text, "flynode join"));

    joiner_open(*state, "bob", false, &joiner);
    expect_ok(exchange(&world, &joiner, &token, NODE_ROLE_PEER, &error), &error);
    assert_int_equal(joiner.identity.credential.slice_tag, tag);
    assert_int_equal(admission_book_at(world.book, 0)->bearer_count, 1);
    joiner_close(&joiner);
    joiner_open(*state, "eve", false, &second);
    assert_int_equal(exchange(&world, &second, &token, NODE_ROLE_PEER, &error),
                     FLY_PERMISSION_DENIED);
    assert_non_null(strstr(error.text, "used up"));
    joiner_close(&second);
    world_close(&world);
}

enum change {
    GOOD,
    EXPIRED_HERE,
    EXPIRED_THERE,
    REVOKED,
    USED_UP,
    WRONG_SECRET,
    UNKNOWN_TOKEN,
    ROLE_HERE,
    ROLE_THERE,
    NAME_TAKEN,
    FOREIGN_CLUSTER,
    FOREIGN_CLUSTER_SAME_CA,
    IMPOSTOR_CREDENTIAL,
    NOT_ADMITTING,
    OTHER_NONCE,
    OLD_BOX,
    NO_BOX,
    ZERO_BOX,
    TRUNCATED,
    FLIPPED,
    SERVER_CLOCK_WRONG,
};

/* What a member must not get without; every line names who refuses. */
static const struct {
    const char *what;
    enum change change;
    enum fly_status status;
    const char *reason;
} refusals[] = {
    {"nothing wrong", GOOD, FLY_OK, ""},
    {"an expired token, by the joiner's clock", EXPIRED_HERE, FLY_PERMISSION_DENIED, "expired at"},
    {"an expired token, by the node's clock", EXPIRED_THERE, FLY_PERMISSION_DENIED, "has expired"},
    {"a revoked token", REVOKED, FLY_PERMISSION_DENIED, "revoked"},
    {"a used up token", USED_UP, FLY_PERMISSION_DENIED, "used up"},
    {"a token's id with a guessed secret", WRONG_SECRET, FLY_PERMISSION_DENIED, "secret is wrong"},
    {"a token that was never made", UNKNOWN_TOKEN, FLY_PERMISSION_DENIED, "no such join token"},
    {"a role that the token says it does not give", ROLE_HERE, FLY_PERMISSION_DENIED,
     "only these roles: peer"},
    {"a token whose roles were widened", ROLE_THERE, FLY_PERMISSION_DENIED,
     "only these roles: peer"},
    {"a name that another node has", NAME_TAKEN, FLY_ALREADY_EXISTS, "is called"},
    {"a node of a foreign cluster", FOREIGN_CLUSTER, FLY_UNAUTHENTICATED, "another CA"},
    {"the same CA, another cluster's token", FOREIGN_CLUSTER_SAME_CA, FLY_UNAUTHENTICATED,
     "foreign cluster"},
    {"a credential without its key", IMPOSTOR_CREDENTIAL, FLY_UNAUTHENTICATED,
     "does not hold its key"},
    {"a member that may not admit", NOT_ADMITTING, FLY_UNAUTHENTICATED, "may not admit"},
    {"a proof for another joiner", OTHER_NONCE, FLY_UNAUTHENTICATED, "does not hold its key"},
    {"sealed to a key of long ago", OLD_BOX, FLY_ABORTED, "begin again"},
    {"sealed to no key", NO_BOX, FLY_ABORTED, "begin again"},
    {"sealed to the key of nobody", ZERO_BOX, FLY_ABORTED, "begin again"},
    {"a truncated request", TRUNCATED, FLY_INVALID_ARGUMENT, "what is sealed"},
    {"a flipped bit", FLIPPED, FLY_INVALID_ARGUMENT, "what is sealed"},
    {"a joiner whose clock is years ahead", SERVER_CLOCK_WRONG, FLY_UNAUTHENTICATED, "expired at"},
};

/* Before Begin. */
static void spoil_token(enum change change, struct join_token *token, struct join_now *joiner_now)
{
    struct fly_error error = {.text = ""};
    char id[JOIN_TOKEN_ID_TEXT_SIZE];

    if (change == EXPIRED_HERE) {
        joiner_now->wall_ms = token->expires_ms;
    }
    if (change == EXPIRED_THERE) {
        token->expires_ms += 7200000;
        world.now.wall_ms += 3600000;
    }
    if (change == REVOKED) {
        join_token_id_format(token->id, id);
        expect_ok(admission_book_revoke(world.book, id, world.now.wall_ms, &error), &error);
    }
    if (change == WRONG_SECRET) {
        token->secret[3] ^= 1;
    }
    if (change == UNKNOWN_TOKEN) {
        token->id[3] ^= 1;
    }
    if (change == ROLE_THERE) {
        token->roles |= NODE_ROLE_EDGE;
    }
    if (change == FOREIGN_CLUSTER_SAME_CA) {
        memset(token->cluster, '0', 32);
    }
    if (change == SERVER_CLOCK_WRONG) {
        token->expires_ms += 3 * IDENTITY_YEAR_MS;
        joiner_now->wall_ms += 2 * IDENTITY_YEAR_MS;
    }
}

/* Between Begin's answer and the joiner's look at it. */
static void spoil_answer(enum change change, struct join_begin_answer *answer)
{
    if (change == IMPOSTOR_CREDENTIAL || change == NOT_ADMITTING) {
        /* one of another key signs in its place, or a member that is only a peer does */
        struct node_keys keys;
        uint8_t message[JOIN_MESSAGE_MAX];
        node_keys_from_seed(&(struct node_seed){{9}}, &keys);
        size_t size =
            join_begin_message(joiner.client.nonce, answer->box, world.founder.record.id, message);
        node_sign(&keys, JOIN_BEGIN_DOMAIN, (struct fly_bytes){message, size}, answer->signature);
        if (change == NOT_ADMITTING) {
            struct credential c = world.founder.credential;
            memcpy(c.key, keys.public_key, sizeof c.key);
            c.roles = NODE_ROLE_PEER | NODE_ROLE_EDGE;
            credential_sign(&world.founder.admission.keys, world.founder.record.id, &c);
            answer->message.credential.len = credential_encode(&c, answer->credential);
        }
    }
    if (change == OTHER_NONCE) {
        joiner.client.nonce[0] ^= 1;
    }
}

static enum fly_status refused_exchange(enum change change, struct join_token *token,
                                        struct join_now joiner_now, struct fly_error *error)
{
    Fly__V1__JoinAdmitRequest request;
    uint32_t roles = change == ROLE_HERE || change == ROLE_THERE ? NODE_ROLE_PEER | NODE_ROLE_EDGE
                                                                 : NODE_ROLE_PEER;
    struct join_world *asked = change == FOREIGN_CLUSTER ? &other : &world;
    enum fly_status status = join_client_init(&joiner.client, token, &joiner.identity, "bob", roles,
                                              joiner_now.wall_ms, error);

    if (status != FLY_OK) {
        return status;
    }
    expect_ok(begin(asked, &joiner, error), error);
    spoil_answer(change, &joiner.begun);
    status = join_client_admit(&joiner.client, &joiner.begun.message, joiner_now.wall_ms, &request,
                               error);
    if (status != FLY_OK) {
        /* the secret has not left */
        assert_false(joiner.client.asked);
        assert_int_equal(sodium_is_zero(joiner.client.sealed, sizeof joiner.client.sealed), 1);
        return status;
    }
    if (change == OLD_BOX) {
        world.now.boot_ms += 2 * JOIN_BOX_LIFE_MS;
    }
    if (change == NO_BOX) {
        request.box.len = 0;
    }
    if (change == ZERO_BOX) {
        memset(request.box.data, 0, request.box.len);
    }
    if (change == TRUNCATED) {
        request.sealed.len--;
    }
    if (change == FLIPPED) {
        request.sealed.data[60] ^= 1;
    }
    return join_server_admit(world.server, &request, world.now, &joiner.admitted, error);
}

static void use_up(const struct place *place, const struct join_token *token)
{
    struct fly_error error = {.text = ""};

    joiner_open(place, "first", false, &second);
    expect_ok(exchange(&world, &second, token, NODE_ROLE_PEER, &error), &error);
    joiner_close(&second);
}

static void test_refusals(void **state)
{
    world_open(*state, "other", &other);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(refusals); i++) {
        enum change change = refusals[i].change;
        struct fly_error error = {.text = ""};
        char name[16];

        (void)snprintf(name, sizeof name, "a%zu", i);
        world_open(*state, name, &world);
        (void)snprintf(name, sizeof name, "b%zu", i);
        joiner_open(*state, name, false, &joiner);
        struct join_token token = world_token(&world, NODE_ROLE_PEER, 1, NULL);
        struct join_now joiner_now = world.now;
        if (change == USED_UP) {
            use_up(*state, &token);
        } else {
            spoil_token(change, &token, &joiner_now);
        }
        world.taken_name = change == NAME_TAKEN ? "bob" : NULL;
        uint32_t uses = admission_book_at(world.book, 0)->bearer_count;
        enum fly_status status = refused_exchange(change, &token, joiner_now, &error);
        if (status != refusals[i].status || strstr(error.text, refusals[i].reason) == NULL ||
            (status != FLY_OK && error.status != status)) {
            fail_msg("%s: %s: %s", refusals[i].what, fly_status_name(status), error.text);
        }
        if (status != FLY_OK) { /* a refusal takes no use and leaves nothing that runs */
            assert_int_equal(admission_book_at(world.book, 0)->bearer_count, uses);
            joiner_close(&joiner);
            assert_int_equal(identity_open_made(joiner.dir, world.now.wall_ms, &opened, NULL),
                             FLY_FAILED_PRECONDITION);
        }
        joiner_close(&joiner);
        world_close(&world);
    }
    world_close(&other);
}

/* --- what a hostile joiner seals --- */

struct forged {
    Fly__V1__JoinSecret secret;
    uint8_t reply_box[JOIN_BOX_SIZE];
    uint8_t signature[NODE_SIGNATURE_SIZE];
    struct x509_spki spki;
    char *roles[40];
};

static void forge(struct forged *f, const struct join_token *token)
{
    uint8_t message[JOIN_MESSAGE_MAX];
    uint8_t unused[JOIN_BOX_SIZE];

    memset(f, 0, sizeof *f);
    fly__v1__join_secret__init(&f->secret);
    (void)crypto_box_keypair(f->reply_box, unused);
    assert_int_equal(x509_key_spki(joiner.identity.tls.key, &f->spki, NULL), FLY_OK);
    size_t size = join_admit_message(joiner.begun.box, token->id, world.founder.record.id, message);
    node_sign(&joiner.identity.keys, JOIN_ADMIT_DOMAIN, (struct fly_bytes){message, size},
              f->signature);
    f->secret.token_id = (ProtobufCBinaryData){sizeof token->id, (uint8_t *)(uintptr_t)token->id};
    f->secret.secret =
        (ProtobufCBinaryData){sizeof token->secret, (uint8_t *)(uintptr_t)token->secret};
    f->secret.node_key = (ProtobufCBinaryData){NODE_KEY_SIZE, joiner.identity.keys.public_key};
    f->secret.node_signature = (ProtobufCBinaryData){sizeof f->signature, f->signature};
    f->secret.reply_box = (ProtobufCBinaryData){sizeof f->reply_box, f->reply_box};
    f->secret.tls_key = (ProtobufCBinaryData){f->spki.size, f->spki.bytes};
    f->secret.name = (char *)(uintptr_t) "bob";
    f->roles[0] = (char *)(uintptr_t) "peer";
    f->secret.roles = f->roles;
    f->secret.n_roles = 1;
}

static enum fly_status ask_forged(const struct forged *f, struct fly_error *error)
{
    static uint8_t packed[JOIN_SECRET_MAX * 4];
    static uint8_t sealed[JOIN_SECRET_MAX * 4 + JOIN_SEAL_OVERHEAD];
    Fly__V1__JoinAdmitRequest request = FLY__V1__JOIN_ADMIT_REQUEST__INIT;
    size_t size = fly__v1__join_secret__get_packed_size(&f->secret);

    assert_true(size <= sizeof packed);
    (void)fly__v1__join_secret__pack(&f->secret, packed);
    assert_int_equal(crypto_box_seal(sealed, packed, size, joiner.begun.box), 0);
    request.box = (ProtobufCBinaryData){JOIN_BOX_SIZE, joiner.begun.box};
    request.sealed = (ProtobufCBinaryData){size + JOIN_SEAL_OVERHEAD, sealed};
    return join_server_admit(world.server, &request, world.now, &joiner.admitted, error);
}

enum forgery {
    HONEST,
    NO_TOKEN,
    NO_SECRET,
    LONG_SECRET,
    NO_NODE_KEY,
    ANOTHERS_KEY,
    NO_SIGNATURE,
    NO_REPLY_BOX,
    WEAK_REPLY_BOX,
    NO_NAME,
    BAD_NAME,
    NO_ROLES,
    BAD_ROLE,
    MANY_ROLES,
    NO_TLS,
    BAD_TLS,
    ADMIT_WITHOUT_KEYS,
};

static void spoil_secret(enum forgery forgery, struct forged *f)
{
    Fly__V1__JoinSecret *s = &f->secret;
    static uint8_t zeros[64];

    switch (forgery) {
    case HONEST:
        break;
    case NO_TOKEN:
        s->token_id.len = 0;
        break;
    case NO_SECRET:
        s->secret.len = 0;
        break;
    case LONG_SECRET:
        s->secret = (ProtobufCBinaryData){17, zeros};
        break;
    case NO_NODE_KEY:
        s->node_key.len = 0;
        break;
    case ANOTHERS_KEY:
        s->node_key.data = world.founder.keys.public_key;
        break;
    case NO_SIGNATURE:
        s->node_signature = (ProtobufCBinaryData){64, zeros};
        break;
    case NO_REPLY_BOX:
        s->reply_box.len = 0;
        break;
    case WEAK_REPLY_BOX: /* a point of small order: everybody knows the shared key */
        s->reply_box = (ProtobufCBinaryData){32, zeros};
        break;
    case NO_NAME:
        s->name = (char *)(uintptr_t) "";
        break;
    case BAD_NAME:
        s->name = (char *)(uintptr_t) "Bob/../x";
        break;
    case NO_ROLES:
        s->n_roles = 0;
        break;
    case BAD_ROLE:
        f->roles[0] = (char *)(uintptr_t) "owner";
        break;
    case MANY_ROLES:
        for (s->n_roles = 0; s->n_roles < FLY_ARRAY_COUNT(f->roles); s->n_roles++) {
            f->roles[s->n_roles] = (char *)(uintptr_t) "peer";
        }
        break;
    case NO_TLS:
        s->tls_key.len = 0;
        break;
    case BAD_TLS:
        f->spki.bytes[20] ^= 1;
        break;
    case ADMIT_WITHOUT_KEYS:
        f->roles[0] = (char *)(uintptr_t) "admit";
        break;
    }
}

static void test_forged(void **state)
{
    static const struct {
        const char *what;
        enum forgery forgery;
        const char *reason; /* NULL: admitted */
    } rows[] = {
        {"honest", HONEST, NULL},
        {"no token", NO_TOKEN, "the token"},
        {"no secret", NO_SECRET, "the token"},
        {"a longer secret", LONG_SECRET, "the token"},
        {"no node key", NO_NODE_KEY, "a key"},
        {"the key of another node", ANOTHERS_KEY, "signature"},
        {"no signature", NO_SIGNATURE, "signature"},
        {"no key for the answer", NO_REPLY_BOX, "a key"},
        {"a key that seals nothing", WEAK_REPLY_BOX, "key for the answer"},
        {"no name", NO_NAME, "the name"},
        {"a name that is none", BAD_NAME, "the name"},
        {"no roles", NO_ROLES, "a role"},
        {"an unknown role", BAD_ROLE, "a role"},
        {"one role forty times", MANY_ROLES, NULL},
        {"no TLS key", NO_TLS, "TLS key"},
        {"a TLS key off the curve", BAD_TLS, "TLS key"},
        {"admit, and no keys for it", ADMIT_WITHOUT_KEYS, "admission key"},
    };
    struct fly_error error = {.text = ""};

    world_open(*state, "a", &world);
    joiner_open(*state, "bob", false, &joiner);
    struct join_token token = world_token(&world, NODE_ROLE_PEER | NODE_ROLE_ADMIT, 64, NULL);
    expect_ok(join_client_init(&joiner.client, &token, &joiner.identity, "bob", NODE_ROLE_PEER,
                               world.now.wall_ms, &error),
              &error);
    expect_ok(begin(&world, &joiner, &error), &error);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct forged f;
        forge(&f, &token);
        spoil_secret(rows[i].forgery, &f);
        enum fly_status status = ask_forged(&f, &error);
        if (rows[i].reason == NULL
                ? status != FLY_OK
                : status != FLY_INVALID_ARGUMENT || strstr(error.text, rows[i].reason) == NULL) {
            fail_msg("%s: %s: %s", rows[i].what, fly_status_name(status), error.text);
        }
    }
    struct join_counters counters = join_server_counters(world.server);
    assert_int_equal(counters.malformed, FLY_ARRAY_COUNT(rows) - 2);
    assert_int_equal(counters.admitted, 2);
    joiner_close(&joiner);
    world_close(&world);
}

/* --- what a hostile member gives --- */

enum gift { HONEST_GIFT, ANOTHERS_WELCOME, CUT_WELCOME, FLIPPED_WELCOME, TINY_WELCOME };

static void test_bad_welcome(void **state)
{
    static const struct {
        const char *what;
        enum gift gift;
    } rows[] = {
        {"sealed for another joiner", ANOTHERS_WELCOME},
        {"cut", CUT_WELCOME},
        {"a flipped bit", FLIPPED_WELCOME},
        {"shorter than a seal", TINY_WELCOME},
        {"as it should be", HONEST_GIFT},
    };
    struct fly_error error = {.text = ""};

    world_open(*state, "a", &world);
    struct join_token token = world_token(&world, NODE_ROLE_PEER, 64, NULL);
    joiner_open(*state, "bob", false, &joiner);
    joiner_open(*state, "eve", false, &second);
    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        Fly__V1__JoinAdmitRequest request;
        struct joiner *asks = rows[i].gift == ANOTHERS_WELCOME ? &second : &joiner;
        expect_ok(join_client_init(&asks->client, &token, &asks->identity, "bob", NODE_ROLE_PEER,
                                   world.now.wall_ms, &error),
                  &error);
        expect_ok(join_client_init(&joiner.client, &token, &joiner.identity, "bob", NODE_ROLE_PEER,
                                   world.now.wall_ms, &error),
                  &error);
        expect_ok(begin(&world, asks, &error), &error);
        expect_ok(join_client_admit(&asks->client, &asks->begun.message, world.now.wall_ms,
                                    &request, &error),
                  &error);
        expect_ok(join_server_admit(world.server, &request, world.now, &joiner.admitted, &error),
                  &error);
        ProtobufCBinaryData *sealed = &joiner.admitted.message.sealed;
        sealed->len = rows[i].gift == TINY_WELCOME  ? JOIN_SEAL_OVERHEAD - 1
                      : rows[i].gift == CUT_WELCOME ? sealed->len - 1
                                                    : sealed->len;
        sealed->data[100] ^= rows[i].gift == FLIPPED_WELCOME;
        memcpy(joiner.identity.record.ca, world.founder.record.ca, NODE_KEY_SIZE);
        enum fly_status status = join_client_welcome(&joiner.client, &joiner.admitted.message,
                                                     world.now.wall_ms, &error);
        enum fly_status wanted = rows[i].gift == HONEST_GIFT ? FLY_OK : FLY_UNAUTHENTICATED;
        if (status != wanted) {
            fail_msg("%s: %s: %s", rows[i].what, fly_status_name(status), error.text);
        }
    }
    joiner_close(&joiner);
    joiner_close(&second);
    world_close(&world);
}

static void test_rate(void **state)
{
    struct fly_error error = {.text = ""};

    world_open(*state, "a", &world);
    struct join_token token = world_token(&world, NODE_ROLE_PEER, 1, NULL);
    joiner_open(*state, "bob", false, &joiner);
    expect_ok(join_client_init(&joiner.client, &token, &joiner.identity, "bob", NODE_ROLE_PEER,
                               world.now.wall_ms, &error),
              &error);
    for (int i = 0; i < JOIN_BURST; i++) {
        expect_ok(begin(&world, &joiner, &error), &error);
    }
    assert_int_equal(begin(&world, &joiner, &error), FLY_RESOURCE_EXHAUSTED);
    world.now.boot_ms += 1000 / JOIN_RATE_PER_S;
    expect_ok(begin(&world, &joiner, &error), &error);
    assert_int_equal(begin(&world, &joiner, &error), FLY_RESOURCE_EXHAUSTED);
    assert_int_equal(join_server_counters(world.server).limited, 2);
    /* ten thousand strangers later an honest one still gets through: there is no table to fill */
    world.now.boot_ms += 1000;
    expect_ok(exchange(&world, &joiner, &token, NODE_ROLE_PEER, &error), &error);
    joiner_close(&joiner);
    world_close(&world);
}

/* A key of Begin is good for one life at least and two at most, however often another is asked. */
static void test_box_life(void **state)
{
    static const struct {
        int64_t after_ms;
        enum fly_status status;
    } rows[] = {{0, FLY_OK},
                {JOIN_BOX_LIFE_MS - 1, FLY_OK},
                {JOIN_BOX_LIFE_MS, FLY_OK},
                {2 * JOIN_BOX_LIFE_MS - 1, FLY_OK},
                {2 * JOIN_BOX_LIFE_MS, FLY_ABORTED}};

    for (size_t i = 0; i < FLY_ARRAY_COUNT(rows); i++) {
        struct fly_error error = {.text = ""};
        Fly__V1__JoinAdmitRequest request;
        char name[8];
        (void)snprintf(name, sizeof name, "a%zu", i);
        world_open(*state, name, &world);
        struct join_token token = world_token(&world, NODE_ROLE_PEER, 1, NULL);
        (void)snprintf(name, sizeof name, "b%zu", i);
        joiner_open(*state, name, false, &joiner);
        expect_ok(join_client_init(&joiner.client, &token, &joiner.identity, "bob", NODE_ROLE_PEER,
                                   world.now.wall_ms, &error),
                  &error);
        expect_ok(begin(&world, &joiner, &error), &error);
        expect_ok(join_client_admit(&joiner.client, &joiner.begun.message, world.now.wall_ms,
                                    &request, &error),
                  &error);
        world.now.boot_ms += rows[i].after_ms;
        joiner_open(*state, "x", false, &second);
        expect_ok(join_client_init(&second.client, &token, &second.identity, "x", NODE_ROLE_PEER,
                                   world.now.wall_ms, &error),
                  &error);
        expect_ok(begin(&world, &second, &error), &error);
        enum fly_status status =
            join_server_admit(world.server, &request, world.now, &joiner.admitted, &error);
        if (status != rows[i].status) {
            fail_msg("after %d ms: %s", (int)rows[i].after_ms, fly_status_name(status));
        }
        joiner_close(&second);
        joiner_close(&joiner);
        world_close(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_joins),    WITH_PLACE(test_admits_further), WITH_PLACE(test_lost_answer),
        WITH_PLACE(test_refusals), WITH_PLACE(test_forged),         WITH_PLACE(test_bad_welcome),
        WITH_PLACE(test_rate),     WITH_PLACE(test_box_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
