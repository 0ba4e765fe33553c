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

step "only some types, for some time"
watching "$tmp/typed" --since "$cursor" --type vm_destroyed --type machine_added --timeout 30s
fifth=$(launch SIN)
expect_exit 0 flyrpc destroy "$fifth"
wait_for 10 "the destroy" grep -q "$fifth" "$tmp/typed"
unwatch
expect_equal "$(jq -rs 'map(.type) | unique | .[]' "$tmp/typed")" vm_destroyed types
expect_exit 0 flyrpc watch --json --timeout 300ms
expect_exit 64 flyrpc watch --type vm_startd
expect_text "$err" "did you mean vm_started?"

step "until something holds: from the start, or by an event"
expect_exit 0 flyrpc watch --for "vm=$fourth"
expect_exit 0 flyrpc watch --for "vm=$fifth:destroyed" --timeout 10s
expect_exit 1 flyrpc watch --for "vm=$fifth" --timeout 10s
expect_text "$err" "will not start again"
expect_exit 124 flyrpc watch --for "vm=$fourth:destroyed" --timeout 400ms
expect_exit 64 flyrpc watch --for "region=XYZ:free>=1"
expect_exit 64 flyrpc watch --for "region=SIN"
flyrpc watch --for name=late --timeout 30s >"$tmp/for" 2>&1 </dev/null &
waiting=$!
expect_exit 0 flyrpc launch --region SIN --memory 1 --cores 1 --name late --json
late=$(json_get .id)
wait "$waiting" || fail "the watch for a name ended with $?: $(cat "$tmp/for")"
flyrpc watch --for name=late:destroyed --timeout 30s >"$tmp/for" 2>&1 </dev/null &
waiting=$!
expect_exit 0 flyrpc destroy "$late"
wait "$waiting" || fail "the watch for its end ended with $?: $(cat "$tmp/for")"

step "a terminal is repainted in place, and its last picture stays"
if command -v script >/dev/null; then
    (TERM=xterm script -qec "stty cols 60 rows 8; flyrpc watch --since $cursor --timeout 1500ms" \
        /dev/null >"$tmp/screen" 2>&1 </dev/null) || fail "exit code $?: $(cat "$tmp/screen")"
    expect_text "$tmp/screen" "edge dev  live"
    expect_text "$tmp/screen" "vm_destroyed"
    expect_text "$tmp/screen" $'\x1b[7A' # it moved up over its own seven lines
    refuse_text "$tmp/screen" $'\x1b[?1049h'
    expect_equal "$(sed 's/\x1b\[[0-9]*[a-zA-Z]//g; s/\r//g' "$tmp/screen" |
        grep -v '^flyrpc' | awk 'length($0) > 60')" "" "lines wider than the terminal"
fi

step "a cursor of nowhere is refused, and watch needs its scope"
run flyrpc watch --json --since nonsense
[ "$code" -ne 0 ] && [ "$code" -ne 143 ] || fail "exit code $code"
use a read,launch
expect_exit 77 flyrpc watch --json
stop_node a
