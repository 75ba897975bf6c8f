--[[
What do gamma and class weights of the focal loss do to the attention that rare classes get?

    segx scripts/gamma_alpha.lua val.h5

gamma runs inside the pass; the strength s of the weights (balanced ^ s: 0 none, 1 full) is free.
The table shows the part of the loss that the three rarest classes make, next to their part of the
pixels.
]]
local d <close> = segx.open(arg[1])
local L, A, W, format = segx.loss, segx.axis, segx.weights, segx.format

-- The three rarest classes that occur.
local counts = W.counts(d)
local order, total = {}, 0
for c, n in ipairs(counts.counts) do
  total = total + n
  if n > 0 then order[#order + 1] = c end
end
table.sort(order, function(a, b) return counts.counts[a] < counts.counts[b] end)
local rare, want = {}, {"value", "tau(iou)"}
for i = 1, math.min(3, #order) do
  rare[i] = counts.class_names[order[i]]
  want[#want + 1] = "share." .. rare[i]
  print(("%-12s %.3f %% of the pixels"):format(rare[i], 100 * counts.counts[order[i]] / total))
end

local gamma = A.grid("gamma", {0, 0.5, 1, 2, 3, 5})
local s = A.grid("s", {0, 0.5, 1})
local sweep = segx.sweep {dump = d, loss = L.focal {gamma = gamma, weight = W.balanced(d) ^ s},
  want = want}
print(sweep:plan())
local r = sweep:run()
print(r)

local best = r:best("tau(iou)")
print(("\ngamma %s, s %s orders the images best (tau %s)"):format(best.gamma, best.s,
  format.number(best["tau(iou)"])))

--[==[ Output with the sample dump (./try makes it):
sign         0.276 % of the pixels
person       0.744 % of the pixels
pole         0.866 % of the pixels
18 configurations = 6 gamma x 3 s, 5 columns
1 pass over 32 images, 4.4 MiB read, 36.0 KiB of memory, under a second
inside the pass: gamma
free (arithmetic on kept sums): s
gamma    s      value  tau(iou)               share.sign  share.person  share.pole
    0    0   0.190043  0.613 [0.397, 0.764]    0.0157163     0.0385553   0.0708176
    0  0.5   0.256321  0.56 [0.318, 0.755]      0.073999      0.110462    0.188068
    0    1   0.576485  0.27 [0.00424, 0.519]    0.208943       0.18979    0.299514
  0.5    0   0.140992  0.641 [0.451, 0.79]     0.0181463     0.0442323   0.0864737
  0.5  0.5   0.202411  0.601 [0.383, 0.788]    0.0802704      0.119059     0.21575
  0.5    1   0.482929  0.319 [0.0522, 0.557]    0.213655      0.192831    0.323898
    1    0   0.115139  0.673 [0.505, 0.808]    0.0195351     0.0475942   0.0974748
    1  0.5   0.171416  0.605 [0.39, 0.788]     0.0833286      0.123535    0.234515
    1    1   0.422653  0.351 [0.0916, 0.583]    0.214618      0.193606    0.340678
    2    0  0.0871453  0.677 [0.513, 0.795]    0.0210154     0.0515011    0.112637
    2  0.5   0.135482  0.633 [0.418, 0.805]    0.0858431      0.128009    0.259507
    2    1   0.346518  0.411 [0.179, 0.619]     0.213142      0.193402    0.363422
    3    0   0.071733  0.702 [0.554, 0.808]    0.0217655     0.0537729    0.122982
    3  0.5   0.114487  0.673 [0.492, 0.82]     0.0866041      0.130194    0.276002
    3    1     0.2989  0.448 [0.214, 0.649]     0.210656        0.1927    0.378658
    5    0  0.0546652  0.698 [0.538, 0.813]    0.0225153      0.056458    0.136617
    5  0.5  0.0900506  0.673 [0.488, 0.825]    0.0867976      0.132438    0.297053
    5    1   0.240645  0.48 [0.247, 0.673]      0.206265      0.191508    0.398153

gamma 3, s 0 orders the images best (tau 0.701613)
]==]
