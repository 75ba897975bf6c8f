--[[
json.lua: JSON in and out, for manifests and journals. Keys are written in sorted order, so that equal values give equal
text. A table with [1], or marked by json.list, is a list.
]]
local errors = require "segx.errors"
local format = require "segx.format"
errors.own()

local json = {}

local List = {}

--- Marks a table as a list, for empty ones.
function json.list(t) return setmetatable(t, List) end

local function quote(s)
  return '"' .. s:gsub('[%c"\\\127]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function write(v, indent)
  if type(v) == "number" then
    return (v ~= v or math.abs(v) == math.huge) and "null" or format.exact(v)
  elseif type(v) ~= "table" then
    return (type(v) == "boolean" or v == nil) and tostring(v) or quote(tostring(v))
  end
  local items, inner = {}, indent and indent .. "  "
  local is_list = v[1] ~= nil or getmetatable(v) == List
  if is_list then
    for i, item in ipairs(v) do items[i] = write(item) end
    return "[" .. table.concat(items, ", ") .. "]"
  end
  local keys = {}
  for k in pairs(v) do keys[#keys + 1] = k end
  table.sort(keys)
  for i, k in ipairs(keys) do items[i] = quote(k) .. ": " .. write(v[k], inner) end
  if not indent then return "{" .. table.concat(items, ", ") .. "}" end
  return "{\n" .. inner .. table.concat(items, ",\n" .. inner) .. "\n" .. indent .. "}"
end

--- Text of a value; pretty: one key per line.
function json.encode(v, pretty) return write(v, pretty and "" or nil) end

local escapes = {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}

local read

local function read_string(s, at)
  local parts = {}
  while true do
    local text, stop, next_at = s:match('^([^"\\]*)(["\\])()', at)
    if not text then return nil end
    parts[#parts + 1] = text
    if stop == '"' then return table.concat(parts), next_at end
    local hex = s:match("^u(%x%x%x%x)", next_at)
    parts[#parts + 1] = hex and utf8.char(tonumber(hex, 16))
      or escapes[s:sub(next_at, next_at)] or s:sub(next_at, next_at)
    at = next_at + (hex and 5 or 1)
  end
end

local function skip(s, at) return s:match("^%s*()", at) end

local function read_items(s, at, close, item)
  at = skip(s, at)
  if s:sub(at, at) == close then return at + 1 end
  while at do
    at = item(skip(s, at))
    at = at and skip(s, at)
    local c = at and s:sub(at, at)
    if c == close then return at + 1 end
    if c ~= "," then return nil end
    at = at + 1
  end
end

-- Value and the position behind it; no position: not JSON. keys: gets those of an object in their order.
function read(s, at, keys)
  at = skip(s, at)
  local c, out = s:sub(at, at), {}
  if c == '"' then return read_string(s, at + 1) end
  if c == "[" then
    return json.list(out), read_items(s, at + 1, "]", function(p)
      local v, after = read(s, p)
      out[#out + 1] = v
      return after
    end)
  elseif c == "{" then
    return out, read_items(s, at + 1, "}", function(p)
      if s:sub(p, p) ~= '"' then return nil end
      local k, after = read_string(s, p + 1)
      after = after and s:match("^%s*:()", after)
      if not after then return nil end
      out[k], after = read(s, after)
      if keys then keys[#keys + 1] = k end
      return after
    end)
  end
  for word, value in pairs {["true"] = true, ["false"] = false} do
    if s:sub(at, at + #word - 1) == word then return value, at + #word end
  end
  if s:sub(at, at + 3) == "null" then return nil, at + 4 end
  local number, after = s:match("^(%-?[%d.eE+-]+)()", at)
  return tonumber(number), tonumber(number) and after
end

--- The value of a text, or nil and "not JSON". keys (a table, optional) gets the keys of the outermost
--- object in their order.
function json.decode(s, keys)
  local v, at = read(s, 1, keys)
  if not at or skip(s, at) <= #s then return nil, "not JSON" end
  return v
end

return json
