--[[
gnuplot.lua: figures drawn by gnuplot, a program of its own (Debian: gnuplot-nox), found when a figure is
saved. SEGX_GNUPLOT in the environment names another one.

    gnuplot.script(fig, "svg", "x.svg")   the commands, data inside
    gnuplot.draw(fig, "svg")              the bytes of the picture; nil: there is no gnuplot

No text of the user becomes a command: all of it stands in single quotes, where gnuplot expands
nothing, with "enhanced" text off.
]]
local errors = require "segx.errors"
local figure = require "segx.figure"
local files = require "segx.files"
local format = require "segx.format"
local palette = require "segx.palette"
errors.own()

local gnuplot = {}

-- -- Text and numbers -----------------------------------------------------------------------------

local BAD = "\u{fffd}"

-- UTF-8 without control characters: what SVG and the other terminals can hold.
local function clean(s)
  s = tostring(s):gsub("%c", " ")
  if utf8.len(s) then return s end
  local out, at = {}, 1
  while at <= #s do
    local n = utf8.len(s, at, at) and utf8.offset(s, 2, at)
    out[#out + 1] = n and s:sub(at, n - 1) or BAD
    at = n or at + 1
  end
  return table.concat(out)
end

local function quote(s) return "'" .. clean(s):gsub("'", "''") .. "'" end

-- Texts of ticks pass through a printf.
local function tick_quote(s) return quote((clean(s):gsub("%%", "%%%%"))) end

local function number(v) return figure.finite(v) and format.exact(v) or "NaN" end

local function rgb(colour) return "rgb '" .. colour .. "'" end

-- Width of a text in pixels, roughly: the terminals differ, and svg cannot measure at all.
local function width_of(text, size) return 0.58 * size * (utf8.len(text) or #text) end

-- -- Data -----------------------------------------------------------------------------------------

-- A script under way: commands, and data blocks that go in front of the plot.
local function new_script() return {lines = {}, blocks = 0, plots = {}} end

local function add(s, fmt, ...) s.lines[#s.lines + 1] = fmt:format(...) end

-- rows: lists of numbers; false is an empty line, which breaks a line. Returns the block's name.
local function block(s, rows)
  s.blocks = s.blocks + 1
  local name = "$d" .. s.blocks
  add(s, "%s << EOD", name)
  for _, row in ipairs(rows) do
    local cells = {}
    for i, v in ipairs(row or {}) do cells[i] = type(v) == "number" and number(v) or v end
    s.lines[#s.lines + 1] = table.concat(cells, " ")
  end
  add(s, "EOD")
  return name
end

-- Lists side by side as rows; what is not finite, or cannot stand on a log axis, breaks the line.
local function rows_of(lists, logs)
  local rows = {}
  for i = 1, #lists[1] do
    local row, good = {}, true
    for k, list in ipairs(lists) do
      row[k] = list[i]
      good = good and figure.finite(row[k]) and not (logs[k] and row[k] <= 0)
    end
    rows[i] = good and row
  end
  return rows
end

local function plot(s, fmt, ...) s.plots[#s.plots + 1] = fmt:format(...) .. " notitle" end

-- -- Layers ---------------------------------------------------------------------------------------

local function axes_of(l) return l.on == "y2" and " axes x1y2" or "" end

local layers = {}

function layers.line(s, f, l)
  local name = block(s, rows_of({l.x, l.y}, {f.x.log, f[l.on or "y"].log}))
  plot(s, "%s using 1:2%s with %s lc %s lw %g%s%s", name, axes_of(l),
    l.points and "linespoints" or "lines", rgb(l.colour), l.width or 2, l.dash and " dt 2" or "",
    l.points and " pt 7 ps 0.6" or "")
end

function layers.band(s, f, l)
  local rows = rows_of({l.x, l.lo, l.hi}, {f.x.log, f.y.log, f.y.log})
  plot(s, "%s using 1:2:3 with filledcurves fs transparent solid 0.2 noborder lc %s",
    block(s, rows), rgb(l.colour))
end

function layers.points(s, f, l)
  local style = ("pt %d ps %g"):format(l.hollow and 6 or 7, l.size or 0.7)
  if not l.z then
    plot(s, "%s using 1:2%s with points %s lc %s", block(s,
      rows_of({l.x, l.y}, {f.x.log, f.y.log})), axes_of(l), style, rgb(l.colour))
    return
  end
  plot(s, "%s using 1:2:3 with points %s lc palette", block(s,
    rows_of({l.x, l.y, l.z}, {f.x.log, f.y.log})), style)
end

function layers.interval(s, f, l)
  local upright = l.along == "y"
  plot(s, "%s using 1:2:3:4 with %serrorbars pt 0 ps 1 lw %g lc %s",
    block(s, rows_of({l.x, l.y, l.lo, l.hi}, {f.x.log, f.y.log})), upright and "y" or "x",
    l.width or 1.5, rgb(l.colour))
end

function layers.bars(s, f, l)
  local rows, half = {}, l.width / 2
  local across = l.along == "x"
  local axis = across and f.x or f[l.on or "y"]
  local base = l.base or (axis.log and axis.lo or 0)
  for i, at in ipairs(l.at) do
    local v = l.values[i]
    if figure.finite(v) and not (axis.log and v <= 0) then
      local lo, hi = math.min(base, v), math.max(base, v)
      rows[#rows + 1] = across and {v, at, lo, hi, at - half, at + half}
        or {at, v, at - half, at + half, lo, hi}
    end
  end
  if #rows == 0 then return end
  plot(s, "%s using 1:2:3:4:5:6%s with boxxyerror fs solid %s lc %s", block(s, rows),
    axes_of(l), l.outline and "0.0 border lc " .. rgb(l.colour) .. " lw 1.2" or "1.0 noborder",
    rgb(l.outline and "#ffffff" or l.colour))
end

function layers.rule(s, f, l)
  local across = l.along == "x"      -- a horizontal line
  local lo, hi = across and f.x.lo or f.y.lo, across and f.x.hi or f.y.hi
  local rows = across and {{lo, l.at}, {hi, l.at}} or {{l.at, lo}, {l.at, hi}}
  plot(s, "%s using 1:2 with lines lc %s lw 1.5%s", block(s, rows), rgb(l.colour),
    l.solid and "" or " dt (12,6)")
end

function layers.cells(s, f, l)
  local rows, texts, holes, half = {}, {}, {}, 0.485
  for j, line in ipairs(l.z) do
    for i, v in ipairs(line) do
      if figure.finite(v) then
        rows[#rows + 1] = {i, j, v}
        if l.text then
          local t = math.min(math.max((v - f.colour.lo) / (f.colour.hi - f.colour.lo), 0), 1)
          local dark = palette.is_light(palette.map(f.colour.map, t))
          texts[#texts + 1] = {i, j, '"' .. l.text[j][i] .. '"', dark and "0x222222" or "0xffffff"}
        end
      else
        holes[#holes + 1] = {i, j}
      end
    end
  end
  local box = ("using 1:2:(%g):(%g)"):format(half, half)
  if #holes > 0 then
    plot(s, "%s %s with boxxyerror fs solid 1.0 noborder lc %s", block(s, holes), box,
      rgb(palette.nothing))
    for _, h in ipairs(holes) do texts[#texts + 1] = {h[1], h[2], '"-"', "0x767676"} end
  end
  if #rows > 0 then
    plot(s, "%s %s:3 with boxxyerror fs solid 1.0 noborder lc palette", block(s, rows), box)
  end
  if #texts > 0 then
    plot(s, "%s using 1:2:3:4 with labels tc rgb variable font ',%g'", block(s, texts),
      l.font or 10)
  end
  if l.best then
    local x, y = l.best[1], l.best[2]
    plot(s, "%s with lines lc %s lw 2.5", block(s, {{x - half, y - half}, {x + half, y - half},
      {x + half, y + half}, {x - half, y + half}, {x - half, y - half}}), rgb(palette.series[2]))
  end
end

function layers.text(s, f, l)
  for i, text in ipairs(l.text) do
    local size = l.font or 11
    local at = ("first %s,%s"):format(number(l.x[i]), number(l.y[i]))
    if l.unit then      -- on paper of its own, above the lines; unit: pixels per step in x
      local wide, high = (width_of(text, size) + 4) / l.unit, (size + 3) / f.height
      add(s, "set object rectangle at first %s,%s size first %.5f,screen %.5f fs solid 1.0 noborder "
        .. "fc rgb '#ffffff' front", number(l.x[i] + wide / 2 - 1 / l.unit), number(l.y[i]), wide, high)
    end
    add(s, "set label %s at %s %s tc %s font ',%g' front%s", quote(text), at,
      l.aligns and l.aligns[i] or "left", rgb(l.colour or palette.ink), size, l.dx
      and (" offset screen %.5f,%.5f"):format(l.dx[i] / f.width, l.dy[i] / f.height) or "")
  end
end

-- Lines of parallel coordinates: l.lines = {{y, ...}, ...} over x = 1, 2, ..., coloured by l.z.
function layers.parallel(s, _, l)
  local rows = {}
  for i = #l.lines, 1, -1 do
    for x, y in ipairs(l.lines[i]) do
      rows[#rows + 1] = figure.finite(y) and {x, y, l.z[i]} or false
    end
    rows[#rows + 1] = false
  end
  plot(s, "%s using 1:2:3 with lines lw 1.6 lc palette", block(s, rows))
  local best = {}
  for x, y in ipairs(l.lines[1] or {}) do best[x] = figure.finite(y) and {x, y} or false end
  if #best > 0 then
    plot(s, "%s using 1:2 with linespoints lw 3 pt 7 ps 0.7 lc %s", block(s, best),
      rgb(palette.series[2]))
  end
end

-- -- The whole ------------------------------------------------------------------------------------

local function terminal(f, kind)
  local w, h = f.width, f.height
  if kind == "svg" then
    return ("svg noenhanced dynamic size %d,%d font 'sans-serif,12' background '#ffffff'"):format(
      w, h)
  elseif kind == "png" then
    return ("pngcairo noenhanced size %d,%d font 'Sans,12' fontscale 1.5 linewidth 2 "
      .. "pointscale 2 background '#ffffff'"):format(2 * w, 2 * h)
  end
  return ("pdfcairo noenhanced size %.3fin,%.3fin font 'Sans,9' linewidth 1 "
    .. "background '#ffffff'"):format(w / 96, h / 96)
end

-- No name is wider than the figure.
local function legend_name(f, l) return figure.shorten(clean(l.name), math.max(8, (f.width - 60) // 6.4)) end

-- Entries of the legend in rows that fit the width: {{layer, x}, ...} in pixels.
local function legend_rows(f)
  local rows, x = {}, math.huge
  for _, l in ipairs(f.legend ~= false and f.layers or {}) do
    if l.name then
      local wide = 24 + width_of(legend_name(f, l), 11) + 20
      if x + wide > f.width - 8 then
        rows[#rows + 1], x = {}, 14
      end
      table.insert(rows[#rows], {l, x})
      x = x + wide
    end
  end
  return rows
end

-- One entry at pixel (x, y) from the left and the top: a sample of the layer's mark, then its name.
local function legend_entry(s, f, l, x, y)
  local function at(px, py) return ("screen %.5f,%.5f"):format(px / f.width, 1 - py / f.height) end
  local colour = rgb(l.colour)
  if l.mark == "band" or l.mark == "bars" then
    add(s, "set object rectangle from %s to %s fs %s fc %s lw 1.2", at(x, y - 5), at(x + 18, y + 5),
      l.mark == "band" and "transparent solid 0.2 noborder"
      or l.outline and "solid 0.0 border lc " .. colour or "solid 1.0 noborder",
      l.outline and rgb "#ffffff" or colour)
  elseif l.mark == "line" or l.mark == "rule" then
    add(s, "set arrow from %s to %s nohead lw 2 lc %s%s", at(x, y), at(x + 18, y), colour,
      (l.mark == "rule" or l.dash) and " dt (12,6)" or "")
  end
  if l.mark == "points" or l.points then
    add(s, "set label '' at %s point pt %d ps %g lc %s", at(x + 9, y), l.hollow and 6 or 7,
      l.points and 0.6 or 0.9, colour)
  end
  add(s, "set label %s at %s left tc %s font ',11'", quote(legend_name(f, l)), at(x + 24, y), rgb(palette.ink))
end

-- most: of characters in a name.
local function tick_list(axis, most)
  local list = {}
  for i, t in ipairs(axis.ticks) do
    list[i] = tick_quote(figure.shorten(clean(t[2]), most or math.huge)) .. " " .. number(t[1])
  end
  return "(" .. table.concat(list, ", ") .. ")"
end

local function range(axis)
  local lo, hi = number(axis.lo), number(axis.hi)
  if axis.reversed then lo, hi = hi, lo end
  return ("[%s:%s]"):format(lo, hi)
end

local function longest(axis)
  local n = 0
  for _, t in ipairs(axis.ticks) do n = math.max(n, utf8.len(t[2]) or #t[2]) end
  return n
end

local NAME = 7      -- pixels per character of a tick

local function axis_commands(s, f, name)
  local axis = f[name]
  if not axis then
    add(s, "unset %stics", name)
    return
  end
  add(s, "set %srange %s noextend", name, range(axis))
  if axis.log then add(s, "set logscale %s", name) end
  if #axis.ticks > 0 then
    local rotated, most = "", nil
    if axis.names then
      -- Names beside the plot take half of the width at most; those below it are slanted, or stand, if they need.
      most = name == "x" and 30 or math.max(8, math.floor(0.5 * f.width / NAME))
      local room = 0.7 * f.width / #axis.names
      if name == "x" and math.min(longest(axis), most) * NAME > room then
        rotated = room < 24 and " rotate by 90 right" or " rotate by 40 right"
      end
    end
    add(s, "set %stics %s nomirror out scale %s textcolor %s%s", name, tick_list(axis, most),
      axis.names and "0" or "0.6", rgb(palette.ink), rotated)
  else
    add(s, "unset %stics", name)
  end
  if axis.label then
    add(s, "set %slabel %s%s textcolor %s", name, quote(axis.label),
      s.kind == "pdf" and name == "x" and " offset 0,0.3" or "", rgb(palette.ink))     -- pdf cuts the last line off
  end
end

local function frame(s, f)
  local top = 14
  local function heading(text, size, colour, height)
    add(s, "set label %s at screen %.5f,%.5f left tc %s font ',%g'", quote(text), 12 / f.width,
      1 - (top + height * 0.35) / f.height, rgb(colour), size)
    top = top + height
  end
  if f.title then heading(f.title, 14, palette.ink, 22) end
  for _, note in ipairs(type(f.note) == "table" and f.note or {f.note}) do
    for k, line in ipairs(figure.wrap(note, (f.width - 24) // 6)) do
      if k <= 3 then heading(line, 10.5, palette.faint, 17) end
    end
  end
  for _, row in ipairs(legend_rows(f)) do
    for _, entry in ipairs(row) do legend_entry(s, f, entry[1], entry[2], top + 6) end
    top = top + 18
  end
  add(s, "unset key")
  add(s, "set tmargin at screen %.5f", 1 - (top + (f.extra_top or 6)) / f.height)
  if f.sides then
    add(s, "set lmargin at screen %.5f", f.sides / f.width)
    add(s, "set rmargin at screen %.5f", 1 - f.sides / f.width)
  end
end

local function colour_box(s, f)
  local c = f.colour
  if not c then
    add(s, "unset colorbox")
    return
  end
  local anchors = {}
  for i, hex in ipairs(palette.anchors(c.map)) do anchors[i] = ("%d '%s'"):format(i - 1, hex) end
  add(s, "set palette defined (%s)", table.concat(anchors, ", "))
  add(s, "set cbrange [%s:%s]", number(c.lo), number(c.hi))
  local axis = figure.axis({lo = c.lo, hi = c.hi, percent = c.percent, most = 5}, {})
  add(s, "set cbtics %s nomirror scale 0.4 textcolor %s font ',11'", tick_list(axis), rgb(palette.ink))
  local wide = longest(axis) + (c.percent and 1 or 0)       -- of digits; "%" is as wide as two
  local offset = wide > 4 and (" offset %g,0"):format(0.8 * (wide - 4)) or ""
  add(s, "set cblabel %s%s textcolor %s", quote(c.label), offset, rgb(palette.ink))
  add(s, c.hidden and "unset colorbox" or "set colorbox noborder")
end

--- The commands that draw a figure, its data inside. kind: "svg", "png", "pdf"; output: path, or nil
--- for standard output.
function gnuplot.script(f, kind, output)
  local s = new_script()
  s.kind = kind
  add(s, "# segx figure: %s", clean(f.kind or "figure"))
  add(s, "set encoding utf8")
  add(s, "set terminal %s", terminal(f, kind))
  if output then add(s, "set output %s", quote(output)) end
  add(s, "set border %d lc %s lw 1", f.border or 3, rgb("#9a9a9a"))
  frame(s, f)
  for _, name in ipairs {"x", "y"} do axis_commands(s, f, name) end
  if f.y2 then axis_commands(s, f, "y2") end
  for _, name in ipairs(f.grid or {}) do
    add(s, "set grid %stics lt 1 lw 1 lc %s", name, rgb(palette.grid))
  end
  colour_box(s, f)
  for _, line in ipairs(f.commands or {}) do add(s, "%s", line) end
  for _, l in ipairs(f.layers) do layers[l.mark](s, f, l) end
  if #s.plots == 0 then plot(s, "NaN with lines") end
  add(s, "plot %s", table.concat(s.plots, ", \\\n  "))
  return table.concat(s.lines, "\n") .. "\n"
end

-- -- Running --------------------------------------------------------------------------------------

--- The program that is run.
function gnuplot.program() return gnuplot.other or os.getenv "SEGX_GNUPLOT" or "gnuplot" end

local function one_line(s) return (s:gsub("%s*\n%s*", " "):gsub("^%s+", ""):gsub("%s+$", "")) end

--- Bytes of the picture, or nil where there is no gnuplot. What gnuplot complains about is raised.
function gnuplot.draw(f, kind)
  local input = os.tmpname()
  local said = input .. ".err"
  local clear <close> = setmetatable({}, {__close = function()
    os.remove(input)
    os.remove(said)
  end})
  files.write(input, gnuplot.script(f, kind))
  local pipe <close> = assert(io.popen(("%s -d %s 2>%s"):format(files.quote(gnuplot.program()),
    files.quote(input), files.quote(said)), "r"))
  local bytes = pipe:read "a"
  local _, _, status = pipe:close()
  if status == 127 or status == 126 then return nil end
  if status ~= 0 or bytes == "" then
    errors.raise("file", ("gnuplot failed: %s"):format(one_line(files.read(said) or "")),
      'fig:save("x.gp") keeps the commands')
  end
  return bytes
end

return gnuplot
