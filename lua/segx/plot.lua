--[[
plot.lua: figures from lists of numbers. Results, shares, curves and gradients make theirs here
(r:plot, shares:plot ...); a script may, too:

    local plot = segx.plot
    plot.line{x = {0, 1, 2}, y = {0.3, 0.5, 0.4}, xlabel = "gamma", ylabel = "tau(iou)"}
    plot.line{series = {{name = "a", x = ..., y = ..., lo = ..., hi = ...}, ...}}
    plot.scatter{x =, y =, z =}                      z colours the points
    plot.bars{names = {"road", "pole"}, series = {{name = "this", values = {0.2, 0.1}}, ...}}
    plot.rank{names =, values =, lo =, hi =}         one line per name, with intervals
    plot.heatmap{xnames =, ynames =, z = {{row}, ...}}
    plot.parallel{axes = {{label =, values =}, ...}, z =}

Options of all: title, note (a line below it, or several), width and height (pixels); of those with
axes also xlabel, ylabel, xlim = {lo, hi}, ylim, logx, logy, percent (values are parts of 1). Numbers
that are not finite are left out, and the note says how many.
]]
local errors = require "segx.errors"
local figure = require "segx.figure"
local format = require "segx.format"
local palette = require "segx.palette"
errors.own()

local plot = {}
local finite = figure.finite

-- -- Common ---------------------------------------------------------------------------------------

local common = {"title", "note", "width", "height", "kind", "numbers"}
local with_axes = {"xlabel", "ylabel", "xlim", "ylim", "logx", "logy", "percent"}

local function check(who, o, own, axes)
  if type(o) ~= "table" then errors.misuse(who .. ": expected a table of options") end
  local known = {table.unpack(own)}
  table.move(common, 1, #common, #known + 1, known)
  if axes then table.move(with_axes, 1, #with_axes, #known + 1, known) end
  errors.check_keys(who, "option", o, known)
  for _, key in ipairs {"xlim", "ylim"} do
    local v = o[key]
    if v ~= nil and not (type(v) == "table" and finite(v[1]) and finite(v[2]) and v[1] < v[2]) then
      errors.misuse(("%s: %s is {low, high}"):format(who, key), key .. " = {0, 1}")
    end
  end
  for _, key in ipairs {"width", "height"} do
    local v = o[key]
    if v ~= nil and not (math.type(v) == "integer" and v >= 100 and v <= 10000) then
      errors.misuse(("%s: %s is a number of pixels, 100 to 10000"):format(who, key))
    end
  end
end

local function check_list(who, what, list, n)
  if type(list) ~= "table" then errors.misuse(("%s: %s is a list of numbers"):format(who, what)) end
  if n and #list ~= n then
    errors.misuse(("%s: %s has %d numbers, not %d"):format(who, what, #list, n))
  end
  for i, v in ipairs(list) do
    if type(v) ~= "number" then
      errors.misuse(("%s: %s: entry %d is a %s, not a number"):format(who, what, i, type(v)))
    end
  end
  return list
end

local function notes(o, lost)
  local list = {}
  for _, line in ipairs(type(o.note) == "table" and o.note or {o.note}) do list[#list + 1] = line end
  if lost > 0 then
    list[#list + 1] = ("%s %s not finite and left out"):format(format.count(lost),
      lost == 1 and "value is" or "values are")
  end
  return list
end

local function count_lost(...)
  local n = 0
  for _, list in ipairs {...} do
    for _, v in ipairs(list) do
      if not finite(v) then n = n + 1 end
    end
  end
  return n
end

local function make(o, f)
  for _, key in ipairs(common) do
    if f[key] == nil then f[key] = o[key] end
  end
  return figure.new(f)
end

-- Does a list of tried values spread evenly in the logarithm rather than in itself?
local function looks_log(values)
  local seen, list = {}, {}
  for _, v in ipairs(values) do
    if not finite(v) or v <= 0 then return false end
    if not seen[v] then
      seen[v] = true
      list[#list + 1] = v
    end
  end
  table.sort(list)
  if #list < 3 or list[#list] / list[1] < 30 then return false end
  -- The middle value is nearer to the geometric than to the arithmetic mean of the ends.
  local middle = list[#list // 2 + 1]
  return middle < (list[1] + list[#list]) / 4
end
plot.looks_log = looks_log

local function axis(o, name, more)
  local a = {label = o[name .. "label"], log = o["log" .. name]}
  local limits = o[name .. "lim"]
  if limits then a.lo, a.hi = limits[1], limits[2] end
  for k, v in pairs(more or {}) do a[k] = v end
  return a
end

-- -- Lines ----------------------------------------------------------------------------------------

local MOST_SERIES, MOST_BANDS = #palette.series, 2

local function as_series(who, o)
  local list = o.series or {{name = o.name, x = o.x, y = o.y, lo = o.lo, hi = o.hi}}
  if type(list) ~= "table" or #list == 0 then errors.misuse(who .. ": there is no series") end
  if #list > MOST_SERIES then
    errors.misuse(("%s: %d lines; more than %d cannot be told apart"):format(who, #list, MOST_SERIES),
      "choose some of them, or a heatmap")
  end
  for _, s in ipairs(list) do
    check_list(who, "x", s.x)
    check_list(who, "y", s.y, #s.x)
    if s.lo or s.hi then
      check_list(who, "lo", s.lo, #s.x)
      check_list(who, "hi", s.hi, #s.x)
    end
  end
  return list
end

local function line_numbers(list, xname)
  local numbers = {names = {"series", xname, "value", "lo", "hi"}}
  for _, s in ipairs(list) do
    for i, x in ipairs(s.x) do
      numbers[#numbers + 1] = {s.name or "", x, s.y[i], s.lo and s.lo[i] or 0 / 0,
        s.hi and s.hi[i] or 0 / 0}
    end
  end
  return numbers
end

--- Lines, each with a band between lo and hi where these are given. Besides the common options: x, y,
--- lo, hi, name, or series = list of such; xnames: the x are places 1, 2, ... with these names;
--- control = {name, value}: a line across; band = what the band is, for the legend.
function plot.line(o)
  local who = o.who or "plot.line"
  check(who, o, {"series", "x", "y", "lo", "hi", "name", "xnames", "control", "band", "who"}, true)
  local list, layers, lost, places = as_series(who, o), {}, 0, {}
  local banded, left_out = #list <= MOST_BANDS, false
  for k, s in ipairs(list) do
    left_out = left_out or s.lo and not banded
    if s.lo and banded then
      layers[#layers + 1] = {mark = "band", x = s.x, lo = s.lo, hi = s.hi,
        colour = palette.series[k], name = k == 1 and o.band or nil}
    end
  end
  local note = notes(o, 0)
  if left_out then note[#note + 1] = "intervals are left out: they would cover each other" end
  if o.control then
    layers[#layers + 1] = {mark = "rule", along = "x", at = o.control[2], name = o.control[1],
      colour = palette.control}
  end
  for k, s in ipairs(list) do
    lost = lost + count_lost(s.y)
    table.move(s.x, 1, #s.x, #places + 1, places)
    layers[#layers + 1] = {mark = "line", x = s.x, y = s.y, points = #s.x <= 60, dash = s.dash,
      colour = palette.series[k], name = (#list > 1 or o.control or o.band) and s.name or nil}
  end
  note = notes({note = note}, lost)
  return make(o, {kind = o.kind or "line", note = note, layers = layers,
    x = axis(o, "x", {places = places, names = o.xnames}), y = axis(o, "y", {percent = o.percent}),
    grid = {"y"}, numbers = o.numbers or line_numbers(list, o.xlabel or "x")})
end

-- -- Points ---------------------------------------------------------------------------------------

local MOST_POINTS = 5000

-- Every k-th of a long list.
local function thinned(list, n)
  local out = {}
  for i = 1, n do out[i] = list[(i - 1) * #list // n + 1] end
  return out
end

local function colour_scale(label, values, map, limits, percent)
  local lo, hi = math.huge, -math.huge
  for _, v in ipairs(values) do
    if finite(v) then lo, hi = math.min(lo, v), math.max(hi, v) end
  end
  if lo > hi then lo, hi = 0.0, 1.0 end
  if map == "diverging" then hi = math.max(math.abs(lo), math.abs(hi)); lo = -hi end
  if lo == hi then
    local room = lo ~= 0 and math.abs(lo) * 0.1 or 1.0
    lo, hi = lo - room, hi + room
  end
  return {label = label or "", map = map or "viridis", lo = limits and limits[1] or lo,
    hi = limits and limits[2] or hi, percent = percent}
end

-- A layer with names beside their points, {[i] = text}: right, left, above or below, where no name
-- that is placed already and no other point is in the way.
local function place_labels(f, x, y, labels)
  local text = {mark = "text", x = {}, y = {}, text = {}, dx = {}, dy = {}, aligns = {}, font = 10,
    colour = palette.faint}
  local wide, high = f.width - 100, f.height - 150      -- of the plot, about
  local function spot(i) return figure.fraction(f.x, x[i]) * wide, figure.fraction(f.y, y[i]) * high end
  local taken, order = {}, {}
  for i in pairs(labels) do order[#order + 1] = i end
  table.sort(order)
  for i = 1, math.min(#x, 500) do
    if finite(x[i]) and finite(y[i]) then
      local px, py = spot(i)
      taken[#taken + 1] = {px - 4, py - 4, px + 4, py + 4, own = i}
    end
  end
  for _, i in ipairs(order) do
    local n = utf8.len(labels[i]) or #labels[i]
    local w, px, py = 6 * n, spot(i)
    local tries = {{"left", 7, 0, px + 7, py}, {"right", -7, 0, px - 7 - w, py},
      {"center", 0, 10, px - w / 2, py + 10}, {"center", 0, -11, px - w / 2, py - 11},
      {"right", -4, 10, px - w, py + 10}, {"right", -4, -11, px - w, py - 11}}
    local chosen
    for _, t in ipairs(tries) do
      local box = {t[4], t[5] - 6, t[4] + w, t[5] + 6}
      local free = box[1] >= -20 and box[3] <= wide + 8
      for _, b in ipairs(taken) do
        free = free and (b.own == i or box[3] < b[1] or box[1] > b[3] or box[4] < b[2] or box[2] > b[4])
      end
      if free then
        chosen = t
        taken[#taken + 1] = box
        break
      end
    end
    if chosen then
      local k = #text.x + 1
      text.x[k], text.y[k], text.text[k] = x[i], y[i], labels[i]
      text.aligns[k], text.dx[k], text.dy[k] = chosen[1], chosen[2], chosen[3]
    end
  end
  return text
end

--- Points; z colours them. Besides the common options: x, y, z, zlabel, map, labels = names of some
--- points ({[i] = text}), xnames, ynames. More than 5000 points are thinned evenly.
function plot.scatter(o)
  local who = "plot.scatter"
  check(who, o, {"x", "y", "z", "zlabel", "map", "labels", "xnames", "ynames"}, true)
  local x = check_list(who, "x", o.x)
  local y = check_list(who, "y", o.y, #x)
  local z = o.z and check_list(who, "z", o.z, #x)
  local numbers = {names = {o.xlabel or "x", o.ylabel or "y", z and (o.zlabel or "z") or nil}}
  for i = 1, #x do numbers[i] = {x[i], y[i], z and z[i] or nil} end
  local note = notes(o, count_lost(x, y))
  local shown = {x, y, z}
  if #x > MOST_POINTS then
    note[#note + 1] = ("%s of %s points"):format(format.count(MOST_POINTS), format.count(#x))
    for k, list in ipairs(shown) do shown[k] = thinned(list, MOST_POINTS) end
  end
  local layers = {{mark = "points", x = shown[1], y = shown[2], z = shown[3],
    colour = palette.series[1], size = #x > 500 and 0.4 or #x > 100 and 0.6 or 0.9}}
  local f = make(o, {kind = o.kind or "scatter", note = note, layers = layers,
    x = axis(o, "x", {names = o.xnames}), y = axis(o, "y", {percent = o.percent, names = o.ynames}), grid = {"x", "y"},
    colour = z and colour_scale(o.zlabel, z, o.map), numbers = o.numbers or numbers})
  if o.labels then layers[2] = place_labels(f, x, y, o.labels) end
  return f
end

-- -- Bars -----------------------------------------------------------------------------------------

local bar_colours = palette.series

local function check_names(who, names)
  if type(names) ~= "table" or #names == 0 then errors.misuse(who .. ": names is a list of texts") end
  for i, name in ipairs(names) do
    if type(name) ~= "string" then
      errors.misuse(("%s: names: entry %d is a %s, not a text"):format(who, i, type(name)))
    end
  end
end

-- Width of a figure with names beside it: long ones widen it.
local function named_width(names)
  local longest = 0
  for _, name in ipairs(names) do longest = math.max(longest, utf8.len(name) or #name) end
  return 640 + 8 * math.max(0, math.min(longest, 64) - 36)
end

local function bar_numbers(o, series)
  local numbers = {names = {"name"}}
  for i, name in ipairs(o.names) do numbers[i] = {name} end
  for _, s in ipairs(series) do
    local title = s.name or o.xlabel or "value"
    table.insert(numbers.names, title)
    if s.lo then table.move({title .. ".lo", title .. ".hi"}, 1, 2, #numbers.names + 1, numbers.names) end
    for i = 1, #o.names do
      local row = numbers[i]
      row[#row + 1] = s.values[i]
      if s.lo then row[#row + 1], row[#row + 2] = s.lo[i], s.hi[i] end
    end
  end
  return numbers
end

--- Horizontal bars, a group per name. Besides the common options: names; values, lo, hi or series =
--- list of {name, values, lo, hi, outline = true, colour}.
function plot.bars(o)
  local who = "plot.bars"
  check(who, o, {"names", "values", "lo", "hi", "series"}, true)
  check_names(who, o.names)
  local series = o.series or {{values = o.values, lo = o.lo, hi = o.hi}}
  local n, layers, lost = #o.names, {}, 0
  local thick = 0.8 / #series
  for k, s in ipairs(series) do
    check_list(who, "values", s.values, n)
    lost = lost + count_lost(s.values)
    local at = {}
    for i = 1, n do at[i] = i - 0.4 + (k - 0.5) * thick end
    local colour = s.colour or bar_colours[(k - 1) % #bar_colours + 1]
    layers[#layers + 1] = {mark = "bars", along = "x", at = at, values = s.values,
      width = thick * (#series > 1 and 0.9 or 0.85), colour = colour, name = s.name, outline = s.outline}
    if s.lo then
      layers[#layers + 1] = {mark = "interval", along = "x", x = s.values, y = at,
        lo = check_list(who, "lo", s.lo, n), hi = check_list(who, "hi", s.hi, n), colour = palette.ink}
    end
  end
  return make(o, {kind = o.kind or "bars", form = "bars", note = notes(o, lost), layers = layers,
    series = series, names = o.names, width = o.width or named_width(o.names),
    height = o.height or 110 + math.ceil(n * (10 + 11 * #series)),
    x = axis(o, "x", {percent = o.percent, zero = true}),
    y = axis(o, "y", {names = o.names, reversed = true}), grid = {"x"}, border = 2, extra_top = 4,
    numbers = o.numbers or bar_numbers(o, series)})
end

--- Values with intervals, one line per name, first on top; a rule where the control is. Besides the
--- common options: names, values, lo, hi, control = {name, value}, marked = list of names' positions
--- that are drawn hollow ("not separable").
function plot.rank(o)
  local who = "plot.rank"
  check(who, o, {"names", "values", "lo", "hi", "control", "hollow", "legend"}, true)
  check_names(who, o.names)
  local n = #o.names
  check_list(who, "values", o.values, n)
  local at, layers = {}, {}
  for i = 1, n do at[i] = i end
  if o.control then
    layers[1] = {mark = "rule", along = "y", at = o.control[2], name = o.control[1],
      colour = palette.control}
  end
  if o.lo then
    layers[#layers + 1] = {mark = "interval", along = "x", x = o.values, y = at,
      lo = check_list(who, "lo", o.lo, n), hi = check_list(who, "hi", o.hi, n),
      colour = palette.series[1]}
  end
  local legend = o.legend or {}
  for _, hollow in ipairs {false, true} do
    local points = {mark = "points", x = {}, y = {}, hollow = hollow, colour = palette.series[1],
      size = 0.9, name = legend[hollow and 2 or 1]}
    for i = 1, n do
      if finite(o.values[i]) and (o.hollow and o.hollow[i] or false) == hollow then
        points.x[#points.x + 1], points.y[#points.y + 1] = o.values[i], i
      end
    end
    if #points.x > 0 then layers[#layers + 1] = points end
  end
  local numbers = bar_numbers(o, {{name = o.xlabel or "value", values = o.values, lo = o.lo, hi = o.hi}})
  return make(o, {kind = o.kind or "rank", form = "rank", note = notes(o, count_lost(o.values)),
    layers = layers, names = o.names, values = o.values, lo_hi = o.lo and {o.lo, o.hi},
    control = o.control, width = o.width or named_width(o.names), height = o.height or 120 + 22 * n,
    x = axis(o, "x", {percent = o.percent}),
    y = axis(o, "y", {names = o.names, reversed = true}), grid = {"x", "y"}, border = 1,
    numbers = o.numbers or numbers})
end

-- -- Matrices -------------------------------------------------------------------------------------

-- As few digits as tell the cells apart, for all of them alike.
local function cell_texts(z, percent)
  local lo, hi = math.huge, -math.huge
  for _, row in ipairs(z) do
    for _, v in ipairs(row) do
      if finite(v) then lo, hi = math.min(lo, v), math.max(hi, v) end
    end
  end
  local scale = percent and 100 or 1
  local span, most = (hi - lo) * scale, math.max(math.abs(lo), math.abs(hi)) * scale
  local pattern = "%.3g"
  if most < 1e5 and (most >= 1e-3 or most == 0) then
    local digits = span > 0 and math.ceil(-math.log(span / 100, 10)) or 2
    pattern = ("%%.%df"):format(math.min(math.max(digits, 0), 5))
  end
  local text = {}
  for j, row in ipairs(z) do
    text[j] = {}
    for i, v in ipairs(row) do
      text[j][i] = finite(v) and pattern:format(scale * v):gsub("^%-(0%.?0*)$", "%1") or "-"
    end
  end
  return text
end

local function matrix_numbers(o)
  local numbers = {names = {o.ylabel or "row"}}
  for _, name in ipairs(o.xnames) do numbers.names[#numbers.names + 1] = name end
  for j, name in ipairs(o.ynames) do numbers[j] = {name, table.unpack(o.z[j], 1, #o.xnames)} end
  return numbers
end

--- A matrix of numbers as coloured cells. Besides the common options: xnames, ynames, z = {row, ...}
--- (rows as ynames), zlabel, zlim, map ("viridis", "diverging" ...), best = {column, row} (framed),
--- top = true: the first row is on top (else at the bottom, as axes go).
function plot.heatmap(o)
  local who = "plot.heatmap"
  check(who, o, {"xnames", "ynames", "z", "zlabel", "zlim", "map", "best", "top"}, true)
  check_names(who, o.xnames)
  check_names(who, o.ynames)
  if type(o.z) ~= "table" or #o.z ~= #o.ynames then
    errors.misuse(("%s: z has a row for each of the %d ynames"):format(who, #o.ynames))
  end
  local all, lost = {}, 0
  for j, row in ipairs(o.z) do
    check_list(who, ("row %d of z"):format(j), row, #o.xnames)
    table.move(row, 1, #row, #all + 1, all)
    lost = lost + count_lost(row)
  end
  local nx, ny = #o.xnames, #o.ynames
  local longest = 0
  for _, name in ipairs(o.ynames) do longest = math.max(longest, utf8.len(name) or #name) end
  local width = o.width or math.min(1100, math.max(420, 60 * nx + 7 * longest + 160))
  local height = o.height or math.min(1000, math.max(260, 34 * ny + 130))
  local room = (width - 7 * longest - 160) / nx
  local texts = cell_texts(o.z, o.percent)
  local widest = 0
  for _, row in ipairs(texts) do
    for _, t in ipairs(row) do widest = math.max(widest, #t) end
  end
  local font = math.min(11, (room - 4) / (0.62 * widest))
  local text = font >= 6.5 and (height - 130) / ny >= 12 and texts or nil
  return make(o, {kind = o.kind or "heatmap", form = "cells", note = notes(o, lost), width = width,
    height = height, layers = {{mark = "cells", z = o.z, text = text, best = o.best, font = font}},
    texts = texts, best = o.best, legend = false,
    x = axis(o, "x", {names = o.xnames}), y = axis(o, "y", {names = o.ynames, reversed = o.top}),
    border = 0, colour = colour_scale(o.zlabel, all, o.map, o.zlim, o.percent),
    numbers = o.numbers or matrix_numbers(o)})
end

-- -- Parallel coordinates -------------------------------------------------------------------------

local SIDES = 12      -- margin left and right, pixels

-- One upright axis: values to 0 .. 1, and its marks.
local function upright(a, who)
  local seen, names, at = {}, {}, {}
  local texts = false
  for _, v in ipairs(a.values) do texts = texts or type(v) ~= "number" end
  if texts then
    for i, v in ipairs(a.values) do
      v = tostring(v)
      if not seen[v] then
        names[#names + 1] = v
        seen[v] = #names
      end
      at[i] = seen[v]
    end
    for i, k in ipairs(at) do at[i] = #names > 1 and (k - 1) / (#names - 1) or 0.5 end
    local ticks = {}
    for k, name in ipairs(names) do ticks[k] = {#names > 1 and (k - 1) / (#names - 1) or 0.5, name} end
    return at, ticks, {names[1], names[#names]}
  end
  check_list(who, a.label, a.values)
  local log = a.log
  if log == nil then log = looks_log(a.values) end
  local scale = figure.axis({log = log, pad = 0, lo = a.lo, hi = a.hi, places = a.places,
    most = 5}, a.values)
  for i, v in ipairs(a.values) do
    at[i] = finite(v) and (not log or v > 0) and figure.fraction(scale, v) or 0 / 0
  end
  local ticks = {}
  for k, t in ipairs(scale.ticks) do ticks[k] = {figure.fraction(scale, t[1]), t[2]} end
  return at, ticks, {figure.tick_text(scale.lo), figure.tick_text(scale.hi)}, log
end

--- A line per row over upright axes. Besides the common options: axes = list of {label, values (numbers
--- or texts), log (found when nil), lo, hi}; z = a number per row that colours it, zlabel. The first
--- row is drawn on top.
function plot.parallel(o)
  local who = "plot.parallel"
  check(who, o, {"axes", "z", "zlabel", "map", "best"})
  if type(o.axes) ~= "table" or #o.axes < 2 then
    errors.misuse(who .. ": parallel coordinates need two axes or more")
  end
  local n = #o.axes[1].values
  local lines, texts, axes, numbers = {}, {mark = "text", x = {}, y = {}, text = {}, font = 10}, {}, {names = {}}
  for i = 1, n do lines[i], numbers[i] = {}, {} end
  for k, a in ipairs(o.axes) do
    if #a.values ~= n then
      errors.misuse(("%s: axis '%s' has %d values, not %d"):format(who, a.label, #a.values, n))
    end
    local at, ticks, ends, log = upright(a, who)
    axes[k] = {label = a.label .. (log and " (log)" or ""), ticks = ticks, ends = ends, at = at}
    numbers.names[k] = a.label
    for i = 1, n do lines[i][k], numbers[i][k] = at[i], a.values[i] end
    for _, t in ipairs(ticks) do
      local m = #texts.x + 1
      texts.x[m], texts.y[m], texts.text[m] = k, t[1], t[2]
    end
  end
  local z = o.z and check_list(who, "z", o.z, n)
  local layers = {}
  for k in ipairs(axes) do
    layers[k] = {mark = "line", x = {k, k}, y = {0, 1}, colour = "#9a9a9a", width = 1}
  end
  local flat = {}
  for i = 1, n do flat[i] = z and z[i] or 0.0 end
  layers[#layers + 1] = {mark = "parallel", lines = lines, z = flat, best = o.best, x = {}, y = {}}
  layers[#layers + 1] = texts
  local names, colour = {}, colour_scale(o.zlabel, flat, o.map)
  for k, a in ipairs(axes) do
    names[k] = a.label
    colour.hidden = colour.hidden or z == nil or o.axes[k].label == o.zlabel
  end
  -- Steps between axes in pixels; marks stand a little right of their axis.
  local width, from, to = o.width or math.max(520, 130 * #axes + 100), 0.85, #axes + 0.4
  texts.unit = (width - 2 * SIDES) / (to - from)
  for i = 1, #texts.x do texts.x[i] = texts.x[i] + 6 / texts.unit end
  return make(o, {kind = o.kind or "parallel", form = "parallel", note = notes(o, 0), layers = layers,
    width = width, sides = SIDES, uprights = axes, best = o.best, legend = false, x = {names = names},
    y = {lo = -0.03, hi = 1.06}, border = 0,
    commands = {"unset ytics", ("set xrange [%g:%g] noextend"):format(from, to)},
    colour = colour, numbers = o.numbers or numbers})
end

return plot
