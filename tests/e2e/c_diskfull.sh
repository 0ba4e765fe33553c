#!/bin/bash
# A disk that is full under a running node (acceptance 4): ENOSPC from a real file system on the
# journal's own writes. Named in the log and counted, launches end with 75, and the node comes back
# by itself when there is room. Then a start on a full disk. Needs root, to mount.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/disk.sh"

skip() {
    printf '%s: skipped: %s\n' "$script" "$*"
    exit 77
}

mkdir -p "$tmp/disk" "$tmp/a"
trap 'umount -l "$tmp/disk" 2>/dev/null; cleanup' EXIT
[ "$(id -u)" -eq 0 ] || skip "mounting needs root"
truncate -s 96M "$tmp/image"
if mkfs.ext4 -q -F -m 0 "$tmp/image" >/dev/null 2>&1 &&
    mount -o loop "$tmp/image" "$tmp/disk" 2>/dev/null; then
    kind=ext4
elif mount -t tmpfs -o size=96M tmpfs "$tmp/disk" 2>/dev/null; then
    kind=tmpfs
else
    skip "nothing can be mounted here"
fi
ln -s "$tmp/disk/state" "$tmp/a/state"
mkdir -m 0700 "$tmp/disk/state"

fill() {
    # in steps, as the last blocks are only given to small writes
    dd if=/dev/zero of="$tmp/disk/filler" bs=1M 2>/dev/null
    dd if=/dev/zero of="$tmp/disk/filler2" bs=4k 2>/dev/null
    sync "$tmp/disk/filler2"
}

step "a node on $kind, and a few launches"
start_node a
use a launch
for ((i = 0; i < 5; i++)); do
    ask
    expect_equal "$code" 0 "exit code"
done

step "the disk fills up, and the room that the journal had put by is gone too"
for file in "$tmp"/disk/state/slices/*/open-*; do
    fallocate --punch-hole --offset 4096 --length $((8 * 1024 * 1024 - 4096)) "$file" ||
        skip "no holes on $kind"
done
fill
wait_for 60 "a launch to fail" fails
for ((i = 0; i < 3; i++)); do
    ask
    [ "$code" -ne 0 ] || expect_equal 1 "$(grep -c journal.recovered "$tmp/a/log")" "reopenings"
done
node_runs a || fail "the node ended"
logged journal.failed "no space|disk full|disk is full|ENOSPC"
failures=$(grep -c ' journal.failed \| journal.reopen_failed ' "$tmp/a/log")

step "room comes back, and so does the node, by itself"
rm "$tmp/disk/filler" "$tmp/disk/filler2"
wait_for 30 "a launch to work" works
logged journal.recovered "recoveries=[0-9]"
settle
printf '%s: failures that were logged: %d\n' "$script" "$failures"

step "killed on a full disk: it does not start, says why, and starts when there is room"
kill9_node a
fill
launch_node a
wait_for 60 "an end, or a start" eval '! node_runs a || grep -q "reopen_failed\|node.refused" "$tmp/a/log" || node_answers a'
if ! node_runs a; then
    node_ended a
    [ "$code" -ne 0 ] || fail "it ended with 0"
    logged node.refused "no space|full"
    rm "$tmp/disk/filler" "$tmp/disk/filler2"
    start_node a
else
    rm "$tmp/disk/filler" "$tmp/disk/filler2"
    wait_for 60 "it to answer" node_answers a
fi
use a launch
wait_for 30 "a launch to work" works
settle
stop_node a
audit_told "$tmp/disk/state"
