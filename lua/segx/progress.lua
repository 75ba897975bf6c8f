--[[
progress.lua: how far a long pass is, on stderr: one line that is rewritten on a terminal, a plain line every half minute
otherwise, nothing for what takes less than half a second or with --quiet. Used by every evaluation that brings no progress
function of its own.
]]
local core = require "segx.core"

local progress = {}

local function rate(px_per_second)
  if px_per_second >= 1e9 then return ("%.1f Gpx/s"):format(px_per_second / 1e9) end
  return ("%.0f Mpx/s"):format(px_per_second / 1e6)
end

--- step(pass, passes, done, total) is for core.eval (pixels of one pass), finish() clears the line; nil when quiet.
function progress.new()
  local options = rawget(_G, "segx") and segx.options or {}
  if options.quiet then return nil end
  local terminal, start, pass_start, current, shown = options.tty_stderr, core.clock(), core.clock(), 0, nil
  local report = {}
  function report.step(pass, passes, done, total)
    local now = core.clock()
    if pass ~= current then current, pass_start = pass, current == 0 and start or now end
    if now - start < 0.5 or (shown and now - shown < (terminal and 0.1 or 30)) then return true end
    if not terminal and not shown and now - start < 30 then return true end
    shown = now
    local speed = done / math.max(now - pass_start, 1e-9)
    local line = ("pass %d of %d  %3.0f %%  %s  %.0f s to go"):format(pass, passes, 100 * done / total, rate(speed),
      (total - done) / speed)
    io.stderr:write(terminal and "\r" .. line .. "\27[K" or line .. "\n")
    return true
  end
  function report.finish()
    if shown and terminal then io.stderr:write("\r\27[K") end
  end
  return report
end

local eval = core.eval

--- core.eval with this progress where the caller has none.
function core.eval(d, list, opts)
  local report = not (opts and opts.progress) and progress.new()
  if not report then return eval(d, list, opts) end
  local own = {progress = report.step}
  for k, v in pairs(opts or {}) do own[k] = v end
  local done <close> = setmetatable({}, {__close = report.finish})
  return eval(d, list, own)
end

return progress
