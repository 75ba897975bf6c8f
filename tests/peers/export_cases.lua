-- export_cases.lua: for run-export. Writes every loss of the list as a module into a folder, and what segx says about
-- it on a dump with ignored pixels, absent classes, confident and wrong ones: segx export_cases.lua FOLDER
local core = require "segx.core"
local tensor = require "segx.tensor"
local L, W = segx.loss, segx.weights
local folder = assert(arg[1], "a folder")

-- -- Two dumps: 5 classes, 2 classes --------------------------------------------------------------

local state = 20240917
local function random()
  state = (state * 6364136223846793005 + 1442695040888963407)
  return ((state >> 33) & 0x7fffffff) / 2147483648.0
end

local function make(n, C, h, w)
  local logits, labels = {}, {}
  for i = 1, n do
    logits[i], labels[i] = {}, {}
    for c = 1, C do
      logits[i][c] = {}
      for y = 1, h do
        logits[i][c][y] = {}
        for x = 1, w do logits[i][c][y][x] = math.floor((random() - 0.5) * 6000) / 1000 end
      end
    end
    for y = 1, h do
      labels[i][y] = {}
      for x = 1, w do
        local label = math.floor(random() * (i == 2 and C - 1 or C))    -- image 2 lacks the last class
        if random() < 0.1 or i == 4 and y > 1 then label = -1 end
        if label >= 0 and random() < 0.2 then                            -- confidently right or wrong
          local c = random() < 0.7 and label + 1 or 1 + (label + 1) % C
          logits[i][c][y][x] = logits[i][c][y][x] + 15
        end
        labels[i][y][x] = label
      end
    end
  end
  local names = {}
  for c = 1, C do names[c] = ({"sky", "road", "car", "pole", "sign"})[c] end
  return {logits = logits, labels = labels, ignore_index = {-1}, class_names = names, labels_type = "int64",
    fields = {depth = (function()
      local d = {}
      for i = 1, n do
        d[i] = {}
        for y = 1, h do
          d[i][y] = {}
          for x = 1, w do d[i][y][x] = math.floor(random() * 1000) / 500 end
        end
      end
      return d
    end)()}}
end

local many, two = make(5, 5, 6, 7), make(3, 2, 5, 5)
local d5, d2 = segx.memory(many), segx.memory(two)
local balanced = W.balanced(d5, {clip = {0.2, 5}})

-- -- Losses of a user's script ---------------------------------------------------------------------

local U = {}
U.wing = L.define("wing", {m = 0.35, s = 8}, function(x, q)
  return -x.logpt * ((q.m - x.pt) * q.s):sigmoid()
end)
U.mydice = L.define("mydice", {smooth = 1e-5}, function(x, q)
  local tp, ps, n = (x.p * x.onehot):sum("pixel"), x.p:sum("pixel"), x.onehot:sum("pixel")
  return 1 - (2 * tp + q.smooth) / (ps + n + q.smooth)
end)
U.temperature = L.define("temperature", {t = 2}, function(x, q)
  return -(x.logits / q.t):softmax("class"):pick(x.labels):log()
end)
U.poly1 = L.define("poly1", {epsilon = 1}, function(x, q) return x.ce + q.epsilon * x.u end)
U.entropy = L.define("entropy", {k = 0.3}, function(x, q)
  return x.ce - q.k * (-(x.p * x.logp):sum("class"))
end)
U.costs = L.define("costs", {}, function(x)
  local m = segx.tensor {{0, 1, 2, 3, 4}, {1, 0, 1, 2, 3}, {2, 1, 0, 1, 2}, {3, 2, 1, 0, 1}, {4, 3, 2, 1, 0}}
  return (x.p * m:pick(x.labels)):sum("class")
end)
U.confusion = L.define("confusion", {}, function(x)          -- a label axis
  local m = core.bysum(x.p)
  m = core.nsum(m)
  local rows = m:sum("class")
  return (m / core.where(rows:eq(0), 1, rows)):square():sum("label"):sum("class")
end)
U.deep = L.define("deep", {}, function(x) return x.depth * x.ce:sqrt() end)
U.margin = L.define("margin", {m = 1}, function(x, q)
  local other = core.where(x.onehot, -1e4, x.logits):max("class")
  return (q.m + other - x.logits:pick(x.labels)):relu()
end)
U.topk = L.define("topk", {t = 0.7}, function(x, q) return x.pt:lt(q.t) * x.ce end)
U.logcosh = L.define("logcosh", {}, function(x)
  local d = 1 - (2 * (x.p * x.onehot):sum("pixel") + 1) / (x.p:sum("pixel") + x.onehot:sum("pixel") + 1)
  return ((d:exp() + (-d):exp()) / 2):log()
end)
U.image_mean = L.define("image_mean", {}, function(x)
  return ((x.u ^ 0.5):sum("pixel") / x.image_pixels + x.valid:sum("pixel") * 0)
end)
U.power = L.define("power", {}, function(x) return x.u ^ (1 + x.pt) * x.ce end)

-- -- The list --------------------------------------------------------------------------------------

local cases = {}
local function case(name, loss, o)
  o = o or {}
  cases[#cases + 1] = {name = name, loss = loss, dump = o.two and d2 or d5, data = o.two and "two" or "many",
    opts = o.opts, builtin = o.builtin ~= false, options = o}
end

case("ce", L.ce {})
case("ce_weight", L.ce {weight = balanced})
case("ce_weighted_mean", L.ce {weight = balanced, reduction = "weighted_mean"})
case("ce_smooth", L.ce {label_smoothing = 0.1, weight = balanced ^ 0.5})
case("ce_smooth_label", L.ce {label_smoothing = 0.1, smoothing_weight = "label"}, {opts = {classes = 5}})
for _, r in ipairs {"sum", "mean_all", "mean_elements", "mean_image", "per_class"} do
  case("ce_" .. r, L.ce {reduction = r}, {opts = r == "mean_elements" and {classes = 5} or nil})
end
case("ce_seed", L.ce {variant = "seed", weight = {1, 2, 3, 4, 5}})
case("ce_on", L.ce {}:on {"pole", "car"}, {opts = {dump = d5}})
case("ce_where", L.ce {}:where(function(x) return x.labels:ne(1) end))
case("ce_image", L.ce {unit = "image"})
case("ce_batch", L.ce {unit = {batch = 2}})
for _, g in ipairs {0, 0.5, 1.7, 2, 5} do case("focal_" .. tostring(g):gsub("%.", "_"), L.focal {gamma = g}) end
case("focal_alpha", L.focal {alpha = {1, 2, 3, 4, 5}})
case("focal_seed", L.focal {alpha = 0.25, variant = "seed"})
case("focal_two", L.focal {alpha = 0.25}, {two = true, opts = {classes = 2}})
case("focal_sigmoid", L.focal_sigmoid {})
case("focal_sigmoid_alpha", L.focal_sigmoid {alpha = 0.25, gamma = 1.5})
case("dice", L.dice {})
case("dice_smooth", L.dice {smooth = 1, empty = "smooth"})
case("dice_squared", L.dice {squared = true, empty = "zero"})
case("dice_log", L.dice {log = true})
case("dice_image", L.dice {unit = "image", smooth = 1e-5, include_background = false})
case("dice_batch", L.dice {unit = {batch = 2}})
case("dice_weight", L.dice {weight = balanced})
case("dice_weight_raw", L.dice {weight = balanced, average = "weighted_raw"})
case("dice_micro", L.dice {average = "micro"}, {opts = {classes = 5}})
case("dice_classes", L.dice {classes = {"pole", "sign"}}, {opts = {dump = d5}})
case("lovasz_softmax", L.lovasz_softmax {})
case("lovasz_softmax_batch", L.lovasz_softmax {unit = {batch = 2}, weight = balanced})
case("lovasz_softmax_dataset", L.lovasz_softmax {unit = "dataset"} + 0.5 * L.ce {})
case("lovasz_hinge", L.lovasz_hinge {})
case("lovasz_hinge_two", L.lovasz_hinge {include_background = false}, {two = true, opts = {classes = 2}})
case("lovasz_where", L.lovasz_softmax {}:where(function(x) return x.labels:ne(1) end))
case("topk", L.topk_ce {k = 0.3})
case("topk_weight", L.topk_ce {k = 0.5, weight = balanced, unit = "dataset"})
case("topk_on", L.topk_ce {k = 0.5}:on {"pole", "car"}, {opts = {dump = d5}})
case("ohem", L.ohem_ce {threshold = 0.3, min_kept = 5})
case("ohem_where", L.ohem_ce {threshold = 0.3, min_kept = 5}:where(function(x) return x.labels:ne(1) end))
case("boundary", L.boundary {})
case("hausdorff", L.hausdorff_dt {alpha = 1.5})
case("hausdorff_log", L.hausdorff_dt {log = true, include_background = true} + L.dice {})
case("jaccard", L.jaccard {smooth = 1})
case("tversky", L.tversky {alpha = 0.3, beta = 0.7})
case("focal_tversky", L.focal_tversky {alpha = 0.3, beta = 0.7, gamma = 0.75})
case("focal_tversky_mean", L.focal_tversky {alpha = 0.7, beta = 0.3, power_of_mean = true})
for _, m in ipairs {"max", "zero", "eps", "clamp"} do
  case("gdice_" .. m, L.generalized_dice {missing = m, unit = "image"})
end
case("gdice_simple", L.generalized_dice {weight_type = "simple", smooth = 1})
case("gdice_seed", L.generalized_dice {variant = "seed", smooth = 1e-5})
case("dice_ce", L.dice_ce {lambda_dice = 0.3})
case("dice_focal", L.dice_focal {focal = {gamma = 1.5, weight = balanced}, dice = {unit = "image"}})
case("gdice_focal", L.gdice_focal {})
case("hybrid", 0.5 * L.focal {gamma = 2, weight = balanced} + L.dice {include_background = false}
  - 0.1 * U.poly1 {}, {builtin = false})
for name, o in pairs {wing = {}, mydice = {}, temperature = {}, poly1 = {}, entropy = {}, costs = {classes = 5},
  confusion = {}, deep = {fields = {"depth"}}, margin = {}, topk = {}, logcosh = {}, image_mean = {},
  power = {}} do
  case("my_" .. name, U[name], {opts = o, builtin = false, field = name == "deep"})
end
case("my_wing_weight", U.wing {weight = balanced, m = 0.2, unit = "image"}, {builtin = false})
case("my_mydice_image", U.mydice {unit = "image", weight = balanced}, {builtin = false})
table.sort(cases, function(a, b) return a.name < b.name end)

-- -- Writing ---------------------------------------------------------------------------------------

local function json(v)
  if type(v) == "number" then
    return math.type(v) == "integer" and tostring(v) or ("%.17g"):format(v)
  end
  if type(v) == "string" then return ("%q"):format(v) end
  if type(v) == "boolean" then return tostring(v) end
  local out = {}
  if #v > 0 or next(v) == nil then
    for i, x in ipairs(v) do out[i] = json(x) end
    return "[" .. table.concat(out, ",") .. "]"
  end
  for k, x in pairs(v) do out[#out + 1] = ("%q:%s"):format(k, json(x)) end
  table.sort(out)
  return "{" .. table.concat(out, ",") .. "}"
end

local list, failed = {}, 0
for _, c in ipairs(cases) do
  local ok, e = pcall(function()
    c.loss:export(("%s/%s.py"):format(folder, c.name), (function()
      local o = {class = "Loss"}
      for k, v in pairs(c.opts or {}) do o[k] = v end
      return o
    end)())
    local value = c.loss:eval(c.dump, {precision = "double"}).value
    local gradient = {}
    for i = 1, #c.dump do
      for _, v in ipairs(tensor.flat(c.loss:grad(c.dump, i, {precision = "double"}))) do
        gradient[#gradient + 1] = v
      end
    end
    list[#list + 1] = {name = c.name, text = tostring(c.loss), data = c.data, value = value, gradient = gradient,
      builtin = c.builtin, field = c.options.field and "depth" or ""}
  end)
  if not ok then
    failed = failed + 1
    print(("# export of %s: %s"):format(c.name, tostring(e)))
  end
end
local file = assert(io.open(folder .. "/cases.json", "w"))
file:write(json {cases = list, failed = failed,
  many = {logits = many.logits, labels = many.labels, depth = many.fields.depth},
  two = {logits = two.logits, labels = two.labels, depth = two.fields.depth}})
file:close()
