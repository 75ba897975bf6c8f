--[[
files.lua: whole files, in and out.
]]
local errors = require "segx.errors"
errors.own()

local files = {}

--- All bytes of a file, or nil and why not.
function files.read(path)
  local file, why = io.open(path, "rb")
  if not file then return nil, why end
  local text, failed = file:read "a"
  file:close()
  return text, text == nil and ("%s: %s"):format(path, failed) or nil
end

-- Devices and pipes cannot be replaced, only written to.
local function is_special(path) return path:find "^/dev/" ~= nil or path:find "^/proc/" ~= nil end

--- The file gets these bytes at once or not at all: they go beside it and the name moves. Raises an
--- error object when that fails; what was there is still there then.
function files.write(path, text)
  local beside = is_special(path) and path or path .. ".part"
  local function failed(why)
    why = tostring(why)
    if why:sub(1, #beside + 2) == beside .. ": " then why = why:sub(#beside + 3) end
    errors.raise("file", ("%s: cannot be written: %s"):format(path, why))
  end
  local file, why = io.open(beside, "wb")
  if not file then failed(why) end
  local ok, on_write = file:write(text)
  local closed, on_close = file:close()
  local done, on_move = ok and closed, on_write or on_close
  if done and beside ~= path then done, on_move = os.rename(beside, path) end
  if not done then
    if beside ~= path then os.remove(beside) end
    failed(on_move)
  end
end

--- A word of the shell that means exactly these characters.
function files.quote(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

--- "runs/x.svg" -> "runs/x", "svg"; no extension: path, "".
function files.split(path)
  local stem, ext = path:match "^(.*[^/])%.([%w]+)$"
  return stem or path, ext or ""
end

return files
