--[[
fit.lua: which loss would make my network better? Offline fits: the best forecast of training that we
measured (docs/fits.md), from logits and labels alone.

    local r = segx.fit{dump = d, control = L.ce{}, loss = {L.dice{}, L.focal{gamma = 2}}}
    print(r:top(10, "fit.miou"))           which is best, with intervals over the pictures
    print(r:best("fit.miou"):bias())       have it now: temperature and biases, as PyTorch too

Under each loss a temperature t and one bias b per class are fitted, logits' = t * logits + b, on the
pictures outside of each fold; every picture is then scored by the fit that did not see it. What is
minimised is the loss over the sample of pixels, plus l2 / 2 * |loss at the start| * ((log t)^2 + sum b^2).

Columns, here and in the want of sweeps and searches
    fit.miou, fit.dice, fit.accuracy    metrics of the dump, all pictures together
    fit.iou.pole, fit.dice.pole, fit.precision.pole, fit.recall.pole
                    each has an interval over the pictures and, where there is a control, a column
                    fit.miou-control: the paired difference, "not separable" where its interval holds 0
    fit.gain        mean IoU less that of the network as it is; fit.gain.pole of one class
    fit.ious, fit.gains             fit.iou and fit.gain of every class
    fit.rank        place by mean IoU among the rows, 1 is best, with an interval
]]
local core = require "segx.core"
local errors = require "segx.errors"
local fits = require "segx.fits"
local fitter = require "segx.fitter"
local format = require "segx.format"
local losses = require "segx.losses"
local program = require "segx.program"
local rank = require "segx.rank"
local result = require "segx.result"
local tensor = require "segx.tensor"
errors.own()

local fit = {}

-- -- In a sweep -----------------------------------------------------------------------------------

--- Options of fits, in a sweep those of its table `fit`: folds (2), pixels (of each sample: 1e6, fewer where that were more than 256 MiB), seed,
--- groups (name of a data set with one value per picture, or list: pictures that stay in one fold;
--- default /group where there is one), part ({split = 1}: only the pictures with this value),
--- l2 (1e-4), iterations (200 per stage).
fit.options = {"folds", "pixels", "seed", "groups", "part", "l2", "iterations"}

--- The table of fits for these losses (nothing is read or fitted yet). given: fit.options; o: seed, groups, precision,
--- threads, mem of the sweep, which hold where `given` is silent.
function fit.table(dump, list, control, given, o)
  if type(given) ~= "table" then errors.misuse("sweep: fit is a table of options", "fit = {folds = 2}") end
  errors.check_keys("fit", "option", given, fit.options)
  local own = {}
  for _, name in ipairs {"seed", "groups", "precision", "threads", "mem"} do own[name] = o[name] end
  for k, v in pairs(given) do own[k] = v end
  return fits.new(fitter.new(dump, own), list, control)
end

--- Runs a table of fits, with what a run folder keeps of it: opts.folder, at `path`. Sets remarks, and found
--- and made (numbers of fits) where there is a folder.
function fit.run(self, opts, path)
  local store = opts.folder and fits.store(opts.folder, path, program.options().fresh)
  self:run(store)
  self.notes = self:remarks()
  if store then
    store.remark(self.notes)
    self.found, self.made = store.found, store.made
  end
end

--- Names of all columns of fits.
function fit.known()
  local known = {}
  for i, name in ipairs(fits.column_names) do known[i] = "fit." .. name end
  return known
end

-- A fit takes about as long as this many evaluations of its loss on the same pixels (measured: 50 to 140).
local EVALUATIONS = 100

--- What the fits of a table would take: {fits, found (in the run folder at `path`), folds, pictures, pixels (at most, of a
--- sample), seconds (about)}.
function fit.plan(self, path, opts)
  local fitting, seconds, left = self.fitter, 0.0, self:amount()
  local p = {fits = left, folds = fitting.folds, pictures = #fitting.images, pixels = fitting.pixels,
    found = path and self:count_found(fits.kept(path)) or 0}
  for _, source in ipairs(self:sources()) do
    seconds = seconds + core.sample(fitting.dump, {source.value}, opts)
  end
  local info = fitting.dump:info()
  local share = math.min(p.pictures / info.n, fitting.pixels / (info.n * info.max_px))
  p.seconds = left > 0 and seconds * EVALUATIONS * share * (left - p.found) / left or 0.0
  return p
end

--- Its text.
function fit.plan_text(p)
  local found = p.found > 0 and (", %s found"):format(format.count(p.found)) or ""
  return ("%s fits%s: %d folds over %d pictures, %s"):format(format.count(p.fits), found, p.folds, p.pictures,
    format.about(p.seconds))
end

-- -- A list of losses -----------------------------------------------------------------------------

local Fit = {__name = "segx.Fit"}
Fit.__index = Fit

local default_want = {"fit.miou", "fit.gain", "fit.rank"}
local own_options = {"dump", "loss", "control", "want", "precision", "threads", "mem", "intervals", "level", "out"}

-- Rows of a list of losses: {source, combination} by row.
local function rows_of(self)
  local rows = {}
  for i, source in ipairs(self.table.losses) do
    for k = 1, #source.places do rows[#rows + 1] = {i, k} end
  end
  return rows
end

local function add_columns(self, column)
  local rest = type(column) == "string" and column:match "^fit%.(.+)$"
  local made = rest and fits.columns(rest, column, self.control ~= nil, self.names)
  if not made then errors.unknown("fit", "column", tostring(column), fit.known()) end
  table.move(made, 1, #made, #self.columns + 1, self.columns)
end

-- Names of the rows: what the user called the loss, or its text with short numbers.
local function texts_of(self)
  local texts = {}
  for r, row in ipairs(self.rows) do
    local source = self.table.losses[row[1]]
    local loss = source.reasons[row[2]] and source.loss or source.loss:at(fitter.at(source, row[2]))
    texts[r] = #source.axes == 0 and loss:label() or tostring(loss):gsub("%d+%.%d%d%d%d+", function(v)
      return ("%.4g"):format(v)
    end)
  end
  return texts
end

local function new_fit(o, given)
  local self = setmetatable({dump = o.dump, control = o.control, names = o.dump:info().class_names, out = o.out,
    opts = {precision = o.precision, threads = o.threads, mem = o.mem}, columns = {},
    intervals = rank.options({intervals = o.intervals, level = o.level, seed = o.seed}, 0)}, Fit)
  self.table = fit.table(o.dump, o.loss, o.control, given, self.opts)
  if o.control and #self.table.control.axes > 0 then
    errors.misuse("fit: the control is one loss, without axes, where several losses are fitted")
  end
  for _, column in ipairs(o.want or default_want) do add_columns(self, column) end
  self.rows = rows_of(self)
  self.texts = texts_of(self)
  self.axes = {{name = "name", count = #self.rows, labels = self.texts, params = {{name = "name"}}}}
  self.loss = table.concat(self.texts, "; ")
  return self
end

--- Number of rows.
function Fit:count() return #self.rows end

--- How a row's bias is made: list by row of functions.
function fit.biases(table_of_fits, rows, options)
  local function new(r)
    local control = table_of_fits.control and rows.control(r)
    return require("segx.bias").new(table_of_fits, rows.source(r), rows.number(r), control, options)
  end
  return require("segx.pages").list(rows.count, function(r) return function() return new(r) end end)
end

local function evaluate(self, opts)
  fit.run(self.table, opts, self.out)
  local rows = {count = #self.rows, source = function(r) return self.rows[r][1] end,
    number = function(r) return self.rows[r][2] end, control = function() return 1 end}
  local columns, taken, reasons = {{name = "name", values = self.texts}}, {}, {}
  for _, c in ipairs(self.columns) do columns[#columns + 1] = self.table:list(c, rows, self.intervals) end
  for r, row in ipairs(self.rows) do
    local source = self.table.losses[row[1]]
    reasons[r] = source.reasons[row[2]]
    taken[r] = not reasons[r] and source.loss:at(fitter.at(source, row[2])) or source.loss
  end
  return result.new {columns = columns, count = #self.rows, n_axes = 1, positions = {}, losses = taken,
    reasons = reasons, notes = self.table.notes, biases = fit.biases(self.table, rows, self.intervals),
    stats = {fits_found = self.table.found, fits_made = self.table.made}}
end

--- Text of what it would take.
function Fit:plan()
  return fit.plan_text(fit.plan(self.table, self.out, self.opts))
end

--- Fits and scores; returns a Result.
function Fit:run()
  local sweep = require "segx.sweep"
  if sweep.instead_of_running then sweep.instead_of_running(self) end
  local function run(opts) return evaluate(self, opts) end
  if self.out then return require("segx.run").run(self, self.out, run) end
  local r = run(self.opts)
  require("segx.run").note_failed(r)
  return r
end

-- -- segx.fit -------------------------------------------------------------------------------------

--- segx.fit{dump, loss, control, ...}: offline fits as a Result. loss: a loss, with sweep axes or
--- without, or a list of losses (rows then have a column `name`). control: what each is compared with.
--- want: columns as above (default fit.miou, fit.gain, fit.rank). Further options: fit.options;
--- intervals (1000 resamples of the pictures, or false), level (0.95), out (a run folder), precision,
--- threads, mem. r.notes: list of what these fits cannot say.
function fit.fit(o)
  if type(o) ~= "table" then errors.misuse("fit: expected {dump = d, loss = loss}") end
  local known, own, given = table.move(own_options, 1, #own_options, 1, {}), {}, {}
  table.move(fit.options, 1, #fit.options, #known + 1, known)
  errors.check_keys("fit", "option", o, known)
  for _, name in ipairs(own_options) do own[name] = o[name] end
  for _, name in ipairs(fit.options) do given[name] = o[name] end
  if not tensor.is_dump(o.dump) then errors.misuse("fit: dump is missing", "dump = segx.open(path)") end
  if o.control and not losses.is(o.control) then errors.misuse("fit: control is not a loss") end
  if losses.is(o.loss) then
    own.fit, own.seed, own.want = given, o.seed, o.want or default_want
    return require("segx.sweep").sweep(own):run()
  end
  local list = type(o.loss) == "table" and o.loss or {}
  for i, loss in ipairs(list) do
    if not losses.is(loss) then errors.misuse(("fit: item %d of the list is not a loss"):format(i)) end
  end
  if #list == 0 then errors.misuse("fit: loss is a loss or a list of losses") end
  own.seed = o.seed
  return new_fit(own, given):run()
end

return fit
