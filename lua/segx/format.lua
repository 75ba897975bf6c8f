--[[
format.lua: numbers and tables as text.
]]
local core = require "segx.core"
local errors = require "segx.errors"
errors.own()

local format = {}

-- -- Colour ---------------------------------------------------------------------------------------

local colour = false

--- Turns bold headings on or off. NO_COLOR in the environment wins.
function format.colour(on) colour = on and not os.getenv("NO_COLOR") end

function format.bold(s) return colour and "\27[1m" .. s .. "\27[0m" or s end

-- -- Numbers --------------------------------------------------------------------------------------

--- For people: six significant digits, "-" for not-a-number.
function format.number(v)
  if type(v) ~= "number" then return tostring(v) end
  if v ~= v then return "-" end
  if math.type(v) == "integer" then return tostring(v) end
  return ("%.6g"):format(v)
end

--- The shortest text (of 14 digits or more) that reads back as the same number.
function format.exact(v)
  if math.type(v) == "integer" then return tostring(v) end
  if v ~= v then return "nan" end
  if v == math.huge then return "inf" end
  if v == -math.huge then return "-inf" end
  return core.exact(v)
end

--- Bytes with a binary unit, e.g. "1.5 GiB".
function format.bytes(n)
  local unit = 1
  local units = {"B", "KiB", "MiB", "GiB", "TiB"}
  while n >= 1024 and unit < #units do n, unit = n / 1024, unit + 1 end
  return (unit == 1 and "%d %s" or "%.1f %s"):format(n, units[unit])
end

--- 1234567 -> "1,234,567".
function format.count(n)
  local s = ("%.0f"):format(n)
  local k
  repeat s, k = s:gsub("^(-?%d+)(%d%d%d)", "%1,%2") until k == 0
  return s
end

--- Seconds as people say them: "under a second", "about 12 s", "about 7 min", "about 1.5 h".
function format.about(seconds)
  if seconds < 1 then return "under a second" end
  if seconds < 90 then return ("about %.0f s"):format(seconds) end
  if seconds < 5400 then return ("about %.0f min"):format(seconds / 60) end
  return ("about %.1f h"):format(seconds / 3600)
end

-- -- Lua text -------------------------------------------------------------------------------------

local function key_text(k)
  if type(k) == "string" and k:match("^[%a_][%w_]*$") then return k end
  return "[" .. (type(k) == "string" and ("%q"):format(k) or format.exact(k)) .. "]"
end

--- A number, string, boolean, list or table of such as Lua source; keys sorted. `other` prints the
--- rest.
function format.lua(v, other)
  if type(v) == "number" then return format.exact(v) end
  if type(v) == "string" then return ("%q"):format(v) end
  if type(v) == "boolean" then return tostring(v) end
  if type(v) ~= "table" or getmetatable(v) then return (other or tostring)(v) end
  local items, keys = {}, {}
  for i = 1, #v do items[i] = format.lua(v[i], other) end
  for k in pairs(v) do
    if not (math.type(k) == "integer" and k >= 1 and k <= #v) then keys[#keys + 1] = k end
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, k in ipairs(keys) do
    items[#items + 1] = key_text(k) .. " = " .. format.lua(v[k], other)
  end
  return "{" .. table.concat(items, ", ") .. "}"
end

-- -- Tables ---------------------------------------------------------------------------------------

-- Characters, not bytes, where the text is UTF-8.
local function width(s) return utf8.len(s) or #s end

local function pad(s, n, right)
  local space = (" "):rep(n - width(s))
  return right and space .. s or s .. space
end

--- Aligned columns. head: list of titles; rows: lists of strings or numbers. Numbers stand right,
--- text left.
function format.table(head, rows)
  local cells, wide, right = {}, {}, {}
  for c, title in ipairs(head) do wide[c], right[c] = width(title), true end
  for r, row in ipairs(rows) do
    cells[r] = {}
    for c = 1, #head do
      local v = row[c]
      if type(v) == "string" then right[c] = false end
      cells[r][c] = v == nil and "" or format.number(v)
      wide[c] = math.max(wide[c], width(cells[r][c]))
    end
  end
  local lines = {}
  local function line(list, dress)
    local out = {}
    for c = 1, #head do out[c] = pad(list[c], wide[c], right[c]) end
    lines[#lines + 1] = dress((table.concat(out, "  "):gsub("%s+$", "")))
  end
  line(head, format.bold)
  for _, row in ipairs(cells) do line(row, function(s) return s end) end
  return table.concat(lines, "\n")
end

return format
