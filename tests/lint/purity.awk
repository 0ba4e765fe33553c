# purity.awk - reads the denied list, allow files, then `nm -A` lines of one archive
# ("archive:member: [address] TYPE symbol"): prints every undefined symbol that nobody allowed.
# Variables: archive, and `defined`, a file with what it and the archives under it define.

function glob(pattern)
{
    gsub(/[.$]/, "[&]", pattern)
    gsub(/\*/, ".*", pattern)
    return "^" pattern "$"
}

function matches(name, list, count,    i)
{
    for (i = 1; i <= count; i++) {
        if (name ~ list[i]) {
            return 1
        }
    }
    return 0
}

FILENAME == defined { ours[$1] = 1; next }

FILENAME != "-" {
    sub(/#.*/, "")
    if (NF == 0) {
        next
    }
    if (FILENAME ~ /denied$/) {
        denied[++denied_count] = glob($1)
    } else if (NF == 2 && $1 ~ /:$/) {
        only[substr($1, 1, length($1) - 1), $2] = 1
    } else {
        allow[++allow_count] = glob($1)
    }
    next
}

$(NF - 1) == "U" || $(NF - 1) == "w" {
    symbol = $NF
    sub(/@.*/, "", symbol)
    count++
    if (symbol in ours) {
        next
    }
    split($0, part, ":")
    member = part[2]
    sub(/\.o$/, "", member)
    where = archive ": " member ": "
    if (matches(symbol, denied, denied_count)) {
        print where symbol " is denied to pure code"
        bad = 1
    } else if (!((member, symbol) in only) && !matches(symbol, allow, allow_count)) {
        print where symbol " is in no allow file"
        bad = 1
    }
}

END {
    if (count == 0) {
        print archive ": nm listed no undefined symbol: is it an archive?"
        bad = 1
    }
    exit bad
}
