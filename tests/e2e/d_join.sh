#!/bin/bash
# Joining a cluster that runs: tokens that are made, used, used up, revoked and expired; a second
# admitting node; and what a copied credential or a foreign one gets, which is nothing.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# create NAME=VALUE... - a join token; sets `token` and `token_id`
create() {
    expect_exit 0 flyrpc join-token create --json "$@"
    token=$(json_get .token)
    token_id=$(json_get .id)
}

# refused CODE WORDS NAME [ARGUMENTS] - a join that must not be
refused() {
    local want=$1 words=$2 name=$3
    shift 3
    expect_exit "$want" flynode join --state "$tmp/$name" --name "$name" "$@" "$token"
    expect_text "$err" "$words"
    [ ! -e "$tmp/$name/cluster.json" ] || fail "$name has an identity"
    if [ -e "$tmp/$name" ]; then
        expect_exit 1 flynode run --state "$tmp/$name" --rpc 127.0.0.1:19999 --beacon=off
        rm -r "${tmp:?}/$name"
    fi
}

step "the founder runs"
cluster_init a
start_member a
use_edges admin,regions,read a

step "a token is good for as many nodes as it says"
create --uses 2 --roles peer
join_token=$token
cluster_join b --region sin
cluster_join c --json
expect_json '.roles == ["peer"] and .name == "c" and (.seeds | length) >= 1'
refused 77 "used up" x
expect_exit 0 flyrpc join-token list --json
expect_json 'map(select(.id == $id)) | .[0] | .used == 2 and .uses_left == 0' --arg id "$token_id"

step "each got a slice tag of its own"
expect_equal "$(jq -r .cluster "$tmp"/[abc]/state/cluster.json | sort -u | wc -l)" 1 "clusters"
expect_equal "$(jq -r '.tokens[].bearers[]' "$tmp/a/state/join-tokens.json" | cut -d: -f2 |
    sort -u | wc -l)" 2 "slice tags"

step "a joined node holds no key but its own"
for file in issuer.key ca.key tls-ca.key admission.key tls-issuer.key join-tokens.json; do
    [ ! -e "$tmp/b/state/$file" ] || fail "$file is at b"
done

step "it runs, and the founder knows it"
start_member b
wait_for 30 "a to see b" members_are alive b

step "roles: not more than the token gives"
create --roles edge
refused 77 "only these roles: edge" x --roles peer
expect_exit 0 flynode join --state "$tmp/e" --name e "$token"

step "a name that another node has"
create
refused 1 "another node is called b" b2 --name b

step "revoked"
create
expect_exit 0 flyrpc join-token revoke "$token_id"
refused 77 "revoked" x
expect_exit 1 flyrpc join-token revoke 0000000000000000

step "expired"
create --life 1s
sleep 1.2
refused 77 "expired" x

step "a token of another cluster that calls this address"
expect_exit 0 flynode init --state "$tmp/f" --rpc "127.0.0.1:${node_port[a]}" --json
token=$(json_get .join_token)
refused 77 "another CA" x

step "no token, no scope"
use_edges launch,read a
expect_exit 77 flyrpc join-token create
use_edges admin,regions,read a

step "a node that admits makes another one admit, and that one lets others in"
create --roles peer,edge,admit
join_token=$token
cluster_join g
[ ! -e "$tmp/g/state/ca.key" ] || fail "the CA's key travelled"
start_member g
wait_for 30 "a to see g" members_are alive g
FLYRPC_ADDR=127.0.0.1:${node_port[g]} create --roles peer
kill9_node a
join_token=$token
cluster_join h
start_member h
FLYRPC_ADDR=127.0.0.1:${node_port[g]}
export FLYRPC_ADDR
wait_for 60 "g to see h" members_are alive h

step "uses are counted over a kill -9"
use_edges admin,regions,read g
create --uses 1
join_token=$token
cluster_join i
kill9_node g
start_member g
refused 77 "used up" x

step "no secret is in a log"
for name in a b g h; do
    refuse_text "$tmp/$name/log" "fly-join-1."
    refuse_text "$tmp/$name/log" "v4.public."
done
