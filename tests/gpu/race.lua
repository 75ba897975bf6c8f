-- race.lua: a value and its gradient's shares on a few pixels, in both modes: little enough for compute-sanitizer's slow tools.
local core = require "segx.core"
local L = segx.loss
local d = core.synthetic {n = 2, classes = 5, height = 40, width = 41, seed = 3}
local loss = L.dice {} + L.focal {gamma = segx.axis.grid("gamma", {1, 2.5})}
local value = loss:tensor(d)
local one = (L.dice {} + L.focal {}):tensor(d)
local shares = core.nsum(core.bysum(segx.grad(one, d.logits):abs():sum "class"))
for _, mode in ipairs {"exact", "fast"} do
  local got, stats = core.eval(d, {value, one, shares}, {mode = mode})
  assert(stats.on_cpu == 0 and #got == 3)
end
