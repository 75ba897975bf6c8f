--[[
figure.lua: a figure as data: axes with their ticks, layers of marks, and the numbers behind it. It is
drawn by gnuplot.lua (svg, png, pdf) and textplot.lua (the terminal); segx/plot.lua makes them.

    fig:save("x.svg")     also .png .pdf, .gp (the gnuplot commands, data inside), .csv .dat (the
                          numbers), .txt
    print(fig)            in the terminal; fig:text{width = 100, height = 20, charset = "ascii"}
    fig:data()            {names = {...}, {...}, ...}: the numbers, a list per row

Axes x, y (and y2, on the right): {label, lo, hi, log, names, percent, ticks = {{at, text}, ...}}. An
axis with names has them at 1, 2, ...

Layers, drawn in their order; a name puts one into the legend:
    line      x, y, points          band   x, lo, hi
    points    x, y, z               rule   at, along = "x" | "y"
    interval  x, y, lo, hi, along   bars   at, values, width, along, base
    cells     z[row][column]        text   x, y, text
]]
local csv = require "segx.csv"
local errors = require "segx.errors"
local files = require "segx.files"
local format = require "segx.format"
errors.own()

local figure = {}

local Figure = {__name = "segx.Figure"}
Figure.__index = Figure

local function finite(v) return type(v) == "number" and v == v and math.abs(v) ~= math.huge end
figure.finite = finite

-- -- Ticks ----------------------------------------------------------------------------------------

--- A number as a tick shows it.
function figure.tick_text(v, percent)
  if percent then return ("%.4g %%"):format(100 * v) end
  if v ~= 0 and (math.abs(v) >= 1e6 or math.abs(v) < 1e-4) then
    return (("%.3g"):format(v):gsub("e([+-])0*(%d)", function(sign, d)
      return "e" .. (sign == "-" and "-" or "") .. d
    end))
  end
  return ("%.5g"):format(v)
end

-- Multiples of 1, 2 or 5 times a power of ten.
local function linear_ticks(lo, hi, most)
  local raw = (hi - lo) / most
  local unit = 10.0 ^ math.floor(math.log(raw, 10))
  local step
  for _, k in ipairs {1, 2, 5, 10} do
    step = k * unit
    if step >= raw * (1 - 1e-9) then break end
  end
  local list = {}
  for k = math.ceil(lo / step - 1e-9), math.floor(hi / step + 1e-9) do
    list[#list + 1] = tonumber(("%.12g"):format(k * step)) + 0.0
  end
  return list
end

local function log_ticks(lo, hi, most)
  local first, last = math.ceil(math.log(lo, 10) - 1e-9), math.floor(math.log(hi, 10) + 1e-9)
  local list, decades = {}, math.log(hi, 10) - math.log(lo, 10)
  if decades <= most / 3 then
    for e = first - 1, last do
      for _, k in ipairs {1, 2, 5} do
        local v = tonumber(("%de%d"):format(k, e)) + 0.0
        if v >= lo * (1 - 1e-9) and v <= hi * (1 + 1e-9) then list[#list + 1] = v end
      end
    end
  else
    local step = math.ceil(decades / most)
    for e = math.ceil(first / step) * step, last, step do list[#list + 1] = 10.0 ^ e end
  end
  return #list >= 2 and list or linear_ticks(lo, hi, most)
end

-- The places themselves, where they are few and do not crowd.
local function own_ticks(axis, places)
  local seen, list = {}, {}
  for _, v in ipairs(places) do
    if finite(v) and not seen[v] then
      seen[v] = true
      list[#list + 1] = v
    end
  end
  if #list < 2 or #list > 12 then return nil end
  table.sort(list)
  for i = 2, #list do
    if figure.fraction(axis, list[i]) - figure.fraction(axis, list[i - 1]) < 0.055 then return nil end
  end
  return list
end

--- Where v lies on an axis: 0 at its low end, 1 at its high end.
function figure.fraction(axis, v)
  local lo, hi = axis.lo, axis.hi
  if axis.log then v, lo, hi = math.log(v), math.log(lo), math.log(hi) end
  return (v / 2 - lo / 2) / (hi / 2 - lo / 2)      -- halves: no overflow
end

-- -- Axes -----------------------------------------------------------------------------------------

local LEAST, MOST = 1e-300, 1e300      -- of what an axis shows

-- Least and greatest of the values that can stand on the axis.
local function extent(axis, values)
  local lo, hi = math.huge, -math.huge
  for _, v in ipairs(values) do
    if finite(v) and math.abs(v) <= MOST and (not axis.log or v >= LEAST) then lo, hi = math.min(lo, v), math.max(hi, v) end
  end
  if lo > hi then return nil end
  return lo, hi
end

local function widen(axis, lo, hi)
  if axis.log then
    local f = lo == hi and 2 or math.exp((math.log(hi) - math.log(lo)) * axis.pad)
    return math.max(lo / f, LEAST), math.min(hi * f, MOST)
  end
  local room = lo == hi and (lo ~= 0 and math.abs(lo) * 0.1 or 1) or hi * axis.pad - lo * axis.pad
  local a, b = math.max(lo - room, -MOST), math.min(hi + room, MOST)
  -- What starts at 0 shows its 0, and no room below it.
  if axis.zero then
    if lo >= 0 then a = 0.0 end
    if hi <= 0 then b = 0.0 end
  end
  return a, b
end

--- Completes an axis for these values: range and ticks. axis: {label, log, names, percent, lo, hi,
--- pad = 0.04, zero (the range holds 0), places (values that ticks are wanted at), most = 6 (ticks)}.
function figure.axis(axis, values)
  local a = {label = axis.label, log = axis.log, names = axis.names, percent = axis.percent,
    pad = axis.pad or 0.04, zero = axis.zero, reversed = axis.reversed}
  if a.names then
    a.lo, a.hi, a.ticks = 0.5, #a.names + 0.5, {}
    for i, name in ipairs(a.names) do a.ticks[i] = {i, name} end
    return a
  end
  local lo, hi = extent(a, values)
  if not lo then lo, hi = a.log and 1.0 or 0.0, a.log and 10.0 or 1.0 end
  if a.zero then lo, hi = math.min(lo, 0), math.max(hi, 0) end
  a.lo, a.hi = widen(a, lo, hi)
  a.lo, a.hi = axis.lo or a.lo, axis.hi or a.hi
  if not (a.lo < a.hi) or a.log and a.lo <= 0 then
    errors.misuse(("plot: an axis from %s to %s%s"):format(format.number(a.lo), format.number(a.hi),
      a.log and ", logarithmic" or ""), "limits are {low, high}; on a log axis low is above 0")
  end
  local most = axis.most or 6
  local list = axis.places and own_ticks(a, axis.places)
    or (a.log and log_ticks or linear_ticks)(a.lo, a.hi, most)
  a.ticks = {}
  for i, v in ipairs(list) do a.ticks[i] = {v, figure.tick_text(v, a.percent)} end
  return a
end

--- Words put into lines of at most n characters.
function figure.wrap(text, n)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    local longer = line == "" and word or line .. " " .. word
    if line ~= "" and (utf8.len(longer) or #longer) > n then
      lines[#lines + 1], line = line, word
    else
      line = longer
    end
  end
  lines[#lines + 1] = line
  return lines
end

--- A text of at most n characters: of longer ones the middle is left out, as names often differ at their ends.
function figure.shorten(text, n)
  local long = utf8.len(text)
  if (long or #text) <= n then return text end
  local head = math.max(1, math.ceil(0.6 * (n - 3)))
  local tail = math.max(0, n - 3 - head)
  if not long then return text:sub(1, head) .. "..." .. (tail > 0 and text:sub(-tail) or "") end
  return text:sub(1, utf8.offset(text, head + 1) - 1) .. "..."
    .. (tail > 0 and text:sub(utf8.offset(text, -tail)) or "")
end

-- -- Making ---------------------------------------------------------------------------------------

-- Values that a layer puts on each axis.
local function gather(layers)
  local on = {x = {}, y = {}, y2 = {}}
  local function add(axis, list) table.move(list, 1, #list, #on[axis] + 1, on[axis]) end
  for _, l in ipairs(layers) do
    local y = l.on or "y"
    if l.mark == "rule" then
      add(l.along == "x" and y or "x", {l.at})
    elseif l.mark == "bars" then
      add(l.along == "x" and "x" or y, l.values)
      if l.along ~= "x" then add("x", l.at) end
    elseif l.mark == "band" then
      add("x", l.x)
      add(y, l.lo)
      add(y, l.hi)
    elseif l.mark == "interval" then
      add(l.along, l.lo)
      add(l.along, l.hi)
    elseif l.mark ~= "cells" then
      add("x", l.x)
      add(y, l.y)
    end
  end
  return on
end

--- A Figure. o: kind, form = "canvas" (default) | "cells" | "bars" | "parallel" | "rank" (how text
--- draws it), title, note, x, y, y2 (what figure.axis takes), layers, numbers = {names = {...}, rows},
--- width and height in pixels, and what a form needs besides.
function figure.new(o)
  local f = {form = "canvas", width = 640, height = 400}
  for k, v in pairs(o) do f[k] = v end
  local on = gather(f.layers)
  for _, name in ipairs {"x", "y", "y2"} do
    if f[name] then f[name] = figure.axis(f[name], on[name]) end
  end
  return setmetatable(f, Figure)
end

function figure.is(v) return getmetatable(v) == Figure end

-- -- Numbers --------------------------------------------------------------------------------------

--- The numbers of the figure: {names = {...}, {...}, ...}.
function Figure:data()
  local copy = {names = {table.unpack(self.numbers.names)}}
  for i, row in ipairs(self.numbers) do copy[i] = {table.unpack(row, 1, #copy.names)} end
  return copy
end

local function csv_cell(v)
  if type(v) == "number" then return format.exact(v) end
  return csv.text(v == nil and "" or tostring(v))
end

-- Columns for gnuplot and the like: text in quotes, nothing is "nan".
local function dat_cell(v)
  if type(v) == "number" then return format.exact(v) end
  return v == nil and "nan" or '"' .. tostring(v):gsub('[%c"\\]', " ") .. '"'
end

local function table_text(numbers, cell, between, before)
  local lines = {}
  local function line(list, prefix)
    local cells = {}
    for c = 1, #numbers.names do cells[c] = cell(list[c]) end
    lines[#lines + 1] = prefix .. table.concat(cells, between)
  end
  line(numbers.names, before)
  for _, row in ipairs(numbers) do line(row, "") end
  return table.concat(lines, "\n") .. "\n"
end

-- -- Files ----------------------------------------------------------------------------------------

local writers = {
  csv = function(f) return table_text(f.numbers, csv_cell, ",", "") end,
  dat = function(f) return table_text(f.numbers, dat_cell, "\t", "# ") end,
  txt = function(f) return f:text() .. "\n" end,
  gp = function(f) return require("segx.gnuplot").script(f, "svg") end,
}
local drawn = {svg = true, png = true, pdf = true}
local extensions = {"svg", "png", "pdf", "gp", "csv", "dat", "txt"}

-- There is no gnuplot: what it would have needed is written, the numbers beside it.
local function save_without_gnuplot(f, path, stem, ext)
  local gnuplot = require "segx.gnuplot"
  files.write(stem .. ".csv", writers.csv(f))
  files.write(stem .. ".gp", gnuplot.script(f, ext, path))
  warn(("%s is not drawn: there is no gnuplot (looked for '%s')\n"):format(path, gnuplot.program()),
    ("  hint: its numbers are in %s.csv; with gnuplot (Debian: gnuplot-nox): gnuplot %s.gp"):format(stem,
      stem))
  return stem .. ".csv"
end

--- Writes the figure; the extension says as what. svg, png and pdf are drawn by gnuplot; where it is
--- missing, the numbers (.csv) and gnuplot's commands (.gp) are written instead, and a note says so.
--- Returns the path of the file that was written.
function Figure:save(path)
  if type(path) ~= "string" then
    errors.misuse("save: expected a path", 'fig:save("figure.svg")')
  end
  local stem, ext = files.split(path)
  ext = ext:lower()
  if writers[ext] then
    files.write(path, writers[ext](self))
  elseif drawn[ext] then
    local bytes = require("segx.gnuplot").draw(self, ext)
    if not bytes then return save_without_gnuplot(self, path, stem, ext) end
    files.write(path, bytes)
  else
    errors.unknown("save", "kind of file", ext, extensions)
  end
  return path
end

--- As text. opts: width in characters, height in lines, charset = "unicode" | "ascii".
function Figure:text(opts) return require("segx.textplot").draw(self, opts or {}) end

Figure.__tostring = function(f) return f:text() end

return figure
