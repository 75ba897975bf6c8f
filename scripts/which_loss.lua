--[[
Which loss would make my network better, and what can I have of it without training?

Under each loss a temperature and one bias per class are fitted on half of the pictures and scored on the
other half (docs/fits.md). The control is what the network was trained with.

    segx scripts/which_loss.lua val.h5
]]
local d <close> = segx.open(arg[1])
local L, W = segx.loss, segx.weights

local r = segx.fit {
  dump = d, control = L.ce {},
  loss = {
    L.ce {weight = W.inverse_sqrt(d)}:name "ce, inverse_sqrt", L.ce {weight = W.balanced(d)}:name "ce, balanced",
    L.focal {gamma = 2}, L.focal {gamma = 5}, L.dice {}, L.dice {} + L.ce {},
    L.tversky {alpha = 0.3, beta = 0.7}, L.generalized_dice {}, L.lovasz_softmax {}, L.topk_ce {k = 0.3},
  },
}
print(r:top(10, "fit.miou"))
print()
print(r:best "fit.miou":bias())

--[==[ Output with the sample dump (./try makes it):
name                                fit.miou              fit.miou-control                          fit.gain                                  fit.rank
L.dice{}                            0.738 [0.699, 0.773]  0.0117 [0.00378, 0.0204]                  0.0252 [0.0115, 0.0387]                   1 [1, 2]
L.dice{} + L.cross_entropy{}        0.736 [0.699, 0.77]   0.00942 [0.00359, 0.0148]                 0.023 [0.00972, 0.0357]                   2 [1, 4]
L.tversky{alpha = 0.3, beta = 0.7}  0.734 [0.693, 0.771]  0.00709 [-0.00559, 0.0219] not separable  0.0206 [0.0016, 0.0411]                   3 [1, 6]
L.generalized_dice{}                0.73 [0.69, 0.765]    0.00343 [-0.00437, 0.013] not separable   0.017 [0.00514, 0.0288]                   4 [3, 5]
L.focal{}                           0.724 [0.689, 0.754]  -0.00295 [-0.00572, -0.000278]            0.0106 [0.0015, 0.0204]                   5 [3, 6]
L.focal{gamma = 5}                  0.72 [0.685, 0.75]    -0.00694 [-0.0113, -0.00283]              0.00659 [-0.00285, 0.0161] not separable  6 [5, 7]
ce, inverse_sqrt                    0.716 [0.673, 0.757]  -0.011 [-0.0285, 0.0117] not separable    0.00257 [-0.0217, 0.0321] not separable   7 [4, 7]
ce, balanced                        0.654 [0.612, 0.699]  -0.0724 [-0.0919, -0.0467]                -0.0588 [-0.0846, -0.0264]                8 [8, 8]

L.dice{}, fitted on 32 pictures: logits' = t * logits + b
               mIoU, held out  gain                      t      sky    building  vegetation  road   sidewalk  car    person  pole   sign
as it is       0.7130                                    1.000  +0.00  +0.00     +0.00       +0.00  +0.00     +0.00  +0.00   +0.00  +0.00
this loss      0.7382          +0.0252 [+0.011, +0.039]  9.101  -2.64  -6.69     -1.10       -2.90  +4.61     +0.11  +2.19   +2.49  +3.93
control        0.7265          +0.0135 [+0.004, +0.024]  1.285  -0.37  -1.11     +0.62       -0.31  +0.81     +0.31  +0.21   +0.14  -0.31
tuned for IoU  0.7392          +0.0262 [+0.012, +0.040]  1.000  -0.74  -0.99     -0.29       -0.52  +0.38     -0.22  -0.01   +0.02  +0.00

{t = 9.10073, b = {sky = -2.6437, building = -6.69138, vegetation = -1.10044, road = -2.89556, sidewalk = 4.61193, car = 0.113745, person = 2.18515, pole = 2.49158, sign = 3.92868}}
{"t": 9.10073, "b": {"sky": -2.6437, "building": -6.69138, "vegetation": -1.10044, "road": -2.89556, "sidewalk": 4.61193, "car": 0.113745, "person": 2.18515, "pole": 2.49158, "sign": 3.92868}}

b = torch.tensor([-2.6437, -6.69138, -1.10044, -2.89556, 4.61193, 0.113745, 2.18515, 2.49158, 3.92868], device=logits.device)  # sky, building, vegetation, road, sidewalk, car, person, pole, sign
logits = 9.10073 * logits + b.view(1, -1, *[1] * (logits.dim() - 2))
prediction = logits.argmax(1)

]==]
