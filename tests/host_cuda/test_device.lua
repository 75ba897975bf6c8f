-- test_device.lua: on the stand-in for a GPU (libcuda.c) every loss has the bits that it has on the CPU: values, parts,
-- gradients, sweeps, over the types of dumps; and it is really computed there.
local T = require "harness"
local segx, core = require "segx", require "segx.core"
local test, eq, ok, near, throws = T.test, T.eq, T.ok, T.near, T.throws
local L, A, W = segx.loss, segx.axis, segx.weights

-- Whole numbers from a hash, as multiples of 1/64; labels favour their own logit, one in 40 is ignored.
local function mix(z)
  z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
  z = (z ~ (z >> 27)) * 0x94d049bb133111eb
  return z ~ (z >> 31)
end

local function flat(v, into)
  into = into or {}
  if type(v) == "number" then into[#into + 1] = v
  else for _, x in ipairs(v) do flat(x, into) end end
  return into
end

-- The same in a file: what a dump in memory cannot be.
local function as_file(o, logits, labels)
  local path = T.tmp(o.open.activation .. ".h5")
  local w = segx.write_dump(path, {n = o.n, classes = o.channels or o.classes, dims = {o.h, o.w}, ignore_index = 255})
  for i = 1, o.n do w:write(i, flat(logits[i]), flat(labels[i])) end
  w:finish()
  return segx.open(path, o.open)
end

local function dump(o)
  local logits, labels, at = {}, {}, 0
  for i = 1, o.n do
    logits[i], labels[i] = {}, {}
    for c = 1, o.channels or o.classes do
      logits[i][c] = {}
      for y = 1, o.h do logits[i][c][y] = {} end
    end
    for y = 1, o.h do
      labels[i][y] = {}
      for x = 1, o.w do
        at = at + 1
        local r = mix(mix(o.seed or 1) + at)
        local truth = (r & 0xffff) * o.classes >> 16
        for c = 1, o.channels or o.classes do
          local v = (mix(r + c) & 0x3ff) / 64 - 8 + (c - 1 == truth and 2 or 0)
          logits[i][c][y][x] = o.change and o.change(v, at, c) or v
        end
        labels[i][y][x] = r >> 40 & 0x1f == 0 and 255 or truth
      end
    end
  end
  if o.open then return as_file(o, logits, labels) end
  return segx.memory {logits = logits, labels = labels, ignore_index = 255, logits_type = o.type or "float32",
    nonfinite = o.nonfinite}
end

local function losses(d)
  return {L.ce {}, L.ce {weight = W.balanced(d), reduction = "weighted_mean"}, L.ce {label_smoothing = 0.1},
    L.focal {gamma = 0.5}, L.focal {gamma = 1.3}, L.focal {gamma = 11}, L.focal_sigmoid {}, L.dice {}, L.dice {squared = true},
    L.jaccard {}, L.tversky {alpha = 0.3, beta = 0.7}, L.focal_tversky {}, L.generalized_dice {missing = "zero"},
    L.dice {} + 0.5 * L.focal {}, L.ce {unit = "image"}, L.dice {unit = "image"}}
end

-- (a NaN's sign is not among the bits that a card keeps)
local function bits(x) return x ~= x and "nan" or ("%a"):format(x) end

local function same(d, loss, precision)
  local a = loss:eval(d, {precision = precision, device = "cpu"})
  local b = loss:eval(d, {precision = precision, device = "cuda", mode = "exact"})
  eq(b.stats.why_cpu, nil)
  ok(b.stats.on_gpu > 0 and b.stats.on_cpu == 0, "not on the GPU")
  eq(bits(b.value), bits(a.value))
  eq(b.per_class, a.per_class)
  eq(b.images, a.images)
  eq(b.stats.pixels, a.stats.pixels)
  eq(b.stats.masked, a.stats.masked)
end

local small = {n = 3, classes = 5, h = 19, w = 23}
for _, kind in ipairs {
  {"float16", {type = "float16"}}, {"float32", {}}, {"float64", {type = "float64"}}, {"two classes", {classes = 2, seed = 2}},
  {"one channel", {classes = 2, channels = 1, open = {activation = "logits"}}},
  {"more than a block", {n = 2, classes = 3, h = 181, w = 199}},
  {"300 classes", {n = 1, classes = 300, h = 20, w = 30}},
  {"probabilities", {open = {activation = "probs"}, change = function(v) return (v + 9) / 90 end}},
  {"logits that are not finite", {nonfinite = "skip", change = function(v, at, c)
    return at % 37 == 0 and c == 2 and 0 / 0 or at % 41 == 0 and c == 1 and 1 / 0 or at % 43 == 0 and -1 / 0 or v
  end}}} do
  local o = {}
  for k, v in pairs(small) do o[k] = v end
  for k, v in pairs(kind[2]) do o[k] = v end
  test("values: " .. kind[1]) (function()
    local d <close> = dump(o)
    local few = o.h > 100 or o.classes > 100
    for i, loss in ipairs(losses(d)) do
      if not few or i % 3 == 1 then same(d, loss, "single") end
      if i % 5 == 1 then same(d, loss, "double") end
    end
  end)
end

test "plans say where the passes run" (function()
  local d <close> = dump {n = 2, classes = 3, h = 4, w = 5}
  local o = {dump = d, loss = L.focal {} + L.dice {}, device = "cuda", mode = "exact"}
  local p = segx.sweep(o):plan()
  eq({p.device, p.kernels, #p.why_cpu}, {"cuda", 1, 0})
  ok(tostring(p):find "\non cuda: 1 pass\n" or tostring(p):find "\non cuda: 1 pass$", tostring(p))
  o.device = "cpu"
  eq(segx.sweep(o):plan().kernels, nil)
end)

test "gradients, in bits" (function()
  local d <close> = dump(small)
  for _, loss in ipairs {L.ce {}, L.focal {gamma = 1.3}, L.dice {} + L.focal {}, L.tversky {alpha = 0.3}, L.ce {unit = "image"}} do
    for i = 1, 2 do
      local a, b = loss:grad(d, i, {device = "cpu"}), loss:grad(d, i, {device = "cuda"})
      eq(b:totable(), a:totable())
    end
  end
end)

test "sweeps: rows, whatever shares the pass" (function()
  local d <close> = dump {n = 4, classes = 4, h = 21, w = 33}
  local function rows(device)
    local s = segx.sweep {dump = d, device = device, intervals = false,
      loss = L.focal {gamma = A.grid("gamma", {0, 0.25, 0.5, 1, 1.5, 2, 2.7, 9})} + A.grid("mix", {0, 0.5, 1}) * L.dice {}, want = {"value", "per_class"}}
    local list = {}
    for row in s:run():rows() do list[#list + 1] = ("%a %s"):format(row.value, T.show(row.per_class)) end
    return list
  end
  local a, b = rows "cpu", rows "cuda"
  eq(#a, 24)
  eq(b, a)
end)

test "sums that sort stay on the CPU, the others of their pass do not" (function()
  local d <close> = dump {n = 5, classes = 4, h = 21, w = 33}
  local gamma = A.grid("gamma", {0, 0.5, 2.7})
  local function rows(device, out)
    local s = segx.sweep {dump = d, device = device, out = out, intervals = false, want = {"value", "per_class", "grad.share"},
      loss = L.focal {gamma = gamma} + L.lovasz_softmax {unit = {batch = 2}} + L.dice {}, control = L.topk_ce {}}
    local r, list = s:run(), {}
    for row in r:rows() do list[#list + 1] = ("%a %s"):format(row.value, T.show(row.per_class)) end
    return list, r.stats, r:csv()
  end
  local a, _, text = rows "cpu"
  local b, stats, there = rows "cuda"
  eq(b, a)
  eq(there, text)
  ok(stats.on_gpu > 0 and stats.on_cpu > 0 and stats.why_cpu:find "run on the CPU", T.show(stats))
  local folder = T.tmp "split"
  local c, made = rows("cuda", folder)
  eq(c, a)
  ok(made.on_gpu > 0 and made.on_cpu > 0 and made.cells_new > 0, T.show(made))
  local again, found = rows("cuda", folder)
  eq(again, a)
  eq(found.cells_new, 0)
  local alone = L.lovasz_softmax {}:eval(d, {device = "cuda"})
  eq(("%a"):format(alone.value), ("%a"):format(L.lovasz_softmax {}:eval(d, {device = "cpu"}).value))
  eq(alone.stats.pixels, L.ce {}:eval(d, {device = "cpu"}).stats.pixels)
  local p = segx.sweep {dump = d, device = "cuda", loss = L.focal {gamma = gamma} + L.lovasz_softmax {}}:plan()
  ok(p.kernels == 1 and #p.why_cpu == 1 and p.why_cpu[1]:find "run on the CPU", T.show(p.why_cpu))
end)

-- What pixels hold that do not count must not matter: NaN, infinities, and what is beyond single precision.
local function in_ignored(what)
  return function(v, at, c) return mix(mix(1) + at) >> 40 & 0x1f == 0 and c == 1 + at % 4 and what or v end
end

for _, kind in ipairs {{"float32", {}}, {"float16", {type = "float16"}}, {"NaN", {change = in_ignored(0 / 0)}},
                       {"float16, inf", {type = "float16", change = in_ignored(1 / 0)}}, {"-inf", {change = in_ignored(-1 / 0)}},
                       {"float64, 1e300", {type = "float64", change = in_ignored(1e300)}},
                       {"two classes", {classes = 2, type = "float16", seed = 3}}, {"two classes, NaN", {classes = 2, change = in_ignored(0 / 0)}},
                       {"two classes, one cannot be", {classes = 2, change = function(v, at, c) return at % 5 == 0 and c == 1 and -1 / 0 or v end}},
                       {"one channel", {classes = 2, channels = 1, open = {activation = "logits"}}},
                       {"45 classes", {n = 1, classes = 45, h = 30, w = 41}}, {"300 classes", {n = 1, classes = 300, h = 24, w = 41, type = "float16"}},
                       {"four classes, 90 x 70", {n = 2, classes = 4, h = 90, w = 70, type = "float16", change = in_ignored(1 / 0)}}} do
  test("fast mode: near, " .. kind[1]) (function()
    local o = {}
    for k, v in pairs(small) do o[k] = v end
    for k, v in pairs(kind[2]) do o[k] = v end
    local d <close> = dump(o)
    for _, loss in ipairs(losses(d)) do
      local a, b = loss:eval(d, {device = "cpu", precision = "double"}), loss:eval(d, {device = "cuda", mode = "fast"})
      ok(b.stats.on_gpu > 0 and b.stats.on_cpu == 0, "not on the GPU")
      near(b.value, a.value, 4e-6 * math.abs(a.value) + 1e-9)
    end
  end)
end

test "fast mode: the bits of a setting alone are those in a sweep" (function()
  for _, classes in ipairs {2, 4, 5, 45} do
    local d <close> = dump {n = 3, classes = classes, h = 19, w = 23}
    local gammas = {0, 0.25, 0.5, 1, 1.5, 2, 2.7, 9}
    local s = segx.sweep {dump = d, device = "cuda", mode = "fast", intervals = false,
      loss = L.focal {gamma = A.grid("gamma", gammas)} + L.dice {}, want = {"value", "per_class"}}
    for row in s:run():rows() do
      local alone = (L.focal {gamma = row.gamma} + L.dice {}):eval(d, {device = "cuda", mode = "fast"})
      eq(("%a"):format(row.value), ("%a"):format(alone.value))
    end
  end
end)

test "fast mode: sums by label of a value per class" (function()
  for _, classes in ipairs {2, 4, 5, 19, 45, 300} do
    local d <close> = dump {n = 2, classes = classes, h = 19, w = 41}
    local shares = segx.grad((L.ce {} + L.dice {}):trace(d).value, d.logits):abs()
    local list = {core.nsum(core.bysum(shares)), core.nsum(core.psum(shares)), core.nsum(core.bysum(shares:sum "class"))}
    local a = core.eval(d, list, {device = "cpu", precision = "double"})
    local b, stats = core.eval(d, list, {device = "cuda", mode = "fast"})
    eq(stats.on_cpu, 0)
    for i, want in ipairs(a) do
      local got, most = b[i], 0
      local function each(x, y, f)
        if type(x) == "number" then return f(x, y) end
        for k = 1, #x do each(x[k], y[k], f) end
      end
      each(want, got, function(x) most = math.max(most, math.abs(x)) end)
      each(want, got, function(x, y) ok(math.abs(y - x) <= 1e-5 * math.abs(x) + 1e-6 * most, ("%d classes, %d: %g, %g"):format(classes, i, x, y)) end)
    end
  end
end)

test "the time of kernels is counted" (function()
  local d <close> = dump(small)
  local loss, o = L.focal {}, {device = "cuda"}
  loss:eval(d, o)
  local before = core.device_counts()
  loss:eval(d, o)
  local after = core.device_counts()
  ok(after.kernel_ms > before.kernel_ms and after.kernel_ms < before.kernel_ms + 1e4, after.kernel_ms)
  eq(after.uploaded, before.uploaded)
end)

test "options" (function()
  local d <close> = dump(small)
  throws('device: "auto", "cpu", "cuda"', function() L.ce {}:eval(d, {device = "gpu"}) end)
  throws('device: "auto", "cpu", "cuda"', function() L.ce {}:eval(d, {device = "cuda:x"}) end)
  throws('mode: "fast" or "exact"', function() L.ce {}:eval(d, {device = "cuda", mode = "quick"}) end)
  throws("there is no GPU 7", function() L.ce {}:eval(d, {device = "cuda:7"}) end)
  ok(L.ce {}:eval(d, {device = "cuda:0"}).value > 0)
end)

test "logits are refused as on the CPU" (function()
  local function message(d, device)
    local fine, e = pcall(L.ce {}.eval, L.ce {}, d, {device = device})
    eq(fine, false)
    return tostring(e.message or e)
  end
  local d <close> = dump {n = 2, classes = 3, h = 9, w = 9, change = function(v, at) return at % 50 == 0 and 0 / 0 or v end}
  eq(message(d, "cuda"), message(d, "cpu"))
end)
