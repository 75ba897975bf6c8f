--[[
tensor.lua: what the product layer adds to the Tensor type of segx.core:
  - sum("pixel") and mean("pixel") know the unit (data set, image, batch) of the loss being traced;
  - operators meet losses and class weights (`mix * L.dice{}`, `w ^ s`);
  - small helpers: is, ratio, values.
]]
local core = require "segx.core"
local errors = require "segx.errors"
errors.own()

local tensor = {}
local Tensor = core.Tensor

local function kind_of(v)
  local mt = getmetatable(v)
  return type(mt) == "table" and mt.__name or nil
end

--- Is v a Tensor?
function tensor.is(v) return kind_of(v) == "segx.Tensor" end

--- Is v a Dump?
function tensor.is_dump(v) return kind_of(v) == "segx.Dump" end

--- num / den, and `at_zero` where den is 0. Both branches stay finite, so gradients do.
function tensor.ratio(num, den, at_zero)
  local zero = den:eq(0)
  return core.where(zero, at_zero, num / core.where(zero, 1, den))
end

local function flatten(v, into)
  if type(v) ~= "table" then
    into[#into + 1] = v
  else
    for i = 1, #v do flatten(v[i], into) end
  end
  return into
end

--- All numbers of a tensor that depends on no image and no pixel (sweep axes, class vectors), or
--- nil.
function tensor.values(t)
  if type(t) == "number" then return {t} end
  local axes = core.axes(t)
  if axes.image or axes.pixel then return nil end
  return flatten(t:eval():totable(), {})
end

--- Numbers of a dense tensor as a flat list.
function tensor.flat(t) return flatten(t:totable(), {}) end

-- -- Sums over pixels -----------------------------------------------------------------------------

-- What is being traced: {dump, unit, mask, micro}, set by loss.lua while a loss function runs.
local current

--- Enters a trace; the returned value leaves it when closed: `local _ <close> =
--- tensor.trace(context)`.
function tensor.trace(context)
  local before = current
  current = context
  return setmetatable({}, {__close = function() current = before end})
end

--- Sums per image -> sums of the unit. unit: "dataset", "image" or {batch = B}.
function tensor.unit_sum(t, unit)
  if unit == "dataset" then return core.nsum(t) end
  if unit == "image" then return t end
  return core.bsum(t, unit.batch)
end

--- Sum over the valid pixels of a unit, and inside `mask` (0/1 per pixel) where there is one.
function tensor.pixel_sum(t, unit, mask)
  if mask then t = core.where(mask, t, 0) end
  return tensor.unit_sum(core.psum(t), unit)
end

-- Micro averages: sums by class fold into one; what has no class axis counts once per class.
local function fold_classes(t, micro)
  if core.axes(t).class then return (t * micro.selected):sum("class") end
  return t * micro.count
end

-- -- Printing forces -------------------------------------------------------------------------------

local meta = getmetatable(core.dense {0})
local lazy_text = meta.__tostring

--- A lazy tensor without a pixel axis prints its numbers, which may cost a pass; one with pixels, or inside a loss that is
--- being traced, prints what it is.
function meta.__tostring(t)
  if kind_of(t) ~= "segx.Tensor" or t:kind() == "dense" or current or core.axes(t).pixel then return lazy_text(t) end
  local ok, r = pcall(t.eval, t)
  if not ok and type(r) == "table" and r.code == "interrupted" then error(r, 0) end
  return ok and tostring(r) or lazy_text(t)
end

local raw_sum, raw_mean = Tensor.sum, Tensor.mean

local function scoped_sum(t, scope)
  if not current then return tensor.pixel_sum(t, scope or "image") end
  local s = tensor.pixel_sum(t, scope or current.unit, current.mask)
  return current.micro and fold_classes(s, current.micro) or s
end

local function check_scope(scope)
  if scope == nil or scope == "image" or scope == "dataset" then return end
  errors.unknown("sum", "unit", scope, {"image", "dataset"})
end

--- t:sum(dim [, unit]). dim: "class", "pixel", "image", "label", a position, or nothing
--- (everything). For "pixel" the unit may be "image" or "dataset"; without it, the unit of the loss
--- being traced, and one image outside of losses. Ignored pixels never count.
function Tensor.sum(t, dim, scope)
  check_scope(scope)
  if dim ~= "pixel" or not (current or scope) then return raw_sum(t, dim) end
  return scoped_sum(t, scope)
end

--- t:mean(dim [, unit]): as sum, divided by how many were summed (valid pixels for "pixel").
function Tensor.mean(t, dim, scope)
  check_scope(scope)
  if dim ~= "pixel" or not (current or scope) then return raw_mean(t, dim) end
  if not current then
    errors.misuse("mean: a unit needs a loss being traced", 't:sum("pixel", "dataset")')
  end
  return scoped_sum(t, scope) / scoped_sum(core.fields(current.dump).valid, scope)
end

-- -- Sums in order ----------------------------------------------------------------------------------

-- Pixels of a unit are sorted together, those of the mask where there is one.
local function in_order(which)
  return function(t, v, scope)
    check_scope(scope)
    if current and current.micro then
      errors.misuse(which .. ': average = "micro" has no meaning where pixels are sorted by class')
    end
    if current then current.sorted = true end
    local unit, mask = scope or current and current.unit or "image", current and current.mask
    if mask then mask = core.where(mask, core.fields(current.dump).valid, 0) end
    return core[which](t, v or 1, mask, unit == "image" and 1 or unit == "dataset" and 0 or unit.batch)
  end
end

--- t:sum_above(v [, unit]): at every pixel, the sum of v (a number or a tensor with pixels; default 1: the pixel's place) over the
--- pixels of its unit from the one with the largest t down to itself, by class where t or v has classes. Equal ones are in order of
--- pixels. Unit as for sum; ignored pixels never count. Gradients take the order as fixed.
Tensor.sum_above = in_order "sum_above"

--- t:sum_below(v [, unit]): the same over the pixels that come after it.
Tensor.sum_below = in_order "sum_below"

-- -- Operators ------------------------------------------------------------------------------------

-- Lua asks the left operand first, so a Tensor must step back where the right one is a loss or
-- weights.
local mt = getmetatable(core.dense {0})
for _, event in ipairs {"__add", "__sub", "__mul", "__div", "__pow"} do
  local raw = mt[event]
  mt[event] = function(a, b)
    if type(b) == "table" then
      local other = getmetatable(b)
      if other and other ~= mt and other[event] then return other[event](a, b) end
    end
    return raw(a, b)
  end
end

return tensor
