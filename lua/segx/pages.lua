--[[
pages.lua: columns that are computed a page of rows at a time, so that a sweep of a million rows
holds a few pages and no more. Columns of few rows are ordinary lists from the start.
]]
local pages = {}

-- Numbers that are kept as ordinary lists (16 bytes each); pages that stay otherwise.
local PLAIN, STAY = 1 << 18, 4

--- A read-only list of n entries that calls get(i) for each that is read.
function pages.list(n, get, parts)
  return setmetatable({}, {
    __index = function(_, i)
      if i >= 1 and i <= n then return get(i) end
    end,
    __len = function() return n end,
    parts = parts,
  })
end

--- for first, part in pages.parts(list): the list in ordinary lists, one page each, without a call per
--- entry; first: place of the part's first entry.
function pages.parts(list)
  local meta = getmetatable(list)
  if meta and meta.parts then return meta.parts() end
  return function(_, first) if not first then return 1, list end end
end

-- What is asked for first is computed, and stays until newer pages have taken its place.
local function cache(load)
  local stay, order = {}, {}
  return function(k)
    local page = stay[k]
    if page then return page end
    page = load(k)
    stay[k], order[#order + 1] = page, k
    if #order > STAY then stay[table.remove(order, 1)] = nil end
    return page
  end
end

local function whole(o)
  local columns = {}
  for c = 1, o.columns do columns[c] = {} end
  for k = 1, o.pages do
    local page = o.load(k)
    for c = 1, o.columns do table.move(page[c], 1, #page[c], page.first, columns[c]) end
  end
  return columns
end

--- Columns of o.rows rows. o: rows, columns (how many), pages (how many), find(row) -> page,
--- load(page) -> {first = its first row, [column] = list of its numbers}. Returns a list of columns,
--- and whether they are computed when they are read: then rows are best read in their order.
function pages.columns(o)
  if o.rows * o.columns <= PLAIN then return whole(o), false end
  local get, columns = cache(o.load), {}
  local page, first, last = nil, 1, 0        -- the one that was read last: mostly it is asked again
  local function parts_of(c)
    return function()
      local k = 0
      return function()
        k = k + 1
        if k > o.pages then return nil end
        local p = get(k)
        return p.first, p[c]
      end
    end
  end
  for c = 1, o.columns do
    columns[c] = pages.list(o.rows, function(r)
      if r < first or r > last then
        page = get(o.find(r))
        first, last = page.first, page.first + #page[1] - 1
      end
      return page[c][r - first + 1]
    end, parts_of(c))
  end
  return columns, true
end

return pages
