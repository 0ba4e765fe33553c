# beside.sh - N agents of Debian's serf, the control of what is said about members: each in a network
# namespace of its own on a bridge of their own, with the LAN profile and a key, as it comes otherwise.
# After ../e2e/lib.sh and ../e2e/netns.sh:
#
#   serf_up 5; serf members as agent 2 sees them: serf_on 2 members; netns and agents end with the script
#   count_sent                     # counters of what each of our nodes and each agent sends; sent_of reads
#
# The package is unpacked below build/, not installed: it would start an agent of its own.
# shellcheck shell=bash disable=SC2154

serf_prefix=fly$$-s
serf_count=0
declare -a serf_pids=()

# serf_find - sets serf_bin, from PATH or from the package
serf_find() {
    local name folder=$root/build/bench
    name=$(packages_of bench)
    serf_bin=$(command -v serf) || serf_bin=$folder/unpacked/usr/bin/serf
    [ ! -x "$serf_bin" ] || return 0
    mkdir -p "$folder/unpacked"
    (
        cd "$folder" || exit
        apt-get download -q "$name" || { apt-get update -q && apt-get download -q "$name"; }
        dpkg-deb -x "$name"_*.deb unpacked
    ) >"$folder/log" 2>&1 </dev/null || fail "no serf: $(tail -n 1 "$folder/log")"
    [ -x "$serf_bin" ] || fail "the package $name has no /usr/bin/serf"
}

serf_inside() {
    local place=$1
    shift
    nsenter --net="/run/netns/$serf_prefix$place" "$@"
}

serf_on() {
    local place=$1
    shift
    serf_inside "$place" timeout 10 "$serf_bin" "$@"
}

serf_plug() {
    local i=$1
    ip netns add "$serf_prefix$i"
    ip -n "$serf_prefix$i" link set lo up
    ip -n "$serf_prefix$i" link add eth0 type veth peer name "p$i" netns "${serf_prefix}lan"
    ip -n "$serf_prefix$i" addr add "10.75.0.$i/24" dev eth0
    ip -n "${serf_prefix}lan" link set "p$i" master br0 up
    ip -n "$serf_prefix$i" link set eth0 up
}

serf_start() {
    setsid nsenter --net="/run/netns/$serf_prefix$1" "$serf_bin" agent -node="s$1" \
        -bind="10.75.0.$1:7946" -profile=lan -encrypt="$serf_key" -log-level=info \
        -retry-join=10.75.0.1 -retry-join=10.75.0.2 -retry-interval=1s </dev/null \
        > >(serf_stamp >>"$tmp/serf.$1") 2>&1 &
    serf_pids[$1]=$!
    disown "$!" # bash says nothing when it is killed
}

serf_gone() { ! process_mark "${serf_pids[$1]}" >/dev/null; }

# its own log knows whole seconds only: each line gets the time in ms when it came
serf_stamp() {
    local line
    while read -r line; do
        printf '%s %s\n' "${EPOCHREALTIME%???}" "$line"
    done | sed -u 's/\.//'
}

# serf_sees I STATE - how many members agent I says are so
serf_sees() { serf_on "$1" members -status="$2" 2>/dev/null | wc -l; }
serf_all_see() {
    local i
    for ((i = 1; i <= serf_count; i++)); do
        [ "$(serf_sees "$i" alive)" -eq "$serf_count" ] || return 1
    done
}

serf_up() {
    local i
    trap serf_end EXIT
    serf_find
    serf_key=$("$serf_bin" keygen)
    serf_count=$1
    ip netns add "${serf_prefix}lan"
    ip -n "${serf_prefix}lan" link add br0 type bridge mcast_snooping 0 forward_delay 0
    ip -n "${serf_prefix}lan" link set br0 up
    for ((i = 1; i <= serf_count; i++)); do
        serf_plug "$i" || fail "no namespace for agent $i"
        serf_start "$i"
    done
    wait_for 60 "every serf agent to see every other" serf_all_see
}

serf_end() {
    local code=$? name
    [ "${#serf_pids[@]}" -eq 0 ] || kill -KILL "${serf_pids[@]}" 2>/dev/null
    for name in /run/netns/"$serf_prefix"*; do
        [ ! -e "$name" ] || ip netns del "${name##*/}"
    done
    (exit "$code")
    netns_end
}

# --- what is sent ---

# counters_in NAMESPACE LINE... - each LINE is a name and what an output rule matches
counters_in() {
    local namespace=$1 line
    shift
    {
        echo 'table inet bench {'
        printf 'counter %s { }\n' other
        printf '%s\n' "$@" | awk '!seen[$1]++ { print "counter " $1 " { }" }'
        printf 'chain out {\ntype filter hook output priority 0\noifname "lo" accept\n'
        for line in "$@"; do
            printf '%s counter name %s accept\n' "${line#* }" "${line%% *}"
        done
        printf 'counter name other\n}\n}\n'
    } | nsenter --net="/run/netns/$namespace" nft -f - || fail "no counters in $namespace"
}

# count_sent - for as many nodes of ours as `nodes` says, and every agent
count_sent() {
    local i
    for ((i = 1; i <= nodes; i++)); do
        counters_in "$FLY_NETNS_PREFIX$i" 'beacon ip daddr 239.255.74.0' 'beacon ip6 daddr ff02::74:0' \
            'gossip udp dport 7400' 'rpc tcp dport 7401' 'rpc tcp sport 7401' \
            'feed tcp dport 7402' 'feed tcp sport 7402'
    done
    for ((i = 1; i <= serf_count; i++)); do
        counters_in "$serf_prefix$i" 'gossip udp dport 7946' 'sync tcp dport 7946' 'sync tcp sport 7946'
    done
}

# sent_of NAMESPACE - {name: {packets, bytes}} since the last time; IP bytes, without Ethernet's
sent_of() {
    nsenter --net="/run/netns/$1" nft -j reset counters table inet bench |
        jq -c '[.nftables[].counter | values | {key: .name, value: {packets, bytes}}] | from_entries'
}
