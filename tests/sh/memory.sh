#!/bin/bash
# Memory stays flat when a dump grows tenfold, per-image statistics included: those that do not fit into a
# quarter of --mem go to a temporary file; and when a sweep of free axes grows. Prints TAP. SEGX_BIN: the program; SEGX_SOURCE: the source tree.
set -u
. "$(dirname "$0")/../tap.sh"
S=${SEGX_SOURCE:?the source tree}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
export TMPDIR=$tmp
margin=10   # per cent that the peak may grow
few=40 many=400

for images in $few $many; do
    "$B" "$S/datasets/make_sample.lua" d$images.h5 --images $images --size 24x32 >/dev/null || bad=1
done
ok $bad "dumps of $few and $many images"
[ $bad -eq 0 ] || finish

# 100 configurations, three reductions with the sweep inside, all by image.
cat >sweep.lua <<'L'
local d <close> = segx.open(arg[1])
local L, A = segx.loss, segx.axis
local loss = L.focal {gamma = A.lin("gamma", 0, 4.5, 10), unit = "image"}
  + L.focal_tversky {gamma = A.lin("tgamma", 0.5, 2.75, 10), unit = "image"}
local r = segx.sweep {dump = d, loss = loss, want = {"value", "per_class"}}:run()
r:csv(arg[2])
local peak = "0"
for line in io.lines "/proc/self/status" do peak = line:match "^VmHWM:%s*(%d+) kB" or peak end
print(#r, r.stats.passes, r.stats.spilled, peak)
L

# measure DUMP CSV OPTIONS...: sets rows, spilled and peak (KiB)
measure() {
    local dump=$1 csv=$2 passes
    shift 2
    read -r rows passes spilled peak <<<"$("$B" --threads 2 --quiet "$@" sweep.lua "$dump" "$csv" 2>e)"
    if [ -z "${peak:-}" ]; then sed 's/^/# /' e; rows=0 spilled=0 peak=0; fi
    echo "# $dump $*: $rows rows, $spilled bytes spilled, peak $peak KiB"
}

measure d$few.h5 few.csv --mem 64K
few_peak=$peak few_spilled=$spilled
measure d$many.h5 many.csv --mem 64K
many_peak=$peak many_spilled=$spilled
[ "$rows" -eq 100 ]; ok $? '100 configurations'
[ "$few_spilled" -gt 0 ] && [ "$many_spilled" -gt $((9 * few_spilled)) ]; ok $? 'statistics spill'
if grep -q __asan_init "$B" || grep -q __tsan_init "$B"; then
    n=$((n + 1)); echo "ok $n - peak # SKIP a sanitizer has memory of its own"
else
    [ "$few_peak" -gt 0 ] && [ $((100 * many_peak)) -le $(((100 + margin) * few_peak)) ]
    ok $? "ten times the images, at most $margin % more memory ($few_peak and $many_peak KiB)"
fi
measure d$many.h5 kept.csv
[ "$rows" -eq 100 ] && [ "$spilled" -eq 0 ]; ok $? 'with enough memory nothing spills'
[ -s many.csv ] && cmp many.csv kept.csv; ok $? 'the same bytes with and without spilling'
measure d$many.h5 one.csv --mem 1
[ "$spilled" -gt 0 ] && cmp many.csv one.csv; ok $? 'and with no memory for statistics at all'
[ -z "$(find . -name 'segx-*')" ]; ok $? 'no temporary file is left'

# Free axes only: rows are computed a page at a time, files are written row by row.
cat >free.lua <<'L'
local d <close> = segx.open(arg[1])
local L, A, W = segx.loss, segx.axis, segx.weights
local n, what = tonumber(arg[2]), arg[3]
local mix = n == 1 and A.grid("mix", {0.5}) or A.lin("mix", 0, 1, n)
local loss = mix * L.ce {weight = W.balanced(d) ^ A.lin("s", 0, 1, 10)}
  + L.tversky {alpha = A.lin("alpha", 0.1, 0.9, 100), beta = A.lin("beta", 0.1, 0.9, 100), smooth = 1}
local r = segx.sweep {dump = d, loss = loss, want = {"value", what == "top" and "per_class" or nil}, out = what == "folder" and "free" or nil}:run()
if what == "top" then io.stderr:write(tostring(r:top(10, "value")), "\n") end
local peak = "0"
for line in io.lines "/proc/self/status" do peak = line:match "^VmHWM:%s*(%d+) kB" or peak end
print(#r, peak)
L
if grep -q __asan_init "$B" || grep -q __tsan_init "$B"; then
    for t in top files; do n=$((n + 1)); echo "ok $n - free rows, $t # SKIP a sanitizer has memory of its own"; done
else
    few_top=$("$B" --quiet --threads 1 free.lua d$few.h5 2 top 2>few.top); many_top=$("$B" --quiet --threads 1 free.lua d$few.h5 12 top 2>many.top)
    echo "# top(10): $few_top KiB, $many_top KiB"
    read -r a p <<<"$few_top"; read -r b q <<<"$many_top"
    [ "$a" = 200000 ] && [ "$b" = 1200000 ] && [ "$(wc -l <many.top)" -ge 11 ] && [ $((100 * q)) -le $(((100 + margin) * p)) ]
    ok $? "six times the rows of free axes, at most $margin % more memory ($p and $q KiB)"
    few_file=$("$B" --quiet --threads 1 free.lua d$few.h5 3 folder); f=$(wc -l <free/results.csv); rm -rf free
    many_file=$("$B" --quiet --threads 1 free.lua d$few.h5 6 folder); g=$(wc -l <free/results.csv)
    echo "# results.csv: $few_file KiB, $many_file KiB"
    read -r a p <<<"$few_file"; read -r b q <<<"$many_file"
    [ "$f:$g" = "300001:600001" ] && [ $((100 * q)) -le $(((100 + margin) * p)) ]
    ok $? "results.csv with twice the rows, at most $margin % more memory ($p and $q KiB)"
fi
"$B" --mem 64K -e 'x = 1' && TMPDIR=$tmp/none "$B" --quiet --mem 64K sweep.lua d$few.h5 no.csv >o 2>e; s=$?
[ $s -eq 3 ] && grep -q TMPDIR e; ok $? 'no place to spill to: status 3, with a hint'
finish
