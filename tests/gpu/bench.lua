--[[
bench.lua: times losses on a GPU against the bandwidth of its memory, measured by a copy in the same run; run by tests/gpu/run.sh:

  segx --device cuda [--mode fast] tests/gpu/bench.lua [SIZE]      default 4x1024x2048, for 150 classes a quarter

The dump is resident: uploads are not timed. A figure is the median of 15 evaluations of a traced loss, plan and epilogue included;
"of copy": bytes of the logits, read once, per second, over the copy's bytes (read and written) per second.
]]
local core = require "segx.core"
local L, A = segx.loss, segx.axis

local n, h, w = (arg[1] or "4x1024x2048"):match "^(%d+)x(%d+)x(%d+)$"
n, h, w = math.tointeger(n), math.tointeger(h), math.tointeger(w)
local gammas = {}
for k = 1, 16 do gammas[k] = 0.31 * k end
local gamma = A.grid("gamma", gammas)

local function median(work)
  local times = {}
  work()
  for i = 1, 15 do
    local start = core.clock()
    work()
    times[i] = core.clock() - start
  end
  table.sort(times)
  return times[8]
end

local function line(d, bytes, what, tensors, base)
  local seconds = median(function() core.eval(d, tensors) end)
  local copy = core.device_counts(true).copy_speed
  print(("| %-30s | %9.3f | %6.1f %% | %s |"):format(what, seconds * 1e3, 100 * bytes / seconds / copy,
    base and ("%.2f"):format(seconds / base) or ""))
  return seconds
end

for _, classes in ipairs {2, 19, 150} do
  for _, type in ipairs {"float32", "float16"} do
    local images = classes > 100 and math.max(1, n // 4) or n
    local d <close> = core.synthetic {n = images, classes = classes, height = h, width = w, logits_type = type}
    local bytes = images * classes * h * w * (type == "float32" and 4 or 2)
    print(("\n%d classes, %dx%dx%d, %s\n"):format(classes, images, h, w, type))
    print "| work | ms | of copy | against focal |\n|---|--:|--:|--:|"
    line(d, bytes, "cross entropy", {L.ce {}:tensor(d)})
    local focal = line(d, bytes, "focal", {L.focal {}:tensor(d)})
    line(d, bytes, "Dice", {L.dice {}:tensor(d)})
    line(d, bytes, "Dice + focal", {(L.dice {} + L.focal {}):tensor(d)})
    line(d, bytes, "focal, 16 gammas", {L.focal {gamma = gamma}:tensor(d)}, focal)
    local ce = L.ce {}:trace(d)
    local g = segx.grad(ce.value, d.logits)
    line(d, bytes, "cross entropy, gradient shares", {ce.value, core.nsum(core.bysum(g:abs():sum "class"))})
  end
end
local counts = core.device_counts(true)
print(("\ncopy bandwidth %.0f GB/s; %d kernels compiled, %d from the cache; %.2f GB uploaded, %d times evicted"):format(
  counts.copy_speed / 1e9, counts.compiled, counts.from_cache, counts.uploaded / 1e9, counts.evicted))
