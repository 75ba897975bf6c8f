--[[
progress.lua: how far long work is, on stderr: one line that is rewritten on a terminal, a plain
line every half minute otherwise, nothing for what takes less than half a second or with --quiet.
Used by every evaluation that brings no progress function of its own.
]]
local core = require "segx.core"
local program = require "segx.program"

local progress = {}

local function rate(px_per_second)
  if px_per_second >= 1e9 then return ("%.1f Gpx/s"):format(px_per_second / 1e9) end
  return ("%.0f Mpx/s"):format(px_per_second / 1e6)
end

local function bar(share)
  local full = math.floor(20 * share + 0.5)
  return ("█"):rep(full) .. ("·"):rep(20 - full)
end

local function time(seconds)
  if seconds < 90 then return ("%.0f s to go"):format(seconds) end
  if seconds < 5400 then return ("%.0f min to go"):format(seconds / 60) end
  return ("%.1f h to go"):format(seconds / 3600)
end

--- A report: step(pass, passes, done, total, gpu) is for core.eval (pixels of one pass), rows(done, total)
--- for what comes after; both give true. finish() clears the line. nil when quiet.
function progress.new()
  local options = program.options()
  if options.quiet then return nil end
  local terminal, report = options.tty_stderr, {}
  local start, current, shown = core.clock(), 0, nil
  local pass_start = start
  -- share: of all there is to do
  local function show(what, share, speed)
    local now = core.clock()
    if now - start < (terminal and 0.5 or 30) then return true end
    if shown and now - shown < (terminal and 0.1 or 30) then return true end
    shown = now
    local left = share > 0 and "  " .. time((now - start) * (1 - share) / share) or ""
    local line = ("%s%s  %3.0f %%%s%s"):format(terminal and bar(share) .. "  " or "", what,
      100 * share, speed and "  " .. rate(speed) or "", left)
    io.stderr:write(terminal and "\r" .. line .. "\27[K" or line .. "\n")
    return true
  end
  function report.step(pass, passes, done, total, gpu)
    if pass ~= current then current, pass_start = pass, current == 0 and start or core.clock() end
    return show(("pass %d of %d%s"):format(pass, passes, gpu and " on the GPU" or ""), (pass - 1 + done / total) / passes,
      done / math.max(core.clock() - pass_start, 1e-9))
  end
  function report.rows(done, total, what)
    if current ~= "rows" then current, start = "rows", core.clock() end
    return show(what or "rows", done / total)
  end
  function report.finish()
    if shown and terminal then io.stderr:write("\r\27[K") end
  end
  return report
end

-- Calls an evaluation of the engine, with this progress where the caller has none.
local function with_progress(evaluate)
  return function(d, list, opts)
    local report = not (opts and opts.progress) and progress.new()
    if not report then return evaluate(d, list, opts) end
    local own = {progress = report.step}
    for k, v in pairs(opts or {}) do own[k] = v end
    local done <close> = setmetatable({}, {__close = report.finish})
    return evaluate(d, list, own)
  end
end

core.eval, core.grid = with_progress(core.eval), with_progress(core.grid)

return progress
