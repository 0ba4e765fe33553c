# arrows.awk - reads arrows.table, then C files: prints each #include that the table does not have,
# each that names no file, and one cycle among headers if there is one.

function fail(line, text)
{
    printf "%s:%d: %s\n", FILENAME, line, text
    bad = 1
}

function room_of(path,    i, best)
{
    best = 0
    for (i = 1; i <= rows; i++) {
        if (index(path, prefix[i]) == 1 && (!best || length(prefix[i]) > length(prefix[best]))) {
            best = i
        }
    }
    return best
}

# The library that a <header> belongs to: the longest of the listed beginnings, else `os`.
function library_of(header,    h)
{
    if (header in library) {
        return library[header]
    }
    for (h in library) {
        if (h ~ /\/$/ && index(header, h) == 1) {
            return library[h]
        }
    }
    return "os"
}

function allowed(list, word)
{
    return list == "*" || index("," list ",", "," word ",") > 0
}

# Depth first; `trail` is the way here. Colours: 1 on the way, 2 done.
function visit(header, trail,    i, n, next_ones)
{
    if (colour[header] == 2) {
        return
    }
    if (colour[header] == 1) {
        if (!cycle_seen++) {
            printf "%s:1: include cycle: %s -> %s\n", header, trail, header
            bad = 1
        }
        return
    }
    colour[header] = 1
    n = split(edges[header], next_ones, " ")
    for (i = 1; i <= n; i++) {
        visit(next_ones[i], trail == "" ? header : trail " -> " header)
    }
    colour[header] = 2
}

FILENAME == table {
    sub(/^#.*/, "")
    if ($1 == "header") {
        for (i = 3; i <= NF; i++) {
            library[$i] = $2
        }
    } else if (NF == 4) {
        rows++
        room[rows] = $1
        prefix[rows] = $2
        rooms_ok[rows] = $3
        headers_ok[rows] = $4
    } else if (NF > 0) {
        fail(FNR, "not a row of the table")
    }
    next
}

FNR == 1 {
    files++
    me = room_of(FILENAME)
    if (!me) {
        fail(1, "in no room of arrows.table")
    }
}

!/^[ \t]*#[ \t]*include/ { next }
!me { next }

/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, part, "\"")
    path = part[2]
    if (path ~ /\.(pb-c|rpc|pb)\.h$/) {
        made = path ~ /\.rpc\.h$/ ? "rpc" : "gen"
        if (room[me] != made && !allowed(rooms_ok[me], made)) {
            fail(FNR, "room " room[me] " may not include the generated " path)
        }
        next
    }
    if (!(path in known)) {
        known[path] = (getline skipped < path) >= 0 ? 1 : 0
        close(path)
    }
    if (!known[path]) {
        fail(FNR, "\"" path "\" is no file: includes start at the root of the repository")
        next
    }
    other = room_of(path)
    if (other && room[other] != room[me] && !allowed(rooms_ok[me], room[other])) {
        fail(FNR, "room " room[me] " may not include room " room[other] " (" path ")")
    }
    if (FILENAME ~ /\.h$/ && path ~ /\.h$/) {
        edges[FILENAME] = edges[FILENAME] " " path
        headers[FILENAME] = 1
    }
    next
}

/^[ \t]*#[ \t]*include[ \t]*</ {
    split($0, part, /[<>]/)
    other = library_of(part[2])
    if (!allowed(headers_ok[me], other)) {
        fail(FNR, "room " room[me] " may not include <" part[2] "> (" other ")")
    }
    next
}

{ fail(FNR, "an include by macro cannot be checked") }

END {
    for (h in headers) {
        visit(h, "")
    }
    if (files == 0) {
        print "arrows: no file was read"
        bad = 1
    }
    exit bad
}
