-- test_pages.lua: sweeps of more rows than are kept in memory are computed a page at a time.
local T = require "harness"
local F = require "fixtures"
local core = require "segx.core"
local segx = require "segx"
local tensor = require "segx.tensor"
local result = require "segx.result"
local stat = require "segx.stat"
local test, eq, ok = T.test, T.eq, T.ok
local L, A, W = segx.loss, segx.axis, segx.weights

if F.reference then
  test "pages" (function() T.skip "the reference has one page" end)
  return
end

local R = F.random(3, 7, 4, 5, 6)

local function axis(name, lo, hi, n) return n == 1 and A.grid(name, {hi}) or A.lin(name, lo, hi, n) end

-- Axes of these sizes; the loss has one pass axis, the others are free.
local function loss_of(n, unit)
  local gamma, mix, s = axis("gamma", 0, 3, n[1]), axis("mix", 0, 1, n[2]), axis("s", 0, 1, n[3])
  local alpha, beta = axis("alpha", 0.1, 0.9, n[4]), axis("beta", 0.2, 0.7, n[5])
  return mix * L.focal {gamma = gamma, unit = unit, weight = W.balanced(R) ^ s}
    + L.tversky {alpha = alpha, beta = beta, smooth = 1, unit = unit}
end

-- Every page of a grid against the whole.
local function compare(list)
  local whole = core.eval(R, list, {})
  local grid = core.grid(R, list, {})
  local rows, pages, most = grid:size()
  local flat, sizes = {}, {}
  for i, t in ipairs(whole) do flat[i] = tensor.flat(t) end
  local axes
  for _, t in ipairs(list) do
    if core.axes(t).class then t = t:sum "class" end
    if core.axes(t).image then t = core.nsum(t) end
    axes = axes and axes + t or t
  end
  axes = axes:sweep_axes()
  -- Number of the combination of output i in row r, from the rows alone.
  local function place(i, r)
    local own, at, step = {}, 0, 1
    for _, a in ipairs(list[i]:sweep_axes()) do own[a.name] = true end
    local rest = r - 1
    for k = #axes, 1, -1 do
      local v = rest % axes[k].count
      rest = rest // axes[k].count
      if own[axes[k].name] then at, step = at + v * step, step * axes[k].count end
    end
    sizes[i] = #flat[i] // step
    return at
  end
  local seen = 0
  -- Backwards now and then: a page does not depend on what was there before.
  local order = {}
  for k = 1, pages do order[k] = k end
  for k = 3, pages, 3 do order[k], order[k - 1] = order[k - 1], order[k] end
  for _, k in ipairs(order) do
    local first, count = grid:page(k)
    seen = seen + count
    ok(count <= most, "rows of a page")
    for i = 1, #list do
      local column, last = grid:column(i), nil
      local step = math.max(1, count // 50)
      for r = 1, count, step do
        local at = place(i, first + r - 1)
        if column[r] ~= flat[i][at * sizes[i] + 1] then
          eq({i, first + r - 1, column[r]}, {i, first + r - 1, flat[i][at * sizes[i] + 1]})
        end
        last = r
      end
      local values, places = grid:values(i)
      local numbers = tensor.flat(values)
      local at = place(i, first + last - 1)
      for c = 1, sizes[i] do
        local got = numbers[(places[last] - 1) * sizes[i] + c]
        if got ~= flat[i][at * sizes[i] + c] then eq(got, flat[i][at * sizes[i] + c]) end
      end
      eq(grid:find(first), k)
      eq(grid:find(first + count - 1), k)
    end
  end
  eq(seen, rows)
  return pages
end

test "pages hold what the whole holds: data set, image, batches; any shape" (function()
  local most = 0
  for _, n in ipairs {{1, 1, 1, 1, 1}, {3, 2, 2, 2, 2}, {2, 3, 5, 7, 53}, {17, 2, 3, 2, 100}, {1, 1, 1, 1, 40000},
    {40000, 1, 1, 1, 1}, {7, 5, 401, 3, 2}} do
    for _, unit in ipairs {"dataset", "image", {batch = 3}} do
      if n[1] < 100 or unit == "dataset" then
        local loss = loss_of(n, unit)
        local all = loss:trace(R)
        local list = {all.value, all.per_class, all.parts[1].value, all.parts[2].share}
        if unit == "image" and n[5] < 100 then list[5] = all.images end
        most = math.max(most, compare(list))
      end
    end
  end
  ok(most > 3, "several pages")
end)

test "a branch that is chosen nowhere, with its values there for somebody else or not" (function()
  local one = loss_of({2, 2, 3, 20, 53}):trace(R).value
  local far, k = axis("far", 0, 2, 3), axis("k", 1, 2, 4)
  local other = (axis("m", 0, 1, 3) * L.focal {gamma = far}):trace(R).value
  local dead = segx.where(k:ge(0), one, other)
  ok(compare {dead, one} > 1, "several pages")
  ok(compare {dead, other, segx.where(far:lt(0), one, other)} > 1, "several pages")
  eq(core.plan(R, {dead}, {}).per_output[1].pass, {"gamma"})
end)

-- A sweep of so many rows that nothing but pages is kept, and the same columns as lists.
local gone = false
local big = segx.sweep {dump = R, loss = loss_of({2, 10, 10, 37, 37}), want = {"value", "value.1", "share.2"}}:run()
local columns = {}
for c, column in ipairs(big.columns) do
  columns[c] = {name = column.name, values = {}}
  for r = 1, #big do columns[c].values[r] = column.values[r] end
end
local plain = result.new {columns = columns, count = #big, n_axes = 5, positions = {}}
local function few(row) return row.s > 0.95 and row.gamma == 0 and row.alpha > 0.85 end
local big_few, plain_few = big:filter(few), plain:filter(few)

test "a sweep of 273,800 rows reads as one in memory" (function()
  eq(#big, 273800)
  ok(big.streamed and not plain.streamed, "streamed")
  eq(tostring(big), tostring(plain))
  eq(big:top(7, "value"):csv(), plain:top(7, "value"):csv())
  eq(big:top(3, "share.2", true):csv(), plain:top(3, "share.2", true):csv())
  eq(big:best "value.1".value, plain:best "value.1".value)
  ok(#big_few > 100 and not big_few.streamed, "some rows, in memory")
  eq(big_few:sort "value":csv(), plain_few:sort "value":csv())
  eq(big:pareto("value", "share.2"):csv(), plain:pareto("value", "share.2"):csv())
  eq(tostring(big:importance "value"), tostring(plain:importance "value"))
  eq(tostring(big:group("gamma", "value")), tostring(plain:group("gamma", "value")))
  local best = big:best "value"
  eq(best.loss(R).value, best.value)
  local row = big:top(2, "value"):best "value.1"
  eq(row.loss(R).per_class["1"], row["value.1"])
end)

test "its files too" (function()
  for _, how in ipairs {"csv", "jsonl", "markdown", "latex"} do
    local path = T.tmp("big." .. how)
    big_few[how](big_few, path)
    local f <close> = assert(io.open(path))
    eq(f:read "a", plain_few[how](plain_few), how)
  end
  local path = T.tmp "all.csv"
  big:csv(path)
  local n, last = 0, nil
  for line in io.lines(path) do n, last = n + 1, line end
  eq(n, 273801)
  local cells = {}
  for c, column in ipairs(plain.columns) do cells[c] = segx.format.exact(column.values[#plain]) end
  eq(last, table.concat(cells, ","))
end)

test "rank correlations of rows, and their intervals" (function()
  local loss = loss_of({2, 3, 100, 25, 20}, "image")
  local sw = segx.sweep {dump = R, loss = loss, control = L.ce {}, want = {"tau(iou)"}, intervals = 50}
  local r = sw:run()
  ok(r.streamed, "streamed")
  local top = r:top(3, "tau(iou)")
  local iou = {}
  for i, m in ipairs(segx.metrics.images(R)) do iou[i] = m.miou end
  for row in top:rows() do
    local images, minus = row.loss(R, {unit = "image"}).images, L.ce {}(R, {unit = "image"}).images
    for i = 1, #images do images[i], minus[i] = -images[i], -minus[i] end
    eq(row["tau(iou)"], stat.kendall(images, iou))
    local _, lo, hi = stat.interval {kind = "kendall", x = images, y = iou, resamples = 50}
    eq({row["tau(iou).lo"], row["tau(iou).hi"]}, {lo, hi})
    eq(row["tau(iou)-control"], stat.kendall(images, iou) - stat.kendall(minus, iou))
  end
end)

test "refused rows of a long sweep are failed rows" (function()
  local loss = L.tversky {alpha = axis("alpha", 0, 1, 400), beta = axis("beta", 0, 1, 800), smooth = 1}
  local sw = segx.sweep {dump = R, loss = loss}
  eq(sw:plan().refused, 1)
  local r = sw:run()
  ok(r.streamed, "streamed")
  local first
  for row in r:first(1):rows() do first = row end
  ok(first.value ~= first.value and first.reason:find "alpha %+ beta is 0", "the first row")
  eq(r:top(1, "value"):best().reason, nil)
end)

test "an interrupt, and memory that fails, between pages" (function()
  local before = big:top(1, "value").columns[6].values[1]
  for n = 1, 200 do
    core._fault(n, "memory")
    local done, v = pcall(function() return big:best "value".value end)
    local fired = core._fault()
    if done then eq(v, before) end
    if not fired then gone = true break end
  end
  ok(gone, "nothing fails any more")
  eq(big:best "value".value, before)
end)
