--[[
program.lua: what the program was told on its command line, wherever the Lua files are used.
]]
local program = {}

--- The options of the program (segx.options), or none where there is no program around.
function program.options() return rawget(_G, "segx") and segx.options or {} end

return program
