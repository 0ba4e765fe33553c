#!/bin/bash
# The auditor finds lies between slices: two clusters stand in for one that went wrong.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

printf 'name,region,address,cores,memory_bytes,status\nm1,SIN,10.0.0.1:1,4,64000000000,available\n' \
    >"$tmp/machines.csv"
FLY_MACHINES=$tmp/machines.csv
start_node a
start_node b

# launch NODE KEY CORES - its history line goes to NODE.told
launch() {
    use "$1" launch
    expect_exit 0 flyrpc launch --region SIN --memory 1 --cores "$3" --key "$2" --json
    jq -c . "$out" >>"$tmp/$1.told"
}

finds() { # finds NAME FOLDERS AND HISTORIES...
    expect_exit 1 fly_audit "${@:2}"
    expect_json '[.violations[].what] | index($what) != null' --arg what "$1"
}

step "each of them is sound"
launch a order-1 3
launch b order-2 3
stop_node a
stop_node b
expect_exit 0 fly_audit --complete "$tmp/a/state" "$tmp/a.told"
expect_exit 0 fly_audit --complete "$tmp/b/state" "$tmp/b.told"

step "one machine in two slices, over-full in both together"
finds shared "$tmp/a/state" "$tmp/b/state"

step "a slice that was told of is not there"
finds lost "$tmp/a/state" "$tmp/a.told" "$tmp/b.told"
expect_exit 0 fly_audit --running "$tmp/a/state" "$tmp/a.told" "$tmp/b.told"

step "one slice twice"
cp -r "$tmp/a/state" "$tmp/copy"
finds twin "$tmp/a/state" "$tmp/copy"

step "one key, two VMs in two slices"
cp -r "$tmp/b/state" "$tmp/older"
start_node b
launch b order-1 1
stop_node b
finds second-vm "$tmp/a/state" "$tmp/b/state"

step "a VM that a slice forgot"
finds lost "$tmp/older" "$tmp/b.told"
