#!/bin/bash
# The main job: regions, launch, once per key, refusals, list, status, destroy, watch.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_node a
use a regions,launch,read,destroy,watch

# of the whole inventory, from the file that the node read
csv_sum() {
    awk -F, -v column="$1" '
        NR == 1 { for (i = 1; i <= NF; i++) { at[$i] = i } next }
        { sum += column == "" ? 1 : $at[column] }
        END { printf "%d\n", sum }' "$root/data/machines.csv"
}

step "regions: machines and free capacity"
expect_exit 0 flyrpc regions --json
cp "$out" "$tmp/regions.json"
regions='(if type == "array" then . else .regions end)'
expect_json "$regions | length > 20"
expect_json "$regions"' | all(.[]; (.code | test("^[A-Z]{3}$")) and has("city") and has("status")
    and has("latitude") and has("longitude") and .machines >= 0 and .cores_free <= .cores_total
    and .memory_free_bytes <= .memory_total_bytes)'
expect_json "[$regions[].machines] | add == \$n" --argjson n "$(csv_sum "")"
expect_json "[$regions[].cores_total] | add == \$n" --argjson n "$(csv_sum cores)"
expect_json "$regions"' | any(.[]; .code == "SIN" and .machines > 0 and .cores_free == .cores_total)'
expect_exit 0 flyrpc regions
expect_text "$out" SIN
expect_text "$out" Singapore
expect_exit 0 flyrpc regions --sort free --json
expect_json "[$regions[].cores_free] | . == (sort | reverse) or . == sort"
expect_exit 0 flyrpc regions --sort code --json
expect_json "[$regions[].code] | . == sort"
expect_exit 0 flyrpc regions --filter operational --json
expect_json "$regions | length > 0 and all(.[]; .status == \"operational\")"

step "launch: what it prints for a person, and for a program"
expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4
for word in SIN "6 GB" started ms; do
    expect_text "$out" "$word"
done
expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --name web-1 --json
expect_json '.region == "SIN" and .cores == 4 and .memory_bytes == 6000000000 and .state == "started"
    and .name == "web-1" and .replayed == false and .elapsed_ms >= 0 and .tries >= 1 and .seq > 0
    and (.id | test("^[0-9a-z]{12}$")) and (.machine | length > 0) and (.slice | length > 0)
    and (.key | test("^f1[0-9a-f]{30}$")) and (.created_at | test("^2[0-9]{3}-.*Z$"))'
first=$(json_get .id)
expect_exit 0 flyrpc launch --vm-region sin --vm-memory 512MiB --vm-cores 1 --json
expect_json '.memory_bytes == 536870912 and .cores == 1 and .region == "SIN"'

step "the same key again is the same VM, and another size is refused"
expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --key order-4711 --json
expect_json '.replayed == false and (.key | startswith("00"))'
id=$(json_get .id)
key=$(json_get .key)
expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --key order-4711 --json
expect_json '.replayed == true and .id == $id' --arg id "$id"
expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --key "$key" --json
expect_json '.replayed == true and .id == $id' --arg id "$id"
expect_exit 0 flyrpc launch --region SIN --memory 6 --cores 4 --key order-4711
expect_text "$out" replayed
expect_text "$out" "$id"
expect_exit 1 flyrpc launch --region SIN --memory 7 --cores 4 --key order-4711
expect_text "$err" key
[ ! -s "$out" ] || fail "something on stdout"
run flyrpc launch --region SIN --memory 6 --cores 5 --key order-4711 --json
cat "$err" >>"$out"
expect_text "$out" KEY_REUSED

step "too large for any machine exits 2 and says which limit"
expect_exit 2 flyrpc launch --region SIN --memory 100000 --cores 4
expect_text "$err" memory
expect_exit 2 flyrpc launch --region SIN --memory 6 --cores 1024
expect_text "$err" cores
run flyrpc launch --region SIN --memory 100000 --cores 4 --json
expect_equal "$code" 2 "exit code"
[ -s "$out" ] || cp "$err" "$out"
expect_json '.error | .reason == "TOO_LARGE" and has("code") and has("message") and has("hint")
    and .retryable == false'

step "an unknown region exits 64 and suggests the nearest"
expect_exit 64 flyrpc launch --region MLE --memory 6 --cores 4
expect_text "$err" MEL

step "sizes below one exit 64"
expect_exit 64 flyrpc launch --region SIN --memory 6 --cores 0
expect_exit 64 flyrpc launch --region SIN --memory -6 --cores 4
expect_exit 64 flyrpc launch --region SIN --memory=-6 --cores 4
expect_exit 64 flyrpc launch --region SIN --memory 0 --cores 4

step "no token, a broken one, a foreign one, or one without the scope exits 77"
mine=$FLYRPC_TOKEN
unset FLYRPC_TOKEN
expect_exit 77 flyrpc launch --region SIN --memory 6 --cores 4
expect_exit 77 flyrpc regions
export FLYRPC_TOKEN=${mine%?????}AAAAA
expect_exit 77 flyrpc launch --region SIN --memory 6 --cores 4
use a read,regions
expect_exit 77 flyrpc launch --region SIN --memory 6 --cores 4
expect_text "$err" launch
expect_exit 77 flyrpc destroy "$first"
expect_exit 0 flyrpc list
FLYRPC_TOKEN=$(token_of a launch 1s)
sleep 2
expect_exit 77 flyrpc launch --region SIN --memory 6 --cores 4
FLYRPC_TOKEN=$mine

step "a full region exits 2, and room comes back with a destroy"
cores=$(jq -r "$regions[] | select(.code == \"SIN\") | .cores_total" "$tmp/regions.json")
taken=0
filled=
for ((i = 0; i <= cores; i++)); do
    run flyrpc launch --region SIN --memory 1 --cores 16 --json
    [ "$code" -eq 0 ] || break
    filled=$(json_get .id)
    taken=$((taken + 1))
done
expect_equal "$code" 2 "exit code"
[ "$taken" -gt 0 ] && [ $((taken * 16 + 13)) -le "$cores" ] ||
    fail "$taken launches of 16 cores and 13 more on $cores"
[ -s "$out" ] || cp "$err" "$out"
expect_json '.error.reason == "REGION_FULL"'
expect_exit 0 flyrpc destroy "$filled"
expect_exit 0 flyrpc launch --region SIN --memory 1 --cores 16 --json

step "list and status agree; a unique beginning of an id is enough"
vms='(if type == "array" then . else .vms end)'
expect_exit 0 flyrpc list --json
expect_json "$vms | length == \$n" --argjson n $((taken + 4))
expect_json "[$vms[] | select(.id == \$id)] | length == 1" --arg id "$first"
expect_json "[$vms[] | .machine as \$m | .cores] | add <= \$n" --argjson n "$cores"
expect_exit 0 flyrpc list --region DEN --json
expect_json "$vms | length == 0"
expect_exit 0 flyrpc status "$first" --json
expect_json '.id == $id and .state == "started" and .name == "web-1"' --arg id "$first"
expect_exit 1 flyrpc status 000000000000
expect_exit 1 flyrpc status 0

step "destroy stays, twice is no harm, and its key does not launch again"
expect_exit 0 flyrpc destroy "$id"
expect_exit 0 flyrpc status "$id" --json
expect_json '.state == "destroyed"'
expect_exit 0 flyrpc destroy "$id"
run flyrpc launch --region SIN --memory 6 --cores 4 --key order-4711 --json
if [ "$code" -eq 0 ]; then
    expect_json '.replayed == true and .id == $id' --arg id "$id"
fi

step "cancel settles a key for good"
expect_exit 0 flyrpc cancel never-launched
run flyrpc launch --region DEN --memory 1 --cores 1 --key never-launched
[ "$code" -ne 0 ] || fail "a cancelled key was launched"
[ ! -s "$out" ] || fail "something on stdout"

step "all of it is still there after -9"
flyrpc list --json | jq -S "$vms | sort_by(.id)" >"$tmp/before"
kill9_node a
start_node a
flyrpc list --json | jq -S "$vms | sort_by(.id)" >"$tmp/after"
cmp -s "$tmp/before" "$tmp/after" || fail "the list is another: $(diff "$tmp/before" "$tmp/after" | head)"
stop_node a
expect_exit 0 flynode check --state "$tmp/a/state"
