-- test_report.lua: run folders as one HTML file; pictures of the hardest images.
local T = require "harness"
local F = require "fixtures"
if F.reference then T.skip "the reference has no run folders and draws nothing" end
local segx = require "segx"
local files = require "segx.files"
local fits = require "segx.fits"
local gnuplot = require "segx.gnuplot"
local report = require "segx.report"
local test, eq, ok, throws = T.test, T.eq, T.ok, T.throws
local L, A = segx.loss, segx.axis

local has_gnuplot = os.execute "command -v gnuplot >/dev/null 2>&1"

local function folder(name)
  local path = T.tmp(name)
  return path, setmetatable({}, {__close = function() os.execute("rm -rf " .. files.quote(path)) end})
end

-- Every element that is opened is closed, in order; attributes are quoted.
local void = {meta = true, br = true}
local function well_formed(html)
  local open = {}
  local body = html:gsub("^<!DOCTYPE html>", ""):gsub("<!%-%-.-%-%->", ""):gsub("<style>.-</style>", "")
  local text = body:gsub("<(/?)([%a][%w:]*)([^<>]*)>", function(slash, name, rest)
    if slash == "/" then
      local last = table.remove(open)
      if last ~= name then error(("</%s> closes <%s>"):format(name, tostring(last))) end
    elseif rest:sub(-1) ~= "/" and not void[name] then
      open[#open + 1] = name
    end
    if rest:gsub("%s[%w:-]+%s*=%s*\"[^\"]*\"", ""):gsub("%s[%w:-]+%s*=%s*'[^']*'", ""):find "[^%s/]" then
      error("attributes of <" .. name .. ": " .. rest)
    end
    return ""
  end)
  if #open > 0 then error("not closed: " .. table.concat(open, " ")) end
  if text:find "<" then error("a bare <: " .. text:match ".?.?.?.?<.?.?.?.?") end
end

local function self_contained(html)
  ok(#html < 2e6, #html)
  html = html:gsub("<pre>.-</pre>", "")       -- the script's own text
  for url in html:gmatch "https?://[^\"' >)]+" do
    ok(url:find "^http://www.w3.org/", url)
  end
  for what in html:gmatch "%ssrc=[^>]*" do error(what) end
  ok(not html:find "<script" and not html:find "<link[ >]" and not html:find "@import")
  end

local made, names = nil, {"<b>road", 'a "quote"', "tree & bush"}
do
  local _, logits, labels = F.random(5, 12, 3, 6, 6)
  made = segx.memory {logits = logits, labels = labels, ignore_index = 255, class_names = names}
end

local function swept(path, gammas)
  return segx.sweep {dump = made, control = L.ce {}, out = path,
    loss = A.lin("mix", 0, 1, 3) * L.focal {gamma = A.grid("gamma", gammas)} + L.dice {},
    want = {"value", "per_class", "tau(iou)", "fit.miou", "fit.gains"}, intervals = 50, fit = {pixels = 500}}:run()
end

test "a report: rows, figures, failures, how it was made, what it cannot say" (function()
  local path <const>, clear <close> = folder "report run"
  swept(path, {-1, 0, 2})
  local out, bytes = report.write(path, {})
  local html = files.read(out)
  eq({out, bytes}, {path .. "/report.html", #html})
  well_formed(html)
  self_contained(html)
  for _, text in ipairs {"The best rows by fit.miou", "&lt;b&gt;road", "tree &amp; bush", "What failed",
    "focal: gamma = -1; it must be at least 0", "What these numbers cannot say", "Offline fits ranked",
    made:info().fingerprint, "L.cross_entropy{}", "Which parameter moves fit.miou"} do
    ok(html:find(text, 1, true), text)
  end
  ok(not html:find("<b>road", 1, true))
  local figures = select(2, html:gsub("<figure>", ""))
  eq(figures, 5)      -- rank, heatmap, gains, value by class, importance
  eq(select(2, html:gsub("<svg", "")), has_gnuplot and figures or 0)
  local seen = {}
  for id in html:gmatch " id=[\"']([^\"']+)" do
    ok(not seen[id], id)
    seen[id] = true
  end
  ok(html:find("<th>mix</th><th>gamma</th><th>fit.miou</th><th>fit.miou-control</th><th>value</th><th>tau(iou)</th>", 1, true),
    html:match "<table>.-</tr>")
  ok(html:find("6 columns of single classes are in the table of all rows", 1, true), html:match "[%d]+ columns of[^<]*")
  ok(html:find("<th>value.&lt;b&gt;road</th>", 1, true))      -- there
  ok(html:find("<p class=\"faint\">1 more rows have the numbers", 1, true) or html:find("2 more rows have", 1, true))
  throws("unknown column 'tau'", report.html, path, {by = "tau"})
  ok(report.html(path, {by = "value", top = 2}):find("The best rows by value", 1, true))
end)

test "without gnuplot figures are text" (function()
  local path <const>, clear <close> = folder "report-text"
  swept(path, {0, 2})
  gnuplot.other = "/nonexistent/gnuplot"
  local done, html = pcall(report.html, path, {})
  gnuplot.other = nil
  ok(done, html)
  well_formed(html)
  ok(html:find "there was no gnuplot" and not html:find "<svg" and html:find "├")
end)

test "remarks of fits, many rows, lists of losses" (function()
  local path <const>, clear <close> = folder "report-fits"
  segx.fit {dump = made, loss = {L.ce {}, L.dice {}:name "<dice>"}, control = L.ce {}, out = path, pixels = 500,
    groups = {1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4}, intervals = 50}
  local html = report.html(path, {})
  well_formed(html)
  ok(html:find("&lt;dice&gt;", 1, true) and html:find("only 4 groups of pictures", 1, true))
  eq(#fits.kept(path).remarks, 1)
  local many <const>, clear_many <close> = folder "report-many"
  segx.sweep {dump = made, loss = A.lin("a", 0, 1, 2000) * L.ce {} + A.lin("b", 0, 1, 10) * L.dice {}, out = many}:run()
  html = report.html(many, {})
  well_formed(html)
  self_contained(html)
  ok(html:find "The first 300 rows of 20,000", html:match "The first 300[^<]*")
end)

test "no run, no rows" (function()
  throws("not a run folder", report.html, "/nonexistent/run", {})
end)

-- -- Overlays -------------------------------------------------------------------------------------

local function png_size(bytes)
  eq(bytes:sub(1, 8), "\137PNG\r\n\26\n")
  return {string.unpack(">I4I4", bytes, 17)}
end

test "overlays: files, hardest first, the same bytes again" (function()
  local path <const>, clear <close> = folder "over lay"
  for _, what in ipairs {"loss", "grad", "error"} do
    local r = L.focal {}:overlay(made, {what = what, images = 3, out = path .. "/" .. what})
    eq(#r, 3)
    ok(r[1].loss >= r[2].loss and r[2].loss >= r[3].loss)
    local size = png_size(files.read(r[1].file))
    ok(size[1] > 240 and size[2] > 24)
    local bytes = files.read(r[2].file)
    local again = L.focal {}:overlay(made, {what = what, images = 3, out = path .. "/" .. what, threads = 1})
    eq(files.read(again[2].file) == bytes, true)
    ok(tostring(r):find(r[3].file, 1, true))
  end
  local some = L.dice {}:overlay(made, {what = "grad", images = {7, 2}, out = path})
  eq({some[1].image, some[2].image}, {7, 2})
end)

test "overlays of volumes show one slice" (function()
  local path <const>, clear <close> = folder "overlay-3d"
  local logits, labels = {{}, {}}, {}
  for z = 1, 3 do
    labels[z] = {}
    for c = 1, 2 do logits[c][z] = {} end
    for y = 1, 4 do
      labels[z][y] = {}
      for c = 1, 2 do logits[c][z][y] = {} end
      for x = 1, 5 do
        labels[z][y][x] = (x + y + z) % 2
        for c = 1, 2 do logits[c][z][y][x] = z == 2 and 4 * (c - 1.5) or 0.1 * c end
      end
    end
  end
  local d = segx.memory {logits = {logits}, labels = {labels}}
  local r = L.ce {}:overlay(d, {images = 1, out = path})
  png_size(files.read(r[1].file))
end)

test "overlays: misuse is explained" (function()
  throws("dice is no sum over pixels", L.dice {}.overlay, L.dice {}, made, {out = "/tmp"})
  throws("out is the folder", L.ce {}.overlay, L.ce {}, made, {})
  throws("unknown what 'los'", L.ce {}.overlay, L.ce {}, made, {what = "los", out = "/tmp"})
  throws("there is no image 13", L.ce {}.overlay, L.ce {}, made, {images = {13}, out = "/tmp"})
  throws("sweep axes", L.ce {}.overlay, L.focal {gamma = A.grid("g", {1, 2})}, made, {out = "/tmp"})
  throws("cannot be made", L.ce {}.overlay, L.ce {}, made, {out = "/dev/null/x"})
end)
