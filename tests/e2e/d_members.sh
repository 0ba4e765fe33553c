#!/bin/bash
# Members that are killed, stopped, cut off and that move: what the others see, and that all come
# back without a hand. Times are printed, not asserted.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$root/tests/e2e/netns.sh"

now_ms() { date +%s%3N; }

# all_say WORDS FROM... - FROM are nodes' numbers; WORDS are NAME and STATE
all_say() {
    local name=$1 state=$2 i
    shift 2
    for i in "$@"; do
        member_is "$i" "$name" "$state" || return 1
    done
}

# until_all NAME STATE FROM... - and prints how long it took since `since`
until_all() {
    wait_for 60 "$1 to be $2 for $(($# - 2)) nodes" all_say "$@"
    printf '%s: %s is %s for %d nodes after %d ms\n' "$script" "$1" "$2" $(($# - 2)) \
        $(($(now_ms) - since))
}

step "five nodes"
netns_up 5

step "a killed one is dead for all, and back when it is started again"
since=$(now_ms)
netns_kill9 1
until_all n1 dead 2 3 4 5
since=$(now_ms)
netns_start 1
until_all n1 alive 2 3 4 5
wait_for 60 "n1 to see all" all_say n4 alive 1

step "a host that vanishes is dead for all, and back when the wire is"
since=$(now_ms)
netns_isolate 2
until_all n2 dead 1 3 4 5
wait_for 60 "n2 to be alone" all_say n1 dead 2
since=$(now_ms)
netns_heal
until_all n2 alive 1 3 4 5
wait_for 60 "n2 to see all" all_say n1 alive 2

step "one way is not enough to be dead: others hear it"
netns_cut_from 3 1
since=$(now_ms)
# as long as it takes to find somebody dead, twice
dead_meanwhile() {
    [ $(($(now_ms) - since)) -ge 20000 ] && return 0
    member_is 1 n3 dead && fail "n3 is dead for n1, though n2, n4 and n5 hear it"
    return 1
}
wait_for 60 "the time to pass" dead_meanwhile
netns_heal
all_say n3 alive 2 4 5 || fail "n3 is not alive for those that hear it"

step "a stopped one is not dead, gets no placements, and is back when it goes on"
netns_freeze 3
since=$(now_ms)
not_alive() { ! member_is 4 n3 alive && ! member_is 5 n3 alive; }
wait_for 60 "n3 not to be alive for the edges" not_alive
printf '%s: n3 is not alive for the edges after %d ms\n' "$script" $(($(now_ms) - since))
for ((i = 0; i < 20; i++)); do
    expect_exit 0 on lan flyrpc launch --addr "$(address_of $((4 + i % 2)))" --region SIN \
        --memory 1 --cores 1 --timeout 20s --json
done
printf '%s: 20 launches without n3, which is %s for the edge\n' "$script" \
    "$(members_of 4 | jq -r '.[] | select(.name == "n3") | .state')"
# its host acknowledges: longer than silence would take to be a death, twice
not_dead_meanwhile() {
    local i
    [ $(($(now_ms) - since)) -ge 18000 ] && return 0
    for i in 1 2 4 5; do
        member_is "$i" n3 dead && fail "n3 is dead for n$i, though it only stands still"
    done
    return 1
}
wait_for 60 "the time to pass" not_dead_meanwhile
netns_thaw 3
since=$(now_ms)
until_all n3 alive 1 2 4 5

step "nobody reported a bug"
for i in 1 2 3 4 5; do
    ! grep -qE 'check failed:|ERROR: (Address|Leak)Sanitizer|runtime error:' "$FLY_NETNS_DIR/$i/log" ||
        fail "node $i reported a bug"
done
