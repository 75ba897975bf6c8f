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
