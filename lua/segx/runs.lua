--[[
runs.lua: run folders read: segx ls, segx show, segx diff. They take no lock and change nothing.
]]
local errors = require "segx.errors"
local format = require "segx.format"
local json = require "segx.json"
local result = require "segx.result"
local run = require "segx.run"
errors.own()

local runs = {}

-- -- Reading --------------------------------------------------------------------------------------

local function csv_line(line)
  local cells = {}
  if not line:find('"', 1, true) then
    for cell in (line .. ","):gmatch "([^,]*)," do cells[#cells + 1] = cell end
    return cells
  end
  local at = 1
  while at <= #line + 1 do
    if line:sub(at, at) == '"' then
      local stop = at + 1
      while true do
        stop = line:find('"', stop, true)
        if not stop then return cells end
        if line:sub(stop + 1, stop + 1) ~= '"' then break end
        stop = stop + 2
      end
      cells[#cells + 1] = line:sub(at + 1, stop - 1):gsub('""', '"')
      at = stop + 2
    else
      local stop = line:find(",", at, true) or #line + 1
      cells[#cells + 1] = line:sub(at, stop - 1)
      at = stop + 1
    end
  end
  return cells
end

--- {path, manifest, head, rows}: rows are lists of texts as in the file, in its order. Raises when the folder holds no
--- results.
function runs.read(path)
  local manifest = run.manifest(path)
  local text = run.read_file(path .. "/results.csv")
  if not manifest then
    errors.raise("file", path .. ": not a run folder (no manifest.json)", "segx ls lists run folders")
  end
  if not text then
    errors.raise("file", path .. ": the run has not ended yet: no results.csv",
      "run its line again: " .. table.concat(manifest.arguments or {}, " "))
  end
  local r = {path = path, manifest = manifest, rows = {}, place = {}}
  for line in text:gmatch "[^\n]+" do
    if r.head then r.rows[#r.rows + 1] = csv_line(line) else r.head = csv_line(line) end
  end
  for i, name in ipairs(r.head) do r.place[name] = i end
  return r
end

local function column_of(r, name)
  if not r.place[name] then errors.unknown(r.path, "column", name, r.head) end
  return r.place[name]
end

--- Rows by a column, best first; what is no number goes last; equal rows keep their order.
function runs.sorted(r, column)
  local c, larger, list = column_of(r, column), result.higher_is_better(column), {}
  for i, row in ipairs(r.rows) do
    local v = tonumber(row[c])
    list[i] = {row = row, at = i, v = v and v == v and v or nil}
  end
  table.sort(list, function(a, b)
    if a.v == b.v then return a.at < b.at end
    if not a.v or not b.v then return a.v ~= nil end
    if larger then return a.v > b.v end
    return a.v < b.v
  end)
  for i, item in ipairs(list) do list[i] = item.row end
  return list
end

-- -- ls -------------------------------------------------------------------------------------------

-- Folders below `path` that hold a manifest, itself included.
local function folders(path)
  local quoted = "'" .. path:gsub("'", "'\\''") .. "'"
  local list = {}
  local pipe = io.popen("find -L " .. quoted .. " -maxdepth 3 -name manifest.json 2>/dev/null | LC_ALL=C sort")
  for line in pipe:lines() do list[#list + 1] = line:match "^(.*)/manifest%.json$" end
  pipe:close()
  return list
end

--- Text: one line per run folder below path.
function runs.list(path)
  local rows = {}
  for _, folder in ipairs(folders(path)) do
    local m = run.manifest(folder)
    if m and m.dump then
      local ok, r = pcall(runs.read, folder)
      local failed = 0
      for _, row in ipairs(ok and r.rows or {}) do
        if row[r.place.state or 0] == "failed" then failed = failed + 1 end
      end
      rows[#rows + 1] = {folder, ok and "done" or "not ended", m.configurations, failed,
        (m.dump.path or ""):match "[^/]*$", m.loss or ""}
    end
  end
  if #rows == 0 then return nil end
  return format.table({"run", "state", "rows", "failed", "dump", "loss"}, rows)
end

-- -- show -----------------------------------------------------------------------------------------

local function csv_cell(v) return v:find '[,"\n]' and '"' .. v:gsub('"', '""') .. '"' or v end

local function typed(v) return tonumber(v) or v end

local writers = {}

function writers.csv(head, rows)
  local lines = {table.concat(head, ",")}
  for _, row in ipairs(rows) do
    local cells = {}
    for i, v in ipairs(row) do cells[i] = csv_cell(v) end
    lines[#lines + 1] = table.concat(cells, ",")
  end
  return table.concat(lines, "\n")
end

-- One object per line; columns in their order.
function writers.json(head, rows)
  local lines = {}
  for _, row in ipairs(rows) do
    local cells = {}
    for i, name in ipairs(head) do cells[i] = json.encode(name) .. ": " .. json.encode(typed(row[i] or "")) end
    lines[#lines + 1] = "{" .. table.concat(cells, ", ") .. "}"
  end
  return table.concat(lines, "\n")
end

local function shown(v)
  local n = tonumber(v)
  return n and format.number(n) or v
end

function writers.md(head, rows)
  local function line(cells) return "| " .. table.concat(cells, " | ") .. " |" end
  local rule, lines = {}, {line(head)}
  for i in ipairs(head) do rule[i] = "---" end
  lines[2] = line(rule)
  for _, row in ipairs(rows) do
    local cells = {}
    for i, v in ipairs(row) do cells[i] = shown(v):gsub("|", "\\|") end
    lines[#lines + 1] = line(cells)
  end
  return table.concat(lines, "\n")
end

function writers.text(head, rows)
  local list = {}
  for k, row in ipairs(rows) do
    list[k] = {}
    for i, v in ipairs(row) do list[k][i] = typed(v) end
  end
  return format.table(head, list)
end

runs.formats = {"csv", "json", "md", "text"}

--- Text of a run's rows: o.top (number), o.by (column), o.format.
function runs.show(path, o)
  local r = runs.read(path)
  local by = o.by or (o.top and (r.place.value and "value" or r.manifest.columns[1])) or nil
  local rows = by and runs.sorted(r, by) or r.rows
  local top = math.min(o.top or #rows, #rows)
  local out = writers[o.format or "text"](r.head, table.move(rows, 1, top, 1, {}))
  if (o.format or "text") == "text" and top < #rows then
    out = ("%s\n%d of %s rows"):format(out, top, format.count(#rows))
  end
  return out
end

-- -- diff -----------------------------------------------------------------------------------------

local function plain(v) return type(v) == "table" and json.encode(v) or tostring(v) end

local function manifest_lines(a, b)
  local lines = {}
  local function compare(x, y, prefix)
    local keys, seen = {}, {}
    for _, t in ipairs {x, y} do
      for k in pairs(t) do
        if not seen[k] and k ~= "script_text" and k ~= "columns" and k ~= "axis_names" then keys[#keys + 1] = k end
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

local function by_place(r, names)
  local map, order = {}, {}
  for _, row in ipairs(r.rows) do
    local key = {}
    for i, name in ipairs(names) do key[i] = name .. "=" .. row[column_of(r, name)] end
    key = table.concat(key, " ")
    map[key] = row
    order[#order + 1] = key
  end
  return map, order
end

--- Text of what differs between two runs, and whether anything does: how they were made, then rows with the same values
--- of the axes, column by column.
function runs.diff(path_a, path_b)
  local a, b = runs.read(path_a), runs.read(path_b)
  local lines = manifest_lines(a.manifest, b.manifest)
  local names, columns = {}, {}
  for _, name in ipairs(a.manifest.axis_names or {}) do
    if b.place[name] then names[#names + 1] = name end
  end
  local is_axis = {}
  for _, name in ipairs(names) do is_axis[name] = true end
  for _, name in ipairs(a.head) do
    if b.place[name] and not is_axis[name] then columns[#columns + 1] = name end
  end
  local rows_a, order = by_place(a, names)
  local rows_b, order_b = by_place(b, names)
  local only_a, only_b, same, list = 0, 0, 0, {}
  for _, key in ipairs(order) do
    local x, y, differs = rows_a[key], rows_b[key], false
    for _, name in ipairs(y and columns or {}) do
      local u, v = x[a.place[name]], y[b.place[name]]
      if u ~= v then
        differs = true
        local n, m = tonumber(u), tonumber(v)
        list[#list + 1] = {key, name, typed(u), typed(v), n and m and m - n or ""}
      end
    end
    if not y then only_a = only_a + 1 elseif not differs then same = same + 1 end
  end
  for _, key in ipairs(order_b) do
    if not rows_a[key] then only_b = only_b + 1 end
  end
  lines[#lines + 1] = ("rows: %d equal, %d only in %s, %d only in %s, %d numbers differ"):format(same, only_a, path_a,
    only_b, path_b, #list)
  if #list > 0 then
    lines[#lines + 1] = format.table({"row", "column", "a", "b", "b - a"}, table.move(list, 1, math.min(20, #list), 1, {}))
  end
  if #list > 20 then lines[#lines + 1] = ("... %d more"):format(#list - 20) end
  return table.concat(lines, "\n"), only_a + only_b + #list > 0
end

return runs
