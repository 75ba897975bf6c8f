--[[
curve.lua: loss:curve{hist = d}: a pixel loss and the size of its gradient against p_t, the
probability of the label, with the histogram of p_t of a dump behind: where does the loss push, and
are there any pixels?
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
local tensor = require "segx.tensor"
local losses = require "segx.loss"
errors.own()

local curve = {}

-- An image of one pixel for every p_t: label's logit m, another class' 0, the others far below.
local function dump_at(list, names, class)
  local logits, labels = {}, {}
  local other = class % #names + 1
  for i, pt in ipairs(list) do
    logits[i], labels[i] = {}, {{class - 1}}
    for c = 1, #names do logits[i][c] = {{-1e4}} end
    logits[i][class][1][1] = math.log(pt / (1 - pt))
    if other ~= class then logits[i][other][1][1] = 0.0 end
  end
  return core.memory {logits = logits, labels = labels, ignore_index = {}, class_names = names,
    logits_type = "float64"}
end

-- Pixels with p_t in each of n bins, by true class: counts[bin][class].
local function histogram(d, n)
  local edges = {}
  for k = 1, n - 1 do edges[k] = k / n end
  local f = core.fields(d)
  local edge = core.axis("pt edge", edges)
  local e = core.eval(d, {core.nsum(core.bysum(f.pt:ge(edge))), core.nsum(core.bysum(f.valid))}, {})
  local over, all, C = tensor.flat(e[1]), tensor.flat(e[2]), #d:info().class_names
  local counts = {}
  for k = 1, n do
    counts[k] = {}
    for c = 1, C do
      local above = k == 1 and all[c] or over[(k - 2) * C + c]
      counts[k][c] = above - (k == n and 0 or over[(k - 1) * C + c])
    end
  end
  return counts
end

local function class_index(names, class)
  if class == nil then return 1 end
  for c, name in ipairs(names) do
    if name == class or c - 1 == class then return c end
  end
  errors.unknown("curve", "class", tostring(class), names)
end

local Curve = {__name = "segx.Curve"}
Curve.__index = Curve

-- Loss and gradient (L1 over channels) of a pixel at every p_t: two dense tensors.
local function values_at(loss, list, names, class)
  local d <close> = dump_at(list, names, class)
  local traced = loss:trace(d, "image")
  if #traced.value:sweep_axes() > 0 then
    errors.misuse("curve: the loss has sweep axes", "one configuration: row.loss")
  end
  local g = core.grad(traced.images, d.logits)
  local e = core.eval(d, {traced.images, core.psum(g:abs():sum("class"))}, {precision = "double"})
  return e[1], e[2]
end

local function check_options(opts)
  errors.check_keys("curve", "option", opts, {"hist", "bins", "class", "against"})
  local n = opts.bins or 20
  if math.type(n) ~= "integer" or n < 2 or n > 1000 then
    errors.misuse("curve: bins is an integer from 2 to 1000")
  end
  if opts.hist and not tensor.is_dump(opts.hist) then
    errors.misuse("curve: hist is a dump", "loss:curve{hist = d}")
  end
  if opts.against and not losses.is(opts.against) then
    errors.misuse("curve: against is not a loss", "loss:curve{against = L.ce{}}")
  end
  return n
end

--- loss:curve{hist = d, against = control, bins = 20, class = name}. The loss of a pixel of one class
--- (default: the first; matters where classes are weighted) against one other class, at the middle of
--- each bin of p_t: list of {pt, loss, gradient (L1 over channels), control, control_gradient, pixels,
--- by_class}; pixels and by_class only with hist, control with against. One pass over the dump. Prints
--- as a table with bars: # gradient, then the part of the dump's pixels; r:plot() is the figure.
function losses.Loss:curve(opts)
  opts = opts or {}
  local n = check_options(opts)
  local names = opts.hist and opts.hist:info().class_names or {"label", "other"}
  local class = class_index(names, opts.class)
  local list, control, control_gradient = {}, {}, {}
  for k = 1, n do list[k] = (k - 0.5) / n end
  local loss, gradient = values_at(self, list, names, class)
  if opts.against then control, control_gradient = values_at(opts.against, list, names, class) end
  local counts = opts.hist and histogram(opts.hist, n)
  local r, total = {loss = self, against = opts.against, class_names = names}, 0.0
  for k = 1, n do
    r[k] = {pt = list[k], loss = loss[k], gradient = gradient[k], control = control[k],
      control_gradient = control_gradient[k]}
    if counts then
      r[k].pixels, r[k].by_class = 0.0, {}
      for c, name in ipairs(names) do
        r[k].pixels = r[k].pixels + counts[k][c]
        r[k].by_class[name] = counts[k][c]
      end
      total = total + r[k].pixels
    end
  end
  r.pixels = counts and total
  return setmetatable(r, Curve)
end

local function bar(v, most, width, mark)
  if not (v == v and most > 0) then return "" end
  return mark:rep(math.floor(width * v / most + 0.5))
end

Curve.__tostring = function(r)
  local most, rows, dense = 0.0, {}, 0.0
  for _, p in ipairs(r) do
    most, dense = math.max(most, p.gradient), math.max(dense, p.pixels or 0)
  end
  for k, p in ipairs(r) do
    rows[k] = {("%.3f"):format(p.pt), p.loss, p.gradient, bar(p.gradient, most, 20, "#")}
    if r.pixels then
      table.move({("%5.1f %%"):format(100 * p.pixels / r.pixels), bar(p.pixels, dense, 20, "█")}, 1,
        2, 5, rows[k])
    end
  end
  return tostring(r.loss) .. "\n" .. format.table(
    r.pixels and {"p_t", "loss", "gradient", "", "pixels", ""} or {"p_t", "loss", "gradient", ""},
    rows)
end

--- The histogram by true class as a table: part of each class' pixels in `bins` bins of p_t.
function Curve:classes(bins)
  bins = math.min(bins or 5, #self)
  local head, rows = {"class"}, {}
  for b = 1, bins do
    head[b + 1] = ("%.2f-%.2f"):format((b - 1) / bins, b / bins)
  end
  for c, name in ipairs(self.class_names) do
    local sums, total = {}, 0.0
    for b = 1, bins do sums[b] = 0.0 end
    for k, p in ipairs(self) do
      local b = math.min(bins, math.floor((k - 0.5) * bins / #self) + 1)
      sums[b] = sums[b] + (p.by_class and p.by_class[name] or 0 / 0)
    end
    for b = 1, bins do total = total + sums[b] end
    rows[c] = {name}
    for b = 1, bins do
      rows[c][b + 1] = total > 0 and ("%5.1f %%"):format(100 * sums[b] / total) or "-"
    end
  end
  return format.table(head, rows)
end

-- -- The figure -----------------------------------------------------------------------------------

local function list_of(r, key)
  local list = {}
  for k, p in ipairs(r) do list[k] = p[key] end
  return list
end

-- The numbers of a figure as rows: p_t, what was drawn, pixels.
local function numbers_of(r)
  local keys = {"pt", "loss", "gradient"}
  if r.against then keys[4], keys[5] = "control", "control_gradient" end
  if r.pixels then keys[#keys + 1] = "pixels" end
  local numbers = {names = keys}
  for k, p in ipairs(r) do
    numbers[k] = {}
    for i, key in ipairs(keys) do numbers[k][i] = p[key] end
  end
  return numbers
end

--- A figure: loss and gradient against p_t, of the control too; behind them, with hist, the part of the
--- dump's pixels in each bin, on a logarithmic scale of its own at the right: most pixels of a trained
--- network have p_t near 1.
function Curve:plot()
  local figure, palette = require "segx.figure", require "segx.palette"
  local pt, layers, note = list_of(self, "pt"), {}, {"loss: " .. tostring(self.loss)}
  local function line(key, name, colour, dash)
    layers[#layers + 1] = {mark = "line", x = pt, y = list_of(self, key), name = name, colour = colour,
      dash = dash}
  end
  local y2
  if self.pixels and self.pixels > 0 then
    local parts, least = {}, 1.0
    for k, p in ipairs(self) do
      parts[k] = p.pixels / self.pixels
      if parts[k] > 0 then least = math.min(least, parts[k]) end
    end
    layers[1] = {mark = "bars", on = "y2", at = pt, values = parts, width = 1 / #self,
      colour = palette.behind, name = "pixels (right)"}
    y2 = {label = "part of the pixels in the bin", log = true, percent = true,
      lo = 10.0 ^ math.floor(math.log(least, 10) - 0.01), hi = 1.0, pad = 0}
  end
  if self.against then
    note[2] = "control: " .. tostring(self.against)
    line("control", "control", palette.series[1], true)
    line("control_gradient", "its gradient", palette.series[2], true)
  end
  line("loss", "loss", palette.series[1])
  line("gradient", "gradient (L1)", palette.series[2])
  return figure.new {kind = "curve", title = "Loss and gradient of a pixel against p_t", note = note,
    layers = layers, x = {label = "p_t, probability of the label", lo = 0.0, hi = 1.0},
    y = {label = "per pixel", zero = true}, y2 = y2, grid = {"y"}, border = y2 and 11 or 3,
    numbers = numbers_of(self)}
end

return curve
