-- test_metrics.lua: confusion matrices, metrics, their aggregations and the rules for 0/0; rank
-- correlation.
local T = require "harness"
local F = require "fixtures"
local segx = require "segx"
local stat = require "segx.stat"
local test, eq, near, throws, ok = T.test, T.eq, T.near, T.throws, T.ok

local function nan(v) return v ~= v end

test "T1" (function()
  local m = F.T1():metrics {}
  eq(m.confusion, {{2.0, 0.0, 0.0}, {0.0, 1.0, 0.0}, {1.0, 0.0, 0.0}})
  near({m.iou[0], m.iou[1], m.iou[2]}, {2 / 3, 1, 0}, 1e-15)
  near({m.dice[0], m.dice[1], m.dice[2]}, {0.8, 1, 0}, 1e-15)
  near({m.miou, m.mdice}, {5 / 9, 0.6}, 1e-15)
  near({m.pixel_accuracy, m.mean_accuracy}, {0.75, 2 / 3}, 1e-15)
  ok(nan(m.precision[2]), "precision of a class never predicted")
  near(m.mean_precision, (2 / 3 + 1) / 2, 1e-15)
end)

test "ignored pixels are not in the matrix" (function()
  local m = F.T1i():metrics {}
  eq(m.confusion, {{2.0, 0.0, 0.0}, {0.0, 1.0, 0.0}, {0.0, 0.0, 0.0}})
  ok(nan(m.iou[2]) and nan(m.recall[2]), "absent and not predicted")
  eq({m.miou, m.mean_accuracy}, {1.0, 1.0})
end)

test "absent but predicted is 0" (function()
  local d = F.row({{0, 5}, {5, 0}}, {0, 0})
  local m = d:metrics {}
  eq({m.iou[0], m.iou[1], m.miou}, {0.5, 0.0, 0.25})
end)

test "ties go to the lowest class" (function()
  local m = F.row({{1, 1, 1}, {0, 2, 2}}, {0, 1}):metrics {}
  eq(m.pixel_accuracy, 1.0)
end)

test "aggregations" (function()
  -- Class 1: image 1 has one pixel, found; image 2 has none and four false positives.
  local function row(pixels)
    local p = {{{}}, {{}}} for i, v in ipairs(pixels) do p[1][1][i], p[2][1][i] = 1
      - v, v end return p
  end
  local d = segx.memory {logits = {row {1, 0, 0, 0}, row {1, 1, 1, 1}},
    labels = {{{1, 0, 0, 0}}, {{0, 0, 0, 0}}}}
  near(d:metrics {}.dice[1], 1 / 3, 1e-15)
  near(d:metrics {aggregation = "image_class"}.dice[1], 1 / 2, 1e-15)
  local m = d:metrics {aggregation = "class_image"}
  near({m.dice[0], m.dice[1], m.mdice, m.pixel_accuracy}, {0.5, 0.5, 0.5, 0.5}, 1e-15)
  eq(d:metrics {aggregation = "image"}.mdice, m.mdice)
  throws("unknown aggregation 'imge' %(did you mean 'image'", d.metrics, d, {aggregation = "imge"})
end)

test "class means and image means differ" (function()
  -- Image 1 holds classes 0 and 1, both right; image 2 holds class 0 only, half of it called 1.
  local function row(pixels)
    local p = {{{}}, {{}}} for i, v in ipairs(pixels) do p[1][1][i], p[2][1][i] = 1
      - v, v end return p
  end
  local d = segx.memory {logits = {row {0, 1}, row {0, 1}}, labels = {{{0, 1}}, {{0, 0}}}}
  near(d:metrics {aggregation = "image_class"}.mean_accuracy, (0.75 + 1) / 2, 1e-15)
  near(d:metrics {aggregation = "class_image"}.mean_accuracy, (1 + 0.5) / 2, 1e-15)
end)

test "columns and printing" (function()
  local m = F.T1 {class_names = {"road", "sky", "pole"}}:metrics {}
  near(m:get "iou.road", 2 / 3, 1e-15)
  near(m:get "accuracy", 0.75, 1e-15)
  eq(m:get "iou.tree", nil)
  near(m.iou.road, 2 / 3, 1e-15)
  local text = tostring(m)
  ok(text:find "road" and text:find "aggregation dataset", text)
end)

-- Kendall's tau-b, straight from its definition.
local function slow_kendall(x, y)
  local score, dx, dy = 0, 0, 0
  for i = 1, #x do
    for j = 1, i - 1 do
      local a, b = x[i] - x[j], y[i] - y[j]
      local sa, sb = a > 0 and 1 or a < 0 and -1 or 0, b > 0 and 1 or b < 0 and -1 or 0
      score, dx, dy = score + sa * sb, dx + sa * sa, dy + sb * sb
    end
  end
  return score / math.sqrt(dx * dy)
end

test "kendall" (function()
  eq(stat.kendall({1, 2, 3, 4}, {10, 20, 30, 40}), 1.0)
  eq(stat.kendall({1, 2, 3, 4}, {4, 3, 2, 1}), -1.0)
  ok(nan(stat.kendall({1, 1, 1}, {1, 2, 3})), "a constant list")
  local state = 11
  local function small() state = state * 16807 % 2147483647 return state % 7 end
  for n = 2, 60 do
    local x, y = {}, {}
    for i = 1, n do x[i], y[i] = small(), small() end
    near(stat.kendall(x, y), slow_kendall(x, y), 1e-14)
  end
  near(stat.kendall({1, 0 / 0, 2, 3}, {1, 5, 3, 2}), 1 / 3, 1e-15)
end)
