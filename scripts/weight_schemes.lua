--[[
Which class-weight scheme gives which class how much of the loss?

    segx scripts/weight_schemes.lua val.h5

All schemes are one free axis of a single sweep: whole vectors instead of numbers.
]]
local d <close> = segx.open(arg[1])
local L, A, W, format = segx.loss, segx.axis, segx.weights, segx.format

local mean_1 = {normalise = "mean_1"}
local schemes = {
  W.of(d, {default = 1}), W.inverse_sqrt(d, mean_1), W.log(d, mean_1),
  W.median_frequency(d, mean_1), W.balanced(d, mean_1),
  W.effective_number(d, {beta = 1 - 1e-5}),
}
local names = {"none", "inverse_sqrt", "log", "median_frequency", "balanced", "effective_number"}

-- The vectors, side by side.
local rows = {}
for c, class in ipairs(d:info().class_names) do
  rows[c] = {class}
  for k, w in ipairs(schemes) do rows[c][k + 1] = w:totable()[c] end
end
print(format.table({"weight", table.unpack(names)}, rows))

local scheme = A.vectors("scheme", schemes, names)
local r = segx.sweep {dump = d, loss = L.ce {weight = scheme}, want = {"value", "share"}}:run()

-- Shares of the loss, one column per scheme.
rows = {}
for c, class in ipairs(d:info().class_names) do
  rows[c] = {class}
  for k, share in ipairs(r:column("share." .. class)) do
    rows[c][k + 1] = ("%.1f %%"):format(100 * share)
  end
end
print("\npart of the cross entropy that the pixels of each class make")
print(format.table({"class", table.unpack(names)}, rows))
