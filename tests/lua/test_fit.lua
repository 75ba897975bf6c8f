-- test_fit.lua: offline fits: samples, folds, minima, scores, columns, what they say of themselves.
local T = require "harness"
local F = require "fixtures"
if F.reference then T.skip "the reference has no fits" end
local segx = require "segx"
local core = require "segx.core"
local fits = require "segx.fits"
local fitter = require "segx.fitter"
local golden = require "ref_golden_fit"
local test, eq, near, throws, ok = T.test, T.eq, T.near, T.throws, T.ok
local L, A = segx.loss, segx.axis

-- -- Dumps made for it ----------------------------------------------------------------------------

local function generator(seed)
  return function()
    seed = seed * 16807 % 2147483647
    return seed / 2147483647
  end
end

-- Pictures of pixels whose labels are spread exactly as softmax(t * logits + b) says: posteriors are tenths, and each pixel stands
-- there ten times. Every picture has all of them, in another order.
local TENTHS = {{7, 2, 1}, {1, 6, 3}, {2, 3, 5}, {4, 5, 1}, {1, 1, 8}, {3, 3, 4}, {5, 1, 4}, {8, 1, 1}}
local function known_bias(pictures, t, b, shuffled)
  local uniform = generator(11)
  local logits, labels = {}, {}
  for i = 1, pictures do
    local list = {}
    for _, tenths in ipairs(TENTHS) do
      for c, n in ipairs(tenths) do
        for _ = 1, n do list[#list + 1] = {tenths, c - 1, uniform()} end
      end
    end
    if shuffled then
      for k = #list, 2, -1 do
        local j = 1 + math.floor(uniform() * k)
        list[k][2], list[j][2] = list[j][2], list[k][2]
      end
    end
    table.sort(list, function(p, q) return p[3] < q[3] end)
    logits[i], labels[i] = {{{}}, {{}}, {{}}}, {{}}
    for k, p in ipairs(list) do
      labels[i][1][k] = p[2]
      for c = 1, 3 do logits[i][c][1][k] = (math.log(p[1][c]) - b[c]) / t end
    end
  end
  return segx.memory {logits = logits, labels = labels, class_names = {"sky", "road", "pole"}}
end

local B = {1.0, -1.5, 0.5}
local known = known_bias(12, 0.5, B)
local random = F.random(7, 6, 4, 12, 12)
local larger = F.random(7, 4, 4, 20, 20)

local function one_fit(loss, d, o)
  o = o or {}
  local stage = {value = loss:tensor(d), dump = d, tolerance = o.tolerance or 1e-11}
  return core.fit({stage}, {precision = o.precision or "double", l2 = o.l2, most = 1000, threads = o.threads,
    places = o.places})
end

-- -- Samples --------------------------------------------------------------------------------------

local function values_of(d)
  local f = core.fields(d)
  return {(f.logits * f.logits):sum("pixel"):sum("image"):eval {precision = "double"}:totable(),
    L.ce {}:eval(d, {precision = "double"}).value}
end

test "a sample of everything is everything; of some pixels the same for the same seed" (function()
  local all, taken, valid = core.pixels(random, {pixels = 100000, precision = "double"})
  eq(taken, valid)
  near(values_of(all), values_of(random), 1e-12)
  local a = core.pixels(random, {pixels = 300, seed = 5, threads = 1})
  local b, n = core.pixels(random, {pixels = 300, seed = 5, threads = 3})
  eq(values_of(a), values_of(b))
  eq(n, {50, 50, 50, 50, 50, 50})
  ok(values_of(core.pixels(random, {pixels = 300, seed = 6}))[2] ~= values_of(a)[2])
  local some = core.pixels(random, {pixels = 100000, images = {2, 5}, precision = "double"})
  eq(#some, 2)
  throws("ascending", core.pixels, random, {images = {2, 2}})
  throws("7 is not in 1 .. 6", core.pixels, random, {images = {7}})
end)

-- -- Minima ---------------------------------------------------------------------------------------

-- (On noise region losses may have several minima, and two optimisers may end in two of them: made-up dumps for this are such
-- that they do not.)
local function check_golden(d, want)
  for text, g in pairs(want) do
    local loss = load("local L = ... return " .. text)(L)
    local got = one_fit(loss, d)[1]
    near({got.start, got.value}, {g.start, g.value}, 1e-8, 0, text)
    near(got.log_t, g.log_t, 0, 1e-4, text)
    near(got.b, g.b, 1e-4, 1e-4, text)
    eq(got.state, "converged", text)
  end
end

test "every built-in ends where SciPy ends" (function()
  check_golden(larger, golden.random)
end)

for name, count in pairs {["fit_dubai.h5"] = 32, ["camvid_val.h5"] = 8} do
  test("every built-in ends where SciPy ends: " .. name) (function()
    local d <close> = segx.open(T.dump(name))
    local images = {}
    for i = 1, count do images[i] = i end
    check_golden((core.pixels(d, {pixels = 1e8, images = images, precision = "double"})), golden[name])
  end)
end

test "the value is that of the dump with changed logits" (function()
  local made, logits, labels = F.random(9, 2, 3, 4, 5)
  for _, loss in ipairs {L.ce {}, L.focal {gamma = 1.5}, L.dice {}, L.focal {} + L.generalized_dice {}} do
    local got = one_fit(loss, made)[1]
    local t, moved = math.exp(got.log_t), {}
    for i, image in ipairs(logits) do
      moved[i] = {}
      for c, rows in ipairs(image) do
        moved[i][c] = {}
        for y, row in ipairs(rows) do
          moved[i][c][y] = {}
          for x, v in ipairs(row) do moved[i][c][y][x] = t * v + got.b[c] end
        end
      end
    end
    local d = segx.memory {logits = moved, labels = labels, ignore_index = 255}
    near(got.value, loss:eval(d, {precision = "double"}).value, 1e-12)
    ok(got.value < got.start)
  end
end)

test "a known temperature and bias are found" (function()
  local got = one_fit(L.ce {}, known, {l2 = 0})[1]
  near(math.exp(got.log_t), 0.5, 1e-7)
  for c = 1, 3 do near(got.b[c] - got.b[1], B[c] - B[1], 1e-7, 1e-7) end
end)

test "same bits: threads, alone or among a hundred, with others that end earlier" (function()
  local gammas = {}
  for k = 1, 100 do gammas[k] = k / 20 end
  local axis = A.grid("gamma_fit", gammas)
  local places = {}
  for k = 1, 100 do places[k] = {k} end
  local loss = L.focal {gamma = axis} + L.dice {}
  for _, precision in ipairs {"single", "double"} do
    local o = {precision = precision, places = places, tolerance = 1e-7, threads = 1}
    local all = one_fit(loss, random, o)
    o.threads = 3
    eq(one_fit(loss, random, o), all)
    for _, k in ipairs {1, 17, 100} do
      o.places = {{k}}
      eq(one_fit(loss, random, o)[1], all[k])
    end
  end
end)

test "k times a loss is fitted as the loss is" (function()
  local a, b = one_fit(L.dice {}, random)[1], one_fit(1000 * L.dice {}, random)[1]
  near(a.b, b.b, 1e-6, 1e-7)
end)

test "what cannot be fitted says so" (function()
  local bad = L.define("bad_at_start", {}, function(x) return (x.logits:sum("class") * 0 - 1):log() end)
  eq(one_fit(bad, random)[1].state, "not finite")
  local r = segx.fit {dump = random, loss = {bad, L.ce {}}, intervals = false}
  ok(r:column "fit.miou"[1] ~= r:column "fit.miou"[1])
  for row in r:rows() do
    eq(row.reason, row.name == "bad_at_start{}" and "fit: the loss is not finite on the pictures outside of fold 1" or nil)
  end
  throws("no fit", function() r:first(1):best("fit.miou"):bias() end)
end)

-- -- Folds ----------------------------------------------------------------------------------------

test "folds: groups stay together, sizes are close, the seed decides" (function()
  local groups = {"a", "a", "b", "c", "c", "c", "d", "e", "e", "f", "g", "g"}
  local f = fitter.new(known, {groups = groups, folds = 3})
  local of, size = {}, {0, 0, 0}
  for i, g in ipairs(groups) do
    eq(of[g] or f.fold[i], f.fold[i])
    of[g] = f.fold[i]
    size[f.fold[i]] = size[f.fold[i]] + 1
  end
  table.sort(size)
  ok(size[3] - size[1] <= 3, table.concat(size, " "))
  eq(fitter.new(known, {groups = groups, folds = 3}).fold, f.fold)
  local other = 0
  for seed = 1, 5 do
    for i, k in ipairs(fitter.new(known, {groups = groups, folds = 3, seed = seed}).fold) do
      other = other + (k ~= f.fold[i] and 1 or 0)
    end
  end
  ok(other > 0)
  throws("8 folds of 7 groups", fitter.new, known, {groups = groups, folds = 8})
  throws("13 folds of 12 pictures", fitter.new, known, {folds = 13})
  throws("list of 12 names", fitter.new, known, {groups = {1, 2}})
  throws("no data set /split", fitter.new, known, {part = {split = 1}})
  throws("folds is an integer, at least 2", fitter.new, known, {folds = 1})
end)

-- -- Results --------------------------------------------------------------------------------------

test "each picture is scored by the fit that did not see it" (function()
  local o = {folds = 3, pixels = 100000, precision = "double"}
  local f = fitter.new(random, o)
  local r = segx.fit {dump = random, loss = {L.focal {}}, folds = 3, pixels = 100000, precision = "double",
    want = {"fit.miou", "fit.accuracy", "fit.iou.2", "fit.dice.2", "fit.recall.1", "fit.precision.3", "fit.dice"}}
  local theta, fold = {}, {}
  for k = 1, 3 do
    local images = {}
    for i = 1, 6 do if f.fold[i] ~= k then images[#images + 1] = i end end
    local sample = core.pixels(random, {pixels = 100000, images = images, precision = "double"})
    theta[k] = one_fit(L.focal {}, sample, {tolerance = 1e-9})[1]
  end
  local _, logits, labels = F.random(7, 6, 4, 12, 12)
  for i = 1, 6 do
    local q = theta[f.fold[i]]
    for c = 1, 4 do
      for y = 1, 12 do
        for x = 1, 12 do logits[i][c][y][x] = math.exp(q.log_t) * logits[i][c][y][x] + q.b[c] end
      end
    end
    fold[i] = f.fold[i]
  end
  local m = segx.memory {logits = logits, labels = labels, ignore_index = 255}:metrics {}
  local row = r:best "fit.miou"
  near({row["fit.miou"], row["fit.accuracy"], row["fit.iou.2"], row["fit.dice.2"], row["fit.recall.1"],
    row["fit.precision.3"], row["fit.dice"]},
    {m.miou, m.pixel_accuracy, m.iou["2"], m.dice["2"], m.recall["1"], m.precision["3"], m.mdice}, 1e-12)
end)

test "a known bias wins; with shuffled labels nothing is won" (function()
  local r = segx.fit {dump = known, control = L.ce {}, loss = {L.ce {}, L.dice {}}, precision = "double", l2 = 0}
  local row = r:filter(function(w) return w.name == "L.cross_entropy{}" end):best "fit.miou"
  local true_logits = known_bias(12, 1, {0, 0, 0}):metrics {}
  near(row["fit.miou"], true_logits.miou, 1e-12)
  near(row["fit.gain"], true_logits.miou - known:metrics {}.miou, 1e-12)
  ok(row["fit.gain.lo"] > 0.01)
  eq({row["fit.miou-control"], row["fit.miou-control.note"]}, {0, "not separable"})
  local shuffled = segx.fit {dump = known_bias(30, 0.5, {0, 0, 0}, true), loss = {L.ce {}, L.focal {}, L.jaccard {}}}
  for lost in shuffled:rows() do ok(not (lost["fit.gain.lo"] > 0), tostring(lost)) end
end)

test "columns in a sweep; refused rows; control with the sweep's axis" (function()
  local gamma = A.grid("gamma", {0, -1, 2, 5})
  local r = segx.sweep {dump = random, loss = L.focal {gamma = gamma}, control = L.focal {gamma = gamma} + L.dice {},
    want = {"value", "fit.miou", "fit.rank", "fit.gain.2"}, fit = {pixels = 5000}}:run()
  eq(r:names(), {"gamma", "value", "fit.miou", "fit.miou.lo", "fit.miou.hi", "fit.miou-control", "fit.miou-control.lo",
    "fit.miou-control.hi", "fit.miou-control.note", "fit.rank", "fit.rank.lo", "fit.rank.hi", "fit.gain.2",
    "fit.gain.2.lo", "fit.gain.2.hi", "fit.gain.2.note"})
  local single = segx.fit {dump = random, loss = {L.focal {gamma = 0}, L.focal {gamma = 2}, L.focal {gamma = 5}},
    pixels = 5000, want = {"fit.miou", "fit.rank", "fit.gain.2"}}
  for _, name in ipairs {"fit.miou", "fit.miou.lo", "fit.miou.hi", "fit.rank", "fit.rank.lo", "fit.rank.hi",
    "fit.gain.2", "fit.gain.2.lo"} do
    local a, b = r:column(name), single:column(name)
    eq({a[1], a[3], a[4]}, b, name)
    ok(a[2] ~= a[2])
  end
  local rows = {}
  for row in r:rows() do rows[#rows + 1] = row.reason or "" end
  eq(rows, {"", "focal: gamma = -1; it must be at least 0", "", ""})
  local hybrid = segx.fit {dump = random, pixels = 5000, intervals = false, loss = L.focal {gamma = gamma} + L.dice {}}
  near(r:column "fit.miou-control"[4], r:column "fit.miou"[4] - hybrid:column "fit.miou"[4], 1e-15)
  eq(r:top(1, "fit.rank"):column "fit.rank"[1], math.min(table.unpack(single:column "fit.rank")))
end)

test "searches forecast, too" (function()
  for _, method in ipairs {"sobol", "coordinate"} do
    local s = segx.search {dump = known, by = "fit.miou", want = {"fit.miou"}, space = {mix = {0, 1}}, method = method, n = 3,
      rounds = 1, loss = function(p) return p.mix * L.focal {} + (1 - p.mix) * L.dice {} end}
    local best = s:run():best "fit.miou"
    local single = segx.fit {dump = known, loss = {best.loss}}
    eq(best["fit.miou"], single:column "fit.miou"[1])
    near(best:bias().t, single:best "fit.miou":bias().t, 1e-4)
  end
end)

test "a sweep of fits alone takes no further pass; the rows are the same" (function()
  local function sweep(want)
    return segx.sweep {dump = random, loss = L.focal {gamma = A.grid("gamma", {0, -1, 2})}, want = want, fit = {pixels = 1000}}
  end
  local alone, both = sweep {"fit.miou", "fit.gain"}, sweep {"value", "fit.miou", "fit.gain"}
  local a, b = alone:run(), both:run()
  eq({a.stats.passes, b.stats.passes}, {0, 1})
  for _, name in ipairs {"gamma", "fit.miou", "fit.miou.lo", "fit.gain", "fit.gain.hi"} do eq(a:column(name), b:column(name)) end
  ok(not tostring(alone:plan()):find "inside the pass" and tostring(both:plan()):find "inside the pass: gamma")
end)

test "gains and IoU of every class" (function()
  local r = segx.fit {dump = known, control = L.ce {}, loss = {L.dice {}}, want = {"fit.gains", "fit.ious"}, intervals = false}
  eq(r:names(), {"name", "fit.gain.sky", "fit.gain.road", "fit.gain.pole", "fit.iou.sky", "fit.iou.sky-control",
    "fit.iou.road", "fit.iou.road-control", "fit.iou.pole", "fit.iou.pole-control"})
  local row, m = r:best "fit.iou.sky", known:metrics {}
  for _, c in ipairs {"sky", "road", "pole"} do near(row["fit.iou." .. c] - row["fit.gain." .. c], m.iou[c], 1e-12) end
end)

test "one loss or a list: the same numbers" (function()
  local a = segx.fit {dump = random, loss = L.dice {}, pixels = 5000}
  local b = segx.fit {dump = random, loss = {L.dice {}, L.dice {smooth = A.grid("s", {0, 1})}}, pixels = 5000}
  eq(a:column "fit.miou"[1], b:column "fit.miou"[1])
  eq(b:column "fit.miou"[1], b:column "fit.miou"[2])
  eq(b:column "name", {"L.dice{}", "L.dice{}", "L.dice{smooth = 1}"})
  eq(b:column "fit.rank"[1], b:column "fit.rank"[2])
  local row = b:first(3):best "fit.miou"
  ok(tostring(row.loss):find "L.dice")
end)

test "have it now" (function()
  local r = segx.fit {dump = known, control = L.focal {gamma = 2}, loss = {L.ce {}}, precision = "double", l2 = 0}
  local b = r:best("fit.miou"):bias()
  near(b.t, 0.5, 1e-6)
  near(b.b.pole - b.b.sky, B[3] - B[1], 0, 1e-6)
  eq(b.b.pole, b.b[2])
  eq(b[1].name, "as it is")
  eq({b[2].name, b[2].miou}, {"this loss", r:column "fit.miou"[1]})
  eq({b[3].name, b[4].name}, {"control", "tuned for IoU"})
  ok(b[4].miou > b[1].miou and b.tuned.t == 1)
  local t, names = b:torch(), {}
  for line in t:gmatch "[^\n]+" do names[#names + 1] = line end
  eq(#names, 3)
  ok(t:find("torch.tensor([", 1, true) and t:find "sky, road, pole")
  local json = require("segx.json").decode(b:json())
  near({json.t, json.b.sky}, {b.t, b.b.sky}, 1e-5)
  near(load("return " .. b:lua())().b.road, b.b.road, 1e-5)
  ok(tostring(b):find "held out")
end)

test "tuned biases: the best of one class is found exactly" (function()
  local d = known_bias(1, 1, {0, 2, 0})
  local b, before, after = core.tune(core.pixels(d, {pixels = 1000}), "iou")
  near(before, d:metrics {}.miou, 1e-12)
  local best = before
  for k = -400, 400 do
    for j = -20, 20 do
      local _, v = core.tune(core.pixels(d, {pixels = 1000}), "iou", {j / 10, k / 100, 0})
      best = math.max(best, v)
      if k % 20 ~= 0 then break end
    end
  end
  ok(after >= best - 1e-4, ("%g %g"):format(after, best))
  eq(#b, 3)
end)

-- -- What is said ---------------------------------------------------------------------------------

test "few pictures, classes without pixels, parts, fits that did not end" (function()
  local r = segx.fit {dump = random, loss = {L.ce {}}}
  eq(r.notes, {"only 6 pictures: intervals over so few are too narrow, and differences mostly chance"})
  ok(tostring(r:top(1)):find "note: only 6 pictures")
  local logits, labels = select(2, F.random(3, 12, 3, 4, 4))
  for i = 1, 12 do
    for y = 1, 4 do
      for x = 1, 4 do
        if labels[i][y][x] == 2 then labels[i][y][x] = i == 1 and 2 or 1 end
      end
    end
  end
  labels[1][1][1] = 2
  local d = segx.memory {logits = logits, labels = labels, ignore_index = 255}
  local text = table.concat(segx.fit {dump = d, loss = {L.ce {}}}.notes, "\n")
  ok(text:find "no picture outside of fold %d has a pixel of 2")
  r = segx.fit {dump = known, loss = {L.dice {}}, iterations = 1, control = L.ce {}}
  ok(r.notes[1]:find "^2 fits did not converge, .*L.cross_entropy{} %(not converged%)", r.notes[1])
end)

test "misuse is explained" (function()
  throws("dump is missing", segx.fit, {loss = L.ce {}})
  throws("loss is a loss or a list", segx.fit, {dump = random})
  throws("item 2 of the list", segx.fit, {dump = random, loss = {L.ce {}, 3}})
  throws("unknown option 'fold'", segx.fit, {dump = random, loss = L.ce {}, fold = 3})
  throws("unknown column 'fit.miu'.*fit.miou", segx.fit, {dump = random, loss = {L.ce {}}, want = {"fit.miu"}})
  throws("unknown column 'fit.miu'.*fit.miou", segx.sweep, {dump = random, loss = L.ce {}, want = {"fit.miu"}})
  throws("unknown class 'x'", segx.fit, {dump = random, loss = {L.ce {}}, want = {"fit.iou.x"}})
  throws("without axes", segx.fit, {dump = random, loss = {L.ce {}}, control = L.focal {gamma = A.grid("g9", {1, 2})}})
  throws("no data set /splt.*whose /split is 1", fitter.new, known, {part = {splt = 1}})
  throws("no data set /who.*list of 12 values", fitter.new, known, {groups = "who"})
  local plain = segx.sweep {dump = random, loss = L.ce {}}:run()
  throws("bias: these rows have no fits", function() plain:best "value":bias() end)
  throws("fit is a table", segx.sweep, {dump = random, loss = L.ce {}, want = {"fit.miou"}, fit = 3})
  throws("unknown option 'fold'", segx.sweep, {dump = random, loss = L.ce {}, want = {"fit.miou"}, fit = {fold = 3}})
  throws("write it as a function", segx.fit,
    {dump = random, loss = {L.ce {}:where(core.fields(random).labels:ne(3))}})
  ok(segx.fit {dump = random, loss = {L.ce {}:where(function(x) return x.labels:ne(3) end)}})
end)

-- -- Run folders ----------------------------------------------------------------------------------

test "a run folder keeps fits: what is there is not fitted again" (function()
  local path = T.tmp "fits-run"
  local function run(gammas, o)
    o = o or {}
    local r = segx.fit {dump = random, control = L.ce {}, loss = L.focal {gamma = A.grid("gamma", gammas)},
      out = path, folds = o.folds, pixels = 1000}
    return r, r.stats
  end
  local first, stats = run {1, 2}
  eq({stats.fits_found, stats.fits_made}, {0, 6})
  local again, more = run {1, 2, 3}
  eq({more.fits_found, more.fits_made}, {6, 2})
  local kept = fits.kept(path)
  eq(kept.remarks, {"only 6 pictures: intervals over so few are too narrow, and differences mostly chance"})
  local _, other = run({1, 2}, {folds = 3})
  eq({other.fits_found, other.fits_made}, {0, 9})
  for _, name in ipairs {"fit.miou", "fit.miou.lo", "fit.gain"} do
    eq(table.move(again:column(name), 1, 2, 1, {}), first:column(name))
  end
  eq(segx.read_results(path):column "fit.miou", run({1, 2}, {folds = 3}):column "fit.miou")
  local list = segx.fit {dump = random, loss = {L.ce {}, L.focal {gamma = 1}}, out = path .. "2", pixels = 1000}
  eq(#segx.read_results(path .. "2"), #list)
  os.execute(("rm -rf '%s' '%s2'"):format(path, path))
end)
