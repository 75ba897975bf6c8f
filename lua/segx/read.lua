--[[
read.lua: results from files: what r:csv(path) and r:jsonl(path) wrote, and run folders.

    local r = segx.read_results("runs/mix")                       all rows of its results.csv
    segx.read_results("runs/mix", {top = 10, by = "tau(iou)"})    the best ten; memory for ten
    segx.read_results("sweep.csv", {n_axes = 2})                  two of its columns are parameters

A column x with x.lo and x.hi (and x.note) is one column with an interval again. Rows have no loss: it
is in the script.
]]
local csv = require "segx.csv"
local errors = require "segx.errors"
local json = require "segx.json"
local result = require "segx.result"
local run = require "segx.run"
errors.own()

local read = {}

-- -- Rows -----------------------------------------------------------------------------------------
-- A source of rows is {names, next = iterator over lines and their numbers, values(line, number) -> list}.

local function broken(path, number)
  errors.raise("file", ("%s: line %d is not a row of results"):format(path, number))
end

local function csv_rows(file, path)
  local source = {next = csv.lines(file), names = {}}
  function source.values(line, number)
    local list = csv.read_line(line, 1)
    if not list or number > 1 and #list ~= #source.names then broken(path, number) end
    return list
  end
  local head = source.next()
  for i, name in ipairs(head and source.values(head, 1) or {}) do source.names[i] = tostring(name) end
  return source
end

-- Of JSON lines the first one says which columns there are.
local function json_rows(file, path)
  local number, source = 0, {}
  function source.next()
    number = number + 1
    return file:read "L", number
  end
  function source.values(line, at)
    local names, list = {}, {}
    local row = json.decode(line, names)
    if type(row) ~= "table" or #names == 0 then broken(path, at) end
    source.names = source.names or names
    for i, name in ipairs(source.names) do list[i] = row[name] == nil and 0 / 0 or row[name] end
    return list
  end
  return source
end

-- Lists of values -> columns; ends of intervals and notes go to the column that they belong to.
local function columns_of(names, lists)
  local by_name, columns = {}, {}
  for c, name in ipairs(names) do by_name[name] = lists[c] end
  local function owner(name)
    local of, part = name:match "^(.+)%.(%l+)$"
    local known = part == "lo" or part == "hi" or part == "note"
    return known and by_name[of] and by_name[of .. ".lo"] and by_name[of .. ".hi"] and of
  end
  for c, name in ipairs(names) do
    if not owner(name) then
      local lo, hi = by_name[name .. ".lo"], by_name[name .. ".hi"]
      columns[#columns + 1] = {name = name, values = lists[c], lo = hi and lo, hi = lo and hi,
        note = lo and hi and by_name[name .. ".note"]}
    end
  end
  return columns
end

local function fill(lists, row, values)
  for c, v in ipairs(values) do
    lists[c] = lists[c] or {}
    lists[c][row] = v
  end
end

-- The best rows of a file, in order, without holding the others; how many there are in all.
local function best_of(source, path, o)
  local place, lists, count = nil, {}, 0
  for i, name in ipairs(source.names) do place = place or name == o.by and i end
  if not place then errors.unknown(path, "column", o.by, source.names) end
  local value = csv.picker(place)
  local best, offer = result.best_of(o.top, result.direction(o.by, o.descending))
  for line, number in source.next do
    count = count + 1
    local v = value(line)
    offer(type(v) == "number" and v or 0 / 0, {line, number})
  end
  for i, item in ipairs(best) do fill(lists, i, source.values(item[1], item[2])) end
  return lists, #best, count
end

local function all_of(source)
  local lists, count = {}, 0
  for line, number in source.next do
    count = count + 1
    fill(lists, count, source.values(line, number))
  end
  return lists, count, count
end

-- -- Files ----------------------------------------------------------------------------------------

-- The file, at its start, and its first two bytes. Folders open, but cannot be read.
local function open(path)
  local file, why = io.open(path, "rb")
  local _, failed = nil, why
  if file then
    _, failed = file:read(0)
  end
  if failed then errors.raise("file", failed == why and why or path .. ": " .. failed) end
  local start = file:read(2)
  file:seek "set"
  return file, start
end

--- The Result in a file that csv or jsonl wrote. o, all optional: n_axes (how many of the columns are
--- parameters; none), by (a column: best rows first), top (so many of them), descending (the other
--- order). r.in_file: rows that the file has.
function read.file(path, o)
  o = o or {}
  local file <close>, start = open(path)
  local is_json = start == '{"'
  local source = (is_json and json_rows or csv_rows)(file, path)
  local stream = o.by and o.top and o.top <= 1000 and not is_json
  local lists, count, in_file
  if stream then lists, count, in_file = best_of(source, path, o) else lists, count, in_file = all_of(source) end
  local columns = columns_of(source.names or {}, lists)
  for _, c in ipairs(columns) do c.values = c.values or {} end
  local r = result.new {columns = columns, count = count, n_axes = o.n_axes or 0, positions = {}}
  if o.by and not stream then r = r:sort(o.by, o.descending) end
  if o.top and o.top < #r then r = r:first(o.top) end
  r.in_file = in_file
  return r
end

--- The manifest of a run folder, and the Result in its results.csv; options as in read.file. Raises when
--- it is no run folder, or its run has not ended.
function read.folder(path, o)
  local manifest, given = run.manifest(path), {}
  if not manifest then
    errors.raise("file", path .. ": not a run folder (no manifest.json)", "segx ls lists run folders")
  end
  local results = path .. "/results.csv"
  local file <close> = io.open(results, "rb")
  if not file then
    local line = {manifest.script or "its script", table.unpack(manifest.arguments or {})}
    errors.raise("file", path .. ": the run has not ended yet: no results.csv",
      ("the same line goes on: segx %s (segx plan %s: how far it is)"):format(table.concat(line, " "), table.concat(line, " ")))
  end
  for k, v in pairs(o or {}) do given[k] = v end
  given.n_axes = #(manifest.axis_names or {})
  return manifest, read.file(results, given)
end

--- segx.read_results(path, o): a file or a run folder, see above.
function read.results(path, o)
  if type(path) ~= "string" then errors.misuse("read_results: expected a path") end
  errors.check_keys("read_results", "option", o or {}, {"n_axes", "by", "top", "descending"})
  if not run.manifest(path) then return read.file(path, o) end
  return select(2, read.folder(path, o))
end

return read
