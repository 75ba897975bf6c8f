--[[
textplot.lua: figures as text, for terminals and logs: textplot.draw(fig, {width =, height =, charset =}).

Four forms: a canvas of characters (lines, points, histograms), bars, cells (a shade and a number per
cell), rank (a line with its interval per name), and parallel, where every row has a strip per axis:
lines that cross each other cannot be followed in characters.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local figure = require "segx.figure"
local format = require "segx.format"
errors.own()

local textplot = {}
local finite = figure.finite

local sets = {
  unicode = {series = {"●", "○", "■", "□", "▲", "△", "◆", "◇"}, path = "·", band = "░", rule = "┄",
    upright = "┊", left = "│", tick = "┤", corner = "└", floor = "─", floor_tick = "┬",
    bars = {"█", "▒", "░", "▓"}, behind = "░", shades = {" ", "░", "▒", "▓", "█"},
    signed = {"▼", "▽", " ", "△", "▲"}, lo = "├", hi = "┤",
    between = "─", hollow = "○", dots = {"·", "•", "●"}, strip = "·"},
  ascii = {series = {"*", "o", "#", "+", "x", "%", "@", "&"}, path = ".", band = ":", rule = "-",
    upright = "|", left = "|", tick = "+", corner = "+", floor = "-", floor_tick = "+",
    bars = {"#", "=", "-", "+"}, behind = ":", shades = {" ", ".", ":", "*", "#"},
    signed = {"=", "-", " ", "+", "#"}, lo = "|", hi = "|",
    between = "-", hollow = "o", dots = {".", "o", "O"}, strip = "."},
}

local function length(s) return utf8.len(s) or #s end

local function cut(s, n)
  if length(s) <= n then return s end
  local stop = utf8.len(s) and utf8.offset(s, n) or n
  return s:sub(1, stop - 1) .. "~"
end

local function left(s, n) return s .. (" "):rep(n - length(s)) end
local function right(s, n) return (" "):rep(n - length(s)) .. s end
local function round(v) return math.floor(v + 0.5) end
local function trim(s) return (s:gsub("%s+$", "")) end

local function heading(f, out, width)
  local function put(text, dress)
    for _, line in ipairs(figure.wrap(text, width)) do out[#out + 1] = dress(line) end
  end
  if f.title then put(f.title, format.bold) end
  local notes = type(f.note) == "table" and f.note or {f.note}
  for _, line in ipairs(notes) do put(line, function(s) return s end) end
end

local function put_legend(out, entries, width)
  local line = ""
  for _, e in ipairs(entries) do
    if line ~= "" and length(line) + 3 + length(e) > width then
      out[#out + 1], line = line, ""
    end
    line = line == "" and e or line .. "   " .. e
  end
  if line ~= "" then out[#out + 1] = line end
end

-- -- Canvas ---------------------------------------------------------------------------------------

-- Cells [row][column], row 1 on top. at(axis values) -> column, row; nil where it does not fit.
local function new_canvas(f, w, h)
  local c = {w = w, h = h}
  for r = 1, h do
    c[r] = {}
    for k = 1, w do c[r][k] = " " end
  end
  local function place(axis, v, n)
    if not finite(v) or axis.log and v <= 0 then return nil end
    local t = figure.fraction(axis, v)
    if t < -1e-9 or t > 1 + 1e-9 then return nil end
    return math.min(n, math.floor(t * n) + 1)
  end
  function c.column(v) return place(f.x, v, w) end
  function c.row(v, on)
    local r = place(f[on or "y"], v, h)
    return r and h + 1 - r
  end
  -- Of a value beyond the ends, the end.
  function c.clamped(v, on)
    local axis = f[on or "y"]
    return c.row(math.min(math.max(v, axis.lo), axis.hi), on)
  end
  function c.set(column, row, glyph)
    if column and row then c[row][column] = glyph end
  end
  return c
end

-- For every column between two points of a line: the value there, straight in the axes' scale.
local function along(f, c, x, y, visit)
  local function scaled(axis, v) return axis.log and math.log(v) or v end
  for i = 2, #x do
    local a, b = c.column(x[i - 1]), c.column(x[i])
    local p, q = y(i - 1), y(i)
    if a and b and p and q then
      local from, to = scaled(f.x, x[i - 1]), scaled(f.x, x[i])
      for k = math.min(a, b), math.max(a, b) do
        local middle = scaled(f.x, f.x.lo) + (k - 0.5) / c.w * (scaled(f.x, f.x.hi) - scaled(f.x, f.x.lo))
        local t = to ~= from and math.min(math.max((middle - from) / (to - from), 0), 1) or 0
        visit(k, p, q, t)
      end
    end
  end
end

local function usable(axis, v) return finite(v) and not (axis.log and v <= 0) and v or nil end

local function mix(axis, p, q, t)
  if axis.log then return p * (q / p) ^ t end
  return p + (q - p) * t
end

local marks = {}

function marks.bars(f, c, l, set)
  local axis = f[l.on or "y"]
  for i, at in ipairs(l.at) do
    local v = usable(axis, l.values[i])
    local a = c.column(math.max(at - l.width / 2, f.x.lo))
    local b = c.column(math.min(at + l.width / 2 - 1e-9 * l.width, f.x.hi))
    local top = v and v > axis.lo and c.clamped(v, l.on)
    for k = a or 1, top and b or 0 do
      for r = top, c.h do c.set(k, r, set.behind) end
    end
  end
  return set.behind
end

function marks.band(f, c, l, set)
  local function fill(k, lo, hi)
    for r = c.clamped(hi) or 1, c.clamped(lo) or 0 do c.set(k, r, set.band) end
  end
  if #l.x == 1 and usable(f.y, l.lo[1]) and usable(f.y, l.hi[1]) then
    fill(c.column(l.x[1]), l.lo[1], l.hi[1])
  end
  along(f, c, l.x, function(i)
    return usable(f.y, l.lo[i]) and usable(f.y, l.hi[i]) and {l.lo[i], l.hi[i]}
  end, function(k, p, q, t) fill(k, mix(f.y, p[1], q[1], t), mix(f.y, p[2], q[2], t)) end)
  return set.band
end

function marks.rule(_, c, l, set)
  if l.along == "x" then
    local r = c.row(l.at)
    for k = 1, r and c.w or 0 do c.set(k, r, set.rule) end
    return set.rule
  end
  local k = c.column(l.at)
  for r = 1, k and c.h or 0 do c.set(k, r, set.upright) end
  return set.upright
end

function marks.line(f, c, l, set, glyph)
  local axis = f[l.on or "y"]
  along(f, c, l.x, function(i) return usable(axis, l.y[i]) end, function(k, p, q, t)
    c.set(k, c.row(mix(axis, p, q, t), l.on), l.points and set.path or glyph)
  end)
  for i, x in ipairs(l.x) do
    if l.points or #l.x == 1 then c.set(c.column(x), c.row(l.y[i], l.on), glyph) end
  end
  return glyph
end

function marks.interval(_, c, l, set)
  for i, x in ipairs(l.x) do
    local k, lo, hi = c.column(x), c.row(l.lo[i]), c.row(l.hi[i])
    for r = hi or 1, lo or 0 do c.set(k, r, set.left) end
  end
end

-- The more points on one place, the heavier the dot.
function marks.points(_, c, l, set, glyph)
  local count = {}
  for i, x in ipairs(l.x) do
    local k, r = c.column(x), c.row(l.y[i])
    if k and r then
      local at = (r - 1) * c.w + k
      count[at] = (count[at] or 0) + 1
    end
  end
  local few = #l.x <= 60
  for at, n in pairs(count) do      -- each place once: the order does not matter
    local dot = few and glyph or set.dots[n >= 8 and 3 or n >= 3 and 2 or 1]
    c.set((at - 1) % c.w + 1, (at - 1) // c.w + 1, dot)
  end
  return few and glyph or set.dots[2]
end

function marks.text() end

-- Labels of an axis along x, under the canvas: those that have room.
local function x_labels(f, c, margin)
  local line, free = {}, 1
  for _, t in ipairs(f.x.ticks) do
    local k = c.column(t[1])
    local text = f.x.names and cut(t[2], math.max(4, c.w // #f.x.names - 1)) or t[2]
    local from = k and math.max(1, math.min(margin + k - length(text) // 2, margin + c.w - length(text) + 1))
    if from and (free == 1 or from > free) then
      line[#line + 1] = (" "):rep(from - free) .. text
      free = from + length(text)
    end
  end
  return table.concat(line)
end

local forms = {}

function forms.canvas(f, width, height, set)
  local out, legend, margin = {}, {}, 0
  heading(f, out, width)
  for _, t in ipairs(f.y.ticks) do margin = math.max(margin, length(t[2])) end
  margin = math.min(margin, width // 3)
  local w, h = width - margin - 2, height
  local c = new_canvas(f, w, h)
  local series = 0
  for _, l in ipairs(f.layers) do
    if l.mark == "line" or l.mark == "points" then series = series + 1 end
    local glyph = marks[l.mark](f, c, l, set, set.series[(series - 1) % #set.series + 1])
    if l.name then legend[#legend + 1] = glyph .. " " .. l.name end
  end
  put_legend(out, legend, width)
  if f.y.label then out[#out + 1] = f.y.label end
  local tick_at, under = {}, {}
  for _, t in ipairs(f.y.ticks) do tick_at[c.row(t[1]) or 0] = cut(t[2], margin) end
  for _, t in ipairs(f.x.ticks) do under[c.column(t[1]) or 0] = true end
  for r = 1, h do
    out[#out + 1] = trim(right(tick_at[r] or "", margin) .. " " .. (tick_at[r] and set.tick or set.left)
      .. table.concat(c[r]))
  end
  local floor = {}
  for k = 1, w do floor[k] = under[k] and set.floor_tick or set.floor end
  out[#out + 1] = (" "):rep(margin + 1) .. set.corner .. table.concat(floor)
  out[#out + 1] = x_labels(f, c, margin + 2)
  if f.x.label then
    out[#out + 1] = (" "):rep(margin + 2 + math.max(0, (w - length(f.x.label)) // 2)) .. f.x.label
  end
  return out
end

-- -- Names on the left ----------------------------------------------------------------------------

local function widest(list, most)
  local n = 0
  for _, s in ipairs(list) do n = math.max(n, length(s)) end
  return math.min(n, most)
end

local function shown(v, percent, lo, hi)
  if not finite(v) then return "-" end
  local text = percent and ("%.1f %%"):format(100 * v) or ("%.4g"):format(v)
  if not (lo and finite(lo)) then return text end
  local scale = percent and 100 or 1
  return ("%s [%.3g, %.3g]"):format(text, scale * lo, scale * hi)
end

function forms.bars(f, width, _, set)
  local out, legend = {}, {}
  local function glyph(k) return set.bars[(#f.series - k) % #set.bars + 1] end      -- the last is the heaviest
  heading(f, out, width)
  for k, s in ipairs(f.series) do
    if s.name then legend[#legend + 1] = glyph(k) .. " " .. s.name end
  end
  put_legend(out, legend, width)
  local names = widest(f.names, width // 3)
  local function text(s, i) return shown(s.values[i], f.x.percent, s.lo and s.lo[i], s.hi and s.hi[i]) end
  local numbers = 0
  for _, s in ipairs(f.series) do
    for i = 1, #s.values do numbers = math.max(numbers, length(text(s, i))) end
  end
  local room = width - names - numbers - 3
  local function place(v) return math.min(math.max(round(room * figure.fraction(f.x, v)), 0), room) end
  local zero = place(0)
  for i, name in ipairs(f.names) do
    for k, s in ipairs(f.series) do
      local v = s.values[i]
      local at = finite(v) and place(v) or zero
      local lo, hi = math.min(at, zero), math.max(at, zero)
      local bar = (" "):rep(lo) .. glyph(k):rep(hi - lo)
      out[#out + 1] = ("%s  %s %s"):format(left(k == 1 and cut(name, names) or "", names),
        bar, text(s, i))
    end
  end
  if f.x.label then out[#out + 1] = (" "):rep(names + 2) .. f.x.label end
  return out
end

function forms.rank(f, width, _, set)
  local out, texts = {}, {}
  heading(f, out, width)
  local interval = f.lo_hi
  for i, v in ipairs(f.values) do
    texts[i] = shown(v, f.x.percent, interval and interval[1][i], interval and interval[2][i])
  end
  local values = widest(texts, width)
  local names = widest(f.names, math.max(6, math.min(width // 2, width - values - 14)))
  local w = math.max(10, width - names - values - 4)
  local c = new_canvas(f, w, 1)
  local control = f.control and c.column(f.control[2])
  local hollow = {}
  for _, l in ipairs(f.layers) do
    for i = 1, l.hollow and #l.y or 0 do hollow[l.y[i]] = true end
  end
  local legend = {}
  if control then legend[1] = set.upright .. " " .. f.control[1] end
  for _, l in ipairs(f.layers) do
    if l.mark == "points" and l.name then
      legend[#legend + 1] = (l.hollow and set.hollow or set.series[1]) .. " " .. l.name
    end
  end
  put_legend(out, legend, width)
  for i, name in ipairs(f.names) do
    local line = {}
    for k = 1, w do line[k] = k == control and set.upright or " " end
    local lo = interval and c.column(interval[1][i])
    local hi = interval and c.column(interval[2][i])
    for k = lo or 1, lo and hi or 0 do
      if k ~= control then line[k] = set.between end
    end
    if lo then line[lo] = set.lo end
    if hi then line[hi] = set.hi end
    local at = c.column(f.values[i])
    if at then line[at] = hollow[i] and set.hollow or set.series[1] end
    out[#out + 1] = trim(("%s  %s  %s"):format(left(cut(name, names), names), table.concat(line),
      texts[i]))
  end
  out[#out + 1] = (" "):rep(names + 2) .. x_labels(f, c, 0)
  if f.x.label then out[#out + 1] = (" "):rep(names + 2) .. f.x.label end
  return out
end

-- -- Cells ----------------------------------------------------------------------------------------

local function shades_of(f, set) return f.colour.map == "diverging" and set.signed or set.shades end

local function shade(f, v, set)
  if not finite(v) then return "-" end
  local t, list = (v - f.colour.lo) / (f.colour.hi - f.colour.lo), shades_of(f, set)
  return list[math.min(#list, math.max(1, 1 + round(t * (#list - 1))))]
end

-- How wide a cell is and what it holds: "both" a shade and its number, "number", or "shade".
local function cell_form(f, room, width)
  local numbers = 0
  for _, row in ipairs(f.texts) do numbers = math.max(numbers, widest(row, width)) end
  local names = widest(f.x.names, width)
  if numbers + 3 <= room then return "both", math.min(room, math.max(numbers + 3, names + 1)) end
  if numbers + 1 <= room then return "number", math.min(room, math.max(numbers + 1, names + 1)) end
  return "shade", math.max(1, math.min(room, 3))
end

-- Under the cells: names where they fit, else numbers, and below what they stand for.
local function column_names(out, names, cell, before, width)
  if widest(names, width) < cell then
    local line = {}
    for i, name in ipairs(names) do line[i] = left(name, cell) end
    out[#out + 1] = trim((" "):rep(before) .. table.concat(line))
    return
  end
  local line, key = {}, {}
  for i, name in ipairs(names) do
    line[i] = left(tostring(i):sub(-cell), cell)
    key[i] = i .. "=" .. name
  end
  out[#out + 1] = trim((" "):rep(before) .. table.concat(line))
  for _, part in ipairs(figure.wrap(table.concat(key, ", "), width - before)) do
    out[#out + 1] = (" "):rep(before) .. part
  end
end

function forms.cells(f, width, _, set)
  local out, z, order = {}, f.layers[1].z, {}
  heading(f, out, width)
  local nx, ny = #f.x.names, #f.y.names
  local names = widest(f.y.names, width // 3)
  local form, cell = cell_form(f, (width - names - 2) // nx, width)
  local digits = 0
  for _, row in ipairs(f.texts) do digits = math.max(digits, widest(row, width)) end
  if f.y.label then out[#out + 1] = f.y.label end
  for j = 1, ny do order[j] = f.y.reversed and j or ny + 1 - j end
  for _, j in ipairs(order) do
    local line = {}
    for i = 1, nx do
      local glyph, number = shade(f, z[j][i], set), right(f.texts[j][i], digits)
      local best = f.best and f.best[1] == i and f.best[2] == j
      if form == "shade" then
        line[i] = (best and "*" or glyph):rep(cell)
      else
        line[i] = left((form == "both" and glyph .. " " or "") .. number .. (best and "*" or ""), cell)
      end
    end
    out[#out + 1] = trim(right(cut(f.y.names[j], names), names) .. "  " .. table.concat(line))
  end
  column_names(out, f.x.names, cell, names + 2, width)
  if f.x.label then out[#out + 1] = (" "):rep(names + 2) .. f.x.label end
  local scale = {}
  for k, glyph in ipairs(shades_of(f, set)) do scale[k] = ("'%s'"):format(glyph) end
  out[#out + 1] = ("%s%s %s %s%s"):format(f.colour.label ~= "" and f.colour.label .. ": " or "", shown(f.colour.lo, f.colour.percent),
    form == "number" and "to" or table.concat(scale, " "), shown(f.colour.hi, f.colour.percent),
    f.best and "   * best" or "")
  return out
end

-- -- Parallel coordinates -------------------------------------------------------------------------

function forms.parallel(f, width, _, set)
  local out = {}
  heading(f, out, width)
  local n = #f.uprights
  local w = math.max(8, math.min(24, (width - 4) // n - 3))
  local head, ends = {}, {}
  for k, a in ipairs(f.uprights) do
    local lo, hi = a.ends[1], a.ends[2]
    head[k] = left(cut(a.label, w), w)
    ends[k] = lo .. (" "):rep(math.max(1, w - length(lo) - length(hi))) .. hi
  end
  out[#out + 1] = trim("    " .. table.concat(head, "   "))
  out[#out + 1] = trim("    " .. table.concat(ends, "   "))
  for i = 1, #f.uprights[1].at do
    local line = {}
    for k, a in ipairs(f.uprights) do
      local strip, t = {}, a.at[i]
      for c = 1, w do strip[c] = set.strip end
      if finite(t) then strip[math.min(w, math.max(1, 1 + round(t * (w - 1))))] = set.series[1] end
      line[k] = table.concat(strip)
    end
    out[#out + 1] = ("%3d "):format(i) .. table.concat(line, "   ")
  end
  return out
end

-- -- Entry ----------------------------------------------------------------------------------------

local function size(value, name, lo, hi, default)
  if value == nil then return default end
  if math.type(value) ~= "integer" or value < lo or value > hi then
    errors.misuse(("text: %s is a whole number from %d to %d"):format(name, lo, hi))
  end
  return value
end

--- The figure as text. opts: width (characters; default: of the terminal, at most 100), height (lines
--- of a canvas, 16), charset = "unicode" (default) | "ascii".
function textplot.draw(f, opts)
  errors.check_keys("text", "option", opts, {"width", "height", "charset"})
  local width = size(opts.width, "width", 30, 400, math.min(math.max(core.width(), 40), 100))
  local height = size(opts.height, "height", 4, 100, 16)
  local set = sets[opts.charset or "unicode"]
  if not set then errors.unknown("text", "charset", opts.charset, {"ascii", "unicode"}) end
  return table.concat(forms[f.form](f, width, height, set), "\n")
end

return textplot
