-- test_tensor.lua: the Tensor type of segx.core: dense numbers, lazy expressions, their mixture,
-- evaluation, errors. Values are checked against loops over plain tables written here; dumps are in
-- memory.
local T = require "harness"
local core = require "segx.core"
local test, eq, near, throws, ok = T.test, T.eq, T.near, T.throws, T.ok

local exact = {precision = "double"}
local C, H, W, N = 3, 2, 3, 4
local P = H * W

-- Numbers that repeat in every run: logits in [-3, 3], labels with an ignored pixel in every second
-- image.
local logits, labels = {}, {}
for n = 1, N do
  logits[n], labels[n] = {}, {}
  for c = 1, C do
    logits[n][c] = {}
    for y = 1, H do
      logits[n][c][y] = {}
      for x = 1, W do logits[n][c][y][x] = ((n * 7 + c * 11 + y * 5 + x * 3) % 13) / 2 - 3 end
    end
  end
  for y = 1, H do
    labels[n][y] = {}
    for x = 1, W do labels[n][y][x] = (n + 2 * y + x) % C end
  end
  if n % 2 == 0 then labels[n][1][2] = 255 end
end

local function open(more)
  local o = {name = "t", logits = logits, labels = labels, ignore_index = 255,
    logits_type = "float64",
    class_names = {"sky", "road", "pole"}}
  for k, v in pairs(more or {}) do o[k] = v end
  return core.memory(o)
end
local d = open()

local function pixels(n)
  local list = {}
  for y = 1, H do
    for x = 1, W do
      local p = {y = labels[n][y][x], x = {}}
      for c = 1, C do p.x[c] = logits[n][c][y][x] end
      local m, s = math.max(table.unpack(p.x)), 0
      for c = 1, C do s = s + math.exp(p.x[c] - m) end
      p.p = {}
      for c = 1, C do p.p[c] = math.exp(p.x[c] - m) / s end
      list[#list + 1] = p
    end
  end
  return list
end

-- f(pixel) summed over the valid pixels of each image.
local function by_image(f)
  local out = {}
  for n = 1, N do
    out[n] = 0
    for _, p in ipairs(pixels(n)) do
      if p.y ~= 255 then out[n] = out[n] + f(p) end
    end
  end
  return out
end
local function total(t)
  local s = 0
  for _, v in ipairs(t) do s = s + v end
  return s
end
local function ce(p) return -math.log(p.p[p.y + 1]) end
local function value(t) return core.eval(d, {t}, exact)[1]:totable() end

-- -- Dense --------------------------------------------------------------------------------------

test "dense: shapes, reading, round trip" (function()
  local t = core.dense {{1, 2, 3}, {4, 5, 6}}
  eq(t:size(), {2, 3})
  eq({t:size(1), t:size(2), t:size(-1), t:dim(), #t}, {2, 3, 3, 2, 2})
  eq(t:totable(), {{1, 2, 3}, {4, 5, 6}})
  eq(t:kind(), "dense")
  eq(t[2]:totable(), {4, 5, 6})
  eq(t[2][3], 6.0)
  eq(t[{1, 2}], 2.0)
  eq(t[{{}, 2}]:totable(), {2, 5})
  eq(t[{{1, 2}, {2, 3}}]:totable(), {{2, 3}, {5, 6}})
  eq(t[{2, {2, 3}}]:totable(), {5, 6})
  eq(t:reshape {3, 2}:totable(), {{1, 2}, {3, 4}, {5, 6}})
  eq(t:reshape {-1}:size(), {6})
  eq(core.dense(7):item(), 7.0)
  eq(core.dense(7):totable(), 7.0)
  eq(core.dense(7):size(), {})
  eq(core.dense {core.dense {1, 2}, core.dense {3, 4}}:totable(), {{1, 2}, {3, 4}})
  eq(core.zeros {2, 2}:totable(), {{0, 0}, {0, 0}})
  eq(t:eval():totable(), t:totable())
end)

test "dense: arithmetic with broadcasting" (function()
  local m, v = core.dense {{1, 2}, {3, 4}}, core.dense {10, 20}
  eq((m + v):totable(), {{11, 22}, {13, 24}})
  eq((v + m):totable(), {{11, 22}, {13, 24}})
  eq((m * 2 - 1):totable(), {{1, 3}, {5, 7}})
  eq((1 / m):totable(), {{1, 1 / 2}, {1 / 3, 1 / 4}})
  eq((-m):totable(), {{-1, -2}, {-3, -4}})
  eq((m ^ 2):totable(), {{1, 4}, {9, 16}})
  eq((core.dense {{1}, {2}} * core.dense {10, 20, 30}):totable(), {{10, 20, 30}, {20, 40, 60}})
  eq((core.dense(3) + core.dense(4)):item(), 7.0)
  eq(core.where(m:gt(2), m, 0):totable(), {{0, 0}, {3, 4}})
  eq((m:gt(1) & m:lt(4)):totable(), {{0, 1}, {1, 0}})
  eq((~m:gt(1) | m:eq(4)):totable(), {{1, 0}, {0, 1}})
  eq(m:clamp(2, 3):totable(), {{2, 2}, {3, 3}})
  eq(m:clamp(nil, 3):totable(), {{1, 2}, {3, 3}})
  eq(core.maximum(m, 2):totable(), {{2, 2}, {3, 4}})
  eq(m:minimum(v):totable(), {{1, 2}, {3, 4}})
  near(core.exp(1):item(), math.exp(1), 1e-15)
  throws("shapes do not fit: 2x2 and 3", function() return m + core.dense {1, 2, 3} end)
end)

test "dense: over one dimension" (function()
  local m = core.dense {{1, 5, 3}, {4, 2, 6}}
  eq(m:sum():item(), 21.0)
  eq(m:sum(1):totable(), {5, 7, 9})
  eq(m:sum(2):totable(), {9, 12})
  eq(m:sum(-1):totable(), {9, 12})
  eq(m:mean(2):totable(), {3, 4})
  eq(m:mean():item(), 3.5)
  eq(m:max(1):totable(), {4, 5, 6})
  eq(m:min(2):totable(), {1, 2})
  eq(m:max():item(), 6.0)
  eq(m:argmax(2):totable(), {1, 2})
  near(m:logsumexp(2):totable(), {math.log(math.exp(1) + math.exp(5) + math.exp(3)),
    math.log(math.exp(4) + math.exp(2) + math.exp(6))}, 1e-14)
  near(m:softmax(1):sum(1):totable(), {1, 1, 1}, 1e-14)
  near(m:log_softmax(1):exp():totable(), m:softmax(1):totable(), 1e-14)
  eq(core.dense {3, 1}:sum("class"):item(), 4.0)
  eq(core.lsum(core.dense {{1, 2}, {3, 4}}):totable(), {4, 6})
  eq(core.transpose(m):totable(), {{1, 4}, {5, 2}, {3, 6}})
  throws("dimension 3 of a tensor with 2", function() m:sum(3) end)
  throws("no dimension 'image'", function() m:sum("image") end)
end)

test "dense: NaN is not hidden" (function()
  local nan = 0 / 0
  local t = core.dense {1, nan, 3}
  ok(t:sum():item() ~= t:sum():item())
  ok(t:max():item() ~= t:max():item())
  ok(t:clamp(0, 2)[2] ~= t:clamp(0, 2)[2])
  eq(core.where(core.dense {1, 0, 1}, t, 5):totable(), {1, 5, 3})
end)

test "dense: mistakes" (function()
  local t = core.dense {1, 2, 3}
  throws("test_tensor.lua:%d+: index: 4 is not in 1 .. 3", function() return t[4] end)
  throws("index: 0", function() return t[0] end)
  throws("2 indices into 1", function() return t[{1, 1}] end)
  throws("rows of different length", function() core.dense {{1, 2}, {3}} end)
  throws("expected a number, got string", function() core.dense {1, "2"} end)
  throws("expected numbers in tables, got nil", function() core.dense() end)
  throws("not one", function() t:item() end)
  throws("6 numbers, the shape asks for 4", function() core.zeros {6}:reshape {2, 2} end)
  throws("cannot be changed", function() t[1] = 3 end)
  throws("one boolean for all pixels", function() return t < 2 end)
  throws("segx.Tensor", function() return math.log(t) end)
  throws("joined with text", function() return "x" .. t end)
end)

test "dense: printing is short" (function()
  eq(tostring(core.dense(0.125)), "0.125")
  ok(tostring(core.dense {1, 2}):find("^tensor 2\n"))
  local text = tostring(core.zeros {100, 100})
  ok(text:find("^tensor 100x100"))
  ok(select(2, text:gsub("\n", "")) <= 10)
  ok(select(2, tostring(core.zeros {1000}):gsub("\n", "")) <= 10)
  ok(select(2, tostring(core.zeros {5, 4, 3, 2}):gsub("\n", "")) <= 10)
  ok(tostring(core.zeros {0, 3}):find("0x3"))
end)

-- -- Op table -----------------------------------------------------------------------------------

test "every op has help; every elementwise one is function and method" (function()
  local ops = core.ops()
  ok(#ops > 50)
  for _, name in ipairs(ops) do ok(core.help(name), name) end
  for _, name in ipairs {"exp", "log", "log1p", "expm1", "sqrt", "abs", "neg", "square", "recip",
    "sigmoid",
    "softplus", "tanh", "relu", "sign", "floor", "stop", "pow", "maximum", "minimum", "lt", "le",
    "gt",
    "ge", "eq",
    "ne", "where", "band", "bor", "bnot"} do
    ok(type(core[name]) == "function", name)
    ok(type(core.Tensor[name]) == "function", name)
  end
  eq(core.help("nothing of the kind"), nil)
  ok(core.help("maximum"):find("larger"))
end)

test "elementwise: lazy values are those of numbers in memory" (function()
  local x = core.dense {0.25, 0.5, 1.75}
  local f = core.fields(d)
  local lazy = x + f.classes * 0            -- class vector inside the graph
  for _, name in ipairs {"exp", "log", "log1p", "expm1", "sqrt", "abs", "neg", "square", "recip",
    "sigmoid",
    "softplus", "tanh", "relu", "sign", "floor", "stop"} do
    near(value(lazy[name](lazy)), x[name](x):totable(), 1e-15, 0, name)
  end
  for _, name in ipairs {"pow", "maximum", "minimum", "lt", "le", "gt", "ge", "eq", "ne"} do
    near(value(lazy[name](lazy, 0.5)), x[name](x, 0.5):totable(), 1e-15, 0, name)
    near(value(core[name](2, lazy)), core[name](2, x):totable(), 1e-15, 0, name)
  end
  near(value(lazy:clamp(0.3, 1)), {0.3, 0.5, 1})
end)

-- -- Lazy ---------------------------------------------------------------------------------------

test "lazy: axes, sizes, text" (function()
  local f = core.fields(d)
  eq(d.logits:kind(), "lazy")
  eq(d.logits:size(), {N, C, H, W})
  eq(d.logits:dim(), 4)
  eq(#d.logits, N)
  eq(d.logits:axes(), {"image", "class", "pixel"})
  eq(core.axes(f.ce), {image = true, class = false, label = false, pixel = true, sweep = {}})
  eq(core.axes(core.dense {1, 2, 3}),
    {image = false, class = true, label = false, pixel = false, sweep = {}})
  eq(core.axes(3), {image = false, class = false, label = false, pixel = false, sweep = {}})
  eq(core.text(d.logits), "logits")
  eq(core.text(d.logits:exp()), "exp(logits)")
  ok(tostring(d.logits):find("lazy tensor {image 4, class 3, pixel 2x3}: logits", 1, true),
    tostring(d.logits))
  eq(core.text(d.logits:softmax("class"):pick(d.labels)), core.text(f.pt))
  eq(core.text(1 - d.logits:softmax(2):pick(d.labels)), core.text(f.u))
  eq(core.hash(d.logits:exp()), core.hash(d.logits:exp()))
  ok(core.hash(d.logits:exp()) ~= core.hash(d.logits))
end)

test "lazy: sums and means over named dimensions" (function()
  local f = core.fields(d)
  local sums, counts = by_image(ce), by_image(function() return 1 end)
  near(value(f.ce:sum("pixel")), sums, 1e-13)
  near(value(core.psum(f.ce)), sums, 1e-13)
  near(value(f.ce:sum("pixel"):sum("image")), total(sums), 1e-13)
  near(value(f.ce:sum()), total(sums), 1e-13)
  near(value(f.ce:mean()), total(sums) / total(counts), 1e-13)
  local means = {}
  for n = 1, N do means[n] = sums[n] / counts[n] end
  near(value(f.ce:mean("pixel")), means, 1e-13)
  near(value(f.ce:mean("pixel"):mean("image")), total(means) / N, 1e-13)
  near(value(f.ce:mean("pixel"):mean()), total(means) / N, 1e-13)
  near(value(f.p:sum("class"):mean()), 1, 1e-14)
  near(value(f.p:mean("class"):mean()), 1 / C, 1e-14)
  near(value(f.p:mean()), 1 / C, 1e-14)
  near(value(f.p:sum(2):sum("pixel")), counts, 1e-13)
  near(value(f.valid:sum("pixel")), counts)
end)

test "lazy: by class" (function()
  local f = core.fields(d)
  local want, mat = {}, {}
  for n = 1, N do
    want[n] = {0, 0, 0}
    for _, p in ipairs(pixels(n)) do
      if p.y ~= 255 then
        want[n][p.y + 1] = want[n][p.y + 1] + ce(p)
        mat[p.y + 1] = mat[p.y + 1] or {0, 0, 0}
        for c = 1, C do mat[p.y + 1][c] = mat[p.y + 1][c] + p.p[c] end
      end
    end
  end
  near(value(core.bysum(f.ce)), want, 1e-13)
  near(value(core.nsum(core.bysum(f.p))), mat, 1e-13)
  near(value(f.p:sum_by(d.labels)), mat, 1e-13)
  near(value(core.transpose(core.nsum(core.bysum(f.p)))),
    core.transpose(core.dense(mat)):totable(), 1e-13)
  near(value(core.lsum(core.nsum(core.bysum(f.p)))), core.dense(mat):sum(1):totable(), 1e-13)
  near(value(core.nsum(core.bysum(f.p)):sum("label")), core.dense(mat):sum(1):totable(), 1e-13)
  near(value(core.nsum(core.bysum(f.p)):max("label")), core.dense(mat):max(1):totable(), 1e-13)
  near(value(core.nsum(core.bysum(f.p)):max("class")), core.dense(mat):max(2):totable(), 1e-13)
  near(value(core.nsum(core.bysum(f.p)):min("class")), core.dense(mat):min(2):totable(), 1e-13)
end)

test "lazy: pick and its family, one-hot, argmax" (function()
  local f = core.fields(d)
  local p = d.logits:softmax("class")
  near(value(p:pick(d.labels):sum("pixel")), by_image(function(q) return q.p[q.y + 1] end), 1e-13)
  near(value(p:logpick(d.labels):sum("pixel")), by_image(function(q) return -ce(q) end), 1e-13)
  near(value(p:one_minus_pick(d.labels):sum("pixel")),
    by_image(function(q) return 1 - q.p[q.y + 1] end), 1e-12)
  near(value(d.logits:pick(d.labels):sum("pixel")),
    by_image(function(q) return q.x[q.y + 1] end), 1e-13)
  local w = core.dense {1, 2, 5}
  near(value(w:pick(d.labels):sum("pixel")), by_image(function(q) return w[q.y + 1] end), 1e-13)
  near(value((d.logits * d.labels:onehot()):sum("class"):sum("pixel")),
    by_image(function(q) return q.x[q.y + 1] end), 1e-13)
  local function best(q)
    local k = 1
    for c = 2, C do if q.x[c] > q.x[k] then k = c end end
    return k - 1
  end
  near(value(d.logits:argmax("class"):sum("pixel")), by_image(best), 1e-13)
  near(value(d.logits:argmax():eq(d.labels):sum("pixel")),
    by_image(function(q) return best(q) == q.y and 1 or 0 end), 1e-13)
  near(value(d.logits:logsumexp("class"):sum("pixel")), by_image(function(q)
    local s = 0
    for c = 1, C do s = s + math.exp(q.x[c]) end
    return math.log(s)
  end), 1e-13)
  near(value(d.logits:max("class"):sum("pixel")),
    by_image(function(q) return math.max(table.unpack(q.x)) end), 1e-13)
  near(value(d.logits:min("class"):sum("pixel")),
    by_image(function(q) return math.min(table.unpack(q.x)) end), 1e-13)
  near(value(f.p:sum("class"):sum("pixel")), by_image(function() return 1 end), 1e-13)
end)

test "lazy: what reads no pixel counts once per valid pixel, or image" (function()
  local f = core.fields(d)
  local counts = by_image(function() return 1 end)
  near(value(core.psum(d.labels:onehot():pick(d.labels))), counts)
  local want = {}
  for n = 1, N do want[n] = {0, counts[n], 2 * counts[n]} end
  near(value(core.psum(f.classes + f.valid * 0)), want)
  near(value(core.psum(f.classes * d.labels:onehot():pick(d.labels))), want)
  eq(value(core.nsum(d.labels:onehot():pick(d.labels))), N + 0.0)
  throws("belongs to no dump", function() core.psum(core.axis("g0", {1, 2})) end)
end)

test "lazy: batches" (function()
  local s, f = by_image(ce), core.fields(d)
  local one = core.psum(f.ce)
  near(value(core.bsum(one, 1)), s, 1e-13)
  near(value(core.bsum(one, 2)), {s[1] + s[2], s[1] + s[2], s[3] + s[4], s[3] + s[4]}, 1e-13)
  near(value(core.bsum(one, 3)),
    {s[1] + s[2] + s[3], s[1] + s[2] + s[3], s[1] + s[2] + s[3], s[4]}, 1e-13)
  eq(value(core.first(d, 3)), {1, 0, 0, 1})
  near(value(core.nsum(core.bsum(one, 2) * core.first(d, 2))), total(s), 1e-13)
  eq(core.nimages(d), 4.0)
end)

test "lazy: one image" (function()
  local n = 3
  eq(d.logits[n]:size(), {C, H, W})
  eq(core.axes(d.logits[n]), {image = false, class = true, label = false, pixel = true, sweep = {}})
  local r = d.logits[n]:eval(exact)
  eq(r:totable(), logits[n])
  eq(r:axes(), {"class", "y", "x"})
  eq(d.logits[n][2]:eval():totable(), logits[n][2])
  eq(d.logits[{n, 2}]:eval():totable(), logits[n][2])
  local f = core.fields(d)
  local got = f.ce[n]:eval(exact):reshape {-1}:totable()
  for i, p in ipairs(pixels(n)) do near(got[i], ce(p), 1e-13) end
  near(f.ce[n]:sum("pixel"):item(), by_image(ce)[n], 1e-6)
  near((f.ce * 2)[n]:mean():item(), (f.ce[n] * 2):mean():item(), 1e-12)
  near(core.psum(f.ce)[n]:item(), by_image(ce)[n], 1e-6)
  near((f.ce[n] + f.pt[n]):eval():totable(), (f.ce + f.pt)[n]:eval():totable(), 1e-12)
  throws("image 3 alone", function() return f.ce[n] + f.ce end)
  throws("different images", function() return f.ce[n] + f.ce[1] end)
  throws("image 3 alone", function() return core.nsum(core.psum(f.ce[n])) end)
  throws("5 is not in 1 .. 4", function() return d.logits[5] end)
  throws("in memory", function() return d.logits[{{1, 2}}] end)
  throws("in memory only", function() return d.labels[1][1] end)
end)

test "lazy: dense vectors and matrices meet it" (function()
  local f = core.fields(d)
  local w = core.dense {1, 2, 4}
  near(value((f.p * w):sum("class"):sum("pixel")), by_image(function(q)
    return q.p[1] + 2 * q.p[2] + 4 * q.p[3]
  end), 1e-13)
  local m = core.dense {{0, 1, 2}, {3, 0, 4}, {5, 6, 0}}
  near(value((m:pick(d.labels) * f.p):sum("class"):sum("pixel")), by_image(function(q)
    local row, s = m:totable()[q.y + 1], 0
    for c = 1, C do s = s + row[c] * q.p[c] end
    return s
  end), 1e-13)
  eq(value(core.dense {3} * f.classes), {0, 3, 6})
  throws("%d classes against %d", function() return f.p * core.dense {1, 2} end)
  throws("shape 2x3", function() return f.p * core.zeros {2, 3} end)
  local r = core.psum(f.ce):eval()
  throws("leave out eval", function() return f.ce * r end)
  throws("different dumps", function() return d.logits + open().logits end)
end)

test "lazy: mistakes" (function()
  local f = core.fields(d)
  throws("test_tensor.lua:%d+: sum: the tensor has no class axis %(it has image, pixel%)",
    function() local _ = f.ce:sum("class") end)
  throws("unknown dimension 'klass'\n  known: image", function() return f.ce:sum("klass") end)
  throws("one of 2 of the image's own", function() return d.logits:sum(3) end)
  throws("dimension 7", function() return d.logits:sum(7) end)
  throws("has a pixel axis\n  hint: reduce", function() return d.logits:eval() end)
  throws("where: the condition is the Lua boolean false",
    function() return core.where(f.ce == 3, 1, 2) end)
  throws("add: argument 2: a tensor or a number expected, got a string",
    function() return f.ce + "1" end)
  throws("exp: 1 argument expected", function() return core.exp() end)
  throws("only over \"class\" or \"label\"", function() return f.ce:max("pixel") end)
  throws("one boolean for all pixels\n  hint: write a:lt%(b%)", function() return f.ce < 3 end)
  throws("one boolean", function() return f.ce <= f.pt end)
  throws("pixel axis", function() return core.nsum(f.ce) end)
  throws("in memory can be reshaped", function() return f.ce:reshape {3} end)
  throws("labels", function() return d.logits:pick(core.dense {1}) end)
  throws("first dimension", function() return (core.axis("gx", {1, 2}) * f.ce)[1] end)
end)

-- -- Sweeps -------------------------------------------------------------------------------------

test "sweep axes: values, labels, identity" (function()
  local g = core.axis("gamma", {0, 0.5, 2})
  eq(core.axes(g).sweep, {"gamma"})
  eq(g:eval():totable(), {0, 0.5, 2})
  eq((g * 2 + 1):eval():totable(), {1, 2, 5})
  eq((g * 2):eval():axes(), {"gamma"})
  local info = core.axis_info("gamma")
  eq({info.name, info.count, info.labels, info.params[1].name, info.params[1].values},
    {"gamma", 3, {"0", "0.5", "2"}, "gamma", {0, 0.5, 2}})
  eq((g - core.axis("gamma", {0, 0.5, 2})):eval():totable(), {0, 0, 0})
  local other = core.axis("gamma", {0, 0.5, 3})
  eq((g + other):eval():size(), {3, 3})
  eq(g:sweep_axes()[1].labels, {"0", "0.5", "2"})
  eq(core.axis_info("none such"), nil)
  local named = core.axis("s", {1, 2}, {"low", "high"})
  eq(core.axis_info("s").labels, {"low", "high"})
  eq(named:eval():totable(), {1, 2})
  throws("has no values", function() core.axis("e", {}) end)
  throws("not finite", function() core.axis("e", {1, 0 / 0}) end)
  throws("value 2 is a string", function() core.axis("e", {1, "x"}) end)
end)

test "sweep axes: class vectors, zipped parameters" (function()
  local v = core.axis("scheme", {core.dense {1, 1, 1}, core.dense {1, 2, 4}})
  eq(core.axes(v), {image = false, class = true, label = false, pixel = false, sweep = {"scheme"}})
  eq(v:eval():totable(), {{1, 1, 1}, {1, 2, 4}})
  eq(v:eval():axes(), {"scheme", "class"})
  eq(core.axis_info("scheme").params[1].values[2]:totable(), {1, 2, 4})
  eq((v + core.axis("scheme", {core.dense {1, 1, 1}, core.dense {1, 2, 5}})):eval():dim(), 3)
  local a, b = core.zip({"g", "m"}, {{0, 1, 2}, {5, 6, 7}})
  eq((a + b):eval():totable(), {5, 7, 9})
  eq(#a:sweep_axes()[1].params, 2)
  eq(a:sweep_axes()[1].params[2].values, {5, 6, 7})
  throws("has 2 values", function() core.zip({"g", "m"}, {{0, 1, 2}, {5, 6}}) end)
end)

test "sweep axes: one pass for all, results in the order of creation" (function()
  local f = core.fields(d)
  local g, s = core.axis("gam", {0, 1, 2.5}), core.axis("sm", {1, 3})
  local loss = (s * f.u ^ g * f.ce):sum("pixel")
  local r, st = core.eval(d, {loss, core.nsum(loss)}, exact)
  eq(r[1]:axes(), {"gam", "sm", "image"})
  eq(r[1]:size(), {3, 2, N})
  eq(st.passes, 1)
  eq(st.pixels, total(by_image(function() return 1 end)))
  for i, gamma in ipairs {0, 1, 2.5} do
    local want = by_image(function(p) return (1 - p.p[p.y + 1]) ^ gamma * ce(p) end)
    near(r[1][{i, 1}]:totable(), want, 1e-12)
    near(r[2][{i, 2}], 3 * total(want), 1e-12)
  end
  local plan = core.plan(d, {core.nsum(loss)})
  eq(plan.passes, 1)
  eq(plan.per_output[1], {pass = {"gam"}, free = {"sm"}})
  ok(plan.bytes > 0 and plan.memory > 0 and #plan.reductions >= 1)
  ok(plan.reductions[1].text:find("ce"))
  eq(plan.reductions[1].sweep, {"gam"})
  near(core.eval(d, {loss}, {precision = "single"})[1]:totable(), r[1]:totable(), 1e-5)
end)

-- -- Evaluation ---------------------------------------------------------------------------------

test "eval: same bits for threads and ISA levels" (function()
  local f = core.fields(d)
  local loss = (f.u ^ core.axis("gb", {0, 2, 5}) * f.ce):sum("pixel")
  local function text(o) return T.show(core.eval(d, {loss}, o)[1]:totable()) end
  for _, precision in ipairs {"single", "double"} do
    local want = text {precision = precision, threads = 1}
    eq(text {precision = precision, threads = 3}, want)
    for _, isa in ipairs {"base", "v3", "v4"} do
      if isa == "base" or isa == core.isa() or (isa == "v3" and core.isa() == "v4") then
        eq(text {precision = precision, isa = isa, threads = 2}, want, isa)
      end
    end
  end
end)

test "eval: mixed lists, empty lists, numbers" (function()
  local r, st = core.eval(d, {2, core.dense {1, 2}, d.logits[1], core.psum(d.valid), d.logits[2]})
  eq(r[1]:item(), 2.0)
  eq(r[2]:totable(), {1, 2})
  eq(r[3]:size(), {C, H, W})
  eq(r[4]:size(), {N})
  eq(r[5]:size(), {C, H, W})
  ok(st.seconds >= 0)
  eq(#core.eval(d, {}), 0)
  local e = core.axis("e1", {1, 2})
  eq(core.eval(nil, {e, core.dense {1, 2, 3} * e})[2]:totable(), {{1, 2, 3}, {2, 4, 6}})
  throws("reads a dump, but none was given", function() core.eval(nil, {core.psum(d.valid)}) end)
  throws("another dump", function() core.eval(open(), {core.psum(d.valid)}) end)
  throws("unknown option 'precison'", function() core.eval(d, {}, {precison = 1}) end)
  throws("\"single\" or \"double\"", function() core.eval(d, {}, {precision = "half"}) end)
  throws("a list of tensors expected", function() core.eval(d, 3) end)
  throws("entry 1: a tensor expected, got string", function() core.eval(d, {"x"}) end)
end)

test "eval: progress, and what it may do" (function()
  local calls, last = 0, nil
  local s = core.psum(core.fields(d).ce)
  core.eval(d, {s}, {progress = function(pass, passes, done, all)
    calls, last = calls + 1, {pass, passes, done, all}
  end})
  ok(calls > 0)
  eq(last, {1, 1, N * P, N * P})
  local e = throws("interrupted",
    function() core.eval(d, {s}, {progress = function() return false end}) end)
  eq(e.code, "interrupted")
  throws("my own trouble",
    function() core.eval(d, {s}, {progress = function() error("my own trouble") end}) end)
  throws("cannot be closed",
    function() core.eval(d, {s}, {progress = function() d:close() end}) end)
  local n = core.threads()
  throws("cannot change while",
    function() core.eval(d, {s}, {progress = function() core.threads(n + 1) end}) end)
  local inner
  core.eval(d, {s}, {progress = function() inner = core.eval(d, {s})[1]:totable() end})
  near(inner, by_image(ce), 1e-5)
  eq(core.threads(2), 2)
  eq(core.threads(), 2)
end)

test "gradient of a sum with respect to logits and numbers" (function()
  local f = core.fields(d)
  local g = core.grad(f.ce:sum(), d.logits)
  eq(core.axes(g), core.axes(d.logits))
  local got = g[2]:eval(exact)
  for i, p in ipairs(pixels(2)) do
    for c = 1, C do
      local want = p.y == 255 and 0 or p.p[c] - (c == p.y + 1 and 1 or 0)
      near(got[c][(i - 1) // W + 1][(i - 1) % W + 1], want, 1e-12, 1e-14)
    end
  end
  throws("holds numbers", function() core.grad(core.dense {1}, d.logits) end)
  throws("one image alone", function() core.grad(f.ce[1], d.logits) end)
end)

test "services" (function()
  ok(core.version:match("^%d+%.%d+"))
  eq(#core.hash("a"), 16)
  ok(core.hash("a") ~= core.hash("b"))
  ok(core.width() > 0)
  local t = core.clock()
  ok(core.clock() >= t)
  ok(core.isatty(0) == true or core.isatty(0) == false)
  ok(({base = 1, v3 = 1, v4 = 1})[core.isa()])
end)

-- -- Failing memory -----------------------------------------------------------------------------

-- Makes the n-th allocation of the engine fail, for n = 1, 2 ... until all of `body` survives.
local function survives(body)
  local failed = 0
  for n = 1, 5000 do
    core._fault(n)
    local fine, e = pcall(body, n)
    local fired = core._fault()
    if not fired then
      ok(fine, tostring(e))
      return failed
    end
    if not fine then
      eq(type(e) == "table" and e.code, "memory", tostring(e))
      failed = failed + 1
    end
  end
  error("no end")
end

test "failing memory: building, evaluating, text" (function()
  ok(survives(function(n)
    local f = core.fields(d)
    local g = core.axis("f", {1, 2})
    local loss = ((f.u ^ (g + n)) * f.ce * n):mean()
    core.text(loss)
    core.eval(d, {loss, core.bysum(f.p)})
    d.logits[1]:eval()
  end) > 10)
  ok(survives(function() core.dense {1, 2, 3}:mul(core.axis("ff", {1, 2})):eval() end) > 0)
  ok(survives(function() core.threads(0) end) > 0)
  near(value(core.psum(core.fields(d).ce)), by_image(ce), 1e-13)
end)
