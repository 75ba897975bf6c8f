--[[
fitter.lua: fits of a temperature and one bias per class under losses, on folds of the pictures.

A fitter knows a dump, its folds and its samples. It fits any number of losses on the pictures outside
of each fold, and scores every picture with what was fitted without it. The arithmetic is in core/fit:
logits' = t * logits + b, minimising loss + l2 / 2 * |loss at the start| * ((log t)^2 + sum of b^2).
]]
local core = require "segx.core"
local errors = require "segx.errors"
local program = require "segx.program"
local stat = require "segx.stat"
errors.own()

local fitter = {}

local Fitter = {__name = "segx.Fitter"}
Fitter.__index = Fitter

local function integer(o, name, default, least)
  local v = o[name]
  if v == nil then return default end
  if math.type(math.tointeger(v)) ~= "integer" or v < least then
    errors.misuse(("fit: %s is an integer, at least %d"):format(name, least))
  end
  return math.tointeger(v)
end

-- -- Pictures and folds ---------------------------------------------------------------------------

-- Values of a further data set with one value per picture, by its name.
local function per_image(d, name, hint)
  local list = d:per_image(name)
  if not list then
    errors.raise("data", ("%s: no data set /%s with one value per picture"):format(d:info().path, name),
      hint)
  end
  return list
end

-- Numbers of the pictures that `part` chooses: {split = 1, ...}: those whose data set has that value.
local function images_of(d, part)
  local list = {}
  for i = 1, #d do list[i] = i end
  if part == nil then return list end
  if type(part) ~= "table" then
    errors.misuse("fit: part chooses pictures by a data set of the dump", "part = {split = 1}")
  end
  local names = {}
  for name in pairs(part) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local values, kept = per_image(d, name, "part = {split = 1}: the pictures whose /split is 1"), {}
    for _, i in ipairs(list) do
      if values[i] == part[name] then kept[#kept + 1] = i end
    end
    list = kept
    if #list == 0 then
      errors.raise("data", ("%s: no picture with %s = %s"):format(d:info().path, name, tostring(part[name])))
    end
  end
  return list
end

-- A number per chosen picture: which of them belong together (a patient, a street); nil: each is alone.
local function groups_of(d, images, groups)
  if groups == nil then
    groups = d:per_image "group"
    if not groups then return nil end
  elseif type(groups) == "string" then
    groups = per_image(d, groups, ("groups may also be given as a list of %d values"):format(#d))
  elseif type(groups) ~= "table" or #groups ~= #d then
    errors.misuse(("fit: groups is the name of a data set or a list of %d names, one per picture"):format(#d))
  end
  local own = {}
  for k, i in ipairs(images) do own[k] = groups[i] end
  return stat.numbered(own)
end

-- Fold of each chosen picture: groups in an order drawn from the seed, each to the fold with the fewest pictures so far.
local function deal(n, groups, folds, seed)
  local units, of = {}, {}
  for k = 1, n do
    local g = groups and groups[k] or k
    if not of[g] then
      of[g] = {at = core.stats.uniform(seed, 0, g), g = g}
      units[#units + 1] = of[g]
    end
    table.insert(of[g], k)
  end
  if #units < folds then
    errors.misuse(("fit: %d folds of %d %s"):format(folds, #units, groups and "groups" or "pictures"),
      "fewer folds, or more pictures")
  end
  table.sort(units, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.g < b.g
  end)
  local fold, count = {}, {}
  for f = 1, folds do count[f] = 0 end
  for _, unit in ipairs(units) do
    local f = 1
    for k = 2, folds do
      if count[k] < count[f] then f = k end
    end
    count[f] = count[f] + #unit
    for _, k in ipairs(unit) do fold[k] = f end
  end
  return fold, #units
end

-- What a sample takes at most where nobody says how many pixels, in bytes of single precision.
local SAMPLE_BYTES = 1 << 28

--- A fitter for a dump. o: folds (2), pixels (of each sample: 1e6, fewer where that were more than 256 MiB), seed (0), groups (name of a data set,
--- or list: pictures that stay in one fold; default /group where there is one), part ({split = 1}:
--- pictures with this value), l2 (1e-4), iterations (200), precision, threads, mem.
function fitter.new(d, o)
  local self = setmetatable({dump = d, names = d:info().class_names}, Fitter)
  self.folds = integer(o, "folds", 2, 2)
  self.pixels = integer(o, "pixels", math.min(1000000, SAMPLE_BYTES // (4 * #self.names)), 1)
  self.seed = integer(o, "seed", 0, 0)
  self.iterations = integer(o, "iterations", 200, 1)
  self.l2 = o.l2 or 1e-4
  if type(self.l2) ~= "number" or not (self.l2 >= 0 and self.l2 < math.huge) then
    errors.misuse("fit: l2 is a number, at least 0")
  end
  self.run = {precision = o.precision or program.options().precision or "single", threads = o.threads, mem = o.mem}
  self.images = images_of(d, o.part)
  self.groups = groups_of(d, self.images, o.groups)
  self.fold, self.units = deal(#self.images, self.groups, self.folds, self.seed)
  return self
end

-- -- Samples --------------------------------------------------------------------------------------

-- Each sample has a quarter of the pixels of the next: most steps are taken where they are cheap. (Measured, against a sixteenth
-- and all: 1.4 times as fast.)
local COARSER, COARSEST, STAGES = 4, 10000, 4

--- Samples of the pictures outside of fold f, or (0) of all: a list of dumps in memory, coarse ones first. Those of one fold
--- are kept at a time.
function Fitter:samples_of(f)
  if self.sampled == f then return self.samples end
  self.samples, self.sampled = nil, nil
  local images, left = {}, 0
  for k, i in ipairs(self.images) do
    if self.fold[k] ~= f then images[#images + 1] = i end
  end
  local own = {pixels = self.pixels, seed = self.seed, images = images}
  for k, v in pairs(self.run) do own[k] = v end
  local sample, taken = core.pixels(self.dump, own)
  for _, n in ipairs(taken) do left = left + n end
  local list = {sample}
  own.images, own.pixels = nil, left // COARSER
  while #list < STAGES and own.pixels >= COARSEST do
    table.insert(list, 1, (core.pixels(list[1], own)))
    own.pixels = own.pixels // COARSER
  end
  self.samples, self.sampled = list, f
  return list
end

-- -- Configurations -------------------------------------------------------------------------------

-- Largest derivative relative to the loss, at the end of the last stage, and before.
local tolerance = {single = 1e-6, double = 1e-9}
-- With a kink wherever two pixels change places the slope cannot be made as small. (Measured: the same mIoU to 1e-4 in half the time.)
local SORTED = 1e-5
local function tolerance_of(stage, stages, precision, sorted)
  if sorted then return stage == stages and SORTED or 10 * SORTED end
  if stage == stages then return tolerance[precision] end
  return math.min(10.0 ^ (-7 + stages - stage), 1e-4)
end

-- The loss on the samples of the pictures outside of fold f.
local function stages_of(self, loss, f)
  local stages = {}
  local samples = self:samples_of(f)
  for s, sample in ipairs(samples) do
    local ok, traced = pcall(loss.trace, loss, sample, nil, true)
    if not ok then
      if type(traced) == "string" and traced:find "different dumps" then
        errors.misuse("fit: the loss holds a tensor of the dump (a mask?), which a sample has not",
          "write it as a function: loss:where(function(x) return x.labels:ne(3) end)")
      end
      error(traced, 0)
    end
    stages[s] = {value = traced.value, dump = sample, tolerance = tolerance_of(s, #samples, self.run.precision, traced.sorted)}
  end
  return stages
end

-- -- Kept in a run folder ---------------------------------------------------------------------------

-- What all fits of this fitter depend on, as one text behind that of a fit.
local function identity_of(self)
  local parts = {self.folds, self.pixels, self.seed, self.l2, self.iterations, self.run.precision, table.concat(self.images, ","),
    self.groups and table.concat(self.groups, ",") or "-"}
  for i, v in ipairs(parts) do parts[i] = tostring(v) end
  return table.concat(parts, "|")
end

--- Positions of combination k of a source: {axis name = 1-based position}. source: {loss, axes (its sweep axes), places (list of
--- positions on them)}.
function fitter.at(source, k)
  local at = {}
  for i, a in ipairs(source.axes) do at[a.name] = source.places[k][i] end
  return at
end

--- Under what the fit of a combination of a source for fold f is kept: everything that it depends on.
function Fitter:key(source, k, f)
  self.identity = self.identity or identity_of(self)
  return core.hash(table.concat({"1", core.text(source.loss:at(fitter.at(source, k)):tensor(self.dump)),
    tostring(self.dump:info().fingerprint), tostring(f), self.identity}, "|"))
end

-- So many at a time: what a stop loses at most.
local TOGETHER = 32

--- Fits combinations of a source (their numbers, in a list) on the pictures outside of fold f (0: on all). Returns a list in the
--- order of the numbers of what core.fit gives. store: nil, or {get(key), put(key, fit), flush()}; report(fits) is told of each
--- fit that has ended.
function Fitter:fit(source, numbers, f, store, report)
  local list, missing, keys = {}, {}, {}
  for i, k in ipairs(numbers) do
    keys[i] = store and self:key(source, k, f)
    list[i] = store and store.get(keys[i])
    if not list[i] then missing[#missing + 1] = i end
  end
  report(#numbers - #missing)
  local stages = #missing > 0 and stages_of(self, source.loss, f)
  for first = 1, #missing, TOGETHER do
    local some = table.move(missing, first, math.min(first + TOGETHER - 1, #missing), 1, {})
    local left = #some
    local own = {places = {}, l2 = self.l2, most = self.iterations, progress = function(stage, _, running)
      if stage == #stages and running < left then
        report(left - running)
        left = running
      end
    end}
    for k, v in pairs(self.run) do own[k] = v end
    for j, i in ipairs(some) do own.places[j] = source.places[numbers[i]] end
    local fitted = core.fit(stages, own)
    report(left)
    for j, i in ipairs(some) do
      list[i] = fitted[j]
      if store then store.put(keys[i], fitted[j]) end
    end
    if store then store.flush() end
  end
  return list
end

--- What core.score wants of a fit: {t, b1, b2 ...}.
function fitter.theta(fitted)
  local theta = {math.exp(fitted.log_t)}
  table.move(fitted.b, 1, #fitted.b, 2, theta)
  return theta
end

--- The parameters of the network as it is.
function Fitter:unfitted()
  local theta = {1.0}
  for c = 1, #self.names do theta[c + 1] = 0.0 end
  return theta
end

--- Scores of parameters: theta[fold][configuration], on the pictures of the fold. Configuration by configuration
--- core.Scores knows metrics, intervals and ranks.
function Fitter:score(theta)
  local C, bytes = #self.names, 0
  bytes = #theta[1] * #self.images * 3 * C * 4
  if bytes > 2 ^ 31 then
    errors.misuse(("fit: the counts of %d configurations on %d pictures are too large"):format(#theta[1],
      #self.images), "fewer configurations at a time")
  end
  return core.score(self.dump, {images = self.images, folds = self.fold, theta = theta,
    precision = self.run.precision, threads = self.run.threads, mem = self.run.mem})
end

--- What core.Scores wants for an interval over the pictures. options: of rank.options; what: metric, class, k, minus.
function Fitter:interval(options, what)
  local own = {groups = self.groups, resamples = options.resamples, seed = options.seed, level = options.level}
  for k, v in pairs(what) do own[k] = v end
  return own
end

return fitter
