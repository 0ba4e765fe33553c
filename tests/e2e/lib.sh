# lib.sh - the verbs of an e2e script: real processes on loopback, and none left behind.
#
#   . "$(dirname "$0")/lib.sh"
#   start_node a                       # flynode dev --state $tmp/a/state …, waits until it answers
#   use a regions,launch               # FLYRPC_ADDR, and FLYRPC_TOKEN with these scopes
#   expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --json
#   id=$(json_get .id)                 # of the last command's stdout, which is $out; stderr is $err
#
# A cluster of such processes, each with its role:
#
#   cluster_init a; start_member a --roles peer --machines FILE --share 1/2
#   cluster_join b; start_member b --roles edge
#   use_edges regions,launch b         # FLYRPC_ADDR is a list when several are named
#
# A script ends with success by reaching its end; `fail` ends it with the line that was wrong, the
# last command's output and the nodes' logs. FLY_BIN names the programs; with FLY_KEEP=1 what a
# script that failed had written stays.
# shellcheck shell=bash disable=SC2034

set -uo pipefail
script=${0##*/}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
. "$root/deploy/lib.sh"

FLY_BIN=${FLY_BIN:-$root/build/release/bin}
export PATH=$FLY_BIN:$PATH LC_ALL=C
# a sanitizer's report must not look like an answer; nothing of the caller's may leak in
export ASAN_OPTIONS=${ASAN_OPTIONS:-exitcode=99}
export LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$root/tests/lsan.supp:print_suppressions=0}
unset FLYRPC_ADDR FLYRPC_EDGE FLYRPC_CA FLYRPC_TOKEN FLYNODE_FAILPOINTS
tmp=$(mktemp -d "${TMPDIR:-/tmp}/fly-e2e.XXXXXX")
export XDG_CONFIG_HOME=$tmp/config
out=$tmp/out
err=$tmp/err
: >"$out"
: >"$err"
last=
now_at=
declare -A node_pid=() node_port=() node_gossip=() node_pub=() serving_seen=()
founder=
join_token=
call_s=${FLY_CALL_S:-60}   # no single command may take longer
ready_s=${FLY_READY_S:-60} # sanitizer builds on a busy machine are slow

cleanup() {
    local code=$? name
    trap - EXIT
    for name in "${!node_pid[@]}"; do
        session_members "${node_pid[$name]}" | xargs -r kill -KILL 2>/dev/null
    done
    # shellcheck disable=SC2046
    kill -KILL $(jobs -p) 2>/dev/null
    wait 2>/dev/null
    rm -rf "${TMPDIR:-/tmp}/fly-ports-$(id -u)"/*."$$"
    if [ -n "${FLY_KEEP:-}" ] && [ "$code" -ne 0 ]; then
        printf '%s: left for you: %s\n' "$script" "$tmp" >&2
    else
        rm -rf "$tmp"
    fi
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# fail WORDS - ends the script, from a subshell too
fail() {
    local i name
    {
        printf '%s: FAILED: %s\n' "$script" "$*"
        for ((i = 1; i < ${#BASH_SOURCE[@]}; i++)); do
            printf '  at %s:%s\n' "${BASH_SOURCE[$i]##*/}" "${BASH_LINENO[$((i - 1))]}"
        done
        [ -z "$now_at" ] || printf '  while: %s\n' "$now_at"
        [ -z "$last" ] || printf '  last command: %s\n' "$last"
        head -c 3000 "$out" | sed 's/^/  stdout: /'
        head -c 3000 "$err" | sed 's/^/  stderr: /'
        for name in "${!node_port[@]}"; do
            tail -n 20 "$tmp/$name/log" 2>/dev/null | sed "s/^/  $name: /"
        done
    } >&2
    [ "$BASHPID" = "$$" ] || kill -TERM "$$"
    exit 1
}

# step WORDS - what the script is about to show; printed, and named when it fails
step() {
    now_at=$*
    printf '%s: %s\n' "$script" "$*"
}

# Takes a TCP port that nobody listens on, below the kernel's own choices, and keeps other scripts
# off it until this one ends. Sets `port`.
free_port() {
    local locks turn
    locks=${TMPDIR:-/tmp}/fly-ports-$(id -u)
    mkdir -p "$locks"
    for ((turn = 0; turn < 200; turn++)); do
        port=$((20000 + RANDOM % 12000))
        # the name before the dot is the lock; the pid after it says whose
        (set -o noclobber && : >"$locks/$port.$$") 2>/dev/null || continue
        if [ "$(find "$locks" -name "$port.*" | wc -l)" -eq 1 ] &&
            ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            return 0
        fi
        rm -f "$locks/$port.$$"
    done
    fail "no free port"
}

# run COMMAND... - its output into $out and $err, its exit code as `code`
run() {
    last=$*
    code=0
    if [ "$(type -t "$1")" = file ]; then
        timeout --preserve-status -k 5 "$call_s" "$@" >"$out" 2>"$err" </dev/null || code=$?
    else
        "$@" >"$out" 2>"$err" </dev/null || code=$?
    fi
    [ "$code" -ne 99 ] || fail "a sanitizer stopped it"
    [ "$code" -ne 143 ] && [ "$code" -ne 137 ] || fail "it took more than $call_s s"
}

# expect_exit CODE COMMAND...
expect_exit() {
    local want=$1
    shift
    run "$@"
    [ "$code" -eq "$want" ] || fail "exit code $code, expected $want"
}

# expect_text FILE WORDS - a file (usually $out or $err) holds the words, in any case of letters
expect_text() {
    grep -qiF -- "$2" "$1" || fail "\"$2\" is not in ${1##*/}"
}

refuse_text() {
    ! grep -qiF -- "$2" "$1" || fail "\"$2\" is in ${1##*/}"
}

# json_get FILTER [FILE] - one value of the last output, without quotes
json_get() {
    jq -er "$1" "${2:-$out}" 2>/dev/null || fail "no $1 in the JSON of ${2:-the last output}"
}

# expect_json FILTER [WORDS...] - the filter is true of the last output; WORDS are jq's arguments
expect_json() {
    local filter=$1
    shift
    jq -e "$@" "$filter" "$out" >/dev/null 2>&1 || fail "JSON: not so: $filter $*"
}

expect_equal() {
    [ "$1" = "$2" ] || fail "${3:-values}: \"$1\" is not \"$2\""
}

# wait_for SECONDS WHAT COMMAND... - polls until the command is content
wait_for() {
    local limit=$1 what=$2 start=$SECONDS
    shift 2
    until "$@"; do
        [ $((SECONDS - start)) -lt "$limit" ] || fail "waited $limit s for $what"
        sleep 0.05
    done
}

node_runs() {
    process_mark "${node_pid[$1]:-0}" >/dev/null
}

node_answers() {
    node_runs "$1" || fail "node $1 ended while it started"
    local token
    token=$(token_of "$1" regions 2>/dev/null) || return 1
    FLYRPC_ADDR=tcp://127.0.0.1:${node_port[$1]} FLYRPC_TOKEN=$token \
        timeout -k 5 20 flyrpc regions --json >/dev/null 2>&1 </dev/null
}

# launch_node NAME [ARGUMENTS] - starts it and does not wait; the port stays the same for NAME
launch_node() {
    local name=$1
    shift
    mkdir -p "$tmp/$name"
    if [ -z "${node_port[$name]:-}" ]; then
        free_port
        node_port[$name]=$port
    fi
    setsid flynode dev --state "$tmp/$name/state" \
        --machines "${FLY_MACHINES:-$root/data/machines.csv}" \
        --regions-file "${FLY_REGIONS:-$root/data/regions.csv}" \
        --rpc "tcp://127.0.0.1:${node_port[$name]}" --http off "$@" </dev/null >>"$tmp/$name/log" 2>&1 &
    node_pid[$name]=$!
}

# start_node NAME [ARGUMENTS] - and waits until it answers
start_node() {
    launch_node "$@"
    wait_for "$ready_s" "node $1 to answer" node_answers "$1"
}

# --- a cluster of `flynode run` on loopback ---

# cluster_init NAME [ARGUMENTS] - founds a cluster: sets `founder` and `join_token`
cluster_init() {
    founder=$1
    mkdir -p "$tmp/$1"
    ports_of "$1"
    expect_exit 0 flynode init --state "$tmp/$1/state" --name "$1" --advertise 127.0.0.1 \
        --rpc "127.0.0.1:${node_port[$1]}" --json "${@:2}"
    join_token=$(json_get .join_token)
}

# cluster_join NAME [ARGUMENTS] - admitted by the founder, which runs
cluster_join() {
    mkdir -p "$tmp/$1"
    ports_of "$1"
    expect_exit 0 flynode join --state "$tmp/$1/state" --name "$1" "${@:2}" "$join_token"
}

# Three ports that stay the same.
ports_of() {
    [ -z "${node_port[$1]:-}" ] || return 0
    free_port
    node_port[$1]=$port
    free_port
    node_gossip[$1]=$port
    free_port
    node_pub[$1]=$port
}

# launch_member NAME [ARGUMENTS] - starts it and does not wait
launch_member() {
    local name=$1
    shift
    serving_seen[$name]=$(grep -c ' node\.serving ' "$tmp/$name/log" 2>/dev/null) || true
    setsid flynode run --state "$tmp/$name/state" --rpc "127.0.0.1:${node_port[$name]}" \
        --gossip "127.0.0.1:${node_gossip[$name]}" --pub "127.0.0.1:${node_pub[$name]}" \
        --regions-file "${FLY_REGIONS:-$root/data/regions.csv}" --beacon=off --http off \
        "$@" </dev/null >>"$tmp/$name/log" 2>&1 &
    node_pid[$name]=$!
}

# start_member NAME [ARGUMENTS] - and waits until it serves
start_member() {
    launch_member "$@"
    wait_for "$ready_s" "node $1 to serve" member_serves "$1"
}

member_serves() {
    node_runs "$1" || fail "node $1 ended while it started"
    [ "$(grep -c ' node\.serving ' "$tmp/$1/log")" -gt "${serving_seen[$1]:-0}" ]
}

# use_edges SCOPES NAME... - what follows talks to these edges, in this order
use_edges() {
    local scopes=$1 name list=
    shift
    for name in "$@"; do
        list=$list,127.0.0.1:${node_port[$name]}
    done
    export FLYRPC_ADDR=${list#,}
    FLYRPC_TOKEN=$(token_of "$founder" "$scopes") || fail "no token for $scopes"
    export FLYRPC_TOKEN
}

# members_are STATE NAME... - whether the edge in use says so of each; alive means serving too
members_are() {
    local state=$1
    shift
    flyrpc members --json --timeout 2s >"$out" 2>"$err" </dev/null || return 1
    jq -e --arg state "$state" '[.[] | select(.state == $state) | .name] as $are |
        $ARGS.positional | all(. as $name | $are | index($name) != null)' "$out" \
        --args "$@" >/dev/null 2>&1
}

# adds_up FILE - the edge's regions are those of the whole inventory
adds_up() {
    local machines cores memory
    read -r machines cores memory < <(awk -F, 'NR > 1 { m++; c += $4; b += $5 }
        END { printf "%d %d %.0f\n", m, c, b }' "$1")
    flyrpc regions --json --timeout 2s >"$out" 2>"$err" </dev/null || return 1
    jq -e --argjson machines "$machines" --argjson cores "$cores" --argjson memory "$memory" '
        (map(.machines) | add) == $machines and (map(.cores_total) | add) == $cores and
        (map(.memory_total_bytes) | add) == $memory and all(.[]; .stale_ms <= 3000)' \
        "$out" >/dev/null
}

# token_of NAME SCOPES [TTL] - prints a token made from the node's state folder
token_of() {
    flyrpc token create --state "$tmp/$1/state" --scope "$2" --ttl "${3:-1h}" </dev/null
}

# use NAME SCOPES - what follows talks to that node with these scopes
use() {
    export FLYRPC_ADDR=tcp://127.0.0.1:${node_port[$1]}
    FLYRPC_TOKEN=$(token_of "$1" "$2") || fail "no token for $2"
    export FLYRPC_TOKEN
}

# node_ended NAME - collects its exit code as `code`, and looks for what must not be in its log
node_ended() {
    code=0
    wait "${node_pid[$1]}" 2>/dev/null || code=$?
    session_members "${node_pid[$1]}" | grep -q . && fail "node $1 left processes behind"
    unset "node_pid[$1]"
    ! grep -qE 'check failed:|ERROR: (Address|Leak)Sanitizer|runtime error:' "$tmp/$1/log" ||
        fail "node $1 reported a bug"
}

# stop_node NAME - SIGTERM; it must end by itself, with 0
stop_node() {
    kill -TERM "${node_pid[$1]}"
    wait_for 30 "node $1 to stop" node_stopped "$1"
    node_ended "$1"
    [ "$code" -eq 0 ] || fail "node $1 ended with $code"
}

node_stopped() {
    ! node_runs "$1"
}

kill9_node() {
    kill -KILL "${node_pid[$1]}"
    node_ended "$1"
}

freeze() { kill -STOP "${node_pid[$1]}"; }
thaw() { kill -CONT "${node_pid[$1]}"; }
