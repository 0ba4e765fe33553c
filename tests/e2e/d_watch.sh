#!/bin/bash
# Acceptance 3: watchers that break off at random, that read slowly, that want one region only, or
# that come late, while owners and edges are killed -9 and a member's address tells lies: each sees
# each event once, in order per slice, as the owners' logs have it; and those that want the latest
# alone end with the picture that the slices are in. The edges' picture does not change by what the
# liar says, and they count it.
#
# WATCH_EVENTS (default 2000), WATCH_FAULTS (4), WATCH_CLIENTS (8), WATCH_SEED; --long (row 11 of
# issue 5): six owners, a million events by a bulk load beside the audited one, and a node killed
# every few seconds until they are made. Resets are allowed only in a long run: an owner that is
# killed keeps the events since its log's last snapshot, which comes after some ten thousand.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

check=()
answer_s=120
bulk=0
owners=(p1 p2 p3)
for word in "$@"; do
    case "$word" in
    --long)
        : "${WATCH_FAULTS:=1000}" "${WATCH_CLIENTS:=8}"
        bulk=${WATCH_BULK:-1000000}
        owners=(p1 p2 p3 p5 p6 p7)
        check=(--resets)
        answer_s=600
        ;;
    *) fail "unknown argument $word" ;;
    esac
done
events=${WATCH_EVENTS:-2000}
faults=${WATCH_FAULTS:-4}
clients=${WATCH_CLIENTS:-8}
seed=${WATCH_SEED:-$RANDOM}
RANDOM=$seed
launches=$((events / 2 + 100)) # each with its end, but for those that live on

{
    echo name,region,address,cores,memory_bytes,status
    for ((i = 0; i < 9; i++)); do
        echo "sin-$i,SIN,10.0.0.$i:1,32,128000000000,available"
        echo "den-$i,DEN,10.0.1.$i:1,32,128000000000,available"
    done
} >"$tmp/machines.csv"
{
    echo name,region,address,cores,memory_bytes,status
    echo "nrt-0,NRT,10.0.2.0:1,8,32000000000,available"
} >"$tmp/other.csv"

share_of() {
    local i
    for i in "${!owners[@]}"; do
        [ "${owners[$i]}" != "$1" ] || echo "$((i + 1))/${#owners[@]}"
    done
}

member() { # member start_member|launch_member NAME
    case "$2" in
    p4) "$1" p4 --roles peer --machines "$tmp/other.csv" ;;
    p*) "$1" "$2" --roles peer --machines "$tmp/machines.csv" --share "$(share_of "$2")" ;;
    e*) "$1" "$2" --roles edge ;;
    esac
}

# --- watchers ---

declare -A watcher_pid=() region_of=()

# watch NAME [ARGUMENTS] - what it is shown goes to $tmp/w.NAME
watch() {
    local name=$1
    shift
    fly_watcher --addr "$FLYRPC_ADDR" --token "$FLYRPC_TOKEN" --out "$tmp/w.$name" "$@" \
        >"$tmp/w.$name.counters" 2>"$tmp/w.$name.err" </dev/null &
    watcher_pid[$name]=$!
}

# Every watcher knows where it stands in each slice, before anything happens.
stand() {
    local name
    for name in "${!watcher_pid[@]}"; do
        [ "$(cat "$tmp/w.$name" 2>/dev/null | grep -c '^C')" -eq $((${#owners[@]} + 1)) ] || return 1
    done
}

# reached NAME - the watcher was shown all up to the last event of each slice of $tmp/slices
reached() {
    local slice
    while read -r slice; do
        grep -q "^[ECR] $slice" "$tmp/w.$1" || return 1
    done < <(jq -r '.[] | select(.state == "serving") | "\(.slice) \(.incarnation) \(.seq)\\>"' "$tmp/slices")
}

all_reached() {
    local name
    for name in "${!watcher_pid[@]}"; do
        [ -n "${region_of[$name]:-}" ] || reached "$name" || return 1
    done
}

list_slices() { flyrpc slice list --json >"$tmp/slices" 2>"$err" </dev/null; }

whole() { # both edges are in step with the owners that live
    local edge
    for edge in e1 e2; do
        FLYRPC_ADDR=127.0.0.1:${node_port[$edge]} flyrpc slice list --json --timeout 2s \
            >"$tmp/slices.$edge" 2>"$err" </dev/null || return 1
        jq -e --argjson n "${#owners[@]}" '[.[] | select(.state == "serving")] | length >= $n' \
            "$tmp/slices.$edge" >/dev/null || return 1
    done
    [ "$(picture e1)" = "$(picture e2)" ]
}

# picture EDGE - what it thinks of the living slices and their regions
picture() {
    jq -cS '[.[] | select(.state == "serving") | del(.stale_ms)] | sort_by(.slice)' \
        "$tmp/slices.$1"
    FLYRPC_ADDR=127.0.0.1:${node_port[$1]} flyrpc regions --json --timeout 2s 2>/dev/null \
        </dev/null | jq -cS 'map(select(.region != "NRT" and .code != "NRT") | del(.stale_ms))'
}

# --- the load ---

answer() { # reads one line of counters from the load, which must come
    read -r -t "$answer_s" counters <&"$load_out" ||
        fail "the load does not answer: $(tail -n 5 "$tmp/load.err")"
}

pick() { echo "${*:$((1 + RANDOM % $#)):1}"; }

# fault KIND - one node is killed while launches are under way, and comes back
fault() {
    local node
    node=$(pick "$@")
    sleep "0.$((RANDOM % 5))"
    kill9_node "$node" 2>/dev/null
    sleep "0.$((RANDOM % 10))"
    member start_member "$node"
}

step "$((${#owners[@]} + 1)) peers and two edges, seed $seed"
cluster_init p1
member start_member p1
for name in "${owners[@]:1}" p4 e1 e2; do
    cluster_join "$name" --roles "$(case "$name" in e*) echo edge ;; *) echo peer ;; esac)"
    member launch_member "$name"
done
use_edges regions,launch,read,destroy,watch,admin e1 e2
wait_for "$ready_s" "all to be alive" members_are alive "${owners[@]}" p4 e1 e2
wait_for "$ready_s" "both edges to know the slices" whole
for ((n = 0; n < clients; n++)); do
    echo "client-$n $(flyrpc token create --state "$tmp/p1/state" --sub "client-$n" --ttl 3h \
        --scope regions,launch,read,destroy)"
done >"$tmp/tokens"
FLYRPC_TOKEN=$(token_of p1 regions,launch,read,destroy,watch,admin 3h)

step "the watchers begin"
watch steady
watch restless --restless --seed "$((seed + 1))"
watch wild --restless --slow --seed "$((seed + 2))"
watch slow --slow --seed "$((seed + 3))"
watch sin --region SIN --restless --seed "$((seed + 4))"
watch den --region DEN --slow --seed "$((seed + 5))"
watch picture --latest 100 --restless --seed "$((seed + 7))"
watch lazy --latest 0 --slow --region SIN --seed "$((seed + 8))"
region_of=([sin]=SIN [den]=DEN [lazy]=SIN)
wait_for 20 "every watcher to stand in all slices" stand
from=$(awk '$1 == "C" { printf "%s%s:%s:%s", sep, $2, $3, $4; sep = "," }' "$tmp/w.steady")

[ "$bulk" -gt 0 ] || step "$launches launches, $faults nodes killed"
[ "$bulk" -eq 0 ] || step "$bulk events, and a node killed every few seconds"
mkdir "$tmp/h"
coproc load { exec fly_chaos --addr "$FLYRPC_ADDR" --tokens "$tmp/tokens" --dir "$tmp/h" \
    --regions SIN,DEN --keep $((96 / clients)) --seed "$seed" 2>"$tmp/load.err"; }
load_pid=$!
exec {load_out}<&"${load[0]}" {load_in}>&"${load[1]}"
each=$((bulk > 0 ? 50 : launches / (faults + 2)))
churn=
if [ "$bulk" -gt 0 ]; then
    fly_churn --addr "$FLYRPC_ADDR" --token "$FLYRPC_TOKEN" --regions SIN,DEN --clients 48 \
        --rate "${WATCH_RATE:-4000}" --events "$bulk" >"$tmp/churn" 2>"$tmp/churn.err" </dev/null &
    churn=$!
fi
for ((f = 0; f < faults; f++)); do
    [ -z "$churn" ] || kill -0 "$churn" 2>/dev/null || break
    echo "go $each" >&"$load_in"
    if [ $((f % 2)) -eq 0 ]; then fault "${owners[@]}"; else fault e1 e2; fi
    answer
    [ -z "$churn" ] || sleep "${WATCH_PAUSE:-5}"
done
if [ -n "$churn" ]; then
    wait "$churn" || fail "the bulk load ended with $?: $(cat "$tmp/churn" "$tmp/churn.err")"
    printf '%s: bulk   %s; %s nodes killed\n' "$script" "$(cat "$tmp/churn")" "$f"
fi
launches=$((each * (f + 2)))

step "a member's address tells lies, and an owner is killed under them"
wait_for "$ready_s" "both edges to know the slices" whole
kill9_node p4 2>/dev/null
wait_for "$ready_s" "both edges to know the slices" whole
list_slices || fail "no list of slices"
# shellcheck disable=SC2046
fly_liar --state "$tmp/p4/state" --url "tcp://127.0.0.1:${node_pub[p4]}" \
    $(jq -r '.[] | select(.state == "serving") | "\(.slice):\(.incarnation):\(.seq)"' \
        "$tmp/slices") >"$tmp/liar" 2>"$tmp/liar.err" </dev/null &
liar=$!
echo "go $((2 * each))" >&"$load_in"
fault "${owners[@]}"
answer
eval "exec ${load[1]}>&-"
exec {load_in}>&-
answer
wait "$load_pid" || fail "the load ended with $?: $(tail -n 5 "$tmp/load.err")"

step "each watcher reaches the last event"
wait_for "$ready_s" "both edges to know the slices" whole
list_slices || fail "no list of slices"
watch late --since "$from" --restless --seed "$((seed + 6))"
wait_for "$ready_s" "the watchers to see the last events" all_reached
sizes() { stat -c %s "$tmp/w.sin" "$tmp/w.den" "$tmp/w.lazy" | tr '\n' ' '; }
still() {
    local before
    before=$(sizes)
    sleep 3.5 # as long as a slow one may not read
    [ "$before" = "$(sizes)" ]
}
wait_for "$ready_s" "the filtered watchers to have read all" still

step "the liar changed nothing of what the edges think"
wait_for 10 "a whole picture" whole
before=$(picture e1)
for ((i = 0; i < 5; i++)); do
    sleep 0.4
    wait_for 5 "a whole picture" whole
    for edge in e1 e2; do
        expect_equal "$(picture "$edge")" "$before" "the picture of $edge"
    done
done
kill -TERM "$liar"
wait "$liar" || fail "the liar ended with $?: $(cat "$tmp/liar.err")"
jq -e '.lies > 500 and .garbage > 500 and .connections > 1' "$tmp/liar" >/dev/null ||
    fail "nobody listened to the liar: $(cat "$tmp/liar")"

step "all stop; what was shown is what the logs tell"
for name in "${!watcher_pid[@]}"; do
    kill -TERM "${watcher_pid[$name]}" 2>/dev/null
    wait "${watcher_pid[$name]}" || fail "watcher $name: $(cat "$tmp/w.$name.err")"
    printf '%s: %-8s %s\n' "$script" "$name" "$(cat "$tmp/w.$name.counters")"
    jq -e '.twice == 0 and .skipped == 0' "$tmp/w.$name.counters" >/dev/null ||
        fail "$name was shown events twice, or not all"
done
jq -e '.broken >= 5' "$tmp/w.restless.counters" >/dev/null || fail "restless never broke off"
for name in e1 e2 "${owners[@]}"; do
    stop_node "$name"
done
for edge in e1 e2; do
    grep -E ' feed\.refused .*unsealed=[1-9]' "$tmp/$edge/log" | grep -qE 'disbelieved=[1-9]' ||
        fail "$edge did not count the lies"
    grep ' feed\.refused ' "$tmp/$edge/log" | tail -n 1 | sed "s/^/$script: $edge: /"
done
records=()
for name in "${!watcher_pid[@]}"; do
    records+=("$tmp/w.$name${region_of[$name]:+:${region_of[$name]}}")
done
call_s=300
expect_exit 0 fly_watch_check "${check[@]}" "$tmp"/p?/state "${records[@]}"
printf '%s: load   %s\n%s: check  %s\n' "$script" "$counters" "$script" "$(cat "$out")"
expect_json '.slices == $slices and .records == 9 and .wrong == 0 and .events >= $n
    and .pictures > 0' --argjson n "$((bulk > 0 ? bulk : events))" --argjson slices "$((${#owners[@]} + 1))"
[ "$bulk" -eq 0 ] || expect_equal "$(jq ".events >= $bulk" "$tmp/w.steady.counters")" true \
    "a watcher was shown a million events"

step "the check misses what is left out, told twice, or told of another"
for change in '/^E/ && ++n == 50 { next } { print }' '{ print } /^E/ && ++n == 50 { print }' \
    '/^E/ && $6 != "-" && ++n == 50 { $5 = 3 - $5 } { print }'; do
    awk "$change" "$tmp/w.steady" >"$tmp/w.changed"
    expect_exit 1 fly_watch_check "${check[@]}" "$tmp"/p?/state "$tmp/w.changed" "$tmp/w.restless"
done

step "and a picture that is not the slices'"
awk '/^F/ { last = NR } { line[NR] = $0 } END { for (i = 1; i <= NR; i++) {
    if (i == last) { sub(/ [0-9]+ [0-9]+$/, " 7 7", line[i]) } print line[i] } }' \
    "$tmp/w.picture" >"$tmp/w.changed"
expect_exit 1 fly_watch_check "${check[@]}" "$tmp"/p?/state "$tmp/w.restless" "$tmp/w.changed"
