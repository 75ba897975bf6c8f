--[[
result_plot.lua: figures of the rows of a sweep: r:plot(kind, {...}). A result read back from a file or
a run folder is drawn as one that was just computed.

    r:plot("line", {x = "gamma", y = "tau(iou)", by = "smooth"})
    r:plot("heatmap", {x = "gamma", y = "mix", z = "tau(iou)"})
    r:plot("parallel", {by = "tau(iou)", top = 40})
    r:plot("scatter", {x = "value", y = "tau(iou)", z = "gamma"})
    r:plot("rank", {by = "tau(iou)", top = 10})        the best rows with their intervals; equal rows once
    r:plot("bars", {x = "scheme", y = "tau(iou)"})
    r:plot("classes", {y = "fit.gain", top = 2})       by class: fit.gain.pole ..., of the best rows

Where a figure has fewer axes than the sweep, several rows fall on one place. reduce says which is
drawn: "best" (default: of the column's better end), "max", "min", or their "mean"; the note under the
title names the axes that were reduced.
]]
local errors = require "segx.errors"
local figure = require "segx.figure"
local format = require "segx.format"
local plot = require "segx.plot"
local result = require "segx.result"
errors.own()

local result_plot = {}
local finite = figure.finite

-- -- Columns --------------------------------------------------------------------------------------

-- A column by name: {name, values, lo, hi}; ends of intervals where it has some.
local function column(r, name)
  local c = {name = name, values = r:column(name)}
  local known = r.by_name
  if known[name .. ".lo"] and known[name .. ".hi"] then
    -- Ends are computed when they are looked at: of the rows that are drawn.
    c.lo = function(i) return known[name .. ".lo"][r.index[i]] end
    c.hi = function(i) return known[name .. ".hi"][r.index[i]] end
  end
  return c
end

local function numeric(who, c)
  for i, v in ipairs(c.values) do
    if type(v) ~= "number" then
      errors.misuse(("%s: column '%s' holds text ('%s' in row %d)"):format(who, c.name,
        tostring(v), i))
    end
  end
  return c
end

local function distinct(values)
  local seen, list = {}, {}
  for _, v in ipairs(values) do
    local key = v ~= v and "nan" or v
    if not seen[key] then
      seen[key] = true
      list[#list + 1] = v
    end
  end
  return list
end

-- Names of the parameters that take more than one value in these rows.
local function varying(r)
  local list = {}
  for a = 1, r.n_axes do
    local name = r.columns[a].name
    if #distinct(r:column(name)) > 1 then list[#list + 1] = name end
  end
  return list
end

local function first_result_column(r)
  local c = r.columns[r.n_axes + 1]
  return c and c.name or errors.misuse("plot: there are no columns but parameters")
end

local function need_rows(r)
  if #r == 0 then errors.misuse("plot: there are no rows") end
end

-- The places of a list of values on an axis: numbers as they are, texts in order of appearance.
local function places_of(values)
  for _, v in ipairs(values) do
    if type(v) ~= "number" then
      local names, at, place = {}, {}, {}
      for i, t in ipairs(values) do
        t = tostring(t)
        if not place[t] then
          names[#names + 1] = t
          place[t] = #names
        end
        at[i] = place[t]
      end
      return at, names
    end
  end
  return values
end

-- -- Several rows on one place --------------------------------------------------------------------

local reducers = {"best", "max", "min", "mean"}

-- Which of two values is drawn.
local function better(how, name)
  local larger = how == "max" or how == "best" and result.higher_is_better(name)
  return function(a, b)
    if a ~= a or b ~= b then return a == a end
    if larger then return a > b end
    return a < b
  end
end

-- Reduces rows to one per key: list of {row, value, rows}, in order of the keys' appearance.
local function reduce(how, c, key_of)
  local list, seen, wins = {}, {}, better(how, c.name)
  for i, v in ipairs(c.values) do
    local key = key_of(i)
    if key ~= nil then
      local g = seen[key]
      if not g then
        g = {key = key, row = i, value = v, rows = 0, sum = 0.0, counted = 0}
        seen[key] = g
        list[#list + 1] = g
      elseif wins(v, g.value) then
        g.row, g.value = i, v
      end
      g.rows = g.rows + 1
      if finite(v) then g.sum, g.counted = g.sum + v, g.counted + 1 end
    end
  end
  for _, g in ipairs(list) do
    if how == "mean" then g.value = g.counted > 0 and g.sum / g.counted or 0 / 0 end
  end
  return list
end

local function check_reduce(o)
  local how = o.reduce or "best"
  for _, name in ipairs(reducers) do
    if name == how then return how end
  end
  errors.unknown("plot", "reduce", how, reducers)
end

local said = {best = "best", max = "largest", min = "least", mean = "mean"}

-- "best over mix, smooth" of the axes that the figure has no place for, or nil.
local function reduced_note(r, how, groups, used)
  local several = false
  for _, g in ipairs(groups) do several = several or g.rows > 1 end
  if not several then return nil end
  local over = {}
  for _, name in ipairs(varying(r)) do
    if not used[name] then over[#over + 1] = name end
  end
  return #over > 0 and ("%s over %s"):format(said[how], table.concat(over, ", "))
    or ("%s of rows that share a place"):format(said[how])
end

-- -- The control ----------------------------------------------------------------------------------

-- The control's value of a column where the result tells it: {"control", value}, or nil.
local function control_of(r, name)
  local values
  if r.by_name[name .. "-control"] then
    local mine, difference = r:column(name), r:column(name .. "-control")
    values = {}
    for i, v in ipairs(mine) do
      values[i] = type(difference[i]) == "number" and type(v) == "number" and v - difference[i] or 0 / 0
    end
  elseif name == "value" and r.by_name.control then
    values = r:column "control"
  end
  local v
  for _, x in ipairs(values or {}) do
    if finite(x) then
      if v and math.abs(x - v) > 1e-9 * (1 + math.abs(v)) then return nil end
      v = v or x
    end
  end
  return v and {"control", v}
end

-- -- Kinds ----------------------------------------------------------------------------------------

local passed_on = {"title", "note", "width", "height", "xlabel", "ylabel", "xlim", "ylim", "logx",
  "logy", "percent"}

local function options(kind, o, own)
  local known = {table.unpack(own)}
  table.move(passed_on, 1, #passed_on, #known + 1, known)
  errors.check_keys(('plot("%s")'):format(kind), "option", o, known)
  local given = {kind = kind}
  for _, k in ipairs(passed_on) do given[k] = o[k] end
  return given
end

local function add_note(given, line)
  if not line then return end
  local list = type(given.note) == "table" and {table.unpack(given.note)} or {given.note}
  list[#list + 1] = line
  given.note = list
end

local function first_axis(r, who, skip)
  for _, name in ipairs(varying(r)) do
    if name ~= skip then return name end
  end
  local c = r.n_axes > 0 and r.columns[1].name
  return c and c ~= skip and c
    or errors.misuse(who .. ": which column? The rows have no further parameter", 'x = "gamma"')
end

-- Columns behind a prefix ("grad.share": all grad.share.CLASS): list of {name, class}.
local function by_class(r, name)
  local list, prefix = {}, name .. "."
  for _, c in ipairs(r.columns) do
    if c.name:sub(1, #prefix) == prefix and not c.name:find("%.lo$") and not c.name:find("%.hi$") then
      list[#list + 1] = {c.name, c.name:sub(#prefix + 1)}
    end
  end
  return list
end

-- The name itself, or, where there is no such column, those behind it.
local function expand(r, name)
  if r.by_name[name] then return {{name}} end
  local list = by_class(r, name)
  if #list == 0 then r:column(name) end      -- raises, with the nearest name
  return list
end

local function series_of(r, name, label, x, groups, used)
  local c = numeric('plot("line")', column(r, name))
  local s = {name = label, x = {}, y = {}}
  local banded = c.lo and used.how ~= "mean"
  if banded then s.lo, s.hi = {}, {} end
  table.sort(groups, function(a, b)
    local p, q = x[a.row], x[b.row]
    if p ~= q then return p < q end
    return a.row < b.row
  end)
  for i, g in ipairs(groups) do
    s.x[i], s.y[i] = x[g.row], g.value
    if banded then s.lo[i], s.hi[i] = c.lo(g.row), c.hi(g.row) end
  end
  return s
end

local kinds = {}

function kinds.line(r, o)
  local given = options("line", o, {"x", "y", "by", "reduce", "control"})
  local who, how = 'plot("line")', check_reduce(o)
  local xname = o.x or first_axis(r, who)
  local x, xnames = places_of(r:column(xname))
  local ys = {}
  for _, name in ipairs(type(o.y) == "table" and o.y or {o.y or first_result_column(r)}) do
    for _, c in ipairs(expand(r, name)) do ys[#ys + 1] = c end
  end
  local by = o.by and r:column(o.by)
  if by and #ys > 1 then
    errors.misuse(who .. ": 'by' and several columns at once", "one of them")
  end
  local series, used, note = {}, {[xname] = true, how = how}, nil
  if o.by then used[o.by] = true end
  for _, y in ipairs(ys) do
    local c = numeric(who, column(r, y[1]))
    for _, part in ipairs(by and distinct(by) or {false}) do
      local groups = reduce(how, c, function(i)
        if by and by[i] ~= part then return nil end
        return x[i]
      end)
      note = note or reduced_note(r, how, groups, used)
      local label = by and ("%s %s"):format(o.by, format.number(part)) or y[2] or y[1]
      series[#series + 1] = series_of(r, y[1], label, x, groups, used)
    end
  end
  add_note(given, note)
  given.series, given.xnames, given.who = series, xnames, who
  given.xlabel = given.xlabel or xname
  given.ylabel = given.ylabel or #ys == 1 and ys[1][1] or type(o.y) == "string" and o.y or nil
  if given.logx == nil and not xnames then given.logx = plot.looks_log(x) end
  if series[1].lo then given.band = "interval" end
  if o.control ~= false and #ys == 1 then given.control = control_of(r, ys[1][1]) end
  return plot.line(given)
end

-- The distinct values of a column in axis order, and the place of each row.
local function levels(r, name)
  local values = r:column(name)
  local list = distinct(values)
  local all_numbers = true
  for _, v in ipairs(list) do all_numbers = all_numbers and type(v) == "number" and v == v end
  if all_numbers then table.sort(list) end
  local place, names, at = {}, {}, {}
  for k, v in ipairs(list) do
    place[v == v and v or "nan"] = k
    names[k] = type(v) == "number" and figure.tick_text(v) or tostring(v)
  end
  for i, v in ipairs(values) do at[i] = place[v == v and v or "nan"] end
  return names, at
end

local MOST_CELLS = 60

function kinds.heatmap(r, o)
  local given = options("heatmap", o, {"x", "y", "z", "reduce", "map", "zlim", "zlabel"})
  local who, how = 'plot("heatmap")', check_reduce(o)
  local xname = o.x or first_axis(r, who, o.y)
  local yname = o.y or first_axis(r, who, xname)
  local xnames, xat = levels(r, xname)
  local ynames, yat = levels(r, yname)
  local z = numeric(who, column(r, o.z or first_result_column(r)))
  for _, side in ipairs {{xname, xnames}, {yname, ynames}} do
    if #side[2] > MOST_CELLS then
      errors.misuse(("%s: '%s' has %d different values; cells are for grids"):format(who, side[1],
        #side[2]), ('r:plot("scatter", {x = "%s", y = "%s", z = "%s"})'):format(xname, yname, z.name))
    end
  end
  local groups = reduce(how, z, function(i) return (yat[i] - 1) * #xnames + xat[i] end)
  local rows, best, wins = {}, nil, better(how == "mean" and "best" or how, z.name)
  for j = 1, #ynames do
    rows[j] = {}
    for i = 1, #xnames do rows[j][i] = 0 / 0 end
  end
  for _, g in ipairs(groups) do
    local i, j = (g.key - 1) % #xnames + 1, (g.key - 1) // #xnames + 1
    rows[j][i] = g.value
    if finite(g.value) and (not best or wins(g.value, best.value)) then best = {i, j, value = g.value} end
  end
  add_note(given, reduced_note(r, how, groups, {[xname] = true, [yname] = true}))
  if best then
    add_note(given, ("%s: %.4g at %s %s, %s %s"):format(said[how == "mean" and "best" or how],
      best.value, xname, xnames[best[1]], yname, ynames[best[2]]))
  end
  given.xnames, given.ynames, given.z, given.best = xnames, ynames, rows, best
  given.map, given.zlim, given.zlabel = o.map, o.zlim, o.zlabel or z.name
  given.xlabel, given.ylabel = given.xlabel or xname, given.ylabel or yname
  given.logx, given.logy = nil, nil
  return plot.heatmap(given)
end

function kinds.scatter(r, o)
  local given = options("scatter", o, {"x", "y", "z", "map", "zlabel"})
  local who = 'plot("scatter")'
  local xname = o.x or first_axis(r, who)
  local yname = o.y or first_result_column(r)
  given.x, given.xnames = places_of(r:column(xname))
  given.y, given.ynames = places_of(r:column(yname))
  if o.z then given.z = numeric(who, column(r, o.z)).values end
  given.map, given.zlabel = o.map, o.zlabel or o.z
  given.xlabel, given.ylabel = given.xlabel or xname, given.ylabel or yname
  return plot.scatter(given)
end

local function check_top(kind, top)
  if math.type(top) ~= "integer" or top < 1 then
    errors.misuse(('plot("%s"): top is a number of rows, from 1'):format(kind))
  end
  return top
end

-- Whether two rows have the same numbers, intervals included, in all columns that are no parameters.
local function alike(r, a, b)
  for c = r.n_axes + 1, #r.columns do
    local name = r.columns[c].name
    for _, key in ipairs(r.columns[c].lo and {name, name .. ".lo", name .. ".hi"} or {name}) do
      local x, y = a[key], b[key]
      if x ~= y and (x == x or y == y) then return false end
    end
  end
  return true
end

--- The best rows, those with equal numbers once (mix = 0: whatever gamma is), those without a number in `by`
--- (failed ones) not at all unless no row has one. Returns them as a Result, and by place how many more are
--- equal to each.
function result_plot.best_rows(r, by, top)
  local most, keep, more, best = top, nil, nil, nil
  repeat
    best, keep, more = r:top(most, by), {}, {}
    local last, n = nil, 0
    for row in best:rows() do
      n = n + 1
      if last and finite(last[by]) and not finite(row[by]) then break end      -- they come last
      if last and alike(r, last, row) then
        more[#more] = more[#more] + 1
      else
        last, keep[n], more[#more + 1] = row, true, 0
      end
    end
    most = most * 4
  until #more >= top or #best == #r or most > 64 * top
  local place, kept = 0, 0
  local rows = best:filter(function()
    place = place + 1
    kept = kept + (keep[place] and 1 or 0)
    return keep[place] and kept <= top
  end)
  return rows, table.move(more, 1, #rows, 1, {})
end

-- "mix 0 in all of them": parameters with one value among these rows, several among all.
local function shared_note(best, r)
  local own, list = {}, {}
  for _, name in ipairs(varying(best)) do own[name] = true end
  for _, name in ipairs(varying(r)) do
    if not own[name] then list[#list + 1] = name .. " " .. format.number(best:column(name)[1]) end
  end
  return #best > 1 and #list > 0 and table.concat(list, ", ") .. " in all of them" or nil
end

-- "gamma 2, mix 0.75": what tells a row from the others; one text says it alone.
local function row_label(row, names)
  local list = {}
  if #names == 1 and type(row[names[1]]) == "string" then return row[names[1]] end
  for k, name in ipairs(names) do list[k] = name .. " " .. format.number(row[name]) end
  return #list > 0 and table.concat(list, ", ") or "this loss"
end

function kinds.rank(r, o)
  local given = options("rank", o, {"by", "top", "control"})
  local by = o.by or first_result_column(r)
  numeric('plot("rank")', column(r, by))
  local best, more = result_plot.best_rows(r, by, check_top("rank", o.top or 10))
  local c, names = column(best, by), varying(best)
  if #names == 0 then names = varying(r) end
  given.names, given.values = {}, c.values
  if c.lo then given.lo, given.hi, given.hollow = {}, {}, {} end
  local note, i = best.by_name[by .. "-control.note"], 0
  for row in best:rows() do
    i = i + 1
    given.names[i] = row_label(row, names) .. (more[i] > 0 and (" + %d equal"):format(more[i]) or "")
    if c.lo then given.lo[i], given.hi[i] = c.lo(i), c.hi(i) end
    if c.lo and note then given.hollow[i] = note[best.index[i]] == "not separable" end
  end
  if note and c.lo then given.legend = {"differs from the control", "not separable from the control"} end
  given.xlabel = given.xlabel or by
  if o.control ~= false then given.control = control_of(r, by) end
  if #best < #r then add_note(given, ("best %d of %s rows"):format(#best, format.count(#r))) end
  add_note(given, shared_note(best, r))
  if given.legend then
    add_note(given, "not separable: the interval of the paired difference holds 0")
  end
  given.logx, given.logy = nil, nil
  return plot.rank(given)
end

function kinds.parallel(r, o)
  local given = options("parallel", o, {"columns", "by", "top", "log", "map"})
  local who, by = 'plot("parallel")', o.by or first_result_column(r)
  numeric(who, column(r, by))
  local top = check_top("parallel", o.top or 30)
  local best = r:top(top, by)
  local names = o.columns
  if not names then
    names = varying(r)
    if #names == 0 then errors.misuse(who .. ": no parameter takes more than one value") end
    names[#names + 1] = by
  end
  local log = {}
  for _, name in ipairs(o.log or {}) do log[name] = true end
  given.axes = {}
  for k, name in ipairs(names) do
    local values = r:column(name)
    local a = {label = name, values = best:column(name), places = values}
    -- Axes span what was tried, so that one sees where the best rows are.
    local lo, hi = math.huge, -math.huge
    for _, v in ipairs(values) do
      if finite(v) then lo, hi = math.min(lo, v), math.max(hi, v) end
    end
    if type(values[1]) == "number" then
      if name == by then a.places, lo, hi = nil, math.huge, -math.huge end
      if log[name] then a.log = true elseif a.places then a.log = plot.looks_log(values) end
      if lo < hi and not (a.log and lo <= 0) then a.lo, a.hi = lo, hi end
    end
    given.axes[k] = a
  end
  given.z, given.zlabel, given.map, given.best = best:column(by), by, o.map, "best"
  if #best < #r then add_note(given, ("best %d of %s rows"):format(#best, format.count(#r))) end
  for _, k in ipairs {"xlabel", "ylabel", "xlim", "ylim", "logx", "logy", "percent"} do given[k] = nil end
  return plot.parallel(given)
end

function kinds.bars(r, o)
  local given = options("bars", o, {"x", "y", "reduce"})
  local who, how = 'plot("bars")', check_reduce(o)
  local xname = o.x or first_axis(r, who)
  local names, at = levels(r, xname)
  if #names > MOST_CELLS then
    errors.misuse(("%s: '%s' has %d different values"):format(who, xname, #names),
      ('r:plot("line", {x = "%s"})'):format(xname))
  end
  given.names, given.series = names, {}
  for k, name in ipairs(type(o.y) == "table" and o.y or {o.y or first_result_column(r)}) do
    local c = numeric(who, column(r, name))
    local groups = reduce(how, c, function(i) return at[i] end)
    local s = {name = name, values = {}}
    if c.lo and how ~= "mean" then s.lo, s.hi = {}, {} end
    for _, g in ipairs(groups) do
      s.values[g.key] = g.value
      if s.lo then s.lo[g.key], s.hi[g.key] = c.lo(g.row), c.hi(g.row) end
    end
    given.series[k] = s
    if k == 1 then add_note(given, reduced_note(r, how, groups, {[xname] = true})) end
  end
  if #given.series == 1 then
    given.xlabel, given.series[1].name = given.xlabel or given.series[1].name, nil
  end
  given.ylabel = given.ylabel or xname
  return plot.bars(given)
end

function kinds.classes(r, o)
  local given = options("classes", o, {"y", "by", "top"})
  local who, by = 'plot("classes")', o.by or first_result_column(r)
  if type(o.y) ~= "string" then errors.misuse(who .. ": which columns?", 'y = "fit.gain"') end
  numeric(who, column(r, by))
  local top = check_top("classes", o.top or 1)
  if top > 4 then errors.misuse(who .. ": at most 4 rows stand next to each other") end
  local best, columns = result_plot.best_rows(r, by, top), {}
  for _, c in ipairs(by_class(r, o.y)) do
    if not c[2]:find "%-control" then columns[#columns + 1] = c end
  end
  if #columns == 0 then errors.misuse(("%s: no column %s.CLASS"):format(who, o.y)) end
  local names = varying(best)
  if #names == 0 then names = varying(r) end
  given.names, given.series = {}, {}
  for k, c in ipairs(columns) do given.names[k] = c[2] end
  local i = 0
  for row in best:rows() do
    i = i + 1
    local s = {name = row_label(row, names), values = {}, lo = {}, hi = {}}
    for k, c in ipairs(columns) do
      s.values[k], s.lo[k], s.hi[k] = row[c[1]], row[c[1] .. ".lo"], row[c[1] .. ".hi"]
    end
    if #s.lo < #columns then s.lo, s.hi = nil, nil end
    given.series[i] = s
  end
  if #best == 1 then
    add_note(given, given.series[1].name)
    given.series[1].name = nil
  end
  add_note(given, shared_note(best, r))
  given.xlabel = given.xlabel or o.y
  return plot.bars(given)
end

local kind_names = {"bars", "classes", "heatmap", "line", "parallel", "rank", "scatter"}

--- r:plot(kind, opts): a Figure. kind: line, heatmap, parallel, scatter, rank, bars, classes (see the head of
--- this file). Columns are named as in the table; where none is named, the first parameters and the
--- first column that is no parameter are meant.
function result_plot.plot(r, kind, o)
  if not kinds[kind] then errors.unknown("plot", "kind", kind, kind_names) end
  if o ~= nil and type(o) ~= "table" then errors.misuse("plot: the second argument is a table of options") end
  need_rows(r)
  return kinds[kind](r, o or {})
end

return result_plot
