--[[
metrics.lua: what the arg-max of the dump is worth. One pass gives a confusion matrix per image
(rows: label, columns: prediction, valid pixels only; ties go to the lowest class); everything else
is arithmetic on it.

    local m = d:metrics{}                       m.miou  m.iou.pole  m.pixel_accuracy  print(m)
    d:metrics{aggregation = "image_class"}

aggregation (averages of ratios are not ratios of sums, so it is always named):
    dataset       one matrix for the dump: Pascal, Cityscapes, mmseg            (default)
    image_class   each class averaged over images, then over classes
    class_image   each image averaged over its classes, then over images; MONAI's "mean"
    image         as class_image
By class, all but dataset are means over the images in which the value is defined.

Undefined values are NaN and left out of means: IoU and Dice of a class that neither occurs nor is
predicted (predicted but absent: 0), recall of an absent class, precision of one never predicted.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
local stat = require "segx.stat"
errors.own()

local metrics = {}
local nanmean = stat.nanmean

-- -- One matrix -----------------------------------------------------------------------------------

local by_class = {"iou", "dice", "precision", "recall"}

-- Mean by class -> its name.
local mean_name = {iou = "miou", dice = "mdice", precision = "mean_precision",
  recall = "mean_accuracy"}

--- Names of the values that are one number, and of those by class.
metrics.scalars = {"pixel_accuracy", "mean_accuracy", "miou", "mdice", "mean_precision"}
metrics.by_class = by_class

local function sums(K)
  local row, column, total = {}, {}, 0.0
  for k = 1, #K do row[k], column[k] = 0.0, 0.0 end
  for k, r in ipairs(K) do
    for c, n in ipairs(r) do
      row[k], column[c], total = row[k] + n, column[c] + n, total + n
    end
  end
  return row, column, total
end

--- Metrics of one confusion matrix (list of rows): pixel_accuracy, iou, dice, precision, recall
--- (lists by class), and the means of these over classes.
function metrics.of(K)
  local row, column, total = sums(K)
  local m = {iou = {}, dice = {}, precision = {}, recall = {}}
  local right = 0.0
  for c = 1, #K do
    local tp = K[c][c]
    right = right + tp
    m.iou[c] = tp / (row[c] + column[c] - tp)      -- 0/0 is NaN on purpose
    m.dice[c] = 2 * tp / (row[c] + column[c])
    m.precision[c] = tp / column[c]
    m.recall[c] = tp / row[c]
  end
  m.pixel_accuracy = right / total
  for _, name in ipairs(by_class) do m[mean_name[name]] = nanmean(m[name]) end
  return m
end

-- -- Many images ----------------------------------------------------------------------------------

local function total_matrix(matrices)
  local K = {}
  for k = 1, #matrices[1] do
    K[k] = {}
    for c = 1, #matrices[1] do
      local sum = 0.0
      for i = 1, #matrices do sum = sum + matrices[i][k][c] end
      K[k][c] = sum
    end
  end
  return K
end

local function mean_over(list, get)
  local values = {}
  for i, m in ipairs(list) do values[i] = get(m) end
  return nanmean(values)
end

local function over_images(images, classes, class_first)
  local m = {pixel_accuracy = mean_over(images, function(x) return x.pixel_accuracy end)}
  for _, name in ipairs(by_class) do
    m[name] = {}
    for c = 1, classes do m[name][c] = mean_over(images, function(x) return x[name][c] end) end
    local mean = mean_name[name]
    m[mean] = class_first and mean_over(images, function(x) return x[mean] end) or nanmean(m[name])
  end
  return m
end

local aggregations = {
  dataset = function(matrices) return metrics.of(total_matrix(matrices)) end,
  image_class = function(matrices, images) return over_images(images, #matrices[1], false) end,
  class_image = function(matrices, images) return over_images(images, #matrices[1], true) end,
}
aggregations.image = aggregations.class_image

-- -- The object -----------------------------------------------------------------------------------

local Metrics = {__name = "segx.Metrics"}
Metrics.__index = Metrics

--- A value by column name: "miou", "accuracy" (= pixel_accuracy), "iou.pole"; nil when there is
--- none.
function Metrics:get(column)
  if column == "accuracy" then return self.pixel_accuracy end
  local name, class = column:match "^(%w+)%.(.+)$"
  if name then return type(self[name]) == "table" and rawget(self[name], class) or nil end
  local v = rawget(self, column)
  return type(v) == "number" and v or nil
end

Metrics.__tostring = function(m)
  local rows = {}
  for c, name in ipairs(m.class_names) do
    rows[c] = {name, m.iou[c - 1], m.dice[c - 1], m.precision[c - 1], m.recall[c - 1]}
  end
  rows[#rows + 1] = {"mean", m.miou, m.mdice, m.mean_precision, m.mean_accuracy}
  return ("%s\npixel accuracy %s   aggregation %s"):format(
    format.table({"class", "iou", "dice", "precision", "recall"}, rows),
    format.number(m.pixel_accuracy), m.aggregation)
end

-- Lists by class -> tables by class name and 0-based id.
local function name_classes(m, names)
  for _, key in ipairs(by_class) do
    local by = {}
    for c, v in ipairs(m[key]) do by[names[c]], by[c - 1] = v, v end
    m[key] = by
  end
  return m
end

-- -- From a dump ----------------------------------------------------------------------------------

local kept = setmetatable({}, {__mode = "k"})

--- Confusion matrix of every image: list by image of {rows}, lazily as one tensor {image, label,
--- class}.
function metrics.tensor(d)
  return core.bysum(core.fields(d).logits:argmax("class"):onehot())
end

-- The matrices of all images as nested lists; one pass, kept for the life of the dump.
local function matrices_of(d)
  if not kept[d] then kept[d] = core.eval(d, {metrics.tensor(d)}, {})[1]:totable() end
  return kept[d]
end

--- Metrics of each image: list of what metrics.of gives.
function metrics.images(d)
  local list = {}
  for i, K in ipairs(matrices_of(d)) do list[i] = metrics.of(K) end
  return list
end

--- d:metrics{aggregation = "dataset"}: see the head of this file. iou, dice, precision, recall are
--- tables by class name or 0-based id; confusion is the matrix of the whole dump, a list of rows.
function metrics.metrics(d, opts)
  opts = opts or {}
  errors.check_keys("metrics", "option", opts, {"aggregation"})
  local how = opts.aggregation or "dataset"
  if not aggregations[how] then
    errors.unknown("metrics", "aggregation", how,
      {"dataset", "image", "image_class", "class_image"})
  end
  local matrices, names = matrices_of(d), d:info().class_names
  local m = aggregations[how](matrices, how ~= "dataset" and metrics.images(d) or nil)
  name_classes(m, names)
  m.aggregation, m.class_names, m.confusion = how, names, total_matrix(matrices)
  return setmetatable(m, Metrics)
end

core.Dump.metrics = metrics.metrics

return metrics
