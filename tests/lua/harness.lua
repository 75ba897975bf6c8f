-- harness.lua: runs one file of tests and prints TAP.  segx tests/lua/harness.lua tests/lua/x.lua
--
--   local T = require "harness"
--   local test, eq, near, throws, skip = T.test, T.eq, T.near, T.throws, T.skip
--   test "sums" (function() eq(1 + 1, 2); near(x, 0.1, 1e-6); throws("unknown option", f) end)
--
-- A test that fails does not end the file. An error outside of a test counts as one failure. The last
-- line is "N passed, N failed, N skipped"; the exit status is 1 if anything failed.

local T = {}
local passed, failed, skipped, number = 0, 0, 0, 0
local SKIP = {}      -- mark of the error that skip() raises
local temporary = {} -- files to remove at the end

local function one_line(s)
  return (tostring(s):gsub("\n", "\n# "))
end

local function record(ok, name, why)
  number = number + 1
  if ok == "skip" then
    skipped = skipped + 1
    print(("ok %d - %s # SKIP %s"):format(number, name, why))
  elseif ok then
    passed = passed + 1
    print(("ok %d - %s"):format(number, name))
  else
    failed = failed + 1
    print(("not ok %d - %s\n# %s"):format(number, name, one_line(why)))
  end
  io.stdout:flush()
end

local function handler(e)
  if type(e) == "table" and e[1] == SKIP then return e end
  return debug.traceback(T.show(e), 2)
end

-- SEGX_SHARD="2/5": only tests 2, 7, 12 ... of the file, so that processes can share a slow one.
local shard, shards = (os.getenv "SEGX_SHARD" or "1/1"):match "^(%d+)/(%d+)$"
local seen = 0

-- test "name" (fn), or test("name", fn)
function T.test(name, fn)
  seen = seen + 1
  if (seen - shard) % shards ~= 0 then return function() end end
  local function run(body)
    local ok, e = xpcall(body, handler)
    if ok then record(true, name)
    elseif type(e) == "table" and e[1] == SKIP then record("skip", name, e.reason)
    else record(false, name, e) end
  end
  if fn then return run(fn) end
  return run
end

-- Ends the test that is running; it counts as skipped.
function T.skip(reason)
  error({SKIP, reason = reason or "no reason given"}, 0)
end

-- Readable text of any value: tables with their keys sorted, error objects by their parts.
function T.show(v, depth)
  depth = depth or 0
  if type(v) == "string" then return depth == 0 and v or ("%q"):format(v) end
  if math.type(v) == "float" then return ("%.17g"):format(v) end
  local mt = getmetatable(v)
  if type(v) ~= "table" or (type(mt) == "table" and mt.__tostring) or depth > 4 then
    return tostring(v)
  end
  local keys, out = {}, {}
  for k in pairs(v) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
    return type(a) < type(b) or (type(a) == type(b) and tostring(a) < tostring(b))
  end)
  for i, k in ipairs(keys) do
    if i > 40 then out[#out + 1] = "..."; break end
    local text = T.show(v[k], depth + 1)
    out[#out + 1] = k == i and text or ("[%s] = %s"):format(T.show(k, depth + 1), text)
  end
  return "{" .. table.concat(out, ", ") .. "}"
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b or (a ~= a and b ~= b)   -- NaN equals NaN here
  end
  if rawequal(a, b) then return true end
  for k, v in pairs(a) do if not same(v, b[k]) then return false end end
  for k in pairs(b) do if a[k] == nil then return false end end
  return true
end

local function fail(message, note)
  error((note and note .. ": " or "") .. message, 3)
end

-- Equal: tables by their content, NaN equals NaN, 2 equals 2.0.
function T.eq(got, want, note)
  if not same(got, want) then
    fail(("got %s, want %s"):format(T.show(got, 1), T.show(want, 1)), note)
  end
end

function T.ok(value, note)
  if not value then fail(("got %s, want something true"):format(tostring(value)), note) end
end

local function close(a, b, rel, abs)
  if a ~= a or b ~= b then return a ~= a and b ~= b end
  if a == b then return true end
  if a == math.huge or b == math.huge or a == -math.huge or b == -math.huge then return false end
  return math.abs(a - b) <= math.max(rel * math.max(math.abs(a), math.abs(b)), abs)
end

-- Numbers, or tables of numbers of the same shape: |a - b| <= max(rel * max(|a|, |b|), abs).
-- rel defaults to 1e-6, abs to 0.
function T.near(got, want, rel, abs, note)
  rel, abs = rel or 1e-6, abs or 0
  local function walk(a, b, path)
    if type(a) == "number" and type(b) == "number" then
      if not close(a, b, rel, abs) then
        error(("%sgot %.17g, want %.17g%s (difference %.3g, relative %.3g, allowed %.3g)"):format(
          note and note .. ": " or "", a, b, path ~= "" and " at " .. path or "", math.abs(a - b),
          math.abs(a - b) / math.max(math.abs(a), math.abs(b)), rel), 0)
      end
      return
    end
    if type(a) ~= "table" or type(b) ~= "table" then
      error(("%sgot %s, want %s%s"):format(note and note .. ": " or "", T.show(a, 1), T.show(b, 1),
        path ~= "" and " at " .. path or ""), 0)
    end
    if #a ~= #b then error(("got %d entries, want %d at [%s]"):format(#a, #b, path), 0) end
    for k, v in pairs(b) do walk(a[k], v, path .. "[" .. tostring(k) .. "]") end
  end
  local ok, e = pcall(walk, got, want, "")
  if not ok then error(e, 2) end
end

-- fn(...) must raise; its message (or the message and hint of an error object) must match the Lua
-- pattern. Returns what was raised.
function T.throws(pattern, fn, ...)
  local ok, e = pcall(fn, ...)
  if ok then fail("no error; one matching '" .. pattern .. "' was expected") end
  if type(e) == "table" and e[1] == SKIP then error(e, 0) end
  local text
  if type(e) == "string" then
    text = e
  elseif type(e) == "table" or type(e) == "userdata" then
    local got, message = pcall(function() return e.message end)
    local _, hint = pcall(function() return e.hint end)
    text = got and message and message .. (hint and "\nhint: " .. tostring(hint) or "") or tostring(e)
  else
    text = tostring(e)
  end
  if not text:find(pattern) then
    fail(("the error does not match '%s':\n%s"):format(pattern, text))
  end
  return e
end

-- Path for a temporary file of this name; removed at the end.
function T.tmp(name)
  local dir = os.getenv("SEGX_TMP") or os.getenv("TMPDIR") or "/tmp"
  local path = ("%s/%s-%s"):format(dir, tostring(temporary):match("0x(%x+)"), name)
  temporary[#temporary + 1] = path
  return path
end

-- Path of a file of the source tree.
function T.source(path)
  return (os.getenv("SEGX_SOURCE") or ".") .. "/" .. path
end

-- Path of a real dump in the folder that SEGX_DUMPS names, or the test is skipped.
function T.dump(name)
  local dir = os.getenv("SEGX_DUMPS")
  if not dir then T.skip("SEGX_DUMPS is not set") end
  local path = dir .. "/" .. name
  local f = io.open(path, "rb")
  if not f then T.skip("no file " .. path) end
  f:close()
  return path
end

-- Prints the summary; called by the runner, a test file need not.
function T.done()
  for _, path in ipairs(temporary) do os.remove(path) end
  temporary = {}
  print("1.." .. number)
  print(("%d passed, %d failed, %d skipped"):format(passed, failed, skipped))
  os.exit(failed == 0 and 0 or 1, true)
end

-- Run as the main program (not by require): take the file and run it.
if ... ~= "harness" then
  package.loaded.harness = T
  local file = table.remove(arg, 1)
  if not file then
    io.stderr:write("usage: segx tests/lua/harness.lua FILE\n")
    os.exit(2)
  end
  local here = arg[0]:match("^(.*)/[^/]*$") or "."
  package.path = here .. "/?.lua;" .. package.path
  arg[0] = file
  local chunk, e = loadfile(file)
  if not chunk then
    record(false, "load " .. file, e)
  else
    local ok, why = xpcall(chunk, handler)
    if not ok then
      if type(why) == "table" and why[1] == SKIP then record("skip", file, why.reason)
      else record(false, "outside of a test", why) end
    end
  end
  T.done()
end

return T
