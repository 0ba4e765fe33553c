#!/bin/bash
# Who may call what, over the wire: every method as nobody, as a user with each scope, as a node of each
# role; and those who are not let in at all: no key to a credential, a foreign cluster's, an expired one,
# one that was meant for another node. Join tokens that are no good, one refusal each.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

{
    echo name,region,address,cores,memory_bytes,status
    echo "sin-0,SIN,10.0.0.1:1,64,256000000000,available"
} >"$tmp/machines.csv"

# called ARGUMENTS - what fly_caller says, into $out
called() { expect_exit 0 fly_caller --port "${node_port[p1]}" "$@"; }

# answers WHO STATUS REASON METHOD... - each of these ended so; * is any that is not a refusal of the caller
answers() {
    local who=$1 status=$2 reason=$3 method line
    shift 3
    for method in "$@"; do
        line=$(grep "^$method " "$out") || fail "$who: no answer of $method"
        read -r _ got_status got_reason _ <<<"$line"
        if [ "$status" = '*' ]; then
            # Present was let in, and had no token to show
            [[ "$got_status" != 7 && ("$got_status" != 16 || "$method" = Slice/Present) ]] || fail "$who: $line"
        else
            [ "$got_status $got_reason" = "$status $reason" ] || fail "$who: $line, expected $status $reason"
        fi
        [ "$got_status" = 0 ] || [ -n "$(cut -d' ' -f4- <<<"$line")" ] || fail "$who: $line: without a word"
    done
}

# not_let_in WHO REASON WORDS ARGUMENTS
not_let_in() {
    local who=$1 reason=$2 words=$3
    shift 3
    called "$@"
    grep -q "^HELLO 16 $reason .*$words" "$out" || fail "$who: $(cat "$out"), expected $reason: $words"
    expect_equal "$(wc -l <"$out")" 1 "lines"
}

open=(Health/Check Health/Watch Join/Begin Join/Admit)
known=(Health/Echo Reflection/List Reflection/Describe Metrics/Read)
declare -A scope_of=([Edge/Regions]=regions [Edge/Launch]=launch [Edge/Cancel]=launch [Edge/List]=read [Edge/Machines]=read
    [Edge/Status]=read [Edge/Destroy]=destroy [Edge/Watch]=watch [Admin/Members]=read [Admin/Slices]=read
    [Admin/ForgetSlice]=admin [Admin/CreateJoinToken]=admin [Admin/ListJoinTokens]=admin
    [Admin/RevokeJoinToken]=admin)
declare -A roles_of=([Slice/Present]=edge [Slice/Call]="edge peer" [Slice/Replay]="edge peer dash"
    [Slice/Machines]="edge peer dash" [Slice/List]="edge dash" [Slice/Seen]=peer
    [Slice/Forget]="edge peer dash")

step "a cluster, and another"
cluster_init p1 --region SIN --roles-for-join peer,edge,dash,admit
start_member p1 --machines "$tmp/machines.csv"
for role in edge peer dash; do
    cluster_join "$role" --roles "$role"
done
cp -a "$tmp/p1/state" "$tmp/server" # what a caller knows of the server, and of its admission key
expect_exit 0 flynode init --state "$tmp/foreign" --name stranger --rpc 127.0.0.1:7999 --json
foreign_token=$(json_get .join_token)

step "every method of the node is asked for"
called
cut -d' ' -f1 "$out" | sort >"$tmp/methods"
printf '%s\n' "${open[@]}" "${known[@]}" "${!scope_of[@]}" "${!roles_of[@]}" | sort | diff - "$tmp/methods" >&2 ||
    fail "a method is missing here, or there"

step "nobody"
answers nobody '*' '*' "${open[@]}"
# the RPC layer says so, before a node looks
answers nobody 16 NONE "${known[@]}" "${!scope_of[@]}" "${!roles_of[@]}"
expect_text "$out" "needs a token"

for scope in regions launch read destroy watch admin; do
    step "a user with $scope"
    called --token "$(token_of p1 "$scope")"
    for method in "${!scope_of[@]}"; do
        if [ "${scope_of[$method]}" = "$scope" ]; then
            answers "$scope" '*' '*' "$method"
        else
            answers "$scope" 7 SCOPE_MISSING "$method"
        fi
    done
    answers "$scope" 7 ROLE "${!roles_of[@]}"
    answers "$scope" '*' '*' "${known[@]}"
done

for role in edge peer dash; do
    step "a node that is $role"
    called --state "$tmp/$role/state" --server "$tmp/server"
    for method in "${!roles_of[@]}"; do
        if [[ " ${roles_of[$method]} " == *" $role "* ]]; then
            answers "$role" '*' '*' "$method"
        else
            answers "$role" 7 ROLE "$method"
        fi
    done
    answers "$role" 7 ROLE "${!scope_of[@]}"
    answers "$role" '*' '*' "${known[@]}"
done

step "users who are not let in"
token=$(token_of p1 read)
not_let_in "a broken token" TOKEN_INVALID . --token "${token%???}AAA"
not_let_in "no token at all" TOKEN_INVALID . --token "hello"
short=$(token_of p1 read 1s)
later=$(($(date +%s) + 2))
past() { [ "$(date +%s)" -gt "$later" ]; }
not_let_in "a foreign token" TOKEN_INVALID . \
    --token "$(flyrpc token create --state "$tmp/foreign" --scope read </dev/null)"
wait_for 10 "the token to expire" past
not_let_in "an expired token" TOKEN_EXPIRED expired --token "$short"

step "nodes that are not let in"
not_let_in "another's credential without its key" NODE_INVALID . \
    --state "$tmp/edge/state" --credential "$tmp/peer/state" --server "$tmp/server"
not_let_in "the server's own credential without its key" NODE_INVALID . \
    --state "$tmp/edge/state" --credential "$tmp/server" --server "$tmp/server"
not_let_in "a foreign node" NODE_INVALID . --state "$tmp/foreign" --server "$tmp/server"
not_let_in "a foreign node that knows our name" NODE_INVALID . \
    --state "$tmp/foreign" --cluster "$tmp/server" --server "$tmp/server"
not_let_in "a node that meant another" NODE_INVALID . --state "$tmp/edge/state" --server "$tmp/peer/state"
not_let_in "an expired node" NODE_INVALID expired \
    --state "$tmp/edge/state" --expired "$tmp/server" --server "$tmp/server"
not_let_in "roles that its own admission key may not give" NODE_INVALID . \
    --state "$tmp/edge/state" --expired "$tmp/foreign" --roles peer,admit --server "$tmp/server"
grep -q "node.hello_refused" "$tmp/p1/log" || fail "the log does not say so"

# refused_join CODE WORDS TOKEN ARGUMENTS
refused_join() {
    local want=$1 words=$2
    shift 2
    rm -rf "$tmp/joiner"
    expect_exit "$want" flynode join --state "$tmp/joiner" --name joiner --timeout 5s "${@:2}" "$1"
    expect_text "$err" "$words"
    [ ! -e "$tmp/joiner/cluster.json" ] || fail "it has an identity"
}

# new_token ARGUMENTS - sets $token and $token_id
new_token() {
    expect_exit 0 flyrpc join-token create "$@" --json
    token=$(json_get .token)
    token_id=$(json_get .id)
}

step "join tokens that are no good"
use p1 admin
new_token --roles edge
refused_join 77 "roles" "$token" --roles peer
expect_exit 0 flynode join --state "$tmp/once" --name once "$token"
refused_join 77 "used" "$token"
new_token --roles edge
expect_exit 0 flyrpc join-token revoke "$token_id"
refused_join 77 "revoked" "$token"
new_token --roles edge --life 1s
later=$(($(date +%s) + 2))
wait_for 10 "the token to expire" past
refused_join 77 "expired" "$token"
stop_node p1

step "a foreign cluster's token at this address: the one that answers is not the one that was meant"
expect_exit 0 flynode init --state "$tmp/other" --name other --rpc "127.0.0.1:${node_port[p1]}" --json
foreign_token=$(json_get .join_token)
start_member p1 --machines "$tmp/machines.csv"
refused_join 77 "" "$foreign_token"
stop_node p1
