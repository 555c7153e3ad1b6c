#!/bin/sh
# Sees that every weaker reading of a rule (the patches beside this script) is caught by a test in
# tests/it/readings. One line for each; fails if one is not caught, does not apply or does not compile.
#
#     tests/readings/check.sh [rule...]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${READINGS_DIR:-$root/target/readings}
tree=$work/tree
# Each reading is compiled once and runs for a second.
export CARGO_TARGET_DIR="$work/target" CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_OPT_LEVEL=0
# The copy lies inside a repository; git must not take its paths for that one's.
export GIT_CEILING_DIRECTORIES="$work"

rm -rf "$tree"
mkdir -p "$tree"
(cd "$root" && tar -cf - --exclude=./target --exclude=./.git .) | tar -xf - -C "$tree"
cd "$tree"

# Compiling and testing are told apart: a reading that does not compile proves nothing.
compile() {
    cargo test --quiet --locked --test it --no-run >"$work/log" 2>&1
}
tests() {
    timeout 120 cargo test --quiet --locked --test it readings:: >"$work/log" 2>&1
}
die() {
    echo "$1" >&2
    tail -n 30 "$work/log" >&2
    exit 1
}

compile || die "the tests do not compile as they stand"
tests || die "the tests fail as they stand"

if [ $# -eq 0 ]; then
    for patch in "$here"/*.patch; do
        set -- "$@" "$(basename "$patch" .patch)"
    done
fi
missed=0
for rule in "$@"; do
    git apply "$here/$rule.patch"
    compile || die "$rule: does not compile"
    if tests; then
        echo "$rule: NOT CAUGHT"
        missed=1
    elif by=$(sed -n 's/^    readings::\([a-z_:]*\)$/\1/p' "$work/log" | sort -u | tr '\n' ' ') && [ -n "$by" ]; then
        echo "$rule: caught by $by"
    else
        die "$rule: the tests ended without a verdict"
    fi
    git apply --reverse "$here/$rule.patch"
done
exit $missed
