-- device.lua: where evaluations run, in words: notes, once for each reason, when something ran on the CPU though a GPU was wanted
-- and when the GPU's memory made it go in smaller steps; which device a plan would get.
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
    if stats.why_cpu and not core.gpu_choice().absent then say("on the CPU: " .. stats.why_cpu) end
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

--- The device that these options ask for, of an evaluation or else of the program: "auto", "cpu", "cuda" ...
function device.asked(opts) return opts.device or program.options().device or "auto" end

--- Where passes that take the CPU so many seconds run, each of them: "cpu" or "cuda:N", and why not on a GPU where one was looked for.
--- "auto" looks for one, as the passes themselves would, when they are long enough.
function device.of(opts, seconds)
  local asked = device.asked(opts)
  if asked ~= "auto" then return asked end
  if seconds < core.gpu_choice().seconds then return "cpu" end
  local name, why = core.choose_gpu(opts.precision or program.options().precision)
  return name or "cpu", not core.gpu_choice().absent and why or nil
end

return device
