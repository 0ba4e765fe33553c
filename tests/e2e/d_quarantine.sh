#!/bin/bash
# An owner that comes back from an old copy of its state folder stays quarantined and says why, until
# the newer folder is back or a person accepts the loss; a copy that runs beside the original stops.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

{
    echo name,region,address,cores,memory_bytes,status
    for ((i = 0; i < 4; i++)); do
        echo "sin-$i,SIN,10.0.0.$i:1,64,256000000000,available"
    done
} >"$tmp/machines.csv"

peer() { # peer start_member|launch_member NAME K
    "$1" "$2" --roles peer --machines "$tmp/machines.csv" --share "$3/2"
}

# launches FILE - some launches; their VMs as lines of FILE
launches() {
    local i
    for ((i = 0; i < 8; i++)); do
        expect_exit 0 flyrpc launch --region SIN --memory 1 --cores 1 --json
        jq -c . "$out" >>"$1"
    done
}

# p2_hosts FILE - launches, and whether p2's slice has got one of all in FILE
p2_hosts() {
    launches "$1"
    jq -se --arg slice "$slice" 'any(.[]; .slice == $slice)' "$1" >/dev/null
}

# on_p2 FILE FIELD - of the last VM in FILE that p2 hosts
on_p2() {
    jq -er -s --arg slice "$slice" "[.[] | select(.slice == \$slice)] | last | .$2" "$1" ||
        fail "no VM of $slice in ${1##*/}"
}

# log_says NAME WORDS - since the last mark
log_says() {
    tail -n "+$((${log_mark[$1]:-0} + 1))" "$tmp/$1/log" | grep -qF -- "$2"
}
declare -A log_mark=()
mark_log() { log_mark[$1]=$(wc -l <"$tmp/$1/log"); }

slice_state() { # slice_state WORD - of p2's slice, as the edge says
    flyrpc slice list --json --timeout 2s >"$out" 2>"$err" </dev/null || return 1
    jq -e --arg slice "$slice" --arg state "$1" \
        'any(.[]; .slice == $slice and .state == $state)' "$out" >/dev/null
}

# edge_saw SEQ - the edge has p2's slice up to that event
edge_saw() {
    flyrpc slice list --json --timeout 2s >"$out" 2>"$err" </dev/null || return 1
    jq -e --arg slice "$slice" --argjson seq "$1" \
        'any(.[]; .slice == $slice and .seq >= $seq)' "$out" >/dev/null
}

step "two peers and an edge; some VMs"
cluster_init p1 --region SIN
peer start_member p1 1
cluster_join p2
cluster_join e1
peer launch_member p2 2
launch_member e1 --roles edge
use_edges regions,launch,read,destroy,watch,admin e1
wait_for "$ready_s" "all to be alive" members_are alive p1 p2 e1
wait_for "$ready_s" "the inventory to add up" adds_up "$tmp/machines.csv"
expect_exit 0 flyrpc slice list --json
slice=$(json_get '.[] | select(.owner == "p2") | .slice')
wait_for 30 "p2 to host" p2_hosts "$tmp/early"
early_key=$(on_p2 "$tmp/early" key)
early_id=$(on_p2 "$tmp/early" id)

step "its folder is copied, and life goes on"
kill9_node p2
cp -a "$tmp/p2/state" "$tmp/old"
peer start_member p2 2
wait_for "$ready_s" "p2 to be back" slice_state serving
wait_for 30 "p2 to host" p2_hosts "$tmp/late"
late_key=$(on_p2 "$tmp/late" key)
late_id=$(on_p2 "$tmp/late" id)
wait_for 30 "the edge to have seen it" edge_saw "$(on_p2 "$tmp/late" seq)"
expect_exit 0 flyrpc status "$late_id" --json

step "the old copy is put back: it stays quarantined and says why"
stop_node p2
mv "$tmp/p2/state" "$tmp/newer"
cp -a "$tmp/old" "$tmp/p2/state"
mark_log p2
peer launch_member p2 2
wait_for "$ready_s" "the log to say so" log_says p2 slice.quarantined
log_says p2 "an old copy of the state folder?" || fail "it does not say why"
wait_for 30 "the edge to say so" slice_state quarantined
expect_json 'any(.[]; .slice == $slice and (.reason | test("saw event [0-9]+ of this log")))' \
    --arg slice "$slice"
expect_exit 0 flyrpc members --json
expect_json 'any(.[]; .name == "p2" and .state == "stalled" and (.serving | not) and
    (.notes | length == 1 and (.[0] | test("saw event"))))'
expect_exit 0 flyrpc members
expect_text "$out" "saw event"

step "launches go elsewhere; a key at home there is neither new nor answered"
launches "$tmp/meanwhile"
jq -se --arg slice "$slice" 'all(.[]; .slice != $slice)' "$tmp/meanwhile" >/dev/null ||
    fail "a quarantined slice hosts"
for key in "$early_key" "$late_key"; do
    expect_exit 75 flyrpc launch --region SIN --memory 1 --cores 1 --key "$key" --timeout 3s --json
done
expect_exit 75 flyrpc destroy "$early_id" --timeout 3s

step "again after a restart: it does not forget that it is old"
stop_node p2
mark_log p2
peer launch_member p2 2
wait_for "$ready_s" "the log to say so" log_says p2 slice.quarantined
stop_node p2

step "with the newer folder it serves, and has lost nothing"
mv "$tmp/p2/state" "$tmp/older"
cp -a "$tmp/newer" "$tmp/p2/state"
mark_log p2
peer start_member p2 2
wait_for "$ready_s" "p2 to serve" slice_state serving
! log_says p2 slice.quarantined || fail "it was quarantined"
for file in early late; do
    expect_exit 0 flyrpc launch --region SIN --memory 1 --cores 1 --key "$(on_p2 "$tmp/$file" key)" --json
    expect_json '.replayed and .id == $id' --arg id "$(on_p2 "$tmp/$file" id)"
done

step "a copy that runs beside the original ends, and the original goes on"
cp -a "$tmp/p2/state" "$tmp/clone"
mkdir -p "$tmp/twin"
mv "$tmp/clone" "$tmp/twin/state"
ports_of twin
launch_member twin --roles peer --machines "$tmp/machines.csv" --share 2/2 \
    --join "127.0.0.1:${node_gossip[p1]}"
wait_for 60 "the copy to end" node_stopped twin
node_ended twin
expect_equal "$code" 1 "its exit code"
grep -q node.twin "$tmp/twin/log" || fail "the copy does not say why"
node_runs p2 || fail "the original ended"
wait_for "$ready_s" "p2 to serve" slice_state serving
launches "$tmp/after"
expect_exit 0 flyrpc status "$late_id" --json

step "accept-loss: not while it runs, not where nothing is"
expect_exit 1 flynode accept-loss --state "$tmp/p2/state"
expect_text "$err" "in use"
expect_exit 1 flynode accept-loss --state "$tmp/nowhere"
expect_exit 1 flynode accept-loss --state "$tmp/e1/state"
expect_exit 64 flynode accept-loss

step "the loss is accepted: said once, and only of that copy"
stop_node p2
rm -r "$tmp/p2/state"
cp -a "$tmp/older" "$tmp/p2/state"
expect_exit 0 flynode accept-loss --state "$tmp/p2/state"
expect_text "$out" "events,"
cp "$tmp/p2/state/accept-loss" "$tmp/word"
mark_log p2
peer start_member p2 2
log_says p2 slice.loss_accepted || fail "it does not say so"
wait_for "$ready_s" "p2 to serve" slice_state serving
expect_exit 0 flyrpc launch --region SIN --memory 1 --cores 1 --key "$early_key" --json
expect_json '.replayed and .id == $id' --arg id "$early_id"
run flyrpc launch --region SIN --memory 1 --cores 1 --key "$late_key" --timeout 5s --json
[ "$code" -ne 0 ] || fail "a key of what was lost is taken for a new one"
expect_exit 1 flyrpc status "$late_id"
second=$(date +%s) # keys minted until the loss was accepted are expired there
next_second() { [ "$(date +%s)" -gt "$second" ]; }
wait_for 5 "a key of now to be a new one" next_second
wait_for 60 "p2 to host again" p2_hosts "$tmp/again"
jq -se --argjson old "$(jq -sc 'map(.id)' "$tmp/early" "$tmp/late")" \
    'all(.[]; .id as $id | $old | index($id) == null)' "$tmp/again" >/dev/null ||
    fail "the id of a lost VM came again"
stop_node p2
[ ! -e "$tmp/p2/state/accept-loss" ] || fail "the word is still there"
rm -r "$tmp/p2/state"
cp -a "$tmp/old" "$tmp/p2/state"
sed 's/ends [0-9]*/ends 1/' "$tmp/word" >"$tmp/p2/state/accept-loss"
chmod 600 "$tmp/p2/state/accept-loss"
mark_log p2
peer launch_member p2 2
wait_for "$ready_s" "the log to say so" log_says p2 slice.quarantined
log_says p2 slice.loss_word_void || fail "the word of another log counts"
log_says p2 slice.loss_accepted && fail "a loss was accepted that nobody spoke of"
for name in p2 e1 p1; do
    stop_node "$name"
done
