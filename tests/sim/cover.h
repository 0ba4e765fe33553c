/*
 * cover - how often the simulation met what it is there for. A counter that stays zero over the
 * seeds of CI fails the test: a simulation that never reaches Bind proves nothing about Bind.
 */
#ifndef FLY_TESTS_SIM_COVER_H
#define FLY_TESTS_SIM_COVER_H

#include <stdint.h>
#include <stdio.h>

#include "node/slice/state.h"
#include "proto/wire/placement.h"

#define COVER_LIST(X)                                                                              \
    X(CALL_LOST, "call lost")                                                                      \
    X(ASIDE_LOST, "call off the path lost")                                                        \
    X(CALL_TWICE, "call doubled")                                                                  \
    X(CALL_LATE, "call reached an owner after its launch had ended")                               \
    X(CALL_TO_DEAD, "call reached a dead process")                                                 \
    X(ANSWER_LOST, "answer lost")                                                                  \
    X(ANSWER_TWICE, "answer doubled")                                                              \
    X(ANSWER_LATE, "answer reached an edge that no longer waited")                                 \
    X(PARTITION, "one direction of a link cut")                                                    \
    X(PAUSE_OWNER, "owner stopped and continued")                                                  \
    X(PAUSE_EDGE, "edge stopped and continued")                                                    \
    X(CRASH_EDGE, "edge crashed")                                                                  \
    X(CRASH, "owner crashed")                                                                      \
    X(CRASH_PROPOSED, "owner crashed with a proposal under way")                                   \
    X(REBOOT, "boot clock began again")                                                            \
    X(APPEND_KEPT, "unacknowledged append survived")                                               \
    X(APPEND_TORN, "unacknowledged append was lost")                                               \
    X(APPEND_LATE, "batch of a dead leader appended behind the next")                              \
    X(DISK_FULL, "append refused before submission")                                               \
    X(DISK_EIO, "append failed after submission")                                                  \
    X(SNAPSHOT, "snapshot made")                                                                   \
    X(SNAPSHOT_START, "start from a snapshot and the rest of the log")                             \
    X(HELD_BACK, "leader with older entries not applied yet")                                      \
    X(NOT_READY, "call to an owner that was not ready")                                            \
    X(HOLD_EXPIRED, "hold expired")                                                                \
    X(CLOSE_WAITED, "Close waited for a proposal")                                                 \
    X(WALL_JUMP, "wall clock jumped")                                                              \
    X(LEAP, "all clocks leapt")                                                                    \
    X(FORGOTTEN, "record forgotten after its last life")                                           \
    X(LAUNCH_AWAY, "VM made where its key is not at home")                                         \
    X(LAUNCH_REPLACES, "LAUNCH replaced a dead hold")                                              \
    X(BIND_REPLACES, "BIND replaced a dead hold")                                                  \
    X(CANCEL_REPLACES, "CANCEL replaced a dead hold")                                              \
    X(WATCHED, "event reached a watcher")                                                          \
    X(WATCH_RESET, "watcher was below retention")                                                  \
    X(OK_NEW, "OK, new")                                                                           \
    X(OK_REPLAYED, "OK, replayed")                                                                 \
    X(OK_ELSEWHERE, "OK, only the id is known")                                                    \
    X(NOT_DONE, "NOT_DONE")                                                                        \
    X(UNKNOWN, "UNKNOWN")                                                                          \
    X(CANCELLED, "key cancelled for good")                                                         \
    X(CANCEL_VM, "cancel found a VM")                                                              \
    X(DESTROYED, "destroy acknowledged")                                                           \
    X(RELEASED, "key released at home")                                                            \
    X(HOME_GONE, "launch ended at once, its home could not be reached")                            \
    X(CUT_BOTH, "both directions of a link cut")                                                   \
    X(CUT_OFF, "owner cut off from all edges")                                                     \
    X(RESTORED, "disk replaced by an older copy")                                                  \
    X(WIPED, "disk replaced by an empty one")                                                      \
    X(VM_LOST, "VM is not in the older copy")                                                      \
    X(ASK_LOST, "edge was not reached by an owner that asks")                                      \
    X(SERVES_ALONE, "owner serves though nobody could be asked")                                   \
    X(QUARANTINED, "owner quarantined before it served")                                           \
    X(LOSS_ACCEPTED, "loss accepted")                                                              \
    X(LAUNCH_REFUSED_QUARANTINE, "call refused by a quarantined owner")                            \
    X(SWEPT_TOLD, "sweep told home of its VM")                                                     \
    X(SWEPT_CANCELLED, "sweep cancelled a key")                                                    \
    X(SWEPT_RELEASED, "sweep released a key")                                                      \
    X(SWEPT_LATER, "sweep did not reach somebody")                                                 \
    X(FAILOVER, "key tried again through another edge")                                            \
    X(CALL_OUTLIVED, "call reached a later process than it was sent to")                           \
    X(STRUCK, "fault at a process or a link")                                                      \
    X(STRUCK_BETWEEN, "... that a launch between Open and its end went through")

/* Rare: looked at by many seeds only. */
#define COVER_RARE_LIST(X)                                                                         \
    X(QUARANTINED_LATE, "owner quarantined while it served")                                       \
    X(LIMIT, "owner served below what an edge saw that could not be asked")

#define COVER_ENUM(name, what) COVER_##name,
enum cover {
    COVER_LIST(COVER_ENUM) COVER_MUST,
    COVER_BEFORE_RARE = COVER_MUST - 1,
    COVER_RARE_LIST(COVER_ENUM) COVER_COUNT
};

void cover_hit(enum cover what);
void cover_answer(enum owner_call_kind kind, enum owner_code code);
void cover_command(enum command_type type, enum slice_code code);
/* Prints every counter; returns how many that had to be hit were not. */
unsigned cover_print(FILE *out);

#endif
