--[[
refusal.lua: parameters that a loss refuses. A constant that is refused is an error at once. Values of
sweep axes that are refused are written down with the loss: a sweep makes failed rows of them,
everything else raises when the loss is used.

A refusal is {axes = list of {name, count, ...}, reason = {[place] = text}}; place: the combination of
values, from 1, the last axis fastest.
]]
local errors = require "segx.errors"
errors.own()

local refusal = {}

local function first_of(reason)
  local first = math.huge
  for place in pairs(reason) do first = math.min(first, place) end
  return reason[first]
end

--- Adds a refusal to the list, or raises where no axes are inside. Nothing where there is no reason.
function refusal.add(list, axes, reason)
  if next(reason) == nil then return end
  if #axes == 0 then errors.misuse(first_of(reason)) end
  list[#list + 1] = {axes = axes, reason = reason}
end

--- The first reason of a list of refusals, or nil.
function refusal.first(list) return list[1] and first_of(list[1].reason) end

--- Raises it, if there is one.
function refusal.raise(list)
  if list[1] then errors.misuse(refusal.first(list)) end
end

--- Why a combination is refused: list of texts. position(name): its 1-based place on an axis.
function refusal.at(list, position)
  local reasons = {}
  for _, r in ipairs(list) do
    local place = 0
    for _, a in ipairs(r.axes) do place = place * a.count + position(a.name) - 1 end
    reasons[#reasons + 1] = r.reason[place + 1]
  end
  return reasons
end

return refusal
