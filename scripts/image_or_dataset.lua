--[[
Does it matter whether Dice is summed over an image, a batch or the whole data set, and what absent
classes count?

    segx scripts/image_or_dataset.lua val.h5

The same predictions, the same formula; libraries differ in just these choices.
]]
local d <close> = segx.open(arg[1])
local L, format = segx.loss, segx.format

local units = {{"image", "image"}, {"batch of 4", {batch = 4}}, {"batch of 16", {batch = 16}},
  {"data set", "dataset"}}
local rows = {}
for i, unit in ipairs(units) do
  rows[i] = {unit[1]}
  for k, empty in ipairs {"skip", "zero", "smooth"} do
    rows[i][k + 1] = L.dice {unit = unit[2], empty = empty, smooth = 1e-5}(d).value
  end
end
print "Dice, smooth 1e-5; absent classes: skipped, counted as 0, counted as what smoothing leaves"
print(format.table({"sums over", "skip", "zero", "smooth"}, rows))

print "\nthe same choice for metrics"
local aggregations = {"dataset", "image_class", "class_image"}
for i, how in ipairs(aggregations) do
  local m = d:metrics {aggregation = how}
  rows[i] = {how, m.miou, m.mdice, m.pixel_accuracy}
end
rows[4] = nil
print(format.table({"aggregation", "miou", "mdice", "pixel accuracy"}, rows))

--[==[ Output with the sample dump (./try makes it):
Dice, smooth 1e-5; absent classes: skipped, counted as 0, counted as what smoothing leaves
sums over        skip      zero    smooth
image        0.304257  0.288119  0.343675
batch of 4   0.306488  0.306488  0.306488
batch of 16  0.299575  0.299575  0.299575
data set     0.297214  0.297214  0.297214

the same choice for metrics
aggregation      miou     mdice  pixel accuracy
dataset      0.712972  0.813793        0.933149
image_class  0.692959  0.779471        0.933138
class_image  0.698472  0.783963        0.933138
]==]
