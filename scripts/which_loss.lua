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
name                                fit.miou              fit.miou-control                               fit.gain                                  fit.rank
L.lovasz_softmax{}                  0.739 [0.698, 0.775]  0.0126 [0.00334, 0.0231]                       0.0262 [0.0113, 0.042]                    1 [1, 3]
L.dice{}                            0.738 [0.699, 0.773]  0.0117 [0.00378, 0.0204]                       0.0252 [0.0115, 0.0387]                   2 [1, 3]
L.dice{} + L.cross_entropy{}        0.736 [0.699, 0.77]   0.00942 [0.00359, 0.0148]                      0.023 [0.00972, 0.0357]                   3 [1, 5]
L.tversky{alpha = 0.3, beta = 0.7}  0.734 [0.693, 0.771]  0.00709 [-0.00559, 0.0219] not separable       0.0206 [0.0016, 0.0411]                   4 [2, 8]
L.generalized_dice{}                0.73 [0.69, 0.765]    0.00343 [-0.00437, 0.013] not separable        0.017 [0.00514, 0.0288]                   5 [4, 7]
L.topk_ce{k = 0.3}                  0.726 [0.692, 0.758]  -0.000295 [-0.000824, 0.000285] not separable  0.0132 [0.00332, 0.0242]                  6 [4, 7]
L.focal{}                           0.724 [0.689, 0.754]  -0.00295 [-0.00572, -0.000278]                 0.0106 [0.0015, 0.0204]                   7 [5, 8]
L.focal{gamma = 5}                  0.72 [0.685, 0.75]    -0.00694 [-0.0113, -0.00283]                   0.00659 [-0.00285, 0.0161] not separable  8 [7, 9]
ce, inverse_sqrt                    0.716 [0.673, 0.757]  -0.011 [-0.0285, 0.0117] not separable         0.00257 [-0.0217, 0.0321] not separable   9 [5, 9]
ce, balanced                        0.654 [0.612, 0.699]  -0.0724 [-0.0919, -0.0467]                     -0.0588 [-0.0846, -0.0264]                10 [10, 10]

L.lovasz_softmax{}, fitted on 32 pictures: logits' = t * logits + b
               mIoU, held out  gain                      t      sky    building  vegetation  road   sidewalk  car    person  pole   sign
as it is       0.7130                                    1.000  +0.00  +0.00     +0.00       +0.00  +0.00     +0.00  +0.00   +0.00  +0.00
this loss      0.7391          +0.0262 [+0.011, +0.042]  6.753  -3.37  -5.91     -0.68       -3.24  +2.87     +0.68  +3.84   +2.46  +3.35
control        0.7265          +0.0135 [+0.004, +0.024]  1.285  -0.37  -1.11     +0.62       -0.31  +0.81     +0.31  +0.21   +0.14  -0.31
tuned for IoU  0.7392          +0.0262 [+0.012, +0.040]  1.000  -0.74  -0.99     -0.29       -0.52  +0.38     -0.22  -0.01   +0.02  +0.00

{t = 6.75283, b = {sky = -3.36776, building = -5.9146, vegetation = -0.679698, road = -3.23574, sidewalk = 2.8655, car = 0.682059, person = 3.84307, pole = 2.45805, sign = 3.34913}}
{"t": 6.75283, "b": {"sky": -3.36776, "building": -5.9146, "vegetation": -0.679698, "road": -3.23574, "sidewalk": 2.8655, "car": 0.682059, "person": 3.84307, "pole": 2.45805, "sign": 3.34913}}

b = torch.tensor([-3.36776, -5.9146, -0.679698, -3.23574, 2.8655, 0.682059, 3.84307, 2.45805, 3.34913], device=logits.device)  # sky, building, vegetation, road, sidewalk, car, person, pole, sign
logits = 6.75283 * logits + b.view(1, -1, *[1] * (logits.dim() - 2))
prediction = logits.argmax(1)

]==]
