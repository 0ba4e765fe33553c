#!/bin/bash
# watchers - CPU of an edge at one rate of events with no, one and a hundred watchers.
#
#   ./tests/bench/feed/watchers.sh [--rate EVENTS_PER_S] [--ms N] [--counts "0 1 100"]
#
# Prints a JSON line for each. FLY_BIN: the programs [build/release/bin]; FLY_EDGE_BIN: the folder of the
# edge's flynode, to compare with another build's.
rate=1000 ms=4000 counts="0 1 100"
while [ $# -gt 0 ]; do
    case "$1" in
    --rate) rate=$2; shift 2 ;;
    --ms) ms=$2; shift 2 ;;
    --counts) counts=$2; shift 2 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
    esac
done
. "$(dirname "${BASH_SOURCE[0]}")/../../e2e/lib.sh"

{
    echo name,region,address,cores,memory_bytes,status
    for ((i = 0; i < 20; i++)); do
        echo "sin-$i,SIN,10.0.0.$i:1,64,256000000000,available"
    done
} >"$tmp/machines.csv"
cluster_init p1
start_member p1 --roles peer --machines "$tmp/machines.csv"
cluster_join e1 --roles edge
cluster_join e2 --roles edge
path=$PATH
PATH=${FLY_EDGE_BIN:+$FLY_EDGE_BIN:}$PATH
start_member e1 --roles edge
PATH=$path
start_member e2 --roles edge
use_edges regions,launch,read,destroy,watch e2
wait_for "$ready_s" "the regions" adds_up "$tmp/machines.csv"
watched=127.0.0.1:${node_port[e1]}

cpu_ms() { awk -v hz="$(getconf CLK_TCK)" '{ print int(($14 + $15) * 1000 / hz) }' "/proc/${node_pid[e1]}/stat"; }

# the load goes through e2: e1 does nothing but to follow and to tell
for count in $counts; do
    fly_churn --addr "$FLYRPC_ADDR" --token "$FLYRPC_TOKEN" --regions SIN --clients 16 \
        --rate "$rate" --ms $((ms + 3000)) >"$tmp/churn" 2>"$tmp/churn.err" </dev/null &
    load=$!
    sleep 1
    told='{}'
    if [ "$count" -gt 0 ]; then
        coproc watchers { exec bench_watchers --addr "$watched" --token "$FLYRPC_TOKEN" \
            --count "$count" --ms "$ms" 2>"$tmp/watchers.err"; }
        exec {answers}<&"${watchers[0]}"
        read -r -t 20 told <&"$answers" || fail "the watchers do not stand: $(cat "$tmp/watchers.err")"
        before=$(cpu_ms)
        read -r -t 60 told <&"$answers" || fail "the watchers do not answer"
        exec {answers}<&-
    else
        before=$(cpu_ms)
        sleep "$((ms / 1000))"
    fi
    used=$(($(cpu_ms) - before))
    wait "$load" || fail "the load: $(cat "$tmp/churn.err")"
    jq -nc --argjson told "$told" --argjson count "$count" --argjson used "$used" --argjson ms "$ms" \
        --slurpfile churn "$tmp/churn" '{figure: "edge.watchers", watchers: $count,
            edge_cpu_percent: ($used * 1000 / $ms | round / 10), load: $churn[0].events_per_s, told: $told}'
done
for name in e1 e2 p1; do
    stop_node "$name"
done
