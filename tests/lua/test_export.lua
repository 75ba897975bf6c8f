-- test_export.lua: losses as PyTorch modules: the text, without Python. (tests/peers/run-export runs the modules.)
local T = require "harness"
if os.getenv "SEGX_REF" then T.skip "the reference has no graph to print" end
local segx = require "segx"
local core = require "segx.core"
local test, eq, throws, ok = T.test, T.eq, T.throws, T.ok
local L, A, W = segx.loss, segx.axis, segx.weights

local function has(text, piece) ok(text:find(piece, 1, true), "missing: " .. piece .. "\nin\n" .. text) end
local function lacks(text, piece) ok(not text:find(piece, 1, true), "not wanted: " .. piece) end

-- The lines of forward after the common head.
local function body(text)
  return text:match "not even as NaN\n(.-)\n\n\ndef self_test"
end

local small = segx.memory {logits = {{{1, 2, 0.5, 1}, {0, 1, 3, 2}, {2, 2.5, 1, 3}}}, labels = {{0, 1, 2, 0}},
  class_names = {"sky", "road", "pole"}, fields = {depth = {{1, 2, 3, 4}}}}

test "golden: cross entropy" (function()
  eq(body(L.ce {}:export {class = "CE"}), [[
        class_index = torch.arange(C, device=x.device).reshape(1, C, 1)
        onehot = label == class_index
        # log of the sum of exp of the other logits, minus the label's: log((1 - pt) / pt)
        margin = (torch.logsumexp(x.masked_fill(onehot, float("-inf")), 1, keepdim=True)
            - torch.take_along_dim(x, label, 1))  # [N, 1, P]
        ce_sum = torch.where(valid, -F.logsigmoid(-margin), 0.0).sum((0, 2), keepdim=True)
        pixels = valid.sum((0, 2), keepdim=True).to(x.dtype)
        cross_entropy = ratio(ce_sum, pixels, 0.0)
        return cross_entropy.reshape(())]])
end)

test "golden: dice per image" (function()
  eq(body(L.dice {unit = "image", smooth = 1}:export()), [[
        class_index = torch.arange(C, device=x.device).reshape(1, C, 1)
        onehot = label == class_index
        of_class = onehot & valid  # pixels that count, by true class
        # valid pixels of each class
        count = of_class.sum(2, keepdim=True).to(x.dtype)  # [N, C, 1]
        some = count > 0.0  # [N, C, 1]
        # log of the sum of exp of the other logits, minus the label's: log((1 - pt) / pt)
        margin = (torch.logsumexp(x.masked_fill(onehot, float("-inf")), 1, keepdim=True)
            - torch.take_along_dim(x, label, 1))  # [N, 1, P]
        pt_by_class = torch.where(of_class, torch.sigmoid(-margin), 0.0).sum(2, keepdim=True)
        p_sum = torch.where(valid, torch.softmax(x, 1), 0.0).sum(2, keepdim=True)  # [N, C, 1]
        per_class = 1.0 - ratio(2.0 * pt_by_class + 1.0, count + p_sum + 1.0, 1.0)  # [N, C, 1]
        classes = some.to(x.dtype).sum(1, keepdim=True)  # [N, 1, 1]
        quotient = ratio(torch.where(some, per_class, 0.0).sum(1, keepdim=True), classes, 0.0)
        quotient2 = quotient.sum(0, keepdim=True)
        units = (classes > 0.0).to(x.dtype).sum(0, keepdim=True)
        dice = ratio(quotient2, units, 0.0)
        return dice.reshape(())]])
end)

test "the same text every time, whatever was traced before" (function()
  local loss = 0.5 * L.focal {gamma = 1.5} + L.dice {}
  local first = loss:export()
  for _ = 1, 3 do
    L.jaccard {}:eval(small)
    segx.grad(loss:tensor(small), small.logits)
    eq(loss:export(), first)
  end
end)

test "stable forms: u is never 1 - pt, powers of u take its logarithm" (function()
  local text = body(L.focal {gamma = 2}:export())
  has(text, "torch.exp(2.0 * F.logsigmoid(margin))")
  lacks(text, "1.0 -")
  text = body(L.define("own", {}, function(x) return (1 - x.p:pick(x.labels)) * x.logpt end):export())
  has(text, "torch.sigmoid(margin)")
end)

test "common subexpressions once; parts under their text" (function()
  local text = body((L.focal {} + 2 * L.ce {} - L.dice {}):export())
  local _, margins = text:gsub("torch%.logsumexp", "")
  eq(margins, 1)
  for _, piece in ipairs {"# L.focal{}", "# L.cross_entropy{}", "# L.dice{}"} do has(text, piece) end
  has(text, "return (focal + 2.0 * cross_entropy - dice).reshape(())")
end)

test "header: the loss, the unit" (function()
  local text = (L.ce {} + L.dice {unit = "image"}):export {class = "Mine"}
  has(text, "L.cross_entropy{} + L.dice{unit = \"image\"}")
  local flat = text:gsub("%s+", " ")
  has(flat, "Cross_entropy: sums run over the whole batch (over the data set in segx); dice: sums run "
    .. "over each image, then the mean over images.")
  has(text, "class Mine(nn.Module):")
  has(L.ce {unit = {batch = 4}}:export(), "groups of 4 consecutive images")
end)

test "class weights are buffers that say where they come from" (function()
  local w = W.balanced(small)
  local text = L.ce {weight = w}:export()
  has(text, "# weight of cross_entropy: segx.weights.balanced, from pixel counts")
  has(text, "# classes: sky, road, pole")
  has(text, 'self.register_buffer("weight", torch.tensor([')
  has(text, "if C != 3:")
  text = (L.ce {weight = {1, 2, 4}} + L.focal {weight = {pole = 3}}):export {dump = small}
  has(text, "# weight of cross_entropy\n")
  has(text, 'self.register_buffer("weight2"')
  has(text, "1.0, 1.0, 3.0,")
end)

test "a chosen row of a sweep keeps the origin of its weights" (function()
  local s = A.grid("s", {0, 1})
  local loss = L.ce {weight = W.balanced(small) ^ s}
  throws("sweep axes %(s%)", function() loss:export() end)
  throws("loss:at", function() loss:export() end)
  has(loss:at {s = 2}:export(), "segx.weights.balanced with arithmetic, from pixel counts")
  local r = segx.sweep {dump = small, loss = A.grid("k", {1, 2}) * L.focal {weight = W.balanced(small)}}:run()
  has(r:best("value").loss:export(), "segx.weights.balanced, from pixel counts")
end)

test "number of classes: any, fixed, asked for" (function()
  lacks(L.ce {}:export(), "if C !=")
  lacks(L.dice {include_background = false}:export(), "if C !=")
  has(L.dice {include_background = false}:export(), "class_index != 0")
  throws("depends on the number of classes", function() L.ce {label_smoothing = 0.1}:export() end)
  has(L.ce {label_smoothing = 0.1}:export {classes = 19}, "if C != 19:")
  throws("names classes", function() L.ce {}:on "pole":export() end)
  has(L.ce {}:on "pole":export {dump = small}, "if C != 3:")
  has(L.ce {}:on "pole":export {classes = {"sky", "pole"}}, "if C != 2:")
  throws("vectors of 3", function() L.ce {weight = {1, 2, 3}}:export {classes = 4} end)
end)

test "sizes of the dump do not get in" (function()
  has(body(L.ce {reduction = "mean_all"}:export()), "image_pixels = x.shape[-1]")
  local n = L.define("sized", {}, function(x) return x.ce * x.valid:size(1) end)
  throws("something from the dump", function() n:export {classes = 3} end)
end)

test "further data sets are arguments" (function()
  local deep = L.define("deep", {}, function(x) return x.depth * x.ce end)
  has(deep:export {dump = small}, "def forward(self, logits, labels, depth):")
  has(deep:export {fields = {"depth"}}, "value = SegLoss()(logits, labels, depth)")
  throws("unknown field of x 'depth'", function() deep:export() end)
end)

test "ignore_index of the dump inside of the classes" (function()
  local d = segx.memory {logits = {{{1, 2}, {0, 1}}}, labels = {{0, 1}}, ignore_index = 1}
  has(L.ce {}:export {dump = d}, "ignore_index=1")
  has(L.ce {}:export(), "ignore_index=None")
end)

test "masks: functions yes, tensors of one dump no" (function()
  has(L.ce {}:where(function(x) return x.labels:ne(1) end):export(), "label != 1")
  throws("mask of where", function() L.ce {}:where(small.labels:ne(1)):export() end)
end)

test "the file: written, or a clear error" (function()
  local path = os.tmpname()
  local text = L.ce {}:export(path, {class = "CE", framework = "torch"})
  local file <close> = io.open(path)
  eq(file:read "a", text)
  os.remove(path)
  throws("unknown option 'clas'", function() L.ce {}:export {clas = "A"} end)
  throws("unknown framework", function() L.ce {}:export {framework = "jax"} end)
  throws("is a word", function() L.ce {}:export {class = "a b"} end)
  local done, e = pcall(function() L.ce {}:export "/nowhere/at/all.py" end)
  eq({done, e.code}, {false, "file"})
end)

test "self-test: value and gradient of the engine" (function()
  local text = L.ce {}:export()
  has(text, "expected = ")
  local _, lines = text:gsub("relative error", "")
  eq(lines, 1)
  local numbers = text:match "expected_gradient = torch.tensor%(%[(.-)%]%)"
  local sum, n = 0, 0
  for v in numbers:gmatch "[%d.e+-]+" do sum, n = sum + tonumber(v), n + 1 end
  eq(n, 32)
  ok(math.abs(sum) < 1e-15)      -- a softmax loss does not move all logits at once
end)

test "every op has its Python" (function()
  local leaves = {data = true, field = true}
  for _, name in ipairs(core.ops()) do
    name = ({maximum = "max", minimum = "min"})[name] or name
    local row = core.torch(name)
    ok(row and row.torch and row.takes and row.gives:match "^[fbi]$", name)
    ok(leaves[name] or row.torch ~= "", name)
  end
  eq(core.torch "nosuch", nil)
end)

test "core.graph: arguments first, positions of the roots" (function()
  local a = small.logits:exp()
  local nodes, i, j = core.graph(a + 1, a)
  for k, n in ipairs(nodes) do
    eq(n.id, k)
    for _, arg in ipairs(n.args) do ok(arg < k) end
  end
  eq({nodes[i].op, nodes[j].op, nodes[i].axes}, {"add", "exp", "ncp"})
  eq(i, #nodes)
  eq(core.graph(A.grid("z", {1, 2}) * 2)[1].op, "data")
  local swept = core.graph(A.grid("z", {1, 2}))
  eq({swept[1].sweep, swept[1].data, swept[1].name}, {{"z"}, {1, 2}, "z"})
  throws("tensor or a number", function() core.graph "x" end)
end)

test "the page shows what export writes" (function()
  local file <close> = assert(io.open(T.source "docs/export.md"))
  local page = file:read "a"
  local script, python = page:match "```lua\n(.-)```", page:match "```python\n(.-)```"
  script = script:gsub('loss:export%("my_loss.py", ', "return loss:export(")
  eq(load(script, "page", "t", setmetatable({segx = segx}, {__index = _G}))(), python)
end)
