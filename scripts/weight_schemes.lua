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

--[==[ Output with the sample dump (./try makes it):
weight      none  inverse_sqrt       log  median_frequency   balanced  effective_number
sky            1       0.27933  0.196822         0.0511652  0.0452205         0.0732596
building       1      0.429565  0.398728          0.121003   0.106944          0.130772
vegetation     1      0.374329  0.318683         0.0918857  0.0812097          0.106328
road           1      0.279746  0.197303          0.051318  0.0453554         0.0733781
sidewalk       1      0.668173  0.780057          0.292765   0.258749          0.277427
car            1      0.682757  0.803742          0.257815   0.270167          0.288509
person         1       1.76065    1.9944           1.58574    1.79659           1.77395
pole           1       1.63199   1.91068           1.74653     1.5436           1.52766
sign           1       2.89346   2.39959           4.80178    4.85216           4.74872

part of the cross entropy that the pixels of each class make
class       none    inverse_sqrt  log     median_frequency  balanced  effective_number
sky         11.7 %  5.3 %         3.7 %   1.6 %             1.5 %     2.3 %
building    9.7 %   6.8 %         6.2 %   3.1 %             2.8 %     3.3 %
vegetation  32.2 %  19.6 %        16.4 %  7.8 %             7.2 %     9.0 %
road        9.4 %   4.3 %         3.0 %   1.3 %             1.2 %     1.8 %
sidewalk    16.7 %  18.2 %        20.9 %  12.9 %            11.9 %    12.2 %
car         7.7 %   8.5 %         9.8 %   5.2 %             5.7 %     5.8 %
person      3.9 %   11.0 %        12.3 %  16.0 %            19.0 %    17.9 %
pole        7.1 %   18.8 %        21.6 %  32.4 %            30.0 %    28.3 %
sign        1.6 %   7.4 %         6.0 %   19.8 %            20.9 %    19.5 %
]==]
