--[[
The three textbook experiments on imbalanced classes, done right: what do inverse-frequency weights,
focal loss and generalized Dice do on my dump, and what do the versions found in many tutorials do
instead?

    segx scripts/seed_experiments.lua val.h5

1. Weighted cross entropy: dividing by the sum of the weights (PyTorch) makes a common factor
   invisible; dividing by the number of pixels makes it a change of the learning rate.
2. Focal loss: a scalar alpha only scales; a vector by class weighs.
3. Generalized Dice: the weight belongs in numerator and denominator, and is 1/n^2 of each class.
   The tutorial version (variant = "seed") puts one constant into the numerator only, and stays
   near 1 whatever the network does.
]]
local d <close> = segx.open(arg[1])
local L, W, format = segx.loss, segx.weights, segx.format
local numbers = {precision = "double"}

local function value(loss) return loss:eval(d, numbers).value end

-- Rows {what, loss}: text, value.
local function show(title, rows)
  print("\n" .. title)
  local cells = {}
  for i, r in ipairs(rows) do cells[i] = {r[1], value(r[2]), r[2] and tostring(r[2]):sub(1, 70)} end
  print(format.table({"what", "value", "loss"}, cells))
end

local w = W.inverse_frequency(d)
print "class weights, 1 / share of the pixels"
print(w)

show("1. weighted cross entropy", {
  {"no weights", L.ce {}},
  {"weights, mean over weights (PyTorch)", L.ce {weight = w, reduction = "weighted_mean"}},
  {"ten times the weights: the same", L.ce {weight = 10 * w, reduction = "weighted_mean"}},
  {"weights, mean over pixels", L.ce {weight = w}},
  {"ten times the weights: ten times", L.ce {weight = 10 * w}},
  {"mean of the class means", L.ce {reduction = "per_class"}},
})

local alpha = W.balanced(d, {normalise = "mean_1"})
show("2. focal loss, gamma 2", {
  {"plain", L.focal {}},
  {"alpha 0.25 as in tutorials: a factor", L.focal {variant = "seed", alpha = 0.25}},
  {"alpha by class", L.focal {alpha = alpha}},
  {"gamma 0 is cross entropy", L.focal {gamma = 0}},
})

show("3. generalized Dice", {
  {"weights 1/n^2 (Sudre et al.)", L.generalized_dice {}},
  {"weights 1/n", L.generalized_dice {weight_type = "simple"}},
  {"no weights", L.generalized_dice {weight_type = "uniform"}},
  {"tutorial version", L.generalized_dice {variant = "seed", smooth = 1e-5}},
  {"plain Dice, mean over classes", L.dice {}},
})

--[==[ Output with the sample dump (./try makes it):
class weights, 1 / share of the pixels
class       inverse_frequency
sky                   3.38263
building              7.99977
vegetation            6.07474
road                  3.39273
sidewalk              19.3552
car                   20.2094
person                 134.39
pole                  115.466
sign                  362.957

1. weighted cross entropy
what                                     value  loss
no weights                            0.190043  L.cross_entropy{}
weights, mean over weights (PyTorch)  0.576485  L.cross_entropy{reduction = "weighted_mean", weight = {3.3826312413129
ten times the weights: the same       0.576485  L.cross_entropy{reduction = "weighted_mean", weight = {33.826312413129
weights, mean over pixels              5.18837  L.cross_entropy{weight = {3.382631241312948, 7.999768216106873, 6.0747
ten times the weights: ten times       51.8837  L.cross_entropy{weight = {33.82631241312948, 79.99768216106874, 60.747
mean of the class means               0.576485  L.cross_entropy{reduction = "per_class"}

2. focal loss, gamma 2
what                                      value  loss
plain                                 0.0871453  L.focal{}
alpha 0.25 as in tutorials: a factor  0.0210349  L.focal{alpha = 0.25, reduction = "mean_all", variant = "seed"}
alpha by class                        0.0416916  L.focal{weight = {0.04522045355452271, 0.10694430496745357, 0.08120970
gamma 0 is cross entropy               0.190043  L.focal{gamma = 0}

3. generalized Dice
what                              value  loss
weights 1/n^2 (Sudre et al.)   0.573839  L.generalized_dice{}
weights 1/n                    0.306212  L.generalized_dice{weight_type = "simple"}
no weights                     0.115197  L.generalized_dice{weight_type = "uniform"}
tutorial version               0.999928  L.generalized_dice{smooth = 1e-05, variant = "seed"}
plain Dice, mean over classes  0.297214  L.dice{}
]==]
