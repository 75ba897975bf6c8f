-- test_dumps.lua: real dumps (in the folder that SEGX_DUMPS names; skipped without) against numbers
-- that were computed elsewhere, in float64, from the files alone.
local T = require "harness"
if os.getenv "SEGX_REF" then T.skip "the reference reads no files" end
local segx = require "segx"
local test, near, eq = T.test, T.near, T.eq
local L, W = segx.loss, segx.weights

local known = {
  {"camvid_val.h5", ce = 0.34235926945050499, wce = 1.2836790839003576, focal = 0.2365831658155047, dice = 0.47964894374819778, gdice = 0.80636189621402155,
    jaccard = 0.56008986572898378, tversky = 0.47368290448605732, accuracy = 0.88811444933292605, miou = 0.47009108516882159, pixels = 1528991},
  {"drive_test.h5", ce = 0.13376291801627788, wce = 0.37392793232833293, focal = 0.072893934388437998, dice = 0.16483705262247605, gdice = 0.25348698912601342,
    jaccard = 0.26368952647519406, tversky = 0.17009688316835669, accuracy = 0.94908986594582667, miou = 0.79673025699470945, pixels = 2265875},
  {"dubai_sat.h5", ce = 0.48529739357864238, wce = 0.80387230051216862, focal = 0.25819795637015719, dice = 0.41863620887613795, gdice = 0.51697916341695116,
    jaccard = 0.55918592646417742, tversky = 0.41896103528459627, accuracy = 0.82652387675517647, miou = 0.58457461841425329, pixels = 1101385},
  {"em_volume.h5", ce = 0.18286445491145706, wce = 0.32402825150496511, focal = 0.092183768352106954, dice = 0.16883817792962774, gdice = 0.23294494616500705,
    jaccard = 0.27512623986792173, tversky = 0.16947501272221921, accuracy = 0.92559814453125, miou = 0.79073391479906918, pixels = 1310720},
  {"variants/v09_groups_varied_size.h5", ce = 0.81652227316843795, wce = 1.1958001861412053, focal = 0.50805920291856643, dice = 0.51312588205150211, gdice = 0.66624319324831882,
    jaccard = 0.65523872512396919, tversky = 0.51993290730222341, accuracy = 0.69369004440843818, miou = 0.44200636979008506, pixels = 535709},
  {"variants/v15_sigmoid_1ch_f32.h5", ce = 0.13289237710890311, wce = 0.31978694180630701, focal = 0.070350538442517138, dice = 0.14569952202648895, gdice = 0.21334750879823283,
    jaccard = 0.24041107286441998, tversky = 0.15233363212977968, accuracy = 0.94786272824469087, miou = 0.81778886017173547, pixels = 143103},
  {"variants/v17_edges_void_absent.h5", ce = 0.30762900733310961, wce = 0.87863724946402633, focal = 0.20177204497638559, dice = 0.49221872696816993, gdice = 0.65271300108696051,
    jaccard = 0.56637347064528987, tversky = 0.48731839393516907, accuracy = 0.89767040552200172, miou = 0.57342763673091612, pixels = 52155},
}

-- Absent classes: here counted in the mean, with what the smoothing of 1e-5 leaves; weight 0 in the
-- generalized Dice.
local region = {smooth = 1e-5, empty = "smooth"}

local function losses(d)
  return {
    ce = L.ce {}, wce = L.ce {weight = W.balanced(d), reduction = "weighted_mean"}, focal = L.focal {},
    dice = L.dice(region), jaccard = L.jaccard(region), tversky = L.tversky {alpha = 0.3, beta = 0.7, smooth = 1e-5, empty = "smooth"},
    gdice = L.generalized_dice {missing = "zero"},
  }
end

-- Mean IoU of the classes that occur. (m.miou counts a class that is predicted but never occurs as
-- 0.)
local function miou_of_occurring(d, m)
  local sum, n = 0, 0
  for c, pixels in ipairs(W.counts(d).counts) do
    if pixels > 0 then sum, n = sum + m.iou[c - 1], n + 1 end
  end
  return sum / n
end

for _, k in ipairs(known) do
  test(k[1])(function()
    local path = T.dump(k[1])
    warn "@off"
    local d <close> = segx.open(path)
    for name, loss in pairs(losses(d)) do
      -- The numbers' own sums are good to about 2e-12 (ours agree among each other to the last
      -- digit: TP + sum of u = n).
      near(loss:eval(d, {precision = "double"}).value, k[name], 3e-12, 0, name)
      near(loss:eval(d, {precision = "single"}).value, k[name], 1e-6, 0, name .. " in single")
    end
    local m, pixels = d:metrics {}, 0
    for _, n in ipairs(W.counts(d).counts) do pixels = pixels + n end
    near({m.pixel_accuracy, miou_of_occurring(d, m)}, {k.accuracy, k.miou}, 1e-14)
    eq(pixels, k.pixels)
    warn "@on"
  end)
end
