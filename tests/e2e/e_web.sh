#!/bin/bash
# The dashboard in Debian's Chromium over a real node, by the keyboard alone: sign in, select a
# region, launch, see cell and card change, see the same event in `flyrpc watch`, destroy; axe.
# e_web.sh [--long]: with it every view in both themes and sizes, and the pictures in build/shots.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

chromium=${CHROMIUM:-/usr/bin/chromium}
skip() {
    echo "$script: skipped: $*"
    exit 77
}
[ -x "$chromium" ] || skip "no $chromium"
node_is=$(node -p 'const [a, b] = process.versions.node.split("."); a > 20 || (a == 20 && b >= 19)' \
    2>/dev/null) || skip "no node"
[ "$node_is" = true ] || skip "node is older than 20.19"
for FLY_WEB in "$root/dash/web" "$root/build/web" none; do
    [ ! -d "$FLY_WEB/node_modules/playwright-core" ] || break
done
[ "$FLY_WEB" != none ] || skip "no packages: cd dash/web && npm ci, or tests/lint/dist_rebuild"
export FLY_WEB

step "a node with the dashboard"
free_port
http=$port
start_node a --http "127.0.0.1:$http" --launches-per-minute 1000
use a regions,launch,read,destroy,watch
export DASH_URL=http://127.0.0.1:$http DASH_TOKEN=$FLYRPC_TOKEN CHROMIUM=$chromium
DASH_READ_TOKEN=$(token_of a regions,read) || fail "no token for read"
export DASH_READ_TOKEN

step "everything by the keyboard"
export DASH_WATCH=$tmp/watch.json
flyrpc watch --json >"$DASH_WATCH" 2>"$tmp/watch.err" </dev/null &
timeout --preserve-status -k 5 120 node "$root/tests/e2e/web/dash.mjs" >"$out" 2>"$err" ||
    fail "the browser's part"
cat "$out"

if [ "${1:-}" = --long ]; then
    step "every view, in both themes and sizes"
    SHOTS=${SHOTS:-$root/build/shots} timeout --preserve-status -k 5 300 \
        node "$root/tests/e2e/web/shots.mjs" >"$out" 2>"$err" || fail "the pictures"
    cat "$out"
fi
