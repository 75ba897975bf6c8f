--[[
fixtures.lua: the small dumps that every number in the tests is computed on. Logits are logs of
small integers, so the values can be checked by hand.

    T1   one image, 3 classes, 2x2; p_t = .5 .5 .5 .25; TP = 1 .5 .25; P = 1.75 1.25 1; n = 2 1 1
    T2   T1 and a second image whose labels are all 0
    T1i  T1 with its last pixel ignored

SEGX_REF=1 runs a test file on the plain-Lua reference instead of the engine.
]]
local harness = require "harness"
if os.getenv "SEGX_REF" then
  package.path = harness.source("tests/lua/?.lua") .. ";" .. package.path
  for name in pairs(package.loaded) do
    if name:match "^segx%f[.\0]" then package.loaded[name] = nil end
  end
  package.loaded["segx.core"] = require "ref_core"
end
local segx = require "segx"

local F = {reference = os.getenv "SEGX_REF" ~= nil}

-- pixels: one list of exp(logit) by class for each pixel, row-major; h x w pixels -> nested logits
-- {C,h,w}.
function F.plane(pixels, h, w)
  local planes = {}
  for c = 1, #pixels[1] do
    planes[c] = {}
    for y = 1, h do
      planes[c][y] = {}
      for x = 1, w do planes[c][y][x] = math.log(pixels[(y - 1) * w + x][c]) end
    end
  end
  return planes
end

local t1 = {{2, 1, 1}, {2, 1, 1}, {1, 2, 1}, {2, 1, 1}}
local same = {{2, 1, 1}, {2, 1, 1}, {2, 1, 1}, {2, 1, 1}}

function F.T1(changes)
  local o = {logits = {F.plane(t1, 2, 2)}, labels = {{{0, 0}, {1, 2}}}}
  for k, v in pairs(changes or {}) do o[k] = v end
  return segx.memory(o)
end

function F.T2()
  return segx.memory {logits = {F.plane(t1, 2, 2), F.plane(same, 2, 2)},
    labels = {{{0, 0}, {1, 2}}, {{0, 0}, {0, 0}}}}
end

-- The second image of T2 alone.
function F.T2b()
  return segx.memory {logits = {F.plane(same, 2, 2)}, labels = {{{0, 0}, {0, 0}}}}
end

function F.T1i() return F.T1 {labels = {{{0, 0}, {1, 255}}}, ignore_index = 255} end

-- One image of one row: pixels as lists of logits by class.
function F.row(pixels, labels, more)
  local planes = {}
  for c = 1, #pixels[1] do
    planes[c] = {{}}
    for i, p in ipairs(pixels) do planes[c][1][i] = p[c] end
  end
  local o = {logits = {planes}, labels = {{labels}}}
  for k, v in pairs(more or {}) do o[k] = v end
  return segx.memory(o)
end

-- A made-up dump with nothing special about it: n images, classes, h x w, some pixels ignored
-- (255).
function F.random(seed, n, classes, h, w)
  local state = seed
  local function uniform()      -- minimal standard generator: enough for made-up numbers
    state = state * 16807 % 2147483647
    return state / 2147483647
  end
  local logits, labels = {}, {}
  for i = 1, n do
    logits[i], labels[i] = {}, {}
    for y = 1, h do
      labels[i][y] = {}
      for x = 1, w do
        labels[i][y][x] = uniform() < 0.1 and 255
          or math.min(math.floor(uniform() ^ 2 * classes), classes - 1)
      end
    end
    for c = 1, classes do
      logits[i][c] = {}
      for y = 1, h do
        logits[i][c][y] = {}
        for x = 1, w do
          logits[i][c][y][x] = 6 * uniform() - 3 + (labels[i][y][x] == c - 1 and 2 or 0)
        end
      end
    end
  end
  return segx.memory {logits = logits, labels = labels, ignore_index = 255}, logits, labels
end

-- Value of a loss in double; on the way checks that single agrees to 1e-6.
function F.value(loss, d, opts)
  opts = opts or {}
  local double = loss:eval(d, {precision = "double", unit = opts.unit}).value
  local single = loss:eval(d, {precision = "single", unit = opts.unit}).value
  harness.near(single, double, 1e-6, opts.floor or 0, "single against double")
  return double
end

return F
