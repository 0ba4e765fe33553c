#!/bin/bash
# Clients launch and destroy while the node is killed, stopped and frozen; then an auditor compares
# what they were told with the log (audit.c). Eight clients fill one region to the brim all along:
# 80 VMs fit, each client keeps up to 11, so that none can starve another.
#
# FLY_FAULT_LAUNCHES (default 160) launches, FLY_FAULTS (default 3) faults; FLY_FAULT_SEED repeats
# the choice of faults, not the interleaving.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

launches=${FLY_FAULT_LAUNCHES:-160}
faults=${FLY_FAULTS:-3}
clients=8
seed=${FLY_FAULT_SEED:-$RANDOM}
RANDOM=$seed

# client NUMBER COUNT - retries each key until it is answered. Even clients name their keys, odd
# ones let flyrpc mint them and take the key to retry from what it says.
client() {
    local n=$1 count=$2 i key minted code told=$tmp/told.$1 alive=()
    for ((i = 0; i < count; i++)); do
        if [ "${#alive[@]}" -ge 11 ]; then
            destroy "$n" "${alive[0]}" || return 1
            alive=("${alive[@]:1}")
        fi
        key=
        [ $((n % 2)) -eq 1 ] || key=client-$n-launch-$i
        while :; do
            code=0
            flyrpc launch --region SIN --memory 6 --cores 4 --json --timeout 5s \
                ${key:+--key "$key"} >"$tmp/reply.$n" 2>"$tmp/words.$n" </dev/null || code=$?
            case "$code" in
            0)
                cat "$tmp/reply.$n" >>"$told"
                alive+=("$(sed -n 's/.*"id": *"\([0-9a-z]*\)".*/\1/p' "$tmp/reply.$n" | head -n 1)")
                break
                ;;
            2) # full, which only a client with VMs can be told for long
                if [ "${#alive[@]}" -eq 0 ]; then
                    sleep 0.05
                    continue
                fi
                destroy "$n" "${alive[0]}" || return 1
                alive=("${alive[@]:1}")
                ;;
            75)
                if [ -z "$key" ] && cat "$tmp/reply.$n" "$tmp/words.$n" | grep -q OUTCOME_UNKNOWN; then
                    minted=$(cat "$tmp/reply.$n" "$tmp/words.$n" |
                        sed -n 's/.*--key[ =]\([0-9a-f]\{32\}\).*/\1/p' | head -n 1)
                    [ -n "$minted" ] || { surprise "$n" "UNKNOWN without its key"; return 1; }
                    key=$minted
                fi
                printf '75\n' >>"$tmp/codes.$n"
                sleep 0.05
                ;;
            69 | 124) # nothing was sent
                printf '%s\n' "$code" >>"$tmp/codes.$n"
                sleep 0.1
                ;;
            *)
                surprise "$n" "exit code $code of a launch"
                return 1
                ;;
            esac
        done
    done
}

# destroy NUMBER VM - until it is answered
destroy() {
    local code
    while :; do
        code=0
        flyrpc destroy "$2" --json --timeout 5s >"$tmp/reply.$1" 2>"$tmp/words.$1" </dev/null ||
            code=$?
        case "$code" in
        0) printf '{"destroyed": "%s"}\n' "$2" >>"$tmp/told.$1"; return 0 ;;
        69 | 75 | 124) sleep 0.1 ;;
        *) surprise "$1" "exit code $code of destroy $2"; return 1 ;;
        esac
    done
}

surprise() {
    { printf 'client %s: %s\n' "$1" "$2"; cat "$tmp/reply.$1" "$tmp/words.$1"; } >>"$tmp/surprises"
}

# Whether the clients were told of so many launches, or cannot go on.
told() {
    [ -e "$tmp/surprises" ] || [ "$(cat "$tmp"/told.* | grep -c '"replayed"')" -ge "$1" ]
}

fault() {
    case $((RANDOM % 4)) in
    0 | 1)
        kill9_node a
        start_node a
        ;;
    2)
        freeze a
        sleep $((1 + RANDOM % 5))
        thaw a
        ;;
    3)
        stop_node a
        start_node a
        ;;
    esac
}

step "$clients clients, $launches launches, $faults faults, seed $seed"
start_node a
use a regions,launch,read,destroy
pids=()
for ((n = 0; n < clients; n++)); do
    : >"$tmp/told.$n"
    client "$n" $((launches / clients)) &
    pids+=($!)
done
for ((f = 0; f < faults; f++)); do
    # spread over the work, so that none comes when it is done
    wait_for 120 "launch $((f * launches / faults))" told $((f * launches / faults))
    [ ! -e "$tmp/surprises" ] || break
    fault
done

step "the clients end, each with an answer to every key"
for pid in "${pids[@]}"; do
    wait "$pid"
done
[ ! -e "$tmp/surprises" ] || fail "$(head -n 20 "$tmp/surprises")"
stop_node a

step "the auditor finds what they were told in the log, and nothing else"
for ((n = 0; n < clients; n++)); do
    jq -c . "$tmp/told.$n" >"$tmp/history.$n" || fail "client $n was told no JSON"
done
expect_exit 0 flynode check --state "$tmp/a/state"
expect_exit 0 fly_audit --complete "$tmp/a/state" "$tmp"/history.*
expect_json '.acknowledged == $n and .vms == $n and .findings == 0' \
    --argjson n $((launches / clients * clients))
printf '%s: %s; tries that had to be repeated: %s\n' "$script" "$(cat "$out")" \
    "$(cat "$tmp"/codes.* 2>/dev/null | sort | uniq -c | tr -s '\n ' ' ')"

step "the auditor finds lies"
tail -n 1 "$tmp/history.0" | jq -c '{destroyed: (.id // .destroyed)} | .destroyed |= ("zz" + .[2:])
    | {destroyed}' >"$tmp/lie"
expect_exit 1 fly_audit "$tmp/a/state" "$tmp/lie"
jq -c 'select(.id) | .machine = "sin-99"' "$tmp/history.0" | head -n 1 >"$tmp/lie"
expect_exit 1 fly_audit "$tmp/a/state" "$tmp/lie"
expect_exit 1 fly_audit --complete "$tmp/a/state" "$tmp/history.0"
