#!/bin/bash
# The programs without a node: help, versions, usage errors, tokens, nobody to talk to.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

step "help is on stdout, and everywhere"
expect_exit 0 flyrpc --help
for word in regions launch list status destroy cancel watch members dash slice join-token token version; do
    expect_text "$out" "$word"
done
for command in regions launch list status destroy cancel watch members dash version "token create" \
    "token inspect" "slice list" "slice forget" "join-token create" "join-token list" \
    "join-token revoke"; do
    # shellcheck disable=SC2086
    expect_exit 0 flyrpc $command --help
    expect_text "$out" usage
done
expect_exit 0 flynode --help
expect_exit 0 flynode dev --help
for word in --state --machines --regions-file --rpc --http; do
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
    "launch --region SIN --memory 6 --cores 4 --timeout 5" "watch --since nonsense" "slice" \
    "slice forget 0a1b2c" "slice forget nonsense --yes" "join-token create --roles king" \
    "join-token create --uses 0" "join-token revoke" "regions --ca /nowhere" \
    "regions --addr h:0"; do
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
expect_exit 69 flyrpc regions --addr "tcp://127.0.0.1:$port,127.0.0.1:1" --edge 127.0.0.1:2 --timeout 2s
FLYRPC_EDGE=127.0.0.1:1,127.0.0.1:2 expect_exit 69 flyrpc regions --timeout 2s
FLYRPC_EDGE=127.0.0.1:1 FLYRPC_ADDR=127.0.0.1:2 expect_exit 64 flyrpc regions --timeout 2s

step "off loopback nothing is said in the clear, and it says what to do"
expect_exit 64 flyrpc regions --addr 192.0.2.1 --timeout 2s
expect_text "$err" tls-ca.pem

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
