--[[
run.lua: sweeps that survive: segx.sweep{..., out = "runs/x"}.

    runs/x/manifest.json   what was run: versions, script, arguments, dump, options, loss, axes
    runs/x/journal.jsonl   one line per finished cell: a pixel sum at one value of each of its axes
    runs/x/stats/*.seg     the sums of every image, checked record by record, while a pass runs and afterwards
    runs/x/results.csv     one row per configuration, with state and reason; replaced at once or not at all

Running the same line again goes on; what is on disk is found by content, so a changed script, axis or dump never gets a
wrong number, and values that were summed before are not summed again.
]]
local core = require "segx.core"
local csv = require "segx.csv"
local device = require "segx.device"
local errors = require "segx.errors"
local files = require "segx.files"
local json = require "segx.json"
local program = require "segx.program"
local progress = require "segx.progress"
local results = require "segx.result"
errors.own()

local run = {}

local options = program.options

--- The manifest of a run folder, or nil.
function run.manifest(path)
  local text = files.read(path .. "/manifest.json")
  local m = text and json.decode(text)
  return type(m) == "table" and m or nil
end

-- -- Manifest -------------------------------------------------------------------------------------

local function script_of()
  local script = rawget(_G, "arg") and arg[0]
  local text = script and not script:find "^%-" and files.read(script)
  return script, text
end

local function axis_texts(axes)
  local list = json.list {}
  for i, a in ipairs(axes) do
    list[i] = {name = a.name, values = json.list(table.move(a.labels, 1, #a.labels, 1, {}))}
  end
  return list
end

-- "exact": those of the CPU, wherever they were computed; "fast": a GPU's, in its mode of that name.
local function bits_of(sweep)
  local o, own = options(), sweep.opts
  local named = device.asked(own):find "^cuda"
  local fast = named and (own.mode or o.mode) == "fast" and (own.precision or o.precision) ~= "double"
  return fast and "fast" or "exact"
end

local function describe(sweep)
  local i, o = sweep.dump:info(), options()
  local script, text = script_of()
  local arguments, want, names = json.list {}, json.list {}, json.list {}
  for k, v in ipairs(rawget(_G, "arg") or {}) do arguments[k] = tostring(v) end
  for k, c in ipairs(sweep.columns) do want[k] = c.name end
  for _, a in ipairs(sweep.axes) do
    for _, p in ipairs(a.params) do names[#names + 1] = p.name end
  end
  return {
    segx = tostring(segx.version), lua = _VERSION, format = 1,
    script = script, script_text = text or nil, script_hash = text and core.hash(text) or nil,
    arguments = arguments, seed = o.seed or 0,
    precision = sweep.opts.precision or o.precision or "single", bits = bits_of(sweep),
    isa = core.isa(), configurations = sweep:count(),
    dump = {path = i.path, fingerprint = i.fingerprint, images = i.n, classes = i.classes,
      class_names = json.list(i.class_names), ignore = json.list(i.ignore),
      activation = i.activation, layout = i.layout, logits = i.logits_path, labels = i.labels_path},
    loss = tostring(sweep.loss), control = sweep.control and tostring(sweep.control) or nil,
    columns = want, axis_names = names, axes = axis_texts(sweep.axes),
  }
end

-- Refuses what must not share a folder; gives what is worth a note.
local function compare(path, old, new)
  local hint = "use a new out=, or --fresh to start over; nothing was changed"
  if old.dump and old.dump.fingerprint ~= new.dump.fingerprint then
    errors.raise("file", ("%s: made from another dump (fingerprint %s.. now %s..)"):format(path,
      tostring(old.dump.fingerprint):sub(1, 8), new.dump.fingerprint:sub(1, 8)), hint)
  end
  for _, key in ipairs {"precision", "bits"} do
    if (old[key] or "exact") ~= new[key] then
      errors.raise("file", ("%s: made with %s %s, now %s"):format(path, key, tostring(old[key]),
        tostring(new[key])), hint)
    end
  end
  if old.script_hash ~= new.script_hash then
    return path .. ": the script has changed since; sums that it still asks for are taken from there"
  end
end

local function note(text)
  if not options().quiet then io.stderr:write("segx: ", text, "\n") end
end

-- -- Failed rows ----------------------------------------------------------------------------------

-- What the program has to say of failed rows: its exit status, and with --fail-fast an error.
local function report_failed(what, failed, first, reason)
  if failed == 0 then return end
  core.failed_rows(failed)
  if options().fail_fast then
    errors.raise("FAILED", ("%srow %d: %s"):format(what, first, reason))
  end
end

--- Says that rows failed: how many and the first of them, or, where that is nil, what it finds.
function run.note_failed(result, failed, first)
  local look = failed == nil
  failed = failed or 0
  for r = 1, look and #result or 0 do
    if result.reasons[r] then failed, first = failed + 1, first or r end
  end
  if failed > 0 then
    note(("%d of %d rows failed; the first is row %d: %s"):format(failed, #result, first, result.reasons[first]))
    report_failed("", failed, first, result.reasons[first])
  end
end

-- results.csv, row by row; gives how many failed and the first of them.
local function write_results(folder, result)
  local failed, first, lines, done = 0, nil, {}, 0
  local report = progress.new()
  local finish <close> = setmetatable({}, {__close = report and report.finish or function() end})
  local function flush()
    folder:add(table.concat(lines))
    done, lines = done + #lines, {}
    if report then report.rows(done, #result + 1) end
  end
  local reason
  local last = {
    {name = "state", get = function(r)
      reason = result.reasons[r]
      if reason then failed, first = failed + 1, first or r end
      return reason and "failed" or "ok"
    end},
    {name = "reason", get = function() return reason and csv.cell(reason) or "" end},
  }
  folder:start "results.csv"
  results.csv_lines(result, function(line)
    lines[#lines + 1] = line
    if #lines == 256 then flush() end
  end, last)
  flush()
  folder:finish()
  return failed, first
end

-- -- Running --------------------------------------------------------------------------------------

local function is_stop(e)
  local code = type(e) == "table" and e.code
  return code == "interrupted" or code == "INTR" or code == "STOPPED"
end

--- Evaluates a sweep in its folder. evaluate(opts) gives the Result.
function run.run(sweep, path, evaluate)
  local o = options()
  local new, old = describe(sweep), not o.fresh and run.manifest(path) or nil
  local remark = old and compare(path, old, new)
  local folder <close> = core.folder(path, {fresh = o.fresh or nil, retry = o.retry or nil})
  old = not o.fresh and run.manifest(path) or nil   -- it may have changed until the lock was ours
  if old then remark = compare(path, old, new) end
  if remark then note(remark) end
  folder:put("manifest.json", json.encode(new, true) .. "\n")
  local opts = {folder = folder}
  for k, v in pairs(sweep.opts) do opts[k] = v end
  local ok, result = pcall(evaluate, opts)
  if not ok then
    if is_stop(result) then note(path .. ": what was summed is kept; the same line goes on from there") end
    error(result, 0)
  end
  result.folder = path
  local failed, first = write_results(folder, result)
  local s, parts = result.stats, {("%d rows%s"):format(#result, failed > 0 and (", %d failed"):format(failed) or "")}
  if s.cells_found then
    parts[2] = ("sums of %d cells found, %d computed (%d image records, %d more found)"):format(s.cells_found,
      s.cells_new, s.images_new, s.images_found)
  end
  if s.fits_found then parts[#parts + 1] = ("%d fits found, %d made"):format(s.fits_found, s.fits_made) end
  note(("%s: %s"):format(path, table.concat(parts, "; ")))
  report_failed(path .. ": ", failed, first, first and result.reasons[first])
  return result
end

return run
