-- device.lua: says, once for each reason, when something ran on the CPU though a GPU was asked for, and when the GPU's memory
-- made it go in smaller steps.
local core = require "segx.core"
local program = require "segx.program"

local device = {}
local said = {}

local function say(text)
  if said[text] then return end
  said[text] = true
  if not program.options().quiet then io.stderr:write("segx: note: ", text, "\n") end
end

local split = 0
local function look(result, stats, ...)
  if type(stats) == "table" and (stats.on_gpu or stats.on_cpu) then
    if stats.why_cpu then say("on the CPU: " .. stats.why_cpu) end
    local counts = core.device_counts()
    if counts and counts.split > split then
      split = counts.split
      say "the GPU's memory is short: configurations and images go in smaller steps"
    end
  end
  return result, stats, ...
end

local function with_notes(evaluate)
  return function(...) return look(evaluate(...)) end
end

-- Not in the plain-Lua reference.
if core.device_counts then core.eval, core.grid = with_notes(core.eval), with_notes(core.grid) end

return device
