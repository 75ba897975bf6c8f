-- test_cli.lua: the sub-commands, called as the program calls them; what they print is caught.
local T = require "harness"
local F = require "fixtures"
local segx = require "segx"
local test, eq, throws, ok = T.test, T.eq, T.throws, T.ok
local cli = segx.cli

-- Status and printed text of a sub-command.
local function run(name, ...)
  local lines, old = {}, print
  print = function(...)
    local cells = {...}
    for i = 1, #cells do cells[i] = tostring(cells[i]) end
    lines[#lines + 1] = table.concat(cells, "\t")
  end
  local good, status = pcall(cli[name], {...})
  print = old
  if not good then error(status, 0) end
  return status, table.concat(lines, "\n")
end

local function sample()
  if F.reference then T.skip "the reference reads no files" end
  local path = T.tmp "sample.h5"
  local w = segx.write_dump(path,
    {n = 2, classes = 2, dims = {1, 2}, logits_type = "float32", labels_type = "uint8",
    class_names = {"no", "yes"}, ignore_index = 255, split = "val"})
  w:write(1, {1, 0, 0, 2}, {0, 1})
  w:write(2, {3, 0, 0, 1}, {0, 255})
  w:finish()
  return path
end

local function script(text)
  local path = T.tmp "script.lua"
  local f = assert(io.open(path, "w"))
  f:write(text)
  f:close()
  return path
end

test "doc" (function()
  local status, text = run "doc"
  eq(status, 0)
  ok(text:find "focal_tversky", text)
  ok(select(2, run("doc", "tversky")):find "alpha = 0.5%s+weighs false positives", "a loss")
  for _, topic in ipairs {"losses", "weights", "metrics", "options", "ops"} do
    ok(#select(2, run("doc", topic)) > 20, topic)
  end
  throws("unknown topic 'tverski' %(did you mean 'tversky'", run, "doc", "tverski")
end)

test "every parameter of every loss is explained" (function()
  for _, def in ipairs(segx.loss.list()) do
    ok(def.doc and def.source, def.name)
    for _, p in ipairs(def.params) do ok(def.help[p], def.name .. "." .. p) end
  end
end)

test "doctor" (function()
  local status, text = run "doctor"
  eq(status, 0)
  ok(text:find "self check%s+ok", text)
end)

test "info" (function()
  local path = sample()
  local status, text = run("info", path)
  eq(status, 0)
  ok(text:find "no, yes" and text:find "ignored: 255", text)
  status, text = run("info", path, "--json")
  eq(status, 0)
  ok(text:find('"class_names": ["no","yes"]', 1, true), text)
  eq(throws("unknown option %-%-jsn", run, "info", path, "--jsn").code, "usage")
  eq(throws("expected one file", run, "info").code, "usage")
  eq(throws("/nonexistent/x.h5", run, "info", "/nonexistent/x.h5").code, "file")
end)

test "verify" (function()
  local status, text = run("verify", sample())
  eq(status, 0)
  ok(text:find "valid pixels 3" and text:find "\nok$", text)
end)

test "plan stops a script at its first sweep" (function()
  local path = script [[
    local segx = require "segx"
    local d = segx.memory{logits = {{{0, 1}, {1, 0}}}, labels = {{0, 1}}}
    local r = segx.sweep{dump = d, loss = segx.loss.focal{gamma = segx.axis.grid("gamma", {0, 1})}}:run()
    error "not reached"
  ]]
  local before = arg
  local status, text = run("plan", path)
  arg = before
  eq(status, 0)
  ok(text:find "^2 configurations = 2 gamma", text)
end)

test "plan gives back the script's own errors, and runs again afterwards" (function()
  local before = arg
  throws("mine", run, "plan", script "error 'mine'")
  throws("No such file", run, "plan", "/nonexistent/script.lua")
  arg = before
  local d = F.T1()
  eq(#segx.sweep {dump = d, loss = segx.loss.ce {}}:run(), 1)
end)

test "a dump prints" (function()
  ok(tostring(F.T1 {class_names = {"road", "sky", "pole"}}):find "road, sky, pole", "class names")
end)
