--[[
How much Dice, how much cross entropy, and does smoothing matter? Sum over data set or image?

    segx scripts/hybrid_mix.lua val.h5 [sweep.csv]

Mix, smoothing and Tversky's alpha are arithmetic on sums that one pass keeps: thousands of
configurations cost no more than one. The second argument writes all of them to a file.
]]
local d <close> = segx.open(arg[1])
local L, A = segx.loss, segx.axis

local mix = A.lin("mix", 0, 1, 11)
local smooth = A.grid("smooth", {0, 1e-5, 1, 100})
local alpha = A.grid("alpha", {0.3, 0.5, 0.7})

local function hybrid(unit)
  return mix * L.ce {unit = unit}
    + (1 - mix) * L.tversky {alpha = alpha, beta = 1 - alpha, smooth = smooth, unit = unit}
end

for _, unit in ipairs {"dataset", "image"} do
  local sweep = segx.sweep {dump = d, loss = hybrid(unit), control = L.dice_ce {},
    want = {"value", "parts", "control", "tau(iou)"}}
  print("unit = " .. unit)
  print(sweep:plan())
  local r = sweep:run()
  print(r:top(5, "tau(iou)"))
  print("best: " .. tostring(r:best("tau(iou)").loss) .. "\n")
  if arg[2] and unit == "dataset" then r:csv(arg[2]) end
end
