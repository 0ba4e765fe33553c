#!/bin/bash
# Several processes are one cluster: three peers, two edges; every edge reaches every owner, every
# watcher sees every change, and clients go on while peers and edges are killed.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

regions=(SIN DEN)
{
    echo name,region,address,cores,memory_bytes,status
    for ((i = 0; i < 6; i++)); do
        echo "sin-$i,SIN,10.0.0.$i:1,16,64000000000,available"
        echo "den-$i,DEN,10.0.1.$i:1,16,64000000000,available"
    done
} >"$tmp/machines.csv"

peer() { # peer start_member|launch_member NAME K
    "$1" "$2" --roles peer --machines "$tmp/machines.csv" --share "$3/3"
}

# launches N REGION - N launches there, all of which must be OK; their VMs go to launched
launches() {
    local i
    for ((i = 0; i < $1; i++)); do
        expect_exit 0 flyrpc launch --region "$2" --memory 1 --cores 1 --json
        jq -c . "$out" >>"$tmp/launched"
    done
}

# A link that broke may take a moment to be there again; what is listed must be all.
whole_list() { flyrpc list --json >"$out" 2>"$err" </dev/null; }

launched_everywhere() {
    wait_for 20 "a list of all slices" whole_list
    expect_json '(map(.id) | sort) == $ids' --argjson ids "$(jq -sc 'map(.id) | sort' "$tmp/launched")"
}

step "init, join twice, run: three peers and two edges"
started=$(date +%s%3N)
cluster_init p1 --region SIN
peer start_member p1 1
for name in p2 p3 e1 e2; do
    cluster_join "$name"
done
peer launch_member p2 2
peer launch_member p3 3
launch_member e1 --roles edge
launch_member e2 --roles edge
all=regions,launch,read,destroy,watch,admin
use_edges "$all" e1 e2
wait_for "$ready_s" "all five to be alive" members_are alive p1 p2 p3 e1 e2
wait_for "$ready_s" "the inventory to add up" adds_up "$tmp/machines.csv"
printf '%s: five nodes after %d ms\n' "$script" $(($(date +%s%3N) - started))

step "either edge tells the same"
for edge in e1 e2; do
    use_edges "$all" "$edge"
    wait_for "$ready_s" "the inventory to add up" adds_up "$tmp/machines.csv"
    expect_exit 0 flyrpc members --json
    expect_json 'length == 5 and ([.[] | select(.self) | .name] == [$edge]) and
        ([.[] | .slices[]] | length == 3)' --arg edge "$edge"
    expect_exit 0 flyrpc slice list --json
    expect_json 'length == 3 and all(.[]; .state == "serving" and .machines == 4) and
        (map(.owner) | sort == ["p1", "p2", "p3"])'
done
expect_exit 0 flyrpc members
awk 'length > 80 { exit 1 }' "$out" || fail "a table wider than 80 columns"
expect_exit 0 flyrpc slice list
awk 'length > 80 { exit 1 }' "$out" || fail "a table wider than 80 columns"

step "a launch in every region, through either edge, and every slice gets its share"
use_edges "$all" e1 e2
flyrpc watch --json >"$tmp/watched" 2>"$tmp/watched.err" </dev/null &
watcher=$!
: >"$tmp/launched"
# a watch begins with what happens after it
seen() { [ -s "$tmp/watched" ]; }
begin_watch() {
    launches 1 SIN
    seen
}
wait_for 30 "the watcher to see something" begin_watch
for edge in e1 e2; do
    use_edges "$all" "$edge"
    for region in "${regions[@]}"; do
        launches 6 "$region"
    done
done
slices=$(jq -r .slice "$tmp/launched" | sort -u | wc -l)
expect_equal "$slices" 3 "slices that host"
launched_everywhere
id=$(tail -n 1 "$tmp/launched" | jq -r .id)
use_edges "$all" e1
expect_exit 0 flyrpc status "$id" --json
expect_json '.id == $id' --arg id "$id"

step "a join token made through an edge lets one node in, and no second"
use_edges "$all" e1 e2
expect_exit 0 flyrpc join-token create --roles edge --life 5m --json
token=$(json_get .token)
id=$(json_get .id)
mkdir "$tmp/e3" "$tmp/e4" "$tmp/e5"
expect_exit 0 flynode join --state "$tmp/e3/state" --name e3 "$token"
expect_exit 77 flynode join --state "$tmp/e4/state" --name e4 "$token"
expect_exit 0 flyrpc join-token list --json
expect_json 'map(select(.id == $id and .state == "used" and .used == 1)) | length == 1' --arg id "$id"
expect_exit 0 flyrpc join-token create
token=$(cat "$out")
id=$(sed -n 's/.*id \([0-9a-z]*\),.*/\1/p' "$err")
expect_exit 0 flyrpc join-token revoke "$id"
expect_exit 77 flynode join --state "$tmp/e5/state" --name e5 "$token"
for command in "join-token create" "join-token list" "join-token revoke $id" \
    "slice forget 0a1b2c --yes"; do
    use_edges read e1
    # shellcheck disable=SC2086
    expect_exit 77 flyrpc $command
    expect_text "$err" "admin"
done
use_edges launch e1
expect_exit 77 flyrpc members
expect_text "$err" "read"
use_edges "$all" e1 e2

step "the same key through the other edge is the same VM"
use_edges "$all" e1
expect_exit 0 flyrpc launch --region SIN --memory 1 --cores 1 --key order-1 --json
jq -c . "$out" >>"$tmp/launched"
id=$(json_get .id)
use_edges "$all" e2
expect_exit 0 flyrpc launch --region SIN --memory 1 --cores 1 --key order-1 --json
expect_json '.id == $id and .replayed' --arg id "$id"

step "an edge is killed: its clients go on through the other"
use_edges "$all" e1 e2
kill9_node e1
launches 4 SIN
launched_everywhere
use_edges "$all" e1
expect_exit 69 flyrpc regions --timeout 2s
start_member e1 --roles edge
use_edges "$all" e1
wait_for "$ready_s" "the inventory to add up" adds_up "$tmp/machines.csv"

step "a peer is killed: the others host, its VMs are missing and said to be"
use_edges "$all" e2 e1
kill9_node p2
launches 6 DEN
jq -e -s --argjson n "$(wc -l <"$tmp/launched")" 'length == $n' "$tmp/launched" >/dev/null
wait_for 15 "p2 to be dead" members_are dead p2
launches 4 SIN
expect_exit 75 flyrpc list --json
expect_text "$err" "does not answer"
expect_exit 0 flyrpc slice list --json
expect_json '[.[] | select(.state == "unreachable" or .state == "stale")] | length == 1'
peer start_member p2 2
wait_for "$ready_s" "p2 to be back" members_are alive p1 p2 p3 e1 e2
wait_for "$ready_s" "the inventory to add up" adds_up "$tmp/machines.csv"
launched_everywhere

step "the watcher saw each change once, in order per slice"
expect_exit 0 flyrpc launch --region SIN --memory 1 --cores 1 --json
jq -c . "$out" >>"$tmp/launched"
last=$(json_get .id)
saw_last() { grep -q "$last" "$tmp/watched"; }
wait_for 30 "the watcher to see the last launch" saw_last
kill -INT "$watcher"
wait "$watcher"
cp "$tmp/watched.err" "$err"
refuse_text "$err" "came twice"
jq -s '[.[] | select(.type != "reset")] | group_by(.slice) |
    all(.[]; . as $events | all(range(1; length); $events[.].seq == $events[. - 1].seq + 1))' \
    "$tmp/watched" >"$out"
expect_json '.'
jq -sc '[.[] | select(.type == "vm_started") | .vm] | sort' "$tmp/watched" >"$out"
expect_json '. == ($ids - ($ids - .)) and length >= ($ids | length) - 1' \
    --argjson ids "$(jq -sc 'map(.id) | sort' "$tmp/launched")"

step "stopped in order, the auditor finds every launch in one of the logs"
for name in e1 e2 p1 p2 p3; do
    stop_node "$name"
done
expect_exit 0 fly_audit "$tmp"/p?/state "$tmp/launched"
expect_json '.findings == 0 and .slices == 3 and .acknowledged == $n' \
    --argjson n "$(wc -l <"$tmp/launched")"
