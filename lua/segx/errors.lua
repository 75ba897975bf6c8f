--[[
errors.lua: how segx says that something is wrong. Requires nothing.

Two kinds. Failures of the world (a file, the data, a device) are error objects {code, message,
hint}; `pcall` gives them back, the program maps `code` to its exit status. Misuse (a wrong name, a
wrong value) is a plain string that blames the first line outside segx itself.
]]
local errors = {}

-- -- Error objects --------------------------------------------------------------------------------

local Error = {__name = "segx.Error"}
Error.__index = Error
errors.Error = Error

--- Exit status of the program for each code of an error object.
errors.status = {usage = 2, file = 3, data = 4, device = 5, memory = 1, interrupted = 130}

function Error:__tostring()
  if self.hint then return self.message .. "\n  hint: " .. self.hint end
  return self.message
end

--- A new error object. code: a key of errors.status; hint: one thing to do, or nil.
function errors.new(code, message, hint)
  return setmetatable({code = code, message = message, hint = hint}, Error)
end

--- Raises an error object.
function errors.raise(code, message, hint) error(errors.new(code, message, hint), 0) end

function errors.is(e) return getmetatable(e) == Error end

-- -- Misuse ---------------------------------------------------------------------------------------

local own = {}

--- Called by every module of segx while it loads: its lines are never blamed.
function errors.own() own[debug.getinfo(2, "S").source] = true end
errors.own()
own[debug.getinfo(1, "S").source] = true

-- "file:line: " of the innermost Lua function that is not part of segx; "" when there is none.
local function blame()
  local level = 3
  while true do
    local info = debug.getinfo(level, "Sl")
    if not info then return "" end
    if info.what ~= "C" and not own[info.source] and info.currentline > 0 then
      return ("%s:%d: "):format(info.short_src, info.currentline)
    end
    level = level + 1
  end
end

--- Raises "file:line: message" (and a hint line) at the caller of segx.
function errors.misuse(message, hint)
  if hint then message = message .. "\n  hint: " .. hint end
  error(blame() .. message, 0)
end

-- -- Nearest names --------------------------------------------------------------------------------

-- Insertions, deletions, replacements and swaps of neighbours that turn a into b.
local function distance(a, b)
  local before, row = {}, {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local new = {[0] = i}
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      new[j] = math.min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        new[j] = math.min(new[j], before[j - 2] + 1)
      end
    end
    before, row = row, new
  end
  return row[#b]
end

--- The entry of `known` most like `name`, or nil when none is.
function errors.nearest(name, known)
  local best, least = nil, math.max(1, #name // 3) + 1
  for _, candidate in ipairs(known) do
    local n = distance(name:lower(), candidate:lower())
    if n < least then best, least = candidate, n end
  end
  return best
end

--- Raises "<where>: unknown <kind> '<name>' (did you mean ...?)" with the known names.
function errors.unknown(where, kind, name, known)
  name = tostring(name)
  local near = errors.nearest(name, known)
  local guess = near and (" (did you mean '%s'?)"):format(near) or ""
  local all = #known > 0 and table.concat(known, ", ") or "none"
  errors.misuse(("%s: unknown %s '%s'%s\n  known: %s"):format(where, kind, name, guess, all))
end

--- Position of `name` in the list `known`; raises errors.unknown where it is not there.
function errors.position(where, kind, name, known)
  for k, other in ipairs(known) do
    if other == name then return k end
  end
  errors.unknown(where, kind, name, known)
end

--- Raises unless every key of `given` is in `known`.
function errors.check_keys(where, kind, given, known)
  local allowed, wrong = {}, {}
  for _, k in ipairs(known) do allowed[k] = true end
  for k in pairs(given) do
    if not allowed[k] then wrong[#wrong + 1] = tostring(k) end
  end
  table.sort(wrong)
  if wrong[1] then errors.unknown(where, kind, wrong[1], known) end
end

return errors
