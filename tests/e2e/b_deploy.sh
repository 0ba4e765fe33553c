#!/bin/bash
# deploy/up and deploy/down: a cluster from one command, twice is fine, and nothing is left.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export FLY_BIN
dir="$tmp/a cluster"
port=$((10000 + RANDOM % 180 * 50)) # below those of free_port: up takes 43 from here
up=("$root/deploy/up" --dir "$dir" --port "$port")
nodes=(peer-1 peer-2 peer-3 edge-1 edge-2)

# pids: every node's pid, for the end of this test
pids() {
    local node
    for node in "${nodes[@]}"; do
        node_pid[$node]=$(process_of "$dir/$node/pid") || fail "no process of $node"
    done
}

step "up starts three peers and two edges and says what to type next"
expect_exit 0 "${up[@]}"
pids
for word in "flyrpc regions" "flyrpc launch --region SIN" "deploy/down"; do
    expect_text "$out" "$word"
done
expect_equal "$(stat -c %a "$dir/env")" 600 "mode of env"
expect_text "$out" "The dashboard is http://127.0.0.1:$((port + 2))."
for at in 2 12; do
    expect_equal "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$((port + at))/")" 200 "the dashboard's page"
done

step "what it says works, at either edge"
(
    . "$dir/env"
    expect_exit 0 flyrpc members --json
    expect_json '[.[] | select(.state == "alive")] | length == 5'
    for edge in ${FLYRPC_EDGE//,/ }; do
        FLYRPC_EDGE=$edge expect_exit 0 flyrpc regions
        FLYRPC_EDGE=$edge expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --json
    done
) || exit 1

step "up again says so"
expect_exit 0 "${up[@]}"
expect_text "$err" "already up"
expect_equal "$(process_of "$dir/edge-1/pid")" "${node_pid[edge-1]}" "pid"

step "up at once after -9 starts what died, and only that"
kill -KILL "${node_pid[peer-2]}"
expect_exit 0 "${up[@]}"
expect_text "$err" "up: peer-2 "
expect_equal "$(process_of "$dir/edge-1/pid")" "${node_pid[edge-1]}" "pid"
pids

step "a cluster that does not answer is not called up"
kill -STOP "${node_pid[edge-1]}" "${node_pid[edge-2]}"
expect_exit 1 "${up[@]}"
expect_text "$err" "does not answer"
kill -CONT "${node_pid[edge-1]}" "${node_pid[edge-2]}"

step "down leaves nothing running, and the VMs are there after the next up"
expect_exit 0 "$root/deploy/down" --dir "$dir"
for node in "${nodes[@]}"; do
    [ -z "$(session_members "${node_pid[$node]}")" ] || fail "processes of $node are left"
done
expect_exit 0 "$root/deploy/down" --dir "$dir"
expect_exit 0 "${up[@]}"
pids
(
    . "$dir/env"
    expect_exit 0 flyrpc list --json
    expect_json '(if type == "array" then . else .vms end) | length == 2'
) || exit 1

step "a second cluster cannot take its ports, and says why"
expect_exit 1 "$root/deploy/up" --dir "$tmp/other" --port "$port"
expect_text "$err" "in use"
for node in "${nodes[@]}"; do
    [ ! -e "$tmp/other/$node/pid" ] || fail "a pid file is left"
done

step "down --purge removes the folder, and no other"
expect_exit 0 "$root/deploy/down" --dir "$dir" --purge
[ ! -e "$dir" ] || fail "it is still there"
mkdir "$tmp/foreign"
: >"$tmp/foreign/file"
expect_exit 1 "$root/deploy/down" --dir "$tmp/foreign" --purge
expect_exit 1 "$root/deploy/up" --dir "$tmp/foreign"
[ -e "$tmp/foreign/file" ] || fail "a foreign folder was removed"
