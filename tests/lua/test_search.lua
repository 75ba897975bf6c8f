-- test_search.lua: points of a space, searches over it, ask and tell.
local T = require "harness"
local F = require "fixtures"
local segx = require "segx"
local draw = require "segx.draw"
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
  throws("returned no loss", function() start {loss = function() return 1 end}:run() end)
  throws("no number for 'mix'", function() start():tell({gamma = 1}, 2) end)
  local many = {}
  for i = 1, 9 do many["p" .. i] = {0, 1} end
  throws("at most 8", start, {space = many})
end)
