--[[
bench.lua: times losses on a GPU against the bandwidth of its memory, measured by a copy in the same run; run by tests/gpu/run.sh:

  segx --device cuda tests/gpu/bench.lua [NAME=VALUE ...]
    bytes=8G         logits of each dump (at most a quarter of the GPU's memory)
    size=512x1024    of an image
    block=45         pixels of a side of the squares that have one label: five to six labels in a run of 256 pixels (in dumps of real
                     predictions 2 to 4.5)
    repeats=15       evaluations of which the median is taken
    seconds=150      lines that would begin later are left out, with a word
    cases=19:float16,2:float32   which dumps, in this order
    modes=fast,exact
    figures=FILE     the figures again, tab-separated, for ratios.lua
    compile=yes      only compiles the kernels, into the cache: one small image, nothing is timed
    compile=sm_90    times NVRTC alone, for each kernel; needs no GPU

One image is made up, the others are copies of it, each in its own place in the GPU's memory. They are there before the clock
starts: uploads are not timed. A figure is the median of `repeats` evaluations, plan and epilogue included.
]]
local core = require "segx.core"
local L, A = segx.loss, segx.axis

local opts = {bytes = "8G", size = "512x1024", block = "45", seconds = "150", repeats = "15", modes = "fast,exact",
  cases = "19:float16,19:float32,2:float16,2:float32,150:float16,150:float32"}
for _, a in ipairs(arg) do
  local key, value = a:match "^(%w+)=(.+)$"
  opts[assert(key, "NAME=VALUE expected")] = value
end
local started = core.clock()
local height, width = opts.size:match "^(%d+)x(%d+)$"
height, width = math.tointeger(height), math.tointeger(width)
local number, unit = opts.bytes:match "^(%d+)([KMG]?)$"
local limit = math.tointeger(number) << ({[""] = 0, K = 10, M = 20, G = 30})[unit]
local target = opts.compile and opts.compile:match "^sm_%d+$"
local gpu = not target and core.device(0)
if gpu and not gpu.name then error(gpu.why) end
if gpu then limit = math.min(limit, gpu.memory // 4) end
local figures = opts.figures and assert(io.open(opts.figures, "w"))
local REPEATS = math.tointeger(opts.repeats)

local function gammas(name, n, low, step)
  local v = {}
  for k = 1, n do v[k] = low + step * (k - 1) end
  return A.grid(name, v)
end

-- What is evaluated, by name: losses as tests/gpu/peers.py has them (weight by class, focal gamma 2). goal: percent of the copy in
-- mode fast, or how often the time of one gamma. Of a gradient, its shares: sums by class and label of its absolute values.
local function works(classes)
  local weight = {}
  for c = 1, classes do weight[c] = 0.5 + (c - 1) * 7 % 10 / 10 end
  local ce = L.ce {weight = weight, reduction = "weighted_mean"}
  local focal, dice = L.focal {gamma = 2, weight = weight}, L.dice {smooth = 1}
  local both = 0.5 * focal + 0.5 * dice
  local function many(axis) return L.focal {gamma = axis, weight = weight} end
  local list = {
    {"cross entropy", ce, goal = 85}, {"focal", focal, goal = 85}, {"Dice", dice, goal = 85}, {"Dice + focal", both, goal = 85},
    {"cross entropy, gradient", ce, goal = 70, gradient = true}, {"focal, gradient", focal, goal = 70, gradient = true},
    {"Dice + focal, gradient", both, goal = 70, gradient = true},
    {"16 gammas", many(gammas("gamma_16", 16, 0.31, 0.31)), times = 1.7},
  }
  if classes == 19 then list[#list + 1] = {"100 gammas", many(gammas("gamma_100", 100, 0, 5 / 99))} end
  return list
end

local function tensors(d, work)
  local value = work[2]:trace(d).value
  if not work.gradient then return {value} end
  return {value, core.nsum(core.bysum(segx.grad(value, d.logits):abs():sum "class"))}
end

-- Seconds that NVRTC takes for each kernel of a dump's works, into list.
local function compile_times(classes, type, list)
  local d <close> = core.synthetic {n = 1, classes = classes, height = 32, width = 32, logits_type = type}
  for _, work in ipairs(works(classes)) do
    for _, mode in ipairs {"fast", "exact"} do
      for _, k in ipairs(core.kernels(d, tensors(d, work), {mode = mode})) do
        local start = core.clock()
        assert(core.compile_kernel(k.text, target, mode == "fast"))
        list[#list + 1] = core.clock() - start
      end
    end
  end
end

if target then
  local list, sum, below = {}, 0, 0
  for classes, type in opts.cases:gmatch "(%d+):(%w+)" do compile_times(math.tointeger(classes), type, list) end
  for _, s in ipairs(list) do sum, below = sum + s, below + (s < 0.5 and 1 or 0) end
  print(("%d kernels for %s: %.2f s on average, %.2f s at most, %d below 0.5 s"):format(#list, target, sum / #list,
    math.max(table.unpack(list)), below))
  os.exit(0, true)
end

-- Median seconds, mean milliseconds in kernels (nil: not counted), walks over the dump.
local function time(d, t, mode)
  local times, before = {}, nil
  local _, stats = core.eval(d, t, {mode = mode})
  if (stats.on_cpu or 1) > 0 then error("not on the GPU: " .. tostring(stats.why_cpu)) end
  if opts.compile then return end
  before = core.device_counts().kernel_ms
  for i = 1, REPEATS do
    local start = core.clock()
    core.eval(d, t, {mode = mode})
    times[i] = core.clock() - start
  end
  table.sort(times)
  local kernel = before and (core.device_counts().kernel_ms - before) / REPEATS
  return times[(REPEATS + 1) // 2], kernel, stats.passes
end

local copy = not opts.compile and core.device_counts(true).copy_speed
local failed = false

-- One cell per column of a mode; seconds of one gamma are kept for the sweeps.
local function cells(d, work, mode, bytes, one)
  if not opts.modes:find(mode, 1, true) then return "| | | " end
  if core.clock() - started > tonumber(opts.seconds) then return "| out of time | | | " end
  local fine, seconds, kernel, walks = pcall(function() return time(d, tensors(d, work), mode) end)
  if not fine then
    failed = true
    return ("| FAILED: %s | | | "):format((tostring(seconds):gsub("[\n|]", " ")))
  end
  if opts.compile then return "" end
  if work[1] == "focal" then one[mode] = seconds end
  if figures then
    figures:write(table.concat({d:info().classes, d:info().logits_type, work[1], mode, seconds * 1e3, d:info().n, height, width}, "\t"), "\n")
    figures:flush()
  end
  local share = work.goal and ("%.1f %%"):format(100 * walks * bytes / seconds / copy)
    or one[mode] and ("%.2f of one"):format(seconds / one[mode]) or ""
  return ("| %.3f | %s | %s "):format(seconds * 1e3, kernel and ("%.3f"):format(kernel) or "", share)
end

local function measure(classes, type)
  local pixels = height * width
  local image = pixels * (classes * (type == "float32" and 4 or 2) + 1)     -- labels: a byte
  local n = opts.compile and 1 or math.max(1, limit // image)
  local h, w = height, width
  if opts.compile then h, w = 64, 64 end
  local start = core.clock()
  local d <close> = core.synthetic {n = n, classes = classes, height = h, width = w, logits_type = type, distinct = 1,
    block = math.tointeger(opts.block)}
  if not opts.compile then
    local made = core.clock() - start
    core.eval(d, {L.ce {}:trace(d).value}, {mode = "fast"})
    print(("\n### %d classes, %s: %d images of %dx%d, %.2f GB (made in %.1f s, there after %.1f s)\n"):format(classes, type, n, h, w,
      n * image / 1e9, made, core.clock() - start))
    print "| work | fast, ms | kernels, ms | of copy | goal | exact, ms | kernels, ms | of copy |\n|---|--:|--:|--:|--:|--:|--:|--:|"
  end
  local one = {}
  for _, work in ipairs(works(classes)) do
    local fast = cells(d, work, "fast", n * image, one)
    local goal = work.goal and (">= %d %%"):format(work.goal) or work.times and ("<= %.1f"):format(work.times) or ""
    local exact = cells(d, work, "exact", n * image, one)
    if not opts.compile then print(("| %s %s| %s %s|"):format(work[1], fast, goal, exact)) end
    io.stdout:flush()
  end
end

if not opts.compile then
  print(("Of copy: bytes of logits and labels, times the walks over them (two where a gradient needs sums first), per second, against the\n" ..
    "copy's bytes read and written, %.0f GB/s. Wall time, median of %d; kernels: by the GPU's clock, mean of the same; goals are for\n" ..
    "mode fast. Each dump is one made-up image and copies of it. Gradients: value and shares (sums of absolute values by label)."):format(
    copy / 1e9, REPEATS))
end
for classes, type in opts.cases:gmatch "(%d+):(%w+)" do measure(math.tointeger(classes), type) end
local counts = core.device_counts()
if not opts.compile then
  print(("\n%d kernels compiled, %d from the cache; %.2f GB uploaded, %d times evicted; %.0f s"):format(counts.compiled,
    counts.from_cache, counts.uploaded / 1e9, counts.evicted, core.clock() - started))
end
os.exit(failed and 1 or 0, true)
