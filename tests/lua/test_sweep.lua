-- test_sweep.lua: axes, sweeps and their results.
local T = require "harness"
local F = require "fixtures"
local segx = require "segx"
local stat = require "segx.stat"
local test, eq, near, throws, ok = T.test, T.eq, T.near, T.throws, T.ok
local L, A, W = segx.loss, segx.axis, segx.weights

local R = F.random(3, 6, 4, 5, 6)
local D = {precision = "double"}
local EXACT = 1e-12

local function sweep(o)
  o.dump, o.precision = o.dump or R, "double"
  return segx.sweep(o)
end

test "rows: every combination, the newest axis fastest" (function()
  local gamma, mix = A.grid("gamma", {0, 1, 2}), A.lin("mix", 0, 1, 3)
  local loss = mix * L.focal {gamma = gamma} + (1 - mix) * L.dice {}
  local sw = sweep {loss = loss, want = {"value", "per_class", "share", "parts", "control"},
    control = L.ce {}}
  eq(sw:count(), 9)
  local r = sw:run()
  eq(#r, 9)
  eq(r:column "gamma", {0, 0, 0, 1, 1, 1, 2, 2, 2})
  eq(r:column "mix", {0, 0.5, 1, 0, 0.5, 1, 0, 0.5, 1})
  local control = L.ce {}(R, D).value
  for row in r:rows() do
    local single = (row.mix * L.focal {gamma = row.gamma} + (1 - row.mix) * L.dice {})(R, D)
    near(row.value, single.value, EXACT)
    near(row["value.2"], single.per_class[2], EXACT)
    near(row["share.1"], single.share[1] / single.value, EXACT)
    near(row["part.focal"], single.parts[1].value, EXACT)
    near(row["part.dice"], single.parts[2].value, EXACT)
    near(row.control, control, EXACT)
    near(row.loss(R, D).value, row.value, EXACT)
  end
end)

test "zip: one axis, two columns; vectors: labels" (function()
  local g, k = A.zip("gz", {0, 2}, "kz", {1, 10})
  local r = sweep {loss = k * L.focal {gamma = g}}:run()
  eq({r:column "gz", r:column "kz"}, {{0, 2}, {1, 10}})
  near(r:column "value"[2], 10 * L.focal {}(R, D).value, EXACT)
  local scheme = A.vectors("scheme", {W.balanced(R), W.inverse_sqrt(R), {1, 1, 1, 1}})
  r = sweep {loss = L.ce {weight = scheme}}:run()
  eq(r:column "scheme", {"balanced", "inverse_sqrt", "3"})
  near(r:column "value"[1], L.ce {weight = W.balanced(R)}(R, D).value, EXACT)
  near(r:best("value", true).loss(R, D).value, math.max(table.unpack(r:column "value")), EXACT)
end)

test "one class's weight" (function()
  local w = W.balanced(R):set {["3"] = A.log("w_3", 1, 16, 5)}
  local r = sweep {loss = L.focal {weight = w}}:run()
  eq(r:column "w_3", {1, 2, 4, 8, 16})
  for row in r:rows() do
    near(row.value, L.focal {weight = W.balanced(R):set {["3"] = row.w_3}}(R, D).value, EXACT)
  end
end)

test "an axis that a column does not have repeats" (function()
  local gamma, s = A.grid("gamma", {0, 1}), A.grid("smooth", {0, 1})
  local r = sweep {loss = L.focal {gamma = gamma} + L.dice {smooth = s},
    want = {"part.focal", "part.dice"}}:run()
  local focal, dice = r:column "part.focal", r:column "part.dice"
  eq({focal[1], focal[3]}, {focal[2], focal[4]})
  eq({dice[1], dice[2]}, {dice[3], dice[4]})
end)

test "two parts of one name are told apart" (function()
  local r = sweep {loss = L.dice {} + 0.5 * L.dice {smooth = 1}, want = {"parts"}}:run()
  near(r:column "part.dice#2"[1], L.dice {smooth = 1}(R, D).value, EXACT)
end)

test "metric columns" (function()
  local r = sweep {loss = L.focal {gamma = A.grid("gamma", {0, 1})},
    want = {"value", "miou", "iou.1", "accuracy"}}:run()
  local m = R:metrics {}
  eq({r:column "miou"[2], r:column "iou.1"[1], r:column "accuracy"[1]},
    {m.miou, m.iou[1], m.pixel_accuracy})
end)

test "tau" (function()
  local gamma = A.grid("gamma", {0, 3})
  local r = sweep {loss = L.focal {gamma = gamma},
    want = {"value", "tau(iou)", "tau(accuracy)"}}:run()
  -- Images one by one, as dumps of their own.
  local _, logits, labels = F.random(3, 6, 4, 5, 6)
  for k, g in ipairs {0, 3} do
    local loss, iou = {}, {}
    for i = 1, 6 do
      local one = segx.memory {logits = {logits[i]}, labels = {labels[i]}, ignore_index = 255}
      loss[i], iou[i] = -L.focal {gamma = g}(one, D).value, one:metrics {}.miou
    end
    near(r:column "tau(iou)"[k], stat.kendall(loss, iou), EXACT)
  end
end)

local function small()
  return sweep {loss = L.tversky {alpha = A.grid("alpha", {0.2, 0.5, 0.8})},
    want = {"value", "tau(iou)"}}:run()
end

test "sort, top, best, filter" (function()
  local r = small()
  local v = r:column "value"
  local sorted = r:sort("value"):column "value"
  ok(sorted[1] <= sorted[2] and sorted[2] <= sorted[3], "small losses first")
  eq(r:sort("value", true):column "value"[1], sorted[3])
  eq(r:best "value".value, sorted[1])
  eq(#r:top(2, "value"), 2)
  eq(r:filter(function(row) return row.alpha > 0.3 end):column "value", {v[2], v[3]})
  eq(#r, 3)       -- nothing changed the result itself
  throws("unknown column 'vlue' %(did you mean 'value'", r.sort, r, "vlue")
end)

test "csv and jsonl read back exactly" (function()
  local r = small()
  local lines, path = {}, T.tmp "sweep.csv"
  r:csv(path)
  for line in io.lines(path) do lines[#lines + 1] = line end
  eq(table.concat(lines, "\n") .. "\n", r:csv())
  eq(lines[1], "alpha,value,tau(iou),tau(iou).lo,tau(iou).hi")
  for i = 1, 3 do
    local alpha, value = lines[i + 1]:match "^([^,]+),([^,]+),"
    eq({tonumber(alpha), tonumber(value)}, {r:column "alpha"[i], r:column "value"[i]})
  end
  local json = r:jsonl()
  eq(tonumber(json:match '"value":([^,}]+)'), r:column "value"[1])
  eq(select(2, json:gsub("\n", "")), 3)
  throws("No such file", r.csv, r, "/nonexistent/folder/x.csv")
end)

test "a table prints, long ones are cut" (function()
  ok(tostring(small()):find "alpha%s+value", "a heading")
  local r = sweep {loss = L.dice {smooth = A.lin("smooth", 0, 1, 30)}}:run()
  ok(tostring(r):find "30 rows in all", "the number of rows")
  ok(not tostring(r:top(25)):find "rows in all", "top shows what it was asked for")
end)

test "refused parameters are failed rows with a reason, the others go on" (function()
  local alpha, beta = A.grid("alpha", {0, 0.5}), A.grid("beta", {0, 1})
  local gamma = A.grid("gamma", {0, -1, 2})
  local loss = L.focal {gamma = gamma} + L.tversky {alpha = alpha, beta = beta}
  local columns = {"value", "part.focal", "share.1", "tau(iou)", "miou"}
  if not F.reference then columns[6] = "grad.share.1" end
  local r = sweep {loss = loss, control = L.ce {}, want = columns}:run()
  eq(#r, 12)
  for row in r:rows() do
    if row.gamma < 0 then
      eq(row.reason, "focal: gamma = -1; it must be at least 0")
    elseif row.alpha + row.beta == 0 then
      eq(row.reason, "tversky: alpha + beta is 0: no false positive or negative would cost")
    else
      eq(row.reason, nil)
      near(row.value, (L.focal {gamma = row.gamma} + L.tversky {alpha = row.alpha, beta = row.beta})(R, D).value,
        EXACT)
      near(row.value, row.loss(R, D).value, EXACT)
    end
    if row.reason then
      for _, c in ipairs(columns) do ok(row[c] ~= row[c], c) end
      throws(row.reason:match "^(%w+: %w+)", row.loss, R)
    end
  end
  eq(r:best("value", true).reason, nil)
  -- An axis that no column shows fails no row.
  r = sweep {loss = L.focal {gamma = gamma} + L.dice {}, want = {"part.dice"}}:run()
  eq({#r, r:best().reason}, {1, nil})
  -- Class weights.
  local w = W.balanced(R):set {["1"] = A.grid("w", {1, -3})}
  r = sweep {loss = L.ce {weight = w}}:run()
  ok(r:column "value"[1] > 0 and r:column "value"[2] ~= r:column "value"[2], "weights")
  ok(r:filter(function(row) return row.w < 0 end):best().reason:find "class '1' has weight %-3", "why")
end)

test "the plan" (function()
  local loss = A.lin("mix", 0, 1, 11) * L.focal {gamma = A.lin("gamma", 0, 5, 3)} + L.dice {}
  local p = sweep {loss = loss}:plan()
  eq(p.configurations, 33)
  eq(#p.pass + #p.free, 2)
  ok(tostring(p):find "^33 configurations = ", tostring(p))
  if F.reference then T.skip "the reference has no planner" end
  eq({p.passes, p.pass, p.free}, {1, {"gamma"}, {"mix"}})
end)

test "class weights, mixing, smoothing, tversky's alpha and label smoothing cost no pass" (function()
  if F.reference then T.skip "the reference has no planner" end
  local w = W.balanced(R) ^ A.grid("s", {0, 1})
  for _, loss in ipairs {
    L.ce {weight = w}, L.ce {weight = w, reduction = "weighted_mean"},
    A.grid("k", {1, 2}) * L.ce {},
    L.dice {smooth = A.grid("smooth", {0, 1})}, L.tversky {alpha = A.grid("alpha", {0.3, 0.7})},
    L.ce {label_smoothing = A.grid("eps", {0, 0.1})},
    L.ce {label_smoothing = A.grid("eps", {0, 0.1}), weight = w},
    L.dice {weight = w, unit = "image"}, L.focal_tversky {gamma = A.grid("g", {1, 2})},
    L.focal_sigmoid {alpha = A.grid("a", {0.25, 0.5}), weight = w},
  } do
    local p = sweep {loss = loss, want = {"value"}}:plan()
    eq({p.passes, p.pass}, {1, {}}, tostring(loss))
  end
end)

test "misuse" (function()
  throws("unknown option 'los' %(did you mean 'loss'", segx.sweep, {dump = R, los = L.ce {}})
  throws("dump is missing", segx.sweep, {loss = L.ce {}})
  throws("unknown column 'vlaue' %(did you mean 'value'", segx.sweep,
    {dump = R, loss = L.ce {}, want = {"vlaue"}})
  throws("unknown class 'pole'", segx.sweep, {dump = R, loss = L.ce {}, want = {"value.pole"}})
  throws("unknown class '1O'", segx.sweep, {dump = R, loss = L.ce {}, want = {"iou.1O"}})
  throws("no control loss", segx.sweep, {dump = R, loss = L.ce {}, want = {"control"}})
  throws("cannot be split", segx.sweep,
    {dump = R, loss = L.generalized_dice {}, want = {"per_class"}})
end)

test "axes" (function()
  eq(A.lin("a", 0, 1, 3):eval():totable(), {0, 0.5, 1})
  eq(A.log("b", 1, 16, 5):eval():totable(), {1, 2, 4, 8, 16})
  eq(A.lin("c", 0, 1, 11):eval():totable()[4], 0.3)
  throws("a word", A.grid, "my axis", {1})
  throws("needs a list of values", A.grid, "g", {})
  throws("at least 2", A.lin, "g", 0, 1, 1)
  throws("must be positive", A.log, "g", 0, 1, 3)
  throws("'b' has 1 values, 'a' has 2", A.zip, "a", {1, 2}, "b", {1})
end)
