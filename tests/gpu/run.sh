#!/bin/bash
# tests/gpu/run.sh [OUT.md]: on a machine with an NVIDIA GPU. The suites of the CPU's numbers run on it, bit for bit (exact mode),
# then compute-sanitizer on one of them where it is installed, then the bench in both modes; all of it goes into one dated table
# (default: docs/gpu-DATE.md). SEGX: the program (else build/release/segx, which is built where it is missing). SEGX_GPU_SIZE: size of
# the bench's dumps.
set -u
cd "$(dirname "$0")/../.." || exit 2
out=${1:-docs/gpu-$(date +%F).md}
segx=${SEGX:-build/release/segx}
if [ ! -x "$segx" ]; then
    cmake --preset release -DSEGX_TESTS=ON >/dev/null && cmake --build --preset release -j "$(nproc)" || exit 2
fi
SEGX_SOURCE=$PWD SEGX_TMP=$(mktemp -d)
export SEGX_SOURCE SEGX_TMP
trap 'rm -rf "$SEGX_TMP"' EXIT
failed=0
suite() { # name, file, options of segx
    local log=$SEGX_TMP/log counts
    "$segx" --quiet "${@:3}" tests/lua/harness.lua "$2" >"$log" 2>&1 || failed=1
    counts=$(tail -1 "$log")
    echo "| $1 | $counts |"
    grep -A3 '^not ok' "$log" | sed 's/^/    /'
}
{
    echo "# On a GPU, $(date +%F)"
    echo
    "$segx" doctor
    echo
    echo "| suite, exact mode | |"
    echo "|---|---|"
    for name in reference bits losses tensor grad sweep metrics dump; do
        suite "$name" "tests/lua/test_$name.lua" --device cuda --mode exact
    done
    suite "device (exact and fast)" tests/host_cuda/test_device.lua
    if command -v compute-sanitizer >/dev/null; then
        compute-sanitizer --error-exitcode 9 "$segx" --quiet --device cuda --mode exact tests/lua/harness.lua tests/lua/test_tensor.lua \
            >"$SEGX_TMP/san" 2>&1 || failed=1
        echo "| compute-sanitizer, tensor | $(grep 'ERROR SUMMARY' "$SEGX_TMP/san" | tail -1 | sed 's/^=* *//') |"
    else
        echo "| compute-sanitizer | not installed |"
    fi
    for mode in exact fast; do
        echo
        echo "## $mode"
        "$segx" --quiet --device cuda --mode $mode tests/gpu/bench.lua ${SEGX_GPU_SIZE:+"$SEGX_GPU_SIZE"} || failed=1
    done
} | tee "$out"
[ $failed -eq 0 ] || echo "something failed: see above"
exit $failed
