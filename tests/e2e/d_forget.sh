#!/bin/bash
# A slice whose owner is gone for good is declared lost: signed, durable, known to all, also to who was
# away; nobody waits for it any more; and if its owner comes back, it stays quarantined and lists its VMs.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

{
    echo name,region,address,cores,memory_bytes,status
    for ((i = 0; i < 6; i++)); do
        echo "sin-$i,SIN,10.0.0.$i:1,64,256000000000,available"
    done
} >"$tmp/machines.csv"

peer() { # peer start_member|launch_member NAME K
    "$1" "$2" --roles peer --machines "$tmp/machines.csv" --share "$3/3"
}

launches() { # launches FILE
    local i
    for ((i = 0; i < 8; i++)); do
        expect_exit 0 flyrpc launch --region SIN --memory 1 --cores 1 --json
        jq -c . "$out" >>"$1"
    done
}

hosted() { # hosted FILE - launches, and whether the slice has got some of all in FILE
    launches "$1"
    [ "$(jq -s --arg slice "$slice" 'map(select(.slice == $slice)) | length' "$1")" -ge 2 ]
}

slice_state() { # slice_state WORD - as the edge in use says
    flyrpc slice list --json --timeout 2s >"$out" 2>"$err" </dev/null || return 1
    jq -e --arg slice "$slice" --arg state "$1" \
        'any(.[]; .slice == $slice and .state == $state)' "$out" >/dev/null
}

forgets() { grep -q "^forgotten $slice " "$tmp/$1/state/peers" 2>/dev/null; }

step "three peers and an edge; VMs on p3"
cluster_init p1 --region SIN
peer start_member p1 1
for name in p2 p3 e1; do
    cluster_join "$name"
done
peer launch_member p2 2
peer launch_member p3 3
launch_member e1 --roles edge
all=regions,launch,read,destroy,watch,admin
use_edges "$all" e1
wait_for "$ready_s" "all to be alive" members_are alive p1 p2 p3 e1
wait_for "$ready_s" "the inventory to add up" adds_up "$tmp/machines.csv"
expect_exit 0 flyrpc slice list --json
slice=$(json_get '.[] | select(.owner == "p3") | .slice')
wait_for 30 "p3 to host" hosted "$tmp/before"
jq -c --arg slice "$slice" 'select(.slice == $slice)' "$tmp/before" >"$tmp/lost"
jq -c --arg slice "$slice" 'select(.slice != $slice)' "$tmp/before" >"$tmp/kept"
key=$(head -n 1 "$tmp/lost" | jq -r .key)
id=$(head -n 1 "$tmp/lost" | jq -r .id)

step "not while it lives, not what is unknown, not by anybody"
use_edges "$all" p1
expect_exit 1 flyrpc slice forget "$slice" --yes
expect_text "$err" "not lost"
expect_exit 1 flyrpc slice forget ffffff --yes
expect_text "$err" "knows no such slice"
use_edges regions,launch,read p1
expect_exit 77 flyrpc slice forget "$slice" --yes
use_edges "$all" e1
expect_exit 1 flyrpc slice forget "$slice" --yes
expect_text "$err" "p1"

step "p3 dies; a list waits for it, a launch with a key at home there does not know"
kill9_node p3
wait_for 30 "p3 to be dead" members_are dead p3
expect_exit 75 flyrpc list --json
expect_exit 75 flyrpc launch --region SIN --memory 1 --cores 1 --key "$key" --timeout 3s

step "it is declared lost while p2 is away; all others know, on their disks"
stop_node p2
use_edges "$all" p1
trace=4bf92f3577b34da6a3ce929d0e0e4736
expect_exit 0 flyrpc slice forget "$slice" --yes --json --trace="00-$trace-00f067aa0ba902b7-01"
expect_json '.forgotten and .slice == $slice' --arg slice "$slice"
forgets p1 || fail "it is not on p1's disk"
grep -q " slice.forgotten .* trace=$trace" "$tmp/p1/log" || fail "the log does not say for whom"
expect_exit 0 flyrpc slice forget "$slice" --yes # said twice is said once
use_edges "$all" e1
wait_for 30 "the edge to know" forgets e1
wait_for 10 "the edge to say so" slice_state forgotten
peer launch_member p2 2
wait_for "$ready_s" "p2 to be back" members_are alive p2
wait_for 30 "p2 to know" forgets p2

step "nobody waits for it any more"
expect_exit 0 flyrpc list --json
expect_json '(map(.id) | sort) == $ids' --argjson ids "$(jq -sc 'map(.id) | sort' "$tmp/kept")"
expect_exit 1 flyrpc status "$id"
expect_exit 1 flyrpc destroy "$id"
expect_exit 1 flyrpc launch --region SIN --memory 1 --cores 1 --key "$key" --json
expect_text "$err" "fresh key"
expect_exit 0 flyrpc regions --json
expect_json '.[] | select(.code == "SIN") | .machines == 4'
launches "$tmp/kept"

step "over a restart of all too"
for name in e1 p2 p1; do
    stop_node "$name"
done
peer start_member p1 1
peer start_member p2 2
start_member e1 --roles edge
wait_for "$ready_s" "all to be alive" members_are alive p1 p2 e1
expect_exit 1 flyrpc launch --region SIN --memory 1 --cores 1 --key "$key" --json
sure_list() { flyrpc list --json --timeout 3s >"$out" 2>"$err" </dev/null; }
wait_for 30 "a list" sure_list
expect_json '(map(.id) | sort) == $ids' --argjson ids "$(jq -sc 'map(.id) | sort' "$tmp/kept")"

step "its owner comes back: quarantined, and its VMs are orphans"
peer launch_member p3 3
quarantined() { grep -q "slice.quarantined.*declared lost" "$tmp/p3/log"; }
wait_for "$ready_s" "p3 to say so" quarantined
expect_equal "$(grep -c ' vm\.orphan ' "$tmp/p3/log")" "$(wc -l <"$tmp/lost")" "orphans"
grep -q "vm.orphan id=$id " "$tmp/p3/log" || fail "$id is not among them"
noted() {
    flyrpc members --json --timeout 2s >"$out" 2>"$err" </dev/null || return 1
    jq -e 'any(.[]; .name == "p3" and (.serving | not) and (.notes | tostring | test("declared lost")))' \
        "$out" >/dev/null
}
wait_for 30 "the members to say so" noted
wait_for 10 "the slice to stay forgotten" slice_state forgotten
wait_for 30 "p3 to know by itself" forgets p3
expect_exit 1 flyrpc launch --region SIN --memory 1 --cores 1 --key "$key" --json
launches "$tmp/kept"
stop_node p3
expect_exit 1 flynode accept-loss --state "$tmp/p3/state"
expect_text "$err" "cannot be taken back"
: >"$tmp/p3/log"
serving_seen[p3]=0
peer launch_member p3 3
wait_for "$ready_s" "p3 to say so again" quarantined
expect_exit 0 flyrpc list --json
expect_json '(map(.id) | sort) == $ids' --argjson ids "$(jq -sc 'map(.id) | sort' "$tmp/kept")"
for name in p3 e1 p2 p1; do
    stop_node "$name"
done
