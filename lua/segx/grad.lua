--[[
grad.lua: who does a loss work for? Its gradient with respect to the logits, and what it adds up to.

    segx.grad(loss, d.logits)          the gradient as a lazy tensor {image, class, pixel}
    loss:grad(d, 3)                    of one image, in memory
    loss:write_grad(d, "grad.h5", {dtype = "float16"})      of all images, straight to a file
    print(loss:shares(d, {against = L.ce{}}))               which true class gets how much
    loss:gradients(d)                  the same and more as numbers, per image too
    loss:cosine(d, other)              do two losses pull the same way?
    (loss:check and loss:curve are in check.lua and curve.lua)

Words. A pixel's size is the sum over channels of |gradient| (L1) at this pixel; `share` is the part
of all sizes that falls to the pixels of a true class; `energy` is the same with squares (L2). flow
has a row for each true class and a column for each logit: where |gradient| of these pixels goes. In
positive / negative (by channel) the loss wants the logit down / up. hardest: part of all sizes that
the hardest 1 % of the valid pixels have.

The engine takes what no pixel knows out of these sums: swept class weights cost nothing, a hundred
gammas one power and a few products each.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
local tensor = require "segx.tensor"
local stat = require "segx.stat"
local losses = require "segx.loss"
errors.own()

local grad = {}
local Loss = losses.Loss
local function plot() return require "segx.plot" end      -- when a figure is asked for
local function palette() return require "segx.palette" end
local ratio = tensor.ratio

-- -- Gradients as tensors ------------------------------------------------------------------------

--- Derivative of y (summed over its images, classes and pixels; or a loss) by x: d.logits, a sweep
--- axis, or numbers that core.leaf gave a name. A tensor again, with the axes of x and y's sweeps.
function grad.grad(y, x)
  if not tensor.is(x) then
    errors.misuse("grad: the second argument is what to derive by: a tensor",
      "segx.grad(loss, d.logits)")
  end
  if losses.is(y) then
    local d = core.dump_of(x)
    if not d then
      errors.misuse("grad: it is not clear on which dump the loss is meant",
        "segx.grad(loss:tensor(d), x)")
    end
    y = y:tensor(d)
  end
  return core.grad(y, x)
end

local function check_dump(who, d)
  if not tensor.is_dump(d) then
    errors.misuse(who .. ": expected a dump (segx.open)", ("loss:%s(d)"):format(who))
  end
  return d
end

-- Gradient of the value of a loss by the logits.
local function gradient(loss, d, unit) return core.grad(loss:tensor(d, unit), d.logits) end

-- {image, class}: sum over the pixels of a true class of their L1 sizes.
local function sizes(g) return core.bysum(g:abs():sum("class")) end

-- {image, class}: squared L2 norm by true class. The factors of a sum of losses stay outside of the
-- pixels (Gram matrix of its terms), so mixes are arithmetic on kept sums.
local function energies(traced, d)
  local parts, total = {}, nil
  for i, p in ipairs(traced.parts) do parts[i] = core.grad(p.value, d.logits) end
  for i, a in ipairs(parts) do
    for j = i, #parts do
      local product = i == j and a:square() or a * parts[j]
      local k = traced.parts[i].factor * traced.parts[j].factor * (i == j and 1 or 2)
      local term = core.bysum(product:sum("class"))
      if k ~= 1 then term = k * term end
      total = total and total + term or term
    end
  end
  return total
end

-- sums {image, class} -> parts of the whole {class}.
local function parts_of(sums)
  local s = core.nsum(sums)
  return ratio(s, s:sum("class"), 0)
end

-- -- Files and single images ---------------------------------------------------------------------

--- Gradient of the loss with respect to the logits of image i (from 1): a dense tensor {class, y,
--- x}, with the sweep axes in front where there are any. opts: precision, threads, mem, unit. Two
--- passes where the loss needs sums over the dump first.
function Loss:grad(d, i, opts)
  check_dump("grad", d)
  opts = opts or {}
  errors.check_keys("grad", "option", opts, {"precision", "threads", "mem", "device", "mode", "unit"})
  local g = gradient(self, d, opts.unit)
  return core.eval(d, {core.image(g, i)},
    {precision = opts.precision, threads = opts.threads, mem = opts.mem,
      device = opts.device, mode = opts.mode})[1]
end

-- Power of two that brings the largest number of the gradient into the range of float16.
local function half_scale(loss, d, opts)
  local total = core.nsum(energies(loss:trace(d, opts.unit), d)):sum("class")
  local norm = core.eval(d, {total}, {threads = opts.threads, mem = opts.mem,
    device = opts.device, mode = opts.mode})[1]:item() ^ 0.5
  if not (norm > 0 and norm < math.huge) then return 1.0 end
  return 2.0 ^ math.floor(math.log(32768 / norm, 2))
end

--- Writes the gradient of all images as data set "grad" {image, class, y, x} of an HDF5 file, image
--- by image; what the file holds in memory is a few images. opts: dtype = "float32" (default)
--- "float16" "float64", gzip = 0..9, unit, precision, threads, mem. float16 numbers are stored times
--- a power of two (attribute `scale`; 1 for the others): value = stored / scale. The file has its
--- name only when it is complete. Returns the value of the loss, from the same walks over the dump,
--- and how many of them there were.
function Loss:write_grad(d, path, opts)
  check_dump("write_grad", d)
  opts = opts or {}
  errors.check_keys("write_grad", "option", opts,
    {"dtype", "gzip", "unit", "precision", "threads", "mem", "device", "mode"})
  local value = self:tensor(d, opts.unit)
  local g = core.grad(value, d.logits)
  if #g:sweep_axes() > 0 then
    errors.misuse("write_grad: the loss has sweep axes", "choose one configuration: row.loss")
  end
  local scale = opts.dtype == "float16" and half_scale(self, d, opts) or 1.0
  return core.write_planes(d, g, path, {name = "grad", dtype = opts.dtype or "float32",
    gzip = opts.gzip, scale = scale, source = "gradient of " .. tostring(self), value = value,
    precision = opts.precision, threads = opts.threads, mem = opts.mem,
      device = opts.device, mode = opts.mode})
end

-- -- Hardest pixels ------------------------------------------------------------------------------

-- 64 sizes, as multiples of the mean size. The quantile of the hardest 1 % cannot lie above 100.
local levels = {}
for j = 0, 63 do levels[j + 1] = 2.0 ^ (-8 + j * 17 / 63) end

-- Tensors {level, image, class} (and sweeps): how many pixels have at least this size and what they add up to.
local function level_tensors(g, d)
  local size, valid = g:abs():sum("class"), core.fields(d).valid
  local mean = ratio(core.nsum(core.psum(size)), core.nsum(core.psum(valid)), 0)
  local level = core.axis("grad level", levels)
  local over = size:ge(mean * level)
  return core.bysum(over), core.bysum(core.where(over, size, 0))
end

-- Share of the hardest `part` of n pixels from counts and masses above each level (both fall). Inside
-- a level pixels count as equal; the levels are 20 % apart.
local function share_of_hardest(part, n, total, count, mass)
  local k = math.max(1, math.floor(part * n))
  if total <= 0 then return 0 / 0 end
  for j = #count, 1, -1 do
    if count[j] >= k then
      local above, held = count[j + 1] or 0, mass[j + 1] or 0
      local inside = count[j] - above
      return (held + (mass[j] - held) * (k - above) / inside) / total
    end
  end
  return (mass[1] + (total - mass[1]) * (k - count[1]) / (n - count[1])) / total
end

-- -- The report ----------------------------------------------------------------------------------

local Report = {__name = "segx.Gradients"}
Report.__index = Report

-- Numbers by class, addressed by name or 0-based id; anything with sweep axes stays a tensor.
local function by_class(t, names)
  if t:dim() ~= 1 then return t end
  local by = {}
  for c, v in ipairs(t:totable()) do by[names[c]], by[c - 1] = v, v end
  return by
end

local function one(t) return #tensor.flat(t) == 1 and t:item() or t end

local wanted_all = {"share", "energy", "sign", "flow", "hardest", "norms"}

local builders = {
  share = function(r, g) r.share = sizes(g) end,
  energy = function(r, _, traced, d) r.energy = energies(traced, d) end,
  sign = function(r, g) r.positive, r.negative = core.psum(g:relu()), core.psum((-g):relu()) end,
  flow = function(r, g) r.flow, r.net = core.bysum(g:abs()), core.bysum(g) end,
  hardest = function(r, g, _, d)
    r.size = core.psum(g:abs():sum("class"))
    r.count, r.mass = level_tensors(g, d)
  end,
  norms = function(r, g, _, d)
    r.norms = true
    r.share = r.share or sizes(g)
    r.count, r.mass = level_tensors(g, d)
  end,
}

-- Lazy tensors of a report, per image: {share, energy, positive, negative, flow, net, ...}.
local function lazy_report(loss, d, want, unit)
  local traced = loss:trace(d, unit)
  local g, r = core.grad(traced.value, d.logits), {}
  for _, name in ipairs(want) do
    if not builders[name] then errors.unknown("gradients", "part", name, wanted_all) end
    builders[name](r, g, traced, d)
  end
  return r
end

local run_options = {"precision", "threads", "mem", "device", "mode", "unit", "want", "progress"}

local function run(d, named, opts)
  local names, list = {}, {}
  for name in pairs(named) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do list[i] = named[name] end
  local dense, stats = core.eval(d, list, {precision = opts.precision, threads = opts.threads,
    mem = opts.mem, device = opts.device, mode = opts.mode, progress = opts.progress})
  local out = {}
  for i, name in ipairs(names) do out[name] = dense[i] end
  return out, stats
end

-- Counts and masses of configuration k by level: {level, class} each. The level axis lies somewhere among the sweep axes of the
-- loss: `inner` configurations follow it.
local function levels_of(e, k, inner, classes)
  local count, mass = {}, {}
  local outer, rest = (k - 1) // inner, (k - 1) % inner
  for j = 1, #levels do
    local at = ((outer * #levels + (j - 1)) * inner + rest) * classes
    count[j] = table.move(e.count, at + 1, at + classes, 1, {})
    mass[j] = table.move(e.mass, at + 1, at + classes, 1, {})
  end
  return count, mass
end

local function total_of(list)
  local sum = 0.0
  for _, v in ipairs(list) do sum = sum + v end
  return sum
end

-- Four levels make a bin, below and above are one more each: {from, to (in mean sizes), pixels, gradient (parts of the whole),
-- by_class = {name = part of the pixels of this class}}.
local function histogram(count, mass, pixels, all, names)
  local bins, edges = {}, {0.0}
  for j = 1, #levels, 4 do edges[#edges + 1] = levels[j] end
  for b = 1, #edges do
    local lo, hi = 4 * (b - 2) + 1, 4 * (b - 1) + 1       -- levels at the lower and the upper edge
    local n, g, by = 0.0, 0.0, {}
    for c, name in ipairs(names) do
      local own = (b == 1 and pixels[c] or count[lo][c]) - (count[hi] and count[hi][c] or 0)
      n = n + own
      g = g + (b == 1 and all[c] or mass[lo][c]) - (mass[hi] and mass[hi][c] or 0)
      by[name] = pixels[c] > 0 and own / pixels[c] or 0 / 0
    end
    bins[b] = {from = edges[b], to = edges[b + 1] or math.huge, pixels = n / total_of(pixels),
      gradient = total_of(all) > 0 and g / total_of(all) or 0 / 0, by_class = by}
  end
  return bins
end

local Norms = {__name = "segx.Norms"}

Norms.__tostring = function(bins)
  local rows, most, dense = {}, 0.0, 0.0
  local last = 1
  for k, b in ipairs(bins) do
    most, dense = math.max(most, b.gradient), math.max(dense, b.pixels)
    if b.pixels > 0 then last = k end
  end
  local function bar(v, top, mark)
    return top > 0 and v == v and mark:rep(math.floor(20 * v / top + 0.5)) or ""
  end
  for k = 1, last do
    local b = bins[k]
    rows[k] = {("%.3g"):format(b.from), ("%5.1f %%"):format(100 * b.gradient),
      bar(b.gradient, most, "#"), ("%5.1f %%"):format(100 * b.pixels), bar(b.pixels, dense, "█")}
  end
  return format.table({"size / mean, from", "gradient", "", "pixels", ""}, rows)
end

-- Number of configurations of the sweep axes behind the level axis.
local function inner_of(t)
  local inner, seen = 1, false
  for _, a in ipairs(t:sweep_axes()) do
    if seen then inner = inner * a.count end
    seen = seen or a.name == "grad level"
  end
  return inner
end

-- hardest and norms from evaluated levels.
local function read_levels(r, e, lazy, names)
  local inner, pixels = inner_of(lazy.mass), tensor.flat(e.pixels)
  local flat = {count = tensor.flat(e.count), mass = tensor.flat(e.mass)}
  local n, configurations = total_of(pixels), #flat.count // (#levels * #names)
  local hardest, norms = {}, {}
  local totals = e.size_total and tensor.flat(e.size_total)
  local shares = e.all_share and tensor.flat(e.all_share)
  for k = 1, configurations do
    local count, mass = levels_of(flat, k, inner, #names)
    if totals then
      local c, m = {}, {}
      for j = 1, #levels do c[j], m[j] = total_of(count[j]), total_of(mass[j]) end
      hardest[k] = share_of_hardest(0.01, n, totals[k], c, m)
    end
    if lazy.norms then
      local all = table.move(shares, (k - 1) * #names + 1, k * #names, 1, {})
      norms[k] = setmetatable(histogram(count, mass, pixels, all, names), Norms)
    end
  end
  if totals then r.hardest = configurations == 1 and hardest[1] or core.dense(hardest) end
  if lazy.norms then
    r.norms = configurations == 1 and norms[1] or norms
    r.images.norms = {levels = levels, count = e.image_count, mass = e.image_mass}
  end
end

--- The gradient of the loss over a dump in numbers. opts: want = list of share, energy, sign, flow,
--- hardest, norms (default: all but the last two); precision, threads, mem, unit, progress. Returns a report:
---   share, energy        by class name or 0-based id, parts of 1
---   l1, l2               size of the whole gradient
---   positive, negative   by channel: sums of the gradient's positive and negative numbers
---   flow, net            {true class, logit}: sum of |gradient|, of gradient
---   hardest              part of all sizes that the hardest 1 % of the pixels have
---   norms                histogram of the pixels' sizes: list of {from, to (multiples of the mean size),
---                        pixels, gradient (parts of the whole), by_class}; prints
---   images               {share, energy, positive, negative, flow, net}: dense tensors {image, ...}, not
---                        normalised; norms: count and mass at or above each level {level, image, class}
--- Where the loss has sweep axes the values are dense tensors with these axes in front; hardest is such,
--- norms a list of histograms in the order of the configurations.
function Loss:gradients(d, opts)
  check_dump("gradients", d)
  opts = opts or {}
  errors.check_keys("gradients", "option", opts, run_options)
  local want = opts.want or {"share", "energy", "sign", "flow"}
  local lazy = lazy_report(self, d, want, opts.unit)
  local named, names = {}, d:info().class_names
  for _, key in ipairs {"share", "energy", "positive", "negative", "flow", "net"} do
    if lazy[key] then
      named["image_" .. key] = lazy[key]
      named["all_" .. key] = core.nsum(lazy[key])
    end
  end
  if lazy.share then
    named.share, named.l1 = parts_of(lazy.share), core.nsum(lazy.share):sum("class")
  end
  if lazy.energy then
    named.energy, named.l2 = parts_of(lazy.energy), core.nsum(lazy.energy):sum("class"):sqrt()
  end
  if lazy.count then
    named.count, named.mass = core.nsum(lazy.count), core.nsum(lazy.mass)
    named.pixels = core.nsum(core.bysum(core.fields(d).valid))
    if lazy.size then named.size_total = core.nsum(lazy.size) end
    if lazy.norms then named.image_count, named.image_mass = lazy.count, lazy.mass end
  end
  local e, stats = run(d, named, opts)
  local r = {loss = self, class_names = names, images = {}, stats = stats}
  for _, key in ipairs {"share", "energy"} do
    if e[key] then r[key] = by_class(e[key], names) end
  end
  for _, key in ipairs {"l1", "l2"} do r[key] = e[key] and one(e[key]) end
  for _, key in ipairs {"positive", "negative"} do
    r[key] = e["all_" .. key] and by_class(e["all_" .. key], names)
  end
  r.flow, r.net = e.all_flow, e.all_net
  for _, key in ipairs {"share", "energy", "positive", "negative", "flow", "net"} do
    r.images[key] = e["image_" .. key]
  end
  if e.count then read_levels(r, e, lazy, names) end
  return setmetatable(r, Report)
end

local function percent(v) return v == v and ("%5.1f %%"):format(100 * v) or "-" end

Report.__tostring = function(r)
  local out = {"gradient of " .. tostring(r.loss)}
  if type(r.l1 or r.l2) ~= "number" then
    out[2] = "(over sweep axes: see the fields share, energy, ...)"
    return table.concat(out, "\n")
  end
  out[2] = ("size %s (L1)  %s (L2)"):format(format.number(r.l1 or 0 / 0),
    format.number(r.l2 or 0 / 0))
  if r.hardest then
    out[#out + 1] = ("the hardest 1 %% of the pixels have %s of it"):format(percent(r.hardest))
  end
  local rows = {}
  for c, name in ipairs(r.class_names) do
    local up, down = r.negative and r.negative[c - 1], r.positive and r.positive[c - 1]
    rows[c] = {name, r.share and percent(r.share[c - 1]) or "",
      r.energy and percent(r.energy[c - 1]) or "",
      up and up > 0 and down / up or 0 / 0}
  end
  out[#out + 1] = format.table({"class", "share", "energy", "logit down/up"}, rows)
  if r.norms then out[#out + 1] = tostring(r.norms) end
  return table.concat(out, "\n")
end

-- "pole 4.9 %": a class with its part of the whole.
local function with_part(name, v) return v == v and ("%s %.1f %%"):format(name, 100 * v) or name end

-- Rows of a matrix {true class, logit}, each divided by its scale.
local function scaled_rows(matrix, scale)
  local rows = {}
  for i, row in ipairs(matrix:totable()) do
    rows[i] = {}
    for k, v in ipairs(row) do rows[i][k] = scale[i] > 0 and v / scale[i] or 0 / 0 end
  end
  return rows
end

local function flow_figure(r, signed)
  local names, sums, total = {}, {}, 0.0
  for i, row in ipairs(r.flow:totable()) do
    sums[i] = 0.0
    for _, v in ipairs(row) do sums[i] = sums[i] + v end
    total = total + sums[i]
  end
  for i, name in ipairs(r.class_names) do names[i] = with_part(name, sums[i] / total) end
  local z, most = scaled_rows(signed and r.net or r.flow, sums), 0.0
  for i, row in ipairs(z) do
    for k, v in ipairs(row) do
      if v == v and i ~= k then most = math.max(most, math.abs(v)) end
    end
  end
  if most == 0 then most = 1.0 end
  return plot().heatmap {kind = signed and "net" or "flow", top = true, percent = true,
    title = signed and "Which way the gradient of each class' pixels goes"
      or "Where the gradient of each class' pixels goes",
    note = {"gradient of " .. tostring(r.loss),
      "row: true class, its share of the whole; column: logit; rows add up to 100 %; colours end at the "
      .. "largest off the diagonal"},
    xnames = r.class_names, ynames = names, z = z, xlabel = "logit", ylabel = "true class",
    zlabel = signed and "up (-) or down (+), part of the row" or "part of the row", map = signed and "diverging" or "viridis",
    zlim = {signed and -most or 0.0, most}}
end

local function class_figure(r, what)
  local values = {}
  for c = 1, #r.class_names do values[c] = r[what][c - 1] end
  return plot().bars {kind = what, title = "Gradient by true class", note = "gradient of " .. tostring(r.loss),
    names = r.class_names, values = values, percent = true, xlabel = what}
end

local figures = {
  flow = function(r) return flow_figure(r, false) end, net = function(r) return flow_figure(r, true) end,
  share = function(r) return class_figure(r, "share") end,
  energy = function(r) return class_figure(r, "energy") end,
}

--- A figure. what: "flow" (default: rows are true classes, columns the logits that their gradient goes
--- to), "net" (the same with signs), "share", "energy" (bars by class).
function Report:plot(what)
  what = what or "flow"
  if not figures[what] then
    errors.unknown("plot", "figure of gradients", what, {"energy", "flow", "net", "share"})
  end
  if not self[what] then
    errors.misuse(("plot: '%s' was not asked for"):format(what),
      ('loss:gradients(d, {want = {"%s"}})'):format(what == "net" and "flow" or what))
  end
  if type(self.l1 or self.l2 or 0) ~= "number" or self.flow and self.flow:dim() ~= 2 then
    errors.misuse("plot: the loss has sweep axes", "one configuration: row.loss")
  end
  return figures[what](self)
end

-- -- Shares against a control --------------------------------------------------------------------

local Shares = {__name = "segx.Shares"}
Shares.__index = Shares

-- Lazy shares {class} of a loss: of its gradient or of its value.
local function share_tensor(loss, d, of)
  if of == "value" then
    local traced = loss:trace(d)
    if not traced.share then
      errors.misuse("shares: a part of the loss gives one number, which belongs to no class",
        'of = "grad" splits any loss')
    end
    return ratio(traced.share, traced.value, 0)
  end
  return parts_of(sizes(gradient(loss, d)))
end

--- Which true class gets how much of the loss: loss:shares(d, {against = control}). opts: against,
--- of = "grad" (default; L1 of the gradient) | "value", precision, threads, mem. Returns rows
--- {class, pixels, control, this, change} (parts of 1), which print as a table; by name:
--- r.pole.this. One read of the dump for both losses.
function Loss:shares(d, opts)
  check_dump("shares", d)
  opts = opts or {}
  errors.check_keys("shares", "option", opts, {"against", "of", "precision", "threads", "mem", "device", "mode"})
  local of = opts.of or "grad"
  if of ~= "grad" and of ~= "value" then
    errors.unknown("shares", "of", of, {"grad", "value"})
  end
  if opts.against and not losses.is(opts.against) then
    errors.misuse("shares: against is not a loss", "loss:shares(d, {against = L.ce{}})")
  end
  local list = {parts_of(core.bysum(core.fields(d).valid)), share_tensor(self, d, of)}
  if opts.against then list[3] = share_tensor(opts.against, d, of) end
  for i = 2, #list do
    if #list[i]:sweep_axes() > 0 then
      errors.misuse("shares: the loss has sweep axes", "loss:gradients(d), or sweep with want = "
        .. '{"grad.share"}, or one configuration: row.loss')
    end
  end
  local dense = core.eval(d, list,
    {precision = opts.precision, threads = opts.threads, mem = opts.mem,
      device = opts.device, mode = opts.mode})
  local r = {}
  for c, name in ipairs(d:info().class_names) do
    local row = {class = name, pixels = dense[1][c], this = dense[2][c]}
    if dense[3] then
      row.control = dense[3][c]
      row.change = row.this - row.control
    end
    r[c] = row
    if r[name] == nil then r[name] = row end
  end
  return setmetatable(r, {__index = Shares, __tostring = Shares.text, __name = "segx.Shares",
    of = of, loss = tostring(self), against = opts.against and tostring(opts.against)})
end

--- The table as text; width: of the longest bar (default 20, 0 for none).
function Shares.text(r, width)
  width = width or 20
  local meta, rows, longest = getmetatable(r), {}, 0
  for _, row in ipairs(r) do longest = math.max(longest, row.this) end
  for c, row in ipairs(r) do
    local bar = longest > 0 and row.this == row.this
      and ("█"):rep(math.floor(width * row.this / longest + 0.5)) or ""
    rows[c] = meta.against
      and {row.class, percent(row.pixels), percent(row.control), percent(row.this),
        ("%+.1f"):format(100 * row.change), bar}
      or {row.class, percent(row.pixels), percent(row.this), bar}
  end
  local what = meta.of == "grad" and "gradient by true class" or "value by true class"
  return ("%s   this: %s%s\n%s"):format(what, meta.loss,
    meta.against and "   control: " .. meta.against or "",
    format.table(meta.against and {"class", "pixels", "control", "this", "change", ""}
      or {"class", "pixels", "this", ""}, rows))
end

-- Classes in their order; where there are many, those with the longest bars.
local function longest_bars(r, most)
  local order = {}
  for c = 1, #r do order[c] = c end
  if #r <= most then return order end
  local function length(row) return math.max(row.pixels, row.this, row.control or 0) end
  table.sort(order, function(a, b)
    local p, q = length(r[a]), length(r[b])
    if p ~= q then return p > q end
    return a < b
  end)
  order = table.move(order, 1, most, 1, {})
  table.sort(order)
  return order
end

--- A figure: for every class the part of the pixels, of the control and of this loss. Of more than
--- 24 classes the ones with the longest bars.
function Shares:plot()
  local meta, names, series = getmetatable(self), {}, {}
  local colours = palette()
  series[1] = {name = "pixels", values = {}, colour = colours.behind}
  if meta.against then
    series[2] = {name = "control", values = {}, colour = colours.series[6]}
  end
  series[#series + 1] = {name = "this", values = {}, colour = colours.series[1]}
  local order = longest_bars(self, 24)
  for i, c in ipairs(order) do
    local row = self[c]
    names[i] = row.class
    for _, s in ipairs(series) do s.values[i] = row[s.name] end
  end
  local note = {"this: " .. meta.loss}
  if meta.against then note[2] = "control: " .. meta.against end
  if #order < #self then note[#note + 1] = ("%d of %d classes"):format(#order, #self) end
  return plot().bars {kind = "shares", note = note, names = names, series = series, percent = true,
    title = meta.of == "grad" and "Who gets the gradient" or "What the value is made of",
    xlabel = "part of the whole"}
end

--- As text with bars of this width: print(r:bars(8)).
function Shares:bars(width) return Shares.text(self, width) end

-- -- Two losses ----------------------------------------------------------------------------------

local function cosine_of(dot, a, b) return a > 0 and b > 0 and dot / math.sqrt(a * b) or 0 / 0 end

--- Do two losses pull the same way? Cosine of their gradients, 1 = the same direction, over the
--- whole dump (value), by true class (class: name or 0-based id) and by image (images, a list); tau:
--- Kendall's rank agreement of the sizes that they give to every (image, class). opts: precision,
--- threads, mem.
function Loss:cosine(d, other, opts)
  check_dump("cosine", d)
  opts = opts or {}
  errors.check_keys("cosine", "option", opts, {"precision", "threads", "mem", "device", "mode"})
  if not losses.is(other) then
    errors.misuse("cosine: the second argument is not a loss", "loss:cosine(d, L.ce{})")
  end
  local a, b = gradient(self, d), gradient(other, d)
  if #a:sweep_axes() + #b:sweep_axes() > 0 then
    errors.misuse("cosine: a loss has sweep axes",
      'one configuration: row.loss; or sweep with control = ... and want = {"grad.cosine"}')
  end
  local function sum(x) return core.bysum(x:sum("class")) end
  local e = run(d, {aa = sum(a:square()), bb = sum(b:square()), ab = sum(a * b), sa = sizes(a),
    sb = sizes(b)}, opts)
  local names, n = d:info().class_names, #d
  local aa, bb, ab = tensor.flat(e.aa), tensor.flat(e.bb), tensor.flat(e.ab)
  local r = {class = {}, images = {}}
  local C, T = #names, {0.0, 0.0, 0.0}
  local by = {}
  for c = 1, C do by[c] = {0.0, 0.0, 0.0} end
  for i = 1, n do
    local own = {0.0, 0.0, 0.0}
    for c = 1, C do
      local k = (i - 1) * C + c
      for s, v in ipairs {ab[k], aa[k], bb[k]} do
        own[s], by[c][s], T[s] = own[s] + v, by[c][s] + v, T[s] + v
      end
    end
    r.images[i] = cosine_of(own[1], own[2], own[3])
  end
  for c, name in ipairs(names) do
    r.class[name] = cosine_of(by[c][1], by[c][2], by[c][3])
    r.class[c - 1] = r.class[name]
  end
  r.value = cosine_of(T[1], T[2], T[3])
  r.tau = stat.kendall(tensor.flat(e.sa), tensor.flat(e.sb))
  return r
end

-- -- Columns of sweeps ---------------------------------------------------------------------------

grad.column_names = {"grad.share", "grad.energy", "grad.l1", "grad.l2", "grad.cosine"}

-- Of one sweep: its lazy sums, made once.
local function sums_of(self, key)
  self.grads = self.grads or {}
  local kept = self.grads
  if not kept[key] then
    if key == "share" then
      kept.share = core.nsum(sizes(core.grad(self.traced.value, self.dump.logits)))
    else
      kept.energy = core.nsum(energies(self.traced, self.dump))
    end
    kept[key .. " all"] = kept[key]:sum("class")
  end
  return kept[key], kept[key .. " all"]
end

-- Cosine with the control's gradient, from dot products of the terms: mixes stay free.
local function cosine_tensor(self)
  local d, mine, other = self.dump, self.traced, self.control:trace(self.dump)
  local dot
  for _, p in ipairs(mine.parts) do
    local a = core.grad(p.value, d.logits)
    for _, q in ipairs(other.parts) do
      local k = p.factor * q.factor
      local term = core.psum((a * core.grad(q.value, d.logits)):sum("class"))
      if k ~= 1 then term = k * term end
      dot = dot and dot + term or term
    end
  end
  local _, aa = sums_of(self, "energy")
  local bb = core.nsum(energies(other, d)):sum("class")
  return ratio(core.nsum(dot), (aa * bb):sqrt(), 0)
end

--- Adds the columns of "grad.<rest>" to a sweep's list; false when there is no such column.
function grad.columns(out, self, rest, class_columns, class_position)
  local key, class = rest:match "^(%a+)%.(.+)$"
  key = key or rest
  if key == "share" or key == "energy" then
    local sums, all = sums_of(self, key)
    class_columns(out, "grad." .. key, sums, self.names, class and class_position(class), all)
    return true
  elseif rest == "l1" or rest == "l2" then
    local _, all = sums_of(self, rest == "l1" and "share" or "energy")
    out[#out + 1] = {name = "grad." .. rest, tensor = rest == "l1" and all or all:sqrt()}
    return true
  elseif rest == "cosine" then
    if not self.control then
      errors.misuse("want 'grad.cosine': no control loss is given (control = L.ce{})")
    end
    out[#out + 1] = {name = "grad.cosine", tensor = cosine_tensor(self)}
    return true
  end
  return false
end

return grad
