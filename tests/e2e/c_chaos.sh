#!/bin/bash
# Acceptance 3: launches through the client library while the node is killed with -9, stopped for
# 1-5 s, and restarted; after each kill and at the end an auditor compares what the clients were told
# with the log. The regions are small, so they are full most of the time.
#
# CHAOS_LAUNCHES (default 600), CHAOS_CLIENTS (4), CHAOS_FAULTS (6), CHAOS_SEED (repeats the choices,
# not the interleaving); --long: 5000 launches, 8 clients, 20 faults.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ "${1:-}" != --long ] || { : "${CHAOS_LAUNCHES:=5000}" "${CHAOS_CLIENTS:=8}" "${CHAOS_FAULTS:=20}"; }
launches=${CHAOS_LAUNCHES:-600}
clients=${CHAOS_CLIENTS:-4}
faults=${CHAOS_FAULTS:-6}
seed=${CHAOS_SEED:-$RANDOM}
RANDOM=$seed
kills=0
stops=0

# answer - reads one line of counters from the load, which must come
answer() {
    read -r -t 150 counters <&"$load_out" ||
        fail "the load does not answer: $(tail -n 5 "$tmp/load.err")"
}

audit() {
    expect_exit 0 fly_audit "$@" "$tmp/a/state" "$tmp"/h/history.*
}

step "$clients clients, $launches launches, $faults faults, seed $seed"
{
    echo name,region,address,cores,memory_bytes,status
    for ((i = 0; i < 6; i++)); do
        echo "sin-$i,SIN,10.0.0.$i:1,16,64000000000,available"
        echo "den-$i,DEN,10.0.1.$i:1,10,36000000000,available"
    done
} >"$tmp/machines.csv"
FLY_MACHINES=$tmp/machines.csv
start_node a
mkdir "$tmp/h"
for ((n = 0; n < clients; n++)); do
    token=$(flyrpc token create --state "$tmp/a/state" --sub "client-$n" --ttl 1h \
        --scope regions,launch,read,destroy) || fail "no token"
    echo "client-$n $token"
done >"$tmp/tokens"
coproc load { exec fly_chaos --addr "tcp://127.0.0.1:${node_port[a]}" --tokens "$tmp/tokens" \
    --dir "$tmp/h" --regions SIN,DEN --keep $((64 / clients)) --seed "$seed" 2>"$tmp/load.err"; }
load_pid=$!
# bash forgets its own two when the load ends
exec {load_out}<&"${load[0]}" {load_in}>&"${load[1]}"

for ((f = 0; f < faults; f++)); do
    step "round $f of $faults: a fault while launches are under way"
    echo "go $((launches / (faults + 1)))" >&"$load_in"
    sleep "0.$(printf '%03d' $((3 + RANDOM % 60)))"
    if [ $((RANDOM % 3)) -ne 0 ]; then
        kill9_node a 2>/dev/null
        kills=$((kills + 1))
        audit --running
        sleep "0.$((RANDOM % 10))"
        start_node a
    else
        freeze a
        stops=$((stops + 1))
        sleep "$((1 + RANDOM % 4)).$((RANDOM % 10))"
        thaw a
    fi
    answer
done

step "what is left, then the end"
echo "go $((launches - launches / (faults + 1) * faults))" >&"$load_in"
answer
eval "exec ${load[1]}>&-"
exec {load_in}>&-
answer # what was in doubt is settled
wait "$load_pid" || fail "the load ended with $?: $(tail -n 5 "$tmp/load.err")"
stop_node a

step "the auditor finds all that they were told in the log, and nothing else"
expect_exit 0 flynode check --state "$tmp/a/state"
audit
aside=$(jq .aside <<<"$counters")
expect_json '.findings == 0 and .acknowledged >= $n' --argjson n "$((launches - aside))"
printf '%s: kills %d, stops %d\n%s: load  %s\n%s: audit %s\n' "$script" "$kills" "$stops" \
    "$script" "$counters" "$script" "$(cat "$out")"
echo "$counters" >"$out"
expect_json '.launched >= $n - .aside and .done == $n and .settled == .aside and .full > 0 and
    .destroyed > 0 and .cancelled > 0' --argjson n "$launches"
# a run that hit nothing proves nothing
expect_json '.tries - .attempts + .unknown + .replayed + .destroy_retries + .unreachable >= $n' \
    --argjson n "$(((kills + stops + 1) / 2))"

step "the auditor finds lies"
jq -c 'select(.call == "launch" and .outcome == "OK")' "$tmp/h/history.0" >"$tmp/ok"
lie() { # lie NAME FILTER
    head -n 1 "$tmp/ok" | jq -c "$2" >"$tmp/lie"
    expect_exit 1 fly_audit "$tmp/a/state" "$tmp/lie"
    expect_json '[.violations[].what] | index($what) != null' --arg what "$1"
}
id=$(jq -r '.id' "$tmp/ok" | tail -n 1)
lie lost '.id = "000000000000"'
lie differs '.machine = "sin-99"'
lie differs '.cores += 1'
lie differs '.subject = "client-99"'
lie two-answers "., (.id = \"$id\")"
lie ghost '.outcome = "NOT_DONE" | del(.id)'
lie cancelled '.call = "cancel" | .launched = false'
cp "$tmp/ok" "$tmp/lie"
expect_exit 1 fly_audit --complete "$tmp/a/state" "$tmp/lie"
expect_json '[.violations[].what] | index("untold") != null'

step "the auditor finds a log that forgot"
cp -r "$tmp/a/state" "$tmp/older"
start_node a
use a launch
expect_exit 0 flyrpc launch --region SIN --memory 1MB --cores 1 --json
jq -c . "$out" >"$tmp/newer"
stop_node a
expect_exit 0 fly_audit "$tmp/a/state" "$tmp/newer"
expect_exit 1 fly_audit "$tmp/older" "$tmp/newer"
expect_json '.violations[0].what == "lost"'
jq -c '{call: "destroy", id, outcome: "OK"}' "$tmp/newer" >"$tmp/lie"
expect_exit 1 fly_audit "$tmp/a/state" "$tmp/lie"
expect_json '.violations[0].what == "undead"'
