--[[
Three parameters, no grid: which mixture of focal and Tversky orders the images as their IoU does?

    segx scripts/search_halving.lua val.h5

First 64 Sobol points, all of them in one pass over the images. Then successive halving: 81 points on a
few images, the better third of them on three times as many, the rest on all. A search that asks for one
point at a time (s:ask, s:tell) would read the dump 64 times.
]]
local d <close> = segx.open(arg[1])
local L = segx.loss

local function search(method, n)
  return segx.search {dump = d, method = method, n = n, by = "tau(iou)", want = {"tau(iou)", "value"}, control = L.ce {},
    space = {gamma = {0, 5}, mix = {0, 1}, alpha = {0.1, 0.9}},
    loss = function(p)
      return p.mix * L.focal {gamma = p.gamma} + (1 - p.mix) * L.tversky {alpha = p.alpha, beta = 1 - p.alpha}
    end}
end

local sobol = search("sobol", 64):run()
print(sobol:top(5, "tau(iou)"))
print(sobol:importance "tau(iou)")

local s = search("halving", 81)
local r = s:run()
print()
for _, rung in ipairs(s.rungs) do print(("%d points on %d images"):format(rung.draws, rung.images)) end
print(r:top(3, "tau(iou)"))
print(r:best "tau(iou)".loss)

--[==[ Output with the sample dump (./try makes it):
draw     alpha    gamma       mix  tau(iou)              tau(iou)-control          value
  44  0.341099  3.67638  0.775387  0.806 [0.704, 0.895]  0.194 [0.0622, 0.361]  0.116639
  60  0.366099  3.83263  0.744137  0.798 [0.689, 0.888]  0.185 [0.0624, 0.343]  0.122884
  16  0.203599  2.97325  0.822262  0.79 [0.676, 0.876]   0.177 [0.0621, 0.333]  0.111659
  40  0.191099  2.73888  0.587887  0.79 [0.688, 0.872]   0.177 [0.0501, 0.354]  0.165581
  32  0.278599   4.3795  0.666012  0.786 [0.685, 0.87]   0.173 [0.0461, 0.333]  0.137941
axis   share of variance of tau(iou)  values
mix                          0.52671       8
alpha                       0.186989       8
gamma                       0.110757       8

81 points on 11 images
27 points on 32 images
draw     alpha    gamma       mix  tau(iou)              tau(iou)-control          value
  44  0.341099  3.67638  0.775387  0.806 [0.704, 0.895]  0.194 [0.0622, 0.361]  0.116639
  60  0.366099  3.83263  0.744137  0.798 [0.689, 0.888]  0.185 [0.0624, 0.343]  0.122884
  16  0.203599  2.97325  0.822262  0.79 [0.676, 0.876]   0.177 [0.0621, 0.333]  0.111659
0.775386979338*L.focal{gamma = 3.67637652671} + 0.22461302066199995*L.tversky{alpha = 0.341099330783, beta = 0.6589006692170001}
]==]
