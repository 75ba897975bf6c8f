-- test_fields.lua: operators that look at all pixels of an image, or of a batch of images, together (sums in order, distances), and
-- the losses made of them. Gradients against PyTorch: test_grad.lua.
local T = require "harness"
local F = require "fixtures"
local segx = require "segx"
local core = require "segx.core"
local tensor = require "segx.tensor"
local test, eq, near, ok, throws = T.test, T.eq, T.near, T.ok, T.throws
local L, A = segx.loss, segx.axis
local value = F.value

local EXACT = 1e-12

-- -- Numbers by hand --------------------------------------------------------------------------------

local T1, T2, T1i = F.T1(), F.T2(), F.T1i()
local ln2 = math.log(2)

-- One row of two classes; p: probability of class 1, or at 0 and 1 a logit of 1000.
local function row(p, labels, more)
  local pixels = {}
  for i, v in ipairs(p) do
    pixels[i] = v == 0 and {1000.0, 0.0} or v == 1 and {0.0, 1000.0} or {math.log(1 - v), math.log(v)}
  end
  return F.row(pixels, labels, more)
end

local line = {0, 0, 1, 1, 1, 0}

for _, r in ipairs {
  {"lovasz: classes .5 .5 .75", L.lovasz_softmax {}, T1, 1.75 / 3},
  {"lovasz: absent classes are left out", L.lovasz_softmax {}:on {"0"}, F.T2b(), 0.5},
  {"lovasz: of an absent class the largest p", L.lovasz_softmax {empty = "smooth"}:on {"1"}, F.T2b(), 0.25},
  {"lovasz: at 0 and 1 it is 1 - IoU", L.lovasz_softmax {}, row({0, 1, 1, 1, 0, 0}, line), 0.5},
  {"lovasz: nothing wrong", L.lovasz_softmax {}, row(line, line), 0},
  {"hinge: margins of 1 and more cost nothing", L.lovasz_hinge {}, row(line, line), 0},
  {"hinge: two classes at p = .5", L.lovasz_hinge {}, row({0.5, 0.5, 0.5, 0.5, 0.5, 0.5}, line), 1},
  {"hinge: all ignored", L.lovasz_hinge {}, row({0.5, 0.5}, {255, 255}, {ignore_index = 255}), 0},
  {"top half", L.topk_ce {k = 0.5}, T1, 1.5 * ln2},
  {"top quarter", L.topk_ce {k = 0.25}, T1, 2 * ln2},
  {"top 10 % of four pixels: one (nnU-Net: none, NaN)", L.topk_ce {}, T1, 2 * ln2},
  {"all of them", L.topk_ce {k = 1}, T1, 1.25 * ln2},
  {"ignored pixels are not among them (nnU-Net counts them)", L.topk_ce {k = 1}, T1i, ln2},
  {"top half of chosen labels", L.topk_ce {k = 0.5}:on {"1", "2"}, T1, 2 * ln2},
  {"ohem", L.ohem_ce {threshold = 0.4, min_kept = 1}, T1, 2 * ln2},
  {"ohem: none below, two kept (peers: NaN)", L.ohem_ce {threshold = 0.1, min_kept = 2}, T1, 1.5 * ln2},
  {"ohem: fewer pixels than are to be kept", L.ohem_ce {}, T1, 1.25 * ln2},
  {"boundary at p = .5", L.boundary {}, row({0.5, 0.5, 0.5, 0.5, 0.5, 0.5}, line), 0.25},
  {"boundary of the label itself", L.boundary {}, row(line, line), -1 / 6},
  {"boundary: absent and full classes", L.boundary {include_background = true}, row({0.5, 0.5}, {0, 0}), 0},
  {"hausdorff", L.hausdorff_dt {}, row({0, 0, 0, 1, 1, 1}, line), 2},
  {"hausdorff, log", L.hausdorff_dt {log = true}, row({0, 0, 0, 1, 1, 1}, line), math.log(3)},
  {"hausdorff: everything right", L.hausdorff_dt {}, row(line, line), 0},
} do
  local what, loss, d, want = table.unpack(r)
  test(what)(function() near(value(loss, d), want, EXACT, 1e-15) end)
end

if F.reference then return end

-- -- Against loops --------------------------------------------------------------------------------------

-- sum_above and sum_below by sorting a table: a, b, part flat lists.
local function by_sorting(a, b, part)
  local order, above, below, sum = {}, {}, {}, 0.0
  for i = 1, #a do
    above[i], below[i] = 0.0, 0.0
    if part[i] ~= 0 then order[#order + 1] = i end
  end
  table.sort(order, function(i, j) return a[i] > a[j] or a[i] == a[j] and i < j end)
  for _, i in ipairs(order) do
    sum = sum + b[i]
    above[i] = sum
  end
  for _, i in ipairs(order) do below[i] = sum - above[i] end
  return above, below
end

local function numbers(t, i) return tensor.flat(t[i]:eval {precision = "double"}) end

local function slice(list, from, n) return table.move(list, from, from + n - 1, 1, {}) end

local many = F.random(5, 5, 3, 4, 5)            -- 5 images of 4 x 5, some ignored
local PX = 20

-- What an image has of one plane, and of several images one after the other.
local function joined(t, images, plane)
  local all = {}
  for _, i in ipairs(images) do
    local v = numbers(t, i)
    table.move(v, plane * PX + 1, (plane + 1) * PX, #all + 1, all)
  end
  return all
end

local f = core.fields(many)

test "sums in order of every class, per image, batch and all" (function()
  local rounded = (f.logits * 2):floor()           -- many are equal
  for _, batch in ipairs {1, 2, 3, 0} do
    local above = core.sum_above(rounded, f.ce, nil, batch)
    local below = core.sum_below(rounded, f.ce, nil, batch)
    for first = 1, 5, batch == 0 and 5 or batch do
      local images = {}
      for i = first, math.min(5, first + (batch == 0 and 5 or batch) - 1) do images[#images + 1] = i end
      local ce, valid = joined(f.ce, images, 0), joined(f.valid, images, 0)
      for c = 0, 2 do
        local want_above, want_below = by_sorting(joined(rounded, images, c), ce, valid)
        near(joined(above, images, c), want_above, EXACT, 1e-12, ("above, batch %d"):format(batch))
        near(joined(below, images, c), want_below, EXACT, 1e-12, ("below, batch %d"):format(batch))
      end
    end
  end
end)

test "the place of a pixel; a number leaves the sum" (function()
  local place, four = f.ce:sum_above(), f.ce:sum_above(4)
  local valid = numbers(f.valid, 1)
  near(numbers(place, 1), (by_sorting(numbers(f.ce, 1), valid, valid)), 0)
  for k, v in ipairs(numbers(four, 1)) do eq(v, 4 * numbers(place, 1)[k]) end
end)

test "pixels outside of a mask take no part" (function()
  local inside = f.labels:ne(1)
  local loss = L.topk_ce {k = 0.4}:where(function() return inside end)
  local ce, want = 0.0, 0.0
  for i = 1, 5 do
    local valid, is_in, list = numbers(f.valid, i), numbers(inside, i), {}
    for k, v in ipairs(numbers(f.ce, i)) do
      if valid[k] ~= 0 and is_in[k] ~= 0 then list[#list + 1] = v end
    end
    table.sort(list, function(x, y) return x > y end)
    local kept = math.max(1, math.floor(0.4 * #list))
    ce = 0.0
    for k = 1, kept do ce = ce + list[k] / kept end
    want = want + ce / 5
  end
  near(value(loss, many), want, EXACT)
end)

test "distances in three dimensions; ignored pixels are no sites" (function()
  local labels, logits = {}, {}
  for z = 1, 3 do
    labels[z] = {}
    for y = 1, 4 do
      labels[z][y] = {}
      for x = 1, 5 do labels[z][y][x] = (z * 7 + y * 3 + x * 5) % 9 == 0 and 1 or x == 3 and y == 2 and 255 or 0 end
    end
  end
  for c = 1, 2 do
    logits[c] = {}
    for z = 1, 3 do
      logits[c][z] = {}
      for y = 1, 4 do
        logits[c][z][y] = {}
        for x = 1, 5 do logits[c][z][y][x] = (x * y * z * c) % 7 / 2 end
      end
    end
  end
  local d = segx.memory {logits = {logits}, labels = {labels}, ignore_index = 255}
  local got = numbers(core.fields(d).labels:ne(1):edt(), 1)
  local k = 0
  for z = 1, 3 do
    for y = 1, 4 do
      for x = 1, 5 do
        k = k + 1
        local least = math.huge
        for Z = 1, 3 do
          for Y = 1, 4 do
            for X = 1, 5 do
              if labels[Z][Y][X] == 1 then least = math.min(least, (x - X) ^ 2 + (y - Y) ^ 2 + (z - Z) ^ 2) end
            end
          end
        end
        near(got[k], labels[z][y][x] == 255 and 0 or math.sqrt(least), EXACT)
      end
    end
  end
end)

test "spacing: of the caller, of a file; distances grow with it" (function()
  local function near_edge(d) return numbers(core.fields(d).labels:edt(), 1) end
  local o = {logits = {{{{1, 1, 1}, {1, 1, 1}}, {{0, 0, 0}, {0, 0, 0}}}}, labels = {{{1, 1, 1}, {0, 1, 1}}}}
  near(near_edge(segx.memory(o)), {1, math.sqrt(2), math.sqrt(5), 0, 1, 2}, EXACT)
  o.spacing = {3, 0.5}
  near(near_edge(segx.memory(o)), {3, math.sqrt(9.25), math.sqrt(10), 0, 0.5, 1}, EXACT)
  near(L.boundary {}:eval(segx.memory(o), {precision = "double"}).value,
    (1 / (1 + math.exp(1))) * ((1 - 3) + (1 - math.sqrt(9.25)) + (1 - math.sqrt(10)) + 0.5 + 0 + 0) / 6, EXACT)
  o.spacing = {3}
  throws("spacing is not 2 positive numbers", function() return segx.memory(o) end)
  o.spacing = {3, -1}
  throws("spacing is not 2 positive numbers", function() return segx.memory(o) end)
  throws("spacing: entry 2 is a string", function() return segx.open("x.h5", {spacing = {1, "2"}}) end)
  local path = T.tmp "fields_spacing.h5"
  local w = segx.write_dump(path, {n = 1, classes = 2, dims = {2, 3}, spacing = {3, 0.5}})
  w:write(1, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0}, {1, 1, 1, 0, 1, 1})
  w:finish()
  local d <close> = segx.open(path)
  near(near_edge(d), {3, math.sqrt(9.25), math.sqrt(10), 0, 0.5, 1}, EXACT)
  ok(tostring(d):find "2 x 3, a pixel is 3 x 0.5", tostring(d))
  local other <close> = segx.open(path, {spacing = {1, 1}})
  near(near_edge(other), {1, math.sqrt(2), math.sqrt(5), 0, 1, 2}, EXACT)
  near(near_edge(d:subset {1}), near_edge(d), 0)
  -- sums of a folder belong to the spacing
  local folder = T.tmp "fields_spacing"
  local function kept(dump)
    local s = segx.sweep {dump = dump, loss = L.boundary {}, want = {"value"}, out = folder}:run()
    return s:column "value"[1], s.stats.cells_found
  end
  local a = kept(d)
  local b, found = kept(other)
  ok(a ~= b and found < 2, "another spacing is another sum")
end)

-- -- Loss functions of a user ------------------------------------------------------------------------

-- What is summed depends on the logits: the gradient goes back through the sum.
local weighted = L.define("weighted", {}, function(x)
  return (x.pt:sum_above(x.u) * x.ce + x.ce:sum_below(x.pt):square()) / 7
end)

-- One value per pixel in the order of every class, and values by class in the order of one.
local crossed = L.define("crossed", {}, function(x)
  return (x.logits:sum_above(x.u) + x.ce:sum_below(x.p:square())):sum("class") / 9
end)

test "gradient of what is summed in order" (function()
  for _, loss in ipairs {weighted, crossed, crossed {unit = {batch = 2}}} do
    local r = loss:check()
    ok(r.ok, tostring(r))
  end
end)

-- The key has a sweep axis, and the sum one more.
local swept = L.define("swept", {gamma = 2, share = 0.5}, function(x, q)
  local l = x.u ^ q.gamma * x.ce
  return segx.where(l:sum_above():le(q.share * 12), l, 0)
end)

-- Distances to the pixels that come first: an operator of an operator.
local nested = L.define("nested", {k = 3}, function(x, q)
  return x.ce * x.ce:sum_above():gt(q.k):edt()
end)

test "an operator of an operator" (function()
  local want = 0.0
  for i = 1, 5 do
    local ce, valid = numbers(f.ce, i), numbers(f.valid, i)
    local place, count = by_sorting(ce, valid, valid), 0
    for k = 1, PX do
      local least = math.huge
      for j = 1, PX do
        if valid[j] ~= 0 and place[j] <= 3 then
          local dx, dy = (k - 1) % 5 - (j - 1) % 5, (k - 1) // 5 - (j - 1) // 5
          least = math.min(least, dx * dx + dy * dy)
        end
      end
      if valid[k] ~= 0 then want, count = want + ce[k] * math.sqrt(least), count + 1 end
    end
  end
  near(value(nested {reduction = "sum", unit = "image"}, many) * 5, want, EXACT)
end)

test "wrong use" (function()
  throws("has no pixel axis", function() return f.ce:sum("pixel"):edt() end)
  throws("has no pixel axis", function() return core.sum_above(core.dense {1, 2, 3}, f.ce, nil, 1) end)
  throws("micro", function() return L.lovasz_softmax {average = "micro"}:eval(many) end)
  throws("k = 2; it must be between 0 and 1", function() return L.topk_ce {k = 2} end)
  throws("unknown unit 'picture'", function() return f.ce:sum_above(1, "picture") end)
end)

-- -- The engine -------------------------------------------------------------------------------------------

local gammas, shares = A.grid("gamma", {0, 1, 2.5}), A.grid("share", {0.25, 0.5})
local losses = {
  L.lovasz_softmax {}, L.lovasz_softmax {unit = {batch = 2}}, L.lovasz_softmax {unit = "dataset"}, L.ohem_ce {min_kept = 7},
  L.hausdorff_dt {}, nested {}, swept {gamma = gammas, share = shares, unit = {batch = 3}},
  0.5 * L.boundary {} + L.focal {gamma = gammas} + L.dice {},
}

local function text(loss, o)
  local r = segx.sweep {dump = many, loss = loss, want = {"value", "per_class"}, threads = o.threads, isa = o.isa, mem = o.mem,
    precision = o.precision, out = o.out}:run()
  return r:csv()
end

test "the same bytes for any number of threads, level and memory" (function()
  for k, loss in ipairs(losses) do
    for _, precision in ipairs {"single", "double"} do
      local want = text(loss, {threads = 1, precision = precision})
      for _, o in ipairs {{threads = 3}, {isa = "base"}, {threads = 2, mem = 200000}} do
        o.precision = precision
        ok(text(loss, o) == want, ("loss %d, %s"):format(k, precision))
      end
    end
  end
end)

test "alone, the bytes of a sweep" (function()
  local r = segx.sweep {dump = many, loss = swept {gamma = gammas, share = shares}, want = {"value"}}:run()
  eq(#r, 6)
  for one in r:rows() do
    eq(("%a"):format(one.value), ("%a"):format(swept {gamma = one.gamma, share = one.share}:eval(many).value))
  end
end)

test "from a run folder, the same bytes" (function()
  for k, loss in ipairs(losses) do
    local folder = T.tmp("fields" .. k)
    local want = text(loss, {})
    ok(text(loss, {out = folder}) == want, "written")
    ok(text(loss, {out = folder}) == want, "read")
  end
end)

test "one image's gradient is that of all, written" (function()
  for _, loss in ipairs {L.lovasz_softmax {unit = {batch = 2}}, L.hausdorff_dt {}, L.topk_ce {unit = "dataset"}} do
    local path = T.tmp "fields_grad.h5"
    loss:write_grad(many, path, {precision = "single", dtype = "float32"})
    local file <close> = io.open(path, "rb")
    local bytes = file:read "a"
    for i = 1, 5 do
      local g, packed = tensor.flat(loss:grad(many, i, {precision = "single"})), {}
      for k, v in ipairs(g) do packed[k] = ("<f"):pack(v) end
      ok(bytes:find(table.concat(packed), 1, true), ("%s, image %d"):format(loss, i))
    end
  end
end)

test "images of different sizes, sorted together" (function()
  local path = T.tmp "fields_sizes.h5"
  local w = segx.write_dump(path, {n = 2, classes = 2, dims = {2, 3}, logits_type = "float32", labels_type = "uint8"})
  for i = 1, 2 do w:write(i, {1, 2, 3, 4, 5, 6, 6 * i, 5, 4, 3, 2, 1}, {0, 1, 0, 1, 0, 1}) end
  w:finish()
  local d <close> = segx.open(path)
  local both = value(L.lovasz_softmax {unit = {batch = 2}}, d)
  near(both, value(L.lovasz_softmax {unit = "dataset"}, d), 0)
  ok(math.abs(both - value(L.lovasz_softmax {}, d)) > 1e-6, "sorted one by one")
end)

test "too much to sort at once: an error that says what to do" (function()
  local good, e = pcall(L.lovasz_softmax {unit = "dataset"}.eval, L.lovasz_softmax {unit = "dataset"}, many, {mem = 4096})
  ok(not good and e.message:find "of 5 images at once need 0%.%d+ MiB" and e.hint:find "unit = \"image\"", tostring(e))
  L.lovasz_softmax {}:eval(many, {mem = 4096})        -- one at a time always goes
end)

test "a plan for a GPU says that sorting stays on the CPU" (function()
  local k = core.kernels(many, {L.lovasz_softmax {}:tensor(many)})     -- pixels by label have a kernel; the sums in order have not
  ok(#k == 2 and k[1].text and k[2].why:find "run on the CPU", T.show(k))
end)

test "fits: sorted samples, but no distances" (function()
  local d = F.random(3, 6, 3, 6, 7)
  local r = segx.fit {dump = d, control = L.ce {}, loss = {L.lovasz_softmax {}, L.topk_ce {k = 0.5}}, iterations = 20}
  ok(r:best "fit.miou".fit_miou == nil and #r == 2, "two rows")
  throws("which a sample of pixels does not have", function()
    return segx.fit {dump = d, control = L.ce {}, loss = {L.boundary {}}}
  end)
end)
