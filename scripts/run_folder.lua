--[[
A sweep that can be stopped, goes on, and grows: the run folder.

    segx scripts/run_folder.lua val.h5 [folder]       stop it (Ctrl-C, kill, --time-limit), run it again

The sums of every image are kept in the folder, found by what they are. So a second sweep with one more gamma
reads the dump for that one alone, and other mixtures need no pass at all.
    segx show runs/gamma --top 3          the rows again, without this script;  segx ls runs, segx diff A B
]]
local d <close> = segx.open(arg[1])
local L, A = segx.loss, segx.axis
local folder = arg[2] or "runs/gamma"

local function sweep(gammas, mixes)
  local mix = A.grid("mix", mixes)
  return segx.sweep {dump = d, loss = mix * L.focal {gamma = A.grid("gamma", gammas)} + (1 - mix) * L.dice {},
    control = L.ce {}, want = {"value", "tau(iou)"}, out = folder}
end

sweep({0, 1, 2}, {0.5}):run()
print(sweep({0, 1, 2, 4}, {0.5}):plan())
sweep({0, 1, 2, 4}, {0.5}):run()
print()
print(sweep({0, 1, 2, 4}, {0.25, 0.5, 0.75}):plan())
sweep({0, 1, 2, 4}, {0.25, 0.5, 0.75}):run()
print()
print(segx.read_results(folder, {top = 3, by = "tau(iou)"}))

--[==[ Output with the sample dump (./try makes it):
4 configurations = 1 mix x 4 gamma, 3 columns
found 7 of 8 cells in runs/gamma
1 pass over 32 images, 4.4 MiB read, 18.0 KiB of memory, under a second
inside the pass: gamma
free (arithmetic on kept sums): mix

12 configurations = 4 gamma x 3 mix, 3 columns
found 8 of 8 cells in runs/gamma
no pass over the images, under a second
inside the pass: gamma
free (arithmetic on kept sums): mix

gamma   mix     value  tau(iou)              tau(iou)-control       state  reason
    2  0.75  0.139662  0.778 [0.671, 0.868]  0.165 [0.0501, 0.32]   ok
    4  0.75  0.120619  0.766 [0.634, 0.864]  0.153 [0.0127, 0.314]  ok
    1  0.75  0.160658  0.75 [0.634, 0.846]   0.137 [0.0419, 0.276]  ok
]==]
