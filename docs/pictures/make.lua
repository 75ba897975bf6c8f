--[[
make.lua: the pictures of docs/figures.md, from the sample dump.

    segx datasets/make_sample.lua /tmp/sample.h5 && segx docs/pictures/make.lua /tmp/sample.h5 docs/pictures
]]
local d <close> = segx.open(arg[1])
local L, A, W = segx.loss, segx.axis, segx.weights
local function path(name) return (arg[2] or ".") .. "/" .. name .. ".png" end

local mix, gamma = A.lin("mix", 0, 1, 5), A.grid("gamma", {0, 0.5, 1, 2, 5})
local smooth = A.log("smooth", 1, 10000, 5)
local r = segx.sweep {dump = d, control = L.ce {}, want = {"value", "tau(iou)"},
  loss = mix * L.focal {gamma = gamma} + (1 - mix) * L.dice {smooth = smooth}}:run()
r:plot("line", {x = "gamma", y = "tau(iou)"}):save(path "line")
r:plot("heatmap", {x = "gamma", y = "mix", z = "tau(iou)"}):save(path "heatmap")
r:plot("parallel", {by = "tau(iou)", top = 30}):save(path "parallel")
r:plot("scatter", {x = "value", y = "tau(iou)", z = "mix"}):save(path "scatter")

local f = segx.fit {dump = d, control = L.ce {}, want = {"fit.miou", "fit.gains"}, loss = {
  L.ce {weight = W.inverse_sqrt(d)}:name "ce, inverse_sqrt", L.ce {weight = W.balanced(d)}:name "ce, balanced",
  L.focal {gamma = 2}, L.dice {}, L.dice {} + L.ce {}, L.tversky {alpha = 0.3, beta = 0.7}, L.generalized_dice {}}}
f:plot("rank", {by = "fit.miou"}):save(path "rank")
f:plot("classes", {y = "fit.gain", by = "fit.miou", top = 2}):save(path "classes")

local focal = L.focal {gamma = 2}
focal:shares(d, {against = L.ce {}}):plot():save(path "shares")
focal:curve {hist = d, against = L.ce {}}:plot():save(path "curve")
focal:gradients(d, {want = {"flow"}}):plot "flow":save(path "flow")
focal:images(d):plot():save(path "images")

local folder = os.tmpname()
os.remove(folder)
for what, loss in pairs {grad = L.dice {}, loss = focal} do
  local hardest = loss:overlay(d, {what = what, images = 1, out = folder})[1].file
  os.rename(hardest, path("overlay_" .. what))
end
