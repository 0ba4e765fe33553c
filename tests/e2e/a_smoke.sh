#!/bin/bash
# A node starts on the shipped inventory, answers, stops on SIGTERM, starts again, survives -9.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

step "it starts and answers"
start_node a
use a regions
expect_exit 0 flyrpc regions --json
[ -s "$out" ] || fail "no regions"

step "two processes never share a state folder"
free_port
run flynode dev --state "$tmp/a/state" --machines "$root/data/machines.csv" \
    --regions-file "$root/data/regions.csv" --rpc "tcp://127.0.0.1:$port" --http off
[ "$code" -ne 0 ] && [ "$code" -lt 128 ] || fail "exit code $code"
expect_exit 0 flyrpc regions

step "the keys are private"
for file in "$tmp"/a/state/*.key; do
    expect_equal "$(stat -c %a "$file")" 600 "mode of ${file##*/}"
done
expect_equal "$(stat -c %a "$tmp/a/state")" 700 "mode of the state folder"

step "SIGTERM ends it with 0, and it starts again with the same token"
stop_node a
expect_exit 0 flynode check --state "$tmp/a/state"
start_node a
expect_exit 0 flyrpc regions

step "it comes back from -9"
kill9_node a
expect_exit 69 flyrpc regions --timeout 2s
start_node a
expect_exit 0 flyrpc regions

step "no token is in its log"
refuse_text "$tmp/a/log" "$FLYRPC_TOKEN"
stop_node a
