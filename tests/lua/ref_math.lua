-- ref_math.lua: arithmetic of the reference (ref_core.lua) that keeps small numbers, in float64.
local m = {}

function m.log1p(x)
  local u = 1 + x
  if u == 1 or u == math.huge then return x end
  return math.log(u) * x / (u - 1)
end

function m.expm1(x)
  local u = math.exp(x)
  if u == 1 then return x end
  if u - 1 == -1 or u == math.huge then return u - 1 end
  return (u - 1) * x / math.log(u)
end

function m.sigmoid(x)
  if x >= 0 then return 1 / (1 + math.exp(-x)) end
  local e = math.exp(x)
  return e / (1 + e)
end

function m.softplus(x) return math.max(x, 0) + m.log1p(math.exp(-math.abs(x))) end

function m.tanh(x)
  local e = m.expm1(-2 * math.abs(x))
  local t = -e / (2 + e)
  return x < 0 and -t or t
end

return m
