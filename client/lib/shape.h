/*
 * shape - the JSON and the words of regions, machines, VMs, events, members, slices and errors: a
 * contract with programs.
 *
 * Strings are cleaned (text.h) on the way. Every json_t is the caller's; NULL: no memory.
 */
#ifndef FLY_CLIENT_SHAPE_H
#define FLY_CLIENT_SHAPE_H

#include <jansson.h>
#include <stdint.h>

#include "client/lib/session.h"
#include "fly/v1/admin.pb-c.h"
#include "fly/v1/edge.pb-c.h"

json_t *shape_text(const char *text);
json_t *shape_region(const Fly__V1__Region *region);
json_t *shape_machine(const Fly__V1__Machine *machine);
json_t *shape_vm(const Fly__V1__Vm *vm);
/* cursor: where to resume after this event; NULL: not known, left out. */
json_t *shape_event(const Fly__V1__Event *event, const char *cursor);
/* As cursors have it, 16 hex digits: JSON's numbers cannot hold it. */
json_t *shape_incarnation(uint64_t incarnation);
json_t *shape_member(const Fly__V1__Member *member);
json_t *shape_slice(const Fly__V1__SliceInfo *slice);
/* `state`: valid, expired, used or revoked, as the caller's clock has it. */
json_t *shape_join_token(const Fly__V1__JoinTokenInfo *token, const char *state);
/* {"error": {"code", "reason", "message", "retryable", "hint"}} */
json_t *shape_error(const struct failure *failure);

/* "started"; "unknown" for numbers of a newer server. */
const char *shape_vm_state(uint32_t state);
/* "alive", "stalled" (alive, but its node does not serve), "suspect", "dead", "left", "unknown". */
const char *shape_member_state(const Fly__V1__Member *member);
/* By name, any case; false when there is no such state. */
bool shape_vm_state_find(const char *name, uint32_t *out);
/* "vm_started", "machine_added" … */
const char *shape_event_type(uint32_t type);
/* By name, any case; false when there is no such type: then *near is the one that may be meant, or
 * NULL. */
bool shape_event_type_find(const char *name, uint32_t *out, const char **near);
/* "vm_started, vm_destroyed, …": all of them. */
enum { SHAPE_EVENT_TYPES_TEXT = 256 };
void shape_event_types(char out[static SHAPE_EVENT_TYPES_TEXT]);

#endif
