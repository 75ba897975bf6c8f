-- test_reference.lua: the engine against the plain-Lua reference of segx.core, on made-up dumps:
-- the same expression is evaluated by both, in double to 1e-11, in single to 1e-6; values, values
-- by class, shares and sweeps.
local T = require "harness"
if os.getenv "SEGX_REF" then T.skip "compares the engine with the reference" end
local F = require "fixtures"
local segx = require "segx"
local test, near, eq = T.test, T.near, T.eq

-- A second copy of the product, standing on the reference.
local function load_reference()
  local engine = {}
  for name, module in pairs(package.loaded) do
    if name == "segx" or name:match "^segx%." then
      engine[name], package.loaded[name] = module, nil
    end
  end
  package.path = T.source("tests/lua/?.lua") .. ";" .. package.path
  package.loaded["segx.core"] = require "ref_core"
  local copy = require "segx"
  local _ = copy.loss, copy.axis, copy.weights, copy.sweep      -- load everything before the names go back
  for name in pairs(package.loaded) do
    if name == "segx" or name:match "^segx%." then package.loaded[name] = nil end
  end
  for name, module in pairs(engine) do package.loaded[name] = module end
  return copy
end

-- Loaded while the engine's modules are still complete.
local _ = segx.loss, segx.axis, segx.weights, segx.sweep
local reference = load_reference()

local shapes = {{1, 2, 3, 2, 2}, {2, 3, 5, 9, 7}, {3, 5, 2, 20, 33}, {4, 1, 11, 16, 16},
  {5, 4, 2, 1, 1}}

-- The same numbers as a dump of each.
local function dumps(shape)
  local _, logits, labels = F.random(table.unpack(shape))
  local o = {logits = logits, labels = labels, ignore_index = 255}
  return segx.memory(o), reference.memory(o)
end

local function flat(v)
  if type(v) == "number" then return {v} end
  local list = {}
  local function walk(x)
    if type(x) ~= "table" then list[#list + 1] = x else for i = 1, #x do walk(x[i]) end end
  end
  walk(v:totable())
  return list
end

local function by_class(v, n)
  if v.totable then return flat(v) end
  local list = {}
  for c = 0, n - 1 do list[c + 1] = v[c] end
  return list
end

local function environment(s, d)
  return setmetatable({L = s.loss, A = s.axis, W = s.weights, d = d, segx = s}, {__index = _G})
end

local function evaluate(text, s, d, precision)
  local loss = assert(load("return " .. text, "=" .. text, "t", environment(s, d)))()
  return loss:eval(d, {precision = precision})
end

local function compare(text, e, r, classes, rel, abs)
  near(flat(e.value), flat(r.value), rel, abs, text)
  eq(e.empty, r.empty, text)
  for _, key in ipairs {"per_class", "share"} do
    if r[key] then
      near(by_class(e[key], classes), by_class(r[key], classes), rel, abs, text .. " " .. key)
    end
  end
end

local old_warn = warn

-- Every expression on every shape.
local function both(title, texts)
  test(title)(function()
    warn = function() end
    for _, shape in ipairs(shapes) do
      local e, r = dumps(shape)
      for _, text in ipairs(texts) do
        local want = evaluate(text, reference, r, "double")
        compare(text, evaluate(text, segx, e, "double"), want, shape[3], 1e-11, 1e-13)
        compare(text, evaluate(text, segx, e, "single"), want, shape[3], 1e-6, 1e-7)
      end
    end
    warn = old_warn
  end)
end

both("pixel losses", {
  "L.ce{}", "L.focal{}", "L.focal{gamma = 0.7}", "L.focal{gamma = 0}",
  "L.focal{gamma = 5.3, weight = W.balanced(d)}",
  "L.focal_sigmoid{}", "L.focal_sigmoid{gamma = 0.5, alpha = 0.25, weight = W.inverse_sqrt(d)}",
  "L.ce{label_smoothing = 0.1}", "L.ce{label_smoothing = 0.1, weight = W.balanced(d)}",
  "L.ce{label_smoothing = 0.1, weight = W.balanced(d), smoothing_weight = 'label'}",
})

both("reductions and units", {
  "L.ce{reduction = 'sum'}", "L.ce{reduction = 'weighted_mean', weight = W.balanced(d)}",
  "L.ce{reduction = 'mean_all'}",
  "L.focal{reduction = 'mean_elements'}", "L.ce{reduction = 'mean_image', weight = W.log(d)}",
  "L.ce{reduction = 'per_class'}",
  "L.ce{unit = 'image', reduction = 'per_class'}", "L.ce{unit = {batch = 2}}",
  "L.ce{unit = {batch = 3}, reduction = 'mean_all'}",
  "L.ce{unit = 'image', reduction = 'sum'}",
  "L.ce{unit = 'image', reduction = 'weighted_mean', weight = W.balanced(d)}",
})

both("region losses", {
  "L.dice{}", "L.dice{smooth = 1}", "L.dice{squared = true, smooth_dr = 1e-5}",
  "L.dice{log = true}", "L.dice{average = 'micro'}",
  "L.dice{weight = W.balanced(d)}", "L.dice{weight = W.balanced(d), average = 'weighted_raw'}",
  "L.jaccard{}",
  "L.tversky{alpha = 0.3, beta = 0.7}", "L.focal_tversky{}",
  "L.focal_tversky{power_of_mean = true}",
  "L.dice{include_background = false}", "L.dice{unit = 'image'}",
  "L.dice{unit = 'image', empty = 'zero'}",
  "L.dice{unit = 'image', empty = 'smooth', smooth = 1e-5}",
  "L.dice{unit = {batch = 2}, weight = W.balanced(d)}",
  "L.jaccard{unit = 'image', average = 'micro'}",
  "L.focal_tversky{unit = 'image', power_of_mean = true}",
})

both("generalized dice", {
  "L.generalized_dice{}", "L.generalized_dice{weight_type = 'simple', missing = 'zero'}",
  "L.generalized_dice{weight_type = 'uniform'}",
  "L.generalized_dice{unit = 'image', missing = 'clamp'}",
  "L.generalized_dice{unit = {batch = 2}, include_background = false}",
  "L.generalized_dice{variant = 'seed', smooth = 1e-5}",
})

both("losses that sort", {
  "L.lovasz_softmax{}", "L.lovasz_softmax{unit = {batch = 2}, weight = W.balanced(d)}",
  "L.lovasz_softmax{unit = 'dataset', empty = 'smooth'}", "L.lovasz_hinge{}",
  "L.lovasz_softmax{}:where(function(x) return x.labels:ne(1) end)",
  "L.topk_ce{}", "L.topk_ce{k = 0.35, unit = {batch = 3}, weight = W.balanced(d)}",
  "L.topk_ce{k = 0.5}:on{'1'}", "L.ohem_ce{threshold = 0.3, min_kept = 5}",
  "L.ohem_ce{min_kept = 3, unit = 'dataset'}:where(function(x) return x.ce:gt(0.1) end)",
})

both("losses that measure distances", {
  "L.boundary{}", "L.boundary{unit = 'dataset', include_background = true}", "L.boundary{}:on{'1'}",
  "L.hausdorff_dt{}", "L.hausdorff_dt{alpha = 1, log = true, unit = {batch = 2}}",
  "L.hausdorff_dt{} + 0.1*L.lovasz_softmax{}",
})

both("compositions", {
  "0.3*L.focal{} + 0.7*L.dice{}", "L.ce{}:on{'1'} - 0.5*L.dice{}:on{'0', '1'}",
  "L.ce{}:where(d.labels:eq(1))",
  "L.dice{unit = 'image'}:where(function(x) return x.pt:lt(0.6) end)",
  "L.define('own', {k = 2}, function(x, q) return (x.p:square() + x.onehot):sqrt():sum('class') * q.k end){weight = W.balanced(d)}",
  "L.define('own', {k = 2}, function(x, q) return (x.p * x.onehot):sum('pixel', 'image') / (1 + x.p:sum('pixel', 'dataset')) end){unit = 'image'}",
  "L.define('own', {}, function(x) return x.logits:log_softmax('class'):pick(x.labels):exp():log1p() end)",
  "L.define('own', {}, function(x) return segx.where(x.p:max('class'):gt(0.5), x.ce, x.u:sqrt()) end)",
})

both("sweeps", {
  "L.focal{gamma = A.grid('gamma', {0, 0.25, 1.3, 2, 6})}",
  "A.lin('mix', 0, 1, 4)*L.ce{} + L.dice{smooth = A.grid('s', {0, 1})}",
  "L.ce{weight = W.balanced(d) ^ A.lin('power', 0, 1, 3)}",
  "L.ce{label_smoothing = A.lin('eps', 0, 0.2, 3)}",
  "L.tversky{alpha = A.grid('a', {0.2, 0.8}), beta = A.grid('b', {0.2, 0.8}), unit = 'image'}",
  "L.focal{gamma = A.grid('gamma', {1, 2}), weight = W.balanced(d)} + A.grid('k', {1, 3})*L.generalized_dice{}",
  "L.focal_tversky{gamma = A.grid('fg', {0.5, 1, 2}), unit = {batch = 2}}",
  "L.ce{weight = A.vectors('scheme', {W.balanced(d), W.inverse_sqrt(d)})}",
})

test "metrics" (function()
  warn = function() end
  for _, shape in ipairs(shapes) do
    local e, r = dumps(shape)
    for _, how in ipairs {"dataset", "image_class", "class_image"} do
      local a, b = e:metrics {aggregation = how}, r:metrics {aggregation = how}
      eq(a.confusion, b.confusion)
      near({a.miou, a.mdice, a.pixel_accuracy, a.mean_accuracy},
        {b.miou, b.mdice, b.pixel_accuracy, b.mean_accuracy}, 1e-15)
    end
  end
  warn = old_warn
end)

test "per-image columns of a sweep" (function()
  for _, shape in ipairs {shapes[2], shapes[3]} do
    local e, r = dumps(shape)
    local function run(s, d)
      local loss = s.loss.focal {gamma = s.axis.grid("g", {0, 2})} + s.loss.dice {}
      return s.sweep {dump = d, loss = loss, want = {"value", "per_class", "tau(iou)"},
        precision = "double"}:run()
    end
    local a, b = run(segx, e), run(reference, r)
    near(a:column "value", b:column "value", 1e-12)
    near(a:column "value.1", b:column "value.1", 1e-12)
    near(a:column "tau(iou)", b:column "tau(iou)", 1e-15)
  end
end)
