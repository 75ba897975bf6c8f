-- test_bits.lua: the bytes of a result depend on the dump and the loss alone: not on threads, on the
-- level of the instruction set, on how many configurations share a pass, on what else is wanted, on
-- whether statistics spill, nor on compiler and machine (the hashes at the end are committed).
local T = require "harness"
if os.getenv "SEGX_REF" then T.skip "the reference has other bits" end
local segx = require "segx"
local core = require "segx.core"
local test, eq, ok = T.test, T.eq, T.ok
local L, A, W = segx.loss, segx.axis, segx.weights

-- -- Dumps of whole numbers from a hash: no library function has a part in them --------------------

local function mix(z)
  z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
  z = (z ~ (z >> 27)) * 0x94d049bb133111eb
  return z ~ (z >> 31)
end

-- Logits are multiples of 1/256 (1/4 times scale in all), a few of them far out; labels favour
-- their own logit; one pixel in 50 is ignored.
local function made_up(seed, n, classes, h, w, logits_type)
  local logits, labels, at = {}, {}, 0
  for i = 1, n do
    logits[i], labels[i] = {}, {}
    for c = 1, classes do
      logits[i][c] = {}
      for y = 1, h do logits[i][c][y] = {} end
    end
    for y = 1, h do
      labels[i][y] = {}
      for x = 1, w do
        at = at + 1
        local r = mix(mix(seed) + at)
        local truth = (r & 0xffff) * (r >> 16 & 0xffff) * classes >> 32
        for c = 1, classes do
          local v = mix(r + c)
          local logit = (v & 0x7ff) / 256 + (v >> 16 & 0x7ff) / 256 - 8
          if v >> 32 & 0xff == 0 then logit = logit * 16 end
          logits[i][c][y][x] = logit + (c - 1 == truth and 2 or 0)
        end
        labels[i][y][x] = r >> 40 & 0x3f == 0 and 255 or truth
      end
    end
  end
  return segx.memory {logits = logits, labels = labels, ignore_index = 255,
    logits_type = logits_type, name = "made up"}
end

-- Small odd sizes, and one whose images have more than one block of pixels.
local dumps = {
  c5 = made_up(1, 7, 5, 19, 23, "float32"),
  c2 = made_up(2, 3, 2, 31, 17, "float16"),
  c19 = made_up(3, 3, 19, 11, 29, "float16"),
  large = made_up(4, 2, 3, 181, 199, "float32"),
}
local names = {"c5", "c2", "c19", "large"}

-- -- A hybrid of a pixel loss and a region loss, 5 gammas x 4 mixes x 5 strengths of class weights --

local gammas, mixes, strengths = {0, 0.75, 1.3, 2, 4.7}, {0, 0.25, 0.6, 1}, {0, 0.25, 0.5, 0.9, 1}

local function hybrid(d, unit, gamma, share, s)
  return share * L.focal {gamma = gamma, weight = W.inverse_sqrt(d) ^ s, unit = unit}
    + (1 - share) * L.tversky {alpha = 0.3, beta = 0.7, unit = unit}
end

local want = {"value", "per_class", "miou"}

local function csv(d, unit, opts)
  local o = {dump = d, want = want, loss = hybrid(d, unit, A.grid("gamma", gammas),
    A.grid("mix", mixes), A.grid("s", strengths))}
  for k, v in pairs(opts) do o[k] = v end
  local r = segx.sweep(o):run()
  return r:csv(), r
end

local function hash(text)    -- FNV-1a, 64 bits
  local h = 0xcbf29ce484222325
  for i = 1, #text do h = (h ~ text:byte(i)) * 0x100000001b3 end
  return ("%016x"):format(h)
end

-- fn(name, dump, unit, precision) for all
local function each(fn)
  for _, name in ipairs(names) do
    for _, unit in ipairs {"dataset", "image"} do
      for _, precision in ipairs {"single", "double"} do fn(name, dumps[name], unit, precision) end
    end
  end
end

local base = {}
each(function(name, d, unit, precision)
  base[name .. unit .. precision] = csv(d, unit, {precision = precision, threads = 1})
end)

local function same(got, name, unit, precision, what)
  if got ~= base[name .. unit .. precision] then
    error(("%s, unit %s, %s: %s changes the bytes"):format(name, unit, precision, what), 0)
  end
end

for _, threads in ipairs {2, 3, 8} do
  test(threads .. " threads, the bytes of 1") (function()
    each(function(name, d, unit, precision)
      same(csv(d, unit, {precision = precision, threads = threads}), name, unit, precision,
        threads .. " threads")
    end)
  end)
end

local levels = {}
for _, isa in ipairs {"base", "v3", "v4"} do
  local there = pcall(core.eval, dumps.c2, {L.ce {}:tensor(dumps.c2)}, {isa = isa})
  if there then levels[#levels + 1] = isa end
  test("level " .. isa .. ", the bytes of the best one") (function()
    if not there then T.skip("this machine or build has no " .. isa) end
    each(function(name, d, unit, precision)
      same(csv(d, unit, {precision = precision, isa = isa}), name, unit, precision, isa)
    end)
  end)
end

test "the best level is among them" (function() eq(core.isa(), levels[#levels]) end)

test "alone, the bytes of 100 in a pass" (function()
  for _, name in ipairs {"c5", "c2", "c19"} do
    local d = dumps[name]
    for _, unit in ipairs {"dataset", "image"} do
      local text, r = csv(d, unit, {precision = "single"})
      eq(#r, 100)
      same(text, name, unit, "single", "nothing")
      local k = 0
      for row in r:rows() do
        k = k + 1
        if name == "c5" or k % 7 == 0 then
          local alone = hybrid(d, unit, row.gamma, row.mix, row.s):eval(d, {precision = "single"})
          local swept = segx.sweep {dump = d, loss = hybrid(d, unit, A.grid("gamma", {row.gamma}),
            row.mix, A.grid("s", {row.s})), want = {"value"}}:run():column "value"[1]
          local note = ("%s %s gamma %g mix %g s %g"):format(name, unit, row.gamma, row.mix, row.s)
          eq(("%a"):format(alone.value), ("%a"):format(row.value), note)
          eq(("%a"):format(swept), ("%a"):format(row.value), note .. ", one-point axes")
          for c, class in ipairs(d:info().class_names) do
            eq(("%a"):format(alone.per_class[c - 1]), ("%a"):format(row["value." .. class]),
              note .. " class " .. class)
          end
        end
      end
    end
  end
end)

test "other wanted columns change nothing" (function()
  local d = dumps.c5
  local gamma = A.grid("gamma", gammas)
  local loss = 0.5 * L.focal {gamma = gamma} + L.dice {}
  local few = segx.sweep {dump = d, loss = loss, want = {"value"}}:run()
  local many = segx.sweep {dump = d, loss = loss, control = L.jaccard {} + L.ce {},
    want = {"value", "per_class", "share", "parts", "control", "tau(iou)", "miou"}}:run()
  eq(many:column "value", few:column "value")
end)

test "spilled statistics, the same bytes" (function()
  for _, name in ipairs {"c5", "c19"} do
    local text, r = csv(dumps[name], "image", {precision = "single", mem = 1})
    ok(r.stats.spilled > 0, "nothing spilled")
    same(text, name, "image", "single", "spilling")
  end
  local _, kept = csv(dumps.c5, "image", {precision = "single"})
  eq(kept.stats.spilled, 0)
end)

-- Gradients of pixel losses, of class sums and of both are computed from the softmax state at once (core/cpu/fuse.c). Times
-- one, whose value the engine does not look at, they are not.
test "gradients written at once, the bytes of step by step" (function()
  local one = core.leaf(1.0, "one")
  local p = function(d) return d.logits:softmax "class" end
  for _, name in ipairs(names) do
    local d = dumps[name]
    local losses = {L.focal {gamma = A.grid("gamma", {0.5, 2.3})}, L.dice {unit = "image"},
      A.grid("mix", {0.25, 0.75}) * L.ce {weight = W.inverse_sqrt(d)} + L.tversky {alpha = 0.3, beta = 0.7}}
    for _, isa in ipairs(levels) do
      for _, precision in ipairs {"single", "double"} do
        local opts = {precision = precision, isa = isa}
        for k, loss in ipairs(losses) do
          local g = core.grad(loss:tensor(d), d.logits)
          local both = core.eval(d, {core.image(g, 1), core.image(g * one, 1)}, opts)
          local x, y = both[1], both[2]
          local off = x:ne(y):sum():item() + (1 / x):ne(1 / y):sum():item()      -- 1 / x: -0 is not 0
          ok(off == 0, ("%s %s %s loss %d"):format(name, isa, precision, k))
        end
        local by_class = core.dense {table.unpack({0.5, -2, 3, 0.25, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 7}, 1,
          d:info().classes)}
        local plane = p(d) * core.leaf(by_class, "v")
        local e = core.eval(d, {plane:sum "class":square():sum(), plane:maximum(-1e30):sum "class":square():sum()}, opts)
        eq(e[1]:item(), e[2]:item())
      end
    end
  end
end)

-- Committed: every compiler and machine must arrive at these. They may change only together with the
-- arithmetic itself.
local committed = {
  ["c5 dataset single"] = "95f498ac5f2ff140",
  ["c5 dataset double"] = "694a95a78e1f3191",
  ["c5 image single"] = "9e6504bae85272e8",
  ["c5 image double"] = "df0e973954154a38",
  ["c2 dataset single"] = "bb9ca2f7e970b550",
  ["c2 dataset double"] = "4f62fa7b01091a2f",
  ["c2 image single"] = "7d5b6f298466e33a",
  ["c2 image double"] = "9f8c2f2c41d2c484",
  ["c19 dataset single"] = "625258c46385b83d",
  ["c19 dataset double"] = "526eb6341ee56517",
  ["c19 image single"] = "b27c2caef9cd91c4",
  ["c19 image double"] = "665fae01d2494246",
  ["large dataset single"] = "0f4cee97e5be208f",
  ["large dataset double"] = "059e97bf2793dc53",
  ["large image single"] = "57dc2366ec3f31f4",
  ["large image double"] = "e2ed01bdb310d2d3",
}

test "the bytes are the committed ones" (function()
  local wrong = {}
  each(function(name, _, unit, precision)
    local key = name .. " " .. unit .. " " .. precision
    local got = hash(base[name .. unit .. precision])
    if committed[key] ~= got then wrong[#wrong + 1] = ('  ["%s"] = "%s",'):format(key, got) end
  end)
  if #wrong > 0 then error("now:\n" .. table.concat(wrong, "\n"), 0) end
end)
