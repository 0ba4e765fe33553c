#!/bin/bash
# flyrpc rpc: what a node says of itself, and any of its methods called with JSON, without a .proto file.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_node a

step "nobody learns nothing but whether it serves"
use a regions
token=$FLYRPC_TOKEN
unset FLYRPC_TOKEN
for what in list "describe fly.v1.Edge" metrics "call fly.v1.Edge/Regions"; do
    # shellcheck disable=SC2086
    expect_exit 77 flyrpc rpc $what
    expect_text "$err" "UNAUTHENTICATED: this method needs a token"
done
expect_exit 0 flyrpc rpc health
expect_equal "$(cat "$out")" SERVING
expect_exit 0 flyrpc rpc health fly.v1.Edge --json
expect_json '. == {"service": "fly.v1.Edge", "status": "SERVING"}'
expect_exit 1 flyrpc rpc health fly.v1.Nothing
expect_text "$err" NOT_FOUND
export FLYRPC_TOKEN=$token

step "a token of any scope: services and methods, 80 columns wide"
expect_exit 0 flyrpc rpc list --json
expect_json '. == (["Admin", "Edge", "Health", "Join", "Metrics", "Reflection", "Slice"] | map("fly.v1." + .))'
expect_exit 0 flyrpc rpc list fly.v1.Edge
expect_text "$out" fly.v1.Edge/Launch
expect_exit 0 flyrpc rpc describe
for service in Admin Edge Health Join Metrics Reflection Slice; do
    expect_text "$out" "service fly.v1.$service {"
done
[ -z "$(grep -E '.{81}' "$out")" ] || fail "a line is wider than 80 columns"
expect_exit 0 flyrpc rpc describe fly.v1.Edge/Watch
expect_text "$out" "returns (stream fly.v1.WatchReply)"
expect_exit 0 flyrpc rpc describe fly.v1.VmState
expect_text "$out" "VM_STATE_STARTED = 2;"
expect_exit 0 flyrpc rpc describe fly.v1.Edge/Status --json
expect_json '.rule.read_only and .input == "fly.v1.StatusRequest" and (.server_streams | not)'
expect_exit 1 flyrpc rpc describe fly.v1.Nothing
expect_text "$err" NOT_FOUND

step "calls: JSON in, JSON out"
use a regions,launch,read,watch
expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --name one --json
id=$(json_get .id)
status_of() { printf '{"vm": "%s"}' "$id" | flyrpc rpc call fly.v1.Edge/Status - "$@"; }
expect_exit 0 status_of
expect_json '.vm.name == "one" and .vm.state == "VM_STATE_STARTED" and .vm.memoryBytes == "6000000000"'
[ "$(wc -l <"$out")" -gt 5 ] || fail "it is not indented"
expect_exit 0 status_of --json -v --metadata note:hello --metadata 'raw-bin: aGk='
expect_equal "$(wc -l <"$out")" 1 "lines"
expect_exit 0 flyrpc rpc call fly.v1.Edge/List '{"id_prefix": "", "state": "VM_STATE_STARTED", "limit": 1.0}'
expect_json '.vms | length == 1'
expect_exit 0 flyrpc rpc call fly.v1.Health/Echo '{"payload": "-_8"}' --json
expect_json '.payload == "+/8="'

step "a stream, one line a message, until its time is over"
expect_exit 124 flyrpc rpc call fly.v1.Edge/Watch --json --timeout 500ms
expect_equal "$(head -n 1 "$out" | jq -r '.cursor | split(":") | length')" 3 "a cursor"
expect_equal "$(tail -n 1 "$out" | jq -r .error.code)" DEADLINE_EXCEEDED

step "what is wrong is said with its place"
while IFS='|' read -r want method json words; do
    expect_exit "$want" flyrpc rpc call "$method" "$json"
    expect_text "$err" "$words"
done <<'END'
64|fly.v1.Edge/Launch|{"region": "SIN", "cors": 1}|cors: fly.v1.LaunchRequest has no such field; did you mean 'cores'?
64|fly.v1.Edge/Launch|{"cores": 4294967296}|cores: 4294967296 is not within uint32
64|fly.v1.Edge/Launch|{"key": "%"}|key: not base64
64|fly.v1.Edge/Launch|{"cores": 1|JSON, line 1
64|fly.v1.Edge/Launch|[]|an object is needed
1|fly.v1.Edge/Nothing|{}|NOT_FOUND
1|fly.v1.Edge|{}|fly.v1.Edge is not a method
1|fly.v1.Edge/Status|{"vm": "000000000000"}|NOT_FOUND
77|fly.v1.Edge/Destroy|{"vm": "000000000000"}|PERMISSION_DENIED (SCOPE_MISSING): token lacks scope destroy
END
expect_exit 64 flyrpc rpc call fly.v1.Edge/Status --metadata Note:x
expect_exit 64 flyrpc rpc call fly.v1.Edge/Status --trace=00-0-0-0
expect_exit 1 flyrpc rpc call fly.v1.Edge/Status '{"vm": "000000000000"}' --json
expect_json '.error | .code == "NOT_FOUND" and .reason == "NOT_FOUND" and (.hint | length > 0)'

step "metrics, as Prometheus reads them"
expect_exit 0 flyrpc rpc metrics
awk '/^#/ { next }
    !/^[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? [0-9.e+-]+$/ { print "not a sample: " $0; bad = 1 }
    /^flyrpc_server_started_total\{method="fly.v1.Edge\/Status"\} [1-9]/ { seen = 1 }
    END { exit bad || !seen }' "$out" || fail "that is no exposition format"

step "who watches its health sees that it stops"
flyrpc rpc health --watch --json >"$tmp/health" 2>/dev/null </dev/null &
watcher=$!
wait_for 10 "the first status" grep -q '"SERVING"' "$tmp/health"
stop_node a
code=0
wait "$watcher" || code=$?
[ "$code" -ne 0 ] || fail "the watch ended as if nothing had happened"
expect_equal "$(jq -r 'select(.status) | .status' "$tmp/health" | tr '\n' ' ')" "SERVING NOT_SERVING " "statuses"
expect_exit 69 flyrpc rpc health
