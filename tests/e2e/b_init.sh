#!/bin/bash
# flynode init makes a cluster where no node runs, and refuses what would harm one; flynode join says
# exactly why it did not.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

a=$tmp/a/state
mkdir -p "$tmp/a"

step "init makes keys, a record and a join token"
expect_exit 0 flynode init --state "$a" --name rack-7 --region sin --advertise 10.0.0.5
expect_text "$out" "fly-join-1."
expect_text "$out" "roles peer,edge, for 16 nodes"
expect_text "$out" "flynode run --state $a"
token=$(grep -o 'fly-join-1\.[A-Za-z0-9_-]*' "$out")
for file in "$a"/*; do
    expect_equal "$(stat -c %a "$file")" 600 "mode of ${file##*/}"
done
expect_equal "$(stat -c %a "$a")" 700 "mode of the state folder"
expect_equal "$(jq -r .region "$a/node.json")" SIN "region"
expect_equal "$(jq -r .rpc "$a/node.json")" 10.0.0.5:7401 "rpc"

step "people's tokens can be made at once"
expect_exit 0 flyrpc token create --state "$a" --scope regions,read

step "its certificates are what others' tools take for one"
if command -v openssl >/dev/null; then
    expect_exit 0 openssl verify -x509_strict -CAfile "$a/tls-ca.pem" \
        -untrusted "$a/tls-issuer.crt" -purpose sslserver "$a/tls.crt"
    hash=$(openssl x509 -in "$a/tls-ca.pem" -outform der | sha256sum)
    expect_equal "$(jq -r .tls_ca_sha256 "$a/cluster.json")" "${hash%% *}" "hash of the TLS CA"
fi

step "the secret of the join token is not in the folder, and no key is in what it prints"
expect_exit 1 grep -rqF "${token#fly-join-1.}" "$a"
while read -r key; do
    refuse_text "$out" "$key"
done < <(cut -d. -f3 "$a/issuer.key"; cut -d. -f2 "$a/ca.key")

step "a folder with a cluster is left alone"
folder_sum() { # the lock holds the pid of who looked last
    find "$a" -type f ! -name lock -print0 | sort -z | xargs -0 sha256sum | sha256sum
}
before=$(folder_sum)
expect_exit 1 flynode init --state "$a"
expect_text "$err" "belongs to a cluster already"
expect_exit 1 flynode join --state "$a" "$token"
expect_text "$err" "belongs to a cluster already"
expect_equal "$(folder_sum)" "$before" "the folder"

step "as JSON"
expect_exit 0 flynode init --state "$tmp/b" --rpc 127.0.0.1:7999 --roles-for-join peer --uses 1 \
    --ttl 5m --json
expect_json '.join_token | startswith("fly-join-1.")'
expect_json '.join_roles == ["peer"] and .join_uses == 1 and .rpc == "tcp://127.0.0.1:7999"'
expect_json '.roles == ["peer","edge","dash","admit"] and (.cluster | length) == 32'

step "what makes no sense is refused before anything is made"
while read -r words arguments; do
    # shellcheck disable=SC2086
    expect_exit 64 flynode init --state "$tmp/c" $arguments
    expect_text "$err" "$words"
    [ ! -e "$tmp/c" ] || fail "a folder was made"
done <<'END'
--advertise --advertise 0.0.0.0
--advertise --advertise host.example
--advertise --advertise 10.0.0.5:7401
--advertise --rpc 0.0.0.0:7401
loopback --advertise 10.0.0.5 --rpc 127.0.0.1
--rpc --rpc 127.0.0.1:0
--name --name Rack_7
--region --region S
--uses --uses 65
--uses --uses 0
--uses --uses 1x
--ttl --ttl 31d
--roles-for-join --roles-for-join owner
argument extra
END
expect_exit 64 flynode init
expect_text "$err" "--state"

step "join: a token that is none, cut, mistyped, or of a newer version"
while read -r words text; do
    expect_exit 64 flynode join --state "$tmp/c" "$text"
    expect_text "$err" "$words"
    [ ! -e "$tmp/c" ] || fail "a folder was made"
done <<END
not v4.public.AAAA
mistyped ${token%??????}
mistyped ${token%????}AAAA
newer fly-join-2.${token#fly-join-1.}
END
expect_exit 64 flynode join --state "$tmp/c"
expect_text "$err" "a join token is needed"
expect_exit 77 flynode join --state "$tmp/c" --roles peer,dash "$token"
expect_text "$err" "only these roles: peer,edge"
[ ! -e "$tmp/c" ] || fail "a folder was made"

step "join: nobody answers"
free_port
expect_exit 0 flynode init --state "$tmp/d" --rpc "127.0.0.1:$port" --json
json_get .join_token >"$tmp/token"
expect_exit 69 flynode join --state "$tmp/c" --timeout 2s "$(cat "$tmp/token")"
expect_text "$err" "127.0.0.1:$port"
[ ! -e "$tmp/c/cluster.json" ] || fail "it has an identity"
join_from_stdin() {
    flynode join --state "$tmp/c" --timeout 2s - <"$tmp/token"
}
expect_exit 69 join_from_stdin

step "flynode dev takes a folder that init made"
rm -r "$tmp/a"
mkdir "$tmp/a"
expect_exit 0 flynode init --state "$a" --name rack-7
cluster=$(jq -r .cluster "$a/cluster.json")
start_node a
expect_equal "$(jq -r .cluster "$a/cluster.json")" "$cluster" "the cluster"
use a regions
expect_exit 0 flyrpc regions
stop_node a
