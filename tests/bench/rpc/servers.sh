# servers.sh - the servers of a run: one raw, one of ours, one gRPC server of each kind, all at once.
# A server that nobody calls sleeps, so they do not disturb each other.
#
#   server_pid[NAME], server_port[NAME] ("HOST:PORT"), server_tls[NAME]; raw has raw_epoll beside raw
# shellcheck shell=bash disable=SC2154,SC2034,SC2012

declare -A server_pid=() server_port=() server_tls=() server_third=()
grpc_kinds="sync callback queue"

# server_start NAME COMMAND... - waits for "listening PORT [PORT [PORT]]"
server_start() {
    local name=$1 word="" first="" second="" third="" i
    shift
    : >"$tmp/listen.$name"
    "$@" >"$tmp/listen.$name" 2>"$tmp/err.$name" &
    server_pid[$name]=$!
    for ((i = 0; i < 200; i++)); do
        if read -r word first second third <"$tmp/listen.$name" && [ "$word" = listening ]; then
            server_port[$name]=$first
            server_tls[$name]=$second
            server_third[$name]=$third
            return 0
        fi
        kill -0 "${server_pid[$name]}" 2>/dev/null || break
        sleep 0.05
    done
    fail "$name does not listen: $(tail -n 1 "$tmp/err.$name")"
}

servers_start() {
    local kind
    server_start raw "$build/bin/bench_rpc_raw_server" "$cert" "$key"
    server_port[raw_epoll]=127.0.0.1:${server_tls[raw]}
    server_pid[raw_epoll]=${server_pid[raw]}
    server_port[raw]=127.0.0.1:${server_port[raw]}
    server_tls[raw]=127.0.0.1:${server_third[raw]}
    server_start ours "$build/bin/bench_rpc_ours_server" --cert "$cert" --key "$key" --calls 1024
    [ -n "$grpc" ] || return 0
    for kind in $grpc_kinds; do
        server_start "$kind" "$grpc_build/bin/bench_rpc_grpc_server" "$kind" "$cert" "$key"
    done
}

# server_stop NAME
server_stop() {
    [ -n "${server_pid[$1]:-}" ] || return 0
    kill -KILL "${server_pid[$1]}" 2>/dev/null
    wait "${server_pid[$1]}" 2>/dev/null
    unset "server_pid[$1]"
}

servers_stop() {
    local name
    unset "server_pid[raw_epoll]"
    for name in "${!server_pid[@]}"; do
        server_stop "$name"
    done
}

all_cpus=0-$(($(nproc) - 1))
client_cpus=0

# servers_pin S|U|P
servers_pin() {
    local name cpus=0
    client_cpus=0
    case "$1" in
    U) cpus=$all_cpus; client_cpus=$all_cpus ;;
    P) client_cpus=1 ;;
    esac
    for name in "${!server_pid[@]}"; do
        taskset -acp "$cpus" "${server_pid[$name]}" >/dev/null 2>&1
    done
}
