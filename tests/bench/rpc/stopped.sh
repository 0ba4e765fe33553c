# stopped.sh - row 12: readers that are stopped (SIGSTOP) with full windows, while others call the same
# server. More of them than nng has task threads, so that one thread each would be the end of all calls.
# shellcheck shell=bash disable=SC2154,SC2034,SC2012

stopped_readers=8 # of each kind

# others WHEN - 16 connections with a call each: their p99 is what must not move. Thrice: the best counts,
# for a neighbour lifts a p99 and nothing lowers it
others() {
    local i
    for ((i = 0; i < 3; i++)); do
        others_once "$1"
    done
}

others_once() {
    figure stopped "S" ours stopped "$1" --mode chains --callers 16 --connections 16
}

# threads_in_send PID - how many looks (of 50) found a thread in the kernel's wait for send memory
threads_in_send() {
    local i found=0
    for ((i = 0; i < 50; i++)); do
        ! cat "/proc/$1/task"/*/wchan 2>/dev/null | grep -q 'sk_stream_wait_memory' || found=$((found + 1))
        sleep 0.02
    done
    printf '%d\n' "$found"
}

# task_threads PID - the switches so far of each of nng's task threads
task_threads() {
    local task
    for task in "/proc/$1/task"/*; do
        [ "$(cat "$task/comm" 2>/dev/null)" = nng:task ] || continue
        printf '%s %s\n' "${task##*/}" "$(awk '/ctxt_switches/ { n += $2 } END { print n }' "$task/status")"
    done
}

# readers_stop VARIANT - starts that many, and stops them; adds to pids
readers_stop() {
    local i mine=()
    for ((i = 0; i < stopped_readers; i++)); do
        taskset -c "$client_cpus" "$build/bin/bench_rpc_ours_client" --address "${server_port[stopped]}" \
            --mode stream --variant "$1" --ms 60000 >/dev/null 2>&1 &
        mine+=($!)
    done
    sleep 0.7
    kill -STOP "${mine[@]}"
    sleep 0.7 # what can still be written is written
    pids+=("${mine[@]}")
}

stopped_measure() {
    local pids=() pid rss narrow wide waiting stuck
    # a server of its own, whose heap nobody has used yet
    server_start stopped "$build/bin/bench_rpc_ours_server"
    pid=${server_pid[stopped]}
    servers_pin S
    others before | say
    read -r rss _ < <(memory_of "$pid")
    readers_stop stream
    read -r narrow _ < <(memory_of "$pid")
    readers_stop wide # the sockets fill, not only the credit
    read -r wide _ < <(memory_of "$pid")
    task_threads "$pid" >"$tmp/tasks.a"
    others during | say
    task_threads "$pid" >"$tmp/tasks.b"
    others_once looked_at >/dev/null & # looking costs the others something: not while they are measured
    waiting=$(threads_in_send "$pid")
    wait "$!"
    stuck=$(join "$tmp/tasks.a" "$tmp/tasks.b" | awk '$2 == $3 { n++ } END { print n + 0 }')
    kill -KILL "${pids[@]}"
    wait "${pids[@]}" 2>/dev/null
    server_stop stopped
    jq -nc --argjson round "$round" --argjson narrow "$((narrow - rss))" --argjson wide "$((wide - narrow))" \
        --argjson waiting "$waiting" --argjson stuck "$stuck" --argjson readers "$stopped_readers" \
        --argjson tasks "$(wc -l <"$tmp/tasks.b")" \
        '{figure: "stopped_server", pin: "S", system: "ours", variant: "stream", round: $round,
          readers: ($readers * 2), kb_each: ($narrow / $readers), wide_kb_each: ($wide / $readers),
          looks_with_a_thread_in_send: $waiting, task_threads: $tasks,
          task_threads_that_never_ran: $stuck}' | say
}
