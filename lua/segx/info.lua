--[[
info.lua: what a dump is, in words and as JSON: print(d), `segx info`.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
errors.own()

local info = {}

local function ignore_text(i)
  if #i.ignore == 0 then return "none" end
  local list = {}
  for k, v in ipairs(i.ignore) do list[k] = format.exact(v) end
  return table.concat(list, ", ") .. (i.ignore_guessed and " (guessed)" or "")
end

local function spacing_text(i)
  if not i.spaced then return "" end
  local list = {}
  for k, v in ipairs(i.spacing) do list[k] = format.number(v) end
  return ", a pixel is " .. table.concat(list, " x ")
end

local function size_text(i)
  if not i.same_shape then
    return ("sizes differ, up to %s pixels"):format(format.count(i.max_px))
  end
  return table.concat(i.dims, " x ")
end

local function class_text(i)
  if not i.named then return "not named" end
  return table.concat(i.class_names, ", ")
end

--- Lines of text about a dump.
function info.text(d)
  local i = d:info()
  local lines = {
    ("%s   %s"):format(format.bold(i.path), format.bytes(i.bytes)),
    ("  images     %d   %s%s"):format(i.n, size_text(i), spacing_text(i)),
    ("  classes    %d   %s"):format(i.classes, class_text(i)),
    ("  logits     %s %s, %s, activation %s"):format(i.logits_type, i.layout or "", i.storage or "",
      i.activation),
    ("  labels     %s, ignored: %s"):format(i.labels_type, ignore_text(i)),
  }
  if #i.field_names > 0 then
    lines[#lines + 1] = "  also       " .. table.concat(i.field_names, ", ")
  end
  for _, note in ipairs(i.notes) do lines[#lines + 1] = "  note       " .. note end
  return table.concat(lines, "\n")
end

-- Fields of the JSON form, in this order.
local fields = {
  "path", "n", "classes", "class_names", "named", "ignore", "ignore_guessed", "dims", "same_shape",
  "spacing", "max_px", "bytes", "logits_type", "labels_type", "layout", "storage", "activation", "field_names",
  "notes", "fingerprint",
}

local function json(v)
  if type(v) == "table" then
    local items = {}
    for k, item in ipairs(v) do items[k] = json(item) end
    return "[" .. table.concat(items, ",") .. "]"
  end
  if type(v) == "number" then return format.exact(v) end
  if type(v) == "boolean" then return tostring(v) end
  if v == nil then return "null" end
  local escaped = tostring(v):gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end)
  return '"' .. escaped .. '"'
end

--- One JSON object with everything core knows about a dump.
function info.json(d)
  local i, items = d:info(), {}
  for k, name in ipairs(fields) do items[k] = json(name) .. ": " .. json(i[name]) end
  return "{" .. table.concat(items, ", ") .. "}"
end

core.Dump.describe = info.text

return info
