--[[
sweep.lua: many configurations of a loss at once.

    local sw = segx.sweep{
      dump = d, loss = loss, control = L.ce{} + L.dice{}, want = {"value", "per_class", "tau(iou)"},
    }
    print(sw:plan())                  configurations, passes, which axes are free
    local r = sw:run()
    print(r:top(10, "tau(iou)"))
    print(r:best("tau(iou)").loss)
    r:csv("sweep.csv")

want, a list of columns
    value                 the loss
    per_class, value.pole the loss by class (all classes, or one)
    share, share.pole     part of the value that each class makes, 0 .. 1
    parts, part.dice      value of each part of a hybrid, without its factor
    control               value of the control loss
    grad.share, grad.share.pole    part of the gradient (L1) that falls to the pixels of a class
    grad.energy, grad.energy.pole  the same with squares; grad.l1, grad.l2: size of the gradient
    grad.cosine           cosine with the control's gradient
    tau(iou)              Kendall's tau between minus the loss and the mean IoU of the images, both per
                          image (unit = "image"): 1 = the loss orders the images as their IoU does;
                          tau(dice), tau(accuracy), of one class tau(iou.pole); rho(...): Spearman.
                          With a 95 % interval over images; where a control is given, a second column,
                          tau(iou)-control, has the paired difference and says "not separable"
                          where its interval holds 0
    fit.miou, fit.gain, fit.rank, fit.iou.pole ...   offline fits, see fit.lua; their options: fit = {folds = 2}
    miou, accuracy, iou.pole ...   metrics of the dump (the same in every row; see segx.metrics)

Every configuration is one row: a value of each axis, then the columns.
]]
local core = require "segx.core"
local csv = require "segx.csv"
local device = require "segx.device"
local errors = require "segx.errors"
local format = require "segx.format"
local pages = require "segx.pages"
local tensor = require "segx.tensor"
local losses = require "segx.losses"
local metrics = require "segx.metrics"
local program = require "segx.program"
local rank = require "segx.rank"
local refusal = require "segx.refusal"
local fit = require "segx.fit"
local fits = require "segx.fits"
local grad = require "segx.grad"
local result = require "segx.result"
local stat = require "segx.stat"
errors.own()

local sweep = {}

-- -- Columns --------------------------------------------------------------------------------------
-- A column plan is {name, tensor = what to evaluate, pick = class position or nil, divide = tensor or
-- nil}, with rank = {kind, metric} where tensor and minus (the control's, or nil) are losses by image;
-- or {name, metric = the name of a metric of the dump}; or {name, tensor, fit = a column of fits.columns}: the
-- tensor gives it the axes.

local function class_position(names, class, column)
  return errors.position(("want '%s'"):format(column), "class", class, names)
end

local function need(v, column, why)
  if v == nil then errors.misuse(("want '%s': %s"):format(column, why)) end
  return v
end

local no_split = "this loss cannot be split by class (a part of it gives one number)"

local function class_columns(out, prefix, t, names, class, divide)
  for c, n in ipairs(names) do
    if class == nil or class == c then
      out[#out + 1] = {name = prefix .. "." .. n, tensor = t, pick = c, divide = divide}
    end
  end
end

-- Labels of the parts, made distinct: dice, dice#2.
local function part_labels(parts)
  local seen, labels = {}, {}
  for i, p in ipairs(parts) do
    seen[p.label] = (seen[p.label] or 0) + 1
    labels[i] = seen[p.label] > 1 and p.label .. "#" .. seen[p.label] or p.label
  end
  return labels
end

local function part_columns(out, traced, wanted, column)
  local labels = part_labels(traced.parts)
  for i, p in ipairs(traced.parts) do
    if wanted == nil or labels[i] == wanted then
      out[#out + 1] = {name = "part." .. labels[i], tensor = p.value}
      if wanted then return end
    end
  end
  if wanted then errors.unknown(("want '%s'"):format(column), "part", wanted, labels) end
end

local rank_kinds = {tau = "kendall", rho = "spearman"}

local function rank_columns(out, self, kind, name, column)
  metrics.check_image_metric(("want '%s'"):format(column), name, self.names)
  self.per_image = self.per_image or self.loss:trace(self.dump, "image", true).images
  local rank = {kind = kind, metric = name}
  out[#out + 1] = {name = column, tensor = self.per_image, rank = rank}
  if self.control then
    self.control_images = self.control_images or self.control:trace(self.dump, "image", true).images
    out[#out + 1] = {name = column .. "-control", tensor = self.per_image, rank = rank,
      minus = self.control_images}
  end
end

local function metric_column(self, column)
  local prefix, class = column:match "^(%w+)%.(.+)$"
  for _, m in ipairs(metrics.by_class) do
    if m == prefix then
      class_position(self.names, class, column)
      return {name = column, metric = column}
    end
  end
  local known = {"value", "per_class", "share", "parts", "control", "tau(iou)", "tau(dice)",
    "tau(accuracy)", "accuracy"}
  table.move(metrics.scalars, 1, #metrics.scalars, #known + 1, known)
  for _, name in ipairs(known) do
    if name == column then return {name = column, metric = column} end
  end
  errors.unknown("sweep", "column", column, known)
end

-- Columns with a prefix and a rest: "value.pole".
local dotted = {
  value = function(out, self, class, column)
    class_columns(out, "value", need(self.traced.per_class, column, no_split), self.names,
      class_position(self.names, class, column))
  end,
  share = function(out, self, class, column)
    class_columns(out, "share", need(self.traced.share, column, no_split), self.names,
      class_position(self.names, class, column),
      self.traced.value)
  end,
  grad = function(out, self, rest, column)
    local known = grad.columns(out, self, rest, class_columns,
      function(class) return class_position(self.names, class, column) end)
    if not known then errors.unknown("sweep", "column", column, grad.column_names) end
  end,
  fit = function(out, self, rest, column)
    local list = fits.columns(rest, column, self.control ~= nil, self.names)
    if not list then errors.unknown("sweep", "column", column, fit.known()) end
    for _, c in ipairs(list) do
      out[#out + 1] = {name = c.name, fit = c, tensor = self.traced.value,
        minus = c.minus == "control" and self.traced_control.value or nil}
    end
  end,
  part = function(out, self, label, column) part_columns(out, self.traced, label, column) end,
}

local whole = {
  value = function(out, self) out[#out + 1] = {name = "value", tensor = self.traced.value} end,
  per_class = function(out, self, column)
    class_columns(out, "value", need(self.traced.per_class, column, no_split), self.names)
  end,
  share = function(out, self, column)
    class_columns(out, "share", need(self.traced.share, column, no_split), self.names, nil,
      self.traced.value)
  end,
  parts = function(out, self) part_columns(out, self.traced) end,
  control = function(out, self, column)
    need(self.control, column, "no control loss is given (control = L.ce{})")
    out[#out + 1] = {name = "control", tensor = self.traced_control.value}
  end,
}

local function add_column(out, self, column)
  if type(column) ~= "string" then errors.misuse("sweep: want is a list of column names") end
  if whole[column] then return whole[column](out, self, column) end
  local prefix, rest = column:match "^(%w+)%.(.+)$"
  if dotted[prefix] then return dotted[prefix](out, self, rest, column) end
  local kind, of = column:match "^(%w+)%((.*)%)$"
  if rank_kinds[kind] then return rank_columns(out, self, rank_kinds[kind], of, column) end
  out[#out + 1] = metric_column(self, column)
end

-- -- Axes -----------------------------------------------------------------------------------------

-- The distinct lazy tensors of the columns, and each one's place in the list.
local function wanted_tensors(columns)
  local list, place = {}, {}
  for _, c in ipairs(columns) do
    for _, t in pairs {c.tensor, c.divide, c.minus} do
      if not place[t] then
        list[#list + 1] = t
        place[t] = #list
      end
    end
  end
  return list, place
end

local function only_fits(columns)
  for _, c in ipairs(columns) do
    if not c.fit then return false end
  end
  return true
end

-- The sweep axes of these tensors, in the engine's order: list of {name, count, labels, params}.
local function collect_axes(list)
  local total
  for _, t in ipairs(list) do
    -- The sum of everything has the union of the axes.
    local axes = core.axes(t)
    if axes.class then t = t:sum("class") end
    if axes.image then t = core.nsum(t) end
    total = total and total + t or t
  end
  return total and total:sweep_axes() or {}
end

-- What was refused of the loss and the control (refusal.lua), as far as the rows show it.
local function refused_in(self)
  local list, known = {}, {}
  for _, a in ipairs(self.axes) do known[a.name] = true end
  for _, traced in ipairs {self.traced, self.traced_control} do
    for _, r in ipairs(traced.refused) do
      local shown = true
      for _, a in ipairs(r.axes) do shown = shown and known[a.name] end
      if shown then list[#list + 1] = r end
    end
  end
  return list
end

local function check_names(axes)
  local seen = {}
  for _, a in ipairs(axes) do
    if seen[a.name] then
      errors.misuse(("sweep: two different axes are called '%s'"):format(a.name),
        "name one of them otherwise, or use one axis twice")
    end
    seen[a.name] = true
  end
end

-- -- The sweep ------------------------------------------------------------------------------------

local Sweep = {__name = "segx.Sweep"}
Sweep.__index = Sweep

local options = {"dump", "loss", "control", "want", "precision", "threads", "mem", "device", "mode",
  "progress", "isa",
  "intervals", "level", "groups", "seed", "fit",
  "out"}

--- segx.sweep{dump, loss, control, want, precision, threads, mem, device, mode, progress, isa, intervals,
--- level, groups, seed, out}. dump and loss are needed. Nothing is read before :run() (metric columns and tau
--- excepted, which need the confusion matrices). intervals: number of bootstrap resamples (1000), or
--- false for none; level: 0.95; groups: a name or number per image, images of one group (a patient)
--- are drawn together; seed: 0. fit: options of offline fits (fit.lua). out: a folder that keeps all
--- sums, so that the same line goes on where it was stopped (segx/run.lua).
function sweep.sweep(o)
  if type(o) ~= "table" then errors.misuse("sweep: expected {dump = d, loss = loss}") end
  errors.check_keys("sweep", "option", o, options)
  if not tensor.is_dump(o.dump) then
    errors.misuse("sweep: dump is missing", "dump = segx.open(path)")
  end
  if not losses.is(o.loss) then errors.misuse("sweep: loss is missing, or not a loss") end
  if o.control and not losses.is(o.control) then errors.misuse("sweep: control is not a loss") end
  local self = setmetatable({
    dump = o.dump, loss = o.loss, control = o.control, names = o.dump:info().class_names,
    opts = {precision = o.precision, threads = o.threads, mem = o.mem, progress = o.progress,
      device = o.device, mode = o.mode, isa = o.isa},
    intervals = rank.options(o, o.dump:info().n),
  }, Sweep)
  if o.out ~= nil and (type(o.out) ~= "string" or o.out == "") then
    errors.misuse("sweep: out is the path of a folder")
  end
  self.out = o.out
  self.traced = self.loss:trace(self.dump, nil, true)
  self.traced_control = self.control and self.control:trace(self.dump, nil, true)
  self.columns = {}
  local want = o.want or {"value"}
  if #want == 0 then errors.misuse("sweep: want names no column", 'want = {"value"}') end
  for _, column in ipairs(want) do add_column(self.columns, self, column) end
  self.tensors, self.place = wanted_tensors(self.columns)
  self.axes = collect_axes(self.tensors)
  if only_fits(self.columns) then self.tensors = {} end      -- which take their own way through the dump
  check_names(self.axes)
  self.refused = refused_in(self)
  for _, c in ipairs(self.columns) do
    if c.fit and not self.fits then
      self.fits = fit.table(self.dump, {self.loss}, self.control, o.fit or {}, o)
    end
  end
  return self
end

--- Number of configurations.
function Sweep:count()
  local n = 1
  for _, a in ipairs(self.axes) do n = n * a.count end
  return n
end

--- All lazy tensors that the columns need: those of losses, then those of the dump's metrics where a
--- column needs these and they are not there yet.
function Sweep:needs()
  local list = table.move(self.tensors, 1, #self.tensors, 1, {})
  for _, c in ipairs(self.columns) do
    if (c.metric or c.rank) and not metrics.known(self.dump) then
      local more = metrics.tensors(self.dump)
      return table.move(more, 1, #more, #list + 1, list)
    end
  end
  return list
end

-- -- Rows -----------------------------------------------------------------------------------------

-- What every axis has in the rows, as lists that compute what is read; the last axis is the fastest.
-- list(axis, items): of a list by position the item of each row.
local function along(axes, count)
  local steps, every = {}, count
  for _, a in ipairs(axes) do
    every = every // a.count
    steps[a] = every
  end
  return function(a, items)
    local step, n = steps[a], a.count
    return pages.list(count, function(r) return items[(r - 1) // step % n + 1] end)
  end
end

-- The positions themselves, by name.
local function positions_of(axes, count)
  local positions, list = {}, along(axes, count)
  for _, a in ipairs(axes) do
    local numbers = {}
    for k = 1, a.count do numbers[k] = k end
    positions[a.name] = list(a, numbers)
  end
  return positions
end

-- Why the parameters of row r are refused, or nil.
local function refusal_of(self, positions, r)
  return refusal.at(self.refused, function(name) return positions[name][r] end)[1]
end

-- How many rows that is, and the first of them.
local function count_refused(self)
  local positions, n, first = positions_of(self.axes, self:count()), 0, nil
  for r = 1, #self.refused > 0 and self:count() or 0 do
    if refusal_of(self, positions, r) then n, first = n + 1, first or r end
  end
  return n, first
end

-- -- The plan -------------------------------------------------------------------------------------

local Plan = {__name = "segx.Plan"}
Plan.__index = Plan

-- Seconds for the intervals that results.csv will hold: every one is a bootstrap over the images.
local function seconds_of_intervals(self)
  local ranks = 0
  for _, c in ipairs(self.columns) do ranks = ranks + (c.rank and (c.minus and 2 or 1) or 0) end
  if ranks == 0 or not self.intervals or not self.out then return 0 end
  local n, start = #self.dump, core.clock()
  local x, y = {}, {}
  for i = 1, n do x[i], y[i] = i * 7919 % 104729, i * 6101 % 99991 end
  stat.interval {kind = "kendall", x = x, y = y, resamples = self.intervals.resamples}
  return (core.clock() - start) * ranks * self:count()
end

-- Where the passes run: device, and with a GPU kernels (how many passes have one) and why_cpu (list by pass that has none, or why no
-- GPU is used where one was looked for).
local function add_device(self, p, needs)
  local given, why = program.options(), nil
  p.device, why = device.of(self.opts, p.passes > 0 and p.seconds / p.passes or 0)
  p.why_cpu = why and {why}
  if p.device == "cpu" then return end
  p.by_itself = device.asked(self.opts) == "auto"
  p.kernels, p.why_cpu = 0, {}
  local how = {precision = self.opts.precision or given.precision, mode = self.opts.mode or given.mode}
  for _, k in ipairs(core.kernels(self.dump, needs, how)) do
    if k.text then p.kernels = p.kernels + 1 else table.insert(p.why_cpu, k.why) end
  end
end

--- What running would cost, before any of it: {configurations, axes, passes, pass (names of the axes
--- inside the pass), free (the others), columns, bytes (read by the passes that are left), seconds
--- (about, measured on the dump's first images; of it interval_seconds for results.csv), refused (rows, where parameters are refused), folder
--- ({cells, found, passes, begun}: what is in `out` already), fits (see fit.plan; in
--- seconds too), device (with a GPU also kernels and why_cpu; by_itself: it was not asked for), engine (what core.plan says)}. Prints.
function Sweep:plan()
  local needs = self:needs()
  local folder <close> = self.out and core.folder(self.out, {look = true})
  local engine = core.plan(self.dump, needs, {precision = self.opts.precision, device = self.opts.device,
    mode = self.opts.mode, folder = folder or nil})
  local inside = {}
  for _, o in ipairs(engine.per_output) do
    for _, name in ipairs(o.pass) do inside[name] = true end
  end
  local p = {configurations = self:count(), axes = self.axes, passes = engine.passes, pass = {},
    free = {}, engine = engine, columns = #self.columns, images = #self.dump, folder = engine.folder}
  for _, a in ipairs(self.axes) do table.insert(inside[a.name] and p.pass or p.free, a.name) end
  local missing = 1
  if p.folder then
    p.passes, p.out = p.folder.passes, self.out
    missing = p.folder.cells > 0 and 1 - p.folder.found / p.folder.cells or 0
  end
  p.bytes = engine.passes > 0 and engine.bytes / engine.passes * p.passes or 0
  p.refused = count_refused(self)
  p.seconds = 0.0
  if p.passes > 0 and core.sample then
    p.seconds = core.sample(self.dump, needs, self.opts) * missing
  end
  add_device(self, p, needs)
  p.interval_seconds = seconds_of_intervals(self)
  p.fits = self.fits and fit.plan(self.fits, self.out, self.opts)
  p.seconds = p.seconds + p.interval_seconds + (p.fits and p.fits.seconds or 0)
  return setmetatable(p, Plan)
end

Plan.__tostring = function(p)
  local sizes = {}
  for i, a in ipairs(p.axes) do sizes[i] = a.count .. " " .. a.name end
  local lines = {("%s configurations%s, %d columns"):format(format.count(p.configurations),
    #sizes > 0 and " = " .. table.concat(sizes, " x ") or "", p.columns)}
  local function add(line, ...) lines[#lines + 1] = line:format(...) end
  if p.refused > 0 then add("refused: %s (row.reason says why)", format.count(p.refused)) end
  if p.folder and p.folder.cells > 0 then
    local begun = p.folder.begun > 0
      and (", and %d of %d images of the next pass"):format(p.folder.begun, p.images) or ""
    add("found %s of %s cells in %s%s", format.count(p.folder.found), format.count(p.folder.cells), p.out,
      begun)
  end
  if p.passes > 0 then
    add("%d pass%s over %s images%s%s, %s", p.passes, p.passes == 1 and "" or "es",
      format.count(p.images), p.bytes > 0 and ", " .. format.bytes(p.bytes) .. " read" or "",
      p.engine.memory > 0 and ", " .. format.bytes(p.engine.memory) .. " of memory" or "",
      format.about(p.seconds))
  else
    add("no pass over the images, %s", format.about(p.seconds))
  end
  if p.kernels then
    add("on %s: %d pass%s%s%s", p.device, p.kernels, p.kernels == 1 and "" or "es",
      #p.why_cpu > 0 and ("; on the CPU: %d, %s"):format(#p.why_cpu, p.why_cpu[1]) or "",
      p.by_itself and "; the time above is the CPU's" or "")
  elseif p.why_cpu then
    add("on the CPU: %s", p.why_cpu[1])
  end
  if p.fits then add("%s", fit.plan_text(p.fits)) end
  if p.interval_seconds > 5 and 2 * p.interval_seconds > p.seconds then
    add("%s of that go to the intervals in results.csv (intervals = false leaves them out)",
      format.about(p.interval_seconds))
  end
  if #p.axes > 0 and #p.engine.per_output > 0 then
    add("inside the pass: %s", #p.pass > 0 and table.concat(p.pass, ", ") or "nothing")
    add("free (arithmetic on kept sums): %s", #p.free > 0 and table.concat(p.free, ", ") or "nothing")
  end
  return table.concat(lines, "\n")
end

-- -- Running --------------------------------------------------------------------------------------

--- Set by `segx plan`: called instead of running.
sweep.instead_of_running = nil

-- Columns of the axes: one per parameter (several for a zip).
local function axis_columns(axes, count)
  local columns, list = {}, along(axes, count)
  for _, a in ipairs(axes) do
    for _, p in ipairs(a.params) do
      local shown, texts = {}, {}
      for k = 1, a.count do
        shown[k] = type(p.values[k]) == "number" and p.values[k] or a.labels[k]
        texts[k] = csv.cell(shown[k])
      end
      columns[#columns + 1] = {name = p.name, values = list(a, shown), texts = list(a, texts)}
    end
  end
  return columns
end

-- Column c, list by row, on the page of n rows that the grid is at; first: the row of its first.
local function fill(self, grid, c, n, first)
  if c.fit then
    return table.move(c.list.values, first, first + n - 1, 1, {})
  elseif c.metric then
    local v, list = metrics.metrics(self.dump, {}):get(c.metric), {}
    for r = 1, n do list[r] = v end
    return list
  elseif c.rank then
    local losses, places = grid:values(self.place[c.tensor])
    local minus, minus_places
    if c.minus then minus, minus_places = grid:values(self.place[c.minus]) end
    return rank.page {kind = c.rank.kind, metric = metrics.of_images(self.dump, c.rank.metric), losses = losses,
      places = places, minus = minus, minus_places = minus_places}
  end
  local list = grid:column(self.place[c.tensor], c.pick)
  if c.divide then
    for r, total in ipairs(grid:column(self.place[c.divide])) do list[r] = list[r] / total end
  end
  return list
end

-- The passes of everything that is needed; what they say about the dump's metrics is remembered.
local function start(self, opts)
  local needs = self:needs()
  if #needs == 0 then return nil, {passes = 0, seconds = 0.0, pixels = 0, masked = 0, spilled = 0} end
  local grid, stats = core.grid(self.dump, needs, opts)
  if grid:size() ~= self:count() then errors.raise("bug", "sweep: the engine counts other rows") end
  if #needs > #self.tensors then
    local values = {}
    grid:page(1)
    for i = 1, #needs - #self.tensors do
      values[i] = tensor.flat((grid:values(#self.tensors + i)))
    end
    metrics.remember(self.dump, values)
  end
  return grid, stats
end

local function is_number_of_loss(name)
  return name == "value" or name == "control" or name:find "^part%." ~= nil
end

-- The first image with a sum that is not finite and that row r depends on, or nil. bad: list of
-- {image, at = {axis = position}}.
local function bad_image(positions, bad, r)
  local first
  for _, b in ipairs(bad or {}) do
    local fits = true
    for axis, position in pairs(b.at) do
      fits = fits and (not positions[axis] or positions[axis][r] == position)
    end
    if fits and (not first or b.image < first) then first = b.image end
  end
  return first
end

-- Why row r failed, or nil. lists: the columns' values.
local function reason_of(self, positions, lists, bad, r)
  local reason = refusal_of(self, positions, r)
    or self.fits and self.fits:reason(1, self.fit_rows.number(r))
  if reason then return reason end
  for c, column in ipairs(self.columns) do
    local v = column.of_loss and lists[c][r] or 0.0
    if v - v ~= 0 then      -- NaN or infinite
      local image = bad_image(positions, bad, r)
      local name = image and self.image_names[image]
      return ("%s is not finite%s"):format(column.name, image
        and (" (first at image %d%s)"):format(image, name and (' "%s"'):format(name) or "") or "")
    end
  end
end

local function names_of_images(self, bad)
  local names = {}
  for _, b in ipairs(bad or {}) do names[b.image] = self.dump:image_name(b.image) end
  return names
end

local function image_names(d)
  local names = {}
  for i = 1, #d do names[i] = d:image_name(i) end
  return names
end

-- The fits of all rows; their columns get their lists.
local function run_fits(self, opts, positions, count)
  local function number_in(source)
    return function(r)
      return fits.number(source, function(name) return positions[name][r] end)
    end
  end
  self.fit_rows = {count = count, source = function() return 1 end, number = number_in(self.fits.losses[1]),
    control = self.fits.control and number_in(self.fits.control)}
  fit.run(self.fits, opts, self.out)
  for _, c in ipairs(self.columns) do
    if c.fit then c.list = self.fits:list(c.fit, self.fit_rows, self.intervals) end
  end
end

local function result_of(self, opts)
  local grid, stats = start(self, opts)
  local count = self:count()
  local positions = positions_of(self.axes, count)
  if self.fits then
    run_fits(self, opts, positions, count)
    stats.fits_found, stats.fits_made = self.fits.found, self.fits.made
  end
  local columns = axis_columns(self.axes, count)
  local n_axes = #columns
  local lists, streamed = pages.columns {
    rows = count, columns = #self.columns, pages = grid and select(2, grid:size()) or 1,
    find = function(r) return grid and grid:find(r) or 1 end,
    load = function(k)
      local page, n = {first = 1}, count
      if grid then page.first, n = grid:page(k) end
      for c, column in ipairs(self.columns) do page[c] = fill(self, grid, column, n, page.first) end
      for r = 1, #self.refused > 0 and n or 0 do
        if refusal_of(self, positions, page.first + r - 1) then
          for c = 1, #self.columns do page[c][r] = 0 / 0 end
        end
      end
      return page
    end,
  }
  self.image_names = names_of_images(self, stats.bad)
  for c, column in ipairs(self.columns) do
    column.of_loss = is_number_of_loss(column.name)
    local made = {name = column.name, values = lists[c]}
    local function losses(t)
      return t and function(r) return grid:row(self.place[t], r) end
    end
    if column.rank and not column.minus then
      made.by_image = pages.list(count, losses(column.tensor))
      made.of_images = {name = column.rank.metric, metric = metrics.of_images(self.dump, column.rank.metric),
        names = image_names(self.dump)}
    end
    if column.rank and self.intervals then
      made.lo, made.hi, made.note = rank.intervals {kind = column.rank.kind, count = count, values = lists[c],
        metric = metrics.of_images(self.dump, column.rank.metric), options = self.intervals,
        losses = losses(column.tensor), minus = losses(column.minus)}
    end
    if column.fit then made.lo, made.hi, made.note = column.list.lo, column.list.hi, column.list.note end
    columns[#columns + 1] = made
  end
  local reasons = pages.list(count, function(r)
    return reason_of(self, positions, lists, stats.bad, r)
  end)
  return result.new {columns = columns, count = count, n_axes = n_axes, positions = positions,
    loss = self.loss, stats = stats, reasons = reasons, streamed = streamed,
    notes = self.fits and self.fits.notes,
    biases = self.fits and fit.biases(self.fits, self.fit_rows, self.intervals)}
end

local function fail_fast(self)
  local reason = program.options().fail_fast and refusal.first(self.refused)
  if reason then errors.raise("FAILED", reason) end
end

--- Evaluates all configurations; returns a Result. Rows that failed (parameters that are refused, a
--- value that is not finite) have a reason, and the program's exit status is 6.
function Sweep:run()
  if sweep.instead_of_running then sweep.instead_of_running(self) end
  fail_fast(self)
  local function evaluate(opts) return result_of(self, opts) end
  local r = self.out and require("segx.run").run(self, self.out, evaluate) or evaluate(self.opts)
  if not self.out then
    local failed, first
    if r.streamed then failed, first = count_refused(self) end    -- values are not all looked at
    require("segx.run").note_failed(r, failed, first)
  end
  return r
end

return sweep
