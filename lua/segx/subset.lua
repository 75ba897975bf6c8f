--[[
subset.lua: d:subset(...): some images of a dump, as a dump of its own.

    local few <close> = d:subset(20)              20 images drawn at random, the same every time
    local other <close> = d:subset(20, {seed = 1})
    local night <close> = d:subset {3, 17, 29}    these, in this order
    print(loss:eval(few))

The ten images of d:subset(10) are among the twenty of d:subset(20); they keep the order that they have in the file. Nothing
is copied; a subset may outlive d. Everything that a dump can do, a subset can.
]]
local core = require "segx.core"
local errors = require "segx.errors"
errors.own()

local subset = {}
local STREAM = 1 << 41      -- of the random numbers: one per image

--- k of the numbers 1 .. n, drawn by seed, ascending. Those of a smaller k are among those of a larger one.
function subset.draw(n, k, seed)
  local list, key = {}, {}
  for i = 1, n do
    list[i], key[i] = i, core.stats.uniform(seed, STREAM, i)
  end
  table.sort(list, function(a, b)
    if key[a] ~= key[b] then return key[a] < key[b] end
    return a < b
  end)
  list = table.move(list, 1, k, 1, {})
  table.sort(list)
  return list
end

--- d:subset(n, {seed = 0}): n images drawn at random; d:subset{i, j, ...}: these (1-based, none twice), in this order.
function subset.subset(d, which, opts)
  opts = opts or {}
  errors.check_keys("subset", "option", opts, {"seed"})
  if type(which) == "table" then
    if opts.seed then errors.misuse("subset: a seed is for a number of images, not for a list") end
    if #which == 0 then errors.misuse("subset: the list names no image", "d:subset{1, 5, 9}") end
    return d:take(which)
  end
  if math.type(which) ~= "integer" or which < 1 or which > #d then
    errors.misuse(("subset: a number of images, 1 to %d, or a list of them"):format(#d), "d:subset(10), d:subset{1, 5, 9}")
  end
  if opts.seed and math.type(opts.seed) ~= "integer" then errors.misuse("subset: seed is an integer") end
  return d:take(subset.draw(#d, which, opts.seed or 0))
end

core.Dump.subset = subset.subset

return subset
