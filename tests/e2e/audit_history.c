#include "tests/e2e/audit_history.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/check.h"
#include "proto/wire/vmid.h"

static const char *text_of(const json_t *line, const char *name)
{
    return json_string_value(json_object_get(line, name));
}

static struct audit_key *key_find(struct audit_history *h, const char *subject,
                                  const struct fly_key *key)
{
    for (size_t i = 0; i < h->key_count; i++) {
        struct audit_key *k = &h->keys[i];
        if (key_equal(&k->key, key) && k->has_subject == (subject != NULL) &&
            (subject == NULL || strcmp(k->subject, subject) == 0)) {
            return k;
        }
    }
    return NULL;
}

static struct audit_key *key_take(struct audit_history *h, const char *subject,
                                  const struct fly_key *key, const char *where)
{
    struct audit_key *k = key_find(h, subject, key);

    if (k == NULL) {
        if ((h->key_count & (h->key_count - 1)) == 0) {
            size_t max = h->key_count == 0 ? 1 : 2 * h->key_count;
            h->keys = realloc(h->keys, max * sizeof h->keys[0]);
            FLY_CHECK(h->keys != NULL);
        }
        k = &h->keys[h->key_count++];
        *k = (struct audit_key){.key = *key, .has_subject = subject != NULL};
        if (subject != NULL) {
            (void)fly_copy_string(k->subject, sizeof k->subject, subject);
        }
    }
    (void)fly_copy_string(k->where, sizeof k->where, where);
    return k;
}

static struct audit_vm *vm_of(const struct audit_history *h, const char *id)
{
    uint64_t value = 0;

    return id != NULL && vmid_parse(id, &value) ? audit_vm_find(h->ledger, value) : NULL;
}

/* Of a slice that nobody gave us, where that is allowed. */
static bool not_ours(const struct audit_history *h, const char *id)
{
    uint64_t value = 0;

    return h->partial && id != NULL && vmid_parse(id, &value) &&
           !audit_slice_read(h->ledger, vmid_tag(value));
}

static bool same_vm(const struct audit_vm *vm, const json_t *told)
{
    char key[FLY_KEY_TEXT_SIZE];
    const char *machine = text_of(told, "machine");
    const char *region = text_of(told, "region");
    const char *told_key = text_of(told, "key");
    const char *subject = text_of(told, "subject");

    key_format(&vm->key, key);
    /* an edge that only knows that it is there tells no machine: counted, see judge_launched */
    return machine != NULL && (machine[0] == '\0' || strcmp(machine, vm->machine) == 0) &&
           region != NULL && strcmp(region, vm->region) == 0 && told_key != NULL &&
           strcmp(told_key, key) == 0 && (subject == NULL || strcmp(subject, vm->subject) == 0) &&
           json_integer_value(json_object_get(told, "cores")) == (json_int_t)vm->cores &&
           json_integer_value(json_object_get(told, "memory_bytes")) ==
               (json_int_t)vm->memory_bytes;
}

static void judge_launched(struct audit_history *h, const char *where, const json_t *line,
                           struct audit_key *key)
{
    struct audit_vm *vm = vm_of(h, text_of(line, "id"));

    if (not_ours(h, text_of(line, "id"))) {
        return;
    }
    if (vm == NULL) {
        h->finding(h->user, "lost", where, "a VM that was acknowledged is not in the log");
        return;
    }
    h->acknowledged += vm->acknowledged ? 0 : 1;
    h->replays += json_is_true(json_object_get(line, "replayed")) ? 1 : 0;
    vm->acknowledged = true;
    const char *machine = text_of(line, "machine");
    h->partial_answers += machine != NULL && machine[0] == '\0' ? 1 : 0;
    if (key->told != 0 && key->told != vm->id) {
        h->finding(h->user, "two-answers", where, "this key was told of another VM before");
    }
    if (!same_vm(vm, line)) {
        h->finding(h->user, "differs", where,
                   "the log has another machine, region, size, key or subject for this VM");
    }
    key->told = vm->id;
}

static bool judge_key(struct audit_history *h, const char *where, const json_t *line,
                      const char *call, const char *outcome)
{
    const char *text = text_of(line, "key");
    struct fly_key key;

    if (text == NULL || !key_parse(text, &key)) {
        return false;
    }
    struct audit_key *k = key_take(h, text_of(line, "subject"), &key, where);
    if (strcmp(outcome, "OK") != 0) {
        k->unknown = k->unknown || strcmp(outcome, "UNKNOWN") == 0;
        k->not_done = k->not_done || strcmp(outcome, "NOT_DONE") == 0;
        h->unknowns += strcmp(outcome, "UNKNOWN") == 0 ? 1 : 0;
        return strcmp(outcome, "UNKNOWN") == 0 || strcmp(outcome, "NOT_DONE") == 0;
    }
    if (strcmp(call, "cancel") == 0 && !json_is_true(json_object_get(line, "launched"))) {
        k->cancelled = true;
    } else if (strcmp(call, "cancel") == 0) {
        k->unknown = true; /* there is a VM; its id is not what a cancel is about */
    } else {
        judge_launched(h, where, line, k);
    }
    return true;
}

static bool judge_destroy(struct audit_history *h, const char *where, const char *id,
                          const char *outcome)
{
    struct audit_vm *vm = vm_of(h, id);

    if (strcmp(outcome, "OK") != 0 || not_ours(h, id)) {
        return id != NULL;
    }
    if (vm == NULL) {
        h->finding(h->user, "lost", where, "a VM that was destroyed is not in the log");
    } else if (!vm->destroyed) {
        h->finding(h->user, "undead", where, "a VM whose destruction was acknowledged runs");
    } else {
        h->destroyed += vm->destroy_told ? 0 : 1;
        vm->destroy_told = true;
    }
    return true;
}

bool audit_history_line(struct audit_history *h, const char *where, const json_t *line)
{
    const char *call = text_of(line, "call");
    const char *outcome = text_of(line, "outcome");

    if (!json_is_object(line)) {
        return false;
    }
    if (call == NULL) { /* as flyrpc and a script write it */
        if (text_of(line, "destroyed") != NULL) {
            return judge_destroy(h, where, text_of(line, "destroyed"), "OK");
        }
        return text_of(line, "id") != NULL && judge_key(h, where, line, "launch", "OK");
    }
    if (outcome == NULL) {
        return false;
    }
    if (strcmp(call, "destroy") == 0) {
        return judge_destroy(h, where, text_of(line, "id"), outcome);
    }
    return (strcmp(call, "launch") == 0 || strcmp(call, "cancel") == 0) &&
           judge_key(h, where, line, call, outcome);
}

void audit_history_end(struct audit_history *h, bool complete)
{
    for (size_t i = 0; i < h->key_count; i++) {
        const struct audit_key *k = &h->keys[i];
        bool there =
            audit_vm_find_key(h->ledger, k->has_subject ? k->subject : NULL, &k->key) != NULL;
        if (there && k->cancelled) {
            h->finding(h->user, "cancelled", k->where,
                       "this key was settled as never launched, and has a VM");
        } else if (there && k->not_done && !k->unknown && k->told == 0) {
            h->finding(h->user, "ghost", k->where,
                       "every try with this key was NOT_DONE, and it has a VM");
        }
    }
    for (size_t i = 0; complete && i < h->ledger->vm_count; i++) {
        char id[VMID_TEXT_SIZE];
        vmid_format(h->ledger->vms[i].id, id);
        /* who settled its key with a cancel and destroyed it was told of it too */
        if (!h->ledger->vms[i].acknowledged && !h->ledger->vms[i].destroy_told) {
            h->finding(h->user, "untold", id, "nobody was told of this VM");
        }
    }
}

void audit_history_fini(struct audit_history *h)
{
    free(h->keys);
    h->keys = NULL;
    h->key_count = 0;
}
