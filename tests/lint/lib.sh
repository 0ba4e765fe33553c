# lib.sh - what the lints share. Each takes the source tree as its first argument (default: ours),
# prints "file:line: what is wrong", and exits 1 if it printed anything.
# shellcheck shell=bash

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=${1:-$here/../..}
cd "$tree"

# Every C file of ours, committed or not. Generated code is in build/ and is not ours.
sources() {
    local rooms=() room
    for room in proto gossip node client dash tests; do
        [ ! -d "$room" ] || rooms+=("$room")
    done
    find "${rooms[@]}" -name node_modules -prune -o -type f -name '*.[ch]' -print | LC_ALL=C sort
}
