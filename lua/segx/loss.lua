--[[
loss.lua: losses as values, and L.define.

A Loss is immutable: L.name{...}, loss{...} (other parameters), a + b, a - b, k * a, -a,
a:on{"pole"}, a:where(mask), a:name("x"). It is evaluated with loss:eval(d) or loss(d);
loss:tensor(d) is its value as a lazy tensor. What it means is fixed by a few options, the same for
every loss:

  weight              class weights, in any form that segx.weights knows
  unit                what the sums run over: "dataset" (default), "image", {batch = B}; then the
                      mean over units
  classes             names of the classes that count, default all
  include_background  false leaves out class 0
  reduction           pixel losses: "mean" (default) sum weighted_mean mean_all mean_elements
                      mean_image per_class
  average             region losses: "macro" (default; "weighted" when weight is given) weighted
                      weighted_raw micro
  empty               region losses, a class without pixels: "skip" (default) zero smooth
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
local tensor = require "segx.tensor"
local axis = require "segx.axis"
local weights = require "segx.weights"
local trace = require "segx.trace"
local refusal = require "segx.refusal"
local stat = require "segx.stat"
errors.own()

local L = {}
local Loss = {__name = "segx.Loss"}
Loss.__index = Loss
Loss.__newindex = function()
  errors.misuse("a loss is immutable; operators and methods make new ones")
end

local function is_loss(v) return getmetatable(v) == Loss end

local function new(node) return setmetatable({node = node}, Loss) end

-- -- Options common to all losses -----------------------------------------------------------------

local common = {"weight", "unit", "classes", "include_background"}
local of_kind = {pixel = {"reduction"}, region = {"average", "empty"}, scalar = {}}
local choices = {reduction = trace.reductions, average = trace.averages, empty = trace.empties}

local function options_for(kind)
  local list = {table.unpack(common)}
  for _, k in ipairs(kind and {kind} or {"pixel", "region"}) do
    table.move(of_kind[k], 1, #of_kind[k], #list + 1, list)
  end
  return list
end

local function one_of(where, name, v, allowed)
  for _, a in ipairs(allowed) do
    if v == a then return end
  end
  errors.unknown(where, name, v, allowed)
end

local function check_unit(where, unit)
  if unit == "dataset" or unit == "image" then return end
  local B = type(unit) == "table" and unit.batch
  if math.type(B) == "integer" and B >= 1 then return end
  errors.misuse(('%s: unit is "dataset", "image" or {batch = B}'):format(where))
end

local function check_options(where, given)
  for name, allowed in pairs(choices) do
    if given[name] ~= nil then one_of(where, name, given[name], allowed) end
  end
  if given.unit ~= nil then check_unit(where, given.unit) end
  if given.include_background ~= nil and type(given.include_background) ~= "boolean" then
    errors.misuse(where .. ": include_background is true or false")
  end
end

-- -- Parameters -----------------------------------------------------------------------------------

local function is_vector(v)
  if tensor.is(v) then
    return core.axes(v).class or (v:kind() == "dense" and v:dim() == 1 and v:size(1) > 1)
  end
  return type(v) == "table"
end

-- What is wrong with a number, or nil.
local function number_error(where, name, v, rule)
  if v ~= v or math.abs(v) == math.huge then
    return ("%s: %s is %s, not a finite number"):format(where, name, format.number(v))
  end
  if rule.min and v < rule.min or rule.max and v > rule.max then
    local range = rule.max and ("between %g and %g"):format(rule.min, rule.max)
      or ("at least %g"):format(rule.min)
    return ("%s: %s = %s; it must be %s"):format(where, name, format.number(v), range)
  end
end

local function check_param(where, name, v, rule, default, refused)
  if rule.one_of then return one_of(where, name, v, rule.one_of) end
  if rule.boolean or type(default) == "boolean" then
    if type(v) ~= "boolean" then errors.misuse(("%s: %s is true or false"):format(where, name)) end
    return
  end
  if type(default) == "string" then
    if type(v) ~= "string" then errors.misuse(("%s: %s is a string"):format(where, name)) end
    return
  end
  if is_vector(v) then
    if not (rule.vector or type(default) == "table") then
      errors.misuse(("%s: %s is one number, not a vector by class"):format(where, name))
    end
    return   -- checked with the dump's classes
  end
  if type(v) ~= "number" and not tensor.is(v) then
    errors.misuse(("%s: %s is a number or a sweep axis, not a %s"):format(where, name, type(v)))
  end
  local reason = {}
  for place, value in ipairs(tensor.values(v) or {}) do
    reason[place] = number_error(where, name, value, rule)
  end
  refusal.add(refused, tensor.is(v) and v:sweep_axes() or {}, reason)
end

-- Values of a parameter by place, and its axes; nil where it takes a dump to know them.
local function places_of(v)
  if not tensor.is(v) then return {v}, {} end
  local axes = core.axes(v)
  if axes.image or axes.pixel then return nil end
  local sweep, values = v:sweep_axes(), tensor.values(v)
  if not axes.class then return values, sweep end
  local n, by_class = 1, {}
  for _, a in ipairs(sweep) do n = n * a.count end
  for place = 1, n do
    by_class[place] = table.move(values, (place - 1) * #values // n + 1, place * #values // n, 1, {})
  end
  return by_class, sweep
end

-- The definition's own check, called with numbers: once, or for every combination of the axes in its
-- parameters.
local function check_combinations(def, params, refused)
  local given, seen, axes, count = {}, {}, {}, 1
  for name, v in pairs(params) do
    local values, own = places_of(v)
    if not values then return end
    given[name] = {values = values, axes = own}
    for _, a in ipairs(own) do
      if not seen[a.name] then
        seen[a.name] = true
        axes[#axes + 1] = a
        count = count * a.count
      end
    end
  end
  if #axes == 0 then return def.check(params) end
  local reason, at, q = {}, {}, {}
  for place = 1, count do
    local rest = place - 1
    for i = #axes, 1, -1 do
      at[axes[i].name] = rest % axes[i].count
      rest = rest // axes[i].count
    end
    for name, v in pairs(given) do
      local own = 0
      for _, a in ipairs(v.axes) do own = own * a.count + at[a.name] end
      q[name] = v.values[own + 1]
    end
    local ok, e = pcall(def.check, q)
    if not ok then reason[place] = tostring(e):gsub("^[^\n]-:%d+: ", "") end
  end
  refusal.add(refused, axes, reason)
end

local function params_of(def, given)
  local params = {}
  for name, v in pairs(def.defaults) do params[name] = v end
  for _, name in ipairs(def.params) do
    if given[name] ~= nil then params[name] = given[name] end
  end
  return params
end

-- Options as the definition has them where nothing is given.
local function with_usual(def, given)
  local all = {}
  for k, v in pairs(def.usual) do all[k] = v end
  if given.classes then all.include_background = nil end
  for k, v in pairs(given) do all[k] = v end
  return all
end

-- Given parameters and options -> a checked term.
local function make_term(def, given)
  errors.check_keys(def.name, "parameter", given, def.accepts)
  if def.adapt then given = def.adapt(given) end
  given = with_usual(def, given)
  check_options(def.name, given)
  local refused = {}
  for _, name in ipairs(def.params) do
    local v = given[name]
    if v ~= nil then
      check_param(def.name, name, v, def.rules[name] or {}, def.defaults[name], refused)
    end
  end
  if def.check then check_combinations(def, params_of(def, given), refused) end
  return new {kind = "term", def = def, given = given, refused = refused}
end

-- -- define ---------------------------------------------------------------------------------------

local registry = {}

local function sorted_keys(t)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys)
  return keys
end

local function check_definition(name, defaults, fn)
  if type(name) ~= "string" or not name:match("^[%a_][%w_]*$") then
    errors.misuse("define: the first argument is the loss's name, a word",
      'L.define("mine", {gamma = 2}, function(x, q) ... end)')
  end
  if type(defaults) ~= "table" then
    errors.misuse(name .. ": the second argument is a table of parameters, {} for none")
  end
  if type(fn) ~= "function" then
    errors.misuse(name .. ": the third argument is the function(x, q)")
  end
  local reserved = {}
  for _, option in ipairs(options_for(nil)) do reserved[option] = true end
  for k, v in pairs(defaults) do
    if reserved[k] then
      errors.misuse(("%s: '%s' is an option of every loss; choose another name"):format(name, k))
    end
    if type(v) == "function" then
      errors.misuse(("%s: the default of '%s' is a function"):format(name, k))
    end
  end
end

--- A new loss. name: a word; defaults: {parameter = default}; fn(x, q) runs once, on lazy tensors,
--- and returns a value per pixel (pixel loss), a vector by class (region loss) or a scalar. See
--- trace.lua for what the wrapper does with each. A region loss may return a second value: a
--- function applied to each unit's class average.
---
--- x: logits p logp pt logpt u (= 1-pt) logu ce labels onehot valid classes (index by class),
--- weight (vector by class: a function that reads it does the weighting itself), selected (0/1 by
--- class: likewise for the choice of classes), n_classes, image_pixels, and every further data set
--- of the dump by name. q: the parameters, numbers or tensors. x.p:sum("pixel") sums over the
--- pixels of the unit; sum("pixel", "image") and sum("pixel", "dataset") say which.
---
--- opts (all optional): kind = "pixel" | "region" | "scalar", optional = {names of parameters
--- without a default}, rules = {parameter = {min=, max=, one_of=, vector=}}, usual = {options of every
--- loss that have another default here, e.g. unit = "image"}, check = function(params) that raises
--- (it gets numbers: where parameters range over axes, it is called for each combination, and what it
--- refuses becomes a failed row of the sweep), adapt = function(given) -> given, doc, source,
--- help = {parameter = text}.
function L.define(name, defaults, fn, opts)
  check_definition(name, defaults, fn)
  opts = opts or {}
  local params = sorted_keys(defaults)
  for _, p in ipairs(opts.optional or {}) do params[#params + 1] = p end
  table.sort(params)
  local def = {
    name = name, fn = fn, params = params, defaults = defaults, kind = opts.kind,
    rules = opts.rules or {}, check = opts.check, adapt = opts.adapt,
    usual = opts.usual or {}, doc = opts.doc, source = opts.source, help = opts.help or {},
    builtin = opts.builtin, known_param = {}, accepts = {table.unpack(params)},
  }
  for _, p in ipairs(params) do def.known_param[p] = true end
  local options = options_for(def.kind)
  table.move(options, 1, #options, #def.accepts + 1, def.accepts)
  if def.builtin then registry[name] = def end
  return make_term(def, {})
end

--- Definitions of the built-in losses, sorted by name.
function L.list()
  local list = {}
  for _, name in ipairs(sorted_keys(registry)) do list[#list + 1] = registry[name] end
  return list
end

-- -- Composition ----------------------------------------------------------------------------------

local function is_factor(v) return type(v) == "number" or tensor.is(v) end

local function check_factor(k)
  if type(k) == "number" then
    if k ~= k or math.abs(k) == math.huge then
      errors.misuse("a loss is multiplied by a finite number, not by " .. tostring(k))
    end
    return k
  end
  local axes = core.axes(k)
  if axes.pixel or axes.class or axes.image then
    errors.misuse("a loss is multiplied by a number or a sweep axis, not by a tensor with other axes",
      "weight = ... weighs classes, :where(mask) chooses pixels")
  end
  return k
end

local function scale(k, loss) return new {kind = "scale", factor = check_factor(k), loss = loss} end

local function add(a, b)
  if not (is_loss(a) and is_loss(b)) then
    errors.misuse(("'+' between a loss and a %s"):format(type(is_loss(a) and b or a)))
  end
  return new {kind = "sum", a, b}
end

Loss.__add = add
Loss.__sub = function(a, b) return add(a, is_loss(b) and scale(-1, b) or b) end
Loss.__unm = function(a) return scale(-1, a) end
Loss.__mul = function(a, b)
  if is_loss(a) then a, b = b, a end
  if not is_factor(a) then errors.misuse("a loss is multiplied by a number or a sweep axis") end
  return scale(a, b)
end
Loss.__div = function(a, k)
  if not (is_loss(a) and is_factor(k)) then
    errors.misuse("a loss is divided by a number or a sweep axis")
  end
  return scale(1 / k, a)
end

--- The same loss on some classes only: a:on{"pole", "sign"} or a:on "pole". A region loss averages
--- over them, a pixel loss over the pixels whose label is one of them.
function Loss:on(classes)
  if type(classes) == "string" then classes = {classes} end
  if type(classes) ~= "table" or #classes == 0 then
    errors.misuse("on: expected a list of class names")
  end
  return new {kind = "on", loss = self, classes = classes}
end

--- The same loss inside a mask: a 0/1 tensor per pixel (d.labels:eq(3)), or a function(x) that
--- makes one.
function Loss:where(mask)
  if type(mask) == "boolean" then
    errors.misuse("where: mask is a Lua boolean; '==' on a tensor always is",
      "write x.labels:eq(3)")
  end
  if type(mask) ~= "function" and not tensor.is(mask) then
    errors.misuse("where: expected a tensor or a function(x)")
  end
  return new {kind = "where", loss = self, mask = mask}
end

--- The same loss under a name of your own, for tables.
function Loss:name(label)
  if type(label) ~= "string" then errors.misuse("name: expected a string") end
  return new {kind = "name", loss = self, label = label}
end

--- Its name of :name, or nil.
function Loss:label() return self.node.kind == "name" and self.node.label or nil end

-- A loss as a list of terms with factors: {{term node, factor, classes, masks, label}}.
local function flatten(loss, state, into)
  local node = loss.node
  local function with(changes)
    local copy = {}
    for k, v in pairs(state) do copy[k] = v end
    for k, v in pairs(changes) do copy[k] = v end
    return copy
  end
  if node.kind == "term" then
    into[#into + 1] = with {term = node}
  elseif node.kind == "sum" then
    flatten(node[1], state, into)
    flatten(node[2], state, into)
  elseif node.kind == "scale" then
    flatten(node.loss, with {factor = state.factor * node.factor}, into)
  elseif node.kind == "on" then
    flatten(node.loss, with {classes = state.classes or node.classes}, into)
  elseif node.kind == "where" then
    flatten(node.loss, with {masks = {node.mask, table.unpack(state.masks)}}, into)
  else
    flatten(node.loss, with {label = state.label or node.label}, into)
  end
  return into
end

-- -- Text -----------------------------------------------------------------------------------------

local function value_text(v)
  if getmetatable(v) and getmetatable(v).__name == "segx.Weights" then return v:text() end
  if tensor.is(v) then
    return axis.text(v) or (v:kind() == "dense" and format.lua(v:totable())) or core.text(v)
  end
  return tostring(v)
end

local function term_text(node)
  local name = node.def.builtin and "L." .. node.def.name or node.def.name
  local shown = {}
  for k, v in pairs(node.given) do
    if v ~= node.def.defaults[k] and v ~= node.def.usual[k] then shown[k] = v end
  end
  return name .. format.lua(shown, value_text)
end

local text_of

local function sum_text(node)
  local second = node[2].node
  local factor = second.kind == "scale" and second.factor
  if type(factor) == "number" and factor < 0 then
    return text_of(node[1]) .. " - "
      .. text_of(factor == -1 and second.loss or scale(-factor, second.loss), true)
  end
  return text_of(node[1]) .. " + " .. text_of(node[2])
end

local function scale_text(node)
  local inner = text_of(node.loss, true)
  if node.factor == -1 then return "-" .. inner end
  if type(node.factor) == "number" then return format.exact(node.factor) .. "*" .. inner end
  local factor = value_text(node.factor)
  if not factor:match("^[%w_.]+%b()$") then factor = "(" .. factor .. ")" end
  return factor .. "*" .. inner
end

-- tight: parentheses around sums.
function text_of(loss, tight)
  local node = loss.node
  if node.kind == "term" then return term_text(node) end
  if node.kind == "sum" then return (tight and "(%s)" or "%s"):format(sum_text(node)) end
  if node.kind == "scale" then return scale_text(node) end
  local inner = text_of(node.loss, true)
  if node.loss.node.kind == "scale" then inner = "(" .. inner .. ")" end
  if node.kind == "on" then return inner .. ":on" .. format.lua(node.classes) end
  if node.kind == "name" then return ("%s:name(%q)"):format(inner, node.label) end
  return ("%s:where(%s)"):format(inner,
    type(node.mask) == "function" and "function" or value_text(node.mask))
end

--- Canonical text, which can be pasted back into a script (with L = segx.loss, A = segx.axis).
Loss.__tostring = function(self) return text_of(self) end

-- -- From terms to tensors ------------------------------------------------------------------------

-- 0/1 by class for the chosen classes: {selected (dense), n_selected, restricted}.
local function choose_classes(part, info)
  local given, names = part.term.given, info.class_names
  local list = part.classes or given.classes
  local on = {}
  for c = 1, #names do on[c] = list and 0.0 or 1.0 end
  for _, name in ipairs(list or {}) do
    local found
    for c, n in ipairs(names) do
      if n == name then on[c], found = 1.0, true end
    end
    if not found then errors.unknown(part.term.def.name, "class", name, names) end
  end
  if given.include_background == false then on[1] = 0.0 end
  local n = 0
  for c = 1, #on do n = n + on[c] end
  if n == 0 then errors.misuse(part.term.def.name .. ": no class is left") end
  return core.dense(on), n, n < #names
end

-- The masks of a part as one 0/1 tensor, or nil.
local function combine_masks(part, d)
  local mask
  for _, m in ipairs(part.masks) do
    if type(m) == "function" then m = m(core.fields(d)) end
    if not tensor.is(m) then errors.misuse("where: the function returned no tensor") end
    mask = mask and mask & m or m
  end
  return mask
end

local function resolve_params(def, given, names, refused)
  local params = params_of(def, given)
  for name, v in pairs(params) do
    if is_vector(v) then params[name] = weights.vector(v, names, def.name .. "." .. name, refused) end
  end
  return params
end

-- Options of one part, its class vectors resolved for a dump: what trace.term expects. What is refused
-- of the class vectors is added to the list.
local function resolve(part, d, unit, refused)
  local def, given, info = part.term.def, part.term.given, d:info()
  local selected, n_selected, restricted = choose_classes(part, info)
  local ones = {}
  for c = 1, info.classes do ones[c] = 1.0 end
  local reduction = given.reduction or "mean"
  local own_unit = reduction == "mean_image" and "image" or given.unit or "dataset"
  return {
    name = def.name, def = def, given = given, dump = d, unit = unit or own_unit,
    reduction = reduction,
    empty = given.empty or "skip", params = resolve_params(def, given, info.class_names, refused),
    weight = given.weight
      and weights.vector(given.weight, info.class_names, def.name .. ": weight", refused),
    selected = selected, n_selected = n_selected, restricted = restricted, ones = ones,
    mask = combine_masks(part, d),
  }
end

-- Σ factor * part[key]; nil when one part has no such tensor.
local function combine(parts, key)
  local total
  for _, p in ipairs(parts) do
    if not p[key] then return nil end
    local term = p.factor == 1 and p[key] or p.factor * p[key]
    total = total and total + term or term
  end
  return total
end

--- All tensors of the loss over a dump: {value, per_class, share, images, empty, parts, sorted (does a part sort pixels?)}; parts is a
--- list of the same per term, with factor, label and text. unit: overrides the unit of every term,
--- or nil. Refused values of sweep axes are an error, or, with `sweeping`, the list `refused` (see
--- refusal.lua); the tensors mean nothing there.
function Loss:trace(d, unit, sweeping)
  if not tensor.is_dump(d) then errors.misuse("loss: expected a dump (segx.open)") end
  if unit then check_unit("loss", unit) end
  local parts, refused, terms, sorted = {}, {}, flatten(self, {factor = 1, masks = {}}, {}), nil
  for _, part in ipairs(terms) do
    table.move(part.term.refused, 1, #part.term.refused, #refused + 1, refused)
  end
  if not sweeping then refusal.raise(refused) end
  for i, part in ipairs(terms) do
    local term = resolve(part, d, unit, sweeping and refused or nil)
    local p = trace.term(term)
    p.given, p.name, p.unit = term.given, term.name, term.unit
    p.factor, p.text = part.factor, term_text(part.term)
    p.label = part.label or part.term.def.name
    parts[i] = p
    sorted = sorted or p.sorted
  end
  local all = {parts = parts, refused = refused, sorted = sorted}
  for _, key in ipairs {"value", "per_class", "share", "images"} do
    all[key] = combine(parts, key)
  end
  all.empty = parts[1].empty      -- only where every part is
  for i = 2, #parts do all.empty = all.empty * parts[i].empty end
  return all
end

--- The value as a lazy tensor, e.g. to compute with it.
function Loss:tensor(d, unit) return self:trace(d, unit).value end

--- What the loss sums over pixels, {image, pixel}, as a lazy tensor: class weights, masks and factors
--- included, denominators not. A part that is no sum over pixels (Dice ...) is an error.
function Loss:pixels(d)
  local all = self:trace(d)
  for _, p in ipairs(all.parts) do
    if not p.pixels then
      errors.misuse(("pixels: %s is no sum over pixels"):format(p.label),
        "the gradient lies on pixels for every loss: segx.grad(loss, d.logits)")
    end
  end
  return combine(all.parts, "pixels")
end

-- -- Choosing one configuration -------------------------------------------------------------------

-- Value of a tensor at one position of each sweep axis. positions: {axis name = 1-based position}.
local function at_positions(t, positions)
  local sweep = t:sweep_axes()
  if #sweep == 0 then return t end
  local r = t:eval()
  for _, a in ipairs(sweep) do r = r[positions[a.name]] end
  return r
end

local function fix(v, positions)
  if tensor.is(v) and v:kind() == "lazy" then
    local axes = core.axes(v)
    if axes.image or axes.pixel then return v end
    local r = at_positions(v, positions)
    return tensor.is(r) and r:totable() or r
  end
  if type(v) ~= "table" or tensor.is(v) then return v end
  if v.vector then return weights.fixed(v, fix(v.vector, positions)) end
  local copy = {}
  for k, item in pairs(v) do copy[k] = fix(item, positions) end
  return copy
end

-- Of refusals, those that hold at one position of each sweep axis; they have no axes left.
local function refused_at(list, positions)
  local there = refusal.at(list, function(name) return positions[name] end)
  for i, reason in ipairs(there) do there[i] = {axes = {}, reason = {reason}} end
  return there
end

--- The loss with every sweep axis replaced by one of its values. positions: {axis name = 1-based
--- position}.
function Loss:at(positions)
  local node, copy = self.node, {}
  for k, v in pairs(node) do
    if is_loss(v) then
      copy[k] = v:at(positions)
    elseif k == "given" or k == "factor" then
      copy[k] = fix(v, positions)
    elseif k == "refused" then
      copy[k] = refused_at(v, positions)
    else
      copy[k] = v
    end
  end
  if copy.kind == "scale" and copy.factor == 1 then return copy.loss end
  return new(copy)
end

-- -- Evaluation -----------------------------------------------------------------------------------

local Result = {__name = "segx.Result"}
Result.__index = Result

-- Numbers by class, addressed by name or by 0-based id.
local function class_values(r, names)
  if not r or r:dim() ~= 1 then return r end
  local by = {}
  for c, v in ipairs(r:totable()) do by[names[c]], by[c - 1] = v, v end
  return by
end

local function number_or_tensor(r)
  if r and #tensor.flat(r) == 1 then return r:item() end
  return r
end

-- Is the loss a mean over images, without sweep axes?
local function by_image(all)
  for _, p in ipairs(all.parts) do
    if p.unit ~= "image" then return false end
  end
  return all.images and #all.images:sweep_axes() == 0
end

-- {lo, hi} of 95 % over images, or nil: where some images count for nothing the value is no plain
-- mean of them, and with one image there is no interval.
local function image_interval(value, images)
  local mean, lo, hi = stat.interval {kind = "mean", x = images}
  if lo ~= lo or math.abs(mean - value) > 1e-12 * math.abs(value) then return nil end
  return {lo, hi}
end

local eval_options = {"precision", "threads", "mem", "unit", "progress", "device", "mode", "isa"}

--- Evaluates in one go. opts: precision = "single" | "double", threads, mem, device = "auto" | "cpu" | "cuda" |
--- "cuda:N", mode = "exact" | "fast" (docs/gpu.md), unit (overrides the terms' units). Returns a Result: value (a number; a dense tensor over the sweep axes where there
--- are any), per_class and share (by class name or 0-based id), empty, parts (list of {label, text,
--- factor, value, per_class, share}), stats; for unit = "image" also images (value of each) and
--- interval ({lo, hi}: 95 % over images, bootstrap).
function Loss:eval(d, opts)
  opts = opts or {}
  errors.check_keys("eval", "option", opts, eval_options)
  local all, wanted, slots = self:trace(d, opts.unit), {}, {}
  local function want(owner, key)
    if owner[key] then
      wanted[#wanted + 1] = owner[key]
      slots[#slots + 1] = {owner, key}
    end
  end
  local names = d:info().class_names
  local r = {loss = self, class_names = names, parts = {}}
  for i, p in ipairs(all.parts) do
    r.parts[i] = {label = p.label, text = p.text, factor = p.factor, value = p.value,
      per_class = p.per_class, share = p.share}
  end
  r.value, r.per_class, r.share, r.empty = all.value, all.per_class, all.share, all.empty
  for _, owner in ipairs {r, table.unpack(r.parts)} do
    for _, key in ipairs {"value", "per_class", "share", "empty"} do want(owner, key) end
  end
  if by_image(all) then
    r.images = all.images
    want(r, "images")
  end
  local results, stats = core.eval(d, wanted,
    {precision = opts.precision, threads = opts.threads, mem = opts.mem, progress = opts.progress,
      device = opts.device, mode = opts.mode, isa = opts.isa})
  for i, slot in ipairs(slots) do
    local is_vector_key = slot[2] == "per_class" or slot[2] == "share"
    slot[1][slot[2]] = (is_vector_key and class_values or number_or_tensor)(results[i], names)
  end
  if type(r.empty) == "number" then r.empty = r.empty > 0 end
  if type(r.images) == "number" then r.images = {r.images} end      -- one image
  if tensor.is(r.images) then r.images = r.images:totable() end
  r.interval = r.images and image_interval(r.value, r.images)
  r.stats = stats
  return setmetatable(r, Result)
end

--- loss(d): as loss:eval(d). loss{...}: the same loss with other parameters.
Loss.__call = function(self, arg, opts)
  if tensor.is_dump(arg) then return self:eval(arg, opts) end
  local node = self.node
  if node.kind ~= "term" then
    errors.misuse("only a single loss takes parameters; a sum of losses is called with a dump")
  end
  if type(arg) ~= "table" or tensor.is(arg) then
    errors.misuse(node.def.name .. ": parameters go into a table",
      ("L.%s{name = value}"):format(node.def.name))
  end
  local given = {}
  for k, v in pairs(node.given) do given[k] = v end
  for k, v in pairs(arg) do given[k] = v end
  return make_term(node.def, given)
end

-- -- Looking at images ----------------------------------------------------------------------------

--- Which images are hard for the loss, and are they the ones with bad metrics? See segx/images.lua.
function Loss:images(d, opts) return require("segx.images").images(self, d, opts) end

--- PNG files of the hardest images with the loss, gradient size or error of every pixel: segx/overlay.lua.
function Loss:overlay(d, opts) return require("segx.overlay").overlay(self, d, opts) end

-- -- Printing a result ----------------------------------------------------------------------------

local function class_table(r)
  local rows = {}
  for c, name in ipairs(r.class_names) do
    local share = r.share and r.share[c - 1] / r.value
    rows[c] = {name, r.per_class[c - 1],
      share and r.value > 0 and ("%.1f %%"):format(100 * share) or nil}
  end
  return format.table({"class", "loss", r.share and r.value > 0 and "share" or nil}, rows)
end

local function shorten(text, n) return #text > n and text:sub(1, n - 3) .. "..." or text end

local function parts_table(r)
  local rows = {}
  for i, p in ipairs(r.parts) do
    rows[i] = {p.label, value_text(p.factor), p.value,
      type(p.factor) == "number" and p.factor * p.value or nil, shorten(p.text, 60)}
  end
  return format.table({"part", "factor", "value", "adds", ""}, rows)
end

Result.__tostring = function(r)
  local out = {tostring(r.loss)}
  if type(r.value) ~= "number" then
    out[2] = "value over the sweep axes: " .. tostring(r.value)
    return table.concat(out, "\n")
  end
  local range = r.interval and ("  [%.4g, %.4g] over images"):format(table.unpack(r.interval)) or ""
  out[2] = "value  " .. format.number(r.value) .. range
    .. (r.empty and "  (nothing was counted)" or "")
  if #r.parts > 1 then out[#out + 1] = parts_table(r) end
  if r.per_class then out[#out + 1] = class_table(r) end
  return table.concat(out, "\n")
end

L.is = is_loss
L.Loss = Loss
return L
