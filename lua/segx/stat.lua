--[[
stat.lua: small statistics over lists of numbers. The work is done by core/stats.

    stat.kendall(x, y)   stat.spearman(x, y)
    stat.interval{kind = "kendall", x = minus_loss, y = iou, minus = minus_control, seed = 0}
]]
local core = require "segx.core"
local errors = require "segx.errors"
errors.own()

local stat = {}

--- Mean of the numbers that are not NaN; NaN when there is none.
function stat.nanmean(list)
  local sum, n = 0.0, 0
  for _, v in ipairs(list) do
    if v == v then sum, n = sum + v, n + 1 end
  end
  return n > 0 and sum / n or 0 / 0
end

--- Kendall's tau-b of two equally long lists, -1 .. 1, in O(n log n). Pairs with a NaN are left out.
--- NaN when one list is constant.
stat.kendall = core.stats.kendall

--- Spearman's rho (correlation of mid-ranks); as kendall.
stat.spearman = core.stats.spearman

--- A bootstrap interval: value, lo, hi. o: kind = "kendall" | "spearman" | "mean"; x, y: lists (a
--- mean with y is sum x / sum y); minus: a second x, the result is the paired difference, the
--- statistic of x less that of minus under the same resamples; groups: list of a number or name per
--- item, whole groups are drawn; resamples (1000), seed (0), level (0.95), bca = true instead of
--- percentiles. lo and hi are NaN where there is no interval.
function stat.interval(o)
  local given = {}
  for k, v in pairs(o) do given[k] = v end
  given.groups = o.groups and stat.numbered(o.groups)
  return core.stats.interval(given)
end

--- Names or numbers -> 1, 2, ... in the order of first appearance.
function stat.numbered(list)
  local seen, count, numbers = {}, 0, {}
  for i, v in ipairs(list) do
    if not seen[v] then count, seen[v] = count + 1, count + 1 end
    numbers[i] = seen[v]
  end
  return numbers
end

--- Does the interval hold 0?
function stat.not_separable(lo, hi) return not (lo > 0 or hi < 0) end

return stat
