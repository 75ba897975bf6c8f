--[[
ref_core.lua: segx.core once more, in plain Lua and float64. A second opinion for tests, not a
product: it is written from the contract of the C binding alone, computes at once (no graph, no
rewrites), and prefers the obvious loop over the fast one.

    package.loaded["segx.core"] = require "ref_core"

A lazy tensor is {axes, count, data}: axes is a list of axis objects in the fixed order
    sweep axes (oldest first), image n, label l, class c, pixel p
count[axis] is its size, data is flat, the last axis runs fastest. A dense tensor is {shape, data}.
]]
local ok_errors, errors = pcall(require, "segx.errors")
local Error = ok_errors and errors.Error or {__tostring = function(e) return e.message end}

local core = {version = "reference"}
local Tensor, Dump = {}, {}
core.Tensor, core.Dump = Tensor, Dump

local huge = math.huge
local N = {name = "image", rank = 1e6}
local L = {name = "label", rank = 1e6 + 1}
local C = {name = "class", rank = 1e6 + 2}
local P = {name = "pixel", rank = 1e6 + 3}

local function world_error(code, message, hint)
  error(setmetatable({code = code, message = message, hint = hint}, Error), 0)
end

local arithmetic = require "ref_math"
local log1p, expm1, sigmoid, softplus, tanh = arithmetic.log1p, arithmetic.expm1, arithmetic.sigmoid, arithmetic.softplus,
  arithmetic.tanh

local function truth(b) return b and 1 or 0 end

-- -- Construction ---------------------------------------------------------------------------------

local meta = {__name = "segx.Tensor"}

local function dense(shape, data) return setmetatable({shape = shape, data = data}, meta) end

local function lazy(axes, count, data, dump)
  return setmetatable({axes = axes, count = count, data = data, dump = dump}, meta)
end

local function is_tensor(x) return type(x) == "table" and getmetatable(x) == meta end

local function product(list)
  local n = 1
  for i = 1, #list do n = n * list[i] end
  return n
end

-- Nested table -> shape, flat data. Rows must be equally long.
local function flatten(t)
  if is_tensor(t) then
    assert(t.shape, "expected a dense tensor")
    return t.shape, t.data
  end
  local shape, level = {}, t
  while type(level) == "table" do
    shape[#shape + 1] = #level
    level = level[1]
  end
  local data = {}
  local function walk(x, depth)
    if depth > #shape then
      if type(x) ~= "number" then error("tensor: expected a number, got " .. type(x), 0) end
      data[#data + 1] = x + 0.0
      return
    end
    if type(x) ~= "table" or #x ~= shape[depth] then
      error("tensor: rows of different length", 0)
    end
    for i = 1, #x do walk(x[i], depth + 1) end
  end
  walk(t, 1)
  return shape, data
end

function core.dense(t)
  if type(t) == "number" then return dense({}, {t + 0.0}) end
  local shape, data = flatten(t)
  return dense(shape, data)
end

function core.zeros(shape)
  local data = {}
  for i = 1, product(shape) do data[i] = 0.0 end
  return dense(shape, data)
end

-- Number or dense tensor -> lazy tensor: {} and {1} scalars, {C} class vector, {C,C} matrix.
local function as_lazy(x)
  if type(x) == "number" then return lazy({}, {}, {x + 0.0}) end
  if not is_tensor(x) then error("expected a tensor or a number, got " .. type(x), 0) end
  if x.axes then return x end
  local s = x.shape
  if #x.data == 1 then return lazy({}, {}, x.data) end
  if #s == 1 then return lazy({C}, {[C] = s[1]}, x.data) end
  if #s == 2 and s[1] == s[2] then return lazy({L, C}, {[L] = s[1], [C] = s[2]}, x.data) end
  error("a dense tensor mixes with lazy ones as a scalar, {C} or {C,C}", 0)
end

-- -- Broadcasting ---------------------------------------------------------------------------------

local function union(args)
  local axes, count, dump = {}, {}, nil
  for _, t in ipairs(args) do
    for _, a in ipairs(t.axes) do
      if not count[a] then
        axes[#axes + 1], count[a] = a, t.count[a]
      elseif count[a] ~= t.count[a] then
        error(("sizes differ along the %s axis: %d and %d"):format(a.name, count[a], t.count[a]), 0)
      end
    end
    if t.dump and dump and t.dump ~= dump then error("tensors of two dumps", 0) end
    dump = dump or t.dump
  end
  table.sort(axes, function(a, b) return a.rank < b.rank end)
  return axes, count, dump
end

-- Step in t.data for one step along each axis of `axes`; 0 where t lacks it.
local function strides(t, axes)
  local step, of = 1, {}
  for i = #t.axes, 1, -1 do
    of[t.axes[i]] = step
    step = step * t.count[t.axes[i]]
  end
  local list = {}
  for i, a in ipairs(axes) do list[i] = of[a] or 0 end
  return list
end

-- t.data as a function of the position in `axes`: list of 1-based offsets, one per position.
local function offsets(t, axes, count)
  local list = {1}
  local st = strides(t, axes)
  for i, a in ipairs(axes) do
    local wider = {}
    for j = 1, #list do
      for k = 0, count[a] - 1 do wider[#wider + 1] = list[j] + k * st[i] end
    end
    list = wider
  end
  return list
end

local function map(f, ...)
  local args = {...}
  for i = 1, #args do args[i] = as_lazy(args[i]) end
  local axes, count, dump = union(args)
  local at, data = {}, {}
  for i, t in ipairs(args) do at[i] = offsets(t, axes, count) end
  local a, b, c = args[1], args[2], args[3]
  for i = 1, #at[1] do
    data[i] = f(a.data[at[1][i]], b and b.data[at[2][i]], c and c.data[at[3][i]])
  end
  return lazy(axes, count, data, dump)
end

-- Dense with dense: equal shapes, a scalar, or the shorter shape along the last dimensions.
local function map_dense(f, ...)
  local args = {...}
  local shape = {}
  for i, x in ipairs(args) do
    if type(x) == "number" then args[i] = dense({}, {x + 0.0}) end
    if #args[i].data > 1 and #args[i].shape >= #shape then shape = args[i].shape end
  end
  if #shape == 0 then shape = args[1].shape end
  local size, data = product(shape), {}
  for _, x in ipairs(args) do
    for k = 0, #x.shape - 1 do
      if #x.data > 1 and x.shape[#x.shape - k] ~= shape[#shape - k] then
        error("shapes differ", 0)
      end
    end
  end
  local a, b, c = args[1].data, args[2] and args[2].data, args[3] and args[3].data
  for i = 0, size - 1 do
    data[i + 1] = f(a[i % #a + 1], b and b[i % #b + 1], c and c[i % #c + 1])
  end
  return dense(shape, data)
end

local function apply(f, ...)
  for i = 1, select("#", ...) do
    local x = select(i, ...)
    if is_tensor(x) and x.axes then return map(f, ...) end
  end
  return map_dense(f, ...)
end

-- -- Elementwise ----------------------------------------------------------------------------------

local elementwise = {
  exp = math.exp, log = math.log, log1p = log1p, expm1 = expm1, sqrt = math.sqrt, abs = math.abs,
  neg = function(a) return -a end,
  square = function(a) return a * a end,
  recip = function(a) return 1 / a end,
  sigmoid = sigmoid, softplus = softplus, tanh = tanh,
  relu = function(a) return a > 0 and a or 0.0 end,
  sign = function(a) return a > 0 and 1.0 or a < 0 and -1.0 or 0.0 end,
  floor = function(a) return math.floor(a) + 0.0 end,
  stop = function(a) return a end,
  pow = function(a, b) return a ^ b end,
  maximum = function(a, b) return a > b and a or b end,
  minimum = function(a, b) return a < b and a or b end,
  clamp = function(a, lo, hi) return a < lo and lo or a > hi and hi or a end,
  lt = function(a, b) return truth(a < b) end, le = function(a, b) return truth(a <= b) end,
  gt = function(a, b) return truth(a > b) end, ge = function(a, b) return truth(a >= b) end,
  eq = function(a, b) return truth(a == b) end, ne = function(a, b) return truth(a ~= b) end,
}
for name, f in pairs(elementwise) do
  Tensor[name] = function(...) return apply(f, ...) end
  core[name] = Tensor[name]
end

function core.where(c, a, b)
  if type(c) == "boolean" then
    error("where: condition is a Lua boolean; '==' on a tensor always is\n  hint: write x:eq(3)", 2)
  end
  return apply(function(x, y, z) if x ~= 0 then return y end return z end, c, a, b)
end
Tensor.where = core.where

meta.__add = function(a, b) return apply(function(x, y) return x + y end, a, b) end
meta.__sub = function(a, b) return apply(function(x, y) return x - y end, a, b) end
meta.__mul = function(a, b) return apply(function(x, y) return x * y end, a, b) end
meta.__div = function(a, b) return apply(function(x, y) return x / y end, a, b) end
meta.__pow = function(a, b) return apply(elementwise.pow, a, b) end
meta.__unm = function(a) return apply(elementwise.neg, a) end
meta.__band = function(a, b)
  return apply(function(x, y) return truth(x ~= 0 and y ~= 0) end, a, b)
end
meta.__bor = function(a, b)
  return apply(function(x, y) return truth(x ~= 0 or y ~= 0) end, a, b)
end
meta.__bnot = function(a) return apply(function(x) return truth(x == 0) end, a) end
local function no_order()
  error("comparison of a tensor gives one boolean for all pixels\n  hint: write x:lt(0.5) and choose with segx.where", 3)
end
meta.__lt, meta.__le = no_order, no_order

-- -- Reductions over one axis ---------------------------------------------------------------------

-- fold(values, labels) over axis `drop`; values: list along that axis.
local function reduce(t, drop, fold)
  t = as_lazy(t)
  if not t.count[drop] then error("tensor has no " .. drop.name .. " axis", 0) end
  local axes, count = {}, {}
  for _, a in ipairs(t.axes) do
    if a ~= drop then axes[#axes + 1], count[a] = a, t.count[a] end
  end
  local at, step, data = offsets(t, axes, count), strides(t, {drop})[1], {}
  for i = 1, #at do data[i] = fold(t.data, at[i], step, t.count[drop]) end
  return lazy(axes, count, data, t.dump)
end

local fold_sum, fold_max, fold_logsumexp, fold_argmax = arithmetic.fold_sum, arithmetic.fold_max, arithmetic.fold_logsumexp,
  arithmetic.fold_argmax

local function has(t, axis) return t.count[axis] ~= nil end

-- Valid pixels of a tensor's dump, as numbers.
local function valid_of(t)
  if not t.dump then error("pixel sum of a tensor that belongs to no dump", 0) end
  return core.fields(t.dump).valid
end

function core.psum(t)
  t = as_lazy(t)
  local masked = core.where(valid_of(t), t, 0)
  return reduce(masked, P, fold_sum)
end

function core.bysum(t)
  t = as_lazy(t)
  local onehot = core.fields(t.dump).onehot
  if has(t, C) then   -- {n,c,p}: true class becomes the label axis
    local swapped = core.transpose(onehot)
    return core.psum(core.where(swapped, t, 0))
  end
  return core.psum(core.where(onehot, t, 0))
end

function core.nsum(t) return reduce(t, N, fold_sum) end
function core.lsum(t) return reduce(t, L, fold_sum) end

function core.bsum(t, B)
  t = as_lazy(t)
  local at, step, data = offsets(t, t.axes, t.count), strides(t, {N})[1], {}
  local n = t.count[N]
  for i = 1, #at do
    local image = (i - 1) // step % n
    local start, sum = image // B * B, 0.0
    for k = start, math.min(start + B, n) - 1 do sum = sum + t.data[i + (k - image) * step] end
    data[i] = sum
  end
  return lazy(t.axes, t.count, data, t.dump)
end

function core.first(d, B)
  local data = {}
  for i = 1, d.n do data[i] = truth((i - 1) % B == 0) end
  return lazy({N}, {[N] = d.n}, data, d)
end

function core.nimages(d) return d.n end

require "ref_field"(core, {as_lazy = as_lazy, lazy = lazy, union = union, offsets = offsets,
  valid_of = valid_of, N = N, P = P})

function core.transpose(t)
  t = as_lazy(t)
  local swap = {[C] = L, [L] = C}
  if has(t, C) and has(t, L) then
    local axes = {}
    for i, a in ipairs(t.axes) do axes[i] = swap[a] or a end
    local view = offsets(t, axes, t.count)   -- square: counts of C and L agree
    local data = {}
    for i = 1, #view do data[i] = t.data[view[i]] end
    return lazy(t.axes, t.count, data, t.dump)
  end
  local axes, count = {}, {}
  for i, a in ipairs(t.axes) do
    axes[i] = swap[a] or a
    count[axes[i]] = t.count[a]
  end
  return lazy(axes, count, t.data, t.dump)
end

-- -- Tensor methods over a named dimension --------------------------------------------------------

local by_name = {class = C, pixel = P, image = N, label = L}

local function axis_of(t, dim)
  if by_name[dim] then return by_name[dim] end
  error("unknown dimension '" .. tostring(dim) .. "' (class, pixel, image, label)", 0)
end

local function sum_everything(t)
  if has(t, P) then t = core.psum(t) end
  for _, a in ipairs {N, L, C} do
    if has(t, a) then t = reduce(t, a, fold_sum) end
  end
  return t
end

local function dense_sum(t)
  local s = 0.0
  for i = 1, #t.data do s = s + t.data[i] end
  return dense({}, {s})
end

-- Dense tensor, dimension i (1-based, -1 last) dropped by fold.
local function dense_reduce(t, i, fold)
  if i < 0 then i = #t.shape + 1 + i end
  local axes, count = {}, {}
  for k, size in ipairs(t.shape) do
    axes[k] = {name = tostring(k), rank = k}
    count[axes[k]] = size
  end
  local r = reduce(lazy(axes, count, t.data), axes[i], fold)
  local shape = {}
  for k, a in ipairs(r.axes) do shape[k] = r.count[a] end
  return dense(shape, r.data)
end

function Tensor:sum(dim)
  if self.shape then return dim and dense_reduce(self, dim, fold_sum) or dense_sum(self) end
  if dim == nil then return sum_everything(self) end
  local a = axis_of(self, dim)
  if a == P then return core.psum(self) end
  return reduce(self, a, fold_sum)
end

function Tensor:mean(dim)
  if self.shape then
    if dim then return dense_reduce(self, dim, fold_sum) / self.shape[dim] end
    return dense_sum(self) / #self.data
  end
  if dim == "pixel" then return core.psum(self) / core.psum(valid_of(self)) end
  if dim then
    local a = axis_of(self, dim)
    return reduce(self, a, fold_sum) / self.count[a]
  end
  local n = 1
  for _, a in ipairs(self.axes) do
    if a == C or a == L or (a == N and not has(self, P)) then n = n * self.count[a] end
  end
  local s = sum_everything(self)
  if has(self, P) then s = s / core.nsum(core.psum(valid_of(self))) end
  return s / n
end

function Tensor:max(dim)
  if self.shape then return dense_reduce(self, dim, fold_max) end
  return reduce(self, axis_of(self, dim), fold_max)
end

function Tensor:logsumexp(dim) return reduce(self, axis_of(self, dim), fold_logsumexp) end
function Tensor:log_softmax(dim) return self - self:logsumexp(dim) end
function Tensor:softmax(dim) return self:log_softmax(dim):exp() end

function Tensor:argmax(dim)
  local r = reduce(self, axis_of(self, dim), fold_argmax)
  r.classes = self.count[C]
  return r
end

function Tensor:onehot()
  local classes = self.classes or self.dump.classes
  local index = {}
  for c = 1, classes do index[c] = c - 1.0 end
  return self:eq(lazy({C}, {[C] = classes}, index))
end

function Tensor:pick(labels)
  local t = as_lazy(self)
  if has(t, L) then   -- the pixel's row of a matrix
    return reduce(core.where(core.transpose(labels:onehot()), t, 0), L, fold_sum)
  end
  return reduce(core.where(labels:onehot(), t, 0), C, fold_sum)
end

function Tensor:logpick(labels) return self:pick(labels):log() end
function Tensor:one_minus_pick(labels) return 1 - self:pick(labels) end
function Tensor:sum_by(labels)
  return core.nsum(core.psum(core.where(labels:onehot(), self, 0)))
end

-- -- Looking at tensors ---------------------------------------------------------------------------

function Tensor:kind() return self.shape and "dense" or "lazy" end

function Tensor:eval()
  if self.shape then return self end
  return core.eval(self.dump, {self})[1]
end

function Tensor:item()
  local t = self:eval()
  if #t.data ~= 1 then error("item: tensor has " .. #t.data .. " elements", 2) end
  return t.data[1]
end

function Tensor:dim() return #self.shape end
function Tensor:size(d)
  if d then return self.shape[d < 0 and #self.shape + 1 + d or d] end
  return {table.unpack(self.shape)}
end

function Tensor:totable()
  local t, at = self:eval(), 0
  local function build(depth)
    if depth > #t.shape then
      at = at + 1
      return t.data[at]
    end
    local row = {}
    for i = 1, t.shape[depth] do row[i] = build(depth + 1) end
    return row
  end
  return build(1)
end

function Tensor:reshape(shape)
  if product(shape) ~= #self.data then error("reshape: sizes differ", 2) end
  return dense(shape, self.data)
end

local function select_first(t, i)
  local rest = {table.unpack(t.shape, 2)}
  local size = product(rest)
  if math.type(i) ~= "integer" or i < 1 or i > t.shape[1] then error("index out of range", 3) end
  local data = table.move(t.data, (i - 1) * size + 1, i * size, 1, {})
  if #rest == 0 then return data[1] end
  return dense(rest, data)
end

meta.__index = function(t, k)
  if Tensor[k] ~= nil then return Tensor[k] end
  if type(k) == "number" and rawget(t, "shape") then return select_first(t, k) end
  return nil
end
meta.__len = function(t) return t.shape and t.shape[1] or 0 end
meta.__tostring = function(t)
  if t.axes then return core.text(t) end
  local list = {}
  for i = 1, math.min(#t.data, 10) do list[i] = ("%.10g"):format(t.data[i]) end
  return "{" .. table.concat(list, ", ") .. "}"
end

function core.axes(t)
  t = as_lazy(t)
  local sweep = {}
  for _, a in ipairs(t.axes) do if a.rank < 1e6 then sweep[#sweep + 1] = a.name end end
  return {image = has(t, N), class = has(t, C), label = has(t, L), pixel = has(t, P), sweep = sweep}
end

-- -- Sweep axes -----------------------------------------------------------------------------------

local made = {}     -- name and labels -> axis object
local newest = {}   -- name -> axis object
local rank = 0

local function new_axis(name, count, labels)
  local key = name .. "\0" .. table.concat(labels, "\0")
  if not made[key] then
    rank = rank + 1
    made[key] = {name = name, rank = rank, count = count, labels = labels, params = {}}
  end
  newest[name] = made[key]
  return made[key]
end

local function default_labels(values)
  local list = {}
  for i, v in ipairs(values) do
    list[i] = type(v) == "number" and ("%.14g"):format(v) or tostring(i)
  end
  return list
end

local function on_axis(a, name, values)
  local param
  for _, p in ipairs(a.params) do param = p.name == name and p or param end
  if not param then
    param = {name = name}
    a.params[#a.params + 1] = param
  end
  param.values = values
  if type(values[1]) == "number" then return lazy({a}, {[a] = #values}, {table.unpack(values)}) end
  local data, classes = {}, #values[1].data
  for _, v in ipairs(values) do table.move(v.data, 1, classes, #data + 1, data) end
  return lazy({a, C}, {[a] = #values, [C] = classes}, data)
end

function core.axis(name, values, labels)
  return on_axis(new_axis(name, #values, labels or default_labels(values)), name, values)
end

function core.zip(names, lists)
  local a = new_axis(table.concat(names, ","), #lists[1], default_labels(lists[1]))
  local out = {}
  for i, name in ipairs(names) do out[i] = on_axis(a, name, lists[i]) end
  return table.unpack(out)
end

function core.axis_info(name)
  local a = newest[name]
  return a and {name = a.name, count = a.count, labels = a.labels, params = a.params}
end

function Tensor:sweep_axes()
  local list = {}
  for _, a in ipairs(as_lazy(self).axes) do
    if a.rank < 1e6 then
      list[#list + 1] = {name = a.name, count = a.count, labels = a.labels, params = a.params}
    end
  end
  return list
end

-- -- Dumps ----------------------------------------------------------------------------------------

local dump_meta = {__name = "segx.Dump"}
dump_meta.__index = function(d, k)
  if Dump[k] ~= nil then return Dump[k] end
  local raw = rawget(d, "raw")
  return raw and raw[k]
end
dump_meta.__len = function(d) return d.n end
dump_meta.__close = function() end

local guessable = {[255] = true, [-1] = true, [-100] = true}

-- The values to leave out: given, or the single outside value out of 255, -1, -100.
local function find_ignore(given, labels, classes)
  if type(given) == "number" then return {given}, false end
  if given then return given, false end
  local outside
  for _, v in ipairs(labels) do
    if v < 0 or v >= classes then
      if not guessable[v] or (outside and outside ~= v) then return {}, false end
      outside = v
    end
  end
  return {outside}, outside ~= nil
end

local function check_finite(d)
  for i = 0, d.n - 1 do
    for p = 0, d.px - 1 do
      if d.raw.valid.data[i * d.px + p + 1] == 1 then
        for c = 0, d.classes - 1 do
          local x = d.raw.logits.data[(i * d.classes + c) * d.px + p + 1]
          if x ~= x or x == huge then
            world_error("data", ("%s: logits are not finite at image %d, pixel %d"):format(d.name,
              i + 1, p + 1),
              'nonfinite = "skip" leaves such pixels out')
          end
        end
      end
    end
  end
end

function core.memory(o)
  local lshape, logits = flatten(o.logits)
  local yshape, labels = flatten(o.labels)
  local dims = {table.unpack(lshape, 3)}
  local d = {name = o.name or "memory", n = lshape[1], classes = lshape[2], px = product(dims),
    dims_list = dims}
  if yshape[1] ~= d.n or product(yshape) ~= d.n * d.px then
    world_error("data", d.name .. ": labels and logits differ in shape")
  end
  local list, guessed = find_ignore(o.ignore_index, labels, d.classes)
  d.ignore, d.guessed, d.class_names = list, guessed, o.class_names
  local left_out, valid, y = {}, {}, {}
  for _, v in ipairs(list) do left_out[v] = true end
  for i, v in ipairs(labels) do
    valid[i] = truth(not left_out[v])
    y[i] = valid[i] == 1 and v or 0.0
    if valid[i] == 1 and (v < 0 or v >= d.classes or v % 1 ~= 0) then
      world_error("data", ("%s: label %g, but logits have %d classes (0..%d)\n  first at image %d, pixel %d"):format(
        d.name, v, d.classes, d.classes - 1, (i - 1) // d.px + 1, (i - 1) % d.px
          + 1), "set ignore_index")
    end
  end
  local np = {[N] = d.n, [P] = d.px}
  local self = setmetatable(d, dump_meta)
  self.raw = {
    logits = lazy({N, C, P}, {[N] = d.n, [C] = d.classes, [P] = d.px}, logits, self),
    labels = lazy({N, P}, np, y, self),
    valid = lazy({N, P}, np, valid, self),
  }
  for name, values in pairs(o.fields or {}) do
    local _, data = flatten(values)
    self.raw[name] = lazy({N, P}, np, data, self)
  end
  if o.nonfinite == "skip" then
    for i = 0, d.n - 1 do
      for p = 1, d.px do
        for c = 0, d.classes - 1 do
          local x = logits[(i * d.classes + c) * d.px + p]
          if x ~= x or x == huge then valid[i * d.px + p] = 0 end
        end
      end
    end
  else
    check_finite(self)
  end
  return self
end

function core.open() error("the reference reads no files", 2) end

function Dump:info()
  local names, fields = {}, {}
  for c = 1, self.classes do
    names[c] = self.class_names and self.class_names[c] or tostring(c - 1)
  end
  for k in pairs(self.raw) do
    if k ~= "logits" and k ~= "labels" and k ~= "valid" then fields[#fields + 1] = k end
  end
  table.sort(fields)
  return {
    path = self.name, n = self.n, classes = self.classes, class_names = names,
    named = self.class_names ~= nil,
    ignore = self.ignore, ignore_guessed = self.guessed, dims = self.dims_list, same_shape = true,
    max_px = self.px,
    bytes = 8 * self.n * self.px * (self.classes + 1), notes = {}, logits_type = "float64",
    labels_type = "float64",
    layout = "NCHW", storage = "memory", activation = "logits", fingerprint = "0",
    field_names = fields,
  }
end

function Dump:dims() return self.dims_list end
function Dump:image_name() return nil end
function Dump:close() end

-- Per pixel: softmax with the label's logit taken out of the sum; finite for any margin.
local function target_out(x, y, classes, at, px)
  local m, s = -huge, 0.0
  for c = 0, classes - 1 do
    if c ~= y then m = math.max(m, x[at + c * px]) end
  end
  for c = 0, classes - 1 do
    if c ~= y then s = s + math.exp(x[at + c * px] - m) end
  end
  local margin = m + math.log(s) - x[at + y * px]     -- log of r = (sum of the others) / e_y
  if m == -huge then margin = -huge end               -- nothing but the label is possible
  if margin <= 0 then
    local r = math.exp(margin)
    return log1p(r), r / (1 + r), margin - log1p(r), 1 / (1 + r)
  end
  local q = math.exp(-margin)
  return margin + log1p(q), 1 / (1 + q), -log1p(q), q / (1 + q)
end

function core.fields(d)
  if d.derived then return d.derived end
  local raw = d.raw
  local np = {[N] = d.n, [P] = d.px}
  local ce, u, logu, pt, logpt = {}, {}, {}, {}, {}
  for i = 0, d.n - 1 do
    for p = 1, d.px do
      local k = i * d.px + p
      local y = math.tointeger(raw.labels.data[k])
      ce[k], u[k], logu[k], pt[k] = target_out(raw.logits.data, y, d.classes,
        i * d.classes * d.px + p, d.px)
      logpt[k] = -ce[k]
    end
  end
  local index = {}
  for c = 1, d.classes do index[c] = c - 1.0 end
  local function plane(data) return lazy({N, P}, np, data, d) end
  local f = {
    logits = raw.logits, labels = raw.labels, valid = raw.valid,
    ce = plane(ce), u = plane(u), logu = plane(logu), pt = plane(pt), logpt = plane(logpt),
    logp = raw.logits:log_softmax("class"), onehot = raw.labels:onehot(),
    classes = lazy({C}, {[C] = d.classes}, index, d),
  }
  f.p = f.logp:exp()
  d.derived = f
  return f
end

-- -- Evaluation -----------------------------------------------------------------------------------

local function to_dense(t)
  t = as_lazy(t)
  if has(t, P) then error("eval: tensor has a pixel axis\n  hint: sum it, t:sum(\"pixel\")", 3) end
  local shape = {}
  for i, a in ipairs(t.axes) do shape[i] = t.count[a] end
  return dense(shape, t.data)
end

function core.eval(d, list)
  local out = {}
  for i, t in ipairs(list) do out[i] = to_dense(t) end
  local pixels = 0
  for _, v in ipairs(d and d.raw.valid.data or {}) do pixels = pixels + v end
  return out, {passes = 1, seconds = 0, pixels = pixels}
end

-- A sweep as one page: everything is there at once.
function core.grid(d, list)
  local out, stats = core.eval(d, list)
  local axes, seen, rows, g = {}, {}, 1, {}
  for _, t in ipairs(list) do
    for _, a in ipairs(as_lazy(t).axes) do
      if a.rank < 1e6 and not seen[a] then axes[#axes + 1], seen[a], rows = a, true, rows * a.count end
    end
  end
  table.sort(axes, function(a, b) return a.rank < b.rank end)
  local function place(i, r)
    local own, at, step, every = as_lazy(list[i]).axes, 0, 1, 1
    for k = #axes, 1, -1 do
      for _, a in ipairs(own) do
        if a == axes[k] then at, step = at + (r - 1) // every % a.count * step, step * a.count end
      end
      every = every * axes[k].count
    end
    return at, #out[i].data // step
  end
  function g:size() return rows, 1, rows end
  function g:find() return 1 end
  function g:page() return 1, rows end
  function g:row(i, r)
    local at, len = place(i, r)
    return table.move(out[i].data, at * len + 1, at * len + len, 1, {})
  end
  function g:column(i, k)
    local column = {}
    for r = 1, rows do column[r] = self:row(i, r)[k or 1] end
    return column
  end
  function g:values(i)
    local places, len = {}, nil
    for r = 1, rows do
      places[r], len = place(i, r)
      places[r] = places[r] + 1
    end
    return dense({#out[i].data // len, len}, out[i].data), places
  end
  return g, stats
end

function core.plan(_, list)
  local per_output = {}
  for i, t in ipairs(list) do per_output[i] = {pass = {}, free = core.axes(t).sweep} end
  return {passes = 1, reductions = {}, per_output = per_output, bytes = 0, memory = 0}
end

function core.text(t)
  if type(t) == "number" then return ("%.17g"):format(t) end
  if t.shape then return tostring(t) end
  local names = {}
  for i, a in ipairs(t.axes) do names[i] = a.name end
  return "tensor(" .. table.concat(names, ",") .. ")"
end

core.clock = os.clock
function core.failed_rows() end

function core.exact(v)
  for digits = 14, 17 do
    local s = ("%." .. digits .. "g"):format(v)
    if tonumber(s) == v then return s end
  end
end

function core.help(name) return name .. ": (reference)" end
function core.ops()
  local list = {}
  for name in pairs(elementwise) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- -- Rank correlation: every pair looked at ---------------------------------------------------------

local function without_nan(x, y)
  local a, b = {}, {}
  for i = 1, #x do
    if x[i] == x[i] and y[i] == y[i] then a[#a + 1], b[#b + 1] = x[i], y[i] end
  end
  return a, b
end

local function order(a, b) return a < b and -1 or a > b and 1 or 0 end

local function kendall(x, y)
  x, y = without_nan(x, y)
  local net, nx, ny = 0, 0, 0
  for i = 1, #x do
    for j = 1, i - 1 do
      local a, b = order(x[i], x[j]), order(y[i], y[j])
      net, nx, ny = net + a * b, nx + a * a, ny + b * b
    end
  end
  return net / math.sqrt(nx * ny)
end

local function mid_ranks(x)
  local r = {}
  for i = 1, #x do
    r[i] = 0
    for j = 1, #x do r[i] = r[i] + order(x[i], x[j]) end
  end
  return r
end

local function spearman(x, y)
  x, y = without_nan(x, y)
  x, y = mid_ranks(x), mid_ranks(y)
  local xx, yy, xy = 0, 0, 0
  for i = 1, #x do xx, yy, xy = xx + x[i] ^ 2, yy + y[i] ^ 2, xy + x[i] * y[i] end
  return xy / math.sqrt(xx * yy)
end

-- No intervals here.
local function ranks(kind, t, y)
  local list, n = {}, #y
  for i = 1, #t.data // n do
    local x = {}
    for k = 1, n do x[k] = -t.data[(i - 1) * n + k] end
    list[i] = (kind == "kendall" and kendall or spearman)(x, y)
  end
  return list
end

core.stats = {kendall = kendall, spearman = spearman, ranks = ranks, interval = function(o)
  if o.kind == "mean" then return 0 / 0, 0 / 0, 0 / 0 end
  local f = o.kind == "kendall" and kendall or spearman
  return f(o.x, o.y) - (o.minus and f(o.minus, o.y) or 0), 0 / 0, 0 / 0
end}

return core
