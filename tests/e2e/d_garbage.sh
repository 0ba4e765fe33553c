#!/bin/bash
# Garbage on the gossip, PUB and RPC ports of every node of a cluster: no crash, members stay alive,
# launches go on, memory stands still, no leak at SIGTERM (under ASan).
#
# As c_garbage.sh, for three nodes: compared are the median of resident memory in the third part after the
# warm-up, and what is left when the connections are gone. --long: 60 s, warm after 10 s. GARBAGE_SECONDS, GARBAGE_WARM,
# GARBAGE_SEED.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

limit_kb=6144 # of a short run: buffers and pools still fill up; --long says whether they stop
if [ "${1:-}" = --long ]; then
    : "${GARBAGE_SECONDS:=60}" "${GARBAGE_WARM:=10}"
    limit_kb=1024
fi
seconds=${GARBAGE_SECONDS:-10}
warm=${GARBAGE_WARM:-3}
seed=${GARBAGE_SEED:-$RANDOM}
nodes=(p1 p2 e1)
# why: c_garbage.sh
export ASAN_OPTIONS=$ASAN_OPTIONS:quarantine_size_mb=0:thread_local_quarantine_size_kb=0
export ASAN_OPTIONS=$ASAN_OPTIONS:malloc_context_size=1:detect_leaks=1
export ASAN_OPTIONS=$ASAN_OPTIONS:allocator_release_to_os_interval_ms=100

{
    echo name,region,address,cores,memory_bytes,status
    for ((i = 0; i < 4; i++)); do
        echo "sin-$i,SIN,10.0.0.$i:1,64,256000000000,available"
    done
} >"$tmp/machines.csv"

rss_kb() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/${node_pid[$1]}/status"; }
tenths() { date +%s%1N; }

# median_kb NODE FROM UNTIL - of the samples taken in these tenths of seconds
median_kb() {
    awk -v from="$2" -v until="$3" '$1 >= from && $1 < until { print $2 }' "$tmp/rss.$1" | sort -n |
        awk '{ a[NR] = $1 } END { if (NR > 0) print a[int((NR + 1) / 2)] }'
}

# A launch that is destroyed: nothing must add up but what is garbage's.
still_launches() {
    expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --timeout 20s --json
    expect_exit 0 flyrpc destroy "$(json_get .id)" --timeout 20s
}

step "two peers and an edge"
cluster_init p1 --region SIN
start_member p1 --roles peer,edge --machines "$tmp/machines.csv" --share 1/2
cluster_join p2
cluster_join e1
launch_member p2 --roles peer --machines "$tmp/machines.csv" --share 2/2
launch_member e1 --roles edge
use_edges regions,launch,read,destroy,watch e1
wait_for "$ready_s" "all to be alive" members_are alive "${nodes[@]}"
wait_for "$ready_s" "the inventory to add up" adds_up "$tmp/machines.csv"
still_launches

step "$seconds s of garbage for ${#nodes[@]} nodes, seed $seed"
lan=()
garbage=()
for name in "${nodes[@]}"; do
    lan+=(--gossip "${node_gossip[$name]}")
    [ "$name" = e1 ] || lan+=(--pub "${node_pub[$name]}")
    fly_garbage --port "${node_port[$name]}" --seconds "$seconds" --seed "$seed" \
        --token "$FLYRPC_TOKEN" --all-methods >"$tmp/garbage.$name" 2>&1 </dev/null &
    garbage+=($!)
done
fly_garbage_lan "${lan[@]}" --seconds "$seconds" --seed "$seed" >"$tmp/garbage.lan" 2>"$tmp/lan.err" \
    </dev/null &
garbage+=($!)
begin=$(tenths)
(
    while sleep 0.2; do
        for name in "${nodes[@]}"; do
            echo "$(($(tenths) - begin)) $(rss_kb "$name")" >>"$tmp/rss.$name"
        done
    done 2>/dev/null
) &
sampler=$!
launches=0
garbage_runs() { kill -0 "${garbage[-1]}" 2>/dev/null; }
while garbage_runs; do
    for name in "${nodes[@]}"; do
        node_runs "$name" || fail "node $name ended"
    done
    still_launches
    launches=$((launches + 1))
    sleep 1 # each adds a record, a key and an event to the state, which is growth that is meant
done
kill "$sampler"
for pid in "${garbage[@]}"; do
    wait "$pid" || fail "garbage ended with $?: $(cat "$tmp"/garbage.* "$tmp/lan.err")"
done
cat "$tmp/lan.err"
for name in p1 p2 e1 lan; do
    printf '%s: %s %s\n' "$script" "$name" "$(cat "$tmp/garbage.$name")"
done

step "all are alive, and never were anything else"
wait_for 20 "all to be alive" members_are alive "${nodes[@]}"
for name in "${nodes[@]}"; do
    for other in "${nodes[@]}"; do
        ! grep -qE " member node=$other state=(dead|left)" "$tmp/$name/log" || fail "$other was dead for $name"
    done
    ! grep -q node.twin "$tmp/$name/log" || fail "$name met itself"
done
expect_exit 0 flyrpc members --json
expect_json 'length == 3' # nobody got in
still_launches
wait_for 20 "the inventory to add up" adds_up "$tmp/machines.csv"

step "memory stands still; nothing is left behind"
few() { [ "$(find "/proc/${node_pid[$1]}/fd" -type l | wc -l)" -lt 60 ]; }
third=$(((seconds - warm) * 10 / 3))
for name in "${nodes[@]}"; do
    early=$(median_kb "$name" $((warm * 10)) $((warm * 10 + third)))
    late=$(median_kb "$name" $((seconds * 10 - third)) $((seconds * 10)))
    [ -n "$early" ] && [ -n "$late" ] || fail "too slow to see memory"
    # what is open now is not growth: compared is what is left when the connections are gone, and
    # the heap was given back once more (node.c, TRIM_MS)
    wait_for 30 "the garbage's connections to be gone" few "$name"
    sleep 6
    end=$(rss_kb "$name")
    printf '%s: %s: resident after %d s %d kB, at the end %d kB, now %d kB\n' "$script" "$name" "$warm" \
        "$early" "$late" "$(rss_kb "$name")"
    [ $((end - early)) -le "$limit_kb" ] || fail "memory of $name grew by $((end - early)) kB"
done
for name in p1 p2 e1; do
    cp "$tmp/garbage.$name" "$out"
    expect_json '.sessions > 0 and .calls > 0 and .hellos_refused > 0 and .answers > 0'
done
cp "$tmp/garbage.lan" "$out"
expect_json '.datagrams > 1000 and .connections > 100 and .handshakes > 10'
[ -s "$tmp/lan.err" ] || expect_json '.caught > 0 and .replayed > 100'
printf '%s: %d launches beside it\n' "$script" "$launches"
for name in e1 p2 p1; do
    stop_node "$name"
done
for name in p1 p2; do
    expect_exit 0 flynode check --state "$tmp/$name/state"
done
