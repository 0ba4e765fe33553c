#!/bin/bash
# A dashboard on a node of its own in a cluster: after it was killed, after it stood still, after an
# owner stood still (whose regions are stale meanwhile), its picture is what the owners say.
#   --long   stands still for 10 s, is cut off too (network namespaces, root), and prints how long each
#            return took as JSON lines (the issue's row 7); [--rounds N]
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$root/tests/e2e/dash.sh"

all=regions,launch,read,destroy,watch
rounds=3
long=
while [ $# -gt 0 ]; do
    case "$1" in
    --long) long=1; shift ;;
    --cut) long=cut; shift ;; # only that part of --long
    --rounds) rounds=$2; shift 2 ;;
    *) fail "unknown argument $1" ;;
    esac
done

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

# returned WHAT MS - a figure
returned() {
    printf '%s: %s: as the owners %d ms after its return\n' "$script" "$1" "$2"
    [ -z "$long" ] || jq -cn --arg what "$1" --argjson ms "$2" \
        '{bench: "dash_return", row: 7, case: $what, ms: $ms, bar_ms: 1000}'
}

# change N - so many launches, and every other VM is destroyed again
change() {
    local i
    for ((i = 0; i < $1; i++)); do
        expect_exit 0 "${client[@]}" launch --region "$([ $((i % 2)) = 0 ] && echo SIN || echo NRT)" \
            --memory 1 --cores 1 --timeout 20s --json
        [ $((i % 4)) != 3 ] || expect_exit 0 "${client[@]}" destroy "$(json_get .id)"
    done
}

# looks SECONDS - before a return
looks() { [ -z "$long" ] || polls_begin "$1"; }

# as_the_owners WHAT SINCE - waits for the picture to be $tmp/truth, and says how long it took
as_the_owners() {
    if [ -n "$long" ]; then
        polls_found "$2"
        same_picture || fail "it did not stay so"
        returned "$1" "$took_ms"
        return
    fi
    wait_for 30 "the picture to be the owners'" same_picture
    returned "$1" $(($(now_ms) - $2))
}

machines=$tmp/machines.csv
{
    echo name,region,address,cores,memory_bytes,status
    for region in SIN NRT DEN; do
        for i in 1 2 3 4; do
            echo "${region,,}-$i,$region,10.0.0.$i:1,64,256000000000,available"
        done
    done
} >"$machines"

# stale_of REGION - whether the dash calls it so
stale_of() {
    dash GET /v1/regions
    jq -e --arg region "$1" '.regions[] | select(.code == $region) | .stale_ms > 3000' "$out" >/dev/null 2>&1
}

if [ "$long" != cut ]; then
    step "two owners, an edge, and a node that is only a dashboard"
    cluster_init p1 --region SIN --roles-for-join peer,edge,dash
    start_member p1 --roles peer --machines "$machines" --share 1/2
    cluster_join p2 --roles peer
    cluster_join e1 --roles edge
    cluster_join d1 --roles dash
    start_member p2 --machines "$machines" --share 2/2
    start_member e1
    free_port
    dash_url=http://127.0.0.1:$port
    dash_args=(--http "127.0.0.1:$port")
    start_member d1 "${dash_args[@]}"
    use_edges "$all" e1
    wait_for "$ready_s" "the inventory to add up" adds_up "$machines"
    wait_for "$ready_s" "all to be alive" members_are alive p1 p2 e1 d1
    expect_exit 0 flyrpc dash
    expect_equal "$(cat "$out")" "$dash_url" "url by another node"
    change 6
    owners_say "$machines" >"$tmp/truth" || fail "the owners do not answer"
    looks 2
    as_the_owners "started" "$(now_ms)"
    expect_equal "$(wc -l <"$tmp/picture")" 12 "machines"

    step "members and regions as the cluster's, and a launch goes through the edge"
    dash GET /v1/members
    http_is 200
    expect_json '[.members[] | select(.state == "alive") | .name] | sort == ["d1","e1","p1","p2"]'
    dash POST /v1/vms --data '{"region":"DEN","cores":2,"memory":2000000000}'
    http_is 201
    owners_say "$machines" >"$tmp/truth" || fail "the owners do not answer"
    looks 2
    as_the_owners "launched" "$(now_ms)"

    [ -n "$long" ] || rounds=1
    for ((round = 0; round < rounds; round++)); do
        step "killed, and started again while things change"
        kill9_node d1
        change 6
        owners_say "$machines" >"$tmp/truth"
        looks 4
        since=$(now_ms)
        launch_member d1 "${dash_args[@]}"
        wait_for "$ready_s" "the dashboard to listen" dash_answers
        as_the_owners "killed" "$since" # the start of the process is in it

        step "it stands still while things change"
        freeze d1
        since=$(now_ms)
        change 6
        if [ -n "$long" ]; then
            sleep $((10 - ($(now_ms) - since) / 1000))
        fi
        owners_say "$machines" >"$tmp/truth"
        looks 4
        since=$(now_ms)
        thaw d1
        as_the_owners "stopped" "$since"

        step "an owner stands still: its regions are stale, the picture stays"
        freeze p2
        wait_for 15 "its regions to be stale" stale_of SIN
        same_picture || fail "the picture changed"
        looks 4
        since=$(now_ms)
        thaw p2
        owners_say "$machines" >"$tmp/truth" || fail "the owners do not answer"
        fresh_again() { ! stale_of SIN && [ "$http" = 200 ]; }
        as_the_owners "owner stopped" "$since"
        wait_for 30 "its regions to be fresh" fresh_again
    done

    measured() {
        dash GET /v1/members
        jq -e '[.members[] | select(.self | not) | .rtt_us > 0 and .rtt_us < 10000000] | all' "$out" >/dev/null
    }
    wait_for 20 "round trips" measured
    for node in d1 e1 p2 p1; do
        stop_node "$node"
    done
fi
[ -n "$long" ] || exit 0

# Off loopback it is https, with the certificate of the node: the cluster's CA, the name flylight.
step "five nodes in network namespaces, each edge with a dashboard; one is cut off while things change"
. "$root/tests/e2e/netns.sh"
netns_up 5

machines=$root/data/machines.csv
dash_url=https://flylight:7403
dash_ca=$FLY_NETNS_DIR/1/state/tls-ca.pem
dash_to=flylight:7403:10.74.0.4:7403
dash_at=(nsenter "--net=/run/netns/${FLY_NETNS_PREFIX}lan")
FLYRPC_ADDR=$(address_of 5)
FLYRPC_TOKEN=$(flyrpc token create --state "$FLY_NETNS_DIR/1/state" --scope "$all" --ttl 1h </dev/null)
FLYRPC_CA=$dash_ca
export FLYRPC_ADDR FLYRPC_TOKEN FLYRPC_CA
client=("${dash_at[@]}" flyrpc)
wait_for 60 "n4 to see all" member_is 4 n3 alive
wait_for 60 "its dashboard" dash_answers
owners_say "$machines" >"$tmp/truth" || fail "the owners do not answer"
looks 2
as_the_owners "in namespaces" "$(now_ms)"
for ((round = 0; round < rounds; round++)); do
    netns_isolate 4
    since=$(now_ms)
    change 6
    wait_for 15 "its regions to be stale" stale_of SIN
    [ $(($(now_ms) - since)) -ge 10000 ] || sleep $((10 - ($(now_ms) - since) / 1000))
    owners_say "$machines" >"$tmp/truth" || fail "the owners do not answer"
    looks 6
    since=$(now_ms)
    netns_heal
    as_the_owners "cut off" "$since"
    wait_for 30 "n5 to see it again" member_is 5 n4 alive
done
