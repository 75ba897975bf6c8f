--[[
search.lua: parameters beyond grids.

    local s = segx.search{
      dump = d, control = L.ce{}, by = "tau(iou)", want = {"value", "tau(iou)"},
      space = {gamma = {0, 5}, mix = {0, 1}, w = {1, 16, log = true}},
      loss = function(p) return p.mix * L.focal{gamma = p.gamma} + (1 - p.mix) * L.dice{} end,
      method = "sobol", n = 64, seed = 0,
    }
    local r = s:run()                 a Result, one row per draw; r:best("tau(iou)").loss

method
    random, sobol, halton   n points of the space, all of them in one sweep: the loss function gets a
                            sweep axis for each parameter, so that one pass evaluates them all
    coordinate              one parameter after the other, the rest at the best so far: n values each,
                            until a round of all parameters finds nothing better, or `rounds` (3)
    halving                 n Sobol points on a few images, the better third of them on three times as many, ...
                            the last ones on all images: those are the rows. factor = 3, images = 10 (the
                            fewest of a rung). s.rungs: list of {images, draws, points, values (by)}

An outside optimiser drives it with s:ask() -> {gamma =, mix =, id =} and s:tell(point, value);
s:evaluate(point) computes the columns of a point. s:result() has all rows told so far. ask gives the
next point of random, sobol (default) or halton; told points may come from anywhere.

Draws depend on (method, seed, number of the draw) alone; a row records its number ("draw").
]]
local core = require "segx.core"
local draw = require "segx.draw"
local errors = require "segx.errors"
local halving = require "segx.halving"
local losses = require "segx.losses"
local result = require "segx.result"
local sweep = require "segx.sweep"
errors.own()

local search = {}

local Search = {__name = "segx.Search"}
Search.__index = Search

local methods = {"random", "sobol", "halton", "coordinate", "halving"}
local passed_on = {"dump", "control", "precision", "threads", "mem", "device", "mode", "progress", "isa", "intervals",
  "level", "groups", "seed", "fit"}
local own_options = table.move(passed_on, 1, #passed_on, 1, {})
for _, name in ipairs {"space", "loss", "method", "n", "by", "descending", "rounds", "want", "factor", "images"} do
  own_options[#own_options + 1] = name
end

-- -- The space ------------------------------------------------------------------------------------

local function finite(v) return type(v) == "number" and v == v and math.abs(v) ~= math.huge end

-- {name = {lo, hi, log =}} -> list of {name, lo, hi, log}, by name.
local function read_space(space)
  if type(space) ~= "table" or next(space) == nil then
    errors.misuse("search: space is missing", "space = {gamma = {0, 5}, w = {1, 16, log = true}}")
  end
  local list = {}
  for name, range in pairs(space) do
    if type(name) ~= "string" or not name:match "^[%a_][%w_]*$" or name == "id" or name == "draw" then
      errors.misuse(("search: '%s' cannot be a parameter's name"):format(tostring(name)))
    end
    local lo, hi = type(range) == "table" and range[1], type(range) == "table" and range[2]
    if not (finite(lo) and finite(hi) and lo < hi) then
      errors.misuse(("search: %s has a range {lo, hi} with lo < hi"):format(name))
    end
    if range.log and lo <= 0 then
      errors.misuse(("search: %s: a range with log = true starts above 0"):format(name))
    end
    list[#list + 1] = {name = name, lo = lo, hi = hi, log = range.log}
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

-- Twelve digits, as on axes: what is printed is what was used, on every machine.
local function place(range, u)
  local v = range.log and range.lo * (range.hi / range.lo) ^ u or range.lo + (range.hi - range.lo) * u
  v = tonumber(("%.12g"):format(v)) + 0.0
  return math.min(math.max(v, range.lo), range.hi)
end

-- -- Construction ---------------------------------------------------------------------------------

local function one_of(what, v, allowed)
  for _, a in ipairs(allowed) do
    if v == a then return end
  end
  errors.unknown("search", what, v, allowed)
end

--- segx.search{dump, loss = function(p), space, method = "sobol", n = 32, seed = 0, by = first column
--- of want, descending, rounds = 3, factor = 3, images = 10, and the options of segx.sweep but out}.
function search.search(o)
  if type(o) ~= "table" then errors.misuse("search: expected a table of options") end
  errors.check_keys("search", "option", o, own_options)
  if type(o.loss) ~= "function" then
    errors.misuse("search: loss is a function of the parameters",
      "loss = function(p) return L.focal{gamma = p.gamma} end")
  end
  local self = setmetatable({o = o, space = read_space(o.space), method = o.method or "sobol",
    n = o.n or 32, seed = o.seed or 0, want = o.want or {o.by or "value"}, rows = {}, asked = 0,
    parameter = {}}, Search)
  for _, range in ipairs(self.space) do self.parameter[range.name] = true end
  one_of("method", self.method, methods)
  self.by = o.by or self.want[1]
  if math.type(self.n) ~= "integer" or self.n < 1 then errors.misuse("search: n is an integer >= 1") end
  if math.type(self.seed) ~= "integer" then errors.misuse("search: seed is an integer") end
  self.factor, self.images = o.factor or 3, o.images or 10
  if type(self.factor) ~= "number" or self.factor ~= self.factor or self.factor < 1.5 then
    errors.misuse("search: factor is a number, 1.5 or more")
  end
  if math.type(self.images) ~= "integer" or self.images < 1 then
    errors.misuse("search: images is an integer >= 1")
  end
  local generator = draw[self.method] and self.method or "sobol"
  self.draw = draw[generator](self.seed, #self.space)
  return self
end

local function point_at(self, i)
  local p, u = {}, self.draw(i)
  for k, range in ipairs(self.space) do p[range.name] = place(range, u[k]) end
  return p
end

-- The loss at a point: numbers, or sweep axes, by name.
local function loss_at(self, p)
  local loss = self.o.loss(p)
  if not losses.is(loss) then errors.misuse("search: the loss function returned no loss") end
  return loss
end

-- changed: options that take the place of the search's own.
local function run_sweep(self, loss, changed)
  local given = {loss = loss, want = self.want}
  for _, k in ipairs(passed_on) do given[k] = self.o[k] end
  for k, v in pairs(changed or {}) do given[k] = v end
  return sweep.sweep(given):run()
end

-- -- Rows -----------------------------------------------------------------------------------------

-- Result columns of a sweep over `points` (one row each) with the parameters and the draw in front.
local function add_rows(self, points, r)
  for i, p in ipairs(points) do
    local row = {point = p, cells = {}, bias = r.biases and r.biases[i]}
    for _, c in ipairs(r.columns) do
      if not self.parameter[c.name] then
        -- Intervals stay on demand: a row asks the sweep it came from.
        row.cells[c.name] = {column = c, index = i}
      end
    end
    self.rows[#self.rows + 1] = row
  end
  self.notes = r.notes
  if #r.columns > (self.template and #self.template or 0) then self.template = r.columns end
end

local function on_demand(rows, key, name)
  return setmetatable({}, {__index = function(_, i)
    local cell = rows[i] and rows[i].cells[name]
    local list = cell and cell.column[key]
    if not list then return 0 / 0 end
    return list[cell.index]
  end})
end

local function result_columns(self)
  local rows, columns = self.rows, {{name = "draw", values = {}, is_number_of_draw = true}}
  for _, range in ipairs(self.space) do columns[#columns + 1] = {name = range.name, values = {}} end
  for i, row in ipairs(rows) do
    columns[1].values[i] = row.point.id or i
    for k, range in ipairs(self.space) do columns[k + 1].values[i] = row.point[range.name] end
  end
  local n_axes = #columns
  for _, c in ipairs(self.template or {}) do
    if not self.parameter[c.name] then
      local column = {name = c.name, values = {}}
      for i, row in ipairs(rows) do
        local cell = row.cells[c.name]
        column.values[i] = cell and cell.column.values[cell.index] or 0 / 0
      end
      if c.lo then column.lo, column.hi = on_demand(rows, "lo", c.name), on_demand(rows, "hi", c.name) end
      if c.by_image then column.by_image, column.of_images = on_demand(rows, "by_image", c.name), c.of_images end
      if c.note then column.note = on_demand(rows, "note", c.name) end
      columns[#columns + 1] = column
    end
  end
  return columns, n_axes
end

--- All rows so far, as a Result: draw, the parameters, the columns.
function Search:result()
  local columns, n_axes = result_columns(self)
  local rows = self.rows
  local of_row = setmetatable({}, {__index = function(_, i)
    return loss_at(self, rows[i].point)
  end})
  local biases = setmetatable({}, {__index = function(_, i) return rows[i] and rows[i].bias end})
  local r = result.new {columns = columns, count = #rows, n_axes = n_axes, losses = of_row,
    positions = {}, biases = biases, notes = self.notes}
  r.search = {method = self.method, n = self.n, seed = self.seed, rungs = self.rungs}
  return r
end

-- -- Running --------------------------------------------------------------------------------------

-- All points in one sweep, as one axis: the Result, a row per point.
local function sweep_points(self, points, changed)
  local names, lists, p = {}, {}, {}
  for k, range in ipairs(self.space) do
    names[k], lists[k] = range.name, {}
    for i, point in ipairs(points) do lists[k][i] = point[range.name] end
  end
  for k, t in ipairs {core.zip(names, lists, true)} do p[names[k]] = t end
  local r = run_sweep(self, loss_at(self, p), changed)
  if #r == 1 and #points > 1 then      -- no column depends on a parameter
    errors.misuse("search: the loss depends on no parameter of the space")
  end
  return r
end

local function evaluate_points(self, points)
  add_rows(self, points, sweep_points(self, points))
end

local function is_better(self, v, than)
  if v ~= v then return false end
  local descending = self.o.descending
  if descending == nil then descending = result.higher_is_better(self.by) end
  if than == nil or than ~= than then return true end
  if descending then return v > than end
  return v < than
end

-- The better of `best` and the rows from `first` on.
local function improve(self, best, first)
  for i = first, #self.rows do
    local cell = self.rows[i].cells[self.by]
    if not cell then
      errors.unknown("search", "column for by", self.by, self.want)
    end
    local v = cell.column.values[cell.index]
    if is_better(self, v, best.value) then best = {value = v, point = self.rows[i].point} end
  end
  return best
end

-- n values of one parameter, the others as in `from`; spread evenly, ends included.
local function line(self, from, k)
  local points, range = {}, self.space[k]
  for i = 0, self.n - 1 do
    local p = {}
    for _, other in ipairs(self.space) do p[other.name] = from[other.name] end
    p[range.name] = place(range, self.n == 1 and 0.5 or i / (self.n - 1))
    p.id = #self.rows + i + 1
    points[i + 1] = p
  end
  return points
end

local function coordinate(self)
  local start = point_at(self, 0)
  start.id = 1
  evaluate_points(self, {start})
  local best = improve(self, {point = start}, 1)
  for _ = 1, self.o.rounds or 3 do
    local before = best.value
    for k = 1, #self.space do
      local first = #self.rows + 1
      evaluate_points(self, line(self, best.point, k))
      best = improve(self, best, first)
    end
    if not is_better(self, best.value, before) then break end
  end
end

local function halve(self, points)
  local r
  self.rungs = halving.run {dump = self.o.dump, points = points, factor = self.factor, first = self.images,
    seed = self.seed, groups = self.o.groups,
    evaluate = function(left, d, groups)
      local changed = {dump = d, groups = groups}
      if #d < #self.o.dump then changed.intervals = false end
      r = sweep_points(self, left, changed)
      return r:column(self.by)
    end,
    better = function(v, than) return is_better(self, v, than) end}
  add_rows(self, self.rungs[#self.rungs].points, r)
end

--- Draws and evaluates; returns a Result.
function Search:run()
  if self.method == "coordinate" then
    coordinate(self)
    return self:result()
  end
  local points = {}
  for i = 1, self.n do points[i] = self:ask() end
  if self.method == "halving" then
    halve(self, points)
  else
    evaluate_points(self, points)
  end
  return self:result()
end

-- -- Ask and tell ---------------------------------------------------------------------------------

--- The next point: {parameter = value, id = number of the draw}.
function Search:ask()
  self.asked = self.asked + 1
  local p = point_at(self, self.asked - 1)
  p.id = self.asked
  return p
end

local function check_point(self, p)
  if type(p) ~= "table" then errors.misuse("search: a point is a table {parameter = value}") end
  for _, range in ipairs(self.space) do
    if not finite(p[range.name]) then
      errors.misuse(("search: the point has no number for '%s'"):format(range.name))
    end
  end
end

--- Columns of one point (one sweep of one row): a Row, and a row of the result from now on. Its
--- value by s.by comes second: local row, value = s:evaluate(p).
function Search:evaluate(p)
  check_point(self, p)
  local r = run_sweep(self, loss_at(self, p))
  add_rows(self, {p}, r)
  return r:best(self.by), r:best(self.by)[self.by]
end

--- Records what somebody found at a point: value goes into the column s.by.
function Search:tell(p, value)
  check_point(self, p)
  if type(value) ~= "number" then errors.misuse("search: tell expects a number") end
  local column = {name = self.by, values = {value}}
  add_rows(self, {p}, {columns = {column}})
end

return search
