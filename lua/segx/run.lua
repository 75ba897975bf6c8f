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
local errors = require "segx.errors"
local json = require "segx.json"
errors.own()

local run = {}

local function options() return rawget(_G, "segx") and segx.options or {} end

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

run.read_file = read_file

--- The manifest of a run folder, or nil.
function run.manifest(path)
  local text = read_file(path .. "/manifest.json")
  local m = text and json.decode(text)
  return type(m) == "table" and m or nil
end

-- -- Manifest -------------------------------------------------------------------------------------

local function script_of()
  local script = rawget(_G, "arg") and arg[0]
  local text = script and not script:find "^%-" and read_file(script)
  return script, text
end

local function axis_texts(axes)
  local list = json.list {}
  for i, a in ipairs(axes) do
    list[i] = {name = a.name, values = json.list(table.move(a.labels, 1, #a.labels, 1, {}))}
  end
  return list
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
    precision = sweep.opts.precision or o.precision or "single", device = o.device or "cpu",
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
  for _, key in ipairs {"precision", "device"} do
    if old[key] ~= new[key] then
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

local function is_number_of_loss(name)
  return name == "value" or name == "control" or name:find "^part%." ~= nil
end

-- A sum that is not finite and that row r depends on: its image.
local function bad_image(result, bad, r)
  local first
  for _, b in ipairs(bad or {}) do
    local fits = true
    for axis, position in pairs(b.at) do
      local at = result.positions[axis]
      fits = fits and (not at or at[r] == position)
    end
    if fits and (not first or b.image < first) then first = b.image end
  end
  return first
end

-- Reason by row, and how many.
local function failed_rows(sweep, result)
  local reasons, n = {}, 0
  for _, c in ipairs(result.columns) do
    if is_number_of_loss(c.name) then
      for r, v in ipairs(c.values) do
        if not reasons[r] and type(v) == "number" and (v ~= v or math.abs(v) == math.huge) then
          local image = bad_image(result, result.stats.bad, r)
          local name = image and sweep.dump:image_name(image)
          reasons[r] = ("%s is not finite%s"):format(c.name, image
            and (" (first at image %d%s)"):format(image, name and (' "%s"'):format(name) or "") or "")
          n = n + 1
        end
      end
    end
  end
  return reasons, n
end

local function csv_of(result, reasons)
  local lines, i = {}, 0
  local rows = #result + 1
  for line in result:csv():gmatch "[^\n]+" do
    local why = i == 0 and "state,reason"
      or reasons[i] and 'failed,"' .. reasons[i]:gsub('"', '""') .. '"' or "ok,"
    lines[#lines + 1] = line .. "," .. why
    i = i + 1
  end
  if i ~= rows then errors.raise("bug", "results.csv: a label holds a line end") end
  return table.concat(lines, "\n") .. "\n"
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
  local reasons, failed = failed_rows(sweep, result)
  result.folder, result.failed = path, reasons
  folder:put("results.csv", csv_of(result, reasons))
  local s = result.stats
  note(("%s: %d rows%s; sums of %d cells found, %d computed (%d image records, %d more found)"):format(path,
    #result, failed > 0 and (", %d failed"):format(failed) or "", s.cells_found, s.cells_new,
    s.images_new, s.images_found))
  if failed > 0 then
    core.failed_rows(failed)
    if o.fail_fast then
      local first
      for r in pairs(reasons) do first = math.min(first or r, r) end
      errors.raise("FAILED", ("%s: row %d: %s"):format(path, first, reasons[first]))
    end
  end
  return result
end

return run
