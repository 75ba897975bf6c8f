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
    miou, accuracy, iou.pole ...   metrics of the dump (the same in every row; see segx.metrics)

Every configuration is one row: a value of each axis, then the columns.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
local tensor = require "segx.tensor"
local losses = require "segx.losses"
local metrics = require "segx.metrics"
local rank = require "segx.rank"
local grad = require "segx.grad"
local result = require "segx.result"
errors.own()

local sweep = {}

-- -- Columns --------------------------------------------------------------------------------------
-- A column plan is {name, tensor = what to evaluate or nil, pick = class position or nil, value =
-- number or nil, tau = list or nil, divide = tensor or nil}.

local function class_position(names, class, column)
  for c, n in ipairs(names) do
    if n == class then return c end
  end
  errors.unknown(("want '%s'"):format(column), "class", class, names)
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
local tau_of = {iou = "miou", miou = "miou", dice = "mdice", accuracy = "pixel_accuracy"}

-- A number per image of the dump: what tau and rho compare with.
local function image_metric(self, name)
  local list = {}
  local prefix, class = name:match "^(%w+)%.(.+)$"
  local c = class and class_position(self.names, class, name)
  for i, m in ipairs(metrics.images(self.dump)) do
    if c then list[i] = m[prefix][c] else list[i] = m[tau_of[name]] end
  end
  return list
end

local function rank_columns(out, self, kind, name, column)
  if not tau_of[name] then
    local prefix, class = name:match "^(%w+)%.(.+)$"
    local known = false
    for _, m in ipairs(metrics.by_class) do known = known or m == prefix end
    if not known then
      errors.unknown(("want '%s'"):format(column), "metric", name, {"accuracy", "dice", "iou"})
    end
    class_position(self.names, class, column)
  end
  self.per_image = self.per_image or self.loss:trace(self.dump, "image").images
  local rank = {kind = kind, metric = name}
  out[#out + 1] = {name = column, tensor = self.per_image, rank = rank}
  if self.control then
    self.control_images = self.control_images or self.control:trace(self.dump, "image").images
    out[#out + 1] = {name = column .. "-control", tensor = self.per_image, rank = rank,
      minus = self.control_images}
  end
end

local function metric_column(self, column)
  self.metrics = self.metrics or metrics.metrics(self.dump, {})
  local prefix, class = column:match "^(%w+)%.(.+)$"
  for _, name in ipairs(metrics.by_class) do
    if name == prefix then class_position(self.names, class, column) end
  end
  local v = self.metrics:get(column)
  if v then return {name = column, value = v} end
  local known = {"value", "per_class", "share", "parts", "control", "tau(iou)", "tau(dice)",
    "tau(accuracy)", "accuracy"}
  table.move(metrics.scalars, 1, #metrics.scalars, #known + 1, known)
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
    out[#out + 1] = {name = "control", tensor = self.control:tensor(self.dump)}
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

-- The sweep axes of all columns, in the order of creation: list of {name, count, labels, params}.
local function collect_axes(columns)
  local total, seen = nil, {}
  for _, c in ipairs(columns) do
    if c.tensor and (c.minus or not seen[c.tensor]) then
      seen[c.tensor] = true
      -- The sum of everything has the union of the axes, in the engine's order.
      local t = c.tensor
      if c.pick then t = t:sum("class") end
      if c.rank then t = core.nsum(t) end
      if c.minus then t = t + core.nsum(c.minus) end
      total = total and total + t or t
    end
  end
  return total and total:sweep_axes() or {}
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

local options = {"dump", "loss", "control", "want", "precision", "threads", "mem", "progress", "isa",
  "intervals", "level", "groups", "seed",
  "out"}

--- segx.sweep{dump, loss, control, want, precision, threads, mem, progress, isa, intervals, level,
--- groups, seed, out}. dump and loss are needed. Nothing is read before :run() (metric columns and tau
--- excepted, which need the confusion matrices). intervals: number of bootstrap resamples (1000), or
--- false for none; level: 0.95; groups: a name or number per image, images of one group (a patient)
--- are drawn together; seed: 0. out: a folder that keeps all
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
      isa = o.isa},
    intervals = rank.options(o, o.dump:info().n),
  }, Sweep)
  if o.out ~= nil and (type(o.out) ~= "string" or o.out == "") then
    errors.misuse("sweep: out is the path of a folder")
  end
  self.out = o.out
  self.traced = self.loss:trace(self.dump)
  self.columns = {}
  local want = o.want or {"value"}
  for _, column in ipairs(want) do add_column(self.columns, self, column) end
  self.axes = collect_axes(self.columns)
  check_names(self.axes)
  return self
end

--- Number of configurations.
function Sweep:count()
  local n = 1
  for _, a in ipairs(self.axes) do n = n * a.count end
  return n
end

-- The distinct tensors of the columns, and each column's place among them.
local function wanted_tensors(columns)
  local list, place = {}, {}
  local function add(t)
    if t and not place[t] then
      list[#list + 1] = t
      place[t] = #list
    end
  end
  for _, c in ipairs(columns) do
    add(c.tensor)
    add(c.divide)
    add(c.minus)
  end
  return list, place
end

-- -- The plan -------------------------------------------------------------------------------------

local Plan = {__name = "segx.Plan"}
Plan.__index = Plan

--- What running would cost: {configurations, axes, passes, pass (names of the axes inside the
--- pass), free (the others), columns, engine (what core.plan says)}. Prints.
function Sweep:plan()
  local list = wanted_tensors(self.columns)
  local engine = core.plan(self.dump, list, self.opts)
  local inside = {}
  for _, o in ipairs(engine.per_output) do
    for _, name in ipairs(o.pass) do inside[name] = true end
  end
  local p = {configurations = self:count(), axes = self.axes, passes = engine.passes, pass = {},
    free = {}, engine = engine}
  for _, a in ipairs(self.axes) do table.insert(inside[a.name] and p.pass or p.free, a.name) end
  p.columns, p.images = #self.columns, self.dump:info().n
  return setmetatable(p, Plan)
end

Plan.__tostring = function(p)
  local sizes = {}
  for i, a in ipairs(p.axes) do sizes[i] = a.count .. " " .. a.name end
  local lines = {("%s configurations%s, %d columns"):format(format.count(p.configurations),
    #sizes > 0 and " = " .. table.concat(sizes, " x ") or "", p.columns)}
  lines[2] = ("%d pass%s over %s images%s%s"):format(
    p.passes, p.passes == 1 and "" or "es", format.count(p.images),
    (p.engine.bytes or 0) > 0 and ", " .. format.bytes(p.engine.bytes) .. " read" or "",
    (p.engine.memory or 0) > 0 and ", " .. format.bytes(p.engine.memory) .. " of memory" or "")
  if #p.axes > 0 then
    lines[3] = "inside the pass: " .. (#p.pass > 0 and table.concat(p.pass, ", ") or "nothing")
    lines[4] = "free (arithmetic on kept sums): "
      .. (#p.free > 0 and table.concat(p.free, ", ") or "nothing")
  end
  return table.concat(lines, "\n")
end

-- -- Running --------------------------------------------------------------------------------------

-- For each row, the offset in a result whose sweep dimensions are those of t; inner: numbers per
-- configuration.
local function row_offsets(axes, t, inner)
  local own, step = {}, inner
  local list = t:sweep_axes()
  for i = #list, 1, -1 do
    own[list[i].name] = step
    step = step * list[i].count
  end
  local at = {1}
  for _, a in ipairs(axes) do
    local wider = {}
    for i = 1, #at do
      for k = 0, a.count - 1 do wider[#wider + 1] = at[i] + k * (own[a.name] or 0) end
    end
    at = wider
  end
  return at
end

-- Values of one column, one per configuration; of a rank correlation also its interval and note.
local function column_values(self, column, results, place, count)
  local list = {}
  if not column.tensor then
    for r = 1, count do list[r] = column.value end
    return list
  end
  local flat = results[place[column.tensor]]
  local inner = column.pick and #self.names or column.rank and self.dump:info().n or 1
  local at = row_offsets(self.axes, column.tensor, inner)
  if column.rank then
    return rank.columns {kind = column.rank.kind, flat = flat, at = at, images = inner,
      metric = image_metric(self, column.rank.metric), options = self.intervals,
      minus = column.minus and results[place[column.minus]],
      minus_at = column.minus and row_offsets(self.axes, column.minus, inner)}
  end
  for r, first in ipairs(at) do list[r] = flat[first + (column.pick or 1) - 1] end
  if column.divide then
    local total = results[place[column.divide]]
    for r, first in ipairs(row_offsets(self.axes, column.divide, 1)) do
      list[r] = list[r] / total[first]
    end
  end
  return list
end

-- Values of the axes in every row: {name, list} per parameter (several for a zip), and the position
-- on each axis.
local function axis_columns(axes, count)
  local columns, positions = {}, {}
  local every = count
  for _, a in ipairs(axes) do
    every = every // a.count
    local at = {}
    for r = 1, count do at[r] = (r - 1) // every % a.count + 1 end
    positions[a.name] = at
    for _, p in ipairs(a.params) do
      local values = {}
      for r = 1, count do
        local v = p.values[at[r]]
        values[r] = type(v) == "number" and v or a.labels[at[r]]
      end
      columns[#columns + 1] = {name = p.name, values = values}
    end
  end
  return columns, positions
end

--- Set by `segx plan`: called instead of running.
sweep.instead_of_running = nil

local function evaluate(self, opts)
  local list, place = wanted_tensors(self.columns)
  local dense, stats = core.eval(self.dump, list, opts)
  local flat = {}
  for i, t in ipairs(dense) do flat[i] = tensor.flat(t) end
  local count = self:count()
  local columns, positions = axis_columns(self.axes, count)
  local n_axes = #columns
  for _, c in ipairs(self.columns) do
    local values, lo, hi, note = column_values(self, c, flat, place, count)
    columns[#columns + 1] = {name = c.name, values = values, lo = lo, hi = hi, note = note}
  end
  return result.new {columns = columns, count = count, n_axes = n_axes, positions = positions,
    loss = self.loss, stats = stats}
end

--- Evaluates all configurations; returns a Result.
function Sweep:run()
  if sweep.instead_of_running then sweep.instead_of_running(self) end
  if not self.out then return evaluate(self, self.opts) end
  return require("segx.run").run(self, self.out, function(opts) return evaluate(self, opts) end)
end

return sweep
