-- test_faults.lua: whole scripts (open, losses, class weights, metrics, a sweep, gradients; fits) in which the
-- n-th allocation of the engine, the n-th read or the n-th growth of Lua's memory fails, for every n
-- until none is left to fail. Each ends in a clear error or in the right numbers, and the program goes
-- on. (That nothing leaks or is used after its end is seen under the address sanitizer.)
local T = require "harness"
if os.getenv "SEGX_REF" then T.skip "the reference reads no files" end
local segx = require "segx"
local core = require "segx.core"
local test, eq, ok = T.test, T.eq, T.ok
local L, A, W = segx.loss, segx.axis, segx.weights

local function sample(gzip)
  local path = T.tmp(("faults%d.h5"):format(gzip))
  local w = segx.write_dump(path, {n = 3, classes = 3, dims = {5, 7}, logits_type = "float16",
    labels_type = "uint8", gzip = gzip, ignore_index = 255, class_names = {"a", "b", "c"}})
  for i = 1, 3 do
    local logits, labels = {}, {}
    for p = 1, 3 * 35 do logits[p] = (p * 37 * i % 101) / 16 - 3 end
    for p = 1, 35 do labels[p] = p % 11 == 0 and 255 or p * i % 3 end
    w:write(i, logits, labels)
  end
  w:finish()
  return path
end

local paths = {sample(0), sample(4)}

-- The program of a user, small. Axes stay in the graph: they are made once.
local gamma, share = A.grid("gamma", {0, 1.3, 2}), A.lin("mix", 0, 1, 3)

local function whole(path)
  local out = {}
  local d <close> = segx.open(path)
  out[1] = tostring(d)
  local loss = 0.5 * L.focal {gamma = 2, weight = W.inverse_sqrt(d)} + L.dice {unit = "image"}
  out[2] = ("%a"):format(loss(d).value)
  out[3] = d:metrics {}.miou
  local r = segx.sweep {dump = d, loss = share * L.focal {gamma = gamma} + (1 - share) * L.dice {},
    want = {"value", "per_class", "tau(iou)"}, mem = 1}:run()
  out[4] = r:csv()
  out[5] = (d.logits[2]:softmax("class"):pick(d.labels[2])):eval():totable()
  local some <close> = d:subset {3, 1}
  out[6] = ("%a"):format(loss(some).value)
  local sorts = L.lovasz_softmax {unit = {batch = 2}} + L.hausdorff_dt {}
  out[7] = ("%a"):format(sorts(d).value)
  out[8] = sorts:grad(d, 3):totable()
  return out
end

-- Offline fits and what one does with them.
local function fitted(path)
  local d <close> = segx.open(path)
  local r = segx.fit {dump = d, loss = {L.focal {gamma = gamma}, L.dice {}}, control = L.ce {}, pixels = 60, iterations = 5,
    intervals = 20}
  return {r:csv(), tostring(r:best "fit.miou":bias())}
end

local function message(e)
  if type(e) == "string" then return e, "string" end
  local got, text = pcall(function() return e.message end)
  return got and text or tostring(e), got and e.code
end

-- kind: of fault; fits(text, code): is this the error that it should end in?
local function every(kind, path, fits, step, script)
  local whole = script or whole
  local want = whole(path)
  local n, fired, survived, failed = 0, nil, 0, 0
  repeat
    n = n + step(n)
    collectgarbage()
    core._fault(n, kind)
    local good, e = pcall(whole, path)
    fired = core._fault()
    if good then
      eq(e, want, ("%s %d"):format(kind, n))
      survived = survived + 1
    else
      local text, code = message(e)
      ok(fired, ("%s %d: an error without a fault: %s"):format(kind, n, text))
      ok(fits(text, code), ("%s %d: wrong kind of error (%s): %s"):format(kind, n, code, text))
      failed = failed + 1
    end
  until not fired or n > 1e6
  eq(whole(path), want, "afterwards")
  print(("# %s: %d failures, %d survived, in %d steps"):format(kind, failed, survived, n))
  ok(failed > 0, "nothing failed")
end

-- Every single one; under the thread sanitizer some of them, for time's sake.
local slow = (os.getenv "SEGX_SANITIZE" or ""):find "thread" and 31 or 1

local function one() return 1 end

for i, path in ipairs(paths) do
  local what = i == 1 and "contiguous" or "compressed"
  test("memory of the engine, " .. what) (function()
    every("memory", path, function(text) return text:lower():find "memory" end,
      function() return slow end)
  end)
  test("reads, " .. what) (function()
    every("read", path, function(text, code)
      return tostring(code):lower() == "file" and text:find "injected fault"
    end, one)
  end)
end

test "memory of Lua" (function()
  every("lua", paths[2], function(text) return text:find "not enough memory" end,
    function(n) return slow * (n < 2000 and 7 or 1 + n // 97) end)
end)

test "memory of the engine, reads: fits" (function()
  every("memory", paths[1], function(text) return text:lower():find "memory" end,
    function(n) return slow * (1 + n // 40) end, fitted)
  every("read", paths[1], function(text, code)
    return tostring(code):lower() == "file" and text:find "injected fault"
  end, one, fitted)
end)
