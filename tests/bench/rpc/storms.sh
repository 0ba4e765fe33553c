# storms.sh - rows 10 and 11, which are programs of their own (storm.c, overload.c) with their own verdicts:
# their last words become figures here.
# shellcheck shell=bash disable=SC2154

# program ROW PROGRAM ARGUMENTS... - its JSON lines, and how it ended
storm_run() {
    local row=$1 program=$2
    shift 2
    timeout 1200 taskset -c "$all_cpus" "$build/bin/$program" "$@" 2>"$tmp/err"
    jq -nc --arg row "$row" --argjson code "$?" --rawfile said "$tmp/err" \
        '{figure: "ended", row: $row, code: $code, said: $said[:400]}'
}

# to_figures ROW - what verdict.jq reads; all lines of a program in one
storm_figures() {
    jq -c --arg row "$1" -s '
        def one($name): [.[] | select(.figure == $name)] | last // {};
        def all_ways: [.[] | select(.figure == "overshoot" and .way == "all")] | last // {};
        def control: [.[] | select(.figure == "overshoot" and .way == "control")] | last // {};
        {figure: ("row_" + $row), pin: "U", system: "ours", round: 1, variant: "", code: one("ended").code,
         said: one("ended").said}
        + if $row == "10" then {storm_calls: one("storm").calls, wrong: one("storm").wrong,
                overshoot_p999_ms: all_ways.p999_ms, control_p999_ms: control.p999_ms, late_runs: one("storm").late_runs}
          else one("overload") | {ratio, late_runs, recovery_ms, capacity_per_s, goodput_per_s} end'
}

storms_measure() {
    if wanted 11; then
        storm_run 11 bench_rpc_overload | storm_figures 11 | say
    fi
    if wanted 10; then
        storm_run 10 bench_rpc_storm --calls "$storm_calls" --seed "$storm_seed" | storm_figures 10 | say
    fi
}
