#!/bin/bash
# launch.sh [--clicks N] - rows 3 and 9 on a cluster of four processes: two peers, an edge, a dash.
. "$(dirname "${BASH_SOURCE[0]}")/../../e2e/lib.sh"

machines=$root/data/machines.csv
read -ra peer_args <<<"${PEER_ARGS:-}" # such as --flush-interval=10ms
cluster_init p1 --roles-for-join peer,edge,dash
start_member p1 --roles peer --machines "$machines" --share 1/2 "${peer_args[@]}"
cluster_join p2 --roles peer
start_member p2 --machines "$machines" --share 2/2 "${peer_args[@]}"
cluster_join e1 --roles edge
start_member e1
cluster_join d1 --roles dash
free_port
start_member d1 --http "127.0.0.1:$port" --launches-per-minute 100000
export DASH_URL=http://127.0.0.1:$port
DASH_TOKEN=$(token_of p1 regions,launch,read,destroy,watch 4h) || fail "no token"
export DASH_TOKEN
node "$root/tests/bench/dash/launch.mjs" "$@"
