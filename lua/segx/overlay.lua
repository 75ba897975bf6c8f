--[[
overlay.lua: loss:overlay(d, {what = "loss", images = 8, out = "hardest"}): what happens on the hardest
images, as PNG files. Each shows the picture (where the dump has it), the labels, and on a grey picture

    loss    the loss of every pixel (pixel losses)
    grad    the size of the gradient (L1 over channels), in multiples of the dump's mean pixel
    error   where the prediction is wrong: the colour of the class that was predicted

One colour scale for all files, from 0 to what 99.5 % of the shown pixels stay below. Ignored pixels are
white in the labels and have no colour on the grey picture. Of a volume the slice with the largest sum is
shown.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local figure = require "segx.figure"
local files = require "segx.files"
local format = require "segx.format"
local images = require "segx.images"
local palette = require "segx.palette"
local tensor = require "segx.tensor"
errors.own()

local overlay = {}

local INK, FAINT, PAPER, FRAME = palette.ink, palette.faint, "#ffffff", "#bbbbbb"
local MARGIN, LINE = 12, 17
local NAN = 0 / 0

-- -- What is shown --------------------------------------------------------------------------------

local function valid_only(d, t) return core.where(d.valid, t, NAN) end

local function prediction(d) return core.fields(d).logits:argmax("class") end

-- Lazy tensor {image, pixel}, and what it is called.
local makers = {
  loss = function(loss, d)
    for _, p in ipairs(loss:trace(d).parts) do
      if not p.pixels then
        errors.misuse(("overlay: %s is no sum over pixels"):format(p.label),
          'what = "grad" shows where its gradient goes')
      end
    end
    return loss:pixels(d), "loss"
  end,
  grad = function(loss, d, opts)
    local size = core.grad(loss:tensor(d), d.logits):abs():sum("class")
    local sums = core.eval(d, {core.nsum(core.psum(size)), core.nsum(core.psum(d.valid))}, opts)
    local mean = sums[1]:item() / sums[2]:item()
    return mean > 0 and size * (1 / mean) or size, "gradient size, 1 = mean pixel of the dump"
  end,
  error = function(_, d)
    local said = prediction(d)
    return core.where(said:ne(d.labels), said, -1), "wrong pixels, predicted class"
  end,
}
local whats = {"error", "grad", "loss"}

local function check(loss, d, opts)
  if not tensor.is_dump(d) then
    errors.misuse("overlay: expected a dump (segx.open)", 'loss:overlay(d, {out = "hardest"})')
  end
  errors.check_keys("overlay", "option", opts,
    {"what", "images", "out", "size", "metric", "precision", "threads", "mem",
    "device", "mode"})
  local what = opts.what or "loss"
  if not makers[what] then errors.unknown("overlay", "what", what, whats) end
  if type(opts.out) ~= "string" or opts.out == "" then
    errors.misuse("overlay: out is the folder that the files go to", 'out = "hardest"')
  end
  if #loss:tensor(d):sweep_axes() > 0 then
    errors.misuse("overlay: the loss has sweep axes", "one configuration: row.loss")
  end
  local size = opts.size or 640
  if math.type(size) ~= "integer" or size < 16 or size > 4096 then
    errors.misuse("overlay: size is a number of pixels, 16 to 4096: the longer side of a picture")
  end
  if #d:info().dims < 2 then errors.misuse "overlay: the images of this dump have one axis only" end
  return what, size
end

-- The images to show, hardest first: rows of loss:images.
local function choose(loss, d, opts)
  local all = images.images(loss, d, {metric = opts.metric, precision = opts.precision,
    threads = opts.threads, mem = opts.mem, device = opts.device, mode = opts.mode})
  local wanted = opts.images or 8
  if math.type(wanted) == "integer" and wanted >= 1 then
    return table.move(all, 1, math.min(wanted, #all), 1, {}), all
  end
  if type(wanted) ~= "table" then
    errors.misuse("overlay: images is how many, or a list of their numbers", "images = {1, 5}")
  end
  local place, list = {}, {}
  for k, row in ipairs(all) do place[row.image] = k end
  for _, i in ipairs(wanted) do
    if not place[i] then
      errors.misuse(("overlay: there is no image %s; they are 1 to %d"):format(tostring(i), #all))
    end
    list[#list + 1] = all[place[i]]
  end
  return list, all
end

-- Dense maps and labels of the chosen images, a few images per walk over the dump.
local function read(d, t, rows, opts)
  local labels, at = valid_only(d, d.labels), 1
  local map = valid_only(d, t)
  local per_walk = math.max(1, (1 << 23) // d:info().max_px)
  while at <= #rows do
    local list, last = {}, math.min(#rows, at + per_walk - 1)
    for k = at, last do
      list[#list + 1] = core.image(map, rows[k].image)
      list[#list + 1] = core.image(labels, rows[k].image)
    end
    local e = core.eval(d, list, opts)
    for k = at, last do rows[k].map, rows[k].labels = e[2 * (k - at) + 1], e[2 * (k - at) + 2] end
    at = last + 1
  end
end

-- -- Scale and slice ------------------------------------------------------------------------------

local function each(row, visit)
  for _, v in ipairs(tensor.flat(row.map)) do
    if v == v then visit(v) end
  end
end

-- What 99.5 % of the pixels stay below, two digits, rounded up.
local function top_of_scale(rows)
  local list, total = {}, 0
  for _, row in ipairs(rows) do each(row, function() total = total + 1 end) end
  local step, at = math.max(1, total // 200000), 0
  for _, row in ipairs(rows) do
    each(row, function(v)
      at = at + 1
      if at % step == 0 and figure.finite(v) then list[#list + 1] = v end
    end)
  end
  table.sort(list)
  local v = list[math.max(1, math.ceil(0.995 * #list))] or 1.0
  if not (v > 0) then v = list[#list] and list[#list] > 0 and list[#list] or 1.0 end
  local unit = 10.0 ^ (math.floor(math.log(v, 10)) - 1)
  return tonumber(("%.6g"):format(math.ceil(v / unit - 1e-9) * unit))
end

-- h, w, offset of the slice with the largest sum, its number and how many there are.
local function slice_of(d, row, what)
  local dims = d:dims(row.image)
  if #dims == 2 then return dims[1], dims[2], 0 end
  local area, sums = dims[2] * dims[3], {}
  for k, v in ipairs(tensor.flat(row.map)) do
    local z = (k - 1) // area + 1
    local adds = v == v and (what ~= "error" and v or v >= 0 and 1) or 0
    sums[z] = (sums[z] or 0) + adds
  end
  local best = 1
  for z = 2, dims[1] do
    if sums[z] > sums[best] then best = z end
  end
  return dims[2], dims[3], (best - 1) * area, best, dims[1]
end

-- -- Drawing --------------------------------------------------------------------------------------

local function cut(text, width)
  if core.text_width(text) <= width then return text end
  local most = math.max(1, width // core.text_width "m" - 3)
  return text:sub(1, (utf8.offset(text, most + 1) or most + 1) - 1) .. "..."
end

-- Entries {colour, text} of a legend in rows that fit the width.
local function legend_rows(entries, width)
  local rows, x = {}, math.huge
  for _, e in ipairs(entries) do
    local wide = 16 + core.text_width(e[2]) + 14
    if x + wide > width then
      rows[#rows + 1], x = {}, 0
    end
    table.insert(rows[#rows], {x, e[1], e[2]})
    x = x + wide
  end
  return rows
end

-- Classes that occur among the shown pixels, in their order, and whether some are ignored.
local function present(lists, area, first, names, colours)
  local seen, entries, ignored = {}, {}, false
  for _, t in ipairs(lists) do
    local flat = tensor.flat(t)
    for k = first + 1, first + area do
      local v = flat[k]
      if v ~= v then ignored = true elseif v >= 0 then seen[math.tointeger(v)] = true end
    end
  end
  for c, name in ipairs(names) do
    if seen[c - 1] then entries[#entries + 1] = {colours[c], name} end
  end
  if ignored then entries[#entries + 1] = {PAPER, "ignored"} end
  return entries
end

local heat_colours

local function heat_map()
  if not heat_colours then
    heat_colours = {}
    for k = 0, 255 do heat_colours[k + 1] = palette.map("inferno", k / 255) end
  end
  return heat_colours
end

local function draw_bar(c, x, y, width, hi)
  local map = heat_map()
  for k = 0, width - 1 do c:fill(x + k, y, 1, 10, map[1 + 255 * k // math.max(1, width - 1)]) end
  local axis = figure.axis({lo = 0.0, hi = hi, most = 4}, {})
  for _, t in ipairs(axis.ticks) do
    local at = x + math.floor(figure.fraction(axis, t[1]) * (width - 1) + 0.5)
    c:fill(at, y + 10, 1, 3, INK)
    local wide = core.text_width(t[2])
    c:text(math.max(x, math.min(at - wide // 2, x + width - wide)), y + 14, t[2], INK)
  end
end

-- legend: rows of {x, colour, text}
local function draw_legend(c, x, y, legend)
  for k, line in ipairs(legend) do
    local top = y + (k - 1) * LINE
    for _, e in ipairs(line) do
      c:fill(x + e[1], top + 1, 12, 12, FRAME)
      c:fill(x + e[1] + 1, top + 2, 10, 10, e[2])
      c:text(x + e[1] + 16, top, e[3], INK)
    end
  end
end

-- Where everything goes: panels side by side, captions above, colour bar and legend below.
local function layout(h, w, size, panels)
  local long = math.max(h, w)
  local down = math.max(1, (long + size - 1) // size)
  local up = down == 1 and math.max(1, math.min(4, size // long)) or 1
  local pw, ph = (w + down - 1) // down * up, (h + down - 1) // down * up
  local column = math.max(pw, 240)
  return {up = up, down = down, pw = pw, ph = ph, column = column,
    width = 2 * MARGIN + panels * column + (panels - 1) * MARGIN}
end

-- One panel: the picture, the labels, or what was asked for on a grey picture.
local function draw_panel(c, kind, p, row, picture, s)
  if kind == "picture" then
    c:picture(p, picture)
  elseif kind == "labels" then
    c:labels(p, row.labels, s.colours)
  else
    if picture then
      c:picture(p, picture, 1, s.what == "error" and 0.55 or 0.25)
    else
      c:labels(p, row.labels, s.greys)
    end
    if s.what == "error" then
      c:labels(p, row.map, s.colours)
    else
      c:heat(p, row.map, {lo = 0, hi = s.hi, low = 0.35, high = 1, map = heat_map()})
    end
  end
end

-- One file's canvas. s: {what, size, called, title, metric, hi, names, colours, greys}.
local function draw(d, row, s)
  local h, w, first, z, depth = slice_of(d, row, s.what)
  local picture = core.picture(d, row.image)
  local panels = picture and {"picture", "labels", s.called} or {"labels", s.called}
  local l = layout(h, w, s.size, #panels)
  local beside = (#panels - 1) * (l.column + MARGIN)      -- what the legend has left of the colour bar
  local legend = legend_rows(present(s.what == "error" and {row.labels, row.map} or {row.labels}, h * w,
    first, s.names, s.colours), s.what == "error" and l.width - 2 * MARGIN or beside)
  local top = MARGIN + 3 * LINE + 6
  local below = top + l.ph + 10
  local c = core.canvas(l.width,
    below + math.max(#legend * LINE, s.what ~= "error" and 14 + LINE or 0) + MARGIN // 2, PAPER)
  local name = row.name and ("%s   image %d"):format(row.name, row.image) or ("image %d"):format(row.image)
  c:text(MARGIN, MARGIN, cut(("%s of %d%s"):format(name, #d,
    z and ("   slice %d of %d"):format(z, depth) or ""), l.width - 2 * MARGIN), INK)
  c:text(MARGIN, MARGIN + LINE, cut(("loss %s   %s %s   %s"):format(format.number(row.loss), s.metric,
    format.number(row.metric), s.title), l.width - 2 * MARGIN), FAINT)
  local x = MARGIN
  for k, kind in ipairs(panels) do
    x = MARGIN + (k - 1) * (l.column + MARGIN)
    c:text(x, top - LINE + 1, cut(kind, l.column), FAINT)
    c:fill(x - 1, top - 1, l.pw + 2, l.ph + 2, FRAME)
    c:fill(x, top, l.pw, l.ph, PAPER)
    draw_panel(c, kind, {x = x, y = top, w = w, h = h, up = l.up, down = l.down, first = first}, row,
      picture, s)
  end
  if s.what ~= "error" then draw_bar(c, x, below, l.pw, s.hi) end
  draw_legend(c, MARGIN, below, legend)
  return c
end

-- -- Entry ----------------------------------------------------------------------------------------

local Overlay = {__name = "segx.Overlay"}

Overlay.__tostring = function(r)
  local rows = {}
  for k, row in ipairs(r) do rows[k] = {row.image, row.name or "", row.loss, row.metric, row.file} end
  return format.table({"image", "name", "loss", r.metric, "file"}, rows)
end

local function file_name(k, row)
  local name = (row.name or ("image%d"):format(row.image)):gsub("%.%w+$", ""):gsub("[^%w._-]+", "_")
  return ("%02d_%s.png"):format(k, name:sub(1, 60))
end

--- loss:overlay(d, opts): PNG files of the images that are hardest for the loss. opts: out = folder
--- (made where it is not there), what = "loss" (default) | "grad" | "error", images = how many (8) or a
--- list of image numbers, size = longer side of a picture in pixels at most (640; larger images are
--- reduced: pictures to means, heat to its maxima), metric (for the captions, "iou"), precision, threads,
--- mem. Returns a list of {image, name, loss, metric, file}, which prints.
function overlay.overlay(loss, d, opts)
  if type(opts) ~= "table" then errors.misuse("overlay: expected options", '{out = "hardest"}') end
  local what, size = check(loss, d, opts)
  local run = {precision = opts.precision, threads = opts.threads, mem = opts.mem,
    device = opts.device, mode = opts.mode}
  local t, called = makers[what](loss, d, run)
  local rows, all = choose(loss, d, opts)
  local shown = {metric = all.metric}
  for k, row in ipairs(rows) do
    shown[k] = {image = row.image, name = row.name, loss = row.loss, metric = row.metric}
  end
  read(d, t, shown, run)
  local names = d:info().class_names
  local s = {what = what, size = size, called = called, title = tostring(loss), metric = all.metric,
    names = names, colours = palette.classes(#names), greys = {}}
  for c = 1, #names do
    local grey = math.floor(90 + 130 * (c - 1) / math.max(1, #names - 1))
    s.greys[c] = ("#%02x%02x%02x"):format(grey, grey, grey)
  end
  if what ~= "error" then s.hi = top_of_scale(shown) end
  if not os.execute("mkdir -p -- " .. files.quote(opts.out) .. " 2>/dev/null") then
    errors.raise("file", opts.out .. ": the folder cannot be made")
  end
  for k, row in ipairs(shown) do
    local path = opts.out .. "/" .. file_name(k, row)
    files.write(path, draw(d, row, s):png())
    row.map, row.labels, row.file = nil, nil, path
  end
  return setmetatable(shown, Overlay)
end

return overlay
