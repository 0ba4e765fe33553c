# recursion.awk - reads .proto files (proto3): prints each message type that can hold itself, since
# protobuf-c 1.4.1 unpacks without a depth limit (DESIGN 3.8).
# Types are found as protoc finds them: from the innermost scope outwards.

# Comments and strings away, punctuation apart.
{
    if (FNR == 1) {
        open = 0
        scope = ""
        depth = 0
        statement = ""
        package = ""
    }
    line = $0
    gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
    sub(/\/\/.*/, "", line)
    while (open || match(line, /\/\*/)) {
        if (!open) {
            head = substr(line, 1, RSTART - 1)
            line = substr(line, RSTART + 2)
        } else {
            head = ""
        }
        at = index(line, "*/")
        if (!at) {
            open = 1
            line = head
            break
        }
        open = 0
        line = head " " substr(line, at + 2)
    }
    gsub(/[{};]/, " & ", line)
    gsub(/[<>,=]/, " ", line)
    n = split(line, word, " ")
    for (w = 1; w <= n; w++) {
        token(word[w])
    }
}

function token(text)
{
    if (text == "{") {
        open_block()
        statement = ""
    } else if (text == "}") {
        scope = scopes[depth]
        depth--
        statement = ""
    } else if (text == ";") {
        field()
        statement = ""
    } else {
        statement = statement (statement == "" ? "" : " ") text
    }
}

# A message names a scope; a oneof does not; an enum, service or rpc has no fields of ours.
function open_block(    part)
{
    split(statement, part, " ")
    depth++
    scopes[depth] = scope
    kinds[depth] = part[1]
    if (part[1] == "message") {
        scope = (scope == "" ? package : scope) "." part[2]
        message[scope] = FILENAME ":" FNR
    } else if (part[1] != "oneof") {
        scope = scope ".(" part[1] ")"
    }
}

function field(    part, n, i)
{
    n = split(statement, part, " ")
    if (part[1] == "package") {
        package = "." part[2]
        return
    }
    if (depth == 0 || !(kinds[depth] == "message" || kinds[depth] == "oneof")) {
        return
    }
    i = 1
    if (part[1] == "repeated" || part[1] == "optional") {
        i = 2
    } else if (part[1] == "map") {
        i = 3
    } else if (part[1] == "option" || part[1] == "reserved") {
        return
    }
    fields++
    holder[fields] = scope
    wanted[fields] = part[i]
}

function resolve(from, name,    at)
{
    if (substr(name, 1, 1) == ".") {
        return name in message ? name : ""
    }
    for (;;) {
        if ((from "." name) in message) {
            return from "." name
        }
        at = match(from, /\.[^.]*$/)
        if (!at) {
            return ""
        }
        from = substr(from, 1, RSTART - 1)
    }
}

function visit(name, trail,    i, n, next_ones)
{
    if (colour[name] == 2) {
        return
    }
    if (colour[name] == 1) {
        printf "%s: message type holds itself: %s -> %s\n", message[name], trail, name
        bad = 1
        return
    }
    colour[name] = 1
    n = split(edges[name], next_ones, " ")
    for (i = 1; i <= n; i++) {
        visit(next_ones[i], trail == "" ? name : trail " -> " name)
    }
    colour[name] = 2
}

END {
    for (f = 1; f <= fields; f++) {
        type = resolve(holder[f], wanted[f])
        if (type != "") {
            edges[holder[f]] = edges[holder[f]] " " type
            seen++
        }
    }
    for (m in message) {
        visit(m, "")
        count++
    }
    if (count == 0 || fields == 0) {
        print "recursion: no message was read"
        bad = 1
    }
    printf "%d messages, %d fields, %d of them messages\n", count, fields, seen
    exit bad
}
