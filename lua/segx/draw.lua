--[[
draw.lua: points of the unit cube, any of them in any order.

    draw.random(seed, dims)      independent
    draw.sobol(seed, dims)       Sobol, direction numbers of Joe and Kuo 2008, up to 8 dimensions; a
                                 digital shift by seed
    draw.halton(seed, dims)      Halton, bases 2 3 5 ...; a rotation by seed

Each gives a function i -> list of dims numbers in [0, 1), i from 0. seed = false: sobol and halton
without their shift.
]]
local core = require "segx.core"
local errors = require "segx.errors"
errors.own()

local draw = {}
local SHIFT = 1 << 40      -- stream of the shifts; points have streams 0, 1, ...
local BITS = 32

function draw.random(seed, dims)
  return function(i)
    local p = {}
    for k = 1, dims do p[k] = core.stats.uniform(seed, k - 1, i) end
    return p
  end
end

-- Degree, coefficients and first numbers of the primitive polynomials from the second dimension on.
local polynomials = {
  {1, 0, {1}}, {2, 1, {1, 3}}, {3, 1, {1, 3, 1}}, {3, 2, {1, 1, 1}}, {4, 1, {1, 1, 3, 3}},
  {4, 4, {1, 3, 5, 13}}, {5, 2, {1, 1, 5, 5, 17}},
}

--- Most dimensions of sobol and halton.
draw.most = #polynomials + 1

local function directions(k)
  local v = {}
  if k == 1 then
    for b = 1, BITS do v[b] = 1 << (BITS - b) end
    return v
  end
  local s, a, m = table.unpack(polynomials[k - 1])
  for b = 1, BITS do
    if b <= s then
      v[b] = m[b] << (BITS - b)
    else
      v[b] = v[b - s] ~ (v[b - s] >> s)
      for j = 1, s - 1 do
        if (a >> (s - 1 - j)) & 1 == 1 then v[b] = v[b] ~ v[b - j] end
      end
    end
  end
  return v
end

local function check_dims(name, dims)
  if dims > draw.most then
    errors.misuse(("%s: %d parameters; at most %d"):format(name, dims, draw.most), 'method = "random"')
  end
end

function draw.sobol(seed, dims)
  check_dims("sobol", dims)
  local v, shift = {}, {}
  for k = 1, dims do
    v[k] = directions(k)
    shift[k] = seed and math.floor(core.stats.uniform(seed, SHIFT, k - 1) * 2 ^ BITS) or 0
  end
  return function(i)
    local p, gray = {}, i ~ (i >> 1)
    for k = 1, dims do
      local x = shift[k]
      for b = 1, BITS do
        if (gray >> (b - 1)) & 1 == 1 then x = x ~ v[k][b] end
      end
      p[k] = x / 2 ^ BITS
    end
    return p
  end
end

local primes = {2, 3, 5, 7, 11, 13, 17, 19}

function draw.halton(seed, dims)
  check_dims("halton", dims)
  return function(i)
    local p = {}
    for k = 1, dims do
      local x, part, rest = 0.0, 1.0, i
      while rest > 0 do
        part = part / primes[k]
        x, rest = x + part * (rest % primes[k]), rest // primes[k]
      end
      p[k] = seed and (x + core.stats.uniform(seed, SHIFT, k - 1)) % 1 or x
    end
    return p
  end
end

return draw
