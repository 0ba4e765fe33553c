# idle.sh - row 8: what 10,000 connections that say nothing cost a server that holds nothing else.
# shellcheck shell=bash disable=SC2154,SC2034,SC2012

idle_count=10000

# memory_of PID - resident and proportional, in kB
memory_of() { awk '$1 == "Rss:" { r = $2 } $1 == "Pss:" { p = $2 } END { print r, p }' "/proc/$1/smaps_rollup"; }

# idle_hold SYSTEM NAME GREETING COUNT COMMAND... - a server of its own, and its growth
idle_hold() {
    local system=$1 name=$2 greeting=$3 count=$4 rss pss rss_then pss_then word held=0 before
    shift 4
    server_start "$name" "$@"
    # the first connections bring up threads and pools that belong to no connection
    printf '' | timeout 60 "$build/bin/bench_rpc_idle_client" "$greeting" "${server_port[$name]}" 64 >/dev/null
    sleep 1
    read -r rss pss < <(memory_of "${server_pid[$name]}")
    before=$(ls "/proc/${server_pid[$name]}/fd" | wc -l)
    mkfifo "$tmp/hold.$name"
    timeout 120 "$build/bin/bench_rpc_idle_client" "$greeting" "${server_port[$name]}" "$count" \
        <"$tmp/hold.$name" >"$tmp/held.$name" 2>"$tmp/err" &
    local holder=$!
    : >>"$tmp/held.$name"
    exec 9>"$tmp/hold.$name"
    for ((i = 0; i < 1000; i++)); do
        read -r word held <"$tmp/held.$name" && break
        kill -0 "$holder" 2>/dev/null || break
        sleep 0.1
    done
    sleep 1
    read -r rss_then pss_then < <(memory_of "${server_pid[$name]}")
    held=$(($(ls "/proc/${server_pid[$name]}/fd" | wc -l) - before))
    exec 9>&-
    wait "$holder" 2>/dev/null
    server_stop "$name"
    jq -nc --arg system "$system" --arg variant "$name" --argjson wanted "$count" --argjson held "$held" \
        --argjson rss "$((rss_then - rss))" --argjson pss "$((pss_then - pss))" --arg word "${word:-}" \
        '{figure: "idle", pin: "U", round: 1, system: $system, variant: $variant, connections: $wanted,
          held: $held, rss_kb_each: (if $held > 0 then $rss / $held * 100 | round / 100 else null end),
          pss_kb_each: (if $held > 0 then $pss / $held * 100 | round / 100 else null end),
          greeted: ($word == "holding")}'
}

idle_measure() {
    local kind
    {
        idle_hold ours idle_ours ours "$idle_count" \
            "$build/bin/bench_rpc_ours_server" --connections $((idle_count + 100))
        [ -z "$grpc" ] || for kind in $grpc_kinds; do
            idle_hold grpc "idle_$kind" http2 2000 "$grpc_build/bin/bench_rpc_grpc_server" "$kind"
        done
    } | say
}
