# disk.sh - what c_diskfull.sh and c_eio.sh share: launches whose every answer is written down.
# shellcheck shell=bash disable=SC2034,SC2154

asked=0

# ask [KEY] - one launch with a fresh or given key; `code`, and `key`. What was told goes to told.
ask() {
    key=${1:-disk-$((asked += 1))}
    run flyrpc launch --region SIN --memory 1 --cores 1 --key "$key" --timeout 2s --json
    case "$code" in
    0) jq -c . "$out" >>"$tmp/told" ;;
    75) echo "$key" >>"$tmp/open_keys" ;;
    69 | 124) ;; # nothing was sent
    *) fail "a launch on a failing disk exits with $code" ;;
    esac
}

works() {
    ask
    [ "$code" -eq 0 ]
}

fails() {
    ask
    [ "$code" -ne 0 ]
}

# settle - every key that was in doubt gets an answer now
settle() {
    local k
    [ -e "$tmp/open_keys" ] || return 0
    sort -u "$tmp/open_keys" >"$tmp/keys"
    : >"$tmp/open_keys"
    while read -r k; do
        ask "$k"
        [ "$code" -eq 0 ] || fail "key $k has no answer: exit code $code"
    done <"$tmp/keys"
}

# audit_told - nothing was lost, and there is nothing that nobody was told of
audit_told() {
    expect_exit 0 flynode check --state "$1"
    expect_exit 0 fly_audit --complete "$1" "$tmp/told"
    printf '%s: %s\n' "$script" "$(cat "$out")"
}

# logged NAME WORDS - lines of that event with the words in the node's log, at least one
logged() {
    grep -F " $1 " "$tmp/a/log" | grep -qiE -- "$2" || fail "no $1 with \"$2\" in the log"
}
