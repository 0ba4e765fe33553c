#!/bin/bash
# top: the screen in a terminal of 80 by 24, live; the terminal as it was afterwards; snapshots.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
command -v tmux >/dev/null || { echo "b_top.sh: no tmux: skipped"; exit 77; }

export LC_ALL=C.UTF-8
unset TMUX
# a name of its own: nobody else's server, and a socket that goes with this script's folder
tmux_() { TMUX_TMPDIR=$tmp timeout -k 5 20 tmux -L top -f /dev/null "$@"; }
end_tmux() { tmux_ kill-server 2>/dev/null || true; }
trap 'end_tmux; cleanup' EXIT

# screen WORDS - starts it in a terminal; its exit code goes to $tmp/code
screen() {
    tmux_ new-session -d -x 80 -y 24 "stty -a >'$tmp/stty.before'; $*; echo \$? >'$tmp/code'
        stty -a >'$tmp/stty.after'; echo the shell again; exec sleep 60" >"$out" 2>"$err" ||
        fail "tmux: $(cat "$err")"
}
shows() { tmux_ capture-pane -p >"$out" 2>"$err" && grep -qF -- "$1" "$out"; }
shows_not() { tmux_ capture-pane -p >"$out" 2>"$err" && ! grep -qF -- "$1" "$out"; }
press() { tmux_ send-keys "$@"; }

start_node a
use a regions,launch,read,destroy,watch

step "what is no terminal is told of -b, and wrong words are told"
expect_exit 64 flyrpc top
expect_text "$err" "use -b"
expect_exit 64 flyrpc top -b -n 0
expect_exit 64 flyrpc top -b -d 0
expect_exit 64 flyrpc top --json

step "the screen: regions, machines, members, and that it is live"
screen flyrpc top
wait_for 10 "the screen" shows " LIVE "
shows "99 machines, free: 3,168 of 3,168 cores" || fail "no totals"
shows "SIN       10" || fail "no region"
shows "▀▀▀▀▀▀▀▀▀▀" || fail "no grid"
wait_for 5 "the members" shows "*dev"
shows "q quit ? help" || fail "no keys"

step "a launch is seen with no touch"
expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --json
vm=$(json_get .id)
machine=$(json_get .machine)
wait_for 5 "the launch" shows "free: 3,164 of 3,168 cores"
shows "316/320" || fail "the region's bar did not change"
shows "started    SIN  $machine" || fail "no event"

step "keys: filter, pane, help, a small terminal"
press / s i n -
press Enter
wait_for 5 "the filter" shows "Regions 1 /sin-"
shows "Machines 10" || fail "the filter does not count"
press Tab
wait_for 5 "the grid's cursor" shows " sin-01  SIN  free: "
press Escape '?'
wait_for 5 "the help" shows "Shift-Tab"
press '?'
tmux_ resize-window -x 50 -y 12
wait_for 5 "one pane" shows "Machines 99"
shows_not "Members" || fail "too much for a small terminal"
tmux_ resize-window -x 80 -y 24
wait_for 5 "all panes" shows "Members 1"

step "an edge that is gone is said to be, what it told is old, and all comes back by itself"
kill9_node a
wait_for 10 "the loss" shows " LOST "
wait_for 10 "the hatch" shows "░░░"
shows "SIN~" || fail "regions are shown as if they were live"
start_node a
wait_for 15 "the return" shows " LIVE "
shows "free: 3,164 of 3,168 cores" || fail "not what it was"

step "q leaves the terminal as it was, and 0"
press q
wait_for 5 "the end" shows "the shell again"
expect_equal "$(cat "$tmp/code")" 0 "exit code"
expect_equal "$(cat "$tmp/stty.after")" "$(cat "$tmp/stty.before")" "terminal modes"
shows_not "Regions" || fail "its screen was left"
end_tmux

step "SIGTERM gives the terminal back too"
screen "NO_COLOR=1 sh -c 'echo \$\$ >$tmp/pid; exec flyrpc top'"
wait_for 10 "the screen" shows " LIVE "
shows " GRU .........." || fail "no digits without colours"
kill -TERM "$(cat "$tmp/pid")"
wait_for 5 "the end" shows "the shell again"
expect_equal "$(cat "$tmp/code")" 130 "exit code"
expect_equal "$(cat "$tmp/stty.after")" "$(cat "$tmp/stty.before")" "terminal modes"
end_tmux

step "snapshots: text, and JSON of one line each"
expect_exit 0 flyrpc top -b -n 2 -d 0.1
expect_equal "$(grep -c '^REGION ' "$out")" 2 "snapshots"
expect_text "$out" "  LIVE  edge dev  "
expect_exit 0 flyrpc destroy "$vm"
expect_exit 0 flyrpc top -b -n 2 -d 0.1 --json
expect_equal "$(wc -l <"$out")" 2 "lines"
jq -s -e 'all(.[]; .live and .edge == "dev" and .totals.machines == 99
    and .totals.cores_free == 3168 and (.regions | length) == 37
    and (.regions | map(.cores_free) | add) == 3168 and .members[0].name == "dev"
    and .silent_ms < 3000)' "$out" >/dev/null || fail "JSON: $(head -c 600 "$out")"

step "no edge, no scope"
FLYRPC_ADDR=tcp://127.0.0.1:1 expect_exit 69 flyrpc top -b -n 1
use a regions,launch
expect_exit 77 flyrpc top -b -n 1
stop_node a
