--[[
csv.lua: comma-separated text, the one definition of it: cells out, lines in, files row by row.

Numbers are written so that they read back exactly; not-a-number and the infinities as nan, inf and
-inf. Text that could be read as a number is quoted: that is how it stays text.
]]
local errors = require "segx.errors"
local format = require "segx.format"
errors.own()

local csv = {}

local spelled = {nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge}

--- Text, in quotes where it must be or, with `always`, in any case.
function csv.text(v, always)
  return (always or v:find '[,"\n\r]') and '"' .. v:gsub('"', '""') .. '"' or v
end

--- One cell as it stands in a file.
function csv.cell(v)
  if type(v) == "number" then return format.exact(v) end
  v = tostring(v)
  return csv.text(v, tonumber(v) or spelled[v])
end

--- A line from a list of values, without its end.
function csv.line(values)
  local cells = {}
  for i, v in ipairs(values) do cells[i] = csv.cell(v) end
  return table.concat(cells, ",")
end

local function number_or_text(s) return tonumber(s) or spelled[s] or s end

--- Values of the line of `text` that starts at `at`, and where the next one starts; nil where the line
--- is broken (a quote that does not close).
function csv.read_line(text, at)
  local values = {}
  repeat
    local stop
    if text:sub(at, at) == '"' then
      local close = at + 1
      while true do
        close = text:find('"', close, true)
        if not close then return nil end
        if text:sub(close + 1, close + 1) ~= '"' then break end
        close = close + 2
      end
      values[#values + 1] = (text:sub(at + 1, close - 1):gsub('""', '"'))
      stop = close + 1
    else
      stop = text:find("[,\n]", at) or #text + 1
      values[#values + 1] = number_or_text((text:sub(at, stop - 1):gsub("\r$", "")))
    end
    if text:sub(stop, stop) == "\r" then stop = stop + 1 end
    at = stop + 1
  until text:sub(stop, stop) ~= ","
  return values, at
end

--- Iterates over the lines of a file as they stand there, line ends inside quotes included: text, its
--- number (from 1). Reads a piece at a time.
function csv.lines(file)
  local number = 0
  return function()
    local line = file:read "L"
    if not line then return nil end
    while select(2, line:gsub('"', "")) % 2 == 1 do
      local more = file:read "L"
      if not more then break end
      line = line .. more
    end
    number = number + 1
    return line, number
  end
end

--- A function that gives value number k of a line, without reading the rest of it.
function csv.picker(k)
  local pattern = "^" .. ("[^,]*,"):rep(k - 1) .. "([^,\r\n]*)"
  return function(line)
    if not line:find('"', 1, true) then return number_or_text(line:match(pattern) or "") end
    local values = csv.read_line(line, 1)
    return values and values[k]
  end
end

return csv
