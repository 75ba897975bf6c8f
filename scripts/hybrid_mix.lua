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

--[==[ Output with the sample dump (./try makes it):
unit = dataset
132 configurations = 11 mix x 4 smooth x 3 alpha, 6 columns
1 pass over 32 images, 4.4 MiB read, 29.2 KiB of memory, under a second
inside the pass: nothing
free (arithmetic on kept sums): mix, smooth, alpha
mix  smooth  alpha     value  part.cross_entropy  part.tversky   control  tau(iou)              tau(iou)-control
0.4       0    0.3  0.253597            0.190043      0.295966  0.487257  0.718 [0.574, 0.841]  0.0202 [-0.0292, 0.071] not separable
0.4   1e-05    0.3  0.253597            0.190043      0.295966  0.487257  0.718 [0.574, 0.841]  0.0202 [-0.0292, 0.071] not separable
0.5       0    0.3  0.243005            0.190043      0.295966  0.487257  0.718 [0.573, 0.834]  0.0202 [-0.0249, 0.0705] not separable
0.5   1e-05    0.3  0.243005            0.190043      0.295966  0.487257  0.718 [0.573, 0.834]  0.0202 [-0.0249, 0.0705] not separable
0.2       0    0.3  0.274782            0.190043      0.295966  0.487257  0.706 [0.582, 0.812]  0.00806 [-0.0796, 0.0973] not separable
best: 0.4*L.cross_entropy{unit = "dataset"} + 0.6*L.tversky{alpha = 0.3, beta = 0.7, unit = "dataset"}

unit = image
132 configurations = 11 mix x 4 smooth x 3 alpha, 6 columns
1 pass over 32 images, 4.4 MiB read, 9.0 KiB of memory, under a second
inside the pass: nothing
free (arithmetic on kept sums): mix, smooth, alpha
mix  smooth  alpha     value  part.cross_entropy  part.tversky   control  tau(iou)              tau(iou)-control
0.4       0    0.3  0.258547            0.190118      0.304166  0.487257  0.718 [0.574, 0.841]  0.0202 [-0.0292, 0.071] not separable
0.4   1e-05    0.3  0.258547            0.190118      0.304166  0.487257  0.718 [0.574, 0.841]  0.0202 [-0.0292, 0.071] not separable
0.5       0    0.3  0.247142            0.190118      0.304166  0.487257  0.718 [0.573, 0.834]  0.0202 [-0.0249, 0.0705] not separable
0.5   1e-05    0.3  0.247142            0.190118      0.304166  0.487257  0.718 [0.573, 0.834]  0.0202 [-0.0249, 0.0705] not separable
0.2       0    0.3  0.281356            0.190118      0.304166  0.487257  0.706 [0.582, 0.812]  0.00806 [-0.0796, 0.0973] not separable
best: 0.4*L.cross_entropy{unit = "image"} + 0.6*L.tversky{alpha = 0.3, beta = 0.7, unit = "image"}

]==]
