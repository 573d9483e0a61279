-- needs: common suppressions
-- Take entries off a list. Reply: how many there were.
-- ARGV: the list, keys.

local list = ARGV[FIRST]
local removed = 0
for first = FIRST + 1, #ARGV, LONGEST do
  removed = removed + call("HDEL", suppressed_key(list), unpack(ARGV, first, math.min(first + LONGEST - 1, #ARGV)))
end
if call("EXISTS", suppressed_key(list)) == 0 then call("SREM", SUPPRESSED, list) end
return removed
