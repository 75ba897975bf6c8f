#!/bin/bash
# What goes wrong in real life: files, data, mistakes in scripts, signals during a pass. Each has its exit
# status, a message with the place, and a hint or the known names. Prints TAP. SEGX_BIN: the program.
set -u
. "$(dirname "$0")/../tap.sh"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
export TMPDIR=$tmp COLUMNS=80 XDG_STATE_HOME=$tmp
unset SEGX_LUA NO_COLOR LUA_INIT LUA_INIT_5_4

# refused STATUS NAME LUA PATTERN...: running LUA ends with STATUS, prints nothing on standard output, and
# standard error matches every pattern (grep -E) and has no traceback
refused() {
    local want=$1 name=$2 s good=0
    printf '%s\n' "$3" >script.lua
    shift 3
    "$B" script.lua >o 2>e </dev/null
    s=$?
    [ "$s" -eq "$want" ] || { good=1; echo "# status $s, want $want"; }
    [ ! -s o ] || { good=1; echo "# something on standard output"; }
    ! grep -q 'stack traceback' e || good=1
    for pattern in "$@"; do
        grep -qEe "$pattern" e || { good=1; echo "# no '$pattern'"; }
    done
    [ $good -eq 0 ] || sed 's/^/# /' e
    ok $good "$name"
}

cat >make.lua <<'L'
local function dump(path, change, o)
  o = o or {}
  local H, W = o.h or 5, o.w or 7
  local w = segx.write_dump(path, {n = 4, classes = 3, dims = {H, W}, logits_type = "float32",
    labels_type = "uint8", gzip = o.gzip or 0, ignore_index = 255, class_names = {"road", "car", "pole"}})
  for i = 1, 4 do
    local x, y = {}, {}
    for p = 1, 3 * H * W do x[p] = (p * i % 17) / 4 end
    for p = 1, H * W do y[p] = p % 3 end
    if change then change(i, x, y) end
    w:write(i, x, y)
  end
  w:finish()
end
dump "good.h5"
dump("zip.h5", nil, {gzip = 4})
dump("long.h5", nil, {h = 150, w = 200})
dump("label.h5", function(i, _, y) if i == 2 then y[10], y[11] = 7, 9 end end)
dump("nan.h5", function(i, x) if i == 3 then x[40] = 0 / 0 end end)
dump("inf.h5", function(i, x) if i >= 2 then x[40] = 1 / 0 end end)
-- Labels of another shape: the numbers in the header of the data set.
local f = io.open("good.h5", "rb")
local bytes = f:read "a"
f:close()
local from, to = string.pack("<I8I8I8", 4, 5, 7), string.pack("<I8I8I8", 4, 5, 6)
local at = bytes:find(from, 1, true)
while at do
  bytes = bytes:sub(1, at - 1) .. to .. bytes:sub(at + #to)
  at = bytes:find(from, 1, true)
end
f = io.open("shape.h5", "wb")
f:write(bytes)
f:close()
L
"$B" make.lua || { ok 1 'test files are made'; echo "1..$n"; exit 1; }
head -c 900 zip.h5 >cut.h5
printf 'hello\n' >text.h5
mkdir folder.h5
: >empty.h5

open() { echo "local d <close> = segx.open \"$1\""; }
ce='print(segx.loss.ce {}(d))'

# -- files: 3
refused 3 'file that is missing' "$(open none.h5)" '^segx: script.lua:1: none.h5: No such file'
refused 3 'not HDF5' "$(open text.h5)" 'text.h5: not an HDF5 file' '^  hint: a dump is'
refused 3 'empty file' "$(open empty.h5)" 'empty.h5: '
refused 3 'folder' "$(open folder.h5)" 'folder.h5: '
refused 3 'file that is cut off' "$(open cut.h5) $ce" 'cut.h5: '
refused 3 'data set that is missing' 'segx.open("good.h5", {logits = "out"})' 'no data set out' '/labels, /logits'
refused 3 'labels of another shape' "$(open shape.h5)" 'shape.h5: ' '\[4,3,5,7\].*\[4,5,6\]' '^  hint: '
refused 4 'arrays of different shapes' 'segx.memory {logits = {{{1, 2}, {3, 4}}}, labels = {{0, 1, 0}}}' \
    '^segx: script.lua:1: memory: logits and labels differ in shape' '^  hint: '
"$B" info none.h5 >o 2>e; [ $? -eq 3 ] && [ ! -s o ] && grep -q 'none.h5: No such file' e; ok $? 'info of a missing file'
"$B" none.lua >o 2>e; [ $? -eq 3 ] && grep -q none.lua e; ok $? 'script that is missing'

# -- data: 4
refused 4 'label out of range' "$(open label.h5) $ce" '/labels holds the label 7, .*3 classes \(0\.\.2\)' \
    'first at image 2 y=1 x=2' '2 pixels .* in 1 image' '^  hint: .*ignore_index'
refused 4 'NaN' "$(open nan.h5) $ce" 'nan.h5: logits are not finite' 'image 3 y=0 x=4' '1 pixel' '^  hint: .*nonfinite'
refused 4 'infinity' "$(open inf.h5) $ce" 'inf.h5: logits are not finite' 'image 2 y=0 x=4' '3 pixels'
for threads in 1 3; do
    "$B" --threads $threads -e "$(open inf.h5) $ce" 2>e$threads >o
done
cmp -s e1 e3; ok $? 'the same report for any number of threads'
"$B" verify nan.h5 >o 2>e; [ $? -eq 4 ]; ok $? 'verify'
cat >pcall.lua <<'L'
local d <close> = segx.open "nan.h5"
local good, e = pcall(segx.loss.ce {}, d)
assert(not good and e.code:lower() == "data" and e.hint:find "nonfinite", e)
local skip <close> = segx.open("nan.h5", {nonfinite = "skip"})
local r = segx.loss.ce {}(skip)
assert(r.value == r.value and r.stats.masked == 1)
L
"$B" pcall.lua; ok $? 'pcall gives the object; nonfinite = "skip" goes on and counts'

# -- mistakes in scripts: 1
refused 1 'wrong number of weights' "$(open good.h5) print(segx.loss.ce {weight = {1, 2}}(d))" \
    '^segx: script.lua:1: cross_entropy: weight: 2 values for 3 classes' '^  hint: '
refused 1 'parameter that does not exist' 'segx.loss.focal {gama = 2}' \
    "^segx: script.lua:1: focal: unknown parameter 'gama' \(did you mean 'gamma'\?\)" '^  known: .*gamma'
refused 1 'loss that does not exist' 'segx.loss.focl {}' "unknown loss 'focl' \(did you mean 'focal'" '^  known: '
refused 1 'class that does not exist' "$(open good.h5) segx.loss.dice {}:on {'tree'}(d)" "unknown class 'tree'" 'road, car, pole'
refused 1 'column that does not exist' "$(open good.h5) segx.sweep {dump = d, loss = segx.loss.ce {}, want = {'valu'}}" \
    "unknown column 'valu' \(did you mean 'value'" '^  known: '
refused 1 'option that does not exist' 'segx.open("good.h5", {laout = "NCHW"})' "unknown option 'laout' \(did you mean 'layout'"
refused 1 '< on a tensor' "$(open good.h5) print(d.logits < 1)" '^segx: script.lua:1: ' 'boolean' '^  hint: .*:lt'
refused 1 '== in where' "$(open good.h5) segx.where(d.labels == 1, 1, 2)" 'where: .*boolean' '^  hint: .*:eq'
refused 1 'no path' 'segx.open()' 'expected the path of a dump' '^  hint: '
refused 1 'dump that is closed' 'local d = segx.open "good.h5" d:close() print(segx.loss.ce {}(d))' '^segx: script.lua:1: .*closed'

# -- signals during a pass, which a GPU might end too soon
cat >long.lua <<'L'
local d <close> = segx.open "long.h5"
local gamma = segx.axis.lin("gamma", 0, 5, 20011)
io.stderr:write "going\n"
print(segx.sweep {dump = d, loss = segx.loss.focal {gamma = gamma, unit = "image"}, mem = 1000}:run())
L
cat >catch.lua <<'L'
local d <close> = segx.open "long.h5"
local gamma = segx.axis.lin("gamma", 0, 5, 20011)
io.stderr:write "going\n"
local refused = 0
for _ = 1, 50 do
  local good, e = pcall(function() segx.loss.focal {gamma = gamma}(d) end)
  if not good and tostring(e):find "interrupted" then refused = refused + 1 end
end
print(refused == 50 and "50 refused at the end" or refused)
L
# ended SCRIPT SIGNAL STATUS NAME
ended() {
    local pid s start stop i
    (trap - INT; exec "$B" --device cpu --threads 2 "$1" >o 2>e) &
    pid=$!
    for i in $(seq 100); do grep -q going e 2>/dev/null && break; sleep 0.1; done
    sleep 0.4
    if ! kill -"$2" $pid 2>/dev/null; then echo '# it was too quick'; fi
    start=$(date +%s%N)
    wait $pid
    s=$?
    stop=$(date +%s%N)
    echo "# status $s after $(((stop - start) / 1000000)) ms"
    [ $s -eq "$3" ] && [ $((stop - start)) -lt "${limit:-1000}000000" ] && [ ! -s o ] &&
        grep -qE '^segx: (interrupted|stopped)' e && [ -z "$(find . -name 'segx-*')" ]
    ok $? "$4"
}
if grep -q __asan_init "$B"; then limit=4000; fi
ended long.lua INT 130 'Ctrl-C during a pass: 130 within a second, nothing left behind'
ended long.lua TERM 75 'SIGTERM during a pass: 75'
# A script that catches the error: the evaluations that follow are refused too, so it ends soon.
(trap - INT; exec "$B" --device cpu --threads 2 catch.lua >o 2>e) &
pid=$!
for _ in $(seq 100); do grep -q going e 2>/dev/null && break; sleep 0.1; done
sleep 0.3
kill -INT $pid
wait $pid
grep -q '^50 refused at the end$' o; ok $? 'Ctrl-C caught by pcall: the passes that follow are refused'

finish
