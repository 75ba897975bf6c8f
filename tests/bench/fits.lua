--[[
fits.lua: times offline fits: 100 configurations with a temperature and biases of their own on the same 10^6 pixels.

    segx tests/bench/fits.lua make DUMP            11 classes, 16 pictures of 250 x 250
    segx tests/bench/fits.lua DUMP [PEERS.json]

All pixels are taken. With what fits.py measured: the ratio. Every figure is one run, reading and
sampling the dump included, ours.
]]
local core = require "segx.core"
local fitter = require "segx.fitter"
local fits = require "segx.fits"
local json = require "segx.json"
local L, A = segx.loss, segx.axis

-- Blocks of labels; logits: noise, and the label's own is larger.
local function make(path)
  local C, side = 11, 250
  local w = segx.write_dump(path, {n = 16, classes = C, dims = {side, side}, logits_type = "float32", labels_type = "uint8"})
  local state = 1
  local function uniform()
    state = state * 16807 % 2147483647
    return state / 2147483647
  end
  for i = 1, 16 do
    local logits, labels, block = {}, {}, {}
    for y = 0, side - 1 do
      for x = 0, side - 1 do
        local key = y // 16 * 16 + x // 16
        block[key] = block[key] or math.floor(uniform() ^ 2 * C)
        labels[y * side + x + 1] = block[key]
      end
    end
    for c = 0, C - 1 do
      for p = 1, side * side do
        logits[c * side * side + p] = 3 * (uniform() + uniform() + uniform() - 1.5) + (labels[p] == c and 2 or 0)
      end
    end
    w:write(i, logits, labels)
  end
  w:finish()
end
if arg[1] == "make" then return make(arg[2]) end

local peers
if arg[2] then
  local file <close> = assert(io.open(arg[2]))
  peers = json.decode(file:read "a")
end

local gammas, shares = {}, {}
for k = 1, 100 do gammas[k], shares[k] = k / 20, k / 100 end
local gamma, mix = A.grid("gamma", gammas), A.grid("mix", shares)
local cases = {
  {"focal", "100 gammas of focal", L.focal {gamma = gamma}},
  {"dice_focal", "100 mixes of Dice and focal", mix * L.focal {} + (1 - mix) * L.dice {}},
}
local numbers = {}
for k = 1, 100 do numbers[k] = k end

for _, case in ipairs(cases) do
  local d <close> = segx.open(arg[1])
  local f = fitter.new(d, {pixels = 10000000})
  local start = core.clock()
  local fitted = f:fit(fits.source(d, case[3]), numbers, 0, nil, function() end)
  local ours, evaluations, open = core.clock() - start, 0, 0
  for _, q in ipairs(fitted) do
    evaluations = evaluations + q.evaluations
    open = open + (q.state == "converged" and 0 or 1)
  end
  local line = ("  %-28s %7.1f s, %.1f evaluations each, %d not converged"):format(case[2], ours, evaluations / 100, open)
  local peer = peers and peers[case[1]]
  if peer then
    local worst = -math.huge
    for i, k in ipairs(peer.positions) do worst = math.max(worst, fitted[k].value / peer.values[i] - 1) end
    line = line .. ("\n  %-28s %7.1f s for %d of them, %.1f evaluations each; 100: %.0f s, %.1fx ours\n"):format(
      "  PyTorch, " .. peer.how, peer.seconds, #peer.positions, peer.evaluations, peer.seconds * 100 / #peer.positions,
      peer.seconds * 100 / #peer.positions / ours)
    line = line .. ("  %-28s %.1e above theirs at most, relative"):format("  our values", worst)
  end
  print(line)
end
