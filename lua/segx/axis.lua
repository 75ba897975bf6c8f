--[[
axis.lua: the axes of a sweep. An axis is a Tensor that ranges over a list of values; it stands
wherever a number (or a class-weight vector) may stand, and arithmetic on it is an axis again.

    A.grid("gamma", {0, 1, 2, 5})      these values
    A.lin("mix", 0, 1, 11)             n values from lo to hi, equal steps
    A.log("w_pole", 1, 16, 5)          n values from lo to hi, equal ratios: 1 2 4 8 16
    A.zip("a", {..}, "b", {..})        several parameters that move together: one axis, two tensors
    A.vectors("scheme", {w1, w2})      whole class-weight vectors

Using one axis in two places ties them together.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
local tensor = require "segx.tensor"
errors.own()

local axis = {}

-- Source text of the axes made here, for printing losses.
local texts = setmetatable({}, {__mode = "k"})

--- The Lua text that made this axis, or nil for anything else.
function axis.text(t) return texts[t] end

local function remember(t, text)
  texts[t] = text
  return t
end

local function check_name(where, name)
  if type(name) ~= "string" or not name:match("^[%a_][%w_.]*$") then
    errors.misuse(where .. ": the first argument is the axis' name, a word",
      'A.grid("gamma", {0, 1, 2})')
  end
end

local function check_values(where, name, values)
  if type(values) ~= "table" or #values == 0 then
    errors.misuse(("%s: axis '%s' needs a list of values"):format(where, name))
  end
  for i, v in ipairs(values) do
    if type(v) ~= "number" or v ~= v or math.abs(v) == math.huge then
      errors.misuse(("%s: axis '%s': value %d is %s, not a finite number"):format(
        where, name, i, tostring(v)))
    end
  end
end

local function check_range(where, name, lo, hi, n)
  check_values(where, name, {lo, hi})
  if math.type(n) ~= "integer" or n < 2 then
    errors.misuse(("%s: axis '%s' has an integer number of values, at least 2"):format(where, name))
  end
end

-- Twelve digits: 0.3 stays 0.3, and no axis depends on the last bit of the C library's pow.
local function tidy(v) return tonumber(("%.12g"):format(v)) + 0.0 end

--- These values. name: a word; values: finite numbers; labels: texts for tables (default: the
--- numbers).
function axis.grid(name, values, labels)
  check_name("grid", name)
  check_values("grid", name, values)
  local text = ("A.grid(%q, %s)"):format(name, format.lua(values))
  return remember(core.axis(name, values, labels), text)
end

local function spaced(where, name, lo, hi, n, value)
  local values = {}
  for i = 0, n - 1 do values[i + 1] = tidy(value(i / (n - 1))) end
  values[1], values[n] = lo + 0.0, hi + 0.0
  local text = ("A.%s(%q, %s, %s, %d)"):format(where, name, format.exact(lo), format.exact(hi), n)
  return remember(core.axis(name, values), text)
end

--- n values from lo to hi in equal steps.
function axis.lin(name, lo, hi, n)
  check_name("lin", name)
  check_range("lin", name, lo, hi, n)
  return spaced("lin", name, lo, hi, n, function(s) return lo + (hi - lo) * s end)
end

--- n values from lo to hi in equal ratios; lo and hi positive.
function axis.log(name, lo, hi, n)
  check_name("log", name)
  check_range("log", name, lo, hi, n)
  if lo <= 0 or hi <= 0 then
    errors.misuse(("log: axis '%s': both ends must be positive"):format(name))
  end
  return spaced("log", name, lo, hi, n, function(s) return lo * (hi / lo) ^ s end)
end

--- Parameters that move together: A.zip("gamma", {0, 2}, "mix", {1, 0.5}) returns one tensor per
--- name.
function axis.zip(...)
  local names, lists, given = {}, {}, {...}
  for i = 1, #given, 2 do
    check_name("zip", given[i])
    check_values("zip", given[i], given[i + 1])
    names[#names + 1], lists[#lists + 1] = given[i], given[i + 1]
    if #given[i + 1] ~= #given[2] then
      errors.misuse(("zip: '%s' has %d values, '%s' has %d"):format(
        given[i], #given[i + 1], given[1], #given[2]))
    end
  end
  if #names == 0 then
    errors.misuse("zip: no axis given", 'A.zip("gamma", {0, 2}, "mix", {1, 0.5})')
  end
  local tensors = {core.zip(names, lists)}
  for i, t in ipairs(tensors) do
    remember(t, ("select(%d, A.zip(%s))"):format(i, (format.lua(given):gsub("^{(.*)}$", "%1"))))
  end
  return table.unpack(tensors)
end

-- Weights, list of C numbers or dense {C} -> dense {C}.
local function as_vector(v, i)
  if tensor.is(v) then return v end
  if type(v) == "table" and v.tensor then v = v:tensor() return v end
  if type(v) ~= "table" then
    errors.misuse(("vectors: entry %d is a %s, not a class vector"):format(i, type(v)))
  end
  check_values("vectors", tostring(i), v)
  return core.dense(v)
end

--- Whole class vectors (lists of C numbers, dense {C} tensors or weights). labels: one text each;
--- default: the names of the weights ("balanced"), else the position.
function axis.vectors(name, vectors, labels)
  check_name("vectors", name)
  if type(vectors) ~= "table" or #vectors == 0 then
    errors.misuse("vectors: expected a list of class vectors")
  end
  local values, texts_of = {}, {}
  for i, v in ipairs(vectors) do
    values[i] = as_vector(v, i)
    texts_of[i] = type(v) == "table" and v.scheme or tostring(i)
  end
  local lists = {}
  for i, v in ipairs(values) do lists[i] = v:totable() end
  local text = ("A.vectors(%q, %s, %s)"):format(name, format.lua(lists),
    format.lua(labels or texts_of))
  return remember(core.axis(name, values, labels or texts_of), text)
end

return axis
