-- Gradients: against PyTorch (golden numbers), against differences, closed forms, reports, files.
local T = require "harness"
local F = require "fixtures"
local test, eq, near, ok, throws, skip = T.test, T.eq, T.near, T.ok, T.throws, T.skip
local segx = require "segx"
local core = require "segx.core"
local tensor = require "segx.tensor"
local L, A = segx.loss, segx.axis

local golden = dofile(T.source "tests/lua/ref_golden_grad.lua")

local function build(text)
  return assert(load("local L = ... return " .. text))(L)
end

local function flat(t) return tensor.flat(t) end

-- Gradient of all images as one flat list.
local function gradient(loss, d, precision)
  local all = {}
  for i = 1, #d do
    local g = flat(loss:grad(d, i, {precision = precision}))
    table.move(g, 1, #g, #all + 1, all)
  end
  return all
end

local fixtures = {T1 = F.T1, T2 = F.T2, T1i = F.T1i,
  random = function() return (F.random(11, 2, 3, 2, 3)) end}

local function sorted(t)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys)
  return keys
end

local function largest(list)
  local m = 0.0
  for _, v in ipairs(list) do m = math.max(m, math.abs(v)) end
  return m
end

for _, name in ipairs(sorted(golden)) do
  test("equal to PyTorch autograd on " .. name, function()
    local d = fixtures[name]()
    for _, text in ipairs(sorted(golden[name])) do
      local want, loss = golden[name][text], build(text)
      near(loss:eval(d, {precision = "double"}).value, want.value, 1e-12, 1e-15, text)
      local list, scale = {table.unpack(want)}, largest(want)
      near(gradient(loss, d, "double"), list, 1e-9, 1e-9 * scale, text .. " in double")
      near(gradient(loss, d, "single"), list, 1e-5, 1e-5 * scale, text .. " in single")
    end
  end)
end

-- -- Against differences -------------------------------------------------------------------------

for _, def in ipairs(L.list()) do
  test("check of " .. def.name, function()
    local r = L[def.name]:check()
    ok(r.ok, tostring(r))
  end)
end

test "check: gammas at and around the edges, p_t = 0 and 1, logits of +-10000" (function()
  local gamma = A.grid("gamma", {0, 0.3, 0.5, 1, 2, 5})
  for _, loss in ipairs {
    L.focal{gamma = gamma}, L.focal{gamma = gamma, alpha = {1, 2, 4}},
    L.focal_sigmoid{gamma = gamma, alpha = 0.25}, L.focal_tversky{gamma = gamma, smooth = 1},
    0.3 * L.dice{smooth = 1} + L.focal{gamma = gamma}, L.focal{gamma = gamma, unit = "image"},
  } do
    local r = loss:check()
    ok(r.ok, tostring(loss) .. ": " .. tostring(r))
  end
end)

test "check: options and units" (function()
  for _, loss in ipairs {
    L.ce{label_smoothing = 0.1, weight = {1, 2, 4}}, L.ce{reduction = "per_class"},
    L.ce{reduction = "weighted_mean", weight = {1, 2, 4}}, L.ce{reduction = "mean_image"},
    L.dice{unit = "image"}, L.dice{unit = {batch = 2}}, L.dice{include_background = false},
    L.dice{average = "micro"}, L.dice{squared = true}, L.dice{weight = {1, 2, 4}, smooth = 1e-5},
    L.dice{log = true}, L.jaccard{unit = "image"}, L.tversky{alpha = 0.3, beta = 0.7},
    L.generalized_dice{weight_type = "simple", unit = "image"}, L.ce{}:on{"1", "2"},
    L.focal{}:where(function(x) return x.labels:eq(1) end), L.ce{} - 0.5 * L.dice{},
  } do
    local r = loss:check()
    ok(r.ok, tostring(loss) .. ": " .. tostring(r))
  end
end)

test "check: a loss of one's own, two classes, and a wrong gradient" (function()
  local wing = L.define("wing", {m = 0.35, s = 8}, function(x, q)
    return -x.logpt * ((q.m - x.pt) * q.s):sigmoid()
  end)
  ok(wing:check().ok)
  ok(wing:check{classes = 2}.ok)
  local wrong = L.define("wrong", {}, function(x) return x.ce * x.u:stop() end)
  local r = wrong:check()
  eq(r.ok, false)
  ok(r.max_error > 1e-2 and r.where.class, tostring(r))
end)

local function all_zero(list)
  for _, v in ipairs(list) do
    if v ~= 0 then return false end
  end
  return true
end

test "nothing to learn from: all pixels ignored" (function()
  local d = F.T1 {labels = {{{255, 255}, {255, 255}}}, ignore_index = 255}
  for _, def in ipairs(L.list()) do
    ok(all_zero(gradient(L[def.name], d, "double")), def.name)
    ok(all_zero(gradient(L[def.name], d, "single")), def.name)
  end
end)

test "finite in single precision at any margin, 0 at ignored pixels" (function()
  local gamma = A.grid("gamma", {0, 0.3, 0.5, 1, 2, 5})
  local big = 1e4
  local d = F.row({{big, 0, 0}, {-big, 0, 0}, {0, big, 0}, {104, 0, 0}, {-104, 0, 0},
    {17, 0, 0}, {0, 0, 0}, {0, -math.huge, -math.huge}, {big, big, big}},
    {0, 0, 0, 0, 0, 0, 0, 0, 255}, {ignore_index = 255, logits_type = "float32"})
  for _, loss in ipairs {L.focal{gamma = gamma}, L.ce{}, L.dice{}, L.generalized_dice{},
    L.focal_tversky{gamma = 0.75}, L.dice{} + L.focal{gamma = gamma}} do
    for _, precision in ipairs {"single", "double"} do
      local g = flat(loss:grad(d, 1, {precision = precision}))
      for k, v in ipairs(g) do
        ok(v == v and math.abs(v) < math.huge, tostring(loss) .. " at " .. k)
        if k % 9 == 0 then eq(v, 0.0, "ignored") end
      end
    end
  end
end)

test "one channel: a sigmoid, seen as two logits 0 and x" (function()
  local d = segx.memory {logits = {{{{1.5, -2}}}}, labels = {{{0, 1}}}}
  local g = gradient(L.ce{reduction = "sum"}, d, "double")
  local function sigmoid(x) return 1 / (1 + math.exp(-x)) end
  near(g, {-sigmoid(1.5), 1 - sigmoid(-2), sigmoid(1.5), sigmoid(-2) - 1}, 1e-14)
end)

-- -- Closed forms --------------------------------------------------------------------------------

test "size of the focal gradient: 2 w u^(g+1) (1 + g pt ce / u)" (function()
  local d, logits, labels = F.random(5, 2, 4, 5, 6)
  local w, gammas = {1, 2, 0.5, 3}, {0, 0.5, 2, 5}
  local r = L.focal{gamma = A.grid("gamma", gammas), alpha = w, reduction = "sum"}:gradients(d,
    {precision = "double", want = {"share"}})
  for k, gamma in ipairs(gammas) do
    local by = {0.0, 0.0, 0.0, 0.0}
    for i, image in ipairs(labels) do
      for y, row in ipairs(image) do
        for x, c in ipairs(row) do
          if c ~= 255 then
            local s, u = 0.0, 0.0
            for m = 1, 4 do
              local e = math.exp(logits[i][m][y][x] - logits[i][c + 1][y][x])
              s = s + e
              if m ~= c + 1 then u = u + e end
            end
            u = u / s
            by[c + 1] = by[c + 1]
              + 2 * w[c + 1] * u ^ (gamma + 1) * (1 + gamma / s * math.log(s) / u)
          end
        end
      end
    end
    local total = by[1] + by[2] + by[3] + by[4]
    near(r.l1[k], total, 1e-12)
    for c = 1, 4 do near(r.share[k][c], by[c] / total, 1e-12) end
  end
end)

test "softmax gradients sum to 0 over channels" (function()
  local d = F.random(9, 1, 4, 3, 3)
  for _, loss in ipairs {L.ce{}, L.focal{gamma = 3}, L.dice{}, L.generalized_dice{}} do
    local g = flat(loss:grad(d, 1, {precision = "double"}))
    for px = 1, 9 do near(g[px] + g[px + 9] + g[px + 18] + g[px + 27], 0, 0, 1e-15) end
  end
end)

-- -- segx.grad -----------------------------------------------------------------------------------

local function slope(f, x, h)
  return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h)
end

local function double(loss, d) return loss:eval(d, {precision = "double"}).value end

test "by scalar parameters" (function()
  local d = F.random(3, 2, 3, 4, 4)
  local gamma = core.leaf(2.0, "gamma")
  local g = segx.grad(L.focal{gamma = gamma}:tensor(d), gamma):eval{precision = "double"}:item()
  near(g, slope(function(v) return double(L.focal{gamma = v}, d) end, 2.0, 1e-3), 1e-9)
  local alpha = core.leaf(0.3, "alpha")
  g = segx.grad(L.tversky{alpha = alpha, beta = 0.7}:tensor(d), alpha):eval{precision = "double"}
  near(g:item(), slope(function(v) return double(L.tversky{alpha = v, beta = 0.7}, d) end, 0.3,
    1e-3), 1e-9)
  local one = core.leaf(1.0, "one")      -- a parameter of 1 is no constant 1
  local x = core.fields(d)
  near(segx.grad((one - x.pt):sum(), one):eval():item(), x.valid:sum():eval():item(), 1e-12)
end)

test "by class weights and along a sweep axis" (function()
  local d = F.random(3, 2, 3, 4, 4)
  local w = core.leaf(core.dense {1, 2, 4}, "w")
  local loss = L.ce{weight = w, reduction = "weighted_mean"}
  local g = segx.grad(loss:tensor(d), w):eval{precision = "double"}
  for c = 1, 3 do
    near(g[c], slope(function(v)
      local list = {1.0, 2.0, 4.0}
      list[c] = v
      return double(L.ce{weight = list, reduction = "weighted_mean"}, d)
    end, 2.0 ^ (c - 1), 1e-3), 1e-9)
  end
  local gamma = A.grid("gamma", {0.5, 1, 3})
  g = segx.grad(L.focal{gamma = gamma}:tensor(d), gamma):eval{precision = "double"}
  for k, at in ipairs {0.5, 1, 3} do
    near(g[k], slope(function(v) return double(L.focal{gamma = v}, d) end, at, 1e-3), 1e-8)
  end
end)

test "by probabilities" (function()
  local d = segx.memory {logits = {{{{math.log(2)}}, {{0}}, {{0}}}}, labels = {{{0}}}}
  local x = core.fields(d)
  local function g(y) return flat(segx.grad(y:sum(), x.p)[1]:eval{precision = "double"}) end
  near(g(x.p:square()), {1, 0.5, 0.5}, 1e-14)
  near(g(x.ce), {-2, 0, 0}, 1e-14)
  near(g(x.logp), {2, 4, 4}, 1e-14)
  near(g(x.u ^ 2 * x.ce), {math.log(0.5) - 0.5, 0, 0}, 1e-14)
  near(g(x.logu), {-2, 0, 0}, 1e-14)
end)

test "twice" (function()
  local d = segx.memory {logits = {{{{math.log(2)}}, {{0}}, {{0}}}}, labels = {{{0}}}}
  local g = segx.grad(L.ce{}, d.logits)
  local h = segx.grad(g:square():sum(), d.logits)
  near(flat(h[1]:eval{precision = "double"}), {-0.375, 0.1875, 0.1875}, 1e-14)
  local dice = segx.grad(L.dice{}, d.logits):square():sum()
  ok(core.axes(segx.grad(dice, d.logits)).pixel)
end)

test "wrong use" (function()
  local d = F.T1()
  throws("derive by", function() segx.grad(L.ce{}, 3) end)
  throws("which dump", function() segx.grad(L.ce{}, core.leaf(1, "a")) end)
  throws("name", function() core.leaf(1) end)
  throws("sweep axes", function()
    L.focal{gamma = A.grid("gamma", {0, 1})}:write_grad(d, T.tmp "never.h5")
  end)
  throws("not a loss", function() L.ce{}:shares(d, {against = 3}) end)
  throws("unknown", function() L.ce{}:gradients(d, {want = {"shares"}}) end)
end)

-- -- Passes --------------------------------------------------------------------------------------

local function passes(loss, d, want)
  local sw = segx.sweep {dump = d, loss = loss, want = want}
  return sw:plan().passes
end

test "pixel losses need one pass, class statistics and mixtures two" (function()
  local d = F.T2()
  for _, want in ipairs {{"grad.share"}, {"grad.energy"}, {"grad.l2", "grad.share"}} do
    eq(passes(L.ce{}, d, want), 1)
    eq(passes(L.focal{gamma = A.grid("gamma", {0, 1, 2})}, d, want), 1)
    eq(passes(L.dice{}, d, want), 2)
    eq(passes(L.dice{} + 0.5 * L.focal{} + L.generalized_dice{}, d, want), 2)
    eq(passes(L.dice{unit = "image"}, d, want), 2)
  end
end)

test "what is free: class weights, and mixes in the energy" (function()
  local d = F.T2()
  local s, mix = A.grid("s", {0, 0.5, 1}), A.lin("mix", 0, 1, 5)
  local w = core.axis("w", {core.dense {1, 2, 4}, core.dense {1, 1, 1}})
  local function free(loss, want)
    return segx.sweep {dump = d, loss = loss, want = want}:plan().free
  end
  eq(free(L.focal{gamma = 2, alpha = w}, {"grad.share", "grad.energy"}), {"w"})
  eq(free(L.ce{weight = core.dense {1, 2, 4} ^ s}, {"grad.share"}), {"s"})
  eq(free(mix * L.dice{} + (1 - mix) * L.focal{}, {"grad.energy", "grad.l2"}), {"mix"})
  eq(free(mix * L.dice{} + (1 - mix) * L.focal{}, {"grad.share"}), {})
end)

-- The engine takes factors out of sizes where all are on one side of 0 (a gamma of the focal loss, say), and else not: both are
-- right, and a configuration has the same bits alone.
test "shares of mixes and gammas on either side of 0" (function()
  local d = F.random(31, 3, 4, 5, 7)
  local mix, gamma = A.grid("mix", {-0.5, 0, 0.25, 1, 1.5}), A.grid("gamma", {-0.5, 0.5, 2.3})
  local power = L.define("power", {gamma = 2}, function(x, q) return x.u ^ q.gamma * x.ce end)
  local function loss(m, g) return m * L.ce{} + (1 - m) * power{gamma = g} end
  for _, precision in ipairs {"single", "double"} do
    local r = segx.sweep {dump = d, loss = loss(mix, gamma), want = {"grad.share", "grad.l1"},
      precision = precision}:run()
    for row in r:rows() do
      local alone = segx.sweep {dump = d, loss = loss(row.mix, row.gamma), want = {"grad.share", "grad.l1"},
        precision = precision}:run()
      eq(alone:column "grad.l1"[1], row["grad.l1"])
      for _, name in ipairs(d:info().class_names) do
        eq(alone:column("grad.share." .. name)[1], row["grad.share." .. name])
      end
      local total = 0.0
      for i = 1, #d do
        for _, v in ipairs(flat(loss(row.mix, row.gamma):grad(d, i, {precision = "double"}))) do
          total = total + math.abs(v)
        end
      end
      near(row["grad.l1"], total, precision == "double" and 1e-12 or 1e-6)
    end
  end
end)

-- -- Reports -------------------------------------------------------------------------------------

-- Shares and the like from the plane itself.
local function by_hand(loss, d, labels)
  local C = d:info().classes
  local r = {share = {}, energy = {}, flow = {}, net = {}, positive = {}, negative = {}, sizes = {}}
  for c = 1, C do
    r.share[c], r.energy[c], r.positive[c], r.negative[c] = 0.0, 0.0, 0.0, 0.0
    r.flow[c], r.net[c] = {}, {}
    for k = 1, C do r.flow[c][k], r.net[c][k] = 0.0, 0.0 end
  end
  for i = 1, #d do
    local g = loss:grad(d, i, {precision = "double"}):totable()
    for y, row in ipairs(labels[i]) do
      for x, c in ipairs(row) do
        if c ~= 255 then
          local size = 0.0
          for k = 1, C do
            local v = g[k][y][x]
            size = size + math.abs(v)
            r.share[c + 1] = r.share[c + 1] + math.abs(v)
            r.energy[c + 1] = r.energy[c + 1] + v * v
            r.flow[c + 1][k] = r.flow[c + 1][k] + math.abs(v)
            r.net[c + 1][k] = r.net[c + 1][k] + v
            local side = v > 0 and r.positive or r.negative
            side[k] = side[k] + math.abs(v)
          end
          r.sizes[#r.sizes + 1] = size
        end
      end
    end
  end
  return r
end

local function normal(list)
  local sum, out = 0.0, {}
  for _, v in ipairs(list) do sum = sum + v end
  for k, v in ipairs(list) do out[k] = v / sum end
  return out, sum
end

test "reports equal sums over the gradient itself" (function()
  local d, _, labels = F.random(21, 3, 4, 6, 7)
  for _, loss in ipairs {L.ce{}, L.focal{gamma = 2, alpha = {1, 2, 4, 1}}, L.dice{},
    0.5 * L.dice{} + 2 * L.focal{}, L.dice{unit = "image"}} do
    local want = by_hand(loss, d, labels)
    local r = loss:gradients(d, {precision = "double",
      want = {"share", "energy", "sign", "flow", "hardest"}})
    local share, l1 = normal(want.share)
    local energy, l2 = normal(want.energy)
    near(r.l1, l1, 1e-12)
    near(r.l2, math.sqrt(l2), 1e-12)
    for c = 1, 4 do
      near(r.share[c - 1], share[c], 1e-12)
      near(r.energy[c - 1], energy[c], 1e-12)
      near(r.positive[c - 1], want.positive[c], 1e-12)
      near(r.negative[c - 1], want.negative[c], 1e-12)
    end
    near(r.flow:totable(), want.flow, 1e-12)
    near(r.net:totable(), want.net, 1e-12, 1e-15)
    local images = r.images.share:totable()
    local sum = {0.0, 0.0, 0.0, 0.0}
    for _, row in ipairs(images) do
      for c = 1, 4 do sum[c] = sum[c] + row[c] end
    end
    near(sum, want.share, 1e-12)
    table.sort(want.sizes, function(a, b) return a > b end)
    local k = math.max(1, #want.sizes // 100)
    near(r.hardest, want.sizes[k] / l1, 0.1)        -- one pixel in a level 20 % wide
    ok(tostring(r):find "hardest")
  end
end)

test "histogram of the sizes: every pixel in one bin" (function()
  local d, _, labels = F.random(24, 3, 4, 6, 7)
  local sweep = L.focal{gamma = A.grid("gamma", {0, 2})}:gradients(d, {want = {"norms"}, precision = "double"})
  eq(#sweep.norms, 2)
  for _, loss in ipairs {L.focal{gamma = 2}, 0.5 * L.dice{} + 2 * L.ce{}} do
    local sizes = by_hand(loss, d, labels).sizes
    local r = loss:gradients(d, {want = {"norms"}, precision = "double"})
    local total, pixels, gradient = 0.0, 0.0, 0.0
    for _, v in ipairs(sizes) do total = total + v end
    local mean = total / #sizes
    for _, bin in ipairs(r.norms) do
      local n, sum = 0, 0.0
      for _, v in ipairs(sizes) do
        if v >= bin.from * mean and v < bin.to * mean then n, sum = n + 1, sum + v end
      end
      near(bin.pixels, n / #sizes, 1e-12)
      near(bin.gradient, sum / total, 1e-12)
      pixels, gradient = pixels + bin.pixels, gradient + bin.gradient
    end
    near(pixels, 1, 1e-12)
    near(gradient, 1, 1e-12)
    ok(tostring(r):find "size / mean")
    local counts = tensor.flat(r.images.norms.count)
    eq(#counts, #r.images.norms.levels * 3 * 4)
  end
  for k, bin in ipairs(L.focal{gamma = 2}:gradients(d, {want = {"norms"}, precision = "double"}).norms) do
    eq(sweep.norms[2][k].pixels, bin.pixels)
    near(sweep.norms[2][k].gradient, bin.gradient, 1e-14)
  end
end)

test "hardest 1 % of many pixels, over a sweep" (function()
  local d, _, labels = F.random(4, 4, 3, 40, 40)
  local gammas = {0, 2, 5}
  local r = L.focal{gamma = A.grid("gamma", gammas)}:gradients(d, {want = {"hardest"}})
  for k, gamma in ipairs(gammas) do
    local sizes = by_hand(L.focal{gamma = gamma}, d, labels).sizes
    table.sort(sizes, function(a, b) return a > b end)
    local all, top = 0.0, 0.0
    for i, v in ipairs(sizes) do
      all = all + v
      if i <= #sizes // 100 then top = top + v end
    end
    near(r.hardest[k], top / all, 0.05)
  end
end)

test "a sweep's columns equal the single losses" (function()
  local d = F.random(8, 2, 3, 5, 5)
  local gammas, mixes = {0, 1, 2.5}, {0, 0.3, 1}
  local gamma, mix = A.grid("gamma", gammas), A.grid("mix", mixes)
  local loss = mix * L.focal{gamma = gamma} + (1 - mix) * L.dice{}
  local r = segx.sweep {dump = d, loss = loss, control = L.ce{}, precision = "double",
    want = {"grad.share", "grad.energy.1", "grad.l1", "grad.l2", "grad.cosine"}}:run()
  eq(#r, 9)
  for row in r:rows() do
    local one = row.mix * L.focal{gamma = row.gamma} + (1 - row.mix) * L.dice{}
    local g = one:gradients(d, {precision = "double"})
    for c = 0, 2 do near(row["grad.share." .. c], g.share[c], 1e-10) end
    near(row["grad.energy.1"], g.energy[1], 1e-10)
    near(row["grad.l1"], g.l1, 1e-10)
    near(row["grad.l2"], g.l2, 1e-10)
    near(row["grad.cosine"], one:cosine(d, L.ce{}, {precision = "double"}).value, 1e-10)
  end
  throws("grad.share", function() segx.sweep {dump = d, loss = loss, want = {"grad.shares"}} end)
  throws("control", function() segx.sweep {dump = d, loss = loss, want = {"grad.cosine"}} end)
end)

test "cosine" (function()
  local d = F.random(8, 2, 3, 5, 5)
  near(L.ce{}:cosine(d, 3 * L.ce{}, {precision = "double"}).value, 1, 1e-12)
  near(L.ce{}:cosine(d, -L.ce{}, {precision = "double"}).value, -1, 1e-12)
  local c = L.ce{}:cosine(d, L.focal{gamma = 5}, {precision = "double"})
  ok(c.value > 0 and c.value < 1 and #c.images == 2 and c.class["1"] and c.tau <= 1)
end)

test "shares: a table with names" (function()
  local d = F.T1 {class_names = {"road", "pole", "sky"}}
  local r = L.focal{gamma = 2}:shares(d, {against = L.ce{}, precision = "double"})
  near(r.road.pixels, 0.5, 1e-12)
  -- sizes 2 u: 1 1 1 1.5
  near({r.road.control, r.pole.control, r.sky.control}, {2 / 4.5, 1 / 4.5, 1.5 / 4.5}, 1e-12)
  near(r.road.change, r.road.this - r.road.control, 1e-12)
  local text = tostring(r)
  ok(text:find "control" and text:find "pole" and text:find "change" and text:find "█")
  local v = L.ce{}:shares(d, {of = "value", precision = "double"})
  near({v[1].this, v[2].this, v[3].this}, {0.4, 0.2, 0.4}, 1e-12)
end)

test "same bits for any number of threads and any company" (function()
  local d = F.random(31, 5, 4, 9, 11)
  local loss = L.dice{} + L.focal{gamma = 1.7}
  local function numbers(opts)
    opts.want = {"share", "energy", "flow"}
    local r = loss:gradients(d, opts)
    return {r.l1, r.l2, r.share[1], r.flow:totable(), r.images.energy:totable()}
  end
  eq(numbers {threads = 3}, numbers {threads = 1})
  local gamma = A.grid("gamma", {0, 1.7, 4})
  local many = (L.dice{} + L.focal{gamma = gamma}):gradients(d, {want = {"share", "energy"}})
  eq(many.l1[2], numbers {}[1])
  eq(many.l2[2], numbers {}[2])
  local g = segx.grad(loss, d.logits)
  local list = {core.nsum(core.bysum(g:abs())), core.image(g, 2)}
  for _, precision in ipairs {"single", "double"} do
    local best = core.eval(d, list, {precision = precision})
    local base = core.eval(d, list, {precision = precision, isa = "base"})
    for k = 1, 2 do eq(base[k]:totable(), best[k]:totable(), precision) end
  end
end)

-- -- Curve ---------------------------------------------------------------------------------------

test "curve: focal against its formula, histogram of the dump" (function()
  local d = F.T2()
  local c = L.focal{gamma = 2}:curve {hist = d, bins = 10}
  eq(#c, 10)
  for _, p in ipairs(c) do
    local u = 1 - p.pt
    near(p.loss, -u ^ 2 * math.log(p.pt), 1e-12)
    near(p.gradient, 2 * u ^ 3 * (1 - 2 * p.pt * math.log(p.pt) / u), 1e-12)
  end
  eq(c.pixels, 8.0)
  eq(c[3].pixels, 1.0)               -- p_t = 0.25
  eq(c[6].pixels + c[5].pixels, 7.0) -- p_t = 0.5, on an edge
  eq(c[3].by_class["2"], 1.0)
  ok(tostring(c):find "p_t" and c:classes():find "class")
  eq(#L.ce{}:curve {}, 20)
  throws("bins", function() L.ce{}:curve {bins = 1} end)
end)

-- -- Files ---------------------------------------------------------------------------------------

test "write_grad: files, the value, walks" (function()
  local d = F.random(12, 3, 3, 4, 5)
  local loss = L.dice{} + L.focal{gamma = 2}
  for _, dtype in ipairs {"float32", "float16", "float64"} do
    local path = T.tmp("grad-" .. dtype .. ".h5")
    local value, walks = loss:write_grad(d, path, {dtype = dtype, precision = "double", gzip = 1})
    eq(walks, 2)
    eq(value, loss:eval(d, {precision = "double"}).value)
    local file = io.open(path, "rb")
    ok(file, "the file is there")
    local size = file:seek "end"
    file:close()
    ok(size > 100)
  end
  local missing = throws("cannot be made", function()
    loss:write_grad(d, "/no/such/folder/grad.h5")
  end)
  eq(missing.code, "file")
  local _, walks = L.ce{}:write_grad(d, T.tmp "grad-ce.h5")
  eq(walks, 2)                                     -- the labels alone, then value and gradient together
end)

-- -- Real dumps ----------------------------------------------------------------------------------

-- Norms of the gradient by all logits of the valid pixels, computed with numpy from the closed forms.
local norms = {
  ["camvid_val.h5"] = {0.0003226979895, 0.001914145098, 0.0003483467898, 0.0002141112743,
    0.0004374325548},
  ["drive_test.h5"] = {0.0001829634525, 0.0005939107353, 0.0001801766603, 0.0001553077340,
    0.0002385994205},
  ["dubai_sat.h5"] = {0.0004692532280, 0.0009321354031, 0.0004722751609, 0.0002595566725,
    0.0003524522858},
  ["em_volume.h5"] = {0.0002872097180, 0.0005752367584, 0.0002694314954, 0.0001860083001,
    0.0002566027391},
  ["variants/v01_gzip_shuffle_f16.h5"] = {0.001556676369, 0.009885972833, 0.001671893805,
    0.001044796135, 0.002113996977},
  ["variants/v09_groups_varied_size.h5"] = {0.0008776628097, 0.001560060786, 0.0009251020212,
    0.0003113432248, 0.0004697548944},
  ["variants/v17_edges_void_absent.h5"] = {0.001651712673, 0.007358740903, 0.001760891663,
    0.001065929318, 0.003668237879},
}

for _, file in ipairs(sorted(norms)) do
  test("norms of the gradient on " .. file, function()
    local d <close> = segx.open(T.dump(file))
    local n, counts = 0.0, d:info()
    local by = tensor.flat(core.nsum(core.bysum(core.fields(d).valid)):eval())
    local present = 0
    for _, v in ipairs(by) do n, present = n + v, present + (v > 0 and 1 or 0) end
    local w = {}
    for c, v in ipairs(by) do w[c] = v > 0 and n / (counts.classes * v) or 0.0 end
    local losses = {L.ce{}, L.ce{weight = w, reduction = "weighted_mean"}, L.focal{gamma = 2},
      L.dice{smooth = 1e-5, empty = "smooth"}, L.generalized_dice{missing = "zero"}}
    for k, loss in ipairs(losses) do
      local want = norms[file][k]
      for precision, tolerance in pairs {double = 1e-9, single = 1e-5} do
        near(loss:gradients(d, {want = {"energy"}, precision = precision}).l2, want, tolerance, 0,
          tostring(loss) .. " in " .. precision)
      end
    end
  end)
end
