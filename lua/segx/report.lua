--[[
report.lua: segx report RUN: a run folder as one HTML file that needs nothing else: what was asked, the
best rows with their intervals, figures, what failed, how it was made, and what it cannot say.
]]
local errors = require "segx.errors"
local files = require "segx.files"
local fits = require "segx.fits"
local format = require "segx.format"
local gnuplot = require "segx.gnuplot"
local limits = require "segx.limits"
local read = require "segx.read"
local result_plot = require "segx.result_plot"
errors.own()

local report = {}

-- What a file holds at most, so that it can be mailed.
local MOST_ROWS, MOST_COLUMNS, MOST_SCRIPT = 300, 30, 200000

-- -- HTML -----------------------------------------------------------------------------------------

local entities = {["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;"}

--- Text as HTML shows it; control characters as their pictures.
local function escape(v)
  return (format.number(v):gsub('[&<>"]', entities):gsub("[%z\1-\8\11\12\14-\31\127]", "\u{fffd}"))
end
report.escape = escape

local style = [[
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; margin-bottom: 0; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ddd; }
.lead { font-size: 1.1em; } .note { color: #7a4b00; } .faint { color: #666; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: 0.8em 0; }
th, td { padding: 0.2em 0.8em 0.2em 0; text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th { border-bottom: 1px solid #888; font-weight: 600; } th.text, td.text { text-align: left; }
tr.best td { background: #eef6fb; } dt { float: left; clear: left; width: 9em; color: #666; } dd { margin: 0 0 0.2em 9.5em; }
pre { background: #f6f6f6; padding: 0.8em; overflow-x: auto; font-size: 13px; line-height: 1.35; }
figure { margin: 1.5em 0; } figcaption { color: #444; } svg { width: 100%; height: auto; }
figure { break-inside: avoid; }
@media print { details > * { display: block; } body { margin: 0; } .wide { overflow: visible; font-size: 9px; }
  th, td { white-space: normal; padding-right: 0.5em; } }
]]

local function page() return {lines = {}} end

local function put(p, text, ...)
  p.lines[#p.lines + 1] = select("#", ...) > 0 and text:format(...) or text
end

local function heading(p, text) put(p, "<h2>%s</h2>", escape(text)) end

local function pairs_list(p, list)
  put(p, "<dl>")
  for _, e in ipairs(list) do
    if e[2] ~= nil and e[2] ~= "" then put(p, "<dt>%s</dt><dd>%s</dd>", escape(e[1]), escape(e[2])) end
  end
  put(p, "</dl>")
end

-- head and rows are lists of texts or numbers; which: number of the row that stands out.
local function put_table(p, head, rows, which)
  local text = {}
  for _, row in ipairs(rows) do
    for c, v in ipairs(row) do text[c] = text[c] or (type(v) == "string" and not v:find "^[%d.+-]") end
  end
  local function line(tag, cells)
    local list = {}
    for c, v in ipairs(cells) do
      list[c] = ("<%s%s>%s</%s>"):format(tag, text[c] and ' class="text"' or "", escape(v), tag)
    end
    return table.concat(list)
  end
  put(p, '<div class="wide"><table><tr>%s</tr>', line("th", head))
  for r, row in ipairs(rows) do
    p.lines[#p.lines + 1] = ("<tr%s>%s</tr>"):format(r == which and ' class="best"' or "", line("td", row))
  end
  put(p, "</table></div>")
end

-- -- Figures --------------------------------------------------------------------------------------

-- An SVG to stand inside of the page: no prolog, and names of its own.
local function inline(svg, number)
  svg = svg:gsub("^.-(<svg)", "%1"):gsub("<script.-</script>", "")
  svg = svg:gsub("<title>Gnuplot</title>", ""):gsub("<desc>Produced.-</desc>", "")
  local width = svg:match 'viewBox="[%d.]+ [%d.]+ ([%d.]+)'
  svg = width and svg:gsub("^<svg", ('<svg style="max-width:%spx"'):format(width)) or svg
  local own = "f" .. number .. "_"
  return (svg:gsub(" id=(['\"])", " id=%1" .. own):gsub("href=(['\"])#", "href=%1#" .. own):gsub("url%(#", "url(#" .. own))
end

-- A figure, where it can be made of this result: make() gives it.
local function put_figure(p, caption, make)
  local ok, figure = pcall(make)
  put(p, "<figure><figcaption>%s</figcaption>", escape(caption))
  if not ok then
    put(p, '<p class="note">Not drawn: %s</p></figure>', escape((tostring(figure):gsub("\n.*", ""))))
    return
  end
  p.figures = (p.figures or 0) + 1
  local svg = not p.no_gnuplot and gnuplot.draw(figure, "svg")
  if svg then
    p.lines[#p.lines + 1] = inline(svg, p.figures)
  else
    p.no_gnuplot = true
    p.lines[#p.lines + 1] = "<pre>" .. escape(figure:text {width = 100, charset = "unicode"}) .. "</pre>"
  end
  put(p, "</figure>")
end

local function has_classes(r, prefix)
  for _, c in ipairs(r.columns) do
    if c.name:sub(1, #prefix + 1) == prefix .. "." and not c.name:find "%-control" then return true end
  end
end

local function figures(p, r, by)
  local axes = {}
  for a = 1, r.n_axes do
    local seen, values = {}, r:column(r.columns[a].name)
    local count = 0
    for _, v in ipairs(values) do
      if not seen[v] then seen[v], count = true, count + 1 end
    end
    if count > 1 then axes[#axes + 1] = {name = r.columns[a].name, number = type(values[1]) == "number", count = count} end
  end
  put_figure(p, "The best rows by " .. by, function() return r:plot("rank", {by = by}) end)
  if #axes == 1 and axes[1].number then
    put_figure(p, by .. " along " .. axes[1].name, function() return r:plot("line", {x = axes[1].name, y = by}) end)
  elseif #axes >= 2 and axes[1].count <= 60 and axes[2].count <= 60 then
    put_figure(p, ("%s over %s and %s"):format(by, axes[1].name, axes[2].name), function()
      return r:plot("heatmap", {x = axes[1].name, y = axes[2].name, z = by})
    end)
  end
  if #axes >= 3 then
    put_figure(p, "Where the best rows lie on every axis", function() return r:plot("parallel", {by = by}) end)
  end
  for _, prefix in ipairs {"fit.gain", "fit.iou", "value", "share", "grad.share"} do
    if has_classes(r, prefix) then
      put_figure(p, prefix .. " of each class, best rows", function()
        return r:plot("classes", {y = prefix, by = by, top = math.min(2, #r)})
      end)
    end
  end
  if #axes >= 2 then
    put_figure(p, "Which parameter moves " .. by, function() return r:importance(by):plot() end)
  end
  if p.no_gnuplot then
    put(p, '<p class="note">Figures are text: there was no gnuplot (Debian: gnuplot-nox) when this was made.</p>')
  end
end

-- -- Parts of the page ----------------------------------------------------------------------------

local function what_was_asked(p, m, r, failed)
  local d = m.dump or {}
  local axes = {}
  for i, a in ipairs(m.axes or {}) do
    local values = a.values or {}
    local shown = {}
    for k = 1, math.min(#values, 12) do shown[k] = format.number(tonumber(values[k]) or values[k]) end
    axes[i] = {a.name, ("%d: %s%s"):format(#values, table.concat(shown, ", "), #values > 12 and ", ..." or "")}
  end
  heading(p, "What was asked")
  local list = {{"loss", m.loss}, {"control", m.control},
    {"dump", ("%s: %s images, %d classes"):format(d.path or "?", format.count(d.images or 0), d.classes or 0)},
    {"classes", table.concat(d.class_names or {}, ", ")},
    {"rows", ("%s%s"):format(format.count(r.in_file or #r), failed > 0 and (", %s failed"):format(format.count(failed)) or "")}}
  table.move(axes, 1, #axes, #list + 1, list)
  pairs_list(p, list)
end

-- The columns that are shown, without state and reason: parameters, then `first` and its difference to the
-- control, then the others; left_out: some that are not, by name.
local function shown_columns(r, first, left_out)
  local names, seen = {}, {state = true, reason = true}
  for name in pairs(left_out) do seen[name] = true end
  local function show(name)
    if not seen[name] and #names < MOST_COLUMNS then names[#names + 1] = name end
    seen[name] = true
  end
  for a = 1, r.n_axes do show(r.columns[a].name) end
  for _, name in ipairs {first, first .. "-control"} do
    if r.by_name[name] then show(name) end
  end
  for _, c in ipairs(r.columns) do show(c.name) end
  return names
end

-- Columns of single classes ("fit.gain.road", its difference to the control) but `by`, by name.
local function of_classes(m, r, by)
  local classes, list = {}, {}
  for _, class in ipairs(m.dump and m.dump.class_names or {}) do classes[class] = true end
  for _, c in ipairs(r.columns) do
    local tail, own = c.name:gsub("%-control$", ""), false
    for dot in tail:gmatch "()%." do own = own or classes[tail:sub(dot + 1)] end
    if own and c.name ~= by and c.name ~= by .. "-control" then list[c.name] = true end
  end
  return list
end

local function put_rows(p, r, by, left_out, which)
  local names = shown_columns(r, by, left_out)
  put_table(p, names, r:select(names):texts(), which)
  local classes = 0
  for _ in pairs(left_out) do classes = classes + 1 end
  local left = #r.columns - 2 - #names - classes
  if classes > 0 then put(p, '<p class="faint">%d columns of single classes are in the table of all rows.</p>', classes) end
  if left > 0 then put(p, '<p class="faint">%d more columns are in results.csv.</p>', left) end
end

local function best_rows(p, m, r, by, top, notes)
  heading(p, "The best rows by " .. by)
  local best, more = result_plot.best_rows(r, by, top)
  put_rows(p, best, by, of_classes(m, r, by), 1)
  local equal = 0
  for _, n in ipairs(more) do equal = equal + n end
  if equal > 0 then put(p, '<p class="faint">%s more rows have the numbers of one of these.</p>', format.count(equal)) end
  local compared = by .. "-control"
  if r.by_name[compared .. ".note"] then
    local first = r:best(by)
    local lo, hi = first[compared .. ".lo"], first[compared .. ".hi"]
    if type(lo) == "number" and lo == lo then
      put(p, '<p class="lead">The best row and the control differ by %s, with an interval from %s to %s%s.</p>',
        escape(("%.3g"):format(first[compared])), escape(("%.3g"):format(lo)), escape(("%.3g"):format(hi)),
        (lo > 0 or hi < 0) and "" or ": they are not separable on these images")
    end
  end
  for _, note in ipairs(notes) do put(p, '<p class="note">Note: %s.</p>', escape(note)) end
end

local function what_failed(p, r, failed)
  if failed == 0 then return end
  heading(p, "What failed")
  local seen, rows = {}, {}
  for row in r:rows() do
    if row.state == "failed" then
      local reason = tostring(row.reason)
      if not seen[reason] then
        rows[#rows + 1] = {reason, 0}
        seen[reason] = rows[#rows]
      end
      seen[reason][2] = seen[reason][2] + 1
    end
  end
  local more = #rows - 20
  for i = #rows, 21, -1 do rows[i] = nil end
  put_table(p, {"reason", "rows"}, rows)
  if more > 0 then put(p, '<p class="faint">and %d more reasons.</p>', more) end
end

local function all_rows(p, r, by)
  put(p, "<details><summary>%s rows%s</summary>", #r > MOST_ROWS and "The first " .. MOST_ROWS or "All",
    #r > MOST_ROWS and (" of %s"):format(format.count(#r)) or "")
  put_rows(p, r:first(MOST_ROWS), by, {})
  put(p, "</details>")
end

local function how_it_was_made(p, m)
  heading(p, "How it was made")
  local line = {"segx", m.script or "?", table.unpack(m.arguments or {})}
  pairs_list(p, {{"segx", m.segx}, {"Lua", m.lua}, {"command", table.concat(line, " ")}, {"script hash", m.script_hash},
    {"dump fingerprint", m.dump and m.dump.fingerprint}, {"precision", m.precision}, {"bits", m.bits},
    {"instructions", m.isa}, {"seed", m.seed}})
  if type(m.script_text) == "string" then
    local text = m.script_text
    put(p, "<details><summary>The script</summary>")
    p.lines[#p.lines + 1] = "<pre>" .. escape(text:sub(1, MOST_SCRIPT)) .. "</pre></details>"
  end
end

local function what_it_cannot_say(p, m)
  heading(p, "What these numbers cannot say")
  local list = table.move(limits.all, 1, #limits.all, 1, {})
  for _, c in ipairs(m.columns or {}) do
    if c:find "^fit%." then
      table.move(limits.fits, 1, #limits.fits, #list + 1, list)
      break
    end
  end
  put(p, "<ul>")
  for _, text in ipairs(list) do put(p, "<li>%s</li>", escape(text)) end
  put(p, "</ul>")
end

-- -- Entry ----------------------------------------------------------------------------------------

local function count_failed(r)
  local n = 0
  for _, state in ipairs(r:column "state") do n = n + (state == "failed" and 1 or 0) end
  return n
end

-- The column that rows are ranked by where nobody says: a forecast before anything else.
local function default_by(m, r)
  for _, name in ipairs {"fit.miou", "tau(iou)"} do
    if r.by_name[name] then return name end
  end
  return m.columns and m.columns[1] or errors.misuse("report: there are no columns but parameters")
end

--- The report of a run folder as HTML. o: by (the column that rows are ranked by; default fit.miou,
--- tau(iou) or the first), top (10 rows).
function report.html(path, o)
  local m, r = read.folder(path)
  if #r == 0 then errors.raise("file", path .. ": there are no rows") end
  local by, p, failed = o.by or default_by(m, r), page(), count_failed(r)
  r:column(by)
  local name = path:gsub("/+$", ""):match "[^/]*$"
  put(p, '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">')
  put(p, '<meta name="viewport" content="width=device-width, initial-scale=1">')
  put(p, "<title>%s</title><style>", escape(name))
  p.lines[#p.lines + 1] = style .. "</style></head><body>"
  put(p, "<h1>%s</h1>", escape(name))
  put(p, '<p class="faint">A loss experiment with segx: computed from a network\'s outputs, nothing was trained.</p>')
  local kept = fits.kept(path)
  best_rows(p, m, r, by, o.top or 10, kept and kept.remarks or {})
  figures(p, r, by)
  what_was_asked(p, m, r, failed)
  what_failed(p, r, failed)
  all_rows(p, r, by)
  how_it_was_made(p, m)
  what_it_cannot_say(p, m)
  put(p, "</body></html>")
  return table.concat(p.lines, "\n") .. "\n"
end

--- Writes it: to o.out, or report.html in the folder. Returns the path and how many bytes that are.
function report.write(path, o)
  local html, out = report.html(path, o), o.out or path:gsub("/+$", "") .. "/report.html"
  files.write(out, html)
  return out, #html
end

return report
