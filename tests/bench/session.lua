--[[
session.lua: does an evaluation of a new expression take longer the more a session has built? (docs/architecture.md, "A session's graph")

  segx tests/bench/session.lua [evaluations = 8000]

Prints microseconds per evaluation for each eighth of them.
]]
local core = require "segx.core"
local L = segx.loss
local count = tonumber(arg[1]) or 8000
local d <close> = core.synthetic {n = 4, classes = 5, height = 16, width = 16, logits_type = "float32"}
local eighth, start = count // 8, core.clock()
for k = 1, count do
  local loss = L.dice {smooth = k * 1e-4} + L.focal {gamma = k * 1e-3}
  loss:eval(d)
  if k % eighth == 0 then
    local now = core.clock()
    print(("%6d  %.0f us"):format(k, (now - start) / eighth * 1e6))
    start = now
  end
end
