#include "node/admission.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "proto/base/check.h"
#include "proto/base/id.h"

static const char book_format[] = "flylight-join-tokens-1";
static const char book_family[] = "flylight-join-tokens-";

enum {
    TAG_MAX = 0xffffff,
    TAG_TRIES = 64,
    FILE_BYTES_MAX = 8 << 20, /* all tokens with all their uses take 4 MB */
    BEARER_TEXT_SIZE = 40,    /* 32 hex digits, ':', 6 hex digits, NUL */
};

static const int64_t keep_expired_ms = 86400000;

struct admission_book {
    const struct folder *folder;
    size_t count;
    struct admission_token tokens[ADMISSION_TOKENS_MAX];
};

static void hash_secret(const uint8_t id[static JOIN_TOKEN_ID_SIZE],
                        const uint8_t secret[static JOIN_TOKEN_SECRET_SIZE], uint8_t out[static 32])
{
    crypto_generichash_state state;

    (void)crypto_generichash_init(&state, NULL, 0, 32);
    (void)crypto_generichash_update(&state, id, JOIN_TOKEN_ID_SIZE);
    (void)crypto_generichash_update(&state, secret, JOIN_TOKEN_SECRET_SIZE);
    (void)crypto_generichash_final(&state, out, 32);
    sodium_memzero(&state, sizeof state);
}

/* --- the file --- */

static void set_new(json_t *object, const char *name, json_t *value)
{
    FLY_CHECK(json_object_set_new(object, name, value) == 0);
}

static json_t *token_json(const struct admission_token *t)
{
    json_t *object = json_object();
    json_t *bearers = json_array();
    char id[JOIN_TOKEN_ID_TEXT_SIZE];
    char hash[2 * sizeof t->secret_hash + 1];
    char roles[NODE_ROLES_TEXT_SIZE];

    join_token_id_format(t->id, id);
    fly_hex_encode(t->secret_hash, sizeof t->secret_hash, hash);
    node_roles_format(t->roles, ',', roles);
    for (size_t i = 0; i < t->bearer_count; i++) {
        char node[NODE_ID_TEXT_SIZE];
        char text[BEARER_TEXT_SIZE];
        node_id_format(&t->bearers[i].node, node);
        (void)snprintf(text, sizeof text, "%s:%06x", node, (unsigned)t->bearers[i].slice_tag);
        FLY_CHECK(json_array_append_new(bearers, json_string(text)) == 0);
    }
    set_new(object, "id", json_string(id));
    set_new(object, "secret_hash", json_string(hash));
    set_new(object, "roles", json_string(roles));
    set_new(object, "created_at_ms", json_integer(t->created_ms));
    set_new(object, "expires_at_ms", json_integer(t->expires_ms));
    set_new(object, "uses", json_integer(t->uses));
    set_new(object, "revoked", json_boolean(t->revoked));
    set_new(object, "bearers", bearers);
    return object;
}

static enum fly_status save(const struct admission_book *book, struct fly_error *error)
{
    json_t *root = json_object();
    json_t *tokens = json_array();

    for (size_t i = 0; i < book->count; i++) {
        FLY_CHECK(json_array_append_new(tokens, token_json(&book->tokens[i])) == 0);
    }
    set_new(root, "format", json_string(book_format));
    set_new(root, "tokens", tokens);
    char *text = json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    if (text == NULL) {
        return fly_error_set(error, FLY_INTERNAL, "no memory for %s", ADMISSION_FILE);
    }
    enum fly_status status = folder_write(book->folder, ADMISSION_FILE, text, strlen(text), error);
    free(text);
    return status;
}

/* Lower-case hex of exactly `size` bytes. */
static bool take_hex(const json_t *value, void *out, size_t size)
{
    const char *text = json_string_value(value);

    return text != NULL && strspn(text, "0123456789abcdef") == strlen(text) &&
           fly_hex_decode(text, strlen(text), out, size);
}

static bool take_integer(const json_t *value, int64_t min, int64_t max, int64_t *out)
{
    *out = json_integer_value(value);
    return json_is_integer(value) && *out >= min && *out <= max;
}

static bool take_bearer(const json_t *value, struct admission_bearer *out)
{
    const char *text = json_string_value(value);
    char node[NODE_ID_TEXT_SIZE];
    uint8_t tag[3];

    if (text == NULL || strlen(text) != BEARER_TEXT_SIZE - 1 ||
        text[NODE_ID_TEXT_SIZE - 1] != ':') {
        return false;
    }
    memcpy(node, text, NODE_ID_TEXT_SIZE - 1);
    node[NODE_ID_TEXT_SIZE - 1] = '\0';
    if (!node_id_parse(node, &out->node) ||
        !fly_hex_decode(text + NODE_ID_TEXT_SIZE, 6, tag, sizeof tag)) {
        return false;
    }
    out->slice_tag = (uint32_t)tag[0] << 16 | (uint32_t)tag[1] << 8 | tag[2];
    return true;
}

static bool take_token(const json_t *object, struct admission_token *out)
{
    const char *roles = json_string_value(json_object_get(object, "roles"));
    const json_t *bearers = json_object_get(object, "bearers");
    const json_t *revoked = json_object_get(object, "revoked");
    int64_t uses = 0;

    memset(out, 0, sizeof *out);
    if (!take_hex(json_object_get(object, "id"), out->id, sizeof out->id) ||
        !take_hex(json_object_get(object, "secret_hash"), out->secret_hash,
                  sizeof out->secret_hash) ||
        roles == NULL || !node_roles_parse(roles, &out->roles) ||
        !take_integer(json_object_get(object, "created_at_ms"), 0, INT64_MAX, &out->created_ms) ||
        !take_integer(json_object_get(object, "expires_at_ms"), 0, INT64_MAX, &out->expires_ms) ||
        !take_integer(json_object_get(object, "uses"), 1, ADMISSION_USES_MAX, &uses) ||
        !json_is_boolean(revoked) || !json_is_array(bearers) ||
        json_array_size(bearers) > (size_t)uses) {
        return false;
    }
    out->uses = (uint32_t)uses;
    out->revoked = json_is_true(revoked);
    for (size_t i = 0; i < json_array_size(bearers); i++) {
        if (!take_bearer(json_array_get(bearers, i), &out->bearers[i])) {
            return false;
        }
        out->bearer_count++;
    }
    return true;
}

static enum fly_status take_book(const json_t *root, struct admission_book *book,
                                 struct fly_error *error)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    const json_t *tokens = json_object_get(root, "tokens");

    if (format == NULL || strncmp(format, book_family, sizeof book_family - 1) != 0) {
        return fly_error_set(error, FLY_DATA_LOSS, "%s: not a file of ours", ADMISSION_FILE);
    }
    if (strcmp(format, book_format) != 0) {
        return fly_error_set(error, FLY_UNIMPLEMENTED, "%s: its format is %.40s", ADMISSION_FILE,
                             format);
    }
    if (!json_is_array(tokens) || json_array_size(tokens) > ADMISSION_TOKENS_MAX) {
        return fly_error_set(error, FLY_DATA_LOSS, "%s: no list of tokens", ADMISSION_FILE);
    }
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        if (!take_token(json_array_get(tokens, i), &book->tokens[i])) {
            return fly_error_set(error, FLY_DATA_LOSS, "%s: token %zu makes no sense",
                                 ADMISSION_FILE, i);
        }
        book->count++;
    }
    return FLY_OK;
}

static enum fly_status load(struct admission_book *book, struct fly_error *error)
{
    char *text = malloc(FILE_BYTES_MAX);
    ssize_t size = -1;
    enum fly_status status =
        text == NULL
            ? fly_error_set(error, FLY_INTERNAL, "no memory for %s", ADMISSION_FILE)
            : folder_read(book->folder, ADMISSION_FILE, text, FILE_BYTES_MAX, &size, error);

    if (status == FLY_OK && size >= 0) {
        json_error_t at;
        json_t *root = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, &at);
        status = root == NULL ? fly_error_set(error, FLY_DATA_LOSS, "%s:%d: %s", ADMISSION_FILE,
                                              at.line, at.text)
                              : take_book(root, book, error);
        json_decref(root);
    }
    free(text);
    return status;
}

enum fly_status admission_book_open(const struct folder *folder, struct admission_book **out,
                                    struct fly_error *error)
{
    struct admission_book *book = calloc(1, sizeof *book);

    if (book == NULL || sodium_init() < 0) {
        free(book);
        return fly_error_set(error, FLY_INTERNAL, "no memory for %s", ADMISSION_FILE);
    }
    book->folder = folder;
    enum fly_status status = load(book, error);
    if (status != FLY_OK) {
        admission_book_close(book);
        return status;
    }
    *out = book;
    return FLY_OK;
}

void admission_book_close(struct admission_book *book)
{
    if (book != NULL) {
        sodium_memzero(book, sizeof *book);
        free(book);
    }
}

/* --- tokens --- */

size_t admission_book_count(const struct admission_book *book)
{
    return book->count;
}

const struct admission_token *admission_book_at(const struct admission_book *book, size_t i)
{
    FLY_CHECK(i < book->count);
    return &book->tokens[i];
}

/* Nobody asks for those any more. In memory only: the next change writes it. */
static void drop_old(struct admission_book *book, int64_t now_ms)
{
    size_t kept = 0;

    for (size_t i = 0; i < book->count; i++) {
        if (now_ms - book->tokens[i].expires_ms < keep_expired_ms) {
            if (kept != i) {
                book->tokens[kept] = book->tokens[i];
            }
            kept++;
        }
    }
    sodium_memzero(&book->tokens[kept], (book->count - kept) * sizeof book->tokens[0]);
    book->count = kept;
}

static struct admission_token *find(struct admission_book *book,
                                    const uint8_t id[static JOIN_TOKEN_ID_SIZE])
{
    for (size_t i = 0; i < book->count; i++) {
        if (memcmp(book->tokens[i].id, id, JOIN_TOKEN_ID_SIZE) == 0) {
            return &book->tokens[i];
        }
    }
    return NULL;
}

enum fly_status admission_book_make(struct admission_book *book, uint32_t roles, int64_t life_ms,
                                    uint32_t uses, int64_t now_ms, struct join_token *out,
                                    struct fly_error *error)
{
    if (roles == 0 || (roles & ~(uint32_t)NODE_ROLE_ALL) != 0) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "a join token needs roles");
    }
    if (uses < 1 || uses > ADMISSION_USES_MAX) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "uses: 1 to %d", ADMISSION_USES_MAX);
    }
    if (life_ms < ADMISSION_LIFE_MIN_MS || life_ms > ADMISSION_LIFE_MAX_MS) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT, "a join token lives 1s to 30d");
    }
    drop_old(book, now_ms);
    if (book->count == ADMISSION_TOKENS_MAX) {
        return fly_error_set(error, FLY_RESOURCE_EXHAUSTED,
                             "there are %d join tokens; they go a day after they expired",
                             ADMISSION_TOKENS_MAX);
    }
    struct admission_token *token = &book->tokens[book->count];
    *token = (struct admission_token){
        .roles = roles, .created_ms = now_ms, .expires_ms = now_ms + life_ms, .uses = uses};
    do {
        randombytes_buf(token->id, sizeof token->id);
    } while (find(book, token->id) != NULL);
    randombytes_buf(out->secret, sizeof out->secret);
    hash_secret(token->id, out->secret, token->secret_hash);
    book->count++;
    enum fly_status status = save(book, error);
    if (status != FLY_OK) {
        book->count--;
        sodium_memzero(token, sizeof *token);
        sodium_memzero(out->secret, sizeof out->secret);
        return status;
    }
    memcpy(out->id, token->id, sizeof out->id);
    out->roles = roles;
    out->expires_ms = token->expires_ms;
    return FLY_OK;
}

enum fly_status admission_book_revoke(struct admission_book *book, const char *id, int64_t now_ms,
                                      struct fly_error *error)
{
    struct admission_token *found = NULL;
    size_t size = strlen(id);

    drop_old(book, now_ms);
    if (size == 0 || size >= JOIN_TOKEN_ID_TEXT_SIZE || strspn(id, "0123456789abcdef") != size) {
        return fly_error_set(error, FLY_INVALID_ARGUMENT,
                             "not the id of a join token: 1 to 16 hex digits");
    }
    for (size_t i = 0; i < book->count; i++) {
        char text[JOIN_TOKEN_ID_TEXT_SIZE];
        join_token_id_format(book->tokens[i].id, text);
        if (memcmp(text, id, size) == 0) {
            if (found != NULL) {
                return fly_error_set(error, FLY_INVALID_ARGUMENT, "several join tokens begin so");
            }
            found = &book->tokens[i];
        }
    }
    if (found == NULL) {
        return fly_error_set(error, FLY_NOT_FOUND, "no join token %s was made at this node", id);
    }
    bool before = found->revoked;
    found->revoked = true;
    enum fly_status status = before ? FLY_OK : save(book, error);
    if (status != FLY_OK) {
        found->revoked = before;
    }
    return status;
}

/* --- letting in --- */

static enum admission_outcome refuse(struct fly_error *error, enum admission_outcome outcome,
                                     const char *words)
{
    (void)fly_error_set(error, FLY_PERMISSION_DENIED, "%s", words);
    return outcome;
}

static const struct admission_bearer *find_bearer(const struct admission_token *token,
                                                  const struct node_id *node)
{
    for (size_t i = 0; i < token->bearer_count; i++) {
        if (node_id_equal(&token->bearers[i].node, node)) {
            return &token->bearers[i];
        }
    }
    return NULL;
}

static bool allotted(const struct admission_book *book, uint32_t tag)
{
    for (size_t i = 0; i < book->count; i++) {
        for (size_t j = 0; j < book->tokens[i].bearer_count; j++) {
            if (book->tokens[i].bearers[j].slice_tag == tag) {
                return true;
            }
        }
    }
    return false;
}

/* 0: chance would not have it. */
static uint32_t allot(const struct admission_book *book, const struct admission_tags *tags)
{
    for (int i = 0; i < TAG_TRIES; i++) {
        uint32_t tag = 1 + randombytes_uniform(TAG_MAX);
        if (!allotted(book, tag) && !tags->known(tags->user, tag)) {
            return tag;
        }
    }
    return 0;
}

/* The token is good for this: takes a use unless this node has one. */
static enum admission_outcome take_use(struct admission_book *book, struct admission_token *token,
                                       const struct node_id *node,
                                       const struct admission_tags *tags, uint32_t *tag,
                                       struct fly_error *error)
{
    const struct admission_bearer *bearer = find_bearer(token, node);

    if (bearer != NULL) {
        *tag = bearer->slice_tag;
        return ADMISSION_OK;
    }
    if (token->bearer_count >= token->uses) {
        return refuse(error, ADMISSION_USED_UP, "the join token is used up; ask for another");
    }
    uint32_t fresh = allot(book, tags);
    if (fresh == 0) {
        (void)fly_error_set(error, FLY_INTERNAL, "no slice tag is free");
        return ADMISSION_FAILED;
    }
    token->bearers[token->bearer_count++] =
        (struct admission_bearer){.node = *node, .slice_tag = fresh};
    if (save(book, error) != FLY_OK) {
        token->bearer_count--;
        return ADMISSION_FAILED;
    }
    *tag = fresh;
    return ADMISSION_OK;
}

enum admission_outcome admission_book_admit(struct admission_book *book,
                                            const struct admission_request *request,
                                            const struct admission_tags *tags, int64_t now_ms,
                                            uint32_t *tag, struct fly_error *error)
{
    struct admission_token *token = find(book, request->id);
    uint8_t hash[32];

    if (token == NULL) {
        return refuse(error, ADMISSION_UNKNOWN,
                      "this node made no such join token, or dropped it long after it expired");
    }
    hash_secret(request->id, request->secret, hash);
    if (sodium_memcmp(hash, token->secret_hash, sizeof hash) != 0) {
        return refuse(error, ADMISSION_WRONG_SECRET, "the join token's secret is wrong");
    }
    if (token->revoked) {
        return refuse(error, ADMISSION_REVOKED, "the join token was revoked");
    }
    if (now_ms >= token->expires_ms) {
        return refuse(error, ADMISSION_EXPIRED, "the join token has expired; ask for another");
    }
    if ((request->roles & ~token->roles) != 0) {
        char roles[NODE_ROLES_TEXT_SIZE];
        char words[96];
        node_roles_format(token->roles, ',', roles);
        (void)snprintf(words, sizeof words, "the join token gives only these roles: %s", roles);
        return refuse(error, ADMISSION_ROLE, words);
    }
    return take_use(book, token, &request->node, tags, tag, error);
}
