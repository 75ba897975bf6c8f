--[[
torch_print.lua: nodes (torch_graph.lua) -> lines of Python. Every op has its text in the op table
(core/graph/ops.def, "In Python"); here are precedence, conversions between bool and float, names of
what is used twice or sums over pixels, and the variables that the texts use.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
local graph = require "segx.torch_graph"
errors.own()

local print_torch = {}
local is_number = graph.is_number

-- -- Expressions ----------------------------------------------------------------------------------

local ATOM = 9
local strength = {["**"] = 8, ["*"] = 6, ["/"] = 6, ["%"] = 6, ["+"] = 5, ["-"] = 5, ["&"] = 4,
  ["|"] = 3, ["<"] = 2, ["<="] = 2, [">"] = 2, [">="] = 2, ["=="] = 2, ["!="] = 2}
local UNARY = 7

local Printer = {}
Printer.__index = Printer

local reserved = {}
for word in ([[False None True and as assert async await break class continue def del elif else
  except finally for from global if import in is lambda nonlocal not or pass raise return try while
  with yield self ratio torch F N C P x logits labels label valid onehot class_index label_index
  image_index of_class of_label images image_pixels forward]]):gmatch "%S+" do
  reserved[word] = true
end

function Printer:name(wanted)
  local base = wanted:lower():gsub("[^%w_]+", "_"):gsub("^_+", ""):gsub("_+$", "")
  if base == "" or base:match "^%d" then base = "t" .. base end
  local name, k = base, 1
  while reserved[name] or self.taken[name] do
    k = k + 1
    name = base .. (base:match "%d$" and "_" or "") .. k
  end
  self.taken[name] = true
  return name
end

function print_torch.number(v)
  if math.type(v) == "integer" then return tostring(v) end
  if v ~= v then return 'float("nan")' end
  if v == math.huge then return 'float("inf")' end
  if v == -math.huge then return '-float("inf")' end
  local s = format.exact(v)
  return s:find "[.e]" and s or s .. ".0"
end

local function shape_text(self, axes)
  local d = {axes:find "n" and "N" or "1"}
  if self.matrix then d[2] = axes:find "l" and "C" or "1" end
  d[#d + 1] = axes:find "c" and "C" or "1"
  d[#d + 1] = axes:find "p" and "P" or "1"
  return "[" .. table.concat(d, ", ") .. "]"
end

local plain_names = {
  tgt = "margin", ce = "ce", u = "u", pt = "pt", logu = "log_u", div = "quotient",
  ratio = "quotient",
  softmax = "p", log_softmax = "log_p", logsumexp = "lse", uniform = "constant", cmax = "largest",
  sum_above = "above", sum_below = "below", edt = "distance",
  images = "images", stop = "held", pow = "power", transpose = "turned", argmax = "predicted",
}
local comparisons = {lt = true, le = true, gt = true, ge = true, eq = true, ne = true, band = true,
  bor = true, bnot = true}

-- What a node could be called.
local function suggestion(self, n)
  local a = n.args[1]
  if n.called then return n.called end
  if n.op == "buffer" then return self.buffer_of[n].name end
  if n.op == "csum" or n.op == "nsum" or n.op == "bsum" or n.op == "psum" or n.op == "bysum" then
    if n.op == "bysum" and a.op == "valid" then return "count" end
    if n.op == "psum" and a.op == "valid" then return "pixels" end
    if a.gives == "b" and n.op == "csum" then return "classes" end
    if a.gives == "b" and n.op == "nsum" then return "units" end
    local inside = a.var or suggestion(self, a)
    if n.op == "nsum" or n.op == "bsum" then return inside end
    return inside .. (n.op == "bysum" and "_by_class" or "_sum")
  end
  if n.op == "eq" and is_number(n.args[2], 0) then return "none" end
  if n.op == "gt" and is_number(n.args[2], 0) then return "some" end
  if comparisons[n.op] then return "mask" end
  if plain_names[n.op] then return plain_names[n.op] end
  return n.axes:find "p" and "per_pixel" or n.axes:find "c" and "per_class" or "value"
end

-- Text of a leaf, and what it gives.
local leaf = {}
function leaf.number(_, n) return print_torch.number(n.value), n.value < 0 and UNARY or ATOM end
function leaf.symbol(_, n) return n.name end
function leaf.images() return "images" end
function leaf.logits() return "x" end
function leaf.labels() return "label" end
function leaf.valid() return "valid" end
function leaf.onehot(self, n)
  if n.args[1].op == "labels" then return "onehot" end
  return self:template(n)
end
function leaf.not_first() return "class_index != 0", strength["!="] end
function leaf.field(self, n)
  self.fields[n.name] = true
  return n.name
end
function leaf.classes() return "class_index" end
function leaf.uniform(self, n)
  return ("x.new_full((%s), %s)"):format(self.matrix and "1, 1, C, 1" or "1, C, 1",
    print_torch.number(n.value))
end
function leaf.buffer(self, n)
  if not self.buffer_of[n] then
    local from = self.origin(n.data)
    local name = n.called or from and from.name or n.axes == "c" and "by_class" or "table"
    local b = {name = name, node = n, from = from}
    for k = 2, math.huge do
      if not self.buffer_names[b.name] then break end
      b.name = name .. k
    end
    self.buffer_names[b.name] = true
    self.buffers[#self.buffers + 1], self.buffer_of[n] = b, b
  end
  return ("self.%s.to(x.dtype)"):format(self.buffer_of[n].name)
end

local function wrap(text, own, least) return own < least and "(" .. text .. ")" or text end

-- The text of n as kind `want` (f b i x m n); text, strength.
function Printer:as(n, want)
  local text, own = self:expr(n)
  local gives = n.op == "number" and "n" or n.gives
  if want == gives or gives == "n" and want ~= "b" and want ~= "i" then return text, own end
  if want == "f" and (gives == "b" or gives == "i") then
    return wrap(text, own, ATOM) .. ".to(x.dtype)", ATOM
  elseif want == "x" or want == "m" then
    if gives == "b" and want == "x" then return wrap(text, own, ATOM) .. ".to(x.dtype)", ATOM end
    return text, own
  elseif want == "b" then
    if gives == "n" then text, own = ("x.new_full((), %s)"):format(text), ATOM end
    return wrap(text, own, strength["!="] + 1) .. " != 0", strength["!="]
  elseif gives == "n" then
    return ("torch.full_like(label, int(%s))"):format(text), ATOM
  end
  return wrap(text, own, ATOM) .. ".long()", ATOM
end

-- A named variable, or a leaf that is as short as one.
local function is_simple(n) return n.var or n.op == "number" or n.op == "labels" or n.op == "logits"
  or n.op == "valid" or n.op == "symbol" or n.op == "images"
  or n.op == "onehot" and n.args[1].op == "labels" end

local function tokens(self, n)
  local first = n.args[1]
  return {n = tostring(n.attr or 0), image = "0", label = "1", class = self.matrix and "2" or "1",
    pixel = self.matrix and "3" or "2",
    from = first and first.axes:find "l" and "1" or self.matrix and "2" or "1",
    of_true = first and first.axes:find "c" and self.matrix and "of_label" or "of_class"}
end

local notes = {
  tgt = "log of the sum of exp of the other logits, minus the label's: log((1 - pt) / pt)",
  u = "1 - pt, without cancellation",
}

local function is_pixel_count(n)
  while n.op == "nsum" or n.op == "bsum" do n = n.args[1] end
  return n.op == "bysum" and n.args[1].op == "valid"
end

local letters = {a = 1, b = 2, c = 3}

-- Operand k of n; those that the template has twice get a name first.
function Printer:operand(n, k, want)
  local a = n.args[k]
  local _, times = n.torch:gsub("%$" .. ("abc"):sub(k, k) .. "%f[^%w]", "")
  if times > 1 and not is_simple(a) then self:define(a) end
  return self:as(a, want)
end

local function operand_kinds(n)
  local kinds = {}
  for k = 1, #n.args do kinds[k] = n.takes:sub(k, k) end
  if n.takes == "mm" and n.args[1].gives == "b" and n.args[2].gives ~= "f" then kinds[1] = "f" end
  if n.takes == "mm" and n.args[2].gives == "b" and n.args[1].gives ~= "f" then kinds[2] = "f" end
  return kinds
end

-- Functions of torch take no two plain numbers; one becomes a tensor.
local function needs_tensor(n)
  local only = n.gives == "b" or n.torch:find "^torch%." or n.torch:find "F%."
  for k, a in ipairs(n.args) do
    if a.gives ~= "n" and not (n.op == "where" and k == 1) then only = false end
  end
  return only
end

function Printer:template(n)
  local kinds, fixed = operand_kinds(n), tokens(self, n)
  local tensor_at = needs_tensor(n) and (n.op == "where" and 2 or 1)
  local infix = n.torch:match "^%$a (%S+) %$b$"
  local unary = n.torch:match "^%-%$a$" or n.torch:match "^~%$a$"
  local own = infix and strength[infix] or (unary or n.torch:find "^%-") and UNARY or ATOM
  if not infix and n.torch:find "^[%w_$]+ %S+ [%w$]" then own = strength["=="] end
  if n.torch:find " %- torch" then own = strength["-"] end
  local function value(k)
    local text, s = self:operand(n, k, kinds[k])
    if k == tensor_at then text, s = ("x.new_full((), %s)"):format(text), ATOM end
    return text, s
  end
  if infix then
    local left, ls = value(1)
    local right, rs = value(2)
    local tight = infix == "**" or infix == "==" or own == 2
    return wrap(left, ls, tight and own + 1 or own) .. " " .. infix .. " "
      .. wrap(right, rs, infix == "**" and ATOM or own + 1), own
  end
  local text = n.torch:gsub("([(%s]?)%$(%l[%l_]*)([.,)]?)", function(before, key, after)
    if fixed[key] then return before .. fixed[key] .. after end
    local t, s
    if #key == 2 and letters[key:sub(1, 1)] then      -- an argument's argument
      local which = letters[key:sub(2, 2)]
      t, s = self:as(n.args[letters[key:sub(1, 1)]].args[which], which == 2 and "i" or "f")
    else
      t, s = value(letters[key])
    end
    local inside = (before == "(" or before == " ") and (after == "," or after == ")")
    local least = own == UNARY and after ~= "." and UNARY or ATOM
    return before .. (inside and t or wrap(t, s, least)) .. after
  end)
  if n.op == "first" then
    text, own = ("(%s)"):format(text), ATOM
  end
  text = text:gsub("label == class_index", "onehot")
  text = text:gsub("torch%.where%(([%w_]+), valid%.to%(x%.dtype%), 0%.0%)%.sum(%b())",
    "%1.sum%2.to(x.dtype)")
  text = text:gsub("%.sum%((%d), keepdim=True%)%.to%(x%.dtype%)%.sum%(0, keepdim=True%)",
    ".sum((0, %1), keepdim=True).to(x.dtype)")
  text = text:gsub("%.sum%((%d), keepdim=True%)%.sum%(0, keepdim=True%)",
    ".sum((0, %1), keepdim=True)")
  return text, text:match "^[%w_]+$" and ATOM or own
end

-- Defines a variable for n. The line is cut at commas where it is long.
function Printer:define(n, name)
  local text = self:text_of(n)
  n.var = self:name(name or suggestion(self, n))
  self:assign(n, text)
end

function Printer:assign(n, text)
  if notes[n.op] then self:line("# " .. notes[n.op]) end
  if is_pixel_count(n) then self:line "# valid pixels of each class" end
  self:line(n.var .. " = " .. text, n.axes ~= "" and "  # " .. shape_text(self, n.axes) or "")
end

function Printer:text_of(n)
  if leaf[n.op] then return leaf[n.op](self, n) end
  return self:template(n)
end

-- Always variables: what is worth reading by name.
local named = {psum = true, bysum = true, nsum = true, bsum = true, tgt = true}

-- n as an expression: text, strength.
function Printer:expr(n)
  if n.var then return n.var, ATOM end
  local sums = named[n.op]
  local short = leaf[n.op] and n.op ~= "buffer" and n.op ~= "uniform"
    and (n.op ~= "onehot" or is_simple(n))
  local inner = self.within
  self.within = (sums and n.op) or (n.op == "where" and inner)
  if not short and (n.uses > 1 or sums and not (inner == "nsum" and n.op ~= "nsum")) then
    self:define(n)
    self.within = inner
    return n.var, ATOM
  end
  local text, own = self:text_of(n)
  self.within = inner
  own = own or ATOM
  if #text > 56 and not short and not sums then
    n.var = self:name(suggestion(self, n))
    self:assign(n, text)
    return n.var, ATOM
  end
  return text, own
end

local WIDTH = 98

-- Where a long line may break: {position, depth} after commas and opening parentheses, before
-- operators.
local function best_break(text, room)
  local depth, best, least = 0, nil, math.huge
  for k = 1, math.min(#text, room) do
    local c = text:sub(k, k)
    if c == "(" or c == "[" then depth = depth + 1 end
    if c == ")" or c == "]" then depth = depth - 1 end
    local operator = c == " " and text:find("^ [%+%-%*/&|] ", k)
    if k > 20 and (c == "," or operator) and depth > 0 and depth <= least then
      best, least = operator and k or k + 1, depth
    end
  end
  return best
end

local function has_top_operator(text)
  text = (text or ""):gsub("%b()", "()")
  return text:find " [%+%-%*/&|] "
end

-- One line of the body; long ones break, in parentheses.
function Printer:line(text, comment)
  local indent = "        "
  comment = comment or ""
  if #indent + #text + #comment > WIDTH and #indent + #text <= WIDTH then comment = "" end
  if #indent + #text + #comment > WIDTH and has_top_operator(text:match "^[%w_]+ = (.*)$") then
    text = text:gsub("^([%w_]+ = )(.*)$", "%1(%2)")
  end
  while #indent + #text > WIDTH do
    local at = best_break(text, WIDTH - #indent)
    if not at then break end
    self.body[#self.body + 1] = indent .. text:sub(1, at - 1)
    text, indent = text:sub(at):gsub("^ +", ""), "            "
  end
  if #indent + #text + #comment > WIDTH then comment = "" end
  self.body[#self.body + 1] = indent .. text .. comment
end

-- -- The frame ------------------------------------------------------------------------------------

-- Variables that op texts may use, in order: {name, definition, in four dimensions}.
local prelude = {
  {"class_index", "torch.arange(C, device=x.device).reshape(1, C, 1)",
    "torch.arange(C, device=x.device).reshape(1, 1, C, 1)"},
  {"label_index", "", "torch.arange(C, device=x.device).reshape(1, C, 1, 1)"},
  {"onehot", "label == class_index"},
  {"of_class", "onehot & valid", note = "pixels that count, by true class"},
  {"of_label", "", "(label == label_index) & valid", note = "pixels that count, by true class"},
  {"image_index", "torch.arange(N, device=x.device).reshape(N, 1, 1)",
    "torch.arange(N, device=x.device).reshape(N, 1, 1, 1)"},
  {"images", "x.new_full((), N)"},
  {"image_pixels", "x.shape[-1]", note = "ignored ones included"},
}
local helpers = {{"ratio", [[
def ratio(a, b, at_zero):
    """a / b, and at_zero where b is 0; the gradient is finite there too."""
    zero = b == 0
    return torch.where(zero, at_zero, a / torch.where(zero, 1.0, b))


]]}, {"sum_in_order", [[
def sum_in_order(a, b, part, images, below=False):
    """Sum of b over the pixels (where part) from the largest a down to each, or of those below it.

    images are sorted together, 0: all. The order has no gradient."""
    a, b, part = torch.broadcast_tensors(a.detach(), b, part)
    if images != 1:
        groups = zip(*(t.split(images or len(t)) for t in (a, b, part)))
        rows = [[t.movedim(0, -2).flatten(-2) for t in group] for group in groups]
        sums = [sum_in_order(*row, 1, below).unflatten(-1, (-1, a.shape[-1])) for row in rows]
        return torch.cat([s.movedim(-2, 0) for s in sums])
    order = torch.where(part, a, -torch.inf).sort(stable=True, descending=True).indices
    s = torch.take_along_dim(torch.where(part, b, 0.0), order, -1)
    s = s.flip(-1).cumsum(-1).flip(-1) - s if below else s.cumsum(-1)
    return torch.where(part, torch.zeros_like(s).scatter(-1, order, s), 0.0)


]]}, {"edt", [[
@torch.no_grad()
def edt(a, part, shape):
    """Distance of each pixel (where part) to the nearest one where a is 0; 0 where there is none.

    Exact: along each axis the lowest of the parabolas of all its pixels."""
    square = torch.where(part & (a == 0), 0.0, torch.inf).to(a.dtype).unflatten(-1, tuple(shape))
    for axis in range(-len(shape), 0):
        line = square.movedim(axis, -1)
        low = line.clone()
        for k in range(1, line.shape[-1]):
            if k * k > low.max():
                break
            low[..., k:] = torch.minimum(low[..., k:], line[..., :-k] + k * k)
            low[..., :-k] = torch.minimum(low[..., :-k], line[..., k:] + k * k)
        square = low.movedim(-1, axis)
    distance = square.flatten(-len(shape)).sqrt()
    return torch.where(part & distance.isfinite(), distance, 0.0)


]]}}
local needs = {onehot = {"class_index"}, of_class = {"onehot", "class_index"},
  of_label = {"label_index"}}

local function prelude_lines(self)
  local used = {}
  local text = table.concat(self.body, "\n")
  for _, p in ipairs(prelude) do
    if (" " .. text .. " "):find("%f[%w_]" .. p[1] .. "%f[^%w_]") then
      used[p[1]] = true
      for _, other in ipairs(needs[p[1]] or {}) do used[other] = true end
    end
  end
  local lines = {}
  for _, p in ipairs(prelude) do
    if used[p[1]] then
      lines[#lines + 1] = ("        %s = %s%s"):format(p[1], self.matrix and p[3] or p[2],
        p.note and "  # " .. p.note or "")
    end
  end
  return lines
end

local function print_body(self, roots, parts)
  local value = roots[#roots]
  local seen = {}
  for _, n in ipairs(roots) do graph.count_uses(n, seen) end
  for i, part in ipairs(parts) do
    if #parts > 1 then
      self.body[#self.body + 1] = ""
      local text = part.text:gsub("%s+", " ")
      self:line("# " .. (#text > 86 and text:sub(1, 83) .. "..." or text))
    end
    if not roots[i].var then self:define(roots[i], part.label) end
  end
  if #parts > 1 then self.body[#self.body + 1] = "" end
  local text, own = self:as(value, "f")
  if value.gives == "n" then text, own = ("x.new_full((), %s)"):format(text), ATOM end
  self:line(("return %s.reshape(())"):format(wrap(text, own, ATOM)))
end

--- The body of a loss traced on one dump: the printer {body, buffers, fields, matrix}, and the
--- lines that come before. o: {origin = function(data) -> {name, text} or nil}.
function print_torch.class(traced, o)
  local roots = {}
  for i, p in ipairs(traced.parts) do roots[i] = p.value end
  roots[#roots + 1] = traced.value
  local found = table.pack(core.graph(table.unpack(roots)))
  local nodes = graph.simplify(found[1], {table.unpack(found, 2, found.n)})
  local self = setmetatable({body = {}, taken = {}, buffers = {}, buffer_of = {}, buffer_names = {},
    fields = {}, origin = o.origin}, Printer)
  local seen = {}
  for _, n in ipairs(nodes) do self.matrix = self.matrix or graph.has_label_axis(n, seen) end
  print_body(self, nodes, traced.parts)
  return self, prelude_lines(self)
end

--- The functions that the lines call.
function print_torch.helpers(body)
  local out, text = {}, table.concat(body, "\n")
  for _, h in ipairs(helpers) do
    if text:find("%f[%w_]" .. h[1] .. "%(") then out[#out + 1] = h[2] end
  end
  return table.concat(out)
end

return print_torch
