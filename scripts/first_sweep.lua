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

--[==[ Output with the sample dump (./try makes it):
25 configurations = 5 gamma x 5 mix, 6 columns
1 pass over 32 images, 4.4 MiB read, 40.5 KiB of memory, under a second
inside the pass: gamma
free (arithmetic on kept sums): mix
gamma   mix     value  part.focal  part.dice   control  tau(iou)              tau(iou)-control
    2  0.75  0.139662   0.0871453   0.297214  0.190043  0.778 [0.671, 0.868]  0.165 [0.0501, 0.32]
    5  0.75  0.115302   0.0546652   0.297214  0.190043  0.766 [0.645, 0.863]  0.153 [0.0167, 0.314]
    1  0.75  0.160658    0.115139   0.297214  0.190043  0.75 [0.634, 0.846]   0.137 [0.0419, 0.276]
    2   0.5   0.19218   0.0871453   0.297214  0.190043  0.746 [0.622, 0.846]  0.133 [-0.000103, 0.299] not separable
    5   0.5  0.175939   0.0546652   0.297214  0.190043  0.738 [0.611, 0.841]  0.125 [-0.0251, 0.298] not separable
    1   0.5  0.206176    0.115139   0.297214  0.190043  0.734 [0.6, 0.841]    0.121 [-0.00431, 0.279] not separable
  0.5   0.5  0.219103    0.140992   0.297214  0.190043  0.718 [0.587, 0.829]  0.105 [-0.0126, 0.258] not separable
  0.5  0.75  0.180048    0.140992   0.297214  0.190043  0.718 [0.579, 0.833]  0.105 [0.0335, 0.199]

best: 0.75*L.focal{} + 0.25*L.dice{}
]==]
