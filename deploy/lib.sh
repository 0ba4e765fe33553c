# shellcheck shell=bash disable=SC2154,SC2086
# lib.sh - what deploy/up, deploy/down and tests/run share: packages, the build, a process that is
# surely ours. Sourced by bash scripts that set `root` (the repository) first; prints on stderr only.

say() { printf '%s\n' "$*" >&2; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# packages_of SECTION... - the names that deploy/packages lists there
packages_of() {
    awk -v sections=" $* " '
        { sub(/#.*/, "") }
        /^[a-z]+:/ { section = substr($1, 1, length($1) - 1); next }
        NF && index(sections, " " section " ") { print $1 }' "$root/deploy/packages"
}

# packages_missing SECTION... - those that are not installed now
packages_missing() {
    packages_of "$@" | while read -r name; do
        case "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" in
        installed) ;;
        *) printf '%s\n' "$name" ;;
        esac
    done
}

# packages_install SECTION... - installs what is missing; needs root only then
packages_install() {
    local missing
    command -v dpkg-query >/dev/null || die "not a Debian system: install what deploy/packages names"
    mapfile -t missing < <(packages_missing "$@")
    [ "${#missing[@]}" -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        say "${0##*/}: these packages are missing, and only root may install them. Please run:"
        say ""
        say "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}"
        say ""
        exit 1
    fi
    say "installing ${#missing[@]} packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q </dev/null >&2 || die "apt-get update failed"
    apt-get install -q -y --no-install-recommends "${missing[@]}" </dev/null >&2 ||
        die "apt-get install failed: see above"
}

# packages_try SECTION... - the same, for what can be done without
packages_try() {
    (packages_install "$@") || say "${0##*/}: goes on without: $(packages_missing "$@" | tr '\n' ' ')"
}

# process_mark PID - a text that no later process with the same number has; fails when it is gone
process_mark() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    stat=${stat##*) } # the name before it may hold spaces and brackets
    set -- "$1" $stat
    # a zombie is gone once its other threads are: until then they hold its files and locks
    if [ "$2" = Z ]; then
        [ "$(find "/proc/$1/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" -gt 1 ] || return 1
    fi
    printf '%s %s %s\n' "$1" "${21}" "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo boot)"
}

# process_of FILE - the pid that FILE names, if exactly that process still runs
process_of() {
    local pid rest
    [ -r "$1" ] && read -r pid rest <"$1" || return 1
    case "$pid" in '' | *[!0-9]*) return 1 ;; esac
    [ "$(process_mark "$pid")" = "$pid $rest" ] && printf '%s\n' "$pid"
}

# session_members PID - every process of the session that PID leads (or led)
session_members() {
    local file stat
    for file in /proc/[0-9]*/stat; do
        stat=$(cat "$file" 2>/dev/null) || continue
        stat=${stat##*) }
        # after the name: state ppid pgrp session
        set -- "$1" $stat
        if [ "$5" = "$1" ] && [ "$2" != Z ]; then
            file=${file#/proc/}
            printf '%s\n' "${file%/stat}"
        fi
    done
}

# quoted TEXT - one word for a shell that reads it back
quoted() {
    printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"
}

# shown PATH - as a person would type it from here
shown() {
    case "$1" in
    "$PWD"/*) printf '%q\n' "${1#"$PWD"/}" ;;
    *) printf '%q\n' "$1" ;;
    esac
}
