#!/bin/bash
# watch: each change once, in order, with slice and seq; resumed where it stopped, over a restart.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_node a
use a regions,launch,read,destroy,watch

# watching FILE [ARGUMENTS] - a watch in the background; its events go to FILE. Sets `watcher`.
watching() {
    local file=$1
    shift
    flyrpc watch --json "$@" >"$file" 2>"$file.err" </dev/null &
    watcher=$!
}

unwatch() {
    kill -INT "$watcher" 2>/dev/null
    wait "$watcher" 2>/dev/null
}

# has_events FILE COUNT
has_events() {
    [ "$(jq -c 'select(.vm != null and .vm != "")' "$1" 2>/dev/null | wc -l)" -ge "$2" ]
}

launch() {
    expect_exit 0 flyrpc launch --region "$1" --memory 1 --cores 1 --json
    json_get .id
}

# A watch begins with what happens after it: launch until it has seen one.
step "a watcher sees what happens while it watches"
watching "$tmp/live"
for ((i = 0; i < 100; i++)); do
    launch SIN >/dev/null
    ! has_events "$tmp/live" 1 || break
    sleep 0.1
done
has_events "$tmp/live" 1 || fail "no event after $i launches"

step "each change once, in order, with slice and seq"
id=$(launch DEN)
expect_exit 0 flyrpc destroy "$id"
wait_for 10 "the destroy" grep -q "destroyed" "$tmp/live"
unwatch
jq -s -e --arg id "$id" '
    [.[] | select(.vm == $id)] | length == 2 and all(.[]; .region == "DEN" and .seq > 0
        and (.slice | length > 0) and (.incarnation | tostring | length > 0)
        and (.time | test("Z$")) and (.machine | length > 0))
    and .[0].type != .[1].type' "$tmp/live" >/dev/null || fail "events: $(tail -n 4 "$tmp/live")"
jq -s -e '[.[] | select(.seq != null) | .seq] | . as $s
    | all(range(1; length); $s[.] == $s[. - 1] + 1)' "$tmp/live" >/dev/null ||
    fail "the numbers are not gapless: $(jq -c .seq "$tmp/live" | tr '\n' ' ')"

step "it resumes after its cursor: nothing twice, nothing lost"
cursor=$(jq -r 'select(.seq != null) | "\(.slice):\(.incarnation):\(.seq)"' "$tmp/live" | tail -n 1)
seq=${cursor##*:}
second=$(launch SIN)
third=$(launch SIN)
watching "$tmp/resumed" --since "$cursor"
wait_for 10 "two events" has_events "$tmp/resumed" 2
unwatch
expect_equal "$(jq -r 'select(.seq != null) | .seq' "$tmp/resumed" | tr '\n' ' ')" \
    "$((seq + 1)) $((seq + 2)) " "numbers after $cursor"
expect_equal "$(jq -r 'select(.seq != null) | .vm' "$tmp/resumed" | tr '\n' ' ')" \
    "$second $third " "VMs after $cursor"

step "over a -9 as well"
kill9_node a
start_node a
watching "$tmp/again" --since "$cursor"
fourth=$(launch SIN)
wait_for 10 "three events" has_events "$tmp/again" 3
unwatch
expect_equal "$(jq -r 'select(.seq != null) | .vm' "$tmp/again" | tr '\n' ' ')" \
    "$second $third $fourth " "VMs after $cursor"

step "a cursor of nowhere is refused, and watch needs its scope"
run flyrpc watch --json --since nonsense
[ "$code" -ne 0 ] && [ "$code" -ne 143 ] || fail "exit code $code"
use a read,launch
expect_exit 77 flyrpc watch --json
stop_node a
