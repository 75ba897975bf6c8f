--[[
export.lua: a loss as a PyTorch module.

    loss:export("my_loss.py", {class = "MyLoss"})

The traced graph of the loss is printed (torch_graph.lua, torch_print.lua); this file adds the frame
around it. The loss is traced on two small dumps that differ in images, pixels and, unless it is
known, the number of classes; what both give is the module, so that nothing of a dump gets into it
unseen. The file ends with a self-test: value and gradient of a few pixels as the engine computes
them.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local tensor = require "segx.tensor"
local losses = require "segx.loss"
local trace = require "segx.trace"
local weights = require "segx.weights"
local torch = require "segx.torch_print"
errors.own()

local export = {}
local Loss = losses.Loss

-- -- The frame ------------------------------------------------------------------------------------

local function number_list(list, indent, per_line)
  local lines, row = {}, {}
  for i, v in ipairs(list) do
    row[#row + 1] = torch.number(v)
    if #row == (per_line or 6) or i == #list then
      lines[#lines + 1] = indent .. table.concat(row, ", ") .. ","
      row = {}
    end
  end
  return table.concat(lines, "\n")
end

-- Text for inside of a docstring, broken into lines.
local function doc_lines(text, indent)
  local out, line = {}, ""
  text = text:gsub("\\", "\\\\"):gsub('"""', "'''"):gsub("%s+", " ")
  for word in text:gmatch "%S+" do
    if #line + #word + 1 > 92 - #indent and line ~= "" then
      out[#out + 1], line = indent .. line, ""
    end
    line = line == "" and word or line .. " " .. word
  end
  out[#out + 1] = indent .. line
  return table.concat(out, "\n")
end

local function buffer_lines(self, names)
  local lines = {}
  for _, b in ipairs(self.buffers) do
    local n = b.node
    local C, shape = n.axes == "lc" and math.tointeger((#n.data) ^ 0.5) or #n.data, nil
    if n.axes == "l" then shape = ("1, %d, 1, 1"):format(C)
    elseif n.axes == "lc" then shape = ("1, %d, %d, 1"):format(C, C)
    else shape = self.matrix and ("1, 1, %d, 1"):format(C) or ("1, %d, 1"):format(C) end
    lines[#lines + 1] = "        # "
      .. (b.from and b.from.text or "numbers by class, from the script")
    if names and n.axes == "c" then
      lines[#lines + 1] = doc_lines("classes: " .. table.concat(names, ", "), "        # ")
    end
    local numbers = number_list(n.data, "            ", n.axes == "lc" and C <= 12 and C or 6)
    lines[#lines + 1] = ('        self.register_buffer("%s", torch.tensor([\n%s\n        ])'
      .. ".reshape(%s))"):format(b.name, numbers, shape)
  end
  return lines
end

local function units_text(parts)
  local seen, list = {}, {}
  local says = {
    dataset = "sums run over the whole batch (over the data set in segx)",
    image = "sums run over each image, then the mean over images",
  }
  for _, p in ipairs(parts) do
    local text = says[p.unit]
      or ("sums run over groups of %d consecutive images of the batch, then the mean over groups")
      :format(type(p.unit) == "table" and p.unit.batch or 0)
    if not seen[text] then list[#list + 1] = text end
    seen[text] = (seen[text] and seen[text] .. ", " or "") .. p.label
  end
  if #list == 1 then return list[1] end
  for i, text in ipairs(list) do list[i] = seen[text] .. ": " .. text end
  return table.concat(list, "; ")
end

local module = [=[
"""{CLASS}: a segmentation loss, written by segx {VERSION}.

{TEXT}

logits [N, C, *spatial] before the softmax, labels [N, *spatial] class numbers; gives a scalar.
Labels outside 0 .. C-1, and ignore_index, are left out.
{UNITS}.
`python` on this file checks it: value and gradient of a few pixels against segx's.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


{HELPERS}class {CLASS}(nn.Module):
    def __init__(self, ignore_index={IGNORE}):
        super().__init__()
        self.ignore_index = ignore_index
{BUFFERS}
    def forward(self, logits, labels{ARGS}):
        N, C = logits.shape[:2]
{CHECK}        x = logits.reshape(N, {ONE}C, -1)
        if x.dtype in (torch.float16, torch.bfloat16):
            x = x.float()
        label = labels.reshape(N, 1, {ONE}-1).long()
        valid = (label >= 0) & (label < C)
        if self.ignore_index is not None:
            valid = valid & (label != self.ignore_index)
        label = torch.where(valid, label, 0)
        x = x.masked_fill(~valid, 0.0)  # an ignored pixel has no influence, not even as NaN
{BODY}


def self_test():
    torch.set_default_dtype(torch.float64)
    logits = torch.tensor([
{LOGITS}
    ]).reshape({SHAPE}).requires_grad_()
    labels = torch.tensor([{LABELS}]).reshape({LABEL_SHAPE})
{FIELDS}    expected = {VALUE}
    expected_gradient = torch.tensor([
{GRADIENT}
    ]).reshape({SHAPE})
    value = {CLASS}()(logits, labels{ARGS})
    value.backward()
    error = abs(value.item() - expected) / max(abs(expected), 1e-30)
    largest = expected_gradient.abs().max().item()
    gradient_error = (logits.grad - expected_gradient).abs().max().item() / max(largest, 1e-30)
    passed = error <= 1e-9 and gradient_error <= 1e-9
    print(f"{'PASS' if passed else 'FAIL'}: {CLASS}, value {value.item():.12g}, relative error "
          f"{error:.1e}, of the gradient {gradient_error:.1e}")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(self_test())
]=]

-- -- Small dumps ----------------------------------------------------------------------------------

-- Logits without ties inside a pixel, exact in decimal; one label for each pixel, the last pixel
-- ignored. Pixel 1 is confidently right, pixel 2 confidently wrong.
local function sample_data(n, classes, h, w, fields)
  local logits, labels, flat = {}, {}, {logits = {}, labels = {}, fields = {}}
  local k = 0
  for i = 1, n do
    logits[i], labels[i] = {}, {}
    for c = 1, classes do
      logits[i][c] = {}
      for y = 1, h do
        logits[i][c][y] = {}
        for x = 1, w do
          local v = ((131 * i + 277 * c + 71 * y * c + 389 * x + 53 * c * c * x) % 997 - 498) / 200
          local px = (y - 1) * w + x
          local own = (px + i * c) % classes
          if i == 1 and px <= 2 and c == px then v = px == 1 and 12.25 or -11.5 end
          logits[i][c][y][x] = v + 0.0
          flat.logits[#flat.logits + 1], k = v + 0.0, k + own
        end
      end
    end
    for y = 1, h do
      labels[i][y] = {}
      for x = 1, w do
        local px = (y - 1) * w + x
        local label = i == 1 and px <= 2 and px - 1 or (px * 5 + 3 * i) % math.max(2, classes - 1)
        if i == n and px == h * w then label = -1 end
        labels[i][y][x], flat.labels[#flat.labels + 1] = label, label
      end
    end
  end
  local planes = {}
  for f, name in ipairs(fields) do
    planes[name], flat.fields[name] = {}, {}
    for i = 1, n do
      planes[name][i] = {}
      for y = 1, h do
        planes[name][i][y] = {}
        for x = 1, w do
          local v = ((37 * f + 11 * i + 5 * y + 3 * x) % 13 + 1) / 8
          planes[name][i][y][x] = v
          table.insert(flat.fields[name], v)
        end
      end
    end
  end
  return logits, labels, planes, flat
end

local function sample(n, o, classes, h, w)
  local logits, labels, planes, flat = sample_data(n, classes, h, w, o.fields)
  local given = {logits = logits, labels = labels, labels_type = "int64", logits_type = "float64",
    ignore_index = {-1}, class_names = o.names}
  if #o.fields > 0 then given.fields = planes end
  return core.memory(given), flat
end

-- -- What is known about the classes --------------------------------------------------------------

local function term_list(loss, into)
  local node = loss.node
  if node.kind == "term" then into[#into + 1] = node.given end
  if node.kind == "on" then into.named = true end
  if node.kind == "where" and tensor.is(node.mask) then into.mask = true end
  for _, v in pairs(node) do
    if losses.is(v) then term_list(v, into) end
  end
  return into
end

local function is_weights(v)
  local mt = getmetatable(v)
  return mt and mt.__name == "segx.Weights"
end

local not_vector = {unit = true, classes = true}

-- Number and names of classes as far as the loss' own vectors say.
local function from_vectors(terms)
  local count, names
  for _, given in ipairs(terms) do
    for name, v in pairs(given) do
      if is_weights(v) then
        count, names = #v.names, v.names
      elseif tensor.is(v) and v:kind() == "dense" and v:dim() >= 1 and v:size(1) > 1 then
        count = count or v:size(1)
      elseif type(v) == "table" and not getmetatable(v) and not not_vector[name] then
        if #v > 0 then count = count or #v else terms.named = terms.named or next(v) ~= nil end
      end
      if name == "classes" then terms.named = true end
    end
  end
  return count, names
end

local function settings(loss, given)
  local terms = term_list(loss, {})
  local count, names = from_vectors(terms)
  local o = {fields = given.fields or {}}
  if terms.mask then
    errors.misuse("export: the mask of where(...) is a tensor of one dump",
      "a function makes it anywhere: loss:where(function(x) return x.labels:eq(3) end)")
  end
  if given.dump then
    if not tensor.is_dump(given.dump) then
      errors.misuse("export: dump is not a dump (segx.open)")
    end
    local info = given.dump:info()
    count, names, o.from = info.classes, info.class_names, info.name or info.path
    if not given.fields then o.fields = info.field_names end
    for _, v in ipairs(info.ignore or {}) do
      if v >= 0 and v < count then o.ignore = v end
    end
  end
  if type(given.classes) == "table" then
    count, names = #given.classes, given.classes
  elseif given.classes then
    if math.type(given.classes) ~= "integer" or given.classes < 2 then
      errors.misuse("export: classes is their number, or the list of their names")
    end
    if count and count ~= given.classes then
      errors.misuse(("export: %d classes, but the loss has vectors of %d"):format(given.classes,
        count))
    end
    count = given.classes
  end
  if terms.named and not names then
    errors.misuse("export: the loss names classes; which ones are there?",
      'loss:export("my_loss.py", {dump = d}), or classes = {"sky", "road", ...}')
  end
  o.count, o.names = count, names
  return o
end

-- -- Export ---------------------------------------------------------------------------------------

-- Where the numbers of a class vector came from: function(data) -> {name, text} or nil.
local function origins(parts, count, names)
  local known = {}
  names = names or {}
  for c = #names + 1, count or 0 do names[c] = tostring(c - 1) end
  for _, p in ipairs(parts) do
    for key, v in pairs(p.given) do
      local vector = count and not not_vector[key]
        and (is_weights(v) or tensor.is(v) or type(v) == "table")
      local ok, t = pcall(weights.vector, vector and v or nil, names, key)
      if vector and ok and t:kind() == "dense" then
        local text = ("%s of %s"):format(key, p.name)
        local source = is_weights(v) and (v.origin or v.scheme)
        if source then text = ("%s: segx.weights.%s, from pixel counts"):format(text, source) end
        known[table.concat(tensor.flat(t), " ")] = {name = key, text = text}
      end
    end
  end
  return function(data) return known[table.concat(data, " ")] end
end

-- Traces with the number of pixels as a symbol.
local function traced_on(loss, d)
  local before = trace.image_pixels
  trace.image_pixels = core.leaf(1.0, "image_pixels")
  local _ <close> = setmetatable({}, {__close = function() trace.image_pixels = before end})
  local traced = loss:trace(d)
  local sweep = traced.value:sweep_axes()
  if #sweep > 0 then
    local names = {}
    for i, a in ipairs(sweep) do names[i] = a.name end
    errors.misuse(("export: the loss has sweep axes (%s); a module is one configuration"):format(
      table.concat(names, ", ")), ("row.loss of a sweep's result, or loss:at{%s = 1}, which takes "
        .. "each axis' position"):format(table.concat(names, " = 1, ")))
  end
  return traced
end

local function same_class(a, b)
  if table.concat(a.body, "\n") ~= table.concat(b.body, "\n") then return false end
  for i, x in ipairs(a.buffers) do
    local y = b.buffers[i]
    if not y or x.node.key ~= y.node.key then return false end
  end
  return #a.buffers == #b.buffers
end

local function check_generic(printed, loss, o)
  local traced = traced_on(loss, (sample(3, o, o.count or 6, 1, 5)))
  local other = torch.class(traced, {origin = origins(traced.parts, o.count, o.names)})
  if same_class(printed, other) then return end
  if o.count then
    errors.misuse("export: the loss reads something from the dump that a batch does not have",
      "inside a loss use x.image_pixels and sums, not sizes of the dump")
  end
  errors.misuse("export: this loss depends on the number of classes",
    'loss:export("my_loss.py", {classes = 19}) or {dump = d}')
end

-- Value and gradient of the sample in double: numbers for the self-test.
local function expected(loss, d, n)
  local precise = {precision = "double"}
  local value, gradient = loss:eval(d, precise).value, {}
  for i = 1, n do
    for _, v in ipairs(tensor.flat(loss:grad(d, i, precise))) do gradient[#gradient + 1] = v end
  end
  return value, gradient
end

local function sorted_fields(self, order)
  local list = {}
  for _, name in ipairs(order) do
    if self.fields[name] then list[#list + 1] = name end
  end
  return list
end

local function fill(values)
  return (module:gsub("{(%u[%u_]*)}", function(key) return values[key] end))
end

--- The text of the module.
function export.text(loss, given)
  local o = settings(loss, given)
  local class, N, C = given.class or "SegLoss", 2, o.count or 4
  local H, W = C > 24 and 1 or 2, 2       -- many classes, few pixels: the file is to be read
  local d, flat = sample(N, o, C, H, W)
  local traced = traced_on(loss, d)
  local self, before = torch.class(traced, {origin = origins(traced.parts, o.count, o.names)})
  check_generic(self, loss, o)
  local value, gradient = expected(loss, d, N)
  local fields, body = sorted_fields(self, o.fields), {}
  for _, name in ipairs(fields) do
    body[#body + 1] = ("        %s = %s.reshape(N, 1, %s-1).to(x.dtype).masked_fill(~valid, 0.0)")
      :format(name, name, self.matrix and "1, " or "")
  end
  for _, list in ipairs {before, self.body} do table.move(list, 1, #list, #body + 1, body) end
  local field_lines = {}
  for i, name in ipairs(fields) do
    field_lines[i] = ("    %s = torch.tensor([\n%s\n    ]).reshape(%d, %d, %d)\n"):format(name,
      number_list(flat.fields[name], "        "), N, H, W)
  end
  local buffers = buffer_lines(self, o.names)
  local check = o.count and ("        if C != %d:\n"
    .. "            raise ValueError(f\"%s is for %d classes, not {C}\")\n"):format(o.count, class,
    o.count) or ""
  return fill {
    CLASS = class, VERSION = core.version, TEXT = doc_lines(tostring(loss), "    "),
    UNITS = doc_lines((units_text(traced.parts):gsub("^%l", string.upper)), ""),
    IGNORE = o.ignore and tostring(o.ignore) or "None",
    HELPERS = torch.helpers(body),
    BUFFERS = #buffers > 0 and table.concat(buffers, "\n") .. "\n" or "",
    ARGS = #fields > 0 and ", " .. table.concat(fields, ", ") or "",
    CHECK = check, ONE = self.matrix and "1, " or "", BODY = table.concat(body, "\n"),
    LOGITS = number_list(flat.logits, "        ", 10), LABELS = table.concat(flat.labels, ", "),
    SHAPE = ("%d, %d, %d, %d"):format(N, C, H, W), LABEL_SHAPE = ("%d, %d, %d"):format(N, H, W),
    FIELDS = table.concat(field_lines), VALUE = torch.number(value),
    GRADIENT = number_list(gradient, "        ", 4),
  }
end

local options = {"class", "framework", "dump", "classes", "fields"}

--- Writes the loss as a PyTorch module: loss:export("my_loss.py", {class = "MyLoss"}). opts: class
--- (name of the class, default SegLoss), framework = "torch", dump or classes (their number or
--- names; needed where the loss depends on them and has no vector that says), fields (names of
--- further data sets that it reads; default those of dump). Without a path the text is returned.
function Loss:export(path, opts)
  if type(path) == "table" and opts == nil then path, opts = nil, path end
  opts = opts or {}
  errors.check_keys("export", "option", opts, options)
  if opts.framework and opts.framework ~= "torch" then
    errors.unknown("export", "framework", opts.framework, {"torch"})
  end
  if opts.class and not tostring(opts.class):match "^[%a_][%w_]*$" then
    errors.misuse("export: class is a word, the name of the Python class")
  end
  local text = export.text(self, opts)
  if path == nil then return text end
  local file, why = io.open(path, "w")
  if not file then errors.raise("file", "export: " .. why) end
  local ok, e = file:write(text)
  ok, e = file:close() and ok, e
  if not ok then errors.raise("file", ("export: %s: %s"):format(path, tostring(e))) end
  return text
end

return export
