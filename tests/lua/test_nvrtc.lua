-- test_nvrtc.lua: the kernels of the losses, compiled to machine code by NVIDIA's compiler, which needs no GPU. SEGX_NVRTC names
-- it, or it is found; skipped without. No kernel spills registers, and few must be compiled twice for it.
local T = require "harness"
if os.getenv "SEGX_REF" then T.skip "the reference has no kernels" end
local segx = require "segx"
local core = require "segx.core"
local test, ok = T.test, T.ok
local L, A = segx.loss, segx.axis

if os.getenv "SEGX_BRIEF" then
  return test "kernels under NVRTC" (function() T.skip "once, in the release build, is enough" end)
end
local there, why = core.compile_kernel("extern \"C\" __global__ void f() {}", "sm_80", false)
if not there then return test "kernels under NVRTC" (function() T.skip("there is no NVRTC: " .. why) end) end

local function dump(type)
  local logits, labels = {{}}, {{{0, 1}, {2, 0}}}
  for c = 1, 3 do logits[1][c] = {{c / 4, 1}, {0, -c}} end
  return segx.memory {logits = logits, labels = labels, logits_type = type, ignore_index = 255}
end

-- The newest GPU that this NVRTC knows, of those that differ.
local newest
for _, target in ipairs {"sm_120", "sm_100", "sm_90"} do
  newest = newest or (pcall(core.compile_kernel, "extern \"C\" __global__ void f() {}", target, false) and target)
end

local gamma = A.grid("gamma", {0.7, 1.3, 2, 5})
local cases = {
  {"cross entropy", function() return L.ce {} end}, {"weighted, smoothed", function() return L.ce {weight = {1, 2, 3},
    label_smoothing = 0.1} end},
  {"focal", function() return L.focal {gamma = 2} end}, {"focal, four gammas", function() return L.focal {gamma = gamma} end},
  {"focal, sigmoid", function() return L.focal_sigmoid {} end}, {"Dice", function() return L.dice {} end},
  {"generalized Dice", function() return L.generalized_dice {} end},
  {"Dice + focal", function() return L.dice {} + L.focal {gamma = 2} end},
  {"Tversky, by image", function() return L.tversky {alpha = 0.3, beta = 0.7, unit = "image"} end},
}

local compiled, again, most = 0, 0, 0

local function compile(name, d, tensors, target, o)
  for _, k in ipairs(core.kernels(d, tensors, o)) do
    ok(k.text, ("%s has no kernel: %s"):format(name, tostring(k.why)))
    local code, log = core.compile_kernel(k.text, target, o.mode == "fast")
    ok(#code > 500, ("%s: %d bytes"):format(name, #code))
    compiled = compiled + 1
    for n in log:gmatch "(%d+) bytes spill stores" do ok(n == "0", ("%s, %s: %s bytes spilled"):format(name, target, n)) end
    local used = 0
    for n in log:gmatch "Used (%d+) registers" do used = math.max(used, tonumber(n)) end
    ok(used > 0, log)
    most = math.max(most, used)
    local blocks = tonumber(k.text:match "#define SX_CUDA_BLOCKS (%d)")
    if used > 65536 / 256 // blocks then again = again + 1 end         -- fewer than the text asked for
  end
end

for _, type in ipairs {"float32", "float16"} do
  for _, mode in ipairs {"exact", "fast"} do
    test(("values and gradients, %s, %s: sm_90"):format(type, mode)) (function()
      local d <close> = dump(type)
      for _, case in ipairs(cases) do
        local loss = case[2]()
        local value = loss:tensor(d)
        compile(("%s, %s, %s"):format(case[1], type, mode), d, {value}, "sm_90", {mode = mode})
        if type == "float32" and #value:sweep_axes() == 0 then
          compile(("gradient of %s, %s"):format(case[1], mode), d, {segx.grad(value, d.logits)}, "sm_90", {mode = mode})
        end
      end
    end)
  end
end

test "other GPUs" (function()
  local d <close> = dump "float16"
  for _, target in ipairs {"sm_75", "sm_80", "sm_89", newest} do
    for _, k in ipairs {1, 6, 8} do compile(cases[k][1], d, {cases[k][2]():tensor(d)}, target, {mode = "exact"}) end
  end
end)

-- Bytes of a section of machine code (ELF).
local function section_size(code, name)
  local at, size, count, names = ("<I8"):unpack(code, 0x29), ("<I2I2I2"):unpack(code, 0x3b)
  local function section(i) return ("<I4I4I8I8I8I8"):unpack(code, at + i * size + 1) end
  local _, _, _, _, strings = section(names)
  for i = 0, count - 1 do
    local own, _, _, _, _, bytes = section(i)
    if ("z"):unpack(code, strings + own + 1) == name then return bytes end
  end
end

-- What the loops over the classes cost: two kernels with these loops unrolled, which differ in nothing but the classes.
local function per_logit(loss, type, mode)
  local bytes = {}
  for i, classes in ipairs {24, 40} do
    local d <close> = core.synthetic {n = 1, classes = classes, height = 16, width = 16, logits_type = type}
    local k = core.kernels(d, {loss {}:tensor(d)}, {mode = mode})[1]
    bytes[i] = section_size(core.compile_kernel("#define SX_CLASS_LOOP _Pragma(\"unroll\")\n" .. k.text, "sm_90", mode == "fast"),
      ".text.sx_pass")
  end
  return (bytes[2] - bytes[1]) / 16 / (16 * 4)       -- instructions of 16 bytes, a thread has 4 pixels
end

-- A pass at the speed of memory leaves an H100 18 instructions per logit of 16 bits and 35 of 32, an H200 12 and 25 (its bytes
-- and instructions per clock).
for _, case in ipairs {{"cross entropy", L.ce, "float16", "fast", 10}, {"Dice", L.dice, "float16", "fast", 17},
                       {"cross entropy", L.ce, "float32", "exact", 28}, {"Dice", L.dice, "float32", "exact", 57}} do
  local name, loss, type, mode, most = table.unpack(case)
  test(("%s, %s, %s: instructions per logit"):format(name, type, mode)) (function()
    local n = per_logit(loss, type, mode)
    print(("# %.1f instructions per logit"):format(n))
    ok(n > 4 and n <= most, n)
  end)
end

test "what does not compile says where" (function()
  T.throws("does not compile a kernel for sm_80.*error", core.compile_kernel, "extern \"C\" __global__ void f() { x }", "sm_80", false)
end)

test "most kernels are compiled once" (function()
  ok(compiled > 70 and again <= compiled // 10, ("%d of %d"):format(again, compiled))
end)

print(("# %d kernels, %d of them compiled again, at most %d registers"):format(compiled, again, most))
