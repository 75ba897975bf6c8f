--[[
stat.lua: small statistics over lists of numbers.
]]
local stat = {}

--- Mean of the numbers that are not NaN; NaN when there is none.
function stat.nanmean(list)
  local sum, n = 0.0, 0
  for _, v in ipairs(list) do
    if v == v then sum, n = sum + v, n + 1 end
  end
  return n > 0 and sum / n or 0 / 0
end

-- Sorts list[lo..hi] and returns the number of swaps of neighbours that it took.
local function sort_counting(list, lo, hi, spare)
  if hi <= lo then return 0 end
  local mid = (lo + hi) // 2
  local swaps = sort_counting(list, lo, mid, spare) + sort_counting(list, mid + 1, hi, spare)
  local i, j = lo, mid + 1
  for k = lo, hi do
    if i <= mid and (j > hi or list[i] <= list[j]) then
      spare[k], i = list[i], i + 1
    else
      swaps = swaps + (mid - i + 1)
      spare[k], j = list[j], j + 1
    end
  end
  table.move(spare, lo, hi, lo, list)
  return swaps
end

-- Sum over runs of equal neighbours of t (t-1) / 2.
local function tied_pairs(n, equal)
  local pairs_, run = 0, 1
  for i = 2, n + 1 do
    if i <= n and equal(i - 1, i) then
      run = run + 1
    else
      pairs_, run = pairs_ + run * (run - 1) // 2, 1
    end
  end
  return pairs_
end

--- Kendall's tau-b of two equally long lists, -1 .. 1, in O(n log n) (Knight 1966). Pairs with a
--- NaN are left out. NaN when one list is constant.
function stat.kendall(x, y)
  local at = {}
  for i = 1, #x do
    if x[i] == x[i] and y[i] == y[i] then at[#at + 1] = i end
  end
  table.sort(at, function(a, b)
    if x[a] ~= x[b] then return x[a] < x[b] end
    if y[a] ~= y[b] then return y[a] < y[b] end
    return a < b
  end)
  local n, ys = #at, {}
  for k, i in ipairs(at) do ys[k] = y[i] end
  local all = n * (n - 1) // 2
  local same_x = tied_pairs(n, function(a, b) return x[at[a]] == x[at[b]] end)
  local same_both = tied_pairs(n, function(a, b) return x[at[a]] == x[at[b]] and ys[a] == ys[b] end)
  local swaps = sort_counting(ys, 1, n, {})
  local same_y = tied_pairs(n, function(a, b) return ys[a] == ys[b] end)
  local agree_less_disagree = all - same_x - same_y + same_both - 2 * swaps
  return agree_less_disagree / math.sqrt((all - same_x) * (all - same_y))
end

return stat
