--[[
Which mix of focal loss and Dice, and which gamma, orders the images of my validation set as their
IoU does?

    segx scripts/first_sweep.lua val.h5
]]
local d <close> = segx.open(arg[1])
local L, A = segx.loss, segx.axis

local gamma = A.grid("gamma", {0, 0.5, 1, 2, 5})
local mix = A.lin("mix", 0, 1, 5)
local loss = mix * L.focal {gamma = gamma} + (1 - mix) * L.dice {}

local sweep = segx.sweep {dump = d, loss = loss, control = L.ce {},
  want = {"value", "parts", "control", "tau(iou)"}}
print(sweep:plan())
local r = sweep:run()
print(r:top(8, "tau(iou)"))
print("\nbest: " .. tostring(r:best("tau(iou)").loss))
