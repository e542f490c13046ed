# The project's own text files: without golden data, what autotools bring and what a build in the source tree makes. To be
# sourced in the root.
own_files() { # names as find takes them: own_files -name '*.c' -o -name '*.h'
    find .ci benchmarks config include src test \
        \( -path test/golden -o -name '.deps' -o -name '.libs' \) -prune -o -type f \( "$@" \) -print |
        grep -Ev '^config/(ar-lib|compile|config\.guess|config\.sub|depcomp|install-sh|libtool\.m4|lt.*\.m4|ltmain\.sh|missing|tap-driver\.sh|test-driver|zerort\.pc)$' |
        grep -Ev '\.(o|lo|la|log|trs)$|/version\.h$|/\.dirstamp$' |
        grep -Ev '^(test|benchmarks)/(.*/)?[^./]+$' | sort
}
