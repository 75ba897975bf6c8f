--[[
result_images.lua: r:images(column): what a rank column of a sweep was made of, image by image.

    local t = r:top(5, "tau(iou)"):images "tau(iou)"     a Result with a row per image: its number and name, the metric,
    t:csv("by_image.csv")                                and the loss (unit = "image") of each of the five rows
    print(t:top(10, "iou", false))                       the ten images with the lowest IoU
]]
local errors = require "segx.errors"
local format = require "segx.format"
local result = require "segx.result"
errors.own()

local result_images = {}

-- Rows, each of them a column here.
local MOST = 1000

-- The column, and its name; of a name that is nil the first that has losses of images.
local function ranked(r, name)
  local known = {}
  for _, c in ipairs(r.columns) do
    if c.by_image then
      if name == nil or c.name == name then return c end
      known[#known + 1] = c.name
    end
  end
  if #known == 0 then
    errors.misuse("images: no column of this result is made of values of images", 'want = {"tau(iou)"} in the sweep')
  end
  errors.unknown("images", "column", name, known)
end

-- "gamma=2 mix=0.5"
local function name_of(r, index)
  local parts = {}
  for a = 1, r.n_axes do
    local v = r.columns[a].values[index]
    parts[a] = ("%s=%s"):format(r.columns[a].name, type(v) == "number" and format.number(v) or tostring(v))
  end
  return #parts > 0 and table.concat(parts, " ") or "loss"
end

--- See above. column: a tau or rho column of the sweep or search, default the first. At most 1000 rows.
function result_images.images(r, column)
  local c = ranked(r, column)
  if #r > MOST then
    errors.misuse(("images: %d rows would be as many columns"):format(#r), ('r:top(5, "%s"):images()'):format(c.name))
  end
  local of, numbers = c.of_images, {}
  for i = 1, #of.metric do numbers[i] = i end
  local columns, n_axes = {{name = "image", values = numbers}}, 1
  if next(of.names) then
    columns[2], n_axes = {name = "name", values = {}}, 2
    for i = 1, #numbers do columns[2].values[i] = of.names[i] or "" end
  end
  columns[#columns + 1] = {name = of.name, values = of.metric}
  local taken = {}
  for _, index in ipairs(r.index) do
    local name = name_of(r, index)
    taken[name] = (taken[name] or 0) + 1
    if taken[name] > 1 then name = name .. "#" .. taken[name] end
    columns[#columns + 1] = {name = name, values = c.by_image[index]}
  end
  return result.new {columns = columns, count = #numbers, n_axes = n_axes, positions = {}, reasons = {}}
end

return result_images
