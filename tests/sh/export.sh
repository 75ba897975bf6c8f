#!/bin/bash
# Exported losses in PyTorch: their self-tests, value and gradient in double and float32. Prints TAP. SEGX_TORCH: a
# Python with torch; without it the test is skipped. (tests/peers/run-export does the same and compiles them too.)
set -u
B=${SEGX_BIN:?the path of segx}
S=${SEGX_SOURCE:?the source tree}
if [ -z "${SEGX_TORCH:-}" ]; then
    echo "ok 1 - exported losses in PyTorch # SKIP SEGX_TORCH names no Python with torch"
    echo "1..1"
    exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$B" "$S/tests/peers/export_cases.lua" "$tmp" && "$SEGX_TORCH" "$S/tests/peers/export_torch.py" "$tmp"
