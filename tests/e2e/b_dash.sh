#!/bin/bash
# The dashboard of a dev node through curl: sign in, look, launch, watch, destroy; and who may not.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$root/tests/e2e/dash.sh"

free_port
dash_url=http://127.0.0.1:$port
start_node a --http "127.0.0.1:$port"

step "the node says where it is"
expect_text "$tmp/a/log" "dash.listening url=$dash_url"
expect_text "$tmp/a/log" " http=$dash_url "
use a read
expect_exit 0 flyrpc dash
expect_equal "$(cat "$out")" "$dash_url" "url"
expect_exit 0 flyrpc members --json
expect_json 'length == 1 and .[0].self and .[0].http == $url and .[0].roles == ["peer","edge","dash"]' \
    --arg url "$dash_url"

step "pages are for everybody, and may load nothing from elsewhere"
call GET /
http_is 200
expect_text "$out" "<!doctype html>"
[[ "$(header content-security-policy)" == *"default-src 'self'"* ]] || fail "CSP: $(header content-security-policy)"
call GET /nothing/of/the/kind
[ "$http" != 200 ] || expect_text "$out" "<!doctype html>"
call GET /v1/nothing
[ "$http" = 401 ] || [ "$http" = 404 ] || fail "HTTP status $http"

step "nobody, a wrong token, and one without the scope"
call GET /v1/regions
http_error 401 UNAUTHENTICATED
call GET /v1/regions -H "Authorization: Bearer v4.public.nonsense"
http_error 401 UNAUTHENTICATED
call GET "/v1/regions?token=$FLYRPC_TOKEN"
http_error 401 UNAUTHENTICATED
call POST /v1/session --data '{"token":"v4.public.nonsense"}'
http_error 401 UNAUTHENTICATED
dash GET /v1/machines
http_is 200
dash POST /v1/vms --data '{"region":"SIN","cores":1,"memory":1000000000}'
http_error 403 SCOPE_MISSING
use a launch
dash GET /v1/machines
http_error 403 SCOPE_MISSING

step "signing in gives a cookie that no script reads"
use a regions,read,launch,destroy,watch
call POST /v1/session --data "{\"token\":\"$FLYRPC_TOKEN\"}"
http_is 200
expect_json '.subject == "admin" and (.scopes | sort == ["destroy","launch","read","regions","watch"]) and (.expires | test("Z$"))'
cookie=$(header set-cookie)
for word in "flylight=" HttpOnly SameSite=Strict Path=/; do
    [[ "$cookie" == *"$word"* ]] || fail "no $word in the cookie"
done
cookie=${cookie%%;*}
call GET /v1/session -H "Cookie: $cookie"
http_is 200
! grep -qF "${FLYRPC_TOKEN#v4.public.}" "$out" || fail "the token came back"

step "regions and machines are those of the node"
call GET /v1/regions -H "Cookie: $cookie"
http_is 200
jq -S '[.regions[] | select(.machines > 0) | [.code, .machines, .cores_total, .cores_free]] | sort' "$out" >"$tmp/seen"
expect_exit 0 flyrpc regions --json
jq -S '[.[] | select(.machines > 0) | [.code, .machines, .cores_total, .cores_free]] | sort' "$out" >"$tmp/told"
cmp -s "$tmp/seen" "$tmp/told" || fail "regions differ"
call GET '/v1/machines?region=sin&limit=2' -H "Cookie: $cookie"
http_is 200
expect_json '(.machines | length) == 2 and all(.machines[]; .region == "SIN" and .cores_free == .cores) and (.next | length) > 0'

step "a launch with the cookie is only for the dash's own pages"
body='{"region":"SIN","cores":4,"memory":6000000000,"name":"from-the-dash"}'
call POST /v1/vms -H "Cookie: $cookie" --data "$body"
http_is 403
call POST /v1/vms -H "Cookie: $cookie" -H "Origin: http://evil.example" --data "$body"
http_is 403
expect_exit 0 flyrpc list --json
expect_json 'length == 0'
curl -sSN --max-time 60 -H "Authorization: Bearer $FLYRPC_TOKEN" "$dash_url/v1/events" >"$tmp/events" 2>&1 &
reader=$!
# it begins with what happens after it: launch until it has seen one
for ((i = 0; i < 100; i++)); do
    expect_exit 0 flyrpc launch --region DEN --memory 1 --cores 1 --json
    expect_exit 0 flyrpc destroy "$(json_get .id)"
    ! grep -q vm_destroyed "$tmp/events" || break
    sleep 0.1
done
grep -q vm_destroyed "$tmp/events" || fail "no event after $i launches"
call POST /v1/vms -H "Cookie: $cookie" -H "Origin: $dash_url" --data "$body"
http_is 201
expect_json '.vm.region == "SIN" and .vm.cores == 4 and .vm.memory == 6000000000 and .vm.name == "from-the-dash" and .replayed == false'
id=$(json_get .vm.id)
machine=$(json_get .vm.machine)
expect_exit 0 flyrpc list --json
expect_json 'length == 1 and .[0].id == $id' --arg id "$id"

step "its machine changes in the picture, and its events come"
taken() {
    dash GET "/v1/machines?q=$machine"
    jq -e '.machines[] | select(.name == $m) | .cores - .cores_free == 4 and .memory - .memory_free == 6000000000' \
        --arg m "$machine" "$out" >/dev/null 2>&1
}
wait_for 5 "the picture" taken
dash GET "/v1/vms/${id:0:6}"
http_is 200
expect_json '.id == $id and .state == "started"' --arg id "$id"

step "the same key is the same VM"
key="order $$"
dash POST /v1/vms -H "Idempotency-Key: $key" --data '{"region":"SIN","cores":1,"memory":1000000000}'
http_is 201
second=$(json_get .vm.id)
dash POST /v1/vms -H "Idempotency-Key: $key" --data '{"region":"SIN","cores":1,"memory":1000000000}'
[ "$http" = 200 ] || http_is 201
expect_json '.vm.id == $id and .replayed' --arg id "$second"
dash POST /v1/vms --data '{"region":"NOWHERE","cores":1,"memory":1000000000}'
[ "$http" -ge 400 ] && [ "$http" -lt 500 ] || fail "HTTP status $http"
expect_text "$out" hint

step "destroyed through HTTP, gone in the list, told to the reader"
call DELETE "/v1/vms/$id" -H "Cookie: $cookie" -H "Origin: http://evil.example"
http_is 403
call DELETE "/v1/vms/$id" -H "Cookie: $cookie" -H "Origin: $dash_url"
http_is 200
expect_json '.already == false'
dash DELETE "/v1/vms/$id"
http_is 200
expect_json '.already == true'
expect_exit 0 flyrpc list --json
expect_json 'length == 1 and .[0].id == $id' --arg id "$second"
told() { [ "$(grep -c "\"$id\"" "$tmp/events")" -ge 2 ] && grep -q 'vm_destroyed' "$tmp/events"; }
wait_for 10 "the events" told
kill "$reader" 2>/dev/null
cursor=$(sed -n 's/^id: *//p' "$tmp/events" | head -n 1)
(curl -sSN --max-time 3 -H "Authorization: Bearer $FLYRPC_TOKEN" -H "Last-Event-ID: $cursor" \
    "$dash_url/v1/events" >"$tmp/again" 2>/dev/null) &
reader=$!
resumed() { grep -q 'vm_destroyed' "$tmp/again"; }
wait_for 5 "the events behind a cursor" resumed
kill "$reader" 2>/dev/null
sed -n 's/^id: *//p' "$tmp/events" | sed -n 2p >"$tmp/second"
expect_equal "$(sed -n 's/^id: *//p' "$tmp/again" | head -n 1)" "$(cat "$tmp/second")" "the first cursor behind it"

step "signed out is out"
call DELETE /v1/session -H "Cookie: $cookie" -H "Origin: $dash_url"
[ "$http" = 200 ] || [ "$http" = 204 ] || fail "HTTP status $http"
call GET /v1/machines -H "Cookie: $cookie"
http_error 401 UNAUTHENTICATED

step "a port that is taken ends the start when it was named, else not"
free_port
mkdir -p "$tmp/b"
run flynode dev --state "$tmp/b/state" --machines "$root/data/machines.csv" --rpc "tcp://127.0.0.1:$port" \
    --http "${dash_url#http://}"
expect_equal "$code" 1 "exit code"
expect_text "$err" "${dash_url##*:}"
! grep -qF "${FLYRPC_TOKEN:20:40}" "$tmp/a/log" || fail "a token is in the log"
stop_node a
