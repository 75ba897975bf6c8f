--[[
How do I try a loss of my own?

    segx scripts/custom_loss.lua val.h5

Two losses that segx does not have: a pixel loss (poly-1 cross entropy, Leng et al. 2022) and a
region loss (soft Matthews correlation). Written once, they take class weights, units, masks and
sweeps like the built-in ones.
]]
local d <close> = segx.open(arg[1])
local L, A, W = segx.loss, segx.axis, segx.weights

-- One value per pixel: reduction, ignored pixels and class weights are handled around it.
local poly1 = L.define("poly1", {epsilon = 1}, function(x, q) return x.ce + q.epsilon * x.u end)

-- A vector by class from sums over pixels: class average and empty classes are handled around it.
local mcc = L.define("mcc", {}, function(x)
  local tp, predicted, labelled = (x.p * x.onehot):sum("pixel"), x.p:sum("pixel"), x.onehot:sum("pixel")
  local all = x.valid:sum("pixel")
  local top = tp * all - predicted * labelled
  local bottom = (predicted * labelled * (all - predicted) * (all - labelled)):sqrt()
  return 1 - segx.ratio(top, bottom, 0)
end)

local loss = 0.5 * poly1 {weight = W.inverse_sqrt(d, {normalise = "mean_1"})} + mcc {empty = "zero"}
print(loss:eval(d))

-- Only where the network is unsure.
local unsure = poly1:where(function(x) return x.p:max("class"):lt(0.7) end)
print(("\npoly1 where the largest probability is below 0.7: %.4f"):format(unsure(d).value))

local epsilon = A.lin("epsilon", -1, 4, 6)
print(segx.sweep {dump = d, loss = poly1 {epsilon = epsilon} + mcc,
  want = {"value", "parts", "tau(iou)"}}:run())

--[==[ Output with the sample dump (./try makes it):
0.5*poly1{weight = {0.27932963737021455, 0.4295645083848551, 0.37432904166729736, 0.2797461919719829, 0.6681730448356291, 0.682756665608217, 1.7606534484882694, 1.631988910359535, 2.8934585513139983}} + mcc{empty = "zero"}
value  0.401022
part   factor     value       adds
poly1  0.5      0.18178  0.0908902  poly1{weight = {0.27932963737021455, 0.4295645083848551, ...
mcc    1       0.310132   0.310132  mcc{empty = "zero"}
class            loss  share
sky          0.085999  3.2 %
building     0.264066  7.5 %
vegetation   0.305197  10.0 %
road        0.0952561  3.3 %
sidewalk     0.614768  12.3 %
car          0.329711  6.6 %
person        1.79917  16.3 %
pole          2.44807  21.9 %
sign          2.97052  18.9 %

poly1 where the largest probability is below 0.7: 1.2993
epsilon     value  part.poly1  part.mcc  tau(iou)
     -1  0.384978   0.0748455  0.310132  0.726 [0.597, 0.831]
      0  0.500175    0.190043  0.310132  0.694 [0.533, 0.822]
      1  0.615373     0.30524  0.310132  0.653 [0.481, 0.801]
      2   0.73057    0.420438  0.310132  0.637 [0.452, 0.795]
      3  0.845768    0.535635  0.310132  0.605 [0.4, 0.771]
      4  0.960965    0.650833  0.310132  0.593 [0.381, 0.758]
]==]
