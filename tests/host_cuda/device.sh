#!/bin/bash
# What goes wrong with a GPU, on the stand-in (libcuda.c, libnvrtc.c): nothing found, every call failing once, little memory, a cache
# that is damaged; run folders; doctor. Prints TAP.
set -u
. "$(dirname "$0")/begin.sh"
export FAKE_NVRTC_O=0

cat >value.lua <<'L'
local segx, core = require "segx", require "segx.core"
local size = tonumber(os.getenv "SIZE" or 211)
local d = core.synthetic {n = 3, classes = 5, height = size, width = size, seed = 5}
local loss = segx.loss.dice {} + segx.loss.focal {gamma = segx.axis.grid("gamma", {0, 1, 1.3, 2, 2.5, 3, 4, 5})}
local r = loss:eval(d)
local list = {}
for i, v in ipairs(r.value:totable()) do list[i] = ("%a"):format(v) end
local c = core.device_counts() or {}
print(table.concat(list, " "))
io.stderr:write(("compiled %s from_cache %s split %s evicted %s on_gpu %s on_cpu %s\n"):format(c.compiled, c.from_cache, c.split,
  c.evicted, r.stats.on_gpu, r.stats.on_cpu))
L
"$B" --device cpu value.lua >want 2>/dev/null || { ok 1 "the CPU's numbers"; echo "1..$n"; exit 1; }
same() { cmp -s o want; }

# -- Nothing there
run 5 '' "NVIDIA's driver was not found" 'no driver' -- --device cuda value.lua
run 0 'GPU +none: ' '' 'no driver: doctor says so' -- doctor
export LD_LIBRARY_PATH=$H
FAKE_CUDA_DEVICES=0 run 5 '' 'no GPU can be used' 'no GPU' -- --device cuda value.lua
run 5 '' 'there is no GPU 3: the driver sees 1' 'a number too large' -- --device cuda:3 value.lua
SEGX_NVRTC=$tmp/none run 5 '' 'SEGX_NVRTC: there is no file' 'no NVRTC' -- --device cuda value.lua
export SEGX_NVRTC=$H/libnvrtc.so.12
FAKE_NVRTC_FAIL=6 run 5 '' 'refused by the stand-in' "NVRTC's message" -- --device cuda value.lua
FAKE_NVRTC_FAIL=7 run 5 '' 'libnvrtc-builtins' 'NVRTC without its builtins' -- --device cuda value.lua
FAKE_CUDA_DEVICES=2 run 0 'cuda:1 self check +ok' '' 'doctor' -- doctor

# -- Cache
cache=$tmp/xdg/segx/cuda
rm -rf "$cache"
run 0 '*' 'compiled 1 from_cache 0' 'first time' -- --device cuda value.lua
same; ok $? 'the bits of the CPU'
run 0 '*' 'compiled 0 from_cache 1' 'from the cache' -- --device cuda value.lua
same; ok $? 'from the cache: the same'
entry=$(ls "$cache"/*.cubin)
[ "$(stat -c %a "$cache")" = 700 ]; ok $? 'the folder is private'
damage() {  # damage NAME COMMAND...
    local name=$1
    shift
    "$@"
    run 0 '*' 'compiled 1' "cache: $name: compiled again" -- --device cuda value.lua
    same; ok $? "cache: $name: the same"
    run 0 '*' 'compiled 0 from_cache 1' "cache: $name: mended" -- --device cuda value.lua
}
damage 'a byte changed' sh -c "printf X | dd of='$entry' bs=1 seek=3000 conv=notrunc 2>/dev/null"
damage 'cut short' truncate -s 2000 "$entry"
damage 'empty' truncate -s 0 "$entry"
damage 'of another format' sh -c "printf 'SEGXCUB0' | dd of='$entry' conv=notrunc 2>/dev/null"
damage 'gone' rm "$entry"
FAKE_CUDA_CC=75 run 0 '*' 'compiled 1' 'another architecture has its own entry' -- --device cuda value.lua
FAKE_CUDA_CC=121 run 0 '*' 'compiled 1' 'newer than NVRTC knows' -- --device cuda value.lua
SEGX_CUDA_CACHE=off run 0 '*' 'compiled 1 from_cache 0' 'no cache' -- --device cuda value.lua
: >file
SEGX_CUDA_CACHE=$tmp/file/x run 0 '*' 'compiled 1 from_cache 0' 'a cache that cannot be written' -- --device cuda value.lua
same; ok $? 'a cache that cannot be written: the same'
rm -rf "$cache"
for i in 1 2 3; do "$B" --device cuda value.lua >o$i 2>/dev/null & done
wait
cmp -s o1 want && cmp -s o2 want && cmp -s o3 want; ok $? 'three processes at once'
[ "$(ls "$cache" | grep -c tmp)" = 0 ]; ok $? 'no temporary files stay'
run 0 '*' 'compiled 0 from_cache 1' 'three processes: one entry' -- --device cuda value.lua

# -- Memory: the same numbers, in smaller steps or on the CPU
for m in 1000 100000 1000000 2000000 4000000 6000000 12000000 30000000; do
    FAKE_CUDA_MEMORY=$m "$B" --device cuda value.lua >o 2>e
    s=$?
    [ $s -eq 0 ] && same; ok $? "$m bytes of memory ($(tail -1 e))"
done
grep -q 'on_cpu 0' e; ok $? 'enough memory: the GPU does it all'

cat >long.lua <<'L'
local segx, core = require "segx", require "segx.core"
local d = core.synthetic {n = 2, classes = 5, height = 190, width = 190, seed = 5}
local A = segx.axis
local r = segx.loss.focal {gamma = A.lin("gamma", 0, 5, 300), weight = A.vectors("w", {{1, 2, 3, 4, 5}, {1, 1, 1, 1, 1}})}:eval(d)
for _, row in ipairs(r.value:totable()) do for _, v in ipairs(row) do print(("%a"):format(v)) end end
io.stderr:write("on_cpu ", tostring(r.stats.on_cpu), "\n")
L
"$B" --device cpu long.lua >long 2>/dev/null
FAKE_CUDA_MEMORY=4000000 run 0 '*' 'on_cpu 0' '300 gammas in 4 MB: a part of the sweep at a time' -- --device cuda long.lua
[ -s long ] && cmp -s o long; ok $? '300 gammas in 4 MB: the same'

# -- Many batches: uploads of the next one while kernels are under way
export FAKE_CUDA_LOG=$tmp/log
SIZE=400 "$B" --device cpu value.lua >want 2>/dev/null
rm -f log
SIZE=400 FAKE_CUDA_MEMORY=16000000 FAKE_CUDA_ASYNC=0 run 0 '*' 'on_cpu 0' 'a dump in batches' -- --device cuda value.lua
same; ok $? 'a dump in batches: the same'
has log 'overlapped [1-9]' 'a dump in batches: they overlap'

# -- What an evaluation of a resident dump costs
cat >again.lua <<'L'
local segx, core = require "segx", require "segx.core"
local d = core.synthetic {n = 3, classes = 5, height = 40, width = 40}
local t = segx.loss.dice {}:tensor(d)
for _ = 1, 1 + os.getenv "TIMES" do core.eval(d, {t}) end
L
count() { rm -f log; TIMES=$1 "$B" --device cuda again.lua && awk '{ print $2 }' log; }
calls=$(count 0)
is "$(($(count 10) - calls))" 130 'calls of the driver in ten evaluations of a resident dump'

# -- Every call fails once: a message and status 5, or the right numbers; nothing is left behind
each() {  # each CALLS WHAT NAME: FAKE_CUDA_FAIL=i:WHAT
    local good=0 i s right=0 said=0
    for ((i = 1; i <= $1; i++)); do
        rm -f log
        FAKE_CUDA_FAIL=$i:$2 "$B" --device cuda value.lua >o 2>e
        s=$?
        if [ $s -eq 0 ] && same; then right=$((right + 1))
        elif [ $s -eq 5 ] && [ ! -s o ] && grep -qE 'GPU|cuDriver' e; then said=$((said + 1))
        else good=1; echo "# call $i: status $s"; sed 's/^/#   /' e; fi
        [ ! -s log ] || grep -q 'left 0$' log || { good=1; echo "# call $i: memory stays: $(cat log)"; }
    done
    echo "# of $1 calls $right with the right numbers, $said with a message"
    [ $right -gt 0 ] || good=1
    ok $good "$3"
}
small() {  # small NAME: all of that for a dump of this SIZE
    "$B" --device cpu value.lua >want 2>/dev/null
    rm -f log
    "$B" --device cuda value.lua >o 2>e
    same; ok $? "$1"
    each "$(awk '{ print $2 }' log)" :999 "$1: every call fails once"
    each "$2" cuMemAlloc_v2:2 "$1: memory is short once, at every allocation"
}
SIZE=17 small 'a small dump' 8
SIZE=100 FAKE_CUDA_MEMORY=900000 small 'three batches and too little memory' 10
unset FAKE_CUDA_LOG

# -- Run folders: exact has the CPU's bits and shares them, fast does not
cat >sweep.lua <<'L'
local segx, core = require "segx", require "segx.core"
local d = segx.open "d.h5"
local r = segx.sweep {dump = d, loss = segx.loss.focal {gamma = segx.axis.grid("gamma", {0, 1, 2})}, intervals = false, out = arg[1]}:run()
for row in r:rows() do print(("%a"):format(row.value)) end
io.stderr:write(("cells found %d new %d\n"):format(r.stats.cells_found, r.stats.cells_new))
L
make_dump
run 0 '*' 'cells found 0 new 4' 'a folder from the CPU' -- --quiet --device cpu sweep.lua out
cp o rows
run 0 '*' 'cells found 4 new 0' 'exact: found on the GPU' -- --quiet --device cuda sweep.lua out
cmp -s o rows; ok $? 'exact: the same rows'
run 3 '' 'made with bits exact, now fast' 'fast: refused' -- --quiet --device cuda --mode fast sweep.lua out
run 0 '*' 'cells found 0 new 4' 'fast: a folder of its own' -- --quiet --device cuda --mode fast sweep.lua fast
run 3 '' 'made with bits fast, now exact' 'fast: not the CPU' -- --quiet --device cpu sweep.lua fast

finish
