#!/bin/bash
# Run folders read: segx ls, show, diff, report. Prints TAP. SEGX_BIN: the program.
set -u
. "$(dirname "$0")/../tap.sh"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
export COLUMNS=100 NO_COLOR=1
unset SEGX_LUA LUA_INIT LUA_INIT_5_4

# sweep.lua: FOLDER MIXES; one of the gammas is refused
cat >sweep.lua <<'LUA'
local d <close> = segx.open "d.h5"
local L, A = segx.loss, segx.axis
local g = A.grid("gamma", {0, 2, -1})
local loss = A.lin("mix", 0, 1, tonumber(arg[2])) * L.focal {gamma = g} + L.dice {}
segx.sweep {dump = d, loss = loss, control = L.ce {}, want = {"value", "tau(iou)"}, out = arg[1],
  intervals = 20}:run()
LUA
cat >dump.lua <<'LUA'
math.randomseed(5)
local w = segx.write_dump("d.h5", {n = 12, classes = 3, dims = {6, 6}, logits_type = "float32", labels_type = "uint8"})
for i = 1, 12 do
  local logits, labels = {}, {}
  for k = 1, 108 do logits[k] = math.random() * 6 - 3 end
  for k = 1, 36 do labels[k] = math.random(0, 2) end
  w:write(i, logits, labels)
end
w:finish()
LUA
"$B" dump.lua || exit 1
"$B" --quiet sweep.lua runs/a 3; is "$?" 6 "a sweep with refused rows"
"$B" --quiet sweep.lua "runs/it's b" 5; is "$?" 6 "another"

# -- show
"$B" show runs/a >o 2>e; is "$?:$(wc -l <o)" "0:10" "show: all rows"
has o '^ *-1 +0 +- +- +- +failed +focal: gamma = -1; it must be' "show: a failed row with its reason"
has o '0.275\] not separable +ok$' "show: intervals and notes"
"$B" show runs/a --top 2 --by 'tau(iou)' >o; is "$(wc -l <o)" 4 "show: the best two"
has o '^gamma +mix +value +tau\(iou\) +tau\(iou\)-control$' "show: no states where all is well"
has o '^2 of 9 rows$' "show: of how many"
"$B" show runs/a --format csv >o; cmp -s o runs/a/results.csv; ok $? "show --format csv: the digits of the file"
"$B" show runs/a --top 9 --by value --format csv >o; sort o >p; sort runs/a/results.csv | cmp -s - p; ok $? "show --by --format csv: the same rows"
"$B" show runs/a --format json >j
"$B" -e 'local r, c = segx.read_results "j", segx.read_results "runs/a"
for _, name in ipairs(c:names()) do
  for i, v in ipairs(r:column(name)) do
    local w = c:column(name)[i]
    assert(v == w or v ~= v and w ~= w, name)
  end
end
print(#r, c.n_axes, c:best("value").gamma == r:best("value").gamma)' >o 2>e
is "$(cat o)" "9	2	true" "show --format json: the same numbers"
"$B" show runs/a --top 1 --format md >o; has o '^\| ---: \| ---: \| ---: \|' "show --format md"
"$B" show runs/a --top 1 --format tex >o; has o '^\\begin\{tabular\}\{rrr' "show --format tex"
"$B" show runs/a --by vlaue 2>e; is "$?" 1 "show: an unknown column"
has e "unknown column 'vlaue' \(did you mean 'value'" "show: what it may have been"
"$B" show runs/a --top 3 --by vlaue 2>e; has e "unknown column 'vlaue' \(did you mean 'value'" "show --top: the same"
"$B" show runs/a --format xml 2>e; is "$?" 2 "show: an unknown format"
"$B" show runs 2>e; is "$?" 3 "show: no run folder"
has e 'no manifest.json' "show: why not"

# -- ls
"$B" ls >o; is "$(wc -l <o)" 3 "ls"
has o "^\./runs/a +done +9 +3 +d.h5" "ls: rows and failed rows"
has o "^\./runs/it's b +done +15 +5 +d.h5" "ls: any name"
rm runs/a/results.csv; "$B" ls runs >o; has o '^runs/a +not ended +9 +d.h5' "ls: a run that has not ended"
"$B" show runs/a 2>e; has e 'hint: the same line goes on: segx sweep.lua runs/a 3 \(segx plan sweep.lua runs/a 3: how far it is\)$' "show: a run that has not ended"
"$B" --quiet sweep.lua runs/a 3; mkdir none; "$B" ls none 2>e; is "$?" 3 "ls: nothing"

# -- diff
"$B" diff runs/a runs/a >o; is "$?:$(cat o)" "0:rows: 9 equal, 0 only in runs/a, 0 only in runs/a, 0 numbers differ" "diff: itself"
"$B" diff runs/a "runs/it's b" >o; is "$?" 1 "diff: others"
has o "^rows: 9 equal, 0 only in runs/a, 6 only in runs/it's b, 0 numbers differ$" "diff: rows"
has o '^  \+ \["runs/it.s b", "5"\]' "diff: arguments"
sed -i '2s/^0,0,[^,]*,/0,0,0.5,/' runs/a/results.csv; "$B" diff runs/a "runs/it's b" >o
has o '^gamma=0 mix=0 +value +0.5 +0\.' "diff: which number"

# -- report
"$B" report "runs/it's b" >o 2>e; is "$?:$(wc -l <e)" "0:0" "report: made"
has o "^runs/it's b/report.html  [0-9.]+ KiB$" "report: where it is"
has "runs/it's b/report.html" "not separable" "report: holds the rows"
"$B" report runs/a --by value --top 2 --out "x.html" >o; is "$?:$(cat o | cut -c1-6)" "0:x.html" "report: --out"
"$B" report runs/a --by vlaue 2>e; is "$?" 1 "report: an unknown column"
has e "did you mean 'value'" "report: the column that was meant"
"$B" report nowhere 2>e; is "$?" 3 "report: no folder"
"$B" doc limits >o; has o "An interval is about other images" "doc limits"

finish
