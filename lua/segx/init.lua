--[[
segx: what does a loss do on the predictions I have? The module table; everything else loads on
first use.

    local d <close> = segx.open("val.h5")
    local L, A, W = segx.loss, segx.axis, segx.weights
    print((L.focal{gamma = A.grid("gamma", {0, 1, 2})} + L.dice{}):eval(d))
]]
local core = require "segx.core"
local errors = require "segx.errors"
local tensor = require "segx.tensor"
require "segx.progress"
require "segx.device"
errors.own()

local segx = {version = core.version}

-- Sub-modules by the name they have here.
local modules = {
  loss = "segx.losses", axis = "segx.axis", weights = "segx.weights", metrics = "segx.metrics",
  format = "segx.format", stat = "segx.stat", plot = "segx.plot",
  errors = "segx.errors", cli = "segx.cli",
}

-- Names that live in another module.
local members = {sweep = {"segx.sweep", "sweep"}, fit = {"segx.fit", "fit"}, grad = {"segx.grad", "grad"},
  search = {"segx.search", "search"}, read_results = {"segx.read", "results"}}

-- -- Dumps ----------------------------------------------------------------------------------------

local open_options = {"logits", "labels", "layout", "activation", "class_names", "ignore_index",
  "nonfinite", "spacing"}

local memory_options = {
  "name", "logits", "labels", "class_names", "ignore_index", "nonfinite", "spacing", "fields", "logits_type",
  "labels_type",
}

-- What every dump gets: metrics, subsets and a text.
local function dress(d)
  require "segx.metrics"
  require "segx.subset"
  getmetatable(d).__tostring = function(dump) return require("segx.info").text(dump) end
  return d
end

--- Opens a dump (HDF5). opts: logits, labels (paths inside the file), layout = "NCHW" ...,
--- activation = "logits" | "probs" | "log_probs", class_names, ignore_index (a value or a list),
--- nonfinite = "skip", spacing = width of a pixel along each spatial axis (for distances). Raises an error object when the file is missing, not understood or refused.
function segx.open(path, opts)
  if type(path) ~= "string" then
    errors.misuse("open: expected the path of a dump, got "
      .. (path == nil and "nothing" or "a " .. type(path)), 'segx.open(arg[1] or "val.h5")')
  end
  errors.check_keys("open", "option", opts or {}, open_options)
  return dress(core.open(path, opts or {}))
end

--- A dump from numbers: {logits = {N,C,...}, labels = {N,...}, class_names =, ignore_index =,
--- nonfinite =, spacing =, name =, fields =}, nested tables or dense tensors. logits_type = "float16" |
--- "float32" | "float64" (default) says how they are kept.
function segx.memory(o)
  if type(o) ~= "table" or not o.logits or not o.labels then
    errors.misuse("memory: expected {logits = ..., labels = ...}")
  end
  errors.check_keys("memory", "option", o, memory_options)
  local given = {logits_type = "float64"}
  for k, v in pairs(o) do given[k] = v end
  return dress(core.memory(given))
end

--- A writer for a new dump: opts {n =, classes =, dims = {H,W} or {D,H,W}, logits_type = "float16",
--- labels_type = "uint8", gzip = 0..9, class_names =, ignore_index =, spacing =, split =}. writer:write(i,
--- logits, labels) takes image i (1-based) as flat lists, logits class by class; writer:finish()
--- closes the file and must be called.
function segx.write_dump(path, opts) return core.write_dump(path, opts) end

-- -- Tensors --------------------------------------------------------------------------------------

--- A dense tensor from a nested table: segx.tensor{{1,2},{3,4}}.
function segx.tensor(t) return core.dense(t) end

--- A dense tensor of zeros: segx.zeros{2,3} or segx.zeros(2, 3).
function segx.zeros(first, ...)
  if type(first) == "table" then return core.zeros(first) end
  return core.zeros {first, ...}
end

--- a where c is not 0, else b; what is not chosen has no influence.
function segx.where(c, a, b)
  if type(c) == "boolean" then
    errors.misuse("where: condition is the Lua boolean " .. tostring(c)
      .. "; '==' on a tensor always gives one", "write x:eq(3)")
  end
  return core.where(c, a, b)
end

--- num / den, and at_zero (default 1, "perfect") where den is 0.
function segx.ratio(num, den, at_zero) return tensor.ratio(num, den, at_zero or 1) end

local functions = {
  "exp", "log", "log1p", "expm1", "sqrt", "abs", "neg", "square", "recip", "sigmoid", "softplus",
  "tanh", "relu", "sign", "floor", "pow", "maximum", "minimum", "clamp", "lt", "le", "gt", "ge",
  "eq", "ne", "stop", "sum", "mean", "max", "logsumexp", "softmax",
  "log_softmax", "argmax", "pick", "onehot", "sum_by", "logpick", "one_minus_pick",
  "sum_above", "sum_below", "edt",
}

-- f(a, ...) = a:f(...); with plain numbers only, the result is a number.
local function as_function(name)
  local method = core.Tensor[name]
  return function(a, ...)
    if type(a) ~= "number" then
      if not tensor.is(a) then
        errors.misuse(("%s: expected a tensor or a number, got a %s"):format(name, type(a)))
      end
      return method(a, ...)
    end
    local all_numbers = true
    for i = 1, select("#", ...) do
      all_numbers = all_numbers and type((select(i, ...))) == "number"
    end
    local r = method(core.dense {a}, ...)
    return all_numbers and r:item() or r
  end
end

for _, name in ipairs(functions) do segx[name] = as_function(name) end

-- -- Lazy parts -----------------------------------------------------------------------------------

local function known_names()
  local known, seen = {}, {}
  for _, t in ipairs {segx, modules, members} do
    for k in pairs(t) do
      if not seen[k] then known[#known + 1] = k end
      seen[k] = true
    end
  end
  table.sort(known)
  return known
end

return setmetatable(segx, {__index = function(_, k)
  if modules[k] then
    segx[k] = require(modules[k])
  elseif members[k] then
    segx[k] = require(members[k][1])[members[k][2]]
  else
    errors.unknown("segx", "name", k, known_names())
  end
  return rawget(segx, k)
end})
