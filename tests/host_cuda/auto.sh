#!/bin/bash
# --device auto on the stand-in (libcuda.c, libnvrtc.c): large work takes the GPU, small work never looks for one, and whatever goes
# wrong there the numbers are the CPU's and the program ends well. Prints TAP.
set -u
. "$(dirname "$0")/begin.sh"
export FAKE_NVRTC_O=1

# Twice, for what happens after a failure.
cat >value.lua <<'L'
local segx, core = require "segx", require "segx.core"
local size = tonumber(os.getenv "SIZE" or 31)
local d = core.synthetic {n = 3, classes = 5, height = size, width = size, seed = 5}
local loss = segx.loss.dice {} + segx.loss.focal {gamma = segx.axis.grid("gamma", {0, 1, 1.3, 2, 2.5, 3, 4, 5})}
for i = 1, 2 do
  local seen = {}
  local r = loss:eval(d, {precision = os.getenv "PRECISION", progress = os.getenv "SEE" and function(_, _, _, _, gpu)
    seen[gpu and "gpu" or "cpu"] = true
    return true
  end})
  local list = {}
  for k, v in ipairs(r.value:totable()) do list[k] = ("%a"):format(v) end
  print(table.concat(list, " "))
  io.stderr:write(("%d: on_gpu %s on_cpu %s%s%s\n"):format(i, r.stats.on_gpu, r.stats.on_cpu, seen.gpu and " seen-gpu" or "",
    seen.cpu and " seen-cpu" or ""))
end
L
"$B" --device cpu value.lua >want 2>/dev/null || { ok 1 "the CPU's numbers"; echo "1..$n"; exit 1; }
PRECISION=double "$B" --device cpu value.lua >want.double 2>/dev/null
same() { cmp -s o "${1:-want}"; }
notes() { is "$(grep -c 'segx: note' e)" "$1" "$2: $1 notes"; }

# -- Nothing there: nothing is said
export SEGX_GPU_SECONDS=0
run 0 '*' '1: on_gpu 0 on_cpu 1' 'no driver' -- value.lua
same; ok $? 'no driver: the numbers'
notes 0 'no driver'
run 0 '--device auto +the CPU: NVIDIA.s driver was not found' '' 'no driver: doctor says so' -- doctor
export LD_LIBRARY_PATH=$H FAKE_CUDA_LOG=$tmp/log
FAKE_CUDA_DEVICES=0 run 0 '*' '1: on_gpu 0 on_cpu 1' 'no GPU' -- value.lua
same; ok $? 'no GPU: the numbers'
notes 0 'no GPU'

mkdir broken
echo x >broken/libcuda.so.1
LD_LIBRARY_PATH=$tmp/broken run 0 '*' "segx: note: on the CPU: NVIDIA's driver cannot be opened: .*file too short" 'a broken driver: a note' -- value.lua
same; ok $? 'a broken driver: the numbers'

# -- Who looks for a GPU
export SEGX_NVRTC=$H/libnvrtc.so.12
unset SEGX_GPU_SECONDS
rm -f log
run 0 '*' '1: on_gpu nil on_cpu nil' 'small work: the CPU' -- value.lua
[ ! -e log ]; ok $? 'small work: the driver is not opened'
SEGX_GPU_SECONDS=0 run 0 '*' '1: on_gpu nil' '--device cpu' -- --device cpu value.lua
SEGX_GPU_SECONDS=inf run 0 '*' '1: on_gpu nil' 'never' -- value.lua
[ ! -e log ]; ok $? 'not asked for: the driver is not opened'
for given in '' '--device auto' '--mode fast'; do
    SEGX_GPU_SECONDS=0 run 0 '*' '1: on_gpu 1 on_cpu 0' "large work: the GPU $given" -- $given value.lua
    same; ok $? "large work: the bits of the CPU $given"
    notes 0 "large work $given"
done
SEE=1 SEGX_GPU_SECONDS=0 run 0 '*' '1: on_gpu 1 on_cpu 0 seen-gpu$' 'progress says so' -- value.lua
PRECISION=double SEGX_GPU_SECONDS=0 run 0 '*' '1: on_gpu 1 on_cpu 0' 'double precision' -- value.lua
same want.double; ok $? 'double precision: the bits of the CPU'
run 0 '--device auto +cuda:0 for passes that take the CPU 2 s or more' '' 'doctor' -- doctor
SEGX_GPU_SECONDS=inf run 0 '--device auto +the CPU: SEGX_GPU_SECONDS=inf' '' 'doctor: never' -- doctor

# -- In the middle of a walk, and back if that was no good: the stand-in is slow
SIZE=1200 "$B" --device cpu --threads 2 value.lua >big 2>/dev/null
SIZE=1200 SEGX_GPU_SECONDS=0.02 run 0 '*' '1: on_gpu 1 on_cpu [01]' 'in the middle of a walk' -- --threads 2 value.lua
same big; ok $? 'in the middle of a walk: the bits of the CPU'
sed 's/^/# /' e

# -- What fails: a note, once, and the CPU from then on
export SEGX_GPU_SECONDS=0
fails() {  # fails NAME NOTE: the environment makes the GPU fail
    run 0 '*' "segx: note: on the CPU: .*$2" "$1: a note" -- value.lua
    same; ok $? "$1: the numbers"
    notes 1 "$1"
    has e '2: on_gpu 0 on_cpu 1' "$1: the CPU from then on"
    run 0 '*' '*' "$1, --quiet" -- --quiet value.lua
    notes 0 "$1, --quiet"
}
SEGX_NVRTC=$tmp/none SEGX_CUDA_CACHE=off fails 'no NVRTC' 'SEGX_NVRTC: there is no file'
FAKE_NVRTC_FAIL=6 SEGX_CUDA_CACHE=off fails 'NVRTC fails' 'refused by the stand-in'
FAKE_CUDA_FAIL=1:cuDevicePrimaryCtxRetain:2 fails 'no context' 'primary_retain'
FAKE_CUDA_FAIL=3:cuLaunchKernel fails 'a launch fails' 'launch'
FAKE_CUDA_WRONG=1 fails 'a bit is wrong' 'does not compute what the CPU does: in single precision'
FAKE_CUDA_WRONG=1 run 0 'self check +FAILED: .* not 0x' '' 'a bit is wrong: doctor says so' -- doctor
has o '--device auto +the CPU: ' 'a bit is wrong: auto is the CPU'
FAKE_CUDA_WRONG=1 run 0 '*' '' 'a bit is wrong: --device cuda computes all the same' -- --device cuda -e 'print(1)'

rm -f log
run 0 '*' '*' 'how many calls' -- value.lua
calls=$(awk '{ print $2 }' log)
good=0 noted=0
for ((i = 1; i <= calls; i++)); do
    rm -f log
    FAKE_CUDA_FAIL=$i "$B" value.lua >o 2>e
    s=$?
    [ $s -eq 0 ] && same && [ "$(grep -c note e)" -le 1 ] || { good=1; echo "# call $i: status $s"; sed 's/^/#   /' e; }
    grep -q note e && noted=$((noted + 1))
    [ ! -s log ] || grep -q 'left 0$' log || { good=1; echo "# call $i: memory stays: $(cat log)"; }
done
echo "# of $calls calls $noted with a note"
[ "$noted" -gt 20 ] || good=1
ok $good 'every call fails once: the numbers, at most one note'
FAKE_CUDA_MEMORY=1000 run 0 '*' 'on_cpu 1' 'no memory there' -- value.lua
same; ok $? 'no memory there: the numbers'

# -- NVIDIA's own NVRTC beside this driver, which does not take its code
mkdir driver
ln -s "$H/libcuda.so.1" driver/
export -n SEGX_NVRTC
if [ -z "$real" ]; then real=$(LD_LIBRARY_PATH=$tmp/driver "$B" -e 'print(require "segx.core".device(0).nvrtc)'); fi
if [ -n "$real" ]; then
    export LD_LIBRARY_PATH=$tmp/driver SEGX_NVRTC=$real SEGX_CUDA_CACHE=off
    run 0 '*' 'segx: note: on the CPU: .*CUDA_ERROR_NO_BINARY_FOR_GPU' 'code of the real NVRTC' -- value.lua
    same; ok $? 'code of the real NVRTC: the numbers'
    run 5 '' 'CUDA_ERROR_NO_BINARY_FOR_GPU' 'code of the real NVRTC, --device cuda' -- --device cuda value.lua
    unset SEGX_CUDA_CACHE
else
    skip 'code of the real NVRTC' 'there is none'
fi
export LD_LIBRARY_PATH=$H SEGX_NVRTC=$H/libnvrtc.so.12

# -- Plans, gradients, run folders
cat >sweep.lua <<'L'
local segx = require "segx"
local d = segx.open "d.h5"
local s = segx.sweep {dump = d, loss = segx.loss.focal {gamma = segx.axis.grid("gamma", {0, 1, 2})}, intervals = false, out = arg[1]}
if not arg[1] then
  local p = s:plan()
  print(p.device, p.kernels, p.by_itself)
  print(p)
  return
end
local r = s:run()
for row in r:rows() do print(("%a"):format(row.value)) end
print(segx.loss.focal {}:write_grad(d, arg[1] .. "/grad.h5", {dtype = "float64"}))
L
make_dump
run 0 'on cuda:0: 1 pass; the time above' '' 'the plan says so' -- sweep.lua
has o '^cuda:0.1.true' 'the plan has it'
FAKE_CUDA_WRONG=1 run 0 'on the CPU: .* does not compute' '*' 'the plan says why not' -- sweep.lua
SEGX_GPU_SECONDS=2 run 0 '^cpu.nil.nil' '' 'a small plan: the CPU' -- sweep.lua
! grep -q '^on ' o; ok $? 'a small plan: not a word about devices'
run 0 '*' '*' 'a folder from the CPU' -- --device cpu sweep.lua cpu
cp o rows
rm -f log
run 0 '*' '' 'a folder of its own' -- --quiet sweep.lua auto
same rows; ok $? 'a folder of its own: the same rows'
[ -s log ] && ! grep -q 'launches 0 ' log; ok $? 'which come from the GPU'
cmp -s cpu/results.csv auto/results.csv; ok $? 'the same results.csv'
cmp -s cpu/grad.h5 auto/grad.h5; ok $? 'the same gradients'
rm -f log
run 0 '*' '3 rows; sums of 4 cells found, 0 computed' "the CPU's folder is good for it" -- sweep.lua cpu
same rows; ok $? "the CPU's folder is good for it: the same rows"

finish
