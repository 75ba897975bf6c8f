--[[
weights.lua: class weights. Every scheme counts the valid pixels of each class over the whole dump
(one pass, kept) and returns a Weights value: one weight per class, printed with the class names.

    local w = W.balanced(d, {clip = {0.2, 5}, normalise = "mean_1"})
    w:set{pole = 4}              a new Weights; values may be sweep axes
    w ^ s, 2 * w, w * v          arithmetic gives Weights again
    L.focal{weight = w}

Instead of a dump a scheme accepts the counts: {counts = {900, 90, 10}, class_names = {...}}.

Options of every scheme
    clip = {lo, hi}     limits, before normalising
    normalise           "none" | "sum_to_1" | "mean_1" (sum = number of classes) | "max_1"
A class without pixels gets weight 0, and a warning says so. How a weight acts is the loss's
`reduction`: under weighted_mean a common factor has no effect, under mean it is a change of the
learning rate.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
local refusal = require "segx.refusal"
local tensor = require "segx.tensor"
local axis = require "segx.axis"
errors.own()

local weights = {}
local Weights = {__name = "segx.Weights"}

-- -- Class vectors in any form --------------------------------------------------------------------

-- 1 at class i, else 0.
local function unit_vector(i, n)
  local v = {}
  for c = 1, n do v[c] = c == i and 1.0 or 0.0 end
  return core.dense(v)
end

-- List of numbers and scalar tensors -> class vector.
local function from_entries(entries)
  local base, moving = {}, {}
  for c, v in ipairs(entries) do
    if tensor.is(v) then
      base[c], moving[#moving + 1] = 0.0, c
    else
      base[c] = v
    end
  end
  local t = core.dense(base)
  for _, c in ipairs(moving) do t = t + entries[c] * unit_vector(c, #entries) end
  return t
end

local function check_entry(v, name, what)
  if tensor.is(v) or type(v) == "number" then return end
  errors.misuse(("%s: the value of '%s' is a %s, not a number"):format(what, tostring(name),
    type(v)))
end

-- {pole = 4, default = 1} -> list in class order.
local function by_name(given, names, what)
  local entries = {}
  for c = 1, #names do entries[c] = given.default or 1.0 end
  for name, v in pairs(given) do
    check_entry(v, name, what)
    if name ~= "default" then entries[errors.position(what, "class", name, names)] = v end
  end
  return entries
end

local function check_list(given, names, what)
  if #given ~= #names then
    local last, option = names[#names], what:match "[%w_]+$"
    local key = last:match "^[%a_][%w_]*$" or ('["%s"]'):format(last)
    errors.misuse(("%s: %d values for %d classes"):format(what, #given, #names),
      ("name them, %s = {%s = 4, default = 1}; every class counts, averaged or not"):format(option, key))
  end
  for c, v in ipairs(given) do check_entry(v, names[c], what) end
  return given
end

-- Raises where a weight is negative or not finite; with a list, what is wrong at single values of sweep
-- axes is added to it instead (a refusal, see loss.lua).
local function check_nonnegative(t, names, what, refused)
  local axes, reason = t:kind() == "lazy" and t:sweep_axes() or {}, {}
  for i, v in ipairs(tensor.values(t) or {}) do
    if v ~= v or v < 0 or v == math.huge then
      local place = (i - 1) // #names + 1
      reason[place] = reason[place] or ("%s: class '%s' has weight %s; weights are finite and not negative"):format(
        what, names[(i - 1) % #names + 1], format.number(v))
      if not refused then errors.misuse(reason[place]) end
    end
  end
  refusal.add(refused or {}, axes, reason)
  return t
end

local function check_shape(t, classes, what)
  local axes = t:kind() == "lazy" and core.axes(t)
  local fits
  if axes then
    fits = axes.class and not (axes.label or axes.pixel)
  else
    fits = t:dim() == 1 and t:size(1) == classes
  end
  if not fits then
    errors.misuse(("%s: expected one value for each of %d classes"):format(what, classes))
  end
end

--- Any form of class vector -> Tensor {C} (with sweep axes where the entries have them). given:
--- list of C, {name = value, default = value}, Weights, Tensor. names: the class names. what: for
--- messages. refused: a list that takes what is wrong at single values of sweep axes; without it that
--- is an error.
function weights.vector(given, names, what, refused)
  local t
  if tensor.is(given) then
    t = given
  elseif getmetatable(given) == Weights then
    t = given.vector
  elseif type(given) == "table" then
    t = from_entries(#given > 0 and check_list(given, names, what) or by_name(given, names, what))
  else
    errors.misuse(("%s: expected a list of %d numbers or {name = value}, got a %s"):format(what,
      #names, type(given)))
  end
  check_shape(t, #names, what)
  return check_nonnegative(t, names, what, refused)
end

-- -- The Weights value ----------------------------------------------------------------------------

Weights.__index = Weights

-- scheme: its name, where the numbers are a scheme's own; origin: what they were made from.
local function new(names, t, scheme, origin)
  return setmetatable({names = names, vector = t, scheme = scheme, origin = origin or scheme}, Weights)
end

local function is_weights(v) return getmetatable(v) == Weights end

--- The class vector as a Tensor {C}.
function Weights:tensor() return self.vector end

--- The weights as a list of C numbers; an error where they range over a sweep axis.
function Weights:totable()
  if self.vector:kind() ~= "dense" then
    errors.misuse("weights: these range over a sweep axis; evaluate the sweep")
  end
  return self.vector:totable()
end

--- New weights with some classes replaced, by name: w:set{pole = 4}; values may be sweep axes.
function Weights:set(values)
  local t, n = self.vector, #self.names
  for c, name in ipairs(self.names) do
    local v = values[name]
    if v ~= nil then
      check_entry(v, name, "set")
      local one = unit_vector(c, n)
      t = t * (1 - one) + v * one
    end
  end
  errors.check_keys("set", "class", values, self.names)
  return new(self.names, check_nonnegative(t, self.names, "set", {}), nil,   -- axes: when it is used
    self.origin and self.origin .. ", some classes set")
end

--- The same weights with one value for every sweep axis. list: C numbers (or a dense tensor).
function weights.fixed(w, list)
  return new(w.names, tensor.is(list) and list or core.dense(list), w.scheme, w.origin)
end

local function operand(v) return is_weights(v) and v.vector or v end

for event, f in pairs {
  __add = function(a, b) return a + b end, __sub = function(a, b) return a - b end,
  __mul = function(a, b) return a * b end, __div = function(a, b) return a / b end,
  __pow = function(a, b) return a ^ b end,
} do
  Weights[event] = function(a, b)
    local names = is_weights(a) and a.names or b.names
    local origin = is_weights(a) and a.origin or is_weights(b) and b.origin
    return new(names, f(operand(a), operand(b)), nil,
      origin and (origin:find " with arithmetic$" and origin or origin .. " with arithmetic"))
  end
end

--- Lua text: a table by class name, or the expression where axes are inside.
function Weights:text()
  if self.vector:kind() ~= "dense" then return axis.text(self.vector) or core.text(self.vector) end
  return format.lua(self.vector:totable())
end

function Weights:__tostring()
  if self.vector:kind() ~= "dense" then
    return "weights over a sweep axis: " .. core.text(self.vector)
  end
  local rows = {}
  for c, v in ipairs(self.vector:totable()) do rows[c] = {self.names[c], v} end
  return format.table({"class", self.scheme or "weight"}, rows)
end

-- -- Counting -------------------------------------------------------------------------------------

local counted = setmetatable({}, {__mode = "k"})

local function count_dump(d)
  local per_image = core.bysum(core.fields(d).valid)
  local _, pixels = nil, core.psum(core.fields(d).valid)
  local containing = core.nsum(per_image:gt(0) * pixels)
  local r = core.eval(d, {core.nsum(per_image), containing}, {})
  return {counts = r[1]:totable(), containing = r[2]:totable(), class_names = d:info().class_names}
end

--- Valid pixels by class over the whole dump: {counts = {..}, containing = {..}, class_names =
--- {..}}; `containing` are the pixels of the images in which the class occurs. One pass, kept for
--- the life of the dump.
function weights.counts(d)
  if not counted[d] then counted[d] = count_dump(d) end
  return counted[d]
end

local function statistics(source, scheme)
  if tensor.is_dump(source) then return weights.counts(source) end
  if type(source) ~= "table" or type(source.counts) ~= "table" then
    errors.misuse(scheme .. ": expected a dump",
      ("segx.weights.%s(d) or %s{counts = {900, 90, 10}}"):format(scheme, scheme))
  end
  local names = source.class_names
  if not names then
    names = {}
    for c = 1, #source.counts do names[c] = tostring(c - 1) end
  end
  return {counts = source.counts, containing = source.containing, class_names = names}
end

-- -- Schemes --------------------------------------------------------------------------------------

local function sum(list)
  local s = 0.0
  for _, v in ipairs(list) do s = s + v end
  return s
end

local function median(list)
  local sorted = {table.unpack(list)}
  table.sort(sorted)
  local n = #sorted
  if n % 2 == 1 then return sorted[(n + 1) // 2] end
  return (sorted[n // 2] + sorted[n // 2 + 1]) / 2
end

local normalisers = {
  none = function() return 1 end,
  sum_to_1 = function(w) return 1 / sum(w) end,
  mean_1 = function(w) return #w / sum(w) end,
  max_1 = function(w) return 1 / math.max(table.unpack(w)) end,
}

local function check_clip(scheme, clip)
  if clip == nil then return end
  if type(clip) ~= "table" or #clip ~= 2 or clip[1] < 0 or clip[1] > clip[2] then
    errors.misuse(scheme .. ": clip is {lo, hi} with 0 <= lo <= hi")
  end
end

local function warn_missing(scheme, names)
  if #names > 0 then
    warn(("weights.%s: no pixel of %s; weight 0"):format(scheme, table.concat(names, ", ")))
  end
end

-- Weight of each class with pixels by `formula`, 0 for the others; then clip; then normalise.
local function build(scheme, stats, formula, opts)
  local list, missing = {}, {}
  for c, n in ipairs(stats.counts) do
    if n > 0 then
      list[c] = formula(n, c) + 0.0
      if opts.clip then list[c] = math.min(math.max(list[c], opts.clip[1]), opts.clip[2]) end
    else
      list[c], missing[#missing + 1] = 0.0, stats.class_names[c]
    end
  end
  warn_missing(scheme, missing)
  if sum(list) > 0 then
    local factor = normalisers[opts.normalise](list)
    for c = 1, #list do list[c] = list[c] * factor end
  end
  return new(stats.class_names, core.dense(list), scheme)
end

-- schemes[name] = {doc, defaults, prepare}; prepare(stats, opts) returns the formula(n_c, c).
local schemes = {}

schemes.inverse_frequency = {
  doc = "1 / f_c, f_c = share of the class among the valid pixels",
  prepare = function(stats)
    local total = sum(stats.counts)
    return function(n) return total / n end
  end,
}

schemes.balanced = {
  doc = "total / (C n_c); scikit-learn's class_weight=\"balanced\"",
  prepare = function(stats)
    local total = sum(stats.counts)
    return function(n) return total / (#stats.counts * n) end
  end,
}

schemes.inverse_sqrt = {
  doc = "1 / sqrt(f_c)",
  prepare = function(stats)
    local total = sum(stats.counts)
    return function(n) return math.sqrt(total / n) end
  end,
}

schemes.median_frequency = {
  doc = "median(phi) / phi_c, phi_c = n_c / pixels of the images that contain c; Eigen & Fergus 2015",
  prepare = function(stats)
    if not stats.containing then
      errors.misuse("median_frequency: counts given without `containing`")
    end
    local phi, present = {}, {}
    for c, n in ipairs(stats.counts) do
      phi[c] = n > 0 and n / stats.containing[c] or 0
      if n > 0 then present[#present + 1] = phi[c] end
    end
    local middle = median(present)
    return function(_, c) return middle / phi[c] end
  end,
}

schemes.effective_number = {
  doc = "(1 - beta) / (1 - beta^n_c), scaled to sum C; Cui et al. 2019. On pixel counts, beta = 1 - 1/N "
    .. "with N near the typical count (0.999 is blind above 10^4 pixels)",
  defaults = {beta = 0.999, normalise = "mean_1"},
  prepare = function(_, opts)
    if type(opts.beta) ~= "number" or not (opts.beta > 0 and opts.beta < 1) then
      errors.misuse("effective_number: beta lies between 0 and 1")
    end
    local log_beta = math.log(opts.beta)
    local function one_minus_power(n)      -- 1 - beta^n without cancellation
      local x = n * log_beta
      return x > -1e-5 and -x * (1 + x / 2) or 1 - math.exp(x)
    end
    return function(n) return (1 - opts.beta) / one_minus_power(n) end
  end,
}

schemes.log = {
  doc = "1 / ln(k + f_c), k = 1.02; ENet, Paszke et al. 2016",
  defaults = {k = 1.02},
  prepare = function(stats, opts)
    if type(opts.k) ~= "number" or opts.k <= 1 then errors.misuse("log: k is larger than 1") end
    local total = sum(stats.counts)
    return function(n) return 1 / math.log(opts.k + n / total) end
  end,
}

local function options_of(name, scheme, given)
  given = given or {}
  local known = {"clip", "normalise"}
  local opts = {normalise = "none"}
  for k, v in pairs(scheme.defaults or {}) do
    if k ~= "normalise" then known[#known + 1] = k end
    opts[k] = v
  end
  table.sort(known)
  errors.check_keys(name, "option", given, known)
  for k, v in pairs(given) do opts[k] = v end
  check_clip(name, opts.clip)
  if not normalisers[opts.normalise] then
    errors.unknown(name, "normalise", opts.normalise, {"none", "sum_to_1", "mean_1", "max_1"})
  end
  return opts
end

for name, scheme in pairs(schemes) do
  weights[name] = function(source, given)
    local opts = options_of(name, scheme, given)
    local stats = statistics(source, name)
    return build(name, stats, scheme.prepare(stats, opts), opts)
  end
end

--- Names of the schemes, sorted, and what each computes: list of {name, doc}.
function weights.list()
  local list = {}
  for name, scheme in pairs(schemes) do list[#list + 1] = {name = name, doc = scheme.doc} end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- Weights from a class vector in any form, for a dump: W.of(d, {pole = 4, default = 1}).
function weights.of(d, given)
  local names = d:info().class_names
  return new(names, weights.vector(given, names, "weights", {}), nil)
end

return setmetatable(weights, {__index = function(_, k)
  local known = {}
  for name in pairs(schemes) do known[#known + 1] = name end
  table.sort(known)
  errors.unknown("segx.weights", "scheme", k, known)
end})
