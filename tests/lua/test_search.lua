-- test_search.lua: points of a space, searches over it, ask and tell.
local T = require "harness"
local F = require "fixtures"
local segx = require "segx"
local draw = require "segx.draw"
local format = require "segx.format"
local halving = require "segx.halving"
local test, eq, near, throws, ok = T.test, T.eq, T.near, T.throws, T.ok
local L = segx.loss
package.path = T.source("tests/lua/?.lua") .. ";" .. package.path
local G = require "ref_golden_stats"

if F.reference then
  test "search" (function() T.skip "the reference has no draws" end)
  return
end

local R = F.random(3, 8, 3, 5, 6)
local D = {precision = "double"}

local function start(o)
  local given = {dump = R, precision = "double", space = {gamma = {0, 5}, mix = {0.1, 10, log = true}},
    loss = function(p) return p.mix * L.focal {gamma = p.gamma} + L.dice {} end,
    want = {"value", "tau(iou)"}, n = 10}
  for k, v in pairs(o or {}) do given[k] = v end
  return segx.search(given)
end

test "Sobol and Halton points are SciPy's" (function()
  for _, name in ipairs {"sobol", "halton"} do
    local at = draw[name](false, 8)
    for i, p in ipairs(G[name]) do near(at(i - 1), p, 1e-15) end
  end
end)

test "every method: the draws lie in the space, rows hold them, values are the losses'" (function()
  for _, method in ipairs {"random", "sobol", "halton"} do
    local r = start {method = method}:run()
    eq(#r, 10)
    eq(r:column "draw", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
    eq(r.search, {method = method, n = 10, seed = 0})
    for row in r:rows() do
      ok(row.gamma >= 0 and row.gamma <= 5 and row.mix >= 0.1 and row.mix <= 10, method)
      near(row.value, (row.mix * L.focal {gamma = row.gamma} + L.dice {})(R, D).value, 1e-12)
      eq(tostring(row.loss), tostring(row.mix * L.focal {gamma = row.gamma} + L.dice {}))
    end
    eq(#r:importance "tau(iou)", 2)       -- the number of the draw is none of the parameters
    ok(r:best "tau(iou)"["tau(iou).lo"] <= r:best "tau(iou)"["tau(iou)"], "an interval")
  end
end)

test "same seed, same rows; another seed, others; more draws begin with the same" (function()
  for _, method in ipairs {"random", "sobol", "halton"} do
    local a = start {method = method, seed = 1}:run()
    eq(start {method = method, seed = 1}:run():csv(), a:csv())
    ok(start {method = method, seed = 2}:run():csv() ~= a:csv(), method)
    local more = start {method = method, seed = 1, n = 12}:run()
    eq(table.move(more:column "gamma", 1, 10, 1, {}), a:column "gamma")
  end
end)

test "coordinate: no row beats the best, ends are tried" (function()
  local s = start {method = "coordinate", want = {"value"}, n = 5}
  local r = s:run()
  local best = r:best "value"
  near(best.gamma, 5, 1e-12)        -- a larger gamma and a smaller factor make this loss smaller
  near(best.mix, 0.1, 1e-12)
  ok(#r <= 1 + 3 * 2 * 5, "at most three rounds")
end)

test "halving: rungs" (function()
  local function text(...)
    local list = {}
    for i, r in ipairs(halving.rungs(...)) do list[i] = r.draws .. "x" .. r.images end
    return table.concat(list, " ")
  end
  eq(text(27, 90, 3, 10), "27x10 9x30 3x90")
  eq(text(81, 1000, 3, 10), "81x13 27x38 9x112 3x334 1x1000")
  eq(text(4, 1000, 3, 10), "4x112 2x334 1x1000")       -- one draw left: nothing to choose
  eq(text(64, 12, 2, 3), "64x3 32x6 16x12")
  eq(text(9, 10, 3, 10), "9x10")
  eq(text(1, 500, 3, 10), "1x500")
end)

test "halving: the better ones of a subset go on; rows are of all images" (function()
  local d, cities = F.random(5, 18, 3, 5, 6), {}
  for i = 1, 18 do cities[i] = i % 7 end
  for _, by in ipairs {"value", "tau(iou)"} do
    local s = start {dump = d, method = "halving", n = 9, images = 2, by = by, groups = cities}
    local r = s:run()
    eq(r.search.rungs, s.rungs)
    local sizes = {}
    for i, rung in ipairs(s.rungs) do sizes[i] = {#rung.points, rung.images} end
    eq(sizes, {{9, 2}, {3, 6}, {1, 18}})
    eq(#r, 1)
    local all = start {dump = d, method = "sobol", n = 9, groups = cities}:run()
    for k, rung in ipairs(s.rungs) do
      local values, some <close> = {}, d:subset(rung.images)
      for i, p in ipairs(rung.points) do
        eq(p.gamma, all:column "gamma"[p.id])
        local loss = p.mix * L.focal {gamma = p.gamma} + L.dice {}
        values[i] = by == "value" and loss(some, D).value or loss:images(some, D).tau
      end
      near(rung.values, values, 1e-12)
      local after = s.rungs[k + 1] and s.rungs[k + 1].points or {}
      for _, p in ipairs(after) do       -- none that stayed behind is better
        local worst = values[1]
        for i, q in ipairs(rung.points) do if q.id == p.id then worst = values[i] end end
        local better = 0
        for _, v in ipairs(values) do
          if by == "value" and v < worst or by ~= "value" and v > worst then better = better + 1 end
        end
        ok(better < #after, by)
      end
    end
    local row = r:best(by)
    near(row.value, row.loss(d, D).value, 1e-12)
    eq(tostring(row[by .. ".lo"] == nil), by == "value" and "true" or "false")
  end
end)

test "searches do not use up the axes of a session" (function()
  for seed = 1, 70 do
    local r = start {method = "halving", n = 4, images = 2, seed = seed, want = {"value"}}:run()
    near(r:best "value".value, r:best "value".loss(R, D).value, 1e-12)
  end
end)

test "ask and tell, evaluate" (function()
  local s = start()
  local p = s:ask()
  eq(p.id, 1)
  local row, value = s:evaluate(p)
  near(value, (p.mix * L.focal {gamma = p.gamma} + L.dice {})(R, D).value, 1e-12)
  eq(row.value, value)
  s:tell({gamma = 1, mix = 2}, 0.5)
  local r = s:result()
  eq(r:column "value", {value, 0.5})
  eq(r:column "gamma", {p.gamma, 1})
  eq(s:ask().id, 2)
  ok(tostring(r):find "tau%(iou%)", "all columns")
end)

test "misuse" (function()
  throws("unknown option 'spce' %(did you mean 'space'", segx.search, {spce = {}})
  throws("loss is a function", segx.search, {dump = R, loss = L.ce {}})
  throws("space is missing", segx.search, {dump = R, loss = function() end})
  throws("gamma has a range", start, {space = {gamma = {1, 1}}})
  throws("starts above 0", start, {space = {gamma = {0, 1, log = true}}})
  throws("unknown method 'sobel' %(did you mean 'sobol'", start, {method = "sobel"})
  throws("factor is a number, 1.5 or more", start, {factor = 1})
  throws("images is an integer", start, {images = 0})
  throws("returned no loss", function() start {loss = function() return 1 end}:run() end)
  throws("no number for 'mix'", function() start():tell({gamma = 1}, 2) end)
  local many = {}
  for i = 1, 9 do many["p" .. i] = {0, 1} end
  throws("at most 8", start, {space = many})
end)

test "values by image: of sweeps and searches" (function()
  local r = segx.sweep {dump = R, precision = "double", loss = L.focal {gamma = segx.axis.grid("gamma", {0, 1, 2})}, control = L.ce {},
    want = {"value", "tau(iou)", "rho(dice.1)"}}:run()
  local t = r:top(2, "tau(iou)"):images "tau(iou)"
  eq(#t, #R)
  local best = r:best "tau(iou)"
  local by_hand = {}
  for _, i in ipairs(best.loss:images(R, D)) do by_hand[i.image] = i end
  local name = "gamma=" .. format.number(best.gamma)
  for row in t:rows() do
    near(row[name], by_hand[row.image].loss, 1e-12)
    near(row.iou, by_hand[row.image].metric, 1e-12)
  end
  eq(segx.stat.kendall(r:images "tau(iou)":column "iou", r:images "tau(iou)":column(name)), -best["tau(iou)"])
  ok(r:images "rho(dice.1)":column "dice.1")
  eq(t:csv():match "^[^\n]*", r:top(2, "tau(iou)"):images():csv():match "^[^\n]*")
  local s = start {n = 3}:run()
  near(s:images():column(s:images():names()[4])[5], s:filter(function(row) return row.draw == 2 end):images():column(
    s:images():names()[4])[5], 0)
  throws("unknown column 'tau%(iuo%)' %(did you mean 'tau%(iou%)'", function() r:images "tau(iuo)" end)
  throws("no column of this result", function() start {want = {"value"}}:run():images() end)
end)
