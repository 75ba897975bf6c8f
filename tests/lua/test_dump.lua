-- test_dump.lua: dumps as segx.core gives them to Lua: arrays in memory, files written and read
-- back, what they say about themselves, and what happens to wrong ones.
local T = require "harness"
local core = require "segx.core"
local test, eq, near, throws, ok = T.test, T.eq, T.near, T.throws, T.ok

local exact = {precision = "double"}

-- n images of c classes, h x w: nested logits and labels, and the flat lists that a writer takes.
local function make(n, c, h, w)
  local m = {logits = {}, labels = {}, flat = {}, flat_labels = {}}
  for i = 1, n do
    m.logits[i], m.labels[i], m.flat[i], m.flat_labels[i] = {}, {}, {}, {}
    for k = 1, c do
      m.logits[i][k] = {}
      for y = 1, h do
        m.logits[i][k][y] = {}
        for x = 1, w do
          local v = ((i * 5 + k * 3 + y * 7 + x) % 9) / 4 - 1
          m.logits[i][k][y][x] = v
          table.insert(m.flat[i], v)
        end
      end
    end
    for y = 1, h do
      m.labels[i][y] = {}
      for x = 1, w do
        m.labels[i][y][x] = (i + y + x) % c
        table.insert(m.flat_labels[i], m.labels[i][y][x])
      end
    end
  end
  return m
end

local function write(path, m, opts)
  local o = {n = #m.logits, classes = #m.logits[1], dims = {#m.labels[1], #m.labels[1][1]}}
  for k, v in pairs(opts or {}) do o[k] = v end
  local w = core.write_dump(path, o)
  for i = 1, o.n do w:write(i, m.flat[i], m.flat_labels[i]) end
  w:finish()
end

local function mean_ce(d) return core.fields(d).ce:mean():eval(exact):item() end

-- -- In memory ----------------------------------------------------------------------------------

test "memory: what it says about itself" (function()
  local m = make(2, 3, 2, 4)
  local d = core.memory {name = "mine", logits = m.logits, labels = m.labels,
    class_names = {"a", "b", "c"}}
  local i = d:info()
  eq({i.path, i.n, i.classes, i.class_names, i.named, i.dims, i.same_shape, i.max_px},
    {"mine", 2, 3, {"a", "b", "c"}, true, {2, 4}, true, 8})
  eq({i.logits_type, i.labels_type, i.activation, i.layout, i.ignore, i.field_names},
    {"float32", "int64", "logits", "NCHW", {}, {}})
  eq(#i.fingerprint, 16)
  eq({#d, d:dims(), d:dims(2), d:image_name(1)}, {2, {2, 4}, {2, 4}})
  eq(core.nimages(d), 2.0)
  ok(tostring(d):find("mine"))
  eq(d.logits:size(), {2, 3, 2, 4})
  eq(d.nothing, nil)
  throws("3 is not in 1 .. 2", function() d:dims(3) end)
end)

test "synthetic: images repeat" (function()
  local ce = require "segx".loss.ce {unit = "image"}
  for _, type in ipairs {"float32", "float16"} do
    local function images(n, distinct)
      local d <close> = core.synthetic {n = n, classes = 3, height = 33, width = 47, distinct = distinct, logits_type = type}
      return ce:eval(d).images
    end
    local a, b = table.unpack(images(2))
    ok(a ~= b)
    eq(images(5, 2), {a, b, a, b, a})
    eq(images(2, 7), {a, b})
  end
end)

test "memory: number types" (function()
  local m = make(2, 3, 2, 4)
  local want = mean_ce(core.memory {logits = m.logits, labels = m.labels, logits_type = "float64"})
  for _, t in ipairs {"float32", "float16"} do      -- these logits are quarters: exact in all types
    for _, y in ipairs {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"} do
      local d = core.memory {logits = m.logits, labels = m.labels, logits_type = t, labels_type = y}
      eq({d:info().logits_type, d:info().labels_type}, {t, y})
      eq(mean_ce(d), want, t .. " " .. y)
    end
  end
  local values = {65504, 6.103515625e-05, 5.9604644775390625e-08, 0.1, -2.5, 1e-9}
  local d = core.memory {logits = {{values, values}}, labels = {{0, 0, 0, 0, 0, 0}},
    logits_type = "float16"}
  eq(d.logits[1][1]:eval(exact):totable(),
    {65504, 6.103515625e-05, 5.9604644775390625e-08, 0.0999755859375, -2.5, 0})
  d = core.memory {logits = {{{1 / 3}, {0.0}}}, labels = {{0}}, logits_type = "float64"}
  eq(d.logits[1][1]:eval(exact):totable(), {1 / 3})
end)

test "memory: dense tensors, one row, volumes, one channel" (function()
  local m = make(2, 3, 2, 4)
  local nested = core.memory {logits = m.logits, labels = m.labels}
  local dense = core.memory {logits = core.dense(m.logits), labels = core.dense(m.labels)}
  local row = core.memory {logits = core.dense(m.logits):reshape {2, 3, 8},
    labels = core.dense(m.labels):reshape {2, 8}}
  local volume = core.memory {logits = core.dense(m.logits):reshape {2, 3, 2, 2, 2},
    labels = core.dense(m.labels):reshape {2, 2, 2, 2}}
  eq(dense:info().fingerprint, nested:info().fingerprint)
  eq({mean_ce(dense), mean_ce(row), mean_ce(volume)},
    {mean_ce(nested), mean_ce(nested), mean_ce(nested)})
  eq(volume.logits[1]:eval():axes(), {"class", "z", "y", "x"})
  eq(volume.logits:size(), {2, 3, 2, 2, 2})
  local one = core.memory {logits = {{{-1, 2}}}, labels = {{0, 1}}, logits_type = "float64"}
  eq({one:info().classes, one:info().activation}, {2, "sigmoid"})
  near(core.fields(one).ce[1]:eval(exact):totable(), {math.log(1 + math.exp(-1)),
    math.log(1 + math.exp(-2))}, 1e-14)
end)

test "memory: ignored labels" (function()
  local x = {{{1, 2, 3}, {0, 0, 0}}}
  local function valid(labels, ignore)
    local d = core.memory {logits = x, labels = {labels}, ignore_index = ignore}
    return d.valid[1]:eval():totable(), d:info()
  end
  eq((valid({0, 1, 255}, 255)), {1, 1, 0})
  eq((valid({0, 9, 255}, {255, 9})), {1, 0, 0})
  eq((valid({0, 1, 0}, 0)), {0, 1, 0})
  eq((valid({0, 1, 0}, {})), {1, 1, 1})
  local v, info = valid({0, 1, -1})
  eq({v, info.ignore, info.ignore_guessed}, {{1, 1, 0}, {-1}, true})
  local e = throws("7", function() valid({0, 7, 1}) end)
  eq(e.code, "data")
end)

test "memory: numbers that are not finite" (function()
  local x = {{{1, 0 / 0, 3}, {0, 0, 0}}}
  local e = throws("finite", function()
    mean_ce(core.memory {logits = x, labels = {{0, 0, 0}}})
  end)
  eq(e.code, "data")
  local d = core.memory {logits = x, labels = {{0, 0, 0}}, nonfinite = "skip",
    logits_type = "float64"}
  local r, st = core.eval(d, {core.fields(d).ce:mean()}, exact)
  near(r[1]:item(), (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-3))) / 2, 1e-13)
  eq({st.pixels, st.masked}, {2, 1})
end)

test "memory: further numbers per pixel" (function()
  local m = make(2, 3, 2, 4)
  local weight, area = {}, {}
  for i = 1, 2 do
    weight[i], area[i] = {}, {}
    for y = 1, 2 do
      weight[i][y], area[i][y] = {}, {}
      for x = 1, 4 do weight[i][y][x], area[i][y][x] = i + y / 4 + x / 64, 10 * i + x end
    end
  end
  local d = core.memory {logits = m.logits, labels = m.labels,
    fields = {weight = weight, area = area}}
  eq(d:info().field_names, {"area", "weight"})
  eq(d.weight[2]:eval(exact):totable(), weight[2])
  eq(d.area[1]:eval(exact):totable(), area[1])
  eq(core.text(d.weight * 2):find("weight") ~= nil, true)
  local sums = core.psum(d.weight):eval(exact):totable()
  for i = 1, 2 do near(sums[i], core.dense(weight[i]):sum():item(), 1e-14) end
  throws("another shape", function()
    core.memory {logits = m.logits, labels = m.labels, fields = {w = {1, 2}}}
  end)
end)

test "memory: mistakes" (function()
  local m = make(2, 3, 2, 4)
  local function bad(change)
    local o = {logits = m.logits, labels = m.labels}
    for k, v in pairs(change) do o[k] = v end
    return function() core.memory(o) end
  end
  throws("test_dump.lua:%d+: memory: unknown option 'lables'", bad {lables = {}})
  throws("differ in shape", bad {labels = {{0, 1}}})
  throws("shape {images, classes, space...}", bad {logits = {1, 2}})
  throws("0.5 at place 1 is no int64", bad {labels = core.dense(m.labels) + 0.5})
  throws("unknown number type 'half'", bad {logits_type = "half"})
  throws("logits_type: float16", bad {logits_type = "int8"})
  throws("labels_type: an integer type", bad {labels_type = "float32"})
  throws("300 at place 1 is no uint8",
    bad {labels = core.zeros {2, 2, 4} + 300, labels_type = "uint8"})
  throws("class_names: a list of strings", bad {class_names = "a"})
  throws("nonfinite", bad {nonfinite = "maybe"})
  throws("unknown activation", bad {activation = "probabilities"})
  throws("ignore_index: expected an integer", bad {ignore_index = 0.5})
  throws("a table expected", function() core.memory(3) end)
end)

-- -- Files --------------------------------------------------------------------------------------

test "files: what is written is read back" (function()
  local m = make(3, 4, 3, 5)
  for k, opts in ipairs {
    {logits_type = "float32", labels_type = "uint8", gzip = 0},
    {logits_type = "float16", labels_type = "int32", gzip = 4},
    {logits_type = "float64", labels_type = "int64", gzip = 1},
  } do
    opts.class_names, opts.ignore_index, opts.split = {"a", "b", "c", "d"}, 200, "val"
    local path = T.tmp("written" .. k .. ".h5")
    write(path, m, opts)
    local d <close> = core.open(path)
    local i = d:info()
    eq({i.path, i.n, i.classes, i.class_names, i.named, i.ignore, i.ignore_guessed,
      i.dims, i.logits_type, i.labels_type},
      {path, 3, 4, {"a", "b", "c", "d"}, true, {200}, false, {3, 5},
        opts.logits_type, opts.labels_type})
    for n = 1, 3 do
      eq(d.logits[n]:eval(exact):totable(), m.logits[n])
      eq(d.labels[n]:eval():totable(), m.labels[n])
    end
    eq(mean_ce(d), mean_ce(core.memory {logits = m.logits, labels = m.labels}))
  end
end)

test "files: tensors keep their dump, closing ends it" (function()
  local m, path = make(2, 2, 2, 2), T.tmp("keep.h5")
  write(path, m)
  local t = core.fields(core.open(path)).ce:mean()
  collectgarbage()
  collectgarbage()
  ok(t:item() > 0)
  local d = core.open(path)
  local x, free = d.logits, core.fields(d).classes * 2
  d:close()
  d:close()
  eq(tostring(d), "dump (closed)")
  throws("test_dump.lua:%d+: the dump is closed", function() d:info() end)
  throws("the dump is closed", function() local _ = d.logits end)
  throws("the dump is closed", function() local _ = x[1]:eval() end)
  throws("closed dump", function() local _ = x:mean() end)
  eq(free:eval():totable(), {0, 2})
end)

test "files: dumps are counted apart" (function()
  local m, path = make(2, 2, 2, 2), T.tmp("twice.h5")
  write(path, m)
  local a, b = core.open(path), core.open(path)
  eq(a:info().fingerprint, b:info().fingerprint)
  throws("different dumps", function() return a.logits - b.logits end)
  eq(core.text(a.logits), core.text(b.logits))
  eq(core.hash(a.logits:exp()), core.hash(b.logits:exp()))
end)

test "files: what cannot be opened" (function()
  local e = throws("No such file", function() core.open(T.tmp("none.h5")) end)
  eq(e.code, "file")
  local path = T.tmp("text.h5")
  local f <close> = io.open(path, "w")
  f:write("not a dump")
  f:close()
  e = throws("text.h5", function() core.open(path) end)
  eq(e.code, "file")
  ok(tostring(e):find(e.message, 1, true))
  throws("test_dump.lua:%d+: open: a path expected, got nil", function() core.open() end)
  throws("open: unknown option 'ignore'", function() core.open(path, {ignore = 255}) end)
  throws("open: layout: a string expected", function() core.open(path, {layout = 3}) end)
end)

test "writing: mistakes leave no file" (function()
  local m, path = make(2, 2, 2, 2), T.tmp("half.h5")
  local o = {n = 2, classes = 2, dims = {2, 2}}
  local w = core.write_dump(path, o)
  w:write(1, m.flat[1], core.dense(m.labels[1]))
  throws("3 is not in 1 .. 2", function() w:write(3, m.flat[1], m.flat_labels[1]) end)
  throws("logits: 4 numbers, expected 8", function() w:write(2, {1, 2, 3, 4}, m.flat_labels[1]) end)
  throws("labels: entry 1 is 0.5, not a label",
    function() w:write(2, m.flat[1], {0.5, 0, 0, 0}) end)
  throws("entry 2 is a string", function() w:write(2, m.flat[1], {0, "x", 0, 0}) end)
  throws("300 does not fit into uint8", function() w:write(2, m.flat[1], {300, 0, 0, 0}) end)
  throws("image 2 was never written", function() w:finish() end)
  throws("the writer is finished", function() w:finish() end)
  eq(io.open(path), nil)
  do
    local v <close> = core.write_dump(path, o)
    v:write(1, m.flat[1], m.flat_labels[1])
  end
  core.write_dump(path, o)
  collectgarbage()
  collectgarbage()
  eq(io.open(path), nil)
  throws("unknown option 'klasses'", function() core.write_dump(path, {klasses = 3}) end)
  throws("dims: a list of 1 to 3",
    function() core.write_dump(path, {n = 1, classes = 2, dims = {}}) end)
  throws("3 class_names for 2", function()
    core.write_dump(path, {n = 1, classes = 2, dims = {2}, class_names = {"a", "b", "c"}})
  end)
  local e = throws("/nonexistent", function() core.write_dump("/nonexistent/x.h5", o) end)
  eq(e.code, "file")
end)

test "failing memory: opening, arrays, writing" (function()
  local m, path, other = make(2, 3, 2, 2), T.tmp("mem.h5"), T.tmp("mem2.h5")
  write(path, m, {gzip = 1})
  local function survives(body, also)     -- also: a second code that may be given
    local failed = 0
    for n = 1, 3000 do
      core._fault(n)
      local fine, e = pcall(body)
      local fired = core._fault()
      if not fired then
        ok(fine, tostring(e))
        return failed
      end
      if not fine then
        local code = type(e) == "table" and e.code
        ok(code == "memory" or also and code == also, tostring(e))
        failed = failed + 1
      end
    end
    error("no end")
  end
  ok(survives(function()
    core.memory {logits = m.logits, labels = m.labels, fields = {w = m.labels}}
  end) > 3)
  ok(survives(function()
    local d <close> = core.open(path, {class_names = {"x", "y", "z"}})
    core.eval(d, {core.psum(d.valid)})
  end) > 3)
  ok(survives(function() write(other, m) end, "file") > 1)    -- HDF5 does not say why
end)
