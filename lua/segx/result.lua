--[[
result.lua: the rows of a sweep or a search, to be read, cut, grouped and written.

    print(r:top(10, "tau(iou)"))           r:best("tau(iou)").loss
    r:filter(function(row) return row.gamma > 1 end)
    r:pareto("value", "tau(iou)")          rows that no other row beats in both
    r:group("gamma", "tau(iou)")           one line per value
    r:importance("tau(iou)")               share of the variance that each axis explains
    r:csv(path) r:jsonl(path)              read back by segx.read_results(path), digits kept
    r:markdown(path) r:latex(path)         for people

A column may have an interval; it is shown as 0.71 [0.55, 0.82], its ends are columns of their own
(tau(iou).lo, tau(iou).hi), also in files. Ends are computed when a row is looked at.
]]
local csv = require "segx.csv"
local errors = require "segx.errors"
local format = require "segx.format"
local json = require "segx.json"
local pages = require "segx.pages"
errors.own()

local result = {}

local Result = {__name = "segx.SweepResult"}
Result.__index = Result

local function index_names(columns)
  local by_name = {}
  for _, c in ipairs(columns) do
    by_name[c.name] = c.values
    if c.lo then by_name[c.name .. ".lo"], by_name[c.name .. ".hi"] = c.lo, c.hi end
    if c.note then by_name[c.name .. ".note"] = c.note end
  end
  return by_name
end

--- A Result. o: columns (list of {name, values, lo, hi, note, texts}: lo, hi the interval's ends, note a
--- text per row, texts the values as csv has them, all four optional), count (rows), n_axes (how many of
--- the columns are parameters), loss and positions ({axis = list of 1-based positions}) or losses (list
--- by row; may compute on access), reasons (why a row failed, by row, or nil), stats, biases (by row a
--- function that makes row:bias(), see bias.lua), notes (texts that stand below the table). Lists may
--- compute what is read; streamed: they do, and are best read in the order of the rows.
function result.new(o)
  local r = {columns = o.columns, by_name = index_names(o.columns), n_axes = o.n_axes, positions = o.positions,
    loss = o.loss, losses = o.losses, reasons = o.reasons, stats = o.stats, streamed = o.streamed,
    biases = o.biases, notes = o.notes,
    index = pages.list(o.count, function(i) return i end), whole = true, shown = 20}
  return setmetatable(r, Result)
end

local function derive(r, index, shown)
  local copy = {}
  for k, v in pairs(r) do copy[k] = v end
  copy.index, copy.whole, copy.shown = index, index == r.index and r.whole, shown or r.shown
  return setmetatable(copy, Result)
end

-- These rows of a streamed result with their numbers in memory: read once, in the order of the rows.
local function gather(r, index, shown)
  local order, columns = {}, {}
  for i = 1, #index do order[i] = i end
  table.sort(order, function(a, b) return index[a] < index[b] end)
  for c, from in ipairs(r.columns) do
    local own = {values = {}}
    for k, v in pairs(from) do
      if k == "lo" or k == "hi" or k == "note" or k == "texts" or k == "by_image" then
        own[k] = pages.list(#index, function(i) return v[index[i]] end)
      elseif k ~= "values" then
        own[k] = v
      end
    end
    columns[c] = own
  end
  for _, i in ipairs(order) do
    for c, from in ipairs(r.columns) do columns[c].values[i] = from.values[index[i]] end
  end
  local function these(list)
    return list and pages.list(#index, function(i) return list[index[i]] end)
  end
  local positions = {}
  for name, list in pairs(r.positions) do positions[name] = these(list) end
  local made = result.new {columns = columns, count = #index, n_axes = r.n_axes, loss = r.loss,
    losses = these(r.losses), positions = positions, reasons = these(r.reasons), stats = r.stats,
    biases = these(r.biases), notes = r.notes}
  made.shown = shown or r.shown
  return made
end

-- The result with these rows only.
local function pick(r, index, shown) return (r.streamed and gather or derive)(r, index, shown) end

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

local function no_bias()
  errors.misuse("bias: these rows have no fits", 'segx.fit{...}, or want = {"fit.miou"} in the sweep')
end

-- What a row has is looked up when asked for. Its loss is one configuration, no axes left.
Row.__index = function(row, key)
  local own = rawget(row, Row)
  local r = own.result
  if r.by_name[key] then return r.by_name[key][own.index] end
  if key == "reason" then return r.reasons and r.reasons[own.index] end
  if key == "bias" then return r.biases and r.biases[own.index] or no_bias end
  if key ~= "loss" then return nil end
  if r.losses then return r.losses[own.index] end
  if not r.loss then return nil end
  local at = {}
  for name, list in pairs(r.positions) do at[name] = list[own.index] end
  return r.loss:at(at)
end

-- for name, value in pairs(row): its columns, in their order
Row.__pairs = function(row)
  local own, i = rawget(row, Row), 0
  return function()
    i = i + 1
    local c = own.result.columns[i]
    if c then return c.name, c.values[own.index] end
  end
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
  local own, lines = rawget(row, Row), {}
  if row.loss then lines[1] = tostring(row.loss) end
  for _, c in ipairs(own.result.columns) do
    lines[#lines + 1] = c.name .. "  " .. format.number(cell_text(c, own.index))
  end
  if row.reason then lines[#lines + 1] = "failed  " .. row.reason end
  return table.concat(lines, "\n")
end

local function row_at(r, index) return setmetatable({[Row] = {result = r, index = index}}, Row) end

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

--- The same rows with these columns, in this order. Ends of intervals stay with their column.
function Result:select(names)
  local columns, n_axes = {}, 0
  for i, name in ipairs(names) do
    for k, c in ipairs(self.columns) do
      if c.name == name then
        columns[i] = c
        if k <= self.n_axes and n_axes == i - 1 then n_axes = i end
      end
    end
    if not columns[i] then errors.unknown("result", "column", name, names_of(self.columns)) end
  end
  local r = derive(self, self.index)
  r.columns, r.n_axes, r.by_name = columns, n_axes, index_names(columns)
  return r
end

-- -- Order ----------------------------------------------------------------------------------------

--- Is a larger value of this column better? Losses: no; metrics and rank correlations: yes.
function result.higher_is_better(column)
  return not (column:match "^value" or column:match "^part" or column == "control" or column == "fit.rank")
end

--- Is the order of a column from large to small? Where `descending` does not say: best first.
function result.direction(column, descending)
  if descending == nil then return result.higher_is_better(column) end
  return descending
end

local direction = result.direction

-- Does x come before y? NaN goes last.
local function comes_first(x, y, descending)
  if x ~= x or y ~= y then return x == x end
  if descending then return x > y end
  return x < y
end

-- Places (positions in r.index) by a column, best first; equal rows keep their order.
local function ordered(r, column, descending)
  local values, key, order = values_of(r, column), {}, {}
  for i, row in ipairs(r.index) do key[i], order[i] = values[row], i end
  table.sort(order, function(a, b)
    local x, y = key[a], key[b]
    if x == y or (x ~= x and y ~= y) then return a < b end
    return comes_first(x, y, descending)
  end)
  return order
end

--- The best k of what is offered, without holding the rest: a list, best first, equal ones in the order
--- of their coming; and offer(number, item), which gives the last number that is in. Most do not
--- get in: for k far below the number of offers.
function result.best_of(k, descending)
  local keys, items = {}, {}
  return items, function(v, item)
    local n = #items
    if n < k or k > 0 and comes_first(v, keys[n], descending) then
      local at = n + 1
      while at > 1 and comes_first(v, keys[at - 1], descending) do at = at - 1 end
      table.insert(keys, at, v)
      table.insert(items, at, item)
      keys[k + 1], items[k + 1] = nil, nil
    end
    return keys[#keys]
  end
end

local function first_places(r, k, column, descending)
  if k > 1000 or 4 * k > #r.index then
    return table.move(ordered(r, column, descending), 1, k, 1, {})
  end
  local values, places, offer = values_of(r, column), result.best_of(k, descending)
  if not r.whole or k < 1 then
    for i, row in ipairs(r.index) do offer(values[row], i) end
    return places
  end
  -- Of many rows most are passed over here.
  local n, worst = 0, nil
  for first, part in pages.parts(values) do
    for i = 1, #part do
      local v = part[i]
      if n < k or worst ~= worst or (descending and v > worst or not descending and v < worst) then
        worst, n = offer(v, first + i - 1), n + 1
      end
    end
  end
  return places
end

local function at_places(r, places)
  local index = {}
  for i, place in ipairs(places) do index[i] = r.index[place] end
  return index
end

--- Rows ordered by a column: best first (small for losses, large for metrics and tau), or
--- descending = true | false. NaN goes last; equal rows keep their order.
function Result:sort(column, descending)
  return pick(self, at_places(self, ordered(self, column, direction(column, descending))))
end

--- The first k rows after sorting by a column.
function Result:top(k, column, descending)
  column = column or default_column(self)
  local places = first_places(self, math.min(k, #self.index), column, direction(column, descending))
  return pick(self, at_places(self, places), k)
end

--- The first k rows as they are.
function Result:first(k)
  return pick(self, table.move(self.index, 1, math.min(k, #self.index), 1, {}), k)
end

--- The best row by a column; row.loss is its loss.
function Result:best(column, descending)
  column = column or default_column(self)
  local place = first_places(self, math.min(1, #self.index), column, direction(column, descending))[1]
  if not place then errors.misuse("best: there are no rows") end
  return row_at(self, self.index[place])
end

--- The rows for which fn(row) is true.
function Result:filter(fn)
  local index = {}
  for _, i in ipairs(self.index) do
    if fn(row_at(self, i)) then index[#index + 1] = i end
  end
  return pick(self, index)
end

--- Rows that no other row beats in both columns: no row is as good in both and better in one. Best
--- in a first. Rows with a NaN in either are left out.
function Result:pareto(a, b, a_descending, b_descending)
  local x, y = values_of(self, a), values_of(self, b)
  local sign_x = direction(a, a_descending) and -1 or 1
  local sign_y = direction(b, b_descending) and -1 or 1
  local list, u, v = {}, {}, {}
  for i, r in ipairs(self.index) do
    local p, q = sign_x * x[r], sign_y * y[r]
    if p == p and q == q then list[#list + 1], u[i], v[i] = i, p, q end
  end
  table.sort(list, function(p, q)
    if u[p] ~= u[q] then return u[p] < u[q] end
    if v[p] ~= v[q] then return v[p] < v[q] end
    return p < q
  end)
  local front, last = {}, nil
  for _, i in ipairs(list) do
    if not last or v[i] < v[last] or u[i] == u[last] and v[i] == v[last] then
      front[#front + 1] = i
      last = i
    end
  end
  return pick(self, at_places(self, front))
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
  for _, g in ipairs(groups) do g.rows, g.index = pick(self, g.index), nil end
  return groups
end

local Importance = {__name = "segx.Importance"}
Importance.__index = Importance

Importance.__tostring = function(list)
  local lines = {}
  for i, a in ipairs(list) do lines[i] = {a.name, a.share, a.values} end
  return format.table({"axis", "share of variance of " .. list.column, "values"}, lines)
end

--- A figure: a bar per parameter.
function Importance.plot(list)
  local names, values = {}, {}
  for i, a in ipairs(list) do names[i], values[i] = a.name, a.share end
  return require("segx.plot").bars {kind = "importance", title = "What moves " .. list.column,
    note = "main effects over the values that were tried; what is left to 100 % is interaction", names = names,
    values = values, percent = true, xlabel = "share of the variance of " .. list.column}
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
  local order = table.move(rows, 1, #rows, 1, {})
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
    local axis = self.columns[a]
    if not axis.is_number_of_draw then
      local level, count = levels(axis.values, rows)
      local sums, numbers, order, between = {}, {}, {}, 0.0
      for _, r in ipairs(rows) do
        local k = level[r]
        if not sums[k] then sums[k], numbers[k], order[#order + 1] = 0.0, 0, k end
        sums[k], numbers[k] = sums[k] + y[r], numbers[k] + 1
      end
      for _, k in ipairs(order) do between = between + numbers[k] * (sums[k] / numbers[k] - mean) ^ 2 end
      list[#list + 1] = {name = axis.name, share = total > 0 and between / total or 0.0, values = count, at = a}
    end
  end
  table.sort(list, function(p, q)
    if p.share ~= q.share then return p.share > q.share end
    return p.at < q.at
  end)
  return list
end

-- -- Figures --------------------------------------------------------------------------------------

--- A figure of the rows: r:plot("heatmap", {x = "gamma", y = "mix", z = "tau(iou)"}):save("x.svg");
--- printed, it is drawn as text. Kinds and options: segx/result_plot.lua.
function Result:plot(kind, opts) return require("segx.result_plot").plot(self, kind, opts) end

--- The losses of every image that a rank column was made of, a Result with a row per image: segx/result_images.lua.
function Result:images(column) return require("segx.result_images").images(self, column) end

-- -- Text -----------------------------------------------------------------------------------------

local function text_rows(r, most)
  local rows = {}
  for i = 1, math.min(#r.index, most) do
    rows[i] = {}
    for c, column in ipairs(r.columns) do rows[i][c] = cell_text(column, r.index[i]) end
  end
  return rows
end

--- The rows as a table shows them: a list of texts and numbers by column, for each row.
function Result:texts() return text_rows(self, #self.index) end

Result.__tostring = function(r)
  local text = format.table(names_of(r.columns), text_rows(r, r.shown))
  if #r.index > r.shown then
    text = ("%s\n... %s rows in all"):format(text, format.count(#r.index))
  end
  for _, note in ipairs(r.notes or {}) do text = text .. "\nnote: " .. note end
  return text
end

-- -- Files ----------------------------------------------------------------------------------------

--- Where lines of text go, a few thousand at a time: sink(text); nothing is held.
local function to_file(path)
  local file, why = io.open(path, "wb")
  if not file then errors.raise("file", tostring(why)) end
  return function(text)
    local ok, failed
    if text then ok, failed = file:write(text) else ok, failed = file:close() end
    if not ok then errors.raise("file", ("%s: %s"):format(path, failed)) end
  end
end

-- Gives emit one line (with its end) after the other to call; with a path they go there, else they
-- are returned as one text.
local function write_lines(path, emit)
  local sink, whole = path and to_file(path), not path and {} or nil
  local lines = {}
  local function flush()
    local text = table.concat(lines)
    if sink then sink(text) else whole[#whole + 1] = text end
    lines = {}
  end
  emit(function(line)
    lines[#lines + 1] = line
    if #lines == 2048 then flush() end
  end)
  flush()
  if sink then sink(nil) end
  return whole and table.concat(whole)
end

--- Calls emit with each line of the comma-separated text. last: {name, get(index) -> text}, further
--- columns; get gives the text as it stands in the file.
function result.csv_lines(r, emit, last)
  local columns, cells = wide(r), {}
  for i, c in ipairs(columns) do cells[i] = csv.cell(c.name) end
  for i, c in ipairs(last or {}) do cells[#columns + i] = csv.cell(c.name) end
  emit(table.concat(cells, ",") .. "\n")
  local lists, texts, n = {}, {}, #columns
  for i, c in ipairs(columns) do lists[i], texts[i] = c.texts or c.values, c.texts and true end
  for _, index in ipairs(r.index) do
    for i = 1, n do
      local v = lists[i][index]
      cells[i] = texts[i] and v or csv.cell(v)
    end
    for i, c in ipairs(last or {}) do cells[n + i] = c.get(index) end
    emit(table.concat(cells, ",") .. "\n")
  end
end

--- Comma-separated text; numbers read back exactly. To path, row by row; without one, returned.
function Result:csv(path)
  return write_lines(path, function(emit) result.csv_lines(self, emit) end)
end

--- One JSON object per line; what is not finite is null. To path; without one, returned.
function Result:jsonl(path)
  local columns, cells, names = wide(self), {}, {}
  for i, c in ipairs(columns) do names[i] = json.encode(c.name) .. ":" end
  return write_lines(path, function(emit)
    for _, index in ipairs(self.index) do
      for i, c in ipairs(columns) do cells[i] = names[i] .. json.encode(c.values[index]) end
      emit("{" .. table.concat(cells, ",") .. "}\n")
    end
  end)
end

local function is_text(column, index) return type(column.values[index]) == "string" end

-- Texts of one row, as tables for people have them.
local function row_texts(r, index)
  local cells = {}
  for c, column in ipairs(r.columns) do cells[c] = cell_text(column, index) end
  return cells
end

--- A Markdown table of all rows, six digits. To path; without one, returned.
function Result:markdown(path)
  local function line(cells)
    for c, s in ipairs(cells) do cells[c] = format.number(s):gsub("|", "\\|"):gsub("\n", " ") end
    return "| " .. table.concat(cells, " | ") .. " |\n"
  end
  local rule = {}
  for c, column in ipairs(self.columns) do
    rule[c] = self.index[1] and is_text(column, self.index[1]) and "---" or "---:"
  end
  return write_lines(path, function(emit)
    emit(line(names_of(self.columns)))
    emit(line(rule))
    for _, index in ipairs(self.index) do emit(line(row_texts(self, index))) end
  end)
end

local tex = {["\\"] = "\\textbackslash{}", ["~"] = "\\textasciitilde{}", ["^"] = "\\textasciicircum{}"}

--- A LaTeX tabular (package booktabs) of all rows. To path; without one, returned.
function Result:latex(path)
  local function line(cells)
    for c, s in ipairs(cells) do
      cells[c] = format.number(s):gsub("[\\~^#$%%&_{}]", function(ch) return tex[ch] or "\\" .. ch end)
    end
    -- A line that starts with [ would be the optional argument of the line break before it.
    return (cells[1]:sub(1, 1) == "[" and "{}" or "") .. table.concat(cells, " & ") .. " \\\\\n"
  end
  local align = {}
  for c, column in ipairs(self.columns) do
    align[c] = self.index[1] and is_text(column, self.index[1]) and "l" or "r"
  end
  return write_lines(path, function(emit)
    emit(("\\begin{tabular}{%s}\n\\toprule\n"):format(table.concat(align)))
    emit(line(names_of(self.columns)))
    emit("\\midrule\n")
    for _, index in ipairs(self.index) do emit(line(row_texts(self, index))) end
    emit("\\bottomrule\n\\end{tabular}\n")
  end)
end

result.Result = Result
return result
