#!/bin/bash
# Every script's comment "Output with the sample dump" is what the script prints, but for the time a plan
# expects, and nothing else (but what was done in a run folder). Prints TAP. SEGX_BIN: the program;
# with UPDATE=1 the comments are rewritten instead:
#   UPDATE=1 SEGX_BIN=$PWD/build/release/segx SEGX_SOURCE=$PWD bash tests/sh/scripts.sh
set -u
B=${SEGX_BIN:?the path of segx}
source=${SEGX_SOURCE:?the source folder}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export COLUMNS=100 NO_COLOR=1
unset SEGX_LUA LUA_INIT LUA_INIT_5_4
mark='--[==[ Output with the sample dump (./try makes it):'
n=0 bad=0

no_times() { sed -E 's/, (under a second|about [0-9.]+ (s|min|h))$/, about T/' "$1"; }

"$B" "$source/datasets/make_sample.lua" "$tmp/sample.h5" >/dev/null 2>"$tmp/err" || { cat "$tmp/err"; echo "not ok 1 - sample"; exit 1; }
for script in "$source"/scripts/*.lua; do
    n=$((n + 1))
    name=$(basename "$script")
    if [ -n "${SEGX_SANITIZE:-}" ] && [ "$name" = which_loss.lua ]; then
        echo "ok $n - $name # SKIP fits of ten losses take minutes under a sanitizer (test_fit.lua fits there)"
        continue
    fi
    (cd "$tmp" && "$B" --quiet "$script" sample.h5 >out 2>err </dev/null)
    status=$?
    sed -i 's/ *$//' "$tmp/out"
    sed -i '/^segx: runs\//d' "$tmp/err"
    if [ -n "${UPDATE:-}" ]; then
        awk -v mark="$mark" 'index($0, mark) == 1 { exit } { line[++k] = $0 }
            END { while (k && line[k] == "") k--; for (i = 1; i <= k; i++) print line[i] }' "$script" >"$tmp/new"
        { cat "$tmp/new"; echo; echo "$mark"; cat "$tmp/out"; echo "]==]"; } >"$script"
        continue
    fi
    awk -v mark="$mark" 'index($0, mark) == 1 { on = 1; next } $0 == "]==]" { on = 0 } on' "$script" >"$tmp/want"
    if [ $status -eq 0 ] && [ ! -s "$tmp/err" ] && [ -s "$tmp/want" ] && cmp -s <(no_times "$tmp/want") <(no_times "$tmp/out"); then
        echo "ok $n - $name prints what it says"
    else
        bad=1
        echo "not ok $n - $name prints what it says (status $status)"
        diff <(no_times "$tmp/want") <(no_times "$tmp/out") | head -20 | sed 's/^/#   /'
        sed 's/^/# err /' "$tmp/err"
    fi
done
echo "1..$n"
exit $bad
