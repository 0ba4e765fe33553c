# banned.awk - reads banned.table, then C files: prints each banned function in their tokens.
# Comments, strings, character constants and #include lines are not looked at.

# The code of one line; `open` says whether a comment goes on from the line before.
function code_of(line,    out, at, two)
{
    out = ""
    while (line != "") {
        if (open) {
            at = index(line, "*/")
            if (!at) {
                return out
            }
            line = substr(line, at + 2)
            open = 0
            out = out " "
        }
        if (!match(line, /["'\/]/)) {
            return out line
        }
        out = out substr(line, 1, RSTART - 1)
        two = substr(line, RSTART, 2)
        line = substr(line, RSTART)
        if (two == "//") {
            return out
        } else if (two == "/*") {
            open = 1
            line = substr(line, 3)
        } else if (substr(two, 1, 1) == "\"") {
            match(line, /^"([^"\\]|\\.)*"?/)
            out = out "\"\""
            line = substr(line, RLENGTH + 1)
        } else if (substr(two, 1, 1) == "'") {
            match(line, /^'([^'\\]|\\.)*'?/)
            out = out "0"
            line = substr(line, RLENGTH + 1)
        } else {
            out = out "/"
            line = substr(line, 2)
        }
    }
    return out
}

function excepted(name,    i, n, where)
{
    n = split(except[name], where, ",")
    for (i = 1; i <= n; i++) {
        if (index(FILENAME, where[i]) == 1) {
            return 1
        }
    }
    return 0
}

FILENAME == table {
    sub(/#.*/, "")
    if (NF >= 4) {
        how[$1] = $2
        except[$1] = $3
        better = $4
        for (i = 5; i <= NF; i++) {
            better = better " " $i
        }
        instead[$1] = better
    }
    next
}

FNR == 1 {
    open = 0
    files++
}

{
    code = code_of($0)
    if (code ~ /^[ \t]*#[ \t]*include/) {
        next
    }
    before = ""
    while (match(code, /[A-Za-z_][A-Za-z0-9_]*/)) {
        before = before substr(code, 1, RSTART - 1)
        name = substr(code, RSTART, RLENGTH)
        code = substr(code, RSTART + RLENGTH)
        # a member of that name is somebody else
        if ((name in how) && before !~ /(\.|->)[ \t]*$/ && !excepted(name) &&
            (how[name] == "any" || code ~ /^[ \t]*\(/)) {
            printf "%s:%d: %s is banned: use %s\n", FILENAME, FNR, name, instead[name]
            bad = 1
        }
        before = name
    }
}

END {
    if (files == 0) {
        print "banned: no file was read"
        bad = 1
    }
    exit bad
}
