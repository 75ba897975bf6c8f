--[[
rank.lua: rank correlation of per-image losses with a per-image metric, for the columns of a sweep.
The correlation is computed for every configuration, its interval when a row is looked at: a top ten
of a million rows costs ten bootstraps.
]]
local errors = require "segx.errors"
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

-- A list whose entries are computed when they are read, once.
local function on_demand(compute)
  return setmetatable({}, {__index = function(list, r)
    local v = compute(r)
    list[r] = v
    return v
  end})
end

local function minus_losses(flat, first, images)
  local list = {}
  for i = 1, images do list[i] = -flat[first + i - 1] end
  return list
end

--- Values, ends of intervals and notes by row. o: kind, flat and at (losses: row r has those of its
--- images from flat[at[r]] on), images, metric (list by image), options, and for a paired difference
--- minus, minus_at (the same for the control). Without options, or a control, lo/hi or note are nil.
function rank.columns(o)
  local correlate, kept = stat[o.kind], {}
  local function plain(flat, at, r)
    local memo = kept[flat] or {}
    kept[flat] = memo
    memo[at[r]] = memo[at[r]] or correlate(minus_losses(flat, at[r], o.images), o.metric)
    return memo[at[r]]
  end
  local values, intervals = {}, {}
  for r = 1, #o.at do
    values[r] = plain(o.flat, o.at, r) - (o.minus and plain(o.minus, o.minus_at, r) or 0)
  end
  if not o.options then return values end
  local function ends(r)
    local key = o.at[r] .. (o.minus and "," .. o.minus_at[r] or "")
    if not intervals[key] then
      local _, lo, hi = stat.interval {kind = o.kind, x = minus_losses(o.flat, o.at[r], o.images),
        y = o.metric, minus = o.minus and minus_losses(o.minus, o.minus_at[r], o.images),
        groups = o.options.groups, resamples = o.options.resamples, seed = o.options.seed,
        level = o.options.level}
      intervals[key] = {lo, hi}
    end
    return intervals[key]
  end
  local lo = on_demand(function(r) return ends(r)[1] end)
  local hi = on_demand(function(r) return ends(r)[2] end)
  local note = o.minus and on_demand(function(r)
    return stat.not_separable(lo[r], hi[r]) and "not separable" or ""
  end)
  return values, lo, hi, note
end

return rank
