# verdict.jq - what the figures of a run say about the bars of issue 5. Input: the array of all figures.

def of($row; $figure): [.[] | select(.row == $row and .figure == $figure)] | last;
def ran($row): any(.[]; .row == $row);
def verdict($row; $what; $figure; $op; $bar; $unit):
    {row: $row, what: $what, figure: $figure, bar: "\($op) \($bar)", unit: $unit,
     pass: ($figure != null and (if $op == "<=" then $figure <= $bar elif $op == ">=" then $figure >= $bar
         else $figure == $bar end))};
def whole($row):
    verdict($row; "pictures that differ from the dash at the end"; of($row; "dash_browsers").mirrors_wrong;
        "=="; 0; "pictures"),
    verdict($row; "the dash equals the owners (hash)"; of($row; "dash_feed").hash_equal; "=="; true; ""),
    verdict($row; "gaps that no browser was told of"; of($row; "dash_browsers").gaps_undetected;
        "=="; 0; "gaps");

(if ran("feed") then
    whole("feed"),
    verdict("feed"; "changes folded in"; of("feed"; "dash_feed") | .applied / .published; ">="; 0.98;
        "of those published"),
    verdict("feed"; "frames each browser gets"; of("feed"; "dash_browsers").frames_per_s_each; ">="; 50;
        "frames/s")
 else empty end),
(if ran("million") then whole("million") else empty end),
(if ran("4") then
    of("4"; "dash_browsers") as $b
    | whole("4"),
    verdict("4"; "connections that stood"; $b.connections - $b.lost; ">="; 5000; "connections"),
    verdict("4"; "frames each browser gets"; $b.frames_per_s_each; ">="; 3.9; "frames/s"),
    verdict("4"; "CPU of the dash"; $b.dash_cores; "<="; 1; "cores"),
    verdict("4"; "memory of the dash"; $b.dash_rss_peak_kib / 1024; "<="; 64; "MiB")
 else empty end),
(if ran("7") then
    whole("7"),
    verdict("7"; "all heard again after the dash stood still"; of("7"; "dash_feed").caught_up_ms; "<=";
        1000; "ms")
 else empty end)
