-- needs: common suppressions
-- Which of these keys are there? Reply: nothing, or keys and what is kept of them by turns, on the list and on that
-- of all bulk mail.
-- ARGV: the list, keys in lines.

local list = ARGV[FIRST]
local names = {} -- of the lists that have entries
for _, name in ipairs(list == "" and {""} or {list, ""}) do
  if call("EXISTS", suppressed_key(name)) == 1 then names[#names + 1] = name end
end
if #names == 0 then return {} end

local keys = {}
for key in string.gmatch(ARGV[FIRST + 1], "[^\n]+") do keys[#keys + 1] = key end

local found = {[list] = {}, [""] = {}}
for _, name in ipairs(names) do
  local entries = found[name]
  for first = 1, #keys, LONGEST do
    local last = math.min(first + LONGEST - 1, #keys)
    for place, value in ipairs(call("HMGET", suppressed_key(name), unpack(keys, first, last))) do
      if value then
        entries[#entries + 1], entries[#entries + 2] = keys[first + place - 1], value
      end
    end
  end
end
return {list == "" and {} or found[list], found[""]}
