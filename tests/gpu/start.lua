--[[
start.lua: how long until the first value of a loss that the program has never seen, on a small dump; run by tests/gpu/run.sh:

  segx --device cuda --mode fast tests/gpu/start.lua [card]

Prints one line of milliseconds: opening the GPU; the first value (a kernel is compiled, or read from the cache); the first value of
another new loss, when everything is open; the same again. With `card` what the table begins with instead.
]]
local core = require "segx.core"
local L = segx.loss

local function clock(work)
  local start = core.clock()
  work()
  return (core.clock() - start) * 1e3
end

local gpu
local opening = clock(function() gpu = core.device(0) end)
if not gpu.name then error(gpu.why) end

if arg[1] == "card" then
  local d = core.synthetic {n = 1, classes = 2, height = 8, width = 8}
  local text = core.kernels(d, {L.ce {}:tensor(d)}, {mode = "fast"})[1].text
  local fine, _, _, version = pcall(core.compile_kernel, text, "sm_80", true)
  local function row(...) print(("| %s | %s |"):format(...)) end
  row("card", ("%s, compute capability %d.%d, %d multiprocessors, %.0f GiB"):format(gpu.name, gpu.cc // 10, gpu.cc % 10,
    gpu.sms, gpu.memory / 2^30))
  row("driver", ("%s, CUDA %d.%d"):format(gpu.driver_path, gpu.driver // 1000, gpu.driver % 1000 // 10))
  row("NVRTC", ("%s, %s"):format(fine and version or "FAILED", gpu.nvrtc))
  row("copy bandwidth", ("%.0f GB/s, read and written"):format(core.device_counts(true).copy_speed / 1e9))
  return
end

local d = core.synthetic {n = 1, classes = 19, height = 256, width = 512, logits_type = "float16"}
local one = L.define("never_seen", {m = 0.35, s = 8}, function(x, q) return -x.logpt * ((q.m - x.pt) * q.s):sigmoid() end)
local other = L.define("nor_this", {m = 0.25}, function(x, q) return x.u:pow(1.7) * (x.pt + q.m):log() - x.logpt end)
local function value(loss) return function() loss:eval(d) end end
print(("%.1f\t%.1f\t%.1f\t%.1f"):format(opening, clock(value(one {} + L.dice {})), clock(value(other {})), clock(value(other {}))))
