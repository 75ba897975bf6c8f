--[[
fits.lua: a table of fits: configurations of losses, a control loss and the network as it is, each fitted
on the pictures outside of a fold and scored on those inside. Columns of results are made of it.

    local t = fits.new(fitter, {L.focal{gamma = A.grid("gamma", {0, 1, 2})}}, L.ce{})
    t:run()
    local k = t:number(1, function(axis) return 3 end)      gamma = 2
    t:columns("miou", "fit.miou")                           how a column is made; t:list gives its values
]]
local core = require "segx.core"
local errors = require "segx.errors"
local files = require "segx.files"
local fitter = require "segx.fitter"
local json = require "segx.json"
local metrics = require "segx.metrics"
local pages = require "segx.pages"
local progress = require "segx.progress"
local rank = require "segx.rank"
local refusal = require "segx.refusal"
errors.own()

local fits = {}

local Fits = {__name = "segx.Fits"}
Fits.__index = Fits

-- -- Configurations -------------------------------------------------------------------------------

--- A loss with its sweep axes and all positions on them: {loss, axes, places, value (lazy tensor), reasons (why combinations
--- are refused)}.
function fits.source(dump, loss)
  local traced = loss:trace(dump, nil, true)
  local s = {loss = loss, axes = traced.value:sweep_axes(), value = traced.value, places = {{}}, reasons = {}}
  for _, a in ipairs(s.axes) do
    local wider = {}
    for _, p in ipairs(s.places) do
      for k = 1, a.count do
        local q = table.move(p, 1, #p, 1, {})
        q[#q + 1] = k
        wider[#wider + 1] = q
      end
    end
    s.places = wider
  end
  for k = 1, #traced.refused > 0 and #s.places or 0 do
    local at = fitter.at(s, k)
    s.reasons[k] = refusal.at(traced.refused, function(name) return at[name] end)[1]
  end
  return s
end

--- A table of fits; nothing is read or fitted before :run(). losses: a list, control: one or nil.
function fits.new(fitting, losses, control)
  local self = setmetatable({fitter = fitting, names = fitting.names, losses = {}}, Fits)
  for i, loss in ipairs(losses) do self.losses[i] = fits.source(fitting.dump, loss) end
  self.control = control and fits.source(fitting.dump, control)
  return self
end

--- Losses and control, in this order.
function Fits:sources()
  local list = table.move(self.losses, 1, #self.losses, 1, {})
  list[#list + 1] = self.control
  return list
end

--- How many fits that takes.
function Fits:amount()
  local n = 0
  for _, source in ipairs(self:sources()) do
    for k = 1, #source.places do n = n + (source.reasons[k] and 0 or 1) end
  end
  return n * self.fitter.folds
end

--- How many of them are in what a run folder keeps (fits.kept).
function Fits:count_found(kept)
  local n = 0
  for _, source in ipairs(kept and self:sources() or {}) do
    for k = 1, #source.places do
      for f = 1, source.reasons[k] and 0 or self.fitter.folds do
        n = n + (kept.fits[self.fitter:key(source, k, f)] and 1 or 0)
      end
    end
  end
  return n
end

--- Which combination a row has of a source. position(axis name) -> 1-based position.
function fits.number(source, position)
  local k = 0
  for _, a in ipairs(source.axes) do k = k * a.count + position(a.name) - 1 end
  return k + 1
end

-- -- Running --------------------------------------------------------------------------------------

local function fit_source(self, source, f, store, report)
  local open = {}
  for k = 1, #source.places do
    if not source.reasons[k] then open[#open + 1] = k end
  end
  for i, fitted in ipairs(self.fitter:fit(source, open, f, store, report)) do
    local k = open[i]
    source.fitted[k] = source.fitted[k] or {}
    source.fitted[k][f] = fitted
  end
end

-- Fits of losses that are no number where they start say so, and have no place among the scores.
local function refuse_lost(source)
  for k, by_fold in pairs(source.fitted) do
    for f, fitted in ipairs(by_fold) do
      if fitted.state == "not finite" then
        source.reasons[k] = source.reasons[k]
          or ("fit: the loss is not finite on the pictures outside of fold %d"):format(f)
      end
    end
  end
end

-- Gives the combinations of a source that have a fit their places among the scores.
local function take_places(source, theta)
  source.place = {}
  for k = 1, #source.places do
    if not source.reasons[k] then
      for f, list in ipairs(theta) do list[#list + 1] = fitter.theta(source.fitted[k][f]) end
      source.place[k] = #theta[1]
    end
  end
end

--- Fits all that is not in the store yet, and scores every picture.
function Fits:run(store)
  local report, total, done = progress.new(), self:amount(), 0
  local finish <close> = setmetatable({}, {__close = report and report.finish or function() end})
  local function ended(n)
    done = done + n
    if report then report.rows(done, total, "fits") end
  end
  for _, source in ipairs(self:sources()) do source.fitted = {} end
  for f = 1, self.fitter.folds do
    for _, source in ipairs(self:sources()) do fit_source(self, source, f, store, ended) end
  end
  for _, source in ipairs(self:sources()) do refuse_lost(source) end
  local theta = {}
  for f = 1, self.fitter.folds do theta[f] = {} end
  for _, source in ipairs(self.losses) do take_places(source, theta) end
  self.ranked = #theta[1]
  if self.control then take_places(self.control, theta) end
  for _, list in ipairs(theta) do list[#list + 1] = self.fitter:unfitted() end
  self.unfitted = #theta[1]
  self.scores = self.fitter:score(theta)
end

-- -- Columns --------------------------------------------------------------------------------------

local of_all = {miou = "iou", mdice = "dice", dice = "dice", accuracy = "accuracy"}

--- Names of the columns, without their prefix fit.
fits.column_names = {"miou", "dice", "accuracy", "gain", "rank", "iou.CLASS", "dice.CLASS", "precision.CLASS",
  "recall.CLASS", "gain.CLASS", "ious", "gains"}

--- How the columns behind a name (without its prefix) are made: list of {name, metric, class, minus =
--- "control" | "unfitted", rank}, or nil. names: of the classes; another one raises.
function fits.columns(rest, column, with_control, names)
  local made
  if rest == "ious" or rest == "gains" then      -- of every class
    local list = {}
    for _, name in ipairs(names) do
      local one = rest:sub(1, -2) .. "." .. name
      local own = fits.columns(one, "fit." .. one, with_control, names)
      table.move(own, 1, #own, #list + 1, list)
    end
    return list
  end
  local prefix, of = rest:match "^(%w+)%.(.+)$"
  local function class() return errors.position(("want '%s'"):format(column), "class", of, names) end
  if rest == "rank" then
    return {{name = column, metric = "iou", rank = true}}
  elseif rest == "gain" then
    return {{name = column, metric = "iou", minus = "unfitted"}}
  elseif prefix == "gain" then
    return {{name = column, metric = "iou", class = class(), minus = "unfitted"}}
  elseif of_all[rest] then
    made = {name = column, metric = of_all[rest]}
  else
    for _, m in ipairs(metrics.by_class) do
      if m == prefix then made = {name = column, metric = m, class = class()} end
    end
  end
  if not made then return nil end
  local list = {made}
  if with_control then
    list[2] = {name = column .. "-control", metric = made.metric, class = made.class, minus = "control"}
  end
  return list
end

-- Where the row stands that a column is compared with, or nil.
local function place_of(source, k) return source and source.place and source.place[k] end

-- Places by value, the largest first; equal ones share the middle of theirs. Not a number: last.
local function ranks_of(values, n)
  local order, ranks = {}, {}
  for k = 1, n do order[k] = k end
  local function key(k) return values[k] == values[k] and values[k] or -math.huge end
  table.sort(order, function(a, b) return key(a) > key(b) end)
  local first = 1
  while first <= n do
    local last = first
    while last < n and key(order[last + 1]) == key(order[first]) do last = last + 1 end
    for i = first, last do ranks[order[i]] = (first + last) / 2 end
    first = last + 1
  end
  return ranks
end

--- A column: values, lo, hi, note, lists by row that compute what is read. c: one of fits.columns. rows:
--- {count, source(row), number(row): which loss and combination it is, control(row): that of the
--- control}; options of intervals as from rank.options, or nil for none.
function Fits:list(c, rows, options)
  local values = self.scores:values(c.metric, c.class)
  local ranks = c.rank and ranks_of(values, self.ranked)
  local function own(r) return place_of(self.losses[rows.source(r)], rows.number(r)) end
  local function other(r)
    if c.minus == "unfitted" then return self.unfitted end
    return c.minus and place_of(self.control, rows.control(r))
  end
  local function value(r)
    local k, minus = own(r), other(r)
    if not k or c.minus and not minus then return 0 / 0 end
    if ranks then return ranks[k] end
    return values[k] - (minus and values[minus] or 0.0)
  end
  local column = {name = c.name, values = pages.list(rows.count, value)}
  if not options then return column end
  local lowest, highest
  column.lo, column.hi, column.note = rank.ends {count = rows.count, values = column.values,
    noted = c.minus ~= nil, interval = function(r)
      if ranks then
        if not lowest then
          lowest, highest = self.scores:ranks(self.fitter:interval(options, {metric = c.metric, first = self.ranked}))
        end
        return lowest[own(r)], highest[own(r)]
      end
      local _, lo, hi = self.scores:interval(self.fitter:interval(options,
        {metric = c.metric, class = c.class, k = own(r), minus = other(r)}))
      return lo, hi
    end}
  return column
end

--- Why a row has no fit, or nil.
function Fits:reason(source, k) return self.losses[source].reasons[k] end

-- -- What a fit cannot say ------------------------------------------------------------------------

local function fits_that_failed(self, list)
  local names, count = {}, 0
  for _, source in ipairs(self:sources()) do
    for k, by_fold in pairs(source.fitted) do
      local state
      for _, fitted in ipairs(by_fold) do
        if fitted.state ~= "converged" and not source.reasons[k] then state = fitted.state end
      end
      if state then
        count = count + 1
        names[#names + 1] = ("%s (%s)"):format(tostring(source.loss:at(fitter.at(source, k))), state)
      end
    end
  end
  if count == 0 then return end
  table.sort(names)
  list[#list + 1] = ("%d fit%s did not converge, their columns are not what the loss wants: %s%s"):format(count,
    count == 1 and "" or "s", table.concat(names, "; ", 1, math.min(3, count)), count > 3 and "; ..." or "")
end

local function classes_without_pixels(self, counts, list)
  local fold = self.fitter.fold
  for f = 1, self.fitter.folds do
    local without = {}
    for c, name in ipairs(self.names) do
      local n = 0
      for i, image in ipairs(counts) do
        if fold[i] ~= f then n = n + image[3][c] end
      end
      if n == 0 then without[#without + 1] = name end
    end
    if #without > 0 then
      list[#list + 1] = ("no picture outside of fold %d has a pixel of %s: these biases are not fitted there"):format(f,
        table.concat(without, ", "))
    end
  end
end

-- Accuracy of the network as it is in the parts that a data set /split of the dump names: pictures that it was trained on
-- say nothing about others.
local function parts_of_the_dump(self, counts, list)
  local split = self.fitter.dump:per_image "split"
  if not split then return end
  local right, all, values = {}, {}, {}
  for i, image in ipairs(counts) do
    local s = split[self.fitter.images[i]]
    if not all[s] then right[s], all[s], values[#values + 1] = 0, 0, s end
    for c = 1, #self.names do right[s], all[s] = right[s] + image[1][c], all[s] + image[3][c] end
  end
  if #values < 2 then return end
  table.sort(values, function(a, b) return tostring(a) < tostring(b) end)
  for i, s in ipairs(values) do values[i] = ("%s %.3f"):format(math.tointeger(s) or s, right[s] / all[s]) end
  list[#list + 1] = ("the dump has several parts (/split; accuracy %s): pictures that the network was trained on "):format(
    table.concat(values, ", ")) .. "make fits that say nothing about new ones; part = {split = ...} chooses"
end

--- What is to be said of these fits: list of texts.
function Fits:remarks()
  local list, counts = {}, self.scores:counts(self.unfitted)
  if self.fitter.units < 10 then
    list[1] = ("only %d %s: intervals over so few are too narrow, and differences mostly chance"):format(
      self.fitter.units, self.fitter.groups and "groups of pictures" or "pictures")
  end
  fits_that_failed(self, list)
  classes_without_pixels(self, counts, list)
  parts_of_the_dump(self, counts, list)
  return list
end

-- -- Kept in a run folder ---------------------------------------------------------------------------

local FILE = "fits.json"

--- What a run folder keeps of fits: {fits = {key = fit}, remarks = list}, or nil.
function fits.kept(path)
  local text = files.read(path .. "/" .. FILE)
  local kept = text and json.decode(text)
  return type(kept) == "table" and type(kept.fits) == "table" and kept or nil
end

--- A store for Fits:run in a run folder (core.folder at this path): {get, put, flush, found, made,
--- remark(list)}. fresh: what is there is forgotten.
function fits.store(folder, path, fresh)
  local kept = not fresh and fits.kept(path) or {fits = {}}
  local store, changed = {found = 0, made = 0}, false
  function store.get(key)
    local v = kept.fits[key]
    if v then store.found = store.found + 1 end
    return v
  end
  function store.put(key, fitted)
    kept.fits[key], changed, store.made = fitted, true, store.made + 1
  end
  function store.flush()
    if changed then folder:put(FILE, json.encode(kept, true) .. "\n") end
    changed = false
  end
  function store.remark(list)
    kept.remarks, changed = json.list(list), true
    store.flush()
  end
  return store
end

return fits
