--[[
halving.lua: successive halving for search.lua (Jamieson and Talwalkar 2016): all draws on a few images, the better third of
them on three times as many, and so on; the last ones on all images. The images of a rung, drawn by the seed (subset.lua), are
among those of the next.
]]
local subset = require "segx.subset"

local halving = {}

--- The rungs of n draws on N images: list of {images, draws}. From one to the next 1 / factor of the draws and factor times the
--- images; the first has at least `first` images, the last all of them.
function halving.rungs(n, N, factor, first)
  local images, draws = {N}, n
  while draws > 1 and images[#images] > first and math.ceil(images[#images] / factor) >= first do
    images[#images + 1], draws = math.ceil(images[#images] / factor), math.ceil(draws / factor)
  end
  local list = {}
  for k = #images, 1, -1 do
    list[#list + 1] = {images = images[k], draws = n}
    n = math.ceil(n / factor)
  end
  return list
end

-- The k best of the points by their values, in the order that they had.
local function best(points, values, k, better)
  local place = {}
  for i = 1, #points do place[i] = i end
  table.sort(place, function(a, b)
    if better(values[a], values[b]) then return true end
    if better(values[b], values[a]) then return false end
    return a < b
  end)
  place = table.move(place, 1, k, 1, {})
  table.sort(place)
  local list = {}
  for i, at in ipairs(place) do list[i] = points[at] end
  return list
end

-- f(dump, groups) with some of the images.
local function with_images(d, images, seed, groups, f)
  if images == #d then return f(d, groups) end
  local list, some_groups = subset.draw(#d, images, seed), groups and {}
  for i, at in ipairs(groups and list or {}) do some_groups[i] = groups[at] end
  local some <close> = d:take(list)
  return f(some, some_groups)
end

--- o: {dump, points, factor, first, seed, groups, evaluate = function(points, dump, groups) -> list of values, better =
--- function(v, than)}. Evaluates all rungs; gives the list of rungs, each with its points and their values.
function halving.run(o)
  local points, values, list = o.points, nil, halving.rungs(#o.points, #o.dump, o.factor, o.first)
  for _, rung in ipairs(list) do
    if #points > rung.draws then points = best(points, values, rung.draws, o.better) end
    values = with_images(o.dump, rung.images, o.seed, o.groups, function(d, groups)
      return o.evaluate(points, d, groups)
    end)
    rung.points, rung.values = points, values
  end
  return list
end

return halving
