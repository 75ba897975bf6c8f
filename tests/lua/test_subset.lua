-- test_subset.lua: d:subset(...), some images of a dump as a dump of its own.
local T = require "harness"
if os.getenv "SEGX_REF" then T.skip "the reference has no subsets" end
local F = require "fixtures"
local segx = require "segx"
local test, eq, near, throws, ok = T.test, T.eq, T.near, T.throws, T.ok
local L = segx.loss

test "subsets: their own images, in their order" (function()
  local d = F.random(3, 8, 3, 5, 6)
  local few <close> = d:subset {5, 2, 7}
  eq(#few, 3)
  for k, i in ipairs {5, 2, 7} do
    eq(L.ce {unit = "image"}(few, {precision = "double"}).images[k], L.ce {unit = "image"}(d, {precision = "double"}).images[i])
    eq(few.logits[k]:eval():totable(), d.logits[i]:eval():totable())
  end
  local sums = 0
  for i = 1, 8 do
    local one <close> = d:subset {i}
    sums = sums + L.ce {reduction = "sum"}(one, {precision = "double"}).value
  end
  near(sums, L.ce {reduction = "sum"}(d, {precision = "double"}).value, 1e-14)
  near(few:metrics {aggregation = "image"}.miou,
    (d:subset({5}):metrics {}.miou + d:subset({2}):metrics {}.miou + d:subset({7}):metrics {}.miou) / 3, 1e-12)
end)

test "subsets drawn at random are nested, by seed, and may outlive their dump" (function()
  local d = F.random(3, 8, 3, 5, 6)
  local four, six, other = d:subset(4), d:subset(6), d:subset(4, {seed = 1})
  local a, b, all = {}, {}, L.ce {unit = "image"}(d).images
  for _, v in ipairs(L.ce {unit = "image"}(six).images) do b[v] = true end
  for i, v in ipairs(L.ce {unit = "image"}(four).images) do
    a[i] = v
    ok(b[v], "nested")
  end
  local place = 0
  for i, v in ipairs(all) do if v == a[place + 1] then place = place + 1 end end
  eq(place, 4)
  ok(four:info().fingerprint == d:subset(4):info().fingerprint and four:info().fingerprint ~= other:info().fingerprint)
  d:close()
  collectgarbage()
  eq(L.ce {unit = "image"}(four).images, a)
  throws("1 to 6, or a list", function() six:subset(7) end)
  throws("image 2 is named twice", function() six:subset {2, 2} end)
  throws("number of an image", function() six:subset {7} end)
  throws("a seed is for a number", function() six:subset({1}, {seed = 2}) end)
  throws("unknown option 'sed' %(did you mean 'seed'", function() six:subset(1, {sed = 2}) end)
end)
