--[[
What does my sweep look like? Figures, printed as text here; fig:save("x.svg") has gnuplot draw them
(docs/figures.md).

    segx scripts/figures.lua val.h5
]]
local d <close> = segx.open(arg[1])
local L, A = segx.loss, segx.axis

local gamma, mix = A.grid("gamma", {0, 1, 2, 5}), A.lin("mix", 0, 1, 3)
local r = segx.sweep {dump = d, control = L.ce {}, want = {"tau(iou)"},
  loss = mix * L.focal {gamma = gamma} + (1 - mix) * L.dice {}}:run()
print(r:plot("heatmap", {x = "gamma", y = "mix", z = "tau(iou)"}))
print()
print(r:plot("rank", {by = "tau(iou)", top = 5}))
print()
print(L.focal {gamma = 2}:shares(d, {against = L.ce {}}):plot())
print()
print(L.focal {gamma = 2}:curve {hist = d, bins = 10}:plot():text {width = 70, height = 12})

--[==[ Output with the sample dump (./try makes it):
best: 0.746 at gamma 2, mix 0.5
mix
  1    0.613 ▒ 0.673 ▒ 0.677 ▓ 0.698
0.5  ▓ 0.698 █ 0.734 █ 0.746*█ 0.738
  0  ▒ 0.665 ▒ 0.665 ▒ 0.665 ▒ 0.665
     0       1       2       5
     gamma
tau(iou): 0.6129 ' ' '░' '▒' '▓' '█' 0.746   * best

best 5 of 12 rows
not separable: the interval of the paired difference holds 0
┊ control   ○ not separable from the control
gamma 2, mix 0.5                 ┊ ├─────────────────────○────────────────┤    0.746 [0.622, 0.846]
gamma 5, mix 0.5                 ├─────────────────────○─────────────────┤     0.7379 [0.611, 0.841]
gamma 1, mix 0.5               ├─┊────────────────────○──────────────────┤     0.7339 [0.6, 0.841]
gamma 0, mix 0.5      ├──────────┊──────────────○─────────────────────┤        0.6976 [0.55, 0.82]
gamma 5, mix 1      ├────────────┊──────────────○───────────────────┤          0.6976 [0.538, 0.813]
                              0.6              0.7               0.8
                  tau(iou)

Who gets the gradient
this: L.focal{}
control: L.cross_entropy{}
░ pixels   ▒ control   █ this
sky         ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 29.6 %
            ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 13.3 %
            ████████████████████████ 10.2 %
building    ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 12.5 %
            ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 10.2 %
            ███████████████████████ 9.7 %
vegetation  ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 16.5 %
            ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 32.6 %
            █████████████████████████████████████████████████████████████████████████████ 32.3 %
road        ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 29.5 %
            ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 11.2 %
            ██████████████████ 7.6 %
sidewalk    ░░░░░░░░░░░░ 5.2 %
            ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 15.6 %
            ████████████████████████████████████████████ 18.4 %
car         ░░░░░░░░░░░░ 4.9 %
            ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 7.8 %
            ██████████████████ 7.5 %
person      ░░ 0.7 %
            ▒▒▒▒▒▒▒▒ 3.2 %
            ███████████ 4.4 %
pole        ░░ 0.9 %
            ▒▒▒▒▒▒▒▒▒▒▒▒ 4.9 %
            ███████████████████ 7.9 %
sign        ░ 0.3 %
            ▒▒▒ 1.3 %
            ████ 1.9 %
            part of the whole

Loss and gradient of a pixel against p_t
loss: L.focal{}
░ pixels (right)   ● loss   ○ gradient (L1)
per pixel
    │   ●                                                      ░░░░░░░
2.5 ┤    ●                                                     ░░░░░░░
    │   ○○○○○                                                  ░░░░░░░
  2 ┤      ● ○○○○                                              ░░░░░░░
    │       ●    ○○○○                                          ░░░░░░░
1.5 ┤        ●●      ○○○                                       ░░░░░░░
    │         ●●●       ○○○○                            ░░░░░░░░░░░░░░
  1 ┤            ●●●       ○○○○○                        ░░░░░░░░░░░░░░
    │               ●●●         ○○○○        ░░░░░░░░░░░░░░░░░░░░░░░░░░
0.5 ┤                  ●●●●         ○○○○░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
    │                   ░░░●●●●●●●●░░░░░○○○○○○○░░░░░░░░░░░░░░░░░░░░░░░
  0 ┤░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░●●●●●●●●●●●●○○○○○○○○○○○○○○○○○○○○░░░
    └┬────────────┬────────────┬────────────┬────────────┬───────────┬
     0           0.2          0.4          0.6          0.8          1
                       p_t, probability of the label
]==]
