--[[
bias.lua: what a network gains at once, with no training: a temperature and one bias per class, fitted
under a loss on all pictures, to be added to the logits at inference.

    local b = r:best("fit.miou"):bias()
    print(b)                   t and the biases, what was won on held-out pictures, three lines of PyTorch
    b.t, b.b.pole              numbers; b.b by class name or 0-based id
    b:json()  b:lua()  b:torch()

Beside the loss' own stand the control's, and a bias tuned for the mean IoU itself (coordinate ascent,
on the same pixels): so that it shows what is won by the loss, and what by moving the thresholds alone.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local fitter = require "segx.fitter"
local format = require "segx.format"
local json = require "segx.json"
errors.own()

local bias = {}

local Bias = {__name = "segx.Bias"}
Bias.__index = Bias

-- -- Making ---------------------------------------------------------------------------------------

local function nothing() end

-- Biases that are best for the mean IoU itself, on the samples of a fold, coarse ones first.
local function tuned_on(fitting, f)
  local theta
  for _, sample in ipairs(fitting:samples_of(f)) do theta = core.tune(sample, "iou", theta) end
  table.insert(theta, 1, 1.0)
  return theta
end

local function by_name(theta, names)
  local b = {}
  for c, name in ipairs(names) do b[name], b[c - 1] = theta[c + 1], theta[c + 1] end
  return {t = theta[1], b = b}
end

--- The Bias of a table of fits (that ran): number of the loss and its combination, that of the control (or
--- nil); options of intervals or nil.
function bias.new(table_of_fits, loss, k, control_k, options)
  local fitting, names = table_of_fits.fitter, table_of_fits.names
  local source, control = table_of_fits.losses[loss], table_of_fits.control
  local reason = source.reasons[k] or control_k and control.reasons[control_k]
  if reason then errors.misuse("bias: this row has no fit: " .. reason) end
  local self = {names = names, loss = source.loss:at(fitter.at(source, k)), pictures = #fitting.images}
  local fitted = fitting:fit(source, {k}, 0, nil, nothing)[1]
  local list = {{"as it is", fitting:unfitted()}, {"this loss", fitter.theta(fitted)}}
  self.state = fitted.state
  if control_k then
    list[3] = {"control", fitter.theta(fitting:fit(control, {control_k}, 0, nil, nothing)[1])}
  end
  list[#list + 1] = {"tuned for IoU", tuned_on(fitting, 0)}
  local theta = {}
  for f = 1, fitting.folds do
    theta[f] = {fitting:unfitted(), fitter.theta(source.fitted[k][f])}
    if control_k then theta[f][3] = fitter.theta(control.fitted[control_k][f]) end
    table.insert(theta[f], tuned_on(fitting, f))
  end
  local scores = fitting:score(theta)
  local miou = scores:values "iou"
  for i, entry in ipairs(list) do
    local e = {name = entry[1], theta = entry[2], miou = miou[i], gain = miou[i] - miou[1]}
    if options and i > 1 then
      _, e.lo, e.hi = scores:interval(fitting:interval(options, {metric = "iou", k = i, minus = 1}))
    end
    self[i] = e
  end
  local own = by_name(list[2][2], names)
  self.t, self.b = own.t, own.b
  self.control = control_k and by_name(list[3][2], names) or nil
  self.tuned = by_name(list[#list][2], names)
  return setmetatable(self, Bias)
end

-- -- Texts ----------------------------------------------------------------------------------------

local function number(v) return ("%.6g"):format(v) end

local function numbers(self)
  local list = {}
  for c, name in ipairs(self.names) do list[c] = number(self.b[name]) end
  return list
end

--- {"t": ..., "b": {class: ...}}, six digits, as all these texts.
function Bias:json()
  local list = {}
  for c, name in ipairs(self.names) do list[c] = json.encode(name) .. ": " .. number(self.b[name]) end
  return ('{"t": %s, "b": {%s}}'):format(number(self.t), table.concat(list, ", "))
end

--- A Lua table, class by class.
function Bias:lua()
  local list = {}
  for c, name in ipairs(self.names) do
    local key = name:match "^[%a_][%w_]*$" and name or ("[%q]"):format(name)
    list[c] = ("%s = %s"):format(key, number(self.b[name]))
  end
  return ("{t = %s, b = {%s}}"):format(number(self.t), table.concat(list, ", "))
end

--- Three lines of PyTorch for inference; logits: [N, C, ...].
function Bias:torch()
  return ("b = torch.tensor([%s], device=logits.device)  # %s\n"):format(table.concat(numbers(self), ", "),
      table.concat(self.names, ", "))
    .. ("logits = %s * logits + b.view(1, -1, *[1] * (logits.dim() - 2))\n"):format(number(self.t))
    .. "prediction = logits.argmax(1)\n"
end

Bias.__tostring = function(self)
  local rows, head = {}, {"", "mIoU, held out", "gain", "t"}
  table.move(self.names, 1, #self.names, #head + 1, head)
  for i, e in ipairs(self) do
    local gain = i == 1 and "" or ("%+.4f"):format(e.gain)
    if e.lo == e.lo and e.lo then gain = ("%s [%+.3f, %+.3f]"):format(gain, e.lo, e.hi) end
    rows[i] = {e.name, ("%.4f"):format(e.miou), gain, ("%.3f"):format(e.theta[1])}
    for c = 1, #self.names do rows[i][4 + c] = ("%+.2f"):format(e.theta[c + 1]) end
  end
  local note = self.state ~= "converged" and ("\nthe fit did not converge (%s)"):format(self.state) or ""
  return ("%s, fitted on %d pictures: logits' = t * logits + b\n%s%s\n\n%s\n%s\n\n%s"):format(tostring(self.loss),
    self.pictures, format.table(head, rows), note, self:lua(), self:json(), self:torch())
end

return bias
