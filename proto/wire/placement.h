/*
 * placement - the calls between an edge and the owner of a slice, and their answers, as plain C.
 *
 * DESIGN 4 in types: Open, Commit, Hold, Bind, Close, Done and what may be answered. node/slice
 * decides them, node/edge drives them, neither knows the other's insides. Pure.
 */
#ifndef FLY_WIRE_PLACEMENT_H
#define FLY_WIRE_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "proto/wire/key.h"

enum {
    FLY_NAME_SIZE = 64,    /* with the NUL, as EVENT_NAME_SIZE */
    FLY_REGION_SIZE = 16,  /* with the NUL */
    FLY_SUBJECT_SIZE = 64, /* with the NUL */
};

/* A reservation at one leader: never reused. `slice` 0 means none. */
struct hold_id {
    uint32_t slice; /* tag */
    uint64_t term;
    uint64_t boot; /* random per start of the owner */
    uint64_t counter;
};

bool hold_equal(const struct hold_id *a, const struct hold_id *b);

/* Values equal fly.v1.VmState. */
enum vm_state { VM_STARTED = 2, VM_DESTROYED = 6 };

/* A VM as an owner tells it. */
struct vm {
    uint64_t id; /* vmid.h */
    uint64_t number;
    char name[FLY_NAME_SIZE];
    char region[FLY_REGION_SIZE];
    char machine[FLY_NAME_SIZE];
    char subject[FLY_SUBJECT_SIZE];
    uint32_t cores;
    uint64_t memory_bytes;
    enum vm_state state;
    uint64_t seq; /* event of its last change */
    struct fly_key key;
    int64_t created_ms; /* wall */
    int64_t destroyed_ms;
};

/* A key at home here whose VM is elsewhere, or may be. */
struct key_away {
    struct fly_key key;
    char subject[FLY_SUBJECT_SIZE];
    struct hold_id hold;
    uint64_t vm;      /* what the hold became; 0: bound, not known here */
    int64_t since_ms; /* slice time of the bind */
};

enum owner_machine_change {
    OWNER_MACHINE_ADD = 1,
    OWNER_MACHINE_RESIZE, /* refused below what is committed */
    OWNER_MACHINE_REMOVE, /* refused with VMs */
    /* Gets no new VM; what was promised of it goes on. Right behind its ADD: never had one. */
    OWNER_MACHINE_CORDON,
    OWNER_MACHINE_UNCORDON,
};

enum owner_call_kind {
    OWNER_OPEN = 1, /* at home: host it (with `commit`: and commit at once), or say who does */
    OWNER_COMMIT,   /* hold -> VM */
    OWNER_HOLD,     /* not at home: reserve */
    OWNER_BIND,     /* at home: the key belongs to `hold` elsewhere from now on */
    OWNER_CLOSE,    /* end a hold for ever, or tell the VM that it became */
    OWNER_DONE,     /* at home: the bound hold became `vm` */
    OWNER_CANCEL,   /* at home: nothing will ever come of this key */
    OWNER_DESTROY,
    OWNER_RELEASE, /* at home: the VM elsewhere is gone */
    /* The slice's own node only: */
    OWNER_MACHINE, /* inventory, see `machine_change` */
    OWNER_LOSS,    /* what others saw of this log and is not here is given up; ends a quarantine */
};

struct owner_call {
    enum owner_call_kind kind;
    uint64_t ticket; /* comes back in the answer; the caller's own */
    struct fly_key key;
    char subject[FLY_SUBJECT_SIZE];
    struct fly_digest digest;
    bool commit;         /* OPEN */
    struct hold_id hold; /* COMMIT BIND CLOSE DONE */
    struct hold_id
        replaces; /* OPEN BIND CANCEL: bound hold that Close proved dead; slice 0: none */
    uint64_t vm;  /* DONE DESTROY RELEASE */
    char region[FLY_REGION_SIZE]; /* OPEN HOLD; MACHINE add */
    uint32_t cores;               /* OPEN HOLD; MACHINE */
    uint64_t memory_bytes;
    char name[FLY_NAME_SIZE]; /* OPEN HOLD: VM's, may be empty; MACHINE: the machine's */
    enum owner_machine_change machine_change; /* MACHINE */
    uint64_t incarnation;                     /* LOSS: standing_loss() */
    uint64_t seq;
};

enum owner_code {
    OWNER_VM = 1, /* the key's VM (or the destroyed one), in `vm`; `replayed` when it was there */
    OWNER_HELD,   /* in `hold` until it is committed, closed or expires */
    OWNER_ELSEWHERE, /* OPEN, HOLD: no room here; `room` says how much there is */
    OWNER_BOUND,     /* key is bound to `hold`; answers BIND with success when it is the caller's */
    OWNER_VM_ELSEWHERE, /* key became VM `vm_id` in another slice */
    OWNER_DEAD,         /* COMMIT, CLOSE: no VM came of this hold and none ever will */
    OWNER_CANCELLED,    /* key is cancelled for good */
    OWNER_DONE_OK,      /* DONE, RELEASE, MACHINE, LOSS: recorded */
    OWNER_BUSY,         /* another try with this key is under way: ask again */
    OWNER_KEY_REUSED,
    OWNER_KEY_EXPIRED, /* too old; COMMIT, CLOSE: what came of the hold is forgotten, not dead */
    OWNER_KEY_INVALID, /* minted in the future, or not at home here */
    OWNER_NOT_FOUND,   /* DESTROY: no such VM; MACHINE: no such machine */
    OWNER_REFUSED,     /* not done and never will be by this call: `status` and `text` say why */
    OWNER_UNKNOWN,     /* proposed, outcome not known: ask again with the same key */
};

/* What a region of this slice could take, for refusals and tags. Cordoned machines are counted and
 * count for nothing else: where all of them are, the reason is the cordon. */
struct owner_room {
    uint32_t machines;  /* of the region */
    uint32_t cordoned;  /* of these */
    uint32_t cores_max; /* of its largest machine */
    uint64_t memory_max_bytes;
    uint32_t cores_free_max; /* on one machine, now */
    uint64_t memory_free_max_bytes;
    bool fits_empty; /* some machine could hold the spec if it were empty */
};

/* The union of two rooms: the larger of each, as one answer tells of several owners. */
void room_widen(struct owner_room *room, const struct owner_room *seen);

struct owner_answer {
    uint64_t ticket;
    enum owner_call_kind kind;
    enum owner_code code;
    bool replayed;
    uint64_t vm_id;
    struct vm vm;           /* OWNER_VM */
    struct hold_id hold;    /* OWNER_HELD OWNER_BOUND OWNER_VM_ELSEWHERE */
    uint32_t generation;    /* OWNER_BOUND */
    struct owner_room room; /* OWNER_ELSEWHERE */
    enum fly_status status; /* OWNER_REFUSED */
    const char *text;       /* OWNER_REFUSED: static */
};

#endif
