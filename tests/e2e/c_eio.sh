#!/bin/bash
# A disk that answers the journal of a running node with errors, injected into its system calls by
# strace. Whatever fails: named and counted in the log, launches end with 0 or 75, the node comes back
# by itself or stops cleanly, and nothing that was acknowledged is lost.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/disk.sh"

if ! command -v strace >/dev/null || ! strace -o /dev/null true 2>/dev/null; then
    printf '%s: skipped: no strace here\n' "$script"
    exit 77
fi

tracer=
# inject SPEC - into all threads of the node, until `heal`
inject() {
    strace -f -qq -o "$tmp/trace" -p "${node_pid[a]}" -e trace="${1%%:*}" -e inject="$1" 2>/dev/null &
    tracer=$!
    wait_for 20 "strace to attach" \
        grep -q "^TracerPid:[^0-9]*$tracer\$" "/proc/${node_pid[a]}/status"
}

heal() {
    kill -INT "$tracer" 2>/dev/null
    wait "$tracer" 2>/dev/null
}

# trouble WHAT SPEC WORDS [PASSING] - launches must meet it; then it is over and all must be well
# again. PASSING: the client's own tries may outlast it
trouble() {
    local failed before
    before=$(grep -c ' journal\.failed ' "$tmp/a/log")
    step "$1"
    inject "$2"
    failed=0
    for ((i = 0; i < 3; i++)); do
        ask
        [ "$code" -eq 0 ] || failed=$((failed + 1))
    done
    heal
    grep -q INJECTED "$tmp/trace" || fail "nothing was injected"
    [ "$failed" -gt 0 ] || [ -n "${4:-}" ] || fail "no launch met it"
    [ "$(grep -c ' journal\.failed ' "$tmp/a/log")" -gt "$before" ] || fail "the log does not name it"
    logged journal.failed "$3"
    node_runs a || fail "the node ended"
    wait_for 30 "a launch to work again" works
    logged journal.recovered "recoveries=[0-9]"
    settle
    ask
    expect_equal "$code" 0 "exit code"
}

start_node a
use a launch
ask
expect_equal "$code" 0 "exit code"
writes=io_submit,pwritev,pwritev2 # whichever libraft takes on this disk
trouble "every write of the log fails with EIO" "$writes:error=EIO" "i/o error|input/output|EIO"
trouble "one write of the log fails with EIO" "$writes:error=EIO:when=1" "i/o error|input/output|EIO" passing
trouble "every write of the log fails with ENOSPC" "$writes:error=ENOSPC" "i/o error|no space"
trouble "the note of the last acknowledged entry cannot be written" "pwrite64:error=EIO" "i/o error|input/output|EIO"

step "it stops cleanly, and the auditor finds everything"
stop_node a
audit_told "$tmp/a/state"
