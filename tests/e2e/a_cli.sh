#!/bin/bash
# The programs without a node: help, versions, usage errors, tokens, nobody to talk to.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

step "help is on stdout, and everywhere"
expect_exit 0 flyrpc --help
for word in regions launch list status destroy cancel watch token version; do
    expect_text "$out" "$word"
done
for command in regions launch list status destroy cancel watch version "token create" \
    "token inspect"; do
    # shellcheck disable=SC2086
    expect_exit 0 flyrpc $command --help
    expect_text "$out" usage
done
expect_exit 0 flynode --help
expect_exit 0 flynode dev --help
for word in --state --machines --regions-file --rpc; do
    expect_text "$out" "$word"
done
expect_exit 0 flynode check --help
expect_text "$out" --state

step "versions"
expect_exit 0 flyrpc version
version=$(sed -n 's/^project(flylight VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")
expect_text "$out" "$version"

step "a wrong way to call exits 64, with words on stderr and nothing on stdout"
for command in "" "nonsense" "launch" "launch --region SIN" "status" "destroy" "cancel" \
    "regions --filter" "regions --sort nonsense" "regions --nonsense" \
    "launch --region SIN --memory 6 --cores 0" "launch --region SIN --memory -6 --cores 4" \
    "launch --region SIN --memory six --cores 4" "launch --region SIN --memory 6 --cores 1.5" \
    "launch --region SIN --memory 6 --cores 4 --timeout 5"; do
    # shellcheck disable=SC2086
    expect_exit 64 flyrpc $command --addr tcp://127.0.0.1:1
    [ -s "$err" ] || fail "nothing on stderr"
    [ ! -s "$out" ] || fail "something on stdout"
done
expect_exit 64 flynode nonsense
expect_exit 64 flynode dev --nonsense

step "no edge at the address exits 69"
free_port
expect_exit 69 flyrpc regions --addr "tcp://127.0.0.1:$port" --timeout 2s
[ ! -s "$out" ] || fail "something on stdout"

step "a token needs a state folder with an issuer key"
mkdir "$tmp/empty"
run flyrpc token create --state "$tmp/empty" --scope launch --ttl 1h
[ "$code" -ne 0 ] || fail "a token from an empty folder"
[ ! -s "$out" ] || fail "something on stdout"
run flyrpc token inspect nonsense
[ "$code" -ne 0 ] || fail "nonsense was taken for a token"

step "an inventory with a bad row starts nothing, and says where"
printf 'this,is,no\ninventory,at,all\n' >"$tmp/bad.csv"
run flynode dev --state "$tmp/bad" --machines "$tmp/bad.csv" \
    --regions-file "$root/data/regions.csv" --rpc "tcp://127.0.0.1:$port"
[ "$code" -ne 0 ] || fail "it started"
expect_text "$err" bad.csv
