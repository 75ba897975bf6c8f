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
local tensor = require "segx.tensor"
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

-- Metrics from counts by class: right ones, label pixels, predicted pixels.
local function of_counts(tp, row, column)
  local m = {iou = {}, dice = {}, precision = {}, recall = {}}
  local right, total = 0.0, 0.0
  for c = 1, #tp do
    right, total = right + tp[c], total + row[c]
    m.iou[c] = tp[c] / (row[c] + column[c] - tp[c])      -- 0/0 is NaN on purpose
    m.dice[c] = 2 * tp[c] / (row[c] + column[c])
    m.precision[c] = tp[c] / column[c]
    m.recall[c] = tp[c] / row[c]
  end
  m.pixel_accuracy = right / total
  for _, name in ipairs(by_class) do m[mean_name[name]] = nanmean(m[name]) end
  return m
end

--- Metrics of one confusion matrix (list of rows): pixel_accuracy, iou, dice, precision, recall
--- (lists by class), and the means of these over classes.
function metrics.of(K)
  local tp, row, column = {}, {}, {}
  for c = 1, #K do tp[c], row[c], column[c] = K[c][c], 0.0, 0.0 end
  for k, r in ipairs(K) do
    for c, n in ipairs(r) do row[k], column[c] = row[k] + n, column[c] + n end
  end
  return of_counts(tp, row, column)
end

-- -- Many images ----------------------------------------------------------------------------------

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
  dataset = function(K) return metrics.of(K) end,
  image_class = function(K, images) return over_images(images, #K, false) end,
  class_image = function(K, images) return over_images(images, #K, true) end,
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

local kept = setmetatable({}, {__mode = "k"})   -- by dump: {total = rows, images = list, see below}

--- Confusion matrix of every image as one lazy tensor {image, label, class}.
function metrics.tensor(d)
  return core.bysum(core.fields(d).logits:argmax("class"):onehot())
end

--- What the metrics of a dump are made of, as lazy tensors: the matrix of all images {label, class};
--- per image the right pixels {image, class}, those of each label {image, label} and those of each
--- prediction {image, class}. All from one sum per image.
function metrics.tensors(d)
  local C, eye = d:info().classes, {}
  for k = 1, C do
    eye[k] = {}
    for c = 1, C do eye[k][c] = k == c and 1.0 or 0.0 end
  end
  local K = metrics.tensor(d)
  return {core.nsum(K), (K * core.dense(eye)):sum("label"), K:sum("class"), K:sum("label")}
end

--- Are the metrics of the dump there already?
function metrics.known(d) return kept[d] ~= nil end

--- Takes the values of metrics.tensors, flat lists; they are kept for the life of the dump.
function metrics.remember(d, values)
  local C, total, images = d:info().classes, {}, {}
  for k = 1, C do total[k] = table.move(values[1], (k - 1) * C + 1, k * C, 1, {}) end
  for i = 1, #d do
    local counts = {}
    for k = 2, 4 do counts[k] = table.move(values[k], (i - 1) * C + 1, i * C, 1, {}) end
    images[i] = of_counts(counts[2], counts[3], counts[4])
  end
  kept[d] = {total = total, images = images}
end

local function counts_of(d)
  if not kept[d] then
    local values = core.eval(d, metrics.tensors(d), {})
    for i, t in ipairs(values) do values[i] = tensor.flat(t) end
    metrics.remember(d, values)
  end
  return kept[d]
end

--- Metrics of each image: list of what metrics.of gives.
function metrics.images(d) return counts_of(d).images end

-- Names by which one number of an image is known.
local of_image = {iou = "miou", miou = "miou", dice = "mdice", accuracy = "pixel_accuracy"}

--- Position of the class in "iou.pole", nil for "iou"; raises where no image has a metric of this name.
function metrics.check_image_metric(where, name, class_names)
  if of_image[name] then return nil end
  local prefix, class = name:match "^(%w+)%.(.+)$"
  local known = false
  for _, m in ipairs(by_class) do known = known or m == prefix end
  if not known then errors.unknown(where, "metric", name, {"accuracy", "dice", "iou"}) end
  return errors.position(where, "class", class, class_names)
end

--- One number per image: "iou" and "dice" (means over the image's classes), "accuracy", or of one class
--- "iou.pole" (dice, precision, recall); NaN where it is not defined.
function metrics.of_images(d, name, where)
  local c = metrics.check_image_metric(where or "metrics", name, d:info().class_names)
  local list, key = {}, of_image[name] or name:match "^(%w+)"
  for i, m in ipairs(metrics.images(d)) do
    if c then list[i] = m[key][c] else list[i] = m[key] end
  end
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
  local counts, names = counts_of(d), d:info().class_names
  local m = aggregations[how](counts.total, counts.images)
  name_classes(m, names)
  m.aggregation, m.class_names, m.confusion = how, names, {}
  for k, row in ipairs(counts.total) do m.confusion[k] = table.move(row, 1, #row, 1, {}) end
  return setmetatable(m, Metrics)
end

core.Dump.metrics = metrics.metrics

return metrics
