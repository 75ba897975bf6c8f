#!/bin/bash
# The portable program (cmake/Portable.cmake) in a root directory that holds libc, libm, a shell, and nothing else: it writes and reads HDF5
# with gzip, and draws. Only of that build. Prints TAP. SEGX_BIN: the program.
set -u
. "$(dirname "$0")/../tap.sh"
source=$(cd "$(dirname "$0")/../.." && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
needed() { readelf -d "$B" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
others=$(needed | grep -vE '^(libc|libm|ld-linux-x86-64)\.so\.[0-9]+$' | tr '\n' ' ')
is "$others" '' 'nothing but libc and libm is needed'

cd "$root" || exit 1
mkdir bin dev lib64 lib tmp tmp/hard
: >dev/null
cp "$B" segx
cp /bin/sh bin/          # an overlay's folder is made through the shell
printf '#!/bin/sh\n' >bin/mkdir
chmod +x bin/mkdir
for file in $(ldd segx bin/sh | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p'); do
    case $file in *ld-linux*) cp "$file" lib64/ ;; *) cp "$file" lib/ ;; esac
done
cp "$source/datasets/make_sample.lua" tmp
cat >tmp/draw.lua <<'L'
local d <close> = segx.open "/tmp/sample.h5"
local loss = segx.loss.focal {} + segx.loss.dice {}
print(("%a"):format(loss:eval(d).value))
loss:overlay(d, {what = "grad", out = "/tmp/hard"})
L
bare() {  # as root, or in a user namespace where one can be had
    if [ "$(id -u)" -eq 0 ]; then env -i /usr/sbin/chroot "$root" "$@"; else env -i unshare -r /usr/sbin/chroot "$root" "$@"; fi
}
if ! bare /segx -e '' 2>tmp/e; then
    if grep -q 'unshare\|chroot' tmp/e; then skip 'without its libraries' 'no other root directory can be had here'; finish; fi
    cat tmp/e
    ok 1 'it starts'; finish
fi
bare /segx --quiet /tmp/make_sample.lua /tmp/sample.h5 >tmp/o 2>&1; ok $? 'writes a dump'
bare /segx info /tmp/sample.h5 >tmp/o 2>&1; has tmp/o 'gzip\+shuffle' 'reads it: compressed with gzip'
bare /segx --quiet /tmp/draw.lua >tmp/o 2>tmp/e; ok $? 'evaluates and draws'
head -c 4 tmp/hard/*.png | grep -q PNG; ok $? 'a PNG file'
is "$(bare /segx -e 'local d <close> = segx.open "/tmp/sample.h5" local L = segx.loss
    print(("%a"):format((L.focal {} + L.dice {}):eval(d).value))')" "$(head -1 tmp/o)" 'the same number again'
echo 'print(6 * 7)' | bare /segx >tmp/o 2>tmp/e; has tmp/o '^42$' 'lines from standard input'
finish
