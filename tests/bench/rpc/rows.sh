# rows.sh - the figures of rows 1 to 7, each once a round and pin.
# shellcheck shell=bash disable=SC2154,SC2034,SC2012

# client SYSTEM SERVER ARGUMENTS... - runs one, with what it needs to find that server
client() {
    local system=$1 server=$2 program=$build/bin/bench_rpc_$1_client
    shift 2
    [ "$system" != grpc ] || program=$grpc_build/bin/bench_rpc_grpc_client
    timeout 60 taskset -c "$client_cpus" "$program" --address "${server_port[$server]}" \
        --server "${server_pid[$server]}" "$@"
}

# figure NAME PIN SYSTEM SERVER VARIANT ARGUMENTS... - one line, or one that says it is missing
figure() {
    local name=$1 pin=$2 system=$3 server=$4 variant=$5 tag
    shift 5
    [ "$system" != grpc ] || [ -n "$grpc" ] || return 0
    tag="\"figure\": \"$name\", \"pin\": \"$pin\", \"system\": \"$system\", \"round\": $round"
    client "$system" "$server" --ms "$ms" --tag "$tag" --variant "$variant" "$@" 2>"$tmp/err" ||
        printf '{%s, "variant": "%s", "missing": %s}\n' "$tag" "$variant" "$(jq -Rs . "$tmp/err")"
}

# figure_tls - the same on the server's other port
figure_tls() {
    local server=$4 clear=${server_port[$4]}
    [ "$3" != grpc ] || [ -n "$grpc" ] || return 0
    server_port["$server"]=${server_tls[$server]}
    figure "$@" --tls "$ca"
    server_port["$server"]=$clear
}

row_1() {
    local kind
    figure unary_1 "$1" raw raw one
    figure unary_1 "$1" ours ours inline
    figure unary_1 "$1" ours ours inline-callback --mode chains
    if wanted 1b; then
        figure mailed_1 "$1" ours ours mailed
        figure mailed_1 "$1" ours ours mailed-callback --mode chains
    fi
    for kind in $grpc_kinds; do
        figure unary_1 "$1" grpc "$kind" "sync/$kind"
    done
    figure unary_1 "$1" grpc queue queue/queue --mode chains
}

row_2() {
    local many=(--mode chains --callers 64 --connections 64)
    figure conns_64 "$1" raw raw_epoll epoll "${many[@]}"
    figure conns_64 "$1" ours ours inline "${many[@]}"
    figure conns_64 "$1" grpc queue queue/queue "${many[@]}"
    figure conns_64 "$1" grpc callback queue/callback "${many[@]}"
    figure conns_64 "$1" grpc callback callback/callback "${many[@]}"
}

row_3() {
    local flight=(--mode chains --callers 64)
    figure flight_64 "$1" raw raw pipeline
    figure flight_64 "$1" ours ours inline "${flight[@]}"
    figure flight_64 "$1" grpc queue queue/queue "${flight[@]}"
    figure flight_64 "$1" grpc callback queue/callback "${flight[@]}"
    figure flight_64 "$1" grpc callback callback/callback "${flight[@]}"
}

row_4() {
    local kind
    figure threads_64 "$1" ours ours inline --callers 64
    for kind in $grpc_kinds; do
        figure threads_64 "$1" grpc "$kind" "sync/$kind" --callers 64
    done
}

row_5() {
    local open=(--mode open --callers 1000 --rate 20000)
    figure open_20k "$1" raw raw_epoll in_order "${open[@]}"
    figure open_20k "$1" ours ours inline "${open[@]}"
    figure open_20k "$1" grpc queue queue/queue "${open[@]}"
    figure open_20k "$1" grpc callback callback/callback "${open[@]}"
}

row_6() {
    local flight=(--mode chains --callers 64)
    figure_tls tls_1 "$1" raw raw openssl
    figure_tls tls_64 "$1" raw raw pipeline
    figure_tls tls_1 "$1" ours ours inline
    figure_tls tls_1 "$1" ours ours inline-callback --mode chains
    figure_tls tls_1 "$1" grpc queue sync/queue
    figure_tls tls_1 "$1" grpc sync sync/sync
    figure_tls tls_1 "$1" grpc callback sync/callback
    figure_tls tls_1 "$1" grpc queue queue/queue --mode chains
    figure_tls tls_64 "$1" ours ours inline "${flight[@]}"
    figure_tls tls_64 "$1" grpc queue queue/queue "${flight[@]}"
    figure_tls tls_64 "$1" grpc callback queue/callback "${flight[@]}"
}

# gRPC's own batching of writes (buffer_hint) delivers nothing on an endless stream: see docs/BENCH.md
row_7() {
    local kind reader
    figure stream_1 "$1" ours ours stream --mode stream
    for kind in $grpc_kinds; do
        for reader in sync callback; do
            figure stream_1 "$1" grpc "$kind" "$reader/$kind" --mode stream
        done
    done
}

# rows_measure PIN - unpinned only what rows 3 to 5 say about rates
rows_measure() {
    local row
    for row in 1 2 3 4 5 6 7; do
        case "$1$row" in U1 | U2 | U6 | U7) continue ;; esac
        if wanted "$row" || { [ "$row" = 1 ] && wanted 1b; }; then
            "row_$row" "$1" | say
        fi
    done
}
