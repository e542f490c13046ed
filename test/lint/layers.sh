#!/bin/bash
# Checks every #include under src/ against the table src/LAYERS. One test point for each layer and each named header.
cd "$ZRT_SRCDIR" || exit 1
files=$(find src -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' | sort)
# shellcheck disable=SC2086
awk '
    FNR == NR {
        sub(/#.*/, "")
        if ($1 == "layer") { name = $2; sub(/:$/, "", name); for (i = 3; i <= NF; i++) may[name, $i] = 1; kind[name] = "layer"; order[++n] = name }
        if ($1 == "public") { kind[$2] = "public"; order[++n] = $2 }
        if ($1 == "header") { h = $2; sub(/:$/, "", h); for (i = 3; i <= NF; i++) header_in[h, $i] = 1; headers[++n_headers] = h }
        next
    }
    # The deepest layer whose folder holds the path, which is relative to src.
    function layer_of(path) {
        while (sub(/\/[^\/]*$/, "", path)) if (path in kind) return path
        return ""
    }
    function complain(list, what) { bad[list] = bad[list] "#   " FILENAME ":" FNR ": " what "\n" }
    FNR == 1 {
        path = FILENAME; sub(/^src\//, "", path)
        folder = path; sub(/\/[^\/]*$/, "", folder)
        own = layer_of(path)
        if (own == "") complain("files", "its folder is not in src/LAYERS")
        if (path ~ /(^|\/)config\.h$/) complain("files", "hides the config.h that configure makes")
        if (path ~ /\.c$/) expect_config = 1
    }
    /^[ \t]*#[ \t]*include/ {
        what = $0; sub(/^[ \t]*#[ \t]*include[ \t]*/, "", what)
        if (expect_config) { expect_config = 0; if (what !~ /^"config\.h"/) complain("files", "the first include is not \"config.h\"") }
        target = substr(what, 2); sub(/[>"].*/, "", target)
        if (what ~ /^"/) {
            if (target == "config.h") next
            local = folder "/" target
            other = target ~ /\// ? layer_of(target) : (("src/" local) in exists ? own : "")
            if (other == "") complain("files", "\"" target "\" names no folder of src/LAYERS (write it from src: \"device/device.h\")")
            else if (other == own) next
            else if (kind[own] == "public") complain(own, "includes \"" target "\" where only public headers may be")
            else if (other != "base" && !((own, other) in may) && !((own, "*") in may)) complain(own, "includes \"" target "\" of " other)
        } else for (i = 1; i <= n_headers; i++) {
            pattern = headers[i]; length_wanted = length(pattern)
            if (pattern ~ /\*$/) matches = substr(target, 1, length_wanted - 1) == substr(pattern, 1, length_wanted - 1)
            else matches = target == pattern
            if (matches && !((pattern, own) in header_in)) complain(pattern, "includes <" target ">")
        }
    }
    BEGIN { for (i = 2; i < ARGC; i++) exists[ARGV[i]] = 1; exists_n = ARGC }
    function point(list, text) {
        printf "%sok %d - %s\n%s", list in bad ? "not " : "", ++points, text, bad[list]
        failed = failed || list in bad
    }
    END {
        point("files", "every file is in a layer and includes from src")
        for (i = 1; i <= n; i++) point(order[i], "layer " order[i] " includes only what it may")
        for (i = 1; i <= n_headers; i++) point(headers[i], "<" headers[i] "> is included only where it may be")
        printf "1..%d\n", points
        exit failed
    }
' src/LAYERS $files
