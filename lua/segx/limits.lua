--[[
limits.lua: what offline numbers cannot say, in one place: the end of every report, `segx doc limits`.
]]
local limits = {}

--- Of every result.
limits.all = {
  "An interval is about other images, not about other networks. All numbers are of one network's outputs; training again with "
    .. "another seed moves them too, often further.",
  "The best of many rows looks better than it is: it was picked by its luck too. Choose on one half of the images and report on "
    .. "the other, or look at the difference to the control, and remember that one comparison in twenty is \"separable\" by chance.",
  "A loss that orders images as IoU does need not train a better network: in trials with eight losses and two data sets tau(iou) "
    .. "agreed with the ranking after training only moderately (Kendall 0.36 and 0.50). A direction, not a proof.",
  "Features, speed of optimisation, augmentation and classes that the network never predicts leave no trace in a dump. A dump of "
    .. "training images shows a network that knows the answers.",
}

--- Of offline fits.
limits.fits = {
  "Offline fits ranked the eight losses of two data sets as training did with a Kendall of 0.71 and 0.43; one more real training "
    .. "run had 0.79 to 0.86 and 0.21 to 0.71. With eight losses such a number is uncertain by about 0.4.",
  "Absolute fitted values mean little. Compare with the control, which was fitted on the same folds.",
}

return limits
