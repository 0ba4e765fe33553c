#!/bin/bash
# machines: every machine once, whatever the pages' size, with what is free on it, filtered, and
# with the cursor from which a watch goes on.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

{
    echo name,region,address,cores,memory_bytes,status
    for ((i = 0; i < 60; i++)); do
        echo "sin-$i,SIN,10.0.0.$i:1,32,128000000000,available"
        echo "den-$i,DEN,10.0.1.$i:1,16,64000000000,available"
    done
} >"$tmp/machines.csv"
FLY_MACHINES=$tmp/machines.csv start_node a
use a regions,launch,read,watch

# page AFTER LIMIT - one page by RPC
page() {
    expect_exit 0 flyrpc rpc call fly.v1.Edge/Machines \
        "$(jq -nc --arg after "$1" --argjson limit "$2" '{after: $after, limit: $limit}')"
}

step "all of them, once"
expect_exit 0 flyrpc machines --json
expect_json 'length == 120 and (map(.name) | unique | length == 120) and
    all(.[]; .cores_free == .cores and .memory_free_bytes == .memory_bytes and (.cordoned | not)
        and (.slice | length == 6)) and map(select(.region == "DEN") | .cores) == [range(60) | 16]'
names=$(jq -c 'map(.name)' "$out")

step "a table, and what does not fit in it"
expect_exit 0 flyrpc machines
expect_equal "$(wc -l <"$out")" 121 "lines"
expect_equal "$(awk 'length($0) > 80' "$out")" "" "lines over 80 columns"
expect_exit 0 flyrpc machines --limit 7 --json
expect_json 'map(.name) == $names[:7]' --argjson names "$names"

step "filters"
expect_exit 0 flyrpc machines --region den --name den-1 --json
expect_json 'length == 11 and all(.[]; .region == "DEN")'
expect_exit 0 flyrpc machines --name nowhere --json
expect_json '. == []'
expect_exit 64 flyrpc machines --region DNE
expect_text "$err" DEN
expect_exit 64 flyrpc machines --limit 0

step "pages of any size are the same list"
for limit in 1 7 119 120 4000; do
    after=
    told=[]
    cursor=
    for ((pages = 0; pages < 200; pages++)); do
        [ "$limit" -gt 1 ] || [ "$pages" -lt 9 ] || break
        page "$after" "$limit"
        told=$(jq -c --argjson told "$told" '$told + [.machines[]?.name]' "$out")
        cursor=${cursor:-$(json_get .cursor)}
        after=$(jq -r '.next // ""' "$out")
        [ -n "$after" ] || break
    done
    expect_equal "$told" "$(jq -c --argjson n "$([ "$limit" -gt 1 ] && echo 120 || echo 9)" \
        '.[:$n]' <<<"$names")" "names with pages of $limit"
done
for wrong in x 1.2 000001.1.1.1 "$after.x"; do
    [ -n "$wrong" ] && expect_exit 64 flyrpc rpc call fly.v1.Edge/Machines "{\"after\":\"$wrong\"}"
done

step "its cursor is where a watch goes on"
expect_exit 0 flyrpc launch --region SIN --memory 1 --cores 3 --json
machine=$(json_get .machine)
flyrpc watch --json --since "$cursor" >"$tmp/watch" 2>/dev/null </dev/null &
watcher=$!
wait_for 10 "the event" grep -q vm_started "$tmp/watch"
kill -INT "$watcher" 2>/dev/null
wait "$watcher" 2>/dev/null
expect_equal "$(jq -rs 'map(.machine) | unique | .[]' "$tmp/watch")" "$machine" "machine"
expect_exit 0 flyrpc machines --name "$machine" --json
expect_json '[.[] | select(.name == $m) | .cores_free] == [29]' --arg m "$machine"

step "it needs its scope"
use a launch,watch
expect_exit 77 flyrpc machines
stop_node a
