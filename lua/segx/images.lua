--[[
images.lua: loss:images(d): which images are hard for a loss, and are they the ones with bad metrics?

    local r = loss:images(d, {metric = "iou"})
    print(r)                     the hardest images, and how well the loss orders them (Kendall's tau)
    r[1].image  r[1].name  r[1].loss  r[1].metric      the hardest
    r:plot():save("scatter.svg")                       loss against metric, a point per image
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
local metrics = require "segx.metrics"
local stat = require "segx.stat"
local tensor = require "segx.tensor"
errors.own()

local images = {}

local Images = {__name = "segx.Images"}
Images.__index = Images

-- Value of every image of a loss at unit = "image".
local function losses_of(loss, d, opts)
  local t = loss:trace(d, "image").images
  if #t:sweep_axes() > 0 then
    errors.misuse("images: the loss has sweep axes", "one configuration: row.loss")
  end
  return tensor.flat(core.eval(d, {t}, {precision = opts.precision, threads = opts.threads,
    mem = opts.mem, device = opts.device, mode = opts.mode})[1])
end

--- loss:images(d, {metric = "iou"}): list of {image (1-based), name (or nil), loss (unit = "image"),
--- metric}, hardest first. metric: "iou" (default), "dice", "accuracy", or of one class "iou.pole".
--- Further fields: tau, lo, hi: Kendall's tau between minus the loss and the metric with its 95 %
--- interval over images. opts: precision, threads, mem.
function images.images(loss, d, opts)
  if not tensor.is_dump(d) then
    errors.misuse("images: expected a dump (segx.open)", "loss:images(d)")
  end
  opts = opts or {}
  errors.check_keys("images", "option", opts, {"metric", "precision", "threads", "mem",
    "device", "mode"})
  local name = opts.metric or "iou"
  local metric = metrics.of_images(d, name, "images")
  local r, minus = {}, {}
  for i, v in ipairs(losses_of(loss, d, opts)) do
    r[i], minus[i] = {image = i, name = d:image_name(i), loss = v, metric = metric[i]}, -v
  end
  local tau, lo, hi = stat.interval {kind = "kendall", x = minus, y = metric}
  table.sort(r, function(a, b)
    if a.loss ~= b.loss and (a.loss == a.loss or b.loss == b.loss) then
      return b.loss ~= b.loss or a.loss > b.loss
    end
    return a.image < b.image
  end)
  r.metric, r.of, r.tau, r.lo, r.hi = name, loss, tau, lo, hi
  return setmetatable(r, Images)
end

local function tau_text(r)
  return ("tau(%s) %.3g [%.3g, %.3g] over %d images"):format(r.metric, r.tau, r.lo, r.hi, #r)
end

Images.__tostring = function(r)
  local rows, most = {}, math.min(#r, 10)
  for i = 1, most do rows[i] = {r[i].image, r[i].name or "", r[i].loss, r[i].metric} end
  local text = format.table({"image", "name", "loss", r.metric}, rows)
  if #r > most then text = ("%s\n... %d images in all"):format(text, #r) end
  return ("%s\n%s\n%s"):format(tostring(r.of), tau_text(r), text)
end

--- A figure: loss against metric, a point per image; the three hardest are named.
function Images:plot()
  local x, y, labels, numbers = {}, {}, {}, {names = {"image", "name", "loss", self.metric}}
  for i, row in ipairs(self) do
    x[i], y[i] = row.loss, row.metric
    numbers[i] = {row.image, row.name or "", row.loss, row.metric}
    if i <= 3 then labels[i] = row.name or tostring(row.image) end
  end
  return require("segx.plot").scatter {kind = "images", title = "Does a higher loss mean a worse image?",
    note = {tostring(self.of), tau_text(self) .. "; 1: the loss orders the images as the metric does"},
    x = x, y = y, labels = labels, xlabel = "loss of the image", ylabel = self.metric .. " of the image",
    numbers = numbers}
end

return images
