# begin.sh: sourced by the shell tests on the stand-in (libcuda.c, libnvrtc.c): an empty folder to work in, and nothing of the caller's
# settings but SEGX_NVRTC, as $real. SEGX_BIN: the program, as $B; SEGX_HOST_CUDA: folder of the stand-ins, as $H.
. "$(dirname "$0")/../tap.sh"
H=${SEGX_HOST_CUDA:?the folder of the stand-ins}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
export TMPDIR=$tmp COLUMNS=100 XDG_STATE_HOME=$tmp XDG_CACHE_HOME=$tmp/xdg ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0
real=${SEGX_NVRTC:-}
unset SEGX_LUA NO_COLOR LUA_INIT LUA_INIT_5_4 SEGX_CUDA_CACHE SEGX_NVRTC SEGX_GPU_SECONDS LD_LIBRARY_PATH

make_dump() {  # d.h5: three images of 9 x 11 pixels, three classes
    cat >make.lua <<'L'
local w = require "segx".write_dump("d.h5", {n = 3, classes = 3, dims = {9, 11}})
for i = 1, 3 do
  local x, y = {}, {}
  for p = 1, 297 do x[p] = p * i % 17 / 4 end
  for p = 1, 99 do y[p] = p % 3 end
  w:write(i, x, y)
end
w:finish()
L
    "$B" make.lua || ok 1 'a dump is made'
}
