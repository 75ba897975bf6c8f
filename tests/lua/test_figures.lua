-- test_figures.lua: figures as data, as text and as gnuplot's commands; what gnuplot makes of them, where
-- it is installed.
local T = require "harness"
local F = require "fixtures"
local segx = require "segx"
local figure = require "segx.figure"
local files = require "segx.files"
local gnuplot = require "segx.gnuplot"
local plot = require "segx.plot"
local result = require "segx.result"
local test, eq, ok, throws, near = T.test, T.eq, T.ok, T.throws, T.near

local nan, inf = 0 / 0, math.huge
local has_gnuplot = os.execute "command -v gnuplot >/dev/null 2>&1"

local function need_gnuplot()
  if not has_gnuplot then T.skip "gnuplot is not installed" end
end

-- The text of a figure must be these lines.
local function drawn(f, opts, want)
  opts.width = opts.width or 40
  eq(f:text(opts) .. "\n", want:gsub("^\n", ""))
end

local ascii = {charset = "ascii", height = 6}

-- -- Axes -----------------------------------------------------------------------------------------

local function ticks(axis, values)
  local list = {}
  for i, t in ipairs(figure.axis(axis, values).ticks) do list[i] = t[2] end
  return list
end

test "ticks" (function()
  eq(ticks({pad = 0}, {0, 1}), {"0", "0.2", "0.4", "0.6", "0.8", "1"})
  eq(ticks({pad = 0}, {-3, 7}), {"-2", "0", "2", "4", "6"})
  eq(ticks({pad = 0, percent = true}, {0, 0.3}), {"0 %", "5 %", "10 %", "15 %", "20 %", "25 %", "30 %"})
  eq(ticks({pad = 0, log = true}, {1, 100}), {"1", "2", "5", "10", "20", "50", "100"})
  eq(ticks({pad = 0, log = true}, {1e-5, 1e3}), {"0.0001", "0.01", "1", "100"})
  eq(ticks({pad = 0, log = true, most = 3}, {1e-9, 1e9}), {"1e-6", "1", "1e6"})
  eq(ticks({pad = 0, log = true}, {3, 4}), {"3", "3.2", "3.4", "3.6", "3.8", "4"})
  eq(ticks({pad = 0}, {1e-9, 3e-9}), {"1e-9", "1.5e-9", "2e-9", "2.5e-9", "3e-9"})
  eq(ticks({names = {"a", "b"}}, {}), {"a", "b"})
end)

test "ticks at the tried values, where they do not crowd" (function()
  eq(ticks({places = {0, 0.5, 1, 2, 5, 0.5}}, {0, 5}), {"0", "0.5", "1", "2", "5"})
  eq(ticks({pad = 0, places = {0, 0.01, 5}}, {0, 5}), {"0", "1", "2", "3", "4", "5"})
  eq(ticks({places = {1}}, {1})[1], "0.9")
end)

test "ranges: constant, empty, not finite, limits" (function()
  local function range(axis, values)
    local a = figure.axis(axis, values)
    return {a.lo, a.hi}
  end
  eq(range({}, {5, 5}), {4.5, 5.5})
  eq(range({}, {0}), {-1, 1})
  eq(range({}, {}), {0 - 0.04, 1.04})
  eq(range({log = true, pad = 0}, {nan, 0, -1}), {1, 10})
  eq(range({pad = 0}, {nan, inf, -inf, 1, 2}), {1, 2})
  eq(range({pad = 0, zero = true}, {1, 2}), {0, 2})
  eq(range({log = true, pad = 0}, {0, 1, 4}), {1, 4})
  eq(range({lo = 0, hi = 3}, {1}), {0, 3})
  throws("an axis from 0 to 1, logarithmic", figure.axis, {lo = 0, hi = 1, log = true}, {})
end)

-- -- Text -----------------------------------------------------------------------------------------

local function line()
  return plot.line {title = "A title", note = "best over mix", x = {0, 1, 2}, y = {1, 3, 2},
    lo = {0.5, 2, 1}, hi = {1.5, 4, 3}, name = "tau", xlabel = "gamma", ylabel = "tau(iou)",
    control = {"control", 2}, band = "interval"}
end

test "a line with its band, as text" (function()
  drawn(line(), {height = 6}, [[

A title
best over mix
░ interval   ┄ control   ● tau
tau(iou)
4 ┤               ░░░░░░░░░░░░
3 ┤           ░░░░░░·●··░░░░░░░░░░░░░░░
  │       ░░░░░·····░░░░··········░░░░░
2 ┤┄┄┄┄┄┄┄·····┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄····●┄
1 ┤ ●·····░░░░░░░           ░░░░░░░░░░░
  │ ░░░░░░
  └─┬────────────────┬────────────────┬─
    0                1                2
                   gamma
]])
end)

test "other forms as text" (function()
  drawn(plot.bars {names = {"road", "pole"}, percent = true, xlabel = "part",
    series = {{name = "pixels", values = {0.3, 0.01}}, {name = "this", values = {0.1, 0.2}}}}, ascii, [[

= pixels   # this
road  ========================== 30.0 %
      ######### 10.0 %
pole  = 1.0 %
      ################# 20.0 %
      part
]])
  drawn(plot.bars {names = {"a", "b"}, values = {-1, 2}, lo = {-2, 1}, hi = {0, 3}}, ascii, [[

a        ##### -1 [-2, 0]
b             ######### 2 [1, 3]
]])
  drawn(plot.rank {names = {"a 1", "a 2"}, values = {0.5, 0.7}, lo = {0.4, 0.6}, hi = {0.6, 0.8},
    hollow = {true, false}, control = {"control", 0.55}, legend = {"differs", "not separable"},
    xlabel = "tau"}, ascii, [[

| control   * differs   o not separable
a 1  |----o-|-|           0.5 [0.4, 0.6]
a 2         | |---*----|  0.7 [0.6, 0.8]
     0.4 0.5 0.6 0.7 0.8
     tau
]])
  drawn(plot.parallel {axes = {{label = "gamma", values = {0, 5, 1}},
    {label = "w", values = {1, 1000, 10}}, {label = "scheme", values = {"a", "b", "a"}}}, z = {3, 2, 1}},
    {charset = "ascii", width = 60}, [[

    gamma             w (log)           scheme
    0             5   1          1000   a             b
  1 *..............   *..............   *..............
  2 ..............*   ..............*   ..............*
  3 ...*...........   .....*.........   *..............
]])
end)

test "cells as text: shade and number, number, shade" (function()
  drawn(plot.heatmap {xnames = {"0", "1"}, ynames = {"lo", "hi"}, z = {{1, 2}, {3, nan}}, zlabel = "tau",
    best = {1, 2}, xlabel = "x", ylabel = "y"}, ascii, [[

1 value is not finite and left out
y
hi  # 3.00*-    -
lo    1.00 : 2.00
    0      1
    x
tau: 1 ' ' '.' ':' '*' '#' 3   * best
]])
  local six = {"first", "second", "third", "fourth", "fifth", "sixth"}
  drawn(plot.heatmap {xnames = six, ynames = {"row"}, z = {{1.234, 2, 3, 4, 5, 6}}}, ascii, [[

row  1.23 2.00 3.00 4.00 5.00 6.00
     1    2    3    4    5    6
     1=first, 2=second, 3=third,
     4=fourth, 5=fifth, 6=sixth
1.234 to 6
]])
  drawn(plot.heatmap {xnames = six, ynames = {"row"}, z = {{-1000, 200, 0, -400, 1000, 6}}, zlabel = "net",
    map = "diverging"}, {charset = "ascii", width = 30}, [[

row  ===      ---###
     1  2  3  4  5  6
     1=first, 2=second,
     3=third, 4=fourth,
     5=fifth, 6=sixth
net: -1000 '=' '-' ' ' '+' '#' 1000
]])
end)

test "points, one row, a constant, logarithms" (function()
  drawn(plot.scatter {x = {1, 2, 3, nan}, y = {1, 2, 1, 1}, xlabel = "loss", ylabel = "iou"}, ascii, [[

1 value is not finite and left out
iou
  2 +                 *
1.8 +
1.6 +
1.4 +
1.2 +
  1 + *                               *
    +-+-------+-------+-------+-------+-
      1      1.5      2      2.5      3
                    loss
]])
  drawn(plot.line {x = {1}, y = {5}}, ascii, [[

5.4 +
5.2 +
  5 +                 *
    |
4.8 +
4.6 +
    ++-------+--------+--------+-------+
    0.9    0.95       1      1.05    1.1
]])
  drawn(plot.line {x = {1, 2}, y = {0, 0}}, ascii, [[

   1 +
 0.5 +
   0 + *..............................*
     |
-0.5 +
  -1 +
     +-+------------------------------+-
       1                              2
]])
  drawn(plot.line {x = {1, 10, 100}, y = {1e-3, 1, 1e3}, logx = true, logy = true}, ascii, [[

     |                            ....*
 100 +                       .....
   1 +                 *.....
     |           ......
0.01 +      .....
     | *....
     +-+---------------+--------------+-
       1              10             100
]])
end)

test "every form stays in its width and takes any number" (function()
  local odd = {nan, inf, -inf, 0, -1e300, 1e300, 1e-300, 1}
  local names, x = {}, {}
  for i = 1, #odd do names[i], x[i] = ("class number %d with a long name"):format(i), i end
  local made = {
    plot.line {x = x, y = odd, lo = odd, hi = odd}, plot.line {x = odd, y = x, logx = true, logy = true},
    plot.bars {names = names, values = odd, lo = odd, hi = odd}, plot.scatter {x = odd, y = odd, z = odd},
    plot.rank {names = names, values = odd, lo = odd, hi = odd, control = {"control", nan}},
    plot.heatmap {xnames = names, ynames = {"a", "b"}, z = {odd, odd}},
    plot.parallel {axes = {{label = "a", values = odd}, {label = "b", values = odd, log = true}}, z = odd},
  }
  for _, f in ipairs(made) do
    for _, width in ipairs {60, 77, 200} do
      for _, charset in ipairs {"ascii", "unicode"} do
        for l in (f:text {width = width, charset = charset} .. "\n"):gmatch "(.-)\n" do
          ok(utf8.len(l) <= width, ("%s in %d: %s"):format(f.kind, width, l))
        end
      end
    end
    ok(not gnuplot.script(f, "svg"):find "[^%a]inf", f.kind)
  end
  throws("width is a whole number", made[1].text, made[1], {width = 3})
  throws("unknown charset 'asci' %(did you mean 'ascii'", made[1].text, made[1], {charset = "asci"})
end)

-- -- Files ----------------------------------------------------------------------------------------

test "numbers of a figure" (function()
  local f = plot.line {x = {0, 1}, y = {1 / 3, inf}, name = 'a "b", c', xlabel = "gamma"}
  eq(f:data(), {names = {"series", "gamma", "value", "lo", "hi"}, {'a "b", c', 0, 1 / 3, nan, nan},
    {'a "b", c', 1, inf, nan, nan}})
  local path = T.tmp "f.csv"
  eq(f:save(path), path)
  eq(files.read(path), 'series,gamma,value,lo,hi\n"a ""b"", c",0,0.3333333333333333,nan,nan\n'
    .. '"a ""b"", c",1,inf,nan,nan\n')
  path = T.tmp "f.dat"
  f:save(path)
  eq(files.read(path), '# "series"\t"gamma"\t"value"\t"lo"\t"hi"\n"a  b , c"\t0\t0.3333333333333333\tnan\tnan\n'
    .. '"a  b , c"\t1\tinf\tnan\tnan\n')
  path = T.tmp "f.txt"
  f:save(path)
  eq(files.read(path), tostring(f) .. "\n")
  throws("unknown kind of file 'svgz' %(did you mean 'svg'", f.save, f, "x.svgz")
  throws("unknown kind of file ''", f.save, f, "runs.d/x")
  throws("expected a path", f.save, f)
end)

test "gnuplot's commands" (function()
  local f = plot.line {title = "t", x = {0, 1}, y = {1, nan}, xlabel = "g", width = 300, height = 200}
  eq(gnuplot.script(f, "svg", "o.svg"), [[
# segx figure: line
set encoding utf8
set terminal svg noenhanced dynamic size 300,200 font 'sans-serif,12' background '#ffffff'
set output 'o.svg'
set border 3 lc rgb '#9a9a9a' lw 1
set label 't' at screen 0.04000,0.89150 left tc rgb '#333333' font ',14'
set label '1 value is not finite and left out' at screen 0.04000,0.79025 left tc rgb '#767676' font ',10.5'
unset key
set tmargin at screen 0.70500
set xrange [-0.04:1.04] noextend
set xtics ('0' 0, '1' 1) nomirror out scale 0.6 textcolor rgb '#333333'
set xlabel 'g' textcolor rgb '#333333'
set yrange [0.9:1.1] noextend
set ytics ('0.9' 0.9, '0.95' 0.95, '1' 1, '1.05' 1.05, '1.1' 1.1) nomirror out scale 0.6 textcolor rgb '#333333'
set grid ytics lt 1 lw 1 lc rgb '#e3e3e3'
unset colorbox
$d1 << EOD
0 1

EOD
plot $d1 using 1:2 with linespoints lc rgb '#0072b2' lw 2 pt 7 ps 0.6 notitle
]])
end)

-- Text that would be a command, a macro, markup or not UTF-8.
local function nasty(mark)
  return {"a'; system 'touch " .. mark .. "'; '", "`touch " .. mark .. "`", "$(touch " .. mark .. ")",
    "@macro", "{/=40 x_1^2}", "%s %d 100 %", "back\\slash \\n \\\"", "line\nend\r\t", "<b>&amp;\"</b>",
    "\xff\xfebad\xc3", "EOD", "größe µ", "set terminal dumb\nplot x"}
end

local function nasty_figures(mark)
  local names = nasty(mark)
  local values, list = {}, {}
  for i = 1, #names do values[i] = i end
  list[1] = plot.bars {names = names, values = values, title = names[1], note = names, xlabel = names[2]}
  list[2] = plot.heatmap {xnames = names, ynames = {names[3]}, z = {values}, zlabel = names[1]}
  list[3] = plot.rank {names = names, values = values, control = {names[2], 2}}
  list[4] = plot.parallel {axes = {{label = names[1], values = names}, {label = names[2], values = values}},
    z = values, zlabel = names[3]}
  list[5] = plot.scatter {x = values, y = values, labels = names, xlabel = names[6], ylabel = names[10]}
  list[6] = plot.line {series = {{name = names[2], x = values, y = values}, {name = names[9], x = values,
    y = values}}, xnames = names}
  return list
end

test "names stay names: every line of a script is one of ours" (function()
  for _, f in ipairs(nasty_figures "/nowhere") do
    for l in gnuplot.script(f, "svg"):gmatch "[^\n]+" do
      ok(l:find "^#" or l:find "^set " or l:find "^unset " or l:find "^plot " or l:find "^  %$d" or l:find "^%$d"
        or l:find "^EOD$" or l:find "^[-%d]", l)
      -- Outside of quotes nothing is left that gnuplot would expand.
      local bare = l:gsub("'[^']*'", ""):gsub('"[^"]*"', "")
      ok(l:find "^#" or not bare:find "[`@\"']", l)
    end
  end
end)

-- -- XML: is it well formed? -----------------------------------------------------------------------

local entities = {amp = true, lt = true, gt = true, quot = true, apos = true}

local function check_text(s)
  ok(utf8.len(s), "not UTF-8")
  ok(not s:find "[%z\1-\8\11\12\14-\31]", "a control character")
  ok(not s:find "<", "a < in text: " .. s)
  for name in s:gmatch "&([^;]*;?)" do
    ok(entities[name:match "^(%w+);$" or ""] or name:find "^#x?%x+;$", "a bare & before " .. name)
  end
end

-- Raises unless the text is one well-formed element (comments and a declaration aside).
local function well_formed(xml)
  local open, at, roots = {}, 1, 0
  xml = xml:gsub("^<%?xml.-%?>", ""):gsub("<!%-%-.-%-%->", ""):gsub("<!DOCTYPE.->", "")
  while true do
    local text, slash, name, attributes, empty, after =
      xml:match("^([^<]*)<(/?)([%w:_-]+)(.-)(/?)>()", at)
    if not text then break end
    check_text(text)
    ok(#open > 0 or not text:find "%S", "text outside of the root")
    at = after
    if slash == "/" then
      eq(table.remove(open), name, "closes")
    else
      local rest = attributes:gsub("%s+[%w:_-]+%s*=%s*'([^']*)'", function(v) check_text(v) return "" end)
        :gsub('%s+[%w:_-]+%s*=%s*"([^"]*)"', function(v) check_text(v) return "" end)
      ok(not rest:find "%S", ("attributes of %s: %s"):format(name, attributes))
      roots = roots + (#open == 0 and 1 or 0)
      if empty == "" then open[#open + 1] = name end
    end
  end
  eq(#open, 0, "left open")
  eq(roots, 1, "roots")
  ok(not xml:sub(at):find "%S", "something after the root")
end

test "the check of XML can fail" (function()
  well_formed "<?xml version='1.0'?>\n<a x='1' y=\"2\"><b/>t &amp; t<c></c></a>\n"
  for _, bad in ipairs {"<a><b></a></b>", "<a>", "<a/><b/>", "<a>&</a>", "<a x=1></a>", "<a>\1</a>", "<a>\xff</a>",
    "<a>x < y</a>"} do
    ok(not pcall(well_formed, bad), bad)
  end
end)

-- -- Drawing --------------------------------------------------------------------------------------

local function sweep_result()
  local g, m, v, tau, lo, hi, diff, note, control = {}, {}, {}, {}, {}, {}, {}, {}, {}
  for i = 0, 3 do
    for j = 0, 2 do
      local k = #g + 1
      g[k], m[k], v[k] = i * 1.0, j / 2, 1 + i - j
      tau[k] = 0.5 + 0.05 * i - 0.1 * (j - 1) ^ 2
      lo[k], hi[k], diff[k], note[k] = tau[k] - 0.1, tau[k] + 0.1, tau[k] - 0.45, i > 2 and "" or "not separable"
      control[k] = 2.5
    end
  end
  return result.new {count = #g, n_axes = 2, positions = {}, columns = {{name = "gamma", values = g},
    {name = "mix", values = m}, {name = "value", values = v}, {name = "control", values = control},
    {name = "tau(iou)", values = tau, lo = lo, hi = hi},
    {name = "tau(iou)-control", values = diff, lo = lo, hi = hi, note = note}}}
end

local function all_kinds(r)
  return {r:plot("line", {x = "gamma", y = "tau(iou)"}), r:plot("line", {y = "value", by = "mix"}),
    r:plot("heatmap", {z = "tau(iou)"}), r:plot("parallel", {by = "tau(iou)", top = 5}),
    r:plot("scatter", {x = "value", y = "tau(iou)", z = "gamma"}), r:plot("rank", {by = "tau(iou)"}),
    r:plot("bars", {x = "mix", y = "tau(iou)"})}
end

test "every kind of figure is well-formed SVG" (function()
  need_gnuplot()
  for _, f in ipairs(all_kinds(sweep_result())) do
    local svg = gnuplot.draw(f, "svg")
    well_formed(svg)
    ok(not svg:find "http[^\"']*[\"']" or not svg:gsub('xmlns[:%w]*="http://www.w3.org/[%w/]+"', ""):find "http", f.kind)
  end
end)

test "names that are commands are drawn, not run" (function()
  need_gnuplot()
  local mark = T.tmp "mark"
  for _, f in ipairs(nasty_figures(mark)) do
    for _, kind in ipairs {"svg", "png", "pdf"} do
      local bytes = gnuplot.draw(f, kind)
      if kind == "svg" then well_formed(bytes) end
    end
  end
  eq(files.read(mark), nil)
  local svg = gnuplot.draw(nasty_figures(mark)[1], "svg")
  for _, text in ipairs {"%s %d 100 %", "{/=40 x_1^2}", "größe µ", "&lt;b>&amp;amp;", "`touch", "@macro"} do
    ok(svg:find(text, 1, true), text)
  end
end)

test "PNG and PDF, also to a path with quotes in it" (function()
  need_gnuplot()
  local f = plot.line {x = {0, 1}, y = {0, 1}, width = 320, height = 200}
  local path = T.tmp "it's a `touch x`.png"
  eq(f:save(path), path)
  local png = files.read(path)
  eq(png:sub(1, 8), "\137PNG\r\n\26\n")
  eq({(">I4I4"):unpack(png, 17)}, {640, 400, 25})
  path = T.tmp "f.PDF"
  f:save(path)
  eq(files.read(path):sub(1, 5), "%PDF-")
end)

test "a thousand rows, ten thousand points" (function()
  local x, y = {}, {}
  for i = 1, 10000 do x[i], y[i] = i, i % 97 end
  local f = plot.scatter {x = x, y = y}
  eq(#f:data(), 10000)
  ok(tostring(f):find "5,000 of 10,000 points", "said")
  local long = plot.line {x = table.move(x, 1, 1000, 1, {}), y = table.move(y, 1, 1000, 1, {})}
  ok(#long:text {width = 80} < 8000)
  if has_gnuplot then ok(#gnuplot.draw(f, "svg") < 1e6) end
end)

test "without gnuplot the numbers and the commands are written, and a hint" (function()
  gnuplot.other = "/nonexistent/gnuplot"
  local said, old = {}, warn
  warn = function(...) said[#said + 1] = table.concat {...} end
  local path = T.tmp "w.svg"
  local done, written = pcall(line().save, line(), path)
  warn, gnuplot.other = old, nil
  ok(done, written)
  eq(written, (path:gsub("svg$", "csv")))
  ok(said[1]:find "there is no gnuplot" and said[1]:find "gnuplot%-nox" and said[1]:find(written, 1, true), said[1])
  ok(files.read(written):find "^series,gamma,value")
  local gp = files.read((path:gsub("svg$", "gp")))
  ok(gp:find("set output '" .. path .. "'", 1, true), gp)
  eq(files.read(path), nil)
  if has_gnuplot then
    ok(os.execute("gnuplot -d " .. files.quote((path:gsub("svg$", "gp")))))
    well_formed(files.read(path))
  end
  for _, ext in ipairs {"svg", "csv", "gp"} do os.remove((path:gsub("svg$", ext))) end
end)

test "what gnuplot complains about is raised" (function()
  gnuplot.other = "/bin/false"
  local good, e = pcall(line().save, line(), T.tmp "c.svg")
  gnuplot.other = nil
  ok(not good and e.code == "file" and e.message:find "gnuplot failed", tostring(e))
  need_gnuplot()
  local f = line()
  f.commands = {"set nonsense 7"}
  eq(throws("nonsense", f.save, f, T.tmp "d.svg").code, "file")
end)

test "files are written at once or not at all" (function()
  local path = T.tmp "kept.csv"
  files.write(path, "old")
  ok(os.execute("mkdir " .. files.quote(path .. ".part")))
  local e = throws("cannot be written", files.write, path, "new")
  eq(e.code, "file")
  eq(files.read(path), "old")
  os.execute("rmdir " .. files.quote(path .. ".part"))
  files.write(path, "new")
  eq(files.read(path), "new")
  eq(files.read(path .. ".part"), nil)
  throws("/nonexistent/x.csv: cannot be written: No such file", files.write, "/nonexistent/x.csv", "x")
  local full = io.open("/dev/full", "rb")
  if full then
    full:close()
    throws("/dev/full: cannot be written: No space left", files.write, "/dev/full", ("x"):rep(100000))
    throws("/dev/full: cannot be written: No space left", files.write, "/dev/full", "x")
  end
  eq(files.quote "it's", [['it'\''s']])
  eq({files.split "a.b/c.SVG"}, {"a.b/c", "SVG"})
  eq({files.split "a.b/c"}, {"a.b/c", ""})
end)

-- -- Figures of results ---------------------------------------------------------------------------

test "a line of a sweep: best over the other axes, band, control" (function()
  local f = sweep_result():plot("line", {x = "gamma", y = "tau(iou)"})
  local t = f:data()
  eq(#t, 4)
  eq(t[1][1], "tau(iou)")
  near({table.unpack(t[1], 2)}, {0, 0.5, 0.4, 0.6}, 1e-12)
  near({table.unpack(t[4], 2)}, {3, 0.65, 0.55, 0.75}, 1e-12)
  ok(tostring(f):find "best over mix", tostring(f))
  local rule
  for _, l in ipairs(f.layers) do rule = l.mark == "rule" and l or rule end
  near(rule.at, 0.45)
  eq(sweep_result():plot("line", {y = "value"}).layers[1].at, 2.5)
  eq(sweep_result():plot("line", {y = "value", control = false}).layers[1].mark, "line")
end)

test "reduce" (function()
  local r = sweep_result()
  local function values(how, y)
    local list = {}
    for i, row in ipairs(r:plot("line", {y = y or "value", reduce = how}):data()) do list[i] = row[3] end
    return list
  end
  eq(values(), {-1, 0, 1, 2})            -- a loss: least is best
  eq(values "best", {-1, 0, 1, 2})
  eq(values "max", {1, 2, 3, 4})
  eq(values "mean", {0, 1, 2, 3})
  throws("unknown reduce 'mena' %(did you mean 'mean'", values, "mena")
end)

test "heatmap: matrix, best, a hole" (function()
  local r = sweep_result()
  local f = r:plot("heatmap", {x = "gamma", y = "mix", z = "tau(iou)"})
  eq(f:data().names, {"mix", "0", "1", "2", "3"})
  eq({f.best[1], f.best[2]}, {4, 2})
  ok(tostring(f):find "best: 0.65 at gamma 3, mix 0.5", tostring(f))
  f = r:filter(function(row) return row.gamma ~= 1 or row.mix ~= 0 end):plot("heatmap", {z = "value"})
  eq(f:data()[1], {"0", 1, nan, 3, 4})
  eq({f.best[1], f.best[2]}, {1, 3})
end)

test "parallel: the best rows, axes over all that was tried" (function()
  local f = sweep_result():plot("parallel", {by = "tau(iou)", top = 2})
  eq(f:data().names, {"gamma", "mix", "tau(iou)"})
  eq(#f:data(), 2)
  near(f.uprights[1].at, {1, 2 / 3}, 1e-12)
  eq(f.uprights[1].ends, {"0", "3"})
  ok(tostring(f):find "best 2 of 12 rows")
end)

test "rank: intervals, control, not separable" (function()
  local f = sweep_result():plot("rank", {by = "tau(iou)", top = 4})
  eq(f.names[1], "gamma 3, mix 0.5")
  near(f.control[2], 0.45)
  eq(f:data().names, {"name", "tau(iou)", "tau(iou).lo", "tau(iou).hi"})
  local text = f:text {width = 90}
  ok(text:find "○ not separable from the control" and text:find "● differs", text)
end)

test "rank, classes: rows with equal numbers stand once" (function()
  local g, m, v = {}, {}, {}
  for i = 0, 9 do            -- mix 0: g changes nothing
    for j = 0, 1 do
      g[#g + 1], m[#m + 1], v[#v + 1] = i, j, j == 0 and 0.9 or i / 20
    end
  end
  v[2], v[4] = nan, nan
  local same = {}
  for i in ipairs(g) do same[i] = 7 end
  local r = result.new {count = #g, n_axes = 3, positions = {}, columns = {{name = "g", values = g},
    {name = "mix", values = m}, {name = "same", values = same}, {name = "tau(iou)", values = v},
    {name = "share.road", values = v}, {name = "share.pole", values = v}}}
  local f = r:plot("rank", {by = "tau(iou)", top = 3})
  eq(f.names, {"g 0, mix 0 + 9 equal", "g 9, mix 1", "g 8, mix 1"})
  eq(f.note, {"best 3 of 20 rows"})
  eq(r:filter(function(row) return row.mix == 1 end):plot("rank", {by = "tau(iou)", top = 2}).names, {"g 9", "g 8"})
  f = r:plot("rank", {by = "tau(iou)", top = 30})
  eq(#f.names, 9)            -- 1 of mix 0, 8 with numbers; none of the two without
  local none = result.new {count = 2, n_axes = 1, positions = {}, columns = {{name = "g", values = {1, 2}},
    {name = "value", values = {nan, nan}}}}
  eq(none:plot("rank").names, {"g 1 + 1 equal"})
  f = r:plot("classes", {y = "share", by = "tau(iou)", top = 2})
  eq({f.series[1].name, f.series[2].name}, {"g 0, mix 0", "g 9, mix 1"})
  r.columns[4].lo, r.columns[4].hi = g, v       -- their intervals tell them apart
  eq(result.new {count = #g, n_axes = 3, positions = {}, columns = r.columns}:plot("rank",
    {by = "tau(iou)", top = 3}).names, {"g 0", "g 1", "g 2"})
end)

test "long names lose their middle, and the figure stays" (function()
  eq(figure.shorten("abcdefghij", 10), "abcdefghij")
  eq(figure.shorten("abcdefghijk", 10), "abcde...jk")
  eq(figure.shorten("дорогадорога", 9), "доро...га")
  eq(figure.shorten("\xffbcdefghijk", 10), "\xffbcde...jk")
  eq(figure.shorten("abcdefghijk", 4), "a...")
  local long = ("0.5*L.focal{gamma = 2} + "):rep(20) .. "end"
  local f = plot.rank {names = {long, "b"}, values = {1, 2}}
  eq(f:data()[1][1], long)
  local ticks = gnuplot.script(f, "svg"):match "set ytics %b()"
  ok(ticks:find("...", 1, true) and ticks:find("end' 1", 1, true) and #ticks < 120, ticks)
  f = plot.line {series = {{name = long, x = {1, 2}, y = {1, 2}}, {name = "b", x = {1, 2}, y = {2, 1}}}}
  ok(not gnuplot.script(f, "svg"):find(long, 1, true))
  local names, row = {}, {}
  for i = 1, 40 do names[i], row[i] = "class_" .. i, i end
  ok(gnuplot.script(plot.heatmap {xnames = names, ynames = {"a"}, z = {row}}, "svg"):find "rotate by 90 right")
end)

test "rank: what all of its rows share" (function()
  local f = sweep_result():plot("rank", {by = "tau(iou)", top = 2})
  eq(f.note, {"best 2 of 12 rows", "mix 0.5 in all of them",
    "not separable: the interval of the paired difference holds 0"})
end)

test "classes: columns by class of the best rows" (function()
  local names = {"fit.miou", "fit.gain", "fit.gain.sky", "fit.gain.pole", "fit.miou-control", "fit.gain.sky-control"}
  local columns = {{name = "name", values = {"one", "two", "three"}}}
  for k, name in ipairs(names) do columns[k + 1] = {name = name, values = {k, k + 10, k + 5}} end
  columns[4].lo, columns[4].hi, columns[5].lo, columns[5].hi = {1, 2, 3}, {11, 12, 13}, {4, 5, 6}, {14, 15, 16}
  local r = result.new {columns = columns, count = 3, n_axes = 1, positions = {}}
  local f = r:plot("classes", {y = "fit.gain", top = 2})
  eq(f.names, {"sky", "pole"})
  eq({f.series[1].name, f.series[1].values, f.series[1].lo, f.series[1].hi}, {"two", {13, 14}, {2, 5}, {12, 15}})
  eq({f.series[2].name, f.series[2].values}, {"three", {8, 9}})
  eq(r:plot("classes", {y = "fit.gain"}).note, {"two"})
  throws("no column fit.iou.CLASS", r.plot, r, "classes", {y = "fit.iou"})
  throws("which columns", r.plot, r, "classes")
  throws("at most 4", r.plot, r, "classes", {y = "fit.gain", top = 5})
  eq(r:plot("rank", {by = "fit.miou"}).names, {"two", "three", "one"})
end)

test "columns by their prefix; unknown and wrong ones" (function()
  local r = result.new {count = 2, n_axes = 1, positions = {}, columns = {{name = "g", values = {1, 2}},
    {name = "scheme", values = {"a", "b"}}, {name = "share.road", values = {0.1, 0.2}},
    {name = "share.pole", values = {0.3, 0.4}}}}
  eq(#r:plot("line", {y = "share"}).layers, 2)
  eq(r:plot("line", {y = "share"}):data()[3], {"pole", 1, 0.3, nan, nan})
  eq(r:plot("line", {x = "scheme", y = "share.pole"}).x.names, {"a", "b"})
  throws("unknown column 'share.poel' %(did you mean 'share.pole'", r.plot, r, "line", {y = "share.poel"})
  throws("unknown column 'gg' %(did you mean 'g'", r.plot, r, "heatmap", {x = "gg", y = "g"})
  throws("column 'scheme' holds text %('a' in row 1%)", r.plot, r, "line", {y = "scheme"})
  throws("unknown kind 'lien' %(did you mean 'line'", r.plot, r, "lien")
  throws("unknown option 'Y' %(did you mean 'y'", r.plot, r, "line", {Y = "share"})
  throws("there are no rows", r.plot, r:filter(function() return false end), "line")
  throws("top is a number of rows", r.plot, r, "rank", {by = "share.pole", top = 0})
  throws("xlim is {low, high}", r.plot, r, "line", {y = "share", xlim = {2, 1}})
end)

test "one row; no parameter that varies; not finite" (function()
  local r = result.new {count = 1, n_axes = 1, positions = {}, columns = {{name = "g", values = {1.0}},
    {name = "value", values = {nan}}}}
  for _, kind in ipairs {"line", "scatter", "rank", "bars"} do ok(#tostring(r:plot(kind)) > 0, kind) end
  throws("no parameter takes more than one value", r.plot, r, "parallel")
  throws("which column%?", r.plot, r, "heatmap")
  eq(r:plot("heatmap", {x = "g", y = "g"}):data()[1], {"1", nan})
end)

test "too many values for cells: a hint" (function()
  local g, v = {}, {}
  for i = 1, 100 do g[i], v[i] = i / 7, i end
  local r = result.new {count = 100, n_axes = 2, positions = {}, columns = {{name = "g", values = g},
    {name = "h", values = v}, {name = "value", values = v}}}
  local e = throws("'g' has 100 different values", r.plot, r, "heatmap")
  ok(e:find 'r:plot%("scatter", {x = "g", y = "h", z = "value"}%)', e)
  local nine = result.new {count = 100, n_axes = 2, positions = {}, columns = {{name = "g", values = g},
    {name = "h", values = v}, {name = "value", values = v}}}
  throws("more than 8 cannot be told apart", nine.plot, nine, "line", {by = "h"})
end)

test "a result read back draws the same" (function()
  local path = T.tmp "back.csv"
  local r = sweep_result()
  r:csv(path)
  local back = segx.read_results(path, {n_axes = 2})
  local a, b = all_kinds(r), all_kinds(back)
  for i = 1, #a do
    eq(b[i]:data(), a[i]:data(), a[i].kind)
    eq(gnuplot.script(b[i], "svg"), gnuplot.script(a[i], "svg"))
  end
end)

test "ends of intervals are computed for what is drawn" (function()
  local computed, values = 0, {}
  local ends = setmetatable({}, {__index = function(_, k)
    computed = computed + 1
    return k
  end})
  for i = 1, 1000 do values[i] = i end
  local r = result.new {count = 1000, n_axes = 1, positions = {}, columns = {{name = "a", values = values},
    {name = "tau(iou)", values = values, lo = ends, hi = ends}}}
  r:plot("rank", {by = "tau(iou)", top = 3})
  eq(computed, 6)
end)

-- -- Figures of losses ----------------------------------------------------------------------------

local L = segx.loss

test "importance" (function()
  local f = sweep_result():importance("tau(iou)"):plot()
  eq(f:data().names[1], "name")
  eq({f:data()[1][1], f:data()[2][1]}, {"gamma", "mix"})
end)

test "shares, curve, flow" (function()
  local d = F.T1 {class_names = {"sky", "road", "pole"}}
  local shares = L.focal {}:shares(d, {against = L.ce {}})
  local f = shares:plot()
  eq(f:data().names, {"name", "pixels", "control", "this"})
  eq(f:data()[2], {"road", shares[2].pixels, shares[2].control, shares[2].this})
  ok(tostring(f):find "control: L.cross_entropy{}", tostring(f))
  eq(L.ce {}:shares(d):plot():data().names, {"name", "pixels", "this"})

  local curve = L.focal {}:curve {hist = d, against = L.ce {}, bins = 4}
  eq(curve:plot():data().names, {"pt", "loss", "gradient", "control", "control_gradient", "pixels"})
  near(curve[2].control, -math.log(0.375), 1e-12)
  eq(L.ce {}:curve {bins = 3}:plot():data().names, {"pt", "loss", "gradient"})
  throws("against is not a loss", L.ce {}.curve, L.ce {}, {against = 3})

  local g = L.ce {}:gradients(d)
  local flow = g:plot():data()
  eq(#flow, 3)
  for i = 1, 3 do near(flow[i][2] + flow[i][3] + flow[i][4], 1, 1e-12) end
  ok(flow[1][1]:find "^sky %d", flow[1][1])
  near(g:plot "net":data()[1][2], -0.5, 1e-9)
  eq(g:plot "share":data()[1][1], "sky")
  throws("unknown figure of gradients 'flwo' %(did you mean 'flow'", g.plot, g, "flwo")
  throws("'flow' was not asked for", L.ce {}:gradients(d, {want = {"share"}}).plot,
    L.ce {}:gradients(d, {want = {"share"}}))
end)

test "images: hardest first, tau, the figure" (function()
  local d = F.T2()
  local r = L.ce {}:images(d, {metric = "accuracy"})
  eq(#r, 2)
  ok(r[1].loss >= r[2].loss)
  local f = r:plot()
  eq(f:data().names, {"image", "name", "loss", "accuracy"})
  ok(tostring(r):find "tau%(accuracy%)", tostring(r))
  throws("unknown metric 'iuo' %(did you mean 'iou'", L.ce {}.images, L.ce {}, d, {metric = "iuo"})
  throws("unknown class 'x'", L.ce {}.images, L.ce {}, d, {metric = "iou.x"})
  throws("expected a dump", L.ce {}.images, L.ce {}, 3)
end)

test "options of figures" (function()
  throws("unknown option 'tilte' %(did you mean 'title'", plot.line, {x = {1}, y = {1}, tilte = "x"})
  throws("y has 1 numbers, not 2", plot.line, {x = {1, 2}, y = {1}})
  throws("x: entry 2 is a string", plot.line, {x = {1, "2"}, y = {1, 2}})
  throws("names: entry 1 is a number", plot.bars, {names = {1}, values = {1}})
  throws("z has a row for each of the 2 ynames", plot.heatmap, {xnames = {"a"}, ynames = {"b", "c"}, z = {{1}}})
  throws("unknown colour map 'viridsi' %(did you mean 'viridis'", function()
    gnuplot.script(plot.heatmap {xnames = {"a"}, ynames = {"b"}, z = {{1}}, map = "viridsi"}, "svg")
  end)
  throws("width is a number of pixels", plot.line, {x = {1}, y = {1}, width = 5})
  throws("two axes or more", plot.parallel, {axes = {{label = "a", values = {1}}}})
end)
