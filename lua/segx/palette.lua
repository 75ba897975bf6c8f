--[[
palette.lua: every colour of figures and overlays. All of them can be told apart with the common kinds
of colour blindness.

    palette.series[i]                categories: Okabe and Ito 2008, without the yellow that white paper
                                     swallows
    palette.classes(n)               n colours for class maps
    palette.map("viridis", t)        0 <= t <= 1 -> "#rrggbb"; also cividis, inferno, diverging
]]
local errors = require "segx.errors"
errors.own()

local palette = {}

palette.series = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000",
  "#7f7f7f"}
palette.ink, palette.faint, palette.grid = "#333333", "#767676", "#e3e3e3"
palette.control, palette.behind, palette.nothing = "#767676", "#d9d9d9", "#f0f0f0"

-- Evenly spaced colours of each map. viridis, cividis, inferno: Smith, van der Walt; Nuñez, Anderton,
-- Renslow 2018. diverging: ColorBrewer's RdBu, from blue (low) over near white to red.
local maps = {
  viridis = {"#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70",
    "#7ad151", "#bddf26", "#fde725"},
  cividis = {"#00204d", "#00336f", "#39486b", "#575c6d", "#707173", "#8a8779", "#a69d75", "#c4b56c",
    "#e4cf5b", "#ffea46"},
  inferno = {"#000004", "#160b39", "#420a68", "#6a176e", "#932667", "#bc3754", "#dd513a", "#f37819",
    "#fca50a", "#f6d746", "#fcffa4"},
  diverging = {"#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d",
    "#b2182b"},
}
palette.map_names = {"cividis", "diverging", "inferno", "viridis"}

--- "#rrggbb" -> three numbers 0 .. 255.
function palette.rgb(hex)
  local v = tonumber(hex:sub(2), 16)
  return v >> 16, v >> 8 & 255, v & 255
end

local function hex(r, g, b)
  return ("#%02x%02x%02x"):format(math.floor(r + 0.5), math.floor(g + 0.5), math.floor(b + 0.5))
end

local function between(a, b, f)
  local r, g, l = palette.rgb(a)
  local x, y, z = palette.rgb(b)
  return hex(r + f * (x - r), g + f * (y - g), l + f * (z - l))
end

--- The colours that a map is made of.
function palette.anchors(name)
  return maps[name] or errors.unknown("plot", "colour map", name, palette.map_names)
end

--- Colour of a map at t, clamped to 0 .. 1.
function palette.map(name, t)
  local list = palette.anchors(name)
  local at = math.min(math.max(t, 0), 1) * (#list - 1)
  local k = math.min(math.floor(at), #list - 2)
  return between(list[k + 1], list[k + 2], at - k)
end

--- Does dark text read better on this colour? (Relative luminance, WCAG 2.)
function palette.is_light(colour)
  local weight, sum = {0.2126, 0.7152, 0.0722}, 0.0
  for i, v in ipairs {palette.rgb(colour)} do
    v = v / 255
    sum = sum + weight[i] * (v <= 0.03928 and v / 12.92 or ((v + 0.055) / 1.055) ^ 2.4)
  end
  return sum > 0.18
end

-- Colours of Okabe and Ito and of Tol's "muted", bright ones first; no grey, which overlays have below
-- them, and no white, which stands for ignored pixels.
local of_classes = {"#56b4e9", "#d55e00", "#009e73", "#882255", "#f0e442", "#332288", "#cc79a7",
  "#117733", "#e69f00", "#0072b2", "#44aa99", "#ddcc77", "#aa4499", "#999933", "#661100", "#88ccee",
  "#cc6677", "#000000", "#6699cc", "#994455"}

--- n colours for class maps; beyond twenty they come again, lighter or darker.
function palette.classes(n)
  local list = {}
  for c = 1, n do
    local round = (c - 1) // #of_classes
    local base = of_classes[(c - 1) % #of_classes + 1]
    local target = round % 2 == 1 and "#ffffff" or "#000000"
    list[c] = round == 0 and base or between(base, target, math.min(0.75, 0.2 + 0.15 * round))
  end
  return list
end

return palette
