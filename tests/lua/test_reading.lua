-- test_reading.lua: what can be done with the rows of a result.
local T = require "harness"
local segx = require "segx"
local result = require "segx.result"
local test, eq, near, throws, ok = T.test, T.eq, T.near, T.throws, T.ok

local nan, inf = 0 / 0, math.huge

local function made(columns, n_axes)
  return result.new {columns = columns, count = #columns[1].values, n_axes = n_axes or 1,
    positions = {}}
end

local function some()
  return made({
    {name = "g", values = {1, 1, 2, 2, 3}},
    {name = "scheme", values = {"a", "b", "a", "b", "a, \"x\""}},
    {name = "value", values = {5, 3, 3, nan, 1}},
    {name = "tau(iou)", values = {0.9, 0.5, 0.7, 0.8, 0.1}, lo = {0.8, 0.4, 0.6, nan, 0},
      hi = {0.95, 0.6, 0.75, nan, 0.2}},
  }, 2)
end

test "pareto: small losses, large tau; NaN left out" (function()
  local r = some():pareto("value", "tau(iou)")
  eq(r:column "value", {1, 3, 5})
  eq(r:column "tau(iou)", {0.1, 0.7, 0.9})
  eq(some():pareto("value", "tau(iou)", true, true):column "value", {5})
  throws("unknown column 'vlaue' %(did you mean 'value'", r.pareto, r, "vlaue", "value")
end)

test "pareto against every pair" (function()
  local x, y, state = {}, {}, 7
  for i = 1, 300 do
    state = state * 16807 % 2147483647
    x[i] = state % 17
    state = state * 16807 % 2147483647
    y[i] = state % 13
  end
  local r = made {{name = "value", values = x}, {name = "miou", values = y}}
  local kept = {}
  for i = 1, 300 do
    local beaten = false
    for j = 1, 300 do
      beaten = beaten or x[j] <= x[i] and y[j] >= y[i] and (x[j] < x[i] or y[j] > y[i])
    end
    if not beaten then kept[#kept + 1] = x[i] end
  end
  table.sort(kept)
  eq(r:pareto("value", "miou"):column "value", kept)
end)

test "group" (function()
  local groups = some():group("scheme", "tau(iou)")
  eq(#groups, 3)
  eq({groups[1].key, #groups[1].rows, groups[1].rows:column "g"}, {"a", 2, {1, 2}})
  ok(tostring(groups):find "mean tau%(iou%)", tostring(groups))
  eq(#some():filter(function(row) return row.g < 3 end):group "g", 2)
end)

test "importance: main effects of a grid" (function()
  local a, b, v = {}, {}, {}
  for i = 1, 3 do
    for j = 1, 4 do a[#a + 1], b[#b + 1], v[#v + 1] = i, j, 3 * i + j end
  end
  local list = made({{name = "b", values = b}, {name = "a", values = a},
    {name = "value", values = v}}, 2):importance()
  eq({list[1].name, list[2].name}, {"a", "b"})
  -- variances of the effects: 9 * 2/3 and 15/12
  near({list[1].share, list[2].share}, {6 / 7.25, 1.25 / 7.25}, 1e-12)
  ok(tostring(list):find "share of variance of value", tostring(list))
end)

test "importance of draws: values are binned" (function()
  local a, b, v = {}, {}, {}
  for i = 1, 64 do a[i], b[i] = i / 64, (i * 37 % 64) / 64 end
  for i = 1, 64 do v[i] = a[i] end
  local list = made({{name = "a", values = a}, {name = "b", values = b},
    {name = "value", values = v}}, 2):importance()
  eq({list[1].name, list[1].values}, {"a", 8})
  ok(list[1].share > 0.95 and list[2].share < 0.2, tostring(list))
end)

test "csv and jsonl are read back: numbers, texts, NaN, ends of intervals" (function()
  local r = some()
  local path = T.tmp "r.csv"
  r:csv(path)
  local back = segx.read_results(path, {n_axes = 2})
  eq(back:names(), {"g", "scheme", "value", "tau(iou)", "tau(iou).lo", "tau(iou).hi"})
  for _, name in ipairs(back:names()) do eq(back:column(name), r:column(name), name) end
  eq(back:csv(), r:csv())
  r:jsonl(path)
  back = segx.read_results(path)
  for _, name in ipairs(back:names()) do eq(back:column(name), r:column(name), name) end
  eq(back:jsonl(), r:jsonl())
end)

test "awkward cells in csv" (function()
  local r = made({{name = "a,b", values = {"1", "nan", "x\ny", "", '"'}},
    {name = "v", values = {inf, -inf, 0.1 + 0.2, 5e-324, -0.0}}})
  local path = T.tmp "awkward.csv"
  r:csv(path)
  local back = segx.read_results(path)
  eq(back:names(), {"a,b", "v"})
  eq({back:column "a,b", back:column "v"}, {r:column "a,b", r:column "v"})
  eq(math.type(back:column "v"[3]), "float")
end)

test "files that are no results" (function()
  local path = T.tmp "broken"
  throws("No such file", segx.read_results, "/nonexistent/x.csv")
  local function broken(text)
    local f <close> = assert(io.open(path, "wb"))
    f:write(text)
    f:close()
    throws("is not a row of results", segx.read_results, path)
  end
  broken 'a,b\n1,2\n3\n'
  broken 'a,b\n1,"2\n'
  broken '{"a":1}\n{"a":\n'
end)

test "markdown and latex" (function()
  local md = some():top(2, "tau(iou)"):markdown()
  eq(md, "| g | scheme | value | tau(iou) |\n| ---: | --- | ---: | ---: |\n"
    .. "| 1 | a | 5 | 0.9 [0.8, 0.95] |\n| 2 | b | - | 0.8 |\n")
  local tex = made({{name = "w_pole", values = {1}}, {name = "share", values = {"5 %"}}}):latex()
  eq(tex, "\\begin{tabular}{rl}\n\\toprule\nw\\_pole & share \\\\\n\\midrule\n1 & 5 \\% \\\\\n"
    .. "\\bottomrule\n\\end{tabular}\n")
end)

test "the ends of an interval are computed for rows that are looked at" (function()
  local computed = 0
  local ends = setmetatable({}, {__index = function(t, k)
    computed = computed + 1
    t[k] = k
    return k
  end})
  local values = {}
  for i = 1, 1000 do values[i] = i end
  local r = made({{name = "a", values = values}, {name = "tau(iou)", values = values, lo = ends,
    hi = ends}})
  ok(tostring(r:top(3, "tau(iou)")):find "1000", "the best")
  eq(computed, 3)
end)
