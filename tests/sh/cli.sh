#!/bin/bash
# Options, exit statuses and typed lines of the program. Prints TAP. SEGX_BIN: the program.
set -u
. "$(dirname "$0")/../tap.sh"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
export XDG_STATE_HOME=$tmp/state COLUMNS=80
unset SEGX_LUA NO_COLOR LUA_INIT LUA_INIT_5_4

# -- as lua
run 0 '^2$' '' 'statement' -- -e 'print(1 + 1)'
run 0 '^3$' '' 'statement joined to the option' -- '-eprint(3)'
run 0 '^1 2$' '' 'statements in order' -- -e 'io.write("1 ")' -e 'print(2)'
echo 'print(#arg, arg[0], arg[1], ...)' >args.lua
run 0 '^2	args.lua	a	a	-x$' '' 'arguments of a script' -- args.lua a -x
run 0 '^1	args.lua	--seed	--seed$' '' 'options after a script are its own' -- args.lua --seed
run 0 '^-e$' '' 'negative indices of arg' -- -e 'print(arg[-2])' args.lua
run 0 '^0	args.lua	nil$' '' '-- ends options' -- -- args.lua
in='print("from", ...)'
run 0 '^from	x$' '' 'script from standard input' -- - x
run 0 '^from$' '' 'piped script' --
in=
echo 'return {v = 5}' >mod.lua
run 0 '^5$' '' 'module as a global' -- -l mod -e 'print(mod.v)'
run 0 '^5$' '' 'module under another name' -- -l m=mod -e 'print(m.v)'
run 1 '' "module 'nomod' not found" 'module that is missing' -- -l nomod
run 0 '^segx [0-9]+\.[0-9]+\.[0-9]+ ' '' '-v' -- -v
run 0 '^7$' '' '-v goes on' -- -v -e 'print(7)'
LUA_INIT='init = "hello"' "$B" -e 'print(init)' >o 2>e; match o '^hello$'; ok $? 'LUA_INIT is run'
LUA_INIT='init = "hello"' "$B" -E --no-strict -e 'print(init)' >o 2>e; match o '^nil$'; ok $? '-E ignores it'
run 0 '' 'segx: warning: careful' 'warnings are on' -- -e 'warn("care", "ful")'
run 0 '' '' 'warnings can be turned off' -- -e 'warn("@off") warn("careful")'
run 0 '^bye$' '' 'finalizers and to-be-closed run' -- -e 'x = setmetatable({}, {__gc = function() print("bye") end})'

# -- ours
run 0 '^segx [0-9.]+  Lua 5\.4' '' '--version' -- --version
run 0 '^usage: segx' '' '--help' -- --help
run 0 '^cuda:1 3 2147483648 double exact 42 true$' '' 'options reach segx.options' -- \
    --device cuda:1 --threads=3 --mem 2G --precision double --mode exact --seed 42 --quiet \
    -e 'local o = segx.options print(("%s %d %d %s %s %d %s"):format(o.device, o.threads, o.mem, o.precision, o.mode, o.seed, o.quiet))'
run 0 '^nil	nil	nil	nil	0	false	false$' '' 'defaults' -- \
    -e 'local o = segx.options print(o.device, o.threads, o.mem, o.precision, o.seed, o.quiet, o.color)' 2>/dev/null
for pair in 512K:524288 1.5M:1572864 1000:1000 1TiB:1099511627776 2GB:2147483648; do
    run 0 "^${pair#*:}\$" '' "size ${pair%:*}" -- --mem "${pair%:*}" -e 'print(segx.options.mem)'
done
for wrong in '--mem 0' '--mem 5X' '--mem -1' '--mem nan' '--mem 0x10' '--threads 0' '--threads many' '--device gpu' \
    '--device cuda:x' '--device cuda:-1' '--precision half' '--mode slow' '--seed 1.5' '--color=maybe' '--quiet=1' \
    '--bogus' '-x' '-ix' '--threads' '-e' '-l'; do
    # shellcheck disable=SC2086
    run 2 '' '^segx: ' "refused: $wrong" -- $wrong
done
run 2 '' 'hint: --threads\?' 'nearest option' -- --thread 3
run 0 '^true$' '' '--color' -- --color -e 'print(segx.options.color)'
run 0 '^false$' '' '--color=never' -- --color=never -e 'print(segx.options.color)'
run 0 '^80$' '' 'width' -- -e 'print(segx.options.width)'
"$B" -e 'print(math.random(1e9))' >r1; "$B" -e 'print(math.random(1e9))' >r2; cmp -s r1 r2
ok $? 'random numbers repeat'
"$B" --seed 1 -e 'print(math.random(1e9))' >r3; cmp -s r1 r3; ok $((! $?)) 'and depend on --seed'

# -- undefined globals
run 1 '' "undefined global 'foo'" 'undefined global is an error' -- -e 'print(foo)'
run 1 '' "did you mean 'segx'" 'with the nearest name' -- -e 'sgex.open()'
run 0 '^nil$' '' '--no-strict' -- --no-strict -e 'print(foo)'
run 0 '^1 nil$' '' 'assigned and raw ones are fine' -- -e 'foo = 1 io.write(foo, " ", tostring(rawget(_G, "bar")), "\n")'

# -- exit statuses and errors
run 1 '' ':1: boo$' 'script error' -- -e 'error("boo")'
run 1 '' "^segx: .*near 'x'" 'syntax error' -- -e 'x x'
run 3 '' 'none.lua' 'script that is missing' -- none.lua
run 9 '' '' 'os.exit' -- -e 'os.exit(9)'
run 9 '' '' 'os.exit with close' -- -e 'os.exit(9, true)'
for pair in ARG:1 USAGE:2 FILE:3 DATA:4 DEVICE:5 MEMORY:1 INTR:130 FAILED:6 STOPPED:75 BUG:1 other:1 file:3 data:4; do
    run "${pair#*:}" '' 'msg$' "error object ${pair%:*}" -- -e "error({code = '${pair%:*}', message = 'msg'})"
done
run 4 '' '^  hint: look$' 'hint of an error object' -- -e 'error({code = "DATA", message = "m", hint = "look"})'
echo 'local ok, e = pcall(error, {code = "DATA", message = "m"})  print(e.code)' >p.lua
run 0 '^DATA$' '' 'pcall gives the object back' -- p.lua
printf '\n\nerror({code = "FILE", message = "gone"})\n' >w.lua
run 3 '' '^segx: w.lua:3: gone$' 'place of an error object' -- w.lua
run 1 '' 'error object is a table value' 'table without code' -- -e 'error({})'
run 1 '' '^segx: said$' 'error with __tostring' -- -e 'error(setmetatable({}, {__tostring = function() return "said" end}))'
run 1 '' 'nil' 'error(nil)' -- -e 'error()'
run 1 '' 'hostile' 'error object that fails to be read' -- \
    -e 'error(setmetatable({}, {__index = function() error("no") end, __tostring = function() return "hostile" end}))'
printf 'local function f(x) return x.y.z end\nlocal function g() f{} return 1 end\ng()\n' >t.lua
run 1 '' 'at t.lua:2, in g' 'places that the error came through' -- t.lua
run 1 '' 'stack traceback' '--verbose gives the whole traceback' -- --verbose t.lua
printf 'print(1)\n' >full.lua
if [ -w /dev/full ]; then
    "$B" full.lua >/dev/full 2>e; s=$?
    [ $s -eq 3 ] && match e 'standard output'; ok $? 'standard output that is full'
else skip 'standard output that is full' 'no /dev/full'; fi
for sig in INT:130 TERM:75; do
    (trap - INT; exec "$B" -e 'while true do end') >o 2>e & pid=$!
    sleep 0.5; kill -"${sig%:*}" $pid; wait $pid; s=$?
    [ $s -eq "${sig#*:}" ] && match e 'interrupted|stopped'; ok $? "SIG${sig%:*} ends a script with ${sig#*:}"
done
"$B" -e 'while true do pcall(function() while true do end end) end' >o 2>&1 & pid=$!
sleep 0.5; kill -INT $pid; sleep 0.3; kill -INT $pid; wait $pid 2>/dev/null; s=$?
[ $s -eq 130 ]; ok $? 'a second Ctrl-C ends it at once'

# -- modules on disk
mkdir -p disk/segx/sub
echo 'return {here = "disk"}' >disk/segx/zz.lua
echo 'error("from zz2")' >disk/segx/zz2.lua
echo 'return "sub"' >disk/segx/sub/init.lua
export SEGX_LUA=$tmp/disk
run 0 '^disk$' '' 'SEGX_LUA' -- -e 'print(require("segx.zz").here)'
run 0 '^sub$' '' 'folder with init.lua' -- -e 'print((require "segx.sub"))'
run 1 '' 'segx/zz2.lua:1: from zz2' 'chunk names are the same on disk' -- -e 'require("segx.zz2")'
run 1 '' "no module 'segx.zz' in this program" '-E ignores SEGX_LUA' -- -E -e 'require("segx.zz")'
unset SEGX_LUA
run 1 '' "module 'segx.none' not found" 'unknown module' -- -e 'require "segx.none"'

# -- sub-commands and dumps
printf 'print("script")\n' >info
run 0 '^script$' '' 'a script called as a sub-command' -- ./info
printf '\211HDF\r\n\032\n' >fake.h5
has_core=false
"$B" -e 'require "segx.core"' 2>/dev/null && has_core=true
if $has_core; then
    run 2 "" "no sub-command 'kernel'" "sub-command that does not exist yet" -- kernel
    run 3 '*' 'fake.h5' 'dump that is cut off' -- fake.h5
    (head -c 512 /dev/zero; cat fake.h5) >user.h5
    run 3 '*' 'user.h5' 'signature after a user block' -- user.h5
else
    skip "dumps" "built without the engine"
fi

# -- lines by hand, from a pipe
in='1 + 1\n"a", nil\nx = 3\nx\n5;\n'
run 0 '^2$' '' 'expressions are printed' -- -i
"$B" -i <<<$'"a", nil\nx = 3\nx\n5;\n_' >o 2>e; [ "$(cat o)" = $'a\tnil\n3\n3' ]; ok $? 'values, statements, ; and _'
in='y = {\n1,\n2}\n#y\nfor i = 1, 1 do\nprint("in", i)\nend\nstring.rep(\n"ab", 2)\n'
run 0 '^abab$' '' 'unfinished lines go on' -- -i
in='error("boo")\nx x\nprint("still here")\n'
run 0 '^still here$' 'stdin:1: boo' 'errors do not end it' -- -i
in='nope\n'
run 0 '^nil$' "warning: undefined global 'nope'" 'undefined globals warn' -- -i
in='setmetatable({}, {__tostring = function() error("bad print") end})\nprint("on")\n'
run 0 '^on$' 'bad print' 'errors while printing do not end it' -- -i
in='if true then\n'
run 0 '' 'unfinished' 'input that ends in the middle' -- -i
in='os.exit(5)\n'
run 5 '' '' 'os.exit' -- -i
echo 'z = 11' >z.lua
in='z\n'
run 0 '^11$' '' '-i after a script' -- -i z.lua
run 0 '^12$' '' '-i after a statement' -- -i -e 'z = 12'
in=

# -- lines by hand, on a terminal
if command -v script >/dev/null && script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
    type() { for t in "$@"; do sleep 0.4; printf '%b' "$t"; done; }
    type '21 * 2\n' 'string.form\t("%d", 7)\n' 'wrong\003' '6 * 6\n' 'while true do end\n' '\003' '"on"\n' '\004' |
        timeout 20 script -qec "$B" /dev/null >o 2>&1
    tr -d '\r' <o >o2
    grep -q '^42$' o2; ok $? 'terminal: value'
    grep -q '^7$' o2; ok $? 'terminal: completion'
    grep -q '^36$' o2; ok $? 'terminal: Ctrl-C forgets the line'
    grep -q 'segx: interrupted' o2 && grep -q '^on$' o2; ok $? 'terminal: Ctrl-C ends a loop, not the program'
    grep -q '6\\040\*\\0406' state/segx/history; ok $? 'terminal: history is kept'
    type '\020\025"%s" .. 1\n' 'os.exit(0)\n' | timeout 20 script -qec "$B" /dev/null >o 2>&1
    tr -d '\r' <o | grep -q '^%s1$'; ok $? 'terminal: line editing'
else
    skip 'terminal' 'no script(1)'
fi

# -- the harness of the Lua tests
if [ -n "${SEGX_SOURCE:-}" ]; then
    cat >h.lua <<'E'
local T = require "harness"
local test, eq, near, throws, skip = T.test, T.eq, T.near, T.throws, T.skip
test "eq" (function() eq({1, {a = 2}}, {1.0, {a = 2}}) eq(0 / 0, 0 / 0) end)
test "near" (function() near(1, 1 + 1e-7) near({1, {2}}, {1, {2}}, 0) near(0, 1e-9, 0, 1e-8) end)
test "throws" (function() throws("bo+m", error, "boom") throws("hin", error, {code = "X", message = "m", hint = "hint"}) end)
test "skips" (function() skip("because") end)
for i, f in ipairs {function() eq(1, 2) end, function() near(1, 1.1) end, function() near({1}, {1, 2}) end,
    function() near(0 / 0, 1) end, function() near(1 / 0, 1, 1) end, function() throws("x", print) end, function() throws("x", error, "y") end,
    function() eq({}, {a = 1}) end, function() error("plain") end} do test("bad " .. i)(f) end
error("outside")
E
    "$B" "$SEGX_SOURCE/tests/lua/harness.lua" h.lua >o 2>e; s=$?
    [ $s -eq 1 ] && [ "$(tail -1 o)" = "3 passed, 10 failed, 1 skipped" ] && match e ""; ok $? "harness counts"
fi

finish
