#!/bin/bash
# Run folders: kills, stops, damage, full disks. Prints TAP. SEGX_BIN: the program; SEGX_KILLS: random kills that must meet a
# running sweep (40).
set -u
. "$(dirname "$0")/../tap.sh"
tmp=$(mktemp -d)
trap 'mountpoint -q "$tmp/disk" 2>/dev/null && umount "$tmp/disk"; rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
export XDG_STATE_HOME=$tmp/state
unset SEGX_LUA LUA_INIT LUA_INIT_5_4

# dump.lua: PATH IMAGES SIDE SEED
cat >dump.lua <<'LUA'
local n, side, C = tonumber(arg[2]), tonumber(arg[3]), 4
math.randomseed(tonumber(arg[4]))
local w = segx.write_dump(arg[1], {n = n, classes = C, dims = {side, side}, logits_type = "float32", labels_type = "uint8"})
for i = 1, n do
  local logits, labels = {}, {}
  for k = 1, C * side * side do logits[k] = math.random() * 6 - 3 end
  for k = 1, side * side do labels[k] = math.random(0, C - 1) end
  w:write(i, logits, labels)
end
w:finish()
LUA
# sweep.lua: DUMP OUT GAMMAS MIXES [WHAT N]
cat >sweep.lua <<'LUA'
local d <close> = segx.open(arg[1])
local core, L, A = require "segx.core", segx.loss, segx.axis
local g, images = {}, 0
for v in arg[3]:gmatch "[^,]+" do g[#g + 1] = tonumber(v) end
local mix = A.lin("mix", 0, 1, tonumber(arg[4]))
local loss = mix * L.focal {gamma = A.grid("gamma", g)} + (1 - mix) * L.dice {smooth = 1e-5} + L.lovasz_softmax {unit = {batch = 3}}
local what = arg[5]
local progress = what and what ~= "kill" and function(_, _, done)
  images = images + 1
  if images == tonumber(arg[6]) then
    if what ~= "spin" then os.execute("(sleep 0.05; kill -" .. what .. " $PPID) &") end
    while true do end
  end
end or nil
if what == "kill" then core._kill(tonumber(arg[6])) end
local r = segx.sweep {dump = d, loss = loss, control = L.ce {} + L.dice {}, threads = 1, mem = 1 << 20,
  want = {"value", "per_class", "grad.energy"}, out = arg[2], progress = progress}:run()
print(r.stats.passes, r.stats.cells_new, r.stats.images_new, r.stats.images_found)
LUA
# records.lua: FOLDER: whole records in all segments
cat >records.lua <<'LUA'
local total = 0
for path in io.popen("ls " .. arg[1] .. "/stats/*.seg 2>/dev/null"):lines() do
  local f = io.open(path, "rb")
  local _, _, _, cells, images, len = ("<c8I8I8I8I8I8"):unpack(f:read(48))
  total = total + math.min(images, (f:seek "end" - 56 - 24 * cells) // (32 + 8 * len))
  f:close()
end
print(total)
LUA
"$B" dump.lua big.h5 48 48 1 && "$B" dump.lua small.h5 5 8 2 || { ok 1 "dumps"; echo "1..$n"; exit 1; }
G=0,0.5,1,2,3.3,4,5.3,6

# -- what an undisturbed run gives
"$B" --quiet sweep.lua big.h5 want $G 5 >o 2>e; is "$?" 0 "undisturbed"
read -r _ _ TOTAL _ <o
cp -r want again
"$B" --quiet sweep.lua big.h5 again $G 5 >o; is "$(cat o)" "0	0	0	0" "again: nothing is computed"
cmp -s want/results.csv again/results.csv; ok $? "again: the same rows"
"$B" --quiet sweep.lua big.h5 again $G 9 >o; is "$(cut -f1-3 o)" "0	0	0" "free axis longer: no pass"
"$B" --quiet sweep.lua big.h5 fresh9 $G 9 >o; cmp -s fresh9/results.csv again/results.csv; ok $? "the same as from nothing"
"$B" --quiet sweep.lua big.h5 again $G,1.5 5 >o
[ "$(cut -f2 o)" -lt 12 ] && [ "$(cut -f2 o)" -gt 0 ]; ok $? "value added: its cells alone"
"$B" --quiet sweep.lua big.h5 fresh10 $G,1.5 5 >o; cmp -s fresh10/results.csv again/results.csv; ok $? "the same as from nothing"

# -- what the plan says of a folder: it finds out, and leaves the folder alone
plan() { "$B" --quiet plan sweep.lua "$@" >o 2>e; is "$?" 0 "plan: $3 $4"; }
plan big.h5 never $G 5
has o '^found 0 of [0-9]+ cells in never$' "plan: nothing there"
has o '^[0-9]+ pass.* over 48 images, .* read, .* of memory, (under a second|about [0-9]+ s)$' "plan: what it would cost"
[ ! -e never ]; ok $? "plan: makes no folder"
plan big.h5 again $G 9
has o '^found ([0-9]+) of \1 cells in again$' "plan: everything there"
has o '^no pass over the images, under a second$' "plan: no pass"
plan big.h5 again $G,7 5
has o '^[1-9] pass(es)? over 48 images' "plan: one value more"
have=$(awk '/^found/ { print $2 }' o) all=$(awk '/^found/ { print $4 }' o)
[ "$have" -gt 0 ] && [ "$have" -lt "$all" ]; ok $? "plan: some cells there"

# -- SIGKILL at random moments
kills=${SEGX_KILLS:-40} lost=0 wrong=0 twice=0 killed=0 before=0 rounds=0
RANDOM=7
t0=$(date +%s%N); "$B" --quiet sweep.lua big.h5 time $G 5 >o; t1=$(date +%s%N)
span=$(((t1 - t0) / 1000000 + 1))
for ((i = 0; killed < kills && i < 4 * kills; i++)); do
    "$B" --quiet sweep.lua big.h5 k $G 5 >o 2>e & pid=$!
    sleep "$(printf '0.%03d' $((RANDOM % (span > 900 ? 900 : span))))"
    kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null; s=$?
    now=$("$B" records.lua k)
    [ "$now" -ge "$before" ] || lost=1
    before=$now
    if [ $s -eq 137 ]; then   # mostly once more; sometimes let it end
        killed=$((killed + 1))
        [ $((RANDOM % 5)) -ne 0 ] && [ $killed -lt "$kills" ] && continue
        "$B" --quiet sweep.lua big.h5 k $G 5 >o 2>e; s=$?
        read -r _ _ new _ <o
        now=$((now + new))
    fi
    [ $s -eq 0 ] || { wrong=1; sed 's/^/# /' e; }
    cmp -s want/results.csv k/results.csv || wrong=1
    [ "$now" -eq "$TOTAL" ] || twice=1
    rm -rf k; before=0 rounds=$((rounds + 1))
done
echo "# $killed kills of running sweeps in $i starts, $rounds sweeps ended; one takes $span ms, $TOTAL records"
is "$killed" "$kills" "the kills met running sweeps"
is "$lost$wrong$twice" 000 "killed at random: no record lost, the same rows, none computed twice"

# -- SIGKILL between every two writes, and within them
"$B" --quiet sweep.lua small.h5 small 0,2 2 >o; read -r _ _ total _ <o
wrong=0 point=1
while :; do
    rm -rf i
    { "$B" --quiet sweep.lua small.h5 i 0,2 2 kill $point >o 2>e & wait $!; s=$?; } 2>/dev/null
    [ $s -eq 137 ] || break
    have=$("$B" records.lua i)
    "$B" --quiet sweep.lua small.h5 i 0,2 2 >o 2>e || { wrong=1; echo "# point $point"; sed 's/^/# /' e; }
    cmp -s small/results.csv i/results.csv || { wrong=1; echo "# point $point: rows differ"; }
    read -r _ _ new _ <o
    [ $((have + new)) -eq "$total" ] || { wrong=1; echo "# point $point: $have records, $new computed, $total wanted"; }
    point=$((point + 1))
done
echo "# $((point - 1)) points"
[ $wrong -eq 0 ] && [ $s -eq 0 ] && [ $point -gt 60 ]; ok $? "killed at every write: goes on, nothing twice, the same rows"

# -- journal cut at every byte: the next to open the folder mends it; now and then a whole sweep
cat >cut.lua <<'LUA'
local core = require "segx.core"
local function file(p, t) local f = io.open(p, t and "wb" or "rb") local r = t and f:write(t) or f:read "a" f:close() return r end
local want, journal = file "small/results.csv", file "small/journal.jsonl"
local count = select(2, journal:gsub("\n", ""))
arg = {[0] = "sweep.lua", "small.h5", "small", "0,2", "2"}
for n = 0, #journal do
  file("small/journal.jsonl", journal:sub(1, n))
  if n % 100 == 50 then
    local shown
    assert(loadfile("sweep.lua", "t", setmetatable({print = function(...) shown = {...} end}, {__index = _G})))()
    assert(shown[1] == 0, "a pass at byte " .. n)
    assert(file "small/results.csv" == want, "other rows at byte " .. n)
  else
    core.folder "small":close()
  end
  local lines, seen = 0, {}
  for line in (file "small/journal.jsonl"):gmatch "(.-)\n" do
    local cell = assert(line:match '^{"cell":"(%x+)".*}$', line)
    assert(not seen[cell], "twice: " .. cell)
    seen[cell], lines = true, lines + 1
  end
  assert(lines == count, "lines at byte " .. n)
end
print(#journal)
LUA
"$B" --quiet cut.lua >o 2>e; s=$?; [ $s -eq 0 ] || sed 's/^/# /' e; ok $s "journal cut at every byte"

# -- stopped
stop() { # STATUS NAME OPTIONS... -- ARGS
    rm -rf s; "$B" "${@:3}" >o 2>e; is "$?" "$1" "$2: exit status $1"
    has e 'the same line goes on' "$2: says so"
    "$B" --quiet plan sweep.lua big.h5 s $G 5 >o 2>e
    has o 'and [1-9][0-9]* of 48 images of the next pass$' "$2: the plan knows"
    "$B" --quiet sweep.lua big.h5 s $G 5 >o; read -r _ _ _ found <o
    cmp -s s/results.csv want/results.csv && [ "$found" -gt 0 ]; ok $? "$2: goes on inside the pass"
}
stop 75 TERM sweep.lua big.h5 s $G 5 TERM 3
stop 75 USR1 sweep.lua big.h5 s $G 5 USR1 3
stop 130 INT sweep.lua big.h5 s $G 5 INT 3
stop 75 'time limit' --time-limit 0.6 sweep.lua big.h5 s $G 5 spin 3
"$B" --time-limit 5x sweep.lua 2>e; is "$?" 2 "a time limit that is none"

# -- two processes
"$B" -e 'local f = require("segx.core").folder "two" io.open("ready", "w"):close() os.execute "while [ -e ready ]; do sleep 0.05; done"' &
while [ ! -e ready ]; do sleep 0.05; done
"$B" sweep.lua small.h5 two 0 2 2>e; is "$?" 3 "folder in use: exit status 3"
has e 'two: another process, number [0-9]+ is writing there' "folder in use: who"
rm ready; wait
"$B" --quiet sweep.lua small.h5 two 0 2 >o 2>e; is "$?" 0 "and free again"

# -- another dump, another precision, another script
cp small.h5 moved.h5; "$B" --quiet sweep.lua moved.h5 other 0 2 >o
"$B" dump.lua moved.h5 5 8 3; cp other/results.csv r.csv
"$B" sweep.lua moved.h5 other 0 2 2>e; is "$?" 3 "another dump: exit status 3"
has e 'other: made from another dump \(fingerprint [0-9a-f]{8}\.\. now [0-9a-f]{8}\.\.\)' "another dump: says so"
has e 'hint: use a new out=, or --fresh to start over; nothing was changed' "another dump: what to do"
cmp -s r.csv other/results.csv; ok $? "another dump: nothing was changed"
"$B" --fresh --quiet sweep.lua moved.h5 other 0 2 >o; is "$?" 0 "--fresh starts over"
[ "$(cut -f2 o)" -gt 0 ] && ! cmp -s r.csv other/results.csv; ok $? "--fresh: other rows"
"$B" --precision double sweep.lua moved.h5 other 0 2 2>e; is "$?" 3 "another precision: exit status 3"
has e 'made with precision single, now double' "another precision: says so"
cp sweep.lua changed.lua; echo '-- changed' >>changed.lua
"$B" changed.lua moved.h5 other 0 2 >o 2>e; is "$?:$(cut -f2 o)" "0:0" "another script: the same sums"
has e 'the script has changed since' "another script: a note"

# -- damage
seg=$(ls -S small/stats/*.seg | head -1)
cp "$seg" whole
size=$(stat -c %s "$seg")
printf 'XXX' | dd of="$seg" bs=1 seek=$((size - 3)) conv=notrunc status=none
"$B" sweep.lua small.h5 small 0,2 2 2>e; is "$?" 3 "damaged record: exit status 3"
has e 'damaged at image 5' "damaged record: where"
has e 'hint: remove that file' "damaged record: what to do"
cp small/results.csv r.csv; rm "$seg"
"$B" --quiet sweep.lua small.h5 small 0,2 2 >o; cmp -s r.csv small/results.csv && [ "$(cut -f3 o)" -gt 0 ]; ok $? "removed: computed again"
printf 'XXXXXXXX' | dd of="$seg" bs=1 seek=16 conv=notrunc status=none     # the key: one byte of it may be an X by chance
"$B" sweep.lua small.h5 small 0,2 2 2>e; is "$?" 3 "damaged header: exit status 3"
cp whole "$seg"

# -- failed rows
cat >fail.lua <<'LUA'
local d <close> = segx.open(arg[1])
local bad = segx.loss.define("bad", {m = 0.1}, function(x, q) return (x.pt - q.m):log() end)
local r = segx.sweep {dump = d, loss = bad {m = segx.axis.grid("m", {-1, 0.5})}, out = arg[2]}:run()
print(r.stats.cells_new)
LUA
"$B" fail.lua small.h5 f >o 2>e; is "$?" 6 "a row that is not finite: exit status 6"
has f/results.csv '^-1,[-0-9.e]+,ok,$' "the sweep goes on"
has f/results.csv '^0.5,nan,failed,value is not finite \(first at image 1' "a row with its reason"
"$B" fail.lua small.h5 f >o 2>e; is "$?:$(cat o)" "6:0" "again: nothing is computed"
"$B" --retry fail.lua small.h5 f >o 2>e; is "$?:$(cat o)" "6:1" "--retry computes the failed cell"
"$B" --fail-fast fail.lua small.h5 f >o 2>e; is "$?" 6 "--fail-fast: exit status 6"
has e 'row 2: value is not finite' "--fail-fast: which"

# -- no room, no right to write
(ulimit -f 3; "$B" sweep.lua big.h5 full $G 5 >o 2>e); is "$?" 3 "file too large: exit status 3"
has e 'full/.*cannot write: File too large' "file too large: says so"
"$B" --quiet sweep.lua big.h5 full $G 5 >o; cmp -s full/results.csv want/results.csv; ok $? "with room it goes on"
mkdir disk
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=24k none disk 2>/dev/null; then
    "$B" sweep.lua big.h5 disk/x $G 5 >o 2>e; is "$?" 3 "full disk: exit status 3"
    has e 'disk/x/.*cannot write: No space left' "full disk: says so"
    mount -o remount,size=4m disk
    "$B" --quiet sweep.lua big.h5 disk/x $G 5 >o; cmp -s disk/x/results.csv want/results.csv; ok $? "with room it goes on"
    mount -o remount,ro disk
    "$B" sweep.lua big.h5 disk/x $G 5 2>e; is "$?" 3 "read-only: exit status 3"
    has e 'disk/x/lock: cannot create: Read-only' "read-only: says so"
    "$B" sweep.lua big.h5 disk/y $G 5 2>e; is "$?" 3 "read-only, new folder: exit status 3"
    umount disk
else
    for t in "full disk" "full disk: says so" "with room it goes on" "read-only" "read-only: says so" "read-only, new folder"
    do skip "$t" "needs to mount a tmpfs"; done
fi
if [ "$(id -u)" -ne 0 ]; then
    mkdir locked; chmod 555 locked
    "$B" sweep.lua big.h5 locked/x $G 5 2>e; is "$?" 3 "no permission: exit status 3"
    has e 'cannot make the folder: Permission denied' "no permission: says so"
else
    for t in "no permission" "no permission: says so"; do skip "$t" "root may write anywhere"; done
fi

finish
