# netns.sh - a cluster in network namespaces, and what can go wrong on its segment. After lib.sh:
#
#   . "$(dirname "$0")/netns.sh"
#   netns_up 5                     # deploy/netns 5 under names of our own; gone when the script ends
#   on 4 flyrpc members --json     # on node 4, with the cluster's env; for expect_exit and the like
#   netns_cut 1 2                  # no frame between 1 and 2 any more; netns_cut_from 1 2: 1 to 2 only
#   netns_kill9 3; netns_start 3
#
# Needs root and network namespaces. Where they are impossible the script is skipped, and says why.
# shellcheck shell=bash disable=SC2034,SC2154

export FLY_NETNS_PREFIX=fly$$- FLY_NETNS_DIR=$tmp/netns FLY_BIN

netns_skip() {
    printf '%s: SKIPPED: %s\n' "$script" "$*" >&2
    exit 77
}

netns_need() {
    local why
    [ "$(id -u)" -eq 0 ] || netns_skip "only root may make network namespaces"
    command -v ip >/dev/null || netns_skip "there is no ip: apt-get install iproute2"
    command -v nft >/dev/null || netns_skip "there is no nft: apt-get install nftables"
    why=$(ip netns add "${FLY_NETNS_PREFIX}try" 2>&1) ||
        netns_skip "this kernel or container gives no network namespaces: $why"
    ip netns del "${FLY_NETNS_PREFIX}try"
}

netns_end() {
    local code=$?
    "$root/deploy/netns" down >/dev/null 2>&1 </dev/null
    (exit "$code")
    cleanup
}
trap netns_end EXIT

# netns_up N - and `nodes` is N
netns_up() {
    local before=$call_s
    netns_need
    nodes=$1
    for ((i = 1; i <= nodes; i++)); do
        ln -s "netns/$i" "$tmp/n$i" # so that a failure shows its log
        node_port[n$i]=7401
    done
    call_s=240
    expect_exit 0 "$root/deploy/netns" "$nodes"
    call_s=$before
}

# on PLACE COMMAND... - PLACE is a node's number, or lan
on() {
    timeout --preserve-status -k 5 "$call_s" "$root/deploy/netns" exec "$@"
}

address_of() { printf '10.74.0.%s:7401\n' "$1"; }

netns_pid() { process_of "$FLY_NETNS_DIR/$1/pid"; }

# --- nodes ---

netns_kill9() {
    local pid
    pid=$(netns_pid "$1") || fail "node $1 does not run"
    kill -KILL "$pid"
    wait_for 30 "node $1 to be gone" netns_gone "$1"
}
netns_gone() { ! netns_pid "$1" >/dev/null; }
netns_freeze() { kill -STOP "$(netns_pid "$1")"; }
netns_thaw() { kill -CONT "$(netns_pid "$1")"; }
netns_start() { "$root/deploy/netns" start "$1" </dev/null || fail "node $1 did not start"; }
netns_stop() { "$root/deploy/netns" stop "$1" </dev/null || fail "node $1 did not stop"; }

# --- the segment: frames between ports of the bridge are dropped, of every protocol ---

lan_nft() {
    nsenter --net="/run/netns/${FLY_NETNS_PREFIX}lan" nft "$@" || fail "nft $*"
}

netns_cut_from() {
    lan_nft add table bridge cut
    lan_nft add chain bridge cut forward '{ type filter hook forward priority 0; }'
    lan_nft add rule bridge cut forward iifname "p$1" oifname "p$2" drop
}

netns_cut() {
    netns_cut_from "$1" "$2"
    netns_cut_from "$2" "$1"
}

# netns_isolate I - from all others at once
netns_isolate() {
    local i
    for ((i = 1; i <= nodes; i++)); do
        [ "$i" -eq "$1" ] || netns_cut "$1" "$i"
    done
}

# netns_heal - every cut ends
netns_heal() {
    lan_nft add table bridge cut
    lan_nft delete table bridge cut
}

# --- what a node sees ---

# members_of PLACE - the view of that node, as JSON
members_of() {
    on lan flyrpc members --addr "$(address_of "$1")" --json
}

# member_is PLACE NAME STATE - whether that node says so of the member; alive means serving too
member_is() {
    members_of "$1" 2>/dev/null | jq -e --arg name "$2" --arg state "$3" \
        'map(select(.name == $name and .state == $state)) | length == 1' >/dev/null 2>&1
}
