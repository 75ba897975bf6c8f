-- test_stats.lua: rank correlation and intervals as Lua sees them, and in the columns of a sweep.
local T = require "harness"
local F = require "fixtures"
local segx = require "segx"
local stat = require "segx.stat"
local test, eq, near, throws, ok = T.test, T.eq, T.near, T.throws, T.ok
local L, A = segx.loss, segx.axis
package.path = T.source("tests/lua/?.lua") .. ";" .. package.path
local G = require "ref_golden_stats"

test "Kendall and Spearman are SciPy's" (function()
  for _, c in ipairs(G.pairs) do
    near(stat.kendall(c.x, c.y), c.tau, 1e-14, 1e-15, c.name)
    near(stat.spearman(c.x, c.y), c.rho, 1e-14, 1e-15, c.name)
  end
end)

local R = F.random(3, 20, 4, 5, 6)

test "columns by class, Spearman" (function()
  local r = segx.sweep {dump = R, loss = L.focal {gamma = A.grid("gamma", {0, 2})},
    want = {"tau(iou.2)", "rho(iou)", "rho(recall.1)"}, precision = "double", intervals = false}:run()
  eq(r:names(), {"gamma", "tau(iou.2)", "rho(iou)", "rho(recall.1)"})
  local images = require "segx.metrics".images(R)
  local loss = L.focal {gamma = 2}:trace(R, "image").images:eval():totable()
  local minus, by_class, mean = {}, {}, {}
  for i, m in ipairs(images) do minus[i], by_class[i], mean[i] = -loss[i], m.iou[3], m.miou end
  near(r:column "tau(iou.2)"[2], stat.kendall(minus, by_class), 1e-12)
  near(r:column "rho(iou)"[2], stat.spearman(minus, mean), 1e-12)
  local function want(column)
    return function() segx.sweep {dump = R, loss = L.ce {}, want = {column}} end
  end
  throws("unknown metric 'iuo' %(did you mean 'iou'", want "tau(iuo)")
  throws("unknown class 'pole'", want "tau(iou.pole)")
end)

if F.reference then return end

test "an interval holds its value; draws depend on the seed alone" (function()
  local c = G.pairs[#G.pairs - 1]
  local o = {kind = "kendall", x = c.x, y = c.y, resamples = 200}
  local v, lo, hi = stat.interval(o)
  near(v, c.tau, 1e-14)
  ok(lo < v and v < hi, "around the value")
  eq({stat.interval(o)}, {v, lo, hi})
  o.seed = 1
  ok(select(2, stat.interval(o)) ~= lo, "another seed")
  o.level = 0.5
  local _, lo50, hi50 = stat.interval(o)
  ok(hi50 - lo50 < hi - lo, "a lower level is narrower")
  o.bca = true
  ok(select(2, stat.interval(o)) ~= lo50, "BCa")
end)

test "paired: a list less itself is 0, always" (function()
  local c = G.pairs[#G.pairs - 1]
  for _, kind in ipairs {"kendall", "spearman", "mean"} do
    eq({stat.interval {kind = kind, x = c.x, minus = c.x, y = kind ~= "mean" and c.y or nil}},
      {0, 0, 0})
  end
end)

test "a mean, a ratio of sums, groups" (function()
  local v, lo, hi = stat.interval {x = {1, 2, 3, 4}}
  eq(v, 2.5)
  ok(lo > 1 and hi < 4, "inside")
  eq(stat.interval {x = {1, 2, 3}, y = {1, 1, 4}}, 1)
  eq(stat.interval {x = {1, 0 / 0, 3}}, 2)
  eq({stat.interval {x = {1, 2, 1, 2}, groups = {"a", "a", "b", "b"}}}, {1.5, 1.5, 1.5})
  throws("lists of 3 and 2", stat.interval, {x = {1, 2, 3}, groups = {1, 2}})
  throws("entry 2 is not a number", stat.kendall, {1, "a"}, {1, 2})
  throws("lists of 2 and 1", stat.kendall, {1, 2}, {1})
  throws("level 1 is not", stat.interval, {x = {1, 2}, level = 1})
end)

local function sweep(o)
  o.dump, o.want = R, {"tau(iou)"}
  return segx.sweep(o):run()
end

test "sweeps: the interval, and the paired difference with the control" (function()
  local loss = L.focal {gamma = A.grid("gamma", {0, 2})}
  local r = sweep {loss = loss, control = L.ce {}}
  eq(r:names(), {"gamma", "tau(iou)", "tau(iou).lo", "tau(iou).hi", "tau(iou)-control",
    "tau(iou)-control.lo", "tau(iou)-control.hi", "tau(iou)-control.note"})
  local row = r:best("gamma", false)
  near({row["tau(iou)-control"], row["tau(iou)-control.lo"]}, {0, 0}, 0, 1e-6)
  eq(row["tau(iou)-control.note"], "not separable")
  ok(row["tau(iou).lo"] < row["tau(iou)"] and row["tau(iou)"] < row["tau(iou).hi"], "holds it")
  ok(tostring(r):find "not separable", "said")
  ok(tostring(r):find "%d %[%-?[%d.]+, [%d.]+%]", "shown as 0.71 [0.55, 0.82]")
  eq(sweep {loss = loss, control = L.ce {}}:csv(), r:csv())
  ok(sweep {loss = loss, control = L.ce {}, seed = 1}:csv() ~= r:csv(), "another seed")
  local groups = {}
  for i = 1, 20 do groups[i] = "patient " .. i // 5 end
  ok(sweep {loss = loss, control = L.ce {}, groups = groups}:csv() ~= r:csv(), "groups")
  throws("one per image", sweep, {loss = loss, groups = {1}})
  throws("number of resamples", sweep, {loss = loss, intervals = 0})
  throws("between 0 and 1", sweep, {loss = loss, level = 95})
end)

test "the value of a loss by images has an interval" (function()
  local r = L.dice {unit = "image"}:eval(R, {precision = "double"})
  local v, lo, hi = stat.interval {x = r.images}
  near(v, r.value, 1e-12)
  eq(r.interval, {lo, hi})
  ok(tostring(r):find "over images", tostring(r))
  eq(L.dice {}:eval(R).interval, nil)
end)
