--[[
trace.lua: from one loss term to tensors. A term is a definition (L.define) with parameters, a unit,
a choice of classes and perhaps a pixel mask; `trace.term` runs its function once over the lazy
fields of a dump and wraps what comes back:

  a value per pixel   -> sums by true class, class weight, then `reduction`        (pixel loss)
  a vector by class   -> `empty`, class weight, then `average` over classes        (region loss)
  a scalar            -> taken as it is

and last the mean over units. The result is a table of tensors without a pixel axis:
  value       {}        the loss
  per_class   {class}   mean of the term over the pixels of a class, or the class' own value; NaN
                        where there is none
  share       {class}   what each class adds to the value; their sum is the value
  images      {image}   value of each unit (unit = "image" and batches only), 0 where it has none
  empty       {}        1 when nothing at all was counted (the value is 0 then)
  pixels      {image, pixel}   pixel losses: what is summed, weights included
  sorted      true where the function sorts pixels: the loss has a kink wherever two change places
per_class, share and pixels are nil where the loss has no such split.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local tensor = require "segx.tensor"
local weights = require "segx.weights"
errors.own()

local trace = {}
local ratio = tensor.ratio
local nan = 0 / 0

-- -- What a loss function sees --------------------------------------------------------------------

local computed = {"p", "logp", "pt", "logpt", "u", "logu", "ce", "onehot", "logits", "labels",
  "valid", "classes"}

local function known_fields(d)
  local known = {"weight", "selected", "n_classes", "image_pixels", table.unpack(computed)}
  for _, name in ipairs(d:info().field_names) do known[#known + 1] = name end
  table.sort(known)
  return known
end

-- Pixels of one image, ignored ones included; an error where images differ in size.
local function image_pixels(d, who)
  if trace.image_pixels then return trace.image_pixels end   -- export has a symbol for it
  local info = d:info()
  if not info.same_shape then
    errors.misuse(who .. ": counts all pixels of an image, but the images differ in size",
      'unit = "dataset"')
  end
  local n = 1
  for _, size in ipairs(info.dims) do n = n * size end
  return n
end

-- x: the fields, read on demand. used[name] remembers which were read.
local function make_x(t, used)
  local d, info = t.dump, t.dump:info()
  local fields = core.fields(d)
  local own = {
    weight = function() return t.weight or core.dense(t.ones) end,
    selected = function() return t.selected end,
    n_classes = function() return info.classes end,
    image_pixels = function() return image_pixels(d, t.name) end,
  }
  local function lookup(x, key)
    used[key] = true
    local v
    if own[key] then v = own[key]() else v = fields[key] end
    if v == nil then
      for _, name in ipairs(info.field_names) do
        if name == key then v = d[key] end
      end
    end
    if v == nil then errors.unknown(t.name, "field of x", key, known_fields(d)) end
    rawset(x, key, v)
    return v
  end
  return setmetatable({}, {__index = lookup})
end

-- q: the parameters; a misspelt one is an error, not nil.
local function make_q(t)
  return setmetatable({}, {__index = function(_, key)
    local v = t.params[key]
    if v ~= nil or t.def.known_param[key] then return v end
    errors.unknown(t.name, "parameter of q", key, t.def.params)
  end})
end

-- Raises an error of the loss function again; functions of `math` meet tensors often enough for a hint.
local function explain(e)
  if type(e) == "string" and e:find "got segx.Tensor" then
    local f = e:match "bad argument #%d to '(%w+)'"
    e = ("%s\n  hint: tensors have their own functions: segx.%s(t) or t:%s()"):format(e, f or "log",
      f or "log")
  end
  error(e, 0)
end

-- Runs the loss function with sum("pixel") meaning the pixels of the unit.
local function run(t, micro)
  local used = {}
  local context = {dump = t.dump, unit = t.unit, mask = t.mask, micro = micro}
  local _ <close> = tensor.trace(context)
  local ok, out, finish = pcall(t.def.fn, make_x(t, used), make_q(t))
  t.sorted = context.sorted
  if not ok then explain(out) end
  if type(out) == "number" then out = core.dense {out} end
  if not tensor.is(out) then
    errors.misuse(("%s: the loss function returned a %s, not a tensor"):format(t.name, type(out)))
  end
  return out, finish, used
end

-- -- Units ----------------------------------------------------------------------------------------

local function unit_sum(t, x) return tensor.unit_sum(x, t.unit) end

-- Valid pixels by class in each unit, of the chosen classes inside the mask.
local function class_counts(t)
  local valid = core.fields(t.dump).valid
  local inside = t.mask and core.where(t.mask, valid, 0) or valid
  return unit_sum(t, core.bysum(inside))
end

-- 1 for every unit with something to count, once per unit (batches: at their first image).
local function counting_units(t, amount)
  local has = amount:gt(0)
  if type(t.unit) == "table" then return has * core.first(t.dump, t.unit.batch) end
  return has
end

-- Mean of x over the units with has = 1; `otherwise` where there is none.
local function over_units(t, x, has, otherwise)
  if t.unit == "dataset" then return core.where(has, x, otherwise) end
  return ratio(core.nsum(core.where(has, x, 0)), core.nsum(has), otherwise)
end

local function nothing_counted(t, has)
  if t.unit == "dataset" then return 1 - has end
  return core.nsum(has):eq(0)
end

-- Puts the pieces of all three kinds together. parts: {value, has, per_class, class_has, share},
-- per unit.
local function collect(t, parts)
  local r = {value = over_units(t, parts.value, parts.has, 0),
    empty = nothing_counted(t, parts.has)}
  if parts.per_class then r.per_class = over_units(t, parts.per_class, parts.class_has, nan) end
  if parts.share then r.share = over_units(t, parts.share, parts.has, 0) end
  r.pixels, r.sorted = parts.pixels, t.sorted
  if t.unit ~= "dataset" then r.images = core.where(parts.has, parts.value, 0) end
  return r
end

-- -- Pixel losses ---------------------------------------------------------------------------------

-- All pixels of the unit, ignored ones included.
local function all_pixels(t)
  if t.unit == "dataset" then
    local info, n = t.dump:info(), 0
    if trace.image_pixels then return core.nsum(core.first(t.dump, 1)) * trace.image_pixels end
    if info.same_shape then return core.dense {info.n * image_pixels(t.dump, t.name)} end
    for i = 1, info.n do
      local px = 1
      for _, size in ipairs(t.dump:dims(i)) do px = px * size end
      n = n + px
    end
    return core.dense {n}
  end
  return unit_sum(t, core.first(t.dump, 1) * image_pixels(t.dump, t.name))
end

-- Denominator of each reduction, from the valid pixels by class n {unit, class}.
local denominators = {
  sum = function() return core.dense {1} end,
  mean = function(_, n) return n:sum("class") end,
  weighted_mean = function(t, n) return (t.weight and t.weight * n or n):sum("class") end,
  mean_all = function(t) return all_pixels(t) end,
  mean_elements = function(t) return all_pixels(t) * t.n_selected end,
  mean_image = function(_, n) return n:sum("class") end,
}
trace.reductions = {"sum", "mean", "weighted_mean", "mean_all", "mean_elements", "mean_image",
  "per_class"}

-- Mean over the classes that occur of the class means.
local function class_balanced(t, S, n, l)
  local present = n:gt(0)
  local classes = present:sum("class")
  local per_class = ratio(S, n, 0)
  return collect(t, {
    value = ratio(per_class:sum("class"), classes, 0), has = counting_units(t, classes), pixels = l,
    per_class = per_class, class_has = counting_units(t, n), share = ratio(per_class, classes, 0),
  })
end

local function refuse(t, names, why)
  for _, name in ipairs(names) do
    if t.given[name] ~= nil then
      errors.misuse(("%s: '%s' has no meaning here: %s"):format(t.name, name, why))
    end
  end
end

-- l times the weight and the 0/1 choice of the pixel's label. The engine takes both out of the
-- sums, so that sweeping them costs no pass.
local function weigh(t, l, used)
  local labels = core.fields(t.dump).labels
  if t.mask then l = core.where(t.mask, l, 0) end
  if t.weight and not used.weight then l = t.weight:pick(labels) * l end
  if t.restricted then l = t.selected:pick(labels) * l end
  return l
end

local function wrap_pixel(t, l, used)
  refuse(t, {"average", "empty"}, "this loss has one value per pixel; see 'reduction'")
  l = weigh(t, l, used)
  local S, n = unit_sum(t, core.bysum(l)), class_counts(t)
  if t.restricted then n = t.selected * n end
  if t.reduction == "per_class" then return class_balanced(t, S, n, l) end
  local den = denominators[t.reduction](t, n)
  local amount = t.reduction == "weighted_mean" and den or n:sum("class")
  return collect(t, {
    value = ratio(unit_sum(t, core.psum(l)), den, 0), has = counting_units(t, amount), pixels = l,
    per_class = ratio(S, n, 0), class_has = counting_units(t, n), share = ratio(S, den, 0),
  })
end

-- -- Region losses --------------------------------------------------------------------------------

-- 1 for the classes that count in the average of each unit.
local function counted_classes(t, n)
  if t.empty == "skip" then return t.selected * n:gt(0) end
  return t.selected * n:ge(0)
end

local averages = {
  macro = function(_, count) return count, count end,
  weighted = function(t, count) return t.weight * count, t.weight * count end,
  weighted_raw = function(t, count) return t.weight * count, count end,
}
trace.averages = {"macro", "weighted", "weighted_raw", "micro"}
trace.empties = {"skip", "zero", "smooth"}

local function average_of(t)
  if t.given.average then return t.given.average end
  return t.weight and "weighted" or "macro"
end

local function wrap_region(t, v, finish)
  refuse(t, {"reduction"}, "this loss has one value per class; see 'average'")
  local n = class_counts(t)
  if t.empty == "zero" then v = core.where(n:eq(0), 0, v) end
  local average, count = average_of(t), counted_classes(t, n)
  if average ~= "macro" and not t.weight then
    errors.misuse(("%s: average = %q needs 'weight'"):format(t.name, average))
  end
  if average == "macro" then
    refuse(t, {"weight"}, 'average = "macro" uses no weights; take "weighted"')
  end
  local top, bottom = averages[average](t, count)
  local used = core.where(count, v, 0)
  local total = bottom:sum("class")
  local value = ratio((top * used):sum("class"), total, 0)
  -- A unit counts when it has a valid pixel and a class to average.
  local has = counting_units(t, core.where(n:sum("class"):gt(0), total, 0))
  return collect(t, {
    value = finish and finish(value) or value, has = has,
    per_class = v, class_has = counting_units(t, count),
    share = not finish and ratio(top * used, total, 0) or nil,
  })
end

-- -- Scalars --------------------------------------------------------------------------------------

local function wrap_scalar(t, v, used, finish)
  refuse(t, {"reduction", "average", "empty"}, "the loss function returns one number")
  if not used.weight then refuse(t, {"weight"},
    "the loss function returns one number and does not read x.weight") end
  if t.restricted and not used.selected then
    errors.misuse(t.name .. ": classes cannot be chosen: the loss function returns one number",
      "a function that reads x.selected chooses classes itself")
  end
  local has = counting_units(t, class_counts(t):sum("class"))
  return collect(t, {value = finish and finish(v) or v, has = has})
end

-- Class sums folded into one before the ratio: the function runs again and finds one class.
local function run_micro(t)
  refuse(t, {"weight", "empty"}, 'average = "micro" sums over classes first')
  local v, finish = run(t, {selected = t.selected, count = t.n_selected})
  local has = counting_units(t, class_counts(t):sum("class"))
  return collect(t, {value = finish and finish(v) or v, has = has})
end

-- -- Entry ----------------------------------------------------------------------------------------

--- Tensors of one term. t: {name, def, params, given, dump, unit, reduction, empty, weight (Tensor
--- or nil), selected (dense 0/1 by class), n_selected, restricted (are classes left out?), mask
--- (Tensor or nil), ones (list of 1)}.
function trace.term(t)
  local out, finish, used = run(t)
  local axes = core.axes(out)
  if axes.pixel and axes.class then
    errors.misuse(t.name .. ": the loss function returns a value per class and pixel",
      'sum it, v:sum("class") or v:sum("pixel")')
  end
  if t.def.kind == "pixel" and not axes.pixel then
    errors.misuse(t.name .. ": declared a pixel loss, but returned no value per pixel")
  end
  if axes.pixel then return wrap_pixel(t, out, used) end
  if axes.class and t.given.average == "micro" then return run_micro(t) end
  if axes.class then return wrap_region(t, out, finish) end
  return wrap_scalar(t, out, used, finish)
end

return trace
