#!/bin/bash
# Five nodes on one segment: nobody is told an address but by the join token, and they are one
# cluster; another cluster on the same segment is none of theirs.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$root/tests/e2e/netns.sh"

# mcast_in PLACE - multicast packets that came in there
mcast_in() {
    nsenter --net="/run/netns/$FLY_NETNS_PREFIX$1" awk '
        $1 == "IpExt:" && !column { for (i = 2; i <= NF; i++) if ($i == "InMcastPkts") column = i; next }
        $1 == "IpExt:" { print $column }' /proc/net/netstat
}

more_mcast() { [ "$(mcast_in "$1")" -ge "$2" ]; }

# adds_up EDGE - its regions are the whole inventory
adds_up() {
    on lan flyrpc regions --addr "$(address_of "$1")" --json >"$out" 2>"$err" || return 1
    jq -e --argjson machines "$machines" --argjson cores "$cores" --argjson memory "$memory" '
        (map(.machines) | add) == $machines and (map(.cores_total) | add) == $cores and
        (map(.memory_total_bytes) | add) == $memory' "$out" >/dev/null
}

step "five nodes become one cluster"
netns_up 5
grep 'see each other' "$err" | sed "s/^/$script: /"
for i in 1 2 3 4 5; do
    expect_exit 0 members_of "$i"
    expect_json 'length == 5 and all(.[]; .state == "alive") and (map(select(.self)) | length == 1)'
    expect_json '(map(.name) | sort) == ["n1", "n2", "n3", "n4", "n5"] and
        (map(select(.slices | length == 1) | .name) | sort) == ["n1", "n2", "n3"]'
done

step "nobody was told an address but by the token"
for i in 2 3 4 5; do
    expect_equal "$(jq -c '.seeds // []' "$FLY_NETNS_DIR/$i/state/node.json")" '[]' "seeds of node $i"
done

step "either edge knows the whole inventory"
read -r machines cores memory < <(awk -F, 'NR > 1 { m++; c += $4; b += $5 }
    END { printf "%d %d %.0f\n", m, c, b }' "$root/data/machines.csv")
for i in 4 5; do
    wait_for 30 "the regions at edge $i to add up to $machines machines" adds_up "$i"
done

step "a launch through either edge"
for i in 4 5; do
    expect_exit 0 on lan flyrpc launch --addr "$(address_of "$i")" --region SIN --memory 6 \
        --cores 4 --json
done

step "a foreign cluster on the same segment is ignored, and ignores"
expect_exit 0 "$root/deploy/netns" plug 6
mkdir -m 700 "$tmp/foreign"
foreign() {
    timeout -k 5 "$call_s" nsenter --net="/run/netns/${FLY_NETNS_PREFIX}6" "$@"
}
expect_exit 0 foreign flynode init --state "$tmp/foreign/state" --name foreign --advertise 10.74.0.6
here=$(($(mcast_in 1) + 3))
there=$(($(mcast_in 6) + 3))
setsid nsenter --net="/run/netns/${FLY_NETNS_PREFIX}6" flynode run --state "$tmp/foreign/state" \
    --regions-file "$root/data/regions.csv" </dev/null >"$tmp/foreign/log" 2>&1 &
node_pid[foreign]=$!
node_port[foreign]=7401
FOREIGN_TOKEN=$(flyrpc token create --state "$tmp/foreign/state" --scope read,regions)
foreign_members() {
    FLYRPC_TOKEN=$FOREIGN_TOKEN FLYRPC_CA=$tmp/foreign/state/tls-ca.pem \
        foreign flyrpc members --addr 10.74.0.6:7401 --json
}
foreign_answers() {
    node_runs foreign || fail "the foreign node ended"
    foreign_members >/dev/null 2>&1
}
wait_for "$ready_s" "the foreign node to answer" foreign_answers
wait_for 60 "its beacons to come to node 1" more_mcast 1 "$here"
wait_for 60 "ours to come to it" more_mcast 6 "$there"
expect_exit 0 foreign_members
expect_json 'length == 1 and .[0].name == "foreign"'
for i in 1 4; do
    expect_exit 0 members_of "$i"
    expect_json 'length == 5 and all(.[]; .name != "foreign")'
done
stop_node foreign

step "one ends and comes back"
netns_stop 2
wait_for 30 "node 2 to have left" member_is 4 n2 left
netns_start 2
for i in 1 3 4 5; do
    wait_for 30 "node 2 to be back for node $i" member_is "$i" n2 alive
done
wait_for 30 "the regions to add up again" adds_up 4

step "up again says so, and down leaves nothing"
expect_exit 0 "$root/deploy/netns" up 5
for i in 1 2 3 4 5; do
    pids[i]=$(netns_pid "$i") || fail "node $i does not run"
done
expect_exit 0 "$root/deploy/netns" down
[ -z "$(ip netns | grep -F "$FLY_NETNS_PREFIX")" ] || fail "namespaces are left"
for i in 1 2 3 4 5; do
    [ -z "$(session_members "${pids[i]}")" ] || fail "processes of node $i are left"
    ! grep -qE 'check failed:|ERROR: (Address|Leak)Sanitizer|runtime error:' "$FLY_NETNS_DIR/$i/log" ||
        fail "node $i reported a bug"
done
expect_exit 0 "$root/deploy/netns" down --purge
[ ! -e "$FLY_NETNS_DIR" ] || fail "the folder is left"
