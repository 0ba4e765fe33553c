#!/bin/bash
# Acceptance 2: launches through two edges while peers and edges are killed -9, stopped, cut off from
# each other and restarted, some of them between the calls of one launch. Each client keeps a key
# through any edge until it is OK or in doubt; in the end what is in doubt is settled, and the
# auditor holds all logs against all that anybody was told.
#
# Over network namespaces with cuts where they are possible, else over processes on loopback
# without (--loopback asks for that). CHAOS_LAUNCHES (default 1000), CHAOS_CLIENTS (8),
# CHAOS_FAULTS (6), CHAOS_KINDS ("kill stop cut isolate between"), CHAOS_SEED (repeats the choices,
# not the interleaving); --long: 20,000 launches,
# 16 clients, 40 faults.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

place=netns
for word in "$@"; do
    case "$word" in
    --long) : "${CHAOS_LAUNCHES:=20000}" "${CHAOS_CLIENTS:=16}" "${CHAOS_FAULTS:=40}" ;;
    --loopback) place=loopback ;;
    *) fail "unknown argument $word" ;;
    esac
done
launches=${CHAOS_LAUNCHES:-1000}
clients=${CHAOS_CLIENTS:-8}
faults=${CHAOS_FAULTS:-6}
seed=${CHAOS_SEED:-$RANDOM}
RANDOM=$seed
peers=(1 2 3)
edges=(4 5)
nodes=(1 2 3 4 5)
declare -A done_faults=()
between=0 # faults that hit between the calls of one launch
armed=
armed_point=
armed_action=
hits_before=0

# Small regions, so that they are full most of the time and keys go elsewhere.
{
    echo name,region,address,cores,memory_bytes,status
    for ((i = 0; i < 9; i++)); do
        echo "sin-$i,SIN,10.0.0.$i:1,12,48000000000,available"
        echo "den-$i,DEN,10.0.1.$i:1,8,30000000000,available"
    done
} >"$tmp/machines.csv"

# --- two places where it can happen: the same verbs ---

possible() {
    [ "$(id -u)" -eq 0 ] && command -v ip >/dev/null && command -v nft >/dev/null &&
        ip netns add "fly$$-try" 2>/dev/null && ip netns del "fly$$-try"
}

roles_of() { if [ "$1" -le 3 ]; then echo peer; else echo edge; fi; }

if [ "$place" = netns ] && possible; then
    . "$root/tests/e2e/netns.sh"
    export FLY_NETNS_MACHINES=$tmp/machines.csv
    begin() { netns_up 5; }
    at() { on lan "$@"; }
    become() { exec "$root/deploy/netns" exec lan "$@"; }
    node_state() { echo "$FLY_NETNS_DIR/$1/state"; }
    node_log() { echo "$FLY_NETNS_DIR/$1/log"; }
    node_there() { netns_pid "$1" >/dev/null; }
    node_start() { netns_start "$1"; }
    node_kill() { netns_kill9 "$1"; }
    node_freeze() { netns_freeze "$1"; }
    node_thaw() { netns_thaw "$1"; }
    node_stop() { netns_stop "$1"; }
    node_collect() { :; }
    edge_list() { echo 10.74.0.4:7401,10.74.0.5:7401; }
    load_arguments() { echo --ca "$FLY_NETNS_DIR/1/state/tls-ca.pem"; }
    cut() { netns_cut "$1" "$2"; }
    heal() { netns_heal; }
    kinds=(kill kill stop cut isolate between)
else
    place=loopback
    begin() {
        cluster_init 1
        node_start 1
        wait_for "$ready_s" "node 1 to serve" member_serves 1
        for ((i = 2; i <= 5; i++)); do
            cluster_join "$i" --roles "$(roles_of "$i")"
            node_start "$i"
        done
        all=regions,launch,read,destroy,watch,admin
        use_edges "$all" 4 5
    }
    at() { "$@"; }
    become() { exec "$@"; }
    node_state() { echo "$tmp/$1/state"; }
    node_log() { echo "$tmp/$1/log"; }
    node_there() { node_runs "$1"; }
    node_start() {
        local arguments=(--roles "$(roles_of "$1")")
        [ "$1" -gt 3 ] || arguments+=(--machines "$tmp/machines.csv" --share "$1/3")
        launch_member "$1" "${arguments[@]}"
    }
    node_kill() { kill9_node "$1" 2>/dev/null; }
    node_freeze() { freeze "$1"; }
    node_thaw() { thaw "$1"; }
    node_stop() { stop_node "$1"; }
    node_collect() { node_ended "$1" 2>/dev/null; }
    edge_list() { echo "127.0.0.1:${node_port[4]},127.0.0.1:${node_port[5]}"; }
    load_arguments() { :; }
    heal() { :; }
    kinds=(kill kill stop between)
fi

[ -z "${CHAOS_KINDS:-}" ] || read -r -a kinds <<<"$CHAOS_KINDS"

# --- faults ---

pick() { # pick WORDS... - one of them
    echo "${*:$((1 + RANDOM % $#)):1}"
}

# A short while in tenths of a second.
some_time() { # some_time FROM TO
    local tenths=$(($1 + RANDOM % ($2 - $1 + 1)))
    sleep "$((tenths / 10)).$((tenths % 10))"
}

alive_for_edge() { # alive_for_edge EDGE - whether that edge sees all five
    at flyrpc members --addr "$(edge_list | command cut -d, -f "$1")" --json --timeout 3s \
        >"$out" 2>"$err" </dev/null &&
        jq -e 'map(select(.state == "alive")) | length == 5' "$out" >/dev/null
}

all_alive() { alive_for_edge 1 && alive_for_edge 2; }

# fault KIND - while launches are under way; afterwards all is as before
fault() {
    local node other point
    case "$1" in
    kill)
        node=$(pick "${nodes[@]}")
        node_kill "$node"
        some_time 0 15
        node_start "$node"
        ;;
    stop)
        node=$(pick "${nodes[@]}")
        node_freeze "$node"
        some_time 10 "$([ "$faults" -ge 20 ] && echo 100 || echo 30)"
        node_thaw "$node"
        ;;
    cut)
        node=$(pick "${peers[@]}")
        other=$(pick "${edges[@]}" "$((1 + node % 3))")
        cut "$node" "$other"
        some_time 10 "$([ "$faults" -ge 20 ] && echo 100 || echo 30)"
        heal
        ;;
    isolate)
        node=$(pick "${nodes[@]}")
        netns_isolate "$node"
        some_time 10 "$([ "$faults" -ge 20 ] && echo 100 || echo 30)"
        heal
        ;;
    between) # the node comes to that point by itself
        armed_since=$SECONDS
        until hit; do
            [ $((SECONDS - armed_since)) -lt 8 ] || break
            sleep 0.02
        done
        if hit; then
            between=$((between + 1))
        else # these launches did not come by there
            armed_action='kill'
            node_kill "$armed"
        fi
        if [ "$armed_action" = stop ]; then
            some_time 10 "$([ "$faults" -ge 20 ] && echo 60 || echo 30)"
            node_thaw "$armed"
        else
            wait_for 20 "node $armed to be gone" node_gone "$armed"
            ! hit || node_collect "$armed"
            some_time 0 15
            node_start "$armed"
        fi
        ;;
    esac
    done_faults[$1]=$((${done_faults[$1]:-0} + 1))
}

node_gone() { ! node_there "$1"; }

hits() { cat "$(node_log 1)" "$(node_log 2)" "$(node_log 3)" "$(node_log 4)" "$(node_log 5)" |
    grep -c '^failpoint '; }
hit() { [ "$(hits)" -gt "$hits_before" ]; }

# arm - one node is started again so that it is killed or stops between the calls of a launch
arm() {
    local point
    point=$(pick edge-after-open edge-after-open edge-after-hold edge-after-bind edge-after-commit \
        owner-before-append owner-before-append owner-after-append owner-after-append)
    armed_action=$(pick kill kill stop)
    case "$point" in
    # an edge comes there only where home has no room: rarer than the rest
    edge-*) n=$((1 + RANDOM % 4)) ;;
    *) n=$((1 + RANDOM % 40)) ;;
    esac
    case "$point" in
    edge-*) armed=$(pick "${edges[@]}") ;;
    *) armed=$(pick "${peers[@]}") ;;
    esac
    armed_point="$point=$armed_action:$n"
    node_kill "$armed"
    FLYNODE_FAILPOINTS=$armed_point node_start "$armed"
    wait_for "$ready_s" "all to be alive" all_alive
    hits_before=$(hits)
}

# answer - reads one line of counters from the load, which must come
answer() {
    read -r -t 200 counters <&"$load_out" ||
        fail "the load does not answer: $(tail -n 5 "$tmp/load.err")"
}

# --- the run ---

step "five nodes ($place), $clients clients, $launches launches, $faults faults, seed $seed"
begin
wait_for "$ready_s" "all to be alive" all_alive
mkdir "$tmp/h"
for ((n = 0; n < clients; n++)); do
    token=$(flyrpc token create --state "$(node_state 1)" --sub "client-$n" --ttl 2h \
        --scope regions,launch,read,destroy) || fail "no token"
    echo "client-$n $token"
done >"$tmp/tokens"
become flyrpc watch --addr "$(edge_list)" --json >"$tmp/watched" 2>"$tmp/watched.err" </dev/null &
watcher=$!
# shellcheck disable=SC2046
coproc load { become fly_chaos --addr "$(edge_list)" $(load_arguments) \
    --tokens "$tmp/tokens" --dir "$tmp/h" --regions SIN,DEN --keep $((80 / clients)) \
    --seed "$seed" 2>"$tmp/load.err"; }
load_pid=$!
# bash forgets its own two when the load ends
exec {load_out}<&"${load[0]}" {load_in}>&"${load[1]}"
released=0
release() { # release N - launches
    echo "go $1" >&"$load_in"
    released=$((released + $1))
}

# round KIND LAUNCHES - one fault under so many launches, and all is well again
round() {
    [ "$1" != between ] || arm
    step "$1${armed_point:+ of $armed: $armed_point}"
    release "$2"
    [ "$1" = between ] || some_time 0 4
    fault "$1"
    armed_point=
    answer
    wait_for "$ready_s" "all to be alive after it" all_alive
}

each=$((launches / (faults + 1)))
release "$each"
answer
for ((f = 0; f < faults; f++)); do
    kind=$(pick "${kinds[@]}")
    # a tenth of them at the least hits between two calls, and some do not hit
    [ $((between * 5)) -gt "$f" ] || kind=between
    round "$kind" "$each"
done
for ((f = 0; f < 5 && between * 10 < faults; f++)); do
    round between "$each"
done

step "what is left; then what is in doubt is settled"
if [ "$released" -lt "$launches" ]; then
    release $((launches - released))
    answer
fi
launches=$released
eval "exec ${load[1]}>&-"
exec {load_in}>&-
answer
wait "$load_pid" || fail "the load ended with $?: $(tail -n 5 "$tmp/load.err")"
listed() { at flyrpc list --addr "$(edge_list)" --json >"$out" 2>"$err" </dev/null; }
wait_for "$ready_s" "a whole list" listed
running=$(jq length "$out")

step "the watcher saw each change once, in order per slice"
# up to the last one of each slice
at flyrpc slice list --addr "$(edge_list)" --json >"$tmp/slices" 2>"$err" </dev/null ||
    fail "no list of slices"
saw_all() {
    jq -s --slurpfile slices "$tmp/slices" 'map(select(.seq != null)) | . as $seen |
        $slices[0] | all(.[]; . as $s |
            ([$seen[] | select(.slice == $s.slice) | .seq] | max) >= $s.seq)' "$tmp/watched" \
        2>/dev/null | grep -q true
}
wait_for 30 "the watcher to see the last changes" saw_all
kill -INT "$watcher" 2>/dev/null
wait "$watcher" 2>/dev/null
cp "$tmp/watched.err" "$err"
refuse_text "$err" "came twice"
jq -s '[.[] | select(.type != "reset")] | group_by([.slice, .incarnation]) |
    all(.[]; . as $events | all(range(1; length); $events[.].seq > $events[. - 1].seq))' \
    "$tmp/watched" >"$out"
expect_json '.'
resets=$(jq -s 'map(select(.type == "reset")) | length' "$tmp/watched")
jq -s '[.[] | select(.type != "reset")] | group_by([.slice, .incarnation]) |
    map(.[-1].seq - .[0].seq + 1 - length) | add // 0' "$tmp/watched" >"$out"
[ "$resets" -gt 0 ] || expect_json '. == 0'
watched=$(jq -s 'map(select(.type == "vm_started")) | length' "$tmp/watched")

step "the auditor finds all that they were told in the logs, and nothing else"
for node in "${edges[@]}" "${peers[@]}"; do
    node_stop "$node"
done
for node in "${nodes[@]}"; do
    ! grep -qE 'check failed:|ERROR: (Address|Leak)Sanitizer|runtime error:' "$(node_log "$node")" ||
        fail "node $node reported a bug"
done
aside=$(jq .aside <<<"$counters")
states=()
for node in "${peers[@]}"; do
    states+=("$(node_state "$node")")
    expect_exit 0 flynode check --state "$(node_state "$node")"
done
call_s=300
expect_exit 0 fly_audit --complete "${states[@]}" "$tmp"/h/history.*
expect_json '.findings == 0 and .slices == 3 and .acknowledged >= $n and .running == $running' \
    --argjson n "$((launches - aside))" --argjson running "$running"
for kind in "${!done_faults[@]}"; do
    printf '%s: %s %d\n' "$script" "$kind" "${done_faults[$kind]}"
done
printf '%s: between calls %d, watched %d (resets %d)\n%s: load  %s\n%s: audit %s\n' "$script" \
    "$between" "$watched" "$resets" "$script" "$counters" "$script" "$(cat "$out")"
echo "$counters" >"$out"
expect_json '.done == $n and .settled == .aside and .launched >= $n - .aside and .full > 0 and
    .destroyed > 0 and .moved > 0' --argjson n "$launches"
# a run that hit nothing proves nothing
expect_json '.tries - .attempts + .unknown + .replayed + .destroy_retries + .unreachable >= $n' \
    --argjson n "$((faults / 2))"
[ $((between * 10)) -ge "$faults" ] || fail "only $between of $faults faults hit between two calls"

step "the auditor misses a slice that is not there"
expect_exit 1 fly_audit "${states[@]:1}" "$tmp"/h/history.*
expect_json '.violations[0].what == "lost"'
