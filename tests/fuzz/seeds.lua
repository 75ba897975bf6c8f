-- seeds.lua: small valid dumps for fuzz_dump to start from.  segx tests/fuzz/seeds.lua FOLDER
local folder = arg[1] or error "which folder?"
os.execute(("mkdir -p '%s'"):format(folder))

local function write(name, o)
  local px = 1
  for _, n in ipairs(o.dims) do px = px * n end
  local w = segx.write_dump(folder .. "/" .. name .. ".h5", o)
  for i = 1, o.n do
    local x, y = {}, {}
    for p = 1, o.classes * px do x[p] = (p * i % 17) / 4 end
    for p = 1, px do y[p] = p % o.classes end
    w:write(i, x, y)
  end
  w:finish()
end

write("plain", {n = 2, classes = 2, dims = {3, 4}, logits_type = "float32", labels_type = "uint8", gzip = 0})
write("zip", {n = 2, classes = 3, dims = {3, 5}, logits_type = "float16", labels_type = "uint8", gzip = 6,
  class_names = {"a", "b", "c"}, ignore_index = 255, split = "val"})
write("volume", {n = 1, classes = 2, dims = {2, 3, 4}, logits_type = "float64", labels_type = "int64", gzip = 1})
