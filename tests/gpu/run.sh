#!/bin/bash
# tests/gpu/run.sh [OUT.md [STEP...]]: on a machine with an NVIDIA GPU: does it give the CPU's bits, and how fast is it? Writes one dated
# table (default docs/gpu-DATE.md, with the raw figures beside it: OUT.bench.tsv, OUT.peers.tsv), line by line, so that a run that
# is cut off leaves what it had. Three minutes on 16 cores; every step has a limit, and the others go on without one that fails.
#
#   start        time to the first value of a new loss, with an empty cache of kernels and from the cache
#   correct      the suites of the CPU's numbers, bit for bit (mode exact), test_device.lua, compute-sanitizer where it is installed;
#                side by side, a process for each core; the kernels of the bench are compiled there, too
#   bench        bench.lua: share of the memory's bandwidth
#   peers        peers.py: the same in PyTorch, and its times over ours; left out where python3 has no torch
#
# SEGX: the program (else build/release/segx, which is built where it is missing; tools/portable makes one for a machine without Lua
# and HDF5). SEGX_COMMIT: what to call it (else git says). PYTHON: another python3. For trials: SEGX_GPU_BENCH="bytes=2M
# size=64x128" (options of bench.lua), SEGX_GPU_PEERS="--device cpu".
set -u
cd "$(dirname "$0")/../.." || exit 2
out=${1:-docs/gpu-$(date +%F).md}
shift
steps=${*:-start correct bench peers}
segx=${SEGX:-build/release/segx} python=${PYTHON:-python3}
if [ -z "${SEGX:-}" ] && [ ! -x "$segx" ]; then
    cmake --preset release -DSEGX_TESTS=ON >/dev/null && cmake --build --preset release -j "$(nproc)" || exit 2
fi
"$segx" --version >/dev/null || { echo "no program $segx" >&2; exit 2; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export segx tmp SEGX_SOURCE=$PWD SEGX_TMP=$tmp SEGX_CUDA_CACHE=$tmp/kernels
bench=${out%.md}.bench.tsv peers=${out%.md}.peers.tsv
mkdir -p "$(dirname "$out")"
exec 3>&1 > >(tee "$out" >&3) 2>&1
tee=$!
: >"$tmp/failed"

# limited NAME SECONDS COMMAND...: a failure is noted; output as it comes.
limited() {
    local name=$1 limit=$2 status
    shift 2
    timeout -k 5 "$limit" "$@"
    status=$?
    [ $status -ne 0 ] || return 0
    [ $status -ne 124 ] && [ $status -ne 137 ] || echo "($name: cut off after $limit s)"
    echo "$name (status $status)" >>"$tmp/failed"
    return $status
}

header() {
    echo "# On a GPU, $(date +%F)"
    echo
    echo "| | |"
    echo "|---|---|"
    limited "the card" 60 "$segx" --quiet --device cuda tests/gpu/start.lua card
    if command -v nvidia-smi >/dev/null; then
        local fields=driver_version,clocks.max.sm,clocks.max.mem,power.limit,ecc.mode.current
        echo "| $fields | $(timeout 20 nvidia-smi --query-gpu=$fields --format=csv,noheader | head -1) |"
    fi
    echo "| date, commit | $(date '+%F %H:%M'), ${SEGX_COMMIT:-$(git rev-parse --short HEAD 2>/dev/null || echo unknown)} |"
    echo "| machine | $(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'), $(nproc) cores, $(ldd --version | head -1) |"
    echo "| program | $("$segx" --version) |"
    echo
    limited doctor 90 "$segx" doctor | sed 's/^/    /'
}

# -- start ---------------------------------------------------------------------------------------------

once() {  # a line of start.lua and the milliseconds of the whole program
    local begin
    begin=$(date +%s%N)
    limited start 60 "$segx" --quiet --device cuda --mode fast tests/gpu/start.lua | tr '\n' '\t'
    echo "$((($(date +%s%N) - begin) / 1000000))"
}
medians() {  # WHAT FILE: of the starts that came to their end
    local column n row="| $1 |"
    n=$(grep -c $'\t.*\t' "$2")
    for column in 1 2 3 4 5; do row+=" $(grep $'\t.*\t' "$2" | cut -f "$column" | sort -n | sed -n "$(((n + 1) / 2))p") |"; done
    if [ "$n" -gt 0 ]; then echo "$row"; else echo "| $1 | FAILED | | | | |"; fi
}
start() {
    local i
    echo "One image, 19 classes, 256x512, float16, mode fast; milliseconds, medians of 3 and 5 starts of the program. Goals for the first value:"
    echo "500 ms where its kernel must be compiled, 20 ms where the kernel is in the cache."
    echo
    echo "| | opening the GPU | first value | first value of another loss | again | whole program |"
    echo "|---|--:|--:|--:|--:|--:|"
    for i in 1 2 3; do SEGX_CUDA_CACHE=$tmp/cold$i once; done >"$tmp/cold"
    medians "cache empty" "$tmp/cold"
    for i in 1 2 3 4 5; do SEGX_CUDA_CACHE=$tmp/cold1 once; done >"$tmp/warm"
    medians "from the cache" "$tmp/warm"
}

# -- correct -------------------------------------------------------------------------------------------

job() {  # one of the jobs that run side by side: a row of the table, and of what failed its words
    local name=$1 log status counts begin=$SECONDS
    log=$tmp/$(tr -c 'a-z0-9\n' _ <<<"$1").log
    set -- $1
    case $1 in
        suite) SEGX_SHARD=$3 timeout -k 5 100 "$segx" --quiet --device cuda --mode exact tests/lua/harness.lua \
            "tests/lua/test_$2.lua" ;;
        device) SEGX_SHARD=$2 timeout -k 5 100 "$segx" --quiet tests/lua/harness.lua tests/host_cuda/test_device.lua ;;
        compile) timeout -k 5 100 "$segx" --quiet --device cuda tests/gpu/bench.lua compile=yes "cases=$2" ;;
        *) timeout -k 5 90 "$sanitizer" --tool "$1" --error-exitcode 9 "$segx" --quiet --device cuda --mode exact \
            ${2:+tests/lua/harness.lua} "tests/${2:-gpu/race.lua}" ;;
    esac >"$log" 2>&1
    status=$?
    case $1 in
        suite | device) counts=$(grep ' passed, ' "$log" || echo "$(grep -c '^ok' "$log") passed so far") ;;
        compile) counts= ;;
        *) counts=$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | sed 's/^=* *//' | tr '\n' ' ') ;;
    esac
    [ $status -ne 124 ] && [ $status -ne 137 ] || counts="cut off; $counts"
    [ $status -eq 0 ] || { counts="FAILED, status $status; $counts"; echo "$name (status $status)" >>"$tmp/failed"; }
    echo "| $name | $counts | $((SECONDS - begin)) s |"
    [ $status -eq 0 ] || { echo "$name:"; grep -A4 -E '^not ok|^segx:|^=====.*(Invalid|Error|hazard|Barrier)' "$log" | cut -c1-300 | head -40; } >>"$tmp/words"
}
shards() { local k; for ((k = 1; k <= $2; k++)); do echo "$1 $k/$2"; done; }   # WHAT HOW_MANY
jobs_list() {
    shards 'suite grad' 8
    shards 'suite reference' 4
    shards device 3
    local c
    for c in 19:float16 19:float32 2:float16 2:float32 150:float16 150:float32; do echo "compile $c"; done
    shards 'suite losses' 3
    shards 'suite bits' 3
    for c in fields tensor sweep metrics dump; do echo "suite $c 1/1"; done
    [ -z "$sanitizer" ] || printf '%s\n' memcheck racecheck synccheck 'memcheck lua/test_tensor.lua'
}
correct() {
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    export sanitizer
    export -f job
    [ -n "$sanitizer" ] || echo "compute-sanitizer is not installed."
    : >"$tmp/words"
    echo "Suites of the CPU's numbers, mode exact, in parts, side by side; compile: the kernels of the bench."
    echo
    echo "| part | | |"
    echo "|---|---|--:|"
    jobs_list | xargs -P "$(($(nproc) > 4 ? $(nproc) + 8 : $(nproc)))" -I {} bash -c 'job "$1"' _ {}
    [ ! -s "$tmp/words" ] || { echo; sed 's/^/    /' "$tmp/words"; }
}

# -- bench, peers --------------------------------------------------------------------------------------

bench() {
    # shellcheck disable=SC2086  # options, separated by spaces
    limited bench 120 "$segx" --quiet --device cuda tests/gpu/bench.lua seconds=90 "figures=$bench" ${SEGX_GPU_BENCH:-}
}

peers() {
    local status
    [ -s "$bench" ] || { echo "no figures of bench to compare with"; return; }
    command -v "$python" >/dev/null || { echo "left out: no $python"; return; }
    # shellcheck disable=SC2086
    TORCHINDUCTOR_CACHE_DIR=$tmp/inductor TRITON_CACHE_DIR=$tmp/triton timeout -k 5 150 "$python" tests/gpu/peers.py \
        --figures "$bench" --out "$peers" --seconds 130 ${SEGX_GPU_PEERS:-} >"$tmp/peers.log" 2>&1
    status=$?
    if [ $status -eq 77 ]; then echo "left out: $(tail -1 "$tmp/peers.log")"; return; fi
    [ $status -eq 0 ] || { echo "peers (status $status)" >>"$tmp/failed"; tail -5 "$tmp/peers.log" | cut -c1-300 | sed 's/^/    /'; }
    echo "$(sed -n 's/^# //p' "$peers"); the ratio is the faster of eager and compiled over segx (tests/gpu/peers.py says what is timed)."
    echo
    limited ratios 20 "$segx" tests/gpu/ratios.lua "$bench" "$peers"
}

header
for step in $steps; do
    echo
    echo "## $step ($SECONDS s after the start)"
    echo
    "$step"
done
echo
if [ -s "$tmp/failed" ]; then echo "FAILED:"; sed 's/^/* /' "$tmp/failed"; else echo "Everything ran; $SECONDS s."; fi
failed=$(wc -l <"$tmp/failed")
exec >&3 2>&1
wait $tee
[ "$failed" -eq 0 ]
