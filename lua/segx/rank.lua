--[[
rank.lua: rank correlation of per-image losses with a per-image metric, and intervals, for the columns of
a sweep.
The correlation is computed for every configuration, its interval when a row is looked at: a top ten
of a million rows costs ten bootstraps.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local pages = require "segx.pages"
local stat = require "segx.stat"
errors.own()

local rank = {}

local function in_range(v, lo, hi) return type(v) == "number" and v > lo and v < hi end

--- Options of intervals from those of a sweep: {resamples, level, groups, seed}, or nil for none.
function rank.options(o, images)
  if o.intervals == false then return nil end
  local resamples, level, seed = o.intervals or 1000, o.level or 0.95, o.seed or 0
  if math.type(resamples) ~= "integer" or resamples < 1 then
    errors.misuse("sweep: intervals is a number of resamples, or false")
  end
  if not in_range(level, 0, 1) then errors.misuse("sweep: level is between 0 and 1, e.g. 0.95") end
  if math.type(seed) ~= "integer" then errors.misuse("sweep: seed is an integer") end
  if o.groups ~= nil and (type(o.groups) ~= "table" or #o.groups ~= images) then
    errors.misuse(("sweep: groups is a list of %d names, one per image"):format(images))
  end
  return {resamples = resamples, level = level, seed = seed, groups = o.groups}
end

-- {values of the distinct configurations, which of them each row has} -> list by row.
local function by_row(kind, metric, losses, places)
  local distinct, list = core.stats.ranks(kind, losses, metric), {}
  for r, place in ipairs(places) do list[r] = distinct[place] end
  return list
end

--- Correlations in the rows of a page. o: kind = "kendall" | "spearman", metric (list by image),
--- losses (dense {configurations, image}) and places (which configuration a row has); for a difference
--- minus and minus_places, the same of the control.
function rank.page(o)
  local list = by_row(o.kind, o.metric, o.losses, o.places)
  if not o.minus then return list end
  local minus = by_row(o.kind, o.metric, o.minus, o.minus_places)
  for r, v in ipairs(minus) do list[r] = list[r] - v end
  return list
end

--- Ends of intervals and notes, lists by row that compute what is read, and remember the last ones.
--- o: count (rows), values (where one is NaN, there is no interval), interval(row) -> lo, hi; noted: with
--- notes, which say where a difference is not separable from 0.
function rank.ends(o)
  local known, count = {}, 0
  local function ends(r)
    if not known[r] then
      local v = o.values[r]
      if v ~= v then return {v, v} end
      if count == 4096 then known, count = {}, 0 end
      count = count + 1
      known[r] = {o.interval(r)}
    end
    return known[r]
  end
  local lo = pages.list(o.count, function(r) return ends(r)[1] end)
  local hi = pages.list(o.count, function(r) return ends(r)[2] end)
  local note = o.noted and pages.list(o.count, function(r)
    local least, most = table.unpack(ends(r))
    return least == least and stat.not_separable(least, most) and "not separable" or ""
  end)
  return lo, hi, note
end

--- The same of correlations. o: kind, metric, options, count, values, losses(row) -> list by image; for a
--- paired difference minus(row), the same of the control; without it there is no note.
function rank.intervals(o)
  local function minus_of(losses)
    for i, v in ipairs(losses) do losses[i] = -v end
    return losses
  end
  return rank.ends {count = o.count, values = o.values, noted = o.minus ~= nil, interval = function(r)
    local _, lo, hi = stat.interval {kind = o.kind, x = minus_of(o.losses(r)), y = o.metric,
      minus = o.minus and minus_of(o.minus(r)), groups = o.options.groups,
      resamples = o.options.resamples, seed = o.options.seed, level = o.options.level}
    return lo, hi
  end}
end

return rank
