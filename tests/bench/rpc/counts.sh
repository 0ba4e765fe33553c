# counts.sh - row 9: what the server asks of the kernel for a call, counted by perf (root; tracefs). A
# processor that is slow or shared does not move these.
# shellcheck shell=bash disable=SC2154,SC2034,SC2012

counted=raw_syscalls:sys_enter,sched:sched_switch,syscalls:sys_enter_futex

counts_ready() {
    [ -d /sys/kernel/tracing/events ] || mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null
    perf stat -e "$counted" -- true >/dev/null 2>&1
}

# counted_by FIGURE SYSTEM SERVER VARIANT CALLS SIDE ARGUMENTS... - SIDE: server, or client
counted_by() {
    local name=$1 system=$2 server=$3 variant=$4 calls=$5 side=$6 whom=()
    shift 6
    [ "$system" != grpc ] || [ -n "$grpc" ] || return 0
    [ "$side" = client ] || whom=(-p "${server_pid[$server]}")
    # the program that perf starts is what the client function would run
    local program=$build/bin/bench_rpc_${system}_client
    [ "$system" != grpc ] || program=$grpc_build/bin/bench_rpc_grpc_client
    timeout 60 perf stat -x, -e "$counted" -o "$tmp/counts" "${whom[@]}" -- \
        taskset -c "$client_cpus" "$program" --address "${server_port[$server]}" \
        --server "${server_pid[$server]}" --calls "$calls" --variant "$variant" "$@" \
        >/dev/null 2>"$tmp/err" || return 0
    awk -F, -v calls="$calls" -v round="$round" -v name="$name" -v whose="$system" -v side="$side" \
        -v variant="$variant" '
        $3 ~ /:/ { n[$3] = $1 / calls }
        END {
            printf "{\"figure\": \"%s\", \"pin\": \"S\", \"system\": \"%s\", \"variant\": \"%s\", \"side\": \"%s\", " \
                "\"round\": %d, \"syscalls\": %.3f, \"switches\": %.3f, \"futex\": %.3f}\n",
                name, whose, variant, side, round, n["raw_syscalls:sys_enter"], n["sched:sched_switch"],
                n["syscalls:sys_enter_futex"]
        }' "$tmp/counts"
}

counts_measure() {
    counts_ready || { printf 'run: perf cannot count here: row 9 is missing\n' >&2; return 0; }
    servers_pin S
    {
        counted_by counts_1 ours ours inline 20000 server
        counted_by counts_1 ours ours inline 20000 client
        counted_by counts_1 ours ours mailed 20000 server
        counted_by counts_1 grpc queue sync/queue 20000 server
        counted_by counts_1 grpc queue sync/queue 20000 client
        counted_by counts_64 ours ours inline 400000 server --mode chains --callers 64
        counted_by counts_64 ours ours inline 400000 client --mode chains --callers 64
        counted_by counts_64 grpc queue queue/queue 40000 server --mode chains --callers 64
        counted_by counts_64 grpc queue queue/queue 40000 client --mode chains --callers 64
    } | say
}
