# verdict.jq - what the figures of a run say about the bars of issue 4.
#
# Input: the array of all figures. A ratio is taken within each round, between the best variants of
# that round by that very measure (a thread that waits, a completion queue, callbacks; gRPC has three
# kinds of servers besides); its figure is the median of the rounds, with the smallest and the largest
# beside it. A figure that is missing in any round, or had a call that failed, is no pass.

def median: sort | if length == 0 then null
    elif length % 2 == 1 then .[(length - 1) / 2]
    else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def shown: if . == null then null elif . >= 1000 then round elif . >= 10 then . * 100 | round / 100
    else . * 1000 | round / 1000 end;

def of($figure; $pin; $system): [.[] | select(.figure == $figure and .pin == $pin and .system == $system
    and (has("missing") | not) and (.failed // 0) == 0 and (.calls // 1) > 0)];

# {ROUND: value}: the best of the variants in each round
def rounds($field; $want): group_by(.round)
    | map({key: (.[0].round | tostring), value: (map(.[$field]) | if $want == "max" then max else min end)})
    | from_entries;
def best($field; $want): group_by(.variant) | map({variant: .[0].variant, value: (map(.[$field]) | median)})
    | if length == 0 then {variant: null, value: null}
      elif $want == "max" then max_by(.value) else min_by(.value) end;

def over($a; $b): [$a | to_entries[] | select($b[.key] != null and $b[.key] > 0) | .value / $b[.key]];
def meets($op; $bar): if . == null then false elif $op == "<=" then . <= $bar else . >= $bar end;

# values: one for each round that has it
def verdict($row; $what; $pin; $gate; $values; $op; $bar; $wanted; $more):
    ($values | median) as $figure
    | {row: $row, what: $what, pin: $pin, gate: $gate, figure: ($figure | shown), bar: "\($op) \($bar)",
       pass: (($values | length) >= $wanted and ($figure | meets($op; $bar))),
       min: ($values | min | shown), max: ($values | max | shown), rounds: ($values | length)} + $more;

# CPU of ours over raw's
def to_raw($row; $what; $figure; $raw_figure; $bar; $wanted):
    of($figure; "S"; "ours") as $own | ($own | rounds("cpu_us"; "min")) as $ours
    | (of($raw_figure; "S"; "raw") | rounds("cpu_us"; "min")) as $raw
    | verdict($row; $what; "S"; true; over($ours; $raw); "<="; $bar; $wanted;
        {ours: ($ours | [.[]] | median | shown), ours_variant: ($own | best("cpu_us"; "min").variant),
         raw: ($raw | [.[]] | median | shown), unit: "CPU us a call"});

# How many times better than gRPC's best, by a field of which little ("min") or much ("max") is good.
# What raw TCP itself reaches in the same rounds stands beside it where it was measured: no RPC over
# TCP can be better, so a bar above it is not reachable on this machine.
def to_grpc($row; $what; $figure; $grpc_figure; $pin; $gate; $field; $want; $bar; $wanted):
    . as $all
    | of($figure; $pin; "ours") as $own | ($own | rounds($field; $want)) as $ours
    | (of($grpc_figure; $pin; "grpc")) as $lines | ($lines | rounds($field; $want)) as $grpc
    | ($all | of($grpc_figure; $pin; "raw") | rounds($field; $want)) as $raw
    | (if $want == "min" then over($grpc; $ours) else over($ours; $grpc) end) as $values
    | (if $want == "min" then over($grpc; $raw) else over($raw; $grpc) end) as $limit
    | ($lines | best($field; $want)) as $best
    | verdict($row; $what; $pin; $gate; $values; ">="; $bar; $wanted;
        {ours: ($ours | [.[]] | median | shown), ours_variant: ($own | best($field; $want).variant),
         grpc: ($best.value | shown), grpc_variant: $best.variant,
         unit: $field} + if ($limit | length) > 0 then {raw_against_grpc: ($limit | median | shown),
            reachable: (($limit | median) >= $bar)} else {} end);

def plain($row; $what; $figure; $pin; $variant; $field; $op; $bar; $wanted):
    [of($figure; $pin; "ours")[] | select(($variant == "" or .variant == $variant)
        and (.side // "server") == "server") | .[$field] | values] as $values
    | [of($figure; $pin; "grpc")[] | select((.side // "server") == "server") | .[$field] | values] as $grpc
    | verdict($row; $what; $pin; true; $values; $op; $bar; $wanted;
        {unit: $field} + if ($grpc | length) > 0 then {grpc: ($grpc | median | shown)} else {} end);

def one_by_one($n):
    to_raw("1"; "unary, one at a time, INLINE: CPU against raw TCP"; "unary_1"; "unary_1"; 3.0; $n),
    to_grpc("1"; "the same: how many times less CPU than gRPC"; "unary_1"; "unary_1"; "S"; true; "cpu_us"; "min"; 3.0; $n);
def waiting($n):
    to_grpc("1"; "a thread that waits for its answer, ours and gRPC's: CPU"; "waiting_1"; "waiting_1"; "S"; false; "cpu_us"; "min"; 3.0; $n);
def mailed($n):
    to_raw("1b"; "through the node loop's mailbox: CPU against raw TCP"; "mailed_1"; "unary_1"; 4.5; $n),
    to_grpc("1b"; "the same: how many times less CPU than gRPC"; "mailed_1"; "unary_1"; "S"; true; "cpu_us"; "min"; 2.0; $n);
def connections($n):
    to_raw("2"; "64 connections x 1: CPU against raw epoll"; "conns_64"; "conns_64"; 1.6; $n),
    to_grpc("2"; "the same: rate of one core against gRPC (by CPU)"; "conns_64"; "conns_64"; "S"; true; "cpu_us"; "min"; 5.0; $n),
    to_grpc("2"; "the same: rate by the clock"; "conns_64"; "conns_64"; "S"; false; "per_s"; "max"; 5.0; $n);
def in_flight($n):
    to_grpc("3"; "64 in flight on one connection: rate of one core against gRPC (by CPU)"; "flight_64"; "flight_64"; "S"; true; "cpu_us"; "min"; 20; $n),
    to_grpc("3"; "the same: rate by the clock"; "flight_64"; "flight_64"; "S"; false; "per_s"; "max"; 20; $n),
    plain("3"; "the same: CPU us a call"; "flight_64"; "S"; "inline"; "cpu_us"; "<="; 1.2; $n),
    to_grpc("3"; "the same, unpinned: rate against gRPC"; "flight_64"; "flight_64"; "U"; false; "per_s"; "max"; 20; $n);
def blocking($n):
    to_grpc("4"; "64 blocking threads: rate of one core against gRPC (by CPU)"; "threads_64"; "threads_64"; "S"; true; "cpu_us"; "min"; 4.5; $n),
    to_grpc("4"; "the same: rate by the clock"; "threads_64"; "threads_64"; "S"; false; "per_s"; "max"; 4.5; $n),
    to_grpc("4"; "the same: p50, how many times shorter than gRPC's"; "threads_64"; "threads_64"; "S"; true; "p50_us"; "min"; 8; $n),
    to_grpc("4"; "64 blocking threads, unpinned: rate"; "threads_64"; "threads_64"; "U"; false; "per_s"; "max"; 4.5; $n),
    to_grpc("4"; "64 blocking threads, unpinned: p50"; "threads_64"; "threads_64"; "U"; false; "p50_us"; "min"; 8; $n);
def open_loop($n):
    to_grpc("5"; "open loop 20,000/s: p50, how many times shorter than gRPC's"; "open_20k"; "open_20k"; "S"; true; "p50_us"; "min"; 3.0; $n),
    to_grpc("5"; "the same: how many times less CPU"; "open_20k"; "open_20k"; "S"; true; "cpu_us"; "min"; 2.0; $n),
    to_grpc("5"; "the same without what the pacing thread costs by itself"; "open_20k"; "open_20k"; "S"; false; "unpaced_cpu_us"; "min"; 2.0; $n),
    to_grpc("5"; "open loop, unpinned: p50"; "open_20k"; "open_20k"; "U"; false; "p50_us"; "min"; 3.0; $n),
    to_grpc("5"; "open loop, unpinned: CPU"; "open_20k"; "open_20k"; "U"; false; "cpu_us"; "min"; 2.0; $n);
def secure($n):
    to_grpc("6"; "TLS, one at a time: how many times less CPU than gRPC"; "tls_1"; "tls_1"; "S"; true; "cpu_us"; "min"; 2.0; $n),
    to_grpc("6"; "TLS, 64 in flight: how many times less CPU"; "tls_64"; "tls_64"; "S"; true; "cpu_us"; "min"; 10; $n),
    to_grpc("6"; "TLS, 64 in flight: rate"; "tls_64"; "tls_64"; "S"; false; "per_s"; "max"; 10; $n);
def streaming($n):
    to_grpc("7"; "server streaming, one to one: messages/s of one core against gRPC (by CPU)"; "stream_1"; "stream_1"; "S"; true; "cpu_us"; "min"; 6; $n),
    to_grpc("7"; "the same: messages/s by the clock"; "stream_1"; "stream_1"; "S"; false; "per_s"; "max"; 6; $n),
    plain("7"; "the same: CPU us a message"; "stream_1"; "S"; "stream"; "cpu_us"; "<="; 1.0; $n);
def stalled($n):
    plain("7"; "a stalled reader, window 64 KiB: kB it costs the server"; "stopped_server"; "S"; ""; "kb_each"; "<=";
        192; $n),
    plain("7"; "a stalled reader, window 16 MiB over out_max 4 MiB: kB"; "stopped_server"; "S"; ""; "wide_kb_each";
        "<="; 5120; $n);
def idle:
    plain("8"; "an idle connection: resident kB"; "idle"; "U"; ""; "rss_kb_each"; "<="; 8; 1),
    plain("8"; "idle connections held"; "idle"; "U"; ""; "held"; ">="; 10000; 1);
def counts($n):
    plain("9"; "server's futex calls, one at a time"; "counts_1"; "S"; "inline"; "futex"; "<="; 3; $n),
    plain("9"; "server's context switches, one at a time"; "counts_1"; "S"; "inline"; "switches"; "<="; 2; $n),
    plain("9"; "server's syscalls a call, 64 in flight"; "counts_64"; "S"; "inline"; "syscalls"; "<="; 0.15; $n);
def stopped($n):
    . as $all
    | ([of("stopped"; "S"; "ours")[] | select(.variant == "before")] | rounds("p99_us"; "min")) as $before
    | ([of("stopped"; "S"; "ours")[] | select(.variant == "during")] | rounds("p99_us"; "min")) as $during
    | verdict("12"; "16 stopped readers: others' p99, during over before"; "S"; true; over($during; $before); "<="; 1.5;
        $n; {ours: ($during | [.[]] | median | shown), before: ($before | [.[]] | median | shown), unit: "p99_us"}),
      ($all | plain("12"; "the same: looks that found a thread inside send"; "stopped_server"; "S"; "";
        "looks_with_a_thread_in_send"; "<="; 0; $n));

def storms:
    plain("10"; "random calls, servers killed, stopped, drained: endings that were wrong"; "row_10"; "U"; ""; "wrong"; "<="; 0; 1),
    plain("10"; "the same: how many calls"; "row_10"; "U"; ""; "storm_calls"; ">="; 1000000; 1),
    (of("row_10"; "U"; "ours") as $lines
     | verdict("10"; "the same: deadline overshoot, p99.9, ms (control: a thread that only sleeps)"; "U"; true;
         [$lines[].overshoot_p999_ms | values]; "<="; 2; 1;
         {unit: "overshoot_p999_ms", control: ($lines[0].control_p999_ms // null)})),
    plain("11"; "ten times the capacity: goodput over the capacity"; "row_11"; "U"; ""; "ratio"; ">="; 0.9; 1),
    plain("11"; "the same: late calls that were begun"; "row_11"; "U"; ""; "late_runs"; "<="; 0; 1),
    plain("11"; "the same: recovery, ms"; "row_11"; "U"; ""; "recovery_ms"; "<="; 100; 1);

# $only: "" or ",ROW,ROW,"
def verdicts($only; $n):
    # of the variants of row 1 those in which a thread waits
    . + [.[] | select(.figure == "unary_1" and (.variant == "one" or .variant == "inline" or (.variant | startswith("sync/"))))
         | .figure = "waiting_1"]
    | [one_by_one($n), waiting($n), mailed($n), connections($n), in_flight($n), blocking($n), open_loop($n), secure($n),
     streaming($n), stalled($n), idle, counts($n), storms, stopped($n)]
    | map(select($only == "" or (.row as $row | $only | contains("," + $row + ","))));
