#!/bin/bash
# deploy/up and deploy/down: a cluster from one command, twice is fine, and nothing is left.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export FLY_BIN
dir="$tmp/a cluster"
free_port
up=("$root/deploy/up" --dir "$dir" --rpc "tcp://127.0.0.1:$port")

step "up starts it and says what to type next"
expect_exit 0 "${up[@]}"
pid=$(process_of "$dir/flynode.pid") || fail "no process"
node_pid[up]=$pid
for word in "flyrpc regions" "flyrpc launch --region SIN" "deploy/down"; do
    expect_text "$out" "$word"
done
expect_equal "$(stat -c %a "$dir/env")" 600 "mode of env"

step "what it says works"
(
    . "$dir/env"
    expect_exit 0 flyrpc regions
    expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --json
) || exit 1

step "up again says so"
expect_exit 0 "${up[@]}"
expect_text "$err" "already up"
expect_equal "$(process_of "$dir/flynode.pid")" "$pid" "pid"

step "up at once after -9 starts it again"
kill -KILL "$pid"
expect_exit 0 "${up[@]}"
pid=$(process_of "$dir/flynode.pid") || fail "no process"
node_pid[up]=$pid
(
    . "$dir/env"
    expect_exit 0 flyrpc regions
) || exit 1

step "one that does not answer is not called up"
kill -STOP "$pid"
expect_exit 1 "${up[@]}"
expect_text "$err" "does not answer"
kill -CONT "$pid"

step "down leaves nothing running, and the VM is there after the next up"
expect_exit 0 "$root/deploy/down" --dir "$dir"
[ -z "$(session_members "$pid")" ] || fail "processes are left"
expect_exit 0 "$root/deploy/down" --dir "$dir"
expect_exit 0 "${up[@]}"
node_pid[up]=$(process_of "$dir/flynode.pid") || fail "no process"
(
    . "$dir/env"
    expect_exit 0 flyrpc list --json
    expect_json '(if type == "array" then . else .vms end) | length == 1'
) || exit 1

step "a second cluster cannot take its port, and says why"
expect_exit 1 "$root/deploy/up" --dir "$tmp/other" --rpc "tcp://127.0.0.1:$port"
expect_text "$err" flynode.log
[ ! -e "$tmp/other/flynode.pid" ] || fail "a pid file is left"

step "down --purge removes the folder, and no other"
expect_exit 0 "$root/deploy/down" --dir "$dir" --purge
[ ! -e "$dir" ] || fail "it is still there"
mkdir "$tmp/foreign"
: >"$tmp/foreign/file"
expect_exit 1 "$root/deploy/down" --dir "$tmp/foreign" --purge
expect_exit 1 "$root/deploy/up" --dir "$tmp/foreign"
[ -e "$tmp/foreign/file" ] || fail "a foreign folder was removed"
