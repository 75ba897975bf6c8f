--[[
check.lua: loss:check(): is the gradient right? The gradient that the engine derives against
differences of the loss itself, in double, at every logit of two small dumps in memory: random
logits, and adversarial ones (p_t = 0 and 1, logits of +-10000, ties, an absent class, ignored
pixels).
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
local tensor = require "segx.tensor"
local losses = require "segx.loss"
errors.own()

local check = {}
local IGNORED = 255

-- -- The dumps -----------------------------------------------------------------------------------

-- Made-up numbers in (0, 1): minimal standard generator.
local function generator(seed)
  local state = seed
  return function()
    state = state * 16807 % 2147483647
    return state / 2147483647
  end
end

-- pixels[i][k] = {logits, label}: images of one row.
local function dump_of(pixels, names)
  local logits, labels = {}, {}
  for i, row in ipairs(pixels) do
    logits[i], labels[i] = {}, {{}}
    for c = 1, #names do logits[i][c] = {{}} end
    for k, px in ipairs(row) do
      for c = 1, #names do logits[i][c][1][k] = px[1][c] end
      labels[i][1][k] = px[2]
    end
  end
  return core.memory {logits = logits, labels = labels, ignore_index = IGNORED,
    class_names = names, logits_type = "float64"}
end

-- Two images of 12 pixels; the last class is absent from the second.
local function random_pixels(C, seed)
  local uniform, images = generator(seed), {}
  for i = 1, 2 do
    images[i] = {}
    for k = 1, 12 do
      local x = {}
      for c = 1, C do x[c] = 6 * uniform() - 3 end
      local y = math.floor(uniform() * (i == 1 and C or math.max(1, C - 1)))
      images[i][k] = {x, k == 5 and IGNORED or y}
    end
  end
  return images
end

-- Logits `a` at the label, `b` at the next class, `rest` elsewhere.
local function pixel(C, y, a, b, rest)
  local x = {}
  for c = 1, C do x[c] = rest + 0.0 end
  x[y % C + 1], x[(y + 1) % C + 1] = a, b
  return {x, y}
end

local function adversarial_pixels(C)
  local big, list = 1e4, {}
  for _, v in ipairs {
    {big, 0, 0}, {-big, 0, 0}, {0, big, 0}, {big, -big, 0}, {-big, big, 0}, {big, big, big},
    {0, 0, 0}, {40, 0, 0}, {-40, 0, 0}, {17, 0, -17}, {0, 1e-8, 0},
  } do
    list[#list + 1] = pixel(C, #list % math.max(1, C - 1), v[1] + 0.0, v[2] + 0.0, v[3])
  end
  list[#list + 1] = {pixel(C, 0, big, 0.0, 0)[1], IGNORED}
  local uniform, second = generator(7), {}
  for k = 1, #list do
    local x = {}
    for c = 1, C do x[c] = 2 * uniform() - 1 end
    second[k] = {x, k == 4 and IGNORED or 0}
  end
  return {list, second}
end

-- -- Differences ---------------------------------------------------------------------------------

local h = 1e-3

local function evaluate(d, t) return tensor.flat(core.eval(d, {t}, {precision = "double"})[1]) end

-- Fourth-order differences of the loss: {steps, what the loss there counts}, over 12 h. Error h^4, rounding eps |L| / h.
local central = {{-2, 1}, {-1, -8}, {1, 8}, {2, -1}}
local right = {{0, -25}, {1, 48}, {2, -36}, {3, 16}, {4, -3}}
local left = {{0, 25}, {-1, -48}, {-2, 36}, {-3, -16}, {-4, 3}}

-- At logit k: a number per configuration. step: h.
local function slope(d, value, k, stencil, step)
  step = step or h
  local before, sum = core.poke(d, k, 0.0), {}
  for _, point in ipairs(stencil) do
    core.poke(d, k, before + point[1] * step)
    for s, v in ipairs(evaluate(d, value)) do sum[s] = (sum[s] or 0.0) + point[2] * v end
  end
  core.poke(d, k, before)
  for s = 1, #sum do sum[s] = sum[s] / (12 * step) end
  return sum
end

local function largest(list)
  local m = 0.0
  for _, v in ipairs(list) do m = math.max(m, math.abs(v)) end
  return m
end

-- Does the gradient lie between the slopes to the left and to the right, or does the loss jump there, so that these grow as steps
-- shrink? Both happen at kinks (|x|, ties in an order) and jumps (a threshold) alone: not to a wrong gradient of a smooth loss.
local function at_kink(d, value, f, enough)
  local low, high = math.huge, -math.huge
  for _, side in ipairs {left, right} do
    local s = slope(d, value, f.logit, side)[f.configuration]
    local near = slope(d, value, f.logit, side, h / 64)[f.configuration]
    if math.abs(near) > 8 * math.abs(s) + 64 * enough then return true end
    low, high = math.min(low, s), math.max(high, s)
  end
  return f.gradient >= low - enough and f.gradient <= high + enough
end

-- Compares on one dump; updates r.
local function compare(r, loss, which, pixels, names, tolerance)
  local d = dump_of(pixels, names)
  local value = loss:tensor(d)
  local g = core.grad(value, d.logits)
  local values = evaluate(d, value)
  local C, at, scale, found = #names, 0, 0.0, {}
  for i, row in ipairs(pixels) do
    local got = evaluate(d, core.image(g, i))
    for c = 1, C do
      for k, px in ipairs(row) do
        at = at + 1
        local want = px[2] ~= IGNORED and slope(d, value, at, central)
        for s = 1, #values do
          local v = got[(s - 1) * C * #row + (c - 1) * #row + k]
          r.checked = r.checked + 1
          if v ~= v or math.abs(v) == math.huge then
            r.finite = false
            r.where = r.where or {dump = which, image = i, class = names[c], pixel = k}
          elseif not want then
            r.ignored_zero = r.ignored_zero and v == 0
          else
            scale = math.max(scale, math.abs(want[s]), math.abs(v))
            found[#found + 1] = {error = math.abs(v - want[s]), image = i, class = names[c],
              pixel = k, gradient = v, difference = want[s], logit = at, configuration = s}
          end
        end
      end
    end
  end
  -- What differences cannot tell apart: rounding of the loss.
  local enough = tolerance * scale + 8 * 2.0 ^ -52 * (1 + largest(values)) / h
  for _, f in ipairs(found) do
    if f.error > enough and at_kink(d, value, f, 16 * enough) then
      r.kinks, f.error = r.kinks + 1, 0.0
    end
    local e = scale > 0 and f.error / scale or 0.0
    if e > r.max_error or e ~= e then
      r.max_error = e
      f.dump, r.where = which, r.finite and f or r.where
    end
    r.close = r.close and f.error <= enough
  end
  d:close()
end

-- -- The method ----------------------------------------------------------------------------------

local Check = {__name = "segx.Check"}

Check.__tostring = function(r)
  local what = ("gradient %s: max error %s of the largest gradient, at %d logits"):format(
    r.ok and "ok" or "WRONG", format.number(r.max_error), r.checked)
  if r.kinks > 0 then what = what .. ("; %d at kinks or jumps"):format(r.kinks) end
  if not r.finite then what = what .. "; not finite" end
  if not r.ignored_zero then what = what .. "; not 0 at ignored pixels" end
  local w = r.where
  if r.ok or not w then return what end
  return ("%s\n  at %s image %d pixel %d class %s: gradient %s, difference %s"):format(what, w.dump,
    w.image, w.pixel, w.class, format.number(w.gradient or 0 / 0),
    format.number(w.difference or 0 / 0))
end

--- The gradient of the loss against differences, in double, for every configuration of its sweep
--- axes. opts: classes = number of classes (default 3) or dump = d (its class names, for losses that
--- name classes), seed, tolerance (1e-7 of the largest gradient,
--- beyond what rounding of the loss hides). Returns {ok, max_error, where =
--- {dump, image, class, pixel, gradient, difference}, finite, ignored_zero, checked, kinks}; prints.
--- kinks: logits at a kink or a jump of the loss (|x|, a threshold, ties where pixels are sorted); at a kink the gradient lies
--- between the slopes to both sides.
function losses.Loss:check(opts)
  opts = opts or {}
  if tensor.is_dump(opts) then opts = {dump = opts} end
  errors.check_keys("check", "option", opts, {"classes", "dump", "seed", "tolerance"})
  local names = opts.dump and opts.dump:info().class_names
  if not names then
    names = {}
    for c = 1, opts.classes or 3 do names[c] = tostring(c - 1) end
  end
  local tolerance = opts.tolerance or 1e-7
  local r = {max_error = 0.0, kinks = 0, finite = true, ignored_zero = true, close = true, checked = 0}
  compare(r, self, "random", random_pixels(#names, opts.seed or 1), names, tolerance)
  compare(r, self, "adversarial", adversarial_pixels(#names), names, tolerance)
  r.ok = r.finite and r.ignored_zero and r.close
  return setmetatable(r, Check)
end

return check
