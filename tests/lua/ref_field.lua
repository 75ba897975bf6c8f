--[[
ref_field.lua: field operators of the reference (ref_core.lua): sums in order of a value and
distances, by the obvious loops over whole planes.

    require "ref_field"(core, tools)     tools: what ref_core.lua has to itself
]]

-- Larger ones come first, NaN before them; equal ones (0 and -0 are) stay as they are.
local function before(x, y)
  if x ~= x then return y == y end
  return x > y
end

-- Numbers of t by position in `axes`.
local function spread(tools, t, axes, count)
  local at = tools.offsets(t, axes, count)
  for i = 1, #at do at[i] = t.data[at[i]] end
  return at
end

return function(core, tools)
  local as_lazy, union, N, P = tools.as_lazy, tools.union, tools.N, tools.P

  local function with_pixels(t, who)
    t = as_lazy(t)
    if not t.count[P] then error(who .. ": tensor has no pixel axis", 0) end
    return t
  end

  -- Calls f(places) for every plane of every group of B consecutive images. places: where the
  -- group's pixels are, 1-based, image by image. Layout: {sweep ..., image, label, class, pixel}.
  local function each_group(axes, count, B, f)
    local images, px, outer, inner = count[N] or 1, count[P], 1, 1
    for _, a in ipairs(axes) do
      if a.rank < N.rank then outer = outer * count[a]
      elseif a ~= N and a ~= P then inner = inner * count[a] end
    end
    for o = 0, outer - 1 do
      for i = 0, inner - 1 do
        for first = 0, images - 1, B do
          local places = {}
          for n = first, math.min(first + B, images) - 1 do
            for p = 1, px do places[#places + 1] = ((o * images + n) * inner + i) * px + p end
          end
          f(places)
        end
      end
    end
  end

  -- images: how many are sorted together, 0 all of them; mask: which pixels take part, nil the
  -- valid ones.
  local function in_order(who, below)
    return function(a, b, mask, images)
      a, b = with_pixels(a, who), as_lazy(b)
      mask = mask and with_pixels(mask, who) or tools.valid_of(a)
      local axes, count, dump = union {a, b, mask}
      local key, value, part = spread(tools, a, axes, count), spread(tools, b, axes, count),
        spread(tools, mask, axes, count)
      local data = {}
      each_group(axes, count, images > 0 and images or count[N] or 1, function(places)
        local order = {}
        for _, k in ipairs(places) do
          data[k] = 0.0
          if part[k] ~= 0 then order[#order + 1] = k end
        end
        table.sort(order, function(i, j)
          if before(key[i], key[j]) then return true end
          return not before(key[j], key[i]) and i < j
        end)
        local sum = 0.0
        if below then
          for i = #order, 1, -1 do
            data[order[i]] = sum
            sum = sum + value[order[i]]
          end
        else
          for _, k in ipairs(order) do
            sum = sum + value[k]
            data[k] = sum
          end
        end
      end)
      return tools.lazy(axes, count, data, dump)
    end
  end

  core.sum_above = in_order("sum_above", false)
  core.sum_below = in_order("sum_below", true)

  -- Squared distance of pixels i and j, 0-based, of an image of this size.
  local function square_between(dims, i, j)
    local sum = 0
    for d = #dims, 1, -1 do
      local x = i % dims[d] - j % dims[d]
      sum, i, j = sum + x * x, i // dims[d], j // dims[d]
    end
    return sum
  end

  function core.Tensor:edt()
    local t = with_pixels(self, "edt")
    local valid = tools.valid_of(t)
    local axes, count, dump = union {t, valid}
    local v, part = spread(tools, t, axes, count), spread(tools, valid, axes, count)
    local dims, data = dump.dims_list, {}
    each_group(axes, count, 1, function(places)
      local sites = {}
      for p, k in ipairs(places) do
        if part[k] ~= 0 and v[k] == 0 then sites[#sites + 1] = p - 1 end
      end
      for p, k in ipairs(places) do
        local least = #sites > 0 and math.huge or 0
        for _, s in ipairs(sites) do least = math.min(least, square_between(dims, p - 1, s)) end
        data[k] = part[k] ~= 0 and math.sqrt(least) or 0.0
      end
    end)
    return tools.lazy(axes, count, data, dump)
  end
end
