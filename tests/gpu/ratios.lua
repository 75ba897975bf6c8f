--[[
ratios.lua: PyTorch's times over segx's, from the figures of one run; run by tests/gpu/run.sh:

  segx tests/gpu/ratios.lua BENCH.tsv PEERS.tsv      of bench.lua and of peers.py

The rival is the faster of eager and compiled. segx's time is that of the whole evaluation, plan and epilogue included.
]]
local goals = {["cross entropy"] = 1.5, focal = 1.5, Dice = 1.5, ["Dice + focal"] = 3, ["cross entropy, gradient"] = 2,
  ["focal, gradient"] = 2, ["Dice + focal, gradient"] = 2, ["100 gammas, loop"] = 50}

local function rows(path)
  local list = {}
  for line in io.lines(path) do
    local row = {}
    for field in (line .. "\t"):gmatch "([^\t]*)\t" do row[#row + 1] = field end
    if #row > 4 then list[#list + 1] = row end
  end
  return list
end

local ours = {}
for _, r in ipairs(rows(arg[1])) do ours[table.concat(r, " ", 1, 4)] = tonumber(r[5]) end

local order, peers, notes = {}, {}, {}
for _, r in ipairs(rows(arg[2])) do
  local key = table.concat(r, " ", 1, 3)
  if not peers[key] then
    peers[key] = {classes = r[1], type = r[2], work = r[3]}
    order[#order + 1] = key
  end
  peers[key][r[4]] = tonumber(r[5])
  local part = tonumber(r[6])
  if not part then notes[#notes + 1] = ("%s %s, %s, %s: %s"):format(r[1], r[2], r[3], r[4], r[6])
  elseif part < 1 then notes[#notes + 1] = ("%s %s, %s, %s: memory was short: measured on %g of the images"):format(
    r[1], r[2], r[3], r[4], part) end
end

local function ms(v) return v and ("%.3f"):format(v) or "" end
local function ratio(p, v)
  local best = math.min(p.eager or math.huge, p.compiled or math.huge)
  if not v or best == math.huge then return "" end
  return ("%.1fx%s"):format(best / v, p.eager and p.compiled and "" or p.eager and ", eager only" or ", compiled only")
end
print "| classes, type | work | eager, ms | compiled, ms | segx fast, ms | ratio | goal | segx exact, ms | ratio |"
print "|---|---|--:|--:|--:|--:|--:|--:|--:|"
for _, key in ipairs(order) do
  local p = peers[key]
  local name = p.work:gsub("^(%d+ gammas), .*", "%1")
  local fast = ours[("%s %s %s fast"):format(p.classes, p.type, name)]
  local exact = ours[("%s %s %s exact"):format(p.classes, p.type, name)]
  local goal = goals[p.work] and (">= %g"):format(goals[p.work]) or ""
  print(("| %s %s | %s | %s | %s | %s | %s | %s | %s | %s |"):format(p.classes, p.type, p.work, ms(p.eager), ms(p.compiled), ms(fast),
    ratio(p, fast), goal, ms(exact), ratio(p, exact)))
end
for k, note in ipairs(notes) do print((k == 1 and "\n* " or "* ") .. note) end
