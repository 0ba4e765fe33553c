#!/bin/bash
# Acceptance 5: garbage, truncated and oversized frames, and well-authenticated nonsense on the RPC
# port. No crash, launches go on, memory stands still, no leak at SIGTERM (under ASan).
#
# GARBAGE_SECONDS (default 8), GARBAGE_WARM (2), GARBAGE_SEED. Memory goes up and down with the
# connections that are open at the moment, so medians are compared: of the samples in the third part
# after the warm-up, and in the last third of the run. --long: 60 s, warm after 10 s.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

limit_kb=4096 # of a short run: buffers and pools still fill up
if [ "${1:-}" = --long ]; then
    : "${GARBAGE_SECONDS:=60}" "${GARBAGE_WARM:=10}"
    limit_kb=1024
fi
seconds=${GARBAGE_SECONDS:-8}
warm=${GARBAGE_WARM:-2}
seed=${GARBAGE_SEED:-$RANDOM}
# ASan keeps what was freed, to find its uses later: that must not look like growth. The rest of its
# own bookkeeping (stacks of allocations) grows with the variety of callers, early on.
export ASAN_OPTIONS=$ASAN_OPTIONS:quarantine_size_mb=0:thread_local_quarantine_size_kb=0
export ASAN_OPTIONS=$ASAN_OPTIONS:malloc_context_size=1:detect_leaks=1
# and it gives freed pages back late: RSS must say what is in use
export ASAN_OPTIONS=$ASAN_OPTIONS:allocator_release_to_os_interval_ms=100

# rss_kb - resident memory of the node
rss_kb() {
    sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/${node_pid[a]}/status"
}

# median_kb FROM UNTIL - of the samples taken in these tenths of seconds
median_kb() {
    awk -v from="$1" -v until="$2" '$1 >= from && $1 < until { print $2 }' "$tmp/rss" | sort -n |
        awk '{ a[NR] = $1 } END { if (NR > 0) print a[int((NR + 1) / 2)] }'
}

still_launches() {
    expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --timeout 20s --json
    expect_exit 0 flyrpc destroy "$(json_get .id)" --timeout 20s
}

step "$seconds s of garbage, seed $seed"
start_node a
use a regions,launch,read,destroy,watch
still_launches
fly_garbage --port "${node_port[a]}" --seconds "$seconds" --seed "$seed" --token "$FLYRPC_TOKEN" \
    >"$tmp/garbage" 2>&1 </dev/null &
garbage=$!
tenths() { date +%s%1N; }
begin=$(tenths)
(while sleep 0.1; do echo "$(($(tenths) - begin)) $(rss_kb)"; done >"$tmp/rss" 2>/dev/null) &
sampler=$!
launches=0
while kill -0 "$garbage" 2>/dev/null; do
    node_runs a || fail "the node ended"
    still_launches
    launches=$((launches + 1))
    sleep 1 # each adds a record, a key and an event to the state, which is growth that is meant
done
kill "$sampler"
wait "$garbage" || fail "garbage ended with $?: $(cat "$tmp/garbage")"
third=$(((seconds - warm) * 10 / 3))
early=$(median_kb $((warm * 10)) $((warm * 10 + third)))
late=$(median_kb $((seconds * 10 - third)) $((seconds * 10)))
[ -n "$early" ] && [ -n "$late" ] || fail "too slow to see memory"

step "it launches, and ends with nothing left behind"
still_launches
printf '%s: %s\n%s: launches beside it %d, resident after %d s %d kB, at the end %d kB, now %d kB\n' \
    "$script" "$(cat "$tmp/garbage")" "$script" "$launches" "$warm" "$early" "$late" "$(rss_kb)"
# ASan keeps some 50 kB of its own for each connection that is open just then, which drowns 1 MiB: there,
# what is left when they are gone is compared. The release build is held to the medians under load.
end=$late
if grep -qa __asan_init "$(command -v flynode)"; then
    few() { [ "$(find "/proc/${node_pid[a]}/fd" -type l | wc -l)" -lt 40 ]; }
    wait_for 20 "the garbage's connections to be gone" few
    sleep 1 # the allocator gives pages back every 0.1 s
    end=$(rss_kb)
fi
[ $((end - early)) -le "$limit_kb" ] || fail "memory grew by $((end - early)) kB"
cp "$tmp/garbage" "$out"
expect_json '.sessions > 0 and .calls > 0 and .hellos_refused > 0 and .answers > 0'
stop_node a
expect_exit 0 flynode check --state "$tmp/a/state"
