--[[
runs.lua: run folders read: segx ls, segx show, segx diff. They take no lock and change nothing.
]]
local csv = require "segx.csv"
local errors = require "segx.errors"
local files = require "segx.files"
local format = require "segx.format"
local json = require "segx.json"
local read = require "segx.read"
local run = require "segx.run"
errors.own()

local runs = {}

-- -- ls -------------------------------------------------------------------------------------------

-- Folders below `path` that hold a manifest, itself included.
local function folders(path)
  local list = {}
  local pipe = io.popen("find -L " .. files.quote(path)
    .. " -maxdepth 3 -name manifest.json 2>/dev/null | LC_ALL=C sort")
  for line in pipe:lines() do list[#list + 1] = line:match "^(.*)/manifest%.json$" end
  pipe:close()
  return list
end

-- How many rows of a folder failed; nil: its run has not ended.
local function count_failed(folder)
  local file <close> = io.open(folder .. "/results.csv", "rb")
  if not file then return nil end
  local lines, place, failed = csv.lines(file), nil, 0
  for i, name in ipairs(csv.read_line(lines() or "", 1) or {}) do
    place = name == "state" and i or place
  end
  local state = csv.picker(place or 1)
  for line in lines do
    if state(line) == "failed" then failed = failed + 1 end
  end
  return failed
end

local function shortened(s, most)
  return #s <= most and s or s:sub(1, most - 4) .. " ..."
end

--- Text: one line per run folder below path.
function runs.list(path)
  local rows = {}
  for _, folder in ipairs(folders(path)) do
    local m = run.manifest(folder)
    if m and m.dump then
      local failed = count_failed(folder)
      rows[#rows + 1] = {folder, failed and "done" or "not ended", m.configurations or "", failed or "",
        (m.dump.path or ""):match "[^/]*$", shortened(m.loss or "", 60)}
    end
  end
  if #rows == 0 then return nil end
  return format.table({"run", "state", "rows", "failed", "dump", "loss"}, rows)
end

-- -- show -----------------------------------------------------------------------------------------

-- Rows that text shows where nobody says how many.
local SHOWN = 100

-- Without the columns state and reason where they say nothing.
local function without_states(r)
  for _, state in ipairs(r:column "state") do
    if state ~= "ok" then return r end
  end
  local names = {}
  for _, c in ipairs(r.columns) do
    if c.name ~= "state" and c.name ~= "reason" then names[#names + 1] = c.name end
  end
  return r:select(names)
end

local writers = {
  csv = function(r) return r:csv() end,
  json = function(r) return r:jsonl() end,
  md = function(r) return without_states(r):markdown() end,
  tex = function(r) return without_states(r):latex() end,
  text = function(r, top)
    local text = tostring(without_states(r:first(top or SHOWN)))
    local shown = math.min(#r, top or SHOWN)
    if shown < r.in_file then
      text = ("%s\n%d of %s rows"):format(text, shown, format.count(r.in_file))
    end
    return text
  end,
}

--- Names of the formats.
runs.formats = {"csv", "json", "md", "tex", "text"}

--- Text of a run's rows, as they are or the best by a column: o.top (number), o.by (column; default: the
--- first that is no parameter), o.format.
function runs.show(path, o)
  local by = o.by
  if o.top and not by then
    local m = run.manifest(path)
    by = m and m.columns and m.columns[1]
  end
  local _, r = read.folder(path, {by = by, top = o.top})
  return (writers[o.format or "text"](r, o.top):gsub("\n$", ""))
end

-- -- diff -----------------------------------------------------------------------------------------

local function plain(v) return type(v) == "table" and json.encode(v) or tostring(v) end

local not_compared = {script_text = true, columns = true, axis_names = true}

local function manifest_lines(a, b)
  local lines = {}
  local function compare(x, y, prefix)
    local keys, seen = {}, {}
    for _, t in ipairs {x, y} do
      for k in pairs(t) do
        if not seen[k] and not not_compared[k] then keys[#keys + 1] = k end
        seen[k] = true
      end
    end
    table.sort(keys)
    for _, k in ipairs(keys) do
      if k == "dump" then
        compare(x.dump or {}, y.dump or {}, "dump.")
      elseif plain(x[k]) ~= plain(y[k]) then
        lines[#lines + 1] = ("%s%s\n  - %s\n  + %s"):format(prefix, k, plain(x[k]), plain(y[k]))
      end
    end
  end
  compare(a, b, "")
  return lines
end

-- Names that both have: the parameters, and the rest.
local function common_names(a, b, axis_names)
  local in_b, is_axis, axes, rest = {}, {}, {}, {}
  for _, name in ipairs(b:names()) do in_b[name] = true end
  for _, name in ipairs(axis_names or {}) do is_axis[name] = true end
  for _, name in ipairs(a:names()) do
    local list = is_axis[name] and axes or rest
    if in_b[name] then list[#list + 1] = name end
  end
  return axes, rest
end

-- A text for every row by its parameters, and the row of each text.
local function rows_by_place(r, names)
  local texts, row_of = {}, {}
  for row in r:rows() do
    local key = {}
    for k, name in ipairs(names) do key[k] = name .. "=" .. csv.cell(row[name]) end
    key = table.concat(key, " ")
    texts[#texts + 1], row_of[key] = key, row
  end
  return texts, row_of
end

local function same(u, v) return u == v or (u ~= u and v ~= v) end

--- Text of what differs between two runs, and whether anything does: how they were made, then rows with
--- the same values of the parameters, column by column.
function runs.diff(path_a, path_b)
  local manifest_a, a = read.folder(path_a)
  local manifest_b, b = read.folder(path_b)
  local lines = manifest_lines(manifest_a, manifest_b)
  local axes, columns = common_names(a, b, manifest_a.axis_names)
  local order, rows_a = rows_by_place(a, axes)
  local order_b, rows_b = rows_by_place(b, axes)
  local only_a, only_b, equal, list, differ = 0, 0, 0, {}, 0
  for _, key in ipairs(order) do
    local x, y, before = rows_a[key], rows_b[key], differ
    for _, name in ipairs(y and columns or {}) do
      local u, v = x[name], y[name]
      if not same(u, v) then
        local numbers = type(u) == "number" and type(v) == "number"
        differ = differ + 1
        if differ <= 20 then list[differ] = {key, name, u, v, numbers and v - u or ""} end
      end
    end
    if not y then only_a = only_a + 1 elseif differ == before then equal = equal + 1 end
  end
  for _, key in ipairs(order_b) do
    if not rows_a[key] then only_b = only_b + 1 end
  end
  lines[#lines + 1] = ("rows: %d equal, %d only in %s, %d only in %s, %d numbers differ"):format(equal,
    only_a, path_a, only_b, path_b, differ)
  if differ > 0 then lines[#lines + 1] = format.table({"row", "column", "a", "b", "b - a"}, list) end
  if differ > 20 then lines[#lines + 1] = ("... %d more"):format(differ - 20) end
  return table.concat(lines, "\n"), only_a + only_b + differ > 0
end

return runs
