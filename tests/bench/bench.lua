--[=[
bench.lua: times segx on synthetic dumps in memory; run by tests/bench/run, or by itself:

  segx tests/bench/bench.lua CLASSES SIZE [TYPE [PEERS.json]]      e.g. 19 2x512x1024 float32

A figure is one evaluation of a traced loss (planning, the pass, the epilogue): minimum and median of repeated runs, in ms.
With a file of peers.py, each line is followed by the rivals' times and by the better of them over ours.
]=]
local core = require "segx.core"
local L, A = segx.loss, segx.axis

local classes, size = math.tointeger(arg[1]), arg[2]
local n, h, w = size:match("^(%d+)x(%d+)x(%d+)$")
local d = core.synthetic {n = math.tointeger(n), classes = classes, height = math.tointeger(h), width = math.tointeger(w), logits_type = arg[3] or "float32"}

local peers
if arg[4] then
  local f <close> = assert(io.open(arg[4]))
  peers = f:read("a")
end

-- {"name": {"eager": [min, median], "compiled": [..]}, ...} -> min, median of the faster
local function rival(name)
  if not peers then return end
  local at = peers:find(('"%s": {'):format(name), 1, true)
  local block = at and peers:sub(at):match("{(.-)}")
  local best
  for low, mid in (block or ""):gmatch("%[([%d.e+-]+), ([%d.e+-]+)%]") do
    if not best or tonumber(low) < best[1] then best = {tonumber(low), tonumber(mid)} end
  end
  return best
end

local weights, alphas = {}, {}
for c = 1, classes do weights[c] = 0.5 + c * 7 % 10 / 10 end
for k = 1, 5 do
  local v = {}
  for c = 1, classes do v[c] = 0.5 + c * k * 3 % 7 / 7 end
  alphas[k] = segx.tensor(v)
end
local alpha = A.vectors("alpha", alphas)

-- gradient: the value and every logit's derivative, written to memory (as float32)
local function time(loss, reps, gradient)
  local t, times = {loss:tensor(d)}, {}
  local g = gradient and core.grad(t[1], d.logits)
  local function work()
    if g then core.write_planes(d, g, nil, {value = t[1]}) else core.eval(d, t) end
  end
  work()
  for i = 1, reps do
    local start = core.clock()
    work()
    times[i] = (core.clock() - start) * 1e3
  end
  table.sort(times)
  return times[1], times[(reps + 1) // 2]
end

local function line(what, loss, reps, ...)
  local low, mid = time(loss, reps, what:find("gradient", 1, true))
  io.write(("| %-34s | %8.2f | %8.2f |"):format(what, low, mid))
  for _, name in ipairs {...} do
    local best = rival(name)
    if best then io.write((" %9.2f | %5.1fx |"):format(best[1], best[1] / low)) end
  end
  print()
  return low
end

local focal, dice = L.focal {gamma = 2, weight = weights}, L.dice {smooth = 1}
print(("\n%d classes, %s, %s"):format(classes, size, arg[3] or "float32"))
print("| work                               |   min ms |   median |" .. (peers and " rival min | ratio |" or ""))
print("|---|--:|--:|" .. (peers and "--:|--:|" or ""))
line("cross entropy", L.ce {weight = weights, reduction = "weighted_mean"}, 15, "ce")
local one = line("focal", focal, 15, "focal")
line("Dice", dice, 15, "dice")
line("generalized Dice", L.generalized_dice {unit = "image"}, 15, "generalized_dice")
line("Dice + focal", 0.5 * focal + 0.5 * dice, 15, "dice_focal")
line("Lovász-Softmax per image", L.lovasz_softmax {}, 5, "lovasz")
line("top 10 % of cross entropy per image", L.topk_ce {}, 5, "topk")
line("boundary per image", L.boundary {}, 3)
local quarter = L.focal {gamma = A.lin("gamma", 0, 4.75, 20), weight = alpha}
local any = L.focal {gamma = A.lin("gamma_any", 0, 5, 20), weight = alpha}
local q = line("100 settings, quarter gammas", quarter, 5)
local a = line("100 settings, any gammas; loop, sums", any, 5, "sweep100 loop", "sweep100 per-class sums")
line("cross entropy and gradient", L.ce {weight = weights, reduction = "weighted_mean"}, 5, "ce+grad")
line("focal and gradient", focal, 5, "focal+grad")
line("Dice and gradient", dice, 5, "dice+grad")
line("Dice + focal and gradient", 0.5 * focal + 0.5 * dice, 5, "dice_focal+grad")
line("Lovász-Softmax and gradient", L.lovasz_softmax {}, 3, "lovasz+grad")
print(("100 settings against one: %.2fx (quarter gammas), %.2fx (any)"):format(q / one, a / one))

-- Who gets the gradient, of one gamma and of many: least of five sweeps.
local function shares(gamma)
  local least = math.huge
  for _ = 1, 5 do
    local sweep = segx.sweep {dump = d, loss = L.focal {gamma = gamma}, want = {"grad.share"}}
    local start = core.clock()
    sweep:run()
    least = math.min(least, core.clock() - start)
  end
  return least
end
if (arg[3] or "float32") == "float32" then
  local single = shares(A.grid("gamma_1", {2.2}))
  print(("grad.share against one gamma: %.2fx (33 quarter gammas), %.2fx (100 gammas)"):format(
    shares(A.lin("gamma_33", 0, 8, 33)) / single, shares(A.lin("gamma_100", 0.05, 5.05, 100)) / single))
end
