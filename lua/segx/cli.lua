--[[
cli.lua: the sub-commands of the program. Each takes the list of its arguments, prints to standard
output and returns the exit status; what is wrong is raised.
]]
local core = require "segx.core"
local errors = require "segx.errors"
local format = require "segx.format"
errors.own()

local cli = {}

local usage = {
  info = "segx info DUMP [--json]",
  verify = "segx verify DUMP",
  plan = "segx plan SCRIPT [args]",
  ls = "segx ls [FOLDER]",
  show = "segx show RUN [--top N] [--by COLUMN] [--format csv|json|md|tex|text]",
  diff = "segx diff RUN RUN",
  report = "segx report RUN [--by COLUMN] [--top N] [--out FILE.html]",
  doc = "segx doc [TOPIC]",
  doctor = "segx doctor",
}

local function misuse(command, message)
  errors.raise("usage", command .. ": " .. message, usage[command])
end

-- Splits arguments into words and known flags.
local function arguments(command, args, flags, count)
  local words, given = {}, {}
  for _, a in ipairs(args) do
    if flags[a] then
      given[a] = true
    elseif a:sub(1, 2) == "--" then
      misuse(command, "unknown option " .. a)
    else
      words[#words + 1] = a
    end
  end
  if #words ~= count then
    misuse(command, count == 1 and "expected one file" or "unexpected argument")
  end
  return words, given
end

-- -- info, verify ---------------------------------------------------------------------------------

--- segx info DUMP [--json]
function cli.info(args)
  local words, given = arguments("info", args, {["--json"] = true}, 1)
  local segx, info = require "segx", require "segx.info"
  local d <close> = segx.open(words[1])
  print(given["--json"] and info.json(d) or info.text(d))
  return 0
end

local function class_rows(d, m)
  local counts, rows, total = require("segx.weights").counts(d), {}, 0
  for _, n in ipairs(counts.counts) do total = total + n end
  for c, n in ipairs(counts.counts) do
    rows[c] = {counts.class_names[c], format.count(n), ("%.3f %%"):format(100 * n / total),
      m.iou[c - 1], m.recall[c - 1]}
  end
  return rows, total
end

--- segx verify DUMP: reads all of it (non-finite logits and labels out of range are refused with
--- their place), counts classes and looks whether the predictions have anything to do with the
--- labels.
function cli.verify(args)
  local words = arguments("verify", args, {}, 1)
  local segx, info = require "segx", require "segx.info"
  local d <close> = segx.open(words[1])
  print(info.text(d))
  local m = d:metrics {}
  local rows, total = class_rows(d, m)
  print(format.table({"class", "pixels", "share", "iou", "recall"}, rows))
  print(("valid pixels %s   pixel accuracy %s   miou %s"):format(
    format.count(total), format.number(m.pixel_accuracy), format.number(m.miou)))
  if total == 0 then
    errors.raise("data", words[1] .. ": every pixel is ignored", "see the ignored values above")
  end
  if m.pixel_accuracy < 1.5 / #rows then
    print("note: hardly better than guessing; are layout and order of classes what was meant?")
  end
  print "ok"
  return 0
end

-- -- plan -----------------------------------------------------------------------------------------

--- segx plan SCRIPT [args]: runs the script up to its first sweep, prints the plan of that sweep,
--- and stops.
function cli.plan(args)
  if #args == 0 then misuse("plan", "expected a script") end
  local chunk, why = loadfile(args[1])
  if not chunk then errors.raise("file", why) end
  local sweep = require "segx.sweep"
  local stop = {}
  sweep.instead_of_running = function(sw)
    print(sw:plan())
    error(stop, 0)
  end
  arg = {[0] = args[1], table.unpack(args, 2)}
  local ok, e = pcall(chunk, table.unpack(args, 2))
  sweep.instead_of_running = nil
  if ok then
    print "the script ran to its end without a sweep"
  elseif e ~= stop then
    error(e, 0)
  end
  return 0
end

-- -- ls, show, diff: run folders ------------------------------------------------------------------

--- segx ls [FOLDER]: the run folders below it (default: here).
function cli.ls(args)
  local words = arguments("ls", args, {}, math.min(#args, 1))
  local text = require("segx.runs").list(words[1] or ".")
  if not text then
    errors.raise("file", ("no run folders below %s"):format(words[1] or "here"),
      'a sweep with out = "runs/x" makes one')
  end
  print(text)
  return 0
end

-- Takes --name VALUE and --name=VALUE of the given names out of args.
local function take_values(command, args, names)
  local rest, given, i = {}, {}, 1
  while i <= #args do
    local name, value = args[i]:match "^%-%-([%w-]+)=(.*)$"
    name = name or args[i]:match "^%-%-([%w-]+)$"
    if name and names[name] then
      if not value then
        i = i + 1
        value = args[i] or misuse(command, ("--%s wants a value"):format(name))
      end
      given[name] = value
    else
      rest[#rest + 1] = args[i]
    end
    i = i + 1
  end
  return rest, given
end

-- o.top as a number, from 1.
local function take_top(command, o)
  if not o.top then return end
  o.top = math.tointeger(tonumber(o.top)) or misuse(command, "--top wants a whole number")
  if o.top < 1 then misuse(command, "--top wants a whole number from 1") end
end

--- segx show RUN: its rows, as they are or the best by a column.
function cli.show(args)
  local rest, o = take_values("show", args, {top = true, by = true, format = true})
  local words = arguments("show", rest, {}, 1)
  take_top("show", o)
  local runs, known = require "segx.runs", false
  for _, f in ipairs(runs.formats) do known = known or o.format == nil or f == o.format end
  if not known then
    misuse("show", ("--format wants %s, got '%s'"):format(table.concat(runs.formats, ", "), o.format))
  end
  print(runs.show(words[1], o))
  return 0
end

--- segx report RUN: one HTML file.
function cli.report(args)
  local rest, o = take_values("report", args, {top = true, by = true, out = true})
  local words = arguments("report", rest, {}, 1)
  take_top("report", o)
  local out, bytes = require("segx.report").write(words[1], o)
  print(("%s  %s"):format(out, format.bytes(bytes)))
  return 0
end

--- segx diff RUN RUN: exit status 1 if rows differ.
function cli.diff(args)
  if #args ~= 2 then misuse("diff", "expected two run folders") end
  local text, differ = require("segx.runs").diff(args[1], args[2])
  print(text)
  return differ and 1 or 0
end

-- -- doc ------------------------------------------------------------------------------------------

local function describe_loss(def)
  local lines = {("L.%s{...}   %s"):format(def.name, def.doc or "")}
  if def.source then lines[2] = "  source: " .. def.source end
  for _, p in ipairs(def.params) do
    local default = def.defaults[p]
    lines[#lines + 1] = ("  %s%s   %s"):format(p,
      default ~= nil and " = " .. format.lua(default) or "", def.help[p] or "")
  end
  local others = {}
  for i = #def.params + 1, #def.accepts do
    local own = def.usual[def.accepts[i]]
    others[#others + 1] = def.accepts[i] .. (own ~= nil and " = " .. format.lua(own) or "")
  end
  lines[#lines + 1] = "  and: " .. table.concat(others, ", ")
  return table.concat(lines, "\n")
end

local function list_of(rows) return format.table({"name", "what"}, rows) end

local topics = {}

function topics.losses()
  local rows = {}
  for _, def in ipairs(require("segx.losses").list()) do
    rows[#rows + 1] = {def.name, def.doc or ""}
  end
  return list_of(rows) .. "\nhybrids: dice_ce, dice_focal, gdice_focal\nsegx doc NAME shows the parameters"
end

function topics.weights()
  local rows = {}
  for i, w in ipairs(require("segx.weights").list()) do rows[i] = {w.name, w.doc} end
  return list_of(rows)
    .. "\noptions of all: clip = {lo, hi}, normalise = none | sum_to_1 | mean_1 | max_1"
end

function topics.metrics()
  local m = require "segx.metrics"
  return "numbers: " .. table.concat(m.scalars, ", ") .. "\nby class: "
    .. table.concat(m.by_class, ", ")
    .. "\naggregation: dataset (default), image_class, class_image, image"
end

function topics.options()
  return [[
weight              class weights: list, {name = value, default = value}, segx.weights, an axis
unit                sums over "dataset" (default), "image" (default of losses that sort or measure
                    distances), {batch = B}; then the mean over units
classes             names of the classes that count
include_background  false leaves out the first class
reduction           pixel losses: mean (default) sum weighted_mean mean_all mean_elements
                    mean_image per_class
average             region losses: macro (default; weighted with weight) weighted weighted_raw micro
empty               region losses, a class without pixels: skip (default) zero smooth]]
end

function topics.limits()
  local limits, lines = require "segx.limits", {}
  for _, list in ipairs {limits.all, limits.fits} do
    for _, text in ipairs(list) do lines[#lines + 1] = "* " .. text end
  end
  return table.concat(lines, "\n")
end

function topics.ops()
  local rows = {}
  for i, name in ipairs(core.ops()) do
    local help = tostring(core.help(name) or "")
    rows[i] = {name, help:match "^[%w_]+%b(): (.*)" or help:match "^[%w_]+: (.*)" or help}
  end
  return list_of(rows)
end

local function topic_text(name)
  name = name:match "^segx%.loss%.(.+)$" or name:match "^L%.(.+)$" or name:match "^segx%.(.+)$" or name
  if topics[name] then return topics[name]() end
  local names = {}
  for _, def in ipairs(require("segx.losses").list()) do
    if def.name == name then return describe_loss(def) end
    names[#names + 1] = def.name
  end
  for _, op in ipairs(core.ops()) do
    if op == name then return tostring(core.help(name)) end
    names[#names + 1] = op
  end
  for t in pairs(topics) do names[#names + 1] = t end
  table.sort(names)
  local near = errors.nearest(name, names)
  local guess = near and (" (did you mean '%s'?)"):format(near) or ""
  errors.raise("usage", ("doc: unknown topic '%s'%s"):format(name, guess), "segx doc")
end

--- segx doc [TOPIC]
function cli.doc(args)
  if #args > 1 then misuse("doc", "expected one topic") end
  if args[1] then
    print(topic_text(args[1]))
  else
    print "topics: losses weights metrics options ops limits, the name of a loss, the name of an op\n"
    print(topics.losses())
  end
  return 0
end

-- -- doctor ---------------------------------------------------------------------------------------

-- A dump of four pixels whose cross entropy is 1.25 ln 2.
local function self_check()
  local segx = require "segx"
  local l = math.log(2)
  local d = segx.memory {logits = {{{l, l, 0, l}, {0, 0, l, 0}, {0, 0, 0, 0}}},
    labels = {{0, 0, 1, 2}}}
  local got = segx.loss.ce {}:eval(d, {precision = "double", device = "cpu"}).value
  return math.abs(got - 1.25 * l) < 1e-14, got
end

-- The bits of a GPU: "ok" or what is wrong.
local function gpu_check(index)
  local same, why = core.check_gpu(index)
  return same and "ok (the bits of the CPU, in both precisions)" or "FAILED: " .. why
end

-- What evaluations do that name no device.
local function auto_text(name, why)
  if not name then return "the CPU: " .. why end
  local seconds = core.gpu_choice().seconds
  if seconds == math.huge then return "the CPU: SEGX_GPU_SECONDS=inf" end
  return ("%s for passes that take the CPU %g s or more, else the CPU"):format(name, seconds)
end

-- What was found of NVIDIA's, and why a GPU is or is not used.
local function gpu_rows()
  local auto = {"--device auto", auto_text(core.choose_gpu())}
  local g = core.device(0)
  if not g.name then return {{"GPU", "none: " .. g.why}, auto} end
  local rows = {
    {"driver", ("%s, CUDA %d.%d"):format(g.driver_path, g.driver // 1000, g.driver % 1000 // 10)},
    {"NVRTC", g.nvrtc ~= "" and g.nvrtc or "none: " .. g.nvrtc_why},
    {"kernel cache", g.cache ~= "" and g.cache or "none (SEGX_CUDA_CACHE)"},
  }
  for i = 0, g.count - 1 do
    local one = core.device(i)
    local key = "cuda:" .. i
    if not one.name then rows[#rows + 1] = {key, one.why}
    else
      rows[#rows + 1] = {key, ("%s, compute capability %d.%d, %s"):format(one.name, one.cc // 10, one.cc % 10,
        format.bytes(one.memory))}
      rows[#rows + 1] = {key .. " self check", gpu_check(i)}
    end
  end
  rows[#rows + 1] = auto
  return rows
end

--- segx doctor: what this build can do on this machine, and whether it computes.
function cli.doctor(args)
  arguments("doctor", args, {}, 0)
  local segx = require "segx"
  local rows = {{"segx", segx.version}, {"lua", _VERSION}, {"engine", tostring(core.version)}}
  for _, name in ipairs {"isa", "threads"} do
    if core[name] then rows[#rows + 1] = {name, tostring(core[name]())} end
  end
  for _, row in ipairs(gpu_rows()) do rows[#rows + 1] = row end
  local ok, got = self_check()
  rows[#rows + 1] = {"self check", ok and "ok" or ("FAILED: cross entropy %.17g"):format(got)}
  print(format.table({"what", "value"}, rows))
  return ok and 0 or 1
end

return cli
