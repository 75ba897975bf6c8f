--[[
torch_graph.lua: the engine's nodes (core.graph) -> nodes to print as Python. Sums over all classes
of sums by class become one sum, powers of 1-pt take its logarithm (their derivative is finite at
0), the guarded quotient of tensor.ratio becomes a call, numbers are folded. Operands are put into
an order that does not depend on the dump.
]]
local core = require "segx.core"
local errors = require "segx.errors"
errors.own()

local graph = {}

-- -- Nodes to print -------------------------------------------------------------------------------

-- A table of nodes {op, args (nodes), axes, attr, name, value (a number), data}, equal ones once.
local Graph = {}
Graph.__index = Graph

-- Size and hash of an expression, the same on every dump: the engine's own order of a + b is not.
local function describe(n)
  local size, parts = 1, {n.op, tostring(n.attr or ""), n.name or "", n.key or ""}
  for _, a in ipairs(n.args) do
    size = size + a.size
    parts[#parts + 1] = a.hash
  end
  return size, core.hash(table.concat(parts, " "))
end

local commutes = {add = true, mul = true, eq = true, ne = true, band = true, bor = true}

-- Order of operands for reading: parts of the loss as written, 2 * x but x + 2, the shorter first.
local function in_order(op, a, b)
  if a.part and b.part then return a.part <= b.part end
  if a.op == "number" or b.op == "number" then return (a.op == "number") == (op == "mul") end
  if a.size ~= b.size then return a.size < b.size end
  return a.hash <= b.hash
end

local function new_graph() return setmetatable({known = {}, count = 0}, Graph) end

function Graph:node(op, args, axes, more)
  local key = {op, axes}
  for _, a in ipairs(args) do key[#key + 1] = a.id end
  for _, name in ipairs {"attr", "name", "key"} do
    key[#key + 1] = ("%s=%s"):format(name, tostring(more and more[name] or ""))
  end
  key = table.concat(key, " ")
  if not self.known[key] then
    self.count = self.count + 1
    local n = {op = op, args = args, axes = axes, id = self.count, uses = 0}
    for k, v in pairs(more or {}) do n[k] = v end
    local row = core.torch(op) or {}
    n.takes, n.gives, n.torch = n.takes or row.takes, n.gives or row.gives, n.torch or row.torch
    n.size, n.hash = describe(n)
    self.known[key] = n
  end
  return self.known[key]
end

function Graph:number(v)
  return self:node("number", {}, "", {value = v, key = ("%.17g"):format(v), gives = "n"})
end

local function is_number(n, v) return n.op == "number" and (v == nil or n.value == v) end

-- log(1-pt) of the family that u belongs to, times e, as a power: exp(e * log u).
local function power_of_u(g, u, e, axes)
  local logu = g:node("logu", u.args, u.axes)
  local scaled = is_number(e, 1) and logu or g:node("mul", {e, logu}, axes)
  return g:node("exp", {scaled}, axes, {called = "u_pow"})
end

-- sum over classes of (sums over images of) sums by class: one sum. nil when n is something else.
local function sum_of_bysum(g, n)
  if n.op == "nsum" or n.op == "bsum" then
    local inside = sum_of_bysum(g, n.args[1])
    return inside and g:node(n.op, {inside}, n.axes:gsub("c", ""), {attr = n.attr})
  end
  if n.op ~= "bysum" or n.args[1].axes:find "c" then return nil end
  return g:node("psum", {n.args[1]}, (n.axes:gsub("c", "")))
end

local rewrite = {}

function rewrite.basis(_, n) return n.args[1] end

function rewrite.powb(g, n)
  local a, e = n.args[1], n.args[2]
  if a.op == "u" then return power_of_u(g, a, e, n.axes) end
  return g:node("pow", {a, e}, n.axes)
end

function rewrite.pow(g, n)
  if n.args[1].op == "u" then return power_of_u(g, n.args[1], n.args[2], n.axes) end
end

function rewrite.p(g, n) return g:node("softmax", {n.args[1].args[1]}, n.axes) end

function rewrite.csum(g, n) return sum_of_bysum(g, n.args[1]) end

function rewrite.nsum(g, n)
  local a = n.args[1]
  if a.op == "first" and a.attr == 1 then return g:node("images", {}, "", {gives = "f"}) end
end

-- One value for all classes is that value at every label.
function rewrite.pick(g, n)
  return n.args[1].op == "uniform" and g:number(n.args[1].value) or nil
end

-- A number leaves sums; of 1 the sum is over the pixels that take part.
local function take_number_out(g, n)
  local a, b, part = table.unpack(n.args)
  if b.op ~= "number" then return nil end
  local count = g:node(n.op, {a, part, part}, n.axes, {attr = n.attr})
  return is_number(b, 1) and count or g:node("mul", {b, count}, n.axes)
end
rewrite.sum_above, rewrite.sum_below = take_number_out, take_number_out

function rewrite.add(g, n)
  local a, b = n.args[1], n.args[2]
  if is_number(a, 0) then return b end
  if is_number(b, 0) then return a end
  if b.op == "neg" then return g:node("sub", {a, b.args[1]}, n.axes) end
  if a.op == "neg" then return g:node("sub", {b, a.args[1]}, n.axes) end
end

function rewrite.mul(g, n)
  for i = 1, 2 do
    local a, b = n.args[i], n.args[3 - i]
    local spans = a.op == "number" or (a.op == "uniform" and b.axes:find "c")
    if spans and a.value == 1 then return b end
    if is_number(a, -1) then return g:node("neg", {b}, n.axes) end
    if b.op == "where" and b.args[1] == a and is_number(b.args[3], 0) then return b end
  end
  if n.args[1].gives == "b" and n.args[2].gives == "b" then
    return g:node("band", n.args, n.axes)
  end
end

-- Does the node count pixels? Then it is not negative.
local function is_count(n)
  if n.op == "nsum" or n.op == "bsum" or n.op == "csum" then
    return n.args[1].gives == "b" or is_count(n.args[1])
  end
  return (n.op == "psum" or n.op == "bysum") and n.args[1].op == "valid"
end

-- The count behind a mask that holds only where a class has pixels, or nil.
local function counted_by(mask)
  if mask.op == "band" then return counted_by(mask.args[1]) or counted_by(mask.args[2]) end
  local n = mask.args[1]
  local over_zero = mask.op == "gt" and is_number(mask.args[2], 0) and n.axes:find "c"
  return over_zero and is_count(n) and n or nil
end

-- where(pixels > 0, classes, 0) > 0 is classes > 0 where these classes have pixels.
function rewrite.gt(g, n)
  local w = n.args[1]
  if not is_number(n.args[2], 0) or w.op ~= "where" or not is_number(w.args[3], 0) then
    return nil
  end
  local some, classes = w.args[1], w.args[2]
  if some.op ~= "gt" or not is_number(some.args[2], 0) then return nil end
  local count = classes.op == "csum" and counted_by(classes.args[1])
  local pixels = some.args[1]
  if not count or not is_count(pixels) or count.attr ~= pixels.attr then return nil end
  local alike = count.op == pixels.op or count.op == "bysum" and pixels.op == "psum"
  return alike and g:node("gt", {classes, n.args[2]}, n.axes) or nil
end

-- where(b == 0, number, a / where(b == 0, 1, b)) is what tensor.ratio writes.
local function ratio_of(g, n)
  local zero, at_zero, quotient = n.args[1], n.args[2], n.args[3]
  if zero.op ~= "eq" or not is_number(zero.args[2], 0) then return nil end
  if quotient.op ~= "div" or at_zero.op ~= "number" then return nil end
  local a, safe, b = quotient.args[1], quotient.args[2], zero.args[1]
  if safe.op ~= "where" or safe.args[1] ~= zero or safe.args[3] ~= b then return nil end
  if not is_number(safe.args[2], 1) then return nil end
  return g:node("ratio", {a, b, at_zero}, n.axes,
    {takes = "ffn", gives = "f", torch = "ratio($a, $b, $c)"})
end

-- A choice between 1 and 0 is the condition.
function rewrite.where(g, n)
  local c, v = n.args[1], n.args[2]
  local ratio = ratio_of(g, n)
  if ratio then return ratio end
  if c.op == "gt" and is_number(c.args[2], 0) and is_count(c.args[1]) and v.op == "ratio"
    and v.args[2] == c.args[1] and is_number(v.args[3], 0) and is_number(n.args[3], 0) then
    return v
  end
  if is_number(n.args[2], 1) and is_number(n.args[3], 0) and c.gives == "b" then return c end
  if c.op == "number" then return is_number(c, 0) and n.args[3] or v end
end

function rewrite.logits(g, n) return g:node("logits", {}, n.axes) end

-- Numbers by class: one value for all, 0 for the first and 1 for the others, or a buffer.
local function class_data(g, n)
  local data, uniform, rest = n.data, true, true
  for i = 2, #data do
    uniform = uniform and data[i] == data[1]
    rest = rest and data[i] == 1
  end
  if uniform and n.axes == "c" then
    return g:node("uniform", {}, "c",
      {value = data[1], key = ("%.17g"):format(data[1]), gives = "f"})
  end
  if rest and data[1] == 0 and n.axes == "c" then
    return g:node("not_first", {}, "c", {gives = "b"})
  end
  local texts = {}
  for i, v in ipairs(data) do texts[i] = ("%.17g"):format(v) end
  return g:node("buffer", {}, n.axes, {data = data, key = table.concat(texts, ","), gives = "f",
    called = n.name})
end

local elementwise_name = {max = "maximum", min = "minimum"}

-- Value of an op on numbers, or nil.
local function fold(op, args)
  if #args == 0 then return nil end
  local values = {}
  for i, a in ipairs(args) do
    if not is_number(a) then return nil end
    values[i] = core.dense {a.value}
  end
  local f = core.Tensor[elementwise_name[op] or op]
  return f and f(table.unpack(values)):item()
end

-- What combines parts of a loss: a sum keeps their order.
local linear = {add = true, sub = true, mul = true, neg = true}

local function first_part(args)
  local a, b = args[1].part, args[2] and args[2].part
  return a and b and math.min(a, b) or a or b
end

local function converted(g, n, args)
  if n.op == "data" and n.axes == "" then
    if n.name then return g:node("symbol", {}, "", {name = n.name, gives = "n"}) end
    return g:number(n.data[1])
  end
  if n.op == "data" then return class_data(g, n) end
  local v = fold(n.op, args)
  if v then return g:number(v) end
  if commutes[n.op] and not in_order(n.op, args[1], args[2]) then args = {args[2], args[1]} end
  local part = linear[n.op] and first_part(args)
  local same = g:node(n.op, args, n.axes, {attr = n.attr ~= 0 and n.attr or nil, name = n.name})
  same = rewrite[n.op] and rewrite[n.op](g, same) or same
  same.part = same.part or part
  return same
end

-- core.graph's list -> the nodes to print, for the wanted positions.
function graph.simplify(list, wanted)
  local g, made, out = new_graph(), {}, {}
  for i, n in ipairs(list) do
    local args = {}
    for k, a in ipairs(n.args) do args[k] = made[a] end
    made[i] = converted(g, n, args)
    for k = 1, #wanted - 1 do
      if wanted[k] == i then made[i].part = made[i].part or k end
    end
  end
  for k, i in ipairs(wanted) do out[k] = made[i] end
  return out
end

function graph.count_uses(n, seen)
  n.uses = n.uses + 1
  if seen[n] then return end
  seen[n] = true
  for _, a in ipairs(n.args) do graph.count_uses(a, seen) end
end

function graph.has_label_axis(n, seen)
  if seen[n] then return false end
  seen[n] = true
  if n.axes:find "l" then return true end
  for _, a in ipairs(n.args) do
    if graph.has_label_axis(a, seen) then return true end
  end
  return false
end

graph.is_number = is_number

return graph
