--[[
losses.lua: the built-in losses, each a few lines in the same L.define that scripts use. There is no
other definition behind them. Reduction, class average, units and class weights are in trace.lua.

x.u is 1 - pt and x.ce is -log pt, both without cancellation; a ratio 0/0 counts as perfect.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local tensor = require "segx.tensor"
local L = require "segx.loss"
require "segx.export"
require "segx.grad"      -- methods of losses
require "segx.check"
require "segx.curve"
errors.own()

local ratio, where = tensor.ratio, core.where

local function builtin(name, defaults, opts, fn)
  opts.builtin = true
  L[name] = L.define(name, defaults, fn, opts)
end

local function copy(t)
  local c = {}
  for k, v in pairs(t) do c[k] = v end
  return c
end

-- given with reduction = value; an error where the caller asked for another one.
local function with_reduction(name, given, value, why)
  if given.reduction ~= nil and given.reduction ~= value then
    errors.misuse(("%s: reduction = %q contradicts %s"):format(name, given.reduction, why))
  end
  given = copy(given)
  given.reduction = value
  return given
end

local function is_class_vector(v)
  if tensor.is(v) then
    return v:kind() == "dense" and #tensor.flat(v) > 1 or v:kind() == "lazy" and core.axes(v).class
  end
  return type(v) == "table"
end

-- -- Pixel losses ---------------------------------------------------------------------------------

-- torch.nn.CrossEntropyLoss, smoothing included (sum_c w_c g'_c (-log p_c), g' = (1-e) onehot +
-- e/C): there the smoothing part carries the weight of every class ("per_class"); "label" gives it
-- the label's weight. PyTorch's own mean with weights is reduction = "weighted_mean". variant =
-- "seed" is that.
builtin("cross_entropy", {label_smoothing = 0, smoothing_weight = "per_class"}, {
  kind = "pixel", optional = {"variant"},
  doc = "-log pt; weighted, smoothed",
  source = "torch.nn.CrossEntropyLoss; Szegedy et al. 2016 (smoothing)",
  rules = {
    label_smoothing = {min = 0, max = 1}, smoothing_weight = {one_of = {"per_class", "label"}},
    variant = {one_of = {"seed"}},
  },
  help = {
    label_smoothing = "share of the target spread evenly over all classes, 0 to 1",
    smoothing_weight = "weight of the smoothing part: per_class (PyTorch) or label",
    variant = '"seed": mean over the weights, as PyTorch',
  },
  adapt = function(given)
    if given.variant ~= "seed" then return given end
    return with_reduction("cross_entropy", given, "weighted_mean", 'variant = "seed"')
  end,
}, function(x, q)
  local e = q.label_smoothing
  if e == 0 then return x.ce end
  if q.smoothing_weight == "label" then
    return (1 - e) * x.ce - e / x.n_classes * x.logp:sum("class")
  end
  local w = x.weight
  return (1 - e) * w:pick(x.labels) * x.ce - e / x.n_classes * (w * x.logp):sum("class")
end)
L.ce = L.cross_entropy

-- Lin et al. 2017, with softmax. alpha: a vector by class is the class weight; a scalar is
-- (1-alpha, alpha) for two classes and has no meaning for more. variant = "seed": alpha is a factor
-- on everything, ignored pixels stay in the mean.
builtin("focal", {gamma = 2}, {
  kind = "pixel", optional = {"alpha", "variant"},
  doc = "(1-pt)^gamma * -log pt, on the softmax",
  source = "Lin et al. 2017",
  rules = {gamma = {min = 0}, alpha = {min = 0, vector = true}, variant = {one_of = {"seed"}}},
  help = {
    gamma = "focusing exponent, >= 0; 0 is cross entropy",
    alpha = "vector by class: the same as weight; number: two classes only, (1-alpha, alpha)",
    variant = '"seed": alpha is a common factor, mean over all pixels',
  },
  adapt = function(given)
    if given.alpha ~= nil and given.weight ~= nil then
      errors.misuse("focal: alpha and weight are both given; alpha as a vector is the class weight")
    end
    if given.variant == "seed" then
      if is_class_vector(given.alpha) then
        errors.misuse('focal: variant = "seed" takes alpha as one number')
      end
      return with_reduction("focal", given, "mean_all", 'variant = "seed"')
    end
    if not is_class_vector(given.alpha) then return given end
    given = copy(given)
    given.weight, given.alpha = given.alpha, nil
    return given
  end,
}, function(x, q)
  local l = x.u ^ q.gamma * x.ce
  if not q.alpha then return l end
  if q.variant == "seed" then return q.alpha * l end
  if x.n_classes > 2 then
    errors.misuse(("focal: a scalar alpha has no meaning for %d classes"):format(x.n_classes),
      "0.25*L.focal{} scales the loss; alpha = {...} or weight = {...} weighs classes")
  end
  return where(x.labels:eq(1), q.alpha, 1 - q.alpha) * l
end)

-- Lin et al. 2017 as torchvision and RetinaNet have it: every channel its own yes/no problem, z =
-- (2g-1) x, summed over classes. alpha on positives, 1-alpha on negatives. `weight` weighs
-- channels, not labels.
builtin("focal_sigmoid", {gamma = 2}, {
  kind = "pixel", optional = {"alpha"},
  doc = "sum over classes of alpha_t sigmoid(-z)^gamma softplus(-z), z = +-logit",
  source = "Lin et al. 2017; torchvision.ops.sigmoid_focal_loss",
  rules = {gamma = {min = 0}, alpha = {min = 0, max = 1, vector = true}},
  help = {
    gamma = "focusing exponent, >= 0",
    alpha = "factor of the positives, 1-alpha of the negatives; number or vector by class",
  },
}, function(x, q)
  local z = (2 * x.onehot - 1) * x.logits
  -- sigmoid(-z)^gamma = exp(-gamma softplus(z))
  local l = (-(q.gamma * z:softplus())):exp() * (-z):softplus()
  if q.alpha then l = q.alpha * (x.onehot * l) + (1 - q.alpha) * ((1 - x.onehot) * l) end
  return (x.weight * l):sum("class")
end)

-- -- Region losses --------------------------------------------------------------------------------

-- Sums over the unit, by class: true positives, predicted mass, label count.
local function overlaps(x)
  return (x.p * x.onehot):sum("pixel"), x.p:sum("pixel"), x.onehot:sum("pixel")
end

local function warn_blind(average, name)
  if average == "micro" then
    warn(name .. ': with average = "micro" only alpha + beta matters, not which of them is larger')
  end
end

-- Milletari et al. 2016 (squared = true: V-Net), Drozdzal et al. 2016. D = (2 TP + s) / (P + n +
-- s). Note that code of the Tversky shape, (TP+s)/(TP+FP/2+FN/2+s), is this with 2s.
builtin("dice", {smooth = 0, squared = false, log = false}, {
  kind = "region", optional = {"smooth_nr", "smooth_dr"},
  doc = "1 - (2 TP + smooth) / (P + n + smooth) by class",
  source = "Milletari et al. 2016; Drozdzal et al. 2016",
  rules = {smooth = {min = 0}, smooth_nr = {min = 0}, smooth_dr = {min = 0}},
  help = {
    smooth = "added to numerator and denominator, in pixels",
    smooth_nr = "numerator only (default: smooth)",
    smooth_dr = "denominator only (default: smooth)",
    squared = "sum of p^2 instead of p in the denominator (V-Net)",
    log = "-log D instead of 1 - D, D >= 1e-7",
  },
}, function(x, q)
  local tp, mass, n = overlaps(x)
  if q.squared then mass = x.p:square():sum("pixel") end
  local d = ratio(2 * tp + (q.smooth_nr or q.smooth), mass + n + (q.smooth_dr or q.smooth), 1)
  if q.log then return -d:maximum(1e-7):log() end
  return 1 - d
end)

-- Rahman & Wang 2016. J = D / (2 - D) where smooth is 0.
builtin("jaccard", {smooth = 0}, {
  kind = "region",
  doc = "1 - (TP + smooth) / (P + n - TP + smooth) by class",
  source = "Rahman & Wang 2016",
  rules = {smooth = {min = 0}},
  help = {smooth = "added to numerator and denominator, in pixels"},
}, function(x, q)
  local tp, mass, n = overlaps(x)
  return 1 - ratio(tp + q.smooth, mass + n - tp + q.smooth, 1)
end)

local function check_alpha_beta(name)
  return function(q)
    if q.alpha + q.beta == 0 then
      errors.misuse(name .. ": alpha + beta is 0: no false positive or negative would cost")
    end
  end
end

-- T = (TP + s) / (TP + alpha FP + beta FN + s)
local function tversky_index(x, q)
  local tp, mass, n = overlaps(x)
  return ratio(tp + q.smooth, tp + q.alpha * (mass - tp) + q.beta * (n - tp) + q.smooth, 1)
end

local tversky_rules = {alpha = {min = 0}, beta = {min = 0}, smooth = {min = 0}, gamma = {min = 0}}
local tversky_help = {
  alpha = "weighs false positives", beta = "weighs false negatives",
  smooth = "added to numerator and denominator, in pixels",
  gamma = "exponent on 1 - T; the paper's 4/3 is 0.75 here, as in everybody's code",
  power_of_mean = "raise the class average to gamma instead of each class (SMP, SegLossOdyssey)",
}

local function watch_micro(name)
  return function(given)
    warn_blind(given.average, name)
    return given
  end
end

-- Salehi et al. 2017. alpha on FP, beta on FN (MONAI, SMP); some libraries have them the other way
-- round.
builtin("tversky", {alpha = 0.5, beta = 0.5, smooth = 0}, {
  kind = "region",
  doc = "1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth) by class",
  source = "Salehi et al. 2017",
  rules = tversky_rules, help = tversky_help, check = check_alpha_beta("tversky"),
  adapt = watch_micro("tversky"),
}, function(x, q) return 1 - tversky_index(x, q) end)

-- Abraham & Khan 2018.
builtin("focal_tversky", {
  alpha = 0.5, beta = 0.5, gamma = 0.75, smooth = 0, power_of_mean = false,
}, {
  kind = "region",
  doc = "(1 - T)^gamma by class, T the Tversky index",
  source = "Abraham & Khan 2018",
  rules = tversky_rules, help = tversky_help, check = check_alpha_beta("focal_tversky"),
  adapt = watch_micro("focal_tversky"),
}, function(x, q)
  local miss = 1 - tversky_index(x, q)
  if q.power_of_mean then return miss, function(mean) return mean ^ q.gamma end end
  return miss ^ q.gamma
end)

-- Class weights of the generalized Dice: n^-2, n^-1 or 1, and what a class without pixels gets.
local function gdl_weights(n, weight_type, missing)
  local power = ({square = 2, simple = 1, uniform = 0})[weight_type]
  local absent = n:eq(0)
  local w = core.where(absent, 0, core.where(absent, 1, n) ^ -power)
  if missing == "zero" then return w end
  if missing == "max" then return where(absent, w:max("class"), w) end
  if missing == "eps" then return (n + 1e-10) ^ -power end
  return 1 / (n ^ power):maximum(1e-5)
end

-- Sudre et al. 2017. The weights stand in numerator and denominator and are constants for the
-- gradient. missing: max = the largest finite weight of the unit (NiftyNet, MONAI); zero; eps =
-- 1/(n+1e-10)^2 (boundary-loss, SegLossOdyssey), which lets an absent class decide the whole loss;
-- clamp = 1/max(n^2, 1e-5). variant = "seed": the constant 1/(HW + s) as the weight, in the
-- numerator only; kept to be looked at, it trains nothing.
builtin("generalized_dice", {weight_type = "square", missing = "max", smooth = 0}, {
  kind = "scalar", optional = {"variant"},
  doc = "1 - (2 sum_c w_c TP_c + smooth) / (sum_c w_c (P_c + n_c) + smooth)",
  source = "Sudre et al. 2017",
  rules = {
    weight_type = {one_of = {"square", "simple", "uniform"}},
    missing = {one_of = {"max", "zero", "eps", "clamp"}},
    smooth = {min = 0}, variant = {one_of = {"seed"}},
  },
  help = {
    weight_type = "square: 1/n^2, simple: 1/n, uniform: 1",
    missing = "weight of a class without pixels: max zero eps clamp",
    smooth = "added to numerator and denominator",
    variant = '"seed": constant weight, numerator only',
  },
}, function(x, q)
  local tp, mass, n = overlaps(x)
  if q.variant == "seed" then
    local v = 1 / (x.image_pixels + q.smooth)
    return 1 - 2 * v * tp:sum("class") / ((mass + n):sum("class") + q.smooth)
  end
  local w = x.selected * gdl_weights(n, q.weight_type, q.missing):stop()
  local top, bottom = (2 * w * tp):sum("class"), (w * (mass + n)):sum("class")
  return 1 - ratio(top + q.smooth, bottom + q.smooth, 1)
end)

-- -- Losses that sort -------------------------------------------------------------------------------

-- The Lovász extension of 1 - J: errors in descending order, each times how much J falls when its pixel becomes wrong too. With k
-- pixels up to here, I of the class after it and U of the class or up to here: 1/U at a pixel of the class, I/(U(U-1)) at others,
-- without the cancellation of a difference of two J. (U = 1 at another's pixel: the class is absent, the first one costs all.)
local function lovasz(e, g)
  local left = e:sum_below(g)
  local union = (left + e:sum_above()):maximum(1)      -- 0 outside of a mask
  local step = where(g, 1 / union, where(union:gt(1), left / (union * (union - 1)), 1))
  return (step:stop() * e):sum("pixel")
end

-- Berman, Triki & Blaschko 2018. Each unit is sorted; classes without pixels are left out (empty = "skip": "present" there).
builtin("lovasz_softmax", {}, {
  kind = "region", usual = {unit = "image"},
  doc = "Lovasz extension of 1 - IoU on |onehot - p|, by class",
  source = "Berman et al. 2018",
}, function(x)
  return lovasz((x.onehot - x.p):abs(), x.onehot)
end)

-- The same on hinge errors 1 - z. z: a channel's logit, with the sign of the label; of two classes the difference of the logits.
builtin("lovasz_hinge", {}, {
  kind = "region", usual = {unit = "image"},
  doc = "Lovasz hinge: relu(1 - z) in descending order, z = +-logit (two classes: +-difference), by class",
  source = "Yu & Blaschko 2015; Berman et al. 2018",
}, function(x)
  local z = x.logits
  if x.n_classes == 2 then z = 2 * z - z:sum("class") end
  return lovasz((1 - (2 * x.onehot - 1) * z):relu(), x.onehot)
end)

-- Of the pixels that the loss is over (all valid ones, or those with a chosen label) the `kept` first in ascending order of pt; their
-- mean of -log pt is the mean over all pixels of what is returned. kept(n, part): from the number of pixels and which they are.
local function hardest(x, kept)
  local part = x.selected:pick(x.labels)
  local key = where(part, x.ce, -1)
  local function total(v) return key:sum_above(v) + key:sum_below(v) end
  local n = total(part)
  local keep, amount = kept(n, part, key:sum_above(part), total)
  return where(part * keep, n / amount:maximum(1) * x.ce, 0)
end

-- Wu et al. 2016 ("bootstrapped"), nnU-Net's TopKLoss. At least one pixel is kept.
builtin("topk_ce", {k = 0.1}, {
  kind = "pixel", usual = {unit = "image"},
  doc = "mean of -log pt over the share k of pixels where it is largest",
  source = "Wu et al. 2016; nnU-Net",
  rules = {k = {min = 0, max = 1}},
  help = {k = "share of the pixels that are kept, rounded down, at least one pixel"},
}, function(x, q)
  return hardest(x, function(n, _, place)
    local amount = (q.k * n):floor():maximum(1)
    return place:le(amount), amount
  end)
end)

-- Shrivastava et al. 2016 as segmentation has it: all pixels with pt below a threshold, at least min_kept of them.
builtin("ohem_ce", {threshold = 0.7, min_kept = 100000}, {
  kind = "pixel", usual = {unit = "image"},
  doc = "mean of -log pt over pixels with pt < threshold, or the min_kept hardest where these are fewer",
  source = "Shrivastava et al. 2016; mmsegmentation OHEMPixelSampler",
  rules = {threshold = {min = 0, max = 1}, min_kept = {min = 1}},
  help = {threshold = "pixels whose label has a lower probability are kept", min_kept = "pixels of a unit that are kept at least"},
}, function(x, q)
  return hardest(x, function(n, part, place, total)
    local amount = total(part * x.pt:lt(q.threshold)):maximum(n:minimum(q.min_kept))
    return place:le(amount), amount
  end)
end)

-- -- Losses that measure distances -------------------------------------------------------------------

-- Kervadec et al. 2019. phi: distance to the class outside of it, -(distance to the others - 1) inside; 0 everywhere where the class is
-- absent or everywhere. Can be negative.
builtin("boundary", {}, {
  kind = "region", usual = {unit = "image", include_background = false, empty = "smooth"},
  doc = "mean over pixels of p times the signed distance to the class's boundary, by class",
  source = "Kervadec et al. 2019",
}, function(x)
  local g = x.onehot
  return (x.p * ((1 - g):edt() - (g:edt() - 1):relu())):mean("pixel")
end)

-- Karimi & Salcudean 2019, by distance transforms. The fields are constants for the gradient.
builtin("hausdorff_dt", {alpha = 2, log = false}, {
  kind = "region", usual = {unit = "image", include_background = false, empty = "smooth"},
  doc = "mean over pixels of (p - onehot)^2 (F_p^alpha + F_g^alpha), F distances to the boundary of p > 0.5 and of the label, by class",
  source = "Karimi & Salcudean 2019; MONAI HausdorffDTLoss",
  rules = {alpha = {min = 0}},
  help = {alpha = "exponent of the distances", log = "log(1 + .) of each class (MONAI's LogHausdorffDTLoss)"},
}, function(x, q)
  local function field(mask) return (mask:edt() + (1 - mask):edt()) ^ q.alpha end
  local g = x.onehot
  local v = ((x.p - g):square() * (field(x.p:gt(0.5)) + field(g)):stop()):mean("pixel")
  return q.log and v:log1p() or v
end)

-- -- Hybrids --------------------------------------------------------------------------------------

-- Sums of two built-ins. {dice = {...}, cross_entropy = {...}} are the parameters of the parts,
-- lambda_* their factors; the result is an ordinary sum, each part reported.
local function hybrid(name, first, second)
  local known = {first, second, "lambda_" .. first, "lambda_" .. second}
  L[name] = function(given)
    given = given or {}
    errors.check_keys(name, "parameter", given, known)
    local function part(which)
      local loss, factor = L[which](given[which] or {}), given["lambda_" .. which]
      return factor and factor * loss or loss
    end
    return part(first) + part(second)
  end
end

hybrid("dice_ce", "dice", "cross_entropy")
hybrid("dice_focal", "dice", "focal")
hybrid("gdice_focal", "generalized_dice", "focal")

-- -- Unknown names --------------------------------------------------------------------------------

local known = {"define", "list", "is"}
for _, def in ipairs(L.list()) do known[#known + 1] = def.name end
for _, name in ipairs {"ce", "dice_ce", "dice_focal", "gdice_focal"} do known[#known + 1] = name end
table.sort(known)

return setmetatable(L, {__index = function(_, k) errors.unknown("segx.loss", "loss", k, known) end})
