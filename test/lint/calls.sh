#!/bin/bash
# The library neither ends the program nor prints, and nothing writes to a string without knowing its length.
cd "$ZRT_SRCDIR" || exit 1
failed=0
points=0

check() { # what, extended expression, files
    local what=$1 expression=$2 found
    shift 2
    found=$(awk -v expression="(^|[^A-Za-z0-9_>.])($expression)[ \t]*\\\\(" '
        FNR == 1 { in_comment = 0 }
        {
            line = $0
            if (in_comment) { if (!match(line, /\*\//)) next; line = substr(line, RSTART + 2); in_comment = 0 }
            gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
            while (match(line, /\/\*/)) {
                rest = substr(line, RSTART + 2)
                line = substr(line, 1, RSTART - 1)
                if (match(rest, /\*\//)) line = line " " substr(rest, RSTART + 2)
                else in_comment = 1
            }
            if (line ~ expression) print "#   " FILENAME ":" FNR ": " $0
        }' "$@" </dev/null)
    points=$((points + 1))
    if [ -z "$found" ]; then
        echo "ok $points - $what"
    else
        echo "not ok $points - $what"
        echo "$found"
        failed=1
    fi
}

mapfile -t all < <(find src include test benchmarks -name '*.[ch]' | sort)
mapfile -t library < <(find src -path src/tools -prune -o -name '*.[ch]' -print | sort)
check "no call writes past its end" 'strcpy|strcat|sprintf|vsprintf|gets|strtok|stpcpy|tmpnam|mktemp|alloca' "${all[@]}"
check "the library ends no program" 'exit|_exit|_Exit|quick_exit|abort|assert|MPI_Abort' "${library[@]}"
check "the library prints nothing by itself" 'printf|vprintf|puts|putchar|perror|fprintf[ \t]*\(std(err|out)[^)]*\).*' "${library[@]}"
if stray=$(grep -nE 'std(out|err)\b' "${library[@]}"); then
    points=$((points + 1)); failed=1
    echo "not ok $points - the library uses no standard stream"
    echo "$stray" | sed 's/^/#   /'
else
    points=$((points + 1))
    echo "ok $points - the library uses no standard stream"
fi
echo "1..$points"
exit $failed
