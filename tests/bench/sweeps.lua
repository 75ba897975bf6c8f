--[=[
sweeps.lua: what happens after the passes; run by tests/bench/run-sweeps.

  segx --threads 1 tests/bench/sweeps.lua DUMP rows N [FOLDER]   N^5 rows of free axes: evaluated, topped, written
  segx tests/bench/sweeps.lua DUMP folder FOLDER N STEP          a folder of N cells, STEP of them per sweep
]=]
local core = require "segx.core"
local L, A, W = segx.loss, segx.axis, segx.weights
local d <close> = segx.open(arg[1])

local function peak()
  for line in io.lines "/proc/self/status" do
    local kib = line:match "^VmHWM:%s*(%d+) kB"
    if kib then return kib / 1024 end
  end
end

local function time(what, f)
  local start = core.clock()
  local r = f()
  print(("  %-46s %8.3f s"):format(what, core.clock() - start))
  return r
end

local function rows(n, out)
  local s, t = A.lin("s", 0, 1, n), A.log("t", 0.5, 2, n)
  local alpha, beta, mix = A.lin("alpha", 0.1, 0.9, n), A.lin("beta", 0.1, 0.9, n), A.lin("mix", 0, 1, n)
  local loss = mix * L.ce {weight = W.balanced(d) ^ s}
    + (1 - mix) * L.tversky {alpha = alpha, beta = beta, smooth = 1, weight = t * W.balanced(d)}
  local sw = segx.sweep {dump = d, loss = loss, threads = 1}
  print(("%s configurations of free axes, %d images, %d classes"):format(segx.format.count(sw:count()), #d,
    d:info().classes))
  local r = time("the pass", function() return sw:run() end)
  time("all rows from kept sums, and the best ten", function() return r:top(10) end)
  if out then
    segx.sweep {dump = d, loss = loss, threads = 1, out = out}:run()     -- its pass
    time("the same sweep in its folder: results.csv", function()
      return segx.sweep {dump = d, loss = loss, threads = 1, out = out}:run()
    end)
  end
  print(("  %-46s %8.1f MiB"):format("memory, at its peak", peak()))
end

local function folder(out, n, step)
  local values = {}
  for first = 1, n, step do
    for k = first, math.min(first + step - 1, n) do values[k] = 6 * (k - 1) / (n - 1) end
    local gammas = table.move(values, 1, #values, 1, {})
    segx.sweep {dump = d, loss = L.focal {gamma = A.grid("gamma", gammas)}, out = out}:run()
  end
end

if arg[2] == "rows" then
  rows(math.tointeger(arg[3]), arg[4])
else
  folder(arg[3], math.tointeger(arg[4]), math.tointeger(arg[5]))
end
