--[[
result.lua: the rows of a sweep or a search, to be read, cut, grouped and written.

    print(r:top(10, "tau(iou)"))           r:best("tau(iou)").loss
    r:filter(function(row) return row.gamma > 1 end)
    r:pareto("value", "tau(iou)")          rows that no other row beats in both
    r:group("gamma", "tau(iou)")           one line per value
    r:importance("tau(iou)")               share of the variance that each axis explains
    r:csv(path) r:jsonl(path)              read back by result.read(path), digits kept
    r:markdown(path) r:latex(path)         for people

A column may have an interval; it is shown as 0.71 [0.55, 0.82], its ends are columns of their own
(tau(iou).lo, tau(iou).hi), also in files. Ends are computed when a row is looked at.
]]
local errors = require "segx.errors"
local format = require "segx.format"
errors.own()

local result = {}

local Result = {__name = "segx.SweepResult"}
Result.__index = Result

local function all_rows(n)
  local list = {}
  for r = 1, n do list[r] = r end
  return list
end

--- A Result. o: columns (list of {name, values, lo, hi, note}: lo, hi the interval's ends, note a
--- text per row, all three optional), count (rows), n_axes (how many of the columns are
--- parameters), loss and positions ({axis = list of 1-based positions}) or losses (list by row; may
--- compute on access), stats, about (text, kept).
function result.new(o)
  local r = {columns = o.columns, by_name = {}, n_axes = o.n_axes, positions = o.positions,
    loss = o.loss, losses = o.losses, stats = o.stats, about = o.about, index = all_rows(o.count),
    shown = 20}
  for _, c in ipairs(o.columns) do
    r.by_name[c.name] = c.values
    if c.lo then r.by_name[c.name .. ".lo"], r.by_name[c.name .. ".hi"] = c.lo, c.hi end
    if c.note then r.by_name[c.name .. ".note"] = c.note end
  end
  return setmetatable(r, Result)
end

local function derive(r, index, shown)
  local copy = {}
  for k, v in pairs(r) do copy[k] = v end
  copy.index, copy.shown = index, shown or r.shown
  return setmetatable(copy, Result)
end

-- Every column as files have it: ends of intervals and notes beside their column.
local function wide(r)
  local list = {}
  for _, c in ipairs(r.columns) do
    list[#list + 1] = c
    if c.lo then
      list[#list + 1] = {name = c.name .. ".lo", values = c.lo}
      list[#list + 1] = {name = c.name .. ".hi", values = c.hi}
    end
    if c.note then list[#list + 1] = {name = c.name .. ".note", values = c.note} end
  end
  return list
end

local function names_of(columns)
  local names = {}
  for i, c in ipairs(columns) do names[i] = c.name end
  return names
end

local function values_of(r, column)
  if not r.by_name[column] then errors.unknown("result", "column", column, names_of(wide(r))) end
  return r.by_name[column]
end

-- The column meant where none is named: the first that is no parameter.
local function default_column(r)
  local c = r.columns[r.n_axes + 1]
  return c and c.name or errors.misuse("result: there are no columns but parameters")
end

-- -- Rows -----------------------------------------------------------------------------------------

local Row = {__name = "segx.Row"}

-- The loss of a row is made when asked for: one configuration, no axes left. Ends of intervals too.
Row.__index = function(row, key)
  local own = row[Row]
  local r = own.result
  if key ~= "loss" then return r.by_name[key] and r.by_name[key][own.index] end
  if r.losses then return r.losses[own.index] end
  if not r.loss then return nil end
  local at = {}
  for name, list in pairs(r.positions) do at[name] = list[own.index] end
  return r.loss:at(at)
end

-- Three digits are enough beside an interval.
local function short(v) return v ~= v and "-" or ("%.3g"):format(v) end

local function cell_text(c, index)
  local v = c.values[index]
  local text = v
  if c.lo and c.lo[index] == c.lo[index] then
    text = ("%s [%s, %s]"):format(short(v), short(c.lo[index]), short(c.hi[index]))
  end
  local note = c.note and c.note[index] or ""
  if note ~= "" then text = format.number(text) .. " " .. note end
  return text
end

Row.__tostring = function(row)
  local own, lines = row[Row], {}
  if row.loss then lines[1] = tostring(row.loss) end
  for _, c in ipairs(own.result.columns) do
    lines[#lines + 1] = c.name .. "  " .. format.number(cell_text(c, own.index))
  end
  return table.concat(lines, "\n")
end

local function row_at(r, index)
  local row = {[Row] = {result = r, index = index}}
  for _, c in ipairs(r.columns) do row[c.name] = c.values[index] end
  return setmetatable(row, Row)
end

--- Number of rows.
Result.__len = function(r) return #r.index end

--- Iterates over rows: for row in r:rows() do print(row.gamma, row.value) end. row.loss is the loss
--- of that row.
function Result:rows()
  local i = 0
  return function()
    i = i + 1
    return self.index[i] and row_at(self, self.index[i])
  end
end

--- The numbers of one column, in the order of the rows.
function Result:column(name)
  local values, list = values_of(self, name), {}
  for i, index in ipairs(self.index) do list[i] = values[index] end
  return list
end

--- Names of the columns, ends of intervals included.
function Result:names() return names_of(wide(self)) end

-- -- Order ----------------------------------------------------------------------------------------

--- Is a larger value of this column better? Losses: no; metrics and rank correlations: yes.
function result.higher_is_better(column)
  return not (column:match "^value" or column:match "^part" or column == "control")
end

local function direction(column, descending)
  if descending == nil then return result.higher_is_better(column) end
  return descending
end

--- Rows ordered by a column: best first (small for losses, large for metrics and tau), or
--- descending = true | false. NaN goes last; equal rows keep their order.
function Result:sort(column, descending)
  local values = values_of(self, column)
  descending = direction(column, descending)
  local place, index = {}, {table.unpack(self.index)}
  for i, r in ipairs(index) do place[r] = i end
  table.sort(index, function(a, b)
    local x, y = values[a], values[b]
    if x ~= x or y ~= y then
      if (x ~= x) ~= (y ~= y) then return y ~= y end
    elseif x ~= y then
      if descending then return x > y end
      return x < y
    end
    return place[a] < place[b]
  end)
  return derive(self, index)
end

--- The first k rows after sorting by a column.
function Result:top(k, column, descending)
  local sorted = self:sort(column or default_column(self), descending)
  return derive(self, table.move(sorted.index, 1, math.min(k, #sorted.index), 1, {}), k)
end

--- The best row by a column; row.loss is its loss.
function Result:best(column, descending)
  local index = self:sort(column or default_column(self), descending).index[1]
  if not index then errors.misuse("best: there are no rows") end
  return row_at(self, index)
end

--- The rows for which fn(row) is true.
function Result:filter(fn)
  local index = {}
  for _, i in ipairs(self.index) do
    if fn(row_at(self, i)) then index[#index + 1] = i end
  end
  return derive(self, index)
end

--- Rows that no other row beats in both columns: no row is as good in both and better in one. Best
--- in a first. Rows with a NaN in either are left out.
function Result:pareto(a, b, a_descending, b_descending)
  local x, y = values_of(self, a), values_of(self, b)
  local sign_x = direction(a, a_descending) and -1 or 1
  local sign_y = direction(b, b_descending) and -1 or 1
  local list, place = {}, {}
  for i, r in ipairs(self.index) do
    place[r] = i
    if x[r] == x[r] and y[r] == y[r] then list[#list + 1] = r end
  end
  table.sort(list, function(p, q)
    if x[p] ~= x[q] then return sign_x * x[p] < sign_x * x[q] end
    if y[p] ~= y[q] then return sign_y * y[p] < sign_y * y[q] end
    return place[p] < place[q]
  end)
  local front, last = {}, nil
  for _, r in ipairs(list) do
    local equal = last and x[r] == x[last] and y[r] == y[last]
    if not last or equal or sign_y * y[r] < sign_y * y[last] then
      front[#front + 1] = r
      last = r
    end
  end
  return derive(self, front)
end

-- -- Groups ---------------------------------------------------------------------------------------

local Groups = {__name = "segx.Groups"}

local function summary(rows, column)
  local list, sum = {}, 0.0
  for _, v in ipairs(rows:column(column)) do
    if v == v then list[#list + 1], sum = v, sum + v end
  end
  table.sort(list)
  return sum / #list, list[1], list[#list]
end

Groups.__tostring = function(groups)
  local lines = {}
  for i, g in ipairs(groups) do
    lines[i] = {g.key, #g.rows, summary(g.rows, groups.column)}
  end
  return format.table({groups.by, "rows", "mean " .. groups.column, "least", "most"}, lines)
end

--- Rows by the value of a column: list of {key, rows (a Result)} in the order of appearance. Prints
--- with the mean, least and most of `column` (default: the first that is no parameter).
function Result:group(by, column)
  local values, seen = values_of(self, by), {}
  local groups = setmetatable({by = by, column = column or default_column(self)}, Groups)
  values_of(self, groups.column)
  for _, r in ipairs(self.index) do
    local key = values[r]
    local g = key == key and seen[key]      -- every NaN is a group of its own
    if not g then
      g = {key = key, index = {}}
      groups[#groups + 1] = g
      if key == key then seen[key] = g end
    end
    g.index[#g.index + 1] = r
  end
  for _, g in ipairs(groups) do g.rows, g.index = derive(self, g.index), nil end
  return groups
end

local Importance = {__name = "segx.Importance"}

Importance.__tostring = function(list)
  local lines = {}
  for i, a in ipairs(list) do lines[i] = {a.name, a.share, a.values} end
  return format.table({"axis", "share of variance of " .. list.column, "values"}, lines)
end

-- Level of every row on an axis: its value, or, where most values occur once (random draws), one of
-- at most eight bins of equally many rows.
local function levels(values, rows)
  local seen, distinct = {}, {}
  for _, r in ipairs(rows) do
    if not seen[values[r]] then
      seen[values[r]] = true
      distinct[#distinct + 1] = values[r]
    end
  end
  local level = {}
  if 2 * #distinct <= #rows or type(distinct[1]) ~= "number" then
    for _, r in ipairs(rows) do level[r] = values[r] end
    return level, #distinct
  end
  local bins = math.max(2, math.min(8, #rows // 8))
  local order = {table.unpack(rows)}
  table.sort(order, function(a, b)
    if values[a] ~= values[b] then return values[a] < values[b] end
    return a < b
  end)
  for i, r in ipairs(order) do level[r] = (i - 1) * bins // #order end
  return level, bins
end

--- How much each parameter moves a column: variance of the means of its levels over the variance of
--- all rows, 0 .. 1 (main effects; on a full grid what is left to 1 is interaction). List of {name,
--- share, values (number of levels)}, largest first. Rows with NaN are left out. It describes the
--- values that were tried: a wider axis has a larger share.
function Result:importance(column)
  column = column or default_column(self)
  local y, rows, mean = values_of(self, column), {}, 0.0
  for _, r in ipairs(self.index) do
    if y[r] == y[r] then rows[#rows + 1], mean = r, mean + y[r] end
  end
  mean = mean / #rows
  local total = 0.0
  for _, r in ipairs(rows) do total = total + (y[r] - mean) ^ 2 end
  local list = setmetatable({column = column}, Importance)
  for a = 1, self.n_axes do
    local level, count = levels(self.columns[a].values, rows)
    local sums, numbers, order, between = {}, {}, {}, 0.0
    for _, r in ipairs(rows) do
      local k = level[r]
      if not sums[k] then sums[k], numbers[k], order[#order + 1] = 0.0, 0, k end
      sums[k], numbers[k] = sums[k] + y[r], numbers[k] + 1
    end
    for _, k in ipairs(order) do between = between + numbers[k] * (sums[k] / numbers[k] - mean) ^ 2 end
    list[a] = {name = self.columns[a].name, share = total > 0 and between / total or 0.0,
      values = count, at = a}
  end
  table.sort(list, function(p, q)
    if p.share ~= q.share then return p.share > q.share end
    return p.at < q.at
  end)
  return list
end

-- -- Text -----------------------------------------------------------------------------------------

local function text_rows(r, most)
  local rows = {}
  for i = 1, math.min(#r.index, most) do
    rows[i] = {}
    for c, column in ipairs(r.columns) do rows[i][c] = cell_text(column, r.index[i]) end
  end
  return rows
end

Result.__tostring = function(r)
  local text = format.table(names_of(r.columns), text_rows(r, r.shown))
  if #r.index > r.shown then
    text = ("%s\n... %s rows in all"):format(text, format.count(#r.index))
  end
  return text
end

-- -- Files ----------------------------------------------------------------------------------------

local function write(path, text)
  if not path then return text end
  local file, why = io.open(path, "wb")
  if not file then errors.raise("file", tostring(why)) end
  local ok, failed = file:write(text)
  local closed, at_close = file:close()
  if not (ok and closed) then errors.raise("file", ("%s: %s"):format(path, failed or at_close)) end
  return text
end

local spelled = {nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge}

-- Text that could be read as a number is quoted: that is how it stays text.
local function csv_cell(v)
  if type(v) == "number" then return format.exact(v) end
  v = tostring(v)
  local quote = v:find '[,"\n\r]' or tonumber(v) or spelled[v]
  return quote and '"' .. v:gsub('"', '""') .. '"' or v
end

local function json_cell(v)
  if type(v) == "number" then
    return (v ~= v or math.abs(v) == math.huge) and "null" or format.exact(v)
  end
  local escaped = tostring(v):gsub('[%c"\\]', function(ch) return ("\\u%04x"):format(ch:byte()) end)
  return '"' .. escaped .. '"'
end

--- Comma-separated text; numbers read back exactly. Written to path where given; returned.
function Result:csv(path)
  local columns, lines, head = wide(self), {}, {}
  for i, c in ipairs(columns) do head[i] = csv_cell(c.name) end
  lines[1] = table.concat(head, ",")
  for _, index in ipairs(self.index) do
    local cells = {}
    for c, column in ipairs(columns) do cells[c] = csv_cell(column.values[index]) end
    lines[#lines + 1] = table.concat(cells, ",")
  end
  return write(path, table.concat(lines, "\n") .. "\n")
end

--- One JSON object per line; what is not finite is null.
function Result:jsonl(path)
  local columns, lines = wide(self), {}
  for _, index in ipairs(self.index) do
    local cells = {}
    for c, column in ipairs(columns) do
      cells[c] = json_cell(column.name) .. ":" .. json_cell(column.values[index])
    end
    lines[#lines + 1] = "{" .. table.concat(cells, ",") .. "}"
  end
  return write(path, #lines > 0 and table.concat(lines, "\n") .. "\n" or "")
end

local function is_text(column, index) return type(column.values[index]) == "string" end

--- A Markdown table of all rows, six digits. Written to path where given; returned.
function Result:markdown(path)
  local function bar(s) return (format.number(s):gsub("|", "\\|"):gsub("\n", " ")) end
  local head, rule = {}, {}
  for c, column in ipairs(self.columns) do
    head[c] = bar(column.name)
    rule[c] = self.index[1] and is_text(column, self.index[1]) and "---" or "---:"
  end
  local lines = {head, rule}
  for _, row in ipairs(text_rows(self, #self.index)) do
    for c = 1, #row do row[c] = bar(row[c]) end
    lines[#lines + 1] = row
  end
  for i, cells in ipairs(lines) do lines[i] = "| " .. table.concat(cells, " | ") .. " |" end
  return write(path, table.concat(lines, "\n") .. "\n")
end

local tex = {["\\"] = "\\textbackslash{}", ["~"] = "\\textasciitilde{}", ["^"] = "\\textasciicircum{}"}

--- A LaTeX tabular (package booktabs) of all rows. Written to path where given; returned.
function Result:latex(path)
  local function plain(s)
    return (format.number(s):gsub("[\\~^#$%%&_{}]", function(ch) return tex[ch] or "\\" .. ch end))
  end
  local head, align = {}, {}
  for c, column in ipairs(self.columns) do
    head[c] = plain(column.name)
    align[c] = self.index[1] and is_text(column, self.index[1]) and "l" or "r"
  end
  local lines = {("\\begin{tabular}{%s}"):format(table.concat(align)), "\\toprule",
    table.concat(head, " & ") .. " \\\\", "\\midrule"}
  for _, row in ipairs(text_rows(self, #self.index)) do
    for c = 1, #row do row[c] = plain(row[c]) end
    -- A line that starts with [ would be the optional argument of the line break before it.
    lines[#lines + 1] = (row[1]:sub(1, 1) == "[" and "{}" or "") .. table.concat(row, " & ") .. " \\\\"
  end
  lines[#lines + 1] = "\\bottomrule\n\\end{tabular}"
  return write(path, table.concat(lines, "\n") .. "\n")
end

-- -- Reading back ---------------------------------------------------------------------------------

-- Cells of comma-separated text from position `at`: a list, and where the next line starts.
local function csv_line(text, at)
  local cells = {}
  repeat
    local stop
    if text:sub(at, at) == '"' then
      local close = at + 1
      while true do
        close = text:find('"', close, true)
        if not close then return nil end
        if text:sub(close + 1, close + 1) ~= '"' then break end
        close = close + 2
      end
      cells[#cells + 1] = (text:sub(at + 1, close - 1):gsub('""', '"'))
      stop = close + 1
    else
      stop = text:find("[,\n]", at) or #text + 1
      local s = text:sub(at, stop - 1):gsub("\r$", "")
      cells[#cells + 1] = tonumber(s) or spelled[s] or s
    end
    if text:sub(stop, stop) == "\r" then stop = stop + 1 end
    at = stop + 1
  until text:sub(stop, stop) ~= ","
  return cells, at
end

local function json_string(s)
  return (s:gsub("\\u(%x%x%x%x)", function(hex) return utf8.char(tonumber(hex, 16)) end))
end

-- One object of lines that jsonl wrote: names and values in their order.
local function json_line(line)
  local names, cells, at = {}, {}, 2
  while line:sub(at, at) == '"' do
    local key, value, stop = line:match('^"([^"]*)":("?[^",}]*"?)()', at)
    if line:match('^"[^"]*":"', at) then key, value, stop = line:match('^"([^"]*)":(%b"")()', at) end
    if not key then return nil end
    names[#names + 1] = json_string(key)
    cells[#cells + 1] = value == "null" and 0 / 0 or value:sub(1, 1) == '"'
      and json_string(value:sub(2, -2)) or tonumber(value)
    if cells[#names] == nil then return nil end
    at = stop + 1
  end
  return names, cells
end

local function read_rows(text, path)
  local function broken(line)
    errors.raise("file", ("%s: line %d is not a row of results"):format(path, line))
  end
  local names, rows = nil, {}
  if text:sub(1, 2) == '{"' then
    for line in text:gmatch "[^\n]+" do
      local head, cells = json_line(line)
      if not head then broken(#rows + 1) end
      names, rows[#rows + 1] = names or head, cells
    end
  else
    local at = 1
    while at <= #text do
      local cells, following = csv_line(text, at)
      if not cells or names and #cells ~= #names then broken(#rows + 2) end
      if names then rows[#rows + 1] = cells else names = cells end
      at = following
    end
  end
  return names or {}, rows
end

--- The Result that csv or jsonl wrote to this path. Its rows have no loss; every column counts as
--- one that is no parameter, unless n_axes says how many are.
function result.read(path, n_axes)
  local file, why = io.open(path, "rb")
  if not file then errors.raise("file", tostring(why)) end
  local text = file:read "a"
  file:close()
  if not text then errors.raise("file", path .. ": cannot be read") end
  local names, rows = read_rows(text, path)
  local columns = {}
  for c, name in ipairs(names) do
    columns[c] = {name = tostring(name), values = {}}
    for r, row in ipairs(rows) do columns[c].values[r] = row[c] end
  end
  return result.new {columns = columns, count = #rows, n_axes = n_axes or 0, positions = {}}
end

result.Result = Result
return result
