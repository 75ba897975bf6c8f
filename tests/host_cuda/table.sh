#!/bin/bash
# tests/gpu/run.sh, which is made for a machine that is lent for minutes: on the stand-in it runs to its end, and a step that fails
# does not stop the others. Prints TAP. SEGX_BIN: the program; the environment is that of the tests on the stand-in.
set -u
. "$(dirname "$0")/../tap.sh"
source=$(cd "$(dirname "$0")/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
export SEGX_GPU_BENCH="bytes=64K size=32x32 repeats=1 cases=19:float16" SEGX_COMMIT=some PYTHON=no-such-python
unset SEGX_LUA LUA_INIT LUA_INIT_5_4

SEGX=$B bash "$source/tests/gpu/run.sh" "$tmp/t.md" start bench peers >o 2>e
is $? 0 'it runs to its end'
cmp -s o t.md; ok $? 'the table is what was printed'
has t.md '^\| copy bandwidth \| [0-9]+ GB/s' 'copy bandwidth'
has t.md '^\| from the cache \| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \| [0-9]+ \|$' 'time to the first value'
is "$(grep -cE '^\| (cross entropy|focal|Dice|Dice \+ focal)(, gradient)? \| [0-9.]+ \|.*% \| >= [0-9]+ % \| [0-9.]+ \|' t.md)" 7 \
    'bench: seven lines with a share of the copy'
has t.md 'left out: no no-such-python' 'no Python: left out'
is "$(wc -l <t.bench.tsv)" 18 'the figures again'

# The ratios, of given figures.
printf '%s\t%s\t%s\t%s\t%s\t%s\n' 19 float16 focal eager 12 1 19 float16 focal compiled 3 0.5 \
    19 float16 '100 gammas, loop' eager 900 1 19 float16 '100 gammas, loop' compiled '' 'TimeoutError: out of time' >p.tsv
printf '19\tfloat16\t%s\tfast\t%s\t1\t2\t3\n' focal 1.5 '100 gammas' 9 >b.tsv
"$B" "$source/tests/gpu/ratios.lua" b.tsv p.tsv >o 2>e
has o '\| focal \| 12.000 \| 3.000 \| 1.500 \| 2.0x \| >= 1.5 \|  \|  \|' 'ratio: to the faster of both'
has o 'loop \| 900.000 \|  \| 9.000 \| 100.0x, eager only \| >= 50 \|' 'ratio: one of them is missing, and it says so'
has o 'compiled: memory was short: measured on 0.5 of the images' 'ratio: fewer images'
has o 'compiled: TimeoutError: out of time' 'ratio: why it is missing'

# One step fails.
cat >broken <<S
#!/bin/sh
case "\$*" in *start.lua) exit 7 ;; esac
exec "$B" "\$@"
S
chmod +x broken
SEGX=$tmp/broken bash "$source/tests/gpu/run.sh" "$tmp/f.md" start peers >o 2>e
is $? 1 'a step fails: status 1'
has f.md '^\* start \(status 7\)' 'and it says which'
has f.md '^\| cache empty \| FAILED' 'no figure is made of nothing'
has f.md 'no figures of bench' 'the next step runs'
finish
