-- test_losses.lua: the built-in losses, losses defined as a user would, and their options, against
-- numbers that were computed independently. Comments name what goes wrong elsewhere.
local T = require "harness"
local F = require "fixtures"
local segx = require "segx"
local core = require "segx.core"
local test, eq, near, throws, ok = T.test, T.eq, T.near, T.throws, T.ok
local L, A, W = segx.loss, segx.axis, segx.weights
local ln2 = math.log(2)
local value = F.value

local EXACT = 1e-12           -- closed forms, relative
local PRINTED = 6e-9          -- numbers known to eight decimals, absolute
local SIX = 6e-7              -- to six

local T1, T2, T1i = F.T1(), F.T2(), F.T1i()
local w = {1, 2, 4}

-- Checks a list of {what, loss, dump, closed form} or {what, loss, dump, number, its absolute
-- accuracy}.
local function check(rows)
  for _, r in ipairs(rows) do
    local what, loss, d, want, accuracy = table.unpack(r)
    test(what)(function() near(value(loss, d), want, accuracy and 0 or EXACT, accuracy or 0) end)
  end
end

-- -- Pixel losses ---------------------------------------------------------------------------------

-- T1's 12 logits are 4 x log 2 and 8 x log 1; positives: 3 at log 2, 1 at log 1; negatives: 1 at
-- log 2, 7 at log 1.
local function sigmoid_focal(alpha)
  local function term(p) return (1 - p) ^ 2 * -math.log(p) end
  local positives, negatives = 3 * term(2 / 3) + term(1 / 2), term(1 / 3) + 7 * term(1 / 2)
  return (alpha * positives + (1 - alpha) * negatives) / 12
end

check {
  {"ce mean", L.ce {}, T1, 1.25 * ln2},
  {"ce without braces", L.ce, T1, 1.25 * ln2},
  {"ce sum", L.ce {reduction = "sum"}, T1, 5 * ln2},
  {"ce weights, weighted_mean", L.ce {weight = w, reduction = "weighted_mean"}, T1, 1.5 * ln2},
  {"ce weights, mean", L.ce {weight = w}, T1, 3 * ln2},
  {"ce per_class", L.ce {reduction = "per_class"}, T1, 4 / 3 * ln2},
  {"ce smoothing", L.ce {label_smoothing = 0.1}, T1, 0.89531511, PRINTED},
  {"ce smoothing, weights", L.ce {label_smoothing = 0.1, weight = w, reduction = "weighted_mean"},
    T1, 1.5625 * ln2},
  {"ce on ignored pixels", L.ce {}, T1i, ln2},
  {"ce mean_all on ignored pixels", L.ce {reduction = "mean_all"}, T1i, 0.75 * ln2},
  {"ce mean_image", L.ce {reduction = "mean_image"}, T2, 1.125 * ln2},
  {"ce unit image", L.ce {unit = "image"}, T2, 1.125 * ln2},
  {"ce seed variant", L.ce {variant = "seed", weight = w}, T1, 1.5 * ln2},
  {"focal gamma 0", L.focal {gamma = 0}, T1, 1.25 * ln2},
  {"focal gamma 0.5", L.focal {gamma = 0.5}, T1, 0.66773834, PRINTED},
  {"focal gamma 1", L.focal {gamma = 1}, T1, 0.51986039, PRINTED},
  {"focal gamma 2", L.focal {}, T1, (3 * 0.25 * ln2 + 0.5625 * 2 * ln2) / 4},
  {"focal gamma 5", L.focal {gamma = 5}, T1, 0.09848917, PRINTED},
  {"focal weights, mean", L.focal {weight = w}, T1, 0.95307737, PRINTED},
  {"focal weights, weighted_mean", L.focal {weight = w, reduction = "weighted_mean"}, T1,
    0.47653869, PRINTED},
  {"focal alpha vector is weight", L.focal {alpha = w}, T1, 0.95307737, PRINTED},
  {"focal alpha .75 .25 .25", L.focal {alpha = {0.75, 0.25, 0.25}}, T1, 0.12454988, PRINTED},
  {"focal alpha .25 .75 .75", L.focal {alpha = {0.25, 0.75, 0.75}}, T1, 0.20036286, PRINTED},
  {"focal mean_elements", L.focal {reduction = "mean_elements"}, T1, 0.10830425, PRINTED},
  -- MONAI drops the channel before the softmax: 0.02729231
  {"focal without background keeps the softmax",
    L.focal {include_background = false, reduction = "mean_elements"}, T1, 0.11913467, PRINTED},
  {"focal seed variant, alpha 1", L.focal {variant = "seed", alpha = 1}, T1, 0.32491274, PRINTED},
  {"focal seed variant, alpha .25", L.focal {variant = "seed", alpha = 0.25}, T1, 0.08122818,
    PRINTED},
  {"focal_sigmoid, pixel mean", L.focal_sigmoid {}, T1, 0.50243038, PRINTED},
  {"focal_sigmoid, mean_elements", L.focal_sigmoid {reduction = "mean_elements"}, T1, 0.16747679,
    PRINTED},
  {"focal_sigmoid, alpha .25", L.focal_sigmoid {reduction = "mean_elements", alpha = 0.25}, T1,
    sigmoid_focal(0.25)},
  {"focal_sigmoid, alpha .5 halves", 2 * L.focal_sigmoid {alpha = 0.5}, T1, 0.50243038, PRINTED},
}

-- -- Region losses --------------------------------------------------------------------------------

local monai = {smooth = 1e-5, empty = "smooth"}
local function with(base, more)
  local o = {}
  for k, v in pairs(base) do o[k] = v end
  for k, v in pairs(more) do o[k] = v end
  return o
end

-- Dice with smooth 1e-5 by hand, from TP, P and n by class. (MONAI prints, in float32: .590738,
-- .77777094, .63675040.)
local function dice_1e5(tp, mass, n)
  local sum = 0
  for c = 1, 3 do sum = sum + 1 - (2 * tp[c] + 1e-5) / (mass[c] + n[c] + 1e-5) end
  return sum / 3
end
local monai_1 = dice_1e5({1, 0.5, 0.25}, {1.75, 1.25, 1}, {2, 1, 1})
local monai_2 = dice_1e5({2, 0, 0}, {2, 1, 1}, {4, 0, 0})
local monai_both = dice_1e5({3, 0.5, 0.25}, {3.75, 2.25, 2}, {6, 1, 1})

check {
  {"dice", L.dice {}, T1, 0.59074074, PRINTED},
  {"dice without background", L.dice {include_background = false}, T1, 0.65277778, PRINTED},
  {"dice on two classes", L.dice {}:on {"1", "2"}, T1, 0.65277778, PRINTED},
  {"dice smooth 1", L.dice {smooth = 1}, T1, 0.41767881, PRINTED},
  {"dice micro", L.dice {average = "micro"}, T1, 0.5625},
  {"dice squared", L.dice {squared = true}, T1, 0.39774557, PRINTED},
  {"dice smooth_dr only", L.dice {smooth_dr = 1}, T1, 0.70152946, PRINTED},
  {"dice squared smooth 1 (mmseg 1.0)", L.dice {squared = true, smooth = 1}, T1, 0.241978, SIX},
  {"log dice", L.dice {log = true}, T1, 0.941944, SIX},
  {"dice weighted", L.dice {weight = w, average = "weighted"}, T1, 0.653968, SIX},
  {"dice weighted_raw", L.dice {weight = w, average = "weighted_raw", smooth = 1e-5}, T1, 1.525919,
    SIX},
  {"dice absent class skipped", L.dice {}, T1i, 0.44230769, PRINTED},
  {"dice absent class zero (SMP)", L.dice {empty = "zero"}, T1i, 0.29487179, PRINTED},
  {"dice absent class counted as 1", L.dice {empty = "smooth"}, T1i, 0.62820513, PRINTED},
  {"dice squared smooth 1 with a correct mask",
    L.dice {squared = true, smooth = 1, empty = "smooth"}, T1i, 3 / 19},
  {"dice per image (MONAI)", L.dice(with(monai, {unit = "image"})), T2, (monai_1 + monai_2) / 2},
  {"dice per batch (MONAI)", L.dice(with(monai, {unit = {batch = 2}})), T2, monai_both},
  {"dice per data set", L.dice(monai), T2, monai_both},
  {"dice batches of 1 are images", L.dice(with(monai, {unit = {batch = 1}})), T2,
    (monai_1 + monai_2) / 2},
  {"dice image 2 (MONAI)", L.dice(monai), F.T2b(), monai_2},
  {"dice image 2, absent zero (SMP)", L.dice {empty = "zero", smooth_dr = 1e-7}, F.T2b(),
    0.11111111, PRINTED},
  {"jaccard", L.jaccard {}, T1, 0.735931, SIX},
  {"tversky .3 .7", L.tversky {alpha = 0.3, beta = 0.7}, T1, 0.58846773, PRINTED},
  {"tversky .7 .3", L.tversky {alpha = 0.7, beta = 0.3}, T1, 0.59217429, PRINTED},
  {"focal_tversky", L.focal_tversky {alpha = 0.3, beta = 0.7}, T1, 0.669508, SIX},
  {"focal_tversky power_of_mean", L.focal_tversky {alpha = 0.3, beta = 0.7, power_of_mean = true},
    T1, 0.671880, SIX},
  {"generalized_dice square", L.generalized_dice {}, T1, 51 / 83},
  {"generalized_dice simple", L.generalized_dice {weight_type = "simple"}, T1, 0.59183673, PRINTED},
  {"generalized_dice uniform", L.generalized_dice {weight_type = "uniform"}, T1, 0.5625},
  {"generalized_dice missing max", L.generalized_dice {}, F.T2b(), 0.5},
  {"generalized_dice per image", L.generalized_dice {unit = "image", smooth = 1e-5}, T2, 0.55722332,
    PRINTED},
  {"generalized_dice per batch", L.generalized_dice {unit = {batch = 2}, smooth = 1e-5}, T2,
    1 - (2 * (3 / 36 + 0.75) + 1e-5) / (9.75 / 36 + 6.25 + 1e-5)},
  {"generalized_dice seed variant", L.generalized_dice {variant = "seed", smooth = 1e-5}, T1,
    0.89062541, PRINTED},
}

-- -- Losses as a user would define them -----------------------------------------------------------

local poly1 = L.define("poly1", {epsilon = 1}, function(x, q) return x.ce + q.epsilon * x.u end)
local gce = L.define("gce", {q = 0.7}, function(x, q) return (1 - x.pt ^ q.q) / q.q end)
local sce = L.define("sce", {alpha = 1, beta = 1, A = -4},
  function(x, q) return q.alpha * x.ce - q.beta * q.A * x.u end)
local mae = L.define("mae", {}, function(x) return (x.p - x.onehot):abs():sum("class") end)
local brier = L.define("brier", {}, function(x) return (x.p - x.onehot):square():sum("class") end)
local logit_adjusted = L.define("logit_adjusted", {tau = 1, prior = {0.5, 0.25, 0.25}},
  function(x, q)
  local z = x.logits + q.tau * q.prior:log()
  return z:logsumexp("class") - z:pick(x.labels)
end)
local mcc = L.define("mcc", {}, function(x)
  local tp, mass, n = (x.p * x.onehot):sum("pixel"), x.p:sum("pixel"), x.onehot:sum("pixel")
  local m = x.valid:sum("pixel")
  return 1 - segx.ratio(tp * m - mass * n, (mass * n * (m - mass) * (m - n)):sqrt(), 0)
end)
local normalized_focal = L.define("normalized_focal", {gamma = 2}, function(x, q)
  local f = x.u ^ q.gamma
  return (f * x.ce):sum("pixel") / f:sum("pixel")
end)
local log_cosh_dice = L.define("log_cosh_dice", {}, function(x)
  local tp, mass, n = (x.p * x.onehot):sum("pixel"), x.p:sum("pixel"), x.onehot:sum("pixel")
  local l = 1 - 2 * tp / (mass + n)
  return ((l:exp() + (-l):exp()) / 2):log()
end)
local wasserstein = L.define("wasserstein", {smooth = 0}, function(x, q)
  local M = segx.tensor {{0, 1, 1}, {1, 0, 0.5}, {1, 0.5, 0}}
  local cost = (M:pick(x.labels) * x.p):sum("class")
  local tp = (x.labels:gt(0) * (1 - cost)):sum("pixel")
  return 1 - (2 * tp + q.smooth) / (2 * tp + cost:sum("pixel") + q.smooth)
end)
local sensitivity_specificity = L.define("ss", {r = 0.05}, function(x, q)
  local e = (x.p - x.onehot):square()
  local n, m = x.onehot:sum("pixel"), x.valid:sum("pixel")
  return q.r * (e * x.onehot):sum("pixel") / n
    + (1 - q.r) * (e * (1 - x.onehot)):sum("pixel") / (m - n)
end)

check {
  {"poly1", poly1, T1, 1.42893398, PRINTED},
  {"gce", gce, T1, 0.63369794, PRINTED},
  {"sce", sce {alpha = 0.1}, T1, 2.33664340, PRINTED},
  {"mae", mae, T1, 1.125},
  {"brier", brier, T1, 0.5},
  {"logit_adjusted", logit_adjusted, T1, 0.87974510, PRINTED},
  {"mcc", mcc, T1, 0.88015405, PRINTED},
  {"normalized_focal", normalized_focal, T1, 1.875 / 1.3125 * ln2},
  {"log_cosh_dice", log_cosh_dice, T1, 0.170133, SIX},
  {"wasserstein dice", wasserstein, T1, 0.5},
  {"sensitivity_specificity", sensitivity_specificity, T1, 0.106771, SIX},
}

-- -- Against loops over pixels --------------------------------------------------------------------

-- Probabilities and label of every valid pixel: list by image of {p = {by class}, y = 1-based
-- class}.
local function pixels_of(logits, labels)
  local images = {}
  for i = 1, #logits do
    images[i] = {}
    for y, row in ipairs(labels[i]) do
      for x, label in ipairs(row) do
        if label ~= 255 then
          local p, s = {}, 0
          for c = 1, #logits[i] do
            p[c] = math.exp(logits[i][c][y][x])
            s = s + p[c]
          end
          for c = 1, #p do p[c] = p[c] / s end
          table.insert(images[i], {p = p, y = label + 1})
        end
      end
    end
  end
  return images
end

local R, logits, labels = F.random(7, 5, 4, 6, 5)
local images = pixels_of(logits, labels)
local w4 = {0.5, 1, 2, 5}

local function over(list, f)
  local s = 0
  for _, px in ipairs(list) do s = s + f(px) end
  return s
end

local function join(...)
  local all = {}
  for _, list in ipairs {...} do table.move(list, 1, #list, #all + 1, all) end
  return all
end

local everything = join(table.unpack(images))

local function dice_of(list)
  local sum, present = 0, 0
  for c = 1, 4 do
    local n = over(list, function(px) return px.y == c and 1 or 0 end)
    local tp = over(list, function(px) return px.y == c and px.p[c] or 0 end)
    local mass = over(list, function(px) return px.p[c] end)
    if n > 0 then sum, present = sum + 1 - 2 * tp / (mass + n), present + 1 end
  end
  return sum / present
end

local BRUTE = 1e-11

test "weighted focal against a loop" (function()
  local s = over(everything, function(px)
    local pt = px.p[px.y]
    return w4[px.y] * (1 - pt) ^ 1.7 * -math.log(pt)
  end)
  near(value(L.focal {gamma = 1.7, weight = w4}, R), s / #everything, BRUTE)
  near(value(L.focal {gamma = 1.7, weight = w4, reduction = "mean_all"}, R), s / 150, BRUTE)
  local weight = over(everything, function(px) return w4[px.y] end)
  near(value(L.focal {gamma = 1.7, weight = w4, reduction = "weighted_mean"}, R), s / weight, BRUTE)
end)

test "smoothing with the label's weight against a loop" (function()
  local s = over(everything, function(px)
    local spread = 0
    for c = 1, 4 do spread = spread - math.log(px.p[c]) end
    return w4[px.y] * (0.8 * -math.log(px.p[px.y]) + 0.05 * spread)
  end)
  local loss = L.ce {label_smoothing = 0.2, smoothing_weight = "label", weight = w4}
  near(value(loss, R), s / #everything, BRUTE)
end)

test "dice by data set, image and batch of two against loops" (function()
  near(value(L.dice {}, R), dice_of(everything), BRUTE)
  local sum = 0
  for i = 1, 5 do sum = sum + dice_of(images[i]) end
  near(value(L.dice {unit = "image"}, R), sum / 5, BRUTE)
  local batches = dice_of(join(images[1], images[2])) + dice_of(join(images[3], images[4]))
    + dice_of(images[5])
  near(value(L.dice {unit = {batch = 2}}, R), batches / 3, BRUTE)
end)

test "focal by batch of two against a loop" (function()
  local function mean(list)
    return over(list, function(px) return (1 - px.p[px.y]) ^ 2 * -math.log(px.p[px.y]) end) / #list
  end
  local sum = mean(join(images[1], images[2])) + mean(join(images[3], images[4])) + mean(images[5])
  near(value(L.focal {unit = {batch = 2}}, R), sum / 3, BRUTE)
end)

test "a mask against a loop" (function()
  local chosen = {}
  for _, px in ipairs(everything) do
    if px.p[px.y] < 0.5 then chosen[#chosen + 1] = px end
  end
  local hard = function(x) return x.pt:lt(0.5) end
  near(value(L.ce {}:where(hard), R),
    over(chosen, function(px) return -math.log(px.p[px.y]) end) / #chosen, BRUTE)
  near(value(L.dice {}:where(hard), R), dice_of(chosen), BRUTE)
end)

test "a pixel loss on two classes is the mean over their pixels" (function()
  local chosen = {}
  for _, px in ipairs(everything) do
    if px.y == 2 or px.y == 4 then chosen[#chosen + 1] = px end
  end
  near(value(L.ce {}:on {"1", "3"}, R),
    over(chosen, function(px) return -math.log(px.p[px.y]) end) / #chosen, BRUTE)
end)

-- -- What goes wrong elsewhere --------------------------------------------------------------------

test "weighted_mean is blind to a common factor, mean is not" (function()
  local w10 = {10, 20, 40}
  near(value(L.ce {weight = w10, reduction = "weighted_mean"}, T1), 1.5 * ln2, EXACT)
  near(value(L.ce {weight = w10}, T1), 30 * ln2, EXACT)
end)

test "the loss of a file is not the mean of the losses of its parts" (function()
  local pixels, parts = {{2, 1, 1}, {2, 1, 1}, {1, 2, 1}, {2, 1, 1}}, {}
  for i, p in ipairs(pixels) do parts[i] = F.plane({p}, 1, 1) end
  local d = segx.memory {logits = parts, labels = {{{0}}, {{0}}, {{1}}, {{2}}}}
  near(value(L.ce {weight = w, reduction = "weighted_mean"}, d), 1.5 * ln2, EXACT)   -- not 4/3 ln 2
  near(value(L.dice {}, d), 0.59074074, 0, PRINTED)
end)

test "what stands at ignored pixels changes nothing" (function()
  local all = L.ce {label_smoothing = 0.1} + L.focal {gamma = 0.5} + L.focal_sigmoid {}
    + L.dice {squared = true}
    + L.generalized_dice {} + mcc
  local want = all(T1i, {precision = "double"}).value
  for _, junk in ipairs {1e4, -1e30, 0 / 0, math.huge} do
    local planes = F.plane({{2, 1, 1}, {2, 1, 1}, {1, 2, 1}, {2, 1, 1}}, 2, 2)
    for c = 1, 3 do planes[c][2][2] = junk end
    local d = segx.memory {logits = {planes}, labels = {{{0, 0}, {1, 255}}}, ignore_index = 255}
    eq(all(d, {precision = "double"}).value, want)
  end
end)

test "nothing but ignored pixels: 0, and said so" (function()
  local d = F.T1 {labels = {{{255, 255}, {255, 255}}}, ignore_index = 255}
  for _, loss in ipairs {L.ce {}, L.ce {reduction = "sum"}, L.ce {unit = "image"}, L.dice {},
    L.dice {unit = "image"}, L.generalized_dice {}} do
    local r = loss(d)
    eq(r.value, 0.0, tostring(loss))
    eq(r.empty, true, tostring(loss))
  end
  local r = L.ce {weight = {0, 0, 4}, reduction = "weighted_mean"}(T1i)
  eq({r.value, r.empty}, {0.0, true})
  eq(L.ce {}(T1i).empty, false)
end)

test "an image without valid pixels does not pull the mean down" (function()
  local d = segx.memory {
    logits = {F.plane({{2, 1, 1}}, 1, 1), F.plane({{2, 1, 1}}, 1, 1)}, labels = {{{0}}, {{255}}},
    ignore_index = 255,
  }
  near(value(L.ce {unit = "image"}, d), ln2, EXACT)
end)

test "labels out of range are refused, with the place" (function()
  throws("image 1", segx.memory,
    {logits = {F.plane({{2, 1, 1}, {2, 1, 1}}, 1, 2)}, labels = {{{0, 7}}}})
end)

test "ignoring a real class drops its pixels, not its channel" (function()
  local d = F.T1 {ignore_index = 2}
  near(value(L.ce {}, d), ln2, EXACT)
end)

test "large margins keep their digits" (function()
  local right, wrong = F.row({{17, 0}}, {0}), F.row({{0, 100}}, {0})
  near(value(L.ce {}, right), 4.1399376e-8, 1e-7)
  near(value(L.focal {gamma = 1}, right), 4.1399376e-8 * 4.1399376e-8, 1e-6)
  near(value(L.ce {}, wrong), 100, EXACT)
  near(value(L.focal {}, wrong), 100, EXACT)
end)

test "no NaN where nothing is left to learn" (function()
  local sure = F.row({{1e4, 0}, {1e4, 0}}, {0, 0})
  for _, gamma in ipairs {0, 0.3, 0.5, 1, 2} do eq(L.focal {gamma = gamma}(sure).value, 0.0) end
  near(L.focal {gamma = 0.5}(F.row({{100, 0}}, {0})).value, 0, 0, 1e-40)
end)

test "gamma 0 is cross entropy, to the bit" (function()
  for _, precision in ipairs {"single", "double"} do
    local o = {precision = precision}
    eq(L.focal {gamma = 0}(R, o).value, L.ce {}(R, o).value)
  end
end)

test "a sweep gives the digits of its single configurations" (function()
  local gammas = {0, 0.3, 0.5, 1, 2, 5.3}
  for _, precision in ipairs {"single", "double"} do
    local o = {precision = precision}
    local swept = L.focal {gamma = A.grid("gamma", gammas)}(R, o).value:totable()
    for i, g in ipairs(gammas) do eq(swept[i], L.focal {gamma = g}(R, o).value) end
    local alphas = {0, 0.25, 0.5, 1}
    swept = L.tversky {alpha = A.grid("alpha", alphas)}(R, o).value:totable()
    for i, a in ipairs(alphas) do eq(swept[i], L.tversky {alpha = a}(R, o).value) end
    swept = L.ce {weight = {1, A.grid("w1", {1, 3, 9}), 2, 1}}(R, o).value:totable()
    for i, v in ipairs {1, 3, 9} do eq(swept[i], L.ce {weight = {1, v, 2, 1}}(R, o).value) end
  end
end)

test "several axes: every cell is the single configuration" (function()
  local gamma, mix = A.grid("g", {0, 2}), A.lin("mix", 0, 1, 3)
  local r = (mix * L.focal {gamma = gamma} + (1 - mix) * L.dice {})(R,
    {precision = "double"}).value:totable()
  for i, g in ipairs {0, 2} do
    for j, m in ipairs {0, 0.5, 1} do
      near(r[i][j], (m * L.focal {gamma = g} + (1 - m) * L.dice {})(R,
        {precision = "double"}).value, 1e-15)
    end
  end
end)

test "zipped parameters move together" (function()
  local gamma, k = A.zip("gamma", {0, 2}, "k", {3, 5})
  local r = (k * L.focal {gamma = gamma})(T1, {precision = "double"}).value:totable()
  near(r, {3 * 1.25 * ln2, 5 * value(L.focal {}, T1)}, EXACT)
end)

test "alpha of focal: vector, two classes, more classes" (function()
  eq(L.focal {alpha = {1, 1, 1}}(T1).value, L.focal {}(T1).value)
  local two = F.row({{0, 0}, {0, 1}, {2, 0}}, {0, 1, 1})
  near(value(L.focal {alpha = 0.25}, two), value(L.focal {weight = {0.75, 0.25}}, two), EXACT)
  throws("no meaning for 3 classes", function() return L.focal {alpha = 0.25}(T1) end)
  throws("alpha and weight are both given", L.focal, {alpha = {1, 1, 1}, weight = {1, 1, 1}})
end)

test "generalized dice: missing classes" (function()
  local d = F.T2b()
  near(value(L.generalized_dice {missing = "zero"}, d), 1 - 4 / 6, EXACT)
  near(value(L.generalized_dice {missing = "eps"}, d), 1, 1e-6)      -- the absent classes decide everything
end)

-- Perfect, and perfectly wrong, 2x2 images.
local function sharp(truth, answer)
  local px = {}
  for i, c in ipairs(answer) do
    px[i] = {c == 0 and 60 or 0, c == 1 and 60 or 0, c == 2 and 60 or 0}
  end
  return F.row(px, truth)
end

test "perfect is 0, all wrong is 1" (function()
  local right, wrong = sharp({0, 0, 1, 2}, {0, 0, 1, 2}), sharp({0, 0, 1, 2}, {1, 2, 2, 0})
  for _, loss in ipairs {L.dice {}, L.jaccard {}, L.tversky {}, L.focal_tversky {gamma = 1},
    L.generalized_dice {}, L.dice {weight = w}} do
    near(value(loss, right, {floor = 1e-12}), 0, 0, 1e-12, tostring(loss))
    near(value(loss, wrong), 1, 1e-12, 0, tostring(loss))
  end
end)

test "identities between region losses" (function()
  local D, J = L.dice {}(R, {precision = "double"}), L.jaccard {}(R, {precision = "double"})
  for c = 0, 3 do
    local dice = 1 - D.per_class[c]
    near(1 - J.per_class[c], dice / (2 - dice), EXACT)
  end
  near(value(L.tversky {smooth = 1}, R), value(L.dice {smooth = 2}, R), EXACT)
  near(value(L.tversky {alpha = 1, beta = 1}, R), value(L.jaccard {}, R), EXACT)
end)

test "micro tversky does not see alpha against beta, and warns" (function()
  local said = {}
  local old = warn
  warn = function(...) said[#said + 1] = table.concat {...} end
  near(value(L.tversky {alpha = 0.3, beta = 0.7, average = "micro"}, T1), 0.5625, EXACT)
  near(value(L.tversky {alpha = 0.7, beta = 0.3, average = "micro"}, T1), 0.5625, EXACT)
  warn = old
  ok(said[1] and said[1]:find "micro", "a warning")
end)

test "micro of mcc counts the pixels once per class" (function()
  -- one-vs-rest confusion summed over classes: TP 1.75, P 4, n 4, M 12
  near(value(mcc {average = "micro"}, T1), 1 - (1.75 * 12 - 16) / math.sqrt(16 * 64), EXACT)
end)

test "tiny smoothing survives" (function()
  -- an absent class with mass 1e-6 and smooth 1e-5: 1 - s/(P+s)
  local d = F.row({{math.log(1 - 1e-6), math.log(1e-6)}}, {0})
  local r = L.dice {smooth = 1e-5, empty = "smooth"}:eval(d, {precision = "double"})
  near(r.per_class[1], 1e-6 / 1.1e-5, 1e-9)
end)

test "label smoothing 0.1 of three classes is .9333 .0333 .0333" (function()
  local d = F.row({{math.log(0.7), math.log(0.2), math.log(0.1)}}, {0})
  local want = -(0.9 + 0.1 / 3) * math.log(0.7) - 0.1 / 3 * math.log(0.2) - 0.1 / 3 * math.log(0.1)
  near(value(L.ce {label_smoothing = 0.1}, d), want, EXACT)
end)

test "a compound is the sum of its parts, shares sum to 1" (function()
  local loss = 0.3 * L.focal {weight = w4} + 2 * L.dice {}:name "overlap"
    - 0.5 * L.tversky {alpha = 0.2}
  local r = loss(R, {precision = "double"})
  local total, share = 0, 0
  for _, p in ipairs(r.parts) do total = total + p.factor * p.value end
  near(r.value, total, 1e-15)
  for c = 0, 3 do share = share + r.share[c] end
  near(share, r.value, EXACT)
  eq(r.parts[2].label, "overlap")
  eq({r.parts[1].factor, r.parts[3].factor}, {0.3, -0.5})
end)

test "values by class" (function()
  local r = L.ce {}(T1, {precision = "double"})
  near({r.per_class[0], r.per_class[1], r.per_class[2]}, {ln2, ln2, 2 * ln2}, EXACT)
  eq(r.per_class["2"], r.per_class[2])
  local i = L.dice {}(T1i).per_class
  ok(i[2] ~= i[2], "a class without pixels has no value")
end)

test "shapes: 3-D, a row, images of one pixel are the same pixels" (function()
  local px, y = {{2, 1, 1}, {2, 1, 1}, {1, 2, 1}, {2, 1, 1}}, {0, 0, 1, 2}
  local planes = F.plane(px, 1, 4)
  local row = segx.memory {logits = {planes}, labels = {{y}}}
  local cube = {}
  for c = 1, 3 do
    local v = planes[c][1]
    cube[c] = {{{v[1]}, {v[2]}}, {{v[3]}, {v[4]}}}
  end
  local volume = segx.memory {logits = {cube}, labels = {{{{0}, {0}}, {{1}, {2}}}}}
  local both = L.focal {} + L.dice {}
  local want = both(T1, {precision = "double"}).value
  eq(both(row, {precision = "double"}).value, want)
  eq(both(volume, {precision = "double"}).value, want)
end)

test "further data sets of the dump, by name" (function()
  local d = F.T1 {fields = {wmap = {{{1, 2}, {3, 4}}}}}
  local mapped = L.define("mapped", {}, function(x) return x.wmap * x.ce end)
  near(value(mapped, d), (1 + 2 + 3 + 4 * 2) * ln2 / 4, EXACT)
  throws("unknown field of x 'wmpa' %(did you mean 'wmap'", function()
    return L.define("mistaken", {}, function(x) return x.wmpa * x.ce end)(d)
  end)
end)

test "the unit of a sum can be said" (function()
  local relative = L.define("relative", {}, function(x)
    return x.ce:sum("pixel", "image") / x.ce:sum("pixel", "dataset")
  end)
  near(value(relative {unit = "image"}, T2), 0.5, EXACT)      -- the images' parts sum to 1, mean over two
end)

-- -- Parameters and names -------------------------------------------------------------------------

test "misspelt names get the nearest known one" (function()
  throws("focal: unknown parameter 'gama' %(did you mean 'gamma'%?%)", L.focal, {gama = 2})
  throws("unknown loss 'focl' %(did you mean 'focal'", function() return L.focl end)
  throws("unknown average 'marco' %(did you mean 'macro'", L.dice, {average = "marco"})
  throws("unknown class 'roda'.*did you mean 'road'", function()
    return L.ce {weight = {roda = 2}}(F.T1 {class_names = {"road", "sky", "pole"}})
  end)
end)

test "misuse is blamed on the caller's line" (function()
  local _, e = pcall(function() return L.focal {gama = 2} end)
  ok(e:match "^[^\n]*test_losses%.lua:%d+: focal", e)
end)

test "wrong values are refused" (function()
  throws("gamma = %-1; it must be at least 0", L.focal, {gamma = -1})
  throws("not a finite number", L.focal, {gamma = 0 / 0})
  throws("not a finite number", L.dice, {smooth = math.huge})
  throws("label_smoothing = 1.5; it must be between 0 and 1", L.ce, {label_smoothing = 1.5})
  throws("alpha %+ beta is 0", L.tversky, {alpha = 0, beta = 0})
  throws("smooth is a number or a sweep axis, not a string", L.dice, {smooth = "1"})
  throws("squared is true or false", L.dice, {squared = 1})
  throws("weight %-1", function() return L.ce {weight = {1, -1, 1}}(T1) end)
  throws("2 values for 3 classes", function() return L.ce {weight = {1, 1}}(T1) end)
  throws('unit is "dataset", "image" or {batch = B}', L.dice, {unit = {batch = 0}})
  throws("not a finite", A.grid, "g", {0 / 0})
end)

test "wrong values on an axis are refused where the loss is used, but for sweeps" (function()
  local focal = L.focal {gamma = A.grid("bad", {0, -1})}
  throws("gamma = %-1; it must be at least 0", focal, T1)
  throws("gamma = %-1", function() return (L.ce {} + 2 * focal:name "x"):shares(T1) end)
  throws("alpha %+ beta is 0", L.tversky {alpha = A.grid("a", {0, 1}), beta = 0}, T1)
  throws("class '1' has weight %-2", L.ce {weight = {["1"] = A.grid("w", {1, -2}), default = 1}}, T1)
  near(focal:at {bad = 1}(T1).value, L.focal {gamma = 0}(T1).value)
  throws("gamma = %-1", focal:at {bad = 2}, T1)
  local pair = L.define("pair", {lo = 0, hi = 1}, function(x, q) return x.u * (q.hi - q.lo) end,
    {check = function(q) if q.lo > q.hi then error("lo lies above hi") end end})
  throws("lo lies above hi", pair, {lo = 2})
  local loss = pair {lo = A.grid("lo", {0, 1, 2}), hi = A.grid("hi", {0, 1})}
  throws("lo lies above hi", loss, T1)
  eq(loss:at {lo = 2, hi = 2}(T1).value, 0)
end)

test "a loss function's own mistakes" (function()
  local function define(fn) return L.define("mine", {gamma = 2}, fn) end
  throws("unknown parameter of q 'gama' %(did you mean 'gamma'",
    define(function(x, q) return x.u ^ q.gama end), T1)
  throws("hint: tensors have their own functions: segx.log",
    define(function(x) return math.log(x.pt) end), T1)
  throws("condition is the Lua boolean false",
    define(function(x) return segx.where(x.labels == 1, x.u, 0) end), T1)
  throws("one boolean", define(function(x) return x.pt < 0.5 and x.u or x.ce end), T1)
  throws("returned a nil, not a tensor", define(function() end), T1)
  throws("a value per class and pixel", define(function(x) return x.p end), T1)
  eq(L.ce {}(T1).value, L.ce {}(T1, {}).value)      -- nothing is left over from the failed traces
end)

test "options without meaning are refused" (function()
  throws("unknown parameter 'reduction'", L.dice, {reduction = "sum"})
  throws("unknown parameter 'average'", L.focal, {average = "macro"})
  throws("'average' has no meaning here",
    function() return normalized_focal {average = "macro"}(T1) end)
  throws("classes cannot be chosen", function() return normalized_focal:on {"1"}(T1) end)
  throws("'reduction' has no meaning here", function() return mcc {reduction = "sum"}(T1) end)
  throws("is an option of every loss", L.define, "mine", {weight = 1}, function() end)
end)

test "class names" (function()
  local d = F.T1 {class_names = {"road", "sky", "pole"}}
  near(value(L.ce {weight = {sky = 2, pole = 4}}, d), 3 * ln2, EXACT)
  near(value(L.ce {weight = {pole = 4, default = 2}}, d), (2 + 2 + 2 + 8) * ln2 / 4, EXACT)
  near(value(L.dice {}:on {"sky", "pole"}, d), 0.65277778, 0, PRINTED)
  near(L.ce {}(d).per_class.pole, 2 * ln2, 1e-6)
  local swept = L.ce {weight = {pole = A.grid("w_pole", {1, 4})}}(d, {precision = "double"}).value
  near(swept:totable(), {1.25 * ln2, 2.75 * ln2}, EXACT)
end)

test "text can be pasted back" (function()
  local L, A = L, A     -- the names that the text uses
  local env = {L = L, A = A, select = select}
  for _, loss in ipairs {
    0.5 * L.focal {gamma = 1.5, weight = w} - L.dice {smooth = 1e-5, include_background = false},
    -(L.ce {} + 2 * L.jaccard {unit = {batch = 2}}):on {"1", "2"},
    A.lin("mix", 0, 1, 5) * L.tversky {alpha = A.log("alpha", 0.1, 10, 3)}:name "t",
    L.focal {alpha = {1, 2, 4}},
    L.focal {variant = "seed", alpha = 0.25},
  } do
    local text = tostring(loss)
    local again = assert(load("return " .. text, "=text", "t", env))()
    eq(tostring(again), text)
    local a, b = again(T1, {precision = "double"}).value, loss(T1, {precision = "double"}).value
    if type(a) ~= "number" then a, b = a:totable(), b:totable() end
    eq(a, b)
  end
end)

test "losses are values" (function()
  local a = L.dice {smooth = 1}
  local b = a {average = "micro"}
  eq(tostring(a), "L.dice{smooth = 1}")
  eq(tostring(b), 'L.dice{average = "micro", smooth = 1}')
  throws("immutable", function() a.smooth = 2 end)
  throws("between a loss and a number", function() return a + 1 end)
end)

test "hybrids" (function()
  near(value(L.dice_ce {}, T1), value(L.dice {}, T1) + 1.25 * ln2, EXACT)
  near(value(L.dice_focal {dice = {smooth = 1}, lambda_focal = 0.5}, T1),
    value(L.dice {smooth = 1}, T1) + 0.5 * value(L.focal {}, T1), EXACT)
end)

test "a result prints" (function()
  local text = tostring(L.ce {}(F.T1 {class_names = {"road", "sky", "pole"}}))
  ok(text:find "value  0.866434" and text:find "pole", text)
end)

test "one configuration of a swept loss" (function()
  local loss = A.lin("mix", 0, 1, 3) * L.focal {gamma = A.grid("g2", {0, 2}),
    weight = {1, A.grid("w1", {1, 3}), 4}}
  eq(tostring(loss:at {mix = 2, g2 = 2, w1 = 2}), "0.5*L.focal{weight = {1, 3, 4}}")
end)

-- -- Class weights --------------------------------------------------------------------------------

local example = {counts = {900, 90, 10}, containing = {1000, 1000, 500}}
for name, want in pairs {
  inverse_frequency = {1.111111, 11.111111, 100},
  balanced = {0.370370, 3.703704, 33.333333},
  inverse_sqrt = {1.054093, 3.333333, 10},
  median_frequency = {0.1, 1, 4.5},
  effective_number = {0.044430, 0.306283, 2.649288},
  log = {1.532978, 9.582214, 33.830870},
} do
  test("weights " .. name)(function() near(W[name](example):totable(), want, 0, SIX) end)
end

test "weights: options" (function()
  near(W.balanced(example, {clip = {1, 5}}):totable(), {1, 3.703704, 5}, 0, SIX)
  near(W.inverse_frequency(example, {normalise = "sum_to_1"}):totable(),
    {1 / 101, 10 / 101, 90 / 101}, EXACT)
  near(W.inverse_frequency(example, {normalise = "max_1"}):totable(), {1 / 90, 1 / 9, 1}, EXACT)
  local mean = W.balanced(example, {normalise = "mean_1"}):totable()
  near(mean[1] + mean[2] + mean[3], 3, EXACT)
  throws("unknown option 'clp' %(did you mean 'clip'", W.balanced, example, {clp = {0, 1}})
  throws("unknown scheme 'balansed' %(did you mean 'balanced'", function() return W.balansed end)
end)

test "weights: a missing class gets 0 and a warning" (function()
  local said = {}
  local old = warn
  warn = function(...) said[#said + 1] = table.concat {...} end
  eq(W.balanced({counts = {3, 1, 0}}):totable()[3], 0.0)
  warn = old
  ok(said[1] and said[1]:find "no pixel of 2", "a warning")
end)

test "weights of a dump, by name, as arithmetic" (function()
  local d = F.T1 {class_names = {"road", "sky", "pole"}}
  local b = W.balanced(d)
  near(b:totable(), {2 / 3, 4 / 3, 4 / 3}, EXACT)
  near((b ^ 0.5):totable(), {math.sqrt(2 / 3), math.sqrt(4 / 3), math.sqrt(4 / 3)}, EXACT)
  near((2 * b):totable(), {4 / 3, 8 / 3, 8 / 3}, EXACT)
  near(b:set {pole = 4}:totable(), {2 / 3, 4 / 3, 4}, EXACT)
  ok(tostring(b):find "pole%s+1.33333", tostring(b))
  near(value(L.ce {weight = b:set {pole = 4}}, d), (4 / 3 + 4 / 3 + 8) * ln2 / 4, EXACT)
  local swept = L.ce {weight = b:set {pole = A.grid("w_pole", {1, 4})}}(d,
    {precision = "double"}).value:totable()
  near(swept, {(4 / 3 + 4 / 3 + 2) * ln2 / 4, (4 / 3 + 4 / 3 + 8) * ln2 / 4}, EXACT)
  local powered = L.ce {weight = b ^ A.grid("s", {0, 1})}(d, {precision = "double"}).value:totable()
  near(powered, {1.25 * ln2, (4 / 3 + 4 / 3 + 8 / 3) * ln2 / 4}, EXACT)
  throws("unknown class 'poel'", function() return b:set {poel = 1} end)
end)

test "whole weight vectors as an axis" (function()
  local d = F.T1()
  local scheme = A.vectors("scheme", {{1, 1, 1}, W.of(d, w), {1, 2, 8}})
  local r = L.ce {weight = scheme}(d, {precision = "double"}).value:totable()
  near(r, {1.25 * ln2, 3 * ln2, 5 * ln2}, EXACT)
end)

test "the mean by class weights counts pixels" (function() eq(W.counts(T1i).counts,
  {2.0, 1.0, 0.0}) end)

test "engine and product agree about what a tensor is" (function()
  eq(core.dense {1, 2}:kind(), "dense")
  eq(T1.logits:kind(), "lazy")
end)
