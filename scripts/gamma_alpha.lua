--[[
What do gamma and class weights of the focal loss do to the attention that rare classes get?

    segx scripts/gamma_alpha.lua val.h5

gamma runs inside the pass; the strength s of the weights (balanced ^ s: 0 none, 1 full) is free.
The table shows the part of the loss that the three rarest classes make, next to their part of the
pixels.
]]
local d <close> = segx.open(arg[1])
local L, A, W, format = segx.loss, segx.axis, segx.weights, segx.format

-- The three rarest classes that occur.
local counts = W.counts(d)
local order, total = {}, 0
for c, n in ipairs(counts.counts) do
  total = total + n
  if n > 0 then order[#order + 1] = c end
end
table.sort(order, function(a, b) return counts.counts[a] < counts.counts[b] end)
local rare, want = {}, {"value", "tau(iou)"}
for i = 1, math.min(3, #order) do
  rare[i] = counts.class_names[order[i]]
  want[#want + 1] = "share." .. rare[i]
  print(("%-12s %.3f %% of the pixels"):format(rare[i], 100 * counts.counts[order[i]] / total))
end

local gamma = A.grid("gamma", {0, 0.5, 1, 2, 3, 5})
local s = A.grid("s", {0, 0.5, 1})
local sweep = segx.sweep {dump = d, loss = L.focal {gamma = gamma, weight = W.balanced(d) ^ s},
  want = want}
print(sweep:plan())
local r = sweep:run()
print(r)

local best = r:best("tau(iou)")
print(("\ngamma %s, s %s orders the images best (tau %s)"):format(best.gamma, best.s,
  format.number(best["tau(iou)"])))
