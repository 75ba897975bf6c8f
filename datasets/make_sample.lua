--[[
make_sample.lua: writes a made-up but lifelike dump, the same for the same seed.

    segx datasets/make_sample.lua OUT.h5 [--volume] [--images N] [--size HxW] [--seed N]

Street scenes (default): sky, buildings, vegetation, road, sidewalk, cars, people, thin poles and
small signs; the car's own bonnet and a few smears are ignored (255). --volume: cells in 3-D with
thin membranes and mitochondria (--size DxHxW).

The "predictions" have the faults of a trained network: what is thin or small is half lost in its
surroundings, borders are blurred, rare classes are taken for common ones, errors come in patches,
some images are harder than others. How sure the logits are has something, not everything, to do
with how often they are right.
]]

-- -- Random numbers: a hash of (seed, stream, counter), no state to carry -------------------------

local function mix(z)     -- splitmix64's finaliser
  z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
  z = (z ~ (z >> 27)) * 0x94d049bb133111eb
  return z ~ (z >> 31)
end

local function hash(seed, stream, counter)
  return mix(mix(mix(seed * 0x9e3779b97f4a7c15 + 1) + stream) + counter * 0x9e3779b97f4a7c15)
end

-- A generator for one purpose: r(), r(lo, hi); whole numbers with r.int(lo, hi).
local function generator(seed, stream)
  local counter = 0
  local function uniform()
    counter = counter + 1
    return (hash(seed, stream, counter) >> 11) * 0x1p-53
  end
  return setmetatable({
    int = function(lo, hi) return lo + math.floor(uniform() * (hi - lo + 1)) end,
    chance = function(p) return uniform() < p end,
  }, {__call = function(_, lo, hi) return lo and lo + (hi - lo) * uniform() or uniform() end})
end

-- -- Fields over a grid: flat lists, the last axis fastest ----------------------------------------

local function size_of(dims)
  local n = 1
  for _, d in ipairs(dims) do n = n * d end
  return n
end

-- Linear interpolation of a coarse list along one axis, to a finer one. outer, inner: sizes around
-- the axis.
local function stretch(list, outer, from, to, inner)
  local out = {}
  for x = 0, to - 1 do
    local at = (x + 0.5) * (from - 1) / to
    local lo = math.min(math.floor(at), from - 2)
    local f = at - lo
    f = f * f * (3 - 2 * f)
    for o = 0, outer - 1 do
      local a, target = (o * from + lo) * inner, (o * to + x) * inner
      local b = a + inner
      for i = 1, inner do out[target + i] = list[a + i] * (1 - f) + list[b + i] * f end
    end
  end
  return out
end

-- Smooth noise of about unit variance: random numbers on a lattice with this spacing, interpolated
-- axis by axis.
local function smooth_noise(dims, spacing, random)
  local coarse = {}
  for k, d in ipairs(dims) do coarse[k] = math.max(2, math.ceil(d / spacing) + 1) end
  local list = {}
  for i = 1, size_of(coarse) do list[i] = (random() + random() + random() - 1.5) * 3 end
  local outer, inner = 1, size_of(coarse)
  for k, d in ipairs(dims) do
    inner = inner // coarse[k]
    list = stretch(list, outer, coarse[k], d, inner)
    outer = outer * d
  end
  return list
end

-- Mean over 2r+1 neighbours along one axis, edges repeated.
local function blur_axis(list, outer, size, inner, r)
  local out, step = {}, 1 / (2 * r + 1)
  for o = 0, outer - 1 do
    for i = 1, inner do
      local base = o * size * inner + i
      local sum = 0
      for k = -r, r do sum = sum + list[base + math.min(math.max(k, 0), size - 1) * inner] end
      for x = 0, size - 1 do
        out[base + x * inner] = sum * step
        sum = sum + list[base + math.min(x + r + 1, size - 1) * inner]
          - list[base + math.max(x - r, 0) * inner]
      end
    end
  end
  return out
end

local function blur(list, dims, r)
  local outer, inner = 1, size_of(dims)
  for _, d in ipairs(dims) do
    inner = inner // d
    list = blur_axis(list, outer, d, inner, r)
    outer = outer * d
  end
  return list
end

-- -- From labels to what a network would have said ------------------------------------------------

-- Class plane: 1 where the label is c. Ignored pixels count as class 0 (the network does not know).
local function indicator(labels, c, ignore)
  local list = {}
  for i, y in ipairs(labels) do
    if y == ignore then y = 0 end
    list[i] = y == c and 1 or 0
  end
  return list
end

-- What the network believes: blurred truth, with part of each class handed to the classes it is
-- taken for.
local function beliefs(labels, dims, world)
  local q = {}
  for c = 1, #world.classes do q[c] = {} end
  for k = 1, #world.classes do
    local seen = blur(indicator(labels, k - 1, world.ignore), dims, world.blur)
    local lost, share = world.taken_for[world.classes[k]] or {}, 1
    for _, name in ipairs(world.classes) do share = share - (lost[name] or 0) end
    for c, name in ipairs(world.classes) do
      local weight = c == k and share or lost[name] or 0
      if weight > 0 then
        local plane = q[c]
        for i = 1, #seen do plane[i] = (plane[i] or 0) + weight * seen[i] end
      end
    end
  end
  return q
end

-- Logits, class by class, flat.
local function predict(labels, dims, world, random)
  local q, logits, n = beliefs(labels, dims, world), {}, #labels
  local hardness = 0.5 + 1.1 * random() ^ 2
  local sureness = 1.1 + 0.5 * random()
  for c = 1, #world.classes do
    local coarse = smooth_noise(dims, world.patch, random)
    local fine = smooth_noise(dims, 2, random)
    local plane, base = q[c], (c - 1) * n
    for i = 1, n do
      logits[base + i] = sureness * (math.log((plane[i] or 0) + 0.004)
        + hardness * (0.8 * coarse[i] + 0.4 * fine[i]))
    end
  end
  return logits
end

-- -- Street scenes --------------------------------------------------------------------------------

local SKY, BUILDING, VEGETATION, ROAD, SIDEWALK, CAR, PERSON, POLE, SIGN = 0, 1, 2, 3, 4, 5, 6, 7, 8
local street = {
  classes = {"sky", "building", "vegetation", "road", "sidewalk", "car", "person", "pole", "sign"},
  dims = {96, 128}, images = 32, blur = 1, patch = 12, ignore = 255,
  taken_for = {
    vegetation = {building = 0.12}, sidewalk = {road = 0.25}, car = {road = 0.06, building = 0.05},
    person = {building = 0.15, car = 0.12, vegetation = 0.08},
    pole = {building = 0.22, vegetation = 0.1},
    sign = {building = 0.25, pole = 0.12},
  },
}

-- A canvas h x w with rectangles, ellipses and a function per pixel; y runs down.
local function canvas(h, w)
  local labels = {}
  local self = {labels = labels, h = h, w = w}
  function self.fill(f)
    for y = 0, h - 1 do
      for x = 0, w - 1 do
        local c = f(y, x)
        if c then labels[y * w + x + 1] = c end
      end
    end
  end
  function self.box(y0, y1, x0, x1, c)
    for y = math.max(0, y0 // 1), math.min(h - 1, y1 // 1) do
      for x = math.max(0, x0 // 1), math.min(w - 1, x1 // 1) do labels[(y * w + x + 1) // 1] = c end
    end
  end
  function self.ellipse(cy, cx, ry, rx, c)
    self.fill(function(y, x)
      if ((y - cy) / ry) ^ 2 + ((x - cx) / rx) ^ 2 <= 1 then return c end
    end)
  end
  return self
end

local function ground(c, random, horizon)
  local middle, spread = random(0.4, 0.6) * c.w, random(0.5, 0.8) * c.w
  local kerb = random(0.12, 0.25) * c.w
  c.fill(function(y, x)
    if y < horizon then return SKY end
    local depth = (y - horizon + 1) / (c.h - horizon)
    local off = math.abs(x - middle)
    if off < depth * spread then return ROAD end
    return off < depth * (spread + kerb) + 0.03 * c.w and SIDEWALK or VEGETATION
  end)
end

local function skyline(c, random, horizon)
  local x = 0
  while x < c.w do
    local width, top = random.int(c.w // 12, c.w // 5), random(0.1, 0.9) * horizon
    if random.chance(0.7) then c.box(top, horizon, x, x + width, BUILDING) end
    x = x + width + random.int(0, 3)
  end
  for _ = 1, random.int(2, 5) do
    c.ellipse(horizon - random(0, 8), random(0, c.w), random(4, 0.2 * c.h), random(4, 0.12 * c.w),
      VEGETATION)
  end
end

-- Nearer things are larger and stand lower in the image.
local function nearness(random) return random() ^ 1.5 end

local function traffic(c, random, horizon)
  for _ = 1, random.int(0, 4) do
    local near = nearness(random)
    local foot = horizon + 3 + near * 0.5 * (c.h - horizon)
    local height = 3 + near * 0.2 * c.h
    local x = random(0.1, 0.9) * c.w
    c.box(foot - height, foot, x - 0.9 * height, x + 0.9 * height, CAR)
  end
  for _ = 1, random.int(0, 3) do
    local near = nearness(random)
    local foot, height = horizon + 3 + near * 0.35 * (c.h - horizon), 4 + near * 0.25 * c.h
    local x = random(0, c.w)
    c.ellipse(foot - height / 2, x, height / 2, math.max(1, height / 6), PERSON)
  end
end

local function street_furniture(c, random, horizon)
  for _ = 1, random.int(1, 5) do
    local near = nearness(random)
    local foot, height = horizon + 2 + near * 0.3 * (c.h - horizon), 8 + near * 0.5 * c.h
    local x, width = random.int(0, c.w - 1), near > 0.6 and 1 or 0
    c.box(foot - height, foot, x, x + width, POLE)
    if random.chance(0.45) then
      local side = 2 + near * 4
      c.box(foot - height, foot - height + side, x - side / 2, x + side / 2, SIGN)
    end
  end
end

local function left_out(c, random)
  c.ellipse(c.h + 2, c.w / 2, random(6, 10), 0.4 * c.w, 255)     -- the car's own bonnet
  for _ = 1, random.int(0, 2) do
    c.ellipse(random(0, c.h), random(0, c.w), random(1, 3), random(2, 6), 255)
  end
end

function street.scene(dims, random)
  local c = canvas(dims[1], dims[2])
  local horizon = math.floor(random(0.4, 0.55) * c.h)
  ground(c, random, horizon)
  skyline(c, random, horizon)
  traffic(c, random, horizon)
  street_furniture(c, random, horizon)
  left_out(c, random)
  return c.labels
end

-- -- Cells in 3-D ---------------------------------------------------------------------------------

local CYTOPLASM, MEMBRANE, MITOCHONDRION = 0, 1, 2
local cells = {
  classes = {"cytoplasm", "membrane", "mitochondrion"},
  dims = {24, 64, 64}, images = 4, blur = 1, patch = 10, ignore = 255,
  taken_for = {membrane = {cytoplasm = 0.25}, mitochondrion = {cytoplasm = 0.2, membrane = 0.1}},
}

local function random_points(dims, n, random)
  local points = {}
  for i = 1, n do points[i] = {random(0, dims[1]), random(0, dims[2]), random(0, dims[3])} end
  return points
end

-- Distances to the nearest and the second nearest point.
local function two_nearest(points, z, y, x)
  local first, second = math.huge, math.huge
  for _, p in ipairs(points) do
    local d = math.sqrt((z - p[1]) ^ 2 + (y - p[2]) ^ 2 + (x - p[3]) ^ 2)
    if d < first then
      first, second = d, first
    elseif d < second then
      second = d
    end
  end
  return first, second
end

function cells.scene(dims, random)
  local labels, points = {}, random_points(dims, 14, random)
  local blobs = random_points(dims, 6, random)
  for i = 1, #blobs do blobs[i].r = random(2.5, 6) end
  for z = 0, dims[1] - 1 do
    for y = 0, dims[2] - 1 do
      for x = 0, dims[3] - 1 do
        local first, second = two_nearest(points, z, y, x)
        local c = second - first < 1.8 and MEMBRANE or CYTOPLASM
        for _, b in ipairs(blobs) do
          local distance = (z - b[1]) ^ 2 + ((y - b[2]) / 1.6) ^ 2 + (x - b[3]) ^ 2
          if c == CYTOPLASM and distance < b.r ^ 2 then c = MITOCHONDRION end
        end
        labels[#labels + 1] = c
      end
    end
  end
  return labels
end

-- -- The program ----------------------------------------------------------------------------------

local usage = "usage: segx make_sample.lua OUT.h5 [--volume] [--images N] [--size HxW] [--seed N]"

local function stop(message)
  io.stderr:write(message, "\n", usage, "\n")
  os.exit(2, true)
end

local function parse(args)
  local o = {seed = 1, world = street}
  local i = 1
  local function value()
    i = i + 1
    return args[i] or stop(args[i - 1] .. ": a value is missing")
  end
  local function integer()
    return math.tointeger(tonumber(value())) or stop("not a whole number: " .. args[i])
  end
  while i <= #args do
    local a = args[i]
    if a == "--volume" then o.world = cells
    elseif a == "--images" then o.images = integer()
    elseif a == "--seed" then o.seed = integer()
    elseif a == "--size" then
      o.dims = {}
      for n in value():gmatch "%d+" do o.dims[#o.dims + 1] = math.tointeger(tonumber(n)) end
    elseif a:sub(1, 1) == "-" or o.path then stop("unknown argument: " .. a)
    else o.path = a end
    i = i + 1
  end
  if not o.path then stop "where to?" end
  o.dims, o.images = o.dims or o.world.dims, o.images or o.world.images
  if #o.dims ~= #o.world.dims then stop(("--size has %d numbers here"):format(#o.world.dims)) end
  for _, d in ipairs(o.dims) do if d < 8 then stop "--size: at least 8" end end
  return o
end

local function main(args)
  local o = parse(args)
  local world = o.world
  local writer = segx.write_dump(o.path, {
    n = o.images, classes = #world.classes, dims = o.dims, logits_type = "float16",
    labels_type = "uint8", gzip = 4,
    class_names = world.classes, ignore_index = world.ignore, split = "val",
  })
  for i = 1, o.images do
    local labels = world.scene(o.dims, generator(o.seed, 2 * i))
    writer:write(i, predict(labels, o.dims, world, generator(o.seed, 2 * i + 1)), labels)
  end
  writer:finish()
  print(("%s: %d images of %s, %d classes, seed %d"):format(
    o.path, o.images, table.concat(o.dims, "x"), #world.classes, o.seed))
end

main(arg)
