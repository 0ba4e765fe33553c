# dash.sh - a dashboard as curl sees it. After lib.sh:
#
#   dash_url=http://127.0.0.1:$port
#   dash GET /v1/regions                    # with $FLYRPC_TOKEN as bearer: answer in $out, `http` its status
#   http_is 200; http_error PERMISSION_DENIED
#   owners_say FILE.csv >truth; dash_says >picture
# shellcheck shell=bash disable=SC2034,SC2154

dash_ca=
dash_at=()      # in front of curl: another network namespace
client=(flyrpc) # that asks the owners

# call METHOD PATH [CURL ARGUMENTS] - without a token; body in $out, headers in $tmp/headers, `http` the status
call() {
    local method=$1 path=$2
    shift 2
    last="$method $dash_url$path"
    : >"$out"
    http=$("${dash_at[@]}" curl -sS --max-time "${dash_s:-20}" -X "$method" -o "$out" -D "$tmp/headers" -w '%{http_code}' \
        ${dash_ca:+--cacert "$dash_ca" --connect-to "$dash_to"} "$@" "$dash_url$path" 2>"$err") || http=000
}

# dash METHOD PATH [CURL ARGUMENTS] - with the token of `use` or `use_edges`
dash() { call "$@" -H "Authorization: Bearer $FLYRPC_TOKEN"; }

http_is() { [ "$http" = "$1" ] || fail "HTTP status $http, expected $1"; }

# http_error STATUS CODE - the last answer is that error, with words
http_error() {
    http_is "$1"
    expect_json '.error.code == $code and (.error.message | length) > 0 and (.error.retryable | type) == "boolean"' \
        --arg code "$2"
}

# header NAME - its value in the last answer
header() { sed -n "s/^$1: *//Ip" "$tmp/headers" | tr -d '\r' | tail -n 1; }

# dash_answers - whether somebody listens there
dash_answers() {
    call GET /v1/session
    [ "$http" = 401 ]
}

# machines_of FILE - a page of /v1/machines, one machine a line, in order: name region cores free memory free
machines_of() {
    jq -r '.machines[] | "\(.name) \(.region) \(.cores) \(.cores_free) \(.memory) \(.memory_free)"' "$1" 2>/dev/null |
        LC_ALL=C sort
}

# dash_says - every machine of the picture (of 1,000)
dash_says() {
    dash GET "/v1/machines?limit=1000"
    [ "$http" = 200 ] && machines_of "$out"
}

# polls_begin SECONDS - asks for the machines every 50 ms, in one process: looking must cost little
polls_begin() {
    rm -rf "$tmp/polls"
    mkdir "$tmp/polls"
    "${dash_at[@]}" curl -s --rate 20/s --connect-timeout 1 ${dash_ca:+--cacert "$dash_ca" --connect-to "$dash_to"} \
        -H "Authorization: Bearer $FLYRPC_TOKEN" "$dash_url/v1/machines?limit=1000#[1-$(($1 * 20))]" \
        -o "$tmp/polls/#1" >/dev/null 2>&1 &
    poller=$!
}

# polls_found SINCE - waits for their end; `took_ms` from SINCE to the first answer that is $tmp/truth
polls_found() {
    local file at_ms
    wait "$poller"
    # shellcheck disable=SC2012
    for file in $(ls "$tmp/polls" | sort -n); do
        at_ms=$(stat -c %.3Y "$tmp/polls/$file")
        at_ms=${at_ms/./}
        [ "$at_ms" -ge "$1" ] || continue
        if machines_of "$tmp/polls/$file" | cmp -s - "$tmp/truth"; then
            took_ms=$((at_ms - $1))
            return 0
        fi
    done
    fail "no answer of $(find "$tmp/polls" -type f | wc -l) was as the owners say"
}

# owners_say FILE - the same of the machines of a file, less the VMs that their owners tell of now
owners_say() {
    "${client[@]}" list --json --timeout 10s >"$tmp/vms.json" 2>"$err" </dev/null || return 1
    # awk needs a line of the first of two files: one of no machine
    (echo "- 0 0" && jq -r 'if type == "array" then .[] else . end | select(.machine) | "\(.machine) \(.cores) \(.memory_bytes)"' "$tmp/vms.json") |
        awk -F'[ ,]' 'FNR == NR { cores[$1] += $2; memory[$1] += $3; next }
            FNR > 1 { printf "%s %s %d %d %.0f %.0f\n", $1, $2, $4, $4 - cores[$1], $5, $5 - memory[$1] }' \
            - "$1" | LC_ALL=C sort
}

# same_picture - the dash's is what $tmp/truth says
same_picture() {
    dash_says >"$tmp/picture" && cmp -s "$tmp/picture" "$tmp/truth"
}
