-- ref_math.lua: arithmetic of the reference (ref_core.lua) in float64: functions that keep small numbers, and what axes are folded with.
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

-- Of n numbers x[at], x[at + step], ...
function m.fold_sum(x, at, step, n)
  local s = 0.0
  for k = 0, n - 1 do s = s + x[at + k * step] end
  return s
end

function m.fold_max(x, at, step, n)
  local most = -math.huge
  for k = 0, n - 1 do if x[at + k * step] > most then most = x[at + k * step] end end
  return most
end

function m.fold_logsumexp(x, at, step, n)
  local most, s = m.fold_max(x, at, step, n), 0.0
  if most == -math.huge then return most end
  for k = 0, n - 1 do s = s + math.exp(x[at + k * step] - most) end
  return most + math.log(s)
end

function m.fold_argmax(x, at, step, n)
  local best, most = 0, x[at]
  for k = 1, n - 1 do
    if x[at + k * step] > most then best, most = k, x[at + k * step] end
  end
  return best + 0.0
end

return m
