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

-- Fourth-order difference of the loss at logit k: a number per configuration. Error h^4, rounding
-- eps |L| / h.
local function slope(d, value, k)
  local at, sum = {}, nil
  local before = core.poke(d, k, 0.0)
  for i, step in ipairs {-2, -1, 1, 2} do
    core.poke(d, k, before + step * h)
    at[i] = evaluate(d, value)
  end
  core.poke(d, k, before)
  sum = {}
  for s = 1, #at[1] do
    sum[s] = (8 * (at[3][s] - at[2][s]) - (at[4][s] - at[1][s])) / (12 * h)
  end
  return sum
end

local function largest(list)
  local m = 0.0
  for _, v in ipairs(list) do m = math.max(m, math.abs(v)) end
  return m
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
        local want = px[2] ~= IGNORED and slope(d, value, at)
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
              pixel = k, gradient = v, difference = want[s]}
          end
        end
      end
    end
  end
  d:close()
  -- What differences cannot tell apart: rounding of the loss.
  local floor = 8 * 2.0 ^ -52 * (1 + largest(values)) / h
  for _, f in ipairs(found) do
    local e = scale > 0 and f.error / scale or 0.0
    if e > r.max_error or e ~= e then
      r.max_error = e
      f.dump, r.where = which, r.finite and f or r.where
    end
    r.close = r.close and f.error <= tolerance * scale + floor
  end
end

-- -- The method ----------------------------------------------------------------------------------

local Check = {__name = "segx.Check"}

Check.__tostring = function(r)
  local what = ("gradient %s: max error %s of the largest gradient, at %d logits"):format(
    r.ok and "ok" or "WRONG", format.number(r.max_error), r.checked)
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
--- {dump, image, class, pixel, gradient, difference}, finite, ignored_zero, checked}; prints.
--- Kinks (|x|, a threshold) that lie on a logit of the adversarial dump count as errors.
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
  local r = {max_error = 0.0, finite = true, ignored_zero = true, close = true, checked = 0}
  compare(r, self, "random", random_pixels(#names, opts.seed or 1), names, tolerance)
  compare(r, self, "adversarial", adversarial_pixels(#names), names, tolerance)
  r.ok = r.finite and r.ignored_zero and r.close
  return setmetatable(r, Check)
end

return check
