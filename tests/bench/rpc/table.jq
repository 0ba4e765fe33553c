# table.jq - the verdicts of a run as a Markdown table:
#
#   ./tests/bench/rpc/run >out; jq -rs -f tests/bench/rpc/table.jq out

def cell: if . == null then "" else tostring end;
def times: if . == null then "" else "\(.)" end;

"| row | what | figure (lowest–highest) | bar | | ours | gRPC, its best | raw TCP in gRPC's place |",
"|---|---|---|---|---|---|---|---|",
(.[] | select(has("bar"))
    | "| \(.row)\(if .pin == "S" or (.row | IN("8", "10", "11")) then "" else " " + .pin end) | \(.what) | "
        + (if .rounds > 1 then "\(.figure | cell) (\(.min | cell)–\(.max | cell))" else .figure | cell end)
        + " | \(if .gate then .bar else "(" + .bar + ")" end) | \(if .pass then "met" elif .figure == null then "missing"
            elif .reachable == false then "missed; out of reach" else "missed" end) | \(.ours | cell)\(if (.ours_variant // "" | test("callback")) then " " + .ours_variant else "" end)\(
            if .control then "control \(.control)" else "" end) | \(.grpc | cell)"
        + (if .grpc_variant then " \(.grpc_variant)" else "" end) + " | \(.raw_against_grpc | times) |")
